//! Stored rows: at most two versions of each, the committed one and one pending.
//!
//! A transaction that writes a row owns it through the lock table, so one pending version is enough.
//! Everyone else keeps reading the committed version: the org is read-committed.
//! Indexes hold every key of either version; a reader checks the version it may see.

mod snapshot;

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use serde_json::Value;

use crate::duplicates::KeyForm;
use crate::ids::RecordId;
use crate::schema::FieldIx;

pub(crate) use snapshot::{Snapshot, Snapshots};

/// Names one running transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TransactionId(pub(crate) u64);

/// Field values of one version of a row; a field without a value is null.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Row {
    values: Vec<(FieldIx, Value)>,
    /// In the recycle bin.
    pub(crate) deleted: bool,
}

impl Row {
    pub(crate) fn get(&self, field: FieldIx) -> Option<&Value> {
        self.values.binary_search_by_key(&field, |(ix, _)| *ix).ok().map(|at| &self.values[at].1)
    }

    pub(crate) fn text(&self, field: FieldIx) -> Option<&str> {
        self.get(field).and_then(Value::as_str)
    }

    pub(crate) fn flag(&self, field: FieldIx) -> bool {
        self.get(field).and_then(Value::as_bool).unwrap_or(false)
    }

    pub(crate) fn set(&mut self, field: FieldIx, value: Value) {
        match self.values.binary_search_by_key(&field, |(ix, _)| *ix) {
            Ok(at) if value.is_null() => {
                self.values.remove(at);
            }
            Ok(at) => self.values[at].1 = value,
            Err(_) if value.is_null() => {}
            Err(at) => self.values.insert(at, (field, value)),
        }
    }
}

/// A version that is not committed, and whose it is.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(crate) by: TransactionId,
    pub(crate) row: Arc<Row>,
}

#[derive(Debug, Default)]
struct Slot {
    committed: Option<Arc<Row>>,
    pending: Option<Pending>,
}

impl Slot {
    fn seen_by(&self, reader: Option<TransactionId>) -> Option<&Arc<Row>> {
        match &self.pending {
            Some(pending) if Some(pending.by) == reader => Some(&pending.row),
            Some(_) | None => self.committed.as_ref(),
        }
    }

    fn versions(&self) -> [Option<Arc<Row>>; 2] {
        [self.committed.clone(), self.pending.as_ref().map(|pending| Arc::clone(&pending.row))]
    }
}

/// One field of an index key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyPart {
    pub(crate) field: FieldIx,
    /// What of its value counts.
    pub(crate) form: KeyForm,
}

impl KeyPart {
    /// The text as a unique field compares it.
    pub(crate) fn unique(field: FieldIx, case_sensitive: bool) -> Self {
        let form = if case_sensitive { KeyForm::Exact } else { KeyForm::Folded };
        Self { field, form }
    }

    /// The text without case.
    pub(crate) fn folded(field: FieldIx) -> Self {
        Self { field, form: KeyForm::Folded }
    }
}

/// Rows by the joined text of some fields; rows where one of them is blank are left out.
#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) key: Vec<KeyPart>,
    entries: HashMap<String, Vec<RecordId>>,
}

impl Index {
    pub(crate) fn key_of(&self, row: &Row) -> Option<String> {
        if row.deleted { None } else { self.key_from(row, Some) }
    }

    /// The key a row of another object would have here; `source` says where each field is found in it.
    pub(crate) fn key_from(&self, row: &Row, source: impl Fn(FieldIx) -> Option<FieldIx>) -> Option<String> {
        let mut key = String::new();
        for part in &self.key {
            let value = row.get(source(part.field)?)?;
            if !key.is_empty() {
                key.push('\u{1f}');
            }
            let start = key.len();
            match value {
                Value::String(text) => part.form.push(&mut key, text),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                    part.form.push(&mut key, &value.to_string());
                }
            }
            if key.len() == start {
                return None;
            }
        }
        Some(key)
    }

    /// The key of a version, unless one of `others` has it too.
    fn key_unlike(&self, row: &Row, others: &[Option<Arc<Row>>; 2]) -> Option<String> {
        let agrees = |other: &Arc<Row>| {
            row.deleted == other.deleted && self.key.iter().all(|part| row.get(part.field) == other.get(part.field))
        };
        if others.iter().flatten().any(agrees) {
            return None;
        }
        let key = self.key_of(row)?;
        let carries = |other: &Arc<Row>| self.key_of(other).is_some_and(|found| found == key);
        (!others.iter().flatten().any(carries)).then_some(key)
    }

    /// The key of a row whose one indexed field has the value that `text` says.
    pub(crate) fn key_for(&self, text: &str) -> String {
        let mut key = String::new();
        if let Some(part) = self.key.first() {
            part.form.push(&mut key, text);
        }
        key
    }
}

