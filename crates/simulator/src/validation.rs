//! What a row must be before it is stored.
//!
//! The order follows the Apex Developer Guide, "Triggers and Order of Execution": known fields, types, field-level
//! security; then foreign keys and restricted picklists; the triggers before the save; lengths, required fields,
//! addresses; validation rules. Duplicate rules, the write, and the triggers after it are the transaction's.

mod addresses;
mod references;
mod values;

use std::borrow::Cow;

use serde_json::{Map, Value};

pub(crate) use self::references::no_record_type;
pub(crate) use self::values::read_value;
use crate::api_error::ApiError;
use crate::org::State;
use crate::person_accounts;
use crate::records::{Row, TransactionId};
use crate::schema::addresses as compound;
use crate::schema::automation::{self, Moment};
use crate::schema::{Field, FieldIx, FieldType, Object, ObjectIx, Schema};
use crate::settings::{Reparenting, Settings};

/// Typed values a save sets, each field once.
#[derive(Debug, Default, Clone)]
pub(crate) struct Changes(Vec<(FieldIx, Value)>);

impl Changes {
    pub(crate) fn set(&mut self, field: FieldIx, value: Value) {
        match self.0.iter_mut().find(|(ix, _)| *ix == field) {
            Some((_, old)) => *old = value,
            None => self.0.push((field, value)),
        }
    }

    pub(crate) fn get(&self, field: FieldIx) -> Option<&Value> {
        self.0.iter().find(|(ix, _)| *ix == field).map(|(_, value)| value)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &(FieldIx, Value)> {
        self.0.iter()
    }

    /// A value other than null is set.
    pub(crate) fn fills(&self, field: Option<FieldIx>) -> bool {
        field.and_then(|field| self.get(field)).is_some_and(|value| !value.is_null())
    }

    /// Takes out the fields that are not `kept`.
    pub(crate) fn retain(&mut self, mut kept: impl FnMut(FieldIx) -> bool) {
        self.0.retain(|(ix, _)| kept(*ix));
    }
}

/// What kind of write the fields come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Create,
    Update,
    /// By this external id, which the body must not repeat.
    Upsert(FieldIx),
}

/// One save that has its locks and is checked against the org.
pub(crate) struct Save<'a> {
    pub(crate) schema: &'a Schema,
    pub(crate) state: &'a State,
    pub(crate) reader: TransactionId,
    pub(crate) object: ObjectIx,
    pub(crate) before: Option<&'a Row>,
    pub(crate) settings: &'a Settings,
}

impl Save<'_> {
    /// The row as it would be stored, with everything that follows from the changes.
    pub(crate) fn check(&self, changes: &mut Changes) -> Result<Row, ApiError> {
        let Self { schema, state, reader, object, before, settings } = *self;
        let definition = schema.object(object);
        if before.is_some() {
            check_updateable(definition, changes, settings)?;
        }
        references::check_references(schema, state, reader, object, changes)?;
        check_picklists(definition, before, changes)?;
        if object == schema.account {
            person_accounts::prepare(schema, state, before, changes, settings)?;
        }
        let mut row = before.cloned().unwrap_or_default();
        if before.is_none() {
            let missing = definition.defaults.iter().filter(|(ix, _)| changes.get(*ix).is_none());
            for (ix, value) in missing {
                let personal = definition.field(*ix).needs.is_some() && !definition.exists(*ix, settings);
                if !personal {
                    row.set(*ix, value.clone());
                }
            }
        }
        for (field, value) in changes.iter() {
            row.set(*field, value.clone());
        }
        if !definition.triggers.is_empty() {
            let moment = if before.is_some() { Moment::BeforeUpdate } else { Moment::BeforeInsert };
            automation::run(definition, moment, before, &row, None)?;
        }
        check_lengths(definition, changes)?;
        check_required(definition, &row, before.is_some(), changes)?;
        addresses::check_addresses(schema, object, before, &mut row, changes, settings)?;
        person_accounts::name_row(schema, object, &mut row);
        compound::compose(definition, &mut row, |ix| changes.get(ix).is_some(), settings.state_country_picklists);
        if !definition.rules.is_empty() {
            automation::validate(definition, before, &row)?;
        }
        Ok(row)
    }
}

/// Reads a body into typed changes.
pub(crate) fn read_fields(
    schema: &Schema,
    state: &State,
    reader: TransactionId,
    object: ObjectIx,
    body: &Map<String, Value>,
    mode: Mode,
    settings: &Settings,
) -> Result<Changes, ApiError> {
    let definition = schema.object(object);
    let mut known = Vec::with_capacity(body.len());
    for (name, value) in body {
        if name == "attributes" {
            continue;
        }
        if let Some(field) = definition.find_visible(name, settings) {
            known.push((field, value, false));
        } else if let Some(field) = definition.relationship(name).filter(|ix| definition.is_visible(*ix, settings))
            && value.is_object()
        {
            known.push((field, value, true));
        } else {
            return Err(ApiError::unknown_field(name, &definition.name));
        }
    }
    let mut changes = Changes::default();
    let mut read_only = Vec::new();
    for (ix, value, relationship) in known {
        let field = definition.field(ix);
        if field.kind == FieldType::Id || mode == Mode::Upsert(ix) {
            let message = format!("The {} field should not be specified in the sobject data.", field.name);
            return Err(ApiError::bad_request("INVALID_FIELD", message).with_fields([field.name.clone()]));
        }
        if !definition.is_writable(ix, settings) {
            read_only.push(field.name.clone());
            continue;
        }
        let value = if relationship {
            references::resolve_relationship(schema, state, reader, field, value, settings)?
        } else {
            read_value(field, value)?
        };
        changes.set(ix, value);
    }
    if read_only.is_empty() { Ok(changes) } else { Err(not_writable(read_only)) }
}

