//! An `ingest` in a namespace of its own: messages in at the exchange, orders out at the partitions.

use std::sync::Arc;

use causeway_ingest::{Args, Config};
use clap::Parser as _;
use futures::StreamExt as _;
use queue::message::{Message, SEQUENCE_KEY};
use queue::session::{Session, Subscription};
use queue::topology::{Queue, Target};
use serde_json::Value;
use service::{Exit, Lifecycle, Problems};
use testkit::eventually::PATIENCE;
use testkit::orders::TENANT;
use testkit::{Fleet, eventually_some};

/// Everything around an `ingest`.
pub(crate) struct Stage {
    pub(crate) fleet: Fleet,
    pub(crate) session: Arc<dyn Session>,
    settings: Vec<(String, String)>,
}

impl Stage {
    /// One partition, so that everything that is handed on arrives in one line.
    pub(crate) async fn new() -> Self {
        let fleet = Fleet::with("ingest", |topology| topology.partitions = 1);
        let session = fleet.connect().await;
        let stage = Self { settings: fleet.settings(), fleet, session };
        stage.set("CAUSEWAY_PATIENCE", "20s")
    }

    /// Sets a setting of what is started from now on.
    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.retain(|(known, _)| known != name);
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn settings(&self) -> &[(String, String)] {
        &self.settings
    }

    /// An `ingest` inside this process.
    pub(crate) fn ingest(&self) -> Ingest {
        let flags = self.settings.iter().flat_map(|(name, value)| {
            let flag = name.trim_start_matches("CAUSEWAY_").to_lowercase().replace('_', "-");
            [format!("--{flag}"), value.clone()]
        });
        let args = Args::parse_from(["causeway-ingest".to_owned()].into_iter().chain(flags));
        let mut problems = Problems::with_environment([]);
        let config = Config::read(args, &mut problems).unwrap_or_else(|| panic!("{problems}"));
        let lifecycle = Lifecycle::new();
        lifecycle.spawn("ingest", causeway_ingest::run(config, lifecycle.clone()));
        Ingest(lifecycle)
    }

    /// Publishes as Limio's publishers do.
    pub(crate) async fn publish(&self, message: &Message) {
        self.session.publish(&Target::Orders, message).await.expect("confirmed");
    }

    /// Takes from the partition.
    pub(crate) async fn partition(&self) -> Partition {
        let subscription = self.session.subscribe(Queue::Partition(0), 2_000).await.expect("a subscription");
        Partition(subscription)
    }
}

/// An order as a publisher sends it: bare, with the headers that Limio's callouts have.
pub(crate) fn bare(id: &str, order: &Value) -> Message {
    raw(id, order.to_string().into_bytes())
}

/// Any bytes, sent as an order.
pub(crate) fn raw(id: &str, body: Vec<u8>) -> Message {
    let headers = [("tenant", TENANT), ("event", "order.submitted"), (SEQUENCE_KEY, "one lane")];
    Message {
        body: body.into(),
        id: id.to_owned(),
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        ..Message::default()
    }
}

/// What arrives at the partition.
pub(crate) struct Partition(Subscription);

impl Partition {
    /// The next message, acknowledged.
    pub(crate) async fn next(&mut self) -> Message {
        let delivery = tokio::time::timeout(PATIENCE, self.0.deliveries.next()).await;
        let delivery = delivery.expect("nothing arrives at the partition").expect("the subscription stands");
        let message = delivery.message.clone();
        delivery.ack().await.map_err(|(error, _)| error).expect("acknowledged");
        message
    }

    /// The next messages.
    pub(crate) async fn take(&mut self, count: usize) -> Vec<Message> {
        let mut messages = Vec::with_capacity(count);
        while messages.len() < count {
            messages.push(self.next().await);
        }
        messages
    }
}

/// An `ingest` inside this process; it ends with the test.
pub(crate) struct Ingest(Lifecycle);

impl Ingest {
    /// Finishes what is in flight and ends, without a failure.
    pub(crate) async fn stop(self) {
        self.0.drain();
        let exit = tokio::time::timeout(PATIENCE, self.0.ended()).await;
        assert_eq!(exit.expect("it drains in time"), Exit::Done);
    }

    /// Waits until intake is paused; returns why.
    pub(crate) async fn pauses(&self) -> String {
        eventually_some("intake to pause", async || {
            let families = self.0.registry().gather();
            let paused = families.iter().find(|family| family.name().ends_with("intake_paused"))?;
            Some(paused.get_metric().first()?.get_label().first()?.value().to_owned())
        })
        .await
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        self.0.abort();
    }
}
