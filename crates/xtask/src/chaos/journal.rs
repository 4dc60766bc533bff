//! What fell and what was noticed, in the order in which it happened.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::schedule::{Fault, Kind};

/// A fault that cannot begin within this of its time does not fall.
const LATEST: Duration = Duration::from_secs(5);

/// Filled from everywhere while faults fall.
#[derive(Debug, Default)]
pub(crate) struct Journal(Mutex<Entries>);

/// What a journal holds.
#[derive(Debug, Default, Clone)]
pub(crate) struct Entries {
    /// How many faults of each kind fell.
    pub(crate) fallen: BTreeMap<Kind, usize>,
    /// How many requests or rows the org's faults went off on, by kind.
    pub(crate) hits: BTreeMap<Kind, u64>,
    /// What a program should not have done.
    pub(crate) failures: Vec<String>,
    /// What is worth telling and no failure.
    pub(crate) notes: Vec<String>,
    /// The last one that fell.
    pub(crate) last: Option<Fault>,
    /// How many did not fall because their subject had not recovered from another.
    pub(crate) left_out: usize,
    /// Those that could not be carried out.
    pub(crate) spoilt: Vec<String>,
}

impl Journal {
    /// Waits until a fault is due. `false` when its subject still recovered from the one before long after that: then it
    /// does not fall, for a run is to end.
    pub(crate) async fn begins(&self, fault: &Fault, began: Instant) -> bool {
        let due = began + fault.at;
        sleep_until(due).await;
        let late = due.elapsed() > LATEST;
        if late {
            self.entries().left_out += 1;
        } else {
            self.fell(fault);
        }
        !late
    }

    /// A fault begins.
    fn fell(&self, fault: &Fault) {
        let mut entries = self.entries();
        *entries.fallen.entry(fault.kind).or_default() += 1;
        entries.last = Some(*fault);
    }

    /// A fault of the org went off so many times.
    pub(crate) fn hit(&self, kind: Kind, times: u64) {
        *self.entries().hits.entry(kind).or_default() += times;
    }

    /// A program did what it should not.
    pub(crate) fn fail(&self, what: String) {
        self.entries().failures.push(what);
    }

    /// Something worth telling.
    pub(crate) fn note(&self, what: String) {
        self.entries().notes.push(what);
    }

    /// A fault could not be carried out.
    pub(crate) fn spoil(&self, fault: &Fault, error: &anyhow::Error) {
        self.entries().spoilt.push(format!("{fault}: {error:#}"));
    }

    /// All so far.
    pub(crate) fn so_far(&self) -> Entries {
        self.entries().clone()
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
