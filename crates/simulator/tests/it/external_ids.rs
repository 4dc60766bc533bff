//! External ids as they are written, in every way they can be, against the values that are stored.

use serde_json::{Value, json};

use crate::client::Client;

const PLANS: &str = r#"
[[object]]
name = "Plan__c"
label = "Plan"
auto_number = "P-{0}"
fields = [
  { name = "Code__c", type = "int", external_id = true, unique = true },
  { name = "Rate__c", type = "Number", precision = 5, scale = 2, external_id = true, unique = true },
]

[[object]]
name = "Item__c"
label = "Item"
auto_number = "I-{0}"
fields = [{ name = "Plan__c", type = "Lookup", to = ["Plan__c"] }]
"#;

/// Whether each of these upserts made a row.
async fn created(org: &Client, paths: &[&str], body: &Value) -> Vec<Value> {
    let mut created = Vec::new();
    for path in paths {
        let (status, answer) = org.patch(&format!("sobjects/{path}"), body.clone()).await;
        assert!(matches!(status, 200 | 201), "{path}: {answer}");
        created.push(answer["created"].clone());
    }
    created
}

#[tokio::test]
async fn a_whole_number_is_one_key_however_it_is_written() {
    let org = Client::with_schema(PLANS).await;
    let paths = ["Plan__c/Code__c/42", "Plan__c/Code__c/42", "Plan__c/Code__c/42.0", "Plan__c/Code__c/%2042"];
    assert_eq!(created(&org, &paths, &json!({})).await, [true, false, false, false]);
    assert_eq!(org.get("sobjects/Plan__c/Code__c/42").await.0, 200);
    for wanted in [json!(42), json!("42")] {
        let (status, answer) = org.post("sobjects/Item__c", json!({ "Plan__r": { "Code__c": wanted } })).await;
        assert_eq!(status, 201, "{answer}");
    }
    let row = |code: Value| json!({ "attributes": { "type": "Plan__c" }, "Code__c": code });
    let rows = json!({ "records": [row(json!(42)), row(json!("42")), row(json!(43)), row(json!(true))] });
    let (_, answer) = org.patch("composite/sobjects/Plan__c/Code__c", rows).await;
    let made: Vec<&Value> = answer.as_array().unwrap().iter().map(|row| &row["created"]).collect();
    assert_eq!(made, [&json!(false), &json!(false), &json!(true), &Value::Null], "{answer}");
    assert_eq!(answer[3]["errors"][0]["statusCode"], "MISSING_ARGUMENT");
    assert_eq!((org.records("Plan__c").len(), org.get("sobjects/Plan__c/Code__c/many").await.0), (2, 404));
    let (status, _) = org.patch("sobjects/Plan__c/Code__c/many", json!({})).await;
    assert_eq!((status, org.records("Plan__c").len()), (400, 2));
}

#[tokio::test]
async fn a_number_with_places_is_looked_for_as_it_is_rounded() {
    let org = Client::with_schema(PLANS).await;
    let paths = ["Plan__c/Rate__c/1.504", "Plan__c/Rate__c/1.5", "Plan__c/Rate__c/1.504"];
    assert_eq!(created(&org, &paths, &json!({})).await, [true, false, false]);
    assert_eq!(org.records("Plan__c")[0]["Rate__c"], 1.5);
}

#[tokio::test]
async fn text_is_looked_for_as_it_is_trimmed() {
    let org = Client::new().await;
    let paths = ["Account/LimioId__c/abc", "Account/LimioId__c/abc%20", "Account/LimioId__c/%20ABC"];
    assert_eq!(created(&org, &paths, &json!({ "Name": "A" })).await, [true, false, false]);
    let paths = ["Contact/LegacyId__c/x%20", "Contact/LegacyId__c/x%20", "Contact/LegacyId__c/x"];
    assert_eq!(created(&org, &paths, &json!({ "LastName": "L" })).await, [true, false, false]);
    assert_eq!(org.get("sobjects/Account/LimioId__c/abc%20").await.0, 200);
    let row = |id: &str| json!({ "attributes": { "type": "Account" }, "LimioId__c": id, "Phone": "1" });
    let (_, answer) =
        org.patch("composite/sobjects/Account/LimioId__c", json!({ "records": [row(" abc "), row("  ")] })).await;
    assert_eq!(
        (&answer[0]["created"], &answer[1]["errors"][0]["statusCode"]),
        (&json!(false), &json!("MISSING_ARGUMENT"))
    );
    let contact = json!({ "LastName": "M", "Account": { "LimioId__c": "abc " } });
    let (status, answer) = org.post("sobjects/Contact", contact).await;
    assert_eq!((status, org.records("Account").len(), org.records("Contact").len()), (201, 1, 2), "{answer}");
}
