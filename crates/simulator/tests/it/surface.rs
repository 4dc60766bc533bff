//! Whatever is asked of `/services/data`, an org answers in one of its shapes.

use causeway_simulator::{Config as Org, DuplicateRule, RuleResponse};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::client::Client;

fn path() -> impl Strategy<Value = String> {
    let roots = prop::sample::select(vec![
        "sobjects",
        "composite",
        "composite/sobjects",
        "composite/graph",
        "composite/tree",
        "composite/batch",
        "ui-api/predupe",
        "ui-api/duplicates",
        "query",
        "queryAll",
        "limits",
        "nope",
        "",
    ]);
    let part = prop_oneof![
        prop::sample::select(vec![
            "Account",
            "Contact",
            "Opportunity",
            "i42as__OrderEvent__e",
            "User",
            "DuplicateRecordSet",
            "LimioId__c",
            "LegacyId__c",
            "Contacts",
            "describe",
            "deleted",
            "updated",
            "Id",
            "001000000000001AAA",
            "00300000000000X",
            "%20",
            "%2F",
            "%00",
            "a00B000000FSjVUIB1",
            "x.json",
            "x.xml",
            "..",
        ])
        .prop_map(str::to_owned),
        "[A-Za-z0-9_.~%-]{0,12}".prop_map(|text| text.replace('%', "%25")),
    ];
    let version =
        prop::sample::select(vec!["v62.0", "v62.0", "v62.0", "v45.0", "v51.0", "v25.0", "v99.0", "vX", "v62"]);
    let query = prop::sample::select(vec![
        "",
        "",
        "?fields=Name,Nope",
        "?_HttpMethod=PATCH",
        "?_HttpMethod=delete",
        "?start=2026-01-01T00:00:00Z&end=x",
        "?ids=001,,&fields=",
        "?updateOnly=true",
        "?recordTypeId=012",
        "?q=SELECT+Id+FROM+Account",
        "?=&&%",
    ]);
    (version, roots, prop::collection::vec(part, 0..4), query)
        .prop_map(|(version, root, parts, query)| format!("/services/data/{version}/{root}/{}{query}", parts.join("/")))
}

fn header() -> impl Strategy<Value = (&'static str, String)> {
    let names = prop::sample::select(vec![
        "If-Match",
        "If-None-Match",
        "If-Modified-Since",
        "If-Unmodified-Since",
        "Accept",
        "Content-Type",
        "Sforce-Duplicate-Rule-Header",
        "Sforce-Query-Options",
        "Sforce-Auto-Assign",
        "Cookie",
        "Accept-Encoding",
    ]);
    let values = prop_oneof![
        prop::sample::select(vec![
            "*",
            "\"x\"",
            "W/\"x\", \"y\"",
            "Wed, 14 Apr 2021 13:50:54 GMT",
            "application/json",
            "text/csv",
            "application/xml",
            "allowSave=true;;=;runAsCurrentUser",
            "batchSize=-1",
            "gzip",
            "",
        ])
        .prop_map(str::to_owned),
        "[ -~]{0,20}",
    ];
    (names, values)
}

fn body() -> impl Strategy<Value = String> {
    let record = prop_oneof![
        Just(json!({ "attributes": { "type": "Account", "referenceId": "a" }, "Name": "A",
            "Contacts": { "records": [{ "attributes": { "type": "Contact", "referenceId": "b" }, "LastName": "L" }] } })),
        Just(json!({ "attributes": { "type": "Contact" }, "LastName": "L", "Email": "a@example.com" })),
        Just(json!({ "attributes": 1, "records": [[]], "FirstName": "\u{0}", "LastName": "", "PersonEmail": "@" })),
        Just(json!({ "Name": null, "Contacts": { "records": [{ "Contacts": { "records": [] } }] } })),
    ];
    let batch = json!({ "haltOnError": true, "batchRequests": [
        { "method": "GET", "url": "v62.0/limits" }, { "method": "POST", "url": "v62.0/sobjects/Account", "richInput": [] } ] });
    prop_oneof![
        record.clone().prop_map(|record| record.to_string()),
        prop::collection::vec(record.clone(), 0..3).prop_map(|records| json!({ "records": records }).to_string()),
        record.prop_map(|record| json!({ "apiName": "Account", "fields": record }).to_string()),
        Just(batch.to_string()),
        Just(format!("{}{}", "[".repeat(4_000), "]".repeat(4_000))),
        Just(String::new()),
        "[ -~]{0,30}",
    ]
}

/// One of the shapes an answer of the data API has.
fn known(status: u16, text: &str) -> bool {
    if text.is_empty() {
        return true;
    }
    let Ok(body) = serde_json::from_str::<Value>(text) else { return false };
    if status < 400 {
        return true;
    }
    let named = |error: &Value| error["errorCode"].is_string() && error["message"].is_string();
    body.as_array().is_some_and(|errors| !errors.is_empty() && errors.iter().all(named)) || body["hasErrors"] == true
}

#[test]
fn any_request_gets_an_answer_of_a_known_shape() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let duplicate_rules = vec![
        DuplicateRule::standard_person_account(RuleResponse::ALERT),
        DuplicateRule::standard_account(RuleResponse::REPORT),
        DuplicateRule::standard_contact(RuleResponse::BLOCK),
    ];
    let org = runtime.block_on(Client::with(Org { duplicate_rules, ..Org::default() }));
    let method = prop::sample::select(vec!["GET", "POST", "PATCH", "PUT", "DELETE", "HEAD", "OPTIONS", "QUERY"]);
    let strategy = (method, path(), prop::collection::vec(header(), 0..3), body());
    let mut runner = TestRunner::new(Config { cases: 512, failure_persistence: None, ..Config::default() });
    runner
        .run(&strategy, |(method, path, headers, body)| {
            let mut request = org.http.request(method.parse().unwrap(), org.url(&path)).bearer_auth(&org.token);
            for (name, value) in headers {
                request = request.header(name, value);
            }
            let Ok(request) = request.body(body).build() else { return Ok(()) };
            let (status, text) = runtime.block_on(async {
                let response = org.http.execute(request).await.unwrap();
                (response.status().as_u16(), response.text().await.unwrap_or_default())
            });
            prop_assert!(status < 500, "{method} {path} answered {status} {text}");
            prop_assert!(known(status, &text), "{method} {path} answered {status} {text}");
            Ok(())
        })
        .unwrap();
}
