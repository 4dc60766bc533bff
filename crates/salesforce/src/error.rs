//! What can go wrong with a call, by what the caller would do differently.

use std::fmt;
use std::time::Duration;

pub use domain::atlas::ErrorKind;
use domain::atlas::{Answer, Atlas, LiesIn};

use crate::auth::{TokenError, TokenErrorKind};
use crate::catalogue;
use crate::duplicate::DuplicateResult;

/// One error as Salesforce states it, for a whole request, a row, or a node.
///
/// `Display` and `Debug` leave [`message`](Self::message) out: it may quote the record.
#[derive(Clone, PartialEq)]
pub struct ApiError {
    /// `errorCode` or `statusCode`; empty when the answer has neither.
    pub code: String,
    /// Salesforce's text in the language of the integration user, or that of the org's own rules. It may quote values of
    /// the record, and with them personal data: show [`ApiError::operator_text`] instead.
    pub message: String,
    /// The API names of the fields concerned, where Salesforce names them.
    pub fields: Vec<String>,
    /// The API name of the refused record's object, where a graph or composite request tells.
    pub object: Option<String>,
    /// What the duplicate rule found, for `DUPLICATES_DETECTED` where the resource tells.
    pub duplicate: Option<Box<DuplicateResult>>,
}

impl ApiError {
    /// An error with a code and a message alone.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), fields: Vec::new(), object: None, duplicate: None }
    }

    /// What it asks of the caller. The code decides; the message is read only where the catalogue says that one code
    /// has two meanings, or that the text of a trigger or flow wraps another error.
    pub fn kind(&self) -> ErrorKind {
        Atlas::code(&self.code).map_or(ErrorKind::Unknown, |entry| entry.kind_of(&self.message))
    }

    /// Whether the request may have been executed all the same.
    pub fn is_ambiguous(&self) -> bool {
        Atlas::code(&self.code).is_some_and(|entry| entry.ambiguous)
    }

    /// What an operator may read, without personal data: the catalogue's meaning, the object and the fields. Salesforce's
    /// own text stands in its place only where it is, from its first word to its last, one that the catalogue lets pass;
    /// any other may quote the record, or was written by whoever wrote the org's rules.
    pub fn operator_text(&self) -> String {
        let Some(entry) = Atlas::code(&self.code) else {
            let unknown = "Salesforce used a code that the atlas does not know; its text may quote the record";
            return format!("{unknown}{}.", self.place());
        };
        if catalogue::lets_pass(entry, &self.message, &self.fields) {
            return self.message.trim().to_owned();
        }
        let meaning = entry.meaning_of(&self.message);
        format!("{}{}.", meaning.strip_suffix('.').unwrap_or(meaning), self.place())
    }

    /// Object and fields in brackets, if they are known.
    fn place(&self) -> String {
        let fields = self.fields.iter().take(MOST_FIELDS).map(String::as_str).collect::<Vec<_>>().join(", ");
        match (self.object.as_deref(), fields.as_str()) {
            (None, "") => String::new(),
            (Some(object), "") => format!(" ({object})"),
            (None, fields) => format!(" ({fields})"),
            (Some(object), fields) => format!(" ({object}: {fields})"),
        }
    }
}

/// How many of an error's fields are told.
const MOST_FIELDS: usize = 5;

impl fmt::Debug for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiError")
            .field("code", &self.code)
            .field("fields", &self.fields)
            .field("object", &self.object)
            .field("duplicate", &self.duplicate)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.code.is_empty() { "(no error code)" } else { &self.code })?;
        if !self.fields.is_empty() {
            write!(f, " on {}", self.fields.join(", "))?;
        }
        Ok(())
    }
}

impl std::error::Error for ApiError {}

/// The shape of an error body that is not one of Salesforce's error envelopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BodyKind {
    /// No body.
    Empty,
    /// A web page, as the edge and maintenance answer.
    Html,
    /// Other text, or bytes.
    Text,
    /// JSON in a shape that nobody has seen.
    Json,
    /// The connection ended within the body.
    Torn,
}

impl BodyKind {
    /// The name in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Html => "html",
            Self::Text => "text",
            Self::Json => "unknown json",
            Self::Torn => "torn",
        }
    }
}

/// The first 64 KiB of an error body in an unknown shape. `Debug` shows its length only.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct RawBody(pub bytes::Bytes);

impl fmt::Debug for RawBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawBody({} bytes)", self.0.len())
    }
}

