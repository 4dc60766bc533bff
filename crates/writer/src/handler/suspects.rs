//! Orders with which in hand one process after another has died: they go alone, and in the end not at all.
//!
//! A claim that its owner's end left open names the orders that were in flight, and not the many more that were only
//! prefetched. All but one of them are innocent, so that one is found by trying them one by one.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::failure::{Failure, Reason};
use domain::order::id::OrderId;
use domain::outcome::Outcome;
use domain::settlement::Settlement;
use queue::handler::{Job, Verdict};

use super::{OrderWriter, order_of};
use crate::attempt::{Attempt, Stage};

/// After so many deaths an order goes alone: nothing else of its kind is in this process's hands then.
pub(super) const ALONE: u32 = 3;

/// After so many it is not tried again.
const POISON: u32 = 5;

/// How long a suspect waits while another one is tried.
const TURN: Duration = Duration::from_millis(250);

/// So many are remembered. What is forgotten costs a claim more.
const REMEMBERED: usize = 4096;

/// The suspects of this process.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    /// Held while one is tried: two at once would be blamed for each other.
    turn: tokio::sync::Mutex<()>,
    known: Mutex<HashSet<OrderId>>,
}

/// One suspect's turn.
pub(super) type Turn<'a> = tokio::sync::MutexGuard<'a, ()>;

impl Suspects {
    fn known(&self) -> MutexGuard<'_, HashSet<OrderId>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OrderWriter {
    /// A known suspect's turn, or when to ask for it again. Nothing is claimed while it waits: what is not held when
    /// another order ends this process is not blamed.
    pub(super) fn turn<I>(&self, jobs: &[&Arc<Job<I>>]) -> Result<Option<Turn<'_>>, Vec<Verdict>> {
        let [job] = jobs else { return Ok(None) };
        if !self.is_suspect(job) {
            return Ok(None);
        }
        let again = || vec![Verdict { alone: true, ..Verdict::of(Settlement::Again { after: TURN }) }];
        self.suspects.turn.try_lock().map(Some).map_err(|_| again())
    }

    /// Whether this process knows it as a suspect.
    pub(super) fn is_suspect<I>(&self, job: &Job<I>) -> bool {
        order_of(job).is_some_and(|order| self.suspects.known().contains(&order))
    }

    /// Sets suspects apart: whoever has no turn goes back unused, and goes alone the next time.
    pub(super) fn set_suspects_apart(&self, attempts: &mut [Attempt<'_>], has_turn: bool) {
        let suspects = attempts.iter_mut().filter(|attempt| attempt.is_open() && attempt.attempts.crashes >= ALONE);
        let mut known = self.suspects.known();
        for suspect in suspects.filter(|_| !has_turn) {
            if known.len() >= REMEMBERED {
                known.clear();
            }
            known.insert(suspect.event.order_id().clone());
            suspect.end(Outcome::Halted);
            suspect.alone = true;
        }
    }

    /// Gives up what would be sent once too often. It was looked up before: it is not in the org.
    pub(super) fn give_poison_up(attempts: &mut [Attempt<'_>]) {
        let sent_too_often =
            |attempt: &&mut Attempt<'_>| matches!(attempt.stage, Stage::Send) && attempt.attempts.crashes >= POISON;
        for attempt in attempts.iter_mut().filter(sent_too_often) {
            let crashes = attempt.attempts.crashes;
            tracing::error!(order = %attempt.event.order_id(), crashes, "an order that ends processes is given up");
            let message = format!(
                "{crashes} processes ended while they had this order in hand, at the last with no other suspect"
            );
            attempt.end(Outcome::Failed(Failure::permanent(Reason::Poison, message)));
        }
    }

    /// What is settled is no suspect any more.
    pub(super) fn clear_suspects(&self, attempts: &[Attempt<'_>]) {
        let mut known = self.suspects.known();
        if known.is_empty() {
            return;
        }
        for attempt in attempts.iter().filter(|attempt| !attempt.alone) {
            known.remove(attempt.event.order_id());
        }
    }
}
