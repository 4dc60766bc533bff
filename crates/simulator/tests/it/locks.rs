use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::client::{Client, code, eventually, person};

#[tokio::test]
async fn two_upserts_of_one_external_id_make_one_row() {
    let org = Arc::new(Client::with_settings(|settings| settings.latency_per_row_ms = 20).await);
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let org = Arc::clone(&org);
            tokio::spawn(async move { org.patch("sobjects/Account/LimioId__c/same", person("Smith")).await.0 })
        })
        .collect();
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
    let org = Arc::new(
        Client::with_settings(|settings| {
            settings.latency_per_row_ms = 400;
            settings.lock_wait_ms = 50;
        })
        .await,
    );
    let account = org.control();
    account.update_settings(|settings| settings.latency_per_row_ms = 0);
    let id = org.create("Account", json!({ "Name": "A" })).await;
    account.update_settings(|settings| settings.latency_per_row_ms = 400);
    let holder = {
        let (org, id) = (Arc::clone(&org), id.clone());
        tokio::spawn(async move { org.post("sobjects/Contact", json!({ "LastName": "L", "AccountId": id })).await.0 })
    };
    eventually(|| org.control().usage().running == 1).await;
    let (status, body) = org.patch(&format!("sobjects/Account/{id}"), json!({ "Phone": "1" })).await;
    assert_eq!((status, code(&body)), (400, "UNABLE_TO_LOCK_ROW"), "{body}");
    let message = format!("unable to obtain exclusive access to this record or 1 records: {id}");
    assert_eq!((&body[0]["message"], &body[0]["fields"]), (&json!(message), &json!([])));
    assert_eq!(holder.await.unwrap(), 201);
    account.update_settings(|settings| settings.latency_per_row_ms = 0);
    assert_eq!(org.patch(&format!("sobjects/Account/{id}"), json!({ "Phone": "1" })).await.0, 204);
}

#[tokio::test]
async fn rows_of_a_running_transaction_are_not_seen() {
    let org = Arc::new(Client::with_settings(|settings| settings.latency_per_row_ms = 300).await);
    let writer = {
        let org = Arc::clone(&org);
        tokio::spawn(async move { org.post("sobjects/Account", json!({ "Name": "A" })).await.0 })
    };
    eventually(|| org.control().usage().running == 1).await;
    let (_, body) = org.query("SELECT COUNT() FROM Account").await;
    assert_eq!(body["totalSize"], 0);
    assert_eq!(writer.await.unwrap(), 201);
    assert_eq!(org.records("Account").len(), 1);
}

#[tokio::test]
async fn a_caller_that_hangs_up_does_not_stop_the_work() {
    let org = Client::with_settings(|settings| settings.latency_per_row_ms = 50).await;
    let request = org.request(reqwest::Method::POST, "sobjects/Account").json(&json!({ "Name": "A" }));
    let result = request.timeout(Duration::from_millis(20)).send().await;
    assert!(result.is_err_and(|error| error.is_timeout()));
    eventually(|| !org.records("Account").is_empty()).await;
}
