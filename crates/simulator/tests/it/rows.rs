use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Client, code, person, read};

#[tokio::test]
async fn every_answer_carries_the_recorded_headers() {
    let org = Client::new().await;
    let response = org.request(Method::POST, "sobjects/Account").json(&json!({ "Name": "A" })).send().await.unwrap();
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    assert!(location.starts_with("/services/data/v62.0/sobjects/Account/001"));
    let headers = response.headers();
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-xss-protection", "1; mode=block"),
        ("x-robots-tag", "none"),
        ("cache-control", "no-cache,must-revalidate,max-age=0,no-store,private"),
        ("content-type", "application/json;charset=UTF-8"),
    ] {
        assert_eq!(headers[name], value, "{name}");
    }
    assert!(headers["vary"].to_str().unwrap().eq_ignore_ascii_case("accept-encoding"));
    let cookies: Vec<_> =
        headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap().to_owned()).collect();
    assert!(cookies[0].starts_with("CookieConsentPolicy=0:1; path=/; expires="));
    assert!(cookies[2].starts_with("BrowserId=") && cookies[2].contains("; domain=.salesforce.com; path=/;"));
    let request = org.request(Method::PATCH, &location).json(&json!({ "Phone": "1" }));
    let response = request.header("cookie", "BrowserId=x").send().await.unwrap();
    assert_eq!(response.headers()["content-security-policy"], "upgrade-insecure-requests");
    assert!(response.headers().contains_key("sforce-limit-info") && !response.headers().contains_key("set-cookie"));
    let refused = org.http.get(org.url("/services/data/v62.0/limits")).send().await.unwrap();
    assert!(refused.headers().contains_key("x-xss-protection") && !refused.headers().contains_key("sforce-limit-info"));
}

#[tokio::test]
async fn ids_of_a_wrong_form_or_type_are_malformed() {
    let org = Client::new().await;
    let id = org.create("Account", json!({ "Name": "A" })).await;
    assert_eq!(org.get(&format!("sobjects/Account/{}", &id[..15])).await.0, 200);
    // The checksum of this recorded id is wrong.
    for wrong in ["a00B000000FSjVUIB1", "003000000000001AAA", "003000000000001"] {
        let (status, body) = org.patch(&format!("sobjects/Account/{wrong}"), json!({ "Name": "B" })).await;
        assert_eq!(status, 400);
        let message = format!("Record ID: id value of incorrect type: {wrong}");
        assert_eq!(body, json!([{ "message": message, "errorCode": "MALFORMED_ID", "fields": ["Id"] }]));
    }
}

#[tokio::test]
async fn an_external_id_that_is_not_unique_names_all_its_rows() {
    let org = Client::new().await;
    let first = org.create("Contact", json!({ "LastName": "A", "LegacyId__c": "x" })).await;
    let second = org.create("Contact", json!({ "LastName": "B", "LegacyId__c": "X" })).await;
    let urls = json!([first, second].map(|id: String| format!("/services/data/v62.0/sobjects/Contact/{id}")));
    for (method, body) in [("GET", None), ("PATCH", Some(json!({ "Phone": "1" }))), ("DELETE", None)] {
        let (status, answer) = org.call(method, "sobjects/Contact/LegacyId__c/x", body).await;
        assert_eq!((status, &answer), (300, &urls), "{method}");
    }
    let row = json!({ "attributes": { "type": "Contact" }, "LegacyId__c": "x", "Phone": "1" });
    let (_, answer) = org.patch("composite/sobjects/Contact/LegacyId__c", json!({ "records": [row] })).await;
    assert_eq!(answer[0]["errors"][0]["statusCode"], "DUPLICATE_EXTERNAL_ID");
}

#[tokio::test]
async fn an_upsert_needs_a_value_and_may_be_told_to_update_only() {
    let org = Client::new().await;
    let (status, body) = org.patch("sobjects/Account/LimioId__c/%20", json!({ "Name": "A" })).await;
    assert_eq!((status, code(&body)), (400, "MISSING_ARGUMENT"));
    assert_eq!(org.patch("sobjects/Account/LimioId__c/a?updateOnly=true", json!({ "Name": "A" })).await.0, 404);
    assert_eq!(org.patch("sobjects/Account/LimioId__c/", json!({ "Name": "A" })).await.0, 404);
    assert_eq!(org.patch("sobjects/Account/LimioId__c/a", json!({ "Name": "A" })).await.0, 201);
    let (_, row) = org.get("sobjects/Account/LimioId__c/A?fields=Name").await;
    assert_eq!(row["Name"], "A");
    assert_eq!(org.call("DELETE", "sobjects/Account/LimioId__c/a", None).await.0, 204);
    assert_eq!(org.get("sobjects/Account/LimioId__c/a").await.0, 404);
}

