//! `/_sim`: the control plane over HTTP.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{delete, get, post};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::json_response;
use crate::auth_providers::CalloutRequest;
use crate::config::{AuthProvider, ConnectedApp, User};
use crate::control::{Control, ControlError};
use crate::duplicates::DuplicateRule;
use crate::faults::Fault;
use crate::org::Org;

const OPENAPI: &str = include_str!("../../openapi.json");
const BODY_LIMIT: usize = 64 * 1024 * 1024;

type Shared = State<Arc<Org>>;

pub(crate) fn router() -> Router<Arc<Org>> {
    Router::new()
        .route("/openapi.json", get(openapi))
        .route("/reset", post(reset))
        .route("/records/{object}", get(records).post(seed))
        .route("/events", get(events))
        .route("/requests", get(requests))
        .route("/usage", get(usage))
        .route("/clock", get(read_clock).post(clock))
        .route("/settings", get(settings).post(change_settings))
        .route("/sessions/expire", post(expire))
        .route("/faults", get(faults).post(arm).delete(disarm))
        .route("/faults/{id}", delete(disarm_one))
        .route("/faults/release", post(release))
        .route("/duplicate-rules", get(rules).post(set_rules).put(set_rules))
        .route("/apps", post(register_app))
        .route("/users", get(users).post(put_user))
        .route("/auth-providers", get(auth_providers).post(put_auth_provider))
        .route("/callouts", post(call_out))
        .route("/oauth/audit", get(oauth_audit))
        .route("/oauth/revoke", post(revoke_tokens))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
}

fn ok(body: &Value) -> Response {
    json_response(StatusCode::OK, body)
}

fn bad(error: &ControlError) -> Response {
    json_response(StatusCode::BAD_REQUEST, &json!({ "error": error.0 }))
}

