//! One connection to Redis, shared by everything that the fleet remembers there.

use std::fmt;
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult, ServerErrorKind};

use super::script::Script;
use crate::contract::Error;

/// How patient the ledger is.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// For an answer.
    pub response_timeout: Duration,
    /// For a connection.
    pub connect_timeout: Duration,
}

impl Settings {
    /// 250 ms for an answer, 1 s for a connection.
    pub const RECOMMENDED: Self =
        Self { response_timeout: Duration::from_millis(250), connect_timeout: Duration::from_secs(1) };
}

/// A connection that comes back by itself after an outage. Clones share it.
///
/// Every key is made by [`Connection::key`], and every question is asked within the deadline.
#[derive(Clone)]
pub(crate) struct Connection {
    manager: ConnectionManager,
    namespace: String,
    place: String,
    /// For a whole call: while the connection is being made anew, calls would otherwise wait for that.
    deadline: Duration,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("place", &self.place)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects, and looks whether this Redis may be trusted to keep what it is given. The namespace separates fleets and
    /// tenants; it holds both.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it cannot be reached: try again. [`Error::Broken`] when the address or the namespace is
    /// wrong, or when Redis would evict keys.
    pub(crate) async fn connect(url: &str, namespace: &str, settings: Settings) -> Result<Self, Error> {
        if namespace.is_empty() || namespace.contains(['{', '}']) {
            return Err(Error::Broken(format!("the namespace {namespace:?} is empty or contains a brace")));
        }
        // The client's own message may repeat the address, and with it a password.
        let client = Client::open(url)
            .map_err(|error| Error::Broken(format!("the Redis address cannot be used: {:?}", error.kind())))?;
        let place = client.get_connection_info().addr().to_string();
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(settings.response_timeout))
            .set_connection_timeout(Some(settings.connect_timeout))
            .set_min_delay(Duration::from_millis(100))
            .set_max_delay(Duration::from_secs(2))
            // More of them would outlast the deadline, which does not know the cause.
            .set_number_of_retries(1);
        let manager = ConnectionManager::new_lazy_with_config(client, config)
            .map_err(|error| Error::Broken(format!("the Redis client cannot be set up: {:?}", error.kind())))?;
        let deadline = settings.connect_timeout + settings.response_timeout;
        let connection = Self { manager, namespace: namespace.to_owned(), place, deadline };
        connection.ping().await?;
        connection.check_eviction().await?;
        Ok(connection)
    }

    /// Asks whether Redis answers.
    pub(crate) async fn ping(&self) -> Result<(), Error> {
        let mut ping = Cmd::new();
        ping.arg("PING");
        self.one::<String>(&ping).await.map(drop)
    }

    /// A Redis that evicts keys says "absent" of what it was told, and nobody notices.
    async fn check_eviction(&self) -> Result<(), Error> {
        let mut ask = Cmd::new();
        ask.arg("INFO").arg("memory");
        let info: String = self.one(&ask).await?;
        let field =
            |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
        match (field("maxmemory"), field("maxmemory_policy")) {
            (Some("0"), _) | (_, Some("noeviction")) => Ok(()),
            (_, Some(policy)) => Err(Error::Broken(format!(
                "Redis at {} evicts keys (maxmemory-policy {policy}); set it to noeviction",
                self.place
            ))),
            (_, None) => {
                tracing::warn!(place = self.place, "Redis does not tell its maxmemory-policy; it must be noeviction");
                Ok(())
            }
        }
    }

    /// The key with this rest in the namespace, braces included.
    pub(crate) fn key(&self, rest: fmt::Arguments<'_>) -> String {
        format!("{{{}}}:{rest}", self.namespace)
    }

    /// Runs one command within the deadline.
    pub(crate) async fn one<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Error> {
        self.within(|| {
            let mut connection = self.manager.clone();
            async move { command.query_async(&mut connection).await }
        })
        .await
    }

    /// Runs many commands in one round trip; each has its own answer or error.
    pub(crate) async fn many<T: FromRedisValue>(&self, pipeline: &mut Pipeline) -> Result<Vec<RedisResult<T>>, Error> {
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        let pipeline: &Pipeline = pipeline.ignore_errors();
        self.within(|| {
            let mut connection = self.manager.clone();
            async move { pipeline.query_async(&mut connection).await }
        })
        .await
    }

    /// Asks within the deadline.
    async fn within<T, F: Future<Output = RedisResult<T>>>(&self, ask: impl Fn() -> F) -> Result<T, Error> {
        let asked = async {
            match ask().await {
                // Nothing was sent, and the refusal may be an old one: the client tells what its last attempt to connect
                // met, and only then makes another. Asking again asks Redis itself.
                Err(error) if error.is_connection_refusal() => ask().await,
                answer => answer,
            }
        };
        match tokio::time::timeout(self.deadline, asked).await {
            Ok(answer) => answer.map_err(|error| self.explain(&error)),
            Err(_) => Err(self.unavailable("no answer in time")),
        }
    }

    /// Runs a script once per invocation, in one round trip: a second one only when Redis has forgotten the script, and
    /// then only for those that did not run.
    pub(crate) async fn invoke(&self, script: &Script, invocations: &[Cmd]) -> Result<Vec<Vec<String>>, Error> {
        Ok(self.invoke_after(None, script, invocations).await?.1)
    }

    /// The same, after this command in each round trip. Returns its last answer too; none where nothing was invoked.
    pub(crate) async fn invoke_after(
        &self,
        first: Option<&Cmd>,
        script: &Script,
        invocations: &[Cmd],
    ) -> Result<(Vec<String>, Vec<Vec<String>>), Error> {
        if invocations.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let (mut told, mut answers) = self.run(first, invocations.iter()).await?;
        let forgotten: Vec<usize> =
            (0..answers.len()).filter(|index| answers[*index].as_ref().is_err_and(is_forgotten)).collect();
        if !forgotten.is_empty() {
            let mut load = Cmd::new();
            load.arg("SCRIPT").arg("LOAD").arg(script.code);
            let _: String = self.one(&load).await?;
            let (told_again, again) = self.run(first, forgotten.iter().map(|index| &invocations[*index])).await?;
            told = told_again;
            for (index, answer) in forgotten.into_iter().zip(again) {
                answers[index] = answer;
            }
        }
        let answers: Result<_, _> =
            answers.into_iter().map(|answer| answer.map_err(|error| self.explain(&error))).collect();
        Ok((told, answers?))
    }

    async fn run<'a>(
        &self,
        first: Option<&'a Cmd>,
        invocations: impl Iterator<Item = &'a Cmd>,
    ) -> Result<(Vec<String>, Vec<RedisResult<Vec<String>>>), Error> {
        let mut pipeline = ::redis::pipe();
        let mut count = 0;
        for command in first.into_iter().chain(invocations) {
            pipeline.add_command(command.clone());
            count += 1;
        }
        let mut answers = self.many(&mut pipeline).await?;
        if answers.len() != count {
            let answers = answers.len();
            return Err(Error::Broken(format!("Redis at {} gave {answers} answers to {count} questions", self.place)));
        }
        let told = if first.is_some() { answers.remove(0).map_err(|error| self.explain(&error))? } else { Vec::new() };
        Ok((told, answers))
    }

    /// What a refusal by Redis means.
    pub(crate) fn explain(&self, error: &RedisError) -> Error {
        let passing = error.is_io_error()
            || error.is_timeout()
            || error.is_connection_dropped()
            || error.is_connection_refusal()
            || error.is_cluster_error()
            // Full, and told not to evict: an outage until somebody makes room.
            || error.code() == Some("OOM")
            || matches!(
                error.kind(),
                ErrorKind::Server(
                    ServerErrorKind::BusyLoading
                        | ServerErrorKind::TryAgain
                        | ServerErrorKind::ClusterDown
                        | ServerErrorKind::MasterDown
                        | ServerErrorKind::ReadOnly
                )
            );
        if passing { self.unavailable(error) } else { Error::Broken(format!("Redis at {}: {error}", self.place)) }
    }

    fn unavailable(&self, cause: impl fmt::Display) -> Error {
        Error::Unavailable { place: self.place.clone(), cause: cause.to_string() }
    }

    /// What a script answered that it never should.
    pub(crate) fn strange(&self, answer: &[String]) -> Error {
        let word = answer.first().map_or("nothing", String::as_str);
        Error::Broken(format!("Redis at {} answered {word:?} to a script", self.place))
    }
}

/// A server that was restarted or whose scripts were flushed.
fn is_forgotten(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(ServerErrorKind::NoScript))
}
