//! Which order may go next, with whom, and when: a pure state machine.
//!
//! # The rules
//!
//! * Deliveries are sorted into lanes by customer. The head of a lane is worked on, the rest of the lane waits, other lanes
//!   go on. At most one item of a key is in flight.
//! * Items that name the same record do not travel in two batches at once: the second would meet the first one's lock. It
//!   waits for that batch, or goes in the same one, whose orders are written one after the other.
//! * First ready, first sent: a lane that is served goes to the back. So between an item's becoming the head of its lane and
//!   its being sent, each other lane sends at most one item, however long it is; an item that shares a record waits besides
//!   only for those that asked for the record before it.
//! * A batch takes what is ready, up to what [`pace`] allows; at light load it is sent at once while nothing is in flight,
//!   and waits for company no longer than that otherwise: longer beside two others than beside one, and after a full one, so
//!   that under load requests are full ones. What goes alone waits for none.
//! * While something is away nothing goes; then one item alone does, as a probe.
//!
//! Events come in (delivered, answered, observed, the time), commands come out (send these, wait until then); whoever drives
//! it carries them out. Time is a duration since any fixed start, so every schedule can be tried without waiting.
//!
//! # How it is shown
//!
//! Unit tests state the rules, generated schedules drive millions of steps, and a model checker drives this very struct
//! through every interleaving of small cases. It is `stateright`: it checks Rust as it is, with the state machine itself as
//! the state. A model in a language of its own (TLA+) would be checked in its place, and `loom` explores threads and atomics,
//! of which there are none here.

mod names;
pub mod pace;
pub mod room;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use self::names::{Front, Name, Names};
pub use self::pace::{BatchSettings, InFlight, Observation, Pace};

/// Time since the driver's start.
pub type Time = Duration;

/// Names an item; unique for the life of the lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ItemId(pub u64);

/// What became of an item that was in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Next {
    /// It is settled: the lane goes on with its next item.
    Done,
    /// It stays at the head and may go again at this time.
    At(Time),
    /// It stays at the head; nothing of any lane goes before this time, and then one item alone, as a probe.
    PauseUntil(Time),
}

/// What the driver has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Work on these items: one of a key, none of a key in flight, none that shares a record with one in flight.
    Send(Vec<ItemId>),
    /// Nothing to do before this time, or before the next event.
    Wait(Option<Time>),
}

/// The items of a key, in order.
#[derive(Debug, Clone, Default)]
struct Lane {
    items: VecDeque<ItemId>,
    state: LaneState,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum LaneState {
    /// Nothing was done about its head yet.
    #[default]
    New,
    /// Its head may go; the number is its place among the ready lanes, beside since when it asks.
    Ready(u64, Time),
    /// Its head may go as far as the lane is concerned, but a record that it shares is taken or promised.
    Sharing(u64, Time),
    InFlight,
    Waiting(Time),
}

#[derive(Debug, Clone)]
struct Item {
    key: Arc<str>,
    names: Box<[Name]>,
    /// Names that it has besides from the next time on.
    also: Box<[Name]>,
    /// The next time it goes, it goes in a batch of its own.
    alone: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pause {
    until: Time,
    probe: Option<ItemId>,
}

/// The lanes of one process.
#[derive(Debug, Clone)]
#[expect(clippy::struct_field_names, reason = "the lanes' lanes are what they are")]
pub struct Lanes {
    pace: Pace,
    lanes: HashMap<Arc<str>, Lane>,
    items: HashMap<ItemId, Item>,
    /// Lanes whose head may go at once, in the order in which they asked.
    ready: BTreeMap<u64, Arc<str>>,
    waiting: BTreeSet<(Time, Arc<str>)>,
    names: Names,
    /// Numbers what asks and what is sent.
    turn: u64,
    batch_of: HashMap<ItemId, u64>,
    /// The batches in flight, and how many of their items are.
    batches: HashMap<u64, usize>,
    pause: Option<Pause>,
    draining: bool,
    /// The last batch was a full one: more is on its way, or what was many comes to its end.
    pours: bool,
}

impl Lanes {
    /// Empty lanes at this pace.
    pub fn new(pace: Pace) -> Self {
        Self {
            pace,
            lanes: HashMap::new(),
            items: HashMap::new(),
            ready: BTreeMap::new(),
            waiting: BTreeSet::new(),
            names: Names::default(),
            turn: 0,
            batch_of: HashMap::new(),
            batches: HashMap::new(),
            pause: None,
            draining: false,
            pours: false,
        }
    }

