//! Whatever text is sent to graph, composite and collections: the right envelope, never a failure of the org's own,
//! and no trace of what was refused.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;

use crate::client::{Client, read};

const OBJECTS: [&str; 3] = ["Account", "Contact", "LimioOrder__c"];

/// A JSON string literal; escapes that are no characters and references everywhere.
fn string() -> impl Strategy<Value = String> {
    let odd = [
        "@{a.id}",
        "@{a}",
        "@{",
        "@{}",
        "@{a.id",
        "@{a[0]}",
        "@{a[99999999999999999999]}",
        "@{b.errors[0].x}",
        "@{@{a.id}}",
        "}@{",
        "x@{a.id}y@{b.id}",
        "\\u0000",
        "\\ud800",
        "\\udfff\\ud800",
        "\\ud83d\\ude00",
        "\u{202e}",
        "\u{feff}",
        "e\u{301}",
        "ﬀ",
        "İ",
        "001000000000001AAA",
        "2026-13-45",
        "true",
        "",
        " ",
        "\\/",
        "\\",
        "\\x",
    ];
    prop_oneof![
        3 => prop::sample::select(odd.to_vec()).prop_map(|text| format!("\"{text}\"")),
        1 => "[ -~]{0,10}".prop_map(|text| Value::from(text).to_string()),
        1 => ".{0,6}".prop_map(|text| Value::from(text).to_string()),
    ]
}

fn number() -> impl Strategy<Value = String> {
    let odd = [
        "1e400",
        "-1e-400",
        "123456789012345678901234567890",
        "0.1e1",
        "-0",
        "01",
        "1.",
        "NaN",
        "9007199254740993",
        "1E+2",
    ];
    prop::sample::select(odd.to_vec()).prop_map(str::to_owned)
}

fn key() -> impl Strategy<Value = String> {
    let names = [
        "Name",
        "name",
        "LastName",
        "LimioId__c",
        "Id",
        "AccountId",
        "Account",
        "Account__r",
        "ParentId",
        "NumberOfEmployees",
        "attributes",
        "type",
        "records",
        "allOrNone",
        "body",
        "url",
        "",
        "@{a.id}",
    ];
    prop::sample::select(names.to_vec()).prop_map(|name| format!("\"{name}\""))
}

/// JSON text, seldom valid, with keys that come twice and nesting without measure.
pub(crate) fn json_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        4 => string(),
        2 => number(),
        2 => prop::sample::select(vec!["null", "true", "false", "{}", "[]"]).prop_map(str::to_owned),
        1 => (prop::sample::select(vec!["[", "{\"a\":"]), 1usize..5_000, any::<bool>()).prop_map(|(open, depth, closed)| {
            let close = if open == "[" { "]" } else { "}" };
            format!("{}1{}", open.repeat(depth), if closed { close.repeat(depth) } else { String::new() })
        }),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec((key(), inner), 0..5).prop_map(|fields| {
                let fields: Vec<String> = fields.iter().map(|(key, value)| format!("{key}:{value}")).collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    })
}

fn part() -> impl Strategy<Value = String> {
    let method = prop::sample::select(vec!["POST", "PATCH", "GET", "DELETE", "PUT", "post", "@{a.id}"]);
    let url = prop::sample::select(vec![
        "/services/data/v62.0/sobjects/Account",
        "/services/data/v62.0/sobjects/Contact",
        "/services/data/v62.0/sobjects/Account/LimioId__c/x",
        "/services/data/v62.0/sobjects/Account/LimioId__c/@{b.id}",
        "/services/data/v62.0/sobjects/Account/@{a.id}",
        "/services/data/v62.0/sobjects/LimioOrder__c/LimioId__c/%00%ff",
        "/services/data/v62.0/sobjects/i42as__OrderEvent__e",
        "/services/data/v62.0/query?q=SELECT+Id+FROM+Account",
        "/services/data/v62.0/composite/sobjects",
        "/services/data/v62.0/composite/graph",
        "/services/data/v99999999999.0/sobjects/Account",
        "//@{a.id}?@{b.id}",
    ]);
    let reference = prop::sample::select(vec!["a", "b", "c", "_", "é", ""]);
    (method, url, reference, json_text()).prop_map(|(method, url, reference, body)| {
        format!("{{\"method\":\"{method}\",\"url\":\"{url}\",\"referenceId\":\"{reference}\",\"body\":{body}}}")
    })
}

fn parts() -> impl Strategy<Value = String> {
    prop::collection::vec(part(), 0..4).prop_map(|parts| parts.join(","))
}

fn graph_request() -> impl Strategy<Value = String> {
    let graph = (parts(), "[a-c.-]{0,2}")
        .prop_map(|(nodes, id)| format!("{{\"graphId\":\"{id}\",\"compositeRequest\":[{nodes}]}}"));
    prop_oneof![
        4 => prop::collection::vec(graph, 0..3).prop_map(|graphs| format!("{{\"graphs\":[{}]}}", graphs.join(","))),
        1 => json_text(),
    ]
}

