//! What a code means, what Causeway does about it, and what an operator should do.

use domain::failure::Reason;
use salesforce::{Catalogue, Entry, ErrorKind};
use serde::Serialize;

use crate::forecast::Outlook;

/// A code, explained: the JSON shape of `explain CODE`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The code as it is written.
    pub code: String,
    /// `reason` for one of Causeway's own, `salesforce` for one of Salesforce's.
    pub origin: &'static str,
    /// What kind of failure it is.
    pub class: &'static str,
    /// What it means.
    pub meaning: String,
    /// What Causeway does when it meets it.
    pub we_do: &'static str,
    /// What an operator should do.
    pub you_do: String,
    /// What to expect of a replay: `may_succeed`, `needs_correction`, `fails_again`, `dangerous`; `null` for Salesforce's codes.
    pub replay: Option<Outlook>,
    /// Salesforce's HTTP statuses with this code.
    pub http: Vec<u16>,
    /// Salesforce's messages that change the meaning.
    pub variants: Vec<Variant>,
}

/// A message that changes what a code means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Variant {
    /// What the message contains.
    pub message_contains: String,
    /// What kind of failure it is then.
    pub class: &'static str,
    /// What it means then.
    pub meaning: String,
    /// What Causeway does then.
    pub we_do: &'static str,
    /// What an operator should do then.
    pub you_do: String,
}

/// No code has this name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownCode {
    /// The name.
    pub name: String,
    /// Codes with a similar name, the nearest first.
    pub near: Vec<String>,
}

impl std::fmt::Display for UnknownCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} is neither a reason nor a Salesforce code that the catalogue knows",
            crate::shown::printable(&self.name)
        )?;
        if self.near.is_empty() { Ok(()) } else { write!(f, "; did you mean {}?", self.near.join(" or ")) }
    }
}

impl std::error::Error for UnknownCode {}

/// Explains a reason or a Salesforce code; case does not matter, and `-` stands for `_`.
///
/// # Errors
/// There is no such code.
pub fn explain(name: &str) -> Result<Explanation, UnknownCode> {
    let name = name.trim();
    let folded = name.replace('-', "_");
    if let Some(reason) = Reason::parse(&folded.to_ascii_lowercase()) {
        return Ok(of_reason(reason));
    }
    Catalogue::get(name)
        .or_else(|| Catalogue::entries().iter().find(|entry| entry.code.eq_ignore_ascii_case(&folded)))
        .map(of_entry)
        .ok_or_else(|| UnknownCode { name: name.to_owned(), near: near(&folded) })
}

/// Every code there is: reasons first.
pub fn all() -> Vec<Explanation> {
    Reason::ALL.into_iter().map(of_reason).chain(Catalogue::entries().iter().map(of_entry)).collect()
}

fn near(name: &str) -> Vec<String> {
    let name = name.to_ascii_lowercase();
    let codes =
        Reason::ALL.into_iter().map(Reason::as_str).chain(Catalogue::entries().iter().map(|entry| entry.code.as_str()));
    let mut near: Vec<(f64, &str)> = codes
        .map(|code| (strsim::jaro_winkler(&name, &code.to_ascii_lowercase()), code))
        .filter(|(likeness, _)| *likeness > 0.85)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    near.into_iter().take(3).map(|(_, code)| code.to_owned()).collect()
}

/// Explains a reason.
pub fn of_reason(reason: Reason) -> Explanation {
    let (class, meaning, we_do) = words(reason);
    Explanation {
        code: reason.as_str().to_owned(),
        origin: "reason",
        class,
        meaning: meaning.to_owned(),
        we_do,
        you_do: reason.remedy().to_owned(),
        replay: Some(Outlook::of_reason(reason)),
        http: Vec::new(),
        variants: Vec::new(),
    }
}

fn of_entry(entry: &Entry) -> Explanation {
    let variants = entry.texts.iter().map(|text| Variant {
        message_contains: text.contains.clone(),
        class: text.kind.as_str(),
        meaning: text.meaning.clone(),
        we_do: we_do(text.kind),
        you_do: text.action.clone(),
    });
    Explanation {
        code: entry.code.clone(),
        origin: "salesforce",
        class: entry.kind.as_str(),
        meaning: entry.meaning.clone(),
        we_do: if entry.ambiguous { LOOK_UP } else { we_do(entry.kind) },
        you_do: entry.action.clone(),
        replay: None,
        http: entry.http.clone(),
        variants: variants.collect(),
    }
}

const GIVE_UP: &str = "The order becomes a dead letter at once; the customer's later orders are parked behind it.";
const RETRY: &str = "The order is tried again with growing pauses, as [retry] says; the customer's later orders wait. Then it becomes a dead letter.";
const PAUSE: &str =
    "Intake pauses and probes from time to time. No attempt is counted, and no order becomes a dead letter by it.";
