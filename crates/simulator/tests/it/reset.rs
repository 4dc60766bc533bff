//! A reset while requests run: nothing of them reaches the org that is new.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::client::{Client, code, eventually, order_graph, read};

const EVENT: &str = "i42as__OrderEvent__e";

/// Each row takes a second, and time stands still.
async fn slow_org() -> Client {
    Client::with_settings(|settings| {
        settings.pace = 0.0;
        settings.latency_per_row_ms = 1_000;
        settings.event_hourly_limit = 1;
    })
    .await
}

fn begin(org: &Client, token: &str, path: &str, body: &Value) -> JoinHandle<(u16, Value)> {
    let request = org.http.post(org.url(&format!("/services/data/v62.0/{path}"))).bearer_auth(token).json(body);
    tokio::spawn(async move { read(request.send().await.unwrap()).await })
}

fn post(reference: &str, object: &str, body: Value) -> Value {
    json!({ "method": "POST", "url": format!("/services/data/v62.0/sobjects/{object}"), "referenceId": reference,
            "body": body })
}

fn graphs(graphs: &[&[Value]]) -> Value {
    let numbered = graphs.iter().enumerate();
    json!({ "graphs": numbered.map(|(n, nodes)| json!({ "graphId": format!("g{n}"), "compositeRequest": nodes }))
        .collect::<Vec<_>>() })
}

fn accounts(count: usize) -> Vec<Value> {
    (0..count).map(|n| post(&format!("a{n}"), "Account", json!({ "Name": format!("A{n}") }))).collect()
}

async fn until_waiting(org: &Client, count: usize) {
    eventually(|| org.control().usage().waiting == count).await;
}

/// The answer of a call, however often the clock must be pushed for it.
async fn ended(org: &Client, call: JoinHandle<(u16, Value)>) -> (u16, Value) {
    eventually(|| {
        org.control().advance_clock(Duration::from_secs(1));
        call.is_finished()
    })
    .await;
    call.await.unwrap()
}

#[tokio::test]
async fn a_rollback_from_before_a_reset_takes_no_row_and_no_number_of_the_new_org() {
    let org = slow_org().await;
    let bad = [post("a", "Account", json!({ "Name": "Old" })), post("bad", "Contact", json!({}))];
    let old = begin(&org, &org.token, "composite/graph", &graphs(&[&bad]));
    until_waiting(&org, 1).await;
    org.control().reset();
    let token = org.sign_in().await;
    let new = begin(&org, &token, "composite/graph", &graphs(&[&accounts(3)]));
    until_waiting(&org, 2).await;
    org.control().advance_clock(Duration::from_secs(2));
    assert_eq!(old.await.unwrap().1["graphs"][0]["isSuccessful"], false);
    assert_eq!((org.control().usage().running, org.control().usage().locked_rows), (1, 3));
    org.control().advance_clock(Duration::from_secs(1));
    assert_eq!(new.await.unwrap().1["graphs"][0]["isSuccessful"], true);
    assert_eq!(org.records("Account").len(), 3);
}

#[tokio::test]
async fn a_request_from_before_a_reset_commits_publishes_and_logs_nothing_more() {
    let org = slow_org().await;
    let first = [post("a", "Account", json!({ "Name": "First" })), post("e", EVENT, json!({}))];
    let old = begin(&org, &org.token, "composite/graph", &graphs(&[&first, &accounts(1)]));
    until_waiting(&org, 1).await;
    org.control().reset();
    let (_, answer) = ended(&org, old).await;
    let second = &answer["graphs"][1]["graphResponse"]["compositeResponse"][0];
    assert_eq!((&second["httpStatusCode"], code(&second["body"])), (&json!(503), "SERVER_UNAVAILABLE"), "{answer}");
    assert!(org.records("Account").is_empty() && org.control().events().is_empty());
    let usage = org.control().usage();
    assert_eq!((usage.events_last_hour, usage.locked_rows, usage.stored.pending), (0, 0, 0));
    assert!(org.control().requests().is_empty());
}

#[tokio::test]
async fn a_reset_gives_no_place_of_the_event_allocation_back_twice() {
    let org = slow_org().await;
    let mut failing = order_graph(0)["compositeRequest"].as_array().unwrap().clone();
    failing.push(post("bad", "Contact", json!({})));
    let old = begin(&org, &org.token, "composite/graph", &graphs(&[&failing]));
    until_waiting(&org, 1).await;
    org.control().reset();
    let token = org.sign_in().await;
    let mut nodes = vec![post("e", EVENT, json!({}))];
    nodes.extend(accounts(4));
    let new = begin(&org, &token, "composite/graph", &graphs(&[&nodes]));
    until_waiting(&org, 2).await;
    org.control().advance_clock(Duration::from_secs(4));
    assert_eq!(old.await.unwrap().1["graphs"][0]["isSuccessful"], false);
    let further = begin(&org, &token, &format!("sobjects/{EVENT}"), &json!({}));
    until_waiting(&org, 2).await;
    org.control().advance_clock(Duration::from_secs(1));
    let (status, body) = further.await.unwrap();
    assert_eq!((status, code(&body)), (400, "LIMIT_EXCEEDED"));
    assert_eq!(new.await.unwrap().1["graphs"][0]["isSuccessful"], true);
    assert_eq!(org.control().events().len(), 1);
}
