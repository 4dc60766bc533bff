//! Writing versions, each locked and with its undo.

use std::sync::Arc;

use serde_json::Value;

use super::{Transaction, Undo};
use crate::duplicates;
use crate::ids::RecordId;
use crate::org::{Org, State, stamp};
use crate::person_accounts;
use crate::records::Row;
use crate::schema::ObjectIx;

impl Transaction {
    pub(super) fn write(
        &mut self,
        org: &Org,
        state: &mut State,
        object: ObjectIx,
        existing: Option<RecordId>,
        mut row: Row,
        before: Option<&Row>,
    ) -> RecordId {
        let schema = &org.schema;
        let now = org.clock.stamp_text();
        let user = self.user;
        let id = existing.unwrap_or_else(|| {
            let (id, number) = state.next_id(schema, object);
            let definition = schema.object(object);
            for ix in &definition.auto_numbers {
                if let Some(format) = &definition.field(*ix).auto_number {
                    row.set(*ix, Value::String(format.text(number)));
                }
            }
            id
        });
        if object == schema.account
            && let Some((contact, contact_row)) =
                person_accounts::hidden_contact(schema, state, (self.id, user), id, &mut row, &now)
        {
            self.put(state, schema.contact, contact, contact_row);
        }
        if before.is_none() && object == schema.contact {
            person_accounts::mark_plain_contact(schema, &mut row);
        }
        if object == schema.contact
            && let Some((account, account_row)) =
                person_accounts::account_of(schema, state, (self.id, user), &row, &now)
        {
            self.put(state, schema.account, account, account_row);
        }
        stamp(&mut row, schema, object, id, user, &now);
        self.put(state, object, id, row);
        id
    }

    /// Writes one version, locked and with its undo.
    pub(super) fn put(&mut self, state: &mut State, object: ObjectIx, id: RecordId, row: Row) {
        let _ = self.lock(state, &[id]);
        let previous = state.tables[object.0].write(id, self.id, Arc::new(row));
        self.undo.push(Undo { object, id, previous });
    }

    /// Adds the saved row and its matches to their set, which is made if there is none.
    pub(super) fn write_report(&mut self, org: &Org, state: &mut State, id: RecordId, report: &duplicates::Report) {
        let schema = &org.schema;
        let (sets, items) = (schema.duplicate_record_set, schema.duplicate_record_item);
        let fill = |object: ObjectIx, mut row: Row, fields: &[(&str, Value)]| {
            for (name, value) in fields {
                if let Some(field) = schema.object(object).find(name) {
                    row.set(field, value.clone());
                }
            }
            row
        };
        // A set that another transaction is writing is not waited for; a report is not worth that.
        let found = duplicates::record_set(schema, state, self.id, report);
        let (found, members) = found.filter(|(set, _)| self.lock(state, &[*set]).is_none()).unzip();
        let members = members.unwrap_or_default();
        let added: Vec<RecordId> =
            report.matches.iter().chain([&id]).copied().filter(|record| !members.contains(record)).collect();
        if added.is_empty() {
            return;
        }
        let before = found.and_then(|set| state.table(sets).get(set, Some(self.id)).cloned());
        let row = before.as_deref().cloned().unwrap_or_default();
        let count = Value::from(members.len() + added.len());
        let rule = Value::String(report.rule.to_string());
        let row = fill(sets, row, &[("DuplicateRuleId", rule), ("RecordCount", count)]);
        let set = self.write(org, state, sets, found, row, before.as_deref());
        for record in added {
            let fields = [
                ("DuplicateRecordSetId", Value::String(set.to_string())),
                ("RecordId", Value::String(record.to_string())),
            ];
            self.write(org, state, items, None, fill(items, Row::default(), &fields), None);
        }
    }
}
