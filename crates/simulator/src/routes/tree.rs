//! `/composite/tree/{object}`: up to 200 new rows with their children, all or nothing, in one API call.
//!
//! Source: REST API Developer Guide, "sObject Tree", "sObject Tree Request Body" and "sObject Tree Response Body".
//! Rows are written level by level, and the results come in that order. Events are published, as everywhere where rows
//! are created (Platform Events Developer Guide, "Publish Event Messages with Salesforce APIs").

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::Size;
use super::data::Resource;
use crate::api_error::ApiError;
use crate::call::Call;
use crate::ids::RecordId;
use crate::org::Org;
use crate::reply::Reply;
use crate::schema::{FieldIx, ObjectIx};
use crate::settings::Settings;
use crate::transaction::{Saved, Target, Transaction};

const ROWS: usize = 200;
const LEVELS: usize = 5;
const TYPES: usize = 5;

/// One row of a tree.
struct Node {
    object: ObjectIx,
    reference: String,
    level: usize,
    fields: Map<String, Value>,
    /// Place of the parent, and the lookup that names it.
    parent: Option<(usize, FieldIx)>,
}

/// Records of one level below one parent, yet to be read.
struct Branch {
    object: ObjectIx,
    level: usize,
    parent: Option<(usize, FieldIx)>,
    records: Vec<Value>,
}

pub(crate) async fn run(org: &Arc<Org>, mut resource: Resource, call: &Call, size: &mut Size) -> Reply {
    if resource.method != "POST" {
        return ApiError::method_not_allowed(&resource.method, "POST").into();
    }
    let Some(object) = resource.segments.get(2).and_then(|name| org.schema.find_readable(name, &call.settings)) else {
        return ApiError::not_found().into();
    };
    let nodes = match read(org, object, resource.body.take(), &call.settings) {
        Ok(Ok(nodes)) => nodes,
        Ok(Err(failed)) => return failures(&failed),
        Err(error) => return error.into(),
    };
    size.nodes = nodes.len();
    let mut transaction = Transaction::begin(org);
    match write(org, &mut transaction, nodes, call).await {
        Ok(results) => {
            transaction.commit(call).await;
            Reply::json(201, json!({ "hasErrors": false, "results": results }))
        }
        Err(failed) => {
            transaction.rollback(call).await;
            failures(&failed)
        }
    }
}

type Failed = Vec<(String, ApiError)>;

/// The answer of a tree that was not written: only the rows at fault.
fn failures(failed: &Failed) -> Reply {
    let results: Vec<Value> = failed
        .iter()
        .map(|(reference, error)| {
            let mut row = error.row(None);
            let errors = row.get_mut("errors").map_or(Value::Null, Value::take);
            json!({ "referenceId": reference, "errors": errors })
        })
        .collect();
    Reply::json(400, json!({ "hasErrors": true, "results": results }))
}

/// The rows in the order of their levels; the inner error names rows, the outer one the request.
fn read(
    org: &Org,
    root: ObjectIx,
    body: Option<Value>,
    settings: &Settings,
) -> Result<Result<Vec<Node>, Failed>, ApiError> {
    let Some(Value::Object(mut envelope)) = body else {
        return Err(ApiError::json("The HTTP entity body must be a JSON object at [line:1, column:1]"));
    };
    let Some(Value::Array(records)) = envelope.shift_remove("records") else {
        return Err(ApiError::json("Required field is missing: records at [line:1, column:1]"));
    };
    if let Some(key) = envelope.keys().next() {
        return Err(ApiError::json(format!("Unrecognized field \"{key}\" at [line:1, column:1]")));
    }
    let invalid = |message: String| ApiError::bad_request("INVALID_INPUT", message);
    let mut nodes: Vec<Node> = Vec::new();
    let mut failed: Failed = Vec::new();
    let mut waiting = VecDeque::from([Branch { object: root, level: 1, parent: None, records }]);
    while let Some(mut branch) = waiting.pop_front() {
        if branch.level > LEVELS {
            return Err(invalid(format!("The request has more than {LEVELS} levels.")));
        }
        if nodes.len().saturating_add(branch.records.len()) > ROWS {
            return Err(invalid(format!("The request has more than {ROWS} records.")));
        }
        for record in std::mem::take(&mut branch.records) {
            let Value::Object(fields) = record else {
                return Err(ApiError::json("A record must be a JSON object at [line:1, column:1]"));
            };
            let node = match node(org, &branch, fields, nodes.len(), &mut waiting, settings) {
                Ok(node) => node,
                Err((reference, error)) => {
                    failed.push((reference, error));
                    continue;
                }
            };
            nodes.push(node);
        }
    }
    if nodes.is_empty() && failed.is_empty() {
        return Err(invalid("The request has no records.".to_owned()));
    }
    let types: HashSet<usize> = nodes.iter().map(|node| node.object.0).collect();
    if types.len() > TYPES {
        return Err(invalid(format!("The request has records of more than {TYPES} types.")));
    }
    let mut uses: HashMap<&str, usize> = HashMap::with_capacity(nodes.len());
    for node in &nodes {
        *uses.entry(&node.reference).or_default() += 1;
    }
    for node in nodes.iter().filter(|node| uses.get(&*node.reference).is_some_and(|uses| *uses > 1)) {
        failed.push((node.reference.clone(), invalid("Duplicate ReferenceId provided in the request.".to_owned())));
    }
    Ok(if failed.is_empty() { Ok(nodes) } else { Err(failed) })
}

