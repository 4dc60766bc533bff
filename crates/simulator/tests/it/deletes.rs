use std::sync::Arc;
use std::time::Duration;

use causeway_simulator::PersonContactWrites;
use serde_json::{Value, json};

use crate::client::{Client, code, eventually, person};

/// Objects that follow an account in every way there is.
const FOLLOWERS: &str = r#"
[[object]]
name = "Term__c"
label_plural = "Contract Terms"
fields = [{ name = "Account__c", type = "Lookup", to = ["Account"], required = true }]

[[object]]
name = "Plan__c"
fields = [
  { name = "Account__c", type = "MasterDetail", to = ["Account"], children = "Plans" },
  { name = "Buyer__c", type = "Lookup", to = ["Contact"] },
]

[[object]]
name = "Line__c"
fields = [
  { name = "Plan__c", type = "MasterDetail", to = ["Plan__c"] },
  { name = "Next__c", type = "Lookup", to = ["Line__c"], on_delete = "cascade" },
]

[[trigger]]
object = "Plan__c"
name = "PlanTrigger"
at = ["before delete"]
when = [{ field = "Name", equals = "kept" }]
add_error = "This plan stays."
"#;

async fn delete(org: &Client, object: &str, id: &str) -> (u16, Value) {
    org.call("DELETE", &format!("sobjects/{object}/{id}"), None).await
}

fn opportunity(account: &str, name: &str, stage: &str) -> Value {
    json!({ "Name": name, "AccountId": account, "StageName": stage, "CloseDate": "2026-01-01" })
}

#[tokio::test]
async fn an_account_takes_its_contacts_and_opportunities_with_it() {
    let org = Client::new().await;
    let account = org.create("Account", json!({ "Name": "Acme" })).await;
    let child = org.create("Account", json!({ "Name": "Acme UK", "ParentId": account })).await;
    org.create("Contact", json!({ "LastName": "Smith", "AccountId": account })).await;
    let other = org.create("Contact", json!({ "LastName": "Jones", "AccountId": child })).await;
    org.create("Opportunity", opportunity(&account, "Deal", "Prospecting")).await;
    org.create("LimioOrder__c", json!({ "LimioId__c": "o", "Account__c": account })).await;
    assert_eq!(delete(&org, "Account", &account).await.0, 204);
    let accounts = org.records("Account");
    assert_eq!((accounts.len(), accounts[0].get("ParentId")), (1, None));
    let contacts = org.records("Contact");
    assert_eq!((contacts.len(), &contacts[0]["Id"]), (1, &json!(other)));
    assert!(org.records("Opportunity").is_empty());
    assert_eq!(org.records("LimioOrder__c")[0].get("Account__c"), None);
    let request =
        org.request(reqwest::Method::GET, "queryAll").query(&[("q", "SELECT Name, IsDeleted FROM Opportunity")]);
    let found: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(found["records"][0]["IsDeleted"], true);
}

#[tokio::test]
async fn an_account_with_opportunities_it_has_won_stays() {
    let org = Client::new().await;
    let account = org.create("Account", json!({ "Name": "Acme" })).await;
    for name in ["First", "Second"] {
        org.create("Opportunity", opportunity(&account, name, "Closed Won")).await;
    }
    let (status, answer) = delete(&org, "Account", &account).await;
    assert_eq!((status, code(&answer), &answer[0]["fields"]), (400, "DELETE_FAILED", &json!([])));
    let message = "Your attempt to delete Acme could not be completed because some opportunities in that account were \
                   closed won. The opportunities that could not be deleted are shown below.: First, Second\n";
    assert_eq!(answer[0]["message"], message);
    assert_eq!((org.records("Account").len(), org.records("Opportunity").len()), (1, 2));
}

#[tokio::test]
async fn a_lookup_that_restricts_refuses_the_deletion_of_its_parent() {
    let org = Client::with_schema(FOLLOWERS).await;
    let account = org.create("Account", json!({ "Name": "Acme" })).await;
    let term = org.create("Term__c", json!({ "Name": "T-1", "Account__c": account })).await;
    let (status, answer) = delete(&org, "Account", &account).await;
    assert_eq!((status, code(&answer)), (400, "DELETE_FAILED"));
    let message = "Your attempt to delete Acme could not be completed because it is associated with the following \
                   contract terms.: T-1\n";
    assert_eq!(answer[0]["message"], message);
    let (_, describe) = org.get("sobjects/Account/describe").await;
    let children = describe["childRelationships"].as_array().unwrap();
    let terms = children.iter().find(|child| child["childSObject"] == "Term__c").unwrap();
    assert_eq!((&terms["restrictedDelete"], &terms["relationshipName"]), (&json!(true), &Value::Null));
    assert_eq!(delete(&org, "Term__c", &term).await.0, 204);
    assert_eq!(delete(&org, "Account", &account).await.0, 204);
}

