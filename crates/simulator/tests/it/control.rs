use serde_json::{Value, json};

use crate::client::{Client, person, read};

async fn control(org: &Client, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let mut request = org.http.request(method.parse().unwrap(), org.url(&format!("/_sim/{path}")));
    if let Some(body) = body {
        request = request.json(&body);
    }
    read(request.send().await.unwrap()).await
}

#[tokio::test]
async fn everything_can_be_done_over_http() {
    let org = Client::new().await;
    let (status, body) =
        control(&org, "POST", "records/Account", Some(json!([person("Smith"), { "Name": "B" }]))).await;
    assert_eq!((status, body["ids"].as_array().map(Vec::len)), (201, Some(2)));
    assert_eq!(control(&org, "GET", "records/Account", None).await.1.as_array().map(Vec::len), Some(2));
    assert_eq!(control(&org, "GET", "records/Nope", None).await.0, 404);
    let (status, _) = control(&org, "POST", "records/Account", Some(json!([{ "Name": "C" }, { "Nope": 1 }]))).await;
    assert_eq!((status, org.records("Account").len()), (400, 2));
    let (status, body) = control(&org, "POST", "faults", Some(json!({ "kind": "slow", "ms": 1, "times": 1 }))).await;
    assert_eq!((status, &body[0]["kind"]), (201, &json!("slow")));
    assert_eq!(control(&org, "POST", "faults", Some(json!({ "kind": "nope" }))).await.0, 400);
    assert_eq!(control(&org, "DELETE", "faults", None).await.1, json!([]));
    let rule = json!({ "name": "R", "object": "Contact", "matching_rule": "M", "fields": [{ "field": "Email" }],
        "on_create": { "action": "block", "alert": true } });
    assert_eq!(control(&org, "POST", "duplicate-rules", Some(json!([rule]))).await.1[0]["name"], "R");
    let (_, settings) = control(&org, "POST", "settings", Some(json!({ "api_limit": 7 }))).await;
    assert_eq!((&settings["api_limit"], &settings["latency_ms"]), (&json!(7), &json!(0)));
    assert_eq!(control(&org, "POST", "settings", Some(json!({ "nope": 7 }))).await.0, 400);
    assert_eq!(control(&org, "POST", "clock", Some(json!({ "advance_s": 60 }))).await.0, 200);
    assert_eq!(control(&org, "GET", "usage", None).await.1["api_limit"], 7);
    assert_eq!(control(&org, "POST", "sessions/expire", None).await.1["expired"], 1);
    assert_eq!(control(&org, "GET", "events", None).await.1, json!([]));
    assert!(control(&org, "GET", "requests", None).await.1.as_array().is_some_and(|log| !log.is_empty()));
    assert_eq!(control(&org, "POST", "reset", None).await.0, 200);
    assert!(org.records("Account").is_empty() && org.control().duplicate_rules().is_empty());
    assert_eq!(org.control().settings().api_limit, 100_000);
}

#[tokio::test]
async fn the_description_names_every_path_that_answers() {
    let org = Client::new().await;
    let (_, description) = control(&org, "GET", "openapi.json", None).await;
    assert!(description["openapi"].as_str().unwrap().starts_with("3."));
    for (path, methods) in description["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let real = path.trim_start_matches("/_sim/").replace("{object}", "Account");
            let (status, _) = control(&org, &method.to_uppercase(), &real, None).await;
            assert!(!matches!(status, 404 | 405), "{method} {path} answers {status}");
        }
    }
    assert!(description["paths"].as_object().unwrap().len() >= 12);
}
