use causeway_simulator::{Config, DuplicateKey, DuplicateRule, RuleResponse};
use serde_json::{Value, json};

use crate::client::{Client, code, person, read};

async fn org(rule: DuplicateRule) -> Client {
    Client::with(Config { duplicate_rules: vec![rule], ..Config::default() }).await
}

#[tokio::test]
async fn an_alerting_rule_answers_the_recorded_body() {
    let org = org(DuplicateRule::standard_person_account(RuleResponse::ALERT)).await;
    let id = org.create("Account", person("Smith")).await;
    let mut twin = person("SMITH");
    twin["PersonEmail"] = json!("Smith@Example.com");
    let (status, body) = org.post("sobjects/Account", twin).await;
    assert_eq!(status, 400);
    assert_eq!(
        body,
        json!([{
            "duplicateResut": {
                "allowSave": true,
                "duplicateRule": "Standard_Person_Account_Duplicate_Rule",
                "duplicateRuleEntityType": "Account",
                "errorMessage": "Use one of these records?",
                "matchResults": [{
                    "entityType": "Account",
                    "errors": [],
                    "matchEngine": "FuzzyMatchEngine",
                    "matchRecords": [{
                        "additionalInformation": [],
                        "fieldDiffs": [],
                        "matchConfidence": 100.0,
                        "record": {
                            "attributes": { "type": "Account", "url": format!("/services/data/v62.0/sobjects/Account/{id}") },
                            "Id": id
                        }
                    }],
                    "rule": "Standard_Person_Account_Match_Rule_v1_0",
                    "size": 1,
                    "success": true
                }]
            },
            "errorCode": "DUPLICATES_DETECTED",
            "message": "Use one of these records?"
        }])
    );
}

#[tokio::test]
async fn insisting_saves_past_an_alert_but_never_past_a_block() {
    for (response, expected) in [(RuleResponse::ALERT, 201), (RuleResponse::BLOCK, 400)] {
        let org = org(DuplicateRule::standard_person_account(response)).await;
        org.create("Account", person("Smith")).await;
        let request = org.request(reqwest::Method::POST, "sobjects/Account").json(&person("Smith"));
        let answer = request.header("Sforce-Duplicate-Rule-Header", "allowSave=true; includeRecordDetails=true");
        let (status, body) = crate::client::read(answer.send().await.unwrap()).await;
        assert_eq!(status, expected);
        if expected == 400 {
            assert_eq!(body[0]["duplicateResut"]["allowSave"], false);
            let record = &body[0]["duplicateResut"]["matchResults"][0]["matchRecords"][0]["record"];
            assert_eq!(record["PersonEmail"], "smith@example.com");
        }
    }
}

#[tokio::test]
async fn a_reporting_rule_saves_and_writes_a_record_set() {
    let org = org(DuplicateRule::standard_person_account(RuleResponse::REPORT)).await;
    org.create("Account", person("Smith")).await;
    org.create("Account", person("Smith")).await;
    assert_eq!(org.records("DuplicateRecordSet").len(), 1);
    assert_eq!(org.records("DuplicateRecordItem").len(), 2);
}

#[tokio::test]
async fn collections_do_not_tell_the_matched_ids() {
    let org = org(DuplicateRule::standard_person_account(RuleResponse::BLOCK)).await;
    org.create("Account", person("Smith")).await;
    let mut row = person("Smith");
    row["attributes"] = json!({ "type": "Account" });
    let (_, body) = org.post("composite/sobjects", json!({ "records": [row] })).await;
    assert_eq!(
        body[0],
        json!({ "success": false, "errors": [{ "statusCode": "DUPLICATES_DETECTED", "message": "Use one of these records?", "fields": [] }] })
    );
}

#[tokio::test]
async fn a_graph_carries_the_full_body_under_either_key() {
    let org = org(DuplicateRule::standard_person_account(RuleResponse::ALERT)).await;
    org.create("Account", person("Smith")).await;
    let part = json!({ "method": "PATCH", "url": "/services/data/v62.0/sobjects/Account/LimioId__c/x", "referenceId": "a", "body": person("Smith") });
    let graphs = json!({ "graphs": [{ "graphId": "g", "compositeRequest": [part.clone()] }] });
    let part_of = |body: &Value| body["graphs"][0]["graphResponse"]["compositeResponse"][0]["body"][0].clone();
    let (_, body) = org.post("composite/graph", graphs.clone()).await;
    assert_eq!(part_of(&body)["duplicateResut"]["allowSave"], true);
    org.control().update_settings(|settings| settings.duplicate_key = DuplicateKey::Spelt);
    let (_, body) = org.post("composite/graph", graphs).await;
    assert_eq!(part_of(&body)["duplicateResult"]["allowSave"], true);
    let (_, body) = org.post("composite", json!({ "compositeRequest": [part] })).await;
    assert_eq!(code(&body["compositeResponse"][0]["body"]), "DUPLICATES_DETECTED");
    assert_eq!(org.records("Account").len(), 1);
}

#[tokio::test]
async fn edits_are_judged_by_the_edit_action_only() {
    let rule = DuplicateRule {
        on_edit: Some(RuleResponse::BLOCK),
        on_create: None,
        ..DuplicateRule::exact_email("Contact", "Email", RuleResponse::BLOCK)
    };
    let org = org(rule).await;
    let row = json!({ "LastName": "L", "Email": "a@example.com" });
    org.create("Contact", row.clone()).await;
    let id = org.create("Contact", row).await;
    let path = format!("sobjects/Contact/{id}");
    assert_eq!(org.patch(&path, json!({ "Phone": "1" })).await.0, 204);
    let (status, body) = org.patch(&path, json!({ "Email": "A@example.com" })).await;
    assert_eq!((status, code(&body)), (400, "DUPLICATES_DETECTED"));
}

