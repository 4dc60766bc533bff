use std::time::Duration;

use causeway_simulator::{Fault, FaultKind, MissingCreate, ObjectPermission, PublishBehavior, PublishedBy};
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
    assert!(events.windows(2).all(|pair| pair[0].replay_id < pair[1].replay_id));
    assert!(events.iter().all(|event| event.topic == "/event/i42as__OrderEvent__e"));
    assert!(events.iter().all(|event| event.published == PublishedBy::AfterCommit));
    assert!(events[0].payload["CreatedById"].as_str().unwrap().starts_with("005"));
    assert_eq!(events[3].payload["i42as__OrderNumber__c"], "4");
    assert_eq!(events[0].payload["i42as__PurchaseDate__c"], "2026-02-03T16:13:57.820Z");
}

#[tokio::test]
async fn an_after_commit_event_dies_with_its_transaction() {
    let org = Client::new().await;
    org.post("composite/graph", json!({ "graphs": [failing_after_event()] })).await;
    assert!(org.control().events().is_empty());
    assert_eq!(org.control().usage().events_last_hour, 0);
}

#[tokio::test]
async fn a_rolled_back_event_gives_its_place_in_the_allocation_back() {
    let org = Client::with_settings(|settings| settings.event_hourly_limit = 1).await;
    org.post("composite/graph", json!({ "graphs": [failing_after_event()] })).await;
    assert_eq!(org.post(&format!("sobjects/{EVENT}"), json!({})).await.0, 201);
    let (status, body) = org.post(&format!("sobjects/{EVENT}"), json!({})).await;
    assert_eq!((status, code(&body)), (400, "LIMIT_EXCEEDED"));
}

#[tokio::test]
async fn an_immediate_event_outlives_its_transaction() {
    let org = Client::with_settings(|settings| settings.publish_behavior = PublishBehavior::Immediately).await;
    let (_, body) = org.post("composite/graph", json!({ "graphs": [failing_after_event()] })).await;
    assert_eq!(body["graphs"][0]["isSuccessful"], false);
    assert_eq!(org.control().events().len(), 1);
    assert_eq!(org.control().events()[0].published, PublishedBy::Immediately);
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
    org.control().advance_clock(Duration::from_mins(61));
    assert_eq!(org.post(&format!("sobjects/{EVENT}"), json!({})).await.0, 201);
}

#[tokio::test]
async fn an_accepted_event_reaches_the_bus_after_the_delay() {
    let org = Client::with_settings(|settings| settings.event_delay_ms = 3_600_000).await;
    let (status, answer) = org.post(&format!("sobjects/{EVENT}"), json!({})).await;
    assert_eq!(status, 201);
    assert!(org.control().events().is_empty());
    assert_eq!(org.control().usage().events_last_hour, 1, "it counts when it is accepted");
    org.control().advance_clock(Duration::from_hours(1));
    let events = org.control().events();
    assert_eq!(events.iter().map(|event| event.event_uuid.clone()).collect::<Vec<_>>(), [uuid(&answer)]);
    assert_ne!(events[0].payload["CreatedDate"].as_str().unwrap()[..16], events[0].published_at[..16]);
}

#[tokio::test]
async fn events_leave_the_bus_after_72_hours() {
    let org = Client::new().await;
    org.post(&format!("sobjects/{EVENT}"), json!({})).await;
    org.control().advance_clock(Duration::from_hours(71));
    assert_eq!(org.control().events().len(), 1);
    org.control().advance_clock(Duration::from_hours(2));
    assert!(org.control().events().is_empty());
}

#[tokio::test]
async fn an_event_published_twice_has_one_uuid_and_two_replay_ids() {
    let org = Client::new().await;
    org.control().arm(Fault::once(FaultKind::EventTwice).on_object(EVENT).containing("N-2"));
    for n in ["N-1", "N-2"] {
        org.post(&format!("sobjects/{EVENT}"), json!({ "i42as__OrderNumber__c": n })).await;
    }
    let events = org.control().events();
    assert_eq!(events.len(), 3);
    assert_eq!(events[1].event_uuid, events[2].event_uuid);
    assert!(events[1].replay_id < events[2].replay_id);
    assert_ne!(events[0].event_uuid, events[1].event_uuid);
}

