//! One transaction: row locks until its end, an undo log with savepoints, and events that wait for the commit.
//!
//! Every step runs under the state's lock and never waits there. A step that needs a row of another transaction
//! gives the lock back, waits for that row in its queue, and starts over; after the lock wait it gives up with
//! `UNABLE_TO_LOCK_ROW`. Dropping an unfinished transaction rolls it back.

mod delete;
mod locks;
mod save;
mod write;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::oneshot;

use crate::api_error::ApiError;
use crate::call::Call;
use crate::events::{self, Event, PublishedBy};
use crate::faults::refusals::RowTrouble;
use crate::ids::RecordId;
use crate::org::{Org, State};
use crate::permissions;
use crate::records::{Pending, TransactionId};
use crate::schema::{FieldIx, ObjectIx};
pub(crate) use crate::transaction::locks::LockTable;
use crate::transaction::locks::{Taken, Wake};
use crate::validation::Changes;

/// Which row a save is for.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    New,
    Id(RecordId),
    ExternalId { field: FieldIx, value: String, update_only: bool },
}

/// What a save came to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Saved {
    Row {
        id: RecordId,
        created: bool,
    },
    /// The external id is on several rows.
    Several(Vec<RecordId>),
}

/// What a publish came to: the answer's id and the event's UUID.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    pub(crate) id: RecordId,
    pub(crate) uuid: String,
}

/// A place in the undo log to return to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Savepoint {
    undo: usize,
    locks: usize,
    events: usize,
    fallen: usize,
}

enum Attempt<T> {
    Done(T),
    /// Another holds this row.
    Blocked(Blocked),
}

/// The row that is in the way, and whether it is wanted or only its fate.
#[derive(Debug, Clone, Copy)]
struct Blocked {
    row: RecordId,
    takes: bool,
}

#[derive(Debug)]
struct Undo {
    object: ObjectIx,
    id: RecordId,
    previous: Option<Pending>,
}

/// A running transaction.
#[derive(Debug)]
pub(crate) struct Transaction {
    org: Arc<Org>,
    id: TransactionId,
    /// The epoch of the org in which the transaction began; in a later one nothing of it is left.
    epoch: u64,
    /// Who writes: the user of the call at hand.
    user: RecordId,
    undo: Vec<Undo>,
    locks: Vec<RecordId>,
    /// The row whose queue this transaction stands in.
    awaits: Option<RecordId>,
    events: Vec<Event>,
    rows: u64,
    /// Rows deleted because others were.
    fallen: usize,
    finished: bool,
}

impl Transaction {
    pub(crate) fn begin(org: &Arc<Org>) -> Self {
        Self {
            org: Arc::clone(org),
            id: org.next_transaction(),
            epoch: org.epoch(),
            user: crate::oauth::first_user(),
            undo: Vec::new(),
            locks: Vec::new(),
            awaits: None,
            events: Vec::new(),
            rows: 0,
            fallen: 0,
            finished: false,
        }
    }

    pub(crate) fn id(&self) -> TransactionId {
        self.id
    }

    pub(crate) fn savepoint(&self) -> Savepoint {
        Savepoint { undo: self.undo.len(), locks: self.locks.len(), events: self.events.len(), fallen: self.fallen }
    }

    /// Takes back everything since `savepoint`, and frees the rows locked since then, as the database below the org
    /// does (Oracle Database Concepts, "Rollback to Savepoint").
    pub(crate) fn rollback_to(&mut self, savepoint: Savepoint) {
        self.fallen = savepoint.fallen;
        if self.events.len() > savepoint.events {
            self.release_events(savepoint.events);
        }
        if self.undo.len() > savepoint.undo || self.locks.len() > savepoint.locks {
            let org = Arc::clone(&self.org);
            let mut state = org.state();
            self.undo_rows(&mut state, savepoint.undo);
            self.release(&mut state, savepoint.locks);
        }
    }

