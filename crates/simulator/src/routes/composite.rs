//! `/composite`: up to 25 subrequests in one API call, with references from earlier answers.
//!
//! They run in the order in which they came: of the orders that `collateSubrequests` allows, the plainest.
//! Source: REST API Developer Guide, "Composite", "Composite Subrequest Result", "Execute Dependent Requests in a Single
//! API Call" (conditions of a subrequest) and "allOrNone Parameters in Composite and Collections Requests"; the answer to
//! too many subrequests is recorded.

use std::collections::HashSet;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use super::data::{Resource, batch_size, header_text, split_path, version_refusal};
use super::{Size, collections, conditional, query, rows, sobjects};
use crate::api_error::ApiError;
use crate::call::{Call, DuplicateOptions};
use crate::form::Form;
use crate::org::Org;
use crate::references::{self, Results};
use crate::reply::Reply;
use crate::transaction::Transaction;

const SUBREQUESTS: usize = 25;
/// Up to this version an odd reference id fails only those who refer to it.
const LAST_WITH_ODD_REFERENCES: u32 = 51;
/// Of them at most this many queries and collections.
const HEAVY: usize = 5;

/// What a read answers whose condition says that nothing has changed; it fails nothing.
const NOT_MODIFIED: u16 = 304;

/// A subrequest has these from the request around it and may not bring its own.
const INHERITED_HEADERS: [&str; 3] = ["Accept", "Authorization", "Content-Type"];

/// One part of a composite request or of a graph.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) reference: String,
    pub(crate) body: Option<Value>,
    pub(crate) headers: Map<String, Value>,
}

impl Part {
    /// Its own headers; those that HTTP could not carry are left out.
    fn header_map(&self) -> HeaderMap {
        let header = |(name, value): (&String, &Value)| {
            let value = HeaderValue::from_str(value.as_str()?).ok()?;
            Some((HeaderName::from_bytes(name.as_bytes()).ok()?, value))
        };
        self.headers.iter().filter_map(header).collect()
    }
}