#[tokio::test]
async fn details_fall_with_their_master_however_deep_and_in_circles() {
    let org = Client::with_schema(FOLLOWERS).await;
    let account = org.create("Account", json!({ "Name": "Acme" })).await;
    let buyer = org.create("Contact", json!({ "LastName": "Smith" })).await;
    let plan = org.create("Plan__c", json!({ "Name": "P", "Account__c": account, "Buyer__c": buyer })).await;
    let first = org.create("Line__c", json!({ "Name": "1", "Plan__c": plan })).await;
    let second = org.create("Line__c", json!({ "Name": "2", "Plan__c": plan, "Next__c": first })).await;
    assert_eq!(org.patch(&format!("sobjects/Line__c/{first}"), json!({ "Next__c": second })).await.0, 204);
    let (_, found) = org.query("SELECT Id, (SELECT Name FROM Plans__r) FROM Account").await;
    assert_eq!(found["records"][0]["Plans__r"]["records"][0]["Name"], "P");
    assert_eq!(delete(&org, "Contact", &buyer).await.0, 204);
    assert_eq!(org.records("Plan__c")[0].get("Buyer__c"), None);
    assert_eq!(delete(&org, "Account", &account).await.0, 204);
    assert!(org.records("Plan__c").is_empty() && org.records("Line__c").is_empty());
    let (status, answer) = delete(&org, "Line__c", &second).await;
    assert_eq!((status, code(&answer)), (404, "ENTITY_IS_DELETED"));
}

#[tokio::test]
async fn a_deletion_that_is_taken_back_brings_everything_back() {
    let org = Client::with_schema(FOLLOWERS).await;
    let account = org.create("Account", json!({ "Name": "Acme" })).await;
    let plan = org.create("Plan__c", json!({ "Name": "P", "Account__c": account })).await;
    org.create("Line__c", json!({ "Name": "1", "Plan__c": plan })).await;
    org.create("LimioOrder__c", json!({ "LimioId__c": "o", "Account__c": account })).await;
    let url = |path: &str| format!("/services/data/v62.0/sobjects/{path}");
    let parts = json!([
        { "method": "DELETE", "url": url(&format!("Account/{account}")), "referenceId": "gone" },
        { "method": "POST", "url": url("Account"), "referenceId": "bad", "body": { "Nope": 1 } },
    ]);
    let (_, answer) = org.post("composite", json!({ "allOrNone": true, "compositeRequest": parts })).await;
    assert_eq!(answer["compositeResponse"][1]["httpStatusCode"], 400, "{answer}");
    assert_eq!(org.records("LimioOrder__c")[0]["Account__c"], json!(account));
    assert_eq!((org.records("Plan__c").len(), org.records("Line__c").len()), (1, 1));
    assert_eq!(org.control().usage().locked_rows, 0);
    assert_eq!(delete(&org, "Account", &account).await.0, 204);
}

#[tokio::test]
async fn a_trigger_before_delete_sees_the_row_that_is_deleted_and_none_that_follows() {
    let org = Client::with_schema(FOLLOWERS).await;
    let account = org.create("Account", json!({ "Name": "Acme" })).await;
    let plan = org.create("Plan__c", json!({ "Name": "kept", "Account__c": account })).await;
    let (status, answer) = delete(&org, "Plan__c", &plan).await;
    assert_eq!((status, &answer[0]["message"]), (400, &json!("This plan stays.")));
    assert_eq!(delete(&org, "Account", &account).await.0, 204);
    assert!(org.records("Plan__c").is_empty());
}

#[tokio::test]
async fn a_person_account_and_its_contact_go_together() {
    let org = Client::new().await;
    let account = org.create("Account", person("Smith")).await;
    let contact = org.records("Contact")[0]["Id"].as_str().unwrap().to_owned();
    let (status, answer) = delete(&org, "Contact", &contact).await;
    assert_eq!((status, code(&answer)), (403, "INSUFFICIENT_ACCESS_OR_READONLY"));
    org.control().update_settings(|settings| settings.person_contact_writes = PersonContactWrites::Through);
    assert_eq!(delete(&org, "Contact", &contact).await.0, 204);
    assert!(org.records("Account").is_empty() && org.records("Contact").is_empty());
    assert_eq!(delete(&org, "Account", &account).await.0, 404);
}

