//! Orders that wait and will have to ask for their Account: a question has room for hundreds, and a batch has 75 orders.

use std::collections::{BTreeMap, HashMap};

use domain::mapping::AccountTrace;
use domain::order::AccountNames;

/// The most that are kept: of more the oldest are forgotten, and ask when it is their turn.
const MOST: usize = 4_096;

/// What an order that waits will ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// Under which names somebody may remember its customer by then.
    pub(crate) names: AccountNames,
    /// What it will ask otherwise.
    pub(crate) trace: AccountTrace,
}

/// Who waits, in the order in which they came; those who will ask the same count once.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    waiting: BTreeMap<u64, Waiting>,
    places: HashMap<AccountTrace, u64>,
    came: u64,
}

impl Ahead {
    pub(super) fn add(&mut self, waiting: Waiting) {
        if !self.places.contains_key(&waiting.trace) {
            self.came += 1;
            self.put(self.came, waiting);
            if self.waiting.len() > MOST {
                self.take(1);
            }
        }
    }

    fn put(&mut self, place: u64, waiting: Waiting) {
        self.places.insert(waiting.trace.clone(), place);
        self.waiting.insert(place, waiting);
    }

    /// Takes out so many of those who came first, each with its place.
    pub(super) fn take(&mut self, most: usize) -> Vec<(u64, Waiting)> {
        let taken: Vec<(u64, Waiting)> = std::iter::from_fn(|| self.waiting.pop_first()).take(most).collect();
        for (_, waiting) in &taken {
            self.places.remove(&waiting.trace);
        }
        taken
    }

    pub(super) fn give_back(&mut self, waiting: Vec<(u64, Waiting)>) {
        for (place, waiting) in waiting.into_iter().rev() {
            if self.waiting.len() < MOST && !self.places.contains_key(&waiting.trace) {
                self.put(place, waiting);
            }
        }
    }

    /// An order that would ask this waits no longer.
    pub(super) fn forget(&mut self, trace: &AccountTrace) {
        if let Some(place) = self.places.remove(trace) {
            self.waiting.remove(&place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(name: usize) -> Waiting {
        let trace = AccountTrace { external_id: Some(format!("id-{name}")), ..AccountTrace::default() };
        Waiting { names: AccountNames::default(), trace }
    }

    fn names(taken: Vec<(u64, Waiting)>) -> Vec<Waiting> {
        taken.into_iter().map(|(_, waiting)| waiting).collect()
    }

    #[test]
    fn who_came_first_is_asked_for_first_and_once() {
        let mut ahead = Ahead::default();
        for name in [1, 2, 1, 3, 2] {
            ahead.add(waiting(name));
        }
        let mut taken = ahead.take(2);
        assert_eq!(names(taken.clone()), [waiting(1), waiting(2)]);
        ahead.add(waiting(4));
        ahead.give_back(taken.split_off(1));
        assert_eq!(names(ahead.take(9)), [waiting(2), waiting(3), waiting(4)]);
        assert_eq!(names(ahead.take(9)), []);
    }

    #[test]
    fn who_no_longer_waits_is_not_asked_for() {
        let mut ahead = Ahead::default();
        for name in [1, 2, 3] {
            ahead.add(waiting(name));
        }
        ahead.forget(&waiting(2).trace);
        ahead.forget(&waiting(9).trace);
        assert_eq!(names(ahead.take(9)), [waiting(1), waiting(3)]);
        ahead.add(waiting(2));
        assert_eq!(names(ahead.take(9)), [waiting(2)]);
    }

    #[test]
    fn of_too_many_the_oldest_are_forgotten() {
        let mut ahead = Ahead::default();
        for name in 0..MOST + 2 {
            ahead.add(waiting(name));
        }
        let kept = names(ahead.take(2 * MOST));
        assert_eq!((kept.len(), &kept[0]), (MOST, &waiting(2)));
        assert!(ahead.places.is_empty());
    }
}
