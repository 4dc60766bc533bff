//! A subscriber of the outcomes that misses nothing: its queue is durable, and it acknowledges what it has noted.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ConnectionProperties};
use queue::topology::Topology;
use serde::Deserialize;
use tokio::task::JoinHandle;

use crate::demo::reconcile::Told;

const QUEUE: &str = "chaos.outcomes";
const AGAIN: Duration = Duration::from_millis(300);

/// A subscription of the run's own.
pub(crate) struct Listener {
    heard: Arc<Mutex<Told>>,
    reader: JoinHandle<()>,
}

#[derive(Deserialize)]
struct Outcome {
    subject: String,
}

impl Listener {
    /// Listens from now on. The exchange has to exist.
    pub(crate) async fn listen(amqp_url: &str, topology: &Topology) -> Result<Self> {
        bind(amqp_url, topology).await.context("listening to the outcomes")?;
        let heard = Arc::new(Mutex::new(Told::default()));
        let reader = tokio::spawn({
            let (url, heard) = (amqp_url.to_owned(), Arc::clone(&heard));
            async move {
                loop {
                    // The broker is away every now and then.
                    let _ = read(&url, &heard).await;
                    tokio::time::sleep(AGAIN).await;
                }
            }
        });
        Ok(Self { heard, reader })
    }

    /// How many outcomes were told, repetitions left out.
    pub(crate) fn count(&self) -> usize {
        let heard = lock(&self.heard);
        heard.written.len() + heard.rejected.len() + heard.dead.len()
    }

    /// What was told so far.
    pub(crate) fn told(&self) -> Told {
        lock(&self.heard).clone()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn bind(url: &str, topology: &Topology) -> lapin::Result<()> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(QUEUE.into(), durable, arguments).await?;
    let exchange = topology.outcomes_exchange();
    let options = QueueBindOptions::default();
    channel.queue_bind(QUEUE.into(), exchange.into(), "order.*".into(), options, FieldTable::default()).await?;
    connection.close(200, "OK".into()).await
}

async fn read(url: &str, heard: &Mutex<Told>) -> lapin::Result<()> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.basic_qos(500, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let mut consumer = channel.basic_consume(QUEUE.into(), "".into(), options, FieldTable::default()).await?;
    while let Some(delivery) = consumer.next().await {
        let delivery = delivery?;
        if let Ok(Outcome { subject }) = serde_json::from_slice(&delivery.data) {
            let mut heard = lock(heard);
            match delivery.routing_key.as_str() {
                "order.written" => heard.written.insert(subject),
                "order.rejected" => heard.rejected.insert(subject),
                "order.dead_lettered" => heard.dead.insert(subject),
                _ => false,
            };
        }
        delivery.ack(BasicAckOptions::default()).await?;
    }
    Ok(())
}

fn lock(heard: &Mutex<Told>) -> MutexGuard<'_, Told> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}
