//! Reading the rows of a query's answer.

use salesforce::Error;
use serde_json::{Map, Value};

/// A row.
pub(crate) type Row = Map<String, Value>;

/// What stands under a field's name, or under a path such as `Subscription__r.LimioId__c`. Salesforce answers the API's own
/// spelling, whatever the query's was, so case counts for nothing.
pub(crate) fn value<'a>(row: &'a Row, path: &str) -> Option<&'a Value> {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let (_, found) = row.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    match rest {
        None => Some(found),
        Some(rest) => value(found.as_object()?, rest),
    }
}

/// The text there; `None` where there is none, or nothing.
pub(crate) fn text<'a>(row: &'a Row, path: &str) -> Option<&'a str> {
    value(row, path)?.as_str()
}

/// The text of a field that was asked for; `None` where the org holds none.
///
/// # Errors
/// Where the answer leaves the field out: that says nothing of what the org holds.
pub(crate) fn asked<'a>(row: &'a Row, field: &str) -> Result<Option<&'a str>, Error> {
    let missing = || Error::Protocol(format!("a row of a query without {field}, which was asked for"));
    value(row, field).map(Value::as_str).ok_or_else(missing)
}

/// Whether the checkbox that was asked for is set.
///
/// # Errors
/// Where the answer leaves the field out, or it is no checkbox: that says nothing.
pub(crate) fn is_set(row: &Row, field: &str) -> Result<bool, Error> {
    let untold = || Error::Protocol(format!("a row of a query without a checkbox {field}, which was asked for"));
    value(row, field).and_then(Value::as_bool).ok_or_else(untold)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_is_found_under_any_spelling_and_one_of_a_parent_under_its_path() {
        let row = json!({ "Id": "x", "Plan__r": { "attributes": {}, "LimioId__c": "sub-1" }, "Other__r": null });
        let row = row.as_object().expect("an object");
        assert_eq!((text(row, "id"), text(row, "plan__r.limioid__c")), (Some("x"), Some("sub-1")));
        assert_eq!((text(row, "Other__r.LimioId__c"), text(row, "Nothing__c")), (None, None));
    }

    #[test]
    fn a_field_that_is_empty_is_told_from_one_that_was_not_answered() {
        let row = json!({ "LimioId__c": null });
        let row = row.as_object().expect("an object");
        assert_eq!(asked(row, "limioid__c"), Ok(None));
        assert!(matches!(asked(row, "Other__c"), Err(Error::Protocol(message)) if message.contains("Other__c")));
    }

    #[test]
    fn a_checkbox_that_is_none_is_neither_set_nor_not() {
        let row = json!({ "Told__c": true, "Open__c": false, "Text__c": "true", "Null__c": null });
        let row = row.as_object().expect("an object");
        assert_eq!((is_set(row, "told__c"), is_set(row, "Open__c")), (Ok(true), Ok(false)));
        for field in ["Text__c", "Null__c", "Other__c"] {
            assert!(matches!(is_set(row, field), Err(Error::Protocol(message)) if message.contains(field)));
        }
    }
}
