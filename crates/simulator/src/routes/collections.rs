//! `/composite/sobjects`: up to 200 rows in one API call, each with its own result.
//!
//! Source: REST API Developer Guide, "sObject Collections". After a partial failure the good rows are written once more,
//! as Apex Developer Guide, "Triggers and Order of Execution" has it; here that second pass costs their latency again.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::data::Resource;
use super::{Size, rows, sobjects};
use crate::api_error::ApiError;
use crate::call::Call;
use crate::events;
use crate::ids::RecordId;
use crate::org::Org;
use crate::reply::Reply;
use crate::schema::{FieldIx, ObjectIx};
use crate::transaction::{Saved, Savepoint, Target, Transaction};

const ROWS: usize = 200;
const READ_ROWS: usize = 2_000;
/// Runs of rows of one type.
const CHUNKS: usize = 10;

/// What one row came to.
enum Row {
    Done(Value),
    Failed(ApiError),
}

/// A call of its own: one transaction, committed whatever single rows came to.
pub(crate) async fn run(org: &Arc<Org>, resource: &Resource, call: &Call, size: &mut Size) -> Reply {
    size.nodes =
        resource.body.as_ref().and_then(|body| body.get("records")).and_then(Value::as_array).map_or(1, Vec::len);
    size.rows = resource.body.as_ref().map_or_else(Vec::new, |body| rows::of_records(org, body, &call.settings));
    let mut transaction = Transaction::begin(org);
    let reply = handle(org, &mut transaction, resource, call).await;
    if reply.is_success() {
        transaction.commit(call).await;
    } else {
        transaction.rollback(call).await;
    }
    reply
}

/// Answers inside `transaction`.
pub(crate) async fn handle(org: &Arc<Org>, transaction: &mut Transaction, resource: &Resource, call: &Call) -> Reply {
    let parts: Vec<&str> = resource.segments.iter().skip(2).map(String::as_str).collect();
    let result = match (resource.method.as_str(), parts.as_slice()) {
        ("POST", []) => write(org, transaction, resource, Kind::Create, call).await,
        ("PATCH", []) => write(org, transaction, resource, Kind::Update, call).await,
        ("PATCH", [object, field]) => upsert(org, transaction, resource, object, field, call).await,
        ("DELETE", []) => delete(org, transaction, resource, call).await,
        ("GET" | "POST", [object]) => read(org, transaction, resource, object, call),
        (method, _) => Err(ApiError::method_not_allowed(method, "DELETE,GET,HEAD,PATCH,POST")),
    };
    result.into()
}

#[derive(Clone, Copy)]
enum Kind {
    Create,
    Update,
    Upsert(ObjectIx, FieldIx),
}

async fn upsert(
    org: &Arc<Org>,
    transaction: &mut Transaction,
    resource: &Resource,
    object: &str,
    field: &str,
    call: &Call,
) -> Result<Reply, ApiError> {
    let object = org.schema.find_readable(object, &call.settings).ok_or_else(ApiError::not_found)?;
    let definition = org.schema.object(object);
    let field = definition
        .find_visible(field, &call.settings)
        .filter(|ix| definition.field(*ix).external_id)
        .ok_or_else(|| ApiError::no_external_id(field))?;
    write(org, transaction, resource, Kind::Upsert(object, field), call).await
}

