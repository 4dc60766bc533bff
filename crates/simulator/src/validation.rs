//! What a row must be before it is stored, in the org's order: known fields, types, references, lengths,
//! required fields, addresses.

use serde_json::{Map, Value};

use crate::api_error::ApiError;
use crate::clock::{datetime_text, parse_datetime};
use crate::ids::RecordId;
use crate::org::State;
use crate::records::{Row, TransactionId, push_folded};
use crate::schema::{Field, FieldIx, FieldType, Object, ObjectIx, Schema};
use crate::settings::Settings;

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
}

/// What kind of write the fields come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Create,
    Update,
    /// By this external id, which the body must not repeat.
    Upsert(FieldIx),
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
        if field.read_only && !(field.name == "Name" && definition.auto_number.is_none()) {
            read_only.push(field.name.clone());
            continue;
        }
        let value = if relationship {
            resolve_relationship(schema, state, reader, field, value)?
        } else {
            read_value(field, value)?
        };
        changes.set(ix, value);
    }
    if !read_only.is_empty() {
        let message = format!(
            "Unable to create/update fields: {}. Please check the security settings of this field and verify that it is \
             read/write for your profile or permission set.",
            read_only.join(", ")
        );
        return Err(ApiError::bad_request("INVALID_FIELD_FOR_INSERT_UPDATE", message).with_fields(read_only));
    }
    Ok(changes)
}

/// Types one value; empty text is null.
pub(crate) fn read_value(field: &Field, value: &Value) -> Result<Value, ApiError> {
    let wrong = |token: &str, shown: &str| {
        ApiError::json(format!(
            "Cannot deserialize instance of {} from {token} value {shown} or request may be missing a required field at \
             [line:1, column:1]",
            field.kind.name()
        ))
    };
    let mismatch = || match value {
        Value::String(text) => wrong("VALUE_STRING", text),
        Value::Number(number) if number.is_f64() => wrong("VALUE_NUMBER_FLOAT", &number.to_string()),
        Value::Number(number) => wrong("VALUE_NUMBER_INT", &number.to_string()),
        Value::Bool(true) => wrong("VALUE_TRUE", "true"),
        Value::Bool(false) => wrong("VALUE_FALSE", "false"),
        Value::Array(_) => wrong("START_ARRAY", "["),
        Value::Object(_) => wrong("START_OBJECT", "{"),
        Value::Null => wrong("VALUE_NULL", "null"),
    };
    if value.is_null() {
        return Ok(Value::Null);
    }
    match field.kind {
        FieldType::Boolean => match value {
            Value::Bool(_) => Ok(value.clone()),
            Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(Value::Bool(true)),
            Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(Value::Bool(false)),
            Value::String(_) | Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => Err(mismatch()),
        },
        FieldType::Double | FieldType::Currency | FieldType::Int => {
            let number = match value {
                Value::Number(number) => number.as_f64(),
                Value::String(text) => text.trim().parse::<f64>().ok().filter(|number| number.is_finite()),
                Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
            };
            let number = number.ok_or_else(mismatch)?;
            if field.kind == FieldType::Int && number.fract() != 0.0 {
                return Err(mismatch());
            }
            let digits = i32::try_from(field.precision.saturating_sub(field.scale)).unwrap_or(18);
            if number.abs() >= 10f64.powi(digits) {
                let message = format!("{}: value outside of valid range on numeric field: {number}", field.label);
                return Err(
                    ApiError::bad_request("NUMBER_OUTSIDE_VALID_RANGE", message).with_fields([field.name.clone()])
                );
            }
            if value.is_number() {
                return Ok(value.clone());
            }
            Ok(serde_json::Number::from_f64(number).map_or(Value::Null, Value::Number))
        }
        FieldType::Date => {
            let text = value.as_str().ok_or_else(mismatch)?;
            if text.is_empty() {
                return Ok(Value::Null);
            }
            match text.parse::<jiff::civil::Date>() {
                Ok(date) if text.len() == 10 => Ok(Value::String(date.to_string())),
                Ok(_) | Err(_) => Err(mismatch()),
            }
        }
        FieldType::Datetime => {
            let text = value.as_str().ok_or_else(mismatch)?;
            if text.is_empty() {
                return Ok(Value::Null);
            }
            parse_datetime(text).map(|ms| Value::String(datetime_text(ms))).ok_or_else(mismatch)
        }
        FieldType::Reference | FieldType::Id => {
            let text = value.as_str().ok_or_else(mismatch)?;
            if text.is_empty() {
                return Ok(Value::Null);
            }
            match RecordId::parse(text) {
                Some(id) => Ok(Value::String(id.to_string())),
                None => Err(malformed_id(field, text)),
            }
        }
        FieldType::Textarea => {
            let text = value.as_str().ok_or_else(mismatch)?;
            Ok(if text.is_empty() { Value::Null } else { value.clone() })
        }
        FieldType::String | FieldType::Phone | FieldType::Url | FieldType::Email | FieldType::Picklist => {
            let text = value.as_str().ok_or_else(mismatch)?.trim();
            Ok(if text.is_empty() { Value::Null } else { Value::String(text.to_owned()) })
        }
    }
}

