//! Deleting a row, and what that does to the rows that name it.
//!
//! Each lookup says what becomes of its row: it goes too, its lookup is emptied, or the deletion is refused (Metadata API
//! Developer Guide, `CustomField`: `deleteConstraint`; Help, "Considerations for Relationships"). Rows that only follow
//! run no triggers and ask for no permission (Apex Developer Guide, "Operations That Don't Invoke Triggers"). The texts
//! of `DELETE_FAILED` are recorded. Indexes on the lookups find the rows, so each is looked at once.
//!
//! A call whose deletions take too many rows with them is refused (Help, "Important Considerations When Deleting Large
//! Volumes of Data Using Data Loader": 100,000 or more children in one operation; the text is recorded).

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;

use super::{Attempt, Blocked, Transaction};
use crate::api_error::ApiError;
use crate::call::Call;
use crate::events;
use crate::ids::RecordId;
use crate::org::{Org, State};
use crate::permissions::insufficient;
use crate::person_accounts;
use crate::records::{Row, TransactionId};
use crate::schema::automation::{self, Moment};
use crate::schema::{FieldIx, Object, ObjectIx, OnDelete, Schema};

/// Names that a refusal lists.
const NAMED: usize = 20;

struct Doomed {
    object: ObjectIx,
    id: RecordId,
    row: Arc<Row>,
}

/// What one deletion comes to.
struct Fall {
    /// The row itself first, then what follows.
    deleted: Vec<Doomed>,
    /// Lookups that become empty.
    emptied: Vec<(ObjectIx, RecordId, FieldIx)>,
    /// Rows that forbid it.
    restricting: Vec<(ObjectIx, RecordId)>,
}

impl Transaction {
    pub(super) fn try_delete(
        &mut self,
        org: &Org,
        state: &mut State,
        object: ObjectIx,
        id: RecordId,
        call: &Call,
    ) -> Result<Attempt<()>, ApiError> {
        let schema = &org.schema;
        let definition = schema.object(object);
        if definition.event {
            return Err(events::not_changeable(definition, "deleted"));
        }
        if definition.read_only {
            return Err(insufficient(&call.settings));
        }
        let mut root = Doomed { object, id, row: self.existing(state, object, id)? };
        if object == schema.contact {
            person_accounts::guard_contact(schema, Some(&root.row), None, &call.settings)?;
            if let Some(account) = person_accounts::owner_of(schema, &root.row) {
                let row = self.existing(state, schema.account, account)?;
                root = Doomed { object: schema.account, id: account, row };
            }
        }
        let definition = schema.object(root.object);
        automation::run(definition, Moment::BeforeDelete, Some(&root.row), &root.row, Some(root.id))?;
        let fall = match self.fall(schema, state, root, call.settings.cascade_delete_limit)? {
            Attempt::Done(fall) => fall,
            Attempt::Blocked(blocked) => return Ok(Attempt::Blocked(blocked)),
        };
        if let Some(refusal) = refusal(schema, state, self.id, &fall) {
            return Err(refusal);
        }
        let mut locks = Vec::with_capacity(fall.deleted.len() + fall.emptied.len());
        for doomed in &fall.deleted {
            locks.extend(self.rows_to_lock(schema, state, doomed.object, Some(doomed.id), Some(&doomed.row), None));
        }
        locks.extend(fall.emptied.iter().map(|(_, id, _)| *id));
        if let Some(blocked) = self.lock(state, &locks) {
            return Ok(Attempt::Blocked(blocked));
        }
        let fallen = fall.deleted.len() - 1;
        self.fallen = self.fallen.saturating_add(fallen);
        let followers = fallen + fall.emptied.len();
        self.rows = self.rows.saturating_add(followers as u64);
        let now = Value::String(org.clock.stamp_text());
        for (object, id, field) in fall.emptied {
            let Some(mut row) = state.table(object).get(id, Some(self.id)).map(|row| Row::clone(row)) else { continue };
            row.set(field, Value::Null);
            if let Some(stamp) = schema.object(object).find("SystemModstamp") {
                row.set(stamp, now.clone());
            }
            self.put(state, object, id, row);
        }
        for Doomed { object, id, row } in fall.deleted.into_iter().rev() {
            let mut row = Row::clone(&row);
            row.deleted = true;
            if let Some(field) = schema.object(object).find("IsDeleted") {
                row.set(field, Value::Bool(true));
            }
            for stamp in ["LastModifiedDate", "SystemModstamp"] {
                if let Some(field) = schema.object(object).find(stamp) {
                    row.set(field, now.clone());
                }
            }
            self.put(state, object, id, row);
        }
        Ok(Attempt::Done(()))
    }

