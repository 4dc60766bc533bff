//! Hot and slow customers: no lane takes the room of all others.
//!
//! What finds no room ([`Room`]) waits in the journal, and its delivery is acknowledged: an order beyond what its customer's
//! lane may hold, and lanes whose head is tried again later, where they hold too much together. What comes after such an
//! order goes there, too, until very much waits there: then it stays in the lane, and takes up the window. Once there is room
//! in the journal again, the lane goes there as a whole.
//!
//! # Order
//!
//! An entry names the orders that were in hand before its own. So whoever works on the customer next knows, after any crash,
//! which of what is delivered again goes before those in the journal, and which behind them. Orders may come twice, at once or
//! long after they were settled: of a copy the same is said, and it lets nothing pass that it came behind. Entries of a customer are
//! appended one at a time, as they came: each customer has a line here, beside its lane, that needs none of the places that
//! batches have, and waits for no answer of the org.
//!
//! Whatever comes to the head of a customer's lane and is behind orders in the journal lets those go before it: a later order,
//! or, where none came, a control message. Two things are asked first, for every letter ([`Generation::may_go`]): that
//! something came by this subscription which nobody was delivered before, because all that was given back has come by then;
//! and that neither the order of the letter nor one that it names is in hand. What it names is settled then, or has its own
//! place in the journal, before it. So a control message that is late, early, or one too many lets nothing go that may not.
//!
//! # Nobody waits for ever
//!
//! The owner of a partition sends a control message when a lane is empty and others of its customer wait in the journal. Should
//! it die before, with nothing left in the partition that would tell the next one of its luck, somebody else wakes that one:
//! whoever subscribes, and every other subscriber while nothing happens.

mod letting_in;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use domain::dead_letter::LetterId;
use domain::story::What;
use tokio::time::Instant;

use self::letting_in::{Coming, Standing};
use super::taking_over::Ownership;
use super::{Done, Generation};
use crate::error::Error;
use crate::handler::{Handler, Job, note};
use crate::journal::entry::LANE_OVERFLOW;
use crate::lanes::ItemId;
use crate::lanes::room::Room;
use crate::message::Message;
use crate::settle::{Answer, Behind, jittered};
use crate::topology::Queue;
use crate::work::{Letters, TURN};

/// What goes into the journal and comes out of it for want of room.
pub(super) struct Overflow {
    /// Orders that go into the journal, by customer, in the order in which they came.
    lines: HashMap<String, Line>,
    /// The customers of each queue that are let in.
    coming: HashMap<Queue, Coming>,
    /// Before when a customer is not let in.
    not_before: HashMap<String, Instant>,
    /// When to look for customers whom nothing else lets in: an operator discarded what they waited for, or their partition
    /// has no owner who knows.
    look_at: Instant,
    /// Of each partition that is another's a letter that waits there.
    standing: HashMap<Queue, Standing>,
}

