//! Every interleaving of two writers with one order, on the rules that the ledger really has: crashes at each point, owners
//! that freeze and wake, requests that the org carries out late or never, and memories that are emptied or restored.

use std::time::Duration;

use domain::order::id::{Fingerprint, OrderId};
use stateright::{Checker, Model, Property};

use super::{Data, State};
use crate::contract::{Claim, ClaimAnswer, ClaimTicket, Closed, Closing, Identity, KnownSince, Owner, Sighting};

const LEASE: Duration = Duration::from_secs(10);
const WRITERS: usize = 2;

/// What may go wrong, and how often.
#[derive(Debug, Clone, Copy)]
struct World {
    /// Whether the org keeps a record of the order: it can be looked up, and the org refuses the second one.
    order_record: bool,
    /// Writers that die.
    crashes: u8,
    /// Times that the broker gives the partition to the other writer, whose predecessor does not notice.
    takeovers: u8,
    /// Answers that are lost, and requests.
    lost: u8,
    /// Times that the memory is emptied or restored from a copy.
    losses: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Scene {
    ledger: State,
    /// A copy of the memory, and how many times it was made.
    copy: Option<Data>,
    now: Duration,
    /// What `ingest` was told when it handed the order on.
    known_since: Option<KnownSince>,
    /// Who works on the partition, says the broker.
    active: Option<usize>,
    /// Whose epoch was written last, and its number.
    epochs: u8,
    writers: [Writer; WRITERS],
    requests: Vec<Request>,
    /// Records of the order in the org.
    records: u8,
    acknowledged: bool,
    /// Nobody could tell whether it happened, so an operator was asked.
    given_up: bool,
    /// The org refused it as the second one.
    refused: bool,
    /// A writer settled although another owner had come after it.
    settled_by_former_owner: bool,
    crashes: u8,
    takeovers: u8,
    lost: u8,
    losses: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Writer {
    epoch: u8,
    at: Step,
}

/// Where a writer stands. It can die at each of these points, and stand still at each for as long as it likes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Step {
    Idle,
    /// It was given the partition: it writes its epoch.
    Given,
    /// It has the order in hand.
    Holds,
    LooksUp(ClaimTicket),
    Sends(ClaimTicket),
    Waits(ClaimTicket),
    Closes(ClaimTicket, Closing),
    Acknowledges,
}

/// What was sent to the org.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Request {
    by: usize,
    /// Its sender still waits for the answer.
    awaited: bool,
    /// Carried out, refused as the second one.
    answer: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Action {
    /// The broker gives the partition to this writer.
    Give(usize),
    /// A writer takes its next step.
    Go(usize),
    Crash(usize),
    /// The answer does not come, whether the request is carried out or not.
    LoseAnswer(usize),
    /// The org carries a request out.
    CarryOut(usize),
    /// A request never arrives.
    LoseRequest(usize),
    LeasesPass,
    Flush,
    Copy,
    Restore,
}

fn identity() -> Identity {
    let order = OrderId::parse("order-1").expect("a name");
    Identity { order, fingerprint: Fingerprint::of([1; 32]), redelivered: false }
}

impl World {
    fn claim(scene: &Scene, writer: usize) -> Claim {
        let Identity { order, fingerprint, .. } = identity();
        Claim {
            owner: Owner { partition: 0, epoch: scene.writers[writer].epoch.to_string() },
            order,
            effect: "order",
            fingerprint,
            known_since: scene.known_since.clone(),
            lease: LEASE,
        }
    }

    fn busy(scene: &Scene, writer: usize) -> bool {
        let mut ledger = scene.ledger.clone();
        matches!(ledger.claim(&Self::claim(scene, writer), scene.now), ClaimAnswer::Busy { .. })
    }

