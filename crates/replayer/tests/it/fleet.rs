//! A namespace on the real broker, and the program as an operator starts it.

use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use futures::StreamExt;
use queue::dead_letters::DeadLetters;
use queue::journal::entry::Entry;
use queue::message::Message;
use queue::rabbitmq::{RabbitMq, RabbitMqSettings};
use queue::session::{Broker, Session};
use queue::topology::{Namespace, Queue, Target, Topology};
use serde_json::Value;

/// A fleet of its own, without programs.
pub(crate) struct Fleet {
    pub(crate) topology: Topology,
    pub(crate) broker: RabbitMq,
    pub(crate) session: Arc<dyn Session>,
}

impl Fleet {
    pub(crate) async fn new() -> Self {
        let namespace = Namespace::parse(&testkit::namespace("replayer")).expect("a name");
        let topology = Topology { inboxes: 1, partitions: 2, ..Topology::new(namespace) };
        let broker =
            RabbitMq::new(&testkit::amqp_url(), topology.clone(), RabbitMqSettings::new("test")).expect("an address");
        let session = broker.connect().await.expect("the broker answers");
        Self { topology, broker, session }
    }

    /// With these entries in the journal.
    pub(crate) async fn with(entries: &[Entry]) -> Self {
        let fleet = Self::new().await;
        for entry in entries {
            fleet.append(entry).await;
        }
        fleet
    }

    pub(crate) async fn append(&self, entry: &Entry) {
        self.session.publish(&Target::Journal, &entry.to_message()).await.expect("journalled");
    }

    /// What is open, as a later operator sees it.
    pub(crate) async fn open_orders(&self) -> Vec<Option<String>> {
        let letters = DeadLetters::open(&self.broker, "test").await.expect("the journal is read");
        let orders = letters.letters().into_iter().map(|letter| letter.order_id).collect();
        letters.close().await;
        orders
    }

    /// The next message of a queue, acknowledged.
    pub(crate) async fn next(&self, queue: Queue) -> Message {
        let mut subscription = self.session.subscribe(queue, 1).await.expect("subscribed");
        let next = tokio::time::timeout(testkit::eventually::PATIENCE, subscription.deliveries.next()).await;
        let delivery = next.expect("a message in time").expect("a message");
        let message = delivery.message.clone();
        delivery.ack().await.expect("acknowledged");
        subscription.channel.close().await;
        message
    }

    /// The program, with the fleet's settings and without a terminal.
    pub(crate) fn replayer(&self, arguments: &[&str]) -> Command {
        let mut command = replayer(arguments);
        command
            .env("CAUSEWAY_AMQP_URL", testkit::amqp_url())
            .env("CAUSEWAY_NAMESPACE", self.topology.namespace.as_str())
            .env("CAUSEWAY_PARTITIONS", self.topology.partitions.to_string())
            .env("CAUSEWAY_INBOXES", self.topology.inboxes.to_string());
        command
    }

    /// Runs it to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ended {
        run(self.replayer(arguments)).await
    }
}

/// The program with an empty environment.
pub(crate) fn replayer(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_causeway-replayer"));
    command.args(arguments).env_clear().env("USER", "tester").stdin(Stdio::null());
    command
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) bytes: Vec<u8>,
}

impl Ended {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs a command to its end.
pub(crate) async fn run(mut command: Command) -> Ended {
    let ended = tokio::task::spawn_blocking(move || command.output()).await.expect("it does not panic");
    let Output { status, stdout, stderr } = ended.expect("the program starts");
    Ended {
        code: status.code(),
        out: String::from_utf8_lossy(&stdout).into_owned(),
        err: String::from_utf8_lossy(&stderr).into_owned(),
        bytes: stdout,
    }
}