#[tokio::test]
async fn blank_fields_and_inactive_rules_match_nothing() {
    let org = org(DuplicateRule { active: false, ..DuplicateRule::standard_person_account(RuleResponse::BLOCK) }).await;
    org.create("Account", person("Smith")).await;
    org.create("Account", person("Smith")).await;
    org.control().set_duplicate_rules(&[DuplicateRule::exact_email("Contact", "Email", RuleResponse::BLOCK)]).unwrap();
    org.create("Contact", json!({ "LastName": "L" })).await;
    org.create("Contact", json!({ "LastName": "L" })).await;
    let wrong = DuplicateRule::exact_email("Contact", "Nope", RuleResponse::BLOCK);
    assert!(org.control().set_duplicate_rules(&[wrong]).is_err());
    assert_eq!(org.control().duplicate_rules().len(), 1);
}

#[tokio::test]
async fn the_rules_are_rows_with_all_fields_of_the_object_reference_and_nobody_writes_them() {
    let rules = vec![
        DuplicateRule::standard_person_account(RuleResponse::ALERT),
        DuplicateRule::standard_account(RuleResponse::BLOCK),
        DuplicateRule { active: false, ..DuplicateRule::standard_contact(RuleResponse::BLOCK) },
    ];
    let org = Client::with(Config { duplicate_rules: rules, ..Config::default() }).await;
    let fields = "Id, DeveloperName, IsActive, Language, LastViewedDate, MasterLabel, NamespacePrefix, SobjectSubtype, \
                  SobjectType, IsDeleted, CreatedById, CreatedDate, LastModifiedById, LastModifiedDate, SystemModstamp";
    let (status, body) = org.query(&format!("SELECT {fields} FROM DuplicateRule ORDER BY DeveloperName")).await;
    assert_eq!(status, 200, "{body}");
    let told: Vec<_> = body["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| json!([row["DeveloperName"], row["SobjectType"], row["SobjectSubtype"], row["IsActive"]]))
        .collect();
    assert_eq!(
        told,
        [
            json!(["Standard_Account_Duplicate_Rule", "Account", "None", true]),
            json!(["Standard_Contact_Duplicate_Rule", "Contact", "None", false]),
            json!(["Standard_Person_Account_Duplicate_Rule", "Account", "PersonAccount", true]),
        ]
    );
    let row = &body["records"][0];
    assert_eq!(row["attributes"]["type"], "DuplicateRule");
    assert!(row["Id"].as_str().is_some_and(|id| id.starts_with("0Bm") && id.len() == 18), "{row}");
    assert_eq!((&row["Language"], &row["MasterLabel"]), (&json!("en_US"), &json!("Standard Account Duplicate Rule")));
    assert_eq!((&row["NamespacePrefix"], &row["LastViewedDate"]), (&json!(null), &json!(null)));

    // A client looks up the rule that a refusal named.
    org.create("Account", person("Smith")).await;
    let (_, refused) = org.post("sobjects/Account", person("Smith")).await;
    let name = refused[0]["duplicateResut"]["duplicateRule"].as_str().unwrap();
    let count = "SELECT COUNT() FROM DuplicateRule WHERE IsActive = true AND SobjectType = 'Account'";
    let (_, body) = org.query(&format!("{count} AND DeveloperName = '{name}'")).await;
    assert_eq!(body["totalSize"], 1, "{name}: {body}");

    let (status, _) = org.post("sobjects/DuplicateRule", json!({ "DeveloperName": "X" })).await;
    assert!((400..500).contains(&status), "{status}");
    org.control().set_duplicate_rules(&[DuplicateRule::standard_account(RuleResponse::BLOCK)]).unwrap();
    let (_, body) = org.query("SELECT DeveloperName FROM DuplicateRule").await;
    assert_eq!(
        (&body["totalSize"], &body["records"][0]["DeveloperName"]),
        (&json!(1), &json!("Standard_Account_Duplicate_Rule"))
    );
}

#[tokio::test]
async fn a_graph_that_hands_no_header_on_hands_on_none_of_its_options() {
    let rules = vec![DuplicateRule::exact_email("Contact", "Email", RuleResponse::ALERT)];
    let org = Client::with(Config { duplicate_rules: rules, ..Config::default() }).await;
    let body = json!({ "LastName": "A", "Email": "a@example.com" });
    org.create("Contact", body.clone()).await;
    let graphs = json!({ "graphs": [{ "graphId": "g", "compositeRequest": [
        { "method": "POST", "url": "/services/data/v62.0/sobjects/Contact", "referenceId": "c", "body": body }] }] });
    for (propagated, name) in [(true, Some(&json!("A"))), (false, None)] {
        org.control().update_settings(|settings| settings.graph_header_propagation = propagated);
        let request = org.request(reqwest::Method::POST, "composite/graph").json(&graphs);
        let header = "includeRecordDetails=true";
        let (_, answer) = read(request.header("Sforce-Duplicate-Rule-Header", header).send().await.unwrap()).await;
        let refused = &answer["graphs"][0]["graphResponse"]["compositeResponse"][0]["body"][0];
        let record = &refused["duplicateResut"]["matchResults"][0]["matchRecords"][0]["record"];
        assert_eq!((record["Id"].is_string(), record.get("LastName")), (true, name), "{answer}");
    }
}
