//! The Accounts to which this process is writing, so that no two of its requests write to one.
//!
//! Salesforce locks an Account for whoever writes a record below it, and keeps a second one waiting for ten seconds before it
//! refuses it. Orders that name an Account are kept apart in their lanes. Whose is only remembered, by the ledger or by the
//! org, is known once the order is claimed: then it finds here whether its Account is in use. If so it waits, and is not
//! claimed again before the Account is free and its turn has come.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::order::id::{OrderId, RecordId};
use tokio::time::Instant;

/// How long an order waits whose Account is in use, before it asks again.
pub(crate) const AGAIN: Duration = Duration::from_secs(1);

/// How long others let an order go first that has not asked again: longer than its lane keeps it waiting for company and for a
/// request to be over. Who does not come by then may be in other hands.
const KEPT: Duration = Duration::from_secs(30);

/// The most orders that wait. What is forgotten loses its turn, and nothing else.
const MOST: usize = 4_096;

/// The Accounts in use, and who waits for them.
#[derive(Debug, Clone, Default)]
pub(crate) struct InFlight(Arc<Mutex<Uses>>);

#[derive(Debug, Default)]
struct Uses {
    taken: HashSet<RecordId>,
    waiting: HashMap<OrderId, Waits>,
    /// Numbers who begins to wait.
    count: u64,
}

#[derive(Debug)]
struct Waits {
    account: RecordId,
    number: u64,
    /// When it was last known to wait.
    seen: Instant,
}

/// What came of asking for an Account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The order has it.
    Has,
    /// From now on it waits.
    Waits,
    /// It waits as it did before.
    StillWaits,
}

/// What a batch has taken; others may have it once this is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Taken {
    accounts: HashSet<RecordId>,
    /// The batch's orders that got none. They can ask again when it is over.
    waiting: Vec<OrderId>,
    from: InFlight,
}

impl InFlight {
    /// Takes the Accounts of a batch's orders, but for those that others use or wait for. Orders of one batch share a request,
    /// so they may share Accounts.
    pub(crate) fn take(&self, orders: &[(&OrderId, &RecordId)], now: Instant) -> (Taken, Vec<Asked>) {
        let mut uses = self.uses();
        let batch: HashSet<&OrderId> = orders.iter().map(|(order, _)| *order).collect();
        let mut accounts = HashSet::new();
        let asked = orders.iter().map(|(order, account)| {
            if !accounts.contains(*account) && !uses.is_free_for(order, account, &batch, now) {
                return uses.wait(order, account, now);
            }
            uses.waiting.remove(*order);
            accounts.insert((*account).clone());
            Asked::Has
        });
        let asked: Vec<Asked> = asked.collect();
        uses.taken.extend(accounts.iter().cloned());
        drop(uses);
        let got_none = orders.iter().zip(&asked).filter(|(_, asked)| **asked != Asked::Has);
        let waiting = got_none.map(|((order, _), _)| (*order).clone()).collect();
        (Taken { accounts, waiting, from: self.clone() }, asked)
    }

    /// Whether this order waits for an Account, and still has to.
    pub(crate) fn still_waits(&self, order: &OrderId, now: Instant) -> bool {
        let mut uses = self.uses();
        let Some(waits) = uses.waiting.get_mut(order) else { return false };
        waits.seen = now;
        let account = waits.account.clone();
        !uses.is_free_for(order, &account, &HashSet::from([order]), now)
    }

    /// This order waits no longer, whatever became of it.
    pub(crate) fn forget(&self, order: &OrderId) {
        self.uses().waiting.remove(order);
    }

    /// Nobody waits any more: who works on the orders may have changed.
    pub(crate) fn forget_all(&self) {
        self.uses().waiting.clear();
    }

    fn uses(&self) -> MutexGuard<'_, Uses> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Uses {
    /// Whether nobody has the Account, and nobody but this batch's orders has waited for it for longer.
    fn is_free_for(&self, order: &OrderId, account: &RecordId, batch: &HashSet<&OrderId>, now: Instant) -> bool {
        if self.taken.contains(account) {
            return false;
        }
        let number = self.waiting.get(order).map_or(u64::MAX, |waits| waits.number);
        let goes_first = |(other, waits): (&OrderId, &Waits)| {
            let kept = now.saturating_duration_since(waits.seen) < KEPT;
            waits.account == *account && waits.number < number && kept && !batch.contains(other)
        };
        !self.waiting.iter().any(goes_first)
    }