/// Reads one record; its children go to the end of `waiting`.
fn node(
    org: &Org,
    branch: &Branch,
    mut fields: Map<String, Value>,
    place: usize,
    waiting: &mut VecDeque<Branch>,
    settings: &Settings,
) -> Result<Node, (String, ApiError)> {
    let Branch { object, level, parent, .. } = *branch;
    let definition = org.schema.object(object);
    let invalid = |message: String| ApiError::bad_request("INVALID_INPUT", message);
    let attributes = fields.shift_remove("attributes").unwrap_or(Value::Null);
    let text = |key: &str| attributes.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (reference, kind) = (text("referenceId"), text("type"));
    if reference.is_empty() {
        return Err((reference, invalid("Include a reference ID for each record in the request.".to_owned())));
    }
    let valid = reference.starts_with(|c: char| c.is_ascii_alphanumeric())
        && reference.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if !valid {
        let message = format!("The reference ID {reference} is not valid.");
        return Err((reference, invalid(message)));
    }
    if !kind.eq_ignore_ascii_case(&definition.name) {
        let message = format!("The record type {kind} does not match the expected type {}.", definition.name);
        return Err((reference, invalid(message)));
    }
    let collections: Vec<String> = fields
        .iter()
        .filter(|(_, value)| value.get("records").is_some_and(Value::is_array))
        .map(|(name, _)| name.clone())
        .collect();
    for name in collections {
        let Some((child, link)) = org.schema.child(object, &name, settings) else {
            return Err((reference, ApiError::unknown_field(&name, &definition.name)));
        };
        let records = match fields.shift_remove(&name).and_then(|mut value| value.get_mut("records").map(Value::take)) {
            Some(Value::Array(records)) => records,
            _ => Vec::new(),
        };
        waiting.push_back(Branch { object: child, level: level + 1, parent: Some((place, link)), records });
    }
    Ok(Node { object, reference, level, fields, parent })
}

/// Writes the rows; a level with a refusal is finished, and no further one begun.
async fn write(
    org: &Arc<Org>,
    transaction: &mut Transaction,
    nodes: Vec<Node>,
    call: &Call,
) -> Result<Vec<Value>, Failed> {
    let mut ids: Vec<Option<RecordId>> = Vec::with_capacity(nodes.len());
    let mut results = Vec::with_capacity(nodes.len());
    let mut failed: Failed = Vec::new();
    let mut level = 1;
    for mut node in nodes {
        if node.level > level {
            if !failed.is_empty() {
                break;
            }
            level = node.level;
        }
        if let Some((place, lookup)) = node.parent
            && let Some(id) = ids.get(place).copied().flatten()
        {
            let name = org.schema.object(node.object).field(lookup).name.clone();
            node.fields.insert(name, Value::String(id.to_string()));
        }
        let written = if org.schema.object(node.object).event {
            transaction.publish(node.object, &node.fields, call).map(|published| published.id)
        } else {
            let saved = transaction.save(node.object, Target::New, &node.fields, call).await;
            match saved {
                Ok(Saved::Row { id, .. }) => Ok(id),
                // A new row is looked for by no external id.
                Ok(Saved::Several(_)) => {
                    ids.push(None);
                    continue;
                }
                Err(error) => Err(error),
            }
        };
        match written {
            Ok(id) => {
                ids.push(Some(id));
                results.push(json!({ "referenceId": node.reference, "id": id.to_string() }));
            }
            Err(error) => {
                ids.push(None);
                failed.push((node.reference, error));
            }
        }
    }
    if failed.is_empty() { Ok(results) } else { Err(failed) }
}
