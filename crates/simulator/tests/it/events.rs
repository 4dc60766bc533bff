use causeway_simulator::PublishBehavior;
use serde_json::{Value, json};

use crate::client::{Client, code, order_graph};

const EVENT: &str = "i42as__OrderEvent__e";

fn uuid(answer: &Value) -> String {
    assert_eq!((&answer["success"], &answer["errors"][0]["statusCode"]), (&json!(true), &json!("OPERATION_ENQUEUED")));
    answer["errors"][0]["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn all_rest_channels_publish_and_name_the_event_uuid() {
    let org = Client::new().await;
    let body =
        |n: &str| json!({ "i42as__OrderNumber__c": n, "i42as__PurchaseDate__c": "2026-02-03T17:13:57.820+01:00" });
    let url = format!("/services/data/v62.0/sobjects/{EVENT}");
    let (status, single) = org.post(&format!("sobjects/{EVENT}"), body("1")).await;
    assert_eq!(status, 201);
    assert!(single["id"].as_str().unwrap().starts_with("e01"));
    let mut row = body("2");
    row["attributes"] = json!({ "type": EVENT });
    let (_, rows) = org.post("composite/sobjects", json!({ "records": [row] })).await;
    let part = |n: &str| json!({ "method": "POST", "url": url, "referenceId": "e", "body": body(n) });
    let (_, composite) = org.post("composite", json!({ "compositeRequest": [part("3")] })).await;
    let graphs = json!({ "graphs": [{ "graphId": "g", "compositeRequest": [part("4")] }] });
    let (_, graph) = org.post("composite/graph", graphs).await;
    let answers = [
        &single,
        &rows[0],
        &composite["compositeResponse"][0]["body"],
        &graph["graphs"][0]["graphResponse"]["compositeResponse"][0]["body"],
    ];
    let events = org.control().events();
    assert_eq!(events.iter().map(|event| event.event_uuid.clone()).collect::<Vec<_>>(), answers.map(uuid));
    assert_eq!(events.iter().map(|event| event.replay_id).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(events[3].payload["i42as__OrderNumber__c"], "4");
    assert_eq!(events[0].payload["i42as__PurchaseDate__c"], "2026-02-03T16:13:57.820Z");
}

#[tokio::test]
async fn an_after_commit_event_dies_with_its_transaction() {
    let org = Client::new().await;
    org.post("composite/graph", json!({ "graphs": [failing_after_event()] })).await;
    assert!(org.control().events().is_empty());
}

#[tokio::test]
async fn an_immediate_event_outlives_its_transaction() {
    let org = Client::with_settings(|settings| settings.publish_behavior = PublishBehavior::Immediately).await;
    let (_, body) = org.post("composite/graph", json!({ "graphs": [failing_after_event()] })).await;
    assert_eq!(body["graphs"][0]["isSuccessful"], false);
    assert_eq!(org.control().events().len(), 1);
    assert!(org.records("Account").is_empty());
}

fn failing_after_event() -> Value {
    let mut graph = order_graph(0);
    let nodes = graph["compositeRequest"].as_array_mut().unwrap();
    nodes.push(
        json!({ "method": "POST", "url": "/services/data/v62.0/sobjects/Contact", "referenceId": "bad", "body": {} }),
    );
    graph
}

#[tokio::test]
async fn an_order_too_long_for_its_field_is_refused() {
    let org = Client::new().await;
    let at = |length: usize| json!({ "i42as__LimioOrder__c": "x".repeat(length) });
    assert_eq!(org.post(&format!("sobjects/{EVENT}"), at(131_072)).await.0, 201);
    let (status, body) = org.post(&format!("sobjects/{EVENT}"), at(131_073)).await;
    assert_eq!((status, code(&body)), (400, "STRING_TOO_LONG"));
    let (status, body) = org.post(&format!("sobjects/{EVENT}"), json!({ "i42as__Unknown__c": "x" })).await;
    assert_eq!((status, code(&body)), (400, "INVALID_FIELD"));
}

#[tokio::test]
async fn the_hourly_allocation_refuses_events_and_slides() {
    let org = Client::with_settings(|settings| settings.event_hourly_limit = 2).await;
    let row = json!({ "attributes": { "type": EVENT } });
    let (_, body) = org.post("composite/sobjects", json!({ "records": [row, row, row] })).await;
    assert_eq!(body[2]["errors"][0]["statusCode"], "LIMIT_EXCEEDED");
    assert_eq!(org.control().events().len(), 2);
    org.control().advance_clock(std::time::Duration::from_mins(61));
    assert_eq!(org.post(&format!("sobjects/{EVENT}"), json!({})).await.0, 201);
}
