//! Orders whose matched Account is known, and which go with the next batch.
//!
//! What a duplicate rule decided is not remembered anywhere else before the order is written: whoever does not find it here
//! asks the org once more and is told the same. So it may be forgotten at any time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use domain::config::OrderProcessing;
use domain::order::id::{OrderId, RecordId};
use domain::outcome::MatchExplanation;

/// The most that is kept: more orders than a process has at the heads of its lanes.
const MOST: usize = 8_192;

/// Where an order goes, and why.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Match {
    /// The Account.
    pub(crate) account: RecordId,
    /// Why.
    pub(crate) explanation: MatchExplanation,
}

/// The decisions of this process.
#[derive(Debug, Default)]
pub(crate) struct Decided(Mutex<HashMap<OrderId, (Arc<OrderProcessing>, Match)>>);

impl Decided {
    /// Keeps a decision that was made under these settings.
    pub(crate) fn keep(&self, order: OrderId, settings: &Arc<OrderProcessing>, found: Match) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST {
            kept.clear();
        }
        kept.insert(order, (Arc::clone(settings), found));
    }

    /// The decision about an order, unless the settings have been changed since.
    pub(crate) fn of(&self, order: &OrderId, settings: &Arc<OrderProcessing>) -> Option<Match> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (under, found) = kept.get(order)?;
        Arc::ptr_eq(under, settings).then(|| found.clone())
    }

    /// The order is settled, or the decision no longer holds.
    pub(crate) fn forget(&self, order: &OrderId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(order);
    }

    /// Nothing is known any more.
    pub(crate) fn forget_all(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_match() -> Match {
        let account = RecordId::parse("001B000001Lp1G2IAJ").expect("an id");
        Match { account, explanation: MatchExplanation::default() }
    }

    fn order(number: usize) -> OrderId {
        OrderId::parse(&format!("order-{number}")).expect("an id")
    }

    #[test]
    fn a_decision_holds_under_the_settings_by_which_it_was_made() {
        let (decided, settings) = (Decided::default(), Arc::new(OrderProcessing::default()));
        decided.keep(order(1), &settings, a_match());
        assert_eq!(decided.of(&order(1), &settings), Some(a_match()));
        assert_eq!(decided.of(&order(2), &settings), None);
        assert_eq!(decided.of(&order(1), &Arc::new(OrderProcessing::default())), None, "the file was read again");
        decided.forget(&order(1));
        assert_eq!(decided.of(&order(1), &settings), None);
    }

    #[test]
    fn decisions_that_nobody_asks_for_again_do_not_pile_up() {
        let (decided, settings) = (Decided::default(), Arc::new(OrderProcessing::default()));
        for number in 0..3 * MOST {
            decided.keep(order(number), &settings, a_match());
            assert!(decided.0.lock().expect("a lock").len() <= MOST);
        }
        assert!(decided.of(&order(3 * MOST - 1), &settings).is_some());
    }
}
