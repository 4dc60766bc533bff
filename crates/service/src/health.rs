//! Whether the process lives, and whether it is ready.
//!
//! *Live* asks nobody else: the program's loop turned not long ago. *Ready* is a list of named conditions that the parts
//! of the program report. An outage of a neighbour that a restart does not heal belongs into neither.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How old the last heartbeat may be.
pub const LIVE_WITHIN: Duration = Duration::from_secs(30);

/// One thing that must be so before the process is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// It is so.
    Ready,
    /// It is not, and why: a sentence for the operator.
    NotReady(String),
}

/// Where the parts of a program report, and the admin port looks. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    conditions: BTreeMap<&'static str, Condition>,
    last_beat: Option<Instant>,
}

impl Health {
    /// Reports a condition, for the first time or anew. A program without any reported condition is not ready, so each
    /// part reports `NotReady` when it starts and `Ready` when it is.
    pub fn set(&self, name: &'static str, condition: Condition) {
        self.state().conditions.insert(name, condition);
    }

    /// Shorthand for a condition that is not so.
    pub fn not_ready(&self, name: &'static str, reason: impl Into<String>) {
        self.set(name, Condition::NotReady(reason.into()));
    }

    /// The main loop turned. From the first call on it must come again within [`LIVE_WITHIN`].
    pub fn beat(&self) {
        self.state().last_beat = Some(Instant::now());
    }

    /// Every condition, by name.
    pub fn conditions(&self) -> BTreeMap<&'static str, Condition> {
        self.state().conditions.clone()
    }

    /// Whether there are conditions and all are met.
    pub fn is_ready(&self) -> bool {
        let state = self.state();
        !state.conditions.is_empty() && state.conditions.values().all(|condition| *condition == Condition::Ready)
    }

    /// Whether the loop turned recently enough, at this moment.
    pub fn is_live(&self, now: Instant) -> bool {
        self.state().last_beat.is_none_or(|beat| now.saturating_duration_since(beat) <= LIVE_WITHIN)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing panics while it is held, and every state is a valid one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reported_is_not_ready() {
        let health = Health::default();
        assert!(!health.is_ready());
        health.set("rabbitmq", Condition::Ready);
        assert!(health.is_ready());
        health.not_ready("redis", "connecting");
        assert!(!health.is_ready());
    }

    #[test]
    fn a_loop_that_stands_still_is_not_live() {
        let health = Health::default();
        let now = Instant::now();
        assert!(health.is_live(now + Duration::from_hours(1)), "no heartbeat was promised");
        health.beat();
        assert!(health.is_live(Instant::now()));
        assert!(!health.is_live(Instant::now() + LIVE_WITHIN + Duration::from_secs(1)));
    }
}
