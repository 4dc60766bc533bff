//! The message as it travels: `CloudEvents` 1.0, structured mode, or a bare Limio object.
//!
//! Publishers may send any of these shapes; between our own programs it is always the first.
//!
//! | Shape | Recognised by |
//! |---|---|
//! | `CloudEvents` structured mode | content type `application/cloudevents+json`, or `specversion` beside `data` |
//! | Wrapper of an HTTP receiver | `v` beside `body` |
//! | Limio record | `record_type` is `order`, the order under `data` |
//! | Limio order (webhook, callout) | any other object |
//!
//! The body, `data` and `body` may each be a JSON string that holds the JSON, as Limio's callout plugin sends it
//! (Callout Plugin); `data_base64` is decoded. Wrapping in strings is undone twice at most.

pub(crate) mod base64;
mod decode;
mod kind;

use serde_json::{Map, Value, json};

pub use self::kind::EventKind;
use crate::failure::Failure;
use crate::fingerprint;
use crate::order::id::{OrderId, SequenceKey, TenantId};
use crate::order::identity;
use crate::order::moment::Moment;

/// The deepest nesting that is accepted. It leaves room for the envelope under the JSON reader's own limit of 128.
pub const MAX_DEPTH: usize = 100;

/// What came from the broker, before anybody looked inside.
#[derive(Debug, Clone, Copy, Default)]
pub struct Incoming<'a> {
    /// The body's bytes.
    pub body: &'a [u8],
    /// AMQP `content_type`.
    pub content_type: Option<&'a str>,
    /// AMQP `message_id`.
    pub message_id: Option<&'a str>,
    /// AMQP `type`.
    pub kind: Option<&'a str>,
    /// AMQP `timestamp`, seconds since 1970.
    pub timestamp: Option<u64>,
    /// Header `tenant`.
    pub tenant: Option<&'a str>,
    /// Header `event`, such as `order.submitted`.
    pub event: Option<&'a str>,
    /// Header `traceparent`.
    pub trace_parent: Option<&'a str>,
}

/// A decoded message.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope {
    /// The `CloudEvents` id, else the AMQP `message_id`, else a digest of the body. At most 128 bytes.
    pub id: String,
    /// What happened.
    pub kind: EventKind,
    /// The tenant, from `source` (`/limio/{tenant}`), the header, or the fleet's own where neither is given.
    pub tenant: TenantId,
    /// `subject`: what it happened to, as the sender named it.
    pub subject: Option<String>,
    /// When it happened, where said. A time that cannot be read is absent.
    pub time: Option<Moment>,
    /// W3C trace context. One that is malformed is absent.
    pub trace_parent: Option<String>,
    /// `attempt`: failed attempts so far, where a program counted them.
    pub attempt: Option<u32>,
    /// The Limio object.
    pub data: Map<String, Value>,
    /// Attributes and extensions that Causeway does not use, kept.
    pub extensions: Map<String, Value>,
}

/// What decoding needs to know of the fleet.
#[derive(Debug, Clone)]
pub struct DecodeSettings {
    /// The tenant that the fleet serves.
    pub tenant: TenantId,
    /// The largest body, in bytes.
    pub max_body_bytes: usize,
}

impl DecodeSettings {
    /// For a reader inside the fleet.
    ///
    /// The limit on the body is a limit of intake: it counts what the publisher sent. What passed it is read on every
    /// later hop, whatever the envelope around it and the writing of its numbers have added; the broker's own limit
    /// (`max_message_size`) bounds it there.
    pub const fn inside_fleet(tenant: TenantId) -> Self {
        Self { tenant, max_body_bytes: usize::MAX }
    }
}

/// Why a message could not be decoded, or its order not be parsed, with what is known of it all the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Undecodable {
    /// The failure; always permanent.
    pub failure: Failure,
    /// The order's identity, when it could be read.
    pub order_id: Option<OrderId>,
    /// The order's lane, when it could be read. Another tenant's order has none here.
    pub sequence_key: Option<SequenceKey>,
    /// The `order_type`, when it could be read.
    pub order_type: Option<String>,
}

impl Undecodable {
    /// A failure about a message of which nothing else is known.
    pub const fn unknown(failure: Failure) -> Self {
        Self { failure, order_id: None, sequence_key: None, order_type: None }
    }
}

impl From<Failure> for Undecodable {
    fn from(failure: Failure) -> Self {
        Self::unknown(failure)
    }
}

impl std::fmt::Display for Undecodable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.failure.fmt(f)
    }
}

impl std::error::Error for Undecodable {}

impl Envelope {
    /// Reads a message. Whether its `data` is an order is decided by [`crate::event::OrderEvent::parse`].
    ///
    /// # Errors
    ///
    /// `BodyTooLarge`, `InvalidUtf8`, `UnreadableJson`, `NotAnOrder` (JSON, but no object), `WrongTenant`, and
    /// `MissingField`, `WrongType` or `InvalidValue` for a broken `CloudEvent`. All are permanent; the message belongs
    /// into the dead letters with its bytes untouched.
    pub fn decode(incoming: &Incoming<'_>, settings: &DecodeSettings) -> Result<Self, Undecodable> {
        decode::decode(incoming, settings)
    }

    /// The message in `CloudEvents` structured mode, for content type `application/cloudevents+json`.
    ///
    /// `subject` and `sequencekey` are computed from `data`, so that what is written is what the reader will compute.
    pub fn render(&self) -> Vec<u8> {
        let order_id = identity::order_id(&self.data, self.subject.as_deref(), || fingerprint::naming(&self.data));
        let sequence_key = identity::sequence_key(&self.data, &order_id);
        let mut event = Map::new();
        let mut set = |name: &str, value: Value| event.insert(name.to_owned(), value);
        set("specversion", json!("1.0"));
        set("id", json!(self.id));
        set("type", json!(self.kind.as_str()));
        set("source", json!(format!("/limio/{}", self.tenant)));
        set("subject", json!(order_id.as_str()));
        if let Some(time) = self.time {
            set("time", json!(time.to_string()));
        }
        set("datacontenttype", json!("application/json"));
        set("sequencekey", json!(sequence_key.as_str()));
        if let Some(trace_parent) = &self.trace_parent {
            set("traceparent", json!(trace_parent));
        }
        if let Some(attempt) = self.attempt {
            set("attempt", json!(attempt));
        }
        set("causewayversion", json!(env!("CARGO_PKG_VERSION")));
        for (name, value) in &self.extensions {
            event.entry(name.clone()).or_insert_with(|| value.clone());
        }
        event.insert("data".to_owned(), Value::Object(self.data.clone()));
        serde_json::to_vec(&event).expect("a map with text keys always has a JSON form")
    }
}
