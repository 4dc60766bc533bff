//! Queries in SOQL.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};

use crate::ApiVersion;

/// The text as a SOQL literal in quotation marks, escaped (SOQL and SOSL Reference, Quoted String Escape Sequences).
/// Every value from outside has to pass through here before it stands in a query.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for c in text.chars() {
        match c {
            '\'' => quoted.push_str("\\'"),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            other => quoted.push(other),
        }
    }
    quoted.push('\'');
    quoted
}

pub(crate) fn address(version: ApiVersion, soql: &str) -> String {
    format!("/services/data/v{version}/query?q={}", utf8_percent_encode(soql, NON_ALPHANUMERIC))
}

/// The records of one page; `None` for what is no page. A page without records must not look like one that found none:
/// what is not found is sent again.
pub(crate) fn records(page: &Value) -> Option<Vec<Map<String, Value>>> {
    page.get("records")?.as_array()?.iter().map(|record| record.as_object().cloned()).collect()
}

/// Where the next page is. Only a path of the same org is followed: the token goes nowhere else.
pub(crate) fn next(page: &Value) -> Option<&str> {
    let next = page.get("nextRecordsUrl")?.as_str()?;
    next.starts_with("/services/data/").then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_value_cannot_leave_its_literal() {
        assert_eq!(quote("O'Brien"), r"'O\'Brien'");
        assert_eq!(quote(r"\' OR Name != '"), r"'\\\' OR Name != \''");
        assert_eq!(quote("a\nb\u{8}"), r"'a\nb\b'");
    }

    #[test]
    fn a_query_stands_in_its_address_encoded() {
        assert_eq!(
            address(ApiVersion::V62, "SELECT Id FROM A WHERE B='x&y'"),
            "/services/data/v62.0/query?q=SELECT%20Id%20FROM%20A%20WHERE%20B%3D%27x%26y%27"
        );
    }

    #[test]
    fn the_next_page_is_followed_on_the_same_org_only() {
        let page = |next: &str| serde_json::json!({ "nextRecordsUrl": next });
        assert!(next(&page("/services/data/v62.0/query/01g-2000")).is_some());
        assert!(next(&page("https://evil.example/services/data/")).is_none());
        assert!(next(&page("@evil.example/")).is_none());
        assert!(next(&serde_json::json!({})).is_none());
    }
}
