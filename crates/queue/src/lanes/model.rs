//! Every interleaving of small cases, by a model checker that drives the lanes themselves.

use std::hash::{Hash, Hasher};

use stateright::{Checker as _, Model, Property};

use super::*;

const SECOND: Time = Duration::from_secs(1);

/// A small case: what is delivered, and within which limits.
#[derive(Debug, Clone)]
struct Case {
    /// Key and records of each item, in the order of delivery within a key.
    items: &'static [(&'static str, &'static [&'static str])],
    /// Letters that are put before the first item while it is in flight, with their records.
    letters: &'static [&'static [&'static str]],
    orders: usize,
    in_flight: usize,
    linger: Duration,
    /// Whether items may be forgotten, and the process told to drain.
    ends_early: bool,
    /// The kinds of answers besides a good one.
    answers: &'static [Answer],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Answer {
    Done,
    AtOnce,
    Alone,
    Later,
    Pause,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Deliver(usize),
    Next,
    Answer(ItemId, Answer),
    /// Letters go before the first item, which is in flight.
    Release,
    Forget(ItemId),
    Drain,
    Pass,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Fate {
    ToCome,
    InLane,
    InFlight,
    Settled,
}

/// The lanes, and what whoever drives them knows.
#[derive(Debug, Clone)]
struct World {
    lanes: Lanes,
    now: Time,
    fates: Vec<Fate>,
    /// What must settle next, by key.
    orders: BTreeMap<&'static str, VecDeque<ItemId>>,
    flights: Vec<Vec<ItemId>>,
    drained: bool,
    released: bool,
    broken: Option<&'static str>,
}

impl Case {
    fn key(&self, id: ItemId) -> &'static str {
        self.items.get(index(id)).map_or(self.items[0].0, |(key, _)| key)
    }

    fn records(&self, id: ItemId) -> &'static [&'static str] {
        let item = self.items.get(index(id)).map(|(_, records)| *records);
        item.unwrap_or_else(|| self.letters[index(id) - self.items.len()])
    }

    /// Whatever the lanes say to do now.
    fn obey(&self, world: &mut World) {
        match world.lanes.next(world.now) {
            Command::Wait(Some(until)) if until <= world.now => world.broken = Some("a wait that is over"),
            Command::Wait(_) => {}
            Command::Send(batch) => {
                if batch.is_empty() || batch.len() > self.orders || world.drained {
                    world.broken = Some("a batch of the wrong size, or while draining");
                }
                for id in &batch {
                    if std::mem::replace(&mut world.fates[index(*id)], Fate::InFlight) != Fate::InLane {
                        world.broken = Some("sent without being in a lane");
                    }
                }
                world.flights.push(batch);
                if world.flights.len() > self.in_flight {
                    world.broken = Some("too many in flight");
                }
            }
        }
    }

    fn answer(&self, world: &mut World, id: ItemId, answer: Answer) {
        for flight in &mut world.flights {
            flight.retain(|flying| *flying != id);
        }
        world.flights.retain(|flight| !flight.is_empty());
        if answer == Answer::Alone {
            world.lanes.isolate(id);
        }
        let next = match answer {
            Answer::Done => Next::Done,
            Answer::AtOnce | Answer::Alone => Next::At(world.now),
            Answer::Later => Next::At(world.now + SECOND),
            Answer::Pause => Next::PauseUntil(world.now + SECOND),
        };
        world.lanes.answered(world.now, id, next);
        world.fates[index(id)] = if answer == Answer::Done { Fate::Settled } else { Fate::InLane };
        if answer == Answer::Done && world.orders.get_mut(self.key(id)).and_then(VecDeque::pop_front) != Some(id) {
            world.broken = Some("settled out of order");
        }
        // An answer that comes twice changes nothing.
        let before = world.view();
        world.lanes.answered(world.now, id, Next::Done);
        if world.view() != before {
            world.broken = Some("an answer counted twice");
        }
    }

    /// From here on all goes well: whether everything settles, or, when draining, whatever is in flight comes back.
    fn ends_well(&self, world: &World) -> bool {
        let mut world = world.clone();
        for _ in 0..100 {
            world.now += SECOND;
            self.obey(&mut world);
            let flying: Vec<ItemId> = world.flights.iter().flatten().copied().collect();
            for id in flying {
                self.answer(&mut world, id, Answer::Done);
            }
            if world.flights.is_empty() && (world.drained || world.lanes.is_empty()) {
                let none_left = world.fates.iter().all(|fate| matches!(fate, Fate::ToCome | Fate::Settled));
                return world.broken.is_none() && (world.drained || none_left && world.lanes.names.is_empty());
            }
        }
        false
    }
}

