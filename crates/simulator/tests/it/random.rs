//! Whatever is sent, the org answers as an org: never with a failure of its own.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};

use crate::client::{Client, read};

pub(crate) fn json_value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        ".{0,12}",
        Just("@{a.id}".to_owned()),
        Just("@{a.x[0]}".to_owned()),
        Just("001000000000001AAA".to_owned()),
        Just("2026-01-01".to_owned()),
        Just("true".to_owned()),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((key(), inner), 0..5)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    let names = [
        "Name",
        "LastName",
        "FirstName",
        "PersonEmail",
        "LimioId__c",
        "Id",
        "AccountId",
        "Account__r",
        "RecordType",
        "Birthdate",
        "NumberOfEmployees",
        "attributes",
        "type",
        "records",
        "allOrNone",
        "graphs",
        "graphId",
        "compositeRequest",
        "method",
        "url",
        "referenceId",
        "body",
        "ids",
        "fields",
        "i42as__PurchaseDate__c",
        "CloseDate",
        "BillingCountryCode",
    ];
    prop_oneof![4 => prop::sample::select(names.to_vec()).prop_map(str::to_owned), 1 => ".{0,8}"]
}

/// Bodies shaped like a graph request, with random content.
fn graph_body() -> impl Strategy<Value = Value> {
    let method = prop::sample::select(vec!["POST", "PATCH", "GET", "DELETE", "PUT", "patch"]);
    let url = prop_oneof![
        Just("/services/data/v62.0/sobjects/Account".to_owned()),
        Just("/services/data/v62.0/sobjects/Account/LimioId__c/x".to_owned()),
        Just("/services/data/v62.0/sobjects/Account/@{a.id}".to_owned()),
        Just("/services/data/v62.0/sobjects/LimioOrder__c/LimioId__c/@{b.id}".to_owned()),
        Just("/services/data/v62.0/sobjects/i42as__OrderEvent__e".to_owned()),
        "/[a-z0-9/%?@{}.]{0,30}",
    ];
    let reference = prop::sample::select(vec!["a", "b", "c", "1x", "_"]);
    let node = (method, url, reference, json_value())
        .prop_map(|(method, url, reference, body)| json!({ "method": method, "url": url, "referenceId": reference, "body": body }));
    let graph = (prop::collection::vec(node, 0..4), "[a-z0-9.]{0,5}")
        .prop_map(|(nodes, id)| json!({ "graphId": id, "compositeRequest": nodes }));
    prop::collection::vec(graph, 0..4).prop_map(|graphs| json!({ "graphs": graphs }))
}

fn soql() -> impl Strategy<Value = String> {
    let words = [
        "SELECT",
        "Id",
        "Name",
        "Owner.Name",
        "COUNT()",
        "FROM",
        "Account",
        "WHERE",
        "=",
        "!=",
        "LIKE",
        "IN",
        "NOT",
        "AND",
        "OR",
        "(",
        ")",
        ",",
        "'x'",
        "'%_\\%'",
        "5",
        "-1.5",
        "null",
        "true",
        "TODAY",
        "2026-01-01T00:00:00Z",
        "2026-01-01",
        "ORDER",
        "BY",
        "DESC",
        "NULLS",
        "LAST",
        "LIMIT",
        "OFFSET",
        "LAST_N_DAYS:3",
        "é",
        "'",
        "\\",
    ];
    prop_oneof![
        prop::collection::vec(prop::sample::select(words.to_vec()), 0..14).prop_map(|words| words.join(" ")),
        prop::collection::vec(prop::sample::select(words.to_vec()), 0..10)
            .prop_map(|words| format!("SELECT Id FROM Account WHERE {}", words.join(" "))),
        ".{0,40}",
    ]
}

/// Runs `send` for generated inputs and expects an answer below 500.
fn never_fails<S, F>(strategy: &S, send: F)
where
    S: Strategy,
    F: AsyncFn(&Client, S::Value) -> u16,
{
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let org = runtime.block_on(Client::new());
    let mut runner = TestRunner::new(Config { cases: 256, failure_persistence: None, ..Config::default() });
    runner
        .run(strategy, |input| {
            let status = runtime.block_on(send(&org, input));
            prop_assert!(status < 500, "answered {status}");
            Ok(())
        })
        .unwrap();
}

#[test]
fn random_bodies_are_answered() {
    let paths = prop::sample::select(vec![
        ("POST", "sobjects/Account"),
        ("PATCH", "sobjects/Account/LimioId__c/x"),
        ("POST", "sobjects/i42as__OrderEvent__e"),
        ("POST", "sobjects/Opportunity"),
        ("POST", "composite"),
        ("POST", "composite/sobjects"),
        ("PATCH", "composite/sobjects/Account/LimioId__c"),
        ("POST", "composite/sobjects/Account"),
        ("POST", "composite/graph"),
    ]);
    never_fails(&(paths, json_value()), async |org: &Client, ((method, path), body)| {
        org.call(method, path, Some(body)).await.0
    });
}

#[test]
fn random_graphs_are_answered() {
    never_fails(&graph_body(), async |org: &Client, body| org.post("composite/graph", body).await.0);
}

#[test]
fn random_statements_are_answered() {
    never_fails(&soql(), async |org: &Client, statement| org.query(&statement).await.0);
}

#[test]
fn random_bytes_and_paths_are_answered() {
    let strategy = ("[ -~]{0,40}", prop::collection::vec(any::<u8>(), 0..60), "[A-Z]{1,6}");
    never_fails(&strategy, async |org: &Client, (path, body, method)| {
        let path: String = path.chars().filter(|c| !matches!(c, '#' | '\\' | '"' | '<' | '>' | '`' | ' ')).collect();
        let request = org.request(method.parse().unwrap(), &format!("/services/data/v62.0/{path}")).body(body);
        match request.build() {
            Ok(request) => read(org.http.execute(request).await.unwrap()).await.0,
            Err(_) => 0,
        }
    });
}