    /// Everything that goes with `root`. A row whose lookup another transaction is changing is waited for. The search
    /// ends where the call takes `limit` rows with those it deletes, so that it keeps the state for a bounded time.
    fn fall(&self, schema: &Schema, state: &State, root: Doomed, limit: usize) -> Result<Attempt<Fall>, ApiError> {
        let mut doomed = HashSet::from([root.id]);
        let mut fall = Fall { deleted: vec![root], emptied: Vec::new(), restricting: Vec::new() };
        let mut next = 0;
        while let Some(parent) = fall.deleted.get(next) {
            next += 1;
            let key = parent.id.to_string();
            let parent = parent.object;
            for (child, field, index) in &state.referencing[parent.0] {
                let table = state.table(*child);
                if let Some((row, _)) = table.contested(*index, &key, self.id) {
                    return Ok(Attempt::Blocked(Blocked { row, takes: false }));
                }
                for id in table.lookup(*index, &key, Some(self.id)) {
                    match schema.object(*child).field(*field).on_delete {
                        OnDelete::SetNull => fall.emptied.push((*child, id, *field)),
                        OnDelete::Restrict => fall.restricting.push((*child, id)),
                        OnDelete::Cascade => {
                            if doomed.insert(id)
                                && let Some(row) = table.get(id, Some(self.id))
                            {
                                if self.fallen.saturating_add(fall.deleted.len()) >= limit {
                                    return Err(too_many(schema.object(*child)));
                                }
                                fall.deleted.push(Doomed { object: *child, id, row: Arc::clone(row) });
                            }
                        }
                    }
                }
            }
        }
        fall.emptied.retain(|(_, id, _)| !doomed.contains(id));
        fall.restricting.retain(|(_, id)| !doomed.contains(id));
        Ok(Attempt::Done(fall))
    }
}

fn too_many(object: &Object) -> ApiError {
    let message = format!("Cascade deleting too many records: occurring when cascading to {} records", object.label);
    ApiError::bad_request("DELETE_OPERATION_TOO_LARGE", message).with_fields([""; 0])
}

/// Why the deletion is refused, if it is: rows that restrict it, or opportunities an account has won.
fn refusal(schema: &Schema, state: &State, reader: TransactionId, fall: &Fall) -> Option<ApiError> {
    let root = fall.deleted.first()?;
    let (because, names) = if let Some((first, _)) = fall.restricting.first() {
        let rows = fall.restricting.iter().filter(|(object, _)| object == first).take(NAMED);
        let object = schema.object(*first);
        let names = rows.map(|(_, id)| match state.table(*first).get(*id, Some(reader)) {
            Some(row) => shown(object, *id, row),
            None => id.to_string(),
        });
        let plural = object.label_plural.to_lowercase();
        (format!("it is associated with the following {plural}."), names.collect::<Vec<_>>())
    } else {
        let opportunity = schema.find("Opportunity").filter(|_| root.object == schema.account)?;
        let definition = schema.object(opportunity);
        let stage_name = definition.find("StageName")?;
        let opportunities = fall.deleted.iter().filter(|doomed| doomed.object == opportunity);
        let won = opportunities.filter(|doomed| doomed.row.text(stage_name) == Some("Closed Won")).take(NAMED);
        let names: Vec<String> = won.map(|doomed| shown(definition, doomed.id, &doomed.row)).collect();
        if names.is_empty() {
            return None;
        }
        let because = "some opportunities in that account were closed won. The opportunities that could not be deleted \
                       are shown below.";
        (because.to_owned(), names)
    };
    let message = format!(
        "Your attempt to delete {} could not be completed because {because}: {}\n",
        shown(schema.object(root.object), root.id, &root.row),
        names.join(", ")
    );
    Some(ApiError::bad_request("DELETE_FAILED", message).with_fields([""; 0]))
}

/// The row by its name.
fn shown(object: &Object, id: RecordId, row: &Row) -> String {
    object.find("Name").and_then(|name| row.text(name)).map_or_else(|| id.to_string(), str::to_owned)
}
