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

/// How long others let an order go first that has not asked again since its batch was over: longer than its lane keeps it
/// waiting for company and for its turn in a request. Who does not come by then may be in other hands.
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
    /// When the last batch was over that had it; `None` while one has it.
    seen: Option<Instant>,
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

/// The orders of a batch. While it lasts, none of them loses its turn.
#[derive(Debug)]
#[must_use]
pub(crate) struct InBatch {
    orders: Vec<OrderId>,
    from: InFlight,
}

/// What a batch has taken; others may have it once this is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Taken {
    accounts: HashSet<RecordId>,
    from: InFlight,
}

impl InFlight {
    /// A batch of these orders begins. Returns with it which of them wait for an Account that is not free for them. Orders of
    /// one batch share a request, so they do not wait for each other.
    pub(crate) fn begin(&self, orders: Vec<OrderId>, now: Instant) -> (InBatch, HashSet<OrderId>) {
        let mut uses = self.uses();
        let batch: HashSet<&OrderId> = orders.iter().collect();
        for order in &orders {
            if let Some(waits) = uses.waiting.get_mut(order) {
                waits.seen = None;
            }
        }
        let waits = |order: &&OrderId| {
            let account = uses.waiting.get(*order).map(|waits| &waits.account);
            account.is_some_and(|account| !uses.is_free_for(order, account, &batch, now))
        };
        let waiting = orders.iter().filter(waits).cloned().collect();
        drop(uses);
        (InBatch { orders, from: self.clone() }, waiting)
    }

