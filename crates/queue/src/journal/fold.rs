//! What is open, and what was closed last, computed from the journal's entries: pure.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use domain::dead_letter::LetterId;

pub use self::chain::in_order;
use self::chain::{Chain, Passing, together};
pub use self::letter::{ClosedLetter, Ending, Letter, LetterState};
use crate::journal::carrying::Carried;
use crate::journal::entry::{ACCEPTED, Before, Entry, EntryKind, MOST_TIMES_DEAD, PUBLISHED};

pub(super) mod chain;
mod letter;
#[cfg(test)]
mod room;
#[cfg(test)]
mod tests;

/// How many closed letters are kept, so that an operator can be told how an order ended; the oldest go first. Every program
/// that follows the journal keeps them: a few megabytes.
pub const CLOSED_KEPT: usize = 5_000;

/// The open letters, by customer and in the order in which they were written, and the last closed ones.
#[derive(Debug, Clone, Default)]
pub struct Fold {
    letters: HashMap<LetterId, Letter>,
    chains: HashMap<String, Chain>,
    /// The customers whose first letter waits for room.
    for_room: BTreeSet<String>,
    closed: HashMap<LetterId, (u64, ClosedLetter)>,
    /// In the order in which they were closed, numbered. One that was opened and closed once more is in here twice.
    closings: VecDeque<(u64, LetterId)>,
    /// The same of letters that had waited for room and were no failures: they take no room from others.
    closings_for_room: VecDeque<(u64, LetterId)>,
    closing: u64,
    read_bytes: u64,
}

impl Fold {
    /// Takes in an entry. `offset` is its place, or `None` when it was appended by ourselves and not read back yet.
    /// Taking in the same entry again changes nothing but the offset.
    pub fn apply(&mut self, offset: Option<u64>, entry: &Entry) {
        match (&entry.kind, &entry.letter) {
            (EntryKind::Dead { failure }, Some(id)) => self.open(offset, id, entry, LetterState::Dead(failure.clone())),
            (EntryKind::Held { behind }, Some(id)) => self.open(offset, id, entry, LetterState::Held(behind.clone())),
            (EntryKind::Resolved { how }, Some(id)) => self.close(id, entry, Ending::Resolved(how.clone())),
            (EntryKind::Discarded { why }, Some(id)) => self.close(id, entry, Ending::Discarded(why.clone())),
            (EntryKind::Carried(carried), Some(id)) => self.carry(offset, id, entry, carried),
            (EntryKind::Released { .. }, _) => {
                let chain = entry.key.as_ref().and_then(|key| self.chains.get(key));
                for id in chain.into_iter().flat_map(|chain| &chain.letters) {
                    if let Some(letter) = self.letters.get_mut(id) {
                        letter.released_at = Some(entry.at);
                        letter.released_by = Some(entry.by.clone());
                    }
                }
            }
            (
                EntryKind::Dead { .. }
                | EntryKind::Held { .. }
                | EntryKind::Resolved { .. }
                | EntryKind::Carried(_)
                | EntryKind::Discarded { .. },
                None,
            )
            | (EntryKind::Barrier { .. }, _) => {}
        }
    }

    /// So many bytes of the journal were read, of whatever kind.
    pub fn passed(&mut self, bytes: u64) {
        self.read_bytes = self.read_bytes.saturating_add(bytes);
    }

    /// How much of the journal was read, in bytes.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// Whether a customer has an open letter, so that later orders have to wait.
    pub fn is_blocked(&self, key: &str) -> bool {
        self.chains.contains_key(key)
    }

    /// The oldest open letter of a customer.
    pub fn first(&self, key: &str) -> Option<&LetterId> {
        self.chains.get(key)?.letters.front()
    }

    /// The letter that an order has to wait behind: its customer's first, unless that waits for room and the order goes
    /// before it.
    pub fn before(&self, key: &str, order: &LetterId) -> Option<&LetterId> {
        self.passing(key).filter(|passing| !passing.may(order)).and_then(|_| self.first(key))
    }