const REJECT: &str =
    "The order is settled as rejected: order.rejected goes out with the text for the customer. It blocks nobody.";
const LOOK_UP: &str = "The order is looked up in Salesforce before anything is sent again, so that nothing happens twice; then as for a retry.";

/// What Causeway does about a kind of Salesforce error.
const fn we_do(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Lock | ErrorKind::Transient | ErrorKind::Throttled => RETRY,
        ErrorKind::Quota | ErrorKind::Maintenance | ErrorKind::Authentication => PAUSE,
        ErrorKind::Session => "The token is renewed once and the request repeated. If that fails too, intake pauses.",
        ErrorKind::Halted => "The order goes again at once: something else in the same request failed, not the order.",
        ErrorKind::Duplicate => {
            "order-processing.toml decides (includeDuplicateCheck, [duplicates]): the matched record is used, or the order is rejected."
        }
        ErrorKind::AlreadyExists => "The order goes again, and then finds the record that exists.",
        ErrorKind::Permanent | ErrorKind::Configuration => GIVE_UP,
        ErrorKind::Unknown => "Treated as transient: tried again a few times, then a dead letter that says so.",
    }
}

/// Class, meaning, what Causeway does.
const fn words(reason: Reason) -> (&'static str, &'static str, &'static str) {
    const MALFORMED: &str = "The message becomes a dead letter with its bytes untouched. Where its customer can be told, later orders are parked behind it.";
    match reason {
        Reason::BodyTooLarge => ("permanent", "The body is larger than the limit.", MALFORMED),
        Reason::InvalidUtf8 => ("permanent", "The body is not UTF-8.", MALFORMED),
        Reason::UnreadableJson => ("permanent", "The body is not JSON, or ends too early.", MALFORMED),
        Reason::NotAnOrder => {
            ("permanent", "The body is JSON, but neither a CloudEvent nor a Limio object.", MALFORMED)
        }
        Reason::WrongTenant => ("permanent", "The message belongs to another tenant than this fleet.", MALFORMED),
        Reason::UnknownEventType => {
            ("permanent", "The CloudEvent's type is not one that this version knows.", MALFORMED)
        }
        Reason::UnknownOrderType => ("permanent", "The order_type is not one that this version knows.", MALFORMED),
        Reason::MissingField => ("permanent", "A field that the order needs is absent or empty.", MALFORMED),
        Reason::WrongType => ("permanent", "A field has another JSON type than Limio sends.", MALFORMED),
        Reason::InvalidValue => {
            ("permanent", "A field has the right type and a value that cannot be meant.", MALFORMED)
        }
        Reason::IdentityConflict => (
            "permanent",
            "The same order identity came before with another content. Neither is chosen silently.",
            GIVE_UP,
        ),
        Reason::DuplicateDetected => {
            ("rejection", "Salesforce found a duplicate, and includeDuplicateCheck is off.", REJECT)
        }
        Reason::DuplicateBlocked => ("rejection", "A duplicate rule of the org blocks the customer.", REJECT),
        Reason::DuplicateAmbiguous => {
            ("rejection", "A duplicate rule allows it, but several records match and the policy is to reject.", REJECT)
        }
        Reason::SalesforceRefused => ("permanent", "Salesforce refused the record for good.", GIVE_UP),
        Reason::SalesforceMisconfigured => {
            ("permanent", "The org or its permissions are not set up for what Causeway writes.", GIVE_UP)
        }
        Reason::RecordLocked => ("transient", "Another transaction held the record.", RETRY),
        Reason::SalesforceUnavailable => (
            "transient",
            "Salesforce was too busy, in maintenance, or failed inside.",
            "An outage pauses intake; a single order is tried again with growing pauses, as [retry] says, and then becomes a dead letter.",
        ),
        Reason::QuotaExhausted => ("outage", "The org's request allocation is spent.", PAUSE),
        Reason::LedgerUnavailable => ("outage", "Redis does not answer.", PAUSE),
        Reason::BrokerUnavailable => ("outage", "RabbitMQ does not answer.", PAUSE),
        Reason::AuthenticationFailed => ("outage", "Salesforce does not accept the credentials.", PAUSE),
        Reason::AnswerLost => ("ambiguous", "The request may have been executed; its answer never came.", LOOK_UP),
        Reason::UnknownSalesforceCode => (
            "transient",
            "Salesforce answered with a code that the catalogue does not know.",
            we_do(ErrorKind::Unknown),
        ),
        Reason::Poison => ("permanent", "The order took its process down too often.", GIVE_UP),
        Reason::BrokerGaveUp => {
            ("permanent", "RabbitMQ gave the message up: it was delivered too often without being settled.", GIVE_UP)
        }
    }
}
