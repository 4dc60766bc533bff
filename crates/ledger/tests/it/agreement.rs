//! Generated schedules of two owners: the memory keeps the promises, and Redis answers the same.

use std::collections::HashMap;
use std::time::Duration;

use causeway_ledger as ledger;
use ledger::{ClaimAnswer, ClaimTicket, Clock, Closed, Closing, Ledger, MemoryLedger};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::{LONG, OVER, claim, content, owner};

#[derive(Debug, Clone)]
enum Step {
    Own {
        epoch: &'static str,
    },
    Claim {
        epoch: &'static str,
        order: &'static str,
        other_content: bool,
        lease: Duration,
    },
    /// Closes one of the tickets that were given out so far, perhaps an old one.
    Close {
        ticket: prop::sample::Index,
        closing: Closing,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let epoch = prop::sample::select(vec!["a", "b"]);
    let order = prop::sample::select(vec!["o", "p"]);
    let lease = prop::sample::select(vec![LONG, OVER]);
    let closing = prop_oneof![
        Just(Closing::Settle("result".to_owned())),
        Just(Closing::Failed),
        Just(Closing::Unknown),
        any::<bool>().prop_map(|unknown| Closing::GiveUp { unknown }),
        Just(Closing::Doubt),
        Just(Closing::Release),
    ];
    prop_oneof![
        2 => epoch.clone().prop_map(|epoch| Step::Own { epoch }),
        5 => (epoch, order, prop::bool::weighted(0.25), lease)
            .prop_map(|(epoch, order, other_content, lease)| Step::Claim { epoch, order, other_content, lease }),
        5 => (any::<prop::sample::Index>(), closing).prop_map(|(ticket, closing)| Step::Close { ticket, closing }),
    ]
}

#[derive(Debug, Clone, PartialEq)]
enum Answer {
    Owned,
    Claim(ClaimAnswer),
    Closed(ClaimTicket, Closing, Closed),
    Nothing,
}

/// Plays the steps one after another. Tickets are chosen among those that this ledger gave.
async fn play(ledger: &dyn Ledger, steps: &[Step]) -> Vec<Answer> {
    let mut tickets: Vec<ClaimTicket> = Vec::new();
    let mut answers = Vec::new();
    for step in steps {
        answers.push(match step {
            Step::Own { epoch } => {
                ledger.own(&owner(epoch)).await.expect("the ledger answers");
                Answer::Owned
            }
            Step::Claim { epoch, order, other_content, lease } => {
                let fingerprint = content(if *other_content { 2 } else { 1 });
                let claim = ledger::Claim { fingerprint, ..claim(epoch, order, *lease) };
                let answer = ledger.claim(&[claim]).await.expect("the ledger answers").remove(0);
                if let ClaimAnswer::Claimed { ticket, .. } | ClaimAnswer::Unknown { ticket, .. } = &answer {
                    tickets.push(ticket.clone());
                }
                Answer::Claim(answer)
            }
            Step::Close { .. } if tickets.is_empty() => Answer::Nothing,
            Step::Close { ticket, closing } => {
                let ticket = ticket.get(&tickets).clone();
                let asked = [(ticket.clone(), closing.clone())];
                let closed = ledger.close(&asked).await.expect("the ledger answers").remove(0);
                Answer::Closed(ticket, closing.clone(), closed)
            }
        });
    }
    answers
}

/// What an observer knows of one order, from the answers alone.
#[derive(Debug, Default)]
struct Known {
    latest: Option<ClaimTicket>,
    /// Which content the latest claim was for.
    other_content: bool,
    open: bool,
    may_have_happened: bool,
    settled: bool,
}

fn check(steps: &[Step], answers: &[Answer]) -> Result<(), TestCaseError> {
    let mut orders: HashMap<String, Known> = HashMap::new();
    let mut owner = None;
    for (step, answer) in steps.iter().zip(answers) {
        match (step, answer) {
            (Step::Own { epoch }, _) => owner = Some(*epoch),
            (Step::Claim { epoch, order, other_content, .. }, Answer::Claim(answer)) => {
                let known = orders.entry((*order).to_owned()).or_default();
                let foreign = owner != Some(epoch);
                prop_assert_eq!(foreign, *answer == ClaimAnswer::NotOwner);
                if let ClaimAnswer::Settled(_) = answer {
                    prop_assert!(known.settled);
                }
                let corrects = known.latest.is_some() && known.other_content != *other_content;
                let bound = known.open || known.may_have_happened || known.settled;
                prop_assert!(
                    foreign || (corrects && bound) == (*answer == ClaimAnswer::Conflict),
                    "another content is a conflict exactly when the former one happened or may have"
                );
                let (ticket, unknown) = match answer {
                    ClaimAnswer::Claimed { ticket, attempts } => {
                        prop_assert!(!corrects || attempts.total == 0, "a corrected order has failed nothing yet");
                        (ticket, false)
                    }
                    ClaimAnswer::Unknown { ticket, .. } => (ticket, true),
                    ClaimAnswer::Settled(_)
                    | ClaimAnswer::Busy { .. }
                    | ClaimAnswer::Conflict
                    | ClaimAnswer::NotOwner => continue,
                };
                if let ClaimAnswer::Claimed { attempts, .. } | ClaimAnswer::Unknown { attempts, .. } = answer {
                    prop_assert!(attempts.round <= attempts.total);
                }
                prop_assert!(!known.settled, "what is settled is not claimed again");
                prop_assert_eq!(
                    unknown,
                    known.open || known.may_have_happened,
                    "what may have happened is told as such"
                );
                prop_assert!(known.latest.as_ref().is_none_or(|latest| latest.token < ticket.token));
                *known = Known {
                    latest: Some(ticket.clone()),
                    other_content: *other_content,
                    open: true,
                    may_have_happened: unknown,
                    settled: false,
                };
            }
            (Step::Close { .. }, Answer::Closed(ticket, closing, Closed::Done)) => {
                let known = orders.entry(ticket.order.as_str().to_owned()).or_default();
                prop_assert_eq!(known.latest.as_ref(), Some(ticket), "only the latest claim is closed");
                prop_assert_eq!(owner, Some(ticket.owner.epoch.as_str()), "only by the owner");
                if known.open {
                    known.open = false;
                    match closing {
                        Closing::Settle(_) => known.settled = true,
                        Closing::Failed | Closing::GiveUp { unknown: false } => known.may_have_happened = false,
                        Closing::Unknown | Closing::GiveUp { unknown: true } | Closing::Doubt => {
                            known.may_have_happened = true;
                        }
                        Closing::Release => {}
                    }
                }
            }
            (Step::Close { .. }, _) => {}
            (Step::Claim { .. }, Answer::Owned | Answer::Closed(..) | Answer::Nothing) => {
                prop_assert!(false, "{answer:?} to a claim");
            }
        }
    }
    Ok(())
}

/// What is left of a lease differs by the time that the steps take.
fn without_times(answers: Vec<Answer>) -> Vec<Answer> {
    let blur = |answer| {
        let busy = matches!(answer, Answer::Claim(ClaimAnswer::Busy { .. }));
        if busy { Answer::Claim(ClaimAnswer::Busy { left: Duration::ZERO }) } else { answer }
    };
    answers.into_iter().map(blur).collect()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

#[test]
fn no_schedule_lets_an_old_ticket_settle_or_makes_an_unknown_effect_absent() {
    let runtime = runtime();
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() });
    runner
        .run(&prop::collection::vec(step(), 1..60), |steps| {
            let ledger = MemoryLedger::new(Clock::manual(Duration::from_secs(1)));
            let answers = runtime.block_on(play(&ledger, &steps));
            check(&steps, &answers)
        })
        .expect("the promises hold");
}

