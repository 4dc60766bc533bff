//! Row locks: who holds which row, who waits for it, and which waits can never end.
//!
//! A released row goes straight to the first who waits for it, so nobody overtakes and no wake-up is lost.
//! Two transactions that wait for each other are found when the second begins to wait; the younger one is told to
//! give up. Source: Help, "Record Locking Cheat Sheet"; the order and the choice of the younger one are guesses.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use tokio::sync::oneshot;

use crate::ids::RecordId;
use crate::records::TransactionId;

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wake {
    /// The row is free, or already ours.
    Free,
    /// This transaction was chosen to end a deadlock.
    Deadlock,
}

/// What asking for a row came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    Now,
    Already,
    Busy,
}

/// All held rows and everyone who waits for one.
#[derive(Debug, Default)]
pub(crate) struct LockTable {
    rows: HashMap<RecordId, Lock>,
    /// A transaction does one thing at a time, so it waits for one row.
    waits: HashMap<TransactionId, RecordId>,
}

#[derive(Debug)]
struct Lock {
    holder: TransactionId,
    queue: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    by: TransactionId,
    /// Wants the row itself, not only to see what becomes of it.
    takes: bool,
    wake: oneshot::Sender<Wake>,
}

impl LockTable {
    /// Takes `row` for `by`, unless another holds it.
    pub(crate) fn take(&mut self, row: RecordId, by: TransactionId) -> Taken {
        match self.rows.entry(row) {
            Entry::Occupied(held) if held.get().holder == by => Taken::Already,
            Entry::Occupied(_) => Taken::Busy,
            Entry::Vacant(free) => {
                free.insert(Lock { holder: by, queue: VecDeque::new() });
                Taken::Now
            }
        }
    }

    /// Puts `by` at the end of the queue for `row`. With `detect`, a deadlock this would close is broken first;
    /// the answer is `None` when `by` is the one that must give up.
    pub(crate) fn wait(
        &mut self,
        row: RecordId,
        by: TransactionId,
        takes: bool,
        detect: bool,
    ) -> Option<oneshot::Receiver<Wake>> {
        let victim = self.deadlock(row, by).filter(|_| detect);
        if victim == Some(by) {
            return None;
        }
        let (wake, woken) = oneshot::channel();
        // Without a holder there is nothing to wait for; the dropped sender says so at once.
        if let Some(lock) = self.rows.get_mut(&row) {
            lock.queue.push_back(Waiter { by, takes, wake });
            self.waits.insert(by, row);
        }
        if let Some(waiter) = victim.and_then(|victim| self.leave(victim)) {
            let _ = waiter.wake.send(Wake::Deadlock);
        }
        Some(woken)
    }

    /// Ends the wait of `by`, if it still waits. True when `row` has become its own meanwhile.
    pub(crate) fn settle(&mut self, row: RecordId, by: TransactionId) -> bool {
        self.leave(by);
        self.rows.get(&row).is_some_and(|lock| lock.holder == by)
    }

    /// Gives `row` up: to the first in the queue who wants it, or to nobody.
    pub(crate) fn release(&mut self, row: RecordId, by: TransactionId) {
        let Some(lock) = self.rows.get_mut(&row).filter(|lock| lock.holder == by) else { return };
        let mut onlookers = Vec::new();
        let mut next = None;
        let mut rest = VecDeque::new();
        for waiter in std::mem::take(&mut lock.queue) {
            if !waiter.takes {
                onlookers.push(waiter);
            } else if next.is_none() {
                next = Some(waiter);
            } else {
                rest.push_back(waiter);
            }
        }
        lock.queue = rest;
        match &next {
            Some(next) => lock.holder = next.by,
            None => {
                self.rows.remove(&row);
            }
        }
        for waiter in next.into_iter().chain(onlookers) {
            self.waits.remove(&waiter.by);
            // Nobody listens any more only when the transaction is being dropped, and that settles.
            let _ = waiter.wake.send(Wake::Free);
        }
    }

    /// Rows held.
    pub(crate) fn held(&self) -> usize {
        self.rows.len()
    }

    /// Transactions that wait for a row.
    pub(crate) fn waiting(&self) -> usize {
        self.waits.len()
    }

