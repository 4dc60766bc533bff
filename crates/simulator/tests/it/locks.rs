use std::sync::Arc;
use std::time::Duration;

use causeway_simulator::{Fault, FaultKind};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::client::{Client, code, eventually, person};

/// An org whose clock stands still, with accounts `A`, `B`, … already there and rows that take a second each.
async fn frozen(accounts: &[&str]) -> Arc<Client> {
    let org = Client::with_settings(|settings| settings.pace = 0.0).await;
    for name in accounts {
        org.create("Account", json!({ "Name": name, "LimioId__c": name })).await;
    }
    org.control().update_settings(|settings| settings.latency_per_row_ms = 1_000);
    Arc::new(org)
}

fn node(reference: &str, method: &str, path: &str, body: Value) -> Value {
    let url = format!("/services/data/v62.0/sobjects/{path}");
    json!({ "method": method, "url": url, "referenceId": reference, "body": body })
}

fn phone(reference: &str, account: &str) -> Value {
    node(reference, "PATCH", &format!("Account/LimioId__c/{account}"), json!({ "Phone": reference }))
}

fn contact(reference: &str, account: &str) -> Value {
    node(
        reference,
        "POST",
        "Contact",
        json!({ "LastName": reference, "Account": { "attributes": { "type": "Account" }, "LimioId__c": account } }),
    )
}

fn start(org: &Arc<Client>, path: &str, body: Value) -> JoinHandle<(u16, Value)> {
    let (org, path) = (Arc::clone(org), path.to_owned());
    tokio::spawn(async move { org.post(&path, body).await })
}

fn start_graph(org: &Arc<Client>, id: &str, nodes: Vec<Value>) -> JoinHandle<(u16, Value)> {
    start(org, "composite/graph", json!({ "graphs": [{ "graphId": id, "compositeRequest": nodes }] }))
}

fn start_all_or_none(org: &Arc<Client>, parts: Vec<Value>) -> JoinHandle<(u16, Value)> {
    start(org, "composite", json!({ "allOrNone": true, "compositeRequest": parts }))
}

async fn asleep(org: &Client, requests: usize, lock_waiters: usize) {
    eventually(|| {
        let usage = org.control().usage();
        (usage.waiting, usage.lock_waiters) == (requests, lock_waiters)
    })
    .await;
}

fn advance(org: &Client, seconds: u64) {
    org.control().advance_clock(Duration::from_secs(seconds));
}

#[tokio::test]
async fn upserts_of_one_external_id_make_one_row() {
    let org = frozen(&[]).await;
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let org = Arc::clone(&org);
            tokio::spawn(async move { org.patch("sobjects/Account/LimioId__c/same", person("Smith")).await.0 })
        })
        .collect();
    // One holds the row, the others wait for it, and each takes its second.
    for left in (1..=8).rev() {
        asleep(&org, left, left - 1).await;
        advance(&org, 1);
    }
    let mut statuses = Vec::new();
    for call in calls {
        statuses.push(call.await.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 200, 201]);
    assert_eq!(org.records("Account").len(), 1);
}

#[tokio::test]
async fn a_contact_locks_its_account_and_a_waiter_gives_up() {
    let org = frozen(&["A"]).await;
    let id = org.records("Account")[0]["Id"].as_str().unwrap().to_owned();
    let holder = start(&org, "sobjects/Contact", json!({ "LastName": "L", "AccountId": id }));
    asleep(&org, 1, 0).await;
    org.control().update_settings(|settings| {
        settings.lock_wait_ms = 50;
        settings.latency_per_row_ms = 0;
    });
    let waiter = {
        let (org, path) = (Arc::clone(&org), format!("sobjects/Account/{id}"));
        tokio::spawn(async move { org.patch(&path, json!({ "Phone": "1" })).await })
    };
    asleep(&org, 2, 1).await;
    org.control().advance_clock(Duration::from_millis(50));
    let (status, body) = waiter.await.unwrap();
    assert_eq!((status, code(&body)), (400, "UNABLE_TO_LOCK_ROW"), "{body}");
    let message = format!("unable to obtain exclusive access to this record or 1 records: {id}");
    assert_eq!((&body[0]["message"], &body[0]["fields"]), (&json!(message), &json!([])));
    advance(&org, 1);
    assert_eq!(holder.await.unwrap().0, 201);
    assert_eq!(org.patch(&format!("sobjects/Account/{id}"), json!({ "Phone": "1" })).await.0, 204);
}

