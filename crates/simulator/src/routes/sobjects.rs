//! `/sobjects`: single records by id or external id, and their metadata.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::data::Resource;
use super::{describe, replication};
use crate::api_error::ApiError;
use crate::call::Call;
use crate::events;
use crate::form::encode;
use crate::ids::RecordId;
use crate::org::Org;
use crate::records::{Row, TransactionId};
use crate::reply::Reply;
use crate::schema::{FieldIx, Object, ObjectIx};
use crate::soql::SLICE;
use crate::transaction::{Saved, Target, Transaction, deleted};

/// Answers one request below `/sobjects`, inside `transaction`.
pub(crate) async fn handle(org: &Arc<Org>, transaction: &mut Transaction, resource: &Resource, call: &Call) -> Reply {
    answer(org, transaction, resource, call).await.into()
}

async fn answer(
    org: &Arc<Org>,
    transaction: &mut Transaction,
    resource: &Resource,
    call: &Call,
) -> Result<Reply, ApiError> {
    let parts: Vec<&str> = resource.segments.iter().skip(1).map(String::as_str).collect();
    let method = resource.method.as_str();
    let Some(name) = parts.first() else {
        return match method {
            "GET" => Ok(Reply::json(200, describe::global(org, call))),
            _ => Err(ApiError::method_not_allowed(method, "GET,HEAD")),
        };
    };
    let object = org.schema.find_readable(name, &call.settings).ok_or_else(ApiError::not_found)?;
    let definition = org.schema.object(object);
    match (method, &parts[1..]) {
        ("GET", []) => Ok(Reply::json(200, describe::basic(org, object, call))),
        ("GET", ["describe"]) => Ok(Reply::json(200, describe::object(org, object, call))),
        ("GET", ["deleted"]) if !definition.event => replication::deleted(org, object, resource, call).await,
        ("GET", ["updated"]) if !definition.event => replication::updated(org, object, resource, call).await,
        ("POST", []) => create(org, transaction, object, resource, call).await,
        ("POST", ["Id" | "id"]) if !definition.event => create(org, transaction, object, resource, call).await,
        (_, []) => Err(ApiError::method_not_allowed(method, "GET,HEAD,POST")),
        ("PATCH", [_] | ["Id" | "id", _]) if definition.event => Err(events::not_changeable(definition, "updated")),
        ("DELETE", [_]) if definition.event => Err(events::not_changeable(definition, "deleted")),
        _ if definition.event => Err(ApiError::not_found()),
        ("GET", [id]) => {
            let id = record_id(definition, id)?;
            read(org, transaction, object, id, resource, call)
        }
        ("PATCH", [id] | ["Id" | "id", id]) => {
            let id = writable(record_id(definition, id)?, call)?;
            transaction.save(object, Target::Id(id), resource.object()?, call).await?;
            Ok(Reply::empty(204))
        }
        ("DELETE", [id]) => {
            transaction.delete(object, writable(record_id(definition, id)?, call)?, call).await?;
            Ok(Reply::empty(204))
        }
        (_, [_]) => Err(ApiError::method_not_allowed(method, "DELETE,GET,HEAD,PATCH,POST")),
        (_, [id, name]) if RecordId::parse(id).is_some_and(|id| id.prefix() == prefix(definition)) => {
            let id = record_id(definition, id)?;
            related(org, transaction, object, id, name, resource, call).await
        }
        (_, [field, value]) => by_external_id(org, transaction, object, field, value, resource, call).await,
        _ => Err(ApiError::not_found()),
    }
}

async fn create(
    org: &Arc<Org>,
    transaction: &mut Transaction,
    object: ObjectIx,
    resource: &Resource,
    call: &Call,
) -> Result<Reply, ApiError> {
    let definition = org.schema.object(object);
    let body = resource.object()?;
    if definition.event {
        if call.in_graph && !call.settings.graph_events_allowed {
            let message = format!("{} is not allowed in a graph", definition.name);
            return Err(ApiError::bad_request("OPERATION_NOT_ALLOWED", message));
        }
        let published = transaction.publish(object, body, call)?;
        return Ok(Reply {
            location: Some(call.record_url(&definition.name, published.id)),
            ..Reply::json(201, enqueued(published.id, &published.uuid))
        });
    }
    match transaction.save(object, Target::New, body, call).await? {
        Saved::Row { id, .. } => Ok(created(definition, id, call, None)),
        Saved::Several(ids) => Ok(several(definition, &ids, call)),
    }
}

/// The answer of a publish: a success whose error list names the event's UUID.
pub(crate) fn enqueued(id: RecordId, uuid: &str) -> Value {
    json!({
        "id": id.to_string(),
        "success": true,
        "errors": [{ "statusCode": "OPERATION_ENQUEUED", "message": uuid, "fields": [] }],
    })
}

fn created(definition: &Object, id: RecordId, call: &Call, created: Option<bool>) -> Reply {
    let mut body = json!({ "id": id.to_string(), "success": true, "errors": [] });
    if let (Some(created), Some(body)) = (created, body.as_object_mut()) {
        body.insert("created".into(), json!(created));
    }
    Reply { location: Some(call.record_url(&definition.name, id)), ..Reply::json(201, body) }
}

