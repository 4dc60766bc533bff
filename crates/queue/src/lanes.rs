//! Which order may go next, with whom, and when: a pure state machine.
//!
//! Deliveries are sorted into lanes by customer. The head of a lane is worked on, the rest of the lane waits, other lanes
//! go on. At most one item of a key is in flight. Events come in (delivered, answered, the time), commands come out (send
//! these, wait until then); whoever drives it carries them out. Time is a duration since any fixed start, so every
//! schedule can be tried without waiting.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Time since the driver's start.
pub type Time = Duration;

/// Names an item; unique for the life of the lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ItemId(pub u64);

/// How batches are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSettings {
    /// Batches in flight at once. At least 1.
    pub in_flight: usize,
    /// How long a ready head waits for company while other batches are in flight. None are: it goes at once.
    pub linger: Duration,
}

/// What became of an item that was in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// Work on these items: one of a key, none of a key in flight.
    Send(Vec<ItemId>),
    /// Nothing to do before this time, or before the next event.
    Wait(Option<Time>),
}

#[derive(Debug, Default)]
struct Lane {
    items: VecDeque<ItemId>,
    state: LaneState,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum LaneState {
    /// Its head may go; the number is its place in the queue of ready lanes.
    #[default]
    New,
    Ready(u64),
    InFlight,
    Waiting(Time),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pause {
    until: Time,
    probe: Option<ItemId>,
}

/// The lanes of one process.
#[derive(Debug)]
#[expect(clippy::struct_field_names, reason = "the lanes' lanes are what they are")]
pub struct Lanes {
    settings: BatchSettings,
    lanes: HashMap<Arc<str>, Lane>,
    /// The key of every item.
    keys: HashMap<ItemId, Arc<str>>,
    /// Ready lanes in the order in which they became ready.
    ready: BTreeSet<(u64, Arc<str>)>,
    /// When the oldest ready lanes became ready, by their number.
    ready_since: HashMap<u64, Time>,
    waiting: BTreeSet<(Time, Arc<str>)>,
    turn: u64,
    batches: usize,
    batch_of: HashMap<ItemId, u64>,
    batch_left: HashMap<u64, usize>,
    /// Items that go in a batch of their own the next time.
    alone: HashSet<ItemId>,
    pause: Option<Pause>,
    draining: bool,
}

impl Lanes {
    /// Empty lanes.
    pub fn new(settings: BatchSettings) -> Self {
        Self {
            settings: BatchSettings { in_flight: settings.in_flight.max(1), ..settings },
            lanes: HashMap::new(),
            keys: HashMap::new(),
            ready: BTreeSet::new(),
            ready_since: HashMap::new(),
            waiting: BTreeSet::new(),
            turn: 0,
            batches: 0,
            batch_of: HashMap::new(),
            batch_left: HashMap::new(),
            alone: HashSet::new(),
            pause: None,
            draining: false,
        }
    }

    /// An item arrived, behind everything else of its key.
    pub fn delivered(&mut self, now: Time, id: ItemId, key: &str) {
        let key: Arc<str> = self.lanes.get_key_value(key).map_or_else(|| Arc::from(key), |(key, _)| Arc::clone(key));
        self.keys.insert(id, Arc::clone(&key));
        let lane = self.lanes.entry(Arc::clone(&key)).or_default();
        lane.items.push_back(id);
        if lane.state == LaneState::New {
            self.make_ready(now, &key);
        }
    }

    /// Puts items before the item in flight of their key. The item in flight stays the next after them.
    ///
    /// Nothing happens when the key has no item in flight.
    pub fn insert_before(&mut self, in_flight: ItemId, ids: &[ItemId]) {
        let Some(key) = self.keys.get(&in_flight).cloned() else { return };
        let Some(lane) = self.lanes.get_mut(&key) else { return };
        if lane.state != LaneState::InFlight {
            return;
        }
        for id in ids.iter().rev() {
            lane.items.push_front(*id);
            self.keys.insert(*id, Arc::clone(&key));
        }
    }

    /// The next time this item goes, it goes in a batch of its own. Said of an item in flight before it is answered; what is
    /// settled is forgotten.
    pub fn isolate(&mut self, id: ItemId) {
        if self.keys.contains_key(&id) {
            self.alone.insert(id);
        }
    }

    /// What became of an item in flight. Unknown items are ignored.
    pub fn answered(&mut self, now: Time, id: ItemId, next: Next) {
        let Some(batch) = self.batch_of.remove(&id) else { return };
        if let Some(left) = self.batch_left.get_mut(&batch) {
            *left -= 1;
            if *left == 0 {
                self.batch_left.remove(&batch);
                self.batches -= 1;
            }
        }
        let was_probe = self.pause.is_some_and(|pause| pause.probe == Some(id));
        if was_probe {
            self.pause = None;
        }
        let Some(key) = self.keys.get(&id).cloned() else { return };
        match next {
            Next::Done => {
                self.keys.remove(&id);
                self.alone.remove(&id);
                let Some(lane) = self.lanes.get_mut(&key) else { return };
                lane.items.retain(|item| *item != id);
                if lane.items.is_empty() {
                    self.lanes.remove(&key);
                } else {
                    self.make_ready(now, &key);
                }
            }
            Next::At(time) if time <= now => self.make_ready(now, &key),
            Next::At(time) => self.make_waiting(time, &key),
            Next::PauseUntil(time) => {
                let until = self.pause.map_or(time, |pause| pause.until.max(time));
                let probe = self.pause.and_then(|pause| pause.probe);
                self.pause = Some(Pause { until, probe });
                self.make_ready(now, &key);
            }
        }
    }

    /// Forgets an item that is not in flight, as if it had never come. Returns whether it was there.
    pub fn forget(&mut self, id: ItemId) -> bool {
        if self.batch_of.contains_key(&id) {
            return false;
        }
        let Some(key) = self.keys.remove(&id) else { return false };
        self.alone.remove(&id);
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.items.retain(|item| *item != id);
            if lane.items.is_empty() {
                self.unlist(&key);
                self.lanes.remove(&key);
            }
        }
        true
    }

    /// The items of a key, in order.
    pub fn items_of(&self, key: &str) -> Vec<ItemId> {
        self.lanes.get(key).map(|lane| lane.items.iter().copied().collect()).unwrap_or_default()
    }

    /// No new head goes from now on; what is in flight is answered.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// What to do now. `limit` is the most items a batch may hold, at least 1.
    pub fn next(&mut self, now: Time, limit: usize) -> Command {
        while let Some((time, key)) = self.waiting.first().cloned() {
            if time > now {
                break;
            }
            self.make_ready(now, &key);
        }
        if self.draining {
            return Command::Wait(None);
        }
        if let Some(pause) = self.pause {
            if pause.probe.is_some() {
                return Command::Wait(None);
            }
            if now < pause.until {
                return Command::Wait(Some(pause.until));
            }
            let probe = self.take(1);
            self.pause = probe.first().map(|id| Pause { probe: Some(*id), ..pause });
            if probe.is_empty() {
                return Command::Wait(self.waiting.first().map(|(time, _)| *time));
            }
            return Command::Send(probe);
        }
        let next_timer = self.waiting.first().map(|(time, _)| *time);
        let Some((oldest, _)) = self.ready.first() else { return Command::Wait(next_timer) };
        if self.batches >= self.settings.in_flight {
            return Command::Wait(next_timer);
        }
        let due = self.ready_since.get(oldest).copied().unwrap_or_default() + self.settings.linger;
        if self.batches == 0 || self.ready.len() >= limit.max(1) || now >= due {
            return Command::Send(self.take(limit.max(1)));
        }
        Command::Wait(Some(next_timer.map_or(due, |timer| timer.min(due))))
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
        self.keys.len()
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Lanes whose head waits for a time.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn take(&mut self, limit: usize) -> Vec<ItemId> {
        let mut batch = Vec::new();
        // What goes alone keeps its place until it is the oldest.
        let mut kept_back = Vec::new();
        while batch.len() < limit {
            let Some((turn, key)) = self.ready.pop_first() else { break };
            let Some(lane) = self.lanes.get_mut(&key) else { continue };
            let Some(head) = lane.items.front() else { continue };
            let alone = self.alone.contains(head);
            if alone && !batch.is_empty() {
                kept_back.push((turn, key));
                continue;
            }
            self.alone.remove(head);
            self.ready_since.remove(&turn);
            lane.state = LaneState::InFlight;
            batch.push(*head);
            if alone {
                break;
            }
        }
        self.ready.extend(kept_back);
        if !batch.is_empty() {
            self.turn += 1;
            self.batches += 1;
            self.batch_left.insert(self.turn, batch.len());
            self.batch_of.extend(batch.iter().map(|id| (*id, self.turn)));
        }
        batch
    }

    fn make_ready(&mut self, now: Time, key: &Arc<str>) {
        self.unlist(key);
        self.turn += 1;
        if let Some(lane) = self.lanes.get_mut(key) {
            lane.state = LaneState::Ready(self.turn);
            self.ready.insert((self.turn, Arc::clone(key)));
            self.ready_since.insert(self.turn, now);
        }
    }

    fn make_waiting(&mut self, until: Time, key: &Arc<str>) {
        self.unlist(key);
        if let Some(lane) = self.lanes.get_mut(key) {
            lane.state = LaneState::Waiting(until);
            self.waiting.insert((until, Arc::clone(key)));
        }
    }

    fn unlist(&mut self, key: &Arc<str>) {
        match self.lanes.get(key).map(|lane| lane.state) {
            Some(LaneState::Ready(turn)) => {
                self.ready.remove(&(turn, Arc::clone(key)));
                self.ready_since.remove(&turn);
            }
            Some(LaneState::Waiting(until)) => {
                self.waiting.remove(&(until, Arc::clone(key)));
            }
            Some(LaneState::New | LaneState::InFlight) | None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const SECOND: Time = Duration::from_secs(1);

    fn lanes(in_flight: usize, linger_ms: u64) -> Lanes {
        Lanes::new(BatchSettings { in_flight, linger: Duration::from_millis(linger_ms) })
    }

    fn ids(numbers: &[u64]) -> Vec<ItemId> {
        numbers.iter().copied().map(ItemId).collect()
    }

    #[test]
    fn a_batch_takes_one_item_of_each_key_and_the_rest_of_a_lane_waits() {
        let mut lanes = lanes(4, 0);
        for (id, key) in [(1, "a"), (2, "a"), (3, "b")] {
            lanes.delivered(Time::ZERO, ItemId(id), key);
        }
        assert_eq!(lanes.next(Time::ZERO, 75), Command::Send(ids(&[1, 3])));
        assert_eq!(lanes.next(Time::ZERO, 75), Command::Wait(None));
        lanes.answered(Time::ZERO, ItemId(1), Next::Done);
        assert_eq!(lanes.next(Time::ZERO, 75), Command::Send(ids(&[2])));
    }

    #[test]
    fn a_head_that_waits_holds_its_own_lane_back_and_no_other() {
        let mut lanes = lanes(4, 0);
        for (id, key) in [(1, "a"), (2, "a"), (3, "b"), (4, "b")] {
            lanes.delivered(Time::ZERO, ItemId(id), key);
        }
        assert_eq!(lanes.next(Time::ZERO, 75), Command::Send(ids(&[1, 3])));
        lanes.answered(Time::ZERO, ItemId(1), Next::At(SECOND));
        lanes.answered(Time::ZERO, ItemId(3), Next::Done);
        assert_eq!(lanes.next(Time::ZERO, 75), Command::Send(ids(&[4])));
        lanes.answered(Time::ZERO, ItemId(4), Next::Done);
        assert_eq!(lanes.next(Time::ZERO, 75), Command::Wait(Some(SECOND)));
        assert_eq!(lanes.next(SECOND, 75), Command::Send(ids(&[1])));
    }

    #[test]
    fn an_idle_process_sends_at_once_and_a_busy_one_waits_for_company_no_longer_than_the_linger() {
        let mut lanes = lanes(4, 25);
        lanes.delivered(Time::ZERO, ItemId(1), "a");
        assert_eq!(lanes.next(Time::ZERO, 2), Command::Send(ids(&[1])));
        lanes.delivered(Time::ZERO, ItemId(2), "b");
        let due = Duration::from_millis(25);
        assert_eq!(lanes.next(Time::ZERO, 2), Command::Wait(Some(due)));
        assert_eq!(lanes.next(due, 2), Command::Send(ids(&[2])));
        lanes.delivered(due, ItemId(3), "c");
        lanes.delivered(due, ItemId(4), "d");
        assert_eq!(lanes.next(due, 2), Command::Send(ids(&[3, 4])));
    }

    #[test]
    fn a_pause_stops_every_lane_until_one_probe_has_come_back_well() {
        let mut lanes = lanes(4, 0);
        for (id, key) in [(1, "a"), (2, "b"), (3, "c")] {
            lanes.delivered(Time::ZERO, ItemId(id), key);
        }
        assert_eq!(lanes.next(Time::ZERO, 1), Command::Send(ids(&[1])));
        lanes.answered(Time::ZERO, ItemId(1), Next::PauseUntil(SECOND));
        assert_eq!(lanes.next(Time::ZERO, 75), Command::Wait(Some(SECOND)));
        assert_eq!(lanes.next(SECOND, 75), Command::Send(ids(&[2])));
        assert_eq!(lanes.next(SECOND, 75), Command::Wait(None), "one probe at a time");
        lanes.answered(SECOND, ItemId(2), Next::PauseUntil(2 * SECOND));
        assert_eq!(lanes.next(SECOND, 75), Command::Wait(Some(2 * SECOND)));
        assert_eq!(lanes.next(2 * SECOND, 75), Command::Send(ids(&[3])));
        lanes.answered(2 * SECOND, ItemId(3), Next::Done);
        assert!(!lanes.is_paused());
        assert_eq!(lanes.next(2 * SECOND, 75), Command::Send(ids(&[1, 2])));
    }

    #[test]
    fn letters_go_before_the_control_message_that_released_them_and_before_newer_orders() {
        let mut lanes = lanes(4, 0);
        lanes.delivered(Time::ZERO, ItemId(1), "a");
        lanes.delivered(Time::ZERO, ItemId(2), "a");
        assert_eq!(lanes.next(Time::ZERO, 75), Command::Send(ids(&[1])));
        lanes.insert_before(ItemId(1), &ids(&[10, 11]));
        lanes.answered(Time::ZERO, ItemId(1), Next::At(Time::ZERO));
        for expected in [10, 11, 1, 2] {
            assert_eq!(lanes.next(Time::ZERO, 75), Command::Send(ids(&[expected])));
            lanes.answered(Time::ZERO, ItemId(expected), Next::Done);
        }
        assert!(lanes.is_empty());
    }

    #[test]
    fn a_draining_process_starts_no_new_head() {
        let mut lanes = lanes(4, 0);
        lanes.delivered(Time::ZERO, ItemId(1), "a");
        lanes.delivered(Time::ZERO, ItemId(2), "a");
        assert_eq!(lanes.next(Time::ZERO, 75), Command::Send(ids(&[1])));
        lanes.drain();
        lanes.answered(Time::ZERO, ItemId(1), Next::Done);
        assert_eq!(lanes.next(Time::ZERO, 75), Command::Wait(None));
        assert_eq!(lanes.in_flight(), 0);
    }

    #[test]
    fn what_is_isolated_goes_in_a_batch_of_its_own_at_its_turn_and_once() {
        let mut lanes = lanes(4, 0);
        for (id, key) in [(1, "a"), (2, "b"), (3, "c")] {
            lanes.delivered(Time::ZERO, ItemId(id), key);
        }
        assert_eq!(lanes.next(Time::ZERO, 1), Command::Send(ids(&[1])));
        lanes.isolate(ItemId(1));
        lanes.answered(Time::ZERO, ItemId(1), Next::At(Time::ZERO));
        lanes.delivered(Time::ZERO, ItemId(4), "d");
        assert_eq!(lanes.next(Time::ZERO, 75), Command::Send(ids(&[2, 3, 4])), "not with others");
        assert_eq!(lanes.next(Time::ZERO, 75), Command::Send(ids(&[1])), "nor held back by them");
        lanes.answered(Time::ZERO, ItemId(1), Next::At(Time::ZERO));
        lanes.delivered(Time::ZERO, ItemId(5), "e");
        assert_eq!(lanes.next(Time::ZERO, 75), Command::Send(ids(&[1, 5])), "nobody said so again");
    }

    #[test]
    fn what_is_isolated_and_oldest_does_not_take_others_along() {
        let mut lanes = lanes(4, 0);
        lanes.delivered(Time::ZERO, ItemId(1), "a");
        assert_eq!(lanes.next(Time::ZERO, 75), Command::Send(ids(&[1])));
        lanes.isolate(ItemId(1));
        lanes.answered(Time::ZERO, ItemId(1), Next::At(Time::ZERO));
        lanes.delivered(Time::ZERO, ItemId(2), "b");
        assert_eq!(lanes.next(Time::ZERO, 75), Command::Send(ids(&[1])));
        assert_eq!(lanes.next(Time::ZERO, 75), Command::Send(ids(&[2])));
        lanes.isolate(ItemId(1));
        lanes.answered(Time::ZERO, ItemId(1), Next::Done);
        assert!(lanes.alone.is_empty(), "what is settled is forgotten");
    }

    #[derive(Debug, Clone)]
    enum Step {
        Deliver(u8),
        Answer(u8, u8),
        Pass(u16),
        Next(u8),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0_u8..6).prop_map(Step::Deliver),
            3 => (any::<u8>(), 0_u8..8).prop_map(|(which, how)| Step::Answer(which, how)),
            1 => (0_u16..2_000).prop_map(Step::Pass),
            3 => (1_u8..5).prop_map(Step::Next),
        ];
        proptest::collection::vec(step, 0..400)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn whatever_the_schedule_a_key_is_never_in_flight_twice_and_settles_in_order_and_everything_settles(
            steps in steps(), in_flight in 1_usize..5, linger in 0_u64..50,
        ) {
            let mut lanes = lanes(in_flight, linger);
            let (mut now, mut last) = (Time::ZERO, 0_u64);
            let mut key_of: HashMap<ItemId, u8> = HashMap::new();
            let mut flying: Vec<ItemId> = Vec::new();
            let mut settled: HashMap<u8, Vec<u64>> = HashMap::new();
            let run = |lanes: &mut Lanes, now: Time, limit: usize, flying: &mut Vec<ItemId>, key_of: &HashMap<ItemId, u8>| {
                if let Command::Send(batch) = lanes.next(now, limit) {
                    assert!(!batch.is_empty() && batch.len() <= limit);
                    flying.extend(batch);
                    let keys: HashSet<u8> = flying.iter().map(|id| key_of[id]).collect();
                    assert_eq!(keys.len(), flying.len(), "two of one key in flight");
                }
            };
            for step in steps {
                match step {
                    Step::Deliver(key) => {
                        last += 1;
                        key_of.insert(ItemId(last), key);
                        lanes.delivered(now, ItemId(last), &key.to_string());
                    }
                    Step::Answer(which, how) if !flying.is_empty() => {
                        let id = flying.swap_remove(usize::from(which) % flying.len());
                        let next = match how {
                            0 => Next::At(now + SECOND),
                            1 => Next::At(now),
                            2 => Next::PauseUntil(now + SECOND),
                            _ => Next::Done,
                        };
                        if next == Next::Done {
                            settled.entry(key_of[&id]).or_default().push(id.0);
                        }
                        lanes.answered(now, id, next);
                    }
                    Step::Answer(..) => {}
                    Step::Pass(ms) => now += Duration::from_millis(u64::from(ms)),
                    Step::Next(limit) => run(&mut lanes, now, usize::from(limit), &mut flying, &key_of),
                }
            }
            let mut rounds = 0;
            while !lanes.is_empty() {
                rounds += 1;
                prop_assert!(rounds < 10_000, "no progress with {} items left", lanes.len());
                now += SECOND;
                run(&mut lanes, now, 3, &mut flying, &key_of);
                for id in std::mem::take(&mut flying) {
                    settled.entry(key_of[&id]).or_default().push(id.0);
                    lanes.answered(now, id, Next::Done);
                }
            }
            for order in settled.values() {
                prop_assert!(order.is_sorted(), "out of order: {order:?}");
            }
            prop_assert_eq!(settled.values().map(Vec::len).sum::<usize>(), key_of.len());
        }
    }
}