    fn wait(&mut self, order: &OrderId, account: &RecordId, now: Instant) -> Asked {
        if let Some(waits) = self.waiting.get_mut(order).filter(|waits| waits.account == *account) {
            waits.seen = now;
            return Asked::StillWaits;
        }
        if self.waiting.len() >= MOST {
            self.waiting.clear();
        }
        self.count += 1;
        self.waiting.insert(order.clone(), Waits { account: account.clone(), number: self.count, seen: now });
        Asked::Waits
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut uses = self.from.uses();
        for account in &self.accounts {
            uses.taken.remove(account);
        }
        for order in &self.waiting {
            if let Some(waits) = uses.waiting.get_mut(order) {
                waits.seen = waits.seen.max(Instant::now());
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
            let (taken, asked) = self.in_flight.take(&[(&order(name), &account(number))], self.now);
            (asked == [Asked::Has]).then_some(taken)
        }

        fn still_waits(&self, name: &str) -> bool {
            self.in_flight.still_waits(&order(name), self.now)
        }
    }

    #[test]
    fn an_account_is_one_batchs_until_that_is_over() {
        let batches = Batches::new();
        let (ann, bob) = (order("ann-1"), order("bob-1"));
        let orders = [(&ann, &account(1)), (&bob, &account(1)), (&bob, &account(2))];
        let (first, asked) = batches.in_flight.take(&orders, batches.now);
        assert_eq!(asked, [Asked::Has; 3], "one request");
        let cas = order("cas-1");
        for expected in [Asked::Waits, Asked::StillWaits] {
            let (_none, asked) = batches.in_flight.take(&[(&cas, &account(1))], batches.now);
            assert_eq!(asked, [expected]);
        }
        assert!(batches.take("dee-1", 3).is_some());
        drop(first);
        assert!(batches.take("cas-1", 1).is_some());
        assert!(batches.take("ann-2", 2).is_some());
    }

    #[test]
    fn who_waits_has_the_account_in_turn_and_who_has_many_orders_too() {
        let batches = Batches::new();
        let first = batches.take("ann-1", 1);
        assert!(first.is_some());
        assert!(batches.take("bob-1", 1).is_none());
        assert!(batches.take("cas-1", 1).is_none());
        drop(first);
        assert!(batches.take("ann-2", 1).is_none(), "Bob is next");
        assert!(!batches.still_waits("bob-1") && batches.still_waits("cas-1") && batches.still_waits("ann-2"));
        let second = batches.take("bob-1", 1);
        assert!(second.is_some() && !batches.still_waits("bob-1"), "it has what it waited for");
        drop(second);
        assert!(batches.take("bob-2", 1).is_none() && batches.take("ann-2", 1).is_none(), "now Cas is");
        assert!(batches.take("cas-1", 1).is_some());
        assert!(batches.take("ann-2", 1).is_some());
    }

    #[test]
    fn a_turn_is_kept_for_who_asks_again_or_is_in_a_batch_that_is_not_over_and_lapses_then() {
        let mut batches = Batches::new();
        let first = batches.take("ann-1", 1);
        let long_batch = [(&order("bob-1"), &account(1)), (&order("dee-1"), &account(2))];
        let (long_batch, asked) = batches.in_flight.take(&long_batch, batches.now);
        assert_eq!(asked, [Asked::Waits, Asked::Has]);
        drop(first);
        drop(long_batch);
        for _ in 0..60 {
            assert!(!batches.still_waits("bob-1"), "it may ask");
            batches.now += AGAIN;
            assert!(batches.take("ann-2", 1).is_none());
        }
        batches.now += KEPT;
        assert!(batches.take("ann-2", 1).is_some(), "Bob did not come");
    }

    #[test]
    fn who_waits_no_longer_holds_nobody_up() {
        let batches = Batches::new();
        let first = batches.take("ann-1", 1);
        assert!(batches.take("bob-1", 1).is_none() && batches.take("cas-1", 1).is_none());
        drop(first);
        batches.in_flight.forget(&order("bob-1"));
        assert!(!batches.still_waits("bob-1") && !batches.still_waits("cas-1"));
        batches.in_flight.forget_all();
        assert!(batches.take("ann-2", 1).is_some());
    }
}