fn to_value(value: impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T, ControlError> {
    serde_json::from_slice(body).map_err(|error| ControlError(error.to_string()))
}

/// One value or a list of them.
fn parse_several<T: DeserializeOwned>(body: &Bytes) -> Result<Vec<T>, ControlError> {
    let value: Value = parse(body)?;
    let list = if value.is_array() { value } else { Value::Array(vec![value]) };
    serde_json::from_value(list).map_err(|error| ControlError(error.to_string()))
}

async fn openapi() -> Response {
    super::text_response(200, "application/json;charset=UTF-8", OPENAPI.to_owned())
}

async fn reset(State(org): Shared) -> Response {
    Control::new(org).reset();
    ok(&json!({ "reset": true }))
}

async fn records(State(org): Shared, Path(object): Path<String>) -> Response {
    match Control::new(org).records(&object) {
        Ok(records) => ok(&to_value(records)),
        Err(error) => json_response(StatusCode::NOT_FOUND, &json!({ "error": error.0 })),
    }
}

async fn seed(State(org): Shared, Path(object): Path<String>, body: Bytes) -> Response {
    let rows: Vec<Map<String, Value>> = match parse_several(&body) {
        Ok(rows) => rows,
        Err(error) => return bad(&error),
    };
    match Control::new(org).seed(&object, &rows).await {
        Ok(ids) => json_response(StatusCode::CREATED, &json!({ "ids": ids })),
        Err(error) => bad(&error),
    }
}

#[derive(Deserialize)]
struct After {
    #[serde(default)]
    after: u64,
}

async fn events(State(org): Shared, Query(After { after }): Query<After>) -> Response {
    ok(&to_value(Control::new(org).events_after(after)))
}

async fn requests(State(org): Shared, Query(After { after }): Query<After>) -> Response {
    ok(&to_value(Control::new(org).requests_after(after)))
}

async fn usage(State(org): Shared) -> Response {
    ok(&to_value(Control::new(org).usage()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    #[serde(default)]
    advance_s: u64,
    #[serde(default)]
    advance_ms: u64,
}

fn shown(org: &Org) -> Value {
    json!({ "now": org.clock.now_text(), "pace": org.settings().pace, "waiting": org.clock.waiting() })
}

async fn read_clock(State(org): Shared) -> Response {
    ok(&shown(&org))
}

async fn clock(State(org): Shared, body: Bytes) -> Response {
    match parse::<Advance>(&body) {
        Ok(advance) => {
            let by = Duration::from_secs(advance.advance_s).saturating_add(Duration::from_millis(advance.advance_ms));
            Control::new(Arc::clone(&org)).advance_clock(by);
            ok(&shown(&org))
        }
        Err(error) => bad(&error),
    }
}

async fn settings(State(org): Shared) -> Response {
    ok(&to_value(Control::new(org).settings()))
}

async fn change_settings(State(org): Shared, body: Bytes) -> Response {
    match parse::<Value>(&body).and_then(|changes| Control::new(org).merge_settings(&changes)) {
        Ok(settings) => ok(&to_value(settings)),
        Err(error) => bad(&error),
    }
}

async fn expire(State(org): Shared) -> Response {
    ok(&json!({ "expired": Control::new(org).expire_sessions() }))
}

async fn faults(State(org): Shared) -> Response {
    ok(&to_value(Control::new(org).faults()))
}

async fn arm(State(org): Shared, body: Bytes) -> Response {
    let control = Control::new(org);
    match parse_several::<Fault>(&body) {
        Ok(faults) => {
            // All or none, so that a script is never half armed.
            if let Some(error) = faults.iter().find_map(|fault| fault.check().err()) {
                return bad(&ControlError(error));
            }
            for fault in faults {
                if let Err(error) = control.try_arm(fault) {
                    return bad(&error);
                }
            }
            json_response(StatusCode::CREATED, &to_value(control.faults()))
        }
        Err(error) => bad(&error),
    }
}

async fn disarm(State(org): Shared) -> Response {
    Control::new(org).clear_faults();
    ok(&json!([]))
}

async fn disarm_one(State(org): Shared, Path(id): Path<u64>) -> Response {
    if Control::new(org).disarm(id) {
        ok(&json!({ "disarmed": id }))
    } else {
        json_response(StatusCode::NOT_FOUND, &json!({ "error": format!("no fault {id} is armed") }))
    }
}

async fn release(State(org): Shared) -> Response {
    ok(&json!({ "released": Control::new(org).release_held() }))
}

async fn rules(State(org): Shared) -> Response {
    ok(&to_value(Control::new(org).duplicate_rules()))
}

async fn set_rules(State(org): Shared, body: Bytes) -> Response {
    let control = Control::new(org);
    match parse_several::<DuplicateRule>(&body).and_then(|rules| control.set_duplicate_rules(&rules)) {
        Ok(()) => ok(&to_value(control.duplicate_rules())),
        Err(error) => bad(&error),
    }
}

async fn register_app(State(org): Shared, body: Bytes) -> Response {
    match parse::<ConnectedApp>(&body).and_then(|app| {
        let client_id = app.client_id.clone();
        Control::new(org).register_app(app).map(|()| client_id)
    }) {
        Ok(client_id) => json_response(StatusCode::CREATED, &json!({ "client_id": client_id })),
        Err(error) => bad(&error),
    }
}

async fn users(State(org): Shared) -> Response {
    ok(&to_value(Control::new(org).users()))
}

async fn put_user(State(org): Shared, body: Bytes) -> Response {
    match parse::<User>(&body).and_then(|user| Control::new(org).put_user(user)) {
        Ok(id) => json_response(StatusCode::CREATED, &json!({ "id": id })),
        Err(error) => bad(&error),
    }
}

async fn oauth_audit(State(org): Shared) -> Response {
    ok(&to_value(Control::new(org).oauth_audit()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revocation {
    client_id: Option<String>,
    username: Option<String>,
}

async fn revoke_tokens(State(org): Shared, body: Bytes) -> Response {
    let revoked = parse::<Revocation>(&body)
        .and_then(|of| Control::new(org).revoke_tokens(of.client_id.as_deref(), of.username.as_deref()));
    match revoked {
        Ok(count) => ok(&json!({ "revoked": count })),
        Err(error) => bad(&error),
    }
}

async fn auth_providers(State(org): Shared) -> Response {
    ok(&to_value(Control::new(org).auth_providers()))
}

async fn put_auth_provider(State(org): Shared, body: Bytes) -> Response {
    let control = Control::new(org);
    match parse::<AuthProvider>(&body).and_then(|provider| control.put_auth_provider(provider)) {
        Ok(()) => json_response(StatusCode::CREATED, &to_value(control.auth_providers())),
        Err(error) => bad(&error),
    }
}

async fn call_out(State(org): Shared, body: Bytes) -> Response {
    let call = match parse::<CalloutRequest>(&body) {
        Ok(call) => call,
        Err(error) => return bad(&error),
    };
    match Control::new(org).send_callout(&call).await {
        Ok(answer) => ok(&to_value(answer)),
        Err(error) => bad(&error),
    }
}
