//! Person accounts: which Account rows are people, and the hidden Contact that follows each of them.
//!
//! Source: Object Reference, "Person Account Record Types"; Help, "Considerations for Using Person Accounts".

use serde_json::Value;

use crate::api_error::ApiError;
use crate::ids::RecordId;
use crate::org::{State, stamp};
use crate::records::{Row, TransactionId};
use crate::schema::{Feature, FieldType, Object, ObjectIx, Schema};
use crate::settings::Settings;
use crate::validation::{Changes, required};

/// Decides person or business, refuses the other kind's fields, and sets what follows from the kind.
pub(crate) fn prepare(
    schema: &Schema,
    state: &State,
    before: Option<&Row>,
    changes: &mut Changes,
    settings: &Settings,
) -> Result<(), ApiError> {
    let account = schema.object(schema.account);
    let field = |name: &str| account.find(name);
    let (name, last_name, flag, record_type) =
        (field("Name"), field("LastName"), field("IsPersonAccount"), field("RecordTypeId"));
    let chosen_type = record_type
        .and_then(|ix| changes.get(ix))
        .and_then(Value::as_str)
        .and_then(RecordId::parse)
        .map(|id| is_person_type(schema, state, id));
    let person = match (before, chosen_type) {
        (Some(row), chosen) => {
            let person = flag.is_some_and(|flag| row.flag(flag));
            if chosen.is_some_and(|chosen| chosen != person) {
                return Err(ApiError::bad_request(
                    "INVALID_PERSON_ACCOUNT_OPERATION",
                    "Record type does not match the kind of the account",
                ));
            }
            person
        }
        (None, Some(chosen)) => chosen && settings.person_accounts,
        (None, None) => settings.person_accounts && !changes.fills(name) && names_a_person(account, changes),
    };
    if person {
        if name.is_some_and(|name| changes.get(name).is_some()) {
            return Err(bad_names(&["Name"]));
        }
        let cleared = last_name.and_then(|ix| changes.get(ix)).is_some_and(Value::is_null);
        if (before.is_none() && !changes.fills(last_name)) || cleared {
            return Err(required(&["LastName"]));
        }
    } else {
        let foreign: Vec<&str> = changes
            .iter()
            .filter(|(ix, value)| !value.is_null() && account.field(*ix).needs == Some(Feature::PersonAccounts))
            .map(|(ix, _)| account.field(*ix).name.as_str())
            .collect();
        if !foreign.is_empty() {
            return Err(bad_names(&foreign));
        }
        let cleared = name.and_then(|ix| changes.get(ix)).is_some_and(Value::is_null);
        if (before.is_none() && !changes.fills(name)) || cleared {
            return Err(required(&["Name"]));
        }
    }
    if before.is_none() {
        if let Some(flag) = flag {
            changes.set(flag, Value::Bool(person));
        }
        if let Some(ix) = record_type.filter(|ix| !changes.fills(Some(*ix))) {
            let id = if person { state.defaults.person_record_type } else { state.defaults.business_record_type };
            changes.set(ix, Value::String(id.to_string()));
        }
    }
    Ok(())
}

/// Without a record type, person fields and no `Name` mean the default person record type.
fn names_a_person(account: &Object, changes: &Changes) -> bool {
    changes.iter().any(|(ix, value)| !value.is_null() && account.field(*ix).needs == Some(Feature::PersonAccounts))
}

fn bad_names(fields: &[&str]) -> ApiError {
    let message = format!("Account: bad field names on insert/update call: {}", fields.join(", "));
    ApiError::bad_request("INVALID_FIELD_FOR_INSERT_UPDATE", message).with_fields(fields.iter().copied())
}

fn is_person_type(schema: &Schema, state: &State, id: RecordId) -> bool {
    let flag = schema.object(schema.record_type).find("IsPersonType");
    let row = state.table(schema.record_type).get(id, None);
    row.zip(flag).is_some_and(|(row, flag)| row.flag(flag))
}

/// Derives `Name` of people, on both objects.
pub(crate) fn name_row(schema: &Schema, object: ObjectIx, row: &mut Row) {
    let definition = schema.object(object);
    let is_account = object == schema.account;
    if !is_account && object != schema.contact {
        return;
    }
    if is_account && !definition.find("IsPersonAccount").is_some_and(|flag| row.flag(flag)) {
        return;
    }
    let part = |name: &str| definition.find(name).and_then(|ix| row.text(ix)).unwrap_or_default();
    let full = format!("{} {}", part("FirstName"), part("LastName")).trim().to_owned();
    if let Some(name) = definition.find("Name") {
        row.set(name, if full.is_empty() { Value::Null } else { Value::String(full) });
    }
}

/// The hidden Contact of a person account as it must be now; `None` for a business account.
///
/// A new account gets a new Contact id, which is set on `account_row`.
pub(crate) fn hidden_contact(
    schema: &Schema,
    state: &mut State,
    reader: TransactionId,
    account_id: RecordId,
    account_row: &mut Row,
    now: &str,
) -> Option<(RecordId, Row)> {
    let account = schema.object(schema.account);
    let contact = schema.object(schema.contact);
    if !account.find("IsPersonAccount").is_some_and(|flag| account_row.flag(flag)) {
        return None;
    }
    let id = contact_of(schema, account_row).unwrap_or_else(|| state.next_id(schema, schema.contact).0);
    let mut row = state.table(schema.contact).get(id, Some(reader)).map(|row| Row::clone(row)).unwrap_or_default();
    for (from, field) in account.each_field() {
        let to = field.person.as_deref().and_then(|name| contact.find(name));
        if let Some(to) = to.filter(|_| field.kind != FieldType::Id) {
            row.set(to, account_row.get(from).cloned().unwrap_or(Value::Null));
        }
    }
    for (name, value) in [("AccountId", Value::String(account_id.to_string())), ("IsPersonAccount", Value::Bool(true))]
    {
        if let Some(field) = contact.find(name) {
            row.set(field, value);
        }
    }
    name_row(schema, schema.contact, &mut row);
    stamp(&mut row, schema, schema.contact, id, state.defaults.user, now);
    if let Some(field) = account.find("PersonContactId") {
        account_row.set(field, Value::String(id.to_string()));
    }
    Some((id, row))
}

/// The hidden Contact's id of an account row.
pub(crate) fn contact_of(schema: &Schema, account_row: &Row) -> Option<RecordId> {
    let field = schema.object(schema.account).find("PersonContactId")?;
    account_row.text(field).and_then(RecordId::parse)
}

/// An ordinary Contact says so.
pub(crate) fn mark_plain_contact(schema: &Schema, row: &mut Row) {
    if let Some(flag) = schema.object(schema.contact).find("IsPersonAccount") {
        row.set(flag, Value::Bool(false));
    }
}
