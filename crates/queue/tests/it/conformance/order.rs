//! Order, whatever ends a subscription.

use queue::topology::{Queue, Target};
use testkit::eventually;

use super::on_both_backends;
use crate::stage::{
    PARTITION, Stage, TO_PARTITION, ack, ids, message, next, nothing_comes, publish, subscribe, take, within,
};

on_both_backends! {
    a_closed_channel_returns_everything_in_order_to_a_standby,
    a_carelessly_dropped_subscription_returns_everything_in_order_to_a_standby,
    an_aborted_task_returns_everything_in_order_to_a_standby,
    a_closed_session_returns_everything_in_order_to_a_standby,
    a_lost_connection_returns_everything_in_order,
    acknowledging_from_the_middle_does_not_disturb_the_order,
    one_consumer_is_active_and_the_standby_takes_over,
    a_customer_stays_in_one_inbox_and_in_order,
}

/// How many customers, and how many messages each has.
const CUSTOMERS: u32 = 12;
const EACH: u32 = 5;

/// What was not acknowledged out of 1..=20, after 2 and 4 were.
const REST: [u32; 18] = [1, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20];

async fn a_closed_channel_returns_everything_in_order_to_a_standby(stage: Stage) {
    let session = stage.connect().await;
    publish(&session, &TO_PARTITION, 1..=20).await;
    let mut first = subscribe(&session, PARTITION, 12).await;
    let held = half_done(&mut first).await;
    let mut standby = subscribe(&session, PARTITION, 30).await;
    within(first.channel.flush()).await.expect("flushed");
    within(first.channel.close()).await;
    let redelivered = take(&mut standby, 18).await;
    assert_eq!(ids(&redelivered), REST);
    assert!(redelivered[..9].iter().all(|delivery| delivery.redelivered));
    assert!(!session.ended().is_cancelled(), "closing a channel is no fault");
    drop((held, first));
    session.close().await;
}

async fn a_carelessly_dropped_subscription_returns_everything_in_order_to_a_standby(stage: Stage) {
    let session = stage.connect().await;
    publish(&session, &TO_PARTITION, 1..=20).await;
    let mut first = subscribe(&session, PARTITION, 12).await;
    let held = half_done(&mut first).await;
    let mut standby = subscribe(&session, PARTITION, 30).await;
    drop(first);
    assert_eq!(ids(&take(&mut standby, 18).await), REST);
    drop(held);
    session.close().await;
}

async fn an_aborted_task_returns_everything_in_order_to_a_standby(stage: Stage) {
    let session = stage.connect().await;
    publish(&session, &TO_PARTITION, 1..=20).await;
    let (working, works) = tokio::sync::oneshot::channel();
    let worker = tokio::spawn({
        let session = std::sync::Arc::clone(&session);
        async move {
            let mut first = subscribe(&session, PARTITION, 12).await;
            let held = half_done(&mut first).await;
            let _ = working.send(());
            std::future::pending::<()>().await;
            drop((held, first));
        }
    });
    within(works).await.expect("it works");
    let mut standby = subscribe(&session, PARTITION, 30).await;
    worker.abort();
    assert_eq!(ids(&take(&mut standby, 18).await), REST);
    session.close().await;
}

async fn a_closed_session_returns_everything_in_order_to_a_standby(stage: Stage) {
    let session = stage.connect().await;
    publish(&session, &TO_PARTITION, 1..=20).await;
    let mut first = subscribe(&session, PARTITION, 12).await;
    let held = half_done(&mut first).await;
    within(first.channel.flush()).await.expect("flushed");
    let other = stage.connect().await;
    let mut standby = subscribe(&other, PARTITION, 30).await;
    within(session.close()).await;
    assert_eq!(ids(&take(&mut standby, 18).await), REST);
    drop((held, first));
    other.close().await;
}

