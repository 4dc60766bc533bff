//! Rows as they were when a scan in slices began.
//!
//! Whoever replaces a committed version keeps the old one for each scan that is under way, so a scan copies nothing
//! up front and still sees one moment.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use super::Row;
use crate::ids::RecordId;
use crate::org::guard;

/// First versions that were replaced since a moment; nothing for a row that was not there then.
#[derive(Debug, Default)]
pub(crate) struct Snapshot(Mutex<HashMap<RecordId, Option<Arc<Row>>>>);

impl Snapshot {
    pub(crate) fn replaced(&self) -> MutexGuard<'_, HashMap<RecordId, Option<Arc<Row>>>> {
        guard(&self.0)
    }
}

/// The moments of a table that someone still looks at.
#[derive(Debug, Default)]
pub(crate) struct Snapshots(Vec<Weak<Snapshot>>);

impl Snapshots {
    /// This moment, for as long as its holder keeps it.
    pub(crate) fn take(&mut self) -> Arc<Snapshot> {
        self.0.retain(|snapshot| snapshot.strong_count() > 0);
        let snapshot = Arc::default();
        self.0.push(Arc::downgrade(&snapshot));
        snapshot
    }

    /// Keeps a version that is about to be replaced.
    pub(super) fn keep(&mut self, id: RecordId, before: Option<&Arc<Row>>) {
        self.0.retain(|snapshot| {
            let Some(snapshot) = snapshot.upgrade() else { return false };
            snapshot.replaced().entry(id).or_insert_with(|| before.cloned());
            true
        });
    }
}
