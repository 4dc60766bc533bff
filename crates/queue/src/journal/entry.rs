//! One entry of the journal, and how it is written into a message.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use domain::dead_letter::LetterId;
use domain::failure::{Failure, Reason};

use crate::message::{KEPT_HEADER_BYTES, Message, ORDER_ID, REFUSAL, SEQUENCE_KEY};

/// What an entry says.
#[derive(Debug, Clone, PartialEq)]
pub enum EntryKind {
    /// An order was given up.
    Dead {
        /// Why.
        failure: Failure,
    },
    /// An order waits behind a letter of its customer.
    Held {
        /// The letter it waits behind.
        behind: LetterId,
    },
    /// A letter was written, rejected, or found already settled; or it was published again. Said in a word.
    Resolved {
        /// `written`, `rejected`, `already`, `published`.
        how: String,
    },
    /// An operator threw a letter away.
    Discarded {
        /// What the operator gave as a reason.
        why: String,
    },
    /// An operator let a customer's letters go.
    Released {
        /// The plan, which the control message carries too.
        plan: String,
    },
    /// A unique mark: whoever reads it has read everything before.
    Barrier {
        /// The mark.
        mark: String,
    },
}

impl EntryKind {
    /// The value of the `kind` header.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Dead { .. } => "dead",
            Self::Held { .. } => "held",
            Self::Resolved { .. } => "resolved",
            Self::Discarded { .. } => "discarded",
            Self::Released { .. } => "released",
            Self::Barrier { .. } => "barrier",
        }
    }
}

/// One entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// What it says.
    pub kind: EntryKind,
    /// The letter it is about; absent on releases and barriers.
    pub letter: Option<LetterId>,
    /// The customer, where known. A letter without one blocks nobody.
    pub key: Option<String>,
    /// The order's identity, where known.
    pub order_id: Option<String>,
    /// The order's type, where known.
    pub order_type: Option<String>,
    /// Who wrote it: program and instance, or the operator.
    pub by: String,
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// The message as it was delivered, on letters; empty otherwise.
    pub message: Message,
}

const KIND: &str = "kind";
const KEY: &str = "key";
const LETTER_ID: &str = "letter-id";
const ORDER_TYPE: &str = "order-type";
const BY: &str = "by";
const AT: &str = "at";
const DETAIL: &str = "detail";
/// The longest customer, order or type in a header, in characters.
const MAX_NAME_CHARS: usize = 512;

const ORIGINAL: &str = "original-headers";

impl Entry {
    /// An entry of this moment that is about no letter.
    pub fn new(kind: EntryKind, by: &str) -> Self {
        Self {
            kind,
            letter: None,
            key: None,
            order_id: None,
            order_type: None,
            by: by.to_owned(),
            at: now_ms(),
            message: Message::default(),
        }
    }

    /// The entry as a message for the journal. The delivered message's own headers travel as one JSON text, as far as they
    /// fit; a customer, order or type that is longer than any real one is cut.
    pub fn to_message(&self) -> Message {
        let detail = match &self.kind {
            EntryKind::Dead { failure } => serde_json::to_string(failure).unwrap_or_default(),
            EntryKind::Held { behind } => behind.as_str().to_owned(),
            EntryKind::Resolved { how: text }
            | EntryKind::Discarded { why: text }
            | EntryKind::Released { plan: text }
            | EntryKind::Barrier { mark: text } => text.clone(),
        };
        let mut headers = BTreeMap::from([
            (KIND.to_owned(), self.kind.as_str().to_owned()),
            (BY.to_owned(), self.by.clone()),
            (AT.to_owned(), self.at.to_string()),
            (DETAIL.to_owned(), detail),
        ]);
        let optional = [
            (LETTER_ID, self.letter.as_ref().map(|letter| letter.as_str().to_owned())),
            (KEY, self.key.clone()),
            (ORDER_ID, self.order_id.clone()),
            (ORDER_TYPE, self.order_type.clone()),
        ];
        headers
            .extend(optional.into_iter().filter_map(|(name, value)| value.map(|value| (name.to_owned(), cut(value)))));
        let original = self.message.headers_within(KEPT_HEADER_BYTES);
        let original = serde_json::to_string(&original).unwrap_or_default();
        // Control characters grow when they are written as JSON.
        if original.len() > "{}".len() && original.len() <= 2 * KEPT_HEADER_BYTES {
            headers.insert(ORIGINAL.to_owned(), original);
        }
        Message { headers, ..self.message.clone() }
    }

