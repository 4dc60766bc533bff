//! What waits in the journal for room: who does, and how it comes back.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use domain::dead_letter::LetterId;
use tokio_util::sync::CancellationToken;

use super::{REFUSED_WAIT, Settler, jittered};
use crate::error::{Error, PublishError};
use crate::handler::{Handler, Job};
use crate::journal::entry::LANE_OVERFLOW;
use crate::journal::fold::{Letter, LetterState};
use crate::journal::tail::JournalTail;
use crate::message::{Message, RELEASE, SEQUENCE_KEY};
use crate::topology::{Queue, Target};

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
        job.key.as_deref().is_some_and(|key| self.waits_for_room(key)) && self.blocked_by(job).is_some()
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
            delivery: Mutex::new(None),
        };
        if let Some(announcement) = handler.letter_announcement(&job, &failure, &id) {
            self.announce(&announcement).await.map_err(|error| Error::Lost(error.to_string()))?;
        }
        Ok(())
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
                () = tokio::time::sleep(jittered(REFUSED_WAIT)) => {}
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
