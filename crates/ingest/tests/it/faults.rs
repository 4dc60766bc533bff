//! When something is away or full: intake waits, and nothing is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use causeway_ingest::handler::OrderIntake;
use causeway_ingest::metrics::Metrics;
use domain::envelope::DecodeSettings;
use domain::order::id::TenantId;
use domain::story::{Recorder, What};
use futures::StreamExt as _;
use ledger::MemoryLedger;
use queue::handler::Unobserved;
use queue::lanes::{BatchSettings, InFlight};
use queue::memory::Memory;
use queue::message::{ORDER_ID, SEQUENCE_KEY};
use queue::session::Broker;
use queue::topology::{Namespace, Queue, Target, Topology};
use queue::work::{Letters, Stop, WorkSettings};
use service::Lifecycle;
use testkit::eventually::PATIENCE;
use testkit::orders::{TENANT, new_order, order_id};
use testkit::{Fleet, TcpProxy, eventually};

use crate::stage::{Partition, Stage, bare};

fn port_of(url: &str) -> u16 {
    let authority = url.split("://").nth(1).and_then(|rest| rest.split('/').next()).expect("an address");
    authority.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
}

/// The next different orders, besides those that were seen. A line that is lost between the publish and what is noted of it
/// lets an order go twice; it never lets one overtake another.
async fn each_once(partition: &mut Partition, count: usize, before: &[String]) -> Vec<String> {
    let mut seen = Vec::with_capacity(count);
    while seen.len() < count {
        let id = partition.next().await.headers[ORDER_ID].clone();
        if !seen.contains(&id) && !before.contains(&id) {
            seen.push(id);
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn while_redis_is_away_intake_pauses_and_afterwards_everything_is_handed_on() {
    let stage = Stage::new().await;
    let url = stage.fleet.redis_url().to_owned();
    let proxy = TcpProxy::before(port_of(&url)).await.expect("a proxy");
    let stage = stage.set(testkit::REDIS_URL, &proxy.url(&url, port_of(&url)));
    let ingest = stage.ingest();
    let mut partition = stage.partition().await;
    stage.publish(&bare("m1", &new_order("ann", 1))).await;
    partition.next().await;
    proxy.cut();
    for number in 2..=6 {
        stage.publish(&bare(&format!("m{number}"), &new_order("ann", number))).await;
    }
    assert_eq!(ingest.pauses().await, "ledger_unavailable");
    proxy.restore();
    assert_eq!(
        each_once(&mut partition, 5, &[order_id("ann", 1)]).await,
        (2..=6).map(|n| order_id("ann", n)).collect::<Vec<_>>()
    );
    ingest.stop().await;
    assert!(stage.fleet.left_over(&stage.session).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_broker_cuts_the_line_everything_comes_again_and_is_handed_on_in_order() {
    let stage = Stage::new().await;
    let url = stage.fleet.amqp_url().to_owned();
    let proxy = TcpProxy::before(port_of(&url)).await.expect("a proxy");
    let stage = stage.set(testkit::AMQP_URL, &proxy.url(&url, port_of(&url)));
    let ingest = stage.ingest();
    let mut partition = stage.partition().await;
    for number in 1..=100 {
        stage.publish(&bare(&format!("m{number}"), &new_order("ann", number))).await;
        if number == 40 {
            proxy.cut();
            proxy.restore();
        }
    }
    let seen = each_once(&mut partition, 100, &[]).await;
    assert_eq!(seen, (1..=100).map(|number| order_id("ann", number)).collect::<Vec<_>>());
    ingest.stop().await;
}

/// Orders that found their partition full.
#[derive(Default)]
struct FoundFull(Mutex<BTreeSet<String>>);

impl FoundFull {
    fn count(&self) -> usize {
        self.0.lock().expect("no panic").len()
    }
}

impl Recorder for FoundFull {
    fn record(&self, order: &str, what: What) {
        if what == What::PartitionFull {
            self.0.lock().expect("no panic").insert(order.to_owned());
        }
    }
}

/// Hands on so many orders of each customer over a partition that has room for a few.
async fn is_waited_for_in_order(broker: Arc<dyn Broker>, customers: &[&str], orders: u32) {
    let (topology, session) = (broker.topology().clone(), broker.connect().await.expect("a session"));
    for number in 1..=orders {
        for customer in customers {
            let message = bare(&format!("{customer}{number}"), &new_order(customer, number));
            session.publish(&Target::Orders, &message).await.expect("confirmed");
        }
    }
    let lifecycle = Lifecycle::new();
    let metrics = Metrics::register(lifecycle.registry(), lifecycle.health().clone()).expect("registered once");
    let decode = DecodeSettings { tenant: TenantId::parse(TENANT).expect("a tenant"), max_body_bytes: 1 << 20 };
    let found_full = Arc::new(FoundFull::default());
    let intake = OrderIntake::new(decode, topology.clone(), Arc::new(MemoryLedger::default()), Arc::new(metrics))
        .recorded_by(Arc::clone(&found_full) as Arc<dyn Recorder>);
    let work = WorkSettings {
        queues: topology.inbox_queues(),
        prefetch: 256,
        batches: BatchSettings { orders: 64, in_flight: InFlight::Fixed(2), linger: Duration::ZERO },
        letters: Letters::Forward,
        by: "ingest/test".into(),
        peers: None,
        patience: PATIENCE,
    };
    let stop = Stop { draining: lifecycle.draining().clone(), aborting: lifecycle.aborting().clone() };
    let running = tokio::spawn(queue::work::run(broker, Arc::new(intake), work, Arc::new(Unobserved), stop));
    // At the head of each lane one order waits, and nothing of its customer goes before it.
    eventually("an order of each customer to be refused", async || found_full.count() == customers.len()).await;

    // Whoever takes from the partition makes room; the rest follows, in order.
    let mut subscription = session.subscribe(Queue::Partition(0), 1).await.expect("a subscription");
    let mut came: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for _ in 0..orders as usize * customers.len() {
        let delivery = tokio::time::timeout(PATIENCE, subscription.deliveries.next()).await;
        let delivery = delivery.expect("the rest follows").expect("the subscription stands");
        let headers = &delivery.message.headers;
        came.entry(headers[SEQUENCE_KEY].clone()).or_default().push(headers[ORDER_ID].clone());
        delivery.ack().await.map_err(|(error, _)| error).expect("acknowledged");
    }
    let mut came: Vec<Vec<String>> = came.into_values().collect();
    let of = |customer: &&str| (1..=orders).map(|number| order_id(customer, number)).collect::<Vec<_>>();
    let mut expected: Vec<_> = customers.iter().map(of).collect();
    came.sort();
    expected.sort();
    assert_eq!(came, expected);
    lifecycle.drain();
    running.await.expect("no panic").expect("no failure");
    assert_eq!(session.ready(Queue::Partition(0)).await.expect("a depth"), 0, "and nothing twice");
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_is_full_is_waited_for_and_nothing_is_lost() {
    let namespace = Namespace::parse("full").expect("a name");
    let topology = Topology { inboxes: 1, partitions: 1, partition_bytes: 10_000, ..Topology::new(namespace) };
    is_waited_for_in_order(Arc::new(Memory::new(topology)), &["ann"], 12).await;
}

/// The broker refuses publishes of several customers that are on their way at once, and takes them one by one as room is made.
#[tokio::test(flavor = "multi_thread")]
async fn publishes_that_rabbitmq_refuses_while_others_are_on_their_way_reverse_no_customers_orders() {
    let fleet = Fleet::with("full", |topology| {
        topology.partitions = 1;
        topology.partition_bytes = 10_000;
    });
    is_waited_for_in_order(Arc::new(fleet.broker()), &["ann", "bob", "cleo", "dora", "emil"], 6).await;
}

async fn exit_code(settings: impl IntoIterator<Item = (&str, &str)>, flags: &[&str]) -> (Option<i32>, String) {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_causeway-ingest"))
        .args(flags)
        .env_clear()
        .envs(settings)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, output).await.expect("it ends").expect("it runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_setting_is_named_at_once() {
    let settings = [("CAUSEWAY_AMQP_URL", "nowhere"), ("CAUSEWAY_PARTITIONS", "many"), ("CAUSEWAY_PREFETCH", "0")];
    let (code, said) = exit_code(settings, &[]).await;
    assert_eq!(code, Some(78), "{said}");
    for setting in ["CAUSEWAY_AMQP_URL", "CAUSEWAY_PARTITIONS", "CAUSEWAY_PREFETCH", "CAUSEWAY_TENANT"] {
        assert!(said.contains(setting), "{setting} is not named:\n{said}");
    }
    assert_eq!(exit_code([], &["--no-such-flag"]).await.0, Some(64));
    let (code, help) = exit_code([], &["--help"]).await;
    assert_eq!(code, Some(0));
    assert!(help.contains("CAUSEWAY_MAX_BODY_BYTES"), "{help}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_reached_within_the_patience_is_named() {
    let [closed] = testkit::port::free().expect("a port");
    for (setting, url) in [
        (testkit::AMQP_URL, format!("amqp://127.0.0.1:{closed}/%2f")),
        (testkit::REDIS_URL, format!("redis://127.0.0.1:{closed}/")),
    ] {
        let stage = Stage::new().await.set("CAUSEWAY_PATIENCE", "300ms").set(setting, &url);
        let stage = stage.set("CAUSEWAY_ADMIN_LISTEN", "127.0.0.1:0");
        let settings = stage.settings().iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let (code, said) = exit_code(settings, &[]).await;
        assert_eq!(code, Some(69), "{said}");
        assert!(said.contains(&closed.to_string()), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topology_that_differs_is_named_with_what_to_do() {
    let stage = Stage::new().await.set("CAUSEWAY_PARTITIONS", "3").set("CAUSEWAY_ADMIN_LISTEN", "127.0.0.1:0");
    let settings = stage.settings().iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let (code, said) = exit_code(settings, &[]).await;
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("partitions"), "{said}");
}
