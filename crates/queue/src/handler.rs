//! What a program tells the loop: where a message belongs, and what came of it.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use domain::dead_letter::LetterId;
use domain::failure::Failure;
use domain::settlement::Settlement;
use domain::story::What;

use crate::error::Error;
use crate::journal::entry::letter_of;
use crate::lanes::{Observation, Pace};
use crate::message::Message;
use crate::session::{Delivery, Session};
use crate::topology::Queue;

/// A program's part of the work. It decides nothing about settling by itself: it returns what `domain` decided.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// What a message is after reading.
    type Item: Send + Sync + 'static;

    /// Reads a message: whose it is, and what it says. Quick, and the same each time.
    fn sort(&self, message: &Message) -> Sorted<Self::Item>;

    /// What became of the requests that ended since this was asked last, also of those within a batch. From that follows how
    /// many orders go in a batch, and how many batches at once ([`crate::lanes::pace`]).
    fn observed(&self) -> Vec<Observation> {
        Vec::new()
    }

    /// Called before the first delivery of a queue is worked on, and again when ownership was lost and regained. The
    /// predecessor can no longer acknowledge anything, and all it wrote into the journal has been read.
    ///
    /// `regained` says that the process had taken it over before by the same session: nobody else was active in between.
    ///
    /// # Errors
    /// Something needed for working is away; it is tried again after a pause.
    async fn took_over(&self, queue: Queue, regained: bool) -> Result<(), Failure>;

    /// Works on a batch: one order of a key, none of a key in two batches. Answers one verdict per job, in order.
    ///
    /// The batch outlives its session: when that is lost, the batch may finish, and its effects are settled where they are
    /// remembered.
    async fn handle(&self, session: &Arc<dyn Session>, batch: &[Arc<Job<Self::Item>>]) -> Vec<Verdict>;

    /// The longest that a call of a predecessor may still take effect after it lost a queue. Waited for only where nobody
    /// remembers what it had in flight.
    fn longest_call(&self) -> Duration {
        Duration::ZERO
    }

    /// Whether everything that working needs is there. Asked when an outage has lasted so long that nothing is taken any more,
    /// and by whoever takes a queue over from a process that let go of it for that; seldom, and one at a time.
    ///
    /// # Errors
    /// Something is still away, and when to ask again.
    async fn probe(&self) -> Result<(), Outage> {
        Ok(())
    }

    /// What of a message is kept when it is given up: the message, without what must not be kept anywhere.
    fn kept(&self, message: &Message) -> Message {
        message.clone()
    }

    /// Something happened to an order, for its story. It is only taken in: it neither waits nor fails.
    fn note(&self, order: &str, what: What) {
        let _ = (order, what);
    }

    /// The queue of links took [`Verdict::links`], or was full, so that Limio is not told.
    fn link_queued(&self, job: &Job<Self::Item>, taken: bool) {
        let _ = (job, taken);
    }

    /// What is announced when an order becomes a dead letter.
    fn letter_announcement(&self, job: &Job<Self::Item>, failure: &Failure, letter: &LetterId) -> Option<Announcement>;
}

/// Something that working needs is away.
#[derive(Debug, Clone, PartialEq)]
pub struct Outage {
    /// What.
    pub failure: Failure,
    /// How long to wait before asking again.
    pub after: Duration,
}

/// Where a message belongs.
#[derive(Debug)]
pub struct Sorted<I> {
    /// The customer; `None` when that cannot be told. Such a message waits for nobody and blocks nobody.
    pub key: Option<String>,
    /// The order's identity, where known.
    pub order_id: Option<String>,
    /// The order's type, where known.
    pub order_type: Option<String>,
    /// Names of records that it may share with orders of other customers: two that share one are not worked on in two
    /// batches at once.
    pub shares: Vec<String>,
    /// What it says, or why it can never be worked on.
    pub item: Result<I, Failure>,
}

/// One order at work.
#[derive(Debug)]
pub struct Job<I> {
    /// The message, untouched.
    pub message: Message,
    /// The queue it came by; for a letter, the queue of the control message that released it.
    pub queue: Queue,
    /// The customer, where known.
    pub key: Option<String>,
    /// The order's identity, where known.
    pub order_id: Option<String>,
    /// The order's type, where known.
    pub order_type: Option<String>,
    /// What it says.
    pub item: Result<I, Failure>,
    /// The letter, when it comes from the journal: an operator released it, or it had waited there for room.
    pub letter: Option<LetterId>,
    pub(crate) waited_for_room: bool,
    pub(crate) shares: Vec<String>,
    pub(crate) control: bool,
    /// Its letter stands in the journal: what is left is to tell of it, and to acknowledge.
    pub(crate) given_up: AtomicBool,
    /// Once somebody asked.
    pub(crate) own_letter: OnceLock<LetterId>,
    pub(crate) delivery: Mutex<Option<Delivery>>,
}

impl<I> Job<I> {
    /// Whether an operator released it from the journal. What waited there for room alone is an order like any other.
    pub fn is_replay(&self) -> bool {
        self.letter.is_some() && !self.waited_for_room
    }

    /// Whether the broker has delivered it before, to whomever.
    pub fn redelivered(&self) -> bool {
        let delivery = self.delivery.lock().unwrap_or_else(PoisonError::into_inner);
        delivery.as_ref().is_some_and(|delivery| delivery.redelivered)
    }