#[tokio::test]
async fn relationships_lead_from_row_to_row() {
    let org = Client::new().await;
    let account = org.create("Account", json!({ "Name": "A" })).await;
    let contact = org.create("Contact", json!({ "LastName": "L", "AccountId": account })).await;
    let alone = org.create("Contact", json!({ "LastName": "M" })).await;
    let path = format!("sobjects/Contact/{contact}/Account");
    let (_, row) = org.get(&format!("{path}?fields=Name")).await;
    assert_eq!(row["Name"], "A");
    assert_eq!(org.patch(&path, json!({ "Name": "B" })).await.0, 204);
    assert_eq!(org.records("Account")[0]["Name"], "B");
    let (_, children) = org.get(&format!("sobjects/Account/{account}/Contacts?fields=LastName")).await;
    assert_eq!((&children["totalSize"], &children["records"][0]["LastName"]), (&json!(1), &json!("L")));
    // One that came later and is older, one that left, one that is gone.
    let older = org.create("Contact", json!({ "LastName": "O" })).await;
    let left = org.create("Contact", json!({ "LastName": "P", "AccountId": account })).await;
    let gone = org.create("Contact", json!({ "LastName": "Q", "AccountId": account })).await;
    org.create("Contact", json!({ "LastName": "R", "AccountId": account })).await;
    org.patch(&format!("sobjects/Contact/{older}"), json!({ "AccountId": account })).await;
    org.patch(&format!("sobjects/Contact/{left}"), json!({ "AccountId": null })).await;
    org.call("DELETE", &format!("sobjects/Contact/{gone}"), None).await;
    let (_, children) = org.get(&format!("sobjects/Account/{account}/Contacts?fields=LastName")).await;
    let names: Vec<&Value> = children["records"].as_array().unwrap().iter().map(|row| &row["LastName"]).collect();
    assert_eq!(names, ["L", "O", "R"]);
    assert_eq!(org.get(&format!("sobjects/Contact/{alone}/Account")).await.0, 404);
    assert_eq!(org.get(&format!("sobjects/Contact/{contact}/Nope")).await.0, 404);
    assert_eq!(org.patch(&format!("sobjects/Account/{account}/Contacts"), json!({})).await.0, 405);
    assert_eq!(org.call("DELETE", &path, None).await.0, 204);
}

#[tokio::test]
async fn methods_media_types_and_lengths_are_held_to() {
    let org = Client::new().await;
    let id = org.create("Account", json!({ "Name": "A" })).await;
    let response = org.request(Method::PUT, &format!("sobjects/Account/{id}")).json(&json!({})).send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), response.headers()["allow"].to_str().unwrap()),
        (405, "DELETE,GET,HEAD,PATCH,POST")
    );
    let (_, body) = read(response).await;
    assert_eq!(
        body,
        json!([{ "errorCode": "METHOD_NOT_ALLOWED", "message": "HTTP Method 'PUT' not allowed. Allowed are DELETE,GET,HEAD,PATCH,POST" }])
    );
    let response = org.request(Method::HEAD, &format!("sobjects/Account/{id}")).send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.text().await.unwrap()), (200, String::new()));
    let tunnelled = org.post(&format!("sobjects/Account/{id}?_HttpMethod=PATCH"), json!({ "Phone": "1" })).await;
    assert_eq!(tunnelled.0, 204);
    let typed = org.request(Method::POST, "sobjects/Account").header("content-type", "text/plain").body("{}");
    let (status, body) = read(typed.send().await.unwrap()).await;
    assert_eq!((status, code(&body)), (415, "UNSUPPORTED_MEDIA_TYPE"));
    for request in
        [org.request(Method::GET, "limits").header("accept", "application/xml"), org.request(Method::GET, "limits.xml")]
    {
        assert_eq!(request.send().await.unwrap().status(), 406);
    }
    assert_eq!(org.get("limits.json").await.0, 200);
    let long = format!("query?q=SELECT+Id+FROM+Account&x={}", "x".repeat(16_400));
    assert_eq!(org.get(&long).await.0, 414);
    let wide = org.request(Method::GET, "limits").header("x-wide", "x".repeat(16_300));
    assert_eq!(wide.send().await.unwrap().status(), 431);
}

