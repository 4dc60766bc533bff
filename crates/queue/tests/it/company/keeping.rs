//! Open letters outlive the retention of the journal: one worker carries them on.

use std::sync::Arc;
use std::time::Duration;

use domain::failure::{Failure, Reason};
use queue::dead_letters::DeadLetters;
use queue::journal::carrying::{CARRIED_AT_ONCE, Retention, carry};
use queue::journal::entry::{Entry, EntryKind, letter_of, now_ms};
use queue::journal::tail::JournalTail;
use queue::message::Message;
use queue::session::{JournalStart, Session};
use queue::topology::Target;
use testkit::eventually::eventually;

use super::{Start, Worker, World};
use crate::conformance::on_both_backends;
use crate::stage::{Stage, topology, within};

on_both_backends!(
    letters_that_are_carried_on_outlive_what_retention_drops_and_keep_their_order
        with |topology| topology.journal_bytes = 100 << 20,
);

/// Appends a letter of this customer: the first is dead, later ones wait behind it.
async fn append(session: &Arc<dyn Session>, name: &str, behind: Option<&str>) {
    let message = Message { id: name.into(), body: format!("order {name}").into(), ..Message::default() };
    let kind = match behind {
        None => EntryKind::Dead { failure: Failure::permanent(Reason::SalesforceRefused, "scripted") },
        Some(first) => {
            let first = Message { id: first.into(), body: format!("order {first}").into(), ..Message::default() };
            EntryKind::Held { behind: letter_of(&first) }
        }
    };
    let letter = Some(letter_of(&message));
    let entry = Entry { letter, key: Some("k".into()), message, ..Entry::new(kind, "writer/0") };
    within(session.publish(&Target::Journal, &entry.to_message())).await.expect("confirmed");
}

/// Fills the journal with so many bytes that mean nothing.
pub(crate) async fn fill(session: &Arc<dyn Session>, bytes: u64) {
    const PIECE: usize = 1 << 20;
    let pieces = usize::try_from(bytes).expect("it fits").div_ceil(PIECE);
    for _ in 0..pieces {
        let mut message = Entry::new(EntryKind::Barrier { mark: "filling".into() }, "test").to_message();
        message.body = vec![0; PIECE].into();
        within(session.publish(&Target::Journal, &message)).await.expect("confirmed");
    }
}

async fn first_offset(session: &Arc<dyn Session>) -> u64 {
    let mut entries = within(session.read_journal(JournalStart::First)).await.expect("a reader");
    within(futures::StreamExt::next(&mut entries)).await.expect("an entry").0
}

async fn letters_that_are_carried_on_outlive_what_retention_drops_and_keep_their_order(stage: Stage) {
    let session = stage.connect().await;
    append(&session, "1", None).await;
    append(&session, "2", Some("1")).await;
    let retention = Retention::of(stage.topology());
    // Five segments of a stream: what is dropped is dropped by the segment.
    let room = stage.topology().journal_bytes;
    let tails = [
        within(JournalTail::start(Arc::clone(&session), "writer/1")).await.expect("read"),
        within(JournalTail::start(Arc::clone(&session), "writer/2")).await.expect("read"),
    ];
    assert_eq!(within(carry(&session, &tails[0], now_ms(), retention)).await.expect("carried"), 0, "nothing is due");
    fill(&session, room / 2).await;
    append(&session, "3", Some("1")).await;
    // Two keepers at once: a double does no harm.
    let carried = futures::future::join_all(tails.iter().map(|tail| carry(&session, tail, now_ms(), retention)));
    let carried: Vec<usize> = within(carried).await.into_iter().map(|carried| carried.expect("carried")).collect();
    assert!(carried.contains(&2), "{carried:?}");
    assert_eq!(within(carry(&session, &tails[0], now_ms(), retention)).await.expect("carried"), 0, "once is enough");
    fill(&session, room * 4 / 5).await;
    eventually("retention to drop the first letters", async || first_offset(&session).await > 2).await;

    // Who starts now sees only what is left.
    let letters = within(DeadLetters::open(stage.broker.as_ref(), "operator")).await.expect("open");
    let open = letters.letters();
    assert_eq!(open.iter().map(|letter| letter.times_dead).collect::<Vec<_>>(), [1, 0, 0]);
    let messages = within(letters.messages(&open)).await.expect("read");
    let bodies: Vec<&[u8]> = messages.iter().map(|(_, message)| message.body.as_ref()).collect();
    assert_eq!(bodies, [b"order 1", b"order 2", b"order 3"]);
    letters.close().await;
    session.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_fleet_carries_letters_on_by_itself_and_one_worker_does_it() {
    let memory = queue::memory::Memory::new(topology(|topology| topology.journal_bytes = 4 << 20));
    let broker: Arc<dyn queue::session::Broker> = Arc::new(memory);
    let session = broker.connect().await.expect("a session");
    append(&session, "1", None).await;
    let world = World::new();
    let workers =
        ["writer/1", "writer/2", "writer/3"].map(|name| Worker::start(&broker, &world, name, &Start::standard()));
    tokio::time::sleep(Duration::from_secs(10)).await;
    for _ in 0..5 {
        // Half of the room is used, so it is due; the rest stays until it is looked at, every ten minutes or so.
        fill(&session, 2 << 20).await;
        tokio::time::sleep(Duration::from_mins(15)).await;
    }
    let letters = within(DeadLetters::open(broker.as_ref(), "operator")).await.expect("open");
    let open = letters.letters();
    assert_eq!(open.len(), 1, "it is still there");
    assert_eq!(within(letters.messages(&open)).await.expect("read")[0].1.body, "order 1");
    let mut entries = session.read_journal(JournalStart::First).await.expect("a reader");
    let mut carried = Vec::new();
    while let Ok(Some((_, message))) =
        tokio::time::timeout(Duration::from_secs(1), futures::StreamExt::next(&mut entries)).await
    {
        if message.header("kind") == Some("carried") {
            carried.push(message.header("by").map(str::to_owned));
        }
    }
    carried.dedup();
    assert_eq!(carried.len(), 1, "{carried:?}");
    drop(workers);
}

/// A hundred letters are looked at in one go: as many were lost while nobody kept the journal.
#[tokio::test(start_paused = true)]
async fn letters_that_retention_has_dropped_keep_no_other_from_being_carried() {
    let stage = Stage::memory(|topology| topology.journal_bytes = 10 << 20);
    let session = stage.connect().await;
    let tail = within(JournalTail::start(Arc::clone(&session), "writer/1")).await.expect("read");
    for number in 0..CARRIED_AT_ONCE {
        append(&session, &format!("lost {number}"), None).await;
    }
    fill(&session, 6 << 20).await;
    append(&session, "kept", None).await;
    fill(&session, 6 << 20).await;
    let retention = Retention::of(stage.topology());
    assert_eq!(within(carry(&session, &tail, now_ms(), retention)).await.expect("carried"), 1);
    let open = tail.fold().open_letters().into_iter().filter(|letter| letter.offset.is_some()).count();
    assert_eq!((open, tail.fold().len()), (1, CARRIED_AT_ONCE + 1), "what was lost is open, and known to be lost");
    // An order of which somebody still had the message dies once more: it is carried again, at its place.
    append(&session, "lost 0", None).await;
    fill(&session, 6 << 20).await;
    assert_eq!(within(carry(&session, &tail, now_ms(), retention)).await.expect("carried"), 2);
    let first = tail.fold().chain("k").first().map(|letter| (letter.times_dead, letter.offset.is_some()));
    assert_eq!(first, Some((2, true)));
    session.close().await;
}
