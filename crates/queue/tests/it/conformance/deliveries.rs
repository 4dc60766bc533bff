//! Deliveries: how many, what settles them, and when they end.

use futures::StreamExt;
use testkit::eventually;

use super::on_both_backends;
use crate::stage::{PARTITION, Stage, TO_PARTITION, ack, ids, next, nothing_comes, publish, subscribe, take, within};

on_both_backends! {
    no_more_than_the_prefetch_is_unacknowledged,
    flush_proves_that_acknowledgements_arrived,
    what_is_unacknowledged_is_not_counted_as_ready,
    dropping_a_delivery_does_not_acknowledge_it,
    closing_a_channel_ends_its_stream_and_refuses_acknowledgements,
    a_lost_session_ends_every_stream,
    closing_a_session_ends_it_for_everybody,
    a_subscription_outlives_other_subscriptions,
}

async fn no_more_than_the_prefetch_is_unacknowledged(stage: Stage) {
    let session = stage.connect().await;
    publish(&session, &TO_PARTITION, 1..=10).await;
    let mut subscription = subscribe(&session, PARTITION, 4).await;
    let mut held = take(&mut subscription, 4).await;
    assert_eq!(within(session.ready(PARTITION)).await.expect("a depth"), 6);
    nothing_comes(&mut subscription).await;
    ack(held.remove(0)).await;
    assert_eq!(next(&mut subscription).await.message.id, "5");
    session.close().await;
}

async fn flush_proves_that_acknowledgements_arrived(stage: Stage) {
    let session = stage.connect().await;
    publish(&session, &TO_PARTITION, 1..=20).await;
    let mut subscription = subscribe(&session, PARTITION, 100).await;
    for delivery in take(&mut subscription, 19).await {
        ack(delivery).await;
    }
    within(subscription.channel.flush()).await.expect("flushed");
    within(subscription.channel.close()).await;
    let mut second = subscribe(&session, PARTITION, 100).await;
    assert_eq!(ids(&take(&mut second, 1).await), [20], "what was flushed does not come again");
    nothing_comes(&mut second).await;
    session.close().await;
}

async fn dropping_a_delivery_does_not_acknowledge_it(stage: Stage) {
    let session = stage.connect().await;
    publish(&session, &TO_PARTITION, 1..=3).await;
    let mut subscription = subscribe(&session, PARTITION, 3).await;
    drop(take(&mut subscription, 3).await);
    within(subscription.channel.close()).await;
    let mut again = subscribe(&session, PARTITION, 3).await;
    let redelivered = take(&mut again, 3).await;
    assert_eq!(ids(&redelivered), [1, 2, 3]);
    assert!(redelivered.iter().all(|delivery| delivery.redelivered));
    session.close().await;
}

async fn closing_a_channel_ends_its_stream_and_refuses_acknowledgements(stage: Stage) {
    let session = stage.connect().await;
    publish(&session, &TO_PARTITION, 1..=3).await;
    let mut subscription = subscribe(&session, PARTITION, 3).await;
    let delivery = next(&mut subscription).await;
    within(subscription.channel.close()).await;
    within(subscription.channel.close()).await;
    assert!(within(subscription.deliveries.next()).await.is_none());
    assert!(within(delivery.ack()).await.is_err());
    assert!(within(subscription.channel.flush()).await.is_err());
    assert!(!session.ended().is_cancelled());
    publish(&session, &TO_PARTITION, [4]).await;
    session.close().await;
}

async fn a_lost_session_ends_every_stream(stage: Stage) {
    let session = stage.connect().await;
    let mut subscription = subscribe(&session, PARTITION, 3).await;
    let mut journal = within(session.read_journal(queue::session::JournalStart::First)).await.expect("a reader");
    stage.lose_sessions(&[&session]).await;
    within(session.ended().cancelled()).await;
    assert!(within(subscription.deliveries.next()).await.is_none());
    assert!(within(journal.next()).await.is_none());
    assert!(within(session.subscribe(PARTITION, 3)).await.is_err());
    assert!(within(session.ready(PARTITION)).await.is_err());
    within(subscription.channel.close()).await;
    within(session.close()).await;
}

async fn closing_a_session_ends_it_for_everybody(stage: Stage) {
    let session = stage.connect().await;
    let mut subscription = subscribe(&session, PARTITION, 3).await;
    within(session.close()).await;
    assert!(session.ended().is_cancelled());
    assert!(within(subscription.deliveries.next()).await.is_none());
    assert!(within(session.publish(&TO_PARTITION, &crate::stage::message(1, "k"))).await.is_err());
    within(session.close()).await;
}

async fn a_subscription_outlives_other_subscriptions(stage: Stage) {
    let session = stage.connect().await;
    let other = queue::topology::Queue::Partition(0);
    let mut kept = subscribe(&session, PARTITION, 3).await;
    for _ in 0..5 {
        let dropped = subscribe(&session, other, 3).await;
        within(dropped.channel.close()).await;
        drop(subscribe(&session, other, 3).await);
    }
    publish(&session, &TO_PARTITION, [1]).await;
    ack(next(&mut kept).await).await;
    publish(&session, &queue::topology::Target::Partition(0), [2]).await;
    let mut again = subscribe(&session, other, 3).await;
    ack(next(&mut again).await).await;
    eventually("nothing to be left", async || session.ready(other).await.expect("a depth") == 0).await;
    session.close().await;
}

async fn what_is_unacknowledged_is_not_counted_as_ready(stage: Stage) {
    let session = stage.connect().await;
    publish(&session, &TO_PARTITION, 1..=3).await;
    let mut subscription = subscribe(&session, PARTITION, 8).await;
    let held = take(&mut subscription, 3).await;
    let ready = async || within(session.ready(PARTITION)).await.expect("a depth");
    testkit::eventually("an empty queue", async || ready().await == 0).await;
    subscription.channel.close().await;
    testkit::eventually("what was held", async || ready().await == 3).await;
    drop((held, subscription));
    session.close().await;
}
