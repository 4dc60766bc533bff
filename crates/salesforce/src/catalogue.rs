//! Every error code that a writer of records and events may meet, as data.
//!
//! The table is `catalogue.toml` beside this file: a code that turns up is added there, and nowhere else.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::ErrorKind;

/// One error code.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// `errorCode` or `statusCode` on the wire.
    pub code: String,
    /// What it asks of the caller, unless one of [`texts`](Self::texts) fits.
    pub kind: ErrorKind,
    /// HTTP statuses it is known to come with; empty where it only comes in rows and nodes. They are for the reader:
    /// the code decides.
    #[serde(default)]
    pub http: Vec<u16>,
    /// Whether the request may have been executed all the same.
    #[serde(default)]
    pub ambiguous: bool,
    /// Messages of Salesforce's own that may be shown and logged: `{name}` stands for one API name, `{fields}` for some of
    /// the error's fields. Any other message may quote the record.
    #[serde(default)]
    pub shown: Vec<String>,
    /// What it means, in a sentence.
    pub meaning: String,
    /// What an operator does about it.
    pub action: String,
    /// Messages that change the meaning; the first that fits decides.
    #[serde(default)]
    pub texts: Vec<Text>,
}

/// A part of a message that changes what a code means. Such parts are never localised: they are names of Salesforce's
/// own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// What the message contains.
    pub contains: String,
    /// What the error asks of the caller then.
    pub kind: ErrorKind,
    /// What it means then.
    pub meaning: String,
    /// What an operator does about it then.
    pub action: String,
}

impl Entry {
    /// What it asks of the caller when it comes with this message.
    pub fn kind_of(&self, message: &str) -> ErrorKind {
        self.text(message).map_or(self.kind, |text| text.kind)
    }

    /// What it means when it comes with this message.
    pub fn meaning_of(&self, message: &str) -> &str {
        self.text(message).map_or(&self.meaning, |text| &text.meaning)
    }

    /// What an operator does about it when it comes with this message.
    pub fn action_of(&self, message: &str) -> &str {
        self.text(message).map_or(&self.action, |text| &text.action)
    }

    /// Whether the message is, as a whole, one of those that may be [`shown`](Self::shown).
    pub(crate) fn lets_pass(&self, message: &str, fields: &[String]) -> bool {
        self.shown.iter().any(|shown| fits(shown, message.trim(), fields))
    }

    fn text(&self, message: &str) -> Option<&Text> {
        self.texts.iter().find(|text| message.contains(&text.contains))
    }
}

/// Whether a message is this pattern with technical names in it, and nothing else.
fn fits(pattern: &str, message: &str, fields: &[String]) -> bool {
    let Some((before, rest)) = pattern.split_once('{') else { return pattern == message };
    let (Some((place, pattern)), Some(message)) = (rest.split_once('}'), message.strip_prefix(before)) else {
        return false;
    };
    let listed = place == "fields";
    let inside = |c: char| c.is_ascii_alphanumeric() || c == '_' || (listed && matches!(c, ',' | ' '));
    let (names, message) = message.split_at(message.find(|c| !inside(c)).unwrap_or(message.len()));
    let technical = if listed {
        names.split(", ").all(|name| fields.iter().any(|field| field == name))
    } else {
        names.starts_with(|c: char| c.is_ascii_alphabetic()) && names.len() <= LONGEST_NAME
    };
    technical && fits(pattern, message, fields)
}

/// The longest API name: a namespace of 15 characters, a name of 40, a suffix, and what joins them.
const LONGEST_NAME: usize = 64;

/// The table of error codes.
#[derive(Debug)]
pub struct Catalogue {
    entries: Vec<Entry>,
    by_code: HashMap<String, usize>,
}

#[derive(Deserialize)]
struct Document {
    entry: Vec<Entry>,
}

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
    let document: Document = toml::from_str(include_str!("catalogue.toml"))
        .expect("the embedded catalogue is checked by this crate's tests");
    let by_code = document.entry.iter().enumerate().map(|(index, entry)| (entry.code.clone(), index)).collect();
    Catalogue { entries: document.entry, by_code }
});

