//! What every ledger does.

use std::time::Duration;

use causeway_ledger as ledger;
use ledger::{Attempts, ClaimAnswer, Closed, Closing, Ledger, Owner, Sighting};

use crate::{LONG, OVER, ask, claim, content, identity, order, owner, take, take_unknown};

macro_rules! on_both {
    ($($behaviour:ident)*) => {
        mod in_memory {
            $(#[tokio::test]
            async fn $behaviour() {
                super::$behaviour(&causeway_ledger::MemoryLedger::default()).await;
            })*
        }
        mod in_redis {
            $(#[tokio::test]
            async fn $behaviour() {
                super::$behaviour(&crate::redis().await).await;
            })*
        }
    };
}

on_both! {
    an_effect_is_claimed_once_and_then_settled
    a_settled_effect_stays_settled_over_a_takeover
    another_content_of_what_happened_or_may_have_is_a_conflict
    a_corrected_order_takes_the_place_of_one_that_certainly_did_not_happen
    a_claim_given_back_unused_leaves_the_identity_to_another_content_unless_it_was_unknown
    only_the_owner_of_the_partition_claims
    a_live_claim_of_a_former_owner_is_busy_until_its_lease_passes
    a_lease_that_has_passed_leaves_the_effect_unknown
    an_owner_that_claims_again_what_it_holds_is_told_to_look_it_up
    a_failure_counts_and_an_interruption_does_not
    a_lost_answer_leaves_the_effect_unknown_until_it_is_certain
    a_claim_given_back_unused_does_not_make_an_unknown_effect_absent
    a_claim_that_was_taken_anew_cannot_be_closed_by_the_old_ticket
    a_former_owner_cannot_close
    closing_twice_the_same_way_is_harmless_and_another_way_is_refused
    a_late_answer_is_still_taken_when_nobody_claimed_anew
    effects_of_one_order_are_apart
    answers_come_in_the_order_of_the_questions
    nothing_asked_is_nothing_answered
    an_order_is_handed_on_again_until_it_is_noted
    another_content_of_a_sighted_order_is_a_conflict
    an_order_whose_sighting_was_taken_back_is_seen_for_the_first_time
    another_content_of_an_order_whose_sighting_was_taken_back_is_no_conflict
    the_first_known_name_gives_the_account
    an_order_that_was_given_up_begins_a_new_round_and_its_attempts_are_counted_on
    a_doubt_makes_an_effect_unknown_and_counts_no_attempt
}

async fn settle(ledger: &dyn Ledger, ticket: ledger::ClaimTicket, result: &str) -> Closed {
    close(ledger, ticket, Closing::Settle(result.to_owned())).await
}

async fn close(ledger: &dyn Ledger, ticket: ledger::ClaimTicket, closing: Closing) -> Closed {
    ledger.close(&[(ticket, closing)]).await.expect("the ledger answers").remove(0)
}

async fn own(ledger: &dyn Ledger, epoch: &str) {
    ledger.own(&owner(epoch)).await.expect("the ledger answers");
}