pub(crate) async fn handle(org: &Arc<Org>, mut resource: Resource, call: Call, size: &mut Size) -> Reply {
    if resource.method != "POST" {
        return ApiError::method_not_allowed(&resource.method, "GET,POST").into();
    }
    let (all_or_none, parts) = match parse(resource.body.take(), call.major()) {
        Ok(parsed) => parsed,
        Err(reply) => return reply,
    };
    size.nodes = parts.len();
    size.describes = parts.iter().filter(|part| rows::is_describe(part)).count();
    size.rows = parts.iter().flat_map(|part| rows::of_part(org, part, &call.settings)).collect();
    let mut results = Results::new(&call);
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
            failed |= !(reply.is_success() || reply.status == NOT_MODIFIED) || has_failed_rows(&reply);
            results.insert(reference.clone(), reply.body.clone().filter(|_| reply.is_success()));
            replies.push((reference, reply));
        }
        if failed {
            transaction.rollback(&call).await;
            // A collection with a failed row keeps its answer, rows that were rolled back included.
            for (_, reply) in replies.iter_mut().filter(|(_, reply)| reply.is_success() && !has_failed_rows(reply)) {
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

/// An answer of a collection of which a row failed.
fn has_failed_rows(reply: &Reply) -> bool {
    let rows = reply.body.as_ref().and_then(Value::as_array);
    rows.is_some_and(|rows| rows.iter().any(|row| row.get("success") == Some(&Value::Bool(false))))
}

/// One entry of a `compositeResponse`.
pub(crate) fn part_answer(reference: String, reply: Reply) -> Value {
    let mut headers = Map::new();
    if let Some(location) = reply.location {
        headers.insert("Location".into(), Value::String(location));
    }
    for (name, value) in reply.headers {
        let shown = match name {
            "etag" => "ETag",
            "last-modified" => "Last-Modified",
            _ => continue,
        };
        headers.insert(shown.into(), Value::String(value));
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
    if let Some(refusal) = version_refusal(&call) {
        return refusal.into();
    }
    let headers = part.header_map();
    if let Some(options) = header_text(&headers, "sforce-duplicate-rule-header") {
        call.duplicates = DuplicateOptions::parse(options);
    }
    if let Some(options) = header_text(&headers, "sforce-query-options") {
        call.batch_size = batch_size(options);
    }
    let resource = Resource { method: part.method, segments, query: Form::parse(query_text), body: part.body };
    let version = conditional::concerns(&resource.method, &headers)
        .then(|| conditional::version(org, &resource, &headers, Some(transaction.id()), &call))
        .flatten();
    if let Some(reply) = version.as_ref().and_then(|version| version.decides(&resource.method, &headers)) {
        return reply;
    }
    match resource.segments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["sobjects", ..] => {
            let reply = sobjects::handle(org, transaction, &resource, &call).await;
            // The page's reads tell their version where they name no fields.
            let whole = resource.method == "GET" && resource.query.filled("fields").is_none();
            match version {
                Some(version) if reply.status == 200 && whole => version.attach(reply),
                Some(_) | None => reply,
            }
        }
        ["query" | "queryAll", ..] => query::handle(org, Some(transaction.id()), &resource, &call).await.into(),
        ["composite", "sobjects", ..] => collections::handle(org, transaction, &resource, &call).await,
        _ => ApiError::not_found().into(),
    }
}

/// The answer to an envelope with too much in it: that of one nameless part, as recorded.
fn too_many(message: String) -> Reply {
    let error = ApiError::bad_request("LIMIT_EXCEEDED", message).body_with_code_first();
    Reply::json(
        200,
        json!({ "compositeResponse": [
            { "body": error, "httpHeaders": {}, "httpStatusCode": 400, "referenceId": null }] }),
    )
}

fn parse(body: Option<Value>, major: u32) -> Result<(bool, Vec<Part>), Reply> {
    let Some(Value::Object(mut envelope)) = body else {
        return Err(ApiError::json("The HTTP entity body must be a JSON object at [line:1, column:1]").into());
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
        return Err(ApiError::json("Required field is missing: compositeRequest at [line:1, column:1]").into());
    };
    if let Some(key) = envelope.keys().next() {
        return Err(ApiError::json(format!("Unrecognized field \"{key}\" at [line:1, column:1]")).into());
    }
    let invalid = |message: String| ApiError::bad_request("INVALID_INPUT", message);
    if list.is_empty() {
        return Err(invalid("The request has no subrequests.".to_owned()).into());
    }
    if list.len() > SUBREQUESTS {
        return Err(too_many(format!("The request can\u{2019}t contain more than {SUBREQUESTS} operations.")));
    }
    let mut names = HashSet::new();
    let mut parts = Vec::with_capacity(list.len());
    for item in list {
        let part = parse_part(item, &["method", "url", "referenceId", "body", "httpHeaders"], major)?;
        if !names.insert(part.reference.clone()) {
            return Err(invalid(format!("The referenceId {} is used more than once.", part.reference)).into());
        }
        parts.push(part);
    }
    if parts.iter().filter(|part| is_heavy(&part.url)).count() > HEAVY {
        return Err(too_many(format!(
            "The request can\u{2019}t contain more than {HEAVY} query or sObject Collections operations."
        )));
    }
    Ok((all_or_none, parts))
}

/// Queries and collections, by the path below the version.
fn is_heavy(url: &str) -> bool {
    let path = url.split('?').next().unwrap_or_default();
    let mut parts = path.split('/').filter(|part| !part.is_empty()).skip(3);
    match parts.next() {
        Some("query" | "queryAll") => true,
        Some("composite") => parts.next() == Some("sobjects"),
        Some(_) | None => false,
    }
}

/// Reads one part; keys other than `allowed` are refused.
pub(crate) fn parse_part(item: Value, allowed: &[&str], major: u32) -> Result<Part, ApiError> {
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
    if major > LAST_WITH_ODD_REFERENCES && !references::is_valid(&reference) {
        return Err(ApiError::json(references::rule(&reference)));
    }
    let headers = match item.remove("httpHeaders") {
        Some(Value::Object(headers)) if headers.values().all(Value::is_string) => headers,
        None | Some(Value::Null) => Map::new(),
        Some(_) => return Err(ApiError::json("httpHeaders must be a map of strings at [line:1, column:1]")),
    };
    let inherited = |name: &&String| INHERITED_HEADERS.iter().any(|inherited| name.eq_ignore_ascii_case(inherited));
    if let Some(name) = headers.keys().find(inherited) {
        return Err(ApiError::bad_request(
            "INVALID_HTTP_HEADER",
            format!("Header {name} is not allowed in a subrequest"),
        ));
    }
    let body = item.remove("body").filter(|body| !body.is_null());
    Ok(Part { method, url, reference, body, headers })
}
