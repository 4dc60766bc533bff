//! Two fleets on one broker and one Redis.

use serde_json::json;
use testkit::orders::{new_order, order_id};

use crate::stage::{QUICK, Stage};

#[tokio::test(flavor = "multi_thread")]
async fn fleets_in_two_namespaces_share_a_broker_and_know_nothing_of_each_other() {
    let (mut first, mut second) = (Stage::new(QUICK).await, Stage::new(QUICK).await);
    let programs = [(first.ingest(), first.writer()), (second.ingest(), second.writer())];
    // The same identity, said differently: within one fleet this would be a conflict.
    let mut other = new_order("ann", 1);
    other["total"]["amount"] = json!(99.5);
    first.publish_order(&new_order("ann", 1)).await;
    second.publish_order(&other).await;
    // A letter that blocks the customer in one of them.
    let mut nameless = new_order("bob", 1);
    nameless["customerDetails"] = json!({});
    first.publish_order(&nameless).await;
    second.publish_order(&new_order("bob", 1)).await;

    let mut told = first.told.take(2).await.into_iter().map(|told| (told.kind, told.order_id)).collect::<Vec<_>>();
    told.sort();
    let expected = [("order.dead_lettered", order_id("bob", 1)), ("order.written", order_id("ann", 1))];
    assert_eq!(told, expected.map(|(kind, order)| (kind.to_owned(), order)));
    second.told.until("order.written", ["ann", "bob"].map(|customer| order_id(customer, 1))).await;
    second.assert_each_once_and_in_order(&[("ann", 1), ("bob", 1)]);
    assert_eq!((first.fleet.letters().await.len(), second.fleet.letters().await.len()), (1, 0));
    let [(ingest, writer), others] = programs;
    first.end([ingest, writer]).await;

    // What remains of the one goes on when the other has ended.
    second.publish_order(&new_order("ann", 2)).await;
    second.told.until("order.written", [order_id("ann", 2)]).await;
    second.assert_each_once_and_in_order(&[("ann", 2), ("bob", 1)]);
    first.assert_each_once_and_in_order(&[("ann", 1)]);
    second.end([others.0, others.1]).await;
}