fn malformed_id(field: &Field, text: &str) -> ApiError {
    ApiError::bad_request("MALFORMED_ID", format!("{}: id value of incorrect type: {text}", field.label))
        .with_fields([field.name.clone()])
}

/// `"Account__r": {"LimioId__c": "v"}`: the id of the row with that external id.
fn resolve_relationship(
    schema: &Schema,
    state: &State,
    reader: TransactionId,
    field: &Field,
    value: &Value,
) -> Result<Value, ApiError> {
    let target = field.to.first().and_then(|name| schema.find(name)).ok_or_else(ApiError::not_found)?;
    let definition = schema.object(target);
    let mut keys = value.as_object().into_iter().flatten().filter(|(name, _)| *name != "attributes");
    let (Some((name, wanted)), None) = (keys.next(), keys.next()) else {
        let message = format!("Relationship {} needs exactly one external id field", field.name);
        return Err(ApiError::bad_request("INVALID_FIELD", message));
    };
    let lookup = definition.find(name).filter(|ix| {
        let found = definition.field(*ix);
        found.external_id || found.id_lookup
    });
    let Some(lookup) = lookup else {
        let message = format!("Provided external ID field does not exist or is not accessible: {name}");
        return Err(ApiError::bad_request("INVALID_FIELD", message));
    };
    let wanted = wanted.as_str().unwrap_or_default();
    let table = state.table(target);
    let matches = match state.unique_index(target, lookup) {
        Some(index) => {
            let mut key = String::new();
            push_folded(&mut key, wanted, true);
            table.lookup(index, &key, Some(reader))
        }
        None => table
            .rows(Some(reader))
            .filter(|(_, row)| !row.deleted && row.text(lookup).is_some_and(|text| text.eq_ignore_ascii_case(wanted)))
            .map(|(id, _)| id)
            .collect(),
    };
    match matches.as_slice() {
        [id] => Ok(Value::String(id.to_string())),
        [] => Err(ApiError::bad_request(
            "INVALID_FIELD",
            format!("Foreign key external ID: {wanted} not found for field {name} in entity {}", definition.name),
        )),
        _ => Err(ApiError::bad_request(
            "DUPLICATE_EXTERNAL_ID",
            format!("{name}: more than one record found for external id field: {wanted}"),
        )),
    }
}

/// Reads the external-id value of an upsert's path.
pub(crate) fn read_external_id(field: &Field, value: &str) -> Result<Value, ApiError> {
    read_value(field, &Value::String(value.to_owned()))
}