/// All rows of one object.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: BTreeMap<RecordId, Slot>,
    pub(crate) indexes: Vec<Index>,
    pub(crate) last_number: u64,
    /// Moments that scans look at.
    pub(crate) snapshots: Snapshots,
    /// Committed rows outside the recycle bin.
    pub(crate) live: usize,
}

impl Table {
    /// The version of a row that `reader` sees; `None` for no transaction sees what is committed.
    pub(crate) fn get(&self, id: RecordId, reader: Option<TransactionId>) -> Option<&Arc<Row>> {
        self.rows.get(&id)?.seen_by(reader)
    }

    /// Rows in the order of their creation, deleted ones included.
    pub(crate) fn rows(&self, reader: Option<TransactionId>) -> impl DoubleEndedIterator<Item = (RecordId, &Arc<Row>)> {
        self.rows.iter().filter_map(move |(id, slot)| Some((*id, slot.seen_by(reader)?)))
    }

    /// The rows behind `last`, in the order of their creation, deleted ones included.
    pub(crate) fn rows_after(
        &self,
        last: Option<RecordId>,
        reader: Option<TransactionId>,
    ) -> impl Iterator<Item = (RecordId, &Arc<Row>)> {
        let rest = self.rows.range((last.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded));
        rest.filter_map(move |(id, slot)| Some((*id, slot.seen_by(reader)?)))
    }

    /// Committed rows outside the recycle bin, in the order of their creation.
    pub(crate) fn committed(&self) -> impl DoubleEndedIterator<Item = (RecordId, &Arc<Row>)> {
        self.rows(None).filter(|(_, row)| !row.deleted)
    }

    pub(crate) fn index_on(&self, key: &[KeyPart]) -> Option<usize> {
        self.indexes.iter().position(|index| index.key == key)
    }

    /// Rows that carry `key` in the version `reader` sees.
    pub(crate) fn lookup(&self, index: usize, key: &str, reader: Option<TransactionId>) -> Vec<RecordId> {
        let Some(index) = self.indexes.get(index) else { return Vec::new() };
        let Some(ids) = index.entries.get(key) else { return Vec::new() };
        let carries = |id: &RecordId| {
            self.get(*id, reader).is_some_and(|row| index.key_of(row).is_some_and(|found| found == key))
        };
        ids.iter().copied().filter(carries).collect()
    }

    /// Rows that may carry `key`, at most `limit`; whoever asks looks at them anyway.
    pub(crate) fn candidates(&self, index: usize, key: &str, limit: usize) -> &[RecordId] {
        let ids = self.indexes.get(index).and_then(|index| index.entries.get(key)).map_or(&[][..], Vec::as_slice);
        ids.get(ids.len().saturating_sub(limit)..).unwrap_or_default()
    }

    /// A row that another transaction is giving or taking `key`, if any: its fate is not known yet.
    pub(crate) fn contested(
        &self,
        index: usize,
        key: &str,
        reader: TransactionId,
    ) -> Option<(RecordId, TransactionId)> {
        let ids = self.indexes.get(index)?.entries.get(key)?;
        ids.iter().find_map(|id| {
            let pending = self.rows.get(id)?.pending.as_ref()?;
            (pending.by != reader).then_some((*id, pending.by))
        })
    }

    /// Stores a pending version and returns the one it replaces, for the undo log.
    pub(crate) fn write(&mut self, id: RecordId, by: TransactionId, row: Arc<Row>) -> Option<Pending> {
        let slot = self.rows.entry(id).or_default();
        let before = slot.versions();
        let previous = slot.pending.replace(Pending { by, row });
        let after = slot.versions();
        self.reindex(id, &before, &after);
        previous
    }

