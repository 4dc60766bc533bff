//! Carries out a settlement: announces, journals, acknowledges, in the order in which nothing can be lost.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::dead_letter::LetterId;
use domain::failure::{Failure, Reason};
use domain::settlement::Settlement;
use domain::story::{What, short};
use rand::RngExt as _;
use tokio::sync::Semaphore;

use crate::error::{Error, PublishError};
use crate::handler::{Announcement, Handler, Job, Observer, Verdict, note};
use crate::journal::entry::{ACCEPTED, Before, Entry, EntryKind, letter_of, now_ms};
use crate::journal::fold::{Letter, LetterState};
use crate::journal::tail::JournalTail;
use crate::message::{KEPT_HEADER_BYTES, Message, ORDER_ID, REFUSAL, SEQUENCE_KEY};
use crate::session::{Channel, Session};
use crate::topology::{Queue, Target, Topology};

mod room;

pub(crate) use self::room::{Behind, Place};

/// What the loop does with an item after its settlement was carried out.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It is acknowledged, or needs no acknowledgement.
    Settled,
    /// It stays at the head and goes again after this time.
    Again(Duration),
    /// Everything waits for a probe after this time.
    Pause(Duration, Failure),
    /// A released letter failed again.
    ChainStopped,
    /// The session is no longer usable.
    Lost(String),
}

/// How long a publish that the broker refused waits before it is tried again.
const REFUSED_WAIT: Duration = Duration::from_secs(1);

/// How long an order waits after its partition was taken again: two processes that both believe to own one take turns, and
/// each turn writes into the journal.
const REGAINED_WAIT: Duration = Duration::from_millis(100);

/// What settling needs of one session.
pub(crate) struct Settler {
    pub(crate) session: Arc<dyn Session>,
    pub(crate) topology: Topology,
    pub(crate) tail: Option<JournalTail>,
    pub(crate) channels: Mutex<HashMap<Queue, Arc<dyn Channel>>>,
    /// How many released customers' letters may be read from the journal at once.
    pub(crate) chain_readers: Semaphore,
    /// Deaths that this session has told once more.
    pub(crate) told_again: Mutex<HashSet<LetterId>>,
    pub(crate) by: String,
    pub(crate) observer: Arc<dyn Observer>,
}

impl Settler {
    /// Proves that the channel lives, and reads the journal up to now.
    pub(crate) async fn prove(&self, queue: Queue) -> Result<(), Failure> {
        let prove = async {
            let channel = self.channels().get(&queue).cloned();
            if let Some(channel) = channel {
                channel.flush().await?;
            }
            match &self.tail {
                Some(tail) => tail.barrier().await,
                None => Ok(()),
            }
        };
        prove.await.map_err(|error: Error| Failure::transient(Reason::BrokerUnavailable, error.to_string()))
    }

    /// Proves that a queue is still this process's, and tells the handler that it has it again.
    pub(crate) async fn regain<H: Handler>(&self, handler: &H, queue: Queue) -> Result<(), Failure> {
        self.prove(queue).await?;
        handler.took_over(queue, true).await
    }

    /// Notes the channel that a queue's deliveries come by.
    pub(crate) fn add_channel(&self, queue: Queue, channel: Arc<dyn Channel>) {
        self.channels().insert(queue, channel);
    }

    fn channels(&self) -> MutexGuard<'_, HashMap<Queue, Arc<dyn Channel>>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an order has to wait behind, when its customer is blocked. Released letters wait for nobody.
    pub(crate) fn behind<I>(&self, job: &Job<I>) -> Option<Behind> {
        self.tail.as_ref().and_then(|tail| Behind::of(&tail.fold(), job))
    }

    /// Whether a letter still has to be settled.
    pub(crate) fn is_open(&self, letter: &LetterId) -> bool {
        self.tail.as_ref().is_some_and(|tail| tail.fold().letter(letter).is_some())
    }

