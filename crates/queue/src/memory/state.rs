//! What the broker holds, and its rules. Everything here happens at once, under one lock.

use std::collections::{BTreeMap, HashMap, VecDeque};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::message::{Message, SEQUENCE_KEY};
use crate::topology::{Queue, Topology};

/// After so many entries one offset is skipped: offsets order entries, they do not count them, in RabbitMQ at each new
/// segment.
const SKIP_AFTER: u64 = 10;

pub(super) type SessionId = u64;
pub(super) type ConsumerId = u64;

/// No session has this number.
const NOBODY: SessionId = 0;

/// What became of a publish.
pub(super) enum Accepted {
    Stored,
    Full,
    NoQueue,
}

/// What a consumer receives.
pub(super) struct Arrival {
    pub(super) tag: u64,
    pub(super) message: Message,
    pub(super) redelivered: bool,
}

pub(super) struct State {
    inboxes: u16,
    queues: HashMap<Queue, Waiting>,
    journal: Journal,
    sessions: HashMap<SessionId, CancellationToken>,
    last_id: u64,
    /// Of the sessions that take from inboxes, from partitions, and from the queue of links.
    prefetch: [HashMap<SessionId, u16>; 3],
}

impl State {
    pub(super) fn new(topology: &Topology) -> Self {
        let inboxes = topology.inbox_queues().into_iter().map(|queue| (queue, topology.inbox_bytes));
        let partitions = topology.partition_queues().into_iter().map(|queue| (queue, topology.partition_bytes));
        let links = topology.links.then_some((Queue::Links, topology.links_bytes));
        let queues =
            inboxes.chain(partitions).chain(links).map(|(queue, limit)| (queue, Waiting::new(limit))).collect();
        let journal = Journal { limit: topology.journal_bytes, ..Journal::default() };
        Self {
            inboxes: topology.inboxes,
            queues,
            journal,
            sessions: HashMap::new(),
            last_id: 0,
            prefetch: Default::default(),
        }
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// The prefetch of the fleet for queues of this kind: that of the sessions which are there, or else this one.
    pub(super) fn agree_on_prefetch(&mut self, session: SessionId, kind: Queue, prefetch: u16) -> u16 {
        let [inboxes, partitions, links] = &mut self.prefetch;
        let fleet = match kind {
            Queue::Inbox(_) => inboxes,
            Queue::Partition(_) => partitions,
            Queue::Links => links,
        };
        let agreed = fleet.values().next().copied().unwrap_or(prefetch);
        if agreed == prefetch {
            fleet.insert(session, prefetch);
        }
        agreed
    }

    pub(super) fn begin(&mut self) -> (SessionId, CancellationToken) {
        let (id, token) = (self.next_id(), CancellationToken::new());
        self.sessions.insert(id, token.clone());
        (id, token)
    }

    pub(super) fn end(&mut self, session: SessionId) {
        if let Some(token) = self.sessions.remove(&session) {
            token.cancel();
            for fleet in &mut self.prefetch {
                fleet.remove(&session);
            }
            for queue in self.queues.values_mut() {
                queue.remove(|consumer| consumer.session == session);
            }
        }
    }

    pub(super) fn end_all(&mut self) {
        // All at once: nothing may be handed to a consumer that is to die next.
        for (_, token) in self.sessions.drain() {
            token.cancel();
        }
        self.prefetch = Default::default();
        for queue in self.queues.values_mut() {
            queue.remove(|_| true);
        }
    }

    pub(super) fn publish_order(&mut self, message: &Message) -> Accepted {
        if self.inboxes == 0 {
            return Accepted::NoQueue;
        }
        let key = message.header(SEQUENCE_KEY).unwrap_or_default();
        let inbox = crc32fast::hash(key.as_bytes()) % u32::from(self.inboxes);
        self.publish(Queue::Inbox(u16::try_from(inbox).unwrap_or_default()), message)
    }

    pub(super) fn publish(&mut self, queue: Queue, message: &Message) -> Accepted {
        self.queues.get_mut(&queue).map_or(Accepted::NoQueue, |waiting| waiting.publish(message))
    }

    pub(super) fn subscribe(
        &mut self,
        session: SessionId,
        queue: Queue,
        prefetch: usize,
        arrivals: mpsc::Sender<Arrival>,
        over: CancellationToken,
    ) -> Option<ConsumerId> {
        let id = self.next_id();
        let waiting = self.queues.get_mut(&queue)?;
        let unacked = BTreeMap::new();
        waiting.consumers.push_back(Consumer { id, session, prefetch, arrivals, over, unacked, last_tag: 0 });
        waiting.hand_out();
        Some(id)
    }

    pub(super) fn unsubscribe(&mut self, queue: Queue, consumer: ConsumerId) {
        if let Some(waiting) = self.queues.get_mut(&queue) {
            waiting.remove(|candidate| candidate.id == consumer);
        }
    }

    /// Puts a consumer of nobody before all others.
    pub(super) fn haunt(&mut self, queue: Queue) {
        let id = self.next_id();
        if let Some(waiting) = self.queues.get_mut(&queue) {
            let (arrivals, over) = (mpsc::channel(1).0, CancellationToken::new());
            let ghost =
                Consumer { id, session: NOBODY, prefetch: 0, arrivals, over, unacked: BTreeMap::new(), last_tag: 0 };
            waiting.consumers.push_front(ghost);
        }
    }

    pub(super) fn lay_ghosts(&mut self, queue: Queue) {
        if let Some(waiting) = self.queues.get_mut(&queue) {
            waiting.remove(|consumer| consumer.session == NOBODY);
        }
    }

    pub(super) fn neglect(&mut self, queue: Queue) {
        if let Some(waiting) = self.queues.get_mut(&queue) {
            waiting.consumers.iter_mut().for_each(|consumer| consumer.prefetch = 0);
        }
    }

    /// Whether there was something to acknowledge.
    pub(super) fn ack(&mut self, queue: Queue, consumer: ConsumerId, tag: u64) -> bool {
        let Some(waiting) = self.queues.get_mut(&queue) else { return false };
        let Some(consumer) = waiting.consumers.iter_mut().find(|candidate| candidate.id == consumer) else {
            return false;
        };
        let settled = consumer.unacked.remove(&tag).is_some();
        waiting.hand_out();
        settled
    }

    pub(super) fn ready(&self, queue: Queue) -> Option<usize> {
        self.queues.get(&queue).map(|waiting| waiting.ready.len())
    }

    /// The offset at which the next entry will be.
    pub(super) fn append(&mut self, message: &Message) -> u64 {
        self.journal.append(message)
    }

    pub(super) fn entry_from(&self, offset: u64) -> Option<(u64, Message)> {
        let first = self.journal.entries.partition_point(|(at, _)| *at < offset);
        self.journal.entries.get(first).cloned()
    }
}

/// A queue. The first consumer is the active one.
struct Waiting {
    ready: VecDeque<Stored>,
    ready_bytes: u64,
    limit: u64,
    consumers: VecDeque<Consumer>,
}

struct Stored {
    message: Message,
    redelivered: bool,
}

struct Consumer {
    id: ConsumerId,
    session: SessionId,
    prefetch: usize,
    arrivals: mpsc::Sender<Arrival>,
    over: CancellationToken,
    unacked: BTreeMap<u64, Stored>,
    last_tag: u64,
}

impl Waiting {
    fn new(limit: u64) -> Self {
        Self { ready: VecDeque::new(), ready_bytes: 0, limit, consumers: VecDeque::new() }
    }