#[tokio::test]
async fn a_lost_event_is_accepted_and_counted_and_never_on_the_bus() {
    let org = Client::new().await;
    org.control().arm(Fault::once(FaultKind::EventLost));
    let (status, answer) = org.post(&format!("sobjects/{EVENT}"), json!({})).await;
    assert_eq!(status, 201);
    uuid(&answer);
    assert!(org.control().events().is_empty());
    assert_eq!(org.control().usage().events_last_hour, 1);
}

#[tokio::test]
async fn a_bus_that_takes_nothing_refuses_events_and_no_rows() {
    let org = Client::new().await;
    org.control().arm(Fault::always(FaultKind::EventUnavailable));
    let (status, body) = org.post(&format!("sobjects/{EVENT}"), json!({})).await;
    assert_eq!((status, code(&body)), (503, "PLATFORM_EVENT_PUBLISHING_UNAVAILABLE"));
    let records =
        json!([{ "attributes": { "type": EVENT } }, { "attributes": { "type": "Contact" }, "LastName": "Smith" }]);
    let (_, rows) = org.post("composite/sobjects", json!({ "records": records })).await;
    assert_eq!(rows[0]["errors"][0]["statusCode"], "PLATFORM_EVENT_PUBLISHING_UNAVAILABLE");
    assert_eq!(rows[1]["success"], true);
}

#[tokio::test]
async fn a_published_event_cannot_be_read_changed_or_deleted() {
    let org = Client::new().await;
    let (_, answer) = org.post(&format!("sobjects/{EVENT}"), json!({})).await;
    let path = format!("sobjects/{EVENT}/{}", answer["id"].as_str().unwrap());
    assert_eq!(org.get(&path).await.0, 404);
    for (method, body) in [("PATCH", Some(json!({}))), ("DELETE", None)] {
        let (status, body) = org.call(method, &path, body).await;
        assert_eq!((status, code(&body)), (400, "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"), "{method}");
    }
    let ids = answer["id"].as_str().unwrap();
    let (_, rows) = org.call("DELETE", &format!("composite/sobjects?ids={ids}"), None).await;
    assert_eq!(rows[0]["errors"][0]["statusCode"], "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY");
    assert_eq!(org.control().events().len(), 1);
}

#[tokio::test]
async fn an_event_above_the_message_size_is_refused() {
    let org = Client::with_settings(|settings| settings.event_max_bytes = 1_000).await;
    let at = |length: usize| json!({ "i42as__LimioOrder__c": "x".repeat(length) });
    assert_eq!(org.post(&format!("sobjects/{EVENT}"), at(800)).await.0, 201);
    let (status, body) = org.post(&format!("sobjects/{EVENT}"), at(1_000)).await;
    assert_eq!((status, code(&body)), (400, "LIMIT_EXCEEDED"));
}

#[tokio::test]
async fn a_user_without_create_permission_publishes_nothing() {
    let org = Client::with_settings(|settings| {
        settings.object_permissions.insert(EVENT.to_owned(), ObjectPermission::READ);
    })
    .await;
    let (status, body) = org.post(&format!("sobjects/{EVENT}"), json!({})).await;
    assert_eq!((status, code(&body)), (403, "INSUFFICIENT_ACCESS_OR_READONLY"));
    org.control().update_settings(|settings| settings.missing_create = MissingCreate::CannotInsert);
    let (status, body) = org.post(&format!("sobjects/{EVENT}"), json!({})).await;
    assert_eq!((status, code(&body)), (400, "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"));
    assert!(org.control().events().is_empty());
}

#[tokio::test]
async fn limits_tell_what_is_left_of_the_event_allocations() {
    let org = Client::with_settings(|settings| settings.event_daily_delivery_limit = 7).await;
    org.post(&format!("sobjects/{EVENT}"), json!({})).await;
    let (_, limits) = org.get("limits").await;
    assert_eq!(limits["HourlyPublishedPlatformEvents"], json!({ "Max": 250_000, "Remaining": 249_999 }));
    assert_eq!(limits["DailyDeliveredPlatformEvents"], json!({ "Max": 7, "Remaining": 7 }));
}