/// References name a row of the right object that exists.
pub(crate) fn check_references(
    schema: &Schema,
    state: &State,
    reader: TransactionId,
    object: ObjectIx,
    changes: &Changes,
) -> Result<(), ApiError> {
    let definition = schema.object(object);
    for (ix, value) in changes.iter() {
        let field = definition.field(*ix);
        let Some(text) = value.as_str().filter(|_| field.kind == FieldType::Reference) else { continue };
        let Some(id) = RecordId::parse(text) else { return Err(malformed_id(field, text)) };
        let target = schema.by_prefix(id.prefix());
        let Some(target) = target.filter(|ix| field.to.contains(&schema.object(*ix).name)) else {
            return Err(malformed_id(field, text));
        };
        let row = state.table(target).get(id, Some(reader));
        let personal = object == schema.contact
            && target == schema.account
            && row
                .is_some_and(|row| schema.object(target).find("IsPersonAccount").is_some_and(|field| row.flag(field)));
        match row {
            Some(row) if row.deleted => {
                return Err(ApiError::bad_request("ENTITY_IS_DELETED", "entity is deleted").with_fields([""; 0]));
            }
            Some(_) if !personal => {}
            Some(_) | None => {
                let message = if field.name == "RecordTypeId" {
                    format!("Record Type ID: this ID value isn't valid for the user: {text}")
                } else {
                    "invalid cross reference id".to_owned()
                };
                let fields = if field.name == "RecordTypeId" { vec![field.name.clone()] } else { Vec::new() };
                return Err(ApiError::bad_request("INVALID_CROSS_REFERENCE_KEY", message).with_fields(fields));
            }
        }
    }
    Ok(())
}

/// Lengths in UTF-16 units, e-mail shape, restricted picklists.
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
            | FieldType::Picklist => field.length > 0,
            FieldType::Id
            | FieldType::Reference
            | FieldType::Boolean
            | FieldType::Date
            | FieldType::Datetime
            | FieldType::Double
            | FieldType::Currency
            | FieldType::Int => false,
        };
        // Bytes are never fewer than UTF-16 units, so short text needs no count.
        if limited && text.len() > field.length && text.encode_utf16().count() > field.length {
            let shown: String = text.chars().take(255).collect();
            let message = format!("{}: data value too large: {shown} (max length={})", field.label, field.length);
            return Err(ApiError::bad_request("STRING_TOO_LONG", message).with_fields([field.name.clone()]));
        }
        if field.kind == FieldType::Email && !is_email(text) {
            let message = format!("{}: invalid email address: {text}", field.label);
            return Err(ApiError::bad_request("INVALID_EMAIL_ADDRESS", message).with_fields([field.name.clone()]));
        }
        if field.restricted && !field.values.iter().any(|known| known == text) {
            let message = format!("{}: bad value for restricted picklist field: {text}", field.label);
            return Err(ApiError::bad_request("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", message)
                .with_fields([field.name.clone()]));
        }
    }
    Ok(())
}

