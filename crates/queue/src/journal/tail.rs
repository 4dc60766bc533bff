//! Follows the journal: keeps the fold up to date, and proves how far it has read.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::dead_letter::LetterId;
use futures::StreamExt;
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use crate::error::{Error, PublishError};
use crate::handler::OpenLetters;
use crate::journal::carrying::tell_lost;
use crate::journal::entry::{Entry, EntryKind, for_replay};
use crate::journal::fold::{Fold, Letter};
use crate::message::Message;
use crate::session::{JournalStart, Session};
use crate::topology::Target;

/// The header by which whoever appends an entry knows it again.
const APPENDED: &str = "appended";

/// How long the journal may stay silent while something is expected of it. Reading much of it takes longer, and is no fault.
const SILENCE: Duration = Duration::from_mins(1);

/// A reader of the journal that has caught up with everything written before it started, and goes on reading until its
/// session ends.
#[derive(Clone)]
pub struct JournalTail {
    session: Arc<dyn Session>,
    shared: Arc<Shared>,
    by: Arc<str>,
}

#[derive(Default)]
struct Shared {
    fold: Mutex<Fold>,
    /// What is being appended here and was not read back. Locked after the fold.
    appending: Mutex<HashSet<String>>,
    barriers: Mutex<HashMap<String, oneshot::Sender<()>>>,
    /// How many entries were read.
    read: watch::Sender<u64>,
    /// How often the fold was changed.
    changed: watch::Sender<u64>,
}

impl JournalTail {
    /// Reads the journal from its first entry; returns when it has seen everything written so far.
    ///
    /// # Errors
    /// The session ended, or nothing came for a minute.
    pub async fn start(session: Arc<dyn Session>, by: &str) -> Result<Self, Error> {
        let tail = Self { session: Arc::clone(&session), shared: Arc::default(), by: Arc::from(by) };
        let mut entries = session.read_journal(JournalStart::First).await?;
        let shared = Arc::clone(&tail.shared);
        let ended = session.ended();
        tokio::spawn(async move {
            loop {
                let item = tokio::select! {
                    () = ended.cancelled() => break,
                    item = entries.next() => item,
                };
                let Some((offset, message)) = item else { break };
                shared.read.send_modify(|read| *read += 1);
                lock(&shared.fold).passed(size(&message));
                let Some(entry) = Entry::from_message(&message) else { continue };
                if let EntryKind::Barrier { mark } = &entry.kind {
                    if let Some(waiting) = lock(&shared.barriers).remove(mark) {
                        // Whoever waited may have given up meanwhile.
                        let _ = waiting.send(());
                    }
                } else {
                    let mut fold = lock(&shared.fold);
                    if let Some(mark) = message.header(APPENDED) {
                        lock(&shared.appending).remove(mark);
                    }
                    fold.apply(Some(offset), &entry);
                    drop(fold);
                    shared.changed.send_modify(|changed| *changed += 1);
                }
            }
            lock(&shared.barriers).clear();
        });
        tail.barrier().await?;
        Ok(tail)
    }

    /// Returns when everything that stood in the journal at the time of the call has been read.
    pub async fn barrier(&self) -> Result<(), Error> {
        let mark = Uuid::new_v4().to_string();
        let (seen, wait) = oneshot::channel();
        lock(&self.shared.barriers).insert(mark.clone(), seen);
        let entry = Entry::new(EntryKind::Barrier { mark: mark.clone() }, &self.by);
        let read = async {
            self.session
                .publish(&Target::Journal, &entry.to_message())
                .await
                .map_err(|error| Error::Lost(error.to_string()))?;
            let mut progress = self.shared.read.subscribe();
            let mut wait = wait;
            loop {
                tokio::select! {
                    seen = &mut wait => {
                        return seen.map_err(|_| Error::Lost("the journal can no longer be read".into()));
                    }
                    moved = tokio::time::timeout(SILENCE, progress.changed()) => if moved.is_err() {
                        return Err(Error::Lost("the journal stands still".into()));
                    }
                }
            }
        };
        let ended = self.session.ended();
        let result = tokio::select! {
            result = read => result,
            () = ended.cancelled() => Err(Error::Lost("the session ended".into())),
        };
        lock(&self.shared.barriers).remove(&mark);
        result
    }

