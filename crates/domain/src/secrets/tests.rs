use std::borrow::Cow;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn stripped(mut value: Value) -> Value {
    strip(value.as_object_mut().expect("an object"));
    value
}

#[test]
fn tokens_signatures_and_results_go_and_references_stay() {
    let order = json!({
        "payment": {"type": "zuora", "zuora": {"refId": "8a", "token": "t", "signature": "s", "accessToken": "t"},
                    "stripe": {"result": {"id": 1}}, "direct_debit": {"sort_code": "1", "acc_number": "2"}},
        "payment_methods": [{"data": {"zuora": {"result": {"CreditCardMaskNumber": "x"}}}}],
        "recaptchaPayload": "r",
    });
    let expected = json!({
        "payment": {"type": "zuora", "zuora": {"refId": "8a"}, "stripe": {}, "direct_debit": {}},
        "payment_methods": [{"data": {"zuora": {}}}],
    });
    assert_eq!(stripped(order), expected);
}

#[test]
fn a_payment_method_record_is_recognised_by_its_type() {
    let order = json!({"related": [{"record_type": "payment_method", "data": {"token": "t", "type": "zuora"}}]});
    assert_eq!(stripped(order), json!({"related": [{"record_type": "payment_method", "data": {"type": "zuora"}}]}));
}

#[test]
fn the_same_words_elsewhere_are_not_secrets() {
    let order = json!({"customFields": {"token": "kept", "result": "kept", "signature": "kept"}});
    assert_eq!(stripped(order.clone()), order);
}