/// How long a customer waits of whom nothing could be let in.
const FUTILE: Duration = Duration::from_secs(5);

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
            coming: HashMap::new(),
            not_before: HashMap::new(),
            look_at: Instant::now() + TURN,
            standing: HashMap::new(),
        }
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

    /// A queue is let go of: what was to come comes to another.
    pub(super) fn lets_go(&mut self, queue: Queue, of: impl Fn(&str) -> bool) {
        self.coming.remove(&queue);
        self.not_before.retain(|key, _| !of(key));
    }

    /// When a customer is let in at the earliest, where that is not yet.
    pub(super) fn waits_until(&self, key: &str) -> Option<Instant> {
        self.not_before.get(key).copied().filter(|at| *at > Instant::now())
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
        if self.overflow.lines.contains_key(key) {
            return true;
        }
        let finds_none = if self.settler.follows_overflow(job) {
            !self.is_after_what_stays(key)
        } else {
            !self.has_room(key, job.queue)
        };
        finds_none && !self.is_full(job.queue)
    }

    /// Whether the last order in a customer's lane belongs into the journal, which was full: what comes after it stays with it
    /// until the lane is moved, instead of going there before it.
    fn is_after_what_stays(&self, key: &str) -> bool {
        let last = self.lanes.last_of(key).and_then(|id| self.jobs.get(&id));
        last.is_some_and(|last| !last.control && self.settler.follows_overflow(last)) && self.may_be_moved(key)
    }

    /// Whether so many orders of a queue wait in the journal that the rest has to wait in the queue.
    fn is_full(&self, queue: Queue) -> bool {
        self.settler.overflowed_of(queue) >= self.room().most_elsewhere()
    }

    /// Whether all that was given back of a queue has come: it goes before everything that nobody was delivered before.
    fn came_anew(&self, queue: Queue) -> bool {
        self.holdings.get(&queue).is_some_and(|holding| holding.came_anew)
    }

    /// Whether an order that is behind others of its customer in the journal lets those go before it, instead of waiting there,
    /// too. That happens where there is no room for it in the journal.
    pub(super) fn lets_others_in(&self, job: &Job<H::Item>, behind: &Behind) -> bool {
        self.came_anew(job.queue) && behind.for_room
    }

    /// Whether an order at the head of its lane, which is behind others in the journal, goes there with its lane: there is
    /// room again, and the lane takes more of the window than any may have.
    pub(super) fn goes_with_its_lane(&self, key: &str, job: &Job<H::Item>) -> bool {
        self.lanes.depth(key) > self.room().least()
            && self.may_be_moved(key)
            && !self.stop_reading.is_cancelled()
            && !self.is_full(job.queue)
    }

    /// The same of a control message that lets orders in: what is behind it would take the window until all of them are written.
    pub(super) fn is_moved_instead(&self, control: &Job<H::Item>) -> bool {
        let lets_in = control.key.as_deref().filter(|_| control.message.id == LANE_OVERFLOW);
        lets_in.is_some_and(|key| self.settler.waits_for_room(key) && self.goes_with_its_lane(key, control))
    }

    /// Whether a lane may go into the journal as a whole. An order of nobody has no lane to come back to. What an operator
    /// released stays where it is; and what came later must not arrive first where it is on its way already.
    fn may_be_moved(&self, key: &str) -> bool {
        let jobs = || self.lanes.items_of(key).into_iter().filter_map(|id| self.jobs.get(&id));
        let of_operator = jobs().any(|job| job.control && job.message.id != LANE_OVERFLOW);
        let of_customer = jobs().next().is_some_and(|first| first.key.as_deref() == Some(key));
        of_customer && !of_operator && !self.overflow.lines.contains_key(key)
    }

    /// Keeps those of a customer's letters that may go now: they are still the customer's first, whatever was
    /// appended since they were read; and one that waits for room goes when all that was given back has come, and neither its
    /// order nor one that it names is in hand.
    pub(super) fn may_go(&self, key: &str, queue: Queue, letters: &mut Vec<(LetterId, Message)>) {
        let in_hand = self.came_anew(queue).then(|| self.in_hand(key));
        let may = self.settler.may_go(key, letters.iter().map(|(letter, _)| letter), in_hand.as_ref());
        letters.retain(|(letter, _)| may.contains(letter));
    }

    /// The orders of a customer that were delivered, by the letters that they would become. What was let in is in the journal.
    fn in_hand(&self, key: &str) -> HashSet<LetterId> {
        let items = self.lanes.items_of(key);
        let others = self.overflow.lines.get(key).into_iter().flat_map(|line| &line.items);
        let jobs = items.iter().chain(others).filter_map(|id| self.jobs.get(id));
        jobs.filter(|job| !job.control && job.letter.is_none()).map(|job| job.own_letter().clone()).collect()
    }

    /// A control message lets nothing in. Where nothing else would do so later, it is tried again after a while.
    pub(super) fn lets_in_nothing(&mut self, control: &Job<H::Item>) {
        let Some(key) = control.key.as_deref().filter(|_| control.message.id == LANE_OVERFLOW) else { return };
        let is_alone = self.lanes.depth(key) <= 1 && !self.overflow.lines.contains_key(key);
        if is_alone && self.came_anew(control.queue) && self.settler.waits_for_room(key) {
            self.overflow.not_before.entry(key.to_owned()).or_insert_with(|| Instant::now() + jittered(FUTILE));
        }
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
        if self.came_anew(job.queue) && self.is_full(job.queue) {
            self.back_into_lane(key);
            return;
        }
        let Some(line) = self.overflow.lines.get_mut(key) else { return };
        (line.busy, line.again_at) = (true, None);
        let before = self.lanes.items_of(key);
        let before = before.iter().filter_map(|id| self.jobs.get(id)).filter(|job| !job.control);
        let place = self.settler.place(&job, before.map(Arc::as_ref));
        let (settler, handler, key) = (Arc::clone(&self.settler), Arc::clone(&self.handler), key.to_owned());
        self.tasks.spawn(async move {
            let answer = settler.overflow(handler.as_ref(), &job, place).await;
            Done::Overflowed(key, id, answer)
        });
    }

    /// There is no room for them in the journal, either.
    fn back_into_lane(&mut self, key: &str) {
        for id in self.overflow.lines.remove(key).into_iter().flat_map(|line| line.items) {
            if let Some(job) = self.jobs.get(&id) {
                self.lanes.delivered(self.now(), id, key, &job.shares);
            }
        }
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
            self.wake_others(now);
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
            let items = self.lanes.items_of(key);
            let Some(first) = items.first().and_then(|id| self.jobs.get(id)) else { continue };
            let items = items.iter().filter(|id| self.is_delivery(**id)).count();
            let (held, lanes) = waiting.entry(first.queue).or_default();
            *held += items;
            // Of one that died there is only to tell, which nobody would do after it went back.
            if !first.given_up.load(Relaxed) && self.may_be_moved(key) {
                lanes.push((items, (key.to_owned(), self.started + until)));
            }
        }
        for (queue, (held, lanes)) in waiting {
            if held <= room.most_waiting() || self.is_full(queue) {
                continue;
            }
            for (key, until) in room.to_be_moved(held, lanes) {
                // It is let in when its head would have gone again.
                self.overflow.not_before.insert(key.clone(), until);
                self.move_away(&key);
            }
        }
    }

    /// A lane goes into the journal as a whole, its oldest order first. What came from there only goes back.
    pub(super) fn move_away(&mut self, key: &str) {
        let mut orders = VecDeque::new();
        for id in self.lanes.take_out(self.now(), key) {
            let Some(job) = self.jobs.get(&id).cloned() else { continue };
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
