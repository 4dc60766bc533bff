//! What is open, and what was closed last, computed from the journal's entries: pure.

use std::collections::{BTreeSet, HashMap, VecDeque};

use domain::dead_letter::LetterId;
use domain::failure::Failure;

pub use self::chain::in_order;
use self::chain::{Chain, together};
use crate::journal::carrying::Carried;
use crate::journal::entry::{ACCEPTED, Before, Entry, EntryKind, MOST_TIMES_DEAD, PUBLISHED};

mod chain;
#[cfg(test)]
mod room;
#[cfg(test)]
mod tests;

/// How many closed letters are kept, so that an operator can be told how an order ended; the oldest go first. Every program
/// that follows the journal keeps them: a few megabytes.
pub const CLOSED_KEPT: usize = 5_000;

/// Of how many customers it is remembered which orders went before letters that are closed by now. What is written within
/// moments of a closing needs it, and nothing else.
const LEFT_OVER: usize = 64;

/// A letter that nobody has settled yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Letter {
    /// Its id.
    pub id: LetterId,
    /// The customer, where known.
    pub key: Option<String>,
    /// The order's identity, where known.
    pub order_id: Option<String>,
    /// The order's type, where known.
    pub order_type: Option<String>,
    /// Given up, or held behind another.
    pub state: LetterState,
    /// When it was written first, in milliseconds since 1970.
    pub at: u64,
    /// Who wrote it.
    pub by: String,
    /// Where its message lies in the journal; unknown for the moment between the append and the reading of it, and when
    /// retention has dropped it.
    pub offset: Option<u64>,
    /// Where its first entry lay, which retention may have dropped since: its place among its customer's letters.
    pub place: Option<u64>,
    /// When the entry with its message was written, in milliseconds since 1970.
    pub kept_at: u64,
    /// How much of the journal had been read before that entry, in bytes.
    pub kept_from: u64,
    /// How often it was given up, as letters before it included ([`Letter::after`]).
    pub times_dead: u32,
    /// When it was given up first, in milliseconds since 1970; `None` for one that was only held.
    pub first_dead_at: Option<u64>,
    /// When it was given up last.
    pub last_dead_at: Option<u64>,
    /// The letter that it was before it was published again.
    pub after: Option<LetterId>,
    /// When an operator last released its customer, in milliseconds since 1970.
    pub released_at: Option<u64>,
    /// Who did, where the release itself is still in the journal.
    pub released_by: Option<String>,
    /// It waits for room, and for no letter: the orders of its customer that go before it, by the letters that they would
    /// become ([`crate::journal::entry::LANE_OVERFLOW`]).
    pub ahead: Option<Vec<LetterId>>,
    /// Entries about it that we appended and have not read back.
    unread: u32,
}

impl Letter {
    /// Whether it waits for room alone, and goes by itself unless something before it was given up. It is no failure.
    pub const fn waits_for_room(&self) -> bool {
        self.ahead.is_some() && matches!(self.state, LetterState::Held(_))
    }

    /// Whether it names an order as one that goes before it.
    fn names(&self, order: &LetterId) -> bool {
        self.ahead.as_ref().is_some_and(|ahead| ahead.contains(order))
    }

    /// Since when it is as it is, in milliseconds since 1970: given up for the last time, or held.
    pub fn since(&self) -> u64 {
        self.last_dead_at.unwrap_or(self.at)
    }
}

/// A letter that was settled, published again or discarded.
#[derive(Debug, Clone, PartialEq)]
pub struct ClosedLetter {
    /// The letter as it was.
    pub letter: Letter,
    /// How it ended.
    pub ending: Ending,
    /// Who closed it: program and instance, or the operator.
    pub by: String,
    /// When, in milliseconds since 1970.
    pub at: u64,
}

/// How a letter ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// It was resolved; how is said in a word of [`crate::journal::entry`].
    Resolved(String),
    /// An operator threw it away, and said why.
    Discarded(String),
}

/// Why a letter is open.
#[derive(Debug, Clone, PartialEq)]
pub enum LetterState {
    /// It was given up.
    Dead(Failure),
    /// It waits behind this letter of its customer.
    Held(LetterId),
}

/// The open letters, by customer and in the order in which they were written, and the last closed ones.
#[derive(Debug, Clone, Default)]
pub struct Fold {
    letters: HashMap<LetterId, Letter>,
    chains: HashMap<String, Chain>,
    /// The customers whose first letter waits for room.
    for_room: BTreeSet<String>,
    /// Orders that went before letters of a customer of which none is left, for the next that finds no room: the last ones.
    left_over: VecDeque<(String, Vec<LetterId>)>,
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
        self.chains.get(key)?.letters.first()
    }

    /// The letter that an order has to wait behind: its customer's first, unless that waits for room and names the order as
    /// one that goes before it.
    pub fn before(&self, key: &str, order: &LetterId) -> Option<&LetterId> {
        let first = self.first(key)?;
        let lets_it_pass = |letter: &Letter| letter.waits_for_room() && letter.names(order);
        Some(first).filter(|first| !self.letters.get(*first).is_some_and(lets_it_pass))
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
        self.for_room.iter().flat_map(|key| self.chain(key).into_iter().take_while(|letter| letter.waits_for_room()))
    }

    /// The open letters of a customer, oldest first.
    pub fn chain(&self, key: &str) -> Vec<&Letter> {
        let ids = self.chains.get(key).into_iter().flat_map(|chain| &chain.letters);
        ids.filter_map(|id| self.letters.get(id)).collect()
    }

    /// An open letter.
    pub fn letter(&self, id: &LetterId) -> Option<&Letter> {
        self.letters.get(id)
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
        let letter = self.letters.get_mut(id).filter(|letter| letter.offset == Some(offset));
        letter.map(|letter| letter.offset = None).is_some()
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
        self.closed.remove(id);
        let ahead = entry.ahead.clone().map(|own| together(self.take_left_over(entry.key.as_deref()), own));
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
        chain.letters.push(id.clone());
        if names_others {
            chain.naming.push(id);
        }
        chain.put_last_in_place(&self.letters);
        self.look_for_room(&key);
    }

    /// An operator may throw away what said which orders go first, while one that comes behind them is being written.
    fn take_left_over(&mut self, key: Option<&str>) -> Vec<LetterId> {
        let index = self.left_over.iter().position(|(other, _)| Some(other.as_str()) == key);
        index.and_then(|index| self.left_over.remove(index)).map(|(_, ahead)| ahead).unwrap_or_default()
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
        let key = self.letters.get(id).and_then(|letter| letter.key.clone());
        if let Some(key) = key
            && let Some(chain) = self.chains.get_mut(&key)
            && let Some(left) = chain.hand_on(id, &mut self.letters)
        {
            self.left_over.retain(|(other, _)| *other != key);
            self.left_over.push_back((key, left));
            if self.left_over.len() > LEFT_OVER {
                self.left_over.pop_front();
            }
        }
        let Some(letter) = self.take_out(id) else {
            // "Published" was not the last word.
            if let Some((_, closed)) = self.closed.get_mut(id)
                && closed.ending == Ending::Resolved(PUBLISHED.to_owned())
            {
                *closed = ClosedLetter { letter: closed.letter.clone(), ending, by: entry.by.clone(), at: entry.at };
            }
            return;
        };
        self.closing += 1;
        let no_failure = letter.waits_for_room() && matches!(ending, Ending::Resolved(_));
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
