//! The rows an org starts with, and its tables by object.

use serde_json::{Value, json};

use super::{Defaults, FORMER_USER, State};
use crate::clock::Clock;
use crate::config::Config;
use crate::duplicates::Rules;
use crate::ids::RecordId;
use crate::records::{KeyPart, Row, Table};
use crate::schema::{FieldIx, ObjectIx, Schema};
use crate::transaction::LockTable;
use crate::validation;

impl State {
    pub(super) fn seeded(schema: &Schema, clock: &Clock, config: &Config, number: u64) -> Self {
        let mut tables: Vec<Table> = schema.objects.iter().map(|_| Table::default()).collect();
        let unique = schema
            .objects
            .iter()
            .zip(&mut tables)
            .map(|(object, table)| {
                object
                    .each_field()
                    .filter(|(_, field)| field.unique || field.external_id)
                    .map(|(ix, field)| (ix, table.add_index(vec![KeyPart::unique(ix, field.case_sensitive)])))
                    .collect()
            })
            .collect();
        let referencing = schema
            .referencing
            .iter()
            .map(|lookups| {
                let indexed = |(object, field): &(ObjectIx, FieldIx)| {
                    let index = tables[object.0].add_index(vec![KeyPart::unique(*field, true)]);
                    (*object, *field, index)
                };
                lookups.iter().map(indexed).collect()
            })
            .collect();
        let locking = schema
            .objects
            .iter()
            .map(|object| object.each_field().filter(|(_, field)| field.locks_parent).map(|(ix, _)| ix).collect())
            .collect();
        let lasting_indexes = tables.iter().map(|table| table.indexes.len()).collect();
        let compiled = Rules::compile(schema, &mut tables, &config.duplicate_rules).unwrap_or_default();
        let defaults = Defaults {
            organization: RecordId::new("00D", number),
            user: crate::oauth::users::id_of(0),
            person_record_type: RecordId::new("012", 1),
            business_record_type: RecordId::new("012", 2),
        };
        let mut state = Self {
            tables,
            locks: LockTable::default(),
            rules: compiled,
            unique,
            referencing,
            locking,
            lasting_indexes,
            defaults,
        };
        let mut seeds: Vec<(ObjectIx, RecordId, Value)> = vec![
            (
                schema.organization,
                defaults.organization,
                json!({ "Name": "Causeway Simulator", "OrganizationType": "Developer Edition", "IsSandbox": config.sandbox, "InstanceName": "SIM1" }),
            ),
            (
                schema.user,
                RecordId::new("005", 2),
                json!({ "Username": FORMER_USER, "FirstName": "Former", "LastName": "User", "Name": "Former User",
                        "Email": FORMER_USER, "IsActive": false }),
            ),
            (
                schema.record_type,
                defaults.person_record_type,
                json!({ "Name": "Person Account", "DeveloperName": "PersonAccount", "SobjectType": "Account", "IsActive": true, "IsPersonType": true }),
            ),
            (
                schema.record_type,
                defaults.business_record_type,
                json!({ "Name": "Business Account", "DeveloperName": "Business_Account", "SobjectType": "Account", "IsActive": true, "IsPersonType": false }),
            ),
        ];
        for (index, user) in config.users.iter().enumerate() {
            seeds.push((schema.user, crate::oauth::users::id_of(index), crate::oauth::users::fields(user)));
        }
        for (object, id, fields) in seeds {
            state.seed(schema, object, id, &fields, &clock.stamp_text());
        }
        let rules = std::mem::take(&mut state.rules);
        rules.store(schema, &mut state, &clock.stamp_text());
        state.rules = rules;
        state
    }

    /// Puts one row in place as it stands, committed; one with its id is replaced.
    pub(crate) fn seed(&mut self, schema: &Schema, object: ObjectIx, id: RecordId, fields: &Value, now: &str) {
        let mut row = Row::default();
        for (name, value) in fields.as_object().into_iter().flatten() {
            if let Some(field) = schema.object(object).find(name) {
                row.set(field, value.clone());
            }
        }
        stamp(&mut row, schema, object, id, self.defaults.user, now);
        let table = &mut self.tables[object.0];
        table.last_number = table.last_number.max(10);
        table.seed(id, row);
    }

    /// Drops the indexes after the first `counts` of each object; without counts, all those of the duplicate rules.
    pub(super) fn keep_indexes(&mut self, counts: Option<&[usize]>) {
        for (table, count) in self.tables.iter_mut().zip(counts.unwrap_or(&self.lasting_indexes)) {
            table.indexes.truncate(*count);
        }
    }

    pub(crate) fn table(&self, object: ObjectIx) -> &Table {
        &self.tables[object.0]
    }

    pub(crate) fn table_mut(&mut self, object: ObjectIx) -> &mut Table {
        &mut self.tables[object.0]
    }

    pub(crate) fn next_id(&mut self, schema: &Schema, object: ObjectIx) -> (RecordId, u64) {
        let table = self.table_mut(object);
        table.last_number += 1;
        (RecordId::new(&schema.object(object).key_prefix, table.last_number), table.last_number)
    }

    /// The index of a unique or external-id field, and the key under which it has `value` once that is typed as a stored
    /// one is.
    pub(crate) fn unique_key(
        &self,
        schema: &Schema,
        object: ObjectIx,
        field: FieldIx,
        value: &str,
    ) -> Option<(usize, String)> {
        let index = self.unique_index(object, field)?;
        let text = validation::external_id_text(schema.object(object).field(field), value);
        let key = self.table(object).indexes[index].key_for(&text);
        Some((index, key))
    }

    /// The index of a lookup that names rows of `parent`.
    pub(crate) fn reference_index(&self, parent: ObjectIx, child: ObjectIx, lookup: FieldIx) -> Option<usize> {
        let lookups = self.referencing[parent.0].iter();
        lookups.filter(|(object, field, _)| (*object, *field) == (child, lookup)).map(|(.., index)| *index).next()
    }

    /// The index of a unique or external-id field.
    pub(crate) fn unique_index(&self, object: ObjectIx, field: FieldIx) -> Option<usize> {
        self.unique[object.0].iter().find(|(ix, _)| *ix == field).map(|(_, index)| *index)
    }
}

/// Sets the system fields; creation fields only when they are still empty.
pub(crate) fn stamp(row: &mut Row, schema: &Schema, object: ObjectIx, id: RecordId, user: RecordId, now: &str) {
    let object = schema.object(object);
    let mut put = |name: &str, value: Value, always: bool| {
        if let Some(field) = object.find(name)
            && (always || row.get(field).is_none())
        {
            row.set(field, value);
        }
    };
    put("Id", Value::String(id.to_string()), true);
    put("IsDeleted", Value::Bool(false), false);
    put("CreatedDate", Value::String(now.to_owned()), false);
    put("CreatedById", Value::String(user.to_string()), false);
    put("LastModifiedDate", Value::String(now.to_owned()), true);
    put("LastModifiedById", Value::String(user.to_string()), true);
    put("SystemModstamp", Value::String(now.to_owned()), true);
    put("OwnerId", Value::String(user.to_string()), false);
}
