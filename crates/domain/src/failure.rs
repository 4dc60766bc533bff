//! What went wrong, in words that every program and every operator shares.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::atlas::Atlas;

/// A stable code for what went wrong. Programs, settings and runbooks refer to it; it never changes its meaning.
///
/// The wire form is the snake-case name (`"missing_field"`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The body is larger than the limit.
    BodyTooLarge,
    /// The body is not UTF-8.
    InvalidUtf8,
    /// The body is not JSON, or ends too early.
    UnreadableJson,
    /// The body is JSON, but neither a `CloudEvent` nor a Limio object.
    NotAnOrder,
    /// The message belongs to another tenant than the fleet.
    WrongTenant,
    /// The `CloudEvent`'s `type` is not one that Causeway knows.
    UnknownEventType,
    /// The order's `order_type` is not one that Causeway knows.
    UnknownOrderType,
    /// A field that the order needs is absent or empty.
    MissingField,
    /// A field has another JSON type than Limio sends.
    WrongType,
    /// A field has the right type and a value that cannot be meant.
    InvalidValue,
    /// The same order identity came before with another content.
    IdentityConflict,
    /// Salesforce found a duplicate and `includeDuplicateCheck` is off.
    DuplicateDetected,
    /// A duplicate rule of the org blocks the customer.
    DuplicateBlocked,
    /// A duplicate rule allows, but several records match and the policy is to reject.
    DuplicateAmbiguous,
    /// Salesforce refused the record for good.
    SalesforceRefused,
    /// The org or its permissions are not set up for what Causeway writes.
    SalesforceMisconfigured,
    /// Another transaction held the record.
    RecordLocked,
    /// Salesforce was too busy, in maintenance, or failed inside.
    SalesforceUnavailable,
    /// The org's request allocation is spent.
    QuotaExhausted,
    /// Redis does not answer.
    LedgerUnavailable,
    /// RabbitMQ does not answer.
    BrokerUnavailable,
    /// Salesforce does not accept the credentials.
    AuthenticationFailed,
    /// The request may have been executed; its answer never came.
    AnswerLost,
    /// Salesforce answered with a code that the atlas does not know.
    UnknownSalesforceCode,
    /// The order took its process down too often.
    Poison,
    /// The broker gave the message up.
    BrokerGaveUp,
    /// Limio refuses to note which Salesforce records a subscription or customer belongs to. The order is written.
    IdentityLinkRefused,
    /// Limio does not answer, or does not accept the credentials.
    LimioUnavailable,
}

impl Reason {
    /// Every reason, in the order of the documentation.
    pub const ALL: [Self; 28] = [
        Self::BodyTooLarge,
        Self::InvalidUtf8,
        Self::UnreadableJson,
        Self::NotAnOrder,
        Self::WrongTenant,
        Self::UnknownEventType,
        Self::UnknownOrderType,
        Self::MissingField,
        Self::WrongType,
        Self::InvalidValue,
        Self::IdentityConflict,
        Self::DuplicateDetected,
        Self::DuplicateBlocked,
        Self::DuplicateAmbiguous,
        Self::SalesforceRefused,
        Self::SalesforceMisconfigured,
        Self::RecordLocked,
        Self::SalesforceUnavailable,
        Self::QuotaExhausted,
        Self::LedgerUnavailable,
        Self::BrokerUnavailable,
        Self::AuthenticationFailed,
        Self::AnswerLost,
        Self::UnknownSalesforceCode,
        Self::Poison,
        Self::BrokerGaveUp,
        Self::IdentityLinkRefused,
        Self::LimioUnavailable,
    ];