    /// An item arrived, behind everything else of its key. The names are of records that it may share with items of other
    /// keys.
    pub fn delivered<S: AsRef<str>>(&mut self, now: Time, id: ItemId, key: &str, names: &[S]) {
        let key: Arc<str> = self.lanes.get_key_value(key).map_or_else(|| Arc::from(key), |(key, _)| Arc::clone(key));
        self.items
            .insert(id, Item { key: Arc::clone(&key), names: Name::all(names), also: Box::default(), alone: false });
        let lane = self.lanes.entry(Arc::clone(&key)).or_default();
        lane.items.push_back(id);
        if lane.state == LaneState::New {
            self.asks(now, &key);
        }
    }

    /// Puts items, with their names, before the item in flight of their key. The item in flight stays the next after them.
    ///
    /// Nothing happens when the key has no item in flight.
    pub fn insert_before<S: AsRef<str>>(&mut self, in_flight: ItemId, items: &[(ItemId, &[S])]) {
        let Some(key) = self.items.get(&in_flight).map(|item| Arc::clone(&item.key)) else { return };
        let Some(lane) = self.lanes.get_mut(&key) else { return };
        if lane.state != LaneState::InFlight {
            return;
        }
        for (id, names) in items.iter().rev() {
            lane.items.push_front(*id);
            self.items.insert(
                *id,
                Item { key: Arc::clone(&key), names: Name::all(names), also: Box::default(), alone: false },
            );
        }
    }

    /// The next time this item goes, it goes in a batch of its own. Said of an item in flight before it is answered; what is
    /// settled is forgotten.
    pub fn isolate(&mut self, id: ItemId) {
        if let Some(item) = self.items.get_mut(&id) {
            item.alone = true;
        }
    }

    /// Names of records that an item in flight shares besides, the next time it goes. Said before it is answered.
    pub fn shares_also<S: AsRef<str>>(&mut self, id: ItemId, names: &[S]) {
        if let Some(item) = self.items.get_mut(&id).filter(|_| !names.is_empty()) {
            item.also = Name::both(&item.also, &Name::all(names));
        }
    }

    /// What became of an item in flight. Unknown items are ignored.
    pub fn answered(&mut self, now: Time, id: ItemId, next: Next) {
        let Some(batch) = self.batch_of.remove(&id) else { return };
        if let Some(left) = self.batches.get_mut(&batch) {
            *left -= 1;
            if *left == 0 {
                self.batches.remove(&batch);
            }
        }
        let was_probe = self.pause.is_some_and(|pause| pause.probe == Some(id));
        if was_probe {
            self.pause = None;
        }
        let Some(item) = self.items.get_mut(&id) else { return };
        let key = Arc::clone(&item.key);
        let fronts = self.names.release(&item.names);
        if !item.also.is_empty() {
            item.names = Name::both(&item.names, &std::mem::take(&mut item.also));
        }
        match next {
            Next::Done => {
                self.items.remove(&id);
                if let Some(lane) = self.lanes.get_mut(&key) {
                    // Letters may have been put before it.
                    if lane.items.pop_front_if(|head| *head == id).is_none() {
                        lane.items.retain(|item| *item != id);
                    }
                    if lane.items.is_empty() {
                        self.lanes.remove(&key);
                    } else {
                        self.asks(now, &key);
                    }
                }
            }
            Next::At(time) if time <= now => self.asks(now, &key),
            Next::At(time) => self.waits(time, &key),
            Next::PauseUntil(time) => {
                let until = self.pause.map_or(time, |pause| pause.until.max(time));
                let probe = self.pause.and_then(|pause| pause.probe);
                self.pause = Some(Pause { until, probe });
                self.asks(now, &key);
            }
        }
        self.may_go_now(fronts);
    }

    /// What became of a request that carried items of a batch. Said before the items are answered.
    pub fn observed(&mut self, now: Time, request: &Observation) {
        // Orders that would not fill a request do better to wait for company than to go in one more at once.
        let pressed = self.batches.len() >= self.pace.in_flight() && self.ready.len() >= self.pace.orders();
        self.pace.observe(now, request, pressed);
    }