/// A call failed as a whole. Rows, nodes and graphs that Salesforce refused one by one are values, not errors.
///
/// No variant holds a token, and neither `Debug` nor `Display` shows a record's values.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// The connection was not made: name look-up, TCP or TLS failed. Certainly not executed; always safe to repeat.
    #[error("Salesforce is unreachable: {0}")]
    Unreachable(String),
    /// The request was sent and no complete answer came: time-out, reset, or a torn or unreadable success. It may
    /// have been executed: look before sending again, unless it may be repeated.
    #[error("the answer to a request was lost after {} ms: {reason}", after.as_millis())]
    AnswerLost {
        /// From the start of the call.
        after: Duration,
        /// What happened, without addresses or contents.
        reason: String,
    },
    /// Salesforce answered with its error envelope. [`Error::kind`] follows the first error that is a cause.
    #[error("Salesforce refused the request with status {status}: {}", codes(errors))]
    Refused {
        /// The HTTP status.
        status: u16,
        /// At least one error, in the order of the answer.
        errors: Vec<ApiError>,
    },
    /// An error status without an error envelope: the edge, a proxy, or maintenance answered.
    #[error("Salesforce answered status {status} with a body that is no error envelope ({})", body_kind.as_str())]
    Unavailable {
        /// The HTTP status.
        status: u16,
        /// What the body was.
        body_kind: BodyKind,
        /// Whether the request may have been executed.
        ambiguous: bool,
        /// How long a proxy asks to be left alone; core REST never says.
        retry_after: Option<Duration>,
        /// The body, cut to 64 KiB.
        body: RawBody,
    },
    /// Salesforce redirected, which an API call does not follow: the token would go to another host. Not executed.
    #[error("Salesforce redirected the request with status {status}; check the login URL or the org's My Domain")]
    Redirected {
        /// The HTTP status.
        status: u16,
    },
    /// No access token could be had. Not executed.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A success whose body lacks what the resource promises. It was executed, at least in part: look before sending
    /// again.
    #[error("Salesforce's answer breaks its contract: {0}")]
    Protocol(String),
    /// More than Salesforce takes in one request. Refused here; nothing was sent.
    #[error("{found} {limit} are more than the {max} that one request takes")]
    TooLarge {
        /// What there is too much of.
        limit: &'static str,
        /// How many one request takes.
        max: usize,
        /// How many there were.
        found: usize,
    },
    /// The arguments or settings cannot make a request. Refused here; nothing was sent.
    #[error("the request cannot be made: {0}")]
    Invalid(String),
}

