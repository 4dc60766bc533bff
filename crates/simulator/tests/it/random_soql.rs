//! Random statements and data: answered as an org answers, soon, and with the rows that a plain reading gives.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::client::{Client, read};
use crate::query::seeded;

/// Runs `check` for generated inputs against one org.
fn for_all<S: Strategy>(
    cases: u32,
    org: impl Future<Output = Client>,
    strategy: &S,
    check: impl AsyncFn(&Client, S::Value) -> Result<(), TestCaseError>,
) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let org = runtime.block_on(org);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    runner.run(strategy, |input| runtime.block_on(check(&org, input))).unwrap();
}

/// Longest time for one answer, on a machine that is busy with other tests.
const SOON: Duration = Duration::from_mins(1);

fn words() -> impl Strategy<Value = String> {
    let words = [
        "SELECT",
        "Id",
        "Name",
        "Owner.Name",
        "Parent.Parent.Name",
        "COUNT()",
        "COUNT(Id)",
        "MAX(NumberOfEmployees) m",
        "FIELDS(ALL)",
        "FROM",
        "Account",
        "Contact",
        "(SELECT Id FROM Contacts)",
        "(SELECT AccountId FROM Contact)",
        "WHERE",
        "=",
        "!=",
        "<",
        "LIKE",
        "IN",
        "NOT",
        "AND",
        "OR",
        "INCLUDES",
        "(",
        ")",
        ",",
        "'x'",
        "'%_\\%'",
        "'001000000000001AAA'",
        "5",
        "-1.5",
        "1e300",
        "null",
        "true",
        "TODAY",
        "LAST_N_YEARS:65535",
        "NEXT_N_DAYS:3",
        "2026-01-01T00:00:00Z",
        "9999-12-31",
        "GROUP",
        "BY",
        "HAVING",
        "ORDER",
        "DESC",
        "NULLS",
        "LAST",
        "LIMIT",
        "OFFSET",
        "FOR",
        "UPDATE",
        "ALL",
        "ROWS",
        "USING",
        "SCOPE",
        "mine",
        "Industry",
        "CreatedDate",
        "NumberOfEmployees",
        "é",
        "'",
        "\\",
    ];
    prop::collection::vec(prop::sample::select(words.to_vec()), 0..14).prop_map(|words| words.join(" "))
}

#[test]
fn random_statements_are_answered_soon() {
    let valid = prop::sample::select(vec![
        "SELECT Id, Owner.Name FROM Account WHERE Name LIKE 'A%' AND (NOT Phone = null) ORDER BY Name DESC NULLS LAST LIMIT 5",
        "SELECT Industry, COUNT(Id) n FROM Account GROUP BY Industry HAVING COUNT(Id) > 1 ORDER BY COUNT(Id)",
        "SELECT Id, (SELECT LastName FROM Contacts WHERE LastName != 'x' LIMIT 2) FROM Account WHERE Id IN (SELECT AccountId FROM Contact)",
        "SELECT FIELDS(ALL) FROM Account WHERE CreatedDate = LAST_N_DAYS:7 OR CreatedDate >= 2026-01-01T00:00:00.000Z LIMIT 200 OFFSET 3",
    ]);
    let mutated = (valid, any::<prop::sample::Index>(), any::<prop::sample::Index>(), words()).prop_map(
        |(text, from, to, put)| {
            let (a, b) = (from.index(text.len()), to.index(text.len()));
            format!("{}{put}{}", &text[..a.min(b)], &text[a.max(b)..])
        },
    );
    let statement = prop_oneof![
        2 => words(),
        2 => words().prop_map(|words| format!("SELECT Id FROM Account WHERE {words}")),
        3 => mutated,
        1 => "\\PC{0,60}",
        1 => (0usize..3_000, prop::sample::select(vec!["(", "NOT ", "NOT (", "(SELECT Id FROM ", "Parent.", "'", "((("]))
            .prop_map(|(n, piece)| format!("SELECT Id FROM Account WHERE {}", piece.repeat(n))),
    ];
    for_all(384, seeded(), &statement, async |org, statement| {
        let begun = tokio::time::Instant::now();
        let status = org.query(&statement).await.0;
        prop_assert!(matches!(status, 200 | 400 | 414 | 431), "{statement}: {status}");
        prop_assert!(begun.elapsed() < SOON, "{statement} took {:?}", begun.elapsed());
        Ok(())
    });
}