#[tokio::test]
async fn a_deletion_waits_for_a_row_it_empties() {
    let org = Arc::new(Client::with_settings(|settings| settings.pace = 0.0).await);
    let account = org.create("Account", json!({ "Name": "A" })).await;
    let order = org.create("LimioOrder__c", json!({ "LimioId__c": "o", "Account__c": account })).await;
    org.control().update_settings(|settings| settings.latency_per_row_ms = 1_000);
    let at = |requests, waiters| {
        let org = Arc::clone(&org);
        async move {
            eventually(|| {
                let usage = org.control().usage();
                (usage.waiting, usage.lock_waiters) == (requests, waiters)
            })
            .await;
        }
    };
    let writer = {
        let (org, path) = (Arc::clone(&org), format!("sobjects/LimioOrder__c/{order}"));
        tokio::spawn(async move { org.patch(&path, json!({ "OrderType__c": "new" })).await.0 })
    };
    at(1, 0).await;
    let deleter = {
        let org = Arc::clone(&org);
        tokio::spawn(async move { delete(&org, "Account", &account).await.0 })
    };
    at(2, 1).await;
    org.control().advance_clock(Duration::from_secs(1));
    assert_eq!(writer.await.unwrap(), 204);
    // Two rows are written: the account, and the order that names it no more.
    at(1, 0).await;
    org.control().advance_clock(Duration::from_secs(2));
    assert_eq!(deleter.await.unwrap(), 204);
    let row = &org.records("LimioOrder__c")[0];
    assert_eq!((row.get("Account__c"), &row["OrderType__c"]), (None, &json!("new")));
}

#[tokio::test]
async fn a_call_whose_deletions_take_too_many_rows_along_is_refused() {
    let org = Client::with_schema(FOLLOWERS).await;
    assert_eq!(org.control().settings().cascade_delete_limit, 100_000);
    org.control().update_settings(|settings| settings.cascade_delete_limit = 4);
    let mut accounts = Vec::new();
    for plans in [2, 1, 3] {
        let account = org.create("Account", json!({ "Name": "Acme" })).await;
        let plan = org.create("Plan__c", json!({ "Name": "P", "Account__c": account })).await;
        for _ in 1..plans {
            org.create("Line__c", json!({ "Name": "1", "Plan__c": plan })).await;
        }
        // Those that are emptied do not count.
        for order in 0..5 {
            let order = format!("{account}-{order}");
            org.create("LimioOrder__c", json!({ "LimioId__c": order, "Account__c": account })).await;
        }
        accounts.push(account);
    }
    // Three fall with the first two; with one more plan it would be four.
    let (status, answer) = org.call("DELETE", &format!("composite/sobjects?ids={}", accounts.join(",")), None).await;
    assert_eq!((status, &answer[0]["success"], &answer[1]["success"]), (200, &json!(true), &json!(true)), "{answer}");
    let message = "Cascade deleting too many records: occurring when cascading to Plan records";
    let error = json!({ "statusCode": "DELETE_OPERATION_TOO_LARGE", "message": message, "fields": [] });
    assert_eq!(answer[2], json!({ "success": false, "errors": [error] }));
    assert_eq!((org.records("Account").len(), org.records("Plan__c").len()), (1, 1));
    let plan = org.records("Plan__c")[0]["Id"].as_str().unwrap().to_owned();
    let line = org.create("Line__c", json!({ "Name": "3", "Plan__c": plan })).await;
    let (status, answer) = delete(&org, "Account", &accounts[2]).await;
    assert_eq!((status, code(&answer), &answer[0]["fields"]), (400, "DELETE_OPERATION_TOO_LARGE", &json!([])));
    assert!(answer[0]["message"].as_str().unwrap().ends_with("to Line records"), "{answer}");
    assert_eq!((org.records("Line__c").len(), org.control().usage().locked_rows), (3, 0));
    assert_eq!(delete(&org, "Line__c", &line).await.0, 204);
    assert_eq!(delete(&org, "Account", &accounts[2]).await.0, 204);
    assert!(org.records("Plan__c").is_empty() && org.records("Line__c").is_empty());
}
