//! What waits in the journal for room: who does, and how it comes back.

use std::collections::HashSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use domain::dead_letter::LetterId;
use tokio_util::sync::CancellationToken;

use super::{Settler, jittered};
use crate::error::{Error, PublishError};
use crate::handler::{Handler, Job};
use crate::journal::entry::LANE_OVERFLOW;
use crate::journal::fold::{Fold, Letter, LetterState};
use crate::journal::tail::JournalTail;
use crate::message::{Message, RELEASE, SEQUENCE_KEY};
use crate::topology::{Queue, Target};

/// What an order has to wait behind.
#[derive(Debug)]
pub(crate) struct Behind {
    /// Its customer's first letter.
    pub(crate) letter: LetterId,
    /// That waits for room alone.
    pub(crate) for_room: bool,
}

impl Behind {
    pub(super) fn of<I>(fold: &Fold, job: &Job<I>) -> Option<Self> {
        let key = job.key.as_deref().filter(|key| job.letter.is_none() && fold.is_blocked(key))?;
        let letter = fold.before(key, job.own_letter())?.clone();
        Some(Self { letter, for_room: fold.waits_for_room(key) })
    }
}

/// Where an order goes in the journal for which there is no room.
#[derive(Debug)]
pub(crate) struct Place {
    /// Its customer's first letter, or the order itself.
    pub(super) behind: LetterId,
    /// What goes before it and is not in the journal.
    pub(super) ahead: Vec<LetterId>,
}

/// How long what lets a customer in waits for room in its partition.
const FULL_WAIT: Duration = Duration::from_secs(5);

impl Settler {
    /// Whether a letter waits for room alone.
    pub(crate) fn is_for_room(&self, letter: &LetterId) -> bool {
        self.tail.as_ref().is_some_and(|tail| tail.fold().letter(letter).is_some_and(Letter::waits_for_room))
    }

    /// Whether a customer's orders wait in the journal for room alone.
    pub(crate) fn waits_for_room(&self, key: &str) -> bool {
        self.tail.as_ref().is_some_and(|tail| tail.fold().waits_for_room(key))
    }

    /// Whether a customer's first letter waits for room alone, or for what was let in before it.
    pub(crate) fn may_be_let_in(&self, key: &str) -> bool {
        let fold = self.tail.as_ref().map(JournalTail::fold);
        let first = fold.as_ref().and_then(|fold| fold.line(key).next());
        first.is_some_and(|first| first.waits_for_room() || first.released_at.is_some())
    }

    /// Whether an order belongs behind others of its customer that wait in the journal for room.
    pub(crate) fn follows_overflow<I>(&self, job: &Job<I>) -> bool {
        self.behind(job).is_some_and(|behind| behind.for_room)
    }

    /// The place of an order that finds no room, after those that are in its customer's lane. All of it is of one moment:
    /// whatever an operator discards before it is written, those that go before it are named by its entry, or by that of the
    /// letter that it is behind.
    ///
    /// Where it comes behind letters that wait for room, nothing has to be said of those that the journal says go first; what
    /// will wait behind the customer's letters is said, so that it goes there before what came after it.
    pub(crate) fn place<'a, I: 'a>(&self, order: &Job<I>, lane: impl Iterator<Item = &'a Job<I>>) -> Place {
        let Some(tail) = &self.tail else { return Place { behind: order.own_letter().clone(), ahead: Vec::new() } };
        let fold = tail.fold();
        let key = order.key.as_deref().unwrap_or_default();
        let passing = fold.passing(key).filter(|passing| fold.waits_for_room(key) && !passing.may(order.own_letter()));
        let unsaid = lane.filter(|job| {
            passing.as_ref().is_none_or(|passing| job.letter.is_none() && !passing.may(job.own_letter()))
        });
        let ahead = unsaid.map(|job| job.letter.as_ref().unwrap_or_else(|| job.own_letter()).clone()).collect();
        Place { behind: fold.first(key).unwrap_or_else(|| order.own_letter()).clone(), ahead }
    }

    /// How many orders of a queue's customers wait in the journal for room, or behind those that do.
    pub(crate) fn overflowed_of(&self, queue: Queue) -> usize {
        let Some(tail) = &self.tail else { return 0 };
        let fold = tail.fold();
        fold.waiting_behind_room().filter(|(key, _)| self.queue_of(key) == queue).map(|(_, letters)| letters).sum()
    }

