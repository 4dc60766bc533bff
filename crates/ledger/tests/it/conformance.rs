//! What every ledger does.

use std::time::Duration;

use causeway_ledger as ledger;
use ledger::{Attempts, ClaimAnswer, Closed, Closing, Holding, KnownSince, Ledger, Owner, Sighting, Whose};

use crate::{LONG, OVER, ask, claim, content, identity, known_since, order, owner, take, take_unknown};

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
    an_order_that_was_delivered_before_may_have_been_handed_on_before
    what_looks_absent_is_unknown_unless_this_memory_knows_the_order_from_the_beginning
    a_crash_is_counted_apart_from_attempts_and_only_when_another_owner_finds_it
    a_former_owner_that_lives_keeps_nobody_waiting_and_is_no_crash
    the_first_known_name_gives_the_account
    an_account_is_another_customers_only_where_names_of_one_kind_differ
    an_account_is_another_customers_only_by_the_subscription_that_they_had_it_by
    an_order_that_was_given_up_begins_a_new_round_and_its_attempts_are_counted_on
    a_doubt_makes_an_effect_unknown_and_counts_no_attempt
    what_was_sent_and_not_answered_is_claimed_by_nobody_until_it_can_no_longer_happen
    what_was_answered_keeps_nobody_waiting
    nothing_is_sent_under_a_claim_that_is_no_longer_held
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
    let crashes =
        testkit::eventually_some("the lease to pass", async || match ask(ledger, claim("b", "o", LONG)).await {
            ClaimAnswer::Busy { .. } => None,
            ClaimAnswer::Unknown { attempts, .. } => Some(attempts.crashes),
            other @ (ClaimAnswer::Claimed { .. }
            | ClaimAnswer::Settled(_)
            | ClaimAnswer::Conflict
            | ClaimAnswer::NotOwner) => {
                panic!("neither busy nor unknown: {other:?}")
            }
        })
        .await;
    assert_eq!(crashes, 1);
}

async fn a_lease_that_has_passed_leaves_the_effect_unknown(ledger: &dyn Ledger) {
    own(ledger, "a").await;
    take(ledger, claim("a", "o", OVER)).await;
    own(ledger, "b").await;
    let (ticket, attempts) = take_unknown(ledger, claim("b", "o", LONG)).await;
    assert_eq!((ticket.token, attempts, ticket.was_unknown), (2, 0, true), "a crash is no attempt");
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
    let known = known_since(ledger, "handed on at the same time").await;
    let claim = |name| ledger::Claim { known_since: Some(known.clone()), ..claim("a", name, LONG) };
    let claims: Vec<_> = names.iter().map(|name| claim(name)).collect();
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

/// The sightings, each in a word.
async fn words(ledger: &dyn Ledger, identities: &[ledger::Identity]) -> Vec<&'static str> {
    let sightings = ledger.sight(identities).await.expect("the ledger answers");
    let word = |sighting| match sighting {
        Sighting::First { known_since: Some(_) } => "first",
        Sighting::First { known_since: None } => "perhaps handed on before",
        Sighting::Again => "again",
        Sighting::Conflict => "conflict",
    };
    sightings.into_iter().map(word).collect()
}

async fn an_order_is_handed_on_again_until_it_is_noted(ledger: &dyn Ledger) {
    let sight = async || words(ledger, &[identity("o", 1), identity("p", 1)]).await;
    assert_eq!(sight().await, ["first", "first"]);
    assert_eq!(sight().await, ["first", "first"], "a crash before it was noted");
    ledger.handed_on(&[identity("o", 1)]).await.expect("the ledger answers");
    assert_eq!(sight().await, ["again", "first"]);
    ledger.handed_on(&[identity("forgotten", 1)]).await.expect("the ledger answers");
    assert_eq!(words(ledger, &[identity("forgotten", 1)]).await, ["again"]);
}

async fn another_content_of_a_sighted_order_is_a_conflict(ledger: &dyn Ledger) {
    let sight = async |byte| words(ledger, &[identity("o", byte)]).await.remove(0);
    assert_eq!(sight(1).await, "first");
    assert_eq!(sight(2).await, "conflict");
    ledger.handed_on(&[identity("o", 2)]).await.expect("the ledger answers");
    assert_eq!(sight(1).await, "first", "the other content changed nothing");
    ledger.handed_on(&[identity("o", 1)]).await.expect("the ledger answers");
    assert_eq!(sight(2).await, "conflict");
    assert_eq!(sight(1).await, "again");
}