    /// The wire form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BodyTooLarge => "body_too_large",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::UnreadableJson => "unreadable_json",
            Self::NotAnOrder => "not_an_order",
            Self::WrongTenant => "wrong_tenant",
            Self::UnknownEventType => "unknown_event_type",
            Self::UnknownOrderType => "unknown_order_type",
            Self::MissingField => "missing_field",
            Self::WrongType => "wrong_type",
            Self::InvalidValue => "invalid_value",
            Self::IdentityConflict => "identity_conflict",
            Self::DuplicateDetected => "duplicate_detected",
            Self::DuplicateBlocked => "duplicate_blocked",
            Self::DuplicateAmbiguous => "duplicate_ambiguous",
            Self::SalesforceRefused => "salesforce_refused",
            Self::SalesforceMisconfigured => "salesforce_misconfigured",
            Self::RecordLocked => "record_locked",
            Self::SalesforceUnavailable => "salesforce_unavailable",
            Self::QuotaExhausted => "quota_exhausted",
            Self::LedgerUnavailable => "ledger_unavailable",
            Self::BrokerUnavailable => "broker_unavailable",
            Self::AuthenticationFailed => "authentication_failed",
            Self::AnswerLost => "answer_lost",
            Self::UnknownSalesforceCode => "unknown_salesforce_code",
            Self::Poison => "poison",
            Self::BrokerGaveUp => "broker_gave_up",
            Self::IdentityLinkRefused => "identity_link_refused",
            Self::LimioUnavailable => "limio_unavailable",
        }
    }

    /// The reason with this wire form.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }

    /// What an operator should do about it, in one or two sentences of the [`atlas`](crate::atlas).
    pub fn remedy(self) -> &'static str {
        Atlas::reason(self).map_or("", |entry| &entry.action)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether, and when, the same order may succeed unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// It may succeed later. Nothing was written.
    Transient,
    /// It may succeed once the asked-for time has passed. Nothing was written.
    Throttled {
        /// How long Salesforce wants to be left alone, where it says so.
        retry_after: Option<Duration>,
    },
    /// It may have happened. Look it up before sending again.
    Ambiguous,
    /// It will never succeed unchanged.
    Permanent,
}

impl FailureClass {
    /// The wire form, without the time.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Throttled { .. } => "throttled",
            Self::Ambiguous => "ambiguous",
            Self::Permanent => "permanent",
        }
    }
}

/// The longest message, in characters. It travels in headers, which a broker bounds.
pub const MAX_MESSAGE_CHARS: usize = 1000;

/// The longest field, rule and code, in characters. They travel in headers as well, and others may choose them.
pub const MAX_NAME_CHARS: usize = 200;

/// Why an order was not written. It holds no personal data: values are described by their shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Whether the same order may succeed later.
    pub class: FailureClass,
    /// The stable code.
    pub reason: Reason,
    /// What an operator reads: the thing, the place, the rule. No personal data.
    pub message: String,
    /// Salesforce's own error code, where Salesforce refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salesforce_code: Option<String>,
    /// The field: a JSON path in the order, or Salesforce's field name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The rule that refused: ours, or the org's duplicate rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Where the order was given up: how often it has failed, this time included and replays counted on. A process that died
    /// over it, or could not note its end, counts too; other outages, halted requests and waiting do not. `None` where it was
    /// never tried. A ledger that was emptied counts from zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// What the org itself said. It may name the customer, so it is written by [`Failure::kept`] alone: a letter keeps it,
    /// and nothing else does.
    #[serde(default, skip_serializing)]
    pub org_text: Option<OrgText>,
}

/// The org's own words about a refusal: a validation rule's, a trigger's, Salesforce's about a value. Whoever wrote the
/// rule chose them, and they may name the customer. `Debug` shows their length only.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct OrgText(String);

impl OrgText {
    /// The words themselves, at most [`MAX_MESSAGE_CHARS`] characters: for an operator who asked for values.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for OrgText {
    fn from(mut text: String) -> Self {
        if let Some((end, _)) = text.char_indices().nth(MAX_MESSAGE_CHARS) {
            text.truncate(end);
        }
        Self(text)
    }
}

impl From<OrgText> for String {
    fn from(text: OrgText) -> Self {
        text.0
    }
}

impl fmt::Debug for OrgText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OrgText({} characters)", self.0.chars().count())
    }
}

impl Failure {
    /// A failure of this class, with the rest left empty. A message beyond [`MAX_MESSAGE_CHARS`] is cut.
    pub fn new(class: FailureClass, reason: Reason, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if let Some((end, _)) = message.char_indices().nth(MAX_MESSAGE_CHARS) {
            message.truncate(end);
            message.push('…');
        }
        Self { class, reason, message, salesforce_code: None, field: None, rule: None, attempts: None, org_text: None }
    }

