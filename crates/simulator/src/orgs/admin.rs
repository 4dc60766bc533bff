//! `/_sim/orgs`: the list of orgs, a new one, and its end. It answers alike at every org.

use std::sync::Arc;

use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use super::{OrgHandle, Orgs};
use crate::config::{Config, org_from_json};
use crate::routes::json_response;

const BODY_LIMIT: usize = 1024 * 1024;

pub(super) async fn answer(orgs: &Arc<Orgs>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let name = parts.uri.path().strip_prefix("/_sim/orgs").unwrap_or_default().trim_matches('/');
    match (parts.method, name) {
        (Method::GET | Method::HEAD, "") => {
            let list: Vec<Value> = orgs.all().iter().map(described).collect();
            json_response(StatusCode::OK, &Value::Array(list))
        }
        (Method::GET | Method::HEAD, name) => match orgs.get(name) {
            Some(org) => json_response(StatusCode::OK, &described(&org)),
            None => super::unknown(orgs, name),
        },
        (Method::POST, "") => {
            let Ok(body) = to_bytes(body, BODY_LIMIT).await else { return bad("the body could not be read") };
            match config(&body) {
                Ok(config) => match orgs.add(config) {
                    Ok(org) => json_response(StatusCode::CREATED, &described(&org)),
                    Err(error) => bad(&error.to_string()),
                },
                Err(problem) => bad(&problem),
            }
        }
        (Method::DELETE, name) if !name.is_empty() => match orgs.remove(name) {
            Ok(()) => json_response(StatusCode::OK, &json!({ "removed": name })),
            Err(problem) => bad(&problem),
        },
        _ => json_response(
            StatusCode::METHOD_NOT_ALLOWED,
            &json!({ "error": "GET and POST /_sim/orgs, GET and DELETE /_sim/orgs/{name}" }),
        ),
    }
}

/// The keys of the org file's `[[orgs]]` tables, as JSON.
fn config(body: &[u8]) -> Result<Config, String> {
    let value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    org_from_json(value)
}

fn described(handle: &OrgHandle) -> Value {
    json!({
        "name": handle.name(),
        "organization_id": handle.org.organization().to_string(),
        "sandbox": handle.org.sandbox(),
        "base_url": handle.base_url(),
        "path": format!("{}{}/", super::PREFIX, handle.name()),
    })
}

fn bad(problem: &str) -> Response {
    json_response(StatusCode::BAD_REQUEST, &json!({ "error": problem }))
}
