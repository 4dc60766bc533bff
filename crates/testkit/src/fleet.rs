//! A fleet's private names on the shared services, and what stands on the broker under them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use lapin::options::{
    BasicConsumeOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;
use queue::dead_letters::DeadLetters;
use queue::journal::fold::{Letter, LetterState};
use queue::message::{Message, SEQUENCE_KEY};
use queue::rabbitmq::{RabbitMq, RabbitMqSettings};
use queue::session::{Broker, Session};
use queue::topology::{Namespace, Queue, Target, Topology};
use serde_json::Value;

use crate::eventually::PATIENCE;

/// One fleet's namespace, small: one inbox, two partitions. Everything below it on RabbitMQ and Redis goes when it is
/// dropped, also when a test fails.
#[derive(Debug)]
pub struct Fleet {
    topology: Topology,
    amqp_url: String,
    redis_url: String,
}

impl Fleet {
    /// A namespace that nobody else has, on the services of this test run.
    pub fn new(prefix: &str) -> Self {
        Self::with(prefix, |_| {})
    }

    /// The same, with another topology.
    pub fn with(prefix: &str, change: impl FnOnce(&mut Topology)) -> Self {
        let namespace = Namespace::parse(&crate::namespace(prefix)).expect("a short prefix makes a namespace");
        let mut topology = Topology { inboxes: 1, partitions: 2, ..Topology::new(namespace) };
        change(&mut topology);
        Self { topology, amqp_url: crate::amqp_url(), redis_url: crate::redis_url() }
    }

    /// What is declared.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The prefix of every name.
    pub fn namespace(&self) -> &str {
        self.topology.namespace.as_str()
    }

    /// RabbitMQ's address.
    pub fn amqp_url(&self) -> &str {
        &self.amqp_url
    }

    /// Redis's address.
    pub fn redis_url(&self) -> &str {
        &self.redis_url
    }

