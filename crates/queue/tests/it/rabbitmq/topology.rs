//! What exists on the broker is what the settings say, or it is named with its remedy.

use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use queue::dead_letters::DeadLetters;
use queue::error::{Error, VisitError};
use queue::rabbitmq::RabbitMq;
use queue::session::Broker;
use queue::topology::{Queue, Target, Topology};

use crate::stage::{Cleanup, PARTITION, Stage, TO_PARTITION, publish, settings, topology, within};

async fn connect(topology: &Topology) -> Result<(), Error> {
    let broker = RabbitMq::new(&testkit::amqp_url(), topology.clone(), settings()).expect("an address");
    let session = within(broker.connect()).await?;
    session.close().await;
    Ok(())
}

async fn refused(topology: &Topology) -> (String, String, String) {
    match connect(topology).await {
        Err(Error::Topology { thing, difference, remedy }) => (thing, difference, remedy),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn declaring_again_changes_nothing() {
    let stage = Stage::rabbitmq(|_| {}).await;
    let session = stage.connect().await;
    publish(&session, &TO_PARTITION, 1..=3).await;
    let again = stage.connect().await;
    assert_eq!(within(again.ready(PARTITION)).await.expect("a depth"), 3);
    session.close().await;
    again.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_with_another_size_is_named_with_its_remedy() {
    let declared = topology(|_| {});
    let _cleanup = Cleanup(declared.clone());
    connect(&declared).await.expect("declared");
    let changed = Topology { partition_bytes: 1_000_000, ..declared.clone() };
    let (thing, difference, remedy) = refused(&changed).await;
    let name = declared.queue_name(Queue::Partition(0));
    assert_eq!(thing, format!("queue '{name}'"));
    assert_eq!(difference, "x-max-length-bytes is 268435456 on the broker and should be 1000000");
    assert!(remedy.contains(&format!("rabbitmqctl delete_queue -p '/' '{name}'")), "{remedy}");
    assert!(remedy.contains("stop ingest"), "{remedy}");
    connect(&declared).await.expect("the former settings still do");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_with_another_retention_is_never_deleted_lightly() {
    let declared = topology(|_| {});
    let _cleanup = Cleanup(declared.clone());
    connect(&declared).await.expect("declared");
    let (thing, difference, remedy) = refused(&Topology { journal_days: 7, ..declared.clone() }).await;
    assert_eq!(thing, format!("stream '{}'", declared.journal()));
    // RabbitMQ 4.3 tells both in milliseconds.
    let words = [("90D", "7D"), ("7776000000", "604800000")]
        .map(|(is, due)| format!("x-max-age is {is} on the broker and should be {due}"));
    assert!(words.contains(&difference), "{difference}");
    assert!(remedy.starts_with("Start with the value that the broker has."), "{remedy}");
    assert!(remedy.contains("forgets every dead letter"), "{remedy}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_number_of_partitions_or_inboxes_is_refused_and_creates_nothing() {
    let declared = topology(|_| {});
    let _cleanup = Cleanup(Topology { partitions: 5, inboxes: 5, ..declared.clone() });
    connect(&declared).await.expect("declared");
    for changed in [Topology { partitions: 5, ..declared.clone() }, Topology { inboxes: 5, ..declared.clone() }] {
        let (thing, difference, remedy) = refused(&changed).await;
        assert_eq!(thing, format!("exchange '{}.topology'", declared.namespace));
        let expected = format!(
            "the broker has 2 partitions and 3 inboxes, the settings say {} partitions and {} inboxes",
            changed.partitions, changed.inboxes
        );
        assert_eq!(difference, expected);
        assert!(remedy.contains("after all queues are empty"), "{remedy}");
    }
    let stage = RabbitMq::new(&testkit::amqp_url(), declared, settings()).expect("an address");
    let session = within(stage.connect()).await.expect("the former settings still do");
    let published = within(session.publish(&Target::Partition(4), &crate::stage::message(1, "k"))).await;
    assert!(published.is_err(), "the partition must not exist");
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_exchange_of_that_name_is_named() {
    let wanted = topology(|_| {});
    let _cleanup = Cleanup(wanted.clone());
    let connection = crate::stage::plain().await;
    let channel = connection.create_channel().await.expect("a channel");
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel
        .exchange_declare(wanted.orders_exchange().into(), lapin::ExchangeKind::Direct, options, FieldTable::default())
        .await
        .expect("declared");
    let (thing, difference, _) = refused(&wanted).await;
    assert_eq!(thing, format!("exchange '{}'", wanted.orders_exchange()));
    assert_eq!(difference, "type is direct on the broker and should be x-consistent-hash");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_was_deleted_ends_the_session_and_is_there_again_in_the_next() {
    let stage = Stage::rabbitmq(|_| {}).await;
    let session = stage.connect().await;
    let mut subscription = crate::stage::subscribe(&session, PARTITION, 5).await;
    let connection = crate::stage::plain().await;
    let channel = connection.create_channel().await.expect("a channel");
    let name = stage.topology().queue_name(PARTITION);
    channel.queue_delete(name.into(), QueueDeleteOptions::default()).await.expect("deleted");
    assert!(within(futures::StreamExt::next(&mut subscription.deliveries)).await.is_none());
    within(session.ended().cancelled()).await;
    let again = stage.connect().await;
    publish(&again, &TO_PARTITION, [1]).await;
    again.close().await;
}

/// The exchanges, queues and streams of a fleet that exist. A passive declare that fails closes its channel.
async fn existing(topology: &Topology) -> Vec<String> {
    let connection = crate::stage::plain().await;
    let mut found = Vec::new();
    let mark = format!("{}.topology", topology.namespace);
    for name in [topology.orders_exchange(), topology.outcomes_exchange(), mark] {
        let channel = connection.create_channel().await.expect("a channel");
        let options = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
        let kind = lapin::ExchangeKind::Direct;
        let asked = channel.exchange_declare(name.as_str().into(), kind, options, FieldTable::default()).await;
        found.extend(there(asked).then_some(name));
    }
    let queues = topology.inbox_queues().into_iter().chain(topology.partition_queues());
    for name in queues.map(|queue| topology.queue_name(queue)).chain([topology.journal()]) {
        let channel = connection.create_channel().await.expect("a channel");
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let asked = channel.queue_declare(name.as_str().into(), options, FieldTable::default()).await;
        found.extend(there(asked.map(|_| ())).then_some(name));
    }
    let _ = connection.close(200, "OK".into()).await;
    found
}

fn there(asked: lapin::Result<()>) -> bool {
    match asked.map_err(|error| error.kind().clone()) {
        Ok(()) => true,
        Err(lapin::ErrorKind::ProtocolError(refusal)) if refusal.get_id() == 404 => false,
        Err(other) => panic!("{other:?}"),
    }
}

async fn opened(topology: &Topology) -> Result<(), VisitError> {
    let broker = RabbitMq::new(&testkit::amqp_url(), topology.clone(), settings()).expect("an address");
    within(DeadLetters::open(&broker, "operator")).await?.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistyped_namespace_leaves_no_queue_exchange_or_stream_behind() {
    let mistyped = topology(|_| {});
    let _cleanup = Cleanup(mistyped.clone());
    let refused = opened(&mistyped).await;
    assert!(
        matches!(&refused, Err(VisitError::NoFleet { namespace, .. }) if namespace == mistyped.namespace.as_str()),
        "{refused:?}"
    );
    assert_eq!(existing(&mistyped).await, Vec::<String>::new());
    connect(&mistyped).await.expect("declared");
    assert_eq!(existing(&mistyped).await.len(), 9, "the look itself sees what is there");
    opened(&mistyped).await.expect("a fleet");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_with_other_counts_is_refused_as_a_program_is_and_creates_nothing() {
    let declared = topology(|_| {});
    let _cleanup = Cleanup(Topology { partitions: 5, inboxes: 5, ..declared.clone() });
    connect(&declared).await.expect("declared");
    let wanted = Topology { partitions: 5, inboxes: 5, ..declared.clone() };
    let Err(VisitError::Broker(Error::Topology { difference, .. })) = opened(&wanted).await else {
        panic!("not refused")
    };
    assert!(difference.starts_with("the broker has 2 partitions and 3 inboxes"), "{difference}");
    assert_eq!(existing(&wanted).await, existing(&declared).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_of_a_fleet_is_named_for_a_guest_and_not_made() {
    let declared = topology(|_| {});
    let _cleanup = Cleanup(declared.clone());
    connect(&declared).await.expect("declared");
    let connection = crate::stage::plain().await;
    let channel = connection.create_channel().await.expect("a channel");
    let name = declared.queue_name(PARTITION);
    channel.queue_delete(name.as_str().into(), QueueDeleteOptions::default()).await.expect("deleted");
    let Err(VisitError::Broker(Error::Topology { thing, difference: _, remedy })) = opened(&declared).await else {
        panic!("not refused")
    };
    assert_eq!(thing, format!("queue '{name}'"));
    assert!(remedy.contains(declared.namespace.as_str()), "{remedy}");
    assert!(!existing(&declared).await.contains(&name));
}
