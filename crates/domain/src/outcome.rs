//! What came of one order, and what is told about it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::order::id::{OrderId, RecordId, SequenceKey, TenantId};

/// What one attempt at an order came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The org holds it, or a business answer was given: the order is done.
    Settled(Result),
    /// It failed; the failure says whether to try again.
    Failed(Failure),
    /// Salesforce did not run it because others of the same request failed. Nothing was tried.
    Halted,
    /// Another owner's claim may still take effect; ask again after this time. Nothing was tried.
    Busy {
        /// What is left of the claim.
        left: Duration,
    },
    /// A dependency as a whole is away or forbids itself. Nothing was tried; intake pauses.
    Outage {
        /// What is away, and what it said.
        failure: Failure,
        /// How long to leave it alone before one probe.
        retry_after: Duration,
    },
}

/// How an order ended. Kept in the ledger, told to others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Result {
    /// Its records are in the org.
    Written(Written),
    /// A business answer: the org's rules refuse this customer.
    Rejected(Rejected),
}

/// What was written for an order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Written {
    /// The Account that the order belongs to: person account or business account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crm_id: Option<RecordId>,
    /// Every record that was written, by the plan's reference (`account`, `contact`, `order`).
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub record_ids: Map<String, Value>,
    /// The `EventUuid` of the platform event, when one was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_uuid: Option<String>,
    /// Why the order is on this Account, when a duplicate rule decided it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<MatchExplanation>,
    /// What was shortened or left out on the way, one sentence each. No personal data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adjustments: Vec<String>,
}

/// A business answer that settles the order without writing it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rejected {
    /// Stable code, operator text, rule.
    pub failure: Failure,
    /// What the customer may read, from `[errors]`.
    pub customer_text: String,
    /// The matches that led to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<MatchExplanation>,
}

/// Which rule matched which records by what, and what was made of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MatchExplanation {
    /// The duplicate rule's developer name.
    pub rule: String,
    /// The matching rule's name, where Salesforce gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matching_rule: Option<String>,
    /// The ids of the matched records, best first.
    pub matched: Vec<RecordId>,
    /// What the order and the chosen record have in common, where the org told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<MatchedField>,
    /// What was decided, in a word: `rejected`, `attached`.
    pub decision: String,
    /// The records that `transferOwnership` moved to the Account with the order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moved: Vec<RecordId>,
    /// Where several records matched: `[duplicates] several_matches` as it was then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

/// A field by which an order matched a record: its name and the kind of its value, never the value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatchedField {
    /// Salesforce's name of the field.
    pub name: String,
    /// What kind of value it is: `e-mail address`, `text of 9`, `number`, `flag`.
    pub shape: String,
}

impl MatchedField {
    /// The field, with the shape of this value. A text's length is in characters.
    pub fn of(name: &str, value: &Value) -> Self {
        let shape = match value {
            Value::String(text) if text.contains('@') => "e-mail address".to_owned(),
            Value::String(text) => format!("text of {}", text.chars().count()),
            Value::Number(_) => "number".to_owned(),
            Value::Bool(_) => "flag".to_owned(),
            Value::Null => "empty".to_owned(),
            Value::Array(_) | Value::Object(_) => "composite".to_owned(),
        };
        Self { name: name.to_owned(), shape }
    }
}

/// What is announced on the outcomes exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutcomeKind {
    /// `order.written`
    Written,
    /// `order.rejected`
    Rejected,
    /// `order.dead_lettered`
    DeadLettered,
    /// `order.replayed`
    Replayed,
}

impl OutcomeKind {
    /// The routing key on the outcomes exchange.
    pub const fn routing_key(self) -> &'static str {
        match self {
            Self::Written => "order.written",
            Self::Rejected => "order.rejected",
            Self::DeadLettered => "order.dead_lettered",
            Self::Replayed => "order.replayed",
        }
    }
}

/// One announcement: a `CloudEvent` without personal data. The same outcome has the same id, however often it is told.
#[derive(Debug, Clone, PartialEq)]
pub struct OutcomeEvent {
    /// What is announced.
    pub kind: OutcomeKind,
    /// The tenant, for `source`.
    pub tenant: TenantId,
    /// The order, for `subject`.
    pub order_id: OrderId,
    /// The lane it travelled in; told as [`SequenceKey::masked`] has it, since it may be an e-mail address.
    pub sequence_key: SequenceKey,
    /// Which of several deaths of the order is announced: the letter, and the attempts it took. `None` for what an order
    /// ends as once.
    pub occasion: Option<String>,
    /// Result or failure, as JSON.
    pub data: Value,
}

