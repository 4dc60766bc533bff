//! A broker inside the process, for simulations of schedules and faults. It behaves as RabbitMQ does with this topology,
//! keeps nothing when the process ends, and is as bounded as the topology says.

mod state;

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::state::{Accepted, Arrival, ConsumerId, SessionId, State};
use crate::error::{Error, PublishError, VisitError};
use crate::message::Message;
use crate::session::{Broker, Channel, Delivery, JournalItem, JournalStart, Session, Subscription};
use crate::topology::{Queue, Target, Topology};

/// How many outcomes are remembered; the oldest are forgotten beyond.
pub const OUTCOMES: usize = 10_000;

/// What stands for host and port in messages.
const PLACE: &str = "memory";

/// A broker inside the process. Tests make faults with it.
pub struct Memory {
    shared: Arc<Shared>,
}

impl Memory {
    /// An empty broker.
    pub fn new(topology: Topology) -> Self {
        let state = State::new(&topology);
        let journal_end = watch::Sender::new(0);
        let faults = Mutex::new(Faults::default());
        let outcomes = Mutex::new(VecDeque::new());
        let declared = AtomicBool::new(false);
        let blocked = watch::channel(false).0;
        Self {
            shared: Arc::new(Shared {
                topology,
                declared,
                state: Mutex::new(state),
                faults,
                outcomes,
                journal_end,
                blocked,
            }),
        }
    }

    /// Kills every connection, as the death of the broker's network would: deliveries cannot be acknowledged any more, and
    /// come again, in order.
    pub fn lose_sessions(&self) {
        self.shared.state().end_all();
    }

    /// Refuses the next `n` publishes, as a full queue does.
    pub fn refuse_publishes(&self, n: usize) {
        self.shared.faults().refuse_publishes = n;
    }

    /// Stores each of the next `n` messages, and then loses the session before the confirm.
    pub fn lose_confirms(&self, n: usize) {
        self.shared.faults().lose_confirms = n;
    }

    /// Cannot be reached by the next `n` connects.
    pub fn refuse_connects(&self, n: usize) {
        self.shared.faults().refuse_connects = n;
    }

    /// Takes no messages for the moment, as under a memory alarm, until it is told to take them again.
    pub fn block(&self, blocked: bool) {
        self.shared.blocked.send_replace(blocked);
    }

    /// Leaves an active consumer at a queue that belongs to nobody any more, as RabbitMQ did after crashes: nobody gets
    /// anything, until it is laid.
    pub fn haunt(&self, queue: Queue) {
        self.shared.state().haunt(queue);
    }

    /// Takes the ghosts of a queue away.
    pub fn lay_ghosts(&self, queue: Queue) {
        self.shared.state().lay_ghosts(queue);
    }

    /// Forgets to deliver to the consumers that a queue has now, as RabbitMQ did after consumers had timed out. Those that come
    /// later are served.
    pub fn neglect(&self, queue: Queue) {
        self.shared.state().neglect(queue);
    }

    /// Takes so long to say how many messages of a queue are ready, for each queue.
    pub fn delay_depths(&self, by: Duration) {
        self.shared.faults().delay_depths = by;
    }

    async fn reach(&self) -> Result<(), Error> {
        tokio::task::yield_now().await;
        if take_one(&mut self.shared.faults().refuse_connects) {
            return Err(Error::Unreachable { place: PLACE.to_owned(), cause: "refused by a test".to_owned() });
        }
        Ok(())
    }

    fn begin(&self) -> Arc<dyn Session> {
        let (id, ended) = self.shared.state().begin();
        Arc::new(MemorySession { shared: Arc::clone(&self.shared), id, ended })
    }

    /// The outcomes told so far, with their routing keys; at most the newest [`OUTCOMES`].
    pub fn outcomes(&self) -> Vec<(&'static str, Message)> {
        lock(&self.shared.outcomes).iter().cloned().collect()
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("topology", &self.shared.topology).finish_non_exhaustive()
    }
}

#[async_trait]
impl Broker for Memory {
    async fn connect(&self) -> Result<Arc<dyn Session>, Error> {
        self.reach().await?;
        self.shared.declared.store(true, Ordering::Release);
        Ok(self.begin())
    }

