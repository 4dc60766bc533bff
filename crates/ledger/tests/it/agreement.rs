//! Generated schedules of two owners: the memory keeps the promises, and Redis answers the same.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use causeway_ledger as ledger;
use ledger::{
    ClaimAnswer, ClaimTicket, Clock, Closed, Closing, Identity, KnownSince, Ledger, MemoryLedger, RedisLedger, Sighting,
};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::copied::Copied;
use crate::{LONG, OVER, PATIENT, claim, content, owner};

#[derive(Debug, Clone)]
enum Step {
    Own {
        epoch: &'static str,
    },
    /// `ingest` sees an order, and hands it on with what it is told.
    Sight {
        order: &'static str,
        other_content: bool,
    },
    HandedOn {
        order: &'static str,
        other_content: bool,
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
    /// Sends what should not be sent twice, or had the answer to it, under one of these tickets.
    Sending {
        ticket: prop::sample::Index,
        takes: Duration,
    },
    /// Everything is forgotten.
    Flush,
    /// A copy is made,
    Save,
    /// and is all that is left. Without one nothing is.
    Restore,
}

fn step() -> impl Strategy<Value = Step> {
    let epoch = prop::sample::select(vec!["a", "b"]);
    let order = prop::sample::select(vec!["o", "p"]);
    let lease = prop::sample::select(vec![LONG, OVER]);
    let takes = prop::sample::select(vec![LONG, Duration::ZERO]);
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
        1 => (any::<prop::sample::Index>(), takes).prop_map(|(ticket, takes)| Step::Sending { ticket, takes }),
    ]
}

/// The same, with a memory that is lost and copied, and with orders that are handed on.
fn step_or_loss() -> impl Strategy<Value = Step> {
    let order = prop::sample::select(vec!["o", "p"]);
    let other = prop::bool::weighted(0.2);
    prop_oneof![
        12 => step(),
        3 => (order.clone(), other).prop_map(|(order, other_content)| Step::Sight { order, other_content }),
        1 => (order, other).prop_map(|(order, other_content)| Step::HandedOn { order, other_content }),
        1 => Just(Step::Flush),
        1 => Just(Step::Save),
        1 => Just(Step::Restore),
    ]
}

#[derive(Debug, Clone, PartialEq)]
enum Answer {
    Owned,
    Sighted(Sighting),
    Claim(ClaimAnswer),
    Closed(ClaimTicket, Closing, Closed),
    Held(ClaimTicket, bool),
    Nothing,
}

/// A ledger whose memory can be lost.
enum Backend {
    Memory(MemoryLedger, Option<ledger::Snapshot>),
    Redis(Box<RedisLedger>, Copied),
}

impl Backend {
    fn in_memory(clock: Clock) -> Self {
        Self::Memory(MemoryLedger::new(clock), None)
    }

    async fn in_redis() -> Self {
        let namespace = testkit::namespace("ledger");
        let ledger = RedisLedger::connect(&testkit::redis_url(), &namespace, PATIENT).await.expect("Redis answers");
        Self::Redis(Box::new(ledger), Copied::of(&testkit::redis_url(), &namespace).await)
    }

    fn ledger(&self) -> &dyn Ledger {
        match self {
            Self::Memory(ledger, _) => ledger,
            Self::Redis(ledger, _) => ledger.as_ref(),
        }
    }

    async fn lose(&mut self, step: &Step) {
        match (self, step) {
            (Self::Memory(ledger, _), Step::Flush) => ledger.flush(),
            (Self::Memory(ledger, copy), Step::Save) => *copy = Some(ledger.snapshot()),
            (Self::Memory(ledger, copy), _) => match copy {
                Some(copy) => ledger.restore(copy.clone()),
                None => ledger.flush(),
            },
            (Self::Redis(_, redis), Step::Flush) => redis.flush().await,
            (Self::Redis(_, redis), Step::Save) => redis.save().await,
            (Self::Redis(_, redis), _) => redis.restore().await,
        }
    }
}