async fn an_order_whose_sighting_was_taken_back_is_seen_for_the_first_time(ledger: &dyn Ledger) {
    let sight = async || words(ledger, &[identity("o", 1), identity("p", 1)]).await;
    sight().await;
    ledger.handed_on(&[identity("o", 1), identity("p", 1)]).await.expect("the ledger answers");
    assert_eq!(sight().await, ["again", "again"]);
    ledger.forget_sightings(&[order("o"), order("never seen"), order("o")]).await.expect("the ledger answers");
    assert_eq!(sight().await, ["first", "again"], "the other order is still remembered");
    ledger.handed_on(&[identity("o", 1)]).await.expect("the ledger answers");
    assert_eq!(sight().await, ["again", "again"], "handed on anew");
}

async fn another_content_of_an_order_whose_sighting_was_taken_back_is_no_conflict(ledger: &dyn Ledger) {
    let sight = async |byte| words(ledger, &[identity("o", byte)]).await.remove(0);
    sight(1).await;
    ledger.handed_on(&[identity("o", 1)]).await.expect("the ledger answers");
    assert_eq!(sight(2).await, "conflict");
    ledger.forget_sightings(&[order("o")]).await.expect("the ledger answers");
    assert_eq!(sight(2).await, "first");
    assert_eq!(sight(1).await, "conflict", "the first content is the other one now");
}

async fn an_order_that_was_delivered_before_may_have_been_handed_on_before(ledger: &dyn Ledger) {
    let again = |name: &str| ledger::Identity { redelivered: true, ..identity(name, 1) };
    assert_eq!(words(ledger, &[again("o")]).await, ["perhaps handed on before"], "unheard of");
    assert_eq!(words(ledger, &[identity("o", 1)]).await, ["perhaps handed on before"], "and so it stays");
    let known = known_since(ledger, "p").await;
    let sightings = ledger.sight(&[again("p")]).await.expect("the ledger answers");
    assert_eq!(sightings, [Sighting::First { known_since: Some(known) }], "known since before it was handed on");
}

async fn what_looks_absent_is_unknown_unless_this_memory_knows_the_order_from_the_beginning(ledger: &dyn Ledger) {
    own(ledger, "a").await;
    let known = known_since(ledger, "o").await;
    let asked = async |name, known_since| {
        let answer = ledger.claim(&[ledger::Claim { known_since, ..claim("a", name, LONG) }]).await;
        let (ClaimAnswer::Claimed { ticket, .. } | ClaimAnswer::Unknown { ticket, .. }) =
            answer.expect("the ledger answers").remove(0)
        else {
            panic!("it can be claimed");
        };
        ticket
    };
    assert!(!asked("o", Some(known.clone())).await.was_unknown);
    assert!(asked("p", None).await.was_unknown, "nobody knows since when");
    let elsewhere = KnownSince::parse("0123456789abcdef@1795350810");
    let ticket = asked("q", elsewhere.clone()).await;
    assert!(ticket.was_unknown, "known to another memory");
    assert_eq!(close(ledger, ticket, Closing::Failed).await, Closed::Done, "looked up, sent, refused");
    assert!(!asked("q", elsewhere).await.was_unknown, "this memory knows it now");
    let text = known.to_string();
    let (memory, at) = text.split_once('@').expect("a name and a time");
    let long_ago = at.parse::<u64>().expect("seconds") - 30 * 24 * 3600;
    let ticket = asked("r", KnownSince::parse(&format!("{memory}@{long_ago}"))).await;
    assert!(ticket.was_unknown, "what was known so long ago may have been forgotten since");
}

async fn a_crash_is_counted_apart_from_attempts_and_only_when_another_owner_finds_it(ledger: &dyn Ledger) {
    let counts = async |epoch: &str, lease| {
        let (ClaimAnswer::Claimed { ticket, attempts } | ClaimAnswer::Unknown { ticket, attempts }) =
            ask(ledger, claim(epoch, "o", lease)).await
        else {
            panic!("it can be claimed");
        };
        (ticket, (attempts.total, attempts.crashes))
    };
    own(ledger, "a").await;
    assert_eq!(counts("a", OVER).await.1, (0, 0));
    assert_eq!(counts("a", OVER).await.1, (1, 0), "it lives, and has forgotten");
    own(ledger, "b").await;
    assert_eq!(counts("b", OVER).await.1, (1, 1));
    own(ledger, "c").await;
    let (ticket, counted) = counts("c", LONG).await;
    assert_eq!(counted, (1, 2));
    assert_eq!(close(ledger, ticket, Closing::Release).await, Closed::Done);
    let (ticket, counted) = counts("c", LONG).await;
    assert_eq!(counted, (1, 2), "giving it back does not make it harmless");
    assert_eq!(close(ledger, ticket, Closing::GiveUp { unknown: true }).await, Closed::Done);
    let (ticket, counted) = counts("c", LONG).await;
    assert_eq!(counted, (2, 0), "a new round");
    assert_eq!(close(ledger, ticket, Closing::Failed).await, Closed::Done);
}

