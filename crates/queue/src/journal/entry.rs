//! One entry of the journal, and how it is written into a message.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use domain::dead_letter::LetterId;
use domain::failure::{Failure, Reason};

use crate::journal::carrying::Carried;
use crate::journal::fold::chain::MOST_AHEAD;
use crate::message::{KEPT_HEADER_BYTES, Message, ORDER_ID, REFUSAL, SEQUENCE_KEY};

/// What an entry says.
#[derive(Debug, Clone, PartialEq)]
pub enum EntryKind {
    /// An order was given up.
    Dead {
        /// Why.
        failure: Failure,
    },
    /// An order is parked behind a letter of its customer. `held` on the wire and here, because journals hold such entries;
    /// people read `parked`.
    Held {
        /// The letter it waits behind.
        behind: LetterId,
    },
    /// A letter was written, rejected, or found already settled; or it was published again. Said in a word.
    Resolved {
        /// [`WRITTEN`], [`REJECTED`], [`ALREADY`], [`PUBLISHED`], [`ACCEPTED`].
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
    /// An open letter was appended again, before retention would drop it.
    Carried(Box<Carried>),
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
            Self::Carried(_) => "carried",
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
    /// On a held order that waits for no letter, but for room ([`LANE_OVERFLOW`]): the orders of its customer that were in
    /// the lane before it, by the letters that they would become. They go first, whenever they come again.
    pub ahead: Option<Vec<LetterId>>,
    /// Who wrote it: program and instance, or the operator.
    pub by: String,
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// The message as it was delivered, on letters; empty otherwise.
    pub message: Message,
}

/// Resolved: it is in the org.
pub const WRITTEN: &str = "written";
/// Resolved: a business answer settled it.
pub const REJECTED: &str = "rejected";
/// Resolved: it was settled before, as the ledger knew.
pub const ALREADY: &str = "already";
/// Resolved: it had no customer and went out again as a new message. What came of that is not told yet.
pub const PUBLISHED: &str = "published";
/// Resolved: what was published again was accepted by `ingest`; from there on it is an order like any other.
pub const ACCEPTED: &str = "accepted";

/// Why an order is held that waits for no letter: its lane, or all that wait together, took up too much of the window. It
/// is released by itself, by a control message whose plan this is.
pub const LANE_OVERFLOW: &str = "lane_overflow";

/// A header of a message that was published again: the letter that it was before.
pub const AFTER_LETTER: &str = "after-letter";
/// A header beside it: how often it was given up before.
pub const TIMES_DEAD: &str = "times-dead";
/// A header beside it: when it was given up first, in milliseconds since 1970.
pub const FIRST_DEAD_AT: &str = "first-dead-at";
/// The highest number that [`TIMES_DEAD`] counts to: a publisher may write into headers what it likes.
pub const MOST_TIMES_DEAD: u32 = 9_999;
/// The longest letter id in [`AFTER_LETTER`], in characters; ours have 16.
const MAX_LETTER_CHARS: usize = 64;

const KIND: &str = "kind";
const KEY: &str = "key";
const LETTER_ID: &str = "letter-id";
const ORDER_TYPE: &str = "order-type";
const AHEAD: &str = "ahead";
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
            ahead: None,
            by: by.to_owned(),
            at: now_ms(),
            message: Message::default(),
        }
    }

    /// The entry as a message for the journal. The delivered message's own headers travel as one JSON text, as far as they
    /// fit; a customer, order or type that is longer than any real one is cut.
    pub fn to_message(&self) -> Message {
        let detail = match &self.kind {
            EntryKind::Dead { failure } => serde_json::to_string(&failure.kept()).unwrap_or_default(),
            EntryKind::Held { behind } => behind.as_str().to_owned(),
            EntryKind::Carried(carried) => carried.to_text(),
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
        if let Some(ahead) = &self.ahead {
            let ahead: Vec<&str> = ahead.iter().rev().take(MOST_AHEAD).rev().map(LetterId::as_str).collect();
            headers.insert(AHEAD.to_owned(), ahead.join(","));
        }
        headers
            .extend(optional.into_iter().filter_map(|(name, value)| value.map(|value| (name.to_owned(), cut(value)))));
        let mut original = self.message.headers_within(KEPT_HEADER_BYTES);
        // What links a letter to the one before survives whatever else finds no room.
        let linking = [AFTER_LETTER, TIMES_DEAD, FIRST_DEAD_AT].into_iter();
        original.extend(
            linking
                .filter_map(|name| self.message.header(name).map(|value| (name, value)))
                .filter(|(_, value)| value.len() <= MAX_LETTER_CHARS)
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        // One that only waits for room was never given up: it stays refused, where it was.
        let refusal = self.message.header(REFUSAL).filter(|refusal| refusal.len() <= KEPT_HEADER_BYTES / 4);
        if let Some(refusal) = refusal.filter(|_| self.ahead.is_some()) {
            original.insert(REFUSAL.to_owned(), refusal.to_owned());
        }
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
            "carried" => EntryKind::Carried(Box::new(Carried::from_text(&detail)?)),
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
            ahead: message.header(AHEAD).map(read_ahead),
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
            ahead: None,
            by: "rabbitmq".to_owned(),
            at: message.timestamp.unwrap_or_default().saturating_mul(1000),
            message: message.clone(),
        }
    }
}

