//! What must not travel onward: payment secrets and proofs of a session.
//!
//! A key counts as a secret by its name, folded to lower case without `_` and `-`:
//!
//! | Where | Which keys go |
//! |---|---|
//! | below any key that begins with `payment`, and below any record of type `payment_method` | ending in `token` or `signature`; `result`; bank and card numbers (`acc_number`, `account_number`, `sort_code`, `iban`, `card_number`, `cvv`, `cvc`) |
//! | anywhere | beginning with `recaptcha` |
//!
//! Source: Orders API and Callout Plugin; the order's `payment` object carries the payment page's whole answer.

use std::borrow::Cow;

use serde_json::{Map, Value};

const ENDINGS: [&str; 2] = ["token", "signature"];
const NAMES: [&str; 8] = ["result", "accnumber", "accountnumber", "sortcode", "iban", "cardnumber", "cvv", "cvc"];

/// Removes the secrets of a Limio object, at any depth. Nothing of them is recorded.
pub fn strip(object: &mut Map<String, Value>) {
    strip_map(object, false);
}

/// A message body without its secrets, for bytes that no order could be made of. Bytes that are not JSON come back as
/// they are, and so do bytes without secrets.
pub fn strip_body(body: &[u8]) -> Cow<'_, [u8]> {
    let Ok(mut value) = serde_json::from_slice::<Value>(body) else { return Cow::Borrowed(body) };
    let before = value.clone();
    strip_value(&mut value, false);
    strip_text(&mut value, 2);
    if value == before {
        return Cow::Borrowed(body);
    }
    Cow::Owned(serde_json::to_vec(&value).expect("a JSON value always has a JSON form"))
}

/// Opens JSON strings: the body itself, and `data` and `body` one level down.
fn strip_text(value: &mut Value, strings: u8) {
    match value {
        Value::String(text) if strings > 0 => {
            let Ok(mut inner) = serde_json::from_str::<Value>(text) else { return };
            let before = inner.clone();
            strip_value(&mut inner, false);
            strip_text(&mut inner, strings - 1);
            if inner != before {
                *text = inner.to_string();
            }
        }
        Value::Object(map) => {
            for key in ["data", "body"] {
                if let Some(inner) = map.get_mut(key) {
                    strip_text(inner, strings);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {}
    }
}

fn strip_value(value: &mut Value, in_payment: bool) {
    match value {
        Value::Object(map) => strip_map(map, in_payment),
        Value::Array(items) => items.iter_mut().for_each(|item| strip_value(item, in_payment)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn strip_map(map: &mut Map<String, Value>, in_payment: bool) {
    let in_payment = in_payment || map.get("record_type").and_then(Value::as_str) == Some("payment_method");
    map.retain(|key, value| {
        let name: String = key.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect();
        let in_payment = in_payment || name.starts_with("payment");
        let secret = name.starts_with("recaptcha") || in_payment && is_secret(&name);
        if !secret {
            strip_value(value, in_payment);
        }
        !secret
    });
}

fn is_secret(name: &str) -> bool {
    NAMES.contains(&name) || ENDINGS.iter().any(|ending| name.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
    fn a_body_without_secrets_or_without_json_keeps_its_bytes() {
        for body in [b"{ \"a\": 1 }".as_slice(), b"\xff\xfe", b"{\"payment\":"] {
            assert!(matches!(strip_body(body), Cow::Borrowed(same) if same == body));
        }
    }
}
