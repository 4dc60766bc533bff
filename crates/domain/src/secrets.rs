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
//!
//! Bytes that are no JSON have no nesting to go by: there the values of all these keys are masked, wherever they stand.

mod scan;

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::envelope::base64;

const ENDINGS: [&str; 2] = ["token", "signature"];
const NAMES: [&str; 8] = ["result", "accnumber", "accountnumber", "sortcode", "iban", "cardnumber", "cvv", "cvc"];

/// What stands for a value that cannot be taken out, or not be looked into.
const MASK: &str = "***";
/// The key of a `CloudEvent`'s binary data, folded.
const BASE64: &str = "database64";
/// How many wrappings are opened one inside the other; `decode` opens fewer. What is deeper still is masked as bytes.
const MAX_WRAPPINGS: u8 = 8;

/// Removes the secrets of a Limio object, at any depth. Nothing of them is recorded. Texts are looked into below payment
/// keys only, where some senders put the payment page's answer as JSON; [`strip_body`] looks into all.
pub fn strip(object: &mut Map<String, Value>) {
    strip_map(object, false, None);
}

/// A message body without its secrets, for bytes that no order could be made of. Bytes without secrets come back as they
/// are.
///
/// - JSON, with or without a byte order mark: the keys go, as [`strip`] has it; also inside strings that hold JSON and
///   inside `data_base64`.
/// - Bytes that are no JSON (torn, not UTF-8, too deep, or a key that stands twice in one object), and such text inside a
///   string or `data_base64`: the value of each member with a secret name becomes `***`, the end of the bytes ending what
///   was torn; quotes may be escaped, as in JSON inside a string. All other bytes stay.
/// - A `data_base64` that is not base64, or that is wrapped too deep to be opened, becomes `***` as a whole.
///
/// Not recognised: UTF-16, compressed bodies, and notations without quoted keys.
pub fn strip_body(body: &[u8]) -> Cow<'_, [u8]> {
    strip_bytes(body, false, MAX_WRAPPINGS)
}

/// `wrappings` is how many more may be opened.
fn strip_bytes(bytes: &[u8], in_payment: bool, wrappings: u8) -> Cow<'_, [u8]> {
    if !bytes.contains(&b':') && !bytes.contains(&b'\\') {
        return Cow::Borrowed(bytes);
    }
    let text = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    match serde_json::from_slice::<Value>(text) {
        // A key that stands twice would hide its first value from here on.
        Ok(mut value) if wrappings > 0 && members(&value) == colons(text) => {
            if strip_value(&mut value, in_payment, Some(wrappings - 1)) {
                Cow::Owned(serde_json::to_vec(&value).expect("a JSON value always has a JSON form"))
            } else {
                Cow::Borrowed(bytes)
            }
        }
        Ok(_) | Err(_) => scan::mask(bytes, wrappings),
    }
}

/// Base64 without the secrets inside; `None` where there are none. A torn end is read as far as it goes.
fn strip_base64(text: &str, in_payment: bool, wrappings: u8) -> Option<String> {
    if text.trim().is_empty() || text == MASK {
        return None;
    }
    let torn = |text: &str| base64::decode(text.trim_end().get(..text.trim_end().len() - 1)?);
    match base64::decode(text).or_else(|| torn(text)).filter(|_| wrappings > 0) {
        None => Some(MASK.to_owned()),
        Some(bytes) => match strip_bytes(&bytes, in_payment, wrappings - 1) {
            Cow::Borrowed(_) => None,
            Cow::Owned(stripped) => Some(base64::encode(&stripped)),
        },
    }
}

/// The members of all objects.
fn members(value: &Value) -> usize {
    match value {
        Value::Object(map) => map.len() + map.values().map(members).sum::<usize>(),
        Value::Array(items) => items.iter().map(members).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// The colons of a JSON text outside its strings: one for each member that was written.
fn colons(json: &[u8]) -> usize {
    let (mut count, mut in_string, mut escaped) = (0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b':' if !in_string => count += 1,
            _ => {}
        }
    }
    count
}

/// Whether anything went. `wrappings` is `None` where texts stay closed unless they stand below a payment key.
fn strip_value(value: &mut Value, in_payment: bool, wrappings: Option<u8>) -> bool {
    match value {
        Value::Object(map) => strip_map(map, in_payment, wrappings),
        Value::Array(items) => {
            // Counted, since `any` would stop at the first.
            items.iter_mut().filter_map(|item| strip_value(item, in_payment, wrappings).then_some(())).count() > 0
        }
        Value::String(text) => {
            let Some(wrappings) = wrappings else { return false };
            let Cow::Owned(stripped) = strip_bytes(text.as_bytes(), in_payment, wrappings) else { return false };
            *text = String::from_utf8_lossy(&stripped).into_owned();
            true
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn strip_map(map: &mut Map<String, Value>, in_payment: bool, wrappings: Option<u8>) -> bool {
    let in_payment = in_payment || map.get("record_type").and_then(Value::as_str) == Some("payment_method");
    let mut changed = false;
    map.retain(|key, value| {
        let name = folded(key);
        let in_payment = in_payment || name.starts_with("payment");
        let wrappings = wrappings.or(in_payment.then_some(MAX_WRAPPINGS));
        if is_secret_anywhere(&name) || in_payment && is_secret(&name) {
            changed = true;
            return false;
        }
        changed |= match (&mut *value, wrappings) {
            (Value::String(text), Some(wrappings)) if name == BASE64 => match strip_base64(text, in_payment, wrappings)
            {
                Some(stripped) => {
                    *text = stripped;
                    true
                }
                None => false,
            },
            (value, wrappings) => strip_value(value, in_payment, wrappings),
        };
        true
    });
    changed
}

fn folded(key: &str) -> String {
    key.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect()
}

fn is_secret_anywhere(name: &str) -> bool {
    name.starts_with("recaptcha")
}

fn is_secret(name: &str) -> bool {
    NAMES.contains(&name) || ENDINGS.iter().any(|ending| name.ends_with(ending))
}

#[cfg(test)]
mod tests;
