//! Brokers that are away, refuse, or hang.

use std::time::Duration;

use queue::error::{Error, PublishError};
use queue::rabbitmq::{RabbitMq, RabbitMqSettings};
use queue::session::Broker;

use crate::stage::{
    Cleanup, PARTITION, Stage, TO_PARTITION, ids, message, port_of, proxied, publish, settings, subscribe, take,
    topology, within,
};

async fn unreachable(url: &str, settings: RabbitMqSettings) -> (String, String) {
    let broker = RabbitMq::new(url, topology(|_| {}), settings).expect("an address");
    let shown = format!("{broker:?}");
    assert!(!shown.contains("s3cret"), "{shown}");
    match within(broker.connect()).await.map(|_| ()) {
        Err(error @ Error::Unreachable { .. }) => {
            let Error::Unreachable { place, cause } = &error else { unreachable!("it was matched") };
            assert!(!error.to_string().contains("s3cret"), "{error}");
            (place.clone(), cause.clone())
        }
        other => panic!("not unreachable: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_with_the_place_and_without_the_password() {
    let port = port_of(&testkit::amqp_url());
    let (place, cause) = unreachable(&format!("amqp://guest:s3cret@127.0.0.1:{port}/%2f"), settings()).await;
    assert_eq!(place, format!("127.0.0.1:{port}"));
    assert!(cause.contains("ACCESS_REFUSED"), "{cause}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_port_is_told_with_the_place() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let (place, cause) = unreachable(&format!("amqp://user:s3cret@127.0.0.1:{port}/orders"), settings()).await;
    assert_eq!(place, format!("127.0.0.1:{port}, virtual host 'orders'"));
    assert!(cause.contains("refused"), "{cause}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_virtual_host_that_does_not_exist_is_told() {
    let url = testkit::amqp_url();
    let base = url.rsplit_once('/').expect("an address").0;
    let (place, cause) = unreachable(&format!("{base}/nowhere"), settings()).await;
    assert!(place.contains("virtual host 'nowhere'"), "{place}");
    assert!(cause.contains("nowhere"), "{cause}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_does_not_answer_is_given_up_in_time() {
    let (proxy, url) = proxied().await;
    proxy.freeze();
    let patient = RabbitMqSettings { connect_timeout: Duration::from_millis(300), ..settings() };
    let (_, cause) = unreachable(&url, patient).await;
    assert!(cause.contains("no answer within 0.3 s"), "{cause}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_try_that_was_given_up_leaves_no_connection_behind() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let peer = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut said = Vec::new();
        // Ends when the other side closes.
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut said).await;
        said
    });
    let patient = RabbitMqSettings { connect_timeout: Duration::from_millis(300), ..settings() };
    unreachable(&format!("amqp://user:s3cret@127.0.0.1:{port}/%2f"), patient).await;
    let said = within(peer).await.expect("the peer saw the end");
    assert!(said.starts_with(b"AMQP"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirm_that_does_not_come_ends_the_session_and_is_unknown() {
    let topology = topology(|_| {});
    let _cleanup = Cleanup(topology.clone());
    let (proxy, url) = proxied().await;
    let hasty = RabbitMqSettings { confirm_deadline: Duration::from_secs(5), ..settings() };
    let broker = RabbitMq::new(&url, topology, hasty).expect("an address");
    let session = within(broker.connect()).await.expect("a session");
    publish(&session, &TO_PARTITION, [1]).await;
    proxy.freeze();
    let published = within(session.publish(&TO_PARTITION, &message(2, "k"))).await;
    assert!(matches!(published, Err(PublishError::Unknown(_))), "{published:?}");
    within(session.ended().cancelled()).await;
    // Closing does not wait for ever either.
    within(session.close()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_broker_is_noticed_by_its_missing_heartbeats() {
    let topology = topology(|_| {});
    let _cleanup = Cleanup(topology.clone());
    let (proxy, url) = proxied().await;
    let short = RabbitMqSettings { heartbeat: Duration::from_secs(1), ..settings() };
    let broker = RabbitMq::new(&url, topology, short).expect("an address");
    let session = within(broker.connect()).await.expect("a session");
    publish(&session, &TO_PARTITION, 1..=5).await;
    let mut subscription = subscribe(&session, PARTITION, 5).await;
    let held = take(&mut subscription, 5).await;
    proxy.freeze();
    within(session.ended().cancelled()).await;
    for delivery in held {
        assert!(within(delivery.ack()).await.is_err());
    }
    proxy.cut();
    proxy.restore();
    let again = within(broker.connect()).await.expect("a session");
    let mut second = subscribe(&again, PARTITION, 5).await;
    assert_eq!(ids(&take(&mut second, 5).await), [1, 2, 3, 4, 5]);
    again.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_line_ends_the_session_at_once() {
    let stage = Stage::rabbitmq(|_| {}).await;
    let session = stage.connect().await;
    let began = tokio::time::Instant::now();
    stage.proxy().cut();
    within(session.ended().cancelled()).await;
    assert!(began.elapsed() < Duration::from_secs(5), "after {:?}", began.elapsed());
    stage.proxy().restore();
    stage.connect().await.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_short_of_memory_holds_publishes_back_and_takes_acknowledgements() {
    // A node of its own: the alarm would stop every other test.
    let dir = std::env::temp_dir().join(testkit::namespace("alarm"));
    let node = testkit::RabbitMq::start(&dir).await.expect("a node");
    let watermark = async |arguments: &[&str]| {
        let mut ctl = node.ctl().expect("rabbitmqctl");
        ctl.arg("set_vm_memory_high_watermark").args(arguments);
        let output = tokio::task::spawn_blocking(move || ctl.output()).await.expect("it runs").expect("it ran");
        assert!(output.status.success(), "{output:?}");
    };
    // Declaring takes a node that has just started longer than the short deadline allows: a patient session does that first.
    let topology = topology(|_| {});
    let patient = RabbitMq::new(&node.amqp_url(), topology.clone(), settings()).expect("an address");
    within(within(patient.connect()).await.expect("a session").close()).await;
    let deadline = Duration::from_secs(2);
    let hasty = RabbitMqSettings { confirm_deadline: deadline, ..settings() };
    let broker = RabbitMq::new(&node.amqp_url(), topology, hasty).expect("an address");
    let session = testkit::eventually_some("a session", async || broker.connect().await.ok()).await;
    publish(&session, &TO_PARTITION, 1..=3).await;
    let mut subscription = subscribe(&session, PARTITION, 10).await;
    let held = take(&mut subscription, 3).await;

    watermark(&["absolute", "1MB"]).await;
    let last = message(4, "k");
    let mut publishing = std::pin::pin!(session.publish(&TO_PARTITION, &last));
    let confirmed = tokio::time::timeout(deadline * 2, &mut publishing).await;
    assert!(confirmed.is_err(), "nothing is confirmed while the alarm lasts: {confirmed:?}");
    for delivery in held {
        crate::stage::ack(delivery).await;
    }
    within(subscription.channel.flush()).await.expect("flushed");
    assert!(!session.ended().is_cancelled(), "an alarm is no fault");

    watermark(&["0.8"]).await;
    within(publishing).await.expect("confirmed after the alarm");
    assert_eq!(ids(&take(&mut subscription, 1).await), [4]);
    session.close().await;
    drop(node);
    let _ = std::fs::remove_dir_all(dir);
}

/// A close that is asked for in the moment in which the connection breaks may never be answered. It shows in one of some forty
/// losses.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_session_is_closed_at_once_in_whatever_moment_it_was_lost() {
    let stage = Stage::rabbitmq(|topology| topology.partitions = 32).await;
    for round in 0..40 {
        let session = stage.connect().await;
        let mut subscriptions = Vec::new();
        for queue in stage.topology().partition_queues() {
            subscriptions.push(subscribe(&session, queue, 5).await);
        }
        let began = tokio::time::Instant::now();
        stage.proxy().cut();
        within(session.ended().cancelled()).await;
        within(session.close()).await;
        assert!(began.elapsed() < Duration::from_secs(3), "round {round}: after {:?}", began.elapsed());
        stage.proxy().restore();
    }
}