    /// Waits the latency of the rows written, then makes them visible and frees their locks.
    pub(crate) async fn commit(mut self, call: &Call) {
        self.row_latency(call).await;
        let org = Arc::clone(&self.org);
        {
            let mut state = org.state();
            if org.epoch() == self.epoch {
                for undo in &self.undo {
                    state.tables[undo.object.0].commit(undo.id, self.id);
                }
                // Events are on the bus before anyone can see the rows, as one commit.
                let events = std::mem::take(&mut self.events);
                if !events.is_empty() {
                    org.bus().accept(events, PublishedBy::AfterCommit, org.clock.now_ms(), &call.settings);
                }
                self.release(&mut state, 0);
            }
        }
        self.undo.clear();
        self.finished = true;
    }

    /// Takes everything back and frees the locks.
    pub(crate) async fn rollback(mut self, call: &Call) {
        self.row_latency(call).await;
        self.abandon();
    }

    /// Rows are written once more, because others of their call failed.
    pub(crate) fn pass_again(&mut self, rows: usize) {
        self.rows = self.rows.saturating_add(rows as u64);
    }

    async fn row_latency(&self, call: &Call) {
        let ms = call.settings.latency_per_row_ms.saturating_mul(self.rows);
        self.org.clock.sleep(Duration::from_millis(ms)).await;
    }

    fn abandon(&mut self) {
        if self.finished {
            return;
        }
        self.finished = true;
        let org = Arc::clone(&self.org);
        if !self.events.is_empty() {
            self.release_events(0);
        }
        let mut state = org.state();
        self.settle(&mut state);
        self.undo_rows(&mut state, 0);
        self.release(&mut state, 0);
    }

    /// Gives back the places of the events after the first `keep`.
    fn release_events(&mut self, keep: usize) {
        let mut bus = self.org.bus();
        if self.org.epoch() == self.epoch {
            bus.release(self.events.len() - keep);
        }
        self.events.truncate(keep);
    }

    fn undo_rows(&mut self, state: &mut State, keep: usize) {
        for undo in self.undo.drain(keep..).rev() {
            // After a reset the rows are others', under the same ids.
            state.tables[undo.object.0].undo(undo.id, self.id, undo.previous);
        }
    }

    fn release(&mut self, state: &mut State, keep: usize) {
        for id in self.locks.drain(keep..) {
            state.locks.release(id, self.id);
        }
    }

    /// Leaves the queue. True when the row it stood for has become this transaction's own.
    fn settle(&mut self, state: &mut State) -> bool {
        let Some(row) = self.awaits.take() else { return false };
        let granted = state.locks.settle(row, self.id);
        if granted {
            self.locks.push(row);
        }
        granted
    }

    /// Creates, updates or upserts one row.
    pub(crate) async fn save(
        &mut self,
        object: ObjectIx,
        target: Target,
        body: &Map<String, Value>,
        call: &Call,
    ) -> Result<Saved, ApiError> {
        let name = &self.org.schema.object(object).name;
        match self.org.faults.row(name, &call.path, body, &target, &call.settings) {
            Some(RowTrouble::Refuse(error)) => return Err(error),
            Some(RowTrouble::Several(ids)) => return Ok(Saved::Several(ids)),
            None => {}
        }
        self.rows += 1;
        self.user = call.user;
        let org = Arc::clone(&self.org);
        self.step(call, |this, state| this.try_save(&org, state, object, &target, body, call)).await
    }

    /// Moves one row to the recycle bin, and what falls with it.
    pub(crate) async fn delete(&mut self, object: ObjectIx, id: RecordId, call: &Call) -> Result<(), ApiError> {
        let definition = self.org.schema.object(object);
        if let Some(error) = self.org.faults.delete(&definition.name, &call.path, id, &call.settings) {
            return Err(error);
        }
        permissions::check_delete(definition, &call.settings)?;
        self.rows += 1;
        let org = Arc::clone(&self.org);
        self.step(call, |this, state| this.try_delete(&org, state, object, id, call)).await
    }