fn read_ahead(text: &str) -> Vec<LetterId> {
    text.split(',').filter(|id| !id.is_empty()).map(LetterId::from_text).collect()
}

fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(MAX_NAME_CHARS) {
        text.truncate(end);
    }
    text
}

/// What a message that was published again says of the letter that it was before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Before {
    /// That letter.
    pub letter: LetterId,
    /// How often it was given up, at most [`MOST_TIMES_DEAD`].
    pub times_dead: u32,
    /// When it was given up first, in milliseconds since 1970; where that was never written, unknown.
    pub first_dead_at: Option<u64>,
}

impl Before {
    /// What this message says; `None` for one that was not published again, or does not say it as we write it.
    pub fn of(message: &Message) -> Option<Self> {
        let letter = message.header(AFTER_LETTER)?;
        let is_an_id = (1..=MAX_LETTER_CHARS).contains(&letter.len()) && letter.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_an_id {
            return None;
        }
        let number = |name: &str| message.header(name).and_then(|text| text.parse::<u64>().ok());
        let times = number(TIMES_DEAD).unwrap_or(1).clamp(1, u64::from(MOST_TIMES_DEAD));
        Some(Self {
            letter: LetterId::from_text(letter),
            times_dead: u32::try_from(times).unwrap_or(MOST_TIMES_DEAD),
            first_dead_at: number(FIRST_DEAD_AT),
        })
    }

    /// The message with this said on it, in place of what it said of a letter further back.
    #[must_use]
    pub fn on(&self, mut message: Message) -> Message {
        message.headers.insert(AFTER_LETTER.to_owned(), self.letter.as_str().to_owned());
        message.headers.insert(TIMES_DEAD.to_owned(), self.times_dead.clamp(1, MOST_TIMES_DEAD).to_string());
        match self.first_dead_at {
            Some(at) => message.headers.insert(FIRST_DEAD_AT.to_owned(), at.to_string()),
            None => message.headers.remove(FIRST_DEAD_AT),
        };
        message
    }
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
    use crate::journal::fold::LetterState;

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
                EntryKind::Dead {
                    failure: Failure::permanent(Reason::UnreadableJson, "torn").at("/").quoting("Nora is blocked"),
                },
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
    fn what_links_a_letter_to_the_one_before_survives_headers_that_find_no_room() {
        let before =
            Before { letter: LetterId::from_text("0123456789abcdef"), times_dead: 3, first_dead_at: Some(1_790_000) };
        let mut entry = letter();
        entry.message = before.on(entry.message);
        entry.message.headers.insert("a".into(), "x".repeat(KEPT_HEADER_BYTES - 2));
        let read = Entry::from_message(&entry.to_message()).expect("an entry");
        assert_eq!(Before::of(&read.message), Some(before));
    }

    #[test]
    fn what_a_publisher_writes_into_the_linking_headers_is_bounded() {
        let with = |letter: &str, times: &str| {
            let headers =
                BTreeMap::from([(AFTER_LETTER.into(), letter.to_owned()), (TIMES_DEAD.into(), times.to_owned())]);
            Before::of(&Message { headers, ..Message::default() })
        };
        assert_eq!(with("feed", "18446744073709551615").expect("a letter").times_dead, MOST_TIMES_DEAD);
        assert_eq!(with("feed", "many").expect("a letter").times_dead, 1);
        for letter in ["", "jane@example.com", &"f".repeat(65)] {
            assert_eq!(with(letter, "1"), None, "{letter}");
        }
        assert_eq!(Before::of(&Message::default()), None);
    }

    #[test]
    fn an_order_that_waits_for_room_reads_back_with_the_orders_before_it() {
        for ahead in
            [vec![], vec![LetterId::from_text("a1")], vec![LetterId::from_text("a1"), LetterId::from_text("b2")]]
        {
            let entry = Entry { ahead: Some(ahead), ..letter() };
            assert_eq!(Entry::from_message(&entry.to_message()), Some(entry));
        }
    }

    #[test]
    fn every_kind_reads_back() {
        let behind = LetterId::from_text("l");
        let carried = Carried {
            state: LetterState::Held(behind.clone()),
            at: 1,
            by: "writer/1".into(),
            place: 7,
            times_dead: 2,
            first_dead_at: Some(2),
            last_dead_at: None,
            released_at: Some(3),
        };
        for kind in [
            EntryKind::Dead { failure: Failure::permanent(Reason::SalesforceRefused, "x") },
            EntryKind::Carried(Box::new(carried)),
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
        message.headers.insert("kind".into(), "of a later version".into());
        assert_eq!(Entry::from_message(&message), None);
    }

    #[test]
    fn a_detail_that_this_version_cannot_read_is_passed_over() {
        let mut message = letter().to_message();
        message.headers.insert("kind".into(), "carried".into());
        assert_eq!(Entry::from_message(&message), None);
    }
}
