//! Which of Salesforce's own messages may be shown. What each code means and asks stands in the
//! [error atlas](domain::atlas).

use domain::atlas::Code;

/// Whether the message is, as a whole, one of those that may be [`shown`](Code::shown).
pub(crate) fn lets_pass(code: &Code, message: &str, fields: &[String]) -> bool {
    code.shown.iter().any(|shown| fits(shown, message.trim(), fields))
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

#[cfg(test)]
mod tests {
    use domain::atlas::Atlas;

    use crate::{ApiError, ErrorKind};

    #[test]
    fn every_kind_is_the_answer_to_some_code() {
        for kind in ErrorKind::ALL {
            let listed = Atlas::codes()
                .iter()
                .any(|entry| entry.kind == kind || entry.texts.iter().any(|text| text.kind == kind));
            assert_eq!(listed, kind != ErrorKind::Unknown, "{kind}");
        }
        assert_eq!(ApiError::new("NEVER_HEARD_OF", "").kind(), ErrorKind::Unknown);
        assert_eq!(ApiError::new("", "").kind(), ErrorKind::Unknown);
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
