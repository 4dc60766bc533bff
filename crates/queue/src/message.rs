//! A message as programs see it, whatever carries it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use domain::envelope::Incoming;

use crate::journal::entry::now_ms;
use crate::topology::Target;

/// The customer, on every message; the orders exchange hashes it.
pub const SEQUENCE_KEY: &str = "sequencekey";
/// The order's identity, on partition messages and letters.
pub const ORDER_ID: &str = "order-id";
/// Since when the ledger knows the order, and in which memory: for the claim. What `ingest` does not know, it does not say.
pub const KNOWN_SINCE: &str = "known-since";
/// W3C trace context.
pub const TRACE_PARENT: &str = "traceparent";
/// The failure with which `ingest` refused the message, as JSON. It travels in the customer's lane, so that it blocks the
/// customer at its own place and not before.
pub const REFUSAL: &str = "refusal";
/// The `type` property of a control message: drain the key in [`SEQUENCE_KEY`] from the journal.
pub const RELEASE: &str = "causeway.release";

/// The `type` property of a message that says what Limio is to be told.
pub const LINK: &str = "causeway.link";

/// How much of a publisher's own headers travels on with an order that is refused, held or given up, in bytes.
pub const KEPT_HEADER_BYTES: usize = 16 * 1024;

/// Body, properties and headers. Headers are text: streams drop or rewrite nested ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// The bytes, untouched.
    pub body: Bytes,
    /// `message_id`; empty when the publisher gave none.
    pub id: String,
    /// `type`
    pub kind: Option<String>,
    /// `content_type`
    pub content_type: Option<String>,
    /// `timestamp`, seconds since 1970. What goes to a partition without one is given the time at which it does.
    pub timestamp: Option<u64>,
    /// `app_id`
    pub app_id: Option<String>,
    /// Headers. Integers and booleans arrive as text; nested values are left out.
    pub headers: BTreeMap<String, String>,
}

impl Message {
    /// The header with this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The headers that fit into so many bytes, in their order. RabbitMQ bounds all properties of a message together, so
    /// what is put beside a publisher's own headers has to leave room.
    pub fn headers_within(&self, bytes: usize) -> BTreeMap<String, String> {
        let mut left = bytes;
        let fitting = self.headers.iter().filter(|(name, value)| {
            let size = name.len() + value.len();
            let fits = size <= left;
            left -= if fits { size } else { 0 };
            fits
        });
        fitting.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// The message as it is published there.
    pub(crate) fn bound_for(&self, target: &Target) -> Cow<'_, Self> {
        match target {
            Target::Partition(_) if self.timestamp.is_none() => {
                Cow::Owned(Self { timestamp: Some(now_ms() / 1000), ..self.clone() })
            }
            Target::Partition(_) | Target::Orders | Target::Links | Target::Journal | Target::Outcomes(_) => {
                Cow::Borrowed(self)
            }
        }
    }

    /// How long ago its `timestamp` was, by this machine's clock; zero for a time to come.
    pub(crate) fn age(&self) -> Option<Duration> {
        self.timestamp.map(|at| Duration::from_millis(now_ms().saturating_sub(at.saturating_mul(1000))))
    }

    /// The message as decoding takes it.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming {
            body: &self.body,
            content_type: self.content_type.as_deref(),
            message_id: (!self.id.is_empty()).then_some(self.id.as_str()),
            kind: self.kind.as_deref(),
            timestamp: self.timestamp,
            tenant: self.header("tenant"),
            event: self.header("event"),
            trace_parent: self.header(TRACE_PARENT),
        }
    }
}
