//! The ledger in Redis: one atomic script per transition, one round trip per batch.
//!
//! | Key | Holds | Kept |
//! |---|---|---|
//! | `{ns}:own:<partition>` | the epoch of the partition's owner | for ever |
//! | `{ns}:effect:<effect>:<order>` | hash: state, token, epoch, until, fingerprint, attempts, spent, result | 30 days |
//! | `{ns}:seen:<order>` | hash: fingerprint, `handed_on` | 30 days, or until the order is given up |
//! | `{ns}:account:<digest of a customer's name>` | Account id | 400 days after it was last confirmed |
//!
//! The braces are written as they stand: in a cluster all keys of a namespace share a slot, so that a script reaches
//! owner and effect, and a change of the number of partitions forgets nothing. One node does this work many times over.

mod script;

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use ::redis::aio::{ConnectionManager, ConnectionManagerConfig};
use ::redis::{Client, Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult, ServerErrorKind};
use async_trait::async_trait;
use domain::order::id::{Fingerprint, OrderId};
use sha2::{Digest, Sha256};

use self::script::{CLAIM, CLOSE, HANDED_ON, OWN, SIGHT, Script};
use crate::contract::{
    Attempts, Claim, ClaimAnswer, ClaimTicket, Closed, Closing, Error, Identity, Ledger, Owner, Sighting,
};
use crate::effect::KEPT;

const ACCOUNT_KEPT: Duration = Duration::from_hours(400 * 24);

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

/// A [`Ledger`] in Redis 6.2 or later. Clones share one connection, which comes back by itself after an outage.
#[derive(Clone)]
pub struct RedisLedger {
    connection: ConnectionManager,
    namespace: String,
    place: String,
    /// For a whole call: while the connection is being made anew, calls would otherwise wait for that.
    deadline: Duration,
}

impl fmt::Debug for RedisLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLedger")
            .field("place", &self.place)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

