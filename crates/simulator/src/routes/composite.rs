//! `/composite`: up to 25 subrequests in one API call, with references from earlier answers.
//!
//! Source: REST API Developer Guide, "Composite".

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::data::{Resource, split_path};
use super::{Size, collections, query, sobjects};
use crate::api_error::ApiError;
use crate::call::{Call, DuplicateOptions};
use crate::form::Form;
use crate::org::Org;
use crate::references::{self, Results};
use crate::reply::Reply;
use crate::transaction::Transaction;

const SUBREQUESTS: usize = 25;
/// Of them at most this many queries and collections.
const HEAVY: usize = 5;

/// One part of a composite request or of a graph.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) reference: String,
    pub(crate) body: Option<Value>,
    pub(crate) headers: Map<String, Value>,
}

pub(crate) async fn handle(org: &Arc<Org>, mut resource: Resource, call: Call, size: &mut Size) -> Reply {
    if resource.method != "POST" {
        return ApiError::method_not_allowed(&resource.method, "GET,POST").into();
    }
    let (all_or_none, parts) = match parse(resource.body.take()) {
        Ok(parsed) => parsed,
        Err(error) => return error.into(),
    };
    size.nodes = parts.len();
    let mut results: Results = HashMap::new();
    let mut replies: Vec<(String, Reply)> = Vec::with_capacity(parts.len());
    let mut failed = false;
    if all_or_none {
        let mut transaction = Transaction::begin(org);
        for part in parts {
            let reference = part.reference.clone();
            let reply = if failed {
                ApiError::halted().into()
            } else {
                run_part(org, &mut transaction, part, &results, &call).await
            };
            failed |= !reply.is_success();
            results.insert(reference.clone(), reply.body.clone().filter(|_| reply.is_success()));
            replies.push((reference, reply));
        }
        if failed {
            transaction.rollback(&call).await;
            for (_, reply) in replies.iter_mut().filter(|(_, reply)| reply.is_success()) {
                *reply = ApiError::halted().into();
            }
        } else {
            transaction.commit(&call).await;
        }
    } else {
        for part in parts {
            let reference = part.reference.clone();
            let mut transaction = Transaction::begin(org);
            let reply = run_part(org, &mut transaction, part, &results, &call).await;
            if reply.is_success() {
                transaction.commit(&call).await;
            } else {
                transaction.rollback(&call).await;
            }
            results.insert(reference.clone(), reply.body.clone().filter(|_| reply.is_success()));
            replies.push((reference, reply));
        }
    }
    let answers: Vec<Value> = replies.into_iter().map(|(reference, reply)| part_answer(reference, reply)).collect();
    Reply::json(200, json!({ "compositeResponse": answers }))
}

/// One entry of a `compositeResponse`.
pub(crate) fn part_answer(reference: String, reply: Reply) -> Value {
    let mut headers = Map::new();
    if let Some(location) = reply.location {
        headers.insert("Location".into(), Value::String(location));
    }
    let mut answer = Map::with_capacity(4);
    answer.insert("body".into(), reply.body.unwrap_or(Value::Null));
    answer.insert("httpHeaders".into(), Value::Object(headers));
    answer.insert("httpStatusCode".into(), Value::from(reply.status));
    answer.insert("referenceId".into(), Value::String(reference));
    Value::Object(answer)
}

async fn run_part(
    org: &Arc<Org>,
    transaction: &mut Transaction,
    mut part: Part,
    results: &Results,
    call: &Call,
) -> Reply {
    let url = match references::resolve_text(&part.url, results) {
        Ok(url) => url,
        Err(error) => return error.into(),
    };
    if let Some(body) = &mut part.body
        && let Err(error) = references::resolve(body, results)
    {
        return error.into();
    }
    let (path, query_text) = url.split_once('?').unwrap_or((&url, ""));
    let Some((version, segments)) = split_path(path) else { return ApiError::not_found().into() };
    let mut call = Call { version, ..call.clone() };
    for (name, value) in &part.headers {
        if ["accept", "authorization", "content-type"].contains(&name.to_ascii_lowercase().as_str()) {
            let message = format!("Header {name} is not allowed in a subrequest");
            return ApiError::bad_request("INVALID_HTTP_HEADER", message).into();
        }
        if name.eq_ignore_ascii_case("sforce-duplicate-rule-header") {
            call.duplicates = DuplicateOptions::parse(value.as_str().unwrap_or_default());
        }
    }
    let resource = Resource { method: part.method, segments, query: Form::parse(query_text), body: part.body };
    match resource.segments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["sobjects", ..] => sobjects::handle(org, transaction, &resource, &call).await,
        ["query" | "queryAll", ..] => query::handle(org, Some(transaction.id()), &resource, &call).into(),
        ["composite", "sobjects", ..] => collections::handle(org, transaction, &resource, &call).await,
        _ => ApiError::not_found().into(),
    }
}