async fn an_effect_is_claimed_once_and_then_settled(ledger: &dyn Ledger) {
    own(ledger, "a").await;
    let (ticket, attempts) = take(ledger, claim("a", "o", LONG)).await;
    assert_eq!((ticket.token, attempts, ticket.was_unknown), (1, 0, false));
    assert_eq!(settle(ledger, ticket, r#"{"result":"written"}"#).await, Closed::Done);
    let again = ask(ledger, claim("a", "o", LONG)).await;
    assert_eq!(again, ClaimAnswer::Settled(r#"{"result":"written"}"#.to_owned()));
}

async fn a_settled_effect_stays_settled_over_a_takeover(ledger: &dyn Ledger) {
    own(ledger, "a").await;
    let (ticket, _) = take(ledger, claim("a", "o", OVER)).await;
    settle(ledger, ticket, "done").await;
    own(ledger, "b").await;
    assert_eq!(ask(ledger, claim("b", "o", LONG)).await, ClaimAnswer::Settled("done".to_owned()));
}

/// Says something else than [`claim`] under the same identity.
fn corrected(epoch: &str, name: &str, lease: Duration) -> ledger::Claim {
    ledger::Claim { fingerprint: content(2), ..claim(epoch, name, lease) }
}

async fn another_content_of_what_happened_or_may_have_is_a_conflict(ledger: &dyn Ledger) {
    own(ledger, "a").await;
    let (ticket, _) = take(ledger, claim("a", "o", OVER)).await;
    assert_eq!(ask(ledger, corrected("a", "o", LONG)).await, ClaimAnswer::Conflict, "claimed, its lease over");
    assert_eq!(close(ledger, ticket, Closing::Unknown).await, Closed::Done, "the conflict left the claim alone");
    assert_eq!(ask(ledger, corrected("a", "o", LONG)).await, ClaimAnswer::Conflict, "unknown");
    let (ticket, _) = take_unknown(ledger, claim("a", "o", LONG)).await;
    assert_eq!(ask(ledger, corrected("a", "o", LONG)).await, ClaimAnswer::Conflict, "claimed");
    settle(ledger, ticket, "done").await;
    assert_eq!(ask(ledger, corrected("a", "o", LONG)).await, ClaimAnswer::Conflict, "settled");
    assert_eq!(ask(ledger, claim("a", "o", LONG)).await, ClaimAnswer::Settled("done".to_owned()));
}

async fn a_corrected_order_takes_the_place_of_one_that_certainly_did_not_happen(ledger: &dyn Ledger) {
    own(ledger, "a").await;
    let (first, _) = take(ledger, claim("a", "o", LONG)).await;
    assert_eq!(close(ledger, first.clone(), Closing::Failed).await, Closed::Done);
    let (second, attempts) = take(ledger, corrected("a", "o", LONG)).await;
    assert_eq!((second.token, attempts), (2, 0), "what failed was another content");
    assert_eq!(close(ledger, first, Closing::Failed).await, Closed::Stale);
    assert_eq!(
        ask(ledger, claim("a", "o", LONG)).await,
        ClaimAnswer::Conflict,
        "the first content is the other one now"
    );
    assert_eq!(close(ledger, second, Closing::Failed).await, Closed::Done);
    let (third, attempts) = take(ledger, corrected("a", "o", LONG)).await;
    assert_eq!((third.token, attempts), (3, 1), "the same content again");
    assert_eq!(settle(ledger, third, "corrected").await, Closed::Done);
    assert_eq!(ask(ledger, corrected("a", "o", LONG)).await, ClaimAnswer::Settled("corrected".to_owned()));
    assert_eq!(ask(ledger, claim("a", "o", LONG)).await, ClaimAnswer::Conflict);
}

async fn a_claim_given_back_unused_leaves_the_identity_to_another_content_unless_it_was_unknown(ledger: &dyn Ledger) {
    own(ledger, "a").await;
    let (ticket, _) = take(ledger, claim("a", "o", LONG)).await;
    close(ledger, ticket, Closing::Release).await;
    let (ticket, _) = take(ledger, corrected("a", "o", LONG)).await;
    close(ledger, ticket, Closing::Unknown).await;
    let (ticket, _) = take_unknown(ledger, corrected("a", "o", LONG)).await;
    close(ledger, ticket, Closing::Release).await;
    assert_eq!(ask(ledger, claim("a", "o", LONG)).await, ClaimAnswer::Conflict, "unknown again");
}

async fn only_the_owner_of_the_partition_claims(ledger: &dyn Ledger) {
    assert_eq!(ask(ledger, claim("a", "o", LONG)).await, ClaimAnswer::NotOwner, "nobody owns it");
    own(ledger, "a").await;
    own(ledger, "b").await;
    assert_eq!(ask(ledger, claim("a", "o", LONG)).await, ClaimAnswer::NotOwner);
    ledger.own(&Owner { partition: 8, epoch: "a".into() }).await.expect("the ledger answers");
    assert_eq!(ask(ledger, claim("a", "o", LONG)).await, ClaimAnswer::NotOwner, "another partition");
    take(ledger, claim("b", "o", LONG)).await;
}

async fn a_live_claim_of_a_former_owner_is_busy_until_its_lease_passes(ledger: &dyn Ledger) {
    own(ledger, "a").await;
    let lease = Duration::from_millis(300);
    take(ledger, claim("a", "o", lease)).await;
    own(ledger, "b").await;
    match ask(ledger, claim("b", "o", LONG)).await {
        ClaimAnswer::Busy { left } => assert!(!left.is_zero() && left <= lease, "{left:?}"),
        // A machine that stood still for that long.
        ClaimAnswer::Unknown { .. } => return,
        other @ (ClaimAnswer::Claimed { .. }
        | ClaimAnswer::Settled(_)
        | ClaimAnswer::Conflict
        | ClaimAnswer::NotOwner) => {
            panic!("neither busy nor unknown: {other:?}")
        }
    }
    let attempts =
        testkit::eventually_some("the lease to pass", async || match ask(ledger, claim("b", "o", LONG)).await {
            ClaimAnswer::Busy { .. } => None,
            ClaimAnswer::Unknown { attempts, .. } => Some(attempts.total),
            other @ (ClaimAnswer::Claimed { .. }
            | ClaimAnswer::Settled(_)
            | ClaimAnswer::Conflict
            | ClaimAnswer::NotOwner) => {
                panic!("neither busy nor unknown: {other:?}")
            }
        })
        .await;
    assert_eq!(attempts, 1);
}

async fn a_lease_that_has_passed_leaves_the_effect_unknown(ledger: &dyn Ledger) {
    own(ledger, "a").await;
    take(ledger, claim("a", "o", OVER)).await;
    own(ledger, "b").await;
    let (ticket, attempts) = take_unknown(ledger, claim("b", "o", LONG)).await;
    assert_eq!((ticket.token, attempts, ticket.was_unknown), (2, 1, true));
}

async fn an_owner_that_claims_again_what_it_holds_is_told_to_look_it_up(ledger: &dyn Ledger) {
    own(ledger, "a").await;
    let (first, _) = take(ledger, claim("a", "o", LONG)).await;
    let (second, attempts) = take_unknown(ledger, claim("a", "o", LONG)).await;
    assert_eq!((second.token, attempts), (2, 1));
    assert_eq!(settle(ledger, first, "by the first").await, Closed::Stale);
    assert_eq!(settle(ledger, second, "by the second").await, Closed::Done);
}

async fn a_failure_counts_and_an_interruption_does_not(ledger: &dyn Ledger) {
    own(ledger, "a").await;
    for failed in 0..3 {
        let (ticket, attempts) = take(ledger, claim("a", "o", LONG)).await;
        assert_eq!(attempts, failed);
        assert_eq!(close(ledger, ticket, Closing::Release).await, Closed::Done);
        let (ticket, attempts) = take(ledger, claim("a", "o", LONG)).await;
        assert_eq!(attempts, failed);
        assert_eq!(close(ledger, ticket, Closing::Failed).await, Closed::Done);
    }
    assert_eq!(take(ledger, claim("a", "o", LONG)).await.1, 3);
}

async fn a_lost_answer_leaves_the_effect_unknown_until_it_is_certain(ledger: &dyn Ledger) {
    own(ledger, "a").await;
    let (ticket, _) = take(ledger, claim("a", "o", LONG)).await;
    assert_eq!(close(ledger, ticket, Closing::Unknown).await, Closed::Done);
    own(ledger, "b").await;
    let (ticket, attempts) = take_unknown(ledger, claim("b", "o", LONG)).await;
    assert_eq!(attempts, 1);
    assert_eq!(close(ledger, ticket, Closing::Failed).await, Closed::Done, "looked up, sent, refused");
    assert_eq!(take(ledger, claim("b", "o", LONG)).await.1, 2);
}

async fn a_claim_given_back_unused_does_not_make_an_unknown_effect_absent(ledger: &dyn Ledger) {
    own(ledger, "a").await;
    take(ledger, claim("a", "o", OVER)).await;
    for _ in 0..3 {
        let (ticket, attempts) = take_unknown(ledger, claim("a", "o", LONG)).await;
        assert_eq!(attempts, 1);
        assert_eq!(close(ledger, ticket, Closing::Release).await, Closed::Done);
    }
}

async fn a_claim_that_was_taken_anew_cannot_be_closed_by_the_old_ticket(ledger: &dyn Ledger) {
    own(ledger, "a").await;
    let (old, _) = take(ledger, claim("a", "o", OVER)).await;
    let (new, _) = take_unknown(ledger, claim("a", "o", LONG)).await;
    for closing in [Closing::Settle("old".into()), Closing::Failed, Closing::Unknown, Closing::Release] {
        assert_eq!(close(ledger, old.clone(), closing).await, Closed::Stale);
    }
    assert_eq!(settle(ledger, new, "new").await, Closed::Done);
    assert_eq!(ask(ledger, claim("a", "o", LONG)).await, ClaimAnswer::Settled("new".into()));
}

async fn a_former_owner_cannot_close(ledger: &dyn Ledger) {
    own(ledger, "a").await;
    let (ticket, _) = take(ledger, claim("a", "o", OVER)).await;
    own(ledger, "b").await;
    for closing in [Closing::Settle("zombie".into()), Closing::Failed, Closing::Unknown, Closing::Release] {
        assert_eq!(close(ledger, ticket.clone(), closing).await, Closed::Stale);
    }
    take_unknown(ledger, claim("b", "o", LONG)).await;
}

async fn closing_twice_the_same_way_is_harmless_and_another_way_is_refused(ledger: &dyn Ledger) {
    own(ledger, "a").await;
    for (index, closing) in
        [Closing::Release, Closing::Failed, Closing::Unknown, Closing::Settle("x".into())].into_iter().enumerate()
    {
        let name = format!("o{index}");
        let (ticket, _) = take(ledger, claim("a", &name, LONG)).await;
        assert_eq!(close(ledger, ticket.clone(), closing.clone()).await, Closed::Done);
        assert_eq!(close(ledger, ticket.clone(), closing.clone()).await, Closed::Done);
        let other = if closing == Closing::Failed { Closing::Release } else { Closing::Failed };
        assert_eq!(close(ledger, ticket, other).await, Closed::Stale);
    }
    let (ticket, attempts) = take(ledger, claim("a", "o1", LONG)).await;
    assert_eq!((ticket.token, attempts), (2, 1), "the repeated failure counted once");
}

async fn a_late_answer_is_still_taken_when_nobody_claimed_anew(ledger: &dyn Ledger) {
    own(ledger, "a").await;
    let (ticket, _) = take(ledger, claim("a", "o", OVER)).await;
    assert_eq!(settle(ledger, ticket, "late").await, Closed::Done);
    assert_eq!(ask(ledger, claim("a", "o", LONG)).await, ClaimAnswer::Settled("late".into()));
}

async fn effects_of_one_order_are_apart(ledger: &dyn Ledger) {
    own(ledger, "a").await;
    let (ticket, _) = take(ledger, claim("a", "o", LONG)).await;
    settle(ledger, ticket, "written").await;
    take(ledger, ledger::Claim { effect: "event", ..claim("a", "o", LONG) }).await;
}

async fn answers_come_in_the_order_of_the_questions(ledger: &dyn Ledger) {
    own(ledger, "a").await;
    let names: Vec<String> = (0..100).map(|index| format!("o{index}")).collect();
    let claims: Vec<_> = names.iter().map(|name| claim("a", name, LONG)).collect();
    let answers = ledger.claim(&claims).await.expect("the ledger answers");
    let tickets: Vec<_> = answers
        .into_iter()
        .map(|answer| if let ClaimAnswer::Claimed { ticket, .. } = answer { ticket } else { panic!("{answer:?}") })
        .collect();
    assert!(tickets.iter().zip(&names).all(|(ticket, name)| ticket.order.as_str() == name));
    let mut closings: Vec<_> = tickets.into_iter().map(|ticket| (ticket, Closing::Settle("x".into()))).collect();
    closings[40].0.token = 9;
    let closed = ledger.close(&closings).await.expect("the ledger answers");
    assert_eq!(closed.len(), 100);
    assert!(closed.iter().enumerate().all(|(index, closed)| (*closed == Closed::Stale) == (index == 40)));
}

async fn nothing_asked_is_nothing_answered(ledger: &dyn Ledger) {
    assert!(ledger.claim(&[]).await.expect("the ledger answers").is_empty());
    assert!(ledger.close(&[]).await.expect("the ledger answers").is_empty());
    assert!(ledger.sight(&[]).await.expect("the ledger answers").is_empty());
    ledger.handed_on(&[]).await.expect("the ledger answers");
    ledger.forget_sightings(&[]).await.expect("the ledger answers");
    assert!(ledger.accounts(&[]).await.expect("the ledger answers").is_empty());
    ledger.remember_accounts(&[]).await.expect("the ledger answers");
    ledger.forget_accounts(&[]).await.expect("the ledger answers");
    ledger.ping().await.expect("the ledger answers");
}

async fn an_order_is_handed_on_again_until_it_is_noted(ledger: &dyn Ledger) {
    let sight = async || ledger.sight(&[identity("o", 1), identity("p", 1)]).await.expect("the ledger answers");
    assert_eq!(sight().await, [Sighting::First, Sighting::First]);
    assert_eq!(sight().await, [Sighting::First, Sighting::First], "a crash before it was noted");
    ledger.handed_on(&[identity("o", 1)]).await.expect("the ledger answers");
    assert_eq!(sight().await, [Sighting::Again, Sighting::First]);
    ledger.handed_on(&[identity("forgotten", 1)]).await.expect("the ledger answers");
    assert_eq!(ledger.sight(&[identity("forgotten", 1)]).await.expect("the ledger answers"), [Sighting::Again]);
}

async fn another_content_of_a_sighted_order_is_a_conflict(ledger: &dyn Ledger) {
    let sight = async |byte| ledger.sight(&[identity("o", byte)]).await.expect("the ledger answers").remove(0);
    assert_eq!(sight(1).await, Sighting::First);
    assert_eq!(sight(2).await, Sighting::Conflict);
    ledger.handed_on(&[identity("o", 2)]).await.expect("the ledger answers");
    assert_eq!(sight(1).await, Sighting::First, "the other content changed nothing");
    ledger.handed_on(&[identity("o", 1)]).await.expect("the ledger answers");
    assert_eq!(sight(2).await, Sighting::Conflict);
    assert_eq!(sight(1).await, Sighting::Again);
}

async fn an_order_whose_sighting_was_taken_back_is_seen_for_the_first_time(ledger: &dyn Ledger) {
    let sight = async || ledger.sight(&[identity("o", 1), identity("p", 1)]).await.expect("the ledger answers");
    sight().await;
    ledger.handed_on(&[identity("o", 1), identity("p", 1)]).await.expect("the ledger answers");
    assert_eq!(sight().await, [Sighting::Again, Sighting::Again]);
    ledger.forget_sightings(&[order("o"), order("never seen"), order("o")]).await.expect("the ledger answers");
    assert_eq!(sight().await, [Sighting::First, Sighting::Again], "the other order is still remembered");
    ledger.handed_on(&[identity("o", 1)]).await.expect("the ledger answers");
    assert_eq!(sight().await, [Sighting::Again, Sighting::Again], "handed on anew");
}

async fn another_content_of_an_order_whose_sighting_was_taken_back_is_no_conflict(ledger: &dyn Ledger) {
    let sight = async |byte| ledger.sight(&[identity("o", byte)]).await.expect("the ledger answers").remove(0);
    sight(1).await;
    ledger.handed_on(&[identity("o", 1)]).await.expect("the ledger answers");
    assert_eq!(sight(2).await, Sighting::Conflict);
    ledger.forget_sightings(&[order("o")]).await.expect("the ledger answers");
    assert_eq!(sight(2).await, Sighting::First);
    assert_eq!(sight(1).await, Sighting::Conflict, "the first content is the other one now");
}

async fn the_first_known_name_gives_the_account(ledger: &dyn Ledger) {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>();
    let entries =
        [(names(&["owner:1", "mail:ann@example.com"]), "001A".to_owned()), (names(&["owner:2"]), "001B".to_owned())];
    ledger.remember_accounts(&entries).await.expect("the ledger answers");
    let asked = [
        names(&["owner:9", "mail:ann@example.com"]),
        names(&["owner:9"]),
        names(&[]),
        names(&["owner:2", "mail:ann@example.com"]),
    ];
    let found = ledger.accounts(&asked).await.expect("the ledger answers");
    assert_eq!(found, [Some("001A".to_owned()), None, None, Some("001B".to_owned())]);
    ledger.forget_accounts(&names(&["mail:ann@example.com", "owner:9"])).await.expect("the ledger answers");
    assert_eq!(ledger.accounts(&asked[..1]).await.expect("the ledger answers"), [None]);
}

async fn an_order_that_was_given_up_begins_a_new_round_and_its_attempts_are_counted_on(ledger: &dyn Ledger) {
    own(ledger, "a").await;
    let expect = async |total, round, closing| {
        let (ClaimAnswer::Claimed { ticket, attempts } | ClaimAnswer::Unknown { ticket, attempts }) =
            ask(ledger, claim("a", "o", LONG)).await
        else {
            panic!("it can be claimed");
        };
        assert_eq!(attempts, Attempts { total, round });
        assert_eq!(close(ledger, ticket, closing).await, Closed::Done);
    };
    expect(0, 0, Closing::Failed).await;
    expect(1, 1, Closing::Release).await;
    expect(1, 1, Closing::GiveUp { unknown: false }).await;
    expect(2, 0, Closing::Failed).await;
    expect(3, 1, Closing::GiveUp { unknown: true }).await;
    let (ticket, _) = take_unknown(ledger, claim("a", "o", LONG)).await;
    close(ledger, ticket, Closing::Unknown).await;
    expect(5, 1, Closing::Release).await;
}

async fn a_doubt_makes_an_effect_unknown_and_counts_no_attempt(ledger: &dyn Ledger) {
    own(ledger, "a").await;
    let (ticket, _) = take(ledger, claim("a", "o", LONG)).await;
    assert_eq!(close(ledger, ticket.clone(), Closing::Doubt).await, Closed::Done);
    assert_eq!(close(ledger, ticket, Closing::Doubt).await, Closed::Done, "closing again the same way is harmless");
    let (_, attempts) = take_unknown(ledger, claim("a", "o", LONG)).await;
    assert_eq!(attempts, 0);
}