    /// The step of an order whose letter was released, or comes back by itself.
    pub(crate) fn released<I>(&self, job: &Job<I>) -> What {
        let letter = job.letter.as_ref();
        if job.waited_for_room {
            return What::LetIn { letter: letter.map(|letter| letter.as_str().to_owned()).unwrap_or_default() };
        }
        let fold = self.tail.as_ref().map(JournalTail::fold);
        let known = fold.as_ref().zip(letter).and_then(|(fold, letter)| fold.letter(letter));
        What::Released {
            letter: letter.map(|letter| letter.as_str().to_owned()).unwrap_or_default(),
            operator: known.and_then(|known| known.released_by.as_deref()).map(short),
        }
    }

    /// The next messages of a released customer. Few customers at a time: each reading goes over the journal.
    /// Where no operator released them now, only those that wait for room, and what was released behind them.
    pub(crate) async fn chain(
        &self,
        key: &str,
        limit: usize,
        by_operator: bool,
    ) -> Result<Vec<(LetterId, Message)>, Error> {
        // Nothing is read where nothing would be found.
        if !by_operator && !self.may_be_let_in(key) {
            return Ok(Vec::new());
        }
        let Ok(_reading) = self.chain_readers.acquire().await else { return Ok(Vec::new()) };
        match &self.tail {
            Some(tail) => tail.chain_messages(key, limit, by_operator).await,
            None => Ok(Vec::new()),
        }
    }

    /// Journals an order that finds no room at the place that was found for it ([`Settler::place`]), then acknowledges it.
    pub(crate) async fn overflow<H: Handler>(&self, handler: &H, job: &Job<H::Item>, place: Place) -> Answer {
        self.park(handler, job, place.behind, Some(place.ahead)).await
    }

    /// Journals an order behind its customer's first letter, then acknowledges it. Behind orders that wait for room it does
    /// so, too, and goes when they do.
    pub(crate) async fn hold<H: Handler>(&self, handler: &H, job: &Job<H::Item>, behind: Behind) -> Answer {
        self.park(handler, job, behind.letter, behind.for_room.then(Vec::new)).await
    }

    async fn park<H: Handler>(
        &self,
        handler: &H,
        job: &Job<H::Item>,
        behind: LetterId,
        ahead: Option<Vec<LetterId>>,
    ) -> Answer {
        let Some(tail) = &self.tail else { return Answer::Settled };
        let letter = job.own_letter().clone();
        // It came again after a crash between journal and acknowledgement: its letter is open already. Whether its death was
        // told nobody knows, so it is told once more.
        let known = tail.fold().letter(&letter).map(|letter| letter.state.clone());
        if let Some(LetterState::Dead(failure)) = &known {
            return self.finish_letter(handler, job, failure, &letter).await;
        }
        if known.is_none() {
            let (own, other) = (letter.as_str().to_owned(), behind.as_str().to_owned());
            let entry = Entry { ahead, ..self.letter_entry(job, letter, EntryKind::Held { behind }) };
            let finds_no_room = entry.ahead.is_some();
            if let Err(error) = tail.append(entry).await {
                return unpublished(&error);
            }
            // Behind one that was given up it waits for that, whatever else.
            if finds_no_room && job.key.as_deref().is_some_and(|key| self.waits_for_room(key)) {
                note(handler, job, || What::Overflowed { letter: own });
                self.observer.settled("overflowed", age(job));
            } else {
                note(handler, job, || What::Parked { letter: own, behind: other });
                self.observer.settled("held", age(job));
            }
        }
        self.acknowledge(job).await
    }

    /// Gives an order up.
    pub(crate) async fn give_up<H: Handler>(&self, handler: &H, job: &Job<H::Item>, failure: &Failure) -> Answer {
        match (&self.tail, &job.key) {
            (None, Some(key)) => self.forward_refused(handler, job, key, failure).await,
            (None, None) => {
                // Named after what is kept, as the letter of a refused order that goes on is.
                let kept = handler.kept(&job.message);
                let letter = letter_of(&kept);
                let entry = self.letter_entry(job, letter.clone(), EntryKind::Dead { failure: failure.clone() });
                let entry = Entry { message: kept, ..entry };
                if !job.given_up.load(Ordering::Relaxed)
                    && let Err(error) = self.session.publish(&Target::Journal, &entry.to_message()).await
                {
                    return unpublished(&error);
                }
                self.finish_letter(handler, job, failure, &letter).await
            }
            (Some(tail), _) => {
                let letter = job.letter.as_ref().unwrap_or_else(|| job.own_letter()).clone();
                // A copy of it may wait in the journal: that holds nothing back until it is said that the order died.
                let is_dead = |letter: &Letter| matches!(letter.state, LetterState::Dead(_));
                let known = job.given_up.load(Ordering::Relaxed)
                    || job.letter.is_none() && tail.fold().letter(&letter).is_some_and(is_dead);
                if !known {
                    let entry = self.letter_entry(job, letter.clone(), EntryKind::Dead { failure: failure.clone() });
                    if let Err(error) = tail.append(entry).await {
                        return unpublished(&error);
                    }
                }
                let answer = self.finish_letter(handler, job, failure, &letter).await;
                if matches!(answer, Answer::Settled) && job.letter.is_some() { Answer::ChainStopped } else { answer }
            }
        }
    }