    /// The settings that name this fleet, as variables.
    pub fn settings(&self) -> Vec<(String, String)> {
        let Topology { namespace, inboxes, partitions, .. } = &self.topology;
        [
            (crate::AMQP_URL, self.amqp_url.clone()),
            (crate::REDIS_URL, self.redis_url.clone()),
            ("CAUSEWAY_NAMESPACE", namespace.to_string()),
            ("CAUSEWAY_TENANT", crate::orders::TENANT.to_owned()),
            ("CAUSEWAY_PARTITIONS", partitions.to_string()),
            ("CAUSEWAY_INBOXES", inboxes.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    /// The fleet's broker.
    pub fn broker(&self) -> RabbitMq {
        RabbitMq::new(&self.amqp_url, self.topology.clone(), RabbitMqSettings::new("a test")).expect("an address")
    }

    /// Declares everything and connects.
    pub async fn connect(&self) -> Arc<dyn Session> {
        self.broker().connect().await.expect("RabbitMQ takes the topology")
    }

    /// Publishes messages to the partitions of their customers, in order, confirmed.
    pub async fn hand_on(&self, session: &Arc<dyn Session>, messages: &[Message]) {
        for message in messages {
            let key = message.header(SEQUENCE_KEY).expect("a message that was handed on names its customer");
            let target = Target::Partition(self.topology.partition_of(key));
            session.publish(&target, message).await.expect("confirmed");
        }
    }

    /// The queues that hold messages which are ready, by name.
    pub async fn left_over(&self, session: &Arc<dyn Session>) -> Vec<String> {
        let queues: Vec<Queue> =
            self.topology.inbox_queues().into_iter().chain(self.topology.partition_queues()).collect();
        let mut left = Vec::new();
        for queue in queues {
            if session.ready(queue).await.expect("the queue is there") > 0 {
                left.push(self.topology.queue_name(queue));
            }
        }
        left
    }

    /// The open letters, oldest first.
    pub async fn letters(&self) -> Vec<Letter> {
        let letters = self.dead_letters().await;
        let open = letters.letters();
        letters.close().await;
        open
    }

    /// The operator's way in.
    pub async fn dead_letters(&self) -> DeadLetters {
        DeadLetters::open(&self.broker(), "a test").await.expect("the journal can be read")
    }

    /// Forgets everything that Redis holds for this fleet. Returns how many keys there were.
    pub async fn forget(&self) -> usize {
        forget(&self.redis_url, self.namespace()).await.expect("Redis answers")
    }

    /// Listens to the outcomes from now on. Needs the topology.
    pub async fn outcomes(&self) -> Outcomes {
        Outcomes::listen(&self.amqp_url, &self.topology.outcomes_exchange())
            .await
            .expect("the outcomes exchange is there")
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let (topology, amqp_url, redis_url) = (self.topology.clone(), self.amqp_url.clone(), self.redis_url.clone());
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = runtime else { return };
            runtime.block_on(async {
                let both = async {
                    let _ = forget(&redis_url, topology.namespace.as_str()).await;
                    let _ = delete(&amqp_url, &topology).await;
                };
                if tokio::time::timeout(PATIENCE, both).await.is_err() {
                    eprintln!("{} was not removed in time", topology.namespace);
                }
            });
        });
        let _ = cleaning.join();
    }
}

async fn delete(url: &str, topology: &Topology) -> lapin::Result<()> {
    let connection = lapin::Connection::connect(url, lapin::ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let queues = topology.inbox_queues().into_iter().chain(topology.partition_queues());
    let names =
        queues.map(|queue| topology.queue_name(queue)).chain([topology.queue_name(Queue::Links), topology.journal()]);
    for name in names {
        channel.queue_delete(name.into(), QueueDeleteOptions::default()).await?;
    }
    let mark = format!("{}.topology", topology.namespace);
    for exchange in [topology.orders_exchange(), topology.outcomes_exchange(), mark] {
        channel.exchange_delete(exchange.into(), ExchangeDeleteOptions::default()).await?;
    }
    connection.close(200, "OK".into()).await
}

async fn forget(url: &str, namespace: &str) -> redis::RedisResult<usize> {
    let mut connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    let (mut cursor, mut forgotten) = (0_u64, 0);
    loop {
        let (next, keys): (u64, Vec<String>) = redis::cmd("SCAN")
            .arg(cursor)
            .arg("MATCH")
            .arg(format!("{{{namespace}:*"))
            .arg("COUNT")
            .arg(1_000)
            .query_async(&mut connection)
            .await?;
        if !keys.is_empty() {
            forgotten += keys.len();
            redis::cmd("DEL").arg(keys).exec_async(&mut connection).await?;
        }
        cursor = next;
        if cursor == 0 {
            return Ok(forgotten);
        }
    }
}

/// What is told on the outcomes exchange.
pub struct Outcomes {
    consumer: lapin::Consumer,
    _connection: lapin::Connection,
}

/// One outcome.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// The routing key: `order.written` and kin.
    pub kind: String,
    /// The order.
    pub order_id: String,
    /// The `CloudEvent`.
    pub event: Value,
}

impl Told {
    /// The event's `data`.
    pub fn data(&self) -> &Value {
        &self.event["data"]
    }
}

impl Outcomes {
    async fn listen(url: &str, exchange: &str) -> lapin::Result<Self> {
        let connection = lapin::Connection::connect(url, lapin::ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        let mine = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
        let queue = channel.queue_declare("".into(), mine, FieldTable::default()).await?;
        let name = queue.name().clone();
        let bind = QueueBindOptions::default();
        channel.queue_bind(name.clone(), exchange.into(), "#".into(), bind, FieldTable::default()).await?;
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consumer = channel.basic_consume(name, "".into(), options, FieldTable::default()).await?;
        Ok(Self { consumer, _connection: connection })
    }

    /// The next outcome.
    ///
    /// # Panics
    /// When none is told within the tests' patience.
    pub async fn next(&mut self) -> Told {
        let delivery = tokio::time::timeout(PATIENCE, self.consumer.next()).await;
        let delivery = delivery.unwrap_or_else(|_| panic!("waited {} s for an outcome", PATIENCE.as_secs()));
        read(delivery)
    }

    /// The next outcomes, in the order in which they were told.
    pub async fn take(&mut self, count: usize) -> Vec<Told> {
        let mut told = Vec::with_capacity(count);
        while told.len() < count {
            told.push(self.next().await);
        }
        told
    }

    /// Waits until every one of these orders was told of under this routing key; what else is told is returned as well.
    pub async fn until(&mut self, kind: &str, orders: impl IntoIterator<Item = String>) -> Vec<Told> {
        let mut missing: BTreeSet<String> = orders.into_iter().collect();
        let mut told = Vec::new();
        while !missing.is_empty() {
            let delivery = tokio::time::timeout(PATIENCE, self.consumer.next()).await;
            let delivery = delivery.unwrap_or_else(|_| {
                panic!("waited {} s for {kind} of {missing:?}; told: {told:#?}", PATIENCE.as_secs())
            });
            let next = read(delivery);
            if next.kind == kind {
                missing.remove(&next.order_id);
            }
            told.push(next);
        }
        told
    }

    /// What is told within a short while: for asserting that nothing more is.
    pub async fn rest(&mut self) -> Vec<Told> {
        let mut told = Vec::new();
        while let Ok(delivery) = tokio::time::timeout(Duration::from_millis(100), self.consumer.next()).await {
            told.push(read(delivery));
        }
        told
    }
}

fn read(delivery: Option<lapin::Result<lapin::message::Delivery>>) -> Told {
    let delivery = delivery.expect("the connection stands").expect("a delivery");
    let event: Value = serde_json::from_slice(&delivery.data).expect("an outcome is JSON");
    let order_id = event["subject"].as_str().unwrap_or_default().to_owned();
    Told { kind: delivery.routing_key.to_string(), order_id, event }
}

/// Why a letter is open, when it was given up.
///
/// # Panics
/// When it is held behind another.
pub fn failure(letter: &Letter) -> &domain::failure::Failure {
    match &letter.state {
        LetterState::Dead(failure) => failure,
        LetterState::Held(behind) => panic!("{} is held behind {behind}", letter.id),
    }
}