    /// Nothing is taken yet.
    pub(crate) fn none_taken(&self) -> Taken {
        Taken { accounts: HashSet::new(), from: self.clone() }
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

impl Taken {
    /// Takes the Accounts of a batch's orders besides, but for those that others use or wait for.
    pub(crate) fn take(&mut self, orders: &[(&OrderId, &RecordId)], now: Instant) -> Vec<Asked> {
        let mut uses = self.from.uses();
        let batch: HashSet<&OrderId> = orders.iter().map(|(order, _)| *order).collect();
        let accounts = &mut self.accounts;
        let asked = orders.iter().map(|(order, account)| {
            if !accounts.contains(*account) && !uses.is_free_for(order, account, &batch, now) {
                return uses.wait(order, account, now);
            }
            uses.waiting.remove(*order);
            uses.taken.insert((*account).clone());
            accounts.insert((*account).clone());
            Asked::Has
        });
        asked.collect()
    }
}

impl Uses {
    /// Whether nobody has the Account, and nobody but this batch's orders has waited for it for longer.
    fn is_free_for(&self, order: &OrderId, account: &RecordId, batch: &HashSet<&OrderId>, now: Instant) -> bool {
        if self.taken.contains(account) {
            return false;
        }
        let own = self.waiting.get(order).filter(|waits| waits.account == *account);
        let number = own.map_or(u64::MAX, |waits| waits.number);
        let goes_first = |(other, waits): (&OrderId, &Waits)| {
            waits.account == *account && waits.number < number && waits.is_kept(now) && !batch.contains(other)
        };
        !self.waiting.iter().any(goes_first)
    }

    fn wait(&mut self, order: &OrderId, account: &RecordId, now: Instant) -> Asked {
        if self.waiting.get(order).is_some_and(|waits| waits.account == *account) {
            return Asked::StillWaits;
        }
        if self.waiting.len() >= MOST {
            self.waiting.retain(|_, waits| waits.is_kept(now));
        }
        if self.waiting.len() < MOST {
            self.count += 1;
            self.waiting.insert(order.clone(), Waits { account: account.clone(), number: self.count, seen: None });
        }
        Asked::Waits
    }
}

impl Waits {
    fn is_kept(&self, now: Instant) -> bool {
        self.seen.is_none_or(|seen| now.saturating_duration_since(seen) < KEPT)
    }
}

impl InBatch {
    fn end(&mut self, now: Instant) {
        let mut uses = self.from.uses();
        for order in self.orders.drain(..) {
            if let Some(waits) = uses.waiting.get_mut(&order) {
                waits.seen = Some(now);
            }
        }
    }
}

impl Drop for InBatch {
    fn drop(&mut self) {
        self.end(Instant::now());
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut uses = self.from.uses();
        for account in &self.accounts {
            uses.taken.remove(account);
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

    struct Batches {
        in_flight: InFlight,
        now: Instant,
    }

    impl Batches {
        fn new() -> Self {
            Self { in_flight: InFlight::default(), now: Instant::now() }
        }

        /// A batch of these orders takes this Account for each of them that does not wait any longer. Returns who has it.
        fn takes(&self, names: &[&str], number: u32) -> (Taken, Vec<String>) {
            let (mut batch, waiting) = self.in_flight.begin(names.iter().map(|name| order(name)).collect(), self.now);
            let going: Vec<OrderId> = names.iter().map(|name| order(name)).filter(|id| !waiting.contains(id)).collect();
            let account = account(number);
            let asked: Vec<(&OrderId, &RecordId)> = going.iter().map(|order| (order, &account)).collect();
            let mut taken = self.in_flight.none_taken();
            let answers = taken.take(&asked, self.now);
            batch.end(self.now);
            let has = going.iter().zip(answers).filter(|(_, asked)| *asked == Asked::Has);
            (taken, has.map(|(order, _)| order.as_str().to_owned()).collect())
        }

        /// The same of a batch of one order.
        fn take(&self, name: &str, number: u32) -> Option<Taken> {
            let (taken, has) = self.takes(&[name], number);
            (!has.is_empty()).then_some(taken)
        }
    }

    #[test]
    fn an_account_is_one_batchs_until_that_is_over() {
        let batches = Batches::new();
        let (first, has) = batches.takes(&["ann-1", "bob-1"], 1);
        assert_eq!(has, ["ann-1", "bob-1"], "one request");
        assert!(batches.take("cas-1", 1).is_none());
        assert!(batches.take("dee-1", 2).is_some());
        drop(first);
        assert!(batches.take("cas-1", 1).is_some());
        assert!(batches.take("ann-2", 1).is_some());
    }

    #[test]
    fn what_a_batch_has_taken_it_can_take_again_and_more_besides() {
        let batches = Batches::new();
        let (ann, bob) = (order("ann-1"), order("bob-1"));
        let mut taken = batches.in_flight.none_taken();
        assert_eq!(taken.take(&[(&ann, &account(1))], batches.now), [Asked::Has]);
        let besides = [(&bob, &account(1)), (&ann, &account(2))];
        assert_eq!(taken.take(&besides, batches.now), [Asked::Has; 2]);
        assert!(batches.take("cas-1", 1).is_none() && batches.take("dee-1", 2).is_none());
        drop(taken);
        assert!(batches.take("cas-1", 1).is_some() && batches.take("dee-1", 2).is_some());
    }

    #[test]
    fn who_begins_to_wait_is_told_so_once() {
        let batches = Batches::new();
        let _first = batches.take("ann-1", 1);
        let bob = order("bob-1");
        for expected in [Asked::Waits, Asked::StillWaits] {
            assert_eq!(batches.in_flight.none_taken().take(&[(&bob, &account(1))], batches.now), [expected]);
        }
    }

    #[test]
    fn who_waits_has_the_account_in_turn_and_who_has_many_orders_too() {
        let batches = Batches::new();
        let first = batches.take("ann-1", 1);
        assert!(first.is_some());
        assert!(batches.take("bob-1", 1).is_none() && batches.take("cas-1", 1).is_none());
        drop(first);
        assert!(batches.take("ann-2", 1).is_none(), "Bob is next");
        let second = batches.take("bob-1", 1);
        assert!(second.is_some());
        assert!(batches.take("cas-1", 1).is_none());
        drop(second);
        assert!(batches.take("bob-2", 1).is_none() && batches.take("ann-2", 1).is_none(), "now Cas is");
        let (_third, has) = batches.takes(&["bob-2", "ann-2", "cas-1"], 1);
        assert_eq!(has, ["bob-2", "ann-2", "cas-1"], "those who wait share a request");
    }

    #[test]
    fn a_turn_is_kept_for_who_asks_again_or_is_in_a_batch_that_is_not_over_and_lapses_then() {
        let mut batches = Batches::new();
        let first = batches.take("ann-1", 1);
        assert!(batches.take("bob-1", 1).is_none());
        drop(first);
        for _ in 0..60 {
            batches.now += AGAIN;
            assert!(batches.take("ann-2", 1).is_none());
            let (mut asks, waiting) = batches.in_flight.begin(vec![order("bob-1")], batches.now);
            assert!(waiting.is_empty(), "it may go");
            asks.end(batches.now);
        }
        let (mut long, _) = batches.in_flight.begin(vec![order("bob-1")], batches.now);
        batches.now += 10 * KEPT;
        assert!(batches.take("ann-2", 1).is_none(), "Bob's batch is not over");
        long.end(batches.now);
        batches.now += KEPT.saturating_sub(AGAIN);
        assert!(batches.take("ann-2", 1).is_none());
        batches.now += AGAIN;
        assert!(batches.take("ann-2", 1).is_some(), "Bob did not come");
    }

    #[test]
    fn who_waits_no_longer_holds_nobody_up() {
        let batches = Batches::new();
        let first = batches.take("ann-1", 1);
        assert!(batches.take("bob-1", 1).is_none() && batches.take("cas-1", 1).is_none());
        drop(first);
        batches.in_flight.forget(&order("bob-1"));
        assert!(batches.take("ann-2", 1).is_none(), "Cas is next");
        batches.in_flight.forget_all();
        assert!(batches.take("ann-2", 1).is_some());
    }
}
