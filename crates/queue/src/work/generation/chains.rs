//! The letters of a released customer: they go through the customer's lane again, before the control message that released
//! them, until none is left or one fails.

use std::sync::Arc;
use std::time::Duration;

use domain::dead_letter::LetterId;

use super::{Done, Generation};
use crate::error::Error;
use crate::handler::{Handler, Job, note};
use crate::journal::entry::LANE_OVERFLOW;
use crate::lanes::{ItemId, Next, Time};
use crate::message::Message;
use crate::settle::{Answer, Behind, jittered};

/// How many letters of a customer are fetched from the journal at a time.
pub(super) const CHAIN_STEP: usize = 16;

/// How many customers' letters are read from the journal at once.
pub(super) const CHAIN_READERS: usize = 4;

/// How long a release waits when the journal could not be read for it.
const CHAIN_WAIT: Duration = Duration::from_secs(5);

impl<H: Handler> Generation<H> {
    /// A control message is at the head of its customer's lane.
    pub(super) fn release(&mut self, id: ItemId, job: Arc<Job<H::Item>>) {
        let key = job.key.clone().unwrap_or_default();
        let by_operator = job.message.id != LANE_OVERFLOW;
        let is_early = !by_operator && self.overflow.waits_until(&key).is_some();
        let (settler, handler) = (Arc::clone(&self.settler), Arc::clone(&self.handler));
        self.tasks.spawn(async move {
            if !by_operator
                && job.redelivered()
                && let Err(error) = settler.tell_death_again(handler.as_ref(), &job, &key).await
            {
                return Done::Chain(id, Err(error));
            }
            if is_early {
                return Done::Answers(vec![(id, settler.acknowledge(&job).await)]);
            }
            Done::Chain(id, settler.chain(&key, CHAIN_STEP, by_operator).await)
        });
    }

    /// An order at the head of its lane is behind letters of its customer: it waits there, too, or has them go before it.
    pub(super) fn goes_behind(&mut self, id: ItemId, job: Arc<Job<H::Item>>, behind: Behind) {
        let key = job.key.clone().unwrap_or_default();
        let (settler, handler) = (Arc::clone(&self.settler), Arc::clone(&self.handler));
        if !self.lets_others_in(&job, &behind) {
            self.tasks.spawn(async move {
                if job.redelivered()
                    && let Err(error) = settler.tell_death_again(handler.as_ref(), &job, &key).await
                {
                    tracing::warn!(%error, "the death of an order was not told; tried again");
                    return Done::Answers(vec![(id, Answer::Again(jittered(CHAIN_WAIT)))]);
                }
                Done::Answers(vec![(id, settler.hold(handler.as_ref(), &job, behind).await)])
            });
        } else if self.goes_with_its_lane(&key, &job) {
            self.move_away(&key);
        } else if let Some(until) = self.overflow.waits_until(&key) {
            self.lanes.answered(self.now(), id, Next::At(until.saturating_duration_since(self.started)));
        } else {
            self.tasks.spawn(async move { Done::Chain(id, settler.chain(&key, CHAIN_STEP, false).await) });
        }
    }

    /// The next letters of the customer that a control message released, or why they could not be read.
    pub(super) fn chain_read(&mut self, control: ItemId, letters: Result<Vec<(LetterId, Message)>, Error>) {
        match letters {
            Ok(letters) => self.expand(control, letters),
            Err(error) => {
                tracing::warn!(%error, "a customer's letters were not read, or the death of the first was not told; tried again");
                self.lanes.answered(self.now(), control, Next::At(self.now() + jittered(CHAIN_WAIT)));
            }
        }
    }

    /// Puts a customer's letters before the control message that released them, or the order that is behind them; with none
    /// left the control message is done, and the order waits where they do, or goes.
    fn expand(&mut self, control: ItemId, mut letters: Vec<(LetterId, Message)>) {
        let Some(job) = self.jobs.get(&control).cloned() else { return };
        self.may_go(job.key.as_deref().unwrap_or_default(), job.queue, &mut letters);
        if letters.is_empty() {
            let (settler, handler) = (Arc::clone(&self.settler), Arc::clone(&self.handler));
            if job.control {
                self.lets_in_nothing(&job);
                self.tasks.spawn(async move { Done::Answers(vec![(control, settler.acknowledge(&job).await)]) });
            } else if let Some(behind) = settler.behind(&job) {
                self.tasks.spawn(async move {
                    Done::Answers(vec![(control, settler.hold(handler.as_ref(), &job, behind).await)])
                });
            } else {
                self.lanes.answered(self.now(), control, Next::At(Time::ZERO));
            }
            return;
        }
        let mut chain = Vec::with_capacity(letters.len());
        for (letter, message) in letters {
            let mut job_of_letter = self.job(message, job.queue, Some(letter), None);
            // Whatever its body says now, the letter drains in the lane that it blocks.
            job_of_letter.key.clone_from(&job.key);
            note(self.handler.as_ref(), &job_of_letter, || self.settler.released(&job_of_letter));
            let id = self.next_id();
            let job_of_letter = Arc::new(job_of_letter);
            self.jobs.insert(id, Arc::clone(&job_of_letter));
            chain.push((id, job_of_letter));
        }
        let chain: Vec<(ItemId, &[String])> = chain.iter().map(|(id, job)| (*id, job.shares.as_slice())).collect();
        self.lanes.insert_before(control, &chain);
        self.lanes.answered(self.now(), control, Next::At(Time::ZERO));
    }

    /// A released letter failed again: its customer stays blocked, the rest of the chain stays in the journal, and the
    /// control message has done what it could.
    pub(super) fn stop_chain(&mut self, failed: ItemId) {
        let Some(job) = self.jobs.remove(&failed) else { return };
        let lane = self.lanes.items_of(job.key.as_deref().unwrap_or_default());
        for id in lane.into_iter().filter(|id| *id != failed) {
            let Some(other) = self.jobs.get(&id).cloned() else { continue };
            if other.letter.is_none() && !other.control {
                break;
            }
            self.lanes.forget(self.now(), id);
            if other.control {
                // It counts as work in hand until it is acknowledged.
                let settler = Arc::clone(&self.settler);
                self.tasks.spawn(async move { Done::Answers(vec![(id, settler.acknowledge(&other).await)]) });
                break;
            }
            self.jobs.remove(&id);
        }
        self.lanes.answered(self.now(), failed, Next::Done);
    }
}
