//! The stories of orders in Redis: what happened to each, for an operator.
//!
//! | Key | Holds | Kept |
//! |---|---|---|
//! | `{ns}:story:<order>` | list of steps, the first [`FIRST`] and the last [`LAST`] | 3 days after the last step once the order is settled, else 30 days, or as set; a copy that comes again, or a gap, changes nothing of that |
//! | `{ns}:story-gaps` | list of times in which steps of unnamed orders were lost, the last [`GAPS`] | the same |
//!
//! Nothing waits for a story: steps are taken in by a [`StoryRecorder`] and written from there, many orders in one round
//! trip. They are no part of what makes effects happen once: a story that is lost costs an explanation and nothing else.
//! A Redis that may not evict and is full takes no claims either, so nothing is recorded beyond a share of its memory
//! ([`STOP_PERCENT`]).

mod recorder;
mod room;

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::redis::{Cmd, RedisResult};
use domain::order::id::OrderId;
use domain::outcome::{OutcomeKind, Result as Ended};
use domain::story::{FIRST, LAST, Step, What};

pub use recorder::StoryRecorder;
pub use room::{GO_ON_PERCENT, STOP_PERCENT};

use crate::contract::Error;
use crate::effect::KEPT;
use crate::redis::RedisLedger;
use crate::redis::connection::Connection;
use crate::redis::script::Script;

/// How many times of lost steps are kept.
pub const GAPS: usize = 256;

static APPEND: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("stories/append.lua")));

/// Reads and writes stories, over the ledger's connection.
#[derive(Debug, Clone)]
pub struct Stories {
    connection: Connection,
    kept: Kept,
}

/// How long a story is kept after its last step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Of an order that is on its way, or a dead letter.
    pub open: Duration,
    /// Of an order that is written or rejected.
    pub settled: Duration,
}

impl From<Duration> for Kept {
    fn from(kept: Duration) -> Self {
        Self { open: kept, settled: kept }
    }
}

impl Kept {
    /// For a story that ends with these steps; `None` for as long as before.
    fn after(self, steps: &[Step]) -> Option<Duration> {
        steps.iter().rev().find_map(|step| is_settled(&step.what)).map(
            |settled| {
                if settled { self.settled } else { self.open }
            },
        )
    }
}

/// Whether the order is settled after such a step; `None` where the step does not say: a copy may come at any time, and so may
/// the count of what was lost.
fn is_settled(what: &What) -> Option<bool> {
    match what {
        What::Announced { told } => Some(told != OutcomeKind::DeadLettered.routing_key()),
        What::Settled { .. }
        | What::SettledBefore
        | What::LinkWaits { .. }
        | What::Linked { .. }
        | What::NotLinked { .. } => Some(true),
        What::Folded | What::Gap { .. } | What::Cut { .. } | What::Unknown => None,
        What::Received { .. }
        | What::HandedOn { .. }
        | What::Conflicted
        | What::Refused { .. }
        | What::TakenUp { .. }
        | What::Waits { .. }
        | What::Paused { .. }
        | What::PartitionFull
        | What::Busy { .. }
        | What::AccountInUse
        | What::Claimed { .. }
        | What::Sent { .. }
        | What::Answered { .. }
        | What::LookedUp { .. }
        | What::Duplicate { .. }
        | What::Dead { .. }
        | What::Parked { .. }
        | What::Overflowed { .. }
        | What::LetIn { .. }
        | What::Released { .. }
        | What::Closed { .. } => Some(false),
    }
}

/// Steps of orders that nobody could name any more when they were lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostSteps {
    /// When the first of them was taken, in milliseconds since 1970.
    pub from: u64,
    /// When the last of them was.
    pub to: u64,
    /// How many.
    pub steps: u64,
    /// Who lost them.
    pub by: String,
}

/// What the ledger holds of an order's effect.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownEffect {
    /// How the order ended, where it did.
    pub ended: Option<Ended>,
    /// When that was last changed, in milliseconds since 1970.
    pub at: u64,
}

/// What Redis holds of an order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Recorded {
    /// The steps, in the order in which they were kept.
    pub steps: Vec<Step>,
    /// The effect.
    pub effect: Option<KnownEffect>,
    /// When steps of unnamed orders were lost.
    pub lost: Vec<LostSteps>,
}

impl Stories {
    /// The stories beside a ledger. They are kept for so long after their last step.
    pub fn beside(ledger: &RedisLedger, kept: impl Into<Kept>) -> Self {
        Self { connection: ledger.connection.clone(), kept: kept.into() }
    }