    /// Which orders of a customer go before its letters; `None` where there are none.
    pub(crate) fn passing(&self, key: &str) -> Option<Passing<'_>> {
        self.chains.get(key).map(|chain| chain.passing(&self.letters))
    }

    /// Whether a customer's orders wait for nothing but room.
    pub fn waits_for_room(&self, key: &str) -> bool {
        self.for_room.contains(key)
    }

    /// The customers whose orders wait for nothing but room.
    pub fn waiting_for_room(&self) -> impl Iterator<Item = &str> {
        self.for_room.iter().map(String::as_str)
    }

    /// Letters that wait for nothing but room: no failures.
    pub fn overflowed(&self) -> impl Iterator<Item = &Letter> {
        self.for_room.iter().flat_map(|key| self.line(key).take_while(|letter| letter.waits_for_room()))
    }

    /// How many letters the customers have whose orders wait for nothing but room.
    pub fn waiting_behind_room(&self) -> impl Iterator<Item = (&str, usize)> {
        self.for_room.iter().map(|key| (key.as_str(), self.chains.get(key).map_or(0, |chain| chain.letters.len())))
    }

    /// The open letters of a customer, oldest first.
    pub fn chain(&self, key: &str) -> Vec<&Letter> {
        self.line(key).collect()
    }

    /// The same, as many as are asked for.
    pub fn line(&self, key: &str) -> impl Iterator<Item = &Letter> {
        let ids = self.chains.get(key).into_iter().flat_map(|chain| &chain.letters);
        ids.filter_map(|id| self.letters.get(id))
    }

    /// Which of these letters of a customer may go now: those that are open and its first still, without those that are lost,
    /// because others may have come between them since they were read. One that waits for room goes only while neither its
    /// order nor one that it names is in hand; none does where what is in hand is not all that may be (`None`).
    pub fn may_go<'a>(
        &self,
        key: &str,
        letters: impl IntoIterator<Item = &'a LetterId>,
        in_hand: Option<&HashSet<LetterId>>,
    ) -> Vec<LetterId> {
        let open = letters.into_iter().filter_map(|id| self.letters.get(id));
        let waits =
            |letter: &Letter| letter.waits_for_room() && in_hand.is_none_or(|in_hand| letter.comes_after(in_hand));
        let line = self.line(key).filter(|letter| !letter.is_lost());
        let first = open.zip(line).take_while(|(letter, first)| letter.id == first.id && !waits(letter));
        first.map(|(letter, _)| letter.id.clone()).collect()
    }

    /// An open letter.
    pub fn letter(&self, id: &LetterId) -> Option<&Letter> {
        self.letters.get(id)
    }

    /// Every open letter, in no order.
    pub fn letters(&self) -> impl Iterator<Item = &Letter> {
        self.letters.values()
    }

    /// Every open letter, oldest first.
    pub fn open_letters(&self) -> Vec<&Letter> {
        let mut letters: Vec<_> = self.letters.values().collect();
        letters.sort_by(|a, b| (a.at, a.offset, &a.id).cmp(&(b.at, b.offset, &b.id)));
        letters
    }

    /// The letters that were closed last, the latest first, at most [`CLOSED_KEPT`]; without those that had waited for room
    /// and were settled.
    pub fn closed_letters(&self) -> Vec<&ClosedLetter> {
        let closed = self.closings.iter().rev().filter_map(|(number, id)| {
            self.closed.get(id).filter(|(current, _)| current == number).map(|(_, letter)| letter)
        });
        closed.collect()
    }

    /// How many letters are open.
    pub fn len(&self) -> usize {
        self.letters.len()
    }

    /// When the oldest open letter became one, in milliseconds since 1970. What waits for room is none.
    pub fn oldest_at(&self) -> Option<u64> {
        self.letters.values().filter(|letter| !letter.waits_for_room()).map(|letter| letter.at).min()
    }

    /// Whether no letter is open.
    pub fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// How many customers are blocked.
    pub fn blocked_keys(&self) -> usize {
        self.chains.len()
    }

    /// Retention has dropped the entry with a letter's message, which lay there: nothing of it can be read any more. Returns
    /// whether it is open all the same.
    pub fn dropped(&mut self, id: &LetterId, offset: u64) -> bool {
        let Some(letter) = self.letters.get_mut(id).filter(|letter| letter.offset == Some(offset)) else {
            return false;
        };
        letter.offset = None;
        if let Some(key) = letter.key.clone() {
            self.look_for_room(&key);
        }
        true
    }

    fn open(&mut self, offset: Option<u64>, id: &LetterId, entry: &Entry, state: LetterState) {
        if let Some(letter) = self.letters.get_mut(id) {
            // What we appended ourselves comes a second time when it is read back.
            let read_back = offset.is_some() && letter.unread > 0;
            letter.unread = if read_back { letter.unread - 1 } else { letter.unread + u32::from(offset.is_none()) };
            if !read_back && offset != letter.offset && matches!(state, LetterState::Dead(_)) {
                letter.times_dead = (letter.times_dead + 1).min(MOST_TIMES_DEAD);
                letter.first_dead_at = letter.first_dead_at.or(Some(entry.at));
                letter.last_dead_at = Some(entry.at);
                letter.released_at = None;
                letter.released_by = None;
            }
            // A letter that was given up is not merely held, whatever is appended late.
            if !matches!((&letter.state, &state), (LetterState::Dead(_), LetterState::Held(_))) {
                letter.state = state;
            }
            if letter.offset.is_none() && offset.is_some() {
                (letter.offset, letter.place) = (offset, letter.place.or(offset));
                (letter.kept_at, letter.kept_from) = (entry.at, self.read_bytes);
            }
            if let Some(key) = letter.key.clone() {
                self.look_for_room(&key);
            }
            return;
        }
        let ahead = entry.ahead.clone().map(|own| together(self.said_by(&state, entry), own));
        self.closed.remove(id);
        let died = matches!(state, LetterState::Dead(_));
        let before = Before::of(&entry.message);
        let times_before = before.as_ref().map_or(0, |before| before.times_dead);
        let first_before = before.as_ref().and_then(|before| before.first_dead_at).map(|at| at.min(entry.at));
        let letter = Letter {
            id: id.clone(),
            key: entry.key.clone(),
            order_id: entry.order_id.clone(),
            order_type: entry.order_type.clone(),
            state,
            at: entry.at,
            by: entry.by.clone(),
            offset,
            place: offset,
            kept_at: entry.at,
            kept_from: self.read_bytes,
            times_dead: (times_before + u32::from(died)).min(MOST_TIMES_DEAD),
            first_dead_at: first_before.or(died.then_some(entry.at)),
            last_dead_at: died.then_some(entry.at),
            after: before.map(|before| before.letter),
            released_at: None,
            released_by: None,
            ahead,
            unread: u32::from(offset.is_none()),
        };
        self.line_up(letter);
    }

    /// Puts a letter at its place among its customer's; one whose place is not known yet is the last.
    fn line_up(&mut self, letter: Letter) {
        let (id, key) = (letter.id.clone(), letter.key.clone());
        let names_others = letter.ahead.as_ref().is_some_and(|ahead| !ahead.is_empty());
        self.letters.insert(id.clone(), letter);
        let Some(key) = key else { return };
        let chain = self.chains.entry(key.clone()).or_default();
        chain.letters.push_back(id.clone());
        if names_others {
            chain.naming.push(id);
        }
        chain.put_last_in_place(&self.letters);
        self.look_for_room(&key);
    }

    /// An operator may throw away what said which orders go first, while one that comes behind it and relies on that is being
    /// written, or a copy of it: the orders that the discarded one named.
    fn said_by(&self, state: &LetterState, entry: &Entry) -> Vec<LetterId> {
        let LetterState::Held(behind) = state else { return Vec::new() };
        let discarded = self.closed.get(behind).map(|(_, closed)| closed);
        let discarded = discarded.filter(|closed| matches!(closed.ending, Ending::Discarded(_)));
        let of_it =
            discarded.filter(|closed| closed.letter.key == entry.key).and_then(|closed| closed.letter.ahead.clone());
        of_it.unwrap_or_default()
    }

    /// A customer's first letter may have changed.
    fn look_for_room(&mut self, key: &str) {
        let waits = self.first(key).and_then(|first| self.letters.get(first)).is_some_and(Letter::waits_for_room);
        if waits && !self.for_room.contains(key) {
            self.for_room.insert(key.to_owned());
        } else if !waits {
            self.for_room.remove(key);
        }
    }

    /// Takes a letter out of its customer's line.
    fn take_out(&mut self, id: &LetterId) -> Option<Letter> {
        let letter = self.letters.remove(id)?;
        if let Some(key) = &letter.key
            && let Some(chain) = self.chains.get_mut(key)
        {
            chain.remove(id);
            if chain.letters.is_empty() {
                self.chains.remove(key);
            }
            self.look_for_room(key);
        }
        Some(letter)
    }

    /// A letter was appended again. What we appended ourselves counts when it is read back.
    fn carry(&mut self, offset: Option<u64>, id: &LetterId, entry: &Entry, carried: &Carried) {
        let Some(here) = offset else { return };
        if let Some(mut letter) = self.take_out(id) {
            if letter.offset < offset {
                (letter.offset, letter.kept_at, letter.kept_from) = (offset, entry.at, self.read_bytes);
            }
            // Of a letter that failed again, a reader may know no more than its last death: retention dropped what was before.
            let first = carried.place.min(here);
            if letter.place.is_none_or(|place| first < place) {
                (letter.place, letter.at, letter.by) = (Some(first), carried.at, carried.by.clone());
            }
            letter.first_dead_at = letter.first_dead_at.into_iter().chain(carried.first_dead_at).min();
            letter.times_dead = letter.times_dead.max(carried.times_dead.min(MOST_TIMES_DEAD));
            if let Some(ahead) = &entry.ahead {
                letter.ahead = Some(together(letter.ahead.take().unwrap_or_default(), ahead.clone()));
            }
            self.line_up(letter);
            return;
        }
        // It was settled after whoever carried it had looked.
        if self.closed.contains_key(id) {
            return;
        }
        let Carried { state, at, by, place: first, times_dead, first_dead_at, last_dead_at, released_at } =
            carried.clone();
        self.line_up(Letter {
            id: id.clone(),
            key: entry.key.clone(),
            order_id: entry.order_id.clone(),
            order_type: entry.order_type.clone(),
            state,
            at,
            by,
            offset,
            place: Some(first.min(here)),
            kept_at: entry.at,
            kept_from: self.read_bytes,
            times_dead: times_dead.min(MOST_TIMES_DEAD),
            first_dead_at,
            last_dead_at,
            after: Before::of(&entry.message).map(|before| before.letter),
            released_at,
            released_by: None,
            ahead: entry.ahead.clone(),
            unread: 0,
        });
    }

    fn close(&mut self, id: &LetterId, entry: &Entry, ending: Ending) {
        let accepted = ending == Ending::Resolved(ACCEPTED.to_owned());
        // Only what has no customer is published again; a header must not let a customer's orders go.
        if accepted && self.letters.get(id).is_some_and(|letter| letter.key.is_some()) {
            return;
        }
        // One that was settled went when all that it names was gone.
        if matches!(ending, Ending::Discarded(_))
            && let Some(key) = self.letters.get(id).and_then(|letter| letter.key.clone())
            && let Some(chain) = self.chains.get_mut(&key)
        {
            chain.hand_on(id, &mut self.letters);
        }
        let Some(mut letter) = self.take_out(id) else {
            // "Published" was not the last word.
            if let Some((_, closed)) = self.closed.get_mut(id)
                && closed.ending == Ending::Resolved(PUBLISHED.to_owned())
            {
                *closed = ClosedLetter { letter: closed.letter.clone(), ending, by: entry.by.clone(), at: entry.at };
            }
            return;
        };
        self.closing += 1;
        let no_failure = letter.found_no_room() && matches!(ending, Ending::Resolved(_));
        // What it names is gone. Of one that was discarded it may be asked for yet.
        if matches!(ending, Ending::Resolved(_)) {
            letter.ahead = letter.ahead.map(|_| Vec::new());
        }
        let closings = if no_failure { &mut self.closings_for_room } else { &mut self.closings };
        closings.push_back((self.closing, id.clone()));
        let closed = ClosedLetter { letter, ending, by: entry.by.clone(), at: entry.at };
        self.closed.insert(id.clone(), (self.closing, closed));
        if closings.len() > CLOSED_KEPT
            && let Some((number, oldest)) = closings.pop_front()
            && self.closed.get(&oldest).is_some_and(|(current, _)| *current == number)
        {
            self.closed.remove(&oldest);
        }
    }
}
