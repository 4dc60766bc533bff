//! Saving one row: what it must be, which rows it locks, and what it takes with it.
//!
//! The order is that of the org: fields and types, locks, references, lengths, required fields, duplicate rules,
//! unique values. Locks follow Help, "Record Locking Cheat Sheet": a row locks the rows its lookups name where the
//! field says so, the old one and the new one, and a new owner of an account locks the account's children.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Attempt, Blocked, Saved, Target, Transaction, deleted};
use crate::api_error::ApiError;
use crate::call::Call;
use crate::duplicates;
use crate::events;
use crate::ids::RecordId;
use crate::org::{Org, State};
use crate::permissions;
use crate::person_accounts;
use crate::records::Row;
use crate::schema::automation::{self, Moment};
use crate::schema::{FieldIx, ObjectIx, Schema};
use crate::validation::{self, Changes, Mode, Save};

impl Transaction {
    pub(super) fn try_save(
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
        if definition.event {
            // An event is published, never stored.
            return Err(events::not_changeable(definition, "stored as rows"));
        }
        permissions::check_save(definition, target, &call.settings)?;
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
                    Attempt::Blocked(blocked) => return Ok(Attempt::Blocked(blocked)),
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
        permissions::check_known(definition, existing.is_some(), &call.settings)?;
        let before = match existing {
            None => None,
            Some(id) => Some(self.existing(state, object, id)?),
        };
        if object == schema.contact {
            person_accounts::guard_contact(schema, before.as_deref(), Some(&changes), &call.settings)?;
        }
        let locks = self.rows_to_lock(schema, state, object, existing, before.as_deref(), Some(&changes));
        if let Some(blocked) = self.lock(state, &locks) {
            return Ok(Attempt::Blocked(blocked));
        }
        let check =
            Save { schema, state, reader: self.id, object, before: before.as_deref(), settings: &call.settings };
        let row = check.check(&mut changes)?;
        let saved = duplicates::Saved { object, existing, row: &row, reader: self.id };
        let reports = duplicates::check(org, state, saved, &changes, call)?;
        if let Some(blocked) = self.check_unique(org, state, object, existing, &row)? {
            return Ok(blocked);
        }
        let savepoint = self.undo.len();
        let id = self.write(org, state, object, existing, row, before.as_deref());
        if let Err(error) = self.after(schema, state, object, id, before.as_deref()) {
            self.undo_rows(state, savepoint);
            return Err(error);
        }
        for report in &reports {
            self.write_report(org, state, id, report);
        }
        Ok(Attempt::Done(Saved::Row { id, created: existing.is_none() }))
    }

    /// The triggers after the write.
    fn after(
        &self,
        schema: &Schema,
        state: &State,
        object: ObjectIx,
        id: RecordId,
        before: Option<&Row>,
    ) -> Result<(), ApiError> {
        let definition = schema.object(object);
        if definition.triggers.is_empty() {
            return Ok(());
        }
        let Some(row) = state.table(object).get(id, Some(self.id)) else { return Ok(()) };
        let moment = if before.is_some() { Moment::AfterUpdate } else { Moment::AfterInsert };
        automation::run(definition, moment, before, row, Some(id))
    }

    fn by_external_id(
        &self,
        state: &State,
        object: ObjectIx,
        field: FieldIx,
        value: &str,
    ) -> Result<Attempt<Vec<RecordId>>, ApiError> {
        let found = state.unique_key(&self.org.schema, object, field, value);
        let (index, key) = found.ok_or_else(ApiError::not_found)?;
        let table = state.table(object);
        if let Some((row, _)) = table.contested(index, &key, self.id) {
            return Ok(Attempt::Blocked(Blocked { row, takes: false }));
        }
        Ok(Attempt::Done(table.lookup(index, &key, Some(self.id))))
    }

    pub(super) fn existing(&self, state: &State, object: ObjectIx, id: RecordId) -> Result<Arc<Row>, ApiError> {
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
            // Every pending row is locked by its writer, so its fate is known when that lock goes.
            if let Some((row, _)) = table.contested(*index, &key, self.id).filter(|(row, _)| Some(*row) != me) {
                return Ok(Some(Attempt::Blocked(Blocked { row, takes: false })));
            }
            if let Some(other) = table.lookup(*index, &key, Some(self.id)).into_iter().find(|id| Some(*id) != me) {
                let message =
                    format!("duplicate value found: {} duplicates value on record with id: {other}", field.name);
                return Err(ApiError::bad_request("DUPLICATE_VALUE", message).with_fields([""; 0]));
            }
        }
        Ok(None)
    }

    /// The rows that a write of this row locks, its own first; `changes` are `None` for a delete.
    pub(super) fn rows_to_lock(
        &self,
        schema: &Schema,
        state: &State,
        object: ObjectIx,
        existing: Option<RecordId>,
        before: Option<&Row>,
        changes: Option<&Changes>,
    ) -> Vec<RecordId> {
        let mut rows: Vec<RecordId> = existing.into_iter().collect();
        for field in &state.locking[object.0] {
            let old = before.and_then(|row| row.text(*field));
            let new = changes.and_then(|changes| changes.get(*field)).and_then(Value::as_str);
            rows.extend(old.into_iter().chain(new).filter_map(RecordId::parse));
        }
        if object == schema.account
            && let Some((account, before)) = existing.zip(before)
        {
            rows.extend(person_accounts::contact_of(schema, before));
            let owner = schema.object(object).find("OwnerId");
            let new = owner.zip(changes).and_then(|(owner, changes)| changes.get(owner)).and_then(Value::as_str);
            let old = owner.and_then(|owner| before.text(owner));
            if new.is_some_and(|new| RecordId::parse(new) != old.and_then(RecordId::parse)) {
                rows.extend(self.children(schema, state, account));
            }
        }
        rows
    }

    /// Rows of other objects that look up this account.
    fn children(&self, schema: &Schema, state: &State, account: RecordId) -> Vec<RecordId> {
        let key = account.to_string();
        let lookups = state.referencing[schema.account.0].iter().filter(|(object, ..)| *object != schema.account);
        lookups.flat_map(|(object, _, index)| state.table(*object).lookup(*index, &key, Some(self.id))).collect()
    }
}
