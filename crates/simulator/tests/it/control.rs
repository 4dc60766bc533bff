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
    let orgs = control(&org, "GET", "orgs", None).await.1;
    let name = orgs[0]["name"].as_str().unwrap().to_owned();
    for (path, methods) in description["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let real = path.trim_start_matches("/_sim/").replace("{object}", "Account").replace("{name}", &name);
            let (status, _) = control(&org, &method.to_uppercase(), &real, None).await;
            assert!(!matches!(status, 404 | 405), "{method} {path} answers {status}");
        }
    }
    assert!(description["paths"].as_object().unwrap().len() >= 12);
}

/// Whether a value is of a type the description allows.
fn fits(described: &Value, value: &Value) -> bool {
    let named = &described["type"];
    let types = named.as_array().cloned().unwrap_or_else(|| vec![named.clone()]);
    let fitting = types.iter().any(|name| match name.as_str() {
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_u64(),
        Some("number") => value.is_number(),
        Some("string") => value.is_string(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        Some("null") => value.is_null(),
        _ => false,
    });
    fitting && described["enum"].as_array().is_none_or(|values| values.contains(value))
}

#[tokio::test]
async fn every_setting_is_described_with_its_type_and_its_values() {
    let org = Client::new().await;
    let (_, description) = control(&org, "GET", "openapi.json", None).await;
    let (_, settings) = control(&org, "GET", "settings", None).await;
    let described = description["components"]["schemas"]["Settings"]["properties"].as_object().unwrap();
    let settings = settings.as_object().unwrap();
    let sorted = |map: &serde_json::Map<String, Value>| {
        let mut keys: Vec<String> = map.keys().cloned().collect();
        keys.sort();
        keys
    };
    assert_eq!(sorted(described), sorted(settings));
    for (key, entry) in described {
        let text = entry["description"].as_str().unwrap_or_default();
        assert!(text.len() > 10 && !text.contains("::"), "{key}: {text}");
        assert!(fits(entry, &settings[key]), "{key} is {}", settings[key]);
        for value in entry["enum"].as_array().into_iter().flatten() {
            let (status, answer) = control(&org, "POST", "settings", Some(json!({ key: value }))).await;
            assert_eq!(status, 200, "{key}: {answer}");
        }
        if entry["enum"].is_array() {
            let (status, _) = control(&org, "POST", "settings", Some(json!({ key: "nothing of the kind" }))).await;
            assert_eq!(status, 400, "{key}");
        }
    }
}

/// What stands between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[tokio::test]
async fn the_readme_names_switches_and_faults_that_exist_and_leaves_no_fault_out() {
    let org = Client::new().await;
    let readme = include_str!("../../README.md");
    let part = |from: &str, to: &str| readme.split_once(from).unwrap().1.split_once(to).unwrap().0;
    let settings = control(&org, "GET", "settings", None).await.1;
    let switches = part("\n## Switches\n", "\n# ");
    let rows = switches.lines().filter(|line| line.starts_with("| `")).map(|line| line.split(" | ").next().unwrap());
    let prose = switches.split_once("The rest sets the scene").unwrap().1;
    let names = rows.flat_map(quoted).chain(quoted(prose)).filter(|name| !name.contains([' ', '/']));
    let unknown: Vec<_> = names.filter(|name| settings.get(*name).is_none()).collect();
    assert!(unknown.is_empty(), "no such settings: {unknown:?}");

    let description = control(&org, "GET", "openapi.json", None).await.1;
    let kinds = &description["components"]["schemas"]["Fault"]["properties"]["kind"]["enum"];
    let mut kinds: Vec<_> = kinds.as_array().unwrap().iter().map(|kind| kind.as_str().unwrap()).collect();
    let table = part("\n| Goes off on | Kinds |\n", "\n\n");
    let mut told: Vec<_> = table.lines().filter_map(|line| line.split(" | ").nth(1)).flat_map(quoted).collect();
    told.retain(|name| !["Retry-After", "steps", "repeat"].contains(name) && !name.contains('/'));
    kinds.sort_unstable();
    told.sort_unstable();
    assert_eq!(told, kinds);
}
