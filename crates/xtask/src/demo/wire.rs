//! How an order travels: the frames that Limio's webhooks, callouts and receivers put around it, and what may go wrong
//! with it on the way.

use std::collections::BTreeMap;

use domain::order::change::OrderType;
use queue::message::{Message, SEQUENCE_KEY};
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Map, Value, json};

/// The frame around an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Frame {
    /// The Limio object as the body; tenant and event in headers.
    Bare,
    /// A structured `CloudEvent`.
    CloudEvent,
    /// JSON inside a JSON string, as the callout plugin may send it.
    JsonInAString,
    /// An HTTP receiver's wrapper with the object under `body`.
    Receiver,
    /// The frame of a stored record with the order under `data`.
    Record,
}

/// What is wrong with an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Flaw {
    /// The body ends too early.
    Truncated,
    /// Two bytes are no UTF-8.
    NotUtf8,
    /// An order type that nobody knows.
    UnknownType,
    /// `order_type` is missing.
    MissingField,
    /// The order's date is a number.
    WrongType,
    /// An amount that is no number.
    InvalidValue,
    /// It belongs to another tenant.
    ForeignTenant,
    /// It has another order's identity and says something else.
    IdentityConflict,
}

impl Flaw {
    /// Those that nobody can read: not even whose order it is.
    pub(crate) const UNREADABLE: [Self; 2] = [Self::Truncated, Self::NotUtf8];
    /// Those that are refused with their customer known, who is held up by them.
    pub(crate) const REFUSED: [Self; 4] = [Self::UnknownType, Self::MissingField, Self::WrongType, Self::InvalidValue];

    /// Whether the customer is known to the fleet for all that, and held up. A customer of another tenant is none of ours.
    pub(crate) fn holds_up(self) -> bool {
        !Self::UNREADABLE.contains(&self) && self != Self::ForeignTenant
    }

    /// The order with this flaw, as far as it lies in the object and not in its bytes or its frame.
    pub(crate) fn spoil(self, order: &mut Map<String, Value>) {
        match self {
            Self::UnknownType => {
                order.insert("order_type".into(), json!("pause_print"));
            }
            Self::MissingField => {
                order.remove("order_type");
            }
            Self::WrongType => {
                order.insert("orderDate".into(), json!(20_260_203));
            }
            Self::InvalidValue => {
                order.insert("total".into(), json!({ "amount": "12,50 each", "currency": "EUR" }));
            }
            Self::IdentityConflict => {
                order.insert("total".into(), json!({ "amount": 999.5, "currency": "EUR" }));
                order.insert("customFields".into(), json!({ "note": "entered by hand" }));
            }
            Self::Truncated | Self::NotUtf8 | Self::ForeignTenant => {}
        }
    }

    /// The bytes with this flaw.
    fn tear(self, body: &mut Vec<u8>, rng: &mut StdRng) {
        match self {
            Self::Truncated => body.truncate(rng.random_range(body.len() / 4..body.len() * 3 / 4)),
            Self::NotUtf8 => {
                let place = body.len() / 2;
                body.splice(place..place, [0xC3, 0x28]);
            }
            Self::UnknownType
            | Self::MissingField
            | Self::WrongType
            | Self::InvalidValue
            | Self::ForeignTenant
            | Self::IdentityConflict => {}
        }
    }
}

impl Frame {
    /// Every frame.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 5] = [Self::Bare, Self::CloudEvent, Self::JsonInAString, Self::Receiver, Self::Record];

    /// A frame, the common ones more often.
    pub(crate) fn any(rng: &mut StdRng) -> Self {
        match rng.random_range(0..100) {
            0..60 => Self::Bare,
            60..82 => Self::CloudEvent,
            82..89 => Self::JsonInAString,
            89..95 => Self::Receiver,
            _ => Self::Record,
        }
    }
}

/// Who sends an order, and what it is called on the way.
pub(crate) struct Envelope<'a> {
    /// The message's name.
    pub(crate) message_id: String,
    /// The Limio environment.
    pub(crate) tenant: &'a str,
    /// The customer: the header that the orders exchange hashes.
    pub(crate) key: &'a str,
    /// The order's identity.
    pub(crate) order_id: &'a str,
    /// The order's type; names the webhook.
    pub(crate) order_type: OrderType,
    /// When it was sent, in seconds since 1970.
    pub(crate) at: i64,
}

/// The message that carries an order.
pub(crate) fn message(
    order: Map<String, Value>,
    frame: Frame,
    flaw: Option<Flaw>,
    envelope: Envelope<'_>,
    rng: &mut StdRng,
) -> Message {
    let Envelope { message_id, tenant, key, order_id, order_type, at } = envelope;
    let event = event(order_type);
    let order = Value::Object(order);
    let body = match frame {
        Frame::Bare => order,
        Frame::CloudEvent => json!({
            "specversion": "1.0", "id": message_id, "type": format!("com.limio.{event}"), "source": format!("/limio/{tenant}"),
            "subject": order_id, "datacontenttype": "application/json", "data": order,
        }),
        Frame::JsonInAString => Value::String(order.to_string()),
        Frame::Receiver => json!({
            "v": 1, "tenant": tenant, "channel": "webhook", "event": event, "object_type": "order",
            "object_id": order_id, "body": order,
        }),
        Frame::Record => json!({
            "id": order_id, "record_type": "order", "service": "limio", "status": "submitted", "mode": "production",
            "data": order,
        }),
    };
    let mut body = body.to_string().into_bytes();
    if let Some(flaw) = flaw {
        flaw.tear(&mut body, rng);
    }
    let content_type = if frame == Frame::CloudEvent { "application/cloudevents+json" } else { "application/json" };
    let headers = [("tenant", tenant), ("event", event.as_str()), (SEQUENCE_KEY, key)];
    Message {
        body: body.into(),
        id: message_id,
        kind: None,
        content_type: Some(content_type.to_owned()),
        timestamp: u64::try_from(at).ok(),
        app_id: Some("limio-gateway".to_owned()),
        headers: headers
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into_iter()
            .collect::<BTreeMap<_, _>>(),
    }
}

/// The webhook that sends orders of this type.
fn event(order_type: OrderType) -> String {
    let webhook = match order_type {
        OrderType::New => "order.submitted",
        OrderType::ChangeAddress => "address.changed",
        OrderType::ChangePayment => "payment_method.changed",
        OrderType::ChangeOffer => "subscription.offer_changed",
        OrderType::AddOffer => "subscription.offer_added",
        OrderType::CancelSubscription => "subscription.cancelled",
        OrderType::UpdateSubscription => "subscription.updated",
        OrderType::UpdateCustomerDetails => "customer.details_updated",
        OrderType::CancelIntent => "cancel.attempted",
        OrderType::AddCharge
        | OrderType::Renew
        | OrderType::GiftRefund
        | OrderType::Refund
        | OrderType::PayInvoice
        | OrderType::DataCapture => return format!("order.{}", order_type.as_str()),
    };
    webhook.to_owned()
}
