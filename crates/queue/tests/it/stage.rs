//! A broker with a namespace of its own, for one test.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions};
use queue::memory::Memory;
use queue::message::{Message, SEQUENCE_KEY};
use queue::rabbitmq::{RabbitMq, RabbitMqSettings};
use queue::session::{Broker, Delivery, Session, Subscription};
use queue::topology::{Namespace, Queue, Target, Topology};
use testkit::TcpProxy;
use testkit::eventually::PATIENCE;

/// The partition that tests use.
pub(crate) const PARTITION: Queue = Queue::Partition(1);
/// The way to it.
pub(crate) const TO_PARTITION: Target = Target::Partition(1);

/// A broker and the means to disturb it.
pub(crate) struct Stage {
    pub(crate) broker: Arc<dyn Broker>,
    backend: Backend,
    /// Last: it removes what the test declared.
    _cleanup: Option<Cleanup>,
}

enum Backend {
    Memory(Arc<Memory>),
    RabbitMq(TcpProxy),
}

impl Stage {
    pub(crate) fn memory(change: impl FnOnce(&mut Topology)) -> Self {
        let memory = Arc::new(Memory::new(topology(change)));
        Self { broker: Arc::clone(&memory) as _, backend: Backend::Memory(memory), _cleanup: None }
    }

    pub(crate) async fn rabbitmq(change: impl FnOnce(&mut Topology)) -> Self {
        let topology = topology(change);
        let (proxy, url) = proxied().await;
        let cleanup = Cleanup(topology.clone());
        let broker = Arc::new(RabbitMq::new(&url, topology, settings()).expect("an address"));
        Self { broker, backend: Backend::RabbitMq(proxy), _cleanup: Some(cleanup) }
    }

    pub(crate) fn is_memory(&self) -> bool {
        matches!(self.backend, Backend::Memory(_))
    }

    pub(crate) fn topology(&self) -> &Topology {
        self.broker.topology()
    }

    pub(crate) async fn connect(&self) -> Arc<dyn Session> {
        self.broker.connect().await.expect("a session")
    }

    /// Cuts every connection at once. New ones can be made.
    pub(crate) async fn lose_sessions(&self, sessions: &[&Arc<dyn Session>]) {
        match &self.backend {
            Backend::Memory(memory) => memory.lose_sessions(),
            Backend::RabbitMq(proxy) => {
                proxy.cut();
                for session in sessions {
                    within(session.ended().cancelled()).await;
                }
                proxy.restore();
            }
        }
    }

    pub(crate) fn proxy(&self) -> &TcpProxy {
        match &self.backend {
            Backend::RabbitMq(proxy) => proxy,
            Backend::Memory(_) => panic!("memory has no network"),
        }
    }
}

/// A small topology in a namespace of its own.
pub(crate) fn topology(change: impl FnOnce(&mut Topology)) -> Topology {
    let namespace = Namespace::parse(&testkit::namespace("queue")).expect("a namespace");
    let mut topology = Topology { inboxes: 3, partitions: 2, ..Topology::new(namespace) };
    change(&mut topology);
    topology
}

pub(crate) fn settings() -> RabbitMqSettings {
    RabbitMqSettings::new("causeway-queue tests")
}

/// A proxy before the broker of this test run, and the address through it.
pub(crate) async fn proxied() -> (TcpProxy, String) {
    let url = testkit::amqp_url();
    let port = port_of(&url);
    let proxy = TcpProxy::before(port).await.expect("a proxy");
    let proxied = proxy.url(&url, port);
    assert_ne!(proxied, url, "the address has to name its port");
    (proxy, proxied)
}

pub(crate) fn port_of(url: &str) -> u16 {
    let authority = url.split("://").nth(1).and_then(|rest| rest.split('/').next()).expect("an address");
    authority.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or(5672)
}

/// Bounds a wait.
pub(crate) async fn within<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, wait).await.expect("it did not happen in time")
}

pub(crate) fn message(id: impl std::fmt::Display, key: &str) -> Message {
    Message {
        body: format!("body of {id}").into(),
        id: id.to_string(),
        headers: [(SEQUENCE_KEY.to_owned(), key.to_owned())].into(),
        ..Message::default()
    }
}

/// Publishes messages with these ids, one after the other.
pub(crate) async fn publish(session: &Arc<dyn Session>, target: &Target, ids: impl IntoIterator<Item = u32>) {
    for id in ids {
        within(session.publish(target, &message(id, "one customer"))).await.expect("confirmed");
    }
}

pub(crate) async fn subscribe(session: &Arc<dyn Session>, queue: Queue, prefetch: u16) -> Subscription {
    within(session.subscribe(queue, prefetch)).await.expect("a subscription")
}

pub(crate) async fn next(subscription: &mut Subscription) -> Delivery {
    within(subscription.deliveries.next()).await.expect("a delivery")
}

/// The next `n` deliveries.
pub(crate) async fn take(subscription: &mut Subscription, n: usize) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    while deliveries.len() < n {
        deliveries.push(next(subscription).await);
    }
    deliveries
}

pub(crate) fn ids(deliveries: &[Delivery]) -> Vec<u32> {
    deliveries.iter().map(|delivery| delivery.message.id.parse().expect("a number")).collect()
}

pub(crate) async fn ack(delivery: Delivery) {
    within(delivery.ack()).await.map_err(|(error, _)| error).expect("acknowledged");
}

/// Asserts that nothing comes for a short while. A fault may slip through; a correct backend never fails here.
pub(crate) async fn nothing_comes(subscription: &mut Subscription) {
    let came = tokio::time::timeout(Duration::from_millis(150), subscription.deliveries.next()).await;
    assert!(came.is_err(), "something came: {came:?}");
}

/// A plain connection, without this crate.
pub(crate) async fn plain() -> lapin::Connection {
    lapin::Connection::connect(&testkit::amqp_url(), lapin::ConnectionProperties::default()).await.expect("connected")
}

/// Deletes what a test declared, also when it fails.
pub(crate) struct Cleanup(pub(crate) Topology);

impl Drop for Cleanup {
    fn drop(&mut self) {
        let topology = self.0.clone();
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
            runtime.expect("a runtime").block_on(async {
                if tokio::time::timeout(PATIENCE, delete(&topology)).await.is_err() {
                    eprintln!("{} was not removed in time", topology.namespace);
                }
            });
        });
        let _ = cleaning.join();
    }
}

async fn delete(topology: &Topology) {
    let connection = plain().await;
    let channel = connection.create_channel().await.expect("a channel");
    let mut queues: Vec<String> = topology
        .inbox_queues()
        .iter()
        .chain(&topology.partition_queues())
        .map(|queue| topology.queue_name(*queue))
        .collect();
    queues.extend([topology.journal(), topology.queue_name(Queue::Links)]);
    for queue in queues {
        let _ = channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await;
    }
    let mark = format!("{}.topology", topology.namespace);
    let prefetch = ["inbox", "partition", "links"].map(|kind| format!("{mark}.{kind}-prefetch"));
    let exchanges = [topology.orders_exchange(), topology.outcomes_exchange(), mark];
    for exchange in exchanges.into_iter().chain(prefetch) {
        let _ = channel.exchange_delete(exchange.into(), ExchangeDeleteOptions::default()).await;
    }
    let _ = connection.close(200, "OK".into()).await;
}
