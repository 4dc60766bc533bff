//! Deliveries of one queue, on a channel of their own.
//!
//! A task owns lapin's consumer and hands its deliveries on. However the subscription ends (closed, dropped, its task
//! aborted, the session lost), this task closes the channel, waits for it, and only then lets the consumer go: dropped
//! earlier, lapin would cancel it, and the broker would hand on later messages before the unsettled ones.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, Consumer};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connect::{broken, is_broken, short};
use super::ending::Ending;
use super::properties;
use crate::error::Error;
use crate::session::{Channel, Delivery, Subscription};
use crate::topology::Queue;

/// What a consuming channel is made of.
pub(super) struct Line {
    pub(super) connection: Arc<Connection>,
    /// Queue or stream.
    pub(super) name: String,
    pub(super) prefetch: u16,
    pub(super) deadline: Duration,
    pub(super) ending: Ending,
}

impl Line {
    /// Opens a channel and begins to consume on it. Dropped halfway, the channel closes and nothing is cancelled: lapin's
    /// consumer cancels only once it was handed out.
    pub(super) async fn open(self, arguments: FieldTable) -> Result<Tap, Error> {
        let opening = async {
            let channel = self.connection.create_channel().await?;
            channel.basic_qos(self.prefetch, BasicQosOptions::default()).await?;
            let name = short(&self.name);
            let consumer = channel.basic_consume(name, short(""), BasicConsumeOptions::default(), arguments).await?;
            Ok((channel, Held(Some(consumer))))
        };
        let (channel, consumer) =
            self.ending.guard(&format!("consuming from {}", self.name), self.deadline, opening).await?;
        let over = self.ending.token().child_token();
        let Self { connection, name, prefetch: _, deadline, ending } = self;
        Ok(Tap { name, connection, channel, consumer, over, deadline, ending })
    }
}

/// An open channel with its consumer.
pub(super) struct Tap {
    pub(super) name: String,
    connection: Arc<Connection>,
    pub(super) channel: lapin::Channel,
    consumer: Held,
    /// Cancelled when deliveries are wanted no longer, and when the session ends.
    pub(super) over: CancellationToken,
    deadline: Duration,
    ending: Ending,
}

impl Tap {
    /// The next delivery, as long as somebody wants it.
    pub(super) async fn next_for<T>(&mut self, reader: &mpsc::Sender<T>) -> Option<lapin::message::Delivery> {
        tokio::select! {
            biased;
            () = reader.closed() => None,
            next = self.next() => next,
        }
    }

    /// Hands something to its reader, however long that takes to have room. `false` when it is over, or nobody reads.
    pub(super) async fn hand_on<T>(&self, reader: &mpsc::Sender<T>, item: T) -> bool {
        tokio::select! {
            biased;
            () = self.over.cancelled() => false,
            sent = reader.send(item) => sent.is_ok(),
        }
    }

    /// The next delivery. `None` when it is over; a consumer that ends by itself ends the session.
    async fn next(&mut self) -> Option<lapin::message::Delivery> {
        let consumer = self.consumer.0.as_mut()?;
        let cause = tokio::select! {
            biased;
            () = self.over.cancelled() => return None,
            delivery = consumer.next() => match delivery {
                Some(Ok(delivery)) => return Some(delivery),
                Some(Err(error)) => format!("consuming from {}: {error}", self.name),
                None => format!("RabbitMQ ended the consumer of {}", self.name),
            },
        };
        self.ending.end(&cause);
        None
    }

    /// Waits for an answer, at most for the deadline and until the session ends.
    pub(super) async fn guard<T>(
        &self,
        doing: &str,
        answer: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T, Error> {
        self.ending.guard(&format!("{doing} {}", self.name), self.deadline, answer).await
    }

    /// Closes the channel without cancelling, and waits for it.
    pub(super) async fn close(mut self) {
        self.over.cancel();
        if self.channel.status().connected() {
            let closing = self.channel.close(lapin::protocol::constants::REPLY_SUCCESS, short("OK"));
            tokio::select! {
                closed = tokio::time::timeout(self.deadline, closing) => match closed {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        tracing::debug!(queue = self.name, %error, "closing a channel that was gone already");
                    }
                    Err(_) => self.ending.end(&format!("closing the channel of {}: no answer", self.name)),
                },
                // With its connection the channel is gone, and nothing is left to cancel.
                () = broken(&self.connection) => {}
            }
        }
        if !self.channel.status().connected() || is_broken(&self.connection) {
            // From here on lapin knows that nothing is left to cancel.
            drop(self.consumer.0.take());
        }
    }
}

/// A consumer that is leaked rather than dropped while its channel is open, which would cancel it. That happens when the
/// runtime shuts down under its task; the process ends then.
struct Held(Option<Consumer>);

impl Drop for Held {
    fn drop(&mut self) {
        std::mem::forget(self.0.take());
    }
}

