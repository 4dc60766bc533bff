//! The RabbitMQ backend.
//!
//! - A session has two connections: publishing and consuming. A broker that runs out of memory or disk stops reading
//!   from connections that publish; acknowledgements must not wait behind that.
//! - lapin's automatic recovery stays off. It would hide that deliveries already belong to somebody else.
//! - Nothing is ever cancelled (`basic.cancel`): with a standby waiting, the broker would hand on later messages before
//!   the unsettled ones. Channels are closed instead, and lapin's consumers, which cancel when dropped, are kept until
//!   that is done.
//! - Only a positive confirm without a returned message is success.

mod connect;
mod declare;
mod deliver;
mod ending;
mod journal;
mod properties;
mod publish;
mod verify;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use lapin::{Connection, Event};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::connect::InvalidUrl;
use self::connect::{Address, Link, Role};
use self::ending::Ending;
use self::publish::Publisher;
use crate::error::{Error, PublishError, VisitError};
use crate::message::Message;
use crate::session::{Broker, JournalItem, JournalStart, Session, Subscription};
use crate::topology::{Queue, Target, Topology};

/// Log targets of the client library that write out whole messages, and `lapin::channel`, which tells in the protocol's own
/// words, as an error, what this crate tells with its remedy. A program has to silence them.
pub const LOG_TARGETS_WITH_CONTENTS: [&str; 4] =
    ["lapin::returned_messages", "lapin::channel", "lapin::channels", "lapin::frames"];

/// How often a session looks whether its connections still stand, besides listening to their events.
const CHECK: Duration = Duration::from_secs(1);

/// How long the broker may take to answer to a close, once for the channels and once for the connections.
const CLOSE: Duration = Duration::from_secs(5);

/// How a program talks to RabbitMQ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RabbitMqSettings {
    /// The program, and which instance of it: the name of its connections in RabbitMQ's own views, and the `app_id` of
    /// messages that have none.
    pub name: String,
    /// A silent peer is given up after twice this. Whole seconds, at least 1.
    pub heartbeat: Duration,
    /// How long one connection may take to be made.
    pub connect_timeout: Duration,
    /// How long a confirm, or any other answer of the broker, may take before the session ends. The time during which
    /// the broker has said that it is short of memory or disk does not count for confirms.
    pub confirm_deadline: Duration,
    /// Publishes that may wait for their confirm at a time, 1 to 1000. Each has a channel of its own while it waits.
    pub in_flight: u16,
    /// How long a delivery may be held unacknowledged, whatever the broker's own `consumer_timeout` says: the consumer's
    /// argument `x-consumer-timeout`. RabbitMQ before 4.3 looks past it. (RabbitMQ's guide "Consumers", delivery
    /// acknowledgement timeout; release notes of 4.3.0.)
    pub hold: Duration,
}

impl RabbitMqSettings {
    /// The settings a program normally uses: heartbeat 10 s, connect timeout 10 s, confirm deadline 30 s, 256 in flight, and
    /// a delivery is held for up to a day.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            heartbeat: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(10),
            confirm_deadline: Duration::from_secs(30),
            in_flight: 256,
            hold: Duration::from_hours(24),
        }
    }
}

/// A RabbitMQ broker, 3.10 or later, with the consistent-hash exchange plugin.
pub struct RabbitMq {
    address: Arc<Address>,
    topology: Topology,
    settings: RabbitMqSettings,
}

impl RabbitMq {
    /// A broker at `amqp://user:password@host:port/vhost`, or `amqps://` for TLS. Nothing is opened yet.
    ///
    /// # Errors
    /// The address is none; the message does not repeat it.
    pub fn new(url: &str, topology: Topology, settings: RabbitMqSettings) -> Result<Self, InvalidUrl> {
        Ok(Self { address: Arc::new(Address::parse(url)?), topology, settings })
    }

    /// Host, port and virtual host, for messages.
    pub fn place(&self) -> &str {
        self.address.place()
    }