/// Plays the steps one after another. Tickets are chosen among those that this ledger gave. An order is handed on as
/// delivered again from the second time on. `consistently`: whoever looked an order up that happened settles it, nobody
/// learns two things of one attempt, and nothing happens after it was looked up in vain (the model has that).
async fn play(backend: &mut Backend, steps: &[Step], consistently: bool) -> Vec<Answer> {
    let mut tickets: Vec<(ClaimTicket, Option<Closing>)> = Vec::new();
    let mut seen: HashMap<&str, Option<KnownSince>> = HashMap::new();
    let mut happened: HashSet<String> = HashSet::new();
    let mut answers = Vec::new();
    let always = if consistently { None } else { Some(crate::now(backend.ledger()).await) };
    for step in steps {
        let content = |other_content: &bool| content(if *other_content { 2 } else { 1 });
        answers.push(match step {
            Step::Own { epoch } => {
                backend.ledger().own(&owner(epoch)).await.expect("the ledger answers");
                Answer::Owned
            }
            Step::Sight { order, other_content } => {
                let identity = Identity {
                    order: crate::order(order),
                    fingerprint: content(other_content),
                    redelivered: seen.contains_key(order),
                };
                let sighting = backend.ledger().sight(&[identity]).await.expect("the ledger answers").remove(0);
                if let Sighting::First { known_since } = &sighting {
                    seen.insert(order, known_since.clone());
                }
                Answer::Sighted(sighting)
            }
            Step::HandedOn { order, other_content } => {
                let identity =
                    Identity { order: crate::order(order), fingerprint: content(other_content), redelivered: false };
                backend.ledger().handed_on(&[identity]).await.expect("the ledger answers");
                Answer::Nothing
            }
            Step::Claim { epoch, order, other_content, lease } => {
                let known_since = always.clone().or_else(|| seen.entry(order).or_default().clone());
                let claim =
                    ledger::Claim { fingerprint: content(other_content), known_since, ..claim(epoch, order, *lease) };
                let answer = backend.ledger().claim(&[claim]).await.expect("the ledger answers").remove(0);
                if let ClaimAnswer::Claimed { ticket, .. } | ClaimAnswer::Unknown { ticket, .. } = &answer {
                    tickets.push((ticket.clone(), None));
                }
                Answer::Claim(answer)
            }
            Step::Close { .. } | Step::Sending { .. } if tickets.is_empty() => Answer::Nothing,
            Step::Sending { ticket, takes } => {
                let ticket = ticket.get(&tickets).0.clone();
                let asked = std::slice::from_ref(&ticket);
                let held = backend.ledger().sending(asked, *takes).await.expect("the ledger answers").remove(0);
                Answer::Held(ticket, held)
            }
            Step::Close { ticket, closing } => {
                let place = ticket.index(tickets.len());
                let mut closing = closing.clone();
                let ticket = tickets[place].0.clone();
                if consistently {
                    if ticket.was_unknown && happened.contains(ticket.order.as_str()) {
                        closing = Closing::Settle("found".to_owned());
                    }
                    closing = tickets[place].1.get_or_insert(closing).clone();
                    match closing {
                        Closing::Settle(_) => {
                            happened.insert(ticket.order.as_str().to_owned());
                        }
                        // Looked up: what came before did not happen, and nobody will learn that it did.
                        Closing::Failed | Closing::GiveUp { unknown: false } if ticket.was_unknown => {
                            let before = tickets[..place].iter_mut().filter(|(other, _)| other.order == ticket.order);
                            for (_, learned) in before {
                                learned.get_or_insert(Closing::Failed);
                            }
                        }
                        Closing::Failed
                        | Closing::GiveUp { .. }
                        | Closing::Unknown
                        | Closing::Doubt
                        | Closing::Release => {}
                    }
                }
                let asked = [(ticket.clone(), closing.clone())];
                let closed = backend.ledger().close(&asked).await.expect("the ledger answers").remove(0);
                Answer::Closed(ticket, closing, closed)
            }
            Step::Flush | Step::Save | Step::Restore => {
                backend.lose(step).await;
                Answer::Nothing
            }
        });
    }
    answers
}

