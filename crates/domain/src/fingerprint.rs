//! What an order says, as one digest.
//!
//! SHA-256 over canonical JSON: keys sorted, numbers by value (`12`, `12.0` and `12.00` are one), and whatever says
//! nothing left out (`null`, blank text, empty arrays, objects with no member that says anything), since Limio sends those
//! and leaves them away alike. A string and a number stay different, and so do arrays of different lengths.
//!
//! It is kept in the ledger and in the org's order records: computing it in another way makes conflicts of orders that were
//! written before and come again.
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
//!
//! And, in the fingerprint only, what tells the copies of one order apart, whose identity is compared before:
//!
//! | Field | Why |
//! |---|---|
//! | `id` (`order-…`), `order_reference`, `owner`, `customer`, `mode`, `record_type`, `record_subtype`, `service`, `created`, `ref`, `related`, `name`, `start`, `end` | the frame of a stored record, which joins the order when it is read |
//! | of `new`: `subscriptionReference`, `subscriptionId`, `subId`, `subRef` | empty at submit; Limio fills them in later |
//!
//! So an order that comes as the webhook sent it and again as a stored record is one, and one order id that comes with
//! another owner is not noticed: objects change owners in Limio. The name of an order that has no other
//! ([`naming`]) counts these fields, or the nameless orders of two customers would be one.

use serde_json::{Map, Number, Value};
use sha2::{Digest, Sha256};

use crate::order::id::Fingerprint;
use crate::order::identity::is_order_id;

const VOLATILE: [&str; 6] = ["updated", "modified", "received_at", "status", "orderState", "payment_status"];
const VOLATILE_PREFIXES: [&str; 2] = ["process_", "recaptcha"];
const VOLATILE_CLAIMS: [&str; 3] = ["iat", "exp", "auth_time"];
const FRAME: [&str; 13] = [
    "order_reference",
    "owner",
    "customer",
    "mode",
    "record_type",
    "record_subtype",
    "service",
    "created",
    "ref",
    "related",
    "name",
    "start",
    "end",
];
const FILLED_IN_LATER: [&str; 4] = ["subscriptionReference", "subscriptionId", "subId", "subRef"];

/// Where an object stands; what of it is left out depends on that.
#[derive(Clone, Copy)]
enum Place {
    /// The order, for its name.
    Name,
    /// The order, for its fingerprint.
    Order {
        /// Whether it is of type `new`.
        is_new: bool,
    },
    Claims,
    Below,
}

impl Place {
    const fn is_top(self) -> bool {
        matches!(self, Self::Name | Self::Order { .. })
    }

    fn leaves_out(self, name: &str, value: &Value) -> bool {
        let volatile = || VOLATILE.contains(&name) || VOLATILE_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        match self {
            Self::Name => volatile(),
            Self::Order { is_new } => {
                volatile()
                    || FRAME.contains(&name)
                    || name == "id" && value.as_str().is_some_and(|id| is_order_id(id.trim()))
                    || is_new && FILLED_IN_LATER.contains(&name)
            }
            Self::Claims => VOLATILE_CLAIMS.contains(&name),
            Self::Below => false,
        }
    }
}

/// The fingerprint of an order from which the secrets were stripped.
pub fn of(order: &Map<String, Value>) -> Fingerprint {
    let is_new = order.get("order_type").and_then(Value::as_str).is_some_and(|name| name.trim() == "new");
    digest(order, Place::Order { is_new })
}

/// The digest that names an order which has no other name; the secrets were stripped.
pub(crate) fn naming(order: &Map<String, Value>) -> Fingerprint {
    digest(order, Place::Name)
}

fn digest(order: &Map<String, Value>, place: Place) -> Fingerprint {
    let mut canonical = Vec::with_capacity(1024);
    write_object(&mut canonical, order, place);
    Fingerprint::of(Sha256::digest(&canonical).into())
}

/// Whether it says anything.
fn write_object(out: &mut Vec<u8>, map: &Map<String, Value>, place: Place) -> bool {
    let mut fields: Vec<(&String, &Value)> =
        map.iter().filter(|(name, value)| !place.leaves_out(name, value)).collect();
    fields.sort_unstable_by_key(|(name, _)| *name);
    out.push(b'{');
    let empty = out.len();
    for (name, value) in fields {
        let before = out.len();
        write_text(out, name);
        out.push(b':');
        let says = match value.as_object() {
            Some(claims) if place.is_top() && name == "userDetails" => write_object(out, claims, Place::Claims),
            Some(_) | None => write(out, value),
        };
        if says {
            out.push(b',');
        } else {
            out.truncate(before);
        }
    }
    let says = out.len() > empty;
    out.push(b'}');
    says
}

