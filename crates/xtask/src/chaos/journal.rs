//! What fell and what was noticed, in the order in which it happened.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};

use super::schedule::{Fault, Kind, Subject};

/// A fault that cannot begin within this of its time does not fall.
const LATEST: Duration = Duration::from_secs(5);

/// Filled from everywhere while faults fall.
#[derive(Debug, Default)]
pub(crate) struct Journal(Mutex<Entries>);

/// A fault as it fell.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) kind: Kind,
    pub(crate) subject: Subject,
    /// In milliseconds since 1970.
    pub(crate) from: i64,
    /// When it was over; `None` while it lasts.
    pub(crate) to: Option<i64>,
    /// When it was planned, which with its subject makes it one of its kind.
    at: Duration,
}

impl Span {
    /// One for a test.
    #[cfg(test)]
    pub(crate) fn of(kind: Kind, subject: Subject, from: i64, to: i64) -> Self {
        Self { kind, subject, from, to: Some(to), at: Duration::ZERO }
    }

    /// Whether it lasted at any time between these two.
    pub(crate) fn touches(&self, from: i64, to: i64) -> bool {
        self.from <= to && self.to.is_none_or(|end| end >= from)
    }
}

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
    /// When each fell.
    pub(crate) spans: Vec<Span>,
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
        let Fault { at, kind, subject, .. } = *fault;
        entries.spans.push(Span { kind, subject, from: Timestamp::now().as_millisecond(), to: None, at });
    }

    /// A fault is over, and its subject at work again.
    pub(crate) fn over(&self, fault: &Fault) {
        let same = |span: &&mut Span| (span.at, span.kind, span.subject) == (fault.at, fault.kind, fault.subject);
        if let Some(span) = self.entries().spans.iter_mut().rev().find(same) {
            span.to = Some(Timestamp::now().as_millisecond());
        }
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