    /// Reads an entry back. What the broker itself dead-lettered has no `kind`; it reads as a dead letter with the
    /// broker's reason. `None` for a kind that this version does not know.
    pub fn from_message(message: &Message) -> Option<Self> {
        let text = |name: &str| message.header(name).map(str::to_owned);
        let Some(kind) = message.header(KIND) else { return Some(Self::from_broker(message)) };
        let detail = text(DETAIL).unwrap_or_default();
        let kind = match kind {
            "dead" => EntryKind::Dead {
                failure: serde_json::from_str(&detail).unwrap_or_else(|_| {
                    Failure::permanent(Reason::BrokerGaveUp, "the journal entry's failure is unreadable")
                }),
            },
            "held" => EntryKind::Held { behind: LetterId::from_text(detail) },
            "resolved" => EntryKind::Resolved { how: detail },
            "discarded" => EntryKind::Discarded { why: detail },
            "released" => EntryKind::Released { plan: detail },
            "barrier" => EntryKind::Barrier { mark: detail },
            _ => return None,
        };
        let headers = message.header(ORIGINAL).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        Some(Self {
            kind,
            letter: text(LETTER_ID).map(LetterId::from_text),
            key: text(KEY),
            order_id: text(ORDER_ID),
            order_type: text(ORDER_TYPE),
            by: text(BY).unwrap_or_default(),
            at: message.header(AT).and_then(|at| at.parse().ok()).unwrap_or_default(),
            message: Message { headers, ..message.clone() },
        })
    }

    fn from_broker(message: &Message) -> Self {
        let why = message.header("x-first-death-reason").unwrap_or("not said");
        let queue = message.header("x-first-death-queue").unwrap_or("not said");
        let failure = Failure::permanent(
            Reason::BrokerGaveUp,
            format!("RabbitMQ gave the message up (reason: {why}; queue: {queue})"),
        );
        Self {
            kind: EntryKind::Dead { failure },
            letter: Some(LetterId::of(&message.id, &message.body)),
            key: message.header(SEQUENCE_KEY).map(str::to_owned),
            order_id: message.header(ORDER_ID).map(str::to_owned),
            order_type: None,
            by: "rabbitmq".to_owned(),
            at: message.timestamp.unwrap_or_default().saturating_mul(1000),
            message: message.clone(),
        }
    }
}

fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(MAX_NAME_CHARS) {
        text.truncate(end);
    }
    text
}

/// The letter's message as it goes through the normal path again: without the refusal of before.
pub fn for_replay(mut message: Message) -> Message {
    message.headers.remove(REFUSAL);
    message
}

/// Milliseconds since 1970 by this machine's clock.
#[expect(clippy::disallowed_methods, reason = "entries are dated for people, and nothing is decided by the date")]
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The letter that a message becomes when it is given up or held.
pub fn letter_of(message: &Message) -> LetterId {
    LetterId::of(&message.id, &message.body)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn letter() -> Entry {
        let message = Message {
            body: Bytes::from_static(b"\xff{torn"),
            id: "m-1".into(),
            content_type: Some("application/json".into()),
            headers: BTreeMap::from([("tenant".into(), "acme".into()), ("kind".into(), "theirs".into())]),
            ..Message::default()
        };
        Entry {
            letter: Some(letter_of(&message)),
            key: Some("id-1".into()),
            order_id: Some("order-1".into()),
            order_type: Some("new".into()),
            message,
            ..Entry::new(
                EntryKind::Dead { failure: Failure::permanent(Reason::UnreadableJson, "torn").at("/") },
                "writer/1",
            )
        }
    }

    #[test]
    fn an_entry_reads_back_with_the_original_bytes_properties_and_headers() {
        let entry = letter();
        assert_eq!(Entry::from_message(&entry.to_message()), Some(entry));
    }

    #[test]
    fn headers_that_no_broker_would_take_do_not_keep_a_letter_from_being_written() {
        let mut entry = letter();
        entry.message.headers.insert("big".into(), "x".repeat(100_000));
        entry.order_type = Some("y".repeat(100_000));
        let message = entry.to_message();
        assert!(message.headers.values().map(String::len).sum::<usize>() < 20_000);
        let read = Entry::from_message(&message).expect("an entry");
        assert_eq!(read.message.header("tenant"), Some("acme"));
    }

    #[test]
    fn every_kind_reads_back() {
        let behind = LetterId::from_text("l");
        for kind in [
            EntryKind::Held { behind },
            EntryKind::Resolved { how: "written".into() },
            EntryKind::Discarded { why: "test".into() },
            EntryKind::Released { plan: "p".into() },
            EntryKind::Barrier { mark: "b".into() },
        ] {
            let entry = Entry::new(kind, "someone");
            assert_eq!(Entry::from_message(&entry.to_message()), Some(entry));
        }
    }

    #[test]
    fn what_the_broker_gave_up_reads_as_a_dead_letter_of_its_customer() {
        let message = Message {
            headers: BTreeMap::from([
                ("x-first-death-reason".into(), "delivery_limit".into()),
                (SEQUENCE_KEY.into(), "id-1".into()),
            ]),
            ..Message::default()
        };
        let entry = Entry::from_message(&message).expect("an entry");
        assert_eq!(entry.key.as_deref(), Some("id-1"));
        assert!(matches!(entry.kind, EntryKind::Dead { failure } if failure.reason == Reason::BrokerGaveUp));
    }

    #[test]
    fn a_kind_of_a_later_version_is_passed_over() {
        let mut message = letter().to_message();
        message.headers.insert("kind".into(), "carried".into());
        assert_eq!(Entry::from_message(&message), None);
    }
}
