//! What the workers of a fleet tell each other by Redis.

use std::time::Duration;

use causeway_ledger as ledger;
use ledger::{Presence, RedisLedger};
use service::hints::{Before, Hints as _, Leaving, Taken};
use testkit::eventually;

use crate::copied::Copied;
use crate::{LONG, PATIENT, redis};

/// Two workers of one fleet, and one of another kind.
async fn presence() -> [Presence; 3] {
    let ledger = redis().await;
    [Presence::new(&ledger, "writer"), Presence::new(&ledger, "writer"), Presence::new(&ledger, "ingest")]
}

#[tokio::test]
async fn members_of_a_kind_see_each_other_until_they_withdraw_or_their_announcement_is_over() {
    let [one, two, other] = presence().await;
    assert_eq!(one.announce("a", LONG).await.expect("an answer"), ["a"]);
    assert_eq!(other.announce("c", LONG).await.expect("an answer"), ["c"], "another kind");
    let mut both = two.announce("b", Duration::from_millis(200)).await.expect("an answer");
    both.sort();
    assert_eq!(both, ["a", "b"]);
    eventually("b's announcement to be over", async || one.announce("a", LONG).await.expect("an answer") == ["a"])
        .await;
    two.announce("b", LONG).await.expect("an answer");
    two.withdraw("b").await.expect("an answer");
    two.withdraw("b").await.expect("twice is harmless");
    assert_eq!(one.announce("a", LONG).await.expect("an answer"), ["a"]);
}

#[tokio::test]
async fn when_work_on_a_queue_went_on_last_is_told_by_the_servers_clock() {
    let [one, two, _] = presence().await;
    assert_eq!(two.went_on(&[]).await.expect("an answer"), []);
    one.goes_on(&[3, 5]).await.expect("an answer");
    let ago = two.went_on(&[5, 4, 3]).await.expect("an answer");
    assert!(ago[0].is_some_and(|ago| ago < Duration::from_secs(30)), "{ago:?}");
    assert_eq!((ago[1], ago[0]), (None, ago[2]));
    eventually("time to pass", async || {
        two.went_on(&[5]).await.expect("an answer")[0] > Some(Duration::from_millis(50))
    })
    .await;
}

/// How the one before let go. No memory of a test is as old as that.
async fn take(presence: &Presence, queue: u16, member: &str) -> Before {
    let Taken { before, remembers } = presence.take(queue, member).await.expect("an answer");
    assert!(remembers < Duration::from_mins(5), "{remembers:?}");
    before
}

#[tokio::test]
async fn a_successor_learns_how_its_predecessor_let_go_and_a_predecessor_says_nothing_of_its_successor() {
    let [one, two, _] = presence().await;
    assert_eq!(take(&one, 1, "a").await, Before::Unknown);
    assert_eq!(take(&two, 1, "b").await, Before::Lost);
    // A worker that was frozen, and wakes.
    one.let_go(&[1], "a", Leaving::Finished).await.expect("an answer");
    assert_eq!(take(&one, 1, "a").await, Before::Lost);
    one.let_go(&[1, 2], "a", Leaving::Finished).await.expect("an answer");
    assert_eq!(take(&two, 1, "b").await, Before::Finished);
    assert_eq!(take(&two, 2, "b").await, Before::Unknown, "it never had it");
    two.let_go(&[1], "b", Leaving::Outage).await.expect("an answer");
    assert_eq!(take(&one, 1, "a").await, Before::Outage);
}

#[tokio::test]
async fn how_a_queue_was_let_go_is_believed_only_from_the_memory_that_was_told() {
    let (url, namespace) = (testkit::redis_url(), testkit::namespace("ledger"));
    let ledger = RedisLedger::connect(&url, &namespace, PATIENT).await.expect("Redis answers");
    let presence = Presence::new(&ledger, "writer");
    let mut copied = Copied::of(&url, &namespace).await;
    for (queue, member) in [(1, "a"), (2, "b")] {
        take(&presence, queue, member).await;
    }
    presence.let_go(&[1], "a", Leaving::Finished).await.expect("an answer");
    eventually("the memory to be some seconds old", async || {
        presence.take(3, "c").await.expect("an answer").remembers >= Duration::from_secs(2)
    })
    .await;
    copied.save().await;
    // Since then another took the first queue, and claimed much.
    take(&presence, 1, "b").await;
    copied.restore().await;
    // A worker that had its queue all the while lets go of it.
    presence.let_go(&[2], "b", Leaving::Finished).await.expect("an answer");
    for queue in [1, 2] {
        let Taken { before, remembers } = presence.take(queue, "c").await.expect("an answer");
        assert_eq!(before, Before::Unknown, "of queue {queue}");
        assert!(remembers < Duration::from_secs(2), "{remembers:?}");
    }
    assert_eq!(take(&presence, 1, "d").await, Before::Lost, "this is known again");
}
