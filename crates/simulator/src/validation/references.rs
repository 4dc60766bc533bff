//! Values that name other rows: by id, or by an external id of the parent.
//!
//! Source: REST API Developer Guide, "Insert or Update (Upsert) a Record Using an External ID"; Object Reference,
//! "Reference Field Type"; SOAP API Developer Guide, "Status Codes" (`INACTIVE_OWNER_OR_USER`).

use serde_json::Value;

use super::Changes;
use super::values::malformed_id;
use crate::api_error::ApiError;
use crate::ids::RecordId;
use crate::org::State;
use crate::records::TransactionId;
use crate::schema::{Field, FieldType, ObjectIx, Schema};
use crate::settings::Settings;

/// `"Account__r": {"LimioId__c": "v"}`: the id of the row with that external id.
pub(crate) fn resolve_relationship(
    schema: &Schema,
    state: &State,
    reader: TransactionId,
    field: &Field,
    value: &Value,
    settings: &Settings,
) -> Result<Value, ApiError> {
    let target = field.to.first().and_then(|name| schema.find_readable(name, settings));
    let target = target.ok_or_else(ApiError::not_found)?;
    let definition = schema.object(target);
    let mut keys = value.as_object().into_iter().flatten().filter(|(name, _)| *name != "attributes");
    let (Some((name, wanted)), None) = (keys.next(), keys.next()) else {
        let message = format!("Relationship {} needs exactly one external id field", field.name);
        return Err(ApiError::bad_request("INVALID_FIELD", message));
    };
    let lookup = definition.find_visible(name, settings).filter(|ix| {
        let found = definition.field(*ix);
        found.external_id || found.id_lookup
    });
    let Some(lookup) = lookup else {
        let message = format!("Provided external ID field does not exist or is not accessible: {name}");
        return Err(ApiError::bad_request("INVALID_FIELD", message));
    };
    let wanted = wanted.as_number().map_or_else(|| wanted.as_str().unwrap_or_default().to_owned(), ToString::to_string);
    let table = state.table(target);
    let matches = match state.unique_key(schema, target, lookup, &wanted) {
        Some((index, key)) => table.lookup(index, &key, Some(reader)),
        None => table
            .rows(Some(reader))
            .filter(|(_, row)| {
                !row.deleted && row.text(lookup).is_some_and(|text| text.eq_ignore_ascii_case(wanted.trim()))
            })
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

/// References name a row of the right object that exists; owners are active.
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
        let Some(row) = state.table(target).get(id, Some(reader)) else { return Err(missing(field, text)) };
        if row.deleted {
            return Err(ApiError::bad_request("ENTITY_IS_DELETED", "entity is deleted").with_fields([""; 0]));
        }
        let flag = |name: &str| schema.object(target).find(name).is_some_and(|ix| row.flag(ix));
        if object == schema.contact && target == schema.account && flag("IsPersonAccount") {
            return Err(missing(field, text));
        }
        if target == schema.user && field.name == "OwnerId" && !flag("IsActive") {
            let kind = definition.label.to_lowercase();
            let message = format!("operation performed with inactive user [{text}] as owner of {kind}");
            return Err(ApiError::bad_request("INACTIVE_OWNER_OR_USER", message).with_fields([""; 0]));
        }
        if field.name == "RecordTypeId" {
            let kind = schema.object(target).find("SobjectType").and_then(|ix| row.text(ix));
            if kind.is_none_or(|kind| kind != definition.name) || !flag("IsActive") {
                return Err(missing(field, text));
            }
        }
    }
    Ok(())
}

fn missing(field: &Field, text: &str) -> ApiError {
    if field.name == "RecordTypeId" {
        return no_record_type(text);
    }
    ApiError::bad_request("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id").with_fields([""; 0])
}

/// A record type that is not the user's, or not the object's.
pub(crate) fn no_record_type(id: &str) -> ApiError {
    let message = format!("Record Type ID: this ID value isn't valid for the user: {id}");
    ApiError::bad_request("INVALID_CROSS_REFERENCE_KEY", message).with_fields(["RecordTypeId"])
}
