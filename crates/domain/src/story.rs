//! The story of an order: every step it took, so that an operator can be told where it is, what happened, what it waits
//! for and what to do.
//!
//! Programs record steps through a [`Recorder`]; what carries them keeps at most [`FIRST`] and [`LAST`] of an order. A
//! reader merges them with what the journal and the ledger know for certain ([`tell()`]), and marks what is missing: a story
//! may have gaps, and never silently.
//!
//! No step holds personal data: names of codes, rules, letters and records only.

mod end;
mod tell;
mod words;

use serde::{Deserialize, Serialize};

use crate::failure::Reason;
use crate::outcome::MatchExplanation;

pub use end::{Place, Standing};
pub use tell::{Source, Told, bounded, tell};

/// How many steps of the beginning of a story are kept.
pub const FIRST: usize = 16;

/// How many steps of the end of a story are kept: with the beginning and the mark of the cut between them 64.
pub const LAST: usize = 47;

/// The longest text in a step, in characters; longer ones are cut.
const MAX_TEXT: usize = 120;

/// One step of an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// When, in milliseconds since 1970, by the clock of the process that recorded it.
    #[serde(rename = "t")]
    pub at: u64,
    /// Who recorded it: program and instance.
    #[serde(rename = "b")]
    pub by: String,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened to an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "s", rename_all = "snake_case")]
pub enum What {
    /// `ingest` took it in.
    Received {
        /// The trace id that its publisher gave it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trace: Option<String>,
    },
    /// It was handed on to its customer's partition.
    HandedOn {
        /// The partition.
        partition: u16,
    },
    /// It came once more and was folded: the same order had been handed on before.
    Folded,
    /// Another order came under the same identity.
    Conflicted,
    /// It was refused when it was read.
    Refused {
        /// Why.
        reason: Reason,
        /// The field, where one is to blame.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        field: Option<String>,
    },
    /// A writer has it in its customer's lane, where it waits its turn.
    TakenUp {
        /// The partition.
        partition: u16,
    },
    /// It waits for a time: it failed and goes again then.
    Waits {
        /// Until when, in milliseconds since 1970.
        until: u64,
        /// Why.
        reason: Reason,
        /// The code with which it failed, where there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<String>,
    },
    /// Intake pauses: something is away, and every order waits.
    Paused {
        /// Until the next probe, in milliseconds since 1970.
        until: u64,
        /// What is away.
        reason: Reason,
    },
    /// Its customer's partition is full; it goes on when there is room.
    PartitionFull,
    /// Another process holds its claim, which may still take effect.
    Busy {
        /// Until when, in milliseconds since 1970.
        until: u64,
    },
    /// Another order is being written to its customer's Account, or comes first: Salesforce would lock one of them out.
    AccountInUse,
    /// It is claimed: nobody else works on it.
    Claimed {
        /// Which attempt this is, from 1.
        attempt: u32,
        /// Whether an earlier attempt ended without telling, so that it has to be looked up first.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        unknown: bool,
    },
    /// The ledger knows that it was settled before.
    SettledBefore,
    /// It was sent to Salesforce.
    Sent {
        /// The request: the span id of its `traceparent`.
        request: String,
        /// How many orders went with it, itself included.
        orders: u32,
        /// The how manyth request of the process.
        call: u64,
        /// Whether only its event was sent.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        event: bool,
    },
    /// Salesforce answered about it.
    Answered {
        /// What.
        answer: Answer,
        /// The code, to be explained by the error atlas.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<String>,
        /// Object and fields to blame, as API names.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fields: Option<String>,
    },
    /// It was looked up in Salesforce.
    LookedUp {
        /// What was found.
        found: Found,
    },
    /// A duplicate rule fired, and it was decided what follows.
    Duplicate {
        /// Rule, matched records, decision.
        #[serde(flatten)]
        explanation: MatchExplanation,
    },
    /// It is settled.
    Settled {
        /// How.
        how: Ending,
        /// The Account.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        crm_id: Option<String>,
        /// The event's `EventUuid`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        event: Option<String>,
        /// Why it was rejected.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Reason>,
    },
    /// It was given up.
    Dead {
        /// The letter.
        letter: String,
        /// Why.
        reason: Reason,
        /// Salesforce's code, where it refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<String>,
    },
    /// It is parked behind a dead letter of its customer.
    Parked {
        /// Its own letter.
        letter: String,
        /// The letter it waits behind.
        behind: String,
    },
    /// Its customer's lane has no room for it, or for orders before it: it waits in the journal, and comes back by itself.
    Overflowed {
        /// Its letter there, which is no failure.
        letter: String,
    },
    /// It came back from there into its customer's lane.
    LetIn {
        /// Its letter.
        letter: String,
    },
    /// An operator released it.
    Released {
        /// The letter.
        letter: String,
        /// Who.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        operator: Option<String>,
    },
    /// Its letter was closed.
    Closed {
        /// The letter.
        letter: String,
        /// How: `written`, `rejected`, `already`, `published`, `accepted`, `discarded`.
        how: String,
        /// Why, where an operator threw it away.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// It was told on the outcomes exchange.
    Announced {
        /// The routing key.
        told: String,
    },
    /// Limio is told which Salesforce records its subscription and customer belong to, once Limio answers.
    LinkWaits {
        /// Why it did not answer, where it was asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Reason>,
    },
    /// Limio knows the Salesforce records.
    Linked {
        /// How many links Limio was asked for; 0 where all were known.
        links: u32,
    },
    /// Limio was not told: it refused, or the queue of links was full.
    NotLinked {
        /// What Limio refused, or that there was no room.
        why: String,
    },
    /// Steps were not recorded.
    Gap {
        /// How many; 0 where that is not known.
        steps: u64,
        /// What is missing, where that can be told.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        missing: Option<String>,
    },
    /// Steps were left out, because a story keeps the first and the last only.
    Cut {
        /// How many.
        steps: u64,
    },
    /// A step that this version does not know.
    #[serde(other)]
    Unknown,
}

/// What Salesforce said of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It was written.
    Written,
    /// It was refused.
    Refused,
    /// It was not tried, because others of the request failed.
    Halted,
    /// The request failed as a whole.
    Failed,
}