async fn a_lost_connection_returns_everything_in_order(stage: Stage) {
    let session = stage.connect().await;
    publish(&session, &TO_PARTITION, 1..=20).await;
    let mut first = subscribe(&session, PARTITION, 12).await;
    let mut held = half_done(&mut first).await;
    within(first.channel.flush()).await.expect("flushed");
    stage.lose_sessions(&[&session]).await;

    let (_, delivery) = within(held.remove(0).ack()).await.expect_err("the session is over");
    assert_eq!(delivery.message.id, "1", "it is handed back");
    assert!(within(futures::StreamExt::next(&mut first.deliveries)).await.is_none(), "the stream ends");

    let again = stage.connect().await;
    let mut second = subscribe(&again, PARTITION, 30).await;
    assert_eq!(ids(&take(&mut second, 18).await), REST);
    again.close().await;
}

/// Takes twelve and acknowledges the second and the fourth.
async fn half_done(subscription: &mut queue::session::Subscription) -> Vec<queue::session::Delivery> {
    let mut held = take(subscription, 12).await;
    assert_eq!(ids(&held), (1..=12).collect::<Vec<u32>>());
    for index in [3, 1] {
        ack(held.remove(index)).await;
    }
    held
}

async fn acknowledging_from_the_middle_does_not_disturb_the_order(stage: Stage) {
    let session = stage.connect().await;
    publish(&session, &TO_PARTITION, 1..=12).await;
    let mut subscription = subscribe(&session, PARTITION, 6).await;
    let mut held = take(&mut subscription, 6).await;
    for index in [4, 2, 1] {
        ack(held.remove(index)).await;
    }
    let further = take(&mut subscription, 3).await;
    assert_eq!(ids(&further), [7, 8, 9], "acknowledging one lets one more come, though the first still waits");
    within(subscription.channel.close()).await;
    let mut again = subscribe(&session, PARTITION, 20).await;
    assert_eq!(ids(&take(&mut again, 9).await), [1, 4, 6, 7, 8, 9, 10, 11, 12]);
    session.close().await;
}

async fn one_consumer_is_active_and_the_standby_takes_over(stage: Stage) {
    let (one, two) = (stage.connect().await, stage.connect().await);
    let mut active = subscribe(&one, PARTITION, 5).await;
    let mut standby = subscribe(&two, PARTITION, 5).await;
    publish(&two, &TO_PARTITION, 1..=3).await;
    for delivery in take(&mut active, 3).await {
        ack(delivery).await;
    }
    nothing_comes(&mut standby).await;
    within(active.channel.close()).await;
    publish(&two, &TO_PARTITION, 4..=4).await;
    assert_eq!(next(&mut standby).await.message.id, "4");
    within(one.close()).await;
    within(two.close()).await;
}

async fn a_customer_stays_in_one_inbox_and_in_order(stage: Stage) {
    let session = stage.connect().await;
    for number in 0..EACH {
        for customer in 0..CUSTOMERS {
            let message = message(number, &format!("customer-{customer}"));
            within(session.publish(&Target::Orders, &message)).await.expect("confirmed");
        }
    }
    // Without the header all are one customer.
    for number in 0..EACH {
        let message = queue::message::Message { headers: [].into(), ..message(number, "") };
        within(session.publish(&Target::Orders, &message)).await.expect("confirmed");
    }
    let mut seen = std::collections::HashMap::<Option<String>, (Queue, Vec<u32>)>::new();
    let mut total = 0;
    for inbox in stage.topology().inbox_queues() {
        let mut subscription = subscribe(&session, inbox, 100).await;
        eventually("everything to be handed out", async || session.ready(inbox).await.expect("a depth") == 0).await;
        within(subscription.channel.flush()).await.expect("flushed");
        while let Ok(Some(delivery)) = tokio::time::timeout(
            std::time::Duration::from_millis(100),
            futures::StreamExt::next(&mut subscription.deliveries),
        )
        .await
        {
            total += 1;
            let key = delivery.message.header(queue::message::SEQUENCE_KEY).map(str::to_owned);
            let (queue, numbers) = seen.entry(key.clone()).or_insert((inbox, Vec::new()));
            assert_eq!(*queue, inbox, "{key:?} is in two inboxes");
            numbers.push(delivery.message.id.parse().expect("a number"));
        }
    }
    assert_eq!(total, (CUSTOMERS + 1) * EACH);
    for (key, (_, numbers)) in seen {
        assert_eq!(numbers, (0..EACH).collect::<Vec<u32>>(), "{key:?}");
    }
    session.close().await;
}
