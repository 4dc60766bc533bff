//! One transaction: row locks until its end, an undo log with savepoints, and events that wait for the commit.
//!
//! Every step runs under the state's lock and never waits there. A step that needs a row of another transaction
//! gives the lock back, waits for that transaction's end, and starts over; after the lock wait it gives up with
//! `UNABLE_TO_LOCK_ROW`. Dropping an unfinished transaction rolls it back.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::api_error::ApiError;
use crate::call::Call;
use crate::duplicates;
use crate::events::{self, Event, PublishedBy};
use crate::faults::refusals::RowTrouble;
use crate::ids::RecordId;
use crate::org::{Holder, Org, State, stamp};
use crate::person_accounts;
use crate::records::{Pending, Row, TransactionId, push_folded};
use crate::schema::{FieldIx, ObjectIx};
use crate::validation::{self, Changes, Mode};

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
    events: usize,
}

enum Attempt<T> {
    Done(T),
    Blocked { row: RecordId, on: CancellationToken },
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
    done: CancellationToken,
    undo: Vec<Undo>,
    locks: Vec<RecordId>,
    events: Vec<Event>,
    rows: u64,
    finished: bool,
}

impl Transaction {
    pub(crate) fn begin(org: &Arc<Org>) -> Self {
        Self {
            org: Arc::clone(org),
            id: org.next_transaction(),
            done: CancellationToken::new(),
            undo: Vec::new(),
            locks: Vec::new(),
            events: Vec::new(),
            rows: 0,
            finished: false,
        }
    }

    pub(crate) fn id(&self) -> TransactionId {
        self.id
    }

    pub(crate) fn savepoint(&self) -> Savepoint {
        Savepoint { undo: self.undo.len(), events: self.events.len() }
    }

    /// Takes back everything since `savepoint`. Locks stay until the transaction ends.
    pub(crate) fn rollback_to(&mut self, savepoint: Savepoint) {
        if self.events.len() > savepoint.events {
            self.org.bus().release(self.events.len() - savepoint.events);
            self.events.truncate(savepoint.events);
        }
        if self.undo.len() > savepoint.undo {
            let org = Arc::clone(&self.org);
            let mut state = org.state();
            self.undo_rows(&mut state, savepoint.undo);
        }
    }

    /// Waits the latency of the rows written, then makes them visible and frees their locks.
    pub(crate) async fn commit(mut self, call: &Call) {
        self.row_latency(call).await;
        let org = Arc::clone(&self.org);
        {
            let mut state = org.state();
            for undo in &self.undo {
                state.tables[undo.object.0].commit(undo.id, self.id);
            }
            // Events are on the bus before anyone can see the rows, as one commit.
            let events = std::mem::take(&mut self.events);
            if !events.is_empty() {
                org.bus().accept(events, PublishedBy::AfterCommit, org.clock.now_ms(), &call.settings);
            }
            self.release(&mut state);
        }
        self.undo.clear();
        self.finished = true;
    }

