use causeway_simulator::{Config, DuplicateRule, RuleResponse};
use serde_json::{Value, json};

use crate::client::{Client, code, person};

fn record(kind: &str, reference: &str, fields: Value) -> Value {
    let mut record = json!({ "attributes": { "type": kind, "referenceId": reference } });
    record.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    record
}

#[tokio::test]
async fn a_tree_is_written_level_by_level_in_one_call() {
    let org = Client::new().await;
    let calls = org.control().api_calls();
    let contacts = json!({ "records": [record("Contact", "c1", json!({ "LastName": "A" })), record("Contact", "c2", json!({ "LastName": "B" }))] });
    let body = json!({ "records": [
        record("Account", "a1", json!({ "Name": "One", "Contacts": contacts })),
        record("Account", "a2", json!({ "name": "Two", "Opportunities": { "records": [
            record("Opportunity", "o1", json!({ "Name": "O", "StageName": "Prospecting", "CloseDate": "2026-01-01" })) ] } })),
    ] });
    let (status, answer) = org.post("composite/tree/Account", body).await;
    assert_eq!((status, &answer["hasErrors"]), (201, &json!(false)), "{answer}");
    let references: Vec<&Value> = answer["results"].as_array().unwrap().iter().map(|row| &row["referenceId"]).collect();
    assert_eq!(references, ["a1", "a2", "c1", "c2", "o1"]);
    assert_eq!(org.records("Contact")[0]["AccountId"], answer["results"][0]["id"]);
    assert_eq!(org.records("Opportunity")[0]["AccountId"], answer["results"][1]["id"]);
    assert_eq!(org.control().api_calls(), calls + 1);
}

#[tokio::test]
async fn one_bad_row_fails_the_tree_and_is_named_alone() {
    let org = Client::new().await;
    let contacts = json!({ "records": [record("Contact", "c1", json!({ "LastName": "A", "Email": "123" })), record("Contact", "c2", json!({ "LastName": "B" }))] });
    let body = json!({ "records": [record("Account", "a1", json!({ "Name": "One", "Contacts": contacts }))] });
    let (status, answer) = org.post("composite/tree/Account", body).await;
    assert_eq!(status, 400);
    assert_eq!(
        answer,
        json!({ "hasErrors": true, "results": [{ "referenceId": "c1", "errors": [{ "statusCode": "INVALID_EMAIL_ADDRESS",
            "message": "Email: invalid email address: 123", "fields": ["Email"] }] }] })
    );
    assert!(org.records("Account").is_empty() && org.records("Contact").is_empty());
}

#[tokio::test]
async fn duplicates_in_a_tree_tell_no_ids() {
    let rules = vec![DuplicateRule::standard_person_account(RuleResponse::BLOCK)];
    let org = Client::with(Config { duplicate_rules: rules, ..Config::default() }).await;
    org.create("Account", person("Smith")).await;
    let body = json!({ "records": [record("Account", "a1", person("Smith"))] });
    let (status, answer) = org.post("composite/tree/Account", body).await;
    assert_eq!(status, 400);
    assert_eq!(
        answer["results"][0]["errors"],
        json!([{ "statusCode": "DUPLICATES_DETECTED", "message": "Use one of these records?", "fields": [] }])
    );
}

#[tokio::test]
async fn references_are_needed_and_are_used_once() {
    let org = Client::new().await;
    let twice = json!({ "records": [record("Account", "a", json!({ "Name": "A" })), record("Account", "a", json!({ "Name": "B" }))] });
    let (status, answer) = org.post("composite/tree/Account", twice).await;
    assert_eq!((status, answer["results"].as_array().unwrap().len()), (400, 2));
    assert_eq!(answer["results"][0]["errors"][0]["statusCode"], "INVALID_INPUT");
    for row in [
        json!({ "Name": "A" }),
        record("Account", "a b", json!({ "Name": "A" })),
        record("Contact", "a", json!({ "LastName": "A" })),
        record("Account", "a", json!({ "Name": "A", "Nopes": { "records": [] } })),
    ] {
        let (status, answer) = org.post("composite/tree/Account", json!({ "records": [row] })).await;
        assert_eq!((status, &answer["hasErrors"]), (400, &json!(true)), "{answer}");
    }
    assert!(org.records("Account").is_empty());
}

#[tokio::test]
async fn rows_and_levels_are_limited() {
    let org = Client::new().await;
    let flat: Vec<Value> = (0..201).map(|n| record("Account", &format!("a{n}"), json!({ "Name": "A" }))).collect();
    let (status, answer) = org.post("composite/tree/Account", json!({ "records": flat })).await;
    assert_eq!((status, code(&answer)), (400, "INVALID_INPUT"));
    let mut deep = record("Account", "a6", json!({ "Name": "A" }));
    for level in (1..6).rev() {
        deep = record("Account", &format!("a{level}"), json!({ "Name": "A", "ChildAccounts": { "records": [deep] } }));
    }
    let (status, answer) =
        org.post("composite/tree/Account", json!({ "records": [deep["ChildAccounts"]["records"][0]] })).await;
    assert_eq!(status, 201, "{answer}");
    let (status, answer) = org.post("composite/tree/Account", json!({ "records": [deep] })).await;
    assert_eq!((status, code(&answer)), (400, "INVALID_INPUT"));
    assert_eq!(org.records("Account").len(), 5);
    assert_eq!(org.get("composite/tree/Account").await.0, 405);
    assert_eq!(org.post("composite/tree/Nope", json!({})).await.0, 404);
    assert_eq!(code(&org.post("composite/tree/Account", json!([])).await.1), "JSON_PARSER_ERROR");
}

#[tokio::test]
async fn events_of_a_tree_are_published_and_never_stored() {
    let org = Client::new().await;
    let event = "i42as__OrderEvent__e";
    let good = |reference: &str| record(event, reference, json!({ "i42as__OrderNumber__c": reference }));
    let tree = json!({ "records": [good("e1"), good("e2")] });
    let (status, answer) = org.post(&format!("composite/tree/{event}"), tree).await;
    assert_eq!((status, &answer["results"][1]["referenceId"]), (201, &json!("e2")), "{answer}");
    let numbers: Vec<_> =
        org.control().events().iter().map(|event| event.payload["i42as__OrderNumber__c"].clone()).collect();
    assert_eq!(numbers, ["e1", "e2"]);
    let (status, answer) = org
        .post(
            &format!("composite/tree/{event}"),
            json!({ "records": [good("e3"), record(event, "e4", json!({ "Nope": 1 }))] }),
        )
        .await;
    assert_eq!((status, &answer["results"][0]["referenceId"]), (400, &json!("e4")));
    let seeded =
        org.control().seed(event, &[json!({ "i42as__OrderNumber__c": "s" }).as_object().unwrap().clone()]).await;
    assert!(seeded.is_err_and(|error| error.to_string().contains("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY")));
    assert!(org.records(event).is_empty());
    assert_eq!(org.control().events().len(), 2);
}
