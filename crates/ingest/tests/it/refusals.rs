//! What cannot be accepted: named by field, rule and shape, kept without secrets, and in nobody's way.

use domain::failure::Failure;
use queue::journal::fold::Letter;
use queue::message::{Message, REFUSAL, SEQUENCE_KEY};
use serde_json::{Value, json};
use testkit::fleet::failure;
use testkit::orders::{self, new_order, order_id};

use crate::stage::{Stage, bare, raw};

/// Publishes this, and a good order behind it. Returns the letter that it became, with the message kept in it.
async fn becomes_a_letter(stage: Stage, message: Message) -> (Letter, Message) {
    let ingest = stage.ingest();
    stage.publish(&message).await;
    stage.publish(&bare("good", &new_order("ann", 1))).await;
    let next = stage.partition().await.next().await;
    assert_eq!(next.header(queue::message::ORDER_ID), Some(order_id("ann", 1).as_str()), "the next message goes on");
    let open = stage.fleet.dead_letters().await;
    testkit::eventually("the letter", async || {
        open.refresh().await.expect("the journal can be read");
        !open.letters().is_empty()
    })
    .await;
    let letters = open.letters();
    assert_eq!(letters.len(), 1, "{letters:#?}");
    let kept = open.messages(&letters).await.expect("the journal can be read").remove(0).1;
    open.close().await;
    ingest.stop().await;
    assert!(stage.fleet.left_over(&stage.session).await.is_empty(), "it was acknowledged");
    (letters.into_iter().next().expect("one letter"), kept)
}

/// Publishes this, and a good order of the same customer behind it. Returns why it was refused; it stays in its lane.
async fn goes_on_as_refused(message: Message, key: &str) -> Failure {
    let stage = Stage::new().await;
    let ingest = stage.ingest();
    stage.publish(&message).await;
    stage.publish(&bare("good", &new_order("ann", 1))).await;
    let handed_on = stage.partition().await.take(2).await;
    assert_eq!(handed_on[0].header(SEQUENCE_KEY), Some(key));
    assert_eq!(handed_on[1].header(REFUSAL), None);
    assert!(stage.fleet.letters().await.is_empty(), "its letter is written at its own place, by the writer");
    ingest.stop().await;
    let refusal = handed_on[0].header(REFUSAL).expect("it is marked as refused");
    let body = String::from_utf8_lossy(&handed_on[0].body).into_owned();
    assert!(!body.contains("invented-token") && !body.contains("invented-signature"), "{body}");
    serde_json::from_str(refusal).expect("a failure")
}

#[tokio::test(flavor = "multi_thread")]
async fn torn_json_is_kept_as_it_came_and_said_to_be_torn() {
    let torn = new_order("bob", 1).to_string().into_bytes()[..400].to_vec();
    let (letter, kept) = becomes_a_letter(Stage::new().await, raw("torn", torn.clone())).await;
    assert_eq!(failure(&letter).reason.as_str(), "unreadable_json");
    assert!(failure(&letter).message.contains("line 1"), "{}", failure(&letter).message);
    assert_eq!(kept.body, torn);
    assert_eq!((letter.key, letter.order_id), (None, None), "it belongs to nobody and blocks nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_text_are_kept_without_payment_secrets() {
    let spoiled = |order: &Value| {
        let mut bytes = order.to_string().into_bytes();
        bytes.splice(200..200, [0xC3, 0x28]);
        bytes
    };
    let mut order = new_order("bob", 1);
    let bytes = spoiled(&order);
    let (letter, kept) = becomes_a_letter(Stage::new().await, raw("bytes", bytes.clone())).await;
    assert_eq!(failure(&letter).reason.as_str(), "invalid_utf8");
    assert!(failure(&letter).message.contains("byte 200"), "{}", failure(&letter).message);
    order["recaptchaPayload"] = json!("***");
    for secret in ["token", "signature"] {
        order["payment"]["zuora"][secret] = json!("***");
    }
    assert_ne!(bytes, spoiled(&order), "the order brings secrets");
    assert_eq!(kept.body, spoiled(&order));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_ten_megabytes_is_a_letter_that_names_size_and_limit() {
    let mut order = new_order("bob", 1);
    order["payment"]["zuora"]["token"] = json!("invented-token");
    order["customFields"] = json!({ "note": "x".repeat(10 << 20) });
    let body = order.to_string().into_bytes();
    let size = body.len().to_string();
    let (letter, kept) = becomes_a_letter(Stage::new().await, raw("large", body)).await;
    let failure = failure(&letter);
    assert_eq!(failure.reason.as_str(), "body_too_large");
    assert!(failure.message.contains(&size) && failure.message.contains("1048576"), "{}", failure.message);
    let kept: Value = serde_json::from_slice(&kept.body).expect("the order, without its secret");
    assert_eq!(kept["customFields"], order["customFields"]);
    assert_eq!(kept["payment"]["zuora"].get("token"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_order_is_a_letter_that_says_so() {
    let (letter, _) = becomes_a_letter(Stage::new().await, bare("list", &json!([1, 2, 3]))).await;
    assert_eq!(failure(&letter).reason.as_str(), "not_an_order");
    assert!(failure(&letter).message.contains("array of 3"), "its shape: {}", failure(&letter).message);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_order_is_refused_by_name_and_is_in_nobodys_way() {
    let mut foreign = bare("foreign", &new_order("ann", 7));
    foreign.headers.insert("tenant".into(), "globex".into());
    // The good order behind it is of a customer with the same name.
    let (letter, _) = becomes_a_letter(Stage::new().await, foreign).await;
    assert_eq!((letter.key.as_deref(), letter.order_id.as_deref()), (None, Some(order_id("ann", 7).as_str())));
    let failure = failure(&letter);
    assert_eq!(failure.reason.as_str(), "wrong_tenant");
    assert!(failure.message.contains("globex") && failure.message.contains(orders::TENANT), "{}", failure.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_type_that_nobody_knows_is_refused_by_name() {
    let mut unknown = bare("unknown", &new_order("ann", 7));
    unknown.headers.insert("event".into(), "order.paused".into());
    let failure = goes_on_as_refused(unknown, &orders::identity("ann")).await;
    assert_eq!(failure.reason.as_str(), "unknown_event_type");
    assert!(failure.message.contains("order.paused"), "{}", failure.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_type_that_nobody_knows_is_refused_by_name_and_stays_in_its_lane() {
    let mut order = new_order("ann", 7);
    order["order_type"] = json!("pause_print");
    let failure = goes_on_as_refused(bare("type", &order), &orders::identity("ann")).await;
    assert_eq!((failure.reason.as_str(), failure.field.as_deref()), ("unknown_order_type", Some("order_type")));
    assert!(failure.message.contains("pause_print"), "{}", failure.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_is_missing_is_named() {
    let mut order = new_order("ann", 7);
    order["orderItems"] = json!([]);
    let failure = goes_on_as_refused(bare("missing", &order), &orders::identity("ann")).await;
    assert_eq!((failure.reason.as_str(), failure.field.as_deref()), ("missing_field", Some("orderItems")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_of_another_type_is_named_with_its_shape() {
    let mut order = new_order("ann", 7);
    order["orderDate"] = json!(20_260_203);
    let failure = goes_on_as_refused(bare("shape", &order), &orders::identity("ann")).await;
    assert_eq!((failure.reason.as_str(), failure.field.as_deref()), ("wrong_type", Some("orderDate")));
    assert!(failure.message.contains("number"), "{}", failure.message);
}