    /// Carries out what was decided for one job.
    pub(crate) async fn settle<H: Handler>(&self, handler: &H, job: &Job<H::Item>, verdict: Verdict) -> Answer {
        if verdict.lost_ownership {
            return match self.regain(handler, job.queue).await {
                Ok(()) => Answer::Again(jittered(REGAINED_WAIT)),
                Err(failure) => Answer::Pause(REFUSED_WAIT, failure),
            };
        }
        match verdict.settlement {
            Settlement::Ack => {
                for announcement in &verdict.announcements {
                    if let Err(error) = self.announce(announcement).await {
                        return unpublished(&error);
                    }
                    note(handler, job, || What::Announced { told: announcement.routing_key.to_owned() });
                }
                if let Some(links) = &verdict.links {
                    match self.session.publish(&Target::Links, links).await {
                        Ok(()) => handler.link_queued(job, true),
                        Err(PublishError::Refused) => handler.link_queued(job, false),
                        Err(error) => return unpublished(&error),
                    }
                }
                if let (Some(letter), Some(tail)) = (&job.letter, &self.tail) {
                    let kind = EntryKind::Resolved { how: verdict.resolution.to_owned() };
                    let entry = Entry { message: Message::default(), ..self.letter_entry(job, letter.clone(), kind) };
                    if let Err(error) = tail.append(entry).await {
                        return unpublished(&error);
                    }
                }
                if let Err(error) = self.accept(job).await {
                    return unpublished(&error);
                }
                self.observer.settled("acknowledged", age(job));
                self.acknowledge(job).await
            }
            Settlement::Retry { after, failure } => {
                let code = failure.salesforce_code.as_deref().unwrap_or("none");
                tracing::info!(
                    order.id = job.order_id.as_deref().unwrap_or("unknown"),
                    reason = %failure.reason,
                    salesforce.code = code,
                    retry_after_ms = milliseconds(after),
                    "an order is tried again later"
                );
                let after = jittered(after);
                note(handler, job, || What::Waits {
                    until: in_time(after),
                    reason: failure.reason,
                    code: failure.salesforce_code.as_deref().map(short),
                });
                Answer::Again(after)
            }
            Settlement::Again { after } => Answer::Again(after),
            Settlement::Pause { after, failure } => Answer::Pause(jittered(after), failure),
            Settlement::DeadLetter(failure) => self.give_up(handler, job, &failure).await,
        }
    }

    /// Acknowledges a job's delivery; a job without one is done.
    pub(crate) async fn acknowledge<I>(&self, job: &Job<I>) -> Answer {
        match job.take_delivery() {
            None => Answer::Settled,
            Some(delivery) => match delivery.ack().await {
                Ok(()) => Answer::Settled,
                // Its queue was let go of meanwhile: it comes again as settled before, to whoever is active then.
                Err((_, delivery)) if delivery.has_gone_back() => Answer::Settled,
                Err((error, _)) => Answer::Lost(error.to_string()),
            },
        }
    }

    async fn announce(&self, announcement: &Announcement) -> Result<(), PublishError> {
        self.session.publish(&Target::Outcomes(announcement.routing_key), &announcement.message).await
    }

