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
    assert_eq!(body[0]["message"], "record limit reached. cannot submit more than 200 records into this call");
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

#[tokio::test]
async fn two_hundred_rows_in_ten_chunks_are_written() {
    let org = Client::new().await;
    let rows: Vec<Value> = (0..200)
        .map(|n| match n / 20 % 2 {
            0 => row("Account", json!({ "Name": "A" })),
            _ => row("Contact", json!({ "LastName": "L" })),
        })
        .collect();
    let (status, body) = org.post("composite/sobjects", json!({ "records": rows })).await;
    assert_eq!(status, 200);
    assert!(body.as_array().unwrap().iter().all(|row| row["success"] == true));
    assert_eq!((org.records("Account").len(), org.records("Contact").len(), org.control().api_calls()), (100, 100, 1));
}

#[tokio::test]
async fn good_rows_beside_a_failed_one_take_their_time_twice() {
    let org = Client::with_settings(|settings| {
        settings.pace = 100_000.0;
        settings.session_ttl_s = 1_000_000_000;
        settings.latency_per_row_ms = 100_000;
    })
    .await;
    let good = row("Contact", json!({ "LastName": "L" }));
    let mut durations = Vec::new();
    for rows in [vec![&good, &good, &good], vec![&good, &good, &row("Contact", json!({}))]] {
        org.post("composite/sobjects", json!({ "records": rows })).await;
        durations.push(org.control().requests().last().unwrap().duration_ms);
    }
    assert!(durations[0] >= 300_000 && durations[1] >= 500_000, "{durations:?}");
    assert_eq!(org.records("Contact").len(), 5);
}

#[tokio::test]
async fn a_delete_of_many_is_all_or_none_when_asked() {
    let org = Client::new().await;
    let a = org.create("Account", json!({ "Name": "A" })).await;
    let gone = org.create("Account", json!({ "Name": "B" })).await;
    org.call("DELETE", &format!("sobjects/Account/{gone}"), None).await;
    let path = format!("composite/sobjects?ids={a},{gone},x");
    let (_, body) = org.call("DELETE", &format!("{path}&allOrNone=true"), None).await;
    assert_eq!(body[0]["errors"][0]["statusCode"], "ALL_OR_NONE_OPERATION_ROLLED_BACK");
    assert_eq!((&body[1]["errors"][0]["statusCode"], org.records("Account").len()), (&json!("ENTITY_IS_DELETED"), 1));
    let (_, body) = org.call("DELETE", &path, None).await;
    assert_eq!((&body[0]["success"], &body[2]["errors"][0]["statusCode"]), (&json!(true), &json!("MALFORMED_ID")));
    assert!(org.records("Account").is_empty());
}

#[tokio::test]
async fn a_row_that_does_not_exist_is_told_in_the_words_of_rows() {
    let org = Client::new().await;
    let unknown =
        json!([{ "statusCode": "INVALID_CROSS_REFERENCE_KEY", "message": "invalid cross reference id", "fields": [] }]);
    let id = "001000000000001AAA";
    let (_, body) = org
        .patch("composite/sobjects", json!({ "records": [row("Account", json!({ "Id": id, "Phone": "1" }))] }))
        .await;
    assert_eq!(body[0]["errors"], unknown);
    let (_, body) = org.call("DELETE", &format!("composite/sobjects?ids={id},001RM000003oLrB000"), None).await;
    assert_eq!(body[0]["errors"], unknown);
    let malformed =
        json!([{ "statusCode": "MALFORMED_ID", "message": "malformed id 001RM000003oLrB000", "fields": [] }]);
    assert_eq!(body[1]["errors"], malformed);
}