    /// Takes everything back and frees the locks.
    pub(crate) async fn rollback(mut self, call: &Call) {
        self.row_latency(call).await;
        self.abandon();
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
            org.bus().release(self.events.len());
            self.events.clear();
        }
        let mut state = org.state();
        self.undo_rows(&mut state, 0);
        self.release(&mut state);
    }

    fn undo_rows(&mut self, state: &mut State, keep: usize) {
        for undo in self.undo.drain(keep..).rev() {
            state.tables[undo.object.0].undo(undo.id, undo.previous);
        }
    }

    fn release(&mut self, state: &mut State) {
        for id in self.locks.drain(..) {
            if state.locks.get(&id).is_some_and(|holder| holder.by == self.id) {
                state.locks.remove(&id);
            }
        }
        self.done.cancel();
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
        let org = Arc::clone(&self.org);
        self.step(call, |this| {
            let mut state = org.state();
            this.try_save(&org, &mut state, object, &target, body, call)
        })
        .await
    }

    /// Moves one row to the recycle bin.
    pub(crate) async fn delete(&mut self, object: ObjectIx, id: RecordId, call: &Call) -> Result<(), ApiError> {
        self.rows += 1;
        let org = Arc::clone(&self.org);
        self.step(call, |this| {
            let mut state = org.state();
            this.try_delete(&org, &mut state, object, id)
        })
        .await
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
        if call.settings.unpublishable_events.iter().any(|event| event.eq_ignore_ascii_case(name)) {
            return Err(events::not_creatable(definition));
        }
        self.rows += 1;
        let (id, user) = {
            let mut state = org.state();
            (state.next_id(&org.schema, object).0, state.defaults.user)
        };
        let mut event = Event::read(&org, object, body, user, call)?;
        event.fate = org.faults.event(name, &call.path, body);
        let mut bus = org.bus();
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
        mut attempt: impl FnMut(&mut Self) -> Result<Attempt<T>, ApiError>,
    ) -> Result<T, ApiError> {
        let mut deadline = None;
        loop {
            match attempt(self)? {
                Attempt::Done(value) => return Ok(value),
                Attempt::Blocked { row, on } => {
                    let until = *deadline.get_or_insert_with(|| self.org.clock.now().plus(call.settings.lock_wait()));
                    if self.org.clock.before(until, on.cancelled()).await.is_none() {
                        return Err(ApiError::lock(&row.to_string()));
                    }
                }
            }
        }
    }

    /// Takes all of `rows` or none; the first one in other hands is returned.
    fn lock(&mut self, state: &mut State, rows: &[RecordId]) -> Option<(RecordId, CancellationToken)> {
        for row in rows {
            if let Some(holder) = state.locks.get(row)
                && holder.by != self.id
            {
                return Some((*row, holder.done.clone()));
            }
        }
        for row in rows {
            if !state.locks.contains_key(row) {
                state.locks.insert(*row, Holder { by: self.id, done: self.done.clone() });
                self.locks.push(*row);
            }
        }
        None
    }

    fn try_save(
        &mut self,
        org: &Org,
        state: &mut State,
        object: ObjectIx,
        target: &Target,
        body: &Map<String, Value>,
        call: &Call,
    ) -> Result<Attempt<Saved>, ApiError> {
        let schema = &org.schema;
        let definition = schema.object(object);
        if definition.read_only {
            let message = format!("entity type cannot be inserted or updated: {}", definition.label);
            return Err(ApiError::bad_request("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", message).with_fields([""; 0]));
        }
        let mode = match target {
            Target::New => Mode::Create,
            Target::Id(_) => Mode::Update,
            Target::ExternalId { field, .. } => Mode::Upsert(*field),
        };
        let mut changes = validation::read_fields(schema, state, self.id, object, body, mode, &call.settings)?;
        let existing = match target {
            Target::New => None,
            Target::Id(id) => Some(*id),
            Target::ExternalId { field, value, update_only } => {
                match self.by_external_id(state, object, *field, value)? {
                    Attempt::Blocked { row, on } => return Ok(Attempt::Blocked { row, on }),
                    Attempt::Done(ids) if ids.len() > 1 => return Ok(Attempt::Done(Saved::Several(ids))),
                    Attempt::Done(ids) => {
                        if ids.is_empty() {
                            if *update_only {
                                return Err(ApiError::not_found());
                            }
                            changes.set(*field, validation::read_external_id(definition.field(*field), value)?);
                        }
                        ids.first().copied()
                    }
                }
            }
        };
        let before = match existing {
            None => None,
            Some(id) => Some(self.existing(state, object, id)?),
        };
        let mut locks: Vec<RecordId> = existing.into_iter().collect();
        for (field, value) in changes.iter().filter(|(field, _)| definition.field(*field).locks_parent) {
            let old = before.as_ref().and_then(|row| row.text(*field));
            locks.extend(old.into_iter().chain(value.as_str()).filter_map(RecordId::parse));
        }
        if let Some((row, on)) = self.lock(state, &locks) {
            return Ok(Attempt::Blocked { row, on });
        }
        validation::check_references(schema, state, self.id, object, &changes)?;
        if object == schema.account {
            person_accounts::prepare(schema, state, before.as_deref(), &mut changes, &call.settings)?;
        }
        validation::check_lengths(definition, &changes)?;
        let mut row = before.as_deref().cloned().unwrap_or_default();
        for (field, value) in changes.iter() {
            row.set(*field, value.clone());
        }
        validation::check_required(definition, &row, before.is_some(), &changes)?;
        validation::check_addresses(schema, object, &mut row, &changes, &call.settings)?;
        person_accounts::name_row(schema, object, &mut row);
        let report = duplicates::check(org, state, self.id, object, existing, &row, &changes, call)?;
        if let Some(blocked) = self.check_unique(org, state, object, existing, &row)? {
            return Ok(blocked);
        }
        let id = self.write(org, state, object, existing, row, before.as_deref());
        if let Some(report) = report {
            self.write_report(org, state, id, &report);
        }
        Ok(Attempt::Done(Saved::Row { id, created: existing.is_none() }))
    }

    fn by_external_id(
        &self,
        state: &State,
        object: ObjectIx,
        field: FieldIx,
        value: &str,
    ) -> Result<Attempt<Vec<RecordId>>, ApiError> {
        let index = state.unique_index(object, field).ok_or_else(ApiError::not_found)?;
        let mut key = String::new();
        push_folded(&mut key, value, true);
        let table = state.table(object);
        if let Some((row, by)) = table.contested(index, &key, self.id) {
            return Ok(Self::blocked(state, row, by));
        }
        Ok(Attempt::Done(table.lookup(index, &key, Some(self.id))))
    }

    /// Waits for the transaction `by`, which wrote `row`.
    fn blocked<T>(state: &State, row: RecordId, by: TransactionId) -> Attempt<T> {
        let on = state.locks.get(&row).filter(|holder| holder.by == by).map(|holder| holder.done.clone());
        // Every pending row is locked by its writer; should that ever fail, the lock wait is the way out.
        Attempt::Blocked { row, on: on.unwrap_or_default() }
    }

    fn existing(&self, state: &State, object: ObjectIx, id: RecordId) -> Result<Arc<Row>, ApiError> {
        match state.table(object).get(id, Some(self.id)) {
            None => Err(ApiError::not_found()),
            Some(row) if row.deleted => Err(deleted()),
            Some(row) => Ok(Arc::clone(row)),
        }
    }

    fn check_unique(
        &self,
        org: &Org,
        state: &State,
        object: ObjectIx,
        me: Option<RecordId>,
        row: &Row,
    ) -> Result<Option<Attempt<Saved>>, ApiError> {
        let table = state.table(object);
        let definition = org.schema.object(object);
        for (field, index) in &state.unique[object.0] {
            let field = definition.field(*field);
            let Some(key) = table.indexes[*index].key_of(row).filter(|_| field.unique) else { continue };
            if let Some((row, by)) = table.contested(*index, &key, self.id).filter(|(row, _)| Some(*row) != me) {
                return Ok(Some(Self::blocked(state, row, by)));
            }
            if let Some(other) = table.lookup(*index, &key, Some(self.id)).into_iter().find(|id| Some(*id) != me) {
                let message =
                    format!("duplicate value found: {} duplicates value on record with id: {other}", field.name);
                return Err(ApiError::bad_request("DUPLICATE_VALUE", message).with_fields([""; 0]));
            }
        }
        Ok(None)
    }

    fn write(
        &mut self,
        org: &Org,
        state: &mut State,
        object: ObjectIx,
        existing: Option<RecordId>,
        mut row: Row,
        before: Option<&Row>,
    ) -> RecordId {
        let schema = &org.schema;
        let now = org.clock.now_text();
        let user = state.defaults.user;
        let id = existing.unwrap_or_else(|| {
            let (id, number) = state.next_id(schema, object);
            let definition = schema.object(object);
            if let (Some(prefix), Some(name)) = (&definition.auto_number, definition.find("Name")) {
                row.set(name, Value::String(format!("{prefix}{number:06}")));
            }
            id
        });
        if object == schema.account
            && let Some((contact, contact_row)) =
                person_accounts::hidden_contact(schema, state, self.id, id, &mut row, &now)
        {
            self.put(state, schema.contact, contact, contact_row);
        }
        if before.is_none() && object == schema.contact {
            person_accounts::mark_plain_contact(schema, &mut row);
        }
        stamp(&mut row, schema, object, id, user, &now);
        self.put(state, object, id, row);
        id
    }

    /// Writes one version, locked and with its undo.
    fn put(&mut self, state: &mut State, object: ObjectIx, id: RecordId, row: Row) {
        let _ = self.lock(state, &[id]);
        let previous = state.tables[object.0].write(id, self.id, Arc::new(row));
        self.undo.push(Undo { object, id, previous });
    }

    fn write_report(&mut self, org: &Org, state: &mut State, id: RecordId, report: &duplicates::Report) {
        let schema = &org.schema;
        let mut fill = |this: &mut Self, object: ObjectIx, fields: &[(&str, Value)]| {
            let mut row = Row::default();
            for (name, value) in fields {
                if let Some(field) = schema.object(object).find(name) {
                    row.set(field, value.clone());
                }
            }
            this.write(org, state, object, None, row, None)
        };
        let set = fill(
            self,
            schema.duplicate_record_set,
            &[
                ("DuplicateRuleId", Value::String(report.rule.clone())),
                ("RecordCount", Value::from(report.matches.len() + 1)),
            ],
        );
        for record in report.matches.iter().chain([&id]) {
            fill(
                self,
                schema.duplicate_record_item,
                &[
                    ("DuplicateRecordSetId", Value::String(set.to_string())),
                    ("RecordId", Value::String(record.to_string())),
                ],
            );
        }
    }

    fn try_delete(
        &mut self,
        org: &Org,
        state: &mut State,
        object: ObjectIx,
        id: RecordId,
    ) -> Result<Attempt<()>, ApiError> {
        let schema = &org.schema;
        if schema.object(object).event {
            return Err(events::not_changeable(schema.object(object), "deleted"));
        }
        if schema.object(object).read_only {
            return Err(ApiError::new(
                403,
                "INSUFFICIENT_ACCESS_OR_READONLY",
                "insufficient access rights on object id",
            )
            .with_fields([""; 0]));
        }
        let row = self.existing(state, object, id)?;
        if let Some((row, on)) = self.lock(state, &[id]) {
            return Ok(Attempt::Blocked { row, on });
        }
        let bin = |row: &Row, object: ObjectIx| {
            let mut row = row.clone();
            row.deleted = true;
            if let Some(field) = schema.object(object).find("IsDeleted") {
                row.set(field, Value::Bool(true));
            }
            row
        };
        if object == schema.account
            && let Some(contact) = person_accounts::contact_of(schema, &row)
            && let Some(contact_row) = state.table(schema.contact).get(contact, Some(self.id)).cloned()
        {
            self.put(state, schema.contact, contact, bin(&contact_row, schema.contact));
        }
        self.put(state, object, id, bin(&row, object));
        Ok(Attempt::Done(()))
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
