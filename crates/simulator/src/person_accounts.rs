//! Person accounts: which Account rows are people, and the hidden Contact that follows each of them.
//!
//! Source: Object Reference, "Person Account Record Types"; Help, "Considerations for Using Person Accounts".

use serde_json::Value;

use crate::api_error::ApiError;
use crate::ids::RecordId;
use crate::org::{State, stamp};
use crate::permissions::insufficient;
use crate::records::{Row, TransactionId};
use crate::schema::{FieldIx, FieldType, Object, ObjectIx, Schema, addresses};
use crate::settings::{BusinessFields, PersonContactWrites, Settings};
use crate::validation::{Changes, no_record_type, required};

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
                return Err(conversion(account, changes));
            }
            person
        }
        (None, Some(chosen)) => chosen && settings.person_accounts,
        (None, None) => settings.person_accounts && !changes.fills(name) && names_a_person(account, changes),
    };
    if before.is_none() && person && !settings.person_record_type_assigned {
        let chosen = record_type.and_then(|ix| changes.get(ix)).and_then(Value::as_str);
        return Err(chosen.map_or_else(
            || {
                let message = "Unable to find default record type";
                ApiError::bad_request("UNAVAILABLE_RECORDTYPE_EXCEPTION", message).with_fields([""; 0])
            },
            no_record_type,
        ));
    }
    if person {
        business_fields(account, changes, settings)?;
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
            .filter(|(ix, value)| names_person(account, *ix, value))
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
    changes.iter().any(|(ix, value)| names_person(account, *ix, value))
}

/// A value that only a person can have; a box that is not ticked says nothing.
fn names_person(account: &Object, ix: FieldIx, value: &Value) -> bool {
    account.field(ix).is_personal() && !value.is_null() && *value != Value::Bool(false)
}

/// Fields that say something about a company (Help, "Considerations for Using Person Accounts"; the list is a guess).
const OF_BUSINESSES: [&str; 5] = ["ParentId", "Site", "NumberOfEmployees", "Ownership", "TickerSymbol"];

fn business_fields(account: &Object, changes: &mut Changes, settings: &Settings) -> Result<(), ApiError> {
    let of_business = |ix: FieldIx| OF_BUSINESSES.contains(&account.field(ix).name.as_str());
    match settings.person_account_business_fields {
        BusinessFields::Kept => {}
        BusinessFields::Ignored => changes.retain(|ix| !of_business(ix)),
        BusinessFields::Refused => {
            let written = changes.iter().filter(|(ix, value)| of_business(*ix) && !value.is_null());
            let written: Vec<&str> = written.map(|(ix, _)| account.field(*ix).name.as_str()).collect();
            if !written.is_empty() {
                return Err(bad_names(&written));
            }
        }
    }
    Ok(())
}

/// An account stays a person or a business; the first text is recorded.
fn conversion(account: &Object, changes: &Changes) -> ApiError {
    if changes.iter().any(|(ix, _)| account.field(*ix).name != "RecordTypeId") {
        let message = "Cannot specify any additional fields when marrying or separating a Person-Account";
        return ApiError::bad_request("INVALID_FIELD_FOR_INSERT_UPDATE", message).with_fields([""; 0]);
    }
    let message = "Record type does not match the kind of the account";
    ApiError::bad_request("INVALID_PERSON_ACCOUNT_OPERATION", message).with_fields([""; 0])
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

/// Derives `Name` of people, wherever they are.
pub(crate) fn name_row(schema: &Schema, object: ObjectIx, row: &mut Row) {
    let definition = schema.object(object);
    let is_account = object == schema.account;
    if !is_account && object != schema.contact && definition.name != "Individual" {
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
    (reader, user): (TransactionId, RecordId),
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
    let picklists =
        contact.addresses.iter().any(|address| address.country_code.is_some_and(|ix| row.get(ix).is_some()));
    addresses::compose(contact, &mut row, |_| true, picklists);
    stamp(&mut row, schema, schema.contact, id, user, now);
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

/// The hidden Contact belongs to its account (Help, "`RecordTypeId` cannot be updated on the Person Contact entity").
pub(crate) fn guard_contact(
    schema: &Schema,
    before: Option<&Row>,
    changes: Option<&Changes>,
    settings: &Settings,
) -> Result<(), ApiError> {
    let contact = schema.object(schema.contact);
    let Some(row) = before.filter(|row| contact.find("IsPersonAccount").is_some_and(|flag| row.flag(flag))) else {
        return Ok(());
    };
    // Whose contact it is, and of which type, is the account's to say, however writes go.
    let moves = ["AccountId", "RecordTypeId"].iter().filter_map(|name| contact.find(name)).any(|field| {
        let new = changes.and_then(|changes| changes.get(field));
        new.is_some_and(|new| row.get(field).unwrap_or(&Value::Null) != new)
    });
    if moves || settings.person_contact_writes == PersonContactWrites::Refused {
        return Err(insufficient(settings));
    }
    Ok(())
}

/// The person account that owns a hidden Contact.
pub(crate) fn owner_of(schema: &Schema, contact_row: &Row) -> Option<RecordId> {
    let contact = schema.object(schema.contact);
    let hidden = contact_row.flag(contact.find("IsPersonAccount")?);
    contact_row.text(contact.find("AccountId")?).filter(|_| hidden).and_then(RecordId::parse)
}

/// The person account as a write to its hidden Contact leaves it.
pub(crate) fn account_of(
    schema: &Schema,
    state: &State,
    (reader, user): (TransactionId, RecordId),
    contact_row: &Row,
    now: &str,
) -> Option<(RecordId, Row)> {
    let (account, contact) = (schema.object(schema.account), schema.object(schema.contact));
    let id = owner_of(schema, contact_row)?;
    let mut row = Row::clone(state.table(schema.account).get(id, Some(reader))?);
    for (to, field) in account.each_field() {
        if let Some(from) = field.person.as_deref().and_then(|name| contact.find(name)) {
            row.set(to, contact_row.get(from).cloned().unwrap_or(Value::Null));
        }
    }
    name_row(schema, schema.account, &mut row);
    let picklists =
        contact.addresses.iter().any(|address| address.country_code.is_some_and(|ix| contact_row.get(ix).is_some()));
    addresses::compose(account, &mut row, |_| true, picklists);
    stamp(&mut row, schema, schema.account, id, user, now);
    Some((id, row))
}