impl RedisLedger {
    /// Connects, and looks whether this Redis may be trusted to keep what it is given. The namespace separates fleets and
    /// tenants; it holds both.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it cannot be reached: try again. [`Error::Broken`] when the address or the namespace is
    /// wrong, or when Redis would evict keys.
    pub async fn connect(url: &str, namespace: &str, settings: Settings) -> Result<Self, Error> {
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
        let connection = ConnectionManager::new_lazy_with_config(client, config)
            .map_err(|error| Error::Broken(format!("the Redis client cannot be set up: {:?}", error.kind())))?;
        let deadline = settings.connect_timeout + settings.response_timeout;
        let ledger = Self { connection, namespace: namespace.to_owned(), place, deadline };
        ledger.ping().await?;
        ledger.check_eviction().await?;
        Ok(ledger)
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

    fn key(&self, rest: fmt::Arguments<'_>) -> String {
        format!("{{{}}}:{rest}", self.namespace)
    }

    fn owner_key(&self, partition: u16) -> String {
        self.key(format_args!("own:{partition}"))
    }

    fn effect_key(&self, effect: &str, order: &OrderId) -> String {
        self.key(format_args!("effect:{effect}:{order}"))
    }

    fn sighting_key(&self, order: &OrderId) -> String {
        self.key(format_args!("seen:{order}"))
    }

    /// Names of customers may be e-mail addresses: only their digest is kept.
    fn account_key(&self, name: &str) -> String {
        let digest = Fingerprint::of(Sha256::digest(name.as_bytes()).into());
        self.key(format_args!("account:{digest}"))
    }

    /// Runs one command within the deadline.
    async fn one<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Error> {
        self.within(|| {
            let mut connection = self.connection.clone();
            async move { command.query_async(&mut connection).await }
        })
        .await
    }

    /// Runs many commands in one round trip; each has its own answer or error.
    async fn many<T: FromRedisValue>(&self, pipeline: &mut Pipeline) -> Result<Vec<RedisResult<T>>, Error> {
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        let pipeline: &Pipeline = pipeline.ignore_errors();
        self.within(|| {
            let mut connection = self.connection.clone();
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
    async fn invoke(&self, script: &Script, invocations: &[Cmd]) -> Result<Vec<Vec<String>>, Error> {
        let mut answers = self.run(invocations.iter()).await?;
        let forgotten: Vec<usize> =
            (0..answers.len()).filter(|index| answers[*index].as_ref().is_err_and(is_forgotten)).collect();
        if !forgotten.is_empty() {
            let mut load = Cmd::new();
            load.arg("SCRIPT").arg("LOAD").arg(script.code);
            let _: String = self.one(&load).await?;
            let again = self.run(forgotten.iter().map(|index| &invocations[*index])).await?;
            for (index, answer) in forgotten.into_iter().zip(again) {
                answers[index] = answer;
            }
        }
        answers.into_iter().map(|answer| answer.map_err(|error| self.explain(&error))).collect()
    }

    async fn run(&self, invocations: impl Iterator<Item = &Cmd>) -> Result<Vec<RedisResult<Vec<String>>>, Error> {
        let mut pipeline = ::redis::pipe();
        let mut count = 0;
        for invocation in invocations {
            pipeline.add_command(invocation.clone());
            count += 1;
        }
        let answers = self.many(&mut pipeline).await?;
        if answers.len() == count {
            Ok(answers)
        } else {
            Err(Error::Broken(format!("Redis at {} gave {} answers to {count} questions", self.place, answers.len())))
        }
    }

    fn explain(&self, error: &RedisError) -> Error {
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

    fn strange(&self, answer: &[String]) -> Error {
        let word = answer.first().map_or("nothing", String::as_str);
        Error::Broken(format!("Redis at {} answered {word:?} to a script", self.place))
    }

    fn read_claim(&self, claim: &Claim, answer: &[String]) -> Result<ClaimAnswer, Error> {
        let ticket = |token, was_unknown| ClaimTicket {
            owner: claim.owner.clone(),
            order: claim.order.clone(),
            effect: claim.effect,
            token,
            was_unknown,
        };
        let numbers = |token: &str, total: &str, spent: &str| {
            let (total, spent): (u32, u32) = (total.parse().ok()?, spent.parse().ok()?);
            Some((token.parse().ok()?, Attempts { total, round: total.saturating_sub(spent) }))
        };
        let words: Vec<&str> = answer.iter().map(String::as_str).collect();
        let read = match words[..] {
            ["claimed", token, total, spent] => numbers(token, total, spent)
                .map(|(token, attempts)| ClaimAnswer::Claimed { ticket: ticket(token, false), attempts }),
            ["unknown", token, total, spent] => numbers(token, total, spent)
                .map(|(token, attempts)| ClaimAnswer::Unknown { ticket: ticket(token, true), attempts }),
            ["settled", result] => Some(ClaimAnswer::Settled(result.to_owned())),
            ["busy", left] => left.parse().ok().map(|left| ClaimAnswer::Busy { left: Duration::from_millis(left) }),
            ["conflict"] => Some(ClaimAnswer::Conflict),
            ["not_owner"] => Some(ClaimAnswer::NotOwner),
            _ => None,
        };
        read.ok_or_else(|| self.strange(answer))
    }
}

/// A server that was restarted or whose scripts were flushed.
fn is_forgotten(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(ServerErrorKind::NoScript))
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[async_trait]
impl Ledger for RedisLedger {
    async fn own(&self, owner: &Owner) -> Result<(), Error> {
        let invocation = OWN.invocation(&[&self.owner_key(owner.partition)], &[&owner.epoch]);
        self.invoke(&OWN, &[invocation]).await.map(drop)
    }

    async fn claim(&self, claims: &[Claim]) -> Result<Vec<ClaimAnswer>, Error> {
        let kept = milliseconds(KEPT).to_string();
        let invocations: Vec<Cmd> = claims
            .iter()
            .map(|claim| {
                let keys = [self.owner_key(claim.owner.partition), self.effect_key(claim.effect, &claim.order)];
                // A year is long enough for a lease, and every sum with it is exact in Lua.
                let lease = claim.lease.min(Duration::from_hours(365 * 24));
                let arguments =
                    [&claim.owner.epoch, &claim.fingerprint.to_string(), &milliseconds(lease).to_string(), &kept];
                CLAIM.invocation(&[&keys[0], &keys[1]], &arguments.map(String::as_str))
            })
            .collect();
        let answers = self.invoke(&CLAIM, &invocations).await?;
        claims.iter().zip(&answers).map(|(claim, answer)| self.read_claim(claim, answer)).collect()
    }

    async fn close(&self, closings: &[(ClaimTicket, Closing)]) -> Result<Vec<Closed>, Error> {
        let kept = milliseconds(KEPT).to_string();
        let invocations: Vec<Cmd> = closings
            .iter()
            .map(|(ticket, closing)| {
                let keys = [self.owner_key(ticket.owner.partition), self.effect_key(ticket.effect, &ticket.order)];
                let (how, result) = match closing {
                    Closing::Settle(result) => ("settle", result.as_str()),
                    Closing::Failed => ("failed", ""),
                    Closing::Unknown => ("unknown", ""),
                    Closing::GiveUp { unknown: false } => ("given_up", ""),
                    Closing::GiveUp { unknown: true } => ("given_up_unknown", ""),
                    Closing::Doubt => ("doubt", ""),
                    Closing::Release => ("release", ""),
                };
                let token = ticket.token.to_string();
                CLOSE.invocation(&[&keys[0], &keys[1]], &[&ticket.owner.epoch, &token, how, &kept, result])
            })
            .collect();
        let answers = self.invoke(&CLOSE, &invocations).await?;
        let read = |answer: &Vec<String>| match answer.first().map(String::as_str) {
            Some("done") => Ok(Closed::Done),
            Some("stale") => Ok(Closed::Stale),
            Some(_) | None => Err(self.strange(answer)),
        };
        answers.iter().map(read).collect()
    }

    async fn sight(&self, identities: &[Identity]) -> Result<Vec<Sighting>, Error> {
        let kept = milliseconds(KEPT).to_string();
        let invocations: Vec<Cmd> = identities
            .iter()
            .map(|identity| {
                SIGHT.invocation(&[&self.sighting_key(&identity.order)], &[&identity.fingerprint.to_string(), &kept])
            })
            .collect();
        let answers = self.invoke(&SIGHT, &invocations).await?;
        let read = |answer: &Vec<String>| match answer.first().map(String::as_str) {
            Some("first") => Ok(Sighting::First),
            Some("again") => Ok(Sighting::Again),
            Some("conflict") => Ok(Sighting::Conflict),
            Some(_) | None => Err(self.strange(answer)),
        };
        answers.iter().map(read).collect()
    }

    async fn handed_on(&self, identities: &[Identity]) -> Result<(), Error> {
        let kept = milliseconds(KEPT).to_string();
        let invocations: Vec<Cmd> = identities
            .iter()
            .map(|identity| {
                HANDED_ON
                    .invocation(&[&self.sighting_key(&identity.order)], &[&identity.fingerprint.to_string(), &kept])
            })
            .collect();
        self.invoke(&HANDED_ON, &invocations).await.map(drop)
    }

    async fn forget_sightings(&self, orders: &[OrderId]) -> Result<(), Error> {
        let mut pipeline = ::redis::pipe();
        for order in orders {
            pipeline.cmd("DEL").arg(self.sighting_key(order));
        }
        let answers = self.many::<()>(&mut pipeline).await?;
        answers.into_iter().collect::<RedisResult<()>>().map_err(|error| self.explain(&error))
    }

    async fn accounts(&self, names: &[Vec<String>]) -> Result<Vec<Option<String>>, Error> {
        let mut pipeline = ::redis::pipe();
        for name in names.iter().flatten() {
            pipeline.cmd("GET").arg(self.account_key(name));
        }
        let mut found = self.many::<Option<String>>(&mut pipeline).await?.into_iter();
        let mut accounts = Vec::with_capacity(names.len());
        for names in names {
            // Every answer of this customer is taken, so that the next one's are next.
            let known: Vec<RedisResult<Option<String>>> = found.by_ref().take(names.len()).collect();
            let known = known.into_iter().collect::<RedisResult<Vec<_>>>().map_err(|error| self.explain(&error))?;
            accounts.push(known.into_iter().flatten().next());
        }
        Ok(accounts)
    }

    async fn remember_accounts(&self, entries: &[(Vec<String>, String)]) -> Result<(), Error> {
        let mut pipeline = ::redis::pipe();
        for (names, account) in entries {
            for name in names {
                pipeline.cmd("SET").arg(self.account_key(name)).arg(account).arg("PX").arg(milliseconds(ACCOUNT_KEPT));
            }
        }
        let answers = self.many::<()>(&mut pipeline).await?;
        answers.into_iter().collect::<RedisResult<()>>().map_err(|error| self.explain(&error))
    }

    async fn forget_accounts(&self, names: &[String]) -> Result<(), Error> {
        let keys: HashSet<String> = names.iter().map(|name| self.account_key(name)).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let mut forget = Cmd::new();
        forget.arg("DEL").arg(keys.into_iter().collect::<Vec<_>>());
        self.one::<u64>(&forget).await.map(drop)
    }

    async fn ping(&self) -> Result<(), Error> {
        let mut ping = Cmd::new();
        ping.arg("PING");
        self.one::<String>(&ping).await.map(drop)
    }
}
