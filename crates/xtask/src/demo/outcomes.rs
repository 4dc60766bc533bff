//! What the fleet tells the world: a subscriber of the outcomes exchange, as billing or Limio would be one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use futures::StreamExt;
use lapin::options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties, Consumer};
use queue::topology::Topology;
use serde::Deserialize;
use tokio::task::JoinHandle;

use super::reconcile::Told;

/// A subscription with a queue of its own, which goes with it.
pub(crate) struct Outcomes {
    heard: Arc<Mutex<Told>>,
    reader: JoinHandle<()>,
    _connection: Connection,
}

#[derive(Deserialize)]
struct Outcome {
    subject: String,
}

impl Outcomes {
    /// Listens from now on. The exchange has to exist.
    pub(crate) async fn listen(amqp_url: &str, topology: &Topology) -> Result<Self> {
        let listening = "listening to the outcomes";
        let connection =
            Connection::connect(amqp_url, ConnectionProperties::default().with_connection_name("demo".into()))
                .await
                .context(listening)?;
        let channel = connection.create_channel().await.context(listening)?;
        let own = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
        let queue = channel.queue_declare("".into(), own, FieldTable::default()).await.context(listening)?;
        let exchange = topology.outcomes_exchange();
        let name = queue.name().clone();
        channel
            .queue_bind(
                name.clone(),
                exchange.into(),
                "order.*".into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await
            .context(listening)?;
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consumer =
            channel.basic_consume(name, "".into(), options, FieldTable::default()).await.context(listening)?;
        let heard = Arc::new(Mutex::new(Told::default()));
        let reader = tokio::spawn(read(consumer, Arc::clone(&heard)));
        Ok(Self { heard, reader, _connection: connection })
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

impl Drop for Outcomes {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn read(mut consumer: Consumer, heard: Arc<Mutex<Told>>) {
    while let Some(Ok(delivery)) = consumer.next().await {
        let Ok(Outcome { subject }) = serde_json::from_slice(&delivery.data) else { continue };
        let mut heard = lock(&heard);
        match delivery.routing_key.as_str() {
            "order.written" => heard.written.insert(subject),
            "order.rejected" => heard.rejected.insert(subject),
            "order.dead_lettered" => heard.dead.insert(subject),
            _ => false,
        };
    }
}

fn lock(heard: &Mutex<Told>) -> MutexGuard<'_, Told> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}
