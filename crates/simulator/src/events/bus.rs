//! The event bus: accepted events on their way, stored events in replay order, and the allocations.
//!
//! Stored events stay for 72 hours of the org's time ("Event Message Durability"). So that a long run stays within
//! memory, the bus also drops its oldest events beyond the bytes of the settings and a million events, as a real
//! bus does not.

use std::collections::{BTreeMap, VecDeque};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;

use super::rolling::Rolling;
use super::{Event, Fate, PublishedBy, PublishedEvent, topic};
use crate::clock::datetime_text;
use crate::settings::Settings;

const HOUR_MS: i64 = 3_600_000;
const RETENTION_MS: i64 = 72 * HOUR_MS;
const CAPACITY: usize = 1_000_000;
/// What an event takes beside its payload.
const OVERHEAD: usize = 400;

/// Events looked at in one go, so that the bus is never held for long.
const SCAN: usize = 10_000;

/// Events for one subscriber.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) events: Vec<PublishedEvent>,
    /// Everything up to this replay id has been looked at.
    pub(crate) position: u64,
    /// There is more to look at.
    pub(crate) more: bool,
    /// The delivery allocation holds the next event back.
    pub(crate) exhausted: bool,
}

/// The ends of the bus.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Position {
    pub(crate) last: u64,
    pub(crate) forgotten: u64,
}

#[derive(Debug)]
struct Stored {
    at_ms: i64,
    size: usize,
    event: PublishedEvent,
}

/// Events in replay order, and how many were published and delivered lately.
#[derive(Debug)]
pub(crate) struct EventBus {
    stored: VecDeque<Stored>,
    /// Accepted events by the time they are due, then in the order they were accepted.
    waiting: BTreeMap<(i64, u64), (Event, PublishedBy)>,
    accepted: u64,
    bytes: usize,
    last_replay_id: u64,
    /// Replay id of the newest event that is no longer kept.
    forgotten: u64,
    /// Events of running transactions, which count against the allocation until they are rolled back.
    reserved: u64,
    published: Rolling,
    delivered: Rolling,
    gaps: StdRng,
    /// Told of each new event; it is gone when the bus is replaced.
    news: watch::Sender<()>,
}

