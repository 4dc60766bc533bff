//! What the org holds grows with the records stored, and with nothing else.

use causeway_simulator::{DuplicateRule, RuleResponse, Stored};
use serde_json::{Value, json};

use crate::client::{Client, person};

const ROWS: usize = 10;
const NODES: usize = 500;

/// Five hundred upserts of ten accounts and their orders, the same each time.
fn upserts() -> Value {
    let nodes: Vec<Value> = (0..NODES)
        .map(|n| {
            let row = n % ROWS;
            let (path, body) = if (n / ROWS).is_multiple_of(2) {
                (format!("Account/LimioId__c/id-{row}"), person(&format!("Smith{row}")))
            } else {
                (format!("LimioOrder__c/LimioId__c/order-{row}"), json!({ "OrderType__c": "new" }))
            };
            json!({ "method": "PATCH", "url": format!("/services/data/v62.0/sobjects/{path}"), "referenceId": format!("n{n}"), "body": body })
        })
        .collect();
    json!({ "graphs": [{ "graphId": "g", "compositeRequest": nodes }] })
}

fn without_log(stored: &Stored) -> Stored {
    Stored { requests: 0, ..stored.clone() }
}

#[tokio::test]
async fn ten_thousand_upserts_of_the_same_rows_leave_nothing_behind() {
    let org = Client::new().await;
    org.control().set_duplicate_rules(&[DuplicateRule::standard_person_account(RuleResponse::REPORT)]).unwrap();
    let (_, body) = org.post("composite/graph", upserts()).await;
    assert_eq!(body["graphs"][0]["isSuccessful"], true, "{body}");
    let after_first = org.control().usage().stored;
    for _ in 1..10_000 / NODES {
        let (_, body) = org.post("composite/graph", upserts()).await;
        assert_eq!(body["graphs"][0]["isSuccessful"], true);
    }
    let usage = org.control().usage();
    let stored = usage.stored;
    assert_eq!(without_log(&stored), without_log(&after_first));
    assert_eq!((stored.pending, usage.locked_rows, usage.lock_waiters, stored.cursors), (0, 0, 0, 0));
    assert_eq!((org.records("Account").len(), org.records("LimioOrder__c").len()), (ROWS, ROWS));
    assert!(stored.index_entries > 0 && stored.requests <= 20_000);
}

#[tokio::test]
async fn refused_and_rolled_back_work_leaves_nothing_behind() {
    let org = Client::new().await;
    let before = org.control().usage().stored;
    for n in 0..100 {
        let mut bad = upserts();
        bad["graphs"][0]["compositeRequest"].as_array_mut().unwrap().truncate(30);
        bad["graphs"][0]["compositeRequest"][29]["body"] = json!({ "Nope": n });
        let (_, body) = org.post("composite/graph", bad).await;
        assert_eq!(body["graphs"][0]["isSuccessful"], false);
    }
    assert_eq!(without_log(&org.control().usage().stored), without_log(&before));
}