fn several(definition: &Object, ids: &[RecordId], call: &Call) -> Reply {
    Reply::json(300, ids.iter().map(|id| json!(call.record_url(&definition.name, id))).collect())
}

/// An id in the path; text that is none is taken for an external-id field, as the org does.
pub(crate) fn record_id(definition: &Object, text: &str) -> Result<RecordId, ApiError> {
    match RecordId::parse(text) {
        // Of the form of an id, but with a wrong checksum.
        None if matches!(text.len(), 15 | 18) && text.bytes().all(|b| b.is_ascii_alphanumeric()) => {
            Err(malformed_id(text))
        }
        None => Err(ApiError::no_external_id(text)),
        Some(id) if id.prefix() == prefix(definition) => Ok(id),
        Some(_) => Err(malformed_id(text)),
    }
}

fn malformed_id(text: &str) -> ApiError {
    ApiError::bad_request("MALFORMED_ID", format!("Record ID: id value of incorrect type: {text}")).with_fields(["Id"])
}

/// The id again, unless sharing hides its record from the user.
fn writable(id: RecordId, call: &Call) -> Result<RecordId, ApiError> {
    if call.settings.hides_record(id) {
        let message = "insufficient access rights on object id";
        return Err(ApiError::new(403, "INSUFFICIENT_ACCESS_OR_READONLY", message).with_fields([""; 0]));
    }
    Ok(id)
}

/// `…/Contact/{id}/Account`: the row a lookup names, or the rows that look up this one.
///
/// Source: REST API Developer Guide, "sObject Relationships".
async fn related(
    org: &Arc<Org>,
    transaction: &mut Transaction,
    object: ObjectIx,
    id: RecordId,
    name: &str,
    resource: &Resource,
    call: &Call,
) -> Result<Reply, ApiError> {
    let definition = org.schema.object(object);
    let row = seen(org, transaction, object, id, call)?;
    if let Some(lookup) = definition.relationship(name).filter(|ix| definition.is_visible(*ix, &call.settings)) {
        let parent = row.text(lookup).and_then(RecordId::parse).ok_or_else(ApiError::not_found)?;
        let target = org.schema.by_prefix(parent.prefix());
        let seen = target.filter(|ix| call.settings.permission(&org.schema.object(*ix).name).read);
        let target = seen.ok_or_else(ApiError::not_found)?;
        return match resource.method.as_str() {
            "GET" => read(org, transaction, target, parent, resource, call),
            "PATCH" => {
                let parent = writable(parent, call)?;
                transaction.save(target, Target::Id(parent), resource.object()?, call).await?;
                Ok(Reply::empty(204))
            }
            "DELETE" => {
                transaction.delete(target, writable(parent, call)?, call).await?;
                Ok(Reply::empty(204))
            }
            method => Err(ApiError::method_not_allowed(method, "DELETE,GET,HEAD,PATCH")),
        };
    }
    let (child, lookup) = org.schema.child(object, name, &call.settings).ok_or_else(ApiError::not_found)?;
    if resource.method != "GET" {
        return Err(ApiError::method_not_allowed(&resource.method, "GET,HEAD"));
    }
    let children = org.schema.object(child);
    let fields = chosen(children, resource, call)?;
    let found = naming(org, transaction.id(), (child, lookup), (object, id), call).await?;
    let seen = found.iter().filter(|(id, _)| !call.settings.hides_record(*id));
    let records: Vec<Value> = seen.map(|(id, row)| Value::Object(record(children, *id, row, &fields, call))).collect();
    Ok(Reply::json(200, json!({ "totalSize": records.len(), "done": true, "records": records })))
}

/// Rows of `child` that name a row by their `lookup`, in the order of their creation.
async fn naming(
    org: &Org,
    reader: TransactionId,
    (child, lookup): (ObjectIx, FieldIx),
    (parent, id): (ObjectIx, RecordId),
    call: &Call,
) -> Result<Vec<(RecordId, Arc<Row>)>, ApiError> {
    let wanted = id.to_string();
    {
        let state = org.state();
        org.check_epoch(call.epoch)?;
        if let Some(index) = state.reference_index(parent, child, lookup) {
            let table = state.table(child);
            let mut ids = table.lookup(index, &wanted, Some(reader));
            ids.sort_unstable();
            let row = |id| Some((id, Arc::clone(table.get(id, Some(reader))?)));
            return Ok(ids.into_iter().filter_map(row).collect());
        }
    }
    // Lookups to rows that nobody deletes have no index.
    let mut found = Vec::new();
    let mut last = None;
    loop {
        {
            let (state, mut looked_at) = (org.state(), 0);
            org.check_epoch(call.epoch)?;
            for (id, row) in state.table(child).rows_after(last, Some(reader)).take(SLICE) {
                (last, looked_at) = (Some(id), looked_at + 1);
                if !row.deleted && row.text(lookup) == Some(&*wanted) {
                    found.push((id, Arc::clone(row)));
                }
            }
            if looked_at < SLICE {
                return Ok(found);
            }
        }
        org.give_way().await;
    }
}