    /// The open letters as far as they were read, and those appended here. Do not keep the guard over an await.
    pub fn fold(&self) -> MutexGuard<'_, Fold> {
        lock(&self.shared.fold)
    }

    /// Appends an entry, confirmed, and takes it into the fold at once, unless it was read back before the confirmation was
    /// seen: then others may have come after it, and what it says is over.
    pub async fn append(&self, entry: Entry) -> Result<(), PublishError> {
        let mark = Uuid::new_v4().to_string();
        let mut message = entry.to_message();
        message.headers.insert(APPENDED.to_owned(), mark.clone());
        lock(&self.shared.appending).insert(mark.clone());
        let published = self.session.publish(&Target::Journal, &message).await;
        let mut fold = self.fold();
        let is_unread = lock(&self.shared.appending).remove(&mark);
        published?;
        if is_unread {
            fold.apply(None, &entry);
        }
        drop(fold);
        self.shared.changed.send_modify(|changed| *changed += 1);
        Ok(())
    }

    /// How much is open, as far as it was read.
    pub fn open(&self) -> OpenLetters {
        let fold = self.fold();
        let overflowed = fold.overflowed().count();
        OpenLetters {
            letters: fold.len() - overflowed,
            blocked_customers: fold.blocked_keys() - fold.waiting_for_room().count(),
            oldest_at: fold.oldest_at(),
            overflowed,
        }
    }

    /// Changes whenever the fold does, by whomever.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }

    /// The messages of a customer's open letters, oldest first, at most `limit`, as they go through the normal path again.
    /// Where no operator released them now only those that wait for room or were released before, up to the first that does
    /// not. One whose message retention has dropped is told; what is behind it waits for an operator, who passes it over.
    pub async fn chain_messages(
        &self,
        key: &str,
        limit: usize,
        by_operator: bool,
    ) -> Result<Vec<(LetterId, Message)>, Error> {
        self.barrier().await?;
        let wanted: Vec<Letter> = self
            .fold()
            .line(key)
            .take_while(|letter| by_operator || letter.waits_for_room() || letter.released_at.is_some())
            .filter(|letter| !letter.is_lost())
            .take_while(|letter| letter.offset.is_some())
            .take(limit)
            .cloned()
            .collect();
        let places: Vec<(LetterId, u64)> =
            wanted.iter().filter_map(|letter| Some((letter.id.clone(), letter.offset?))).collect();
        let mut found = entries_at(&self.session, places.clone()).await?;
        for (id, offset) in places {
            let is_there = found.iter().any(|(other, _)| *other == id);
            if !is_there && self.fold().dropped(&id, offset) {
                tell_lost(&wanted, &id);
                self.shared.changed.send_modify(|changed| *changed += 1);
            }
        }
        if !by_operator {
            let without_gap = found.iter().zip(&wanted).take_while(|((id, _), letter)| *id == letter.id).count();
            found.truncate(without_gap);
        }
        // What only waited for room was never given up: it is still refused, where it was.
        let again = |id: &LetterId, message: Message| {
            let for_room = self.fold().letter(id).is_some_and(Letter::waits_for_room);
            if for_room { message } else { for_replay(message) }
        };
        Ok(found
            .into_iter()
            .map(|(id, entry)| {
                let message = again(&id, entry.message);
                (id, message)
            })
            .collect())
    }

    /// Who appends.
    pub fn by(&self) -> &str {
        &self.by
    }
}

/// Reads the messages that lie at these places, as they go through the normal path again. A letter whose entry retention has
/// dropped is left out.
pub async fn messages_at(
    session: &Arc<dyn Session>,
    wanted: Vec<(LetterId, u64)>,
) -> Result<Vec<(LetterId, Message)>, Error> {
    let found = entries_at(session, wanted).await?;
    Ok(found.into_iter().map(|(id, entry)| (id, for_replay(entry.message))).collect())
}

/// Reads the entries that lie at these places. One that retention has dropped is left out.
pub async fn entries_at(
    session: &Arc<dyn Session>,
    mut wanted: Vec<(LetterId, u64)>,
) -> Result<Vec<(LetterId, Entry)>, Error> {
    let order: Vec<LetterId> = wanted.iter().map(|(id, _)| id.clone()).collect();
    wanted.sort_by_key(|(_, offset)| *offset);
    let (Some(first), Some(last)) =
        (wanted.first().map(|(_, offset)| *offset), wanted.last().map(|(_, offset)| *offset))
    else {
        return Ok(Vec::new());
    };
    let mut ids: HashMap<u64, LetterId> = wanted.into_iter().map(|(id, offset)| (offset, id)).collect();
    let mut entries = session.read_journal(JournalStart::Offset(first)).await?;
    let mut found: HashMap<LetterId, Entry> = HashMap::new();
    let read = async {
        while let Some((offset, message)) = tokio::time::timeout(SILENCE, entries.next())
            .await
            .map_err(|_| Error::Lost("the journal stands still".into()))?
        {
            if let (Some(id), Some(entry)) = (ids.remove(&offset), Entry::from_message(&message)) {
                found.insert(id, entry);
            }
            if offset >= last {
                return Ok(());
            }
        }
        Err(Error::Lost("the journal can no longer be read".into()))
    };
    read.await?;
    Ok(order.into_iter().filter_map(|id| found.remove(&id).map(|entry| (id, entry))).collect())
}

/// What a message takes in the journal, about, in bytes.
fn size(message: &Message) -> u64 {
    const FRAME: usize = 200;
    let headers: usize = message.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    u64::try_from(message.body.len() + headers + FRAME).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