impl EventBus {
    /// An empty bus; the same seed leaves the same gaps between replay ids.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            stored: VecDeque::new(),
            waiting: BTreeMap::new(),
            accepted: 0,
            bytes: 0,
            last_replay_id: 0,
            forgotten: 0,
            reserved: 0,
            published: Rolling::new(HOUR_MS),
            delivered: Rolling::new(24 * HOUR_MS),
            gaps: StdRng::seed_from_u64(seed),
            news: watch::Sender::new(()),
        }
    }

    /// Takes a place in the hourly allocation; false when there is none left.
    pub(crate) fn reserve(&mut self, now_ms: i64, settings: &Settings) -> bool {
        let free = self.published.total(now_ms).saturating_add(self.reserved) < settings.event_hourly_limit;
        if free {
            self.reserved += 1;
        }
        free
    }

    /// Gives places back that a rolled back transaction had taken.
    pub(crate) fn release(&mut self, places: usize) {
        self.reserved = self.reserved.saturating_sub(u64::try_from(places).unwrap_or(u64::MAX));
    }

    /// Whether there is memory for `size` more bytes among the events that still wait.
    pub(crate) fn has_room(&self, size: usize, settings: &Settings) -> bool {
        self.waiting.is_empty() || self.bytes.saturating_add(size) <= settings.event_bus_max_bytes
    }

    /// Accepts events whose places are reserved; they reach the bus after the delay of the settings.
    pub(crate) fn accept(&mut self, events: Vec<Event>, by: PublishedBy, now_ms: i64, settings: &Settings) {
        let count = events.len();
        self.release(count);
        self.published.add(now_ms, u64::try_from(count).unwrap_or(u64::MAX));
        let due = now_ms.saturating_add(i64::try_from(settings.event_delay_ms).unwrap_or(i64::MAX));
        for event in events {
            if event.fate == Fate::Lost {
                continue;
            }
            self.accepted += 1;
            self.bytes += event.size + OVERHEAD;
            self.waiting.insert((due, self.accepted), (event, by));
        }
        self.settle(now_ms, settings);
        if !self.waiting.is_empty() {
            // Subscribers must know when the next one is due.
            self.tell();
        }
    }

    /// Stores an event whose place is reserved, at once; its replay id.
    pub(crate) fn publish(&mut self, event: Event, now_ms: i64, settings: &Settings) -> u64 {
        self.settle(now_ms, settings);
        self.release(1);
        self.published.add(now_ms, 1);
        if event.fate == Fate::Lost {
            self.last_replay_id += self.step(settings);
            return self.last_replay_id;
        }
        self.bytes += event.size + OVERHEAD;
        self.store(event, PublishedBy::PubSub, now_ms, settings);
        self.trim(now_ms, settings);
        self.tell();
        self.last_replay_id
    }

    /// Moves what is due to the bus, and drops what is too old.
    pub(crate) fn settle(&mut self, now_ms: i64, settings: &Settings) {
        let mut moved = false;
        while let Some(entry) = self.waiting.first_entry()
            && entry.key().0 <= now_ms
        {
            let ((due, _), (event, by)) = entry.remove_entry();
            self.store(event, by, due, settings);
            moved = true;
        }
        self.trim(now_ms, settings);
        if moved {
            self.tell();
        }
    }

    /// Wakes the subscribers, who then look at the bus and at their sessions.
    pub(crate) fn tell(&self) {
        if self.news.receiver_count() > 0 {
            self.news.send_replace(());
        }
    }

    fn step(&mut self, settings: &Settings) -> u64 {
        1 + if settings.replay_gap == 0 { 0 } else { self.gaps.random_range(0..=u64::from(settings.replay_gap)) }
    }

    fn store(&mut self, event: Event, by: PublishedBy, at_ms: i64, settings: &Settings) {
        self.last_replay_id += self.step(settings);
        let size = event.size + OVERHEAD;
        let stored = PublishedEvent {
            replay_id: self.last_replay_id,
            event_uuid: event.uuid,
            topic: topic(&event.object),
            object: event.object,
            published_at: datetime_text(at_ms),
            published: by,
            deliveries: 0,
            payload: event.payload,
        };
        if event.fate == Fate::Twice {
            self.stored.push_back(Stored { at_ms, size, event: stored.clone() });
            self.bytes += size;
            self.last_replay_id += self.step(settings);
            let again = PublishedEvent { replay_id: self.last_replay_id, ..stored };
            self.stored.push_back(Stored { at_ms, size, event: again });
        } else {
            self.stored.push_back(Stored { at_ms, size, event: stored });
        }
    }

    fn trim(&mut self, now_ms: i64, settings: &Settings) {
        while let Some(oldest) = self.stored.front()
            && (self.stored.len() > CAPACITY
                || self.bytes > settings.event_bus_max_bytes
                || now_ms.saturating_sub(oldest.at_ms) > RETENTION_MS)
        {
            self.bytes = self.bytes.saturating_sub(oldest.size);
            self.forgotten = oldest.event.replay_id;
            self.stored.pop_front();
        }
    }

    pub(crate) fn published_last_hour(&mut self, now_ms: i64) -> u64 {
        self.published.total(now_ms)
    }

    /// Deliveries of the last 24 hours, each subscriber's counted.
    pub(crate) fn delivered_last_day(&mut self, now_ms: i64) -> u64 {
        self.delivered.total(now_ms)
    }

    /// Events after `replay_id`, oldest first. Call [`EventBus::settle`] before.
    pub(crate) fn after(&self, replay_id: u64) -> impl DoubleEndedIterator<Item = &PublishedEvent> {
        let first = self.stored.partition_point(|stored| stored.event.replay_id <= replay_id);
        self.stored.range(first..).map(|stored| &stored.event)
    }

    /// Up to `most` events of an object after a replay id, within `bytes` but at least one, counted as delivered.
    pub(crate) fn deliver(
        &mut self,
        object: &str,
        after: u64,
        most: usize,
        bytes: usize,
        now_ms: i64,
        settings: &Settings,
    ) -> Batch {
        self.settle(now_ms, settings);
        let left = settings.event_daily_delivery_limit.saturating_sub(self.delivered.total(now_ms));
        let first = self.stored.partition_point(|stored| stored.event.replay_id <= after);
        let mut batch = Batch { events: Vec::new(), position: after, more: true, exhausted: false };
        let mut size = 0;
        for stored in self.stored.range_mut(first..).take(SCAN) {
            if stored.event.object == object {
                batch.exhausted = batch.events.len() as u64 >= left;
                size += stored.size;
                if batch.exhausted || batch.events.len() >= most || (size > bytes && !batch.events.is_empty()) {
                    break;
                }
                stored.event.deliveries += 1;
                batch.events.push(stored.event.clone());
            }
            batch.position = stored.event.replay_id;
        }
        batch.more = self.stored.back().is_some_and(|newest| newest.event.replay_id > batch.position);
        if !batch.more {
            batch.position = batch.position.max(self.last_replay_id);
        }
        self.delivered.add(now_ms, batch.events.len() as u64);
        batch
    }

    /// What a replay id can point at.
    pub(crate) fn position(&mut self, now_ms: i64, settings: &Settings) -> Position {
        self.settle(now_ms, settings);
        Position { last: self.last_replay_id, forgotten: self.forgotten }
    }

    /// When the next accepted event reaches the bus, in milliseconds.
    pub(crate) fn next_due(&self) -> Option<i64> {
        self.waiting.first_key_value().map(|((due, _), _)| *due)
    }

    /// Wakes with each change of the bus; an error once the bus is replaced.
    pub(crate) fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    pub(crate) fn len(&self) -> usize {
        self.stored.len()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::{EventBus, HOUR_MS};
    use crate::events::{Event, Fate, PublishedBy};
    use crate::settings::Settings;

    fn event(name: &str) -> Event {
        Event { uuid: name.to_owned(), object: "X__e".to_owned(), payload: Map::new(), size: 1_000, fate: Fate::Once }
    }

    fn accept(bus: &mut EventBus, name: &str, now_ms: i64, settings: &Settings) {
        assert!(bus.reserve(now_ms, settings));
        bus.accept(vec![event(name)], PublishedBy::AfterCommit, now_ms, settings);
    }

    fn names(bus: &mut EventBus, now_ms: i64, settings: &Settings) -> Vec<String> {
        bus.settle(now_ms, settings);
        bus.after(0).map(|event| event.event_uuid.clone()).collect()
    }

    #[test]
    fn events_reach_the_bus_when_due_in_the_order_they_were_accepted() {
        let mut settings = Settings { event_delay_ms: 500, ..Settings::default() };
        let mut bus = EventBus::new(1);
        accept(&mut bus, "a", 0, &settings);
        accept(&mut bus, "b", 0, &settings);
        settings.event_delay_ms = 100;
        accept(&mut bus, "c", 200, &settings);
        assert!(names(&mut bus, 299, &settings).is_empty());
        assert_eq!(names(&mut bus, 300, &settings), ["c"]);
        assert_eq!(names(&mut bus, 500, &settings), ["c", "a", "b"]);
    }

    #[test]
    fn events_are_kept_for_72_hours_and_within_the_bytes() {
        let settings = Settings { event_bus_max_bytes: 3 * (1_000 + super::OVERHEAD), ..Settings::default() };
        let mut bus = EventBus::new(1);
        for name in ["a", "b", "c", "d"] {
            accept(&mut bus, name, 0, &settings);
        }
        assert_eq!(names(&mut bus, 72 * HOUR_MS, &settings), ["b", "c", "d"]);
        assert!(names(&mut bus, 72 * HOUR_MS + 1, &settings).is_empty());
        assert_eq!(bus.bytes, 0);
    }

    #[test]
    fn replay_ids_rise_with_gaps_and_the_same_seed_leaves_the_same() {
        let settings = Settings::default();
        let ids = |seed| {
            let mut bus = EventBus::new(seed);
            for _ in 0..50 {
                accept(&mut bus, "x", 0, &settings);
            }
            bus.after(0).map(|event| event.replay_id).collect::<Vec<_>>()
        };
        let first = ids(7);
        assert!(first.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(first.last().is_some_and(|last| *last > 50));
        assert_eq!(first, ids(7));
        assert_ne!(first, ids(8));
    }

    #[test]
    fn a_place_of_the_allocation_is_given_back_by_a_rollback() {
        let settings = Settings { event_hourly_limit: 1, ..Settings::default() };
        let mut bus = EventBus::new(1);
        assert!(bus.reserve(0, &settings));
        assert!(!bus.reserve(0, &settings));
        bus.release(1);
        accept(&mut bus, "a", 0, &settings);
        assert!(!bus.reserve(0, &settings));
    }
}
