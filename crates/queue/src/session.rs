//! What a backend has to do: connect, publish with confirms, deliver, and read the journal.
//!
//! A session is one generation of connections. At its first error it ends as a whole: deliveries of it can no longer be
//! acknowledged, pending confirms are unknown. Whoever works with it makes a new one.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, PublishError, VisitError};
use crate::message::Message;
use crate::topology::{Queue, Target, Topology};

/// A place where sessions come from.
#[async_trait]
pub trait Broker: Send + Sync + 'static {
    /// Connects, declares the topology and verifies it against what exists.
    ///
    /// # Errors
    /// [`Error::Unreachable`]: try again with backoff. [`Error::Topology`]: an operator has to act.
    async fn connect(&self) -> Result<Arc<dyn Session>, Error>;

    /// Connects as an operator's tool does: verifies that the fleet is there with these counts, and declares nothing.
    ///
    /// # Errors
    /// [`VisitError::NoFleet`] where nothing was declared under the namespace; [`Error::Topology`] where the counts differ or
    /// something is missing; [`Error::Unreachable`]: try again with backoff.
    async fn visit(&self) -> Result<Arc<dyn Session>, VisitError>;

    /// What it declares.
    fn topology(&self) -> &Topology;
}

/// One generation of connections.
#[async_trait]
pub trait Session: Send + Sync + 'static {
    /// Publishes persistently; returns when the broker has confirmed it and, except to outcomes, routed it.
    ///
    /// Dropping the future halfway leaves it unknown whether the message is stored.
    async fn publish(&self, target: &Target, message: &Message) -> Result<(), PublishError>;

    /// Subscribes to a queue on a channel of its own, with at most `prefetch` deliveries unacknowledged. One consumer of a
    /// queue is active, the others stand by.
    async fn subscribe(&self, queue: Queue, prefetch: u16) -> Result<Subscription, Error>;

    /// Makes sure that every process that takes from queues of this kind, inboxes or partitions, has the same prefetch: RabbitMQ
    /// may reverse what consumers of different prefetch hand back one after the other. The first of a fleet decides, for as
    /// long as one of its sessions is there.
    ///
    /// # Errors
    /// [`Error::Topology`]: the fleet has another, or the broker refuses to say; what it names is to be done. Anything else
    /// may succeed on another session.
    async fn agree_on_prefetch(&self, kind: Queue, prefetch: u16) -> Result<(), Error> {
        let _ = (kind, prefetch);
        Ok(())
    }

    /// Reads the journal from a place on, without end, in order.
    async fn read_journal(&self, from: JournalStart) -> Result<BoxStream<'static, JournalItem>, Error>;

    /// How many messages of each of these queues are ready, asked one after the other. Unacknowledged ones are not counted:
    /// empty does not mean done.
    async fn ready_of(&self, queues: &[Queue]) -> Result<Vec<u32>, Error>;

    /// The same of one queue.
    async fn ready(&self, queue: Queue) -> Result<u32, Error> {
        Ok(self.ready_of(&[queue]).await?.into_iter().next().unwrap_or_default())
    }

    /// Whether the broker takes no messages for the moment (a memory or disk alarm). Publishing waits until it does again.
    fn is_blocked(&self) -> bool;

    /// Cancelled when the session has ended, whatever the cause.
    fn ended(&self) -> CancellationToken;

    /// Why it ended, once it has.
    fn why_ended(&self) -> Error {
        Error::Lost("the session ended".to_owned())
    }

    /// Closes every channel and connection, and waits for it. Unsettled deliveries return to their queues in order.
    async fn close(&self);
}

/// A message of the journal with its offset. Offsets order entries; they do not count them.
pub type JournalItem = (u64, Message);

/// Where to begin reading the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalStart {
    /// At the oldest entry kept.
    First,
    /// At this offset.
    Offset(u64),
}

/// The deliveries of one queue, and the channel they come by.
pub struct Subscription {
    /// The queue.
    pub queue: Queue,
    /// In order; ends when the channel does. Keep it until [`Channel::close`] has returned: dropping it first would let the
    /// broker hand on later messages before the unsettled ones.
    pub deliveries: BoxStream<'static, Delivery>,
    /// The channel.
    pub channel: Arc<dyn Channel>,
}

/// The channel of a subscription.
#[async_trait]
pub trait Channel: Send + Sync + 'static {
    /// One round trip: proves that the channel lives, and that the broker's channel has read every acknowledgement sent
    /// before. A queue under load may still hand a few of them out again; they are folded as doubles.
    async fn flush(&self) -> Result<(), Error>;

    /// Closes it without cancelling. Unsettled deliveries return to the front of their queue in order.
    async fn close(&self);

    /// Whether it was closed on purpose, while its session went on.
    fn is_closed(&self) -> bool;

    /// Acknowledges one delivery. Called through [`Delivery::ack`].
    async fn ack(&self, tag: u64) -> Result<(), Error>;
}

/// A message that has to be settled once. Dropped unsettled it is released when its channel closes, never acknowledged.
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// The queue it came by.
    pub queue: Queue,
    /// Whether the broker had delivered it before.
    pub redelivered: bool,
    tag: u64,
    channel: Arc<dyn Channel>,
}

impl Delivery {
    /// A delivery with its channel's tag; for backends.
    pub fn new(message: Message, queue: Queue, redelivered: bool, tag: u64, channel: Arc<dyn Channel>) -> Self {
        Self { message, queue, redelivered, tag, channel }
    }

    /// Whether its channel was closed on purpose: it has gone back, and comes again to whoever is active then.
    pub fn has_gone_back(&self) -> bool {
        self.channel.is_closed()
    }

    /// Tells the broker that its effect is durable; hands it back if that fails.
    ///
    /// # Errors
    /// The session has ended; the message will come again.
    pub async fn ack(self) -> Result<(), (Error, Box<Self>)> {
        match self.channel.ack(self.tag).await {
            Ok(()) => Ok(()),
            Err(error) => Err((error, Box::new(self))),
        }
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { message, queue, redelivered, tag, channel: _ } = self;
        f.debug_struct("Delivery")
            .field("message_id", &message.id)
            .field("queue", queue)
            .field("redelivered", redelivered)
            .field("tag", tag)
            .finish_non_exhaustive()
    }
}
