//! Whether a queue is stalled, and what to do about it: pure.
//!
//! Brokers have had faults that leave a queue with messages and consumers, and no delivery. So it is watched, whatever the
//! cause. Every worker that is subscribed asks how many messages are ready, and whether anybody says that work on the queue
//! goes on. Unacknowledged messages cannot be seen this way: a consumer that took everything and does nothing is noticed once
//! more has come.

use std::collections::HashMap;
use std::time::Duration;

use crate::spread::Time;
use crate::topology::Queue;

/// How queues are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchSettings {
    /// How often a worker looks at the queues that it is subscribed to.
    pub look_every: Duration,
    /// How often a worker says of the queues that it works on that it does.
    pub mark_every: Duration,
    /// How long messages may be ready while nobody works, before channels are closed and opened again; and how long after
    /// that before an operator is told.
    pub stalled_after: Duration,
    /// Within which time the workers close and open their channels, not all at once.
    pub stagger: Duration,
}

impl WatchSettings {
    /// Looks every 15 s, marks every 5 s, stalled after 60 s, staggered over 5 s.
    pub const STANDARD: Self = Self {
        look_every: Duration::from_secs(15),
        mark_every: Duration::from_secs(5),
        stalled_after: Duration::from_mins(1),
        stagger: Duration::from_secs(5),
    };
}

/// What a look asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Close the own channel and subscribe again.
    Reopen,
    /// That did not help: an operator has to act.
    Stalled,
    /// What was stalled is not any more.
    Recovered,
}

/// What one worker has seen of the queues.
#[derive(Debug, Clone)]
pub struct Watch {
    settings: WatchSettings,
    stalls: HashMap<Queue, Stall>,
}

#[derive(Debug, Clone, Copy)]
struct Stall {
    /// Since when messages were ready and nobody worked; anew from the reopening.
    since: Time,
    reopened: bool,
    told: bool,
}

impl Watch {
    /// Nothing was seen yet.
    pub fn new(settings: WatchSettings) -> Self {
        Self { settings, stalls: HashMap::new() }
    }

    /// So many messages of a queue are ready, and work on it was said to go on so long ago.
    pub fn look(&mut self, now: Time, queue: Queue, ready: u32, went_on: Option<Duration>) -> Option<Step> {
        let goes_on = ready == 0 || went_on.is_some_and(|ago| ago < self.settings.look_every);
        if goes_on {
            return self.stalls.remove(&queue).filter(|stall| stall.told).map(|_| Step::Recovered);
        }
        let stall = self.stalls.entry(queue).or_insert(Stall { since: now, reopened: false, told: false });
        if stall.told || now.saturating_sub(stall.since) < self.settings.stalled_after {
            return None;
        }
        stall.since = now;
        if stall.reopened {
            stall.told = true;
            Some(Step::Stalled)
        } else {
            stall.reopened = true;
            Some(Step::Reopen)
        }
    }

    /// Whether an operator was told of a queue, and not yet that it is over.
    pub fn is_told(&self, queue: Queue) -> bool {
        self.stalls.get(&queue).is_some_and(|stall| stall.told)
    }

    /// Only these are looked at now: the others are worked on by this worker itself.
    pub fn looks_at(&mut self, queues: &[Queue]) {
        self.stalls.retain(|queue, stall| stall.told || queues.contains(queue));
    }

    /// Another session begins, with another clock: what an operator was told of is watched until it is over, the rest anew.
    pub fn begins_anew(&mut self) {
        self.is_blind();
        self.stalls.values_mut().for_each(|stall| stall.since = Time::ZERO);
    }

    /// Nothing can be told for the moment: what was not reported yet is watched anew from the next look on.
    pub fn is_blind(&mut self) {
        self.stalls.retain(|_, stall| stall.told);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: Queue = Queue::Partition(1);

    fn at(second: u64) -> Time {
        Duration::from_secs(second)
    }

    /// Looks every 15 s as long as told; returns at which second each step came.
    fn looks(watch: &mut Watch, from: u64, to: u64, ready: u32, went_on: Option<Duration>) -> Vec<(u64, Step)> {
        let seconds = (from..=to).step_by(15);
        seconds.filter_map(|second| Some((second, watch.look(at(second), QUEUE, ready, went_on)?))).collect()
    }

    #[test]
    fn a_queue_that_nobody_works_on_is_opened_again_after_a_minute_and_reported_after_another() {
        let mut watch = Watch::new(WatchSettings::STANDARD);
        assert_eq!(looks(&mut watch, 0, 600, 5, None), [(60, Step::Reopen), (120, Step::Stalled)]);
        assert_eq!(looks(&mut watch, 615, 630, 5, Some(at(1))), [(615, Step::Recovered)]);
        assert_eq!(looks(&mut watch, 645, 705, 5, Some(at(1_000))), [(705, Step::Reopen)]);
        assert_eq!(looks(&mut watch, 720, 720, 0, None), [], "opening it again was enough");
    }

    #[test]
    fn a_queue_that_is_empty_or_worked_on_is_not_stalled() {
        let mut watch = Watch::new(WatchSettings::STANDARD);
        assert_eq!(looks(&mut watch, 0, 600, 0, None), []);
        assert_eq!(looks(&mut watch, 0, 600, 5_000, Some(at(14))), []);
    }

    #[test]
    fn a_queue_that_was_worked_on_by_oneself_in_between_is_watched_anew() {
        let mut watch = Watch::new(WatchSettings::STANDARD);
        assert_eq!(looks(&mut watch, 0, 45, 5, None), []);
        watch.looks_at(&[]);
        assert_eq!(looks(&mut watch, 300, 345, 5, None), []);
        watch.looks_at(&[QUEUE]);
        assert_eq!(looks(&mut watch, 360, 360, 5, None), [(360, Step::Reopen)]);
        assert_eq!(looks(&mut watch, 375, 435, 5, None), [(420, Step::Stalled)]);
        watch.looks_at(&[]);
        assert!(watch.is_told(QUEUE));
    }

    #[test]
    fn what_cannot_be_seen_is_not_taken_for_a_stall() {
        let mut watch = Watch::new(WatchSettings::STANDARD);
        assert_eq!(looks(&mut watch, 0, 45, 5, None), []);
        watch.is_blind();
        assert_eq!(looks(&mut watch, 60, 105, 5, None), []);
        assert_eq!(looks(&mut watch, 120, 180, 5, None), [(120, Step::Reopen), (180, Step::Stalled)]);
        watch.is_blind();
        assert_eq!(looks(&mut watch, 195, 195, 0, None), [(195, Step::Recovered)]);
    }
}
