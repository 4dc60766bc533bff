//! A broker that ends a consumer which held a delivery for too long: before 4.3 by closing its channel, from then on by ending
//! the consumer alone. With a standby 4.3 does not keep the order then, which is why a consumer asks for a day of its own where
//! the broker listens, and the guide asks for one where it does not.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use queue::journal::tail::JournalTail;
use queue::rabbitmq::RabbitMqSettings;
use queue::session::Broker;

use super::OwnNode;
use crate::stage::{PARTITION, TO_PARTITION, ack, ids, publish, settings, subscribe, take, within};

/// How long the node of these tests lets a delivery be held.
const ALLOWED: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_held_for_longer_than_the_broker_allows_end_the_session_and_come_again_in_order() {
    let own = OwnNode::start().await;
    own.node().end_consumers_after(ALLOWED).await.expect("it is told");
    let broker = own.broker_with(hasty());
    let session = within(broker.connect()).await.expect("a session");
    publish(&session, &TO_PARTITION, 1..=6).await;
    let mut subscription = subscribe(&session, PARTITION, 4).await;
    let mut held = take(&mut subscription, 4).await;
    ack(held.remove(1)).await;
    held.extend(take(&mut subscription, 1).await);

    let more = within(subscription.deliveries.next()).await;
    assert!(more.is_none(), "{more:?}");
    within(session.ended().cancelled()).await;
    for delivery in held {
        assert!(within(delivery.ack()).await.is_err(), "it is no longer this session's to settle");
    }
    within(session.close()).await;

    let again = within(broker.connect()).await.expect("a session");
    let mut second = subscribe(&again, PARTITION, 4).await;
    for expected in [1, 3, 4, 5, 6] {
        let delivery = take(&mut second, 1).await.remove(0);
        assert_eq!(ids(std::slice::from_ref(&delivery)), [expected]);
        ack(delivery).await;
    }
    within(again.close()).await;
}

/// A consumer asks for no longer than the node allows.
fn hasty() -> RabbitMqSettings {
    RabbitMqSettings { hold: ALLOWED, ..settings() }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_4_3_on_a_delivery_is_held_for_longer_than_the_broker_allows_others() {
    let own = OwnNode::start().await;
    let version = own.ctl(&["version"]).await;
    let mut numbers = version.trim().split('.').map(|number| number.parse::<u32>().expect("a number"));
    let listens = (numbers.next(), numbers.next()) >= (Some(4), Some(3));
    own.node().end_consumers_after(ALLOWED).await.expect("it is told");
    let session = within(own.broker().connect()).await.expect("a session");
    publish(&session, &TO_PARTITION, 1..=1).await;
    let mut subscription = subscribe(&session, PARTITION, 1).await;
    let mut held = take(&mut subscription, 1).await;
    // Two that ask for no more, one after the other, are ended meanwhile.
    for _ in 0..2 {
        let other = within(own.broker_with(hasty()).connect()).await.expect("a session");
        publish(&other, &TO_PARTITION, 1..=1).await;
        let mut subscription = subscribe(&other, PARTITION, 1).await;
        let of_other = take(&mut subscription, 1).await;
        within(other.ended().cancelled()).await;
        drop(of_other);
        within(other.close()).await;
    }
    if listens {
        assert!(!session.ended().is_cancelled(), "{version}");
        ack(held.remove(0)).await;
    } else {
        within(session.ended().cancelled()).await;
    }
    within(session.close()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_a_quiet_journal_holds_nothing_for_so_long() {
    let own = OwnNode::start().await;
    // Time enough for the reader on a busy machine.
    own.node().end_consumers_after(3 * ALLOWED).await.expect("it is told");
    let broker = own.broker_with(RabbitMqSettings { hold: 3 * ALLOWED, ..settings() });
    let reads = within(broker.connect()).await.expect("a session");
    let tail = within(JournalTail::start(Arc::clone(&reads), "test")).await.expect("read");
    // Who holds a message that came later is ended.
    let holds = within(broker.connect()).await.expect("a session");
    publish(&holds, &TO_PARTITION, 1..=1).await;
    let mut subscription = subscribe(&holds, PARTITION, 1).await;
    let held = take(&mut subscription, 1).await;
    within(holds.ended().cancelled()).await;
    assert!(!reads.ended().is_cancelled(), "the reader goes on");
    within(tail.barrier()).await.expect("it reads what comes");
    drop(held);
    within(holds.close()).await;
    within(reads.close()).await;
}
