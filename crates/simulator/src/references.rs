//! `@{ref.path}` in bodies and urls of composite requests.
//!
//! Every string is scanned, as the platform scans it: text that only looks like a reference fails its node.
//! Source: REST API Developer Guide, "Composite" and "Composite Graph".

use std::collections::HashMap;

use serde_json::Value;

use crate::api_error::ApiError;

/// Answers of earlier parts by reference id; `None` for one that failed.
pub(crate) type Results = HashMap<String, Option<Value>>;

/// Replaces every reference in `value`. A string that is one reference takes the referenced value as it is.
pub(crate) fn resolve(value: &mut Value, results: &Results) -> Result<(), ApiError> {
    match value {
        Value::String(text) if text.contains("@{") => {
            if let Some(inner) = text.strip_prefix("@{").and_then(|rest| rest.strip_suffix('}'))
                && !inner.contains('}')
            {
                *value = find(inner, results)?;
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
        let found = find(inner, results)?;
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

fn find(inner: &str, results: &Results) -> Result<Value, ApiError> {
    let split = inner.find(['.', '[']).unwrap_or(inner.len());
    let (name, path) = inner.split_at(split);
    let missing = || {
        ApiError::bad_request(
            "PROCESSING_HALTED",
            format!("Invalid reference specified. No value for {inner} found in {name}"),
        )
    };
    let mut value = results.get(name).and_then(Option::as_ref).ok_or_else(missing)?;
    for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
        value = match step.strip_suffix(']') {
            Some(index) => index.parse::<usize>().ok().and_then(|index| value.get(index)),
            None => value.get(step),
        }
        .ok_or_else(missing)?;
    }
    if value.is_object() || value.is_array() { Err(missing()) } else { Ok(value.clone()) }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use std::collections::HashMap;

    use serde_json::json;

    use super::{named_in_text, resolve, resolve_text};

    #[test]
    fn references_are_resolved_wherever_they_stand() {
        let results = HashMap::from([("q".to_owned(), Some(json!({ "records": [{ "Id": "001" }], "n": 2 })))]);
        let mut body =
            json!({ "a": "@{q.records[0].Id}", "b": ["x @{q.n} y @{q.records[0].Id}"], "c": "@{q.n}", "d": "@{open" });
        resolve(&mut body, &results).unwrap();
        assert_eq!(body, json!({ "a": "001", "b": ["x 2 y 001"], "c": 2, "d": "@{open" }));
    }

    #[test]
    fn an_unknown_reference_halts() {
        for text in ["@{nobody.id}", "shopper wrote @{acct.id}", "@{}"] {
            let error = resolve_text(text, &HashMap::new()).unwrap_err();
            assert_eq!(error.code, "PROCESSING_HALTED");
        }
    }

    #[test]
    fn names_end_at_a_dot_or_a_bracket() {
        let mut found = Vec::new();
        named_in_text("@{a.id} and @{b[0].id} and @{c", &mut found);
        assert_eq!(found, ["a", "b"]);
    }
}