fn index(id: ItemId) -> usize {
    usize::try_from(id.0).expect("small")
}

fn item(index: usize) -> ItemId {
    ItemId(index as u64)
}

impl World {
    fn view(&self) -> impl Hash + PartialEq + use<> {
        let lanes = &self.lanes;
        let mut turns: Vec<u64> = lanes.lanes.values().filter_map(|lane| turn(lane.state)).collect();
        turns.extend(lanes.batches.keys());
        turns.sort_unstable();
        // What counts of a number is its place among those that are still in use, and of a time, how far off it is.
        let rank = |turn: u64| turns.binary_search(&turn).unwrap_or(usize::MAX);
        let left = |until: Time| until.saturating_sub(self.now);
        let lane_views: BTreeMap<_, _> = lanes
            .lanes
            .iter()
            .map(|(key, lane)| {
                let state = match lane.state {
                    LaneState::New => (0, 0, Time::ZERO),
                    LaneState::Ready(turn, since) => {
                        (1, rank(turn), (since + lanes.pace.linger(usize::MAX, true)).saturating_sub(self.now))
                    }
                    LaneState::Sharing(turn, since) => {
                        (2, rank(turn), (since + lanes.pace.linger(usize::MAX, true)).saturating_sub(self.now))
                    }
                    LaneState::InFlight => (3, 0, Time::ZERO),
                    LaneState::Waiting(until) => (4, 0, left(until)),
                };
                (Arc::clone(key), (lane.items.clone(), state))
            })
            .collect();
        let names: Vec<_> = lanes
            .names
            .view()
            .into_iter()
            .map(|(name, (holder, queue))| {
                let holder = holder.map(|(batch, items)| (rank(batch), items));
                (name, holder, queue.into_iter().map(rank).collect::<Vec<_>>())
            })
            .collect();
        let batches: BTreeMap<ItemId, usize> = lanes.batch_of.iter().map(|(id, batch)| (*id, rank(*batch))).collect();
        let alone: BTreeSet<ItemId> = lanes.items.iter().filter(|(_, item)| item.alone).map(|(id, _)| *id).collect();
        let pause = lanes.pause.map(|pause| (left(pause.until), pause.probe));
        (lane_views, names, batches, alone, pause, (lanes.draining, lanes.pours))
    }
}

fn turn(state: LaneState) -> Option<u64> {
    match state {
        LaneState::Ready(turn, _) | LaneState::Sharing(turn, _) => Some(turn),
        LaneState::New | LaneState::InFlight | LaneState::Waiting(_) => None,
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        let known = |world: &Self| {
            (
                world.fates.clone(),
                world.orders.clone(),
                world.flights.clone(),
                world.drained,
                world.released,
                world.broken,
            )
        };
        self.view() == other.view() && known(self) == known(other)
    }
}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.view().hash(state);
        (&self.fates, &self.orders, &self.flights, self.drained, self.released, self.broken).hash(state);
    }
}

