//! The Accounts to which this process is writing, so that no two of its requests write to one.
//!
//! Salesforce locks an Account for whoever writes a record below it, and keeps a second one waiting for ten seconds before it
//! refuses it. Orders that name an Account are kept apart in their lanes. Whose is only remembered, by the ledger or by the
//! org, is known once the order is claimed: then it finds here whether its Account is in use, and waits.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::order::id::{OrderId, RecordId};
use tokio::time::Instant;

/// How long an order waits whose Account is in use, before it asks again.
pub(crate) const AGAIN: Duration = Duration::from_secs(1);

/// How long the next turn is kept for whoever found the Account in use. Who does not come by then may have died.
const KEPT: Duration = Duration::from_secs(10);

/// The Accounts in use.
#[derive(Debug, Clone, Default)]
pub(crate) struct InFlight(Arc<Mutex<HashMap<RecordId, Use>>>);

#[derive(Debug, Default)]
struct Use {
    /// A batch has it.
    taken: bool,
    /// Whose turn is next, and how long it is kept: otherwise a customer with many orders would never let another one in.
    next: Option<(OrderId, Instant)>,
}

/// What a batch has taken; others may have it once this is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Taken {
    accounts: HashSet<RecordId>,
    from: InFlight,
}

impl InFlight {
    /// Takes the Accounts of a batch's orders, but for those that others use or are to use next. Returns with what was taken
    /// whether each order has its Account. Orders of one batch share a request, so they may share Accounts.
    pub(crate) fn take(&self, orders: &[(&OrderId, &RecordId)], now: Instant) -> (Taken, Vec<bool>) {
        let mut uses = self.uses();
        let kept = |one: &Use| one.next.as_ref().filter(|(_, until)| *until > now).map(|(order, _)| order.clone());
        uses.retain(|_, one| one.taken || kept(one).is_some());
        let mut accounts = HashSet::new();
        let waiting: HashSet<&OrderId> = orders.iter().map(|(order, _)| *order).collect();
        let has = |(order, account): &(&OrderId, &RecordId)| {
            if accounts.contains(*account) {
                return true;
            }
            let one = uses.entry((*account).clone()).or_default();
            let next = kept(one);
            if one.taken || next.as_ref().is_some_and(|next| !waiting.contains(next)) {
                // It asks again in time; whoever was there first stays the next one.
                if next.is_none_or(|next| next == **order) {
                    one.next = Some(((*order).clone(), now + KEPT));
                }
                return false;
            }
            *one = Use { taken: true, next: None };
            accounts.insert((*account).clone())
        };
        let has = orders.iter().map(has).collect();
        drop(uses);
        (Taken { accounts, from: self.clone() }, has)
    }

    fn uses(&self) -> MutexGuard<'_, HashMap<RecordId, Use>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut uses = self.from.uses();
        for account in &self.accounts {
            if let Some(one) = uses.get_mut(account) {
                one.taken = false;
            }
            if uses.get(account).is_some_and(|one| one.next.is_none()) {
                uses.remove(account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(name: &str) -> OrderId {
        OrderId::parse(name).expect("an order's id")
    }

    fn account(number: u32) -> RecordId {
        RecordId::parse(&format!("001000000{number:06}")).expect("a record's id")
    }

    /// Batches of one order, at a time.
    struct Batches {
        in_flight: InFlight,
        now: Instant,
    }

    impl Batches {
        fn new() -> Self {
            Self { in_flight: InFlight::default(), now: Instant::now() }
        }

        /// Takes this Account for this order.
        fn take(&self, name: &str, number: u32) -> Option<Taken> {
            let (taken, has) = self.in_flight.take(&[(&order(name), &account(number))], self.now);
            (has == [true]).then_some(taken)
        }
    }

    #[test]
    fn an_account_is_one_batchs_until_that_is_over() {
        let batches = Batches::new();
        let (ann, bob) = (order("ann-1"), order("bob-1"));
        let orders = [(&ann, &account(1)), (&bob, &account(1)), (&bob, &account(2))];
        let (first, has) = batches.in_flight.take(&orders, batches.now);
        assert_eq!(has, [true, true, true], "one request");
        assert!(batches.take("cas-1", 1).is_none());
        assert!(batches.take("dee-1", 3).is_some());
        drop(first);
        assert!(batches.take("cas-1", 1).is_some());
        assert!(batches.take("ann-2", 2).is_some());
    }

    #[test]
    fn who_found_it_in_use_is_next_and_who_has_many_orders_waits_in_turn() {
        let batches = Batches::new();
        let first = batches.take("ann-1", 1);
        assert!(first.is_some());
        assert!(batches.take("bob-1", 1).is_none());
        assert!(batches.take("cas-1", 1).is_none());
        drop(first);
        assert!(batches.take("ann-2", 1).is_none(), "Bob is next");
        let second = batches.take("bob-1", 1);
        assert!(second.is_some());
        assert!(batches.take("ann-2", 1).is_none());
        drop(second);
        assert!(batches.take("bob-2", 1).is_none(), "now Ann is");
        assert!(batches.take("ann-2", 1).is_some());
    }

    #[test]
    fn a_turn_is_kept_while_it_is_asked_for_and_no_longer_and_nothing_is_kept_of_what_is_over() {
        let mut batches = Batches::new();
        let first = batches.take("ann-1", 1);
        for _ in 0..30 {
            assert!(batches.take("bob-1", 1).is_none());
            batches.now += AGAIN;
        }
        drop(first);
        assert!(batches.take("ann-2", 1).is_none());
        batches.now += KEPT;
        let second = batches.take("ann-3", 1);
        assert!(second.is_some(), "Bob did not come");
        drop(second);
        assert!(batches.in_flight.uses().is_empty());
    }
}
