//! The fleet's hints, kept where the ledger is.

use std::time::Duration;

use async_trait::async_trait;
use ledger::{Predecessor, Presence};
use queue::hints::{Away, Before, Hints, Leaving};
use queue::topology::Queue;

/// What the workers of this kind tell each other, by Redis.
pub(crate) struct RedisHints(pub(crate) Presence);

#[async_trait]
impl Hints for RedisHints {
    async fn announce(&self, member: &str, lasts: Duration) -> Result<Vec<String>, Away> {
        self.0.announce(member, lasts).await.map_err(away)
    }

    async fn withdraw(&self, member: &str) -> Result<(), Away> {
        self.0.withdraw(member).await.map_err(away)
    }

    async fn goes_on(&self, queues: &[Queue]) -> Result<(), Away> {
        self.0.goes_on(&numbers(queues)).await.map_err(away)
    }

    async fn went_on(&self, queues: &[Queue]) -> Result<Vec<Option<Duration>>, Away> {
        self.0.went_on(&numbers(queues)).await.map_err(away)
    }

    async fn take(&self, queue: Queue, member: &str) -> Result<Before, Away> {
        let before = self.0.take(queue.index(), member).await.map_err(away)?;
        Ok(match before {
            Predecessor::Unknown => Before::Unknown,
            Predecessor::Finished => Before::Finished,
            Predecessor::Outage => Before::Outage,
            Predecessor::Lost => Before::Lost,
        })
    }

    async fn let_go(&self, queues: &[Queue], member: &str, how: Leaving) -> Result<(), Away> {
        let outage = how == Leaving::Outage;
        self.0.let_go(&numbers(queues), member, outage).await.map_err(away)
    }
}

fn numbers(queues: &[Queue]) -> Vec<u16> {
    queues.iter().copied().map(Queue::index).collect()
}

#[expect(clippy::needless_pass_by_value, reason = "the shape of what `map_err` calls")]
fn away(error: ledger::Error) -> Away {
    Away(error.to_string())
}