impl Model for Case {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let in_flight = InFlight::Fixed(self.in_flight);
        let settings = BatchSettings { orders: self.orders, in_flight, linger: self.linger };
        vec![World {
            lanes: Lanes::new(Pace::new(settings)),
            now: Time::ZERO,
            fates: vec![Fate::ToCome; self.items.len() + self.letters.len()],
            orders: BTreeMap::new(),
            flights: Vec::new(),
            drained: false,
            released: false,
            broken: None,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        actions.extend([Action::Next, Action::Pass]);
        let mut coming: Vec<&str> = Vec::new();
        for (index, (key, _)) in self.items.iter().enumerate() {
            if world.fates[index] == Fate::ToCome && !coming.contains(key) {
                coming.push(key);
                actions.push(Action::Deliver(index));
            }
        }
        for id in world.flights.iter().flatten() {
            let answers = self.answers.iter().copied().chain([Answer::Done]);
            actions.extend(answers.map(|answer| Action::Answer(*id, answer)));
        }
        if !world.released && !self.letters.is_empty() && world.fates[0] == Fate::InFlight {
            actions.push(Action::Release);
        }
        if self.ends_early {
            let waits = (0..world.fates.len()).filter(|index| world.fates[*index] == Fate::InLane);
            actions.extend(waits.map(|index| Action::Forget(item(index))));
            if !world.drained {
                actions.push(Action::Drain);
            }
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut world = world.clone();
        match action {
            Action::Deliver(index) => {
                let (key, records) = self.items[index];
                world.fates[index] = Fate::InLane;
                world.orders.entry(key).or_default().push_back(item(index));
                world.lanes.delivered(world.now, item(index), key, records);
            }
            Action::Next => self.obey(&mut world),
            Action::Answer(id, answer) => self.answer(&mut world, id, answer),
            Action::Release => {
                world.released = true;
                let letters: Vec<ItemId> = (self.items.len()..world.fates.len()).map(item).collect();
                let chain: Vec<(ItemId, &[&str])> = letters.iter().map(|id| (*id, self.records(*id))).collect();
                world.lanes.insert_before(item(0), &chain);
                for id in letters.into_iter().rev() {
                    world.fates[index(id)] = Fate::InLane;
                    world.orders.entry(self.key(id)).or_default().push_front(id);
                }
                self.answer(&mut world, item(0), Answer::AtOnce);
            }
            Action::Forget(id) => {
                if !world.lanes.forget(world.now, id) {
                    world.broken = Some("what waits can be forgotten");
                }
                world.fates[index(id)] = Fate::Settled;
                world.orders.entry(self.key(id)).or_default().retain(|other| *other != id);
            }
            Action::Drain => {
                world.drained = true;
                world.lanes.drain();
            }
            Action::Pass => {
                // Time counts only for what waits for it.
                let timers = world.lanes.waiting() > 0 || world.lanes.is_paused() || !world.lanes.ready.is_empty();
                if !timers {
                    return None;
                }
                world.now += SECOND;
            }
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("never two of a key", |case: &Self, world: &World| {
                let mut keys = BTreeSet::new();
                world.flights.iter().flatten().all(|id| keys.insert(case.key(*id)))
            }),
            Property::always("never two requests sharing a record", |case: &Self, world: &World| {
                let mut held: BTreeMap<&str, usize> = BTreeMap::new();
                world.flights.iter().enumerate().all(|(flight, ids)| {
                    let records = ids.iter().flat_map(|id| case.records(*id));
                    records.into_iter().all(|record| *held.entry(record).or_insert(flight) == flight)
                })
            }),
            Property::always("never a lost delivery", |_: &Self, world: &World| {
                let unsettled = world.fates.iter().filter(|fate| matches!(fate, Fate::InLane | Fate::InFlight)).count();
                let flying = world.fates.iter().filter(|fate| **fate == Fate::InFlight).count();
                (world.lanes.len(), world.lanes.in_flight()) == (unsettled, flying)
            }),
            Property::always("settled once, in order, within the limits", |_: &Self, world: &World| {
                world.broken.is_none()
            }),
            Property::always("always progress", |case: &Self, world: &World| case.ends_well(world)),
            Property::sometimes("two in flight", |_: &Self, world: &World| world.flights.len() == 2),
            Property::sometimes("all settled", |_: &Self, world: &World| {
                world.fates.iter().all(|fate| *fate == Fate::Settled)
            }),
        ]
    }
}

/// Checks every state that can be reached, and that there are as many as a case is worth.
#[track_caller]
fn holds(case: Case, at_least: usize) {
    let checker = case.checker().threads(2).spawn_bfs().join();
    checker.assert_properties();
    let states = checker.unique_state_count();
    assert!(states >= at_least, "only {states} states");
}

const RETRIES: &[Answer] = &[Answer::AtOnce, Answer::Later];

#[test]
fn three_customers_who_share_two_records_in_every_interleaving() {
    holds(
        Case {
            items: &[("a", &["x"]), ("b", &["x", "y"]), ("c", &["y"]), ("a", &["y"]), ("b", &[])],
            letters: &[],
            orders: 2,
            in_flight: 2,
            linger: Duration::ZERO,
            ends_early: false,
            answers: RETRIES,
        },
        1_000,
    );
}

#[test]
fn pauses_probes_and_lingering_in_every_interleaving() {
    holds(
        Case {
            items: &[("a", &["x"]), ("b", &["x"]), ("c", &[])],
            letters: &[],
            orders: 2,
            in_flight: 2,
            linger: SECOND,
            ends_early: false,
            answers: &[Answer::Alone, Answer::Later, Answer::Pause],
        },
        1_000,
    );
}

#[test]
fn a_release_that_shares_a_record_in_every_interleaving() {
    holds(
        Case {
            items: &[("a", &[]), ("a", &["x"]), ("b", &["x"]), ("c", &["y"])],
            letters: &[&["x"], &["y"]],
            orders: 2,
            in_flight: 2,
            linger: Duration::ZERO,
            ends_early: false,
            answers: RETRIES,
        },
        1_000,
    );
}

#[test]
fn withdrawals_and_draining_in_every_interleaving() {
    holds(
        Case {
            items: &[("a", &["x"]), ("a", &["y"]), ("b", &["x", "y"]), ("c", &["x"])],
            letters: &[],
            orders: 1,
            in_flight: 2,
            linger: Duration::ZERO,
            ends_early: true,
            answers: &[Answer::Later],
        },
        1_000,
    );
}
