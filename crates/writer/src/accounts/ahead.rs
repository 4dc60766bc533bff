//! Orders that wait and will have to ask for their Account: a question has room for hundreds, and a batch has 75 orders.

use std::collections::{HashSet, VecDeque};

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
    waiting: VecDeque<Waiting>,
    traces: HashSet<AccountTrace>,
}

impl Ahead {
    pub(super) fn add(&mut self, waiting: Waiting) {
        if !self.traces.insert(waiting.trace.clone()) {
            return;
        }
        self.waiting.push_back(waiting);
        if self.waiting.len() > MOST {
            self.take(1);
        }
    }

    pub(super) fn take(&mut self, most: usize) -> Vec<Waiting> {
        let taken: Vec<Waiting> = self.waiting.drain(..most.min(self.waiting.len())).collect();
        for waiting in &taken {
            self.traces.remove(&waiting.trace);
        }
        taken
    }

    pub(super) fn give_back(&mut self, waiting: Vec<Waiting>) {
        for waiting in waiting.into_iter().rev() {
            if self.waiting.len() < MOST && self.traces.insert(waiting.trace.clone()) {
                self.waiting.push_front(waiting);
            }
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

    #[test]
    fn who_came_first_is_asked_for_first_and_once() {
        let mut ahead = Ahead::default();
        for name in [1, 2, 1, 3, 2] {
            ahead.add(waiting(name));
        }
        assert_eq!(ahead.take(2), [waiting(1), waiting(2)]);
        ahead.give_back(vec![waiting(2)]);
        assert_eq!(ahead.take(9), [waiting(2), waiting(3)]);
        assert_eq!(ahead.take(9), []);
    }

    #[test]
    fn of_too_many_the_oldest_are_forgotten() {
        let mut ahead = Ahead::default();
        for name in 0..MOST + 2 {
            ahead.add(waiting(name));
        }
        let kept = ahead.take(2 * MOST);
        assert_eq!((kept.len(), &kept[0]), (MOST, &waiting(2)));
        assert!(ahead.traces.is_empty());
    }
}
