//! What the fleet remembers of the org's allocation.

use std::time::Duration;

use causeway_ledger as ledger;
use domain::quota::{Spending, Usage};
use ledger::budget::Budget;

use crate::{LONG, OVER, redis};

async fn begins(budget: &Budget, request: &str, longest: Duration) -> Spending {
    budget.begins(request, longest).await.expect("Redis answers").spending
}

async fn ends(budget: &Budget, request: &str, told: Option<(u64, u64)>) {
    budget.ends(request, 1, told).await.expect("Redis answers");
}

fn count(spending: &Spending) -> (u64, Option<(u64, u64)>) {
    (spending.in_flight, spending.usage.map(|usage: Usage| (usage.used, usage.limit)))
}

#[tokio::test]
async fn every_request_sees_those_that_began_before_it_and_what_was_told_last() {
    let budget = redis().await.budget();
    assert_eq!(count(&begins(&budget, "a", LONG).await), (1, None));
    assert_eq!(count(&begins(&budget, "b", LONG).await), (2, None));
    ends(&budget, "a", Some((10, 100))).await;
    assert_eq!(count(&begins(&budget, "c", LONG).await), (2, Some((10, 100))));
    // A server that is behind, and one that is not.
    ends(&budget, "b", Some((9, 100))).await;
    assert_eq!(count(&begins(&budget, "d", LONG).await), (2, Some((10, 100))));
    ends(&budget, "c", Some((12, 100))).await;
    ends(&budget, "d", None).await;
    assert_eq!(count(&begins(&budget, "e", LONG).await), (1, Some((12, 100))));
}

#[tokio::test]
async fn a_request_whose_process_died_is_over_after_its_longest_time() {
    let budget = redis().await.budget();
    begins(&budget, "dead", OVER).await;
    assert_eq!(begins(&budget, "next", LONG).await.in_flight, 1);
}

#[tokio::test]
async fn own_calls_and_the_count_are_remembered_by_quarters_of_an_hour() {
    let budget = redis().await.budget();
    assert_eq!(budget.spending().await.expect("Redis answers"), Spending::default());
    for (request, used) in [("a", 10), ("b", 13)] {
        begins(&budget, request, LONG).await;
        budget.ends(request, 2, Some((used, 100))).await.expect("Redis answers");
    }
    let spending = budget.spending().await.expect("Redis answers");
    let calls: u64 = spending.own.iter().map(|(_, calls)| *calls).sum();
    assert_eq!((calls, spending.usage.map(|usage| usage.used)), (4, Some(13)));
    assert_eq!(spending.past.first().map(|(_, used)| *used), Some(10), "as the quarter began");
}

#[tokio::test]
async fn one_process_looks_at_a_time_until_the_look_is_over() {
    let ledger = redis().await;
    let (one, other) = (ledger.budget(), ledger.budget());
    assert_eq!(one.probes("org", LONG).await.expect("Redis answers"), None);
    let left = other.probes("org", LONG).await.expect("Redis answers").expect("somebody else's");
    assert!(left > Duration::from_mins(59), "{left:?}");
    assert_eq!(other.probes("quota", LONG).await.expect("Redis answers"), None, "another thing");
    one.probed("org").await.expect("Redis answers");
    one.hold("org", LONG).await.expect("Redis answers");
    assert!(one.probes("org", LONG).await.expect("Redis answers").is_some(), "nobody looks for a while");
    one.probed("org").await.expect("Redis answers");
    assert_eq!(other.probes("org", LONG).await.expect("Redis answers"), None);
}