    /// Puts back what [`Table::write`] replaced, if the pending version is still that of `by`.
    pub(crate) fn undo(&mut self, id: RecordId, by: TransactionId, previous: Option<Pending>) {
        let Some(slot) = self.rows.get_mut(&id) else { return };
        if slot.pending.as_ref().is_none_or(|pending| pending.by != by) {
            return;
        }
        let before = slot.versions();
        slot.pending = previous;
        let after = slot.versions();
        if after.iter().all(Option::is_none) {
            self.rows.remove(&id);
        }
        self.reindex(id, &before, &after);
    }

    /// Makes the pending version of `by` the committed one.
    pub(crate) fn commit(&mut self, id: RecordId, by: TransactionId) {
        let Some(slot) = self.rows.get_mut(&id) else { return };
        if slot.pending.as_ref().is_none_or(|pending| pending.by != by) {
            return;
        }
        let before = slot.versions();
        slot.committed = slot.pending.take().map(|pending| pending.row);
        let after = slot.versions();
        self.replaced(id, before[0].as_ref(), after[0].as_ref());
        self.reindex(id, &before, &after);
    }

    /// Stores a committed row outside any transaction.
    pub(crate) fn seed(&mut self, id: RecordId, row: Row) {
        let slot = self.rows.entry(id).or_default();
        let before = slot.versions();
        slot.committed = Some(Arc::new(row));
        let after = slot.versions();
        self.replaced(id, before[0].as_ref(), after[0].as_ref());
        self.reindex(id, &before, &after);
    }

    /// Notes that a committed version made way for another.
    fn replaced(&mut self, id: RecordId, before: Option<&Arc<Row>>, after: Option<&Arc<Row>>) {
        self.snapshots.keep(id, before);
        let live = |row: Option<&Arc<Row>>| usize::from(row.is_some_and(|row| !row.deleted));
        self.live = (self.live + live(after)).saturating_sub(live(before));
    }

    /// Rows, pending versions and index entries.
    pub(crate) fn sizes(&self) -> (usize, usize, usize) {
        let pending = self.rows.values().filter(|slot| slot.pending.is_some()).count();
        let entries = self.indexes.iter().flat_map(|index| index.entries.values()).map(Vec::len).sum();
        (self.rows.len(), pending, entries)
    }

    /// Adds an index and fills it; an index that exists already is kept.
    pub(crate) fn add_index(&mut self, key: Vec<KeyPart>) -> usize {
        if let Some(place) = self.index_on(&key) {
            return place;
        }
        let mut index = Index { key, entries: HashMap::new() };
        for (id, slot) in &self.rows {
            let keys: Vec<String> = slot.versions().iter().flatten().filter_map(|row| index.key_of(row)).collect();
            for key in keys {
                let ids = index.entries.entry(key).or_default();
                if !ids.contains(id) {
                    ids.push(*id);
                }
            }
        }
        self.indexes.push(index);
        self.indexes.len() - 1
    }

    /// Follows a change of a row's versions. A version that stays, or that agrees with one that does, costs no key.
    fn reindex(&mut self, id: RecordId, before: &[Option<Arc<Row>>; 2], after: &[Option<Arc<Row>>; 2]) {
        let is_in = |row: &Arc<Row>, versions: &[Option<Arc<Row>>; 2]| {
            versions.iter().flatten().any(|other| Arc::ptr_eq(row, other))
        };
        let lost = before.each_ref().map(|row| row.as_ref().filter(|row| !is_in(row, after)));
        let won = after.each_ref().map(|row| row.as_ref().filter(|row| !is_in(row, before)));
        if lost.iter().chain(&won).all(Option::is_none) {
            return;
        }
        for index in &mut self.indexes {
            for row in lost.into_iter().flatten() {
                if let Some(key) = index.key_unlike(row, after)
                    && let Some(ids) = index.entries.get_mut(&key)
                {
                    ids.retain(|other| *other != id);
                    if ids.is_empty() {
                        index.entries.remove(&key);
                    }
                }
            }
            for row in won.into_iter().flatten() {
                if let Some(key) = index.key_unlike(row, before) {
                    let ids = index.entries.entry(key).or_default();
                    // No version had this key before, so the row is here only if this call has put it here.
                    if ids.last() != Some(&id) {
                        ids.push(id);
                    }
                }
            }
        }
    }
}
