//! Hot and slow customers: no lane takes the room of all others.
//!
//! What finds no room ([`Room`]) waits in the journal, and its delivery is acknowledged: an order beyond what its customer's
//! lane may hold, and lanes whose head is tried again later, where they hold too much together. What comes after such an
//! order goes there, too. Once nothing of the customer is left here, and the head of a lane that was moved would go again, a
//! control message lets them in: it comes behind all that is in the partition by then.
//!
//! Should whoever owns the partition die before it has sent that, and nothing be left in the partition that would tell the
//! next one of its luck, somebody else sends it: whoever subscribes next, and every other subscriber when a customer's first
//! letter has stood for a minute. One too many does no harm: it comes behind the customer's orders, and finds nothing.
//!
//! # Order
//!
//! An entry names the orders that were in the lane before its own. So whoever works on the customer next knows, after any
//! crash, which of what is delivered again goes before those in the journal, and which behind them. Entries of a customer are
//! appended one at a time, as they came: each customer has a line here, beside its lane, that needs none of the places that
//! batches have, and waits for no answer of the org.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use domain::dead_letter::LetterId;
use domain::story::What;
use tokio::time::Instant;

use super::taking_over::Ownership;
use super::{Done, Generation};
use crate::error::Error;
use crate::handler::{Handler, Job, note};
use crate::journal::entry::{LANE_OVERFLOW, letter_of};
use crate::lanes::ItemId;
use crate::lanes::room::Room;
use crate::settle::Answer;
use crate::topology::Queue;
use crate::work::{Letters, TURN};

/// What goes into the journal and comes out of it for want of room.
pub(super) struct Overflow {
    /// Orders that go into the journal, by customer, in the order in which they came.
    lines: HashMap<String, Line>,
    /// Customers whose control message was published, or is being, and is not settled.
    coming: HashSet<String>,
    /// Before when a customer is not let in.
    not_before: HashMap<String, Instant>,
    /// When to look for customers whom nothing else lets in: an operator discarded what they waited for, or their partition
    /// has no owner who knows.
    look_at: Instant,
    /// Customers of partitions that are another's, with the letter that is the first and since when; `None`: that one was
    /// let in from here.
    standing: HashMap<String, (LetterId, Option<Instant>)>,
}

/// How long a customer's first letter may stand before others than the owner let it in.
const STANDING: Duration = Duration::from_mins(1);

#[derive(Default)]
struct Line {
    items: VecDeque<ItemId>,
    /// The first is being appended.
    busy: bool,
    /// The journal refused it; when it goes again.
    again_at: Option<Instant>,
}

/// How much the lanes that wait hold of one window, and those of them that can be moved: how much each holds, whose it is,
/// and until when it waits.
type Waiting = (usize, Vec<(usize, (String, Instant))>);

impl Overflow {
    pub(super) fn new() -> Self {
        Self {
            lines: HashMap::new(),
            coming: HashSet::new(),
            not_before: HashMap::new(),
            look_at: Instant::now() + TURN,
            standing: HashMap::new(),
        }
    }

    /// Customers of partitions that are another's wait for room, each with its first letter. Returns whom to let in.
    fn stand(&mut self, waiting: Vec<(String, LetterId)>, now: Instant) -> Vec<String> {
        let mut before = std::mem::take(&mut self.standing);
        let mut due = Vec::new();
        for (key, first) in waiting {
            let since = match before.remove(&key) {
                Some((letter, since)) if letter == first => since,
                Some(_) | None => Some(now),
            };
            let is_due = since.is_some_and(|since| now >= since + STANDING);
            if is_due {
                due.push(key.clone());
            }
            self.standing.insert(key, (first, since.filter(|_| !is_due)));
        }
        due
    }

    /// How many orders are on their way into the journal.
    pub(super) fn len(&self) -> usize {
        self.lines.values().map(|line| line.items.len()).sum()
    }