impl Error {
    /// What it asks of the caller. Whether the request may have been executed is [`Error::is_ambiguous`].
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused { status, errors } => match root_cause(errors).map(ApiError::kind) {
                // A server's own failure with a code that nobody knows is still a server's failure.
                None | Some(ErrorKind::Unknown) if *status >= 500 => ErrorKind::Transient,
                Some(kind) => kind,
                None => ErrorKind::Unknown,
            },
            Self::Token(error) => match error.kind() {
                TokenErrorKind::Transient => ErrorKind::Transient,
                TokenErrorKind::RateLimited => ErrorKind::Throttled,
                TokenErrorKind::Dead | TokenErrorKind::Administrator => ErrorKind::Authentication,
                TokenErrorKind::Configuration | TokenErrorKind::Defect => ErrorKind::Configuration,
            },
            Self::Unreachable(_)
            | Self::AnswerLost { .. }
            | Self::Unavailable { .. }
            | Self::Redirected { .. }
            | Self::Protocol(_)
            | Self::TooLarge { .. }
            | Self::Invalid(_) => self.answer().map_or(ErrorKind::Unknown, |answer| answer.kind),
        }
    }

    /// The atlas's entry of an error that has no code; `None` where Salesforce named one, and for sign-in.
    pub fn answer(&self) -> Option<&'static Answer> {
        let name = match self {
            Self::Unavailable { status, .. } => return Atlas::status(*status),
            Self::Refused { .. } | Self::Token(_) => return None,
            Self::Unreachable(_) => "NOT_CONNECTED",
            Self::AnswerLost { .. } => "NO_ANSWER",
            Self::Redirected { .. } => "REDIRECTED",
            Self::Protocol(_) => "BROKEN_CONTRACT",
            Self::TooLarge { .. } => "TOO_MUCH_FOR_ONE_REQUEST",
            Self::Invalid(_) => "UNSENDABLE",
        };
        Atlas::answer(name)
    }

    /// The code to look up with `causeway-replayer explain`: Salesforce's own, OAuth's, or the atlas's name for an answer
    /// without one. Only names, no values.
    pub fn code(&self) -> &str {
        match self {
            Self::Refused { .. } => self.cause().map_or("", |cause| &cause.code),
            Self::Token(TokenError::Refused { error, .. }) => error,
            Self::Token(_) => "SIGN_IN_FAILED",
            Self::Unreachable(_)
            | Self::AnswerLost { .. }
            | Self::Unavailable { .. }
            | Self::Redirected { .. }
            | Self::Protocol(_)
            | Self::TooLarge { .. }
            | Self::Invalid(_) => self.answer().map_or("", |answer| &answer.name),
        }
    }

    /// Whether the request may have been executed, wholly or in part. If so, look before sending it again, unless
    /// repeating it is harmless.
    pub fn is_ambiguous(&self) -> bool {
        match self {
            Self::AnswerLost { .. } | Self::Protocol(_) => true,
            Self::Refused { status, errors } => {
                let unknown = |error: &ApiError| Atlas::code(&error.code).is_none();
                errors.iter().any(|error| error.is_ambiguous() || (*status >= 500 && unknown(error)))
            }
            Self::Unavailable { ambiguous, .. } => *ambiguous,
            Self::Unreachable(_)
            | Self::Redirected { .. }
            | Self::Token(_)
            | Self::TooLarge { .. }
            | Self::Invalid(_) => false,
        }
    }

    /// What a refusal is about that somebody has to set right in the org; `None` for any other error.
    pub fn lies_in(&self) -> Option<LiesIn> {
        self.cause().and_then(|cause| Atlas::code(&cause.code)).and_then(|code| code.lies_in)
    }

    /// The error that caused a refusal; `None` for anything but [`Error::Refused`].
    pub fn cause(&self) -> Option<&ApiError> {
        match self {
            Self::Refused { errors, .. } => root_cause(errors),
            Self::Unreachable(_)
            | Self::AnswerLost { .. }
            | Self::Unavailable { .. }
            | Self::Redirected { .. }
            | Self::Token(_)
            | Self::Protocol(_)
            | Self::TooLarge { .. }
            | Self::Invalid(_) => None,
        }
    }

    /// How long to wait at least, where the other side says so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } => *retry_after,
            Self::Token(error) => error.retry_after(),
            Self::Unreachable(_)
            | Self::AnswerLost { .. }
            | Self::Refused { .. }
            | Self::Redirected { .. }
            | Self::Protocol(_)
            | Self::TooLarge { .. }
            | Self::Invalid(_) => None,
        }
    }
}

/// The first error that is not merely the echo of another one.
pub(crate) fn root_cause(errors: &[ApiError]) -> Option<&ApiError> {
    errors.iter().find(|error| error.kind() != ErrorKind::Halted).or(errors.first())
}