    /// Forgets an item that is not in flight, as if it had never come. Returns whether it was there.
    pub fn forget(&mut self, now: Time, id: ItemId) -> bool {
        if self.batch_of.contains_key(&id) {
            return false;
        }
        let Some(key) = self.items.get(&id).map(|item| Arc::clone(&item.key)) else { return false };
        let Some(lane) = self.lanes.get(&key) else { return false };
        let asks = matches!(lane.state, LaneState::Ready(..) | LaneState::Sharing(..) | LaneState::Waiting(_));
        let was_head = asks && lane.items.front() == Some(&id);
        let fronts = if was_head { self.unlist(&key) } else { Vec::new() };
        self.items.remove(&id);
        let Some(lane) = self.lanes.get_mut(&key) else { return false };
        lane.items.retain(|item| *item != id);
        if lane.items.is_empty() {
            self.lanes.remove(&key);
        } else if was_head {
            self.asks(now, &key);
        }
        self.may_go_now(fronts);
        true
    }

    /// Forgets all items of a key, as if none had ever come; also one in flight, of which nothing is under way. Returns them, in
    /// order.
    pub fn take_out(&mut self, now: Time, key: &str) -> Vec<ItemId> {
        let items = self.items_of(key);
        for id in items.iter().rev() {
            if self.is_in_flight(*id) {
                self.answered(now, *id, Next::Done);
            } else {
                self.forget(now, *id);
            }
        }
        items
    }

    /// The last item of a key.
    pub fn last_of(&self, key: &str) -> Option<ItemId> {
        self.lanes.get(key).and_then(|lane| lane.items.back().copied())
    }

    /// The items of a key, in order.
    pub fn items_of(&self, key: &str) -> Vec<ItemId> {
        self.lanes.get(key).map(|lane| lane.items.iter().copied().collect()).unwrap_or_default()
    }

    /// Whether an item was sent and is not answered yet.
    pub fn is_in_flight(&self, id: ItemId) -> bool {
        self.batch_of.contains_key(&id)
    }

    /// How many items of a key there are.
    pub fn depth(&self, key: &str) -> usize {
        self.lanes.get(key).map_or(0, |lane| lane.items.len())
    }

    /// The keys whose head waits for a time, and that time; the earliest first.
    pub fn waiting_lanes(&self) -> impl Iterator<Item = (&str, Time)> {
        self.waiting.iter().map(|(until, key)| (&**key, *until))
    }

    /// No new head goes from now on; what is in flight is answered.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// What to do now.
    pub fn next(&mut self, now: Time) -> Command {
        while let Some((time, key)) = self.waiting.first().cloned() {
            if time > now {
                break;
            }
            self.asks(now, &key);
        }
        if self.draining {
            return Command::Wait(None);
        }
        let next_timer = self.waiting.first().map(|(time, _)| *time);
        if let Some(pause) = self.pause {
            if pause.probe.is_some() {
                return Command::Wait(None);
            }
            if now < pause.until {
                return Command::Wait(Some(pause.until));
            }
            if self.batches.len() >= self.pace.in_flight() {
                return Command::Wait(None);
            }
            let probe = self.take(1);
            self.pause = probe.first().map(|id| Pause { probe: Some(*id), ..pause });
            if probe.is_empty() {
                return Command::Wait(next_timer);
            }
            return Command::Send(probe);
        }
        let Some((_, oldest)) = self.ready.first_key_value() else { return Command::Wait(next_timer) };
        if self.batches.len() >= self.pace.in_flight() {
            return Command::Wait(next_timer);
        }
        let oldest = self.lanes.get(oldest);
        let since = match oldest.map(|lane| lane.state) {
            Some(LaneState::Ready(_, since)) => since,
            Some(LaneState::New | LaneState::Sharing(..) | LaneState::InFlight | LaneState::Waiting(_)) | None => now,
        };
        let head = oldest.and_then(|lane| lane.items.front()).and_then(|head| self.items.get(head));
        let alone = head.is_some_and(|item| item.alone);
        let in_flight = self.batches.len();
        // What goes alone would wait for company that it cannot take.
        let linger = if alone { Time::ZERO } else { self.pace.linger(in_flight, self.pours) };
        let (due, limit) = (since + linger, self.pace.orders());
        let idle = in_flight == 0 && !self.pours;
        if idle || self.ready.len() >= limit || now >= due {
            let batch = self.take(limit);
            self.pours = batch.len() >= limit;
            return Command::Send(batch);
        }
        Command::Wait(Some(next_timer.map_or(due, |timer| timer.min(due))))
    }

    /// The limits of the moment.
    pub fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Whether everything is held back because something is away.
    pub fn is_paused(&self) -> bool {
        self.pause.is_some()
    }

    /// Items in flight.
    pub fn in_flight(&self) -> usize {
        self.batch_of.len()
    }