    /// Forgets an order that is not being appended. Returns whether it was there.
    pub(super) fn forget(&mut self, key: &str, id: ItemId) -> bool {
        let Some(line) = self.lines.get_mut(key) else { return false };
        let Some(index) = line.items.iter().position(|item| *item == id) else { return false };
        if index == 0 && line.busy {
            return false;
        }
        line.items.remove(index);
        if line.items.is_empty() {
            self.lines.remove(key);
        }
        true
    }

    /// Their queue is let go of: what was to come comes to another.
    pub(super) fn lets_go(&mut self, of: impl Fn(&str) -> bool) {
        self.coming.retain(|key| !of(key));
        self.not_before.retain(|key, _| !of(key));
    }

    /// A customer's control message is settled, or there is none.
    pub(super) fn came(&mut self, key: &str) {
        self.coming.remove(key);
    }
}

impl<H: Handler> Generation<H> {
    /// When there is something to do here.
    pub(super) fn overflow_wakes(&self) -> Option<Instant> {
        if self.settings.letters != Letters::Block || self.stop_reading.is_cancelled() {
            return None;
        }
        let Overflow { lines, not_before, look_at, coming: _, standing: _ } = &self.overflow;
        let again = lines.values().filter_map(|line| line.again_at);
        again.chain(not_before.values().copied()).chain([*look_at]).min()
    }

    fn room(&self) -> Room {
        Room::of(usize::from(self.settings.prefetch))
    }

    /// Whether there is no room for an order, or it belongs behind others for which there was none.
    pub(super) fn finds_no_room(&self, job: &Job<H::Item>) -> bool {
        let Some(key) = job.key.as_deref().filter(|_| self.settings.letters == Letters::Block && !job.control) else {
            return false;
        };
        self.overflow.lines.contains_key(key) || self.settler.follows_overflow(job) || !self.has_room(key, job.queue)
    }

    fn has_room(&self, key: &str, queue: Queue) -> bool {
        let room = self.room();
        if self.lanes.depth(key) < room.least() {
            return true;
        }
        // Letters come from the journal and take nothing of the window.
        let lane = self.lanes.items_of(key).iter().filter(|id| self.is_delivery(**id)).count();
        let held = self.jobs.values().filter(|job| job.queue == queue && job.letter.is_none()).count();
        room.has(lane, held)
    }

    fn is_delivery(&self, id: ItemId) -> bool {
        self.jobs.get(&id).is_some_and(|job| job.letter.is_none())
    }

    /// An order goes into the journal, behind those of its customer that go there before it.
    pub(super) fn overflows(&mut self, id: ItemId, key: &str) {
        self.overflow.lines.entry(key.to_owned()).or_default().items.push_back(id);
        self.append_next(key);
    }

    /// Appends the first of a line, unless that goes on. Nothing is begun once the process drains.
    fn append_next(&mut self, key: &str) {
        let Some(line) = self.overflow.lines.get_mut(key) else { return };
        let waits = line.again_at.is_some_and(|at| at > Instant::now());
        if line.busy || waits || self.stop_reading.is_cancelled() {
            return;
        }
        let Some(id) = line.items.front().copied() else { return };
        let Some(job) = self.jobs.get(&id).cloned() else { return };
        (line.busy, line.again_at) = (true, None);
        let ahead = self.ahead_of(key);
        let (settler, handler, key) = (Arc::clone(&self.settler), Arc::clone(&self.handler), key.to_owned());
        self.tasks.spawn(async move {
            let answer = settler.overflow(handler.as_ref(), &job, ahead).await;
            Done::Overflowed(key, id, answer)
        });
    }

