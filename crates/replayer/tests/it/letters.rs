//! Letters as programs write them.

use std::collections::BTreeMap;

use causeway_replayer::letters::OpenLetters;
use domain::failure::{Failure, FailureClass, Reason};
use queue::journal::entry::{Before, Entry, EntryKind, PUBLISHED, letter_of};
use queue::journal::fold::Fold;
use queue::message::{Message, SEQUENCE_KEY};

/// 2026-09-21T14:13:20Z
pub(crate) const NOW: u64 = 1_790_000_000_000;
pub(crate) const MINUTE: u64 = 60_000;

/// An order's message.
pub(crate) fn message(id: &str, key: Option<&str>, body: &[u8]) -> Message {
    Message {
        body: body.to_vec().into(),
        id: id.to_owned(),
        kind: Some("com.limio.order.submitted".to_owned()),
        content_type: Some("application/json".to_owned()),
        timestamp: Some(NOW / 1000 - 3600),
        app_id: Some("limio".to_owned()),
        headers: key
            .map(|key| {
                BTreeMap::from([(SEQUENCE_KEY.to_owned(), key.to_owned()), ("tenant".to_owned(), "acme".to_owned())])
            })
            .unwrap_or_default(),
    }
}

pub(crate) fn order(number: u32) -> String {
    format!("order-{number:032x}")
}

/// An entry about a message's letter, so many minutes before [`NOW`].
pub(crate) fn entry(
    kind: EntryKind,
    message: Message,
    key: Option<&str>,
    order_id: Option<&str>,
    minutes: u64,
) -> Entry {
    Entry {
        letter: Some(letter_of(&message)),
        key: key.map(str::to_owned),
        order_id: order_id.map(str::to_owned),
        order_type: order_id.map(|_| "new".to_owned()),
        at: NOW - minutes * MINUTE,
        message,
        ..Entry::new(kind, "writer/1")
    }
}

pub(crate) fn refused() -> Failure {
    Failure::permanent(Reason::SalesforceRefused, "Required fields are missing: [LastName]")
        .coded("REQUIRED_FIELD_MISSING")
        .at("LastName")
}

pub(crate) fn unavailable() -> Failure {
    Failure::new(FailureClass::Transient, Reason::SalesforceUnavailable, "Salesforce answered 503")
        .coded("SERVER_UNAVAILABLE")
}

pub(crate) fn torn() -> Failure {
    Failure::permanent(Reason::UnreadableJson, "the body ends too early: line 1, column 6")
}

pub(crate) fn dead(failure: Failure) -> EntryKind {
    EntryKind::Dead { failure }
}

/// Four dead letters, three parked, one of them stranded, one customer with an e-mail address, one released.
pub(crate) fn some_entries() -> Vec<Entry> {
    let body =
        br#"{"id":"order-1","order_type":"new","customerDetails":{"email":"jane.doe@example.com","lastName":""}}"#;
    let jane = Some("jane.doe@example.com");
    let (id_7, gone, released) =
        (Some("id-af385c5fd5a03350308ea28d073e9e26"), Some("id-00000000000000000000000000000001"), Some("sub-A1"));
    let first = message("m-1", jane, body);
    let behind = letter_of(&first);
    let lost = message("m-6", gone, b"{}");
    let lost_id = letter_of(&lost);
    let mut release = Entry {
        key: released.map(str::to_owned),
        at: NOW - MINUTE,
        ..Entry::new(EntryKind::Released { plan: "p".into() }, "ops")
    };
    release.letter = None;
    vec![
        entry(dead(refused()), first.clone(), jane, Some(&order(1)), 3000),
        entry(EntryKind::Held { behind: behind.clone() }, message("m-2", jane, b"{}"), jane, Some(&order(2)), 200),
        entry(EntryKind::Held { behind }, message("m-3", jane, b"{}"), jane, Some(&order(3)), 100),
        entry(dead(unavailable()), message("m-4", id_7, b"{}"), id_7, Some(&order(4)), 90),
        entry(dead(torn()), message("m-5", None, b"{torn"), None, None, 50),
        entry(dead(refused()), lost.clone(), gone, Some(&order(6)), 49),
        entry(EntryKind::Held { behind: lost_id }, message("m-7", gone, b"{}"), gone, Some(&order(7)), 48),
        entry(EntryKind::Discarded { why: "test".into() }, lost, gone, Some(&order(6)), 47),
        entry(dead(unavailable()), message("m-8", released, b"{}"), released, Some(&order(8)), 5),
        release,
    ]
}

/// What an operator sees after these entries.
pub(crate) fn seen(entries: &[Entry]) -> OpenLetters {
    let mut fold = Fold::default();
    for (offset, entry) in (1..).zip(entries) {
        fold.apply(Some(offset), entry);
    }
    let open = fold.open_letters().into_iter().cloned().collect();
    OpenLetters::new(open, NOW).with_closed(fold.closed_letters().into_iter().cloned().collect())
}

pub(crate) fn some_open() -> OpenLetters {
    seen(&some_entries())
}

/// The letter without a customer, published again by an operator so many minutes before [`NOW`], and dead again under a new
/// message id a minute later.
pub(crate) fn published_and_dead_again(minutes: u64) -> [Entry; 2] {
    let old = some_entries()[4].clone();
    let id = old.letter.clone().expect("about a letter");
    let first = Before { letter: id, times_dead: 1, first_dead_at: Some(old.at) };
    let again = first.on(Message { id: "m-5-again".into(), ..old.message.clone() });
    let published = Entry {
        kind: EntryKind::Resolved { how: PUBLISHED.into() },
        by: "ops".into(),
        at: NOW - minutes * MINUTE,
        ..old
    };
    [published, entry(dead(torn()), again, None, None, minutes - 1)]
}
