//! What a publisher sends, and whom it concerns.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::json;
use testkit::fleet::failure;
use testkit::orders::{new_order, order_id};

use crate::stage::{QUICK, Stage};

/// The limit on a body unless it is set.
const MAX_BODY_BYTES: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_order_is_a_letter_that_parks_no_customer_of_ours_by_the_same_name() {
    let mut stage = Stage::new(QUICK).await;
    let (ingest, writer) = (stage.ingest(), stage.writer());
    let mut headers = FieldTable::default();
    headers.insert("tenant".into(), AMQPValue::LongString("globex".into()));
    let properties = BasicProperties::default().with_headers(headers);
    stage.publish(new_order("ann", 1).to_string().as_bytes(), properties).await;
    testkit::eventually("the foreign order's letter", async || stage.fleet.letters().await.len() == 1).await;

    stage.publish_order(&new_order("ann", 1)).await;
    stage.publish_order(&new_order("ann", 2)).await;
    stage.told.until("order.written", [1, 2].map(|number| order_id("ann", number))).await;
    stage.assert_each_once_and_in_order(&[("ann", 2)]);
    let letters = stage.fleet.letters().await;
    assert_eq!((letters.len(), letters[0].key.as_deref()), (1, None));
    assert_eq!(failure(&letters[0]).reason.as_str(), "wrong_tenant");
    stage.end([ingest, writer]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_as_large_as_the_limit_is_written_and_one_byte_more_is_a_letter() {
    let mut stage = Stage::new(QUICK).await;
    let (ingest, writer) = (stage.ingest(), stage.writer());
    for (number, size) in [(1, MAX_BODY_BYTES), (2, MAX_BODY_BYTES + 1)] {
        let mut order = new_order("ann", number);
        order["customFields"] = json!({ "note": "" });
        let left = size - order.to_string().len();
        order["customFields"]["note"] = json!("x".repeat(left));
        stage.publish_order(&order).await;
    }
    stage.told.until("order.written", [order_id("ann", 1)]).await;
    stage.assert_each_once_and_in_order(&[("ann", 1)]);
    testkit::eventually("the letter", async || stage.fleet.letters().await.len() == 1).await;
    let letters = stage.fleet.letters().await;
    assert_eq!(failure(&letters[0]).reason.as_str(), "body_too_large");
    stage.end([ingest, writer]).await;
}