    /// The orders in a customer's lane. Nothing has to be said of those that the journal says go first; what will wait behind
    /// the customer's letters is said, so that it goes there before what came after it.
    fn ahead_of(&self, key: &str) -> Vec<LetterId> {
        let for_room = self.settler.waits_for_room(key);
        let items = self.lanes.items_of(key);
        let jobs = items.iter().filter_map(|id| self.jobs.get(id)).filter(|job| !job.control);
        let unsaid = jobs.filter(|job| !for_room || self.settler.blocked_by(job).is_some());
        unsaid.map(|job| job.letter.clone().unwrap_or_else(|| letter_of(&job.message))).collect()
    }

    /// What came of the first of a line.
    pub(super) fn overflowed(&mut self, key: &str, id: ItemId, answer: Answer) -> Result<(), Error> {
        let Some(line) = self.overflow.lines.get_mut(key) else { return Ok(()) };
        line.busy = false;
        match answer {
            Answer::Settled | Answer::ChainStopped => {
                line.items.pop_front_if(|first| *first == id);
                if line.items.is_empty() {
                    self.overflow.lines.remove(key);
                }
                if let Some(job) = self.jobs.remove(&id) {
                    self.company.moved(job.queue);
                }
                self.append_next(key);
                self.let_in_if_gone(key);
            }
            Answer::Again(after) | Answer::Pause(after, _) => line.again_at = Some(Instant::now() + after),
            Answer::Lost(why) => return Err(Error::Lost(why)),
        }
        Ok(())
    }

    /// An item of a lane was settled.
    pub(super) fn was_settled(&mut self, job: &Job<H::Item>) {
        let Some(key) = job.key.as_deref() else { return };
        if job.control && job.message.id == LANE_OVERFLOW {
            self.overflow.came(key);
        }
        self.let_in_if_gone(key);
    }

    /// Lets a customer's orders in when nothing of the customer is left here.
    pub(super) fn let_in_if_gone(&mut self, key: &str) {
        let is_gone = self.lanes.depth(key) == 0 && !self.overflow.lines.contains_key(key);
        if is_gone && !self.overflow.not_before.contains_key(key) && self.settler.waits_for_room(key) {
            self.let_in(key.to_owned());
        }
    }

    /// A queue was taken over: whoever had it before may have died before it let its customers in. What is delivered again
    /// comes before the control message, and goes first.
    pub(super) fn let_in_all_of(&mut self, queue: Queue) {
        for key in self.settler.waiting_for_room(|other| other == queue) {
            self.let_in(key);
        }
    }

    /// A queue was subscribed to: perhaps nothing is in it that would make anybody take it over.
    pub(super) fn let_in_those_left_of(&mut self, queue: Queue) {
        for key in self.settler.waiting_for_room(|other| other == queue) {
            self.send_in(key);
        }
    }

    /// Publishes the control message that lets a customer's orders in, unless one is on its way.
    fn let_in(&mut self, key: String) {
        if !self.stop_reading.is_cancelled() && self.overflow.coming.insert(key.clone()) {
            self.send_in(key);
        }
    }

    fn send_in(&mut self, key: String) {
        let (settler, stop) = (Arc::clone(&self.settler), self.stop_reading.clone());
        self.tasks.spawn(async move {
            let let_in = settler.let_in(&key, &stop).await;
            Done::LetIn(key, let_in)
        });
    }

    /// Goes on with what waited for its time.
    pub(super) fn mind_overflow(&mut self) {
        if self.overflow_wakes().is_none() {
            return;
        }
        let now = Instant::now();
        let Overflow { lines, not_before, look_at, coming: _, standing: _ } = &mut self.overflow;
        let again = lines.iter().filter(|(_, line)| line.again_at.is_some_and(|at| at <= now));
        let again: Vec<String> = again.map(|(key, _)| key.clone()).collect();
        let mut gone: Vec<String> = not_before.extract_if(|_, at| *at <= now).map(|(key, _)| key).collect();
        if *look_at <= now {
            *look_at = now + TURN;
            let owned = |queue: Queue| matches!(self.owned.get(&queue), Some(Ownership::Owned));
            gone.extend(self.settler.waiting_for_room(owned));
            let others = |queue: Queue| !owned(queue) && self.holdings.contains_key(&queue);
            let standing = self.settler.waiting_for_room(others).into_iter();
            let standing = standing.filter_map(|key| self.settler.first(&key).map(|first| (key, first))).collect();
            for key in self.overflow.stand(standing, now) {
                self.send_in(key);
            }
        }
        for key in again {
            self.append_next(&key);
        }
        for key in gone {
            self.let_in_if_gone(&key);
        }
    }

