//! What fell and what was noticed, in the order in which it happened.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::schedule::{Fault, Kind};

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
    /// Those that could not be carried out.
    pub(crate) spoilt: Vec<String>,
}

impl Journal {
    /// A fault begins.
    pub(crate) fn fell(&self, fault: &Fault) {
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