#[tokio::test]
async fn rows_of_a_running_transaction_are_not_seen() {
    let org = frozen(&[]).await;
    let writer = start(&org, "sobjects/Account", json!({ "Name": "A" }));
    asleep(&org, 1, 0).await;
    let (_, body) = org.query("SELECT COUNT() FROM Account").await;
    assert_eq!(body["totalSize"], 0);
    advance(&org, 1);
    assert_eq!(writer.await.unwrap().0, 201);
    assert_eq!(org.records("Account").len(), 1);
}

#[tokio::test]
async fn a_caller_that_hangs_up_does_not_stop_the_work() {
    let org = frozen(&[]).await;
    let request = org.request(reqwest::Method::POST, "sobjects/Account").json(&json!({ "Name": "A" }));
    let call = tokio::spawn(request.send());
    asleep(&org, 1, 0).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    assert!(org.records("Account").is_empty());
    advance(&org, 1);
    eventually(|| !org.records("Account").is_empty()).await;
}

#[tokio::test]
async fn two_graphs_on_one_account_follow_each_other() {
    let org = frozen(&["A"]).await;
    let first = start_graph(&org, "g1", vec![contact("one", "A"), contact("two", "A")]);
    asleep(&org, 1, 0).await;
    let second = start_graph(&org, "g2", vec![contact("three", "A")]);
    asleep(&org, 2, 1).await;
    advance(&org, 2);
    assert_eq!(first.await.unwrap().1["graphs"][0]["isSuccessful"], true);
    // The second got the account when the first was done, and only then began its own second.
    asleep(&org, 1, 0).await;
    assert_eq!(org.records("Contact").len(), 2);
    advance(&org, 1);
    assert_eq!(second.await.unwrap().1["graphs"][0]["isSuccessful"], true);
    assert_eq!((org.records("Contact").len(), org.control().usage().locked_rows), (3, 0));
}

#[tokio::test]
async fn a_graph_that_waits_ten_seconds_for_a_row_fails_with_the_rows_id() {
    let org = frozen(&["A"]).await;
    org.control().update_settings(|settings| settings.latency_per_row_ms = 11_000);
    let id = org.records("Account")[0]["Id"].as_str().unwrap().to_owned();
    let first = start_graph(&org, "g1", vec![contact("one", "A")]);
    asleep(&org, 1, 0).await;
    org.control().update_settings(|settings| settings.latency_per_row_ms = 0);
    let second = start_graph(&org, "g2", vec![contact("two", "A")]);
    asleep(&org, 2, 1).await;
    org.control().advance_clock(Duration::from_millis(9_999));
    asleep(&org, 2, 1).await;
    org.control().advance_clock(Duration::from_millis(1));
    let (status, body) = second.await.unwrap();
    assert_eq!((status, &body["graphs"][0]["isSuccessful"]), (200, &json!(false)));
    let message = format!("unable to obtain exclusive access to this record or 1 records: {id}");
    assert_eq!(
        body["graphs"][0]["graphResponse"]["compositeResponse"][0]["body"],
        json!([{ "message": message, "errorCode": "UNABLE_TO_LOCK_ROW", "fields": [] }])
    );
    advance(&org, 1);
    assert_eq!(first.await.unwrap().1["graphs"][0]["isSuccessful"], true);
    assert_eq!(org.control().usage().locked_rows, 0);
}

