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

#[tokio::test]
async fn rules_that_are_replaced_take_their_indexes_along() {
    let org = Client::new().await;
    for n in 0..ROWS {
        org.create("Account", person(&format!("Smith{n}"))).await;
    }
    let entries = || org.control().usage().stored.index_entries;
    let fuzzy = [DuplicateRule::standard_person_account(RuleResponse::BLOCK)];
    let before = entries();
    org.control().set_duplicate_rules(&fuzzy).unwrap();
    let with_rules = entries();
    assert!(with_rules > before);
    let mut unknown = fuzzy.clone();
    unknown[0].fields[0].field = "Nope".to_owned();
    assert!(org.control().set_duplicate_rules(&unknown).is_err());
    assert_eq!(entries(), with_rules);
    let (status, body) = org.post("sobjects/Account", person("Smith1")).await;
    assert_eq!((status, &body[0]["errorCode"]), (400, &json!("DUPLICATES_DETECTED")), "the old rules still find");
    for _ in 0..3 {
        org.control()
            .set_duplicate_rules(&[DuplicateRule::exact_email("Account", "PersonEmail", RuleResponse::BLOCK)])
            .unwrap();
        org.control().set_duplicate_rules(&fuzzy).unwrap();
        assert_eq!(entries(), with_rules);
    }
    org.control().set_duplicate_rules(&[]).unwrap();
    assert_eq!(entries(), before);
}

#[tokio::test]
async fn values_that_change_leave_no_match_keys_behind() {
    let org = Client::new().await;
    org.control().set_duplicate_rules(&[DuplicateRule::standard_person_account(RuleResponse::REPORT)]).unwrap();
    let id = org.create("Account", person("Smith0")).await;
    let before = org.control().usage().stored;
    for n in 1..50 {
        let change = json!({ "LastName": format!("Smith{n}"), "PersonEmail": format!("x{n}@example.com") });
        assert_eq!(org.patch(&format!("sobjects/Account/{id}"), change).await.0, 204);
    }
    assert_eq!(without_log(&org.control().usage().stored), without_log(&before));
    // In the recycle bin a row has no key at all.
    assert_eq!(org.call("DELETE", &format!("sobjects/Account/{id}"), None).await.0, 204);
    let empty = Client::new().await.control().usage().stored;
    assert_eq!(org.control().usage().stored.index_entries, empty.index_entries);
}

#[tokio::test]
async fn sign_ins_queries_refusals_and_checks_leave_only_the_log_behind() {
    let org = Client::new().await;
    org.control().set_duplicate_rules(&[DuplicateRule::standard_person_account(RuleResponse::BLOCK)]).unwrap();
    org.create("Account", person("Smith")).await;
    let before = org.control().usage().stored;
    for n in 0..30 {
        org.sign_in().await;
        assert_eq!(org.query("SELECT Id FROM Account").await.0, 200);
        assert_eq!(org.query(&format!("SELECT Nope{n} FROM Account")).await.0, 400);
        assert_eq!(org.post("sobjects/Account", person("Smith")).await.0, 400);
        let check = json!({ "apiName": "Account", "fields": person("Smith") });
        assert_eq!(org.post("ui-api/predupe", check).await.0, 200);
        assert_eq!(org.get(&format!("sobjects/Account/LimioId__c/{n}")).await.0, 404);
        let tree = json!({ "records": [{ "attributes": { "type": "Account", "referenceId": "a" }, "Nope": n }] });
        assert_eq!(org.post("composite/tree/Account", tree).await.0, 400);
    }
    let after = org.control().usage();
    assert_eq!(without_log(&after.stored), without_log(&before));
    assert_eq!((after.locked_rows, after.waiting), (0, 0));
}
