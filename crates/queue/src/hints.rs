//! What the workers of a fleet tell each other beside the broker: hints, never locks.
//!
//! Who may work on a queue is decided by the broker alone. These only make it better: queues are spread evenly, a broker
//! that delivers to nobody is noticed, and a successor learns how its predecessor ended. Each of them may be away, empty or
//! wrong at any time.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;
use tokio::time::Instant;

use crate::topology::Queue;

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
    /// It let go because something that it needs was away for long.
    Outage,
    /// It said nothing: it died, or lost its connection. What it had begun may still happen.
    Lost,
}

/// How a worker lets go of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaving {
    /// What it had begun is finished.
    Finished,
    /// The same, and something that it needs is away.
    Outage,
}

/// The hints of one fleet: one for those who take from inboxes, one for those who take from partitions.
#[async_trait]
pub trait Hints: Send + Sync + 'static {
    /// Announces a member for so long, and returns all that are announced.
    async fn announce(&self, member: &str, lasts: Duration) -> Result<Vec<String>, Away>;

    /// Takes an announcement back.
    async fn withdraw(&self, member: &str) -> Result<(), Away>;

    /// Notes that work on these queues goes on.
    async fn goes_on(&self, queues: &[Queue]) -> Result<(), Away>;

    /// How long ago that was noted last for each of these; `None` where it never was.
    async fn went_on(&self, queues: &[Queue]) -> Result<Vec<Option<Duration>>, Away>;

    /// Notes that a member has a queue now; returns how the one before let go of it.
    async fn take(&self, queue: Queue, member: &str) -> Result<Before, Away>;

    /// Notes that a member lets go of queues. Of one that another has taken since, nothing is noted.
    async fn let_go(&self, queues: &[Queue], member: &str, how: Leaving) -> Result<(), Away>;
}

/// Hints inside one process, for simulations of fleets. Tests make faults with it.
#[derive(Debug, Default)]
pub struct MemoryHints {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    away: bool,
    members: HashMap<String, Instant>,
    went_on: HashMap<Queue, Instant>,
    tenures: HashMap<Queue, (String, Before)>,
}

impl MemoryHints {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Does not answer, until told to answer again.
    pub fn be_away(&self, away: bool) {
        self.lock().away = away;
    }

    /// Forgets everything.
    pub fn forget(&self) {
        let mut state = self.lock();
        *state = State { away: state.away, ..State::default() };
    }

    /// Who is announced.
    pub fn members(&self) -> Vec<String> {
        self.lock().live()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self) -> Result<MutexGuard<'_, State>, Away> {
        let state = self.lock();
        if state.away { Err(Away("told to by a test".to_owned())) } else { Ok(state) }
    }
}

impl State {
    fn live(&mut self) -> Vec<String> {
        let now = Instant::now();
        self.members.retain(|_, until| *until > now);
        let mut members: Vec<String> = self.members.keys().cloned().collect();
        members.sort();
        members
    }
}

#[async_trait]
impl Hints for MemoryHints {
    async fn announce(&self, member: &str, lasts: Duration) -> Result<Vec<String>, Away> {
        tokio::task::yield_now().await;
        let mut state = self.ask()?;
        state.members.insert(member.to_owned(), Instant::now() + lasts);
        Ok(state.live())
    }

    async fn withdraw(&self, member: &str) -> Result<(), Away> {
        self.ask()?.members.remove(member);
        Ok(())
    }

    async fn goes_on(&self, queues: &[Queue]) -> Result<(), Away> {
        let now = Instant::now();
        self.ask()?.went_on.extend(queues.iter().map(|queue| (*queue, now)));
        Ok(())
    }

    async fn went_on(&self, queues: &[Queue]) -> Result<Vec<Option<Duration>>, Away> {
        let state = self.ask()?;
        Ok(queues.iter().map(|queue| state.went_on.get(queue).map(Instant::elapsed)).collect())
    }

    async fn take(&self, queue: Queue, member: &str) -> Result<Before, Away> {
        let before = self.ask()?.tenures.insert(queue, (member.to_owned(), Before::Lost));
        Ok(before.map_or(Before::Unknown, |(_, before)| before))
    }

    async fn let_go(&self, queues: &[Queue], member: &str, how: Leaving) -> Result<(), Away> {
        let mut state = self.ask()?;
        for queue in queues {
            if let Some((holder, before)) = state.tenures.get_mut(queue)
                && holder == member
            {
                *before = match how {
                    Leaving::Finished => Before::Finished,
                    Leaving::Outage => Before::Outage,
                };
            }
        }
        Ok(())
    }
}
