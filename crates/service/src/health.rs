//! Whether the process lives, and whether it is ready.
//!
//! *Live* asks nobody else: the program's loop turned not long ago. *Ready* is a list of named conditions that the parts
//! of the program report. An outage of a neighbour that a restart does not heal belongs into neither; it is told among the
//! metrics, as `causeway_dependency_up`, beside those that the conditions are about.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Opts};
use tokio::time::Instant;

/// The condition that says that the process is ending.
pub(crate) const LIFECYCLE: &str = "lifecycle";

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
    /// Neighbours that no condition is about.
    neighbours: BTreeMap<&'static str, bool>,
    /// What an operator should know although it makes the process neither dead nor unready.
    notices: BTreeMap<&'static str, String>,
    was_ready: bool,
    last_beat: Option<Instant>,
}

impl Health {
    /// Reports a condition, for the first time or anew. A program without any reported condition is not ready, so each
    /// part reports `NotReady` when it starts and `Ready` when it is.
    pub fn set(&self, name: &'static str, condition: Condition) {
        let mut state = self.state();
        state.conditions.insert(name, condition);
        state.was_ready |= state.is_ready();
    }

    /// Shorthand for a condition that is not so.
    pub fn not_ready(&self, name: &'static str, reason: impl Into<String>) {
        self.set(name, Condition::NotReady(reason.into()));
    }

    /// Reports whether a neighbour answers whose absence is no reason to restart or unroute the process.
    pub fn neighbour(&self, name: &'static str, up: bool) {
        self.state().neighbours.insert(name, up);
    }

    /// Tells, or no longer tells, what an operator should know although it makes the process neither dead nor unready.
    pub fn notice(&self, name: &'static str, notice: Option<String>) {
        let notices = &mut self.state().notices;
        match notice {
            Some(notice) => notices.insert(name, notice),
            None => notices.remove(name),
        };
    }

    /// Every notice, by name.
    pub fn notices(&self) -> BTreeMap<&'static str, String> {
        self.state().notices.clone()
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
        self.state().is_ready()
    }

    /// Whether the process has been ready at any time.
    pub fn was_ready(&self) -> bool {
        self.state().was_ready
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

impl State {
    fn is_ready(&self) -> bool {
        !self.conditions.is_empty() && self.conditions.values().all(|condition| *condition == Condition::Ready)
    }
}

/// What a process depends on, as a metric that is computed when it is asked for.
pub(crate) struct Dependencies {
    health: Health,
    up: IntGaugeVec,
}

impl Dependencies {
    pub(crate) fn of(health: Health) -> prometheus::Result<Self> {
        let help =
            "1 while this process reaches what it depends on, 0 while it does not: rabbitmq, redis, salesforce, limio.";
        let up = IntGaugeVec::new(Opts::new("dependency_up", help), &["dependency"])?;
        Ok(Self { health, up })
    }
}

impl Collector for Dependencies {
    fn desc(&self) -> Vec<&Desc> {
        self.up.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let state = self.health.state();
        let conditions = state.conditions.iter().filter(|(name, _)| **name != LIFECYCLE);
        let conditions = conditions.map(|(name, condition)| (*name, *condition == Condition::Ready));
        for (name, up) in conditions.chain(state.neighbours.iter().map(|(name, up)| (*name, *up))) {
            self.up.with_label_values(&[name]).set(i64::from(up));
        }
        self.up.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_is_up_while_its_condition_is_met_or_its_neighbour_answers() {
        let health = Health::default();
        let dependencies = Dependencies::of(health.clone()).expect("a metric");
        let told = || {
            let families = dependencies.collect();
            let metrics = families.iter().flat_map(MetricFamily::get_metric);
            metrics
                .map(|metric| (metric.get_label()[0].value().to_owned(), metric.get_gauge().get_value()))
                .collect::<BTreeMap<_, _>>()
        };
        let expected = |values: &[(&str, f64)]| -> BTreeMap<String, f64> {
            values.iter().map(|(name, up)| ((*name).to_owned(), *up)).collect()
        };
        assert_eq!(told(), expected(&[]));
        health.not_ready("rabbitmq", "not connected yet");
        health.neighbour("salesforce", true);
        assert_eq!(told(), expected(&[("rabbitmq", 0.0), ("salesforce", 1.0)]));
        health.set("rabbitmq", Condition::Ready);
        health.neighbour("salesforce", false);
        health.not_ready(LIFECYCLE, "draining");
        assert_eq!(told(), expected(&[("rabbitmq", 1.0), ("salesforce", 0.0)]));
    }

    #[test]
    fn a_neighbour_that_is_away_leaves_the_process_ready_and_a_process_was_ready_once_it_has_been() {
        let health = Health::default();
        assert!(!health.was_ready());
        health.neighbour("salesforce", false);
        health.set("rabbitmq", Condition::Ready);
        assert!(health.is_ready());
        health.not_ready("rabbitmq", "away");
        assert!(!health.is_ready() && health.was_ready());
    }

    #[test]
    fn a_notice_is_told_until_it_is_taken_back_and_the_process_stays_ready() {
        let health = Health::default();
        health.set("rabbitmq", Condition::Ready);
        health.notice("salesforce", Some("away until 12:00".to_owned()));
        assert!(health.is_ready());
        assert_eq!(health.notices(), BTreeMap::from([("salesforce", "away until 12:00".to_owned())]));
        health.notice("salesforce", None);
        assert!(health.notices().is_empty());
    }

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
