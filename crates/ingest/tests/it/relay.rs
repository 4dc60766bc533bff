//! What is accepted: handed on once, in order, without secrets.

use queue::message::{ORDER_ID, SEQUENCE_KEY, TRACE_PARENT};
use serde_json::{Value, json};
use testkit::orders::{self, golden, new_order, order_id};

use crate::stage::{Stage, bare};

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_order_is_handed_on_structured_with_its_names_in_headers_and_without_payment_secrets() {
    let stage = Stage::new().await;
    let ingest = stage.ingest();
    let order = new_order("ann", 1);
    assert!(order["payment"]["zuora"].get("token").is_some(), "the order brings a secret");
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mut message = bare("m1", &order);
    message.headers.insert(TRACE_PARENT.to_owned(), trace.to_owned());
    stage.publish(&message).await;

    let handed_on = stage.partition().await.next().await;
    assert_eq!(handed_on.content_type.as_deref(), Some("application/cloudevents+json"));
    assert_eq!(handed_on.id, "m1");
    assert_eq!(handed_on.header(SEQUENCE_KEY), Some(orders::identity("ann").as_str()));
    assert_eq!(handed_on.header(ORDER_ID), Some(order_id("ann", 1).as_str()));
    assert_eq!(handed_on.header(TRACE_PARENT), Some(trace));
    let event: Value = serde_json::from_slice(&handed_on.body).expect("a CloudEvent");
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["type"], "com.limio.order.submitted");
    assert_eq!(event["source"], format!("/limio/{}", orders::TENANT));
    assert_eq!(event["subject"], order_id("ann", 1));
    assert_eq!(event["sequencekey"], orders::identity("ann"));
    assert_eq!(event["traceparent"], trace);
    assert_eq!(event["data"]["order_reference"], order["order_reference"]);
    let text = event.to_string();
    assert!(!text.contains("invented-token") && !text.contains("invented-signature"), "{text}");
    ingest.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_order_is_handed_on_once_however_often_and_in_whatever_frame_it_comes() {
    let stage = Stage::new().await;
    let ingest = stage.ingest();
    let order = new_order("ann", 1);
    let mut again = bare("m2", &json!(order.to_string()));
    again.kind = Some("order.submitted".into());
    for message in [bare("m1", &order), bare("m1", &order), again, bare("m3", &new_order("ann", 2))] {
        stage.publish(&message).await;
    }
    let handed_on = stage.partition().await.take(2).await;
    let ids: Vec<_> = handed_on.iter().map(|message| message.headers[ORDER_ID].clone()).collect();
    assert_eq!(ids, [order_id("ann", 1), order_id("ann", 2)], "the last one came behind all the doubles");
    ingest.stop().await;
    assert!(stage.fleet.left_over(&stage.session).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_of_a_customer_keep_their_order_among_those_of_others() {
    let stage = Stage::new().await;
    let customers = ["ann", "bob", "cleo"];
    for number in 1..=20 {
        for customer in customers {
            stage.publish(&bare(&format!("{customer}-{number}"), &new_order(customer, number))).await;
        }
    }
    let ingest = stage.ingest();
    let handed_on = stage.partition().await.take(60).await;
    for customer in customers {
        let key = orders::identity(customer);
        let of_customer: Vec<_> = handed_on
            .iter()
            .filter(|message| message.header(SEQUENCE_KEY) == Some(key.as_str()))
            .map(|message| message.headers[ORDER_ID].clone())
            .collect();
        assert_eq!(of_customer, (1..=20).map(|number| order_id(customer, number)).collect::<Vec<_>>());
    }
    ingest.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_content_under_the_same_identity_goes_on_as_refused_in_its_customers_lane() {
    let stage = Stage::new().await;
    let ingest = stage.ingest();
    let mut other = new_order("ann", 1);
    other["total"]["amount"] = json!(99.5);
    for message in [bare("m1", &new_order("ann", 1)), bare("m2", &other), bare("m3", &new_order("ann", 2))] {
        stage.publish(&message).await;
    }
    let handed_on = stage.partition().await.take(3).await;
    let refusals: Vec<Option<Value>> = handed_on
        .iter()
        .map(|message| message.header(queue::message::REFUSAL).map(|text| serde_json::from_str(text).expect("JSON")))
        .collect();
    assert_eq!((&refusals[0], &refusals[2]), (&None, &None));
    let refusal = refusals[1].as_ref().expect("the second one is refused");
    assert_eq!(refusal["reason"], "identity_conflict");
    assert_eq!(handed_on[1].header(SEQUENCE_KEY), Some(orders::identity("ann").as_str()));
    assert_eq!(handed_on[1].header(ORDER_ID), Some(order_id("ann", 1).as_str()));
    ingest.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_frame_in_which_limio_sends_an_order_is_accepted() {
    let stage = Stage::new().await;
    let ingest = stage.ingest();
    let frames = ["29", "30", "31", "32"];
    for frame in frames {
        stage.publish(&bare(&format!("frame-{frame}"), &golden(frame))).await;
    }
    for (message, frame) in stage.partition().await.take(frames.len()).await.iter().zip(frames) {
        assert_eq!(message.header(queue::message::REFUSAL), None, "golden order {frame}");
    }
    ingest.stop().await;
}