    /// The letter that its message becomes when it is given up or held.
    pub(crate) fn own_letter(&self) -> &LetterId {
        self.own_letter.get_or_init(|| letter_of(&self.message))
    }

    pub(crate) fn take_delivery(&self) -> Option<Delivery> {
        self.delivery.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Notes what happened to a job's order, where it has an identity.
pub(crate) fn note<H: Handler>(handler: &H, job: &Job<H::Item>, what: impl FnOnce() -> What) {
    if let Some(order) = &job.order_id {
        handler.note(order, what());
    }
}

/// What came of one order.
#[derive(Debug)]
pub struct Verdict {
    /// What the queue does with it.
    pub settlement: Settlement,
    /// What is announced before it is acknowledged, each confirmed.
    pub announcements: Vec<Announcement>,
    /// What Limio is to be told, put into the queue of links before the order is acknowledged. It never holds the order up:
    /// where that queue is full, it is left out, and [`Handler::link_queued`] is told so.
    pub links: Option<Message>,
    /// How a letter was resolved, in a word: `written`, `rejected`, `already`.
    pub resolution: &'static str,
    /// The ledger says that another process owns the partition. The loop proves its channel, reads the journal up to now,
    /// and takes over again, before the order goes again.
    pub lost_ownership: bool,
    /// Should the order go again, it goes in a batch of its own that time: whatever comes of it comes of nothing else.
    pub alone: bool,
    /// Should the order go again, it shares these records with others, too: names as in [`Sorted::shares`] that are known only
    /// since it was tried.
    pub shares: Vec<String>,
}

impl Verdict {
    /// A verdict that announces nothing.
    pub fn of(settlement: Settlement) -> Self {
        Self {
            settlement,
            announcements: Vec::new(),
            links: None,
            resolution: "written",
            lost_ownership: false,
            alone: false,
            shares: Vec::new(),
        }
    }
}

/// Something told to others on the outcomes exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The routing key.
    pub routing_key: &'static str,
    /// The message.
    pub message: Message,
}

/// How much is open in the journal. Every process that follows it sees the same: it is the fleet's, not the process's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenLetters {
    /// Letters.
    pub letters: usize,
    /// Customers whose orders wait behind one.
    pub blocked_customers: usize,
    /// When the oldest of them was written, in milliseconds since 1970.
    pub oldest_at: Option<u64>,
    /// Orders besides that wait in the journal for nothing but room, and come back by themselves: no failures.
    pub overflowed: usize,
}

/// What the loop tells whoever counts. Every method may stay empty.
pub trait Observer: Send + Sync + 'static {
    /// The loop turned: at least every five seconds, whatever is away. It is not told while a batch is older than
    /// [`crate::work::HUNG`].
    fn turned(&self) {}
    /// A delivery came.
    fn received(&self, queue: Queue) {
        let _ = queue;
    }
    /// An order was settled: `acknowledged`, `dead`, `held`, `refused`, or `overflowed` where it waits in the journal for room.
    /// `age` is how long before that it was handed on to its partition, to the second; `None` where that is not known, and
    /// for a letter that an operator released.
    fn settled(&self, settlement: &'static str, age: Option<Duration>) {
        let _ = (settlement, age);
    }
    /// How it stands: items taken and not settled, lanes that wait for a time, items in flight.
    fn lanes(&self, items: usize, waiting: usize, in_flight: usize) {
        let _ = (items, waiting, in_flight);
    }
    /// When the oldest order in hand was handed on to its queue, in seconds since 1970, whatever it waits for; `None` without
    /// one. Told at most once a second, and within five. Released letters are left out, as in [`Observer::settled`], messages
    /// that do not say, and what came of a queue that is still being taken over.
    fn oldest(&self, at: Option<u64>) {
        let _ = at;
    }
    /// The broker takes no messages for the moment, as under a memory or disk alarm; or it does. Told whenever the loop turns.
    /// RabbitMQ says so only to who has tried to publish since.
    fn blocked(&self, blocked: bool) {
        let _ = blocked;
    }
    /// How much may go at once, at the start of a session and whenever a batch came back: orders in a batch, batches in flight.
    fn pace(&self, pace: &Pace) {
        let _ = pace;
    }
    /// What the journal holds open, whenever that has changed: within a second or two, whoever changed it.
    fn letters(&self, open: OpenLetters) {
        let _ = open;
    }
    /// Connected and working; or not, and why: told anew with each try that fails.
    fn connected(&self, state: Result<(), &Error>) {
        let _ = state;
    }
    /// How many queues the process is active on, as far as it knows.
    fn owned(&self, queues: usize) {
        let _ = queues;
    }
    /// A queue was taken over, for one of these causes: `first` (nobody is known to have had it), `handed_over` (whoever had
    /// it had finished), `outage` (had let go of it in an outage), `lost` (was lost), `stalled` (it was opened again because
    /// it delivered nothing).
    fn took_over(&self, queue: Queue, cause: &'static str) {
        let _ = (queue, cause);
    }
    /// A queue delivers nothing although messages are ready, and opening it again did not help; or it does again.
    fn stalled(&self, queue: Queue, stalled: bool) {
        let _ = (queue, stalled);
    }
    /// Intake is paused because something is away, or goes on.
    fn paused(&self, why: Option<&Failure>) {
        let _ = why;
    }
}

/// An observer that counts nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl Observer for Unobserved {}
