//! The shapes in which Salesforce states errors, read from any bytes without a panic.

use bytes::Bytes;
use serde_json::Value;

use crate::duplicate::DuplicateResult;
use crate::error::{ApiError, BodyKind};

/// What the body of an error status turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Envelope {
    /// At least one error.
    Errors(Vec<ApiError>),
    /// Anything else.
    Other(BodyKind),
}

/// Codes that identity resources and the edge send as plain text.
const PLAIN_CODES: [&str; 6] =
    ["Bad_OAuth_Token", "Missing_OAuth_Token", "Wrong_Org", "Bad_Id", "Inactive", "No_Access"];

impl Envelope {
    /// Reads a body that came with this error status.
    pub(crate) fn read(status: u16, bytes: &Bytes) -> Self {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Self::Other(BodyKind::Empty);
        }
        let Ok(value) = serde_json::from_slice::<Value>(bytes) else {
            return Self::text(bytes);
        };
        if status == 300
            && let Value::Array(addresses) = &value
            && addresses.iter().all(Value::is_string)
        {
            let message = format!("{} records match the external id value", addresses.len());
            return Self::Errors(vec![ApiError::new("DUPLICATE_EXTERNAL_ID", message)]);
        }
        match errors(&value) {
            found if found.is_empty() => Self::Other(BodyKind::Json),
            found => Self::Errors(found),
        }
    }

    fn text(bytes: &Bytes) -> Self {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Self::Other(BodyKind::Text);
        };
        let text = text.trim_start_matches('\u{feff}').trim();
        if let Some(code) = PLAIN_CODES.iter().find(|code| text == **code) {
            return Self::Errors(vec![ApiError::new(*code, "")]);
        }
        let start: String = text.chars().take(200).collect::<String>().to_ascii_lowercase();
        let html = start.starts_with("<!doctype") || start.starts_with("<html") || start.contains("<head");
        Self::Other(if html { BodyKind::Html } else { BodyKind::Text })
    }
}

/// Every error that a value states: an array of errors, one bare error, a row with its `errors`, or `results` of rows.
pub(crate) fn errors(value: &Value) -> Vec<ApiError> {
    match value {
        Value::Array(items) => items.iter().flat_map(errors_of_object).collect(),
        Value::Object(_) => errors_of_object(value),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

fn errors_of_object(value: &Value) -> Vec<ApiError> {
    if let Some(error) = error(value) {
        return vec![error];
    }
    ["errors", "results"]
        .into_iter()
        .filter_map(|key| value.get(key)?.as_array())
        .flatten()
        .flat_map(|item| match error(item) {
            Some(error) => vec![error],
            None => item.get("errors").and_then(Value::as_array).into_iter().flatten().filter_map(error).collect(),
        })
        .collect()
}

/// The longest code or field name that is taken for one, in characters.
const NAME: usize = 100;

/// Whether this is a code or a field's name, which may be shown, and not text, which may quote anything.
fn is_name(text: &str) -> bool {
    (1..=NAME).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte))
}