    /// A session, once the fleet's things on the broker are found as they should be.
    async fn session_after<E: From<Error>>(
        &self,
        check: impl AsyncFnOnce(&Connection) -> Result<(), E>,
    ) -> Result<Arc<dyn Session>, E> {
        let consuming = self.address.open(&self.settings, Role::Consume).await?;
        let second = async {
            check(&consuming.connection).await?;
            Ok(self.address.open(&self.settings, Role::Publish).await?)
        };
        match second.await {
            Ok(publishing) => Ok(Arc::new(RabbitSession::begin(consuming, publishing, self))),
            Err(error) => {
                consuming.close(CLOSE).await;
                Err(error)
            }
        }
    }
}

impl fmt::Debug for RabbitMq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitMq")
            .field("place", &self.place())
            .field("topology", &self.topology)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Broker for RabbitMq {
    async fn connect(&self) -> Result<Arc<dyn Session>, Error> {
        self.session_after(async |connection| {
            declare::declare(connection, &self.address, &self.topology, self.settings.confirm_deadline).await
        })
        .await
    }

    async fn visit(&self) -> Result<Arc<dyn Session>, VisitError> {
        self.session_after(async |connection| {
            verify::verify(connection, &self.address, &self.topology, self.settings.confirm_deadline).await
        })
        .await
    }

    fn topology(&self) -> &Topology {
        &self.topology
    }
}

struct RabbitSession {
    address: Arc<Address>,
    settings: RabbitMqSettings,
    topology: Topology,
    deadline: Duration,
    consuming: Arc<Connection>,
    publisher: Arc<Publisher>,
    ending: Ending,
    /// Everything that has to come to an end before the connections are closed.
    tasks: TaskTracker,
    /// Both connections are closed, or given up.
    closed: CancellationToken,
}

impl RabbitSession {
    fn begin(consuming: Link, publishing: Link, broker: &RabbitMq) -> Self {
        let ending = Ending::new(broker.place());
        let tasks = TaskTracker::new();
        let (blocked_sender, blocked) = watch::channel(false);
        let publisher = Publisher::new(
            Arc::clone(&publishing.connection),
            &broker.settings,
            blocked,
            ending.clone(),
            tasks.clone(),
        );
        let session = Self {
            address: Arc::clone(&broker.address),
            settings: broker.settings.clone(),
            topology: broker.topology.clone(),
            deadline: broker.settings.confirm_deadline,
            consuming: Arc::clone(&consuming.connection),
            publisher: Arc::new(publisher),
            ending: ending.clone(),
            tasks: tasks.clone(),
            closed: CancellationToken::new(),
        };
        let supervisor = Supervisor {
            consuming,
            publishing,
            blocked: blocked_sender,
            ending,
            tasks,
            closed: session.closed.clone(),
        };
        tokio::spawn(supervisor.run());
        session
    }
}

#[async_trait]
impl Session for RabbitSession {
    async fn publish(&self, target: &Target, message: &Message) -> Result<(), PublishError> {
        let message = message.bound_for(target);
        Arc::clone(&self.publisher).publish(publish::Route::of(target, &self.topology), &message).await
    }

    async fn subscribe(&self, queue: Queue, prefetch: u16) -> Result<Subscription, Error> {
        let line = deliver::Line {
            connection: Arc::clone(&self.consuming),
            name: self.topology.queue_name(queue),
            prefetch: prefetch.max(1),
            deadline: self.deadline,
            ending: self.ending.clone(),
        };
        deliver::subscribe(line, queue, self.settings.hold, &self.tasks).await
    }

    async fn agree_on_prefetch(&self, kind: Queue, prefetch: u16) -> Result<(), Error> {
        // Asked on a connection of its own: a refusal is an answer here, and would be a fault of the session there.
        let link = self.address.open(&self.settings, Role::Consume).await?;
        let (address, topology) = (&self.address, &self.topology);
        let agreed = async {
            declare::agree_on_prefetch(&link.connection, address, topology, kind, prefetch).await?;
            declare::stand_by_prefetch(&self.consuming, address, topology, kind, prefetch).await?;
            // In between, the mark may have gone with the last session that stood by it, and come again for another number.
            // Now that this session stands by it, the answer holds.
            declare::agree_on_prefetch(&link.connection, address, topology, kind, prefetch).await
        };
        let agreed = tokio::time::timeout(self.deadline, agreed).await;
        link.close(CLOSE).await;
        agreed.unwrap_or_else(|_| Err(self.address.no_answer(self.deadline)))
    }