/// What is true of one order, whatever a ledger remembers of it.
#[derive(Debug, Default)]
struct Truth {
    happened: bool,
    /// The attempts that may have had an effect, as the steps in which they began.
    open: Vec<usize>,
}

/// The promise that matters when memories are lost: nothing is sent without a look that may have happened.
fn check_truth(steps: &[Step], answers: &[Answer]) -> Result<(), TestCaseError> {
    let mut orders: HashMap<String, Truth> = HashMap::new();
    let mut began: Vec<(ClaimTicket, usize, bool)> = Vec::new();
    for (place, (step, answer)) in steps.iter().zip(answers).enumerate() {
        match (step, answer) {
            (Step::Claim { order, .. }, Answer::Claim(answer)) => {
                let truth = orders.entry((*order).to_owned()).or_default();
                match answer {
                    ClaimAnswer::Claimed { ticket, .. } => {
                        prop_assert!(!truth.happened && truth.open.is_empty(), "sent without a look: {truth:?}");
                        truth.open.push(place);
                        began.push((ticket.clone(), place, false));
                    }
                    ClaimAnswer::Unknown { ticket, .. } => {
                        truth.open.push(place);
                        began.push((ticket.clone(), place, false));
                    }
                    ClaimAnswer::Settled(_) => prop_assert!(truth.happened, "acknowledged without an effect"),
                    ClaimAnswer::Busy { .. } | ClaimAnswer::Conflict | ClaimAnswer::NotOwner => {}
                }
            }
            (Step::Close { .. }, Answer::Closed(ticket, closing, _)) => {
                let truth = orders.entry(ticket.order.as_str().to_owned()).or_default();
                let attempt = began.iter_mut().find(|(other, ..)| other == ticket).expect("it was given");
                let (_, began, told) = attempt;
                if std::mem::replace(told, true) {
                    continue;
                }
                match closing {
                    Closing::Settle(_) => truth.happened = true,
                    // It was looked up first, and so was everything before it.
                    Closing::Failed | Closing::GiveUp { unknown: false } if ticket.was_unknown => {
                        truth.open.retain(|other| other > began);
                    }
                    Closing::Failed | Closing::GiveUp { unknown: false } | Closing::Release => {
                        truth.open.retain(|other| other != began);
                    }
                    Closing::Unknown | Closing::GiveUp { unknown: true } | Closing::Doubt => {}
                }
            }
            _ => {}
        }
    }
    Ok(())
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
    /// Something was sent under the latest claim that should not be sent twice, and its end is not known.
    under_way: bool,
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
                prop_assert!(!known.under_way, "nobody claims what may yet happen");
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
                    under_way: false,
                };
            }
            (Step::Close { .. }, Answer::Closed(ticket, closing, Closed::Done)) => {
                let known = orders.entry(ticket.order.as_str().to_owned()).or_default();
                prop_assert_eq!(known.latest.as_ref(), Some(ticket), "only the latest claim is closed");
                prop_assert_eq!(owner, Some(ticket.owner.epoch.as_str()), "only by the owner");
                if known.open {
                    known.open = false;
                    known.under_way &=
                        matches!(closing, Closing::Unknown | Closing::GiveUp { unknown: true } | Closing::Doubt);
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
            (Step::Close { .. }, Answer::Closed(ticket, closing, Closed::Stale)) => {
                let known = orders.entry(ticket.order.as_str().to_owned()).or_default();
                let doubt = matches!(closing, Closing::Unknown | Closing::GiveUp { unknown: true } | Closing::Doubt);
                known.under_way &= doubt || known.latest.as_ref() != Some(ticket);
            }
            (Step::Sending { takes, .. }, Answer::Held(ticket, held)) => {
                let known = orders.entry(ticket.order.as_str().to_owned()).or_default();
                let holds = known.open && known.latest.as_ref() == Some(ticket);
                let owns = owner == Some(ticket.owner.epoch.as_str());
                prop_assert!(!held || (holds && owns), "only who holds it sends");
                if *held {
                    known.under_way = !takes.is_zero();
                }
            }
            (Step::Close { .. } | Step::Sending { .. } | Step::Sight { .. } | Step::HandedOn { .. }, _) => {}
            (Step::Flush | Step::Save | Step::Restore, _) => {
                prop_assert!(false, "this observer relies on what is remembered");
            }
            (
                Step::Claim { .. },
                Answer::Owned | Answer::Sighted(_) | Answer::Closed(..) | Answer::Held(..) | Answer::Nothing,
            ) => {
                prop_assert!(false, "{answer:?} to a claim");
            }
        }
    }
    Ok(())
}