#[tokio::test]
async fn a_rollback_frees_the_rows_for_those_who_wait() {
    let org = frozen(&["A"]).await;
    let failing = start_all_or_none(&org, vec![phone("a", "A"), node("bad", "POST", "Contact", json!({}))]);
    asleep(&org, 1, 0).await;
    let waiting = start_all_or_none(&org, vec![phone("b", "A")]);
    asleep(&org, 2, 1).await;
    advance(&org, 2);
    let (_, body) = failing.await.unwrap();
    assert_eq!(body["compositeResponse"][0]["httpStatusCode"], 400);
    asleep(&org, 1, 0).await;
    advance(&org, 1);
    let (_, body) = waiting.await.unwrap();
    assert_eq!(body["compositeResponse"][0]["httpStatusCode"], 200, "{body}");
    assert_eq!(org.records("Account")[0]["Phone"], "b");
}

#[tokio::test]
async fn a_failed_row_of_a_collection_frees_its_locks_at_once() {
    let org = frozen(&["A", "B"]).await;
    let row = |name: Option<&str>, account: &str| json!({ "attributes": { "type": "Contact" }, "LastName": name, "Account": { "LimioId__c": account } });
    let records = json!({ "records": [row(None, "A"), row(Some("Good"), "B")] });
    let rows = start(&org, "composite/sobjects", records);
    asleep(&org, 1, 0).await;
    let free = start_all_or_none(&org, vec![phone("a", "A")]);
    asleep(&org, 2, 0).await;
    let held = start_all_or_none(&org, vec![phone("b", "B")]);
    asleep(&org, 3, 1).await;
    advance(&org, 3);
    assert_eq!(free.await.unwrap().0, 200);
    let (_, body) = rows.await.unwrap();
    assert_eq!((&body[0]["success"], &body[1]["success"]), (&json!(false), &json!(true)));
    asleep(&org, 1, 0).await;
    advance(&org, 1);
    assert_eq!(held.await.unwrap().1["compositeResponse"][0]["httpStatusCode"], 200);
}

#[tokio::test]
async fn locks_are_freed_when_the_caller_has_hung_up_or_its_connection_is_cut() {
    let org = frozen(&["A"]).await;
    let body = json!({ "Phone": "1" });
    let request = org.request(reqwest::Method::PATCH, "sobjects/Account/LimioId__c/A").json(&body);
    let call = tokio::spawn(request.send());
    asleep(&org, 1, 0).await;
    call.abort();
    org.control().arm(Fault::once(FaultKind::CommitThenDrop));
    let request = org.request(reqwest::Method::PATCH, "sobjects/Account/LimioId__c/A").json(&body);
    let call = tokio::spawn(request.send());
    asleep(&org, 2, 1).await;
    advance(&org, 1);
    asleep(&org, 1, 0).await;
    advance(&org, 1);
    assert!(call.await.unwrap().is_err());
    assert_eq!(org.control().usage().locked_rows, 0);
    org.control().update_settings(|settings| settings.latency_per_row_ms = 0);
    assert_eq!(org.patch("sobjects/Account/LimioId__c/A", body).await.0, 200);
}

/// Three transactions: the first holds `C`; the second has `A` and waits for `C`, then wants `B`; the third has `B`
/// and waits for `A`. When the first ends, the second and the third wait for each other.
async fn deadlocked(org: &Arc<Client>) -> [JoinHandle<(u16, Value)>; 2] {
    let first = start_all_or_none(org, vec![phone("c", "C")]);
    asleep(org, 1, 0).await;
    let second = start_all_or_none(org, vec![phone("a", "A"), phone("c", "C"), phone("b", "B")]);
    asleep(org, 2, 1).await;
    let third = start_all_or_none(org, vec![phone("b", "B"), phone("a", "A")]);
    asleep(org, 3, 2).await;
    advance(org, 1);
    assert_eq!(first.await.unwrap().0, 200);
    [second, third]
}

fn codes(body: &Value) -> Vec<&str> {
    body["compositeResponse"].as_array().unwrap().iter().map(|part| code(&part["body"])).collect()
}

