//! Who of a fleet's workers is there, which queues go on, and how each was let go of: hints, never locks.
//!
//! | Key | Holds | Kept |
//! |---|---|---|
//! | `{ns}:members:<kind>` | sorted set: member, by when its announcement ends | as long as an announcement |
//! | `{ns}:went_on:<kind>` | hash: queue, when work on it was said to go on last | a day |
//! | `{ns}:tenure:<kind>` | hash: queue, `held`, `finished` or `outage`, and by whom; the memory's name | as long as that memory |
//!
//! Times are the server's. All of it may be flushed at any time. A tenure is believed only by the memory that was told it: in
//! a copy of another one it is forgotten, and whoever takes a queue learns how long this memory has been one.

use std::sync::LazyLock;
use std::time::Duration;

use async_trait::async_trait;
use service::hints::{Away, Before, Hints, Leaving, Taken};

use crate::contract::Error;
use crate::redis::RedisLedger;
use crate::redis::connection::Connection;
use crate::redis::script::{Script, memory};

static ANNOUNCE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("presence/announce.lua")));
static WITHDRAW: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("presence/withdraw.lua")));
static GOES_ON: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("presence/goes_on.lua")));
static WENT_ON: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("presence/went_on.lua")));
static TAKE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("presence/take.lua")));
static LET_GO: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("presence/let_go.lua")));

/// The workers of one kind, such as those that take from partitions.
#[derive(Debug, Clone)]
pub struct Presence {
    connection: Connection,
    kind: &'static str,
}

impl Presence {
    /// By the connection of a ledger. The kind is a short word.
    pub fn new(ledger: &RedisLedger, kind: &'static str) -> Self {
        Self { connection: ledger.connection.clone(), kind }
    }

    async fn run(&self, script: &Script, what: &str, arguments: &[impl AsRef<str>]) -> Result<Vec<String>, Away> {
        let key = self.connection.key(format_args!("{what}:{}", self.kind));
        let arguments: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
        let answers = self.connection.invoke(script, &[script.invocation(&[&key], &arguments)]).await;
        let answers = answers.map_err(|error| away(&error))?;
        Ok(answers.into_iter().next().unwrap_or_default())
    }
}

#[async_trait]
impl Hints for Presence {
    async fn announce(&self, member: &str, lasts: Duration) -> Result<Vec<String>, Away> {
        self.run(&ANNOUNCE, "members", &[member, &lasts.as_millis().to_string()]).await
    }

    async fn withdraw(&self, member: &str) -> Result<(), Away> {
        self.run(&WITHDRAW, "members", &[member]).await.map(drop)
    }

    async fn goes_on(&self, queues: &[u16]) -> Result<(), Away> {
        self.run(&GOES_ON, "went_on", &words(queues)).await.map(drop)
    }

    async fn went_on(&self, queues: &[u16]) -> Result<Vec<Option<Duration>>, Away> {
        if queues.is_empty() {
            return Ok(Vec::new());
        }
        let answer = self.run(&WENT_ON, "went_on", &words(queues)).await?;
        if answer.len() != queues.len() {
            return Err(away(&self.connection.strange(&answer)));
        }
        Ok(answer.iter().map(|ago| ago.parse().ok().map(Duration::from_millis)).collect())
    }

    async fn take(&self, queue: u16, member: &str) -> Result<Taken, Away> {
        let (named, tenures) =
            (self.connection.key(format_args!("memory")), self.connection.key(format_args!("tenure:{}", self.kind)));
        let invocation = TAKE.invocation(&[&named, &tenures], &[&queue.to_string(), member]);
        let answers = self.connection.invoke_after(Some(&memory(&named)), &TAKE, &[invocation]).await;
        let answer = answers.map_err(|error| away(&error))?.1.into_iter().next().unwrap_or_default();
        let strange = || away(&self.connection.strange(&answer));
        let [before, remembers] = answer.as_slice() else { return Err(strange()) };
        let before = match before.as_str() {
            "unknown" => Before::Unknown,
            "finished" => Before::Finished,
            "outage" => Before::Outage,
            "held" => Before::Lost,
            _ => return Err(strange()),
        };
        let remembers = remembers.parse().map(Duration::from_millis).map_err(|_| strange())?;
        Ok(Taken { before, remembers })
    }

    async fn let_go(&self, queues: &[u16], member: &str, how: Leaving) -> Result<(), Away> {
        let how = match how {
            Leaving::Finished => "finished",
            Leaving::Outage => "outage",
        };
        let queues = words(queues);
        let arguments: Vec<&str> = [member, how].into_iter().chain(queues.iter().map(String::as_str)).collect();
        self.run(&LET_GO, "tenure", &arguments).await.map(drop)
    }
}

fn away(error: &Error) -> Away {
    Away(error.to_string())
}

fn words(queues: &[u16]) -> Vec<String> {
    queues.iter().map(u16::to_string).collect()
}
