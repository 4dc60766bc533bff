//! `@{ref.path}` in bodies and urls of composite requests.
//!
//! Every string is scanned, as the platform scans it: text that only looks like a reference fails its node.
//! Source: REST API Developer Guide, "Composite Subrequest Result" (null fields, messages) and "Composite Graph".

use std::collections::HashMap;

use serde_json::Value;

use crate::api_error::ApiError;
use crate::call::Call;
use crate::settings::ReferenceMessage;

/// Up to this version a reference to a null field fails, later it is null.
const LAST_WITHOUT_NULLS: u32 = 51;

/// Answers of the parts that succeeded, by reference id.
#[derive(Debug)]
pub(crate) struct Results {
    answers: HashMap<String, Option<Value>>,
    nulls: bool,
    message: ReferenceMessage,
}

impl Results {
    pub(crate) fn new(call: &Call) -> Self {
        Self {
            answers: HashMap::new(),
            nulls: call.major() > LAST_WITHOUT_NULLS,
            message: call.settings.reference_message,
        }
    }

    pub(crate) fn insert(&mut self, reference: String, answer: Option<Value>) {
        self.answers.insert(reference, answer);
    }

    fn find(&self, inner: &str) -> Result<Value, ApiError> {
        let split = inner.find(['.', '[']).unwrap_or(inner.len());
        let (name, path) = inner.split_at(split);
        self.look_up(name, path)
            .filter(|value| !(value.is_object() || value.is_array()) && (self.nulls || !value.is_null()))
            .cloned()
            .ok_or_else(|| {
                let mut message = format!("Invalid reference specified. No value for {inner} found in {name}");
                if self.message == ReferenceMessage::Long {
                    message.push_str(". ");
                    message.push_str(&rule(inner));
                }
                ApiError::bad_request("PROCESSING_HALTED", message)
            })
    }

    fn look_up(&self, name: &str, path: &str) -> Option<&Value> {
        let mut value = self.answers.get(name)?.as_ref()?;
        for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
            value = match step.strip_suffix(']') {
                Some(index) => value.get(index.parse::<usize>().ok()?)?,
                None => value.get(step)?,
            };
        }
        Some(value)
    }
}

/// How a reference id must look, as the platform words it.
pub(crate) fn rule(reference: &str) -> String {
    format!(
        "Provided referenceId ('{reference}') must start with a letter or a number, and it can contain only letters, \
         numbers and underscores ('_')."
    )
}

/// Whether a reference id is one.
pub(crate) fn is_valid(reference: &str) -> bool {
    reference.starts_with(|c: char| c.is_ascii_alphanumeric())
        && reference.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Replaces every reference in `value`. A string that is one reference takes the referenced value as it is.
pub(crate) fn resolve(value: &mut Value, results: &Results) -> Result<(), ApiError> {
    match value {
        Value::String(text) if text.contains("@{") => {
            if let Some(inner) = text.strip_prefix("@{").and_then(|rest| rest.strip_suffix('}'))
                && !inner.contains('}')
            {
                *value = results.find(inner)?;
            } else {
                *text = resolve_text(text, results)?;
            }
            Ok(())
        }
        Value::Array(items) => items.iter_mut().try_for_each(|item| resolve(item, results)),
        Value::Object(fields) => fields.values_mut().try_for_each(|field| resolve(field, results)),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

/// Replaces every reference in `text`.
pub(crate) fn resolve_text(text: &str, results: &Results) -> Result<String, ApiError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("@{") {
        let Some((inner, tail)) = after.split_once('}') else { break };
        out.push_str(before);
        let found = results.find(inner)?;
        match found.as_str() {
            Some(text) => out.push_str(text),
            None if found.is_null() => {}
            None => out.push_str(&found.to_string()),
        }
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

/// Reference ids that occur in `value`.
pub(crate) fn named_in<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => named_in_text(text, found),
        Value::Array(items) => items.iter().for_each(|item| named_in(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| named_in(field, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Reference ids that occur in `text`.
pub(crate) fn named_in_text<'a>(text: &'a str, found: &mut Vec<&'a str>) {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("@{") {
        let Some((inner, tail)) = after.split_once('}') else { return };
        found.push(inner.split(['.', '[']).next().unwrap_or_default());
        rest = tail;
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use std::collections::HashMap;

    use serde_json::json;

    use super::{Results, is_valid, named_in_text, resolve, resolve_text};
    use crate::settings::ReferenceMessage;

    fn results(nulls: bool) -> Results {
        Results { answers: HashMap::new(), nulls, message: ReferenceMessage::Short }
    }

    #[test]
    fn references_are_resolved_wherever_they_stand() {
        let mut results = results(true);
        results.insert("q".to_owned(), Some(json!({ "records": [{ "Id": "001" }], "n": 2 })));
        let mut body =
            json!({ "a": "@{q.records[0].Id}", "b": ["x @{q.n} y @{q.records[0].Id}"], "c": "@{q.n}", "d": "@{open" });
        resolve(&mut body, &results).unwrap();
        assert_eq!(body, json!({ "a": "001", "b": ["x 2 y 001"], "c": 2, "d": "@{open" }));
    }

    #[test]
    fn an_unknown_reference_halts() {
        for text in ["@{nobody.id}", "shopper wrote @{acct.id}", "@{}"] {
            let error = resolve_text(text, &results(true)).unwrap_err();
            assert_eq!(error.code, "PROCESSING_HALTED");
        }
    }

    #[test]
    fn a_null_field_is_null_or_missing_by_version() {
        for nulls in [true, false] {
            let mut results = results(nulls);
            results.insert("c".to_owned(), Some(json!({ "FirstName": null })));
            let mut body = json!({ "FirstName": "@{c.FirstName}" });
            assert_eq!(resolve(&mut body, &results).is_ok(), nulls);
            assert_eq!(body["FirstName"].is_null(), nulls);
        }
    }

    #[test]
    fn reference_ids_are_letters_digits_and_underscores() {
        for (reference, valid) in
            [("a1_B", true), ("1", true), ("_a", false), ("a-b", false), ("a[1]", false), ("é", false), ("", false)]
        {
            assert_eq!(is_valid(reference), valid, "{reference}");
        }
    }

    #[test]
    fn names_end_at_a_dot_or_a_bracket() {
        let mut found = Vec::new();
        named_in_text("@{a.id} and @{b[0].id} and @{c", &mut found);
        assert_eq!(found, ["a", "b"]);
    }
}
