//! A validated order event: what travels from `ingest` to `writer`.

use serde_json::Value;

use crate::envelope::{Envelope, EventKind, Undecodable};
use crate::failure::{Failure, Reason};
use crate::fingerprint;
use crate::order::change::OrderType;
use crate::order::id::{Fingerprint, OrderId, SequenceKey};
use crate::order::read::shown;
use crate::order::{Order, identity, parse};
use crate::secrets;

/// A validated order with the envelope it came in.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderEvent {
    /// The envelope, its `data` and extensions without secrets, its `subject` the order's identity.
    pub envelope: Envelope,
    /// The order.
    pub order: Order,
}

impl OrderEvent {
    /// Strips the secrets and parses the order.
    ///
    /// # Errors
    ///
    /// `UnknownEventType` and `NotAnOrder` for what is no order; `UnknownOrderType`, `MissingField`, `WrongType` and
    /// `InvalidValue` for an order that cannot be meant as it stands, naming the JSON path. All are permanent.
    pub fn parse(mut envelope: Envelope) -> Result<Self, Undecodable> {
        secrets::strip(&mut envelope.data);
        secrets::strip(&mut envelope.extensions);
        check_kind(&envelope)?;
        let fingerprint = fingerprint::of(&envelope.data);
        let digest = || fingerprint::naming(&envelope.data);
        let id = identity::order_id(&envelope.data, envelope.subject.as_deref(), digest);
        let sequence_key = identity::sequence_key(&envelope.data, &id);
        envelope.subject = Some(id.as_str().to_owned());
        match parse::parse(&envelope.data, &envelope.kind, id, fingerprint, sequence_key) {
            Ok(order) => Ok(Self { envelope, order }),
            Err(failure) => Err(identity::undecodable(failure, &envelope.data, envelope.subject.as_deref())),
        }
    }

    /// The order's identity.
    pub const fn order_id(&self) -> &OrderId {
        &self.order.id
    }

    /// The digest of what the order says.
    pub const fn fingerprint(&self) -> Fingerprint {
        self.order.fingerprint
    }

    /// The lane: orders of one key never overtake each other.
    pub const fn sequence_key(&self) -> &SequenceKey {
        &self.order.sequence_key
    }

    /// What is asked for.
    pub const fn order_type(&self) -> OrderType {
        self.order.change.order_type()
    }

    /// The name of this message, the envelope's id: the same on every redelivery, at most 128 bytes.
    pub fn message_id(&self) -> &str {
        &self.envelope.id
    }

    /// The message to send onward, as [`Envelope::render`] writes it. Decoding and parsing it gives an equal event.
    pub fn render(&self) -> Vec<u8> {
        self.envelope.render()
    }
}

/// Refuses what is no order.
fn check_kind(envelope: &Envelope) -> Result<(), Undecodable> {
    let data = &envelope.data;
    let failure = match &envelope.kind {
        EventKind::Unknown(name) => {
            let message = format!("event type {} is not one that Causeway knows", shown(name));
            let failure = Failure::permanent(Reason::UnknownEventType, message).at("type");
            return Err(identity::undecodable(failure, data, envelope.subject.as_deref()));
        }
        EventKind::Known(name) if !envelope.kind.carries_order() => format!("{name} does not carry an order"),
        EventKind::Known(_) => match data.get("record_type").and_then(Value::as_str) {
            Some(record_type) if record_type != "order" && !data.contains_key("order_type") => {
                format!("the object is a Limio record of type {}, not an order", shown(record_type))
            }
            _ if !looks_like_an_order(envelope) => "the object has none of the fields of a Limio order".to_owned(),
            _ => return Ok(()),
        },
    };
    Err(Failure::permanent(Reason::NotAnOrder, failure).into())
}

fn looks_like_an_order(envelope: &Envelope) -> bool {
    const MARKS: [&str; 10] = [
        "order_type",
        "orderItems",
        "order_reference",
        "orderDate",
        "checkoutId",
        "forSubscription",
        "subscriptionId",
        "customerDetails",
        "billingDetails",
        "updates",
    ];
    MARKS.iter().any(|mark| envelope.data.contains_key(*mark))
        || envelope.data.get("id").and_then(Value::as_str).is_some_and(identity::is_order_id)
}