    /// Which of these letters of a customer may go now ([`crate::journal::fold::Fold::may_go`]).
    pub(crate) fn may_go<'a>(
        &self,
        key: &str,
        letters: impl IntoIterator<Item = &'a LetterId>,
        in_hand: Option<&HashSet<LetterId>>,
    ) -> Vec<LetterId> {
        self.tail.as_ref().map(|tail| tail.fold().may_go(key, letters, in_hand)).unwrap_or_default()
    }

    /// The customers of some queues whose orders wait in the journal for room alone.
    pub(crate) fn waiting_for_room(&self, of: impl Fn(Queue) -> bool) -> Vec<String> {
        let Some(tail) = &self.tail else { return Vec::new() };
        let fold = tail.fold();
        fold.waiting_for_room().filter(|key| of(self.queue_of(key))).map(str::to_owned).collect()
    }

    /// A customer's first letter.
    pub(crate) fn first(&self, key: &str) -> Option<LetterId> {
        self.tail.as_ref().and_then(|tail| tail.fold().first(key).cloned())
    }

    /// Where a customer's orders come.
    pub(crate) fn queue_of(&self, key: &str) -> Queue {
        Queue::Partition(self.topology.partition_of(key))
    }

    /// The control message that let a customer's orders in comes again. Where the first of them has died, nobody knows whether
    /// that was told: it is told once more.
    ///
    /// # Errors
    /// The journal could not be read, or it could not be told.
    pub(crate) async fn tell_death_again<H: Handler>(
        &self,
        handler: &H,
        control: &Job<H::Item>,
        key: &str,
    ) -> Result<(), Error> {
        let Some(tail) = &self.tail else { return Ok(()) };
        let first = tail.fold().line(key).next().cloned();
        let Some(Letter { id, state: LetterState::Dead(failure), ahead: Some(_), released_at: None, .. }) = first
        else {
            return Ok(());
        };
        // Every order behind it comes here.
        if self.told_again().contains(&id) {
            return Ok(());
        }
        let Ok(_reading) = self.chain_readers.acquire().await else { return Ok(()) };
        let Some((_, message)) = tail.chain_messages(key, 1, true).await?.into_iter().next() else { return Ok(()) };
        let sorted = handler.sort(&message);
        let job = Job {
            message,
            queue: control.queue,
            key: Some(key.to_owned()),
            order_id: sorted.order_id,
            order_type: sorted.order_type,
            item: sorted.item,
            letter: Some(id.clone()),
            waited_for_room: true,
            shares: Vec::new(),
            control: false,
            given_up: AtomicBool::new(true),
            own_letter: OnceLock::new(),
            delivery: Mutex::new(None),
        };
        if let Some(announcement) = handler.letter_announcement(&job, &failure, &id) {
            self.announce(&announcement).await.map_err(|error| Error::Lost(error.to_string()))?;
        }
        let mut told = self.told_again();
        told.retain(|letter| tail.fold().letter(letter).is_some());
        told.insert(id);
        Ok(())
    }

    fn told_again(&self) -> MutexGuard<'_, HashSet<LetterId>> {
        self.told_again.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes the control message that lets a customer's orders in: it goes to its partition, behind everything that is
    /// there already. Returns whether it is stored; tried until then, or until told to stop: the partition may be full.
    ///
    /// # Errors
    /// Nobody knows whether it is.
    pub(crate) async fn let_in(&self, key: &str, stop: &CancellationToken) -> Result<bool, Error> {
        while !self.wake(key).await? {
            tokio::select! {
                () = stop.cancelled() => return Ok(false),
                () = tokio::time::sleep(jittered(FULL_WAIT)) => {}
            }
        }
        Ok(true)
    }

    /// Tries the same once. It wakes whoever owns the partition, or makes somebody own it; a partition that is full does that
    /// without.
    ///
    /// # Errors
    /// Nobody knows whether it is stored.
    pub(crate) async fn wake(&self, key: &str) -> Result<bool, Error> {
        let control = Message {
            id: LANE_OVERFLOW.to_owned(),
            kind: Some(RELEASE.to_owned()),
            headers: [(SEQUENCE_KEY.to_owned(), key.to_owned())].into(),
            ..Message::default()
        };
        let partition = Target::Partition(self.topology.partition_of(key));
        match self.session.publish(&partition, &control).await {
            Ok(()) => Ok(true),
            Err(PublishError::Refused) => Ok(false),
            Err(error @ (PublishError::Unroutable(_) | PublishError::Unknown(_))) => {
                Err(Error::Lost(error.to_string()))
            }
        }
    }
}