#[test]
fn redis_answers_every_schedule_as_the_memory_does() {
    let runtime = runtime();
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() });
    runner
        .run(&prop::collection::vec(step(), 1..60), |steps| {
            let memory = runtime.block_on(play(&MemoryLedger::default(), &steps));
            let redis = runtime.block_on(async { play(&crate::redis().await, &steps).await });
            check(&steps, &redis)?;
            prop_assert_eq!(without_times(memory), without_times(redis));
            Ok(())
        })
        .expect("both agree");
}

#[tokio::test]
async fn what_was_settled_is_forgotten_after_thirty_days() {
    let clock = Clock::manual(Duration::from_secs(1));
    let ledger = MemoryLedger::new(clock.clone());
    ledger.own(&owner("a")).await.expect("the ledger answers");
    let (ticket, _) = crate::take(&ledger, claim("a", "o", LONG)).await;
    ledger.close(&[(ticket, Closing::Settle("done".into()))]).await.expect("the ledger answers");
    clock.advance(Duration::from_hours(30 * 24) - Duration::from_millis(1));
    assert_eq!(crate::ask(&ledger, claim("a", "o", LONG)).await, ClaimAnswer::Settled("done".into()));
    clock.advance(Duration::from_millis(1));
    crate::take(&ledger, claim("a", "o", LONG)).await;
}
