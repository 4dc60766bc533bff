//! Control messages that let customers in: one for each whose lane is empty while others of its orders wait in the journal.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use domain::dead_letter::LetterId;
use tokio::time::Instant;

use super::super::taking_over::Ownership;
use super::super::{Done, Generation};
use super::Overflow;
use crate::handler::{Handler, Job};
use crate::journal::entry::LANE_OVERFLOW;
use crate::topology::Queue;

/// Control messages of one queue.
#[derive(Default)]
pub(super) struct Coming {
    /// Customers for whom one is to be sent.
    due: VecDeque<String>,
    waits: HashSet<String>,
    /// Customers whose control message was published, or is being, and is not settled.
    sent: HashSet<String>,
}

/// How many control messages a queue may have at once from its owner: they take room in it.
const COMING_AT_ONCE: usize = 128;

/// A letter that is its customer's first.
pub(super) struct Standing {
    first: LetterId,
    gap: Duration,
    due: Instant,
}

/// How long a letter may stand before others than the owner wake whoever that is; twice as long each time, and no longer
/// than [`STANDING_AT_MOST`].
const STANDING: Duration = Duration::from_mins(1);
const STANDING_AT_MOST: Duration = Duration::from_mins(10);

impl Overflow {
    /// Partitions that are another's have letters that wait; one of each is looked at, with its customer. Returns whose owner
    /// to wake.
    fn stand(&mut self, waiting: Vec<(Queue, LetterId, String)>, now: Instant) -> Vec<String> {
        let mut before = std::mem::take(&mut self.standing);
        let mut due = Vec::new();
        for (queue, first, key) in waiting {
            let known = before.remove(&queue).filter(|known| known.first == first);
            let mut standing = known.unwrap_or(Standing { first, gap: STANDING, due: now + STANDING });
            if now >= standing.due {
                standing.gap = (standing.gap * 2).min(STANDING_AT_MOST);
                standing.due = now + standing.gap;
                due.push(key);
            }
            self.standing.insert(queue, standing);
        }
        due
    }
}

impl<H: Handler> Generation<H> {
    /// An item of a lane was settled.
    pub(in super::super) fn was_settled(&mut self, job: &Job<H::Item>) {
        let Some(key) = job.key.as_deref() else { return };
        if job.control && job.message.id == LANE_OVERFLOW {
            self.came(key);
        }
        self.let_in_if_gone(key);
    }

    /// A customer's control message is settled, or there is none.
    pub(in super::super) fn came(&mut self, key: &str) {
        let queue = self.settler.queue_of(key);
        if self.overflow.coming.get_mut(&queue).is_some_and(|coming| coming.sent.remove(key)) {
            self.send_controls(queue);
        }
    }

    /// Lets a customer's orders in when its lane is empty.
    pub(super) fn let_in_if_gone(&mut self, key: &str) {
        if self.is_to_be_let_in(key) {
            self.let_in(key.to_owned());
        }
    }

    fn is_to_be_let_in(&self, key: &str) -> bool {
        let is_empty = self.lanes.depth(key) == 0 && !self.overflow.not_before.contains_key(key);
        if !is_empty || self.is_held_back(key) || !self.settler.waits_for_room(key) {
            return false;
        }
        let in_hand = self.in_hand(key);
        in_hand.is_empty()
            || self
                .settler
                .first(key)
                .is_some_and(|first| !self.settler.may_go(key, [&first], Some(&in_hand)).is_empty())
    }

    /// A queue was taken over: whoever had it before may have died before it let its customers in.
    pub(in super::super) fn let_in_all_of(&mut self, queue: Queue) {
        for key in self.settler.waiting_for_room(|other| other == queue) {
            self.let_in(key);
        }
    }

    /// A queue was subscribed to: perhaps nothing is in it that would make anybody take it over.
    pub(in super::super) fn wake_owner_of(&mut self, queue: Queue) {
        if let Some(key) = self.settler.waiting_for_room(|other| other == queue).into_iter().next() {
            self.wake(key);
        }
    }

    fn wake(&mut self, key: String) {
        let settler = Arc::clone(&self.settler);
        self.tasks.spawn(async move {
            let woken = settler.wake(&key).await;
            Done::LetIn(key, woken.map(|_| true))
        });
    }

    /// Has the control message published that lets a customer's orders in, unless one is on its way.
    fn let_in(&mut self, key: String) {
        let queue = self.settler.queue_of(&key);
        let coming = self.overflow.coming.entry(queue).or_default();
        if !coming.sent.contains(&key) && coming.waits.insert(key.clone()) {
            coming.due.push_back(key);
        }
        self.send_controls(queue);
    }

    /// Publishes what control messages of a queue may be under way at once.
    fn send_controls(&mut self, queue: Queue) {
        let Some(stop) = self.holdings.get(&queue).map(|holding| holding.stop.clone()) else { return };
        while !stop.is_cancelled() {
            let Some(coming) = self.overflow.coming.get_mut(&queue) else { return };
            if coming.sent.len() >= COMING_AT_ONCE {
                return;
            }
            let Some(key) = coming.due.pop_front() else { return };
            coming.waits.remove(&key);
            if !self.is_to_be_let_in(&key) {
                continue;
            }
            if let Some(coming) = self.overflow.coming.get_mut(&queue) {
                coming.sent.insert(key.clone());
            }
            let (settler, stop) = (Arc::clone(&self.settler), stop.clone());
            self.tasks.spawn(async move {
                let let_in = settler.let_in(&key, &stop).await;
                Done::LetIn(key, let_in)
            });
        }
    }

    /// Wakes the owners of those of the other partitions read here where nothing happens.
    pub(super) fn wake_others(&mut self, now: Instant) {
        let owned = |queue: Queue| matches!(self.owned.get(&queue), Some(Ownership::Owned));
        let others = |queue: Queue| !owned(queue) && self.holdings.contains_key(&queue);
        let mut seen = HashSet::new();
        let waiting = self.settler.waiting_for_room(others).into_iter();
        let waiting = waiting.map(|key| (self.settler.queue_of(&key), key)).filter(|(queue, _)| seen.insert(*queue));
        let waiting = waiting.filter_map(|(queue, key)| Some((queue, self.settler.first(&key)?, key))).collect();
        for key in self.overflow.stand(waiting, now) {
            self.wake(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_owner_of_a_letter_that_stands_is_woken_after_a_minute_and_then_again_and_again_ever_more_seldom() {
        let mut overflow = Overflow::new();
        let start = Instant::now();
        let mut after = |minutes: f64, first: &str| {
            let waiting = (Queue::Partition(1), LetterId::from_text(first), "k".to_owned());
            overflow.stand(vec![waiting], start + Duration::from_secs_f64(minutes * 60.0)).len()
        };
        assert_eq!((after(0.0, "a"), after(0.9, "a"), after(1.0, "a")), (0, 0, 1));
        assert_eq!((after(2.9, "a"), after(3.0, "a"), after(6.9, "a"), after(7.0, "a")), (0, 1, 0, 1));
        assert_eq!((after(15.0, "a"), after(24.9, "a"), after(25.0, "a"), after(35.0, "a")), (1, 0, 1, 1));
        // Another is the first: it goes on, and then it stands again.
        assert_eq!((after(36.0, "b"), after(36.9, "c"), after(37.8, "c"), after(37.9, "c")), (0, 0, 0, 1));
        assert!(overflow.stand(Vec::new(), start).is_empty() && overflow.standing.is_empty());
    }
}