#[test]
fn random_bytes_as_jobs_are_answered() {
    let piece = prop_oneof![
        Just("--B\r\n".to_owned()),
        Just("--B--".to_owned()),
        Just("Content-Disposition: form-data; name=\"job\"\r\n\r\n".to_owned()),
        Just("Content-Disposition: form-data; name=\"content\"\r\n\r\n".to_owned()),
        Just("{\"object\":\"Account\",\"operation\":\"insert\"}\r\n".to_owned()),
        Just("Name,Phone\nA,1\n".to_owned()),
        "[ -~\r\n]{0,20}",
    ];
    let text = prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat().into_bytes());
    let cells = prop::sample::select(vec![
        "Name",
        "Id",
        "LimioId__c",
        "Parent.LimioId__c",
        ",",
        ",",
        "\n",
        "\n",
        "\"",
        "#N/A",
        "x",
        "é",
        "\r",
        "\u{feff}",
        "001000000000001AAA",
    ]);
    let table = prop::collection::vec(cells, 0..24).prop_map(|cells| cells.concat().into_bytes());
    let bytes = prop_oneof![text, table, prop::collection::vec(any::<u8>(), 0..60)];
    let operation = prop::sample::select(vec!["insert", "update", "upsert", "delete"]);
    for_all(128, Client::new(), &(bytes, operation), async |org, (bytes, operation)| {
        let multipart =
            org.request(Method::POST, "jobs/ingest").header("Content-Type", "multipart/form-data; boundary=B");
        let (status, _) = read(multipart.body(bytes.clone()).send().await.unwrap()).await;
        prop_assert!(status < 500, "{status}");
        let job = json!({ "object": "Account", "operation": operation, "externalIdFieldName": "LimioId__c" });
        let (status, job) = org.post("jobs/ingest", job).await;
        prop_assert_eq!(status, 200);
        let path = format!("jobs/ingest/{}", job["id"].as_str().unwrap_or_default());
        let put = org.request(Method::PUT, &format!("{path}/batches")).body(bytes);
        prop_assert_eq!(read(put.send().await.unwrap()).await.0, 201);
        org.patch(&path, json!({ "state": "UploadComplete" })).await;
        for _ in 0..2_000 {
            let (status, info) = org.get(&path).await;
            prop_assert_eq!(status, 200);
            if ["JobComplete", "Failed"].contains(&info["state"].as_str().unwrap_or_default()) {
                return Ok(());
            }
        }
        prop_assert!(false, "the job does not end");
        Ok(())
    });
}