/// What a look-up found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// It had been written.
    Written,
    /// It had not been written.
    Nothing,
    /// Another order had been written under its identity.
    Conflict,
    /// Salesforce could not be asked.
    Unanswered,
    /// There is nothing to look it up by.
    Impossible,
}

/// How an order ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Its records are in the org.
    Written,
    /// A business answer settled it.
    Rejected,
}

impl Step {
    /// The wire form: one compact JSON object.
    pub fn render(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads the wire form; `None` for what is none. A step of a newer version is [`What::Unknown`].
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

impl What {
    /// The name on the wire.
    pub fn name(&self) -> String {
        let value = serde_json::to_value(self).unwrap_or_default();
        value.get("s").and_then(serde_json::Value::as_str).unwrap_or("unknown").to_owned()
    }
}

/// A text as a step may hold it.
pub fn short(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

/// The trace id of a `traceparent`; `None` where that is malformed.
pub fn trace_id(trace_parent: &str) -> Option<&str> {
    let id = trace_parent.split('-').nth(1)?;
    let hex = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    (hex && id.bytes().any(|byte| byte != b'0')).then_some(id)
}

/// Takes steps in, without waiting and without failing: whoever records must not be held up by the telling of it.
pub trait Recorder: Send + Sync {
    /// Something happened to an order, now.
    fn record(&self, order: &str, what: What);
}

/// A recorder that keeps nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unrecorded;

impl Recorder for Unrecorded {
    fn record(&self, _: &str, _: What) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_reads_back_from_its_wire_form_and_a_newer_one_is_unknown() {
        let steps = [
            What::Received { trace: Some("0af7651916cd43dd8448eb211c80319c".to_owned()) },
            What::Folded,
            What::Claimed { attempt: 2, unknown: true },
            What::Sent { request: "b7ad6b7169203331".to_owned(), orders: 75, call: 9, event: false },
            What::Answered { answer: Answer::Refused, code: Some("X".to_owned()), fields: None },
            What::Duplicate {
                explanation: MatchExplanation {
                    rule: "Rule".to_owned(),
                    decision: "attached".to_owned(),
                    ..MatchExplanation::default()
                },
            },
            What::Dead { letter: "395fb98a".to_owned(), reason: Reason::SalesforceRefused, code: None },
            What::Gap { steps: 3, missing: None },
        ];
        for what in steps {
            let step = Step { at: 1_790_000_000_000, by: "writer/1".to_owned(), what };
            assert_eq!(Step::parse(&step.render()), Some(step.clone()), "{}", step.render());
        }
        let newer = Step::parse(r#"{"t":1,"b":"writer/1","s":"teleported","to":"mars"}"#).expect("a step");
        assert_eq!(newer.what, What::Unknown);
        assert_eq!(Step::parse("{"), None);
    }

    #[test]
    fn an_ordinary_step_takes_few_bytes() {
        let step =
            Step { at: 1_790_000_000_000, by: "writer/1a2b3c4d".to_owned(), what: What::TakenUp { partition: 7 } };
        assert!(step.render().len() < 80, "{}", step.render());
    }

    #[test]
    fn a_trace_id_is_taken_from_a_well_formed_header_only() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        assert_eq!(trace_id(&format!("00-{id}-b7ad6b7169203331-01")), Some(id));
        for odd in ["", "00", "00-xyz-1-01", "00-00000000000000000000000000000000-b7ad6b7169203331-01"] {
            assert_eq!(trace_id(odd), None, "{odd}");
        }
    }
}