    /// Items in all lanes.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Lanes whose head waits for a time.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Takes a batch out of the lanes that may go, in the order in which they asked.
    fn take(&mut self, limit: usize) -> Vec<ItemId> {
        let mut taken = Vec::new();
        let number = self.turn + 1;
        // What shares a record with one that was taken may go in the same batch.
        let mut joining: BTreeMap<u64, Arc<str>> = BTreeMap::new();
        // What goes alone keeps its place until it is the oldest.
        let mut kept_back = Vec::new();
        while taken.len() < limit {
            let ready = self.ready.first_key_value().map(|(turn, _)| *turn);
            let joins = joining.first_key_value().map(|(turn, _)| *turn);
            let next = match (ready, joins) {
                (Some(ready), Some(joins)) if joins < ready => joining.pop_first(),
                (None, _) => joining.pop_first(),
                (Some(_), _) => self.ready.pop_first(),
            };
            let Some((turn, key)) = next else { break };
            let Some(lane) = self.lanes.get_mut(&key) else { continue };
            let Some(head) = lane.items.front() else { continue };
            let Some(item) = self.items.get_mut(head) else { continue };
            if item.alone && !taken.is_empty() {
                if matches!(lane.state, LaneState::Ready(..)) {
                    kept_back.push((turn, key));
                }
                continue;
            }
            let alone = std::mem::take(&mut item.alone);
            lane.state = LaneState::InFlight;
            taken.push(*head);
            for (turn, key) in self.names.take(turn, &item.names, number) {
                if self.shares(turn, &key, Some(number)) {
                    joining.insert(turn, key);
                }
            }
            if alone {
                break;
            }
        }
        self.ready.extend(kept_back);
        if !taken.is_empty() {
            self.turn = number;
            self.batches.insert(number, taken.len());
            self.batch_of.extend(taken.iter().map(|id| (*id, number)));
        }
        taken
    }

    /// Whether a lane that waits for a record may go, in this batch or in a new one.
    fn shares(&self, turn: u64, key: &str, batch: Option<u64>) -> bool {
        let Some(lane) = self.lanes.get(key) else { return false };
        let names = lane.items.front().and_then(|head| self.items.get(head)).map(|item| &*item.names);
        let sharing = matches!(lane.state, LaneState::Sharing(asked, _) if asked == turn);
        sharing && names.is_some_and(|names| self.names.may_go(turn, names, batch))
    }

    /// These are first in a queue for a record: those that wait for nothing else are ready.
    fn may_go_now(&mut self, fronts: Vec<Front>) {
        for (turn, key) in fronts {
            if self.shares(turn, &key, None)
                && let Some(lane) = self.lanes.get_mut(&key)
                && let LaneState::Sharing(turn, since) = lane.state
            {
                lane.state = LaneState::Ready(turn, since);
                self.ready.insert(turn, key);
            }
        }
    }

    /// The head of a lane may go as far as the lane is concerned: it gets a place behind those that asked before.
    fn asks(&mut self, now: Time, key: &Arc<str>) {
        let fronts = self.unlist(key);
        self.turn += 1;
        if let Some(lane) = self.lanes.get_mut(key)
            && let Some(item) = lane.items.front().and_then(|head| self.items.get(head))
        {
            self.names.ask(self.turn, key, &item.names);
            if self.names.may_go(self.turn, &item.names, None) {
                lane.state = LaneState::Ready(self.turn, now);
                self.ready.insert(self.turn, Arc::clone(key));
            } else {
                lane.state = LaneState::Sharing(self.turn, now);
            }
        }
        self.may_go_now(fronts);
    }

    fn waits(&mut self, until: Time, key: &Arc<str>) {
        let fronts = self.unlist(key);
        if let Some(lane) = self.lanes.get_mut(key) {
            lane.state = LaneState::Waiting(until);
            self.waiting.insert((until, Arc::clone(key)));
        }
        self.may_go_now(fronts);
    }

    /// Takes a lane out of wherever it waits. Returns who is first for its records now.
    fn unlist(&mut self, key: &Arc<str>) -> Vec<Front> {
        let Some(lane) = self.lanes.get(key) else { return Vec::new() };
        match lane.state {
            LaneState::Ready(turn, _) | LaneState::Sharing(turn, _) => {
                self.ready.remove(&turn);
                let item = lane.items.front().and_then(|head| self.items.get(head));
                item.map(|item| self.names.withdraw(turn, &item.names)).unwrap_or_default()
            }
            LaneState::Waiting(until) => {
                self.waiting.remove(&(until, Arc::clone(key)));
                Vec::new()
            }
            LaneState::New | LaneState::InFlight => Vec::new(),
        }
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod schedules;
#[cfg(test)]
mod tests;