fn composite_request() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (parts(), any::<bool>())
            .prop_map(|(parts, flag)| format!("{{\"allOrNone\":{flag},\"compositeRequest\":[{parts}]}}")),
        1 => json_text(),
    ]
}

fn collection_request() -> impl Strategy<Value = String> {
    let row = (
        prop::sample::select(vec!["Account", "Contact", "LimioOrder__c", "i42as__OrderEvent__e", "Nope"]),
        key(),
        json_text(),
    )
        .prop_map(|(object, key, value)| {
            format!(
                "{{\"attributes\":{{\"type\":\"{object}\"}},\"LastName\":\"L\",\"LimioId__c\":\"x\",{key}:{value}}}"
            )
        });
    prop_oneof![
        4 => (prop::collection::vec(row, 0..4), any::<bool>())
            .prop_map(|(rows, flag)| format!("{{\"allOrNone\":{flag},\"records\":[{}]}}", rows.join(","))),
        1 => json_text(),
    ]
}

pub(crate) fn is_error_array(body: &Value) -> bool {
    body.as_array().is_some_and(|errors| {
        errors.len() == 1 && errors.iter().all(|error| error["errorCode"].is_string() && error["message"].is_string())
    })
}

fn is_part(part: &Value) -> bool {
    let keys: Vec<&str> = part.as_object().into_iter().flat_map(|part| part.keys().map(String::as_str)).collect();
    let status = part["httpStatusCode"].as_u64().unwrap_or_default();
    keys == ["body", "httpHeaders", "httpStatusCode", "referenceId"]
        && (200..500).contains(&status)
        && (status < 400 || is_error_array(&part["body"]))
}

fn is_row(row: &Value) -> bool {
    row["success"].is_boolean()
        && row["errors"].as_array().is_some_and(|errors| errors.iter().all(|e| e["statusCode"].is_string()))
}

fn all(list: &Value, holds: impl Fn(&Value) -> bool) -> bool {
    list.as_array().is_some_and(|list| list.iter().all(holds))
}

/// What a 200 of this resource looks like, and whether it says that nothing was written.
fn judge(path: &str, body: &Value) -> (bool, bool) {
    match path {
        "composite/graph" => {
            let good = |graph: &Value| {
                graph["graphId"].is_string()
                    && graph["isSuccessful"].is_boolean()
                    && all(&graph["graphResponse"]["compositeResponse"], is_part)
            };
            (all(&body["graphs"], good), all(&body["graphs"], |graph| graph["isSuccessful"] == false))
        }
        "composite" => {
            let parts = &body["compositeResponse"];
            (
                all(parts, is_part),
                all(parts, |part| part["httpStatusCode"].as_u64().is_some_and(|status| status >= 400)),
            )
        }
        _ => (all(body, is_row), all(body, |row| row["success"] == false)),
    }
}

fn rows(org: &Client) -> Vec<Vec<serde_json::Map<String, Value>>> {
    OBJECTS.iter().map(|object| org.records(object)).collect()
}

fn holds<S: Strategy<Value = String>>(method: &str, path: &str, strategy: &S) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let org = runtime.block_on(Client::new());
    let resource = path.split("/Account").next().unwrap();
    let mut runner = TestRunner::new(Config { cases: 256, failure_persistence: None, ..Config::default() });
    runner
        .run(strategy, |text| {
            let before = rows(&org);
            let request =
                org.request(method.parse().unwrap(), path).header("content-type", "application/json").body(text);
            let (status, body) = runtime.block_on(async { read(request.send().await.unwrap()).await });
            let (shaped, nothing_written) = match status {
                200 => judge(resource, &body),
                400..500 => (is_error_array(&body), true),
                _ => (false, false),
            };
            prop_assert!(shaped, "{status} {body}");
            prop_assert!(!nothing_written || rows(&org) == before, "written although refused: {body}");
            Ok(())
        })
        .unwrap();
    assert_eq!((org.control().usage().locked_rows, org.control().usage().stored.pending), (0, 0));
}

#[test]
fn any_text_sent_as_a_graph_request_gets_the_right_envelope() {
    holds("POST", "composite/graph", &graph_request());
}

#[test]
fn any_text_sent_as_a_composite_request_gets_the_right_envelope() {
    holds("POST", "composite", &composite_request());
}

#[test]
fn any_text_sent_as_a_collection_gets_the_right_envelope() {
    holds("POST", "composite/sobjects", &collection_request());
    holds("PATCH", "composite/sobjects", &collection_request());
    holds("PATCH", "composite/sobjects/Account/LimioId__c", &collection_request());
}
