//! Events of which this process has the answer, and whose orders are not settled yet.
//!
//! Where the ledger forgets a claim between the answer to an event and the settlement, it refuses the settlement, and the
//! order comes again and is found written. Where no field of its record notes the event, that seems owed, and would be
//! published once more although nothing was lost but Redis. Where one does, its note says the same.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use domain::order::id::OrderId;
use domain::outcome::Written;

use super::OrderWriter;
use crate::attempt::Attempt;

/// The most that is kept: more orders than a process has in hand. What is forgotten is published once more.
const MOST: usize = 8_192;

/// What became of orders whose event was answered.
#[derive(Debug, Default)]
pub(super) struct Published(Mutex<HashMap<OrderId, Written>>);

impl Published {
    /// The org has answered the order's event.
    pub(super) fn keep(&self, order: &OrderId, written: Written) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST {
            kept.clear();
        }
        kept.insert(order.clone(), written);
    }

    /// What was written, where the org has answered the order's event.
    pub(super) fn of(&self, order: &OrderId) -> Option<Written> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(order).cloned()
    }

    fn forget(&self, order: &OrderId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(order);
    }
}

impl OrderWriter {
    /// Forgets the events of orders whose end the ledger has taken.
    pub(super) fn forget_published(&self, attempts: &[Attempt<'_>], stale: &[bool]) {
        for (attempt, _) in attempts.iter().zip(stale).filter(|(attempt, stale)| attempt.is_settled() && !**stale) {
            self.published.forget(attempt.event.order_id());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_kept_until_they_are_forgotten_and_do_not_pile_up() {
        let order = |number: usize| OrderId::parse(&format!("order-{number}")).expect("an id");
        let published = Published::default();
        published.keep(&order(1), Written::default());
        assert_eq!(published.of(&order(1)), Some(Written::default()));
        assert_eq!(published.of(&order(2)), None);
        published.forget(&order(1));
        assert_eq!(published.of(&order(1)), None);
        for number in 0..3 * MOST {
            published.keep(&order(number), Written::default());
            assert!(published.0.lock().expect("a lock").len() <= MOST);
        }
    }
}