    /// A writer's next step; `false` where it can take none.
    fn go(self, scene: &mut Scene, writer: usize) -> bool {
        let (now, at) = (scene.now, scene.writers[writer].at.clone());
        let active = scene.active == Some(writer);
        let next = match at {
            Step::Idle => return false,
            Step::Given if !active => Step::Idle,
            Step::Given => {
                scene.epochs += 1;
                scene.writers[writer].epoch = scene.epochs;
                scene.ledger.own(&Owner { partition: 0, epoch: scene.epochs.to_string() });
                Step::Holds
            }
            Step::Holds => match scene.ledger.claim(&Self::claim(scene, writer), now) {
                ClaimAnswer::Claimed { ticket, .. } => Step::Sends(ticket),
                ClaimAnswer::Unknown { ticket, .. } => Step::LooksUp(ticket),
                ClaimAnswer::Settled(_) => Step::Acknowledges,
                ClaimAnswer::Busy { .. } => return false,
                // It proves its channel: only the active one takes over again.
                ClaimAnswer::NotOwner => Step::Given,
                ClaimAnswer::Conflict => unreachable!("there is one content"),
            },
            Step::LooksUp(ticket) if !self.order_record => Step::Closes(ticket, Closing::GiveUp { unknown: true }),
            Step::LooksUp(ticket) if scene.records > 0 => Step::Closes(ticket, Closing::Settle("found".into())),
            Step::LooksUp(ticket) => Step::Sends(ticket),
            Step::Sends(ticket) => {
                scene.requests.push(Request { by: writer, awaited: true, answer: None });
                Step::Waits(ticket)
            }
            Step::Waits(ticket) => {
                let answered = |request: &Request| request.by == writer && request.awaited && request.answer.is_some();
                let Some(place) = scene.requests.iter().position(answered) else { return false };
                let request = scene.requests.remove(place);
                match request.answer {
                    Some(true) => Step::Closes(ticket, Closing::Settle("written".into())),
                    // Its own record exists: the trace of an earlier attempt.
                    _ => Step::LooksUp(ticket),
                }
            }
            Step::Closes(ticket, closing) => {
                let former = scene.writers[writer].epoch != scene.epochs;
                match (scene.ledger.close(&ticket, &closing, now), closing) {
                    (Closed::Done, Closing::Settle(_)) => {
                        scene.settled_by_former_owner |= former;
                        Step::Acknowledges
                    }
                    (Closed::Done, Closing::GiveUp { .. }) => {
                        scene.given_up |= active;
                        Step::Idle
                    }
                    (Closed::Done, _) => Step::Holds,
                    (Closed::Stale, _) => Step::Given,
                }
            }
            Step::Acknowledges => {
                scene.acknowledged |= active;
                Step::Idle
            }
        };
        scene.writers[writer].at = next;
        true
    }

    fn carry_out(self, scene: &mut Scene, place: usize) {
        let second = self.order_record && scene.records > 0;
        let request = &mut scene.requests[place];
        request.answer = Some(!second);
        scene.records += u8::from(!second);
        scene.refused |= second;
        if !request.awaited {
            scene.requests.remove(place);
        }
    }
}

impl Model for World {
    type State = Scene;
    type Action = Action;

    fn init_states(&self) -> Vec<Scene> {
        let (mut ledger, now) = (State::default(), Duration::from_secs(1));
        let Sighting::First { known_since } = ledger.sight(&identity(), now) else {
            unreachable!("nobody has seen it")
        };
        let writer = || Writer { epoch: 0, at: Step::Idle };
        vec![Scene {
            ledger,
            copy: None,
            now,
            known_since,
            active: None,
            epochs: 0,
            writers: [writer(), writer()],
            requests: Vec::new(),
            records: 0,
            acknowledged: false,
            given_up: false,
            refused: false,
            settled_by_former_owner: false,
            crashes: self.crashes,
            takeovers: self.takeovers,
            lost: self.lost,
            losses: self.losses,
        }]
    }

    fn actions(&self, scene: &Scene, actions: &mut Vec<Action>) {
        if scene.acknowledged || scene.given_up {
            return;
        }
        let mut waits_for_a_lease = false;
        for writer in 0..WRITERS {
            let idle = scene.writers[writer].at == Step::Idle;
            match scene.active {
                None if idle => actions.push(Action::Give(writer)),
                Some(active) if active != writer && scene.takeovers > 0 && idle => actions.push(Action::Give(writer)),
                None | Some(_) => {}
            }
            if !idle {
                if scene.crashes > 0 {
                    actions.push(Action::Crash(writer));
                }
                let busy = scene.writers[writer].at == Step::Holds && Self::busy(scene, writer);
                waits_for_a_lease |= busy;
                let waits = matches!(scene.writers[writer].at, Step::Waits(_));
                let answered = scene
                    .requests
                    .iter()
                    .any(|request| request.by == writer && request.awaited && request.answer.is_some());
                if !busy && (!waits || answered) {
                    actions.push(Action::Go(writer));
                }
                if waits && scene.lost > 0 {
                    actions.push(Action::LoseAnswer(writer));
                }
            }
        }
        for (place, request) in scene.requests.iter().enumerate() {
            if request.answer.is_none() {
                actions.push(Action::CarryOut(place));
                // One that is awaited gets lost together with its answer.
                if !request.awaited {
                    actions.push(Action::LoseRequest(place));
                }
            }
        }
        if waits_for_a_lease {
            actions.push(Action::LeasesPass);
        }
        if scene.losses > 0 {
            actions.push(Action::Flush);
            if scene.copy.is_none() {
                actions.push(Action::Copy);
            } else {
                actions.push(Action::Restore);
            }
        }
    }

