use causeway_simulator::{MissingCreate, ObjectPermission};
use serde_json::{Value, json};

use crate::client::{Client, code};

#[tokio::test]
async fn an_object_the_user_cannot_read_does_not_exist() {
    let org = Client::new().await;
    let id = org.create("Account", json!({ "Name": "Acme" })).await;
    org.control().update_settings(|s| {
        s.object_permissions.insert("account".to_owned(), ObjectPermission::NONE);
    });
    for path in [format!("sobjects/Account/{id}"), "sobjects/Account/describe".to_owned()] {
        let (status, answer) = org.get(&path).await;
        assert_eq!((status, code(&answer)), (404, "NOT_FOUND"));
    }
    let (status, answer) = org.query("SELECT Id FROM Account").await;
    assert_eq!((status, code(&answer)), (400, "INVALID_TYPE"));
    let (_, global) = org.get("sobjects").await;
    assert!(!global["sobjects"].as_array().unwrap().iter().any(|object| object["name"] == "Account"));
}

#[tokio::test]
async fn a_permission_taken_away_refuses_the_next_write_with_the_status_of_the_setting() {
    let org = Client::new().await;
    let id = org.create("Account", json!({ "Name": "Acme" })).await;
    let path = format!("sobjects/Account/{id}");
    org.control().update_settings(|s| {
        s.object_permissions.insert("Account".to_owned(), ObjectPermission::READ);
    });
    for (method, path, body) in [
        ("POST", "sobjects/Account", Some(json!({ "Name": "B" }))),
        ("PATCH", path.as_str(), Some(json!({ "Phone": "1" }))),
        ("DELETE", path.as_str(), None),
    ] {
        let (status, answer) = org.call(method, path, body).await;
        assert_eq!((status, code(&answer)), (403, "INSUFFICIENT_ACCESS_OR_READONLY"), "{method}");
        assert_eq!(answer[0]["message"], "insufficient access rights on object id");
    }
    org.control().update_settings(|s| {
        s.insufficient_access_status = 400;
        s.missing_create = MissingCreate::CannotInsert;
    });
    let (status, answer) = org.patch(&path, json!({ "Phone": "1" })).await;
    assert_eq!((status, code(&answer)), (400, "INSUFFICIENT_ACCESS_OR_READONLY"));
    let (_, answer) = org.patch("sobjects/Account/LimioId__c/new", json!({ "Name": "B" })).await;
    assert_eq!(code(&answer), "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY");
    let (_, describe) = org.get("sobjects/Account/describe").await;
    assert_eq!((&describe["createable"], &describe["queryable"]), (&json!(false), &json!(true)));
    org.control().update_settings(|s| s.object_permissions.clear());
    assert_eq!(org.patch(&path, json!({ "Phone": "1" })).await.0, 204);
}

#[tokio::test]
async fn a_read_only_field_is_readable_and_refused_in_writes() {
    let org = Client::with_settings(|s| s.read_only_fields = vec!["Account.Phone".to_owned()]).await;
    let (status, answer) = org.post("sobjects/Account", json!({ "Name": "A", "Phone": "1" })).await;
    assert_eq!((status, code(&answer)), (400, "INVALID_FIELD_FOR_INSERT_UPDATE"));
    assert_eq!(answer[0]["fields"], json!(["Phone"]));
    assert!(answer[0]["message"].as_str().unwrap().contains("Please check the security settings of this field"));
    let (status, _) = org.query("SELECT Phone FROM Account").await;
    assert_eq!(status, 200);
    let (_, describe) = org.get("sobjects/Account/describe").await;
    let phone = describe["fields"].as_array().unwrap().iter().find(|field| field["name"] == "Phone").unwrap();
    assert_eq!((&phone["createable"], &phone["updateable"]), (&json!(false), &json!(false)));
}

#[tokio::test]
async fn a_path_to_what_the_user_may_not_read_leads_nowhere() {
    let org = Client::new().await;
    let account = org.create("Account", json!({ "Name": "Acme" })).await;
    org.create("Contact", json!({ "LastName": "Smith", "AccountId": account })).await;
    let up = "SELECT Account.Name FROM Contact";
    let filter = "SELECT Id FROM Contact WHERE Account.Phone = '1'";
    let down = "SELECT Id, (SELECT Id FROM Contacts) FROM Account";
    for statement in [up, filter, down] {
        assert_eq!(org.query(statement).await.0, 200, "{statement}");
    }
    org.control().update_settings(|s| s.hidden_fields = vec!["Account.Phone".to_owned()]);
    let (status, answer) = org.query(filter).await;
    assert_eq!((status, code(&answer)), (400, "INVALID_FIELD"));
    assert!(answer[0]["message"].as_str().unwrap().contains("No such column 'Phone' on entity 'Account'"), "{answer}");
    org.control().update_settings(|s| {
        s.hidden_fields = Vec::new();
        s.object_permissions.insert("Account".to_owned(), ObjectPermission::NONE);
    });
    for statement in [up, filter] {
        let (status, answer) = org.query(statement).await;
        assert_eq!((status, code(&answer)), (400, "INVALID_FIELD"), "{statement}");
        let said = answer[0]["message"].as_str().unwrap();
        assert!(said.contains("Didn't understand relationship 'Account' in field path"), "{said}");
    }
    org.control().update_settings(|s| {
        s.object_permissions.clear();
        s.object_permissions.insert("Contact".to_owned(), ObjectPermission::NONE);
    });
    let (status, answer) = org.query(down).await;
    assert_eq!((status, code(&answer)), (400, "INVALID_TYPE"));
    org.control().update_settings(|s| {
        s.object_permissions.clear();
        s.hidden_fields = vec!["Contact.AccountId".to_owned()];
    });
    assert_eq!(code(&org.query(down).await.1), "INVALID_TYPE");
}

#[tokio::test]
async fn trees_jobs_and_duplicate_checks_do_not_know_what_the_user_may_not_read() {
    let org = Client::new().await;
    let row = json!({ "attributes": { "type": "Account", "referenceId": "a" }, "Name": "Acme" });
    let calls = [
        ("POST", "composite/tree/Account", json!({ "records": [row] }), 404, "NOT_FOUND"),
        ("POST", "jobs/ingest", json!({ "object": "Account", "operation": "insert" }), 400, "INVALIDENTITY"),
        ("POST", "ui-api/predupe", json!({ "apiName": "Account", "fields": { "Name": "Acme" } }), 400, "INVALID_TYPE"),
        ("GET", "ui-api/duplicates/Account", Value::Null, 400, "INVALID_TYPE"),
    ];
    let ask = async |method: &str, path: &str, body: &Value| {
        org.call(method, path, (!body.is_null()).then(|| body.clone())).await
    };
    for (method, path, body, ..) in &calls {
        assert!(ask(method, path, body).await.0 < 300, "{path}");
    }
    org.control().update_settings(|s| {
        s.object_permissions.insert("Account".to_owned(), ObjectPermission::NONE);
    });
    for (method, path, body, status, expected) in &calls {
        let (answered, answer) = ask(method, path, body).await;
        assert_eq!((answered, code(&answer)), (*status, *expected), "{path}");
    }
}