#[test]
fn a_body_is_stripped_even_inside_json_strings() {
    let order = r#"{"payment":{"token":"t","type":"x"}}"#;
    let body = serde_json::to_vec(&json!({"data": order})).expect("JSON");
    let stripped = strip_body(&body);
    assert_eq!(
        serde_json::from_slice::<Value>(&stripped).expect("JSON"),
        json!({"data": r#"{"payment":{"type":"x"}}"#})
    );
}

#[test]
fn a_body_without_payment_secrets_keeps_its_bytes() {
    let encoded = base64::encode(br#"{"order_type":"renew"}"#);
    let event = format!("{{\"data_base64\": \"{encoded}\"}}");
    let bodies: [&[u8]; 12] = [
        b"{ \"a\": 1 }",
        b"\xff\xfe",
        b"",
        b"{\"payment\":",
        b"{\"payment\":{\"type\":\"zuora\",\"refId\":\"8a",
        b"{\"customFields\":{\"token\":\"kept\"}}",
        b"\xef\xbb\xbf{\"payment\": {\"type\": \"x\"}}",
        b"\"{\\\"customFields\\\":{\\\"token\\\":\\\"kept\\\"}}\"",
        b"{\"token\": null, \"result\": {}, \"signature\": \"\", ",
        b"not JSON: token: abc, a \"token\" and so on",
        b"{\"a\":1,\"a\":2}",
        event.as_bytes(),
    ];
    for body in bodies {
        let text = String::from_utf8_lossy(body);
        assert!(matches!(strip_body(body), Cow::Borrowed(same) if same == body), "{text}");
    }
}

#[test]
fn bytes_that_are_no_json_keep_everything_but_the_values_of_secret_members() {
    let cases = [
        (r#"{"payment":{"token":"abc","type":"x"},"#, r#"{"payment":{"token":"***","type":"x"},"#),
        (r#"{"payment":{"token" : "abc"#, r#"{"payment":{"token" : "***"#),
        (r#"{"Sig-NATURE":"a\"b\\","n":1"#, r#"{"Sig-NATURE":"***","n":1"#),
        (r#"{"cvv":123,"result":{"a":["}",{"b":1}]},"n":1"#, r#"{"cvv":"***","result":"***","n":1"#),
        (r#"{"result":[1,{"a":"b"#, r#"{"result":"***""#),
        (r#"{"recaptchaPayload":"r","n":1"#, r#"{"recaptchaPayload":"***","n":1"#),
        (r#"{"\u0074oken":"abc""#, r#"{"\u0074oken":"***""#),
        (r#"{"data":"{\"token\":\"a\\\"b\\\\\",\"n\":1"#, r#"{"data":"{\"token\":\"***\",\"n\":1"#),
        (
            r#"{"data":"{\"cvv\":12,\"result\":{\"a\":1}}","n":"#,
            r#"{"data":"{\"cvv\":\"***\",\"result\":\"***\"}","n":"#,
        ),
        (
            r#"{"data":"{\u0022token\u0022:\u0022abc\u0022,\u0022n\u0022:1"#,
            r#"{"data":"{\u0022token\u0022:\u0022***\u0022,\u0022n\u0022:1"#,
        ),
        (r#""{\n \"token\":\n \"abc\"\n"#, r#""{\n \"token\":\n \"***\"\n"#),
        (r#"{"payment":{"token":"a","token":"b"}}"#, r#"{"payment":{"token":"***","token":"***"}}"#),
        (r#"{"payment":{"token":"a"},"payment":{}}"#, r#"{"payment":{"token":"***"},"payment":{}}"#),
        (r#"{"data_base64":"n@t base64","#, r#"{"data_base64":"***","#),
    ];
    for (body, expected) in cases {
        assert_eq!(String::from_utf8_lossy(&strip_body(body.as_bytes())), expected);
        assert!(matches!(strip_body(expected.as_bytes()), Cow::Borrowed(_)), "{expected}");
    }
    assert_eq!(*strip_body(b"\xff{\"token\":\"a\xfeb\"}\xff"), *b"\xff{\"token\":\"***\"}\xff");
}

#[test]
fn base64_data_is_opened_and_closed_again() {
    let order = br#"{"payment":{"token":"t","type":"x"}}"#;
    let event = json!({"specversion": "1.0", "data_base64": base64::encode(order)}).to_string();
    let stripped: Value = serde_json::from_slice(&strip_body(event.as_bytes())).expect("JSON");
    let inner = base64::decode(stripped["data_base64"].as_str().expect("text")).expect("base64");
    assert_eq!(inner, br#"{"payment":{"type":"x"}}"#);
}

#[test]
fn wrappings_without_end_are_masked_and_end() {
    let mut body = json!({"payment": {"token": MARK}}).to_string();
    for _ in 0..20 {
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        body = format!("{{\"a\":{deep},\"data_base64\":\"{}\"}}", base64::encode(body.as_bytes()));
    }
    assert!(!everything(&strip_body(body.as_bytes())).contains(MARK));
    let bomb = format!("{}{{\"payment\":{{\"token\":\"{MARK}\"}}}}", "[".repeat(100_000));
    assert!(!everything(&strip_body(bomb.as_bytes())).contains(MARK));
}

/// How each planted secret begins and ends, and nothing else.
const MARK: &str = "zqx";

/// What a reader could find in the bytes: themselves, and what their base64 holds, as deep as it goes.
fn everything(bytes: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(bytes).into_owned();
    let symbol = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    for run in bytes.split(|byte| !symbol(byte)).filter(|run| run.len() >= 8) {
        let whole = std::str::from_utf8(&run[..run.len() / 4 * 4]).expect("ASCII");
        text.push_str(&everything(&base64::decode(whole).expect("base64")));
    }
    text
}

fn secret() -> impl Strategy<Value = Value> {
    let text = "[a-z\"\\\\{}:,é ]{0,12}".prop_map(|rest| format!("{MARK}{rest}{MARK}"));
    prop_oneof![
        4 => text.clone().prop_map(Value::from),
        1 => text.clone().prop_map(|text| json!({"id": text, "list": [1, {"more": text}]})),
        1 => text.prop_map(|text| json!([text])),
    ]
}

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "token",
        "accessToken",
        "signature",
        "result",
        "sort_code",
        "acc_number",
        "iban",
        "card_number",
        "cvv",
        "cvc",
    ])
}

fn order() -> impl Strategy<Value = Value> {
    (prop::collection::vec((name(), secret()), 1..4), secret(), "[a-z\"\\\\ ]{0,8}").prop_map(
        |(planted, captcha, note)| {
            let mut zuora = Map::from_iter([("refId".to_owned(), json!("8a")), ("note".to_owned(), json!(note))]);
            zuora.extend(planted.into_iter().map(|(name, value)| (name.to_owned(), value)));
            json!({"order_type": "new", "note": note, "payment": {"type": "zuora", "zuora": zuora},
               "recaptchaPayload": captcha, "customFields": {"note": note}})
        },
    )
}

/// What `decode` opens, one time or several.
fn wrapped(body: &Value, wrapping: u8) -> Value {
    let encoded = || base64::encode(body.to_string().as_bytes());
    match wrapping {
        0 => json!(body.to_string()),
        1 => json!({"specversion": "1.0", "type": "com.limio.order.submitted", "data": body}),
        2 => json!({"specversion": "1.0", "type": "com.limio.order.submitted", "data": body.to_string()}),
        3 => json!({"specversion": "1.0", "type": "com.limio.order.submitted", "data_base64": encoded()}),
        4 => json!({"record_type": "order", "data": body, "id": "order-1"}),
        5 => json!({"record_type": "order", "data": body.to_string(), "id": "order-1"}),
        6 => json!({"v": 1, "tenant": "acme", "body": body}),
        7 => json!({"v": 1, "tenant": "acme", "body": body.to_string()}),
        _ => body.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn no_secret_is_left_in_any_wrapping_nor_wherever_it_is_torn(
        order in order(),
        wrappings in prop::collection::vec(0_u8..9, 0..3),
        pretty in any::<bool>(),
        marked in any::<bool>(),
        spoiled in any::<bool>(),
    ) {
        let body = wrappings.iter().fold(order, |body, wrapping| wrapped(&body, *wrapping));
        let text = if pretty { serde_json::to_string_pretty(&body) } else { serde_json::to_string(&body) };
        let mut bytes = if marked { "\u{feff}".as_bytes().to_vec() } else { Vec::new() };
        bytes.extend(text.expect("JSON").bytes());
        prop_assert!(everything(&bytes).contains(MARK));
        if spoiled {
            bytes.push(0xff);
        }
        for end in 0..=bytes.len() {
            let stripped = strip_body(&bytes[..end]);
            prop_assert!(
                !everything(&stripped).contains(MARK),
                "{}\nbecame\n{}", String::from_utf8_lossy(&bytes[..end]), String::from_utf8_lossy(&stripped)
            );
            let again = strip_body(&stripped);
            prop_assert_eq!(&again, &stripped);
        }
    }

    #[test]
    fn bytes_that_look_like_members_never_panic_and_are_masked_once(
        parts in prop::collection::vec(prop::sample::select(vec![
            "\"", "\\", "\\\"", "\\u0022", "u0022", ":", "{", "}", "[", "]", ",", " ", "\\n", "token", "result", "data_base64",
            "e30=", "é", "\u{feff}", "null", "12", "payment",
        ]), 0..40),
        wrap in any::<bool>(),
    ) {
        let text = parts.concat();
        let text = if wrap { json!({"data": text, "data_base64": base64::encode(text.as_bytes())}).to_string() } else { text };
        let stripped = strip_body(text.as_bytes()).into_owned();
        prop_assert_eq!(strip_body(&stripped), stripped.as_slice(), "{}", text);
    }

    #[test]
    fn without_payment_secrets_nothing_changes_in_any_wrapping(
        note in "[a-z\"\\\\{}:,é ]{0,12}",
        wrappings in prop::collection::vec(0_u8..9, 0..3),
        pretty in any::<bool>(),
    ) {
        let order = json!({"order_type": "new", "note": note, "payment": {"type": "zuora", "refId": note},
                           "customFields": {"token": note, "result": {"signature": note}}});
        let body = wrappings.iter().fold(order, |body, wrapping| wrapped(&body, *wrapping));
        let text = if pretty { serde_json::to_string_pretty(&body) } else { serde_json::to_string(&body) };
        let text = text.expect("JSON");
        prop_assert!(matches!(strip_body(text.as_bytes()), Cow::Borrowed(same) if same == text.as_bytes()));
    }
}