    fn next_state(&self, scene: &Scene, action: Action) -> Option<Scene> {
        let mut next = scene.clone();
        let scene = &mut next;
        match action {
            Action::Give(writer) => {
                if scene.active.is_some() {
                    scene.takeovers -= 1;
                }
                scene.active = Some(writer);
                scene.writers[writer].at = Step::Given;
            }
            Action::Go(writer) => {
                if !self.go(scene, writer) {
                    return None;
                }
            }
            Action::Crash(writer) => {
                scene.crashes -= 1;
                scene.writers[writer].at = Step::Idle;
                scene.active = scene.active.filter(|active| *active != writer);
                scene.requests.retain(|request| request.by != writer || request.answer.is_none());
                scene
                    .requests
                    .iter_mut()
                    .filter(|request| request.by == writer)
                    .for_each(|request| request.awaited = false);
            }
            Action::LoseAnswer(writer) => {
                scene.lost -= 1;
                let Step::Waits(ticket) = scene.writers[writer].at.clone() else { return None };
                scene.requests.retain(|request| request.by != writer || request.answer.is_none() || !request.awaited);
                scene
                    .requests
                    .iter_mut()
                    .filter(|request| request.by == writer)
                    .for_each(|request| request.awaited = false);
                scene.writers[writer].at = Step::Closes(ticket, Closing::Unknown);
            }
            Action::CarryOut(place) => self.carry_out(scene, place),
            Action::LoseRequest(place) => drop(scene.requests.remove(place)),
            Action::LeasesPass => scene.now += LEASE,
            Action::Flush => {
                scene.losses -= 1;
                scene.ledger.restore(Data::default());
            }
            Action::Copy => scene.copy = Some(scene.ledger.data.clone()),
            Action::Restore => {
                scene.losses -= 1;
                let copy = scene.copy.take()?;
                scene.ledger.restore(copy);
            }
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("never two effects", |_, scene: &Scene| scene.records <= 1),
            Property::always("never acknowledged without its effect", |_, scene: &Scene| {
                !scene.acknowledged || scene.records > 0
            }),
            Property::always(
                "an operator is asked only where nothing can be looked up",
                |world: &Self, scene: &Scene| !scene.given_up || !world.order_record,
            ),
            Property::always("a former owner settles nothing", |world: &Self, scene: &Scene| {
                !scene.settled_by_former_owner || scene.losses < world.losses
            }),
            Property::always(
                "what comes to rest is acknowledged, or an operator is asked",
                |world: &Self, scene: &Scene| {
                    let mut actions = Vec::new();
                    world.actions(scene, &mut actions);
                    scene.acknowledged || scene.given_up || !actions.is_empty()
                },
            ),
            Property::sometimes(
                "it is acknowledged after everything that may go wrong",
                |world: &Self, scene: &Scene| {
                    let spent = scene.crashes + scene.takeovers + scene.lost + scene.losses == 0;
                    scene.acknowledged && (spent || !world.order_record)
                },
            ),
            Property::sometimes(
                "it is sent by two at once, and the org refuses the second",
                |world: &Self, scene: &Scene| scene.refused || !world.order_record,
            ),
        ]
    }
}

/// Walks through everything that can happen; returns how many scenes there are.
fn holds(world: World) -> usize {
    let checker = world.checker().threads(2).spawn_dfs().join();
    checker.assert_properties();
    checker.unique_state_count()
}

#[test]
fn crashes_takeovers_and_lost_answers_neither_lose_nor_double_an_order() {
    for order_record in [true, false] {
        let scenes = holds(World { order_record, crashes: 1, takeovers: 1, lost: 1, losses: 0 });
        assert!(scenes > 1_000, "{scenes}");
    }
}

#[test]
fn memories_that_are_emptied_or_restored_neither_lose_nor_double_an_order() {
    for order_record in [true, false] {
        for (crashes, takeovers) in [(1, 0), (0, 1)] {
            let scenes = holds(World { order_record, crashes, takeovers, lost: 0, losses: 1 });
            assert!(scenes > 500, "{scenes}");
        }
    }
}