    /// A failure that no repetition heals.
    pub fn permanent(reason: Reason, message: impl Into<String>) -> Self {
        Self::new(FailureClass::Permanent, reason, message)
    }

    /// A failure that a later attempt may not meet.
    pub fn transient(reason: Reason, message: impl Into<String>) -> Self {
        Self::new(FailureClass::Transient, reason, message)
    }

    /// The same failure, naming the field. Beyond [`MAX_NAME_CHARS`] it is cut, as rule and code are.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(bounded(field.into()));
        self
    }

    /// The same failure, naming the rule.
    #[must_use]
    pub fn by(mut self, rule: impl Into<String>) -> Self {
        self.rule = Some(bounded(rule.into()));
        self
    }

    /// The same failure, naming Salesforce's code.
    #[must_use]
    pub fn coded(mut self, code: impl Into<String>) -> Self {
        self.salesforce_code = Some(bounded(code.into()));
        self
    }

    /// The same failure, keeping the org's own words, unless they are blank or are the message already.
    #[must_use]
    pub fn quoting(mut self, text: &str) -> Self {
        let text = text.trim();
        self.org_text = (!text.is_empty() && text != self.message).then(|| OrgText::from(text.to_owned()));
        self
    }

    /// The failure as a letter keeps it: with [`org_text`](Self::org_text), which every other form leaves out. It reads
    /// back as a failure.
    pub fn kept(&self) -> impl Serialize {
        #[derive(Serialize)]
        struct Kept<'a> {
            #[serde(flatten)]
            failure: &'a Failure,
            #[serde(skip_serializing_if = "Option::is_none")]
            org_text: Option<&'a OrgText>,
        }
        Kept { failure: self, org_text: self.org_text.as_ref() }
    }
}

fn bounded(mut name: String) -> String {
    if let Some((end, _)) = name.char_indices().nth(MAX_NAME_CHARS) {
        name.truncate(end);
    }
    name
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.message)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_cut_between_characters() {
        let failure = Failure::permanent(Reason::InvalidValue, "é".repeat(5000));
        assert_eq!(failure.message.chars().count(), MAX_MESSAGE_CHARS + 1);
    }

    #[test]
    fn field_rule_and_code_are_cut_between_characters() {
        let long = || "é".repeat(5000);
        let failure = Failure::permanent(Reason::InvalidValue, "x").at(long()).by(long()).coded(long());
        for name in [failure.field, failure.rule, failure.salesforce_code] {
            assert_eq!(name.expect("a name").chars().count(), MAX_NAME_CHARS);
        }
    }

    #[test]
    fn the_orgs_own_words_are_kept_with_a_letter_and_shown_nowhere_else() {
        let failure = Failure::permanent(Reason::SalesforceRefused, "A rule refused it.").quoting(" Nora is blocked ");
        assert_eq!(failure.org_text.as_ref().map(OrgText::reveal), Some("Nora is blocked"));
        let told = serde_json::to_string(&failure).expect("JSON");
        assert!(!format!("{told} {failure} {failure:?}").contains("Nora"), "{told} {failure} {failure:?}");
        let kept = serde_json::to_string(&failure.kept()).expect("JSON");
        assert_eq!(serde_json::from_str::<Failure>(&kept).expect("a failure"), failure);
        assert!(serde_json::from_str::<Failure>(&told).expect("what was written before").org_text.is_none());
    }

    #[test]
    fn the_orgs_own_words_are_bounded_and_not_kept_twice() {
        let failure = || Failure::permanent(Reason::SalesforceRefused, "said");
        assert_eq!((failure().quoting(" ").org_text, failure().quoting("said").org_text), (None, None));
        let long = failure().quoting(&"é".repeat(5000)).org_text.expect("words");
        assert_eq!(long.reveal().chars().count(), MAX_MESSAGE_CHARS);
        let read: OrgText = serde_json::from_value("é".repeat(5000).into()).expect("words");
        assert_eq!(read, long);
    }

    #[test]
    fn every_reason_reads_back_from_its_wire_form() {
        for reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.as_str()), Some(reason));
            assert_eq!(serde_json::to_value(reason).expect("a name"), reason.as_str());
        }
    }
}