fn parse(body: Option<Value>) -> Result<(bool, Vec<Part>), ApiError> {
    let Some(Value::Object(mut envelope)) = body else {
        return Err(ApiError::json("The HTTP entity body must be a JSON object at [line:1, column:1]"));
    };
    let flag = |value: Option<Value>, default: bool| match value {
        None | Some(Value::Null) => Ok(default),
        Some(Value::Bool(flag)) => Ok(flag),
        Some(other) => Err(ApiError::json(format!(
            "Cannot deserialize instance of boolean from {other} or request may be missing a required field at [line:1, \
             column:1]"
        ))),
    };
    let all_or_none = flag(envelope.remove("allOrNone"), false)?;
    flag(envelope.remove("collateSubrequests"), true)?;
    let Some(Value::Array(list)) = envelope.remove("compositeRequest") else {
        return Err(ApiError::json("Required field is missing: compositeRequest at [line:1, column:1]"));
    };
    let invalid = |message: String| ApiError::bad_request("INVALID_INPUT", message);
    if list.is_empty() {
        return Err(invalid("The request has no subrequests.".to_owned()));
    }
    if list.len() > SUBREQUESTS {
        return Err(ApiError::bad_request(
            "LIMIT_EXCEEDED",
            format!("The request has {} subrequests; the limit is {SUBREQUESTS}.", list.len()),
        ));
    }
    let mut names = HashSet::new();
    let mut parts = Vec::with_capacity(list.len());
    for item in list {
        let part = parse_part(item, &["method", "url", "referenceId", "body", "httpHeaders"])?;
        if !names.insert(part.reference.clone()) {
            return Err(invalid(format!("The referenceId {} is used more than once.", part.reference)));
        }
        parts.push(part);
    }
    let heavy = |part: &&Part| part.url.contains("/query") || part.url.contains("/composite/sobjects");
    if parts.iter().filter(heavy).count() > HEAVY {
        return Err(ApiError::bad_request(
            "LIMIT_EXCEEDED",
            format!("The request has more than {HEAVY} queries and collections."),
        ));
    }
    Ok((all_or_none, parts))
}

/// Reads one part; keys other than `allowed` are refused.
pub(crate) fn parse_part(item: Value, allowed: &[&str]) -> Result<Part, ApiError> {
    let Value::Object(mut item) = item else {
        return Err(ApiError::json("A subrequest must be a JSON object at [line:1, column:1]"));
    };
    if let Some(key) = item.keys().find(|key| !allowed.contains(&key.as_str())) {
        return Err(ApiError::json(format!("Unrecognized field \"{key}\" at [line:1, column:1]")));
    }
    let mut text = |key: &str| match item.remove(key) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        _ => Err(ApiError::json(format!("Required field is missing: {key} at [line:1, column:1]"))),
    };
    let (method, url, reference) = (text("method")?, text("url")?, text("referenceId")?);
    let valid = reference.starts_with(|c: char| c.is_ascii_alphanumeric())
        && reference.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if !valid {
        let message = format!("The referenceId {reference} is not valid.");
        return Err(ApiError::bad_request("INVALID_INPUT", message));
    }
    let headers = match item.remove("httpHeaders") {
        Some(Value::Object(headers)) => headers,
        _ => Map::new(),
    };
    let body = item.remove("body").filter(|body| !body.is_null());
    Ok(Part { method: method.to_ascii_uppercase(), url, reference, body, headers })
}