/// A condition on the rows of the model, as text and as a plain function.
#[derive(Debug, Clone)]
enum Condition {
    Text(&'static str, &'static str, Option<&'static str>),
    Number(&'static str, Option<i64>),
    Starts(&'static str),
    OneOf(bool, Vec<&'static str>),
    Both(Box<Condition>, Box<Condition>),
    Either(Box<Condition>, Box<Condition>),
    Not(Box<Condition>),
}

impl Condition {
    fn text(&self) -> String {
        let quoted = |value: Option<&str>| value.map_or("null".to_owned(), |value| format!("'{value}'"));
        match self {
            Self::Text(field, sign, value) => format!("{field} {sign} {}", quoted(*value)),
            Self::Number(sign, value) => {
                format!("NumberOfEmployees {sign} {}", value.map_or("null".to_owned(), |value| value.to_string()))
            }
            Self::Starts(with) => format!("Name LIKE '{with}%'"),
            Self::OneOf(within, values) => {
                let values: Vec<String> = values.iter().map(|value| format!("'{value}'")).collect();
                format!("Phone {}IN ({})", if *within { "" } else { "NOT " }, values.join(", "))
            }
            Self::Both(left, right) => format!("({} AND {})", left.text(), right.text()),
            Self::Either(left, right) => format!("({} OR {})", left.text(), right.text()),
            Self::Not(inner) => format!("(NOT {})", inner.text()),
        }
    }

    fn holds(&self, row: &Map<String, Value>) -> bool {
        let text = |field: &str| row.get(field).and_then(Value::as_str).map(str::to_lowercase);
        match self {
            Self::Text(field, sign, wanted) => {
                by_sign(sign, text(field).as_ref(), wanted.map(str::to_lowercase).as_ref())
            }
            Self::Number(sign, wanted) => {
                by_sign(sign, row.get("NumberOfEmployees").and_then(Value::as_i64).as_ref(), wanted.as_ref())
            }
            Self::Starts(with) => text("Name").is_some_and(|name| name.starts_with(with)),
            Self::OneOf(within, values) => {
                text("Phone").is_some_and(|phone| values.contains(&phone.as_str())) == *within
            }
            Self::Both(left, right) => left.holds(row) && right.holds(row),
            Self::Either(left, right) => left.holds(row) || right.holds(row),
            Self::Not(inner) => !inner.holds(row),
        }
    }
}

fn by_sign<T: Ord>(sign: &str, value: Option<&T>, wanted: Option<&T>) -> bool {
    match (sign, value, wanted) {
        ("=", value, wanted) => value == wanted,
        ("!=", value, wanted) => value != wanted,
        ("<", Some(value), Some(wanted)) => value < wanted,
        (">=", Some(value), Some(wanted)) => value >= wanted,
        _ => false,
    }
}

fn condition() -> impl Strategy<Value = Condition> {
    let sign = || prop::sample::select(vec!["=", "!=", "<", ">="]);
    let value = prop::option::of(prop::sample::select(vec!["ab", "AB", "abc", "b", "1", "2"]));
    let leaf = prop_oneof![
        (prop::sample::select(vec!["Name", "Phone"]), sign(), value).prop_map(|(f, s, v)| Condition::Text(f, s, v)),
        (sign(), prop::option::of(0i64..4)).prop_map(|(sign, value)| Condition::Number(sign, value)),
        prop::sample::select(vec!["a", "ab", "b", ""]).prop_map(Condition::Starts),
        (any::<bool>(), prop::collection::vec(prop::sample::select(vec!["1", "2", "3"]), 1..3))
            .prop_map(|(within, values)| Condition::OneOf(within, values)),
    ];
    leaf.prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Condition::Both(Box::new(a), Box::new(b))),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Condition::Either(Box::new(a), Box::new(b))),
            inner.prop_map(|inner| Condition::Not(Box::new(inner))),
        ]
    })
}

fn model() -> Vec<Map<String, Value>> {
    let mut rows = Vec::new();
    for name in ["ab", "ABC", "b"] {
        for phone in [None, Some("1"), Some("2")] {
            for staff in [None, Some(1), Some(3)] {
                let mut row = json!({ "Name": name }).as_object().unwrap().clone();
                row.extend(phone.map(|phone| ("Phone".to_owned(), json!(phone))));
                row.extend(staff.map(|staff| ("NumberOfEmployees".to_owned(), json!(staff))));
                rows.push(row);
            }
        }
    }
    rows
}

#[test]
fn where_chooses_what_a_plain_reading_chooses() {
    let rows = model();
    let org = async {
        let org = Client::new().await;
        org.control().seed("Account", &rows).await.unwrap();
        org
    };
    for_all(256, org, &condition(), async |org, condition| {
        let statement = format!("SELECT Name, Phone, NumberOfEmployees FROM Account WHERE {}", condition.text());
        let (status, body) = org.query(&statement).await;
        prop_assert_eq!(status, 200, "{}: {}", statement, body);
        let found: Vec<Map<String, Value>> = body["records"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|record| {
                let fields = record.as_object().into_iter().flatten();
                fields
                    .filter(|(key, value)| *key != "attributes" && !value.is_null())
                    .map(|(k, v)| (k.clone(), v.clone()))
                    .collect()
            })
            .collect();
        let expected: Vec<Map<String, Value>> = model().into_iter().filter(|row| condition.holds(row)).collect();
        prop_assert_eq!(found, expected, "{}", statement);
        Ok(())
    });
}