fn codes(errors: &[ApiError]) -> String {
    let mut text: Vec<String> = errors.iter().take(3).map(ToString::to_string).collect();
    if errors.len() > 3 {
        text.push(format!("and {} more", errors.len() - 3));
    }
    text.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, errors: &[(&str, &str)]) -> Error {
        Error::Refused { status, errors: errors.iter().map(|(code, text)| ApiError::new(*code, *text)).collect() }
    }

    #[test]
    fn the_kind_of_a_refusal_follows_its_cause_and_not_its_echoes() {
        let error = refused(400, &[("PROCESSING_HALTED", "rolled back"), ("UNABLE_TO_LOCK_ROW", "")]);
        assert_eq!(error.kind(), ErrorKind::Lock);
        assert_eq!(error.cause().map(|cause| cause.code.as_str()), Some("UNABLE_TO_LOCK_ROW"));
        assert_eq!(refused(400, &[("PROCESSING_HALTED", "")]).kind(), ErrorKind::Halted);
        assert_eq!(refused(400, &[("BRAND_NEW", "")]).kind(), ErrorKind::Unknown);
        assert_eq!(refused(500, &[("BRAND_NEW", "")]).kind(), ErrorKind::Transient);
    }

    #[test]
    fn only_what_may_have_been_executed_is_ambiguous() {
        let unavailable = |status, ambiguous| Error::Unavailable {
            status,
            body_kind: BodyKind::Html,
            ambiguous,
            retry_after: None,
            body: RawBody::default(),
        };
        for (error, ambiguous) in [
            (refused(503, &[("SERVER_UNAVAILABLE", "")]), false),
            (refused(500, &[("UNKNOWN_EXCEPTION", "")]), true),
            (refused(500, &[("BRAND_NEW", "")]), true),
            (refused(400, &[("BRAND_NEW", "")]), false),
            (unavailable(502, true), true),
            (unavailable(420, false), false),
            (Error::Unreachable("refused".to_owned()), false),
            (Error::AnswerLost { after: Duration::ZERO, reason: String::new() }, true),
            (Error::Protocol("no id".to_owned()), true),
            (Error::Redirected { status: 302 }, false),
            (TokenError::Deadline.into(), false),
        ] {
            assert_eq!(error.is_ambiguous(), ambiguous, "{error}");
        }
    }

    #[test]
    fn neither_display_nor_debug_shows_what_the_record_holds() {
        let mut error = ApiError::new("INVALID_EMAIL_ADDRESS", "Email: invalid email address: jane@example");
        error.fields.push("Email".to_owned());
        let error = Error::Refused { status: 400, errors: vec![error] };
        assert!(!format!("{error} {error:?}").contains("jane"));
        assert_eq!(error.to_string(), "Salesforce refused the request with status 400: INVALID_EMAIL_ADDRESS on Email");
        let raw = RawBody(bytes::Bytes::from_static(b"jane@example.com"));
        assert_eq!(format!("{raw:?}"), "RawBody(16 bytes)");
    }

    #[test]
    fn an_operator_reads_the_meaning_the_object_and_the_fields_and_never_what_the_org_wrote() {
        const QUOTING: &str = "Customer Nora Quistling (+44 7700 900123, 41 Collins St) nora3@shop.example is blocked";
        for code in Atlas::codes().iter().map(|entry| entry.code.as_str()).chain(["NEVER_HEARD_OF", ""]) {
            let quoting = ApiError { fields: vec!["LastName".to_owned()], ..ApiError::new(code, QUOTING) };
            let text = quoting.operator_text();
            for personal in ["Nora", "Quistling", "7700", "Collins", "nora3"] {
                assert!(!text.contains(personal), "{code}: {text}");
            }
            assert!(text.ends_with(" (LastName)."), "{code}: {text}");
        }
        let rule = ApiError {
            fields: vec!["LastName".to_owned(), "Phone".to_owned()],
            object: Some("Account".to_owned()),
            ..ApiError::new("FIELD_CUSTOM_VALIDATION_EXCEPTION", QUOTING)
        };
        assert_eq!(
            rule.operator_text(),
            "A validation rule or trigger of the org refused the record (Account: LastName, Phone)."
        );
        let empty = ApiError::new("SERVER_UNAVAILABLE", " ");
        assert!(empty.operator_text().starts_with("Salesforce is too busy"));
    }

    #[test]
    fn a_text_of_salesforces_own_passes_only_as_a_whole_and_with_technical_names() {
        let text = |code: &str, message: &str| {
            ApiError { fields: vec!["LastName".to_owned(), "Ext__c".to_owned()], ..ApiError::new(code, message) }
                .operator_text()
        };
        for (code, message) in [
            ("REQUIRED_FIELD_MISSING", "Required fields are missing: [LastName]"),
            ("REQUIRED_FIELD_MISSING", "Required fields are missing: [LastName, Ext__c]"),
            ("INVALID_FIELD", "No such column 'i42as__Order__c' on sobject of type Account"),
            ("INVALID_TYPE", "sObject type 'LimioOrder__c' is not supported."),
            ("NOT_FOUND", "Provided external ID field does not exist or is not accessible: Ext__c"),
        ] {
            assert_eq!(text(code, message), message);
        }
        for (code, message) in [
            ("REQUIRED_FIELD_MISSING", "Required fields are missing: [Nora, Quistling]"),
            ("REQUIRED_FIELD_MISSING", "Required fields are missing: [LastName] of Nora"),
            ("REQUIRED_FIELD_MISSING", "Nora: Required fields are missing: [LastName]"),
            ("REQUIRED_FIELD_MISSING", "Required fields are missing: []"),
            ("INVALID_FIELD", "No such column 'Nora Quistling' on sobject of type Account"),
            ("INVALID_FIELD", "No such column '447700900123' on sobject of type Account"),
            ("INVALID_FIELD", "Foreign key external ID: nora not found for field Ext__c in entity Account"),
            ("FIELD_CUSTOM_VALIDATION_EXCEPTION", "Required fields are missing: [LastName]"),
        ] {
            let told = text(code, message);
            assert!(told != message && !told.contains("ora") && !told.contains("7700"), "{told}");
        }
    }
}