/// One error; `None` for what has no code. Proxies say `{"error": "Bad Gateway"}` too: words are no code.
pub(crate) fn error(value: &Value) -> Option<ApiError> {
    let object = value.as_object()?;
    let text = |key: &str| object.get(key).and_then(Value::as_str);
    let code = ["errorCode", "statusCode", "error"].into_iter().find_map(text).filter(|code| is_name(code))?;
    let message = ["message", "error_description"].into_iter().find_map(text).unwrap_or_default();
    let fields = object.get("fields").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let duplicate = object.get("duplicateResut").or_else(|| object.get("duplicateResult"));
    Some(ApiError {
        code: code.to_owned(),
        message: message.to_owned(),
        fields: fields.iter().filter_map(Value::as_str).filter(|name| is_name(name)).map(str::to_owned).collect(),
        object: None,
        duplicate: duplicate.and_then(DuplicateResult::read).map(Box::new),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(status: u16, text: &str) -> Envelope {
        Envelope::read(status, &Bytes::copy_from_slice(text.as_bytes()))
    }

    fn codes(status: u16, text: &str) -> Vec<String> {
        match read(status, text) {
            Envelope::Errors(errors) => errors.into_iter().map(|error| error.code).collect(),
            Envelope::Other(kind) => panic!("{kind:?} for {text}"),
        }
    }

    #[test]
    fn every_known_error_envelope_is_read() {
        for (status, text, expected) in [
            (400, r#"[{"message":"m","errorCode":"X","fields":["F"]}]"#, "X"),
            (404, r#"[{"errorCode":"NOT_FOUND","message":"The requested resource does not exist"}]"#, "NOT_FOUND"),
            (400, r#"{"id":"001","success":false,"errors":[{"statusCode":"X","message":"m","fields":[]}]}"#, "X"),
            (400, r#"{"hasErrors":true,"results":[{"referenceId":"a","errors":[{"statusCode":"X"}]}]}"#, "X"),
            (400, r#"{"error":"invalid_grant","error_description":"d"}"#, "invalid_grant"),
            (300, r#"["/services/data/v60.0/sobjects/X/ext/1","/services/data/v60.0/x"]"#, "DUPLICATE_EXTERNAL_ID"),
            (500, r#"{"message":"m","errorCode":"X"}"#, "X"),
            (400, r#"[{"errorCode":"X","fields":null,"extendedErrorDetails":[{"a":1}],"output":{}}]"#, "X"),
            (403, "Bad_OAuth_Token", "Bad_OAuth_Token"),
        ] {
            assert_eq!(codes(status, text), [expected], "{text}");
        }
    }

    #[test]
    fn bodies_that_are_no_envelope_are_named_for_what_they_are() {
        for (text, kind) in [
            ("", BodyKind::Empty),
            (" \r\n", BodyKind::Empty),
            ("<!DOCTYPE html><html></html>", BodyKind::Html),
            ("\u{feff}  <HTML><body>Down for maintenance</body>", BodyKind::Html),
            ("upstream connect error", BodyKind::Text),
            ("{\"foo\":1}", BodyKind::Json),
            ("{\"status\":502,\"error\":\"Bad Gateway\"}", BodyKind::Json),
            ("{\"error\":\"no account of jane@example.com\"}", BodyKind::Json),
            ("[]", BodyKind::Json),
            ("[1,2]", BodyKind::Json),
            ("[[{\"errorCode\":\"X\"}]]", BodyKind::Json),
        ] {
            assert_eq!(read(503, text), Envelope::Other(kind), "{text}");
        }
    }

    #[test]
    fn what_is_shown_of_an_error_is_names_and_nothing_that_could_quote_a_record() {
        let fields = json!(["Email", "ShippingAddress.City", "jane@example.com", "x".repeat(101), 7]);
        let read = error(&json!({ "errorCode": "STRING_TOO_LONG", "fields": fields })).expect("an error");
        assert_eq!(read.fields, ["Email", "ShippingAddress.City"]);
        for code in ["", "Jane's order", &"X".repeat(101)] {
            assert_eq!(error(&json!({ "errorCode": code })), None);
        }
    }

    #[test]
    fn both_spellings_of_the_duplicate_detail_are_read_and_every_part_may_be_missing() {
        let detail = json!({
            "allowSave": false, "duplicateRule": "Rule", "duplicateRuleEntityType": "Account", "errorMessage": "Alert",
            "matchResults": [{
                "entityType": "Account", "matchEngine": "FuzzyMatchEngine", "rule": "Match", "matchRecords": [
                    {"matchConfidence": 100.0, "record": {"attributes": {"type": "Contact"}, "Id": "003000000000001AAA"}},
                    {"record": null}, {}, 7,
                ],
            }],
        });
        for key in ["duplicateResut", "duplicateResult"] {
            let value = json!({ key: detail, "errorCode": "DUPLICATES_DETECTED", "message": "Alert" });
            let duplicate = error(&value).and_then(|error| error.duplicate).expect("the detail");
            assert_eq!(duplicate.allow_save, Some(false));
            assert_eq!(duplicate.object.as_deref(), Some("Account"));
            assert_eq!(duplicate.matches.len(), 4);
            assert_eq!(duplicate.matches[0].object.as_deref(), Some("Contact"));
            assert_eq!(duplicate.matches[0].confidence, Some(100.0));
            assert_eq!(duplicate.matches[1].id, None);
        }
        for odd in [json!({}), json!({"allowSave": "yes", "matchResults": {}}), json!({"matchResults": [null, 1]})] {
            let value = json!({ "duplicateResut": odd, "errorCode": "DUPLICATES_DETECTED" });
            let duplicate = error(&value).and_then(|error| error.duplicate).expect("an empty detail");
            assert_eq!(*duplicate, DuplicateResult::default());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(status in 0_u16..700, bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Envelope::read(status, &Bytes::from(bytes));
        }

        #[test]
        fn no_cut_or_changed_envelope_makes_the_parser_panic(cut in 0_usize..300, at in 0_usize..300, byte in any::<u8>()) {
            let text = br#"[{"duplicateResut":{"allowSave":true,"matchResults":[{"matchRecords":[{"record":{"Id":"1"}}]}]},
                "errorCode":"DUPLICATES_DETECTED","message":"m","fields":["a"]}]"#;
            let mut bytes = text[..cut.min(text.len())].to_vec();
            if let Some(changed) = bytes.get_mut(at) {
                *changed = byte;
            }
            let _ = Envelope::read(400, &Bytes::from(bytes));
        }
    }
}