async fn write(
    org: &Arc<Org>,
    transaction: &mut Transaction,
    resource: &Resource,
    kind: Kind,
    call: &Call,
) -> Result<Reply, ApiError> {
    let body = resource.object()?;
    let Some(Value::Array(records)) = body.get("records") else {
        return Err(ApiError::json("Required field is missing: records at [line:1, column:1]"));
    };
    let all_or_none = match body.get("allOrNone") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(flag)) => *flag,
        Some(_) => {
            return Err(ApiError::json("Cannot deserialize instance of boolean: allOrNone at [line:1, column:1]"));
        }
    };
    if records.len() > ROWS {
        return Err(too_many_rows(ROWS));
    }
    let mut rows: Vec<(ObjectIx, &Map<String, Value>)> = Vec::with_capacity(records.len());
    let mut chunks = 0;
    for record in records {
        let Value::Object(fields) = record else {
            return Err(ApiError::json("A record must be a JSON object at [line:1, column:1]"));
        };
        let named = fields.get("attributes").and_then(|attributes| attributes.get("type")).and_then(Value::as_str);
        let object = match (named, kind) {
            (Some(name), _) => org.schema.find_readable(name, &call.settings).ok_or_else(|| {
                ApiError::bad_request("INVALID_TYPE", format!("sObject type '{name}' is not supported."))
            })?,
            (None, Kind::Upsert(object, _)) => object,
            (None, Kind::Create | Kind::Update) => {
                return Err(ApiError::json("Required field is missing: attributes.type at [line:1, column:1]"));
            }
        };
        if let Kind::Upsert(expected, _) = kind
            && object != expected
        {
            return Err(ApiError::bad_request(
                "INVALID_TYPE",
                "All records of an upsert must be of the type in the URL.",
            ));
        }
        chunks += usize::from(rows.last().is_none_or(|(last, _)| *last != object));
        rows.push((object, fields));
    }
    if chunks > CHUNKS {
        let message = format!("The records form {chunks} chunks by type; the limit is {CHUNKS}.");
        return Err(ApiError::bad_request("OPERATION_TOO_LARGE", message));
    }
    let start = transaction.savepoint();
    let mut results = Vec::with_capacity(rows.len());
    for (object, fields) in rows {
        let savepoint = transaction.savepoint();
        let result = write_row(org, transaction, object, fields, kind, call).await;
        results.push(match result {
            Ok(value) => Row::Done(value),
            Err(error) => {
                transaction.rollback_to(savepoint);
                Row::Failed(error.of_row())
            }
        });
    }
    finish(transaction, start, all_or_none, &mut results, call);
    Ok(answer(results))
}

/// What row failures mean for the other rows: all are taken back, or the good ones go through a second pass.
fn finish(transaction: &mut Transaction, start: Savepoint, all_or_none: bool, results: &mut [Row], call: &Call) {
    let failed = results.iter().filter(|row| matches!(row, Row::Failed(_))).count();
    if failed == 0 {
        return;
    }
    if all_or_none {
        transaction.rollback_to(start);
        for row in results {
            if let Row::Done(value) = row {
                *row = rolled_back(value, call);
            }
        }
    } else {
        transaction.pass_again(results.len() - failed);
    }
}

/// Worded as recorded.
fn too_many_rows(limit: usize) -> ApiError {
    let message = format!("record limit reached. cannot submit more than {limit} records into this call");
    ApiError::bad_request("EXCEEDED_ID_LIMIT", message)
}

fn rolled_back(value: &Value, call: &Call) -> Row {
    let error = ApiError::bad_request(
        "ALL_OR_NONE_OPERATION_ROLLED_BACK",
        "Record rolled back because not all records were valid and the request was using AllOrNone header",
    );
    let id = value.get("id").and_then(Value::as_str).filter(|_| call.settings.collections_rolled_back_rows_keep_id);
    Row::Done(error.row(id))
}

fn answer(results: Vec<Row>) -> Reply {
    let rows = results.into_iter().map(|row| match row {
        Row::Done(value) => value,
        Row::Failed(error) => error.row(None),
    });
    Reply::json(200, rows.collect())
}

async fn write_row(
    org: &Arc<Org>,
    transaction: &mut Transaction,
    object: ObjectIx,
    fields: &Map<String, Value>,
    kind: Kind,
    call: &Call,
) -> Result<Value, ApiError> {
    let definition = org.schema.object(object);
    let take = |name: &str| fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
    let (target, used) = match kind {
        Kind::Create if definition.event => {
            let published = transaction.publish(object, fields, call)?;
            return Ok(sobjects::enqueued(published.id, &published.uuid));
        }
        Kind::Create => (Target::New, None),
        Kind::Update | Kind::Upsert(..) if definition.event => {
            return Err(events::not_changeable(definition, "updated"));
        }
        Kind::Update => {
            let (key, value) = take("Id").ok_or_else(|| {
                ApiError::bad_request("MISSING_ARGUMENT", "Id not specified in an update call").with_fields(["Id"])
            })?;
            let text = value.as_str().unwrap_or_default();
            let malformed = || {
                let message = format!("Record ID: id value of incorrect type: {text}");
                ApiError::bad_request("MALFORMED_ID", message).with_fields(["Id"])
            };
            let id = sobjects::record_id(definition, text).map_err(|_| malformed())?;
            (Target::Id(id), Some(key.clone()))
        }
        Kind::Upsert(_, field) => {
            let name = &definition.field(field).name;
            let (key, value) = take(name)
                .and_then(|(key, value)| {
                    let text = match value {
                        Value::String(text) => text.clone(),
                        Value::Number(number) => number.to_string(),
                        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
                    };
                    (!text.trim().is_empty()).then_some((key, text))
                })
                .ok_or_else(|| {
                    ApiError::bad_request("MISSING_ARGUMENT", format!("{name} not specified"))
                        .with_fields([name.clone()])
                })?;
            (Target::ExternalId { field, value, update_only: false }, Some(key.clone()))
        }
    };
    let mut fields = fields.clone();
    if let Some(key) = used {
        fields.shift_remove(&key);
    }
    match transaction.save(object, target, &fields, call).await? {
        Saved::Row { id, created } => {
            let mut row = json!({ "id": id.to_string(), "success": true, "errors": [] });
            if let (Kind::Upsert(..), Some(row)) = (kind, row.as_object_mut()) {
                row.insert("created".into(), json!(created));
            }
            Ok(row)
        }
        Saved::Several(_) => {
            Err(ApiError::bad_request("DUPLICATE_EXTERNAL_ID", "more than one record found for external id field"))
        }
    }
}