    /// Moves the longest of the lanes that wait for a time into the journal, as long as they hold too much of a window
    /// together.
    pub(super) fn make_room(&mut self) {
        let room = self.room();
        if self.settings.letters != Letters::Block
            || self.stop_reading.is_cancelled()
            || self.lanes.len() <= room.most_waiting()
        {
            return;
        }
        let mut waiting: HashMap<Queue, Waiting> = HashMap::new();
        for (key, until) in self.lanes.waiting_lanes() {
            let jobs: Vec<_> = self.lanes.items_of(key).iter().filter_map(|id| self.jobs.get(id)).collect();
            let Some(first) = jobs.first() else { continue };
            let items = jobs.iter().filter(|job| job.letter.is_none()).count();
            let (held, lanes) = waiting.entry(first.queue).or_default();
            *held += items;
            // An order of nobody has no lane to come back to. What an operator released stays where it is; and what came
            // later must not arrive first where it is on its way already.
            let of_operator = jobs.iter().any(|job| job.control && job.message.id != LANE_OVERFLOW);
            if first.key.as_deref() == Some(key) && !of_operator && !self.overflow.lines.contains_key(key) {
                lanes.push((items, (key.to_owned(), self.started + until)));
            }
        }
        for (held, lanes) in waiting.into_values() {
            for (key, until) in room.to_be_moved(held, lanes) {
                self.move_away(&key, until);
            }
        }
    }

    /// A lane goes into the journal as a whole, its oldest order first, and is let in when its head would have gone again.
    /// What came from there only goes back.
    fn move_away(&mut self, key: &str, until: Instant) {
        self.overflow.not_before.insert(key.to_owned(), until);
        let mut orders = VecDeque::new();
        for id in self.lanes.items_of(key) {
            let Some(job) = self.jobs.get(&id).cloned() else { continue };
            self.lanes.forget(self.now(), id);
            if let Some(letter) = &job.letter {
                self.jobs.remove(&id);
                note(self.handler.as_ref(), &job, || What::Overflowed { letter: letter.as_str().to_owned() });
            } else if job.control {
                // It counts as work in hand until it is acknowledged.
                let settler = Arc::clone(&self.settler);
                self.tasks.spawn(async move { Done::Answers(vec![(id, settler.acknowledge(&job).await)]) });
            } else {
                orders.push_back(id);
            }
        }
        if !orders.is_empty() {
            self.overflow.lines.entry(key.to_owned()).or_default().items.append(&mut orders);
            self.append_next(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_letter_that_stands_for_a_minute_in_anothers_partition_is_let_in_once() {
        let mut overflow = Overflow::new();
        let mut after = |seconds: u64, first: &str| {
            let now = overflow.look_at + Duration::from_secs(seconds);
            overflow.stand(vec![("k".to_owned(), LetterId::from_text(first))], now)
        };
        assert!(after(0, "a").is_empty() && after(59, "a").is_empty());
        assert_eq!(after(60, "a"), ["k"]);
        assert!(after(61, "a").is_empty() && after(600, "a").is_empty(), "once");
        // Another is the first: it goes on, and then it stands again.
        assert!(after(601, "b").is_empty() && after(660, "c").is_empty() && after(719, "c").is_empty());
        assert_eq!(after(720, "c"), ["k"]);
        assert!(overflow.stand(Vec::new(), Instant::now()).is_empty() && overflow.standing.is_empty());
    }
}
