use serde_json::{Value, json};

use crate::client::{Client, code};

fn post(reference: &str, object: &str, body: Value) -> Value {
    json!({ "method": "POST", "url": format!("/services/data/v62.0/sobjects/{object}"), "referenceId": reference, "body": body })
}

#[tokio::test]
async fn later_subrequests_see_earlier_answers_and_rows() {
    let org = Client::new().await;
    let (status, body) = org
        .post(
            "composite",
            json!({ "allOrNone": true, "compositeRequest": [
            post("acct", "Account", json!({ "Name": "A" })),
            { "method": "GET", "url": "/services/data/v62.0/query?q=SELECT+Id+FROM+Account", "referenceId": "q" },
            post("con", "Contact", json!({ "LastName": "L", "AccountId": "@{q.records[0].Id}" })),
        ] }),
        )
        .await;
    assert_eq!(status, 200);
    let parts = body["compositeResponse"].as_array().unwrap();
    assert_eq!(parts[1]["body"]["totalSize"], 1);
    assert_eq!(parts[2]["httpStatusCode"], 201, "{body}");
    let location = parts[0]["httpHeaders"]["Location"].as_str().unwrap();
    assert!(location.starts_with("/services/data/v62.0/sobjects/Account/001"));
    assert_eq!(org.control().api_calls(), 1);
}

#[tokio::test]
async fn all_or_none_rolls_everything_back_and_names_the_culprit() {
    let org = Client::new().await;
    let (status, body) = org
        .post(
            "composite",
            json!({ "allOrNone": true, "compositeRequest": [
            post("ok_row", "Account", json!({ "Name": "A" })),
            post("bad_row", "Account", json!({ "Name": "B", "XName": 1 })),
            post("later", "Account", json!({ "Name": "C" })),
        ] }),
        )
        .await;
    assert_eq!(status, 200);
    let codes: Vec<_> = body["compositeResponse"].as_array().unwrap().iter().map(|part| code(&part["body"])).collect();
    assert_eq!(codes, ["PROCESSING_HALTED", "INVALID_FIELD", "PROCESSING_HALTED"]);
    assert!(org.records("Account").is_empty());
}

#[tokio::test]
async fn without_all_or_none_each_subrequest_stands_alone() {
    let org = Client::new().await;
    let (_, body) = org
        .post(
            "composite",
            json!({ "compositeRequest": [
            post("bad", "Account", json!({})),
            post("child", "Contact", json!({ "LastName": "L", "AccountId": "@{bad.id}" })),
            post("good", "Account", json!({ "Name": "C" })),
        ] }),
        )
        .await;
    let parts = body["compositeResponse"].as_array().unwrap();
    assert_eq!(code(&parts[0]["body"]), "REQUIRED_FIELD_MISSING");
    assert_eq!(parts[1]["body"][0]["message"], "Invalid reference specified. No value for bad.id found in bad");
    assert_eq!(parts[2]["httpStatusCode"], 201);
    assert_eq!((org.records("Account").len(), org.records("Contact").len()), (1, 0));
}

#[tokio::test]
async fn twenty_six_subrequests_are_refused_whole() {
    let org = Client::new().await;
    let parts: Vec<Value> = (0..26).map(|n| post(&format!("r{n}"), "Account", json!({ "Name": "A" }))).collect();
    let (status, body) = org.post("composite", json!({ "compositeRequest": parts })).await;
    assert_eq!((status, body.is_array()), (400, true));
    assert!(org.records("Account").is_empty());
}