    async fn visit(&self) -> Result<Arc<dyn Session>, VisitError> {
        self.reach().await?;
        if !self.shared.declared.load(Ordering::Acquire) {
            let namespace = self.shared.topology.namespace.to_string();
            return Err(VisitError::NoFleet { place: PLACE.to_owned(), namespace });
        }
        Ok(self.begin())
    }

    fn topology(&self) -> &Topology {
        &self.shared.topology
    }
}

struct Shared {
    topology: Topology,
    /// Whether a program of the fleet has connected, as RabbitMQ knows by what it declared.
    declared: AtomicBool,
    state: Mutex<State>,
    faults: Mutex<Faults>,
    outcomes: Mutex<VecDeque<(&'static str, Message)>>,
    /// Sent whenever the journal has grown.
    journal_end: watch::Sender<u64>,
    blocked: watch::Sender<bool>,
}

#[derive(Default)]
struct Faults {
    refuse_publishes: usize,
    lose_confirms: usize,
    refuse_connects: usize,
    delay_depths: Duration,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        lock(&self.faults)
    }

    fn deliver_to(&self, target: &Target, message: &Message) -> Accepted {
        match target {
            Target::Orders => self.state().publish_order(message),
            Target::Partition(index) => self.state().publish(Queue::Partition(*index), message),
            Target::Links => self.state().publish(Queue::Links, message),
            Target::Journal => {
                let end = self.state().append(message);
                self.journal_end.send_replace(end);
                Accepted::Stored
            }
            Target::Outcomes(key) => {
                let mut outcomes = lock(&self.outcomes);
                outcomes.push_back((key, message.clone()));
                if outcomes.len() > OUTCOMES {
                    outcomes.pop_front();
                }
                Accepted::Stored
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn take_one(left: &mut usize) -> bool {
    let any = *left > 0;
    *left = left.saturating_sub(1);
    any
}

fn lost() -> Error {
    Error::Lost("the session has ended".to_owned())
}

struct MemorySession {
    shared: Arc<Shared>,
    id: SessionId,
    ended: CancellationToken,
}

impl MemorySession {
    fn ensure_open(&self) -> Result<(), Error> {
        if self.ended.is_cancelled() { Err(lost()) } else { Ok(()) }
    }
}

#[async_trait]
impl Session for MemorySession {
    async fn publish(&self, target: &Target, message: &Message) -> Result<(), PublishError> {
        // Others take turns at each publish, as they do while a real broker confirms.
        tokio::task::yield_now().await;
        let unknown = || PublishError::Unknown("the session has ended".to_owned());
        let mut blocked = self.shared.blocked.subscribe();
        tokio::select! {
            () = self.ended.cancelled() => return Err(unknown()),
            _ = blocked.wait_for(|blocked| !blocked) => {}
        }
        self.ensure_open().map_err(|_| unknown())?;
        if take_one(&mut self.shared.faults().refuse_publishes) {
            return Err(PublishError::Refused);
        }
        let accepted = self.shared.deliver_to(target, &message.bound_for(target));
        if take_one(&mut self.shared.faults().lose_confirms) {
            self.shared.state().end(self.id);
            return Err(unknown());
        }
        match accepted {
            Accepted::Stored => Ok(()),
            Accepted::Full => Err(PublishError::Refused),
            Accepted::NoQueue => Err(PublishError::Unroutable(format!("{target:?}"))),
        }
    }

    async fn subscribe(&self, queue: Queue, prefetch: u16) -> Result<Subscription, Error> {
        tokio::task::yield_now().await;
        self.ensure_open()?;
        let prefetch = usize::from(prefetch.max(1));
        // The prefetch bounds what can be in here.
        let (sender, receiver) = mpsc::channel(prefetch);
        let over = self.ended.child_token();
        let added = self.shared.state().subscribe(self.id, queue, prefetch, sender, over.clone());
        let consumer = added.ok_or_else(|| missing(&self.shared.topology, queue))?;
        let channel = Arc::new(MemoryChannel {
            shared: Arc::clone(&self.shared),
            consumer,
            queue,
            over,
            session: self.ended.clone(),
        });
        let reading = Reading { receiver, channel: Arc::clone(&channel) };
        Ok(Subscription { queue, deliveries: reading.into_stream(), channel })
    }

    async fn agree_on_prefetch(&self, kind: Queue, prefetch: u16) -> Result<(), Error> {
        self.ensure_open()?;
        let agreed = self.shared.state().agree_on_prefetch(self.id, kind, prefetch);
        if agreed == prefetch {
            return Ok(());
        }
        Err(Error::Topology {
            thing: "the prefetch".to_owned(),
            difference: format!("the fleet has {agreed}, the settings say {prefetch}"),
            remedy: "Start with the number that the fleet has".to_owned(),
        })
    }

    async fn read_journal(&self, from: JournalStart) -> Result<BoxStream<'static, JournalItem>, Error> {
        self.ensure_open()?;
        let next = match from {
            JournalStart::First => 0,
            JournalStart::Offset(offset) => offset,
        };
        let grown = self.shared.journal_end.subscribe();
        let reading = (Arc::clone(&self.shared), self.ended.clone(), grown, next);
        let entries = stream::unfold(reading, |(shared, ended, mut grown, next)| async move {
            loop {
                grown.mark_unchanged();
                if ended.is_cancelled() {
                    return None;
                }
                let entry = shared.state().entry_from(next);
                if let Some((offset, message)) = entry {
                    return Some(((offset, message), (shared, ended, grown, offset + 1)));
                }
                tokio::select! {
                    () = ended.cancelled() => return None,
                    changed = grown.changed() => if changed.is_err() { return None },
                }
            }
        });
        Ok(entries.boxed())
    }

    async fn ready_of(&self, queues: &[Queue]) -> Result<Vec<u32>, Error> {
        let delay = self.shared.faults().delay_depths;
        for _ in queues {
            tokio::time::sleep(delay).await;
        }
        self.ensure_open()?;
        let state = self.shared.state();
        let ready = |queue: &Queue| {
            let ready = state.ready(*queue).ok_or_else(|| missing(&self.shared.topology, *queue))?;
            Ok(u32::try_from(ready).unwrap_or(u32::MAX))
        };
        queues.iter().map(ready).collect()
    }

    fn is_blocked(&self) -> bool {
        *self.shared.blocked.borrow()
    }

    fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }

    async fn close(&self) {
        self.shared.state().end(self.id);
    }
}

impl Drop for MemorySession {
    fn drop(&mut self) {
        self.shared.state().end(self.id);
    }
}

fn missing(topology: &Topology, queue: Queue) -> Error {
    Error::Lost(format!("there is no queue {}", topology.queue_name(queue)))
}

/// The receiving end of a subscription; dropped, it closes the channel.
struct Reading {
    receiver: mpsc::Receiver<Arrival>,
    channel: Arc<MemoryChannel>,
}

impl Reading {
    fn into_stream(self) -> BoxStream<'static, Delivery> {
        stream::unfold(self, |mut reading| async move {
            let arrival = tokio::select! {
                biased;
                () = reading.channel.over.cancelled() => None,
                arrival = reading.receiver.recv() => arrival,
            };
            let Arrival { tag, message, redelivered } = arrival?;
            let channel = Arc::clone(&reading.channel);
            Some((Delivery::new(message, channel.queue, redelivered, tag, channel), reading))
        })
        .boxed()
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.channel.release();
    }
}

struct MemoryChannel {
    shared: Arc<Shared>,
    consumer: ConsumerId,
    queue: Queue,
    over: CancellationToken,
    session: CancellationToken,
}

impl MemoryChannel {
    fn release(&self) {
        self.shared.state().unsubscribe(self.queue, self.consumer);
    }
}

#[async_trait]
impl Channel for MemoryChannel {
    async fn flush(&self) -> Result<(), Error> {
        tokio::task::yield_now().await;
        if self.over.is_cancelled() { Err(lost()) } else { Ok(()) }
    }

    async fn close(&self) {
        self.release();
    }

    fn is_closed(&self) -> bool {
        self.over.is_cancelled() && !self.session.is_cancelled()
    }

    async fn ack(&self, tag: u64) -> Result<(), Error> {
        if self.shared.state().ack(self.queue, self.consumer, tag) { Ok(()) } else { Err(lost()) }
    }
}
