//! What the fleet knows together of the org's request allocation: the newest count, what is under way, what it has called.
//!
//! | Key | Holds | Kept |
//! |---|---|---|
//! | `{ns}:quota` | hash: used, limit, at; calls of our own and the count, by quarters of an hour | 2 days |
//! | `{ns}:quota:under_way` | requests under way, each until the longest time it takes | 2 days |
//! | `{ns}:probe:<of what>` | that somebody looks whether a thing is back | until the next look |
//!
//! It is a memory and decides nothing: [`domain::quota`] does. Each request is entered before it is judged, so of many that
//! begin at once each sees the others, and one slot is not spent twice. When Redis forgets, the next answer tells anew.

use std::time::Duration;

use domain::quota::{BUCKET, DISAGREEMENT, Spending, Time, Usage, WINDOW};
use redis::Cmd;

use crate::contract::Error;
use crate::redis::RedisLedger;
use crate::redis::connection::Connection;
use crate::redis::script::{SPEND, SPENT};

/// The fleet's budget in Redis. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Budget {
    connection: Connection,
}

/// What is known as a request begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// Redis's time.
    pub now: Time,
    /// What was told, and what is under way: this request included. Own calls and the past are left out.
    pub spending: Spending,
}

impl RedisLedger {
    /// The budget of the fleet.
    pub fn budget(&self) -> Budget {
        Budget { connection: self.connection.clone() }
    }
}

impl Budget {
    fn key(&self) -> String {
        self.connection.key(format_args!("quota"))
    }

    fn under_way_key(&self) -> String {
        self.connection.key(format_args!("quota:under_way"))
    }

    /// Enters a request. It is over with [`Budget::ends`], or after `longest` when its process died.
    ///
    /// # Errors
    /// Redis is away, or answers what it never should.
    pub async fn begins(&self, request: &str, longest: Duration) -> Result<Begun, Error> {
        let keys = [self.key(), self.under_way_key()];
        let longest = milliseconds(longest).to_string();
        let invocation = SPEND.invocation(&[&keys[0], &keys[1]], &[request, &longest]);
        let answer = self.connection.invoke(&SPEND, &[invocation]).await?.pop().unwrap_or_default();
        let number = |index: usize| answer.get(index).and_then(|text| text.parse().ok());
        let (Some(now), Some(in_flight)) = (number(0), number(1)) else {
            return Err(self.connection.strange(&answer));
        };
        let usage =
            number(2).zip(number(3)).zip(number(4)).map(|((used, limit), at)| Usage { used, limit, at: time(at) });
        Ok(Begun { now: time(now), spending: Spending { usage, in_flight, ..Spending::default() } })
    }

    /// A request is over: how many calls this process has made since it told last, and what Salesforce said of the count.
    ///
    /// # Errors
    /// Redis is away, or answers what it never should.
    pub async fn ends(&self, request: &str, calls: u64, told: Option<(u64, u64)>) -> Result<(), Error> {
        let keys = [self.key(), self.under_way_key()];
        let (used, limit) = told.map(|(used, limit)| (used.to_string(), limit.to_string())).unwrap_or_default();
        let [disagreement, bucket, window] = [DISAGREEMENT, BUCKET, WINDOW].map(|time| milliseconds(time).to_string());
        let arguments = [request, &calls.to_string(), &used, &limit, &disagreement, &bucket, &window];
        let invocation = SPENT.invocation(&[&keys[0], &keys[1]], &arguments);
        self.connection.invoke(&SPENT, &[invocation]).await.map(drop)
    }

    /// Everything that is known.
    ///
    /// # Errors
    /// Redis is away, or answers what it never should.
    pub async fn spending(&self) -> Result<Spending, Error> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("HGETALL").arg(self.key());
        let mut answers = self.connection.many::<Vec<(String, u64)>>(&mut pipeline).await?;
        let fields = answers.pop().transpose().map_err(|error| self.connection.explain(&error))?.unwrap_or_default();
        let mut spending = Spending::default();
        let field = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, value)| *value);
        let usage = field("used").zip(field("limit")).zip(field("at"));
        spending.usage = usage.map(|((used, limit), at)| Usage { used, limit, at: time(at) });
        for (name, value) in &fields {
            let Some((kind, Ok(start))) = name.split_once(':').map(|(kind, start)| (kind, start.parse())) else {
                continue;
            };
            match kind {
                "own" => spending.own.push((time(start), *value)),
                "past" => spending.past.push((time(start), *value)),
                _ => {}
            }
        }
        spending.own.sort_unstable();
        spending.past.sort_unstable();
        Ok(spending)
    }

    /// Takes the one look of the fleet at a thing that is away: `None` when it is ours, else how long the other one has for
    /// it.
    ///
    /// # Errors
    /// Redis is away: everybody looks for himself.
    pub async fn probes(&self, of: &'static str, time: Duration) -> Result<Option<Duration>, Error> {
        let key = self.connection.key(format_args!("probe:{of}"));
        let mut take = Cmd::new();
        take.arg("SET").arg(&key).arg("1").arg("NX").arg("PX").arg(milliseconds(time).max(1));
        if self.connection.one::<Option<String>>(&take).await?.is_some() {
            return Ok(None);
        }
        let mut left = Cmd::new();
        left.arg("PTTL").arg(&key);
        let left: i64 = self.connection.one(&left).await?;
        Ok(Some(Duration::from_millis(u64::try_from(left).unwrap_or_default())))
    }

    /// Whether somebody looks at a thing that is away, or leaves it alone for a while.
    ///
    /// # Errors
    /// Redis is away.
    pub async fn is_probed(&self, of: &'static str) -> Result<bool, Error> {
        let mut exists = Cmd::new();
        exists.arg("EXISTS").arg(self.connection.key(format_args!("probe:{of}")));
        self.connection.one::<u64>(&exists).await.map(|found| found > 0)
    }

    /// Nobody looks at a thing that is away for this time.
    ///
    /// # Errors
    /// Redis is away: everybody looks for himself.
    pub async fn hold(&self, of: &'static str, time: Duration) -> Result<(), Error> {
        let mut hold = Cmd::new();
        let key = self.connection.key(format_args!("probe:{of}"));
        hold.arg("SET").arg(key).arg("1").arg("PX").arg(milliseconds(time).max(1));
        self.connection.one::<String>(&hold).await.map(drop)
    }

    /// The thing is back, or the look is over: anybody may look again.
    ///
    /// # Errors
    /// Redis is away: the look ends by itself.
    pub async fn probed(&self, of: &'static str) -> Result<(), Error> {
        let mut forget = Cmd::new();
        forget.arg("DEL").arg(self.connection.key(format_args!("probe:{of}")));
        self.connection.one::<u64>(&forget).await.map(drop)
    }
}

fn time(milliseconds: u64) -> Time {
    Time::from_millis(milliseconds)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