fn prefix(definition: &Object) -> [u8; 3] {
    let mut prefix = [b'0'; 3];
    for (to, from) in prefix.iter_mut().zip(definition.key_prefix.bytes()) {
        *to = from;
    }
    prefix
}

async fn by_external_id(
    org: &Arc<Org>,
    transaction: &mut Transaction,
    object: ObjectIx,
    field: &str,
    value: &str,
    resource: &Resource,
    call: &Call,
) -> Result<Reply, ApiError> {
    let definition = org.schema.object(object);
    let found = definition
        .find_visible(field, &call.settings)
        .filter(|ix| definition.field(*ix).external_id)
        .ok_or_else(|| ApiError::no_external_id(field))?;
    match resource.method.as_str() {
        "PATCH" | "POST" => {
            if value.trim().is_empty() {
                let name = &definition.field(found).name;
                return Err(ApiError::bad_request("MISSING_ARGUMENT", format!("{name} not specified"))
                    .with_fields([name.clone()]));
            }
            if !call.settings.unshared_records.is_empty() {
                for id in lookup(org, transaction, object, found, value) {
                    writable(id, call)?;
                }
            }
            let update_only = resource.query.get("updateOnly").is_some_and(|v| v.eq_ignore_ascii_case("true"));
            let target = Target::ExternalId { field: found, value: value.to_owned(), update_only };
            match transaction.save(object, target, resource.object()?, call).await? {
                Saved::Row { id, created: true } => {
                    Ok(self::created(definition, id, call, (call.major() >= 46).then_some(true)))
                }
                Saved::Row { .. } if call.major() < 46 => Ok(Reply::empty(204)),
                Saved::Row { id, .. } => Ok(Reply::json(
                    200,
                    json!({ "id": id.to_string(), "success": true, "errors": [], "created": false }),
                )),
                Saved::Several(ids) => Ok(several(definition, &ids, call)),
            }
        }
        "GET" | "DELETE" => {
            let ids = lookup(org, transaction, object, found, value);
            match ids.as_slice() {
                [] => Err(ApiError::not_found()),
                [id] if resource.method == "GET" => read(org, transaction, object, *id, resource, call),
                [id] => {
                    transaction.delete(object, writable(*id, call)?, call).await?;
                    Ok(Reply::empty(204))
                }
                _ => Ok(several(definition, &ids, call)),
            }
        }
        method => Err(ApiError::method_not_allowed(method, "DELETE,GET,HEAD,PATCH,POST")),
    }
}

fn lookup(org: &Org, transaction: &Transaction, object: ObjectIx, field: FieldIx, value: &str) -> Vec<RecordId> {
    let state = org.state();
    let Some((index, key)) = state.unique_key(&org.schema, object, field, value) else { return Vec::new() };
    state.table(object).lookup(index, &key, Some(transaction.id()))
}

fn read(
    org: &Org,
    transaction: &Transaction,
    object: ObjectIx,
    id: RecordId,
    resource: &Resource,
    call: &Call,
) -> Result<Reply, ApiError> {
    let definition = org.schema.object(object);
    let row = seen(org, transaction, object, id, call)?;
    let fields = chosen(definition, resource, call)?;
    Ok(Reply::json(200, Value::Object(record(definition, id, &row, &fields, call))))
}

/// The row as this transaction sees it; one that sharing hides does not exist.
fn seen(
    org: &Org,
    transaction: &Transaction,
    object: ObjectIx,
    id: RecordId,
    call: &Call,
) -> Result<Arc<Row>, ApiError> {
    if call.settings.hides_record(id) {
        return Err(ApiError::not_found());
    }
    match org.state().table(object).get(id, Some(transaction.id())) {
        None => Err(ApiError::not_found()),
        Some(row) if row.deleted => Err(deleted()),
        Some(row) => Ok(Arc::clone(row)),
    }
}

/// The fields of `fields=`, or all that the user sees.
fn chosen(definition: &Object, resource: &Resource, call: &Call) -> Result<Vec<FieldIx>, ApiError> {
    let mut fields = Vec::new();
    match resource.query.filled("fields") {
        Some(names) => {
            for name in names.split(',').map(str::trim) {
                let field = definition.find_visible(name, &call.settings);
                fields.push(field.ok_or_else(|| ApiError::unknown_field(name, &definition.name))?);
            }
        }
        None => fields
            .extend(definition.each_field().map(|(ix, _)| ix).filter(|ix| definition.is_visible(*ix, &call.settings))),
    }
    Ok(fields)
}

/// A row as REST prints it: attributes, then the fields, null where there is no value.
pub(crate) fn record(
    definition: &Object,
    id: RecordId,
    row: &Row,
    fields: &[FieldIx],
    call: &Call,
) -> Map<String, Value> {
    let mut record = Map::new();
    let url = call.record_url(&definition.name, encode(&id.to_string()));
    record.insert("attributes".into(), json!({ "type": definition.name, "url": url }));
    for ix in fields {
        record.insert(definition.field(*ix).name.clone(), row.get(*ix).cloned().unwrap_or(Value::Null));
    }
    record
}