/// Writes a value, and tells whether it says anything.
fn write(out: &mut Vec<u8>, value: &Value) -> bool {
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
        Value::Object(map) => return write_object(out, map, Place::Below),
    }
    match value {
        Value::Null => false,
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => true,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(json: &str) -> Fingerprint {
        of(&serde_json::from_str(json).expect("an object"))
    }

    #[test]
    fn key_order_spelling_of_numbers_and_empty_values_do_not_matter() {
        let plain = fingerprint(r#"{"a": 12.5, "b": {"c": 1, "d": "x"}}"#);
        for same in [
            r#"{"b": {"d": "x", "c": 1}, "a": 12.50}"#,
            r#"{"a": 12.5, "b": {"c": 1.0, "d": "x"}, "e": null, "f": "", "g": {}, "h": []}"#,
            r#"{"a": 12.5, "b": {"c": 1, "d": "x", "i": {"j": ""}}, "g": {"h": {"i": null, "j": [], "k": " "}}}"#,
            r#"{"a": 12.5, "b": {"c": 1, "d": "x"}, "userDetails": {"iat": 1, "email": ""}}"#,
        ] {
            assert_eq!(fingerprint(same), plain, "{same}");
        }
    }

    #[test]
    fn any_other_difference_matters() {
        let plain = fingerprint(r#"{"a": 12.5, "b": ["x", "y"]}"#);
        for other in [
            r#"{"a": "12.5", "b": ["x", "y"]}"#,
            r#"{"a": 12.5, "b": ["y", "x"]}"#,
            r#"{"a": 12.51, "b": ["x", "y"]}"#,
            r#"{"a": 12.5, "b": ["x", "y"], "c": false}"#,
            r#"{"a": 12.5, "b": ["x,1\"y"]}"#,
        ] {
            assert_ne!(fingerprint(other), plain, "{other}");
        }
    }

    #[test]
    fn what_a_second_sending_may_change_is_left_out() {
        let first = fingerprint(r#"{"a": 1, "userDetails": {"sub": "id-1"}}"#);
        let second = r#"{"a": 1, "status": "complete", "orderState": "submitting", "updated": "2026-02-03", "process_hash": "x",
            "recaptchaPayload": "y", "received_at": "z", "userDetails": {"sub": "id-1", "iat": 1770134000, "exp": "2"}}"#;
        assert_eq!(fingerprint(second), first);
    }

    #[test]
    fn an_array_keeps_its_places() {
        assert_ne!(fingerprint(r#"{"a": [{}, 1]}"#), fingerprint(r#"{"a": [1]}"#));
        assert_ne!(fingerprint(r#"{"a": [{"b": ""}]}"#), fingerprint("{}"));
        assert_eq!(fingerprint(r#"{"a": [{"b": ""}]}"#), fingerprint(r#"{"a": [{}]}"#));
    }

    #[test]
    fn the_frame_of_a_stored_record_does_not_matter_except_to_a_name_that_is_made_of_the_order() {
        let id = r#""id": "order-9c1cfe3b9e91eca23d6b87f5c9277d0f""#;
        let frame = r#""record_type": "order", "record_subtype": "x", "service": "limio", "mode": "production", "created": "2026",
            "order_reference": "R", "owner": "id-1", "customer": "cus-1", "ref": "a", "related": "b", "name": "R", "start": "c",
            "end": "d""#;
        let (bare, framed) = (r#"{"a": 1}"#.to_owned(), format!(r#"{{"a": 1, {id}, {frame}}}"#));
        assert_eq!(fingerprint(&bare), fingerprint(&framed));
        let name = |json: &str| naming(&serde_json::from_str(json).expect("an object"));
        assert_ne!(name(r#"{"a": 1, "owner": "id-1"}"#), name(r#"{"a": 1, "owner": "id-2"}"#));
        assert_ne!(fingerprint(r#"{"a": 1, "id": "3f10"}"#), fingerprint(r#"{"a": 1, "id": "3f11"}"#));
        assert_ne!(fingerprint(r#"{"b": {"name": "x"}}"#), fingerprint(r#"{"b": {"name": "y"}}"#));
    }

    #[test]
    fn what_limio_fills_in_later_does_not_matter_on_a_new_order_and_does_on_a_change() {
        let order = |order_type: &str, id: &str| {
            let json =
                format!(r#"{{"order_type": "{order_type}", "subscriptionReference": {id}, "subscriptionId": {id}}}"#);
            fingerprint(&json)
        };
        assert_eq!(order("new", "null"), order("new", r#""sub-1""#));
        assert_ne!(order("renew", r#""sub-1""#), order("renew", r#""sub-2""#));
    }

    #[test]
    fn a_tenants_own_status_below_the_top_is_part_of_the_order() {
        assert_ne!(
            fingerprint(r#"{"customFields": {"status": "a"}}"#),
            fingerprint(r#"{"customFields": {"status": "b"}}"#)
        );
    }
}