impl OutcomeEvent {
    /// Announces how an order ended.
    pub fn of_result(tenant: TenantId, order_id: OrderId, sequence_key: SequenceKey, result: &Result) -> Self {
        let kind = match result {
            Result::Written(_) => OutcomeKind::Written,
            Result::Rejected(_) => OutcomeKind::Rejected,
        };
        let data = serde_json::to_value(result).unwrap_or(Value::Null);
        Self { kind, tenant, order_id, sequence_key, occasion: None, data }
    }

    /// Announces that an order was given up; `letter_id` is its dead letter.
    ///
    /// A letter that was replayed and given up again is another announcement, since its failure counts more attempts
    /// ([`Failure::attempts`]).
    pub fn of_failure(
        tenant: TenantId,
        order_id: OrderId,
        sequence_key: SequenceKey,
        failure: &Failure,
        letter_id: &str,
    ) -> Self {
        let data = json!({ "failure": failure, "letter_id": letter_id, "remedy": failure.reason.remedy() });
        let occasion = match failure.attempts {
            Some(attempts) => format!("{letter_id}:{attempts}"),
            None => letter_id.to_owned(),
        };
        Self { kind: OutcomeKind::DeadLettered, tenant, order_id, sequence_key, occasion: Some(occasion), data }
    }

    /// The `CloudEvents` id, to fold repeats by: equal for equal announcements, different for two deaths of one order.
    pub fn id(&self) -> String {
        let kind = self.kind.routing_key();
        match &self.occasion {
            Some(occasion) => format!("{}:{kind}:{occasion}", self.order_id),
            None => format!("{}:{kind}", self.order_id),
        }
    }

    /// The event in structured mode, `application/cloudevents+json`.
    pub fn render(&self) -> Vec<u8> {
        let mut data = self.data.clone();
        if let Value::Object(fields) = &mut data {
            fields.insert("order_id".into(), self.order_id.as_str().into());
        }
        json!({
            "specversion": "1.0",
            "id": self.id(),
            "type": format!("com.causeway.{}", self.kind.routing_key()),
            "source": format!("/causeway/{}", self.tenant),
            "subject": self.order_id.as_str(),
            "sequencekey": self.sequence_key.masked(),
            "datacontenttype": "application/json",
            "data": data,
        })
        .to_string()
        .into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Reason;

    fn told(key: &str) -> Value {
        let order_id = OrderId::parse("order-1").expect("an id");
        let key = SequenceKey::parse(key).expect("a key");
        let tenant = TenantId::parse("acme").expect("a name");
        let written = Result::Written(Written::default());
        let event = OutcomeEvent::of_result(tenant, order_id, key, &written);
        serde_json::from_slice(&event.render()).expect("JSON")
    }

    #[test]
    fn a_death_that_is_told_again_has_its_id_and_the_next_death_of_the_order_has_another() {
        let dead = |letter: &str, attempts: Option<u32>| {
            let failure = Failure { attempts, ..Failure::permanent(Reason::SalesforceRefused, "x") };
            let order_id = OrderId::parse("order-1").expect("an id");
            let key = SequenceKey::parse("id-1").expect("a key");
            OutcomeEvent::of_failure(TenantId::parse("acme").expect("a name"), order_id, key, &failure, letter).id()
        };
        assert_eq!(dead("a", Some(1)), dead("a", Some(1)));
        assert_ne!(dead("a", Some(1)), dead("a", Some(2)), "replayed, and given up again");
        assert_ne!(dead("a", Some(1)), dead("b", Some(1)), "sent again, and given up again");
        assert_ne!(dead("a", None), dead("b", None));
    }

    #[test]
    fn an_announcement_masks_a_lane_that_is_an_e_mail_address() {
        let event = told("nora@example.org");
        assert!(!event.to_string().contains("nora") && !event.to_string().contains('@'), "{event}");
        assert_eq!(event["sequencekey"], SequenceKey::parse("nora@example.org").expect("a key").masked());
        assert_eq!(told("id-1")["sequencekey"], "id-1");
    }
}