    fn leave(&mut self, by: TransactionId) -> Option<Waiter> {
        let row = self.waits.remove(&by)?;
        let queue = &mut self.rows.get_mut(&row)?.queue;
        let place = queue.iter().position(|waiter| waiter.by == by)?;
        queue.remove(place)
    }

    /// The youngest of the transactions that would wait for each other if `by` waited for `row`.
    fn deadlock(&self, row: RecordId, by: TransactionId) -> Option<TransactionId> {
        let (mut row, mut youngest) = (row, by);
        // Circles without `by` in them may stand where none are looked for.
        for _ in 0..=self.waits.len() {
            let holder = self.rows.get(&row)?.holder;
            if holder == by {
                return Some(youngest);
            }
            youngest = youngest.max(holder);
            row = *self.waits.get(&holder)?;
        }
        None
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::{LockTable, Taken, Wake};
    use crate::ids::RecordId;
    use crate::records::TransactionId;

    fn row(number: u64) -> RecordId {
        RecordId::new("001", number)
    }

    const A: TransactionId = TransactionId(1);
    const B: TransactionId = TransactionId(2);
    const C: TransactionId = TransactionId(3);

    #[test]
    fn a_released_row_goes_to_the_first_in_the_queue_and_to_no_newcomer() {
        let mut locks = LockTable::default();
        assert_eq!(locks.take(row(1), A), Taken::Now);
        assert_eq!(locks.take(row(1), A), Taken::Already);
        assert_eq!(locks.take(row(1), B), Taken::Busy);
        let mut second = locks.wait(row(1), B, true, true).unwrap();
        let mut third = locks.wait(row(1), C, true, true).unwrap();
        locks.release(row(1), A);
        assert_eq!(second.try_recv(), Ok(Wake::Free));
        assert!(third.try_recv().is_err());
        assert_eq!(locks.take(row(1), A), Taken::Busy);
        assert!(locks.settle(row(1), B));
        locks.release(row(1), B);
        assert_eq!(third.try_recv(), Ok(Wake::Free));
        locks.release(row(1), C);
        assert_eq!((locks.held(), locks.waiting()), (0, 0));
    }

    #[test]
    fn whoever_only_looks_on_is_woken_and_takes_nothing() {
        let mut locks = LockTable::default();
        locks.take(row(1), A);
        let mut onlooker = locks.wait(row(1), B, false, true).unwrap();
        let mut taker = locks.wait(row(1), C, true, true).unwrap();
        locks.release(row(1), A);
        assert_eq!((onlooker.try_recv(), taker.try_recv()), (Ok(Wake::Free), Ok(Wake::Free)));
        assert!(!locks.settle(row(1), B) && locks.settle(row(1), C));
    }

    #[test]
    fn the_younger_of_two_that_wait_for_each_other_gives_up() {
        let mut locks = LockTable::default();
        locks.take(row(1), A);
        locks.take(row(2), B);
        let mut older = locks.wait(row(2), A, true, true).unwrap();
        assert!(locks.wait(row(1), B, true, true).is_none());
        assert!(older.try_recv().is_err());

        let mut locks = LockTable::default();
        locks.take(row(1), A);
        locks.take(row(2), B);
        let mut younger = locks.wait(row(1), B, true, true).unwrap();
        let mut older = locks.wait(row(2), A, true, true).unwrap();
        assert_eq!(younger.try_recv(), Ok(Wake::Deadlock));
        assert!(!locks.settle(row(1), B));
        locks.release(row(2), B);
        assert_eq!(older.try_recv(), Ok(Wake::Free));
    }

    #[test]
    fn circles_that_are_not_looked_for_do_not_stop_the_search() {
        let mut locks = LockTable::default();
        locks.take(row(1), A);
        locks.take(row(2), B);
        let _a = locks.wait(row(2), A, true, false).unwrap();
        let _b = locks.wait(row(1), B, true, false).unwrap();
        assert!(locks.wait(row(1), C, true, true).is_some());
        assert_eq!(locks.waiting(), 3);
        locks.settle(row(1), C);
        assert_eq!(locks.waiting(), 2);
    }
}
