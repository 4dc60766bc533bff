//! Publishing with confirms.
//!
//! Each publish that waits for its confirm has a channel of its own. lapin hands a returned message to whichever confirm
//! of the channel comes next, so with two in flight on one channel the routed one could be reported as unroutable and
//! the lost one as stored. Channels are opened as they are needed, at most [`RabbitMqSettings::in_flight`], and kept.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::task::TaskTracker;

use super::RabbitMqSettings;
use super::connect::short;
use super::ending::Ending;
use super::properties;
use crate::error::PublishError;
use crate::message::Message;
use crate::topology::{Target, Topology};

/// What may wait in memory to be written and confirmed, in KiB. A larger message goes alone.
const IN_FLIGHT_KIB: u32 = 64 * 1024;

/// Where a message is sent.
pub(super) struct Route {
    exchange: String,
    key: String,
    mandatory: bool,
}

impl Route {
    pub(super) fn of(target: &Target, topology: &Topology) -> Self {
        let queue = |name: String| Self { exchange: String::new(), key: name, mandatory: true };
        match target {
            Target::Orders => Self { exchange: topology.orders_exchange(), key: String::new(), mandatory: true },
            Target::Partition(index) => queue(topology.queue_name(crate::topology::Queue::Partition(*index))),
            Target::Links => queue(topology.queue_name(crate::topology::Queue::Links)),
            Target::Journal => queue(topology.journal()),
            Target::Outcomes(key) => {
                Self { exchange: topology.outcomes_exchange(), key: (*key).to_owned(), mandatory: false }
            }
        }
    }

    fn name(&self) -> &str {
        if self.exchange.is_empty() { &self.key } else { &self.exchange }
    }
}

pub(super) struct Publisher {
    connection: Arc<Connection>,
    app_id: String,
    deadline: Duration,
    idle: Mutex<Vec<Channel>>,
    in_flight: Arc<Semaphore>,
    kib: Arc<Semaphore>,
    blocked: watch::Receiver<bool>,
    ending: Ending,
    tasks: TaskTracker,
}

impl Publisher {
    pub(super) fn new(
        connection: Arc<Connection>,
        settings: &RabbitMqSettings,
        blocked: watch::Receiver<bool>,
        ending: Ending,
        tasks: TaskTracker,
    ) -> Self {
        let in_flight = usize::from(settings.in_flight.clamp(1, 1000));
        Self {
            connection,
            app_id: settings.name.clone(),
            deadline: settings.confirm_deadline,
            idle: Mutex::new(Vec::with_capacity(in_flight)),
            in_flight: Arc::new(Semaphore::new(in_flight)),
            kib: Arc::new(Semaphore::new(IN_FLIGHT_KIB as usize)),
            blocked,
            ending,
            tasks,
        }
    }

    /// Whether the broker has stopped reading what is published.
    pub(super) fn is_blocked(&self) -> bool {
        *self.blocked.borrow()
    }

    /// Returns when the broker has confirmed. Dropped halfway, it goes on in the background: a confirm that nobody
    /// awaits would stay in lapin's memory.
    pub(super) async fn publish(self: Arc<Self>, route: Route, message: &Message) -> Result<(), PublishError> {
        let Some(properties) = properties::encode(message, &self.app_id) else {
            return Err(PublishError::Unroutable(format!("{}: its headers are larger than a frame", route.name())));
        };
        let body = message.body.clone();
        let permits = self.permits(body.len()).await?;
        let tasks = self.tasks.clone();
        let publishing = tasks.spawn(async move {
            let _permits = permits;
            self.until_confirmed(&route, properties, &body).await
        });
        publishing.await.unwrap_or_else(|_| Err(PublishError::Unknown("the program ends".to_owned())))
    }

    async fn permits(&self, bytes: usize) -> Result<[OwnedSemaphorePermit; 2], PublishError> {
        let kib = u32::try_from(bytes / 1024 + 1).map_or(IN_FLIGHT_KIB, |kib| kib.min(IN_FLIGHT_KIB));
        let acquire = async {
            let one = Arc::clone(&self.in_flight).acquire_owned().await;
            let kib = Arc::clone(&self.kib).acquire_many_owned(kib).await;
            one.and_then(|one| kib.map(|kib| [one, kib]))
        };
        tokio::select! {
            biased;
            () = self.ending.ended() => Err(self.unknown()),
            permits = acquire => permits.map_err(|_| self.unknown()),
        }
    }

    async fn until_confirmed(
        &self,
        route: &Route,
        properties: BasicProperties,
        body: &[u8],
    ) -> Result<(), PublishError> {
        let mut blocked = self.blocked.clone();
        let mut sending = std::pin::pin!(self.send(route, properties, body));
        loop {
            tokio::select! {
                biased;
                sent = &mut sending => return sent,
                () = self.ending.ended() => return Err(self.unknown()),
                // The clock starts anew whenever the broker stops or resumes reading.
                Ok(()) = blocked.changed() => {}
                () = tokio::time::sleep(self.deadline) => {
                    if !*blocked.borrow() {
                        let cause = format!("no confirm from {} within {} s", route.name(), self.deadline.as_secs_f32());
                        self.ending.end(&cause);
                        return Err(PublishError::Unknown(cause));
                    }
                }
            }
        }
    }

    async fn send(&self, route: &Route, properties: BasicProperties, body: &[u8]) -> Result<(), PublishError> {
        let sent = async {
            let channel = self.channel().await?;
            let options = BasicPublishOptions { mandatory: route.mandatory, ..BasicPublishOptions::default() };
            let confirm =
                channel.basic_publish(short(&route.exchange), short(&route.key), options, body, properties).await?;
            lapin::Result::Ok((confirm.await?, channel))
        };
        match sent.await {
            Ok((confirmation, channel)) => {
                self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(channel);
                match confirmation {
                    Confirmation::Ack(None) => Ok(()),
                    Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => {
                        Err(PublishError::Unroutable(route.name().to_owned()))
                    }
                    Confirmation::Nack(None) => Err(PublishError::Refused),
                    Confirmation::NotRequested => {
                        self.ending.end("a channel is not in confirm mode");
                        Err(self.unknown())
                    }
                }
            }
            Err(error) => {
                self.ending.end(&format!("publishing to {}: {error}", route.name()));
                Err(self.unknown())
            }
        }
    }

    async fn channel(&self) -> lapin::Result<Channel> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(channel) = idle {
            return Ok(channel);
        }
        let channel = self.connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(channel)
    }

    fn unknown(&self) -> PublishError {
        PublishError::Unknown(self.ending.cause())
    }
}
