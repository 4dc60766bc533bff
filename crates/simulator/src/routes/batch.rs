//! `/composite/batch`: up to 25 independent subrequests, each an API call of its own.
//!
//! Source: REST API Developer Guide, "Composite Batch", "Batch Request Body" and "Batch Response Body".

use std::sync::Arc;

use serde_json::{Value, json};

use super::data::{Resource, alone, split_path};
use super::{Size, data};
use crate::api_error::ApiError;
use crate::call::Call;
use crate::form::Form;
use crate::org::Org;
use crate::reply::Reply;

const SUBREQUESTS: usize = 25;

struct Part {
    method: String,
    url: String,
    body: Option<Value>,
}

pub(crate) async fn run(org: &Arc<Org>, mut resource: Resource, call: &Call, size: &mut Size) -> Reply {
    if resource.method != "POST" {
        return ApiError::method_not_allowed(&resource.method, "POST").into();
    }
    let (halt, parts) = match parse(resource.body.take()) {
        Ok(parsed) => parsed,
        Err(error) => return error.into(),
    };
    let (mut results, mut failed) = (Vec::with_capacity(parts.len()), false);
    for (place, part) in parts.into_iter().enumerate() {
        let reply: Reply = if halt && failed {
            ApiError::new(412, "BATCH_PROCESSING_HALTED", "Batch processing halted per request").into()
        } else if place > 0 && !org.usage().count(org.clock.now_ms(), 1, call.settings.api_limit).1 {
            // The request itself counted for the first part.
            ApiError::new(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.").into()
        } else {
            run_part(org, part, call, size).await
        };
        failed |= reply.status >= 400;
        results.push(json!({ "statusCode": reply.status, "result": reply.body }));
    }
    size.nodes = results.len();
    Reply::json(200, json!({ "hasErrors": failed, "results": results }))
}

async fn run_part(org: &Arc<Org>, part: Part, call: &Call, size: &mut Size) -> Reply {
    let (path, query) = part.url.split_once('?').unwrap_or((&part.url, ""));
    let Some((version, segments)) = split_path(&format!("/services/data/{path}")) else {
        return ApiError::not_found().into();
    };
    let call = Call { version, ..call.clone() };
    if let Some(refusal) = data::version_refusal(&call) {
        return refusal.into();
    }
    let resource = Resource { method: part.method, segments, query: Form::parse(query), body: part.body };
    // Composite resources are none of those that a batch may hold.
    let reply = alone(org, &resource, &call, size).await;
    reply.unwrap_or_else(|| ApiError::not_found().into())
}

fn parse(body: Option<Value>) -> Result<(bool, Vec<Part>), ApiError> {
    let Some(Value::Object(mut envelope)) = body else {
        return Err(ApiError::json("The HTTP entity body must be a JSON object at [line:1, column:1]"));
    };
    let halt = match envelope.shift_remove("haltOnError") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(flag)) => flag,
        Some(other) => {
            return Err(ApiError::json(format!(
                "Cannot deserialize instance of boolean from {other} or request may be missing a required field at \
                 [line:1, column:1]"
            )));
        }
    };
    let Some(Value::Array(list)) = envelope.shift_remove("batchRequests") else {
        return Err(ApiError::json("Required field is missing: batchRequests at [line:1, column:1]"));
    };
    if let Some(key) = envelope.keys().next() {
        return Err(ApiError::json(format!("Unrecognized field \"{key}\" at [line:1, column:1]")));
    }
    let invalid = |message: String| ApiError::bad_request("INVALID_INPUT", message);
    if list.is_empty() {
        return Err(invalid("The request has no subrequests.".to_owned()));
    }
    if list.len() > SUBREQUESTS {
        let message = format!("The request has {} subrequests; the limit is {SUBREQUESTS}.", list.len());
        return Err(ApiError::bad_request("LIMIT_EXCEEDED", message));
    }
    list.into_iter().map(parse_part).collect::<Result<_, _>>().map(|parts| (halt, parts))
}

fn parse_part(item: Value) -> Result<Part, ApiError> {
    let Value::Object(mut item) = item else {
        return Err(ApiError::json("A subrequest must be a JSON object at [line:1, column:1]"));
    };
    let mut text = |key: &str| match item.shift_remove(key) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        _ => Err(ApiError::json(format!("Required field is missing: {key} at [line:1, column:1]"))),
    };
    let (method, url) = (text("method")?.to_ascii_uppercase(), text("url")?);
    let body = item.shift_remove("richInput").filter(|body| !body.is_null());
    let invalid = |message: String| Err(ApiError::bad_request("INVALID_INPUT", message));
    if item.contains_key("binaryPartName") || item.contains_key("binaryPartNameAlias") {
        return invalid("A binary part needs a multipart request.".to_owned());
    }
    if let Some(key) = item.keys().next() {
        return Err(ApiError::json(format!("Unrecognized field \"{key}\" at [line:1, column:1]")));
    }
    if !matches!(method.as_str(), "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE") {
        return invalid(format!("The method {method} is not valid."));
    }
    if !url.starts_with('v') {
        return invalid(format!("The url {url} does not start with an API version."));
    }
    Ok(Part { method, url, body })
}
