use serde_json::{Value, json};

use crate::client::{Client, code};

fn row(object: &str, fields: Value) -> Value {
    let mut row = json!({ "attributes": { "type": object } });
    row.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    row
}

#[tokio::test]
async fn rows_succeed_and_fail_one_by_one() {
    let org = Client::new().await;
    let (status, body) = org
        .post(
            "composite/sobjects",
            json!({ "allOrNone": false, "records": [
            row("Contact", json!({ "LastName": "Smith" })), row("Contact", json!({ "FirstName": "Jane" })) ] }),
        )
        .await;
    assert_eq!(status, 200);
    assert_eq!(body[0]["success"], true);
    assert_eq!(
        body[1],
        json!({ "success": false, "errors": [{ "statusCode": "REQUIRED_FIELD_MISSING",
            "message": "Required fields are missing: [LastName]", "fields": ["LastName"] }] })
    );
    assert_eq!(org.records("Contact").len(), 1);
}

#[tokio::test]
async fn all_or_none_rolls_back_but_may_still_print_ids() {
    let org = Client::new().await;
    let rows = json!({ "allOrNone": true, "records": [row("Contact", json!({ "LastName": "Smith" })), row("Contact", json!({})) ] });
    let (_, body) = org.post("composite/sobjects", rows.clone()).await;
    assert_eq!(body[0]["errors"][0]["statusCode"], "ALL_OR_NONE_OPERATION_ROLLED_BACK");
    assert_eq!((&body[0]["success"], body[0]["id"].is_string()), (&json!(false), true));
    assert!(org.records("Contact").is_empty());
    org.control().update_settings(|settings| settings.collections_rolled_back_rows_keep_id = false);
    let (_, body) = org.post("composite/sobjects", rows).await;
    assert!(body[0].get("id").is_none());
}

#[tokio::test]
async fn upserts_and_updates_work_by_row() {
    let org = Client::new().await;
    let records = json!({ "records": [row("Account", json!({ "LimioId__c": "a", "Name": "A" })), row("Account", json!({ "LimioId__c": "b", "Name": "B" }))] });
    let (_, body) = org.patch("composite/sobjects/Account/LimioId__c", records.clone()).await;
    assert_eq!(body.as_array().unwrap().iter().map(|r| &r["created"]).collect::<Vec<_>>(), [true, true]);
    let (_, body) = org.patch("composite/sobjects/Account/LimioId__c", records).await;
    assert_eq!(body[0]["created"], false);
    let id = body[0]["id"].clone();
    let (_, body) = org
        .patch("composite/sobjects", json!({ "records": [row("Account", json!({ "id": id, "Phone": "1" }))] }))
        .await;
    assert_eq!(body[0]["success"], true, "{body}");
    assert_eq!(org.records("Account")[0]["Phone"], "1");
    let (status, body) = org.call("DELETE", &format!("composite/sobjects?ids={}", id.as_str().unwrap()), None).await;
    assert_eq!((status, &body[0]["success"]), (200, &json!(true)));
    assert_eq!(org.records("Account").len(), 1);
}

#[tokio::test]
async fn more_than_two_hundred_rows_or_ten_chunks_are_refused_whole() {
    let org = Client::new().await;
    let many: Vec<Value> = (0..201).map(|n| row("Account", json!({ "Name": format!("A{n}") }))).collect();
    let (status, body) = org.post("composite/sobjects", json!({ "records": many })).await;
    assert_eq!((status, code(&body)), (400, "EXCEEDED_ID_LIMIT"));
    let mixed: Vec<Value> = (0..11)
        .map(|n| {
            if n % 2 == 0 { row("Account", json!({ "Name": "A" })) } else { row("Contact", json!({ "LastName": "L" })) }
        })
        .collect();
    let (status, _) = org.post("composite/sobjects", json!({ "records": mixed })).await;
    assert_eq!(status, 400);
    assert_eq!(org.post("composite/sobjects", json!({})).await.0, 400);
    assert!(org.records("Account").is_empty());
}