    /// Publishes a platform event, at once or with the commit.
    pub(crate) fn publish(
        &mut self,
        object: ObjectIx,
        body: &Map<String, Value>,
        call: &Call,
    ) -> Result<Published, ApiError> {
        let org = Arc::clone(&self.org);
        let definition = org.schema.object(object);
        let name = &definition.name;
        if let Some(RowTrouble::Refuse(error)) = org.faults.row(name, &call.path, body, &Target::New, &call.settings) {
            return Err(error);
        }
        permissions::check_save(definition, &Target::New, &call.settings)?;
        self.rows += 1;
        let id = {
            let mut state = org.state();
            self.check_epoch(call)?;
            state.next_id(&org.schema, object).0
        };
        let user = call.user;
        let mut event = Event::read(&org, object, body, user, call)?;
        event.fate = org.faults.event(name, &call.path, body);
        let mut bus = org.bus();
        self.check_epoch(call)?;
        let now = org.clock.now_ms();
        if !bus.has_room(event.size, &call.settings) {
            return Err(events::unavailable());
        }
        if !bus.reserve(now, &call.settings) {
            return Err(events::over_hourly_limit());
        }
        let uuid = event.uuid.clone();
        match events::behavior(definition, &call.settings) {
            PublishedBy::AfterCommit => self.events.push(event),
            by @ (PublishedBy::Immediately | PublishedBy::PubSub) => bus.accept(vec![event], by, now, &call.settings),
        }
        Ok(Published { id, uuid })
    }

    /// Runs `attempt` until it is not blocked, at most for the lock wait.
    async fn step<T>(
        &mut self,
        call: &Call,
        mut attempt: impl FnMut(&mut Self, &mut State) -> Result<Attempt<T>, ApiError>,
    ) -> Result<T, ApiError> {
        let org = Arc::clone(&self.org);
        let mut deadline = None;
        loop {
            let (row, woken) = {
                let mut state = org.state();
                self.check_epoch(call)?;
                match attempt(self, &mut state)? {
                    Attempt::Done(value) => return Ok(value),
                    Attempt::Blocked(Blocked { row, takes }) => (row, self.queue_up(&mut state, row, takes, call)?),
                }
            };
            let until = *deadline.get_or_insert_with(|| org.clock.now().plus(call.settings.lock_wait()));
            let wake = org.clock.before(until, woken).await;
            let granted = self.settle(&mut org.state());
            // The row may have come in the same moment in which the wait ended.
            if !granted && !matches!(wake, Some(Ok(Wake::Free))) {
                return Err(ApiError::lock(&row.to_string()));
            }
        }
    }

    /// Refuses what is left of a call when the org was reset since it began.
    fn check_epoch(&self, call: &Call) -> Result<(), ApiError> {
        self.org.check_epoch(self.epoch)?;
        self.org.check_epoch(call.epoch)
    }

    fn queue_up(
        &mut self,
        state: &mut State,
        row: RecordId,
        takes: bool,
        call: &Call,
    ) -> Result<oneshot::Receiver<Wake>, ApiError> {
        let woken = state.locks.wait(row, self.id, takes, call.settings.deadlock_detection);
        let woken = woken.ok_or_else(|| ApiError::lock(&row.to_string()))?;
        self.awaits = Some(row);
        Ok(woken)
    }

    /// Takes `rows` one after the other; the first one in other hands is in the way.
    fn lock(&mut self, state: &mut State, rows: &[RecordId]) -> Option<Blocked> {
        for row in rows {
            match state.locks.take(*row, self.id) {
                Taken::Now => self.locks.push(*row),
                Taken::Already => {}
                Taken::Busy => return Some(Blocked { row: *row, takes: true }),
            }
        }
        None
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        self.abandon();
    }
}

pub(crate) fn deleted() -> ApiError {
    ApiError::new(404, "ENTITY_IS_DELETED", "entity is deleted").with_fields([""; 0])
}

/// Fields a save may change, for the modules that look at them.
pub(crate) fn touches(changes: &Changes, fields: &[FieldIx]) -> bool {
    changes.iter().any(|(field, _)| fields.contains(field))
}
