//! A customer's letters in the order in which its orders came, whenever each was written, and whoever reads what of them.

use std::collections::{HashMap, HashSet, VecDeque};

use domain::dead_letter::LetterId;

use super::Letter;

/// The open letters of a customer, in the order in which they go.
#[derive(Debug, Clone, Default)]
pub(super) struct Chain {
    pub(super) letters: VecDeque<LetterId>,
    /// Those of them that name orders which go before them.
    pub(super) naming: Vec<LetterId>,
}

impl Chain {
    /// The last one was just added. Most belong there; but one that was in the lane when others found no room goes before
    /// those, whenever its letter is written, and one that was carried on has its first place.
    pub(super) fn put_last_in_place(&mut self, letters: &HashMap<LetterId, Letter>) {
        let Self { letters: ids, naming } = self;
        let named = Named::by(naming.iter().filter_map(|id| letters.get(id)));
        let place = |id: &LetterId| letters.get(id).map(|letter| named.place(letter));
        let mut last_two = ids.iter().rev();
        let in_place = match (last_two.next(), last_two.next()) {
            (Some(last), Some(before)) => place(before) <= place(last) && !naming.contains(last),
            (_, _) => true,
        };
        if !in_place {
            ids.make_contiguous().sort_by_cached_key(place);
        }
    }

    /// Which orders go before all of these letters.
    pub(super) fn passing<'a>(&self, letters: &'a HashMap<LetterId, Letter>) -> Passing<'a> {
        let named = Named::by(self.naming.iter().filter_map(|id| letters.get(id)));
        let first = self.letters.front().and_then(|first| letters.get(first));
        Passing { before: first.filter(|first| first.found_no_room()).map(|first| named.place(first)), named }
    }

    /// Takes one out. Mostly it is the first.
    pub(super) fn remove(&mut self, letter: &LetterId) {
        if self.letters.pop_front_if(|first| first == letter).is_none() {
            self.letters.retain(|id| id != letter);
        }
        self.naming.retain(|id| id != letter);
    }

    /// One will be discarded. What it says of orders that go before it holds for the next one that waits for room, too.
    pub(super) fn hand_on(&mut self, discarded: &LetterId, letters: &mut HashMap<LetterId, Letter>) {
        if !self.naming.contains(discarded) {
            return;
        }
        let waits = |id: &&LetterId| letters.get(*id).is_some_and(|next| next.ahead.is_some());
        let Some(next) = self.letters.iter().skip_while(|id| *id != discarded).skip(1).find(waits).cloned() else {
            return;
        };
        let Some(ahead) = letters.get(discarded).and_then(|letter| letter.ahead.clone()) else { return };
        let Some(heir) = letters.get_mut(&next) else { return };
        heir.ahead = heir.ahead.take().map(|own| together(ahead, own));
        if !self.naming.contains(&next) {
            self.naming.push(next);
        }
    }
}

/// How many orders a letter names at most: no customer has more in hand ([`crate::work::WorkSettings::prefetch`]), and they
/// are the last ones. The header that says so stays far below what the broker takes.
pub(in crate::journal) const MOST_AHEAD: usize = 2_000;

/// Both, each once and in the order of both; of what only one says, what was said first goes first. Of too many the last ones.
pub(super) fn together(said: Vec<LetterId>, own: Vec<LetterId>) -> Vec<LetterId> {
    let places: HashMap<LetterId, usize> = said.iter().cloned().zip(0..).collect();
    let in_own: HashSet<LetterId> = own.iter().cloned().collect();
    let mut said = said.into_iter().zip(0..).filter(|(id, _)| !in_own.contains(id)).peekable();
    let (mut both, mut apart) = (Vec::new(), Vec::new());
    for id in own {
        if let Some(place) = places.get(&id) {
            both.extend(std::iter::from_fn(|| said.next_if(|(_, other)| other < place)).map(|(id, _)| id));
            both.append(&mut apart);
            both.push(id);
        } else {
            apart.push(id);
        }
    }
    both.extend(said.map(|(id, _)| id));
    both.append(&mut apart);
    let surplus = both.len().saturating_sub(MOST_AHEAD);
    both.drain(..surplus);
    both
}

/// What a customer's letters are in order of: where the first entry of a letter lies; of one that goes before another which
/// found no room, where that one's lies.
type Place = (u64, bool, usize);

/// Which orders of a customer go before its letters: those whose place is before that of the first one, unless that was given
/// up. To be named by it is not enough: an order may come again behind others, long after it was settled, and be named by a
/// letter still; its place is before that letter then, and those that it was behind must not pass with it.
pub(crate) struct Passing<'a> {
    before: Option<Place>,
    named: Named<'a>,
}

impl Passing<'_> {
    /// Whether an order does.
    pub(crate) fn may(&self, order: &LetterId) -> bool {
        self.before.zip(self.named.0.get(order)).is_some_and(|(first, order)| *order < first)
    }
}

/// The orders that letters of a customer name, with their places.
struct Named<'a>(HashMap<&'a LetterId, Place>);

impl<'a> Named<'a> {
    fn by(naming: impl Iterator<Item = &'a Letter>) -> Self {
        let mut places = HashMap::new();
        for letter in naming {
            for (order, index) in letter.ahead.iter().flatten().zip(0..) {
                let place = (entry(letter), false, index);
                places.entry(order).and_modify(|first: &mut Place| *first = place.min(*first)).or_insert(place);
            }
        }
        Self(places)
    }

    fn place(&self, letter: &Letter) -> Place {
        let own = (entry(letter), true, 0);
        self.0.get(&letter.id).map_or(own, |named| own.min(*named))
    }
}

fn entry(letter: &Letter) -> u64 {
    letter.place.unwrap_or(u64::MAX)
}

/// Sorts letters of one customer in the order in which they go.
pub fn in_order(letters: &mut [&Letter]) {
    let named = Named::by(letters.iter().copied());
    letters.sort_by_cached_key(|letter| (named.place(letter), letter.at));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_letters_say_is_put_together_in_the_order_of_both() {
        for (said, own, both) in [
            ("56", "4567", "4567"),
            ("125", "45", "1245"),
            ("123", "6", "1236"),
            ("", "12", "12"),
            ("12", "", "12"),
            ("1235", "1246", "123546"),
            ("21", "12", "12"),
        ] {
            let ids = |text: &str| text.chars().map(|id| LetterId::from_text(id.to_string())).collect::<Vec<_>>();
            assert_eq!(together(ids(said), ids(own)), ids(both), "{said} and {own}");
        }
    }
}
