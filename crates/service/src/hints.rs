//! What the workers of a fleet tell each other beside the broker: hints, never locks.
//!
//! Who may work on a queue is decided by the broker alone. These only make it better: queues are spread evenly, a broker
//! that delivers to nobody is noticed, and a successor learns how its predecessor ended. Each of them may be away, empty or
//! late at any time: then a queue moves once too often, or orders wait that need not. The loop asks for them, the fleet's
//! memory keeps them, and neither knows the other.
//!
//! One is more than a convenience: that a predecessor has *finished* is why nobody waits for its last calls, so it is believed
//! only from the memory in which it was said.

use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;

/// They cannot be read or written for the moment.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the fleet's hints are away: {0}")]
pub struct Away(pub String);

/// How the worker that had a queue before let go of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// Nobody had it, or what was known is forgotten.
    Unknown,
    /// It finished what it had begun, and said so.
    Finished,
    /// It let go in order because something that it needs was away for long.
    Outage,
    /// It said nothing: it died, or lost its connection. What it had begun may still happen.
    Lost,
}

/// What a worker learns that takes a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// How the one before let go of it.
    pub before: Before,
    /// For how long the fleet's memory has kept all that it was told. Of what began earlier it may know nothing.
    pub remembers: Duration,
}

/// How a worker lets go of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaving {
    /// What it had begun is finished, and so is what any worker before it had.
    Finished,
    /// What it had begun is finished, and something that it needs is away.
    Outage,
}

/// The hints of one fleet: one for those who take from inboxes, one for those who take from partitions. A queue is named by
/// its number among those of its kind.
#[async_trait]
pub trait Hints: Send + Sync + 'static {
    /// Announces a member for so long, and returns all that are announced.
    async fn announce(&self, member: &str, lasts: Duration) -> Result<Vec<String>, Away>;

    /// Takes an announcement back.
    async fn withdraw(&self, member: &str) -> Result<(), Away>;

    /// Notes that work on these queues goes on.
    async fn goes_on(&self, queues: &[u16]) -> Result<(), Away>;

    /// How long ago that was noted last for each of these; `None` where it never was.
    async fn went_on(&self, queues: &[u16]) -> Result<Vec<Option<Duration>>, Away>;

    /// Notes that a member has a queue now; returns how the one before let go of it, as far as this memory was told.
    async fn take(&self, queue: u16, member: &str) -> Result<Taken, Away>;

    /// Notes that a member lets go of queues. Of one that another has taken since, nothing is noted.
    async fn let_go(&self, queues: &[u16], member: &str, how: Leaving) -> Result<(), Away>;
}