    async fn finish_letter<H: Handler>(
        &self,
        handler: &H,
        job: &Job<H::Item>,
        failure: &Failure,
        letter: &LetterId,
    ) -> Answer {
        // Telling of it may have to be tried again; it died once.
        if !job.given_up.swap(true, Ordering::Relaxed) {
            note(handler, job, || What::Dead {
                letter: letter.as_str().to_owned(),
                reason: failure.reason,
                code: failure.salesforce_code.as_deref().map(short),
            });
        }
        if let Some(announcement) = handler.letter_announcement(job, failure, letter) {
            if let Err(error) = self.announce(&announcement).await {
                return unpublished(&error);
            }
            note(handler, job, || What::Announced { told: announcement.routing_key.to_owned() });
        }
        tracing::warn!(
            order.id = job.order_id.as_deref().unwrap_or("unknown"),
            letter.id = %letter,
            reason = %failure.reason,
            "an order became a dead letter: {}",
            failure.message
        );
        self.observer.settled("dead", age(job));
        self.acknowledge(job).await
    }

    /// Where orders are handed on (`ingest`): tells the journal that what an operator had published again was taken. Without
    /// it nobody could tell success from silence, because the letter is closed and the order is new.
    async fn accept<I>(&self, job: &Job<I>) -> Result<(), PublishError> {
        let (None, Some(before)) = (&self.tail, Before::of(&job.message)) else { return Ok(()) };
        let kind = EntryKind::Resolved { how: ACCEPTED.to_owned() };
        let entry = Entry { message: Message::default(), ..self.letter_entry(job, before.letter, kind) };
        self.session.publish(&Target::Journal, &entry.to_message()).await
    }

    /// Sends a refused order on in its customer's lane, so that it blocks the customer at its own place.
    async fn forward_refused<H: Handler>(
        &self,
        handler: &H,
        job: &Job<H::Item>,
        key: &str,
        failure: &Failure,
    ) -> Answer {
        let mut message = handler.kept(&job.message);
        message.headers = message.headers_within(KEPT_HEADER_BYTES);
        message.headers.insert(SEQUENCE_KEY.to_owned(), key.to_owned());
        message.headers.insert(REFUSAL.to_owned(), serde_json::to_string(failure).unwrap_or_default());
        if let Some(order_id) = &job.order_id {
            message.headers.insert(ORDER_ID.to_owned(), order_id.clone());
        }
        let partition = Target::Partition(self.topology.partition_of(key));
        if let Err(error) = self.session.publish(&partition, &message).await {
            return unpublished(&error);
        }
        note(handler, job, || What::Refused { reason: failure.reason, field: failure.field.as_deref().map(short) });
        self.observer.settled("refused", None);
        self.acknowledge(job).await
    }

    fn letter_entry<I>(&self, job: &Job<I>, letter: LetterId, kind: EntryKind) -> Entry {
        Entry {
            letter: Some(letter),
            key: job.key.clone(),
            order_id: job.order_id.clone(),
            order_type: job.order_type.clone(),
            message: job.message.clone(),
            ..Entry::new(kind, &self.by)
        }
    }
}

/// The same duration, shortened or lengthened by up to a quarter, so that many waits do not end together.
pub(crate) fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(rand::rng().random_range(0.75..1.25))
}

/// When so much time will have passed, in milliseconds since 1970.
pub(crate) fn in_time(wait: Duration) -> u64 {
    now_ms().saturating_add(milliseconds(wait))
}

/// As logs and headers tell a length of time.
pub(crate) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// How long ago it was handed on to its partition. A replay waited for an operator: its age says nothing about the fleet.
fn age<I>(job: &Job<I>) -> Option<Duration> {
    handed_on(job).and_then(|_| job.message.age())
}

/// When it was handed on to its queue, in seconds since 1970, under the same conditions.
pub(crate) fn handed_on<I>(job: &Job<I>) -> Option<u64> {
    if job.is_replay() || job.control {
        return None;
    }
    // None of 1970: who sets no time may set 0.
    job.message.timestamp.filter(|at| *at > 0)
}

fn unpublished(error: &PublishError) -> Answer {
    match error {
        PublishError::Refused => Answer::Again(jittered(REFUSED_WAIT)),
        PublishError::Unroutable(_) | PublishError::Unknown(_) => Answer::Lost(error.to_string()),
    }
}
