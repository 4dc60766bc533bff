//! Publishing: what success means, and what each failure says.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::future::join_all;
use queue::error::PublishError;
use queue::message::Message;
use queue::topology::Target;
use testkit::eventually;

use super::on_both_backends;
use crate::stage::{PARTITION, Stage, TO_PARTITION, ack, message, next, publish, subscribe, within};

on_both_backends! {
    a_confirmed_message_is_delivered_with_every_byte_and_header,
    a_message_without_a_queue_is_unroutable,
    of_many_in_flight_exactly_the_lost_ones_are_reported with |topology: &mut queue::topology::Topology| topology.partitions = 1,
    a_full_queue_refuses_and_takes_again_when_emptied with |topology: &mut queue::topology::Topology| topology.partition_bytes = 20_000,
    an_outcome_that_nobody_listens_to_is_told,
    a_publish_on_a_lost_session_is_unknown,
    a_publish_that_is_given_up_does_not_disturb_the_next,
}

async fn a_confirmed_message_is_delivered_with_every_byte_and_header(stage: Stage) {
    let session = stage.connect().await;
    let mut subscription = subscribe(&session, PARTITION, 10).await;
    let bodies = [
        Bytes::new(),
        Bytes::from_static(&[0xFF, 0xFE, 0x00, 0xC3, 0x28]),
        Bytes::from_static("{\"name\":\"Zoë\"}".as_bytes()),
        Bytes::from((0..=255).cycle().take(1 << 20).collect::<Vec<u8>>()),
    ];
    for body in bodies {
        let sent = Message {
            body,
            id: "order-1".into(),
            kind: Some("com.limio.order.submitted".into()),
            content_type: Some("application/cloudevents+json".into()),
            timestamp: Some(1_790_000_000),
            app_id: Some("limio".into()),
            headers: BTreeMap::from([
                ("sequencekey".to_owned(), "käufer-1".to_owned()),
                ("empty".to_owned(), String::new()),
                ("long".to_owned(), "x".repeat(2_000)),
            ]),
        };
        within(session.publish(&TO_PARTITION, &sent)).await.expect("confirmed");
        let delivery = next(&mut subscription).await;
        assert_eq!(delivery.message, sent);
        assert_eq!(delivery.queue, PARTITION);
        assert!(!delivery.redelivered);
        ack(delivery).await;
    }
    session.close().await;
}

async fn a_message_without_a_queue_is_unroutable(stage: Stage) {
    let session = stage.connect().await;
    let published = within(session.publish(&Target::Partition(77), &message(1, "k"))).await;
    assert!(matches!(published, Err(PublishError::Unroutable(_))), "{published:?}");
    publish(&session, &Target::Partition(0), [2]).await;
    assert!(!session.ended().is_cancelled());
    session.close().await;
}

async fn of_many_in_flight_exactly_the_lost_ones_are_reported(stage: Stage) {
    let session = stage.connect().await;
    let published = join_all((0..200_u32).map(|id| {
        let session = &session;
        async move {
            // Every tenth goes where nothing is.
            let target = Target::Partition(if id % 10 == 3 { 7 } else { 0 });
            session.publish(&target, &message(id, "k")).await
        }
    }));
    for (id, published) in within(published).await.into_iter().enumerate() {
        match published {
            Ok(()) => assert_ne!(id % 10, 3, "{id} is reported as stored and was lost"),
            Err(PublishError::Unroutable(_)) => assert_eq!(id % 10, 3, "{id} was stored and is reported as lost"),
            Err(error) => panic!("{id}: {error}"),
        }
    }
    let queue = queue::topology::Queue::Partition(0);
    eventually("the stored ones to be ready", async || session.ready(queue).await.expect("a depth") == 180).await;
    session.close().await;
}

async fn a_full_queue_refuses_and_takes_again_when_emptied(stage: Stage) {
    let session = stage.connect().await;
    let big = Message { body: vec![b'x'; 4_000].into(), ..message(1, "k") };
    let mut stored: u32 = 0;
    let refusal = loop {
        match within(session.publish(&TO_PARTITION, &big)).await {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 50, "nothing was refused");
    };
    assert!(matches!(refusal, PublishError::Refused), "{refusal}");
    assert!(stored >= 4, "refused after {stored}");
    assert_eq!(within(session.ready(PARTITION)).await.expect("a depth"), stored);

    let mut subscription = subscribe(&session, PARTITION, 10).await;
    for _ in 0..stored {
        ack(next(&mut subscription).await).await;
    }
    eventually("the emptied queue to take messages", async || session.publish(&TO_PARTITION, &big).await.is_ok()).await;
    session.close().await;
}

async fn an_outcome_that_nobody_listens_to_is_told(stage: Stage) {
    let session = stage.connect().await;
    within(session.publish(&Target::Outcomes("order.written"), &message(1, "k"))).await.expect("told");
    session.close().await;
}

async fn a_publish_on_a_lost_session_is_unknown(stage: Stage) {
    let session = stage.connect().await;
    publish(&session, &TO_PARTITION, [1]).await;
    stage.lose_sessions(&[&session]).await;
    let published = within(session.publish(&TO_PARTITION, &message(2, "k"))).await;
    assert!(matches!(published, Err(PublishError::Unknown(_))), "{published:?}");
}

async fn a_publish_that_is_given_up_does_not_disturb_the_next(stage: Stage) {
    let session = stage.connect().await;
    for id in 0..50 {
        let message = message(id, "k");
        let given_up = session.publish(&TO_PARTITION, &message);
        // Polled once, then dropped.
        let _ = futures::poll!(std::pin::pin!(given_up));
    }
    publish(&session, &TO_PARTITION, [100]).await;
    assert!(!session.ended().is_cancelled());
    session.close().await;
}
