//! When something is away or full: intake waits, and nothing is lost.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use causeway_ingest::handler::OrderIntake;
use causeway_ingest::metrics::Metrics;
use domain::envelope::DecodeSettings;
use domain::order::id::TenantId;
use ledger::MemoryLedger;
use queue::handler::Unobserved;
use queue::lanes::{BatchSettings, InFlight};
use queue::memory::Memory;
use queue::message::ORDER_ID;
use queue::session::Broker as _;
use queue::topology::{Namespace, Queue, Target, Topology};
use queue::work::{Letters, Stop, WorkSettings};
use service::Lifecycle;
use testkit::eventually::PATIENCE;
use testkit::orders::{TENANT, new_order, order_id};
use testkit::{TcpProxy, eventually};

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

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_is_full_is_waited_for_and_nothing_is_lost() {
    let namespace = Namespace::parse("full").expect("a name");
    let topology = Topology { inboxes: 1, partitions: 1, partition_bytes: 10_000, ..Topology::new(namespace) };
    let broker = Arc::new(Memory::new(topology.clone()));
    let session = broker.connect().await.expect("a session");
    for number in 1..=6 {
        let message = bare(&format!("m{number}"), &new_order("ann", number));
        session.publish(&Target::Orders, &message).await.expect("confirmed");
    }
    let lifecycle = Lifecycle::new();
    let metrics = Metrics::register(lifecycle.registry(), lifecycle.health().clone()).expect("registered once");
    let decode = DecodeSettings { tenant: TenantId::parse(TENANT).expect("a tenant"), max_body_bytes: 1 << 20 };
    let intake = OrderIntake::new(decode, topology.clone(), Arc::new(MemoryLedger::default()), Arc::new(metrics));
    let work = WorkSettings {
        queues: topology.inbox_queues(),
        prefetch: 10,
        batches: BatchSettings { orders: 64, in_flight: InFlight::Fixed(2), linger: Duration::ZERO },
        letters: Letters::Forward,
        by: "ingest/test".into(),
        peers: None,
        patience: PATIENCE,
    };
    let stop = Stop { draining: lifecycle.draining().clone(), aborting: lifecycle.aborting().clone() };
    let running = tokio::spawn(queue::work::run(broker.clone(), Arc::new(intake), work, Arc::new(Unobserved), stop));
    eventually("the partition to be full", async || {
        session.ready(Queue::Partition(0)).await.is_ok_and(|ready| ready > 0)
    })
    .await;

    // Whoever takes from the partition makes room; the rest follows, in order.
    let mut subscription = session.subscribe(Queue::Partition(0), 10).await.expect("a subscription");
    let mut ids = Vec::new();
    while ids.len() < 6 {
        use futures::StreamExt as _;
        let delivery = tokio::time::timeout(PATIENCE, subscription.deliveries.next()).await;
        let delivery = delivery.expect("the rest follows").expect("the subscription stands");
        ids.push(delivery.message.headers[ORDER_ID].clone());
        delivery.ack().await.map_err(|(error, _)| error).expect("acknowledged");
    }
    assert_eq!(ids, (1..=6).map(|number| order_id("ann", number)).collect::<Vec<_>>());
    lifecycle.drain();
    running.await.expect("no panic").expect("no failure");
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