#[tokio::test]
async fn a_header_of_the_wrong_form_is_told_apart_from_a_lost_session() {
    let org = Client::new().await;
    let call = async |value: &str| {
        let request = org.http.get(org.url("/services/data/v62.0/limits")).header("authorization", value);
        read(request.send().await.unwrap()).await
    };
    let (status, body) = call("Token x").await;
    assert_eq!(
        (status, body),
        (401, json!([{ "message": "INVALID_HEADER_TYPE", "errorCode": "INVALID_AUTH_HEADER" }]))
    );
    assert_eq!(call("Bearer").await.1[0]["message"], "INVALID_AUTH_HEADER");
    assert_eq!(code(&call("Bearer nope").await.1), "INVALID_SESSION_ID");
}

#[tokio::test]
async fn versions_and_their_resources_are_told_truly() {
    let org = Client::new().await;
    for (version, status) in
        [("v19.0", 404), ("v20.0", 410), ("v30.0", 410), ("v31.0", 200), ("v67.0", 200), ("v68.0", 404), ("v62", 404)]
    {
        assert_eq!(org.get(&format!("/services/data/{version}/")).await.0, status, "{version}");
    }
    let (_, resources) = org.get("/services/data/v62.0").await;
    let resources = resources.as_object().unwrap();
    let mut names: Vec<_> = resources.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["composite", "identity", "jobs", "limits", "query", "queryAll", "sobjects"]);
    for url in resources.values().map(|url| url.as_str().unwrap()) {
        let (status, _) = org.get(url.strip_prefix(org.simulator.base_url()).unwrap_or(url)).await;
        assert!(status != 404, "{url}");
    }
    let (status, identity) = org.get(resources["identity"].as_str().unwrap().split_at(org.url("").len()).1).await;
    assert_eq!((status, &identity["username"]), (200, &json!(causeway_simulator::USERNAME)), "{identity}");
    let (_, composites) = org.get("composite").await;
    assert_eq!(composites["tree"], "/services/data/v62.0/composite/tree");
}

#[tokio::test]
async fn changes_of_a_span_are_told() {
    let org = Client::new().await;
    let start = org.control().now();
    let kept = org.create("Contact", json!({ "LastName": "A" })).await;
    let gone = org.create("Contact", json!({ "LastName": "B" })).await;
    org.control().advance_clock(Duration::from_mins(2));
    org.call("DELETE", &format!("sobjects/Contact/{gone}"), None).await;
    org.control().advance_clock(Duration::from_mins(2));
    let end = org.control().now();
    let (status, updated) = org.get(&format!("sobjects/Contact/updated?start={start}&end={end}")).await;
    assert_eq!((status, &updated["ids"]), (200, &json!([kept])));
    let (_, deleted) = org.get(&format!("sobjects/Contact/deleted?start={start}&end={end}")).await;
    assert_eq!(deleted["deletedRecords"][0]["id"], gone);
    for query in ["", "?start=x&end=y", &format!("?start={end}&end={start}")] {
        let (status, body) = org.get(&format!("sobjects/Contact/deleted{query}")).await;
        assert_eq!(status, 400, "{body}");
    }
}

#[tokio::test]
async fn records_that_sharing_hides_do_not_exist_for_a_reader_and_refuse_a_writer() {
    let org = Client::new().await;
    let mut body = person("Smith");
    body["LimioId__c"] = json!("x");
    let id = org.create("Account", body).await;
    org.control().update_settings(|settings| settings.unshared_records = vec![id.clone()]);
    let path = format!("sobjects/Account/{id}");
    assert_eq!(org.get(&path).await.0, 404);
    for (method, path) in
        [("PATCH", path.as_str()), ("PATCH", "sobjects/Account/LimioId__c/x"), ("DELETE", path.as_str())]
    {
        let (status, body) = org.call(method, path, Some(json!({ "Phone": "1" }))).await;
        assert_eq!((status, code(&body)), (403, "INSUFFICIENT_ACCESS_OR_READONLY"), "{method} {path}");
    }
}

#[tokio::test]
async fn rows_are_read_in_one_call_by_get_and_by_post() {
    let org = Client::new().await;
    let id = org.create("Account", json!({ "Name": "A" })).await;
    let (_, got) = org.get(&format!("composite/sobjects/Account?ids={id},001000000000001&fields=Name")).await;
    assert_eq!((&got[0]["Name"], &got[1]), (&json!("A"), &Value::Null));
    let (_, posted) = org.post("composite/sobjects/Account", json!({ "ids": [id], "fields": ["Name"] })).await;
    assert_eq!(posted[0], got[0]);
    let many: Vec<String> = (0..2_001).map(|_| id.clone()).collect();
    assert_eq!(org.post("composite/sobjects/Account", json!({ "ids": many, "fields": ["Name"] })).await.0, 400);
}