async fn delete(
    org: &Arc<Org>,
    transaction: &mut Transaction,
    resource: &Resource,
    call: &Call,
) -> Result<Reply, ApiError> {
    let ids: Vec<&str> =
        resource.query.filled("ids").unwrap_or_default().split(',').filter(|id| !id.is_empty()).collect();
    if ids.is_empty() {
        return Err(ApiError::json("Required parameter is missing: ids"));
    }
    if ids.len() > ROWS {
        return Err(too_many_rows(ROWS));
    }
    let all_or_none = resource.query.get("allOrNone").is_some_and(|flag| flag.eq_ignore_ascii_case("true"));
    let start = transaction.savepoint();
    let mut results = Vec::with_capacity(ids.len());
    for text in ids {
        let found = RecordId::parse(text).and_then(|id| Some((id, org.schema.by_prefix(id.prefix())?)));
        let savepoint = transaction.savepoint();
        let result = match found {
            Some((id, object)) => transaction.delete(object, id, call).await.map(|()| id),
            // Worded as on "Delete Records Using sObject Collections".
            None => Err(ApiError::bad_request("MALFORMED_ID", format!("malformed id {text}"))),
        };
        results.push(match result {
            Ok(id) => Row::Done(json!({ "id": id.to_string(), "success": true, "errors": [] })),
            Err(error) => {
                transaction.rollback_to(savepoint);
                Row::Failed(error.of_row())
            }
        });
    }
    finish(transaction, start, all_or_none, &mut results, call);
    Ok(answer(results))
}

fn read(
    org: &Arc<Org>,
    transaction: &Transaction,
    resource: &Resource,
    object: &str,
    call: &Call,
) -> Result<Reply, ApiError> {
    let object = org.schema.find_readable(object, &call.settings).ok_or_else(ApiError::not_found)?;
    let definition = org.schema.object(object);
    let list = |key: &str| -> Vec<String> {
        match (&resource.body, resource.query.get(key)) {
            (Some(body), _) => body
                .get(key)
                .and_then(Value::as_array)
                .map(|all| all.iter().filter_map(Value::as_str).map(str::to_owned).collect())
                .unwrap_or_default(),
            (None, Some(text)) => text.split(',').map(|part| part.trim().to_owned()).collect(),
            (None, None) => Vec::new(),
        }
    };
    let (ids, names) = (list("ids"), list("fields"));
    if ids.is_empty() || names.is_empty() {
        return Err(ApiError::json("Required fields are missing: ids, fields at [line:1, column:1]"));
    }
    if ids.len() > READ_ROWS {
        return Err(too_many_rows(READ_ROWS));
    }
    let mut fields = Vec::with_capacity(names.len());
    for name in &names {
        let field = definition.find_visible(name, &call.settings);
        fields.push(field.ok_or_else(|| ApiError::unknown_field(name, &definition.name))?);
    }
    let state = org.state();
    let rows = ids.iter().map(|text| {
        let id = RecordId::parse(text)?;
        let row = state.table(object).get(id, Some(transaction.id())).filter(|row| !row.deleted)?;
        Some(Value::Object(sobjects::record(definition, id, row, &fields, call)))
    });
    Ok(Reply::json(200, rows.map(|row| row.unwrap_or(Value::Null)).collect()))
}