async fn a_former_owner_that_lives_keeps_nobody_waiting_and_is_no_crash(ledger: &dyn Ledger) {
    own(ledger, "a").await;
    let (ticket, _) = take(ledger, claim("a", "o", LONG)).await;
    own(ledger, "b").await;
    assert!(matches!(ask(ledger, claim("b", "o", LONG)).await, ClaimAnswer::Busy { .. }));
    assert_eq!(settle(ledger, ticket.clone(), "late").await, Closed::Stale);
    match ask(ledger, claim("b", "o", LONG)).await {
        ClaimAnswer::Unknown { attempts, .. } => assert_eq!(attempts, Attempts::default()),
        other @ (ClaimAnswer::Claimed { .. }
        | ClaimAnswer::Settled(_)
        | ClaimAnswer::Busy { .. }
        | ClaimAnswer::Conflict
        | ClaimAnswer::NotOwner) => panic!("not unknown: {other:?}"),
    }
    assert_eq!(settle(ledger, ticket, "late").await, Closed::Stale);
    let after = ask(ledger, claim("b", "o", LONG)).await;
    assert!(matches!(after, ClaimAnswer::Unknown { .. }), "it let go of its own claim, and of no other: {after:?}");
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

/// This Account, which a customer of these names has by this subscription.
fn holding(account: &str, subscription: &str, names: &[&str]) -> Holding {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>();
    Holding { account: account.to_owned(), subscriptions: owned(&[subscription]), names: owned(names) }
}

async fn an_account_is_another_customers_only_where_names_of_one_kind_differ(ledger: &dyn Ledger) {
    let of = |names: &[&str]| holding("001A", "S-1", names);
    let whose = async |names: &[&str]| ledger.whose(&[of(names)]).await.expect("the ledger answers").remove(0);
    assert_eq!(whose(&["identity:ann"]).await, Whose::Unknown);
    ledger.remember_holders(&[of(&["identity:ann", "identity:cus-1"]), of(&[])]).await.expect("the ledger answers");
    assert_eq!(whose(&["identity:cus-1"]).await, Whose::Theirs);
    assert_eq!(whose(&["identity:bob", "email:bob"]).await, Whose::Anothers);
    assert_eq!(whose(&["email:bob"]).await, Whose::Unknown, "of another kind");
    assert_eq!(whose(&[]).await, Whose::Unknown);
    ledger.remember_holders(&[of(&["email:ann"])]).await.expect("the ledger answers");
    assert_eq!(whose(&["email:bob"]).await, Whose::Anothers);
    assert_eq!(whose(&["identity:new", "email:ann"]).await, Whose::Theirs, "one name that agrees is enough");
    // A name that stands there twice counts once.
    let fifteen: Vec<String> = (0..ledger::HOLDER_NAMES - 1).map(|number| format!("identity:{number}")).collect();
    let mut names = vec!["identity:twice", "identity:a", "identity:twice"];
    names.extend(fifteen.iter().take(ledger::HOLDER_NAMES - 2).map(String::as_str));
    ledger.remember_holders(&[of(&names)]).await.expect("the ledger answers");
    for name in names {
        assert_eq!(whose(&[name]).await, Whose::Theirs, "{name}");
    }
    assert_eq!(whose(&["identity:ann"]).await, Whose::Anothers, "the oldest are forgotten");
}

async fn an_account_is_another_customers_only_by_the_subscription_that_they_had_it_by(ledger: &dyn Ledger) {
    let anns = holding("001A", "S-ann", &["identity:ann"]);
    let both =
        Holding { subscriptions: vec!["S-bob".to_owned(), "S-2".to_owned()], ..holding("001A", "", &["identity:bob"]) };
    ledger.remember_holders(&[anns, both]).await.expect("the ledger answers");
    let several = |names: &[&str]| Holding {
        subscriptions: vec!["S-new".to_owned(), "S-2".to_owned(), "S-ann".to_owned()],
        ..holding("001A", "", names)
    };
    let asked = [
        holding("001A", "S-ann", &["identity:ann"]),
        holding("001A", "S-ann", &["identity:bob"]),
        holding("001A", "S-bob", &["identity:bob"]),
        holding("001A", "S-new", &["identity:cas"]),
        holding("001B", "S-ann", &["identity:bob"]),
        several(&["identity:bob"]),
        several(&["identity:cas"]),
        Holding { subscriptions: Vec::new(), ..holding("001A", "", &["identity:cas"]) },
    ];
    let whose = ledger.whose(&asked).await.expect("the ledger answers");
    let (theirs, anothers, unknown) = (Whose::Theirs, Whose::Anothers, Whose::Unknown);
    assert_eq!(whose, [theirs, anothers, theirs, unknown, unknown, theirs, anothers, unknown]);
}

async fn an_order_that_was_given_up_begins_a_new_round_and_its_attempts_are_counted_on(ledger: &dyn Ledger) {
    own(ledger, "a").await;
    let expect = async |total, round, closing| {
        let (ClaimAnswer::Claimed { ticket, attempts } | ClaimAnswer::Unknown { ticket, attempts }) =
            ask(ledger, claim("a", "o", LONG)).await
        else {
            panic!("it can be claimed");
        };
        assert_eq!(attempts, Attempts { total, round, crashes: 0 });
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

async fn sending(ledger: &dyn Ledger, ticket: &ledger::ClaimTicket, takes: Duration) -> bool {
    ledger.sending(std::slice::from_ref(ticket), takes).await.expect("the ledger answers").remove(0)
}

async fn is_busy(ledger: &dyn Ledger, epoch: &str, name: &str) -> bool {
    matches!(ask(ledger, claim(epoch, name, LONG)).await, ClaimAnswer::Busy { left } if left <= LONG)
}

async fn what_was_sent_and_not_answered_is_claimed_by_nobody_until_it_can_no_longer_happen(ledger: &dyn Ledger) {
    own(ledger, "a").await;
    let (ticket, _) = take(ledger, claim("a", "left open", OVER)).await;
    assert!(sending(ledger, &ticket, LONG).await, "its lease is over, and nobody claimed anew");
    assert!(is_busy(ledger, "a", "left open").await, "not even its owner");
    let doubts =
        [("lost", Closing::Unknown), ("away", Closing::Doubt), ("given up", Closing::GiveUp { unknown: true })];
    for (name, closing) in doubts {
        let (ticket, _) = take(ledger, claim("a", name, OVER)).await;
        assert!(sending(ledger, &ticket, LONG).await);
        assert_eq!(close(ledger, ticket, closing.clone()).await, Closed::Done);
        assert!(is_busy(ledger, "a", name).await, "{closing:?}");
    }
    let (ticket, _) = take(ledger, claim("a", "taken over", OVER)).await;
    assert!(sending(ledger, &ticket, LONG).await);
    own(ledger, "b").await;
    assert!(is_busy(ledger, "b", "taken over").await);
    assert_eq!(close(ledger, ticket, Closing::Doubt).await, Closed::Stale);
    for name in ["left open", "lost", "away", "given up", "taken over"] {
        assert!(is_busy(ledger, "b", name).await, "{name}");
    }
    let (ticket, _) = take(ledger, claim("b", "soon over", LONG)).await;
    assert!(sending(ledger, &ticket, Duration::from_millis(1)).await);
    close(ledger, ticket, Closing::Doubt).await;
    testkit::eventually("its time to pass", async || !is_busy(ledger, "b", "soon over").await).await;
}

async fn what_was_answered_keeps_nobody_waiting(ledger: &dyn Ledger) {
    own(ledger, "a").await;
    let (ticket, _) = take(ledger, claim("a", "answered", LONG)).await;
    assert!(sending(ledger, &ticket, LONG).await && sending(ledger, &ticket, Duration::ZERO).await);
    close(ledger, ticket, Closing::Doubt).await;
    take_unknown(ledger, claim("a", "answered", LONG)).await;
    for closing in [Closing::Failed, Closing::Release, Closing::GiveUp { unknown: false }] {
        let (ticket, _) = take(ledger, claim("a", "certain", LONG)).await;
        assert!(sending(ledger, &ticket, LONG).await);
        assert_eq!(close(ledger, ticket, closing).await, Closed::Done);
    }
    let (ticket, _) = take(ledger, claim("a", "settled", LONG)).await;
    assert!(sending(ledger, &ticket, LONG).await);
    own(ledger, "b").await;
    assert_eq!(settle(ledger, ticket, "late").await, Closed::Stale);
    take_unknown(ledger, claim("b", "settled", LONG)).await;
}

async fn nothing_is_sent_under_a_claim_that_is_no_longer_held(ledger: &dyn Ledger) {
    own(ledger, "a").await;
    let (closed, _) = take(ledger, claim("a", "closed", LONG)).await;
    close(ledger, closed.clone(), Closing::Failed).await;
    let (first, _) = take(ledger, claim("a", "anew", LONG)).await;
    let (second, _) = take_unknown(ledger, claim("a", "anew", LONG)).await;
    let (gone, _) = take(ledger, claim("a", "gone", LONG)).await;
    let held = ledger.sending(&[closed, first, second], LONG).await.expect("the ledger answers");
    assert_eq!(held, [false, false, true]);
    own(ledger, "b").await;
    assert!(!sending(ledger, &gone, LONG).await, "its partition was taken over");
    assert!(!sending(ledger, &gone, Duration::ZERO).await);
}