/// What both say alike: the names of memories differ, and so does what is left of a lease, by the time that the steps take.
fn alike(answers: &[Answer]) -> Vec<String> {
    let held = |how: &str, ticket: &ClaimTicket, attempts: &ledger::Attempts| {
        format!("{how} {} {} {attempts:?}", ticket.token, ticket.was_unknown)
    };
    let say = |answer: &Answer| match answer {
        Answer::Sighted(Sighting::First { known_since }) => format!("first {}", known_since.is_some()),
        Answer::Claim(ClaimAnswer::Busy { .. }) => "busy".to_owned(),
        Answer::Claim(ClaimAnswer::Claimed { ticket, attempts }) => held("claimed", ticket, attempts),
        Answer::Claim(ClaimAnswer::Unknown { ticket, attempts }) => held("unknown", ticket, attempts),
        Answer::Held(ticket, held) => format!("{} {held}", ticket.token),
        Answer::Closed(ticket, closing, closed) => format!("{} {closing:?} {closed:?}", ticket.token),
        other @ (Answer::Owned | Answer::Sighted(_) | Answer::Claim(_) | Answer::Nothing) => format!("{other:?}"),
    };
    answers.iter().map(say).collect()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() })
}

#[test]
fn no_schedule_lets_an_old_ticket_settle_or_makes_an_unknown_effect_absent() {
    let runtime = runtime();
    let schedules = prop::collection::vec(step(), 1..60);
    let tried = runner(2000).run(&schedules, |steps| {
        let mut memory = Backend::in_memory(Clock::manual(Duration::from_secs(1)));
        let answers = runtime.block_on(play(&mut memory, &steps, false));
        check(&steps, &answers)
    });
    tried.expect("the promises hold");
}

#[test]
fn redis_answers_every_schedule_as_the_memory_does() {
    let runtime = runtime();
    let schedules = prop::collection::vec(step(), 1..60);
    let tried = runner(60).run(&schedules, |steps| {
        let memory = runtime.block_on(play(&mut Backend::in_memory(Clock::System), &steps, false));
        let redis = runtime.block_on(async { play(&mut Backend::in_redis().await, &steps, false).await });
        check(&steps, &redis)?;
        prop_assert_eq!(alike(&memory), alike(&redis));
        Ok(())
    });
    tried.expect("both agree");
}

#[test]
fn no_loss_of_the_memory_and_no_old_copy_of_it_lets_an_order_be_sent_without_a_look_that_may_have_happened() {
    let runtime = runtime();
    let schedules = prop::collection::vec(step_or_loss(), 1..80);
    let tried = runner(5000).run(&schedules, |steps| {
        let mut memory = Backend::in_memory(Clock::manual(Duration::from_secs(1)));
        let answers = runtime.block_on(play(&mut memory, &steps, true));
        check_truth(&steps, &answers)
    });
    tried.expect("the promise holds");
}

#[test]
fn redis_answers_every_schedule_with_losses_as_the_memory_does() {
    let runtime = runtime();
    let schedules = prop::collection::vec(step_or_loss(), 1..80);
    let tried = runner(60).run(&schedules, |steps| {
        let memory = runtime.block_on(play(&mut Backend::in_memory(Clock::System), &steps, true));
        let redis = runtime.block_on(async { play(&mut Backend::in_redis().await, &steps, true).await });
        check_truth(&steps, &redis)?;
        prop_assert_eq!(alike(&memory), alike(&redis));
        Ok(())
    });
    tried.expect("both agree");
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
