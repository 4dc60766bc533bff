//! Which orders share a record, and in which order they get it.
//!
//! A name stands for a record that several orders write to: the customer's Account above all. Orders queue for each of
//! their names in the order of their turns, so none can be overtaken for ever by others that need only some of them, and
//! no two can wait for each other.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

/// A record that orders may share, as a digest. Two that collide wait for each other without need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Name(u64);

impl Name {
    /// The names of an order, each once.
    pub(super) fn all<S: AsRef<str>>(names: &[S]) -> Box<[Self]> {
        let digest = |name: &S| {
            let mut hasher = DefaultHasher::new();
            name.as_ref().hash(&mut hasher);
            Self(hasher.finish())
        };
        let mut names: Vec<Self> = names.iter().map(digest).collect();
        names.sort_unstable();
        names.dedup();
        names.into_boxed_slice()
    }

    /// The names of either, each once.
    pub(super) fn both(some: &[Self], others: &[Self]) -> Box<[Self]> {
        let mut names = [some, others].concat();
        names.sort_unstable();
        names.dedup();
        names.into_boxed_slice()
    }
}

/// Who has a name, and who waits for it.
#[derive(Debug, Clone, Default)]
struct Record {
    /// The batch that writes to it, and how many of its items do.
    holder: Option<(u64, usize)>,
    /// Lanes whose head asks for it, by turn.
    queue: BTreeMap<u64, Arc<str>>,
}

/// The names of every head that may go, waits for a name, or is in flight.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    records: HashMap<Name, Record>,
}

/// Who holds a record, and the turns of those that ask for it.
#[cfg(test)]
pub(super) type RecordView = (Option<(u64, usize)>, Vec<u64>);

/// A lane at the front of a name's queue.
pub(super) type Front = (u64, Arc<str>);

impl Names {
    /// The head of a lane asks for its names at this turn. Turns only grow.
    pub(super) fn ask(&mut self, turn: u64, key: &Arc<str>, names: &[Name]) {
        for name in names {
            self.records.entry(*name).or_default().queue.insert(turn, Arc::clone(key));
        }
    }

    /// Whether nobody is before it, and nobody holds what it asks for, but for this batch.
    pub(super) fn may_go(&self, turn: u64, names: &[Name], batch: Option<u64>) -> bool {
        names.iter().filter_map(|name| self.records.get(name)).all(|record| {
            let free = record.holder.is_none_or(|(holder, _)| Some(holder) == batch);
            free && record.queue.first_key_value().is_some_and(|(first, _)| *first == turn)
        })
    }

    /// It goes in this batch. Returns who is first in its queues now.
    pub(super) fn take(&mut self, turn: u64, names: &[Name], batch: u64) -> Vec<Front> {
        let hold = |record: &mut Record| match &mut record.holder {
            Some((_, items)) => *items += 1,
            holder @ None => *holder = Some((batch, 1)),
        };
        self.leave(turn, names, hold)
    }

    /// It asks no longer. Returns who is first in its queues now.
    pub(super) fn withdraw(&mut self, turn: u64, names: &[Name]) -> Vec<Front> {
        self.leave(turn, names, |_| {})
    }

    /// An item that was in flight has come back. Returns who is first in its queues now.
    pub(super) fn release(&mut self, names: &[Name]) -> Vec<Front> {
        let mut fronts = Vec::new();
        for name in names {
            let Some(record) = self.records.get_mut(name) else { continue };
            record.holder = record.holder.and_then(|(batch, items)| (items > 1).then(|| (batch, items - 1)));
            if record.holder.is_none() {
                self.front(*name, &mut fronts);
            }
        }
        fronts
    }

    fn leave(&mut self, turn: u64, names: &[Name], mut change: impl FnMut(&mut Record)) -> Vec<Front> {
        let mut fronts = Vec::new();
        for name in names {
            if let Some(record) = self.records.get_mut(name) {
                record.queue.remove(&turn);
                change(record);
                self.front(*name, &mut fronts);
            }
        }
        fronts
    }

    /// Adds the front of a queue; forgets a name that nobody has or wants.
    fn front(&mut self, name: Name, fronts: &mut Vec<Front>) {
        let Some(record) = self.records.get(&name) else { return };
        match record.queue.first_key_value() {
            Some((turn, key)) => fronts.push((*turn, Arc::clone(key))),
            None if record.holder.is_none() => {
                self.records.remove(&name);
            }
            None => {}
        }
    }

    /// Whether nothing is remembered.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Who holds and asks for what, for comparing states: by name, the batch with its items, and the turns.
    #[cfg(test)]
    pub(super) fn view(&self) -> BTreeMap<Name, RecordView> {
        let view = |record: &Record| (record.holder, record.queue.keys().copied().collect());
        self.records.iter().map(|(name, record)| (*name, view(record))).collect()
    }
}
