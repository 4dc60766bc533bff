//! The fleet's grant: what is younger stays, and one process renews at a time.

use std::time::Duration;

use causeway_ledger as ledger;
use ledger::grant::{Leased, Put, Version};

use crate::{LONG, redis};

#[tokio::test]
async fn a_younger_grant_is_never_replaced_by_an_older_one() {
    let grants = redis().await.grants(&["https://acme.my.salesforce.com", "app"]);
    assert_eq!(grants.load().await.expect("Redis answers"), None);
    let first = Version::default().next_generation();
    assert_eq!(grants.put(first, "one").await.expect("Redis answers"), Put::Kept);
    assert_eq!(grants.put(first.next_step(), "a note").await.expect("Redis answers"), Put::Kept);
    // Whoever renewed the first one beats the note, and a second one who renewed it too comes too late.
    assert_eq!(grants.put(first.next_generation(), "two").await.expect("Redis answers"), Put::Kept);
    for older in [first, first.next_step(), first.next_step().next_generation()] {
        assert_eq!(grants.put(older, "late").await.expect("Redis answers"), Put::Older);
    }
    let kept = grants.load().await.expect("Redis answers").expect("a grant");
    assert_eq!((kept.version, kept.sealed.as_str()), (first.next_generation(), "two"));
}

#[tokio::test]
async fn connections_have_grants_of_their_own_and_their_names_show_nothing() {
    let ledger = redis().await;
    let (one, other) = (ledger.grants(&["https://a.example", "app"]), ledger.grants(&["https://b.example", "app"]));
    one.put(Version::new(7), "one").await.expect("Redis answers");
    assert_eq!(other.load().await.expect("Redis answers"), None);
    assert!(!one.name().contains("example"));
}

#[tokio::test]
async fn a_lease_has_one_holder_until_it_is_given_back_or_over() {
    let grants = redis().await.grants(&["x"]);
    let lease = async |holder: &str, time| grants.lease(holder, time).await.expect("Redis answers");
    assert_eq!(lease("a", LONG).await, Leased::Held);
    assert_eq!(lease("a", LONG).await, Leased::Held, "lengthened");
    assert!(matches!(lease("b", LONG).await, Leased::Busy(left) if left > Duration::from_mins(59)));
    grants.release("b").await.expect("Redis answers");
    assert!(matches!(lease("b", LONG).await, Leased::Busy(_)), "only its holder gives it back");
    grants.release("a").await.expect("Redis answers");
    assert_eq!(lease("b", Duration::from_millis(1)).await, Leased::Held);
    testkit::eventually("the lease to be over", async || lease("c", LONG).await == Leased::Held).await;
}
