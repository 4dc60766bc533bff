//! Whatever bytes reach a decoder — multipart, JSON, compressed bodies, XML, Avro — the org answers in its own shape.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Client, read};
use crate::fuzz::{is_error_array, json_text};
use crate::random::json_value;
use crate::subscriber::PubSub;
use crate::subscriber::proto::ProducerEvent;

fn for_all<S: Strategy>(cases: u32, strategy: &S, check: impl AsyncFn(&Client, S::Value) -> Result<(), TestCaseError>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let org = runtime.block_on(Client::new());
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    runner.run(strategy, |input| runtime.block_on(check(&org, input))).unwrap();
    assert_eq!((org.control().usage().locked_rows, org.control().usage().stored.pending), (0, 0));
}

/// One of these texts.
fn one_of(texts: &[&str]) -> impl Strategy<Value = String> + use<> {
    prop::sample::select(texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
}

/// A part of a multipart body: a line of dashes, headers, and content, each perhaps not as it should be.
fn part() -> impl Strategy<Value = Vec<u8>> {
    let dashes = one_of(&["--B\r\n", "--B\n", "--B", "--C\r\n", "-- B\r\n", "--B--\r\n"]);
    let header = one_of(&[
        "Content-Disposition: form-data; name=\"job\"\r\n",
        "Content-Disposition: form-data; name=\"content\"; filename=\"a.csv\"\r\n",
        "Content-Disposition: form-data; name=content\r\n",
        "Content-Disposition: form-data; name*=UTF-8''%ff%00\r\n",
        "Content-Disposition: form-data; name=\"é\"\r\n",
        "Content-Disposition: attachment\r\n",
        "Content-Type: text/csv; charset=utf-16\r\n",
        "Content-Type: multipart/mixed; boundary=B\r\n",
        "Content-Transfer-Encoding: base64\r\n",
        "no colon\r\n",
        ": \r\n",
        "\0: \0\r\n",
    ]);
    let content = prop_oneof![
        3 => one_of(&[
            "{\"object\":\"Account\",\"operation\":\"insert\"}",
            "{\"object\":\"Account\",\"operation\":\"insert\",\"lineEnding\":\"CRLF\",\"columnDelimiter\":\"PIPE\"}",
            "Name,Phone\nA,1\n",
            "Name\n\"A",
            "\u{feff}Name\r\n\r\nA\r\n",
            "",
        ])
        .prop_map(String::into_bytes),
        1 => json_text().prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ];
    (dashes, prop::collection::vec(header, 0..3), one_of(&["\r\n", "\n", ""]), content, one_of(&["\r\n", "\n", ""]))
        .prop_map(|(dashes, headers, gap, content, end)| {
            let mut bytes = format!("{dashes}{}{gap}", headers.concat()).into_bytes();
            bytes.extend(content);
            bytes.extend(end.into_bytes());
            bytes
        })
}

/// A job with its data.
const GOOD: &str = "--B\r\nContent-Disposition: form-data; name=\"job\"\r\nContent-Type: application/json\r\n\r\n\
    {\"object\":\"Account\",\"operation\":\"insert\"}\r\n--B\r\n\
    Content-Disposition: form-data; name=\"content\"; filename=\"content\"\r\nContent-Type: text/csv\r\n\r\n\
    Name,Phone\nA,1\n\r\n--B--\r\n";

#[test]
fn any_multipart_body_makes_a_job_or_a_refusal() {
    let kind = one_of(&[
        "multipart/form-data; boundary=B",
        "multipart/form-data; boundary=B",
        "multipart/form-data; boundary=B",
        "multipart/form-data; boundary=\"B\"",
        "multipart/form-data; boundary=",
        "multipart/form-data",
        "multipart/form-data; boundary=B; boundary=C",
        "multipart/form-data; boundary=\"",
        "multipart/mixed; boundary=B",
        "Multipart/Form-Data; Boundary=B; charset=x",
    ]);
    let pieces =
        (prop::collection::vec(part(), 0..4), one_of(&["--B--\r\n", "--B--", "--B", ""])).prop_map(|(parts, end)| {
            let mut bytes = parts.concat();
            bytes.extend(end.into_bytes());
            bytes
        });
    // A good body, of which something is cut out and something put in.
    let cut = (any::<prop::sample::Index>(), 0usize..12, part());
    let near = prop::collection::vec(cut, 0..3).prop_map(|cuts| {
        let mut bytes = GOOD.as_bytes().to_vec();
        for (from, length, put) in cuts {
            let from = from.index(bytes.len() + 1);
            let to = bytes.len().min(from + length);
            bytes.splice(from..to, put.into_iter().take(length));
        }
        bytes
    });
    let body = prop_oneof![pieces, near];
    let resource = one_of(&["jobs/ingest", "jobs/ingest", "jobs/ingest", "sobjects/Account", "composite/graph"]);
    let taken = Cell::new(0);
    for_all(512, &(resource, kind, body), async |org, (resource, kind, body)| {
        let request = org.request(Method::POST, &resource).header("content-type", kind).body(body);
        let (status, body) = read(request.send().await.unwrap()).await;
        let right = match status {
            200 => resource == "jobs/ingest" && body["id"].is_string() && body["state"].is_string(),
            400..500 => is_error_array(&body),
            _ => false,
        };
        prop_assert!(right, "{status} {body}");
        taken.set(taken.get() + u32::from(status == 200));
        Ok(())
    });
    assert!(taken.get() > 0, "some bodies must get through, or the test looks at the door only");
}

#[test]
fn any_json_sent_to_the_other_decoders_gets_the_right_envelope() {
    let shapes = prop::sample::select(vec![
        (
            "composite/tree/Account",
            r#"{"records":[{"attributes":{"type":"Account","referenceId":"a"},"Name":"A","Contacts":?}]}"#,
        ),
        ("composite/tree/Account", r#"{"records":[{"attributes":{"type":"Account","referenceId":"a"},"Name":?}]}"#),
        ("composite/tree/Contact", r#"{"records":?}"#),
        (
            "composite/batch",
            r#"{"batchRequests":[{"method":"PATCH","url":"v62.0/sobjects/Account/LimioId__c/x","richInput":?}]}"#,
        ),
        ("composite/batch", r#"{"haltOnError":?,"batchRequests":[{"method":"GET","url":"v62.0/limits"}]}"#),
        ("ui-api/predupe", r#"{"apiName":"Account","fields":?}"#),
        ("ui-api/predupe", r#"{"apiName":"Account","fields":{"LastName":?}}"#),
        ("jobs/ingest", r#"{"object":"Account","operation":"insert","columnDelimiter":?}"#),
        ("jobs/ingest", r#"{"object":?,"operation":"insert"}"#),
        ("sobjects/Account", r#"{"Name":"A","Phone":?}"#),
        ("sobjects/i42as__OrderEvent__e", r#"{"i42as__OrderNumber__c":?}"#),
        ("sobjects/Account", "?"),
        ("composite/batch", "?"),
        ("ui-api/predupe", "?"),
    ]);
    let plain = one_of(&["null", "\"x\"", "[]", "{}"]);
    let value = prop_oneof![json_text(), json_value().prop_map(|value| value.to_string()), plain];
    let request = (shapes, value).prop_map(|((path, shape), value)| (path, shape.replace('?', &value)));
    let taken = RefCell::new(HashSet::new());
    for_all(768, &request, async |org, (path, body)| {
        let request = org.request(Method::POST, path).header("content-type", "application/json").body(body);
        let (status, body) = read(request.send().await.unwrap()).await;
        let right = match status {
            200 | 201 => body.is_object(),
            // A tree tells of its rows instead.
            400 if path.starts_with("composite/tree") => is_error_array(&body) || body["hasErrors"] == true,
            400..500 => is_error_array(&body),
            _ => false,
        };
        prop_assert!(right, "{path}: {status} {body}");
        if status < 300 {
            taken.borrow_mut().insert(path);
        }
        Ok(())
    });
    assert!(taken.borrow().len() >= 3, "too few get through the decoders: {:?}", taken.borrow());
}

#[test]
fn compressed_bodies_that_are_none_are_refused() {
    let encoding = one_of(&["gzip", "deflate", "br", "zstd", "gzip, gzip", "identity", "nonsense"]);
    let body = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..60),
        // A good beginning, then anything.
        prop::collection::vec(any::<u8>(), 0..60)
            .prop_map(|bytes| [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3], &bytes[..]].concat()),
    ];
    for_all(256, &(encoding, body), async |org, (encoding, body)| {
        let request = org.request(Method::POST, "sobjects/Account").header("content-encoding", &encoding);
        let (status, answer) = read(request.body(body).send().await.unwrap()).await;
        prop_assert!((400..500).contains(&status), "{encoding}: {status} {answer}");
        Ok(())
    });
}

#[test]
fn any_envelope_sent_to_the_soap_service_gets_a_fault() {
    let piece = one_of(&[
        "<e:Envelope xmlns:e=\"http://schemas.xmlsoap.org/soap/envelope/\" xmlns:u=\"urn:partner.soap.sforce.com\">",
        "<e:Envelope>",
        "<e:Body>",
        "<e:Header>",
        "<u:login>",
        "<u:username>x</u:username>",
        "<u:password>&lt;&#0;&#x110000;&nope;</u:password>",
        "</u:login>",
        "</e:Body>",
        "</e:Envelope>",
        "<![CDATA[",
        "]]>",
        "<!--",
        "<!DOCTYPE a [<!ENTITY b \"&c;\">]>",
        "<a b='",
        "\0",
        "é",
    ]);
    let deep = (1usize..3_000).prop_map(|depth| "<a>".repeat(depth));
    let text = prop_oneof![
        6 => prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat()),
        1 => deep,
        1 => "\\PC{0,60}",
    ];
    let path = one_of(&["/services/Soap/u/59.0", "/services/Soap/c/59.0", "/services/Soap/u/99999999999"]);
    for_all(384, &(path, text), async |org, (path, text)| {
        let request = org.http.post(org.url(&path)).header("content-type", "text/xml").header("SOAPAction", "\"\"");
        let answer = request.body(text).send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        // A fault of SOAP has the status 500 of its own.
        prop_assert!(matches!(status, 404 | 500) && !text.contains("has a bug"), "{status} {text}");
        prop_assert!(status == 404 || text.contains("<soapenv:Fault>"), "{text}");
        Ok(())
    });
}

#[test]
fn any_body_sent_to_the_control_plane_is_answered() {
    let path = one_of(&[
        "settings",
        "faults",
        "duplicate-rules",
        "records/Account",
        "apps",
        "users",
        "auth-providers",
        "clock",
        "oauth/revoke",
    ]);
    let body = prop_oneof![
        2 => json_text(),
        1 => json_text().prop_map(|text| format!("{{\"kind\":{text},\"probability\":{text}}}")),
        1 => json_text().prop_map(|text| format!(
            "[{{\"name\":\"r\",\"object\":\"Account\",\"matching_rule\":\"m\",\"fields\":[{{\"field\":\"Name\",\"method\":{text}}}]}}]"
        )),
        1 => json_text().prop_map(|text| format!("{{\"LastName\":{text},\"Name\":{text}}}")),
    ];
    for_all(384, &(path, body), async |org, (path, body)| {
        let request = org.http.post(org.url(&format!("/_sim/{path}"))).header("content-type", "application/json");
        let (status, answer) = read(request.body(body).send().await.unwrap()).await;
        prop_assert!(status < 500, "{path}: {status} {answer}");
        prop_assert!(status < 400 || answer["error"].is_string(), "{path}: {status} {answer}");
        org.control().reset();
        Ok(())
    });
}

#[test]
fn any_avro_payload_is_an_event_or_its_error() {
    let payload = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..80),
        // Lengths that promise more than there is.
        (any::<i64>(), prop::collection::vec(any::<u8>(), 0..20)).prop_map(|(length, rest)| {
            let mut zigzag = (length.cast_unsigned() << 1) ^ (length >> 63).cast_unsigned();
            let mut bytes = vec![0, 2];
            while zigzag > 0x7f {
                bytes.push(u8::try_from(zigzag & 0x7f).unwrap_or_default() | 0x80);
                zigzag >>= 7;
            }
            bytes.push(u8::try_from(zigzag).unwrap_or_default());
            bytes.extend(rest);
            bytes
        }),
    ];
    let cut = any::<prop::sample::Index>();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let org = runtime.block_on(Client::new());
    let bus = RefCell::new(runtime.block_on(PubSub::of(&org)));
    let good = bus.borrow().event("1", json!({ "i42as__OrderNumber__c": "N" }));
    let mut runner = TestRunner::new(Config { cases: 384, failure_persistence: None, ..Config::default() });
    let strategy = prop_oneof![
        payload,
        cut.prop_map({
            let good = good.payload.clone();
            move |cut| good[..cut.index(good.len())].to_vec()
        })
    ];
    runner
        .run(&strategy, |payload| {
            let before = org.control().events().len();
            let event = ProducerEvent { payload, ..good.clone() };
            let answer = runtime.block_on(bus.borrow_mut().publish(vec![event]));
            let results = answer.map_err(|status| TestCaseError::fail(status.to_string()))?.results;
            prop_assert_eq!(results.len(), 1);
            let published = org.control().events().len() - before;
            prop_assert_eq!(published, usize::from(results[0].error.is_none()));
            Ok(())
        })
        .unwrap();
    let all: Vec<Value> = org.control().events().into_iter().map(|event| Value::Object(event.payload)).collect();
    assert!(all.iter().all(Value::is_object));
}
