use causeway_simulator::{Config, DuplicateRule, FilterItem, FilterOperator, RuleResponse};
use serde_json::json;

use crate::client::{Client, code, person};

async fn org(rules: Vec<DuplicateRule>) -> Client {
    Client::with(Config { duplicate_rules: rules, ..Config::default() }).await
}

#[tokio::test]
async fn a_check_tells_what_a_save_would_meet() {
    for (response, allow) in [(RuleResponse::ALERT, true), (RuleResponse::BLOCK, false)] {
        let org = org(vec![DuplicateRule::standard_person_account(response)]).await;
        let id = org.create("Account", person("Smith")).await;
        let (status, body) =
            org.post("ui-api/predupe", json!({ "apiName": "Account", "fields": person("Smith") })).await;
        assert_eq!(status, 200);
        let (rule, matching) = ("Standard_Person_Account_Duplicate_Rule", "Standard_Person_Account_Match_Rule_v1_0");
        assert_eq!(
            body,
            json!({
                "allowSave": allow, "duplicateError": true, "duplicateRules": [rule],
                "matches": [{
                    "duplicateResultInfos": { rule: {
                        "allowSave": allow, "matchResultInfo": { "recordIds": [id], "rule": matching }, "rule": rule } },
                    "objectApiName": "Account", "recordIds": [id],
                }],
            })
        );
        assert_eq!(org.records("Account").len(), 1, "a check saves nothing");
        let (_, body) = org.post("ui-api/predupe", json!({ "apiName": "Account", "fields": person("Jones") })).await;
        assert_eq!((&body["duplicateError"], &body["matches"]), (&json!(false), &json!([])));
    }
}

#[tokio::test]
async fn the_configuration_lists_rules_fields_and_actions() {
    let rule = DuplicateRule {
        on_edit: Some(RuleResponse::REPORT),
        filter: vec![FilterItem {
            field: "LeadSource".to_owned(),
            operation: FilterOperator::Equals,
            value: "Web".to_owned(),
        }],
        ..DuplicateRule::exact_email("Contact", "Email", RuleResponse::BLOCK)
    };
    let inactive = DuplicateRule { active: false, ..DuplicateRule::standard_contact(RuleResponse::BLOCK) };
    let org = org(vec![rule, inactive]).await;
    let (status, body) = org.get("ui-api/duplicates/Contact").await;
    assert_eq!((status, &body["dedupeEnabled"], &body["dedupeFields"]), (200, &json!(true), &json!(["Email"])));
    let rules = body["duplicateRules"].as_array().unwrap();
    assert_eq!(rules.len(), 1);
    assert_eq!((&rules[0]["actionOnInsert"], &rules[0]["actionOnUpdate"]), (&json!("Block"), &json!("Allow")));
    assert_eq!(
        (&rules[0]["operationsOnInsert"], &rules[0]["operationsOnUpdate"]),
        (&json!(["Alert"]), &json!(["Report"]))
    );
    assert_eq!(rules[0]["matchRules"][0]["matchEngine"], "ExactMatchEngine");
    assert_eq!(
        rules[0]["duplicateRuleFilters"][0]["filterItems"],
        json!([{ "field": "LeadSource", "operation": "equals", "sortOrder": 1, "value": "Web" }])
    );
    let keys: Vec<&String> = rules[0].as_object().unwrap().keys().collect();
    assert!(keys.is_sorted_by_key(|key| key.to_lowercase()), "{keys:?}");
    let (_, none) = org.get("ui-api/duplicates/Opportunity").await;
    assert_eq!((&none["dedupeEnabled"], &none["duplicateRules"]), (&json!(false), &json!([])));
}

#[tokio::test]
async fn people_are_configured_by_their_record_type() {
    let rules = vec![
        DuplicateRule::standard_person_account(RuleResponse::ALERT),
        DuplicateRule::standard_account(RuleResponse::ALERT),
    ];
    let org = org(rules).await;
    let (_, types) = org.query("SELECT Id FROM RecordType WHERE IsPersonType = true").await;
    let person = types["records"][0]["Id"].as_str().unwrap();
    let names = async |path: &str| org.get(path).await.1["duplicateRules"][0]["name"].clone();
    assert_eq!(names("ui-api/duplicates/Account").await, "Standard_Account_Duplicate_Rule");
    let path = format!("ui-api/duplicates/Account?recordTypeId={person}");
    assert_eq!(names(&path).await, "Standard_Person_Account_Duplicate_Rule");
}

#[tokio::test]
async fn what_cannot_be_checked_is_refused() {
    let org = org(Vec::new()).await;
    let cases = [
        (json!({ "fields": {} }), 400, "JSON_PARSER_ERROR"),
        (json!({ "apiName": "Nope", "fields": {} }), 400, "INVALID_TYPE"),
        (json!({ "apiName": "Account", "fields": { "Nope": 1 } }), 400, "INVALID_FIELD"),
        (json!({ "apiName": "Account", "fields": 1 }), 400, "JSON_PARSER_ERROR"),
        (json!({ "apiName": "Account", "more": 1 }), 400, "JSON_PARSER_ERROR"),
    ];
    for (body, status, expected) in cases {
        let (answered, answer) = org.post("ui-api/predupe", body).await;
        assert_eq!((answered, code(&answer)), (status, expected), "{answer}");
    }
    assert_eq!(org.get("ui-api/predupe").await.0, 405);
    assert_eq!(org.get("ui-api/duplicates/Nope").await.0, 400);
    assert_eq!(org.post("/services/data/v49.0/ui-api/predupe", json!({})).await.0, 404);
}