/// One `@`, something before it, a domain with a dot, and no characters that cannot be there.
pub(crate) fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    let allowed = |c: char| c.is_alphanumeric() || "!#$%&'*/=?^_+-`{|}~.".contains(c);
    !local.is_empty()
        && local.chars().all(allowed)
        && domain.split('.').count() >= 2
        && domain.split('.').all(|label| {
            !label.is_empty()
                && label.chars().all(|c| c.is_alphanumeric() || c == '-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

/// Required fields have a value; an update is held only to the fields it clears.
pub(crate) fn check_required(definition: &Object, row: &Row, update: bool, changes: &Changes) -> Result<(), ApiError> {
    let missing: Vec<&str> = definition
        .each_field()
        .filter(|(ix, field)| field.required && row.get(*ix).is_none() && (!update || changes.get(*ix).is_some()))
        .map(|(_, field)| field.name.as_str())
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(required(&missing)) }
}

pub(crate) fn required(missing: &[&str]) -> ApiError {
    let message = format!("Required fields are missing: [{}]", missing.join(", "));
    ApiError::bad_request("REQUIRED_FIELD_MISSING", message).with_fields(missing.iter().copied())
}

/// State and Country/Territory picklists: codes decide, texts must be integration values.
pub(crate) fn check_addresses(
    schema: &Schema,
    object: ObjectIx,
    row: &mut Row,
    changes: &Changes,
    settings: &Settings,
) -> Result<(), ApiError> {
    if !settings.state_country_picklists {
        return Ok(());
    }
    let definition = schema.object(object);
    for (code_ix, code_field) in definition.each_field() {
        let Some(kind) = code_field.name.strip_suffix("CountryCode") else { continue };
        let part = |suffix: &str| definition.find(&format!("{kind}{suffix}"));
        let (Some(country_ix), Some(state_ix), Some(state_code_ix)) =
            (part("Country"), part("State"), part("StateCode"))
        else {
            continue;
        };
        let parts = [code_ix, country_ix, state_ix, state_code_ix];
        if !parts.iter().any(|ix| changes.get(*ix).is_some()) {
            continue;
        }
        let invalid = |ix: FieldIx| {
            ApiError::bad_request(
                "FIELD_INTEGRITY_EXCEPTION",
                "There's a problem with this state/country, even though it may appear correct. Please select a \
                 state/country from the list of valid states/countries.",
            )
            .with_fields([definition.field(ix).name.clone()])
        };
        // The code wins over the text; a text alone must be the integration value.
        let country = if let Some(code) = picked(row, changes, code_ix, country_ix) {
            let found = schema.countries.iter().find(|c| c.code.eq_ignore_ascii_case(code));
            Some(found.ok_or_else(|| invalid(code_ix))?)
        } else if let Some(name) = row.text(country_ix) {
            let found = schema.countries.iter().find(|c| c.name.eq_ignore_ascii_case(name));
            Some(found.ok_or_else(|| invalid(country_ix))?)
        } else {
            None
        };
        let by_code = picked(row, changes, state_code_ix, state_ix);
        let state = match (by_code, row.text(state_ix), country) {
            (None, None, _) => None,
            (Some(_), _, None) => return Err(invalid(state_code_ix)),
            (None, Some(_), None) => return Err(invalid(state_ix)),
            (Some(code), _, Some(country)) => {
                let found = country.states.iter().find(|(c, _)| c.eq_ignore_ascii_case(code));
                Some(found.ok_or_else(|| invalid(state_code_ix))?)
            }
            (None, Some(name), Some(country)) => {
                let found = country.states.iter().find(|(_, n)| n.eq_ignore_ascii_case(name));
                Some(found.ok_or_else(|| invalid(state_ix))?)
            }
        };
        let text = |text: Option<&String>| text.map_or(Value::Null, |text| Value::String(text.clone()));
        row.set(code_ix, text(country.map(|c| &c.code)));
        row.set(country_ix, text(country.map(|c| &c.name)));
        row.set(state_code_ix, text(state.map(|(code, _)| code)));
        row.set(state_ix, text(state.map(|(_, name)| name)));
    }
    Ok(())
}

/// The code, unless this save names only the text.
fn picked<'a>(row: &'a Row, changes: &Changes, code: FieldIx, text: FieldIx) -> Option<&'a str> {
    let only_text = changes.get(text).is_some() && !changes.fills(Some(code));
    row.text(code).filter(|_| !only_text)
}

#[cfg(test)]
mod tests {
    use super::is_email;

    #[test]
    fn the_shape_of_an_address_decides() {
        for good in ["jane@example.com", "o'neil+tag@mail.example.co.uk", "jürgen@müller.de"] {
            assert!(is_email(good), "{good}");
        }
        for bad in
            ["123", "jane@example", "jane@@example.com", "@example.com", "jane@.com", "jane doe@example.com", "a@b..c"]
        {
            assert!(!is_email(bad), "{bad}");
        }
    }
}