#[tokio::test]
async fn of_two_transactions_that_wait_for_each_other_the_younger_one_fails_at_once() {
    let org = frozen(&["A", "B", "C"]).await;
    let [older, younger] = deadlocked(&org).await;
    // Nobody waits for a lock any more: the younger one rolls back and then the older one has its three rows.
    asleep(&org, 2, 1).await;
    advance(&org, 2);
    let (_, body) = younger.await.unwrap();
    assert_eq!(codes(&body), ["PROCESSING_HALTED", "UNABLE_TO_LOCK_ROW"]);
    asleep(&org, 1, 0).await;
    advance(&org, 3);
    assert_eq!(codes(&older.await.unwrap().1), ["", "", ""]);
    assert_eq!(org.records("Account")[1]["Phone"], "b");
}

#[tokio::test]
async fn without_detection_a_deadlock_ends_with_the_lock_wait() {
    let org = frozen(&["A", "B", "C"]).await;
    org.control().update_settings(|settings| settings.deadlock_detection = false);
    let [older, younger] = deadlocked(&org).await;
    asleep(&org, 2, 2).await;
    // The younger one began to wait a second earlier.
    advance(&org, 9);
    asleep(&org, 2, 1).await;
    advance(&org, 2);
    assert_eq!(codes(&younger.await.unwrap().1), ["PROCESSING_HALTED", "UNABLE_TO_LOCK_ROW"]);
    eventually(|| org.control().usage().lock_waiters == 0).await;
    advance(&org, 3);
    older.await.unwrap();
    assert_eq!(org.control().usage().locked_rows, 0);
}

#[tokio::test]
async fn a_contact_that_moves_locks_the_account_it_leaves_and_the_one_it_joins() {
    let org = frozen(&["A", "B", "C"]).await;
    org.control().update_settings(|settings| settings.latency_per_row_ms = 0);
    let accounts = org.records("Account");
    let contact = org.create("Contact", json!({ "LastName": "L", "AccountId": accounts[0]["Id"] })).await;
    org.control().update_settings(|settings| settings.latency_per_row_ms = 1_000);
    let path = format!("Contact/{contact}");
    let moving = start_all_or_none(&org, vec![node("m", "PATCH", &path, json!({ "AccountId": accounts[1]["Id"] }))]);
    asleep(&org, 1, 0).await;
    let others: Vec<_> = ["A", "B", "C"].map(|name| start_all_or_none(&org, vec![phone("p", name)])).into();
    // `C` is free; `A` and `B` are not.
    asleep(&org, 4, 2).await;
    advance(&org, 1);
    moving.await.unwrap();
    asleep(&org, 2, 0).await;
    advance(&org, 1);
    for other in others {
        assert_eq!(codes(&other.await.unwrap().1), [""]);
    }
    // An edit of anything else on it locks the account it stays with.
    let editing = start_all_or_none(&org, vec![node("m", "PATCH", &path, json!({ "Phone": "1" }))]);
    asleep(&org, 1, 0).await;
    let waiting = start_all_or_none(&org, vec![phone("p", "B")]);
    asleep(&org, 2, 1).await;
    advance(&org, 1);
    asleep(&org, 1, 0).await;
    advance(&org, 1);
    editing.await.unwrap();
    waiting.await.unwrap();
}

#[tokio::test]
async fn a_lookup_that_is_cleared_on_delete_locks_nothing() {
    let org = frozen(&["A"]).await;
    let account = org.records("Account")[0]["Id"].clone();
    let body = json!({ "Account__c": account, "OrderType__c": "new" });
    let order = start_all_or_none(&org, vec![node("o", "PATCH", "LimioOrder__c/LimioId__c/o-1", body)]);
    asleep(&org, 1, 0).await;
    let free = start_all_or_none(&org, vec![phone("a", "A")]);
    asleep(&org, 2, 0).await;
    advance(&org, 1);
    assert_eq!((codes(&order.await.unwrap().1), codes(&free.await.unwrap().1)), (vec![""], vec![""]));
}
