//! An operator's tool: it finds the fleet that is there, and leaves nothing behind where none is.

use queue::dead_letters::DeadLetters;
use queue::error::VisitError;
use queue::journal::entry::{Entry, EntryKind};
use queue::topology::Target;

use super::on_both_backends;
use crate::stage::{Stage, within};

on_both_backends! {
    a_namespace_without_a_fleet_is_told_and_stays_without_one,
    a_fleet_that_is_there_is_visited_and_its_journal_read,
    a_guest_may_append_and_release,
}

async fn a_namespace_without_a_fleet_is_told_and_stays_without_one(stage: Stage) {
    // The second look would find what the first one had created.
    for _ in 0..2 {
        let opened = within(DeadLetters::open(stage.broker.as_ref(), "operator")).await;
        let Err(error @ VisitError::NoFleet { .. }) = opened.map(|_| ()) else { panic!("a fleet was found or made") };
        let told = error.to_string();
        for part in [stage.topology().namespace.as_str(), "CAUSEWAY_NAMESPACE", "--namespace", "nothing was created"] {
            assert!(told.contains(part), "{part} in {told}");
        }
    }
}

async fn a_fleet_that_is_there_is_visited_and_its_journal_read(stage: Stage) {
    let session = stage.connect().await;
    let visit = within(stage.broker.visit()).await.expect("a fleet");
    assert_eq!(within(visit.ready(crate::stage::PARTITION)).await.expect("a depth"), 0);
    visit.close().await;
    session.close().await;
    // It is still there when none of its programs is connected.
    let letters = within(DeadLetters::open(stage.broker.as_ref(), "operator")).await.expect("open");
    assert!(letters.letters().is_empty());
    letters.close().await;
}

async fn a_guest_may_append_and_release(stage: Stage) {
    stage.connect().await.close().await;
    let visit = within(stage.broker.visit()).await.expect("a fleet");
    let mark = Entry::new(EntryKind::Barrier { mark: "x".into() }, "operator");
    within(visit.publish(&Target::Journal, &mark.to_message())).await.expect("appended");
    visit.close().await;
    let letters = within(DeadLetters::open(stage.broker.as_ref(), "operator")).await.expect("open");
    within(letters.release("one customer")).await.expect("released");
    letters.close().await;
    let partition = stage.topology().partition_of("one customer");
    let session = stage.connect().await;
    assert_eq!(within(session.ready(queue::topology::Queue::Partition(partition))).await.expect("a depth"), 1);
    session.close().await;
}
