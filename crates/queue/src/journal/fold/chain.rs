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
        let naming: Vec<&Letter> = naming.iter().filter_map(|id| letters.get(id)).collect();
        let place = |id: &LetterId| letters.get(id).map(|letter| place(letter, &naming));
        let mut last_two = ids.iter().rev();
        let in_place = match (last_two.next(), last_two.next()) {
            (Some(last), Some(before)) => {
                place(before) <= place(last) && !naming.iter().any(|letter| letter.id == *last)
            }
            (_, _) => true,
        };
        if !in_place {
            ids.make_contiguous().sort_by_cached_key(place);
        }
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

/// A letter's place, beside those letters of its customer that name others.
fn place(letter: &Letter, naming: &[&Letter]) -> Place {
    let entry = |letter: &Letter| letter.place.unwrap_or(u64::MAX);
    let named = naming.iter().filter_map(|other| {
        let index = other.ahead.as_ref()?.iter().position(|id| *id == letter.id)?;
        Some((entry(other), false, index))
    });
    named.chain([(entry(letter), true, 0)]).min().unwrap_or((u64::MAX, true, 0))
}

/// Sorts letters of one customer in the order in which they go.
pub fn in_order(letters: &mut [&Letter]) {
    let naming: Vec<&Letter> =
        letters.iter().copied().filter(|letter| letter.ahead.as_ref().is_some_and(|ahead| !ahead.is_empty())).collect();
    letters.sort_by_cached_key(|letter| (place(letter, &naming), letter.at));
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
