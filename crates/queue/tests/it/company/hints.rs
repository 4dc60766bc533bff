//! What the workers of a fleet tell each other beside the broker, inside one process, and what may be wrong with it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use service::hints::{Away, Before, Hints, Leaving, Taken};
use tokio::time::Instant;

/// Hints inside one process.
#[derive(Debug, Default)]
pub(crate) struct MemoryHints {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    away: bool,
    since: Instant,
    members: HashMap<String, Instant>,
    went_on: HashMap<u16, Instant>,
    tenures: HashMap<u16, (String, Before)>,
}

impl MemoryHints {
    /// Does not answer, until told to answer again.
    pub(crate) fn be_away(&self, away: bool) {
        self.lock().away = away;
    }

    /// Forgets everything.
    pub(crate) fn forget(&self) {
        let mut state = self.lock();
        *state = State { away: state.away, ..State::default() };
    }

    /// Who is announced.
    pub(crate) fn members(&self) -> Vec<String> {
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

impl Default for State {
    fn default() -> Self {
        let (members, went_on, tenures) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { away: false, since: Instant::now(), members, went_on, tenures }
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

    async fn goes_on(&self, queues: &[u16]) -> Result<(), Away> {
        let now = Instant::now();
        self.ask()?.went_on.extend(queues.iter().map(|queue| (*queue, now)));
        Ok(())
    }

    async fn went_on(&self, queues: &[u16]) -> Result<Vec<Option<Duration>>, Away> {
        let state = self.ask()?;
        Ok(queues.iter().map(|queue| state.went_on.get(queue).map(Instant::elapsed)).collect())
    }

    async fn take(&self, queue: u16, member: &str) -> Result<Taken, Away> {
        let mut state = self.ask()?;
        let before = state.tenures.insert(queue, (member.to_owned(), Before::Lost));
        let before = before.map_or(Before::Unknown, |(_, before)| before);
        Ok(Taken { before, remembers: state.since.elapsed() })
    }

    async fn let_go(&self, queues: &[u16], member: &str, how: Leaving) -> Result<(), Away> {
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