    fn publish(&mut self, message: &Message) -> Accepted {
        if self.ready_bytes >= self.limit {
            return Accepted::Full;
        }
        self.ready_bytes += size(message);
        self.ready.push_back(Stored { message: message.clone(), redelivered: false });
        self.hand_out();
        Accepted::Stored
    }

    fn hand_out(&mut self) {
        let Some(active) = self.consumers.front_mut() else { return };
        while active.unacked.len() < active.prefetch {
            let Some(stored) = self.ready.pop_front() else { return };
            self.ready_bytes = self.ready_bytes.saturating_sub(size(&stored.message));
            active.last_tag += 1;
            let arrival =
                Arrival { tag: active.last_tag, message: stored.message.clone(), redelivered: stored.redelivered };
            // It fits: no more than the prefetch is ever out. A receiver that is being dropped gives everything back.
            let _ = active.arrivals.try_send(arrival);
            active.unacked.insert(active.last_tag, stored);
        }
    }

    /// Takes consumers away. What they had not settled returns to the front, in order.
    fn remove(&mut self, leaves: impl Fn(&Consumer) -> bool) {
        let (left, stay): (VecDeque<_>, VecDeque<_>) = self.consumers.drain(..).partition(|consumer| leaves(consumer));
        self.consumers = stay;
        for consumer in left {
            consumer.over.cancel();
            for (_, stored) in consumer.unacked.into_iter().rev() {
                self.ready_bytes += size(&stored.message);
                self.ready.push_front(Stored { redelivered: true, ..stored });
            }
        }
        self.hand_out();
    }
}

#[derive(Default)]
struct Journal {
    entries: VecDeque<(u64, Message)>,
    bytes: u64,
    limit: u64,
    next: u64,
}

impl Journal {
    fn append(&mut self, message: &Message) -> u64 {
        self.bytes += size(message);
        self.entries.push_back((self.next, message.clone()));
        self.next += if self.next % SKIP_AFTER == SKIP_AFTER - 1 { 2 } else { 1 };
        while self.bytes > self.limit && self.entries.len() > 1 {
            let oldest = self.entries.pop_front();
            self.bytes = self.bytes.saturating_sub(oldest.map_or(0, |(_, message)| size(&message)));
        }
        self.next
    }
}

fn size(message: &Message) -> u64 {
    u64::try_from(message.body.len()).unwrap_or(u64::MAX)
}