    fn key(&self, order: &str) -> String {
        self.connection.key(format_args!("story:{order}"))
    }

    fn gaps_key(&self) -> String {
        self.connection.key(format_args!("story-gaps"))
    }

    /// Appends steps, many orders in one round trip.
    ///
    /// # Errors
    /// Redis did not answer, or not in time: the steps may have been kept. Appending them again does no harm.
    pub async fn append(&self, steps: &[(String, Vec<Step>)], gaps: Option<&LostSteps>) -> Result<(), Error> {
        let [beginning, end] = [FIRST, LAST].map(|steps| steps.to_string());
        let invocations: Vec<Cmd> = steps
            .iter()
            .map(|(order, steps)| {
                let (kept, or_as_before) = match self.kept.after(steps) {
                    Some(kept) => (kept, ""),
                    None => (self.kept.open, "as before"),
                };
                let kept = milliseconds(kept).to_string();
                let steps: Vec<String> = steps.iter().map(Step::render).collect();
                let bounds = [kept.as_str(), or_as_before, &beginning, &end];
                let arguments: Vec<&str> = bounds.into_iter().chain(steps.iter().map(String::as_str)).collect();
                APPEND.invocation(&[&self.key(order)], &arguments)
            })
            .collect();
        if !invocations.is_empty() {
            self.connection.invoke(&APPEND, &invocations).await?;
        }
        let Some(lost) = gaps else { return Ok(()) };
        let mut pipeline = ::redis::pipe();
        pipeline.cmd("LPUSH").arg(self.gaps_key()).arg(format!("{} {} {} {}", lost.from, lost.to, lost.steps, lost.by));
        pipeline.cmd("LTRIM").arg(self.gaps_key()).arg(0).arg(GAPS - 1);
        pipeline.cmd("PEXPIRE").arg(self.gaps_key()).arg(milliseconds(self.kept.open));
        let answers = self.connection.many::<::redis::Value>(&mut pipeline).await?;
        answers.into_iter().collect::<RedisResult<Vec<_>>>().map(drop).map_err(|error| self.connection.explain(&error))
    }

    /// Everything that Redis holds of an order, in one round trip.
    ///
    /// # Errors
    /// Redis did not answer.
    pub async fn read(&self, order: &OrderId) -> Result<Recorded, Error> {
        let effect = self.connection.key(format_args!("effect:order:{order}"));
        let mut pipeline = ::redis::pipe();
        pipeline.cmd("LRANGE").arg(self.key(order.as_str())).arg(0).arg(-1);
        pipeline.cmd("LRANGE").arg(self.gaps_key()).arg(0).arg(-1);
        pipeline.cmd("HGETALL").arg(&effect);
        pipeline.cmd("PTTL").arg(&effect);
        let answers = self.connection.many::<::redis::Value>(&mut pipeline).await?;
        let answers: Vec<::redis::Value> =
            answers.into_iter().collect::<RedisResult<_>>().map_err(|error| self.connection.explain(&error))?;
        let strange = |_| Error::Broken("Redis answered something else than a story".to_owned());
        let [steps, lost, effect, effect_left] =
            <[::redis::Value; 4]>::try_from(answers).map_err(|_| Error::Broken("Redis left answers out".to_owned()))?;
        let steps: Vec<String> = ::redis::from_redis_value(steps).map_err(strange)?;
        let lost: Vec<String> = ::redis::from_redis_value(lost).map_err(strange)?;
        let effect: HashMap<String, String> = ::redis::from_redis_value(effect).map_err(strange)?;
        // Each change makes it kept anew, so what is left says when the last one was.
        let left: i64 = ::redis::from_redis_value(effect_left).map_err(strange)?;
        let since = u64::try_from(left).map_or(0, |left| milliseconds(KEPT).saturating_sub(left));
        Ok(Recorded {
            steps: steps.iter().filter_map(|step| Step::parse(step)).collect(),
            effect: (!effect.is_empty()).then(|| KnownEffect {
                ended: effect.get("result").and_then(|result| serde_json::from_str(result).ok()),
                at: now_ms().saturating_sub(since),
            }),
            lost: lost.iter().filter_map(|text| LostSteps::parse(text)).collect(),
        })
    }
}

impl LostSteps {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.splitn(4, ' ');
        let mut number = || words.next()?.parse().ok();
        let (from, to, steps) = (number()?, number()?, number()?);
        Some(Self { from, to, steps, by: words.next().unwrap_or_default().to_owned() })
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// This machine's clock, in milliseconds since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "a step happens when it is recorded, and this is the edge that records it"
)]
fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, milliseconds)
}