/// Subscribes to a queue. Who holds a delivery for longer than `hold` is ended by the broker, if it knows the argument.
pub(super) async fn subscribe(
    line: Line,
    queue: Queue,
    hold: Duration,
    tasks: &TaskTracker,
) -> Result<Subscription, Error> {
    let mut arguments = FieldTable::default();
    let milliseconds = i64::try_from(hold.as_millis()).unwrap_or(i64::MAX);
    arguments.insert(short("x-consumer-timeout"), AMQPValue::LongLongInt(milliseconds));
    let (opened, subscription) = oneshot::channel();
    let (prefetch, ending) = (line.prefetch, line.ending.clone());
    // A task of its own from the first frame on: the caller may be aborted at any time.
    tasks.spawn(async move {
        let tap = match line.open(arguments).await {
            Ok(tap) => tap,
            Err(error) => {
                let _ = opened.send(Err(error));
                return;
            }
        };
        let channel = Arc::new(OpenChannel {
            name: tap.name.clone(),
            channel: tap.channel.clone(),
            over: tap.over.clone(),
            closed: CancellationToken::new(),
            deadline: tap.deadline,
            ending: tap.ending.clone(),
        });
        // The prefetch bounds what can be in here.
        let (sender, receiver) = mpsc::channel(usize::from(prefetch));
        let closed = channel.closed.clone().drop_guard();
        let deliveries = until_over(receiver, tap.over.clone());
        let as_channel: Arc<dyn Channel> = Arc::clone(&channel) as _;
        let subscription = Subscription { queue, deliveries, channel: as_channel };
        // Dropped unseen, the receiver tells the loop below to close.
        drop(opened.send(Ok(subscription)));
        hand_on(tap, queue, &sender, channel).await;
        drop(closed);
    });
    subscription.await.unwrap_or_else(|_| Err(ending.lost()))
}

async fn hand_on(mut tap: Tap, queue: Queue, sender: &mpsc::Sender<Delivery>, channel: Arc<OpenChannel>) {
    let channel: Arc<dyn Channel> = channel;
    while let Some(delivery) = tap.next_for(sender).await {
        let (message, _) = properties::decode(&delivery.properties, delivery.data);
        let delivery = Delivery::new(message, queue, delivery.redelivered, delivery.delivery_tag, Arc::clone(&channel));
        if !tap.hand_on(sender, delivery).await {
            break;
        }
    }
    tap.close().await;
}

/// What arrives, until it is over; what was not taken by then is not given out any more.
pub(super) fn until_over<T: Send + 'static>(
    receiver: mpsc::Receiver<T>,
    over: CancellationToken,
) -> BoxStream<'static, T> {
    stream::unfold((receiver, over), |(mut receiver, over)| async move {
        let item = tokio::select! {
            biased;
            () = over.cancelled() => None,
            item = receiver.recv() => item,
        };
        item.map(|item| (item, (receiver, over)))
    })
    .boxed()
}

struct OpenChannel {
    name: String,
    channel: lapin::Channel,
    over: CancellationToken,
    closed: CancellationToken,
    deadline: Duration,
    ending: Ending,
}

impl OpenChannel {
    fn ensure_open(&self) -> Result<(), Error> {
        match (self.ending.token().is_cancelled(), self.over.is_cancelled()) {
            (true, _) => Err(self.ending.lost()),
            (false, true) => Err(self.is_closed()),
            (false, false) => Ok(()),
        }
    }

    fn is_closed(&self) -> Error {
        Error::Lost(format!("the channel of {} was closed", self.name))
    }

    /// As [`Ending::guard`], except that a fault after the channel was closed on purpose is none.
    async fn guard<T>(&self, doing: &str, answer: impl Future<Output = lapin::Result<T>>) -> Result<T, Error> {
        self.ensure_open()?;
        let doing = format!("{doing} {}", self.name);
        tokio::select! {
            biased;
            answer = self.ending.guard(&doing, self.deadline, answer) => answer,
            () = self.over.cancelled() => Err(self.is_closed()),
        }
    }
}

#[async_trait]
impl Channel for OpenChannel {
    /// The broker answers after it has read everything before. A quorum queue takes in more than some thirty
    /// acknowledgements at once only bit by bit; those that it has not taken in when the channel closes come again, in order.
    async fn flush(&self) -> Result<(), Error> {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let asked = self.channel.queue_declare(short(&self.name), options, FieldTable::default());
        self.guard("asking on the channel of", asked).await.map(|_| ())
    }

    async fn close(&self) {
        self.over.cancel();
        self.closed.cancelled().await;
    }

    fn is_closed(&self) -> bool {
        self.over.is_cancelled() && !self.ending.token().is_cancelled()
    }

    async fn ack(&self, tag: u64) -> Result<(), Error> {
        let acknowledged = self.channel.basic_ack(tag, BasicAckOptions::default());
        self.guard("acknowledging on the channel of", acknowledged).await
    }
}
