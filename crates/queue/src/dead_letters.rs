//! The operator's way into the journal: look, release, publish again, discard.
//!
//! Looking changes nothing. Acting appends an entry, and, to let a customer's letters go, sends a small control message to
//! the customer's partition: whoever receives it owns the partition by that very fact, drains the customer's letters oldest
//! first through the normal path, and keeps newer orders of the customer behind them.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use domain::dead_letter::LetterId;
use uuid::Uuid;

use crate::error::{Error, PublishError, VisitError};
use crate::journal::entry::{Before, Entry, EntryKind, PUBLISHED};
use crate::journal::fold::{ClosedLetter, Letter};
use crate::journal::tail::{JournalTail, messages_at};
use crate::message::{LINK, Message, RELEASE, SEQUENCE_KEY};
use crate::session::{Broker, Session};
use crate::topology::{Target, Topology};

/// The open letters of one fleet, as of the last [`DeadLetters::refresh`].
pub struct DeadLetters {
    session: Arc<dyn Session>,
    topology: Topology,
    tail: JournalTail,
    by: String,
}

impl DeadLetters {
    /// Connects to a fleet that is there, and reads the journal up to now. Declares nothing: a mistyped namespace is told and
    /// leaves nothing behind. `by` names the operator in what is appended.
    ///
    /// # Errors
    /// There is no such fleet, its topology differs, or the broker cannot be reached.
    pub async fn open(broker: &dyn Broker, by: &str) -> Result<Self, VisitError> {
        let session = broker.visit().await?;
        let tail = JournalTail::start(Arc::clone(&session), by).await?;
        Ok(Self { session, topology: broker.topology().clone(), tail, by: by.to_owned() })
    }

    /// Reads whatever was appended since.
    pub async fn refresh(&self) -> Result<(), Error> {
        self.tail.barrier().await
    }

    /// Every open letter, oldest first.
    pub fn letters(&self) -> Vec<Letter> {
        self.tail.fold().open_letters().into_iter().cloned().collect()
    }

    /// Those of the open letters that are no failures: they wait for room in their customer's lane, and come back by
    /// themselves.
    pub fn overflowed(&self) -> HashSet<LetterId> {
        self.tail.fold().overflowed().map(|letter| letter.id.clone()).collect()
    }

    /// The letters that were closed last, the latest first, at most [`crate::journal::fold::CLOSED_KEPT`].
    pub fn closed(&self) -> Vec<ClosedLetter> {
        self.tail.fold().closed_letters().into_iter().cloned().collect()
    }

    /// The messages of letters, as they were delivered. Letters that retention has dropped are left out.
    pub async fn messages(&self, letters: &[Letter]) -> Result<Vec<(LetterId, Message)>, Error> {
        let wanted =
            letters.iter().filter_map(|letter| letter.offset.map(|offset| (letter.id.clone(), offset))).collect();
        // A mark at the end, so that reading ends even when the last letters wanted are no longer kept.
        self.tail.barrier().await?;
        messages_at(&self.session, wanted).await
    }

    /// Lets a customer's letters go, in order. Returns the plan's id. Releasing again while they drain does no harm.
    ///
    /// # Errors
    /// After the entry and before the control message the customer counts as released without progress: release again.
    pub async fn release(&self, key: &str) -> Result<String, PublishError> {
        let plan = Uuid::new_v4().to_string();
        let entry =
            Entry { key: Some(key.to_owned()), ..Entry::new(EntryKind::Released { plan: plan.clone() }, &self.by) };
        self.tail.append(entry).await?;
        let control = Message {
            id: plan.clone(),
            kind: Some(RELEASE.to_owned()),
            headers: BTreeMap::from([(SEQUENCE_KEY.to_owned(), key.to_owned())]),
            ..Message::default()
        };
        self.session.publish(&Target::Partition(self.topology.partition_of(key)), &control).await?;
        Ok(plan)
    }

    /// Publishes a letter without a customer once more, to where it came from, and resolves it. Headers say which letter it
    /// was and how often it was given up, so that a letter that it becomes again counts on.
    ///
    /// # Errors
    /// Between the two steps the message may go out twice when this is repeated; doubles are folded by identity.
    pub async fn publish_again(&self, letter: &Letter, message: &Message) -> Result<(), PublishError> {
        // Under a name of its own: should it die again, that is another letter, and not the one that is resolved here.
        let before =
            Before { letter: letter.id.clone(), times_dead: letter.times_dead, first_dead_at: letter.first_dead_at };
        let again = Message { id: Uuid::new_v4().to_string(), ..before.on(message.clone()) };
        let target = if message.kind.as_deref() == Some(LINK) { Target::Links } else { Target::Orders };
        self.session.publish(&target, &again).await?;
        self.tail.append(self.about(letter, EntryKind::Resolved { how: PUBLISHED.to_owned() })).await
    }

    /// Throws a letter away. Its customer stays blocked while other letters of the customer are open.
    pub async fn discard(&self, letter: &Letter, why: &str) -> Result<(), PublishError> {
        self.tail.append(self.about(letter, EntryKind::Discarded { why: why.to_owned() })).await
    }

    /// Closes the connection.
    pub async fn close(self) {
        self.session.close().await;
    }

    fn about(&self, letter: &Letter, kind: EntryKind) -> Entry {
        Entry {
            letter: Some(letter.id.clone()),
            key: letter.key.clone(),
            order_id: letter.order_id.clone(),
            order_type: letter.order_type.clone(),
            ..Entry::new(kind, &self.by)
        }
    }
}