/// Fields that field-level security or their nature keeps from being written.
fn not_writable(fields: Vec<String>) -> ApiError {
    let message = format!(
        "Unable to create/update fields: {}. Please check the security settings of this field and verify that it is \
         read/write for your profile or permission set.",
        fields.join(", ")
    );
    ApiError::bad_request("INVALID_FIELD_FOR_INSERT_UPDATE", message).with_fields(fields)
}

/// Fields that are written once stay as they are, masters above all.
fn check_updateable(definition: &Object, changes: &Changes, settings: &Settings) -> Result<(), ApiError> {
    let fixed = changes.iter().map(|(ix, _)| definition.field(*ix)).filter(|field| field.create_only);
    let fixed: Vec<&Field> = fixed.collect();
    let Some(first) = fixed.first() else { return Ok(()) };
    if settings.reparenting == Reparenting::CannotReparent && first.master_detail {
        let message = format!("{} cannot be reparented", definition.label);
        return Err(ApiError::bad_request("CANNOT_REPARENT_RECORD", message).with_fields([first.name.clone()]));
    }
    Err(not_writable(fixed.iter().map(|field| field.name.clone()).collect()))
}

/// Reads the external-id value of an upsert's path.
pub(crate) fn read_external_id(field: &Field, value: &str) -> Result<Value, ApiError> {
    read_value(field, &Value::String(value.to_owned()))
}

/// An external-id value as the text that an index has of it.
pub(crate) fn external_id_text<'v>(field: &Field, value: &'v str) -> Cow<'v, str> {
    if matches!(field.kind, FieldType::String | FieldType::Email) {
        return Cow::Borrowed(value.trim());
    }
    match read_external_id(field, value) {
        Ok(Value::String(text)) => Cow::Owned(text),
        Ok(typed) if !typed.is_null() => Cow::Owned(typed.to_string()),
        // What no row can have is found in none.
        Ok(_) | Err(_) => Cow::Borrowed(value),
    }
}

/// Restricted picklists hold their active values only; an inactive value that the row has may stay.
fn check_picklists(definition: &Object, before: Option<&Row>, changes: &Changes) -> Result<(), ApiError> {
    for (ix, value) in changes.iter() {
        let field = definition.field(*ix);
        let Some(text) = value.as_str().filter(|_| field.restricted) else { continue };
        let known = |text: &str| field.values.iter().any(|known| known.active && known.value == text);
        let several = field.kind == FieldType::Multipicklist;
        let bad =
            if several { text.split(';').find(|text| !known(text)) } else { Some(text).filter(|text| !known(text)) };
        if let Some(bad) = bad
            && before.and_then(|row| row.text(*ix)) != Some(text)
        {
            let message = format!("bad value for restricted picklist field: {bad}");
            return Err(field.refuse("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", message));
        }
    }
    Ok(())
}

/// Lengths in UTF-16 units, and the shape of e-mail addresses.
pub(crate) fn check_lengths(definition: &Object, changes: &Changes) -> Result<(), ApiError> {
    for (ix, value) in changes.iter() {
        let field = definition.field(*ix);
        let Some(text) = value.as_str() else { continue };
        let limited = match field.kind {
            FieldType::String
            | FieldType::Textarea
            | FieldType::Email
            | FieldType::Phone
            | FieldType::Url
            | FieldType::Picklist
            | FieldType::Multipicklist => field.length > 0,
            FieldType::Id
            | FieldType::Reference
            | FieldType::Boolean
            | FieldType::Date
            | FieldType::Datetime
            | FieldType::Double
            | FieldType::Currency
            | FieldType::Percent
            | FieldType::Int
            | FieldType::Address => false,
        };
        // Bytes are never fewer than UTF-16 units, so short text needs no count.
        if limited && text.len() > field.length && text.encode_utf16().count() > field.length {
            let shown: String = text.chars().take(255).collect();
            let message = format!("data value too large: {shown} (max length={})", field.length);
            return Err(field.refuse("STRING_TOO_LONG", message));
        }
        if field.kind == FieldType::Email && !values::is_email(text) {
            return Err(field.refuse("INVALID_EMAIL_ADDRESS", format!("invalid email address: {text}")));
        }
    }
    Ok(())
}

/// Required fields have a value; an update is held only to the fields it clears.
fn check_required(definition: &Object, row: &Row, update: bool, changes: &Changes) -> Result<(), ApiError> {
    let missing: Vec<&str> = definition
        .required
        .iter()
        .filter(|ix| row.get(**ix).is_none() && (!update || changes.get(**ix).is_some()))
        .map(|ix| definition.field(*ix).name.as_str())
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(required(&missing)) }
}

pub(crate) fn required(missing: &[&str]) -> ApiError {
    let message = format!("Required fields are missing: [{}]", missing.join(", "));
    ApiError::bad_request("REQUIRED_FIELD_MISSING", message).with_fields(missing.iter().copied())
}
