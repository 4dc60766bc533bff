//! What fell and what was noticed, in the order in which it happened.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};

use super::schedule::{Fault, Kind, Subject};

/// A fault that cannot begin within this of its time does not fall.
const LATEST: Duration = Duration::from_secs(5);
/// The same of one of whose kind none has fallen yet.
const LATEST_FIRST: Duration = Duration::from_mins(1);

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

    fn is(&self, fault: &Fault) -> bool {
        (self.at, self.kind, self.subject) == (fault.at, fault.kind, fault.subject)
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
    /// How many of each kind met nothing on which they could fall: no request, no connection, no program.
    pub(crate) missed: BTreeMap<Kind, usize>,
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
        let is_first = !self.entries().fallen.contains_key(&fault.kind);
        let late = due.elapsed() > if is_first { LATEST_FIRST } else { LATEST };
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

    /// A fault is over, and its subject at work again. One that `met` nothing did not fall.
    pub(crate) fn over(&self, fault: &Fault, met: bool) {
        if !met {
            *self.entries().missed.entry(fault.kind).or_default() += 1;
            return self.take_back(fault);
        }
        if let Some(span) = self.entries().spans.iter_mut().rev().find(|span| span.is(fault)) {
            span.to = Some(Timestamp::now().as_millisecond());
        }
    }

    /// What was not made counts for nothing, and excuses nothing.
    fn take_back(&self, fault: &Fault) {
        let mut entries = self.entries();
        if let Some(place) = entries.spans.iter().rposition(|span| span.is(fault)) {
            entries.spans.remove(place);
            let fallen = entries.fallen.entry(fault.kind).or_default();
            *fallen -= 1;
            if *fallen == 0 {
                entries.fallen.remove(&fault.kind);
            }
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

    /// A fault could not be carried out, and did not fall.
    pub(crate) fn spoil(&self, fault: &Fault, error: &anyhow::Error) {
        self.entries().spoilt.push(format!("{fault}: {error:#}"));
        self.take_back(fault);
    }

    /// All so far.
    pub(crate) fn so_far(&self) -> Entries {
        self.entries().clone()
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(at: u64, kind: Kind, subject: Subject) -> Fault {
        Fault { at: Duration::from_millis(at), lasting: Duration::ZERO, kind, subject, trouble: None }
    }

    #[tokio::test]
    async fn a_fault_that_could_not_be_made_or_met_nothing_did_not_fall_and_leaves_no_span() {
        let (journal, began) = (Journal::default(), Instant::now());
        let flushes = [0, 1].map(|at| fault(at, Kind::Flush, Subject::Redis));
        let locks = fault(2, Kind::Locks, Subject::Org);
        for fault in flushes.iter().chain([&locks]) {
            assert!(journal.begins(fault, began).await);
        }
        assert_eq!(journal.so_far().spans.len(), 3);
        journal.spoil(&flushes[0], &anyhow::anyhow!("it does not answer"));
        journal.over(&flushes[1], true);
        journal.over(&locks, false);
        let entries = journal.so_far();
        assert_eq!(entries.fallen, BTreeMap::from([(Kind::Flush, 1)]));
        assert_eq!(entries.missed, BTreeMap::from([(Kind::Locks, 1)]));
        assert_eq!(entries.spoilt.len(), 1);
        let [span] = &entries.spans[..] else { panic!("{entries:?}") };
        assert!(span.is(&flushes[1]) && span.to.is_some());
    }
}
