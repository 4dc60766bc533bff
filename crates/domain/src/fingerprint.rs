//! What an order says, as one digest.
//!
//! SHA-256 over canonical JSON: keys sorted, numbers by value (`12`, `12.0` and `12.00` are one), and whatever says
//! nothing left out (`null`, blank text, empty objects and arrays), since Limio sends those and leaves them away alike.
//! A string and a number stay different.
//!
//! Left out too, because a second sending of the same order may differ in it:
//!
//! | Field | Why |
//! |---|---|
//! | `updated`, `modified`, `received_at` | time of the copy, not of the order |
//! | `status`, `orderState`, `payment_status` | progress of processing |
//! | `process_…` | how and where Limio processes it |
//! | `recaptcha…` | proof of one session |
//! | `userDetails.iat`, `.exp`, `.auth_time` | lifetime of one token |

use serde_json::{Map, Number, Value};
use sha2::{Digest, Sha256};

use crate::order::id::Fingerprint;

const VOLATILE: [&str; 6] = ["updated", "modified", "received_at", "status", "orderState", "payment_status"];
const VOLATILE_PREFIXES: [&str; 2] = ["process_", "recaptcha"];
const VOLATILE_CLAIMS: [&str; 3] = ["iat", "exp", "auth_time"];

/// Where an object stands; its volatile keys depend on that.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Order,
    Claims,
    Below,
}

impl Place {
    fn is_volatile(self, name: &str) -> bool {
        match self {
            Self::Order => VOLATILE.contains(&name) || VOLATILE_PREFIXES.iter().any(|prefix| name.starts_with(prefix)),
            Self::Claims => VOLATILE_CLAIMS.contains(&name),
            Self::Below => false,
        }
    }
}

/// The fingerprint of an order from which the secrets were stripped.
pub fn of(order: &Map<String, Value>) -> Fingerprint {
    let mut canonical = Vec::with_capacity(1024);
    write_object(&mut canonical, order, Place::Order);
    Fingerprint::of(Sha256::digest(&canonical).into())
}

fn write_object(out: &mut Vec<u8>, map: &Map<String, Value>, place: Place) {
    let mut fields: Vec<(&String, &Value)> =
        map.iter().filter(|(name, value)| !place.is_volatile(name) && says(value)).collect();
    fields.sort_unstable_by_key(|(name, _)| *name);
    out.push(b'{');
    for (name, value) in fields {
        write_text(out, name);
        out.push(b':');
        match value.as_object() {
            Some(claims) if place == Place::Order && name == "userDetails" => write_object(out, claims, Place::Claims),
            Some(_) | None => write(out, value),
        }
        out.push(b',');
    }
    out.push(b'}');
}

fn write(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(flag) => out.extend_from_slice(if *flag { b"true" } else { b"false" }),
        Value::Number(number) => write_number(out, number),
        Value::String(text) => write_text(out, text),
        Value::Array(items) => {
            out.push(b'[');
            for item in items {
                write(out, item);
                out.push(b',');
            }
            out.push(b']');
        }
        Value::Object(map) => write_object(out, map, Place::Below),
    }
}

fn write_number(out: &mut Vec<u8>, number: &Number) {
    let text = number.to_string();
    let text = text.strip_suffix(".0").unwrap_or(&text);
    out.extend_from_slice(if text == "-0" { b"0" } else { text.as_bytes() });
}

/// Length first, so that no text can imitate another's end.
fn write_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.len().to_string().as_bytes());
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
}

fn says(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(json: &str) -> Fingerprint {
        of(&serde_json::from_str(json).expect("an object"))
    }

    #[test]
    fn key_order_spelling_of_numbers_and_empty_values_do_not_matter() {
        let plain = digest(r#"{"a": 12.5, "b": {"c": 1, "d": "x"}}"#);
        for same in [
            r#"{"b": {"d": "x", "c": 1}, "a": 12.50}"#,
            r#"{"a": 12.5, "b": {"c": 1.0, "d": "x"}, "e": null, "f": "", "g": {}, "h": []}"#,
        ] {
            assert_eq!(digest(same), plain, "{same}");
        }
    }

    #[test]
    fn any_other_difference_matters() {
        let plain = digest(r#"{"a": 12.5, "b": ["x", "y"]}"#);
        for other in [
            r#"{"a": "12.5", "b": ["x", "y"]}"#,
            r#"{"a": 12.5, "b": ["y", "x"]}"#,
            r#"{"a": 12.51, "b": ["x", "y"]}"#,
            r#"{"a": 12.5, "b": ["x", "y"], "c": false}"#,
            r#"{"a": 12.5, "b": ["x,1\"y"]}"#,
        ] {
            assert_ne!(digest(other), plain, "{other}");
        }
    }

    #[test]
    fn what_a_second_sending_may_change_is_left_out() {
        let first = digest(r#"{"a": 1, "userDetails": {"sub": "id-1"}}"#);
        let second = r#"{"a": 1, "status": "complete", "orderState": "submitting", "updated": "2026-02-03", "process_hash": "x",
            "recaptchaPayload": "y", "received_at": "z", "userDetails": {"sub": "id-1", "iat": 1770134000, "exp": "2"}}"#;
        assert_eq!(digest(second), first);
    }

    #[test]
    fn a_tenants_own_status_below_the_top_is_part_of_the_order() {
        assert_ne!(digest(r#"{"customFields": {"status": "a"}}"#), digest(r#"{"customFields": {"status": "b"}}"#));
    }
}