impl Catalogue {
    /// The entry of this code.
    pub fn get(code: &str) -> Option<&'static Entry> {
        let catalogue: &'static Catalogue = &CATALOGUE;
        catalogue.by_code.get(code).and_then(|index| catalogue.entries.get(*index))
    }

    /// Every entry, in the order of the table.
    pub fn entries() -> &'static [Entry] {
        &CATALOGUE.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ApiError;

    #[test]
    fn every_kind_is_the_answer_to_some_code() {
        for kind in ErrorKind::ALL {
            let listed = Catalogue::entries()
                .iter()
                .any(|entry| entry.kind == kind || entry.texts.iter().any(|text| text.kind == kind));
            assert_eq!(listed, kind != ErrorKind::Unknown, "{kind}");
        }
        assert_eq!(ApiError::new("NEVER_HEARD_OF", "").kind(), ErrorKind::Unknown);
        assert_eq!(ApiError::new("", "").kind(), ErrorKind::Unknown);
    }

    #[test]
    fn every_entry_explains_itself_in_sentences_and_stands_once() {
        let mut seen = std::collections::HashSet::new();
        for entry in Catalogue::entries() {
            assert!(seen.insert(&entry.code), "{} stands twice", entry.code);
            let texts = entry.texts.iter().flat_map(|text| [&text.meaning, &text.action]);
            for sentence in [&entry.meaning, &entry.action].into_iter().chain(texts) {
                assert!(sentence.ends_with('.') && sentence.len() > 8, "{}: {sentence}", entry.code);
                assert!(!sentence.contains(".md") && !sentence.contains('§'), "{}: {sentence}", entry.code);
            }
            assert!(entry.http.iter().all(|status| (300..600).contains(status)), "{}", entry.code);
        }
    }

    /// The codes that a writer has to know, by what they ask of it.
    #[test]
    fn every_code_that_a_writer_has_to_know_is_listed_with_its_kind() {
        let expected: [(ErrorKind, &[&str]); 12] = [
            (ErrorKind::Session, &["INVALID_SESSION_ID", "Bad_OAuth_Token"]),
            (
                ErrorKind::Authentication,
                &[
                    "INVALID_AUTH_HEADER",
                    "INVALID_OPERATION_WITH_EXPIRED_PASSWORD",
                    "LOGIN_MUST_USE_SECURITY_TOKEN",
                    "INVALID_LOGIN",
                ],
            ),
            (ErrorKind::Quota, &["REQUEST_LIMIT_EXCEEDED", "STORAGE_LIMIT_EXCEEDED", "LIMIT_EXCEEDED"]),
            (ErrorKind::Throttled, &["TOO_MANY_APEX_REQUESTS"]),
            (
                ErrorKind::Transient,
                &[
                    "SERVER_UNAVAILABLE",
                    "UNKNOWN_EXCEPTION",
                    "QUERY_TIMEOUT",
                    "REQUEST_RUNNING_TOO_LONG",
                    "PLATFORM_EVENT_PUBLISHING_UNAVAILABLE",
                    "PLATFORM_EVENT_PUBLISH_FAILED",
                ],
            ),
            (
                ErrorKind::Maintenance,
                &["INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE", "API_CURRENTLY_DISABLED"],
            ),
            (ErrorKind::Lock, &["UNABLE_TO_LOCK_ROW"]),
            (ErrorKind::Halted, &["PROCESSING_HALTED", "ALL_OR_NONE_OPERATION_ROLLED_BACK", "BATCH_PROCESSING_HALTED"]),
            (ErrorKind::Duplicate, &["DUPLICATES_DETECTED"]),
            (ErrorKind::AlreadyExists, &["DUPLICATE_VALUE"]),
            (
                ErrorKind::Permanent,
                &[
                    "DUPLICATE_EXTERNAL_ID",
                    "REQUIRED_FIELD_MISSING",
                    "STRING_TOO_LONG",
                    "INVALID_EMAIL_ADDRESS",
                    "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
                    "FIELD_CUSTOM_VALIDATION_EXCEPTION",
                    "FIELD_FILTER_VALIDATION_EXCEPTION",
                    "FIELD_INTEGRITY_EXCEPTION",
                    "NUMBER_OUTSIDE_VALID_RANGE",
                    "INVALID_TYPE_ON_FIELD_IN_RECORD",
                    "JSON_PARSER_ERROR",
                    "MALFORMED_ID",
                    "MALFORMED_QUERY",
                    "NOT_FOUND",
                    "ENTITY_IS_DELETED",
                    "ENTITY_IS_LOCKED",
                    "ENTITY_IS_ARCHIVED",
                    "INVALID_CROSS_REFERENCE_KEY",
                    "INVALID_ID_FIELD",
                    "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
                    "CANNOT_EXECUTE_FLOW_TRIGGER",
                    "APEX_ERROR",
                    "INVALID_PERSON_ACCOUNT_OPERATION",
                    "INACTIVE_OWNER_OR_USER",
                    "CANNOT_REPARENT_RECORD",
                    "METHOD_NOT_ALLOWED",
                    "UNSUPPORTED_MEDIA_TYPE",
                    "EXCEEDED_ID_LIMIT",
                    "OPERATION_TOO_LARGE",
                ],
            ),
            (
                ErrorKind::Configuration,
                &[
                    "API_DISABLED_FOR_ORG",
                    "FUNCTIONALITY_NOT_ENABLED",
                    "FEATURE_NOT_ENABLED",
                    "INVALID_FIELD",
                    "INVALID_FIELD_FOR_INSERT_UPDATE",
                    "INVALID_TYPE",
                    "INSUFFICIENT_ACCESS_OR_READONLY",
                    "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY",
                    "INSUFFICIENT_ACCESS",
                    "FORBIDDEN",
                    "UNAVAILABLE_RECORDTYPE_EXCEPTION",
                    "TRANSFER_REQUIRES_READ",
                    "PLATFORM_EVENT_ENCRYPTION_ERROR",
                    "TXN_SECURITY_END_SESSION",
                    "TXN_SECURITY_NO_ACCESS",
                    "LICENSE_LIMIT_EXCEEDED",
                    "PACKAGE_LICENSE_REQUIRED",
                    "CUSTOM_ENTITY_OR_FIELD_LIMIT",
                    "CUSTOM_METADATA_LIMIT_EXCEEDED",
                    "OP_WITH_INVALID_USER_TYPE_EXCEPTION",
                    "GONE",
                ],
            ),
        ];
        for (kind, codes) in expected {
            for code in codes {
                assert_eq!(ApiError::new(*code, "").kind(), kind, "{code}");
            }
        }
    }

    #[test]
    fn the_message_decides_only_where_one_code_has_two_meanings() {
        for (code, message, kind) in [
            ("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", ErrorKind::Quota),
            (
                "REQUEST_LIMIT_EXCEEDED",
                "ConcurrentRequests (Concurrent API Requests) Limit exceeded.",
                ErrorKind::Throttled,
            ),
            (
                "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
                "Roll: execution of AfterInsert caused by: System.DmlException: Update failed. First error: UNABLE_TO_LOCK_ROW, unable to obtain exclusive access",
                ErrorKind::Lock,
            ),
            ("CANNOT_EXECUTE_FLOW_TRIGGER", "… UNABLE_TO_LOCK_ROW …", ErrorKind::Lock),
            ("APEX_ERROR", "System.LimitException: Too many SOQL queries: 101", ErrorKind::Transient),
            ("APEX_ERROR", "System.NullPointerException", ErrorKind::Permanent),
            ("INVALID_SESSION_ID", "This session is not valid for use with the REST API", ErrorKind::Authentication),
            ("INVALID_SESSION_ID", "Connected app is not attached to Agent", ErrorKind::Authentication),
            ("INVALID_SESSION_ID", "Session expired or invalid", ErrorKind::Session),
            ("NOT_FOUND", "The requested resource does not exist", ErrorKind::Permanent),
            (
                "NOT_FOUND",
                "Provided external ID field does not exist or is not accessible: X__c",
                ErrorKind::Configuration,
            ),
            ("PROCESSING_HALTED", "Invalid reference specified. No value for a.id found in a", ErrorKind::Permanent),
            ("FIELD_CUSTOM_VALIDATION_EXCEPTION", "UNABLE_TO_LOCK_ROW", ErrorKind::Permanent),
        ] {
            assert_eq!(ApiError::new(code, message).kind(), kind, "{code}: {message}");
        }
    }
}