    async fn read_journal(&self, from: JournalStart) -> Result<BoxStream<'static, JournalItem>, Error> {
        let line = deliver::Line {
            connection: Arc::clone(&self.consuming),
            name: self.topology.journal(),
            prefetch: journal::PREFETCH,
            deadline: self.deadline,
            ending: self.ending.clone(),
        };
        journal::read(line, from, &self.tasks).await
    }

    async fn ready_of(&self, queues: &[Queue]) -> Result<Vec<u32>, Error> {
        let opening = self.consuming.create_channel();
        let channel = self.ending.guard("opening a channel to ask for depths", self.deadline, opening).await?;
        let mut ready = Vec::with_capacity(queues.len());
        for queue in queues {
            let name = self.topology.queue_name(*queue);
            let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            let ask = channel.queue_declare(connect::short(&name), options, FieldTable::default());
            let asked = self.ending.guard(&format!("asking for the depth of {name}"), self.deadline, ask).await?;
            ready.push(asked.message_count());
        }
        let closing = channel.close(lapin::protocol::constants::REPLY_SUCCESS, connect::short("OK"));
        self.ending.guard("closing the channel that asked for depths", self.deadline, closing).await?;
        Ok(ready)
    }

    fn is_blocked(&self) -> bool {
        self.publisher.is_blocked()
    }

    fn ended(&self) -> CancellationToken {
        self.ending.token()
    }

    fn why_ended(&self) -> Error {
        self.ending.lost()
    }

    async fn close(&self) {
        self.ending.close();
        self.closed.cancelled().await;
    }
}

impl Drop for RabbitSession {
    fn drop(&mut self) {
        // Subscriptions live on their own; the supervisor closes what is left when the session is given up.
        self.ending.close();
    }
}

/// Watches both connections, ends the session at the first fault of either, and closes what is left.
struct Supervisor {
    consuming: Link,
    publishing: Link,
    blocked: watch::Sender<bool>,
    ending: Ending,
    tasks: TaskTracker,
    closed: CancellationToken,
}

impl Supervisor {
    async fn run(self) {
        self.watch().await;
        // Subscriptions close their channels first: only then may lapin's consumers go.
        self.tasks.close();
        let _ = tokio::time::timeout(CLOSE, self.tasks.wait()).await;
        futures::future::join(self.publishing.close(CLOSE), self.consuming.close(CLOSE)).await;
        self.closed.cancel();
    }

    async fn watch(&self) {
        let ended = self.ending.token();
        let mut consuming = std::pin::pin!(self.consuming.connection.events_listener());
        let mut publishing = std::pin::pin!(self.publishing.connection.events_listener());
        let mut check = tokio::time::interval(CHECK);
        loop {
            tokio::select! {
                () = ended.cancelled() => return,
                event = consuming.next() => self.on(Role::Consume, event),
                event = publishing.next() => self.on(Role::Publish, event),
                _ = check.tick() => {
                    for (role, link) in [(Role::Consume, &self.consuming), (Role::Publish, &self.publishing)] {
                        if !link.connection.status().connected() {
                            self.ending.end(&format!("the {role} connection is closed"));
                        }
                    }
                }
            }
        }
    }

    fn on(&self, role: Role, event: Option<Event>) {
        match event {
            None => self.ending.end(&format!("the {role} connection is gone")),
            Some(Event::Error(error)) => self.ending.end(&format!("{role} connection: {error}")),
            Some(Event::ConnectionBlocked(reason)) => {
                tracing::warn!(connection = %role, %reason, "RabbitMQ takes no more messages until it has recovered");
                if matches!(role, Role::Publish) {
                    self.blocked.send_replace(true);
                }
            }
            Some(Event::ConnectionUnblocked) => {
                tracing::info!(connection = %role, "RabbitMQ takes messages again");
                if matches!(role, Role::Publish) {
                    self.blocked.send_replace(false);
                }
            }
            Some(_) => {}
        }
    }
}
