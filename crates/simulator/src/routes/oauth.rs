//! `/services/oauth2`, `/id` and discovery: tokens in and out, and the pages on which a person approves an app.
//!
//! Source: Help, "OAuth Authorization Flows", "OAuth 2.0 Error Codes", "Identity URLs" and "`OpenID` Connect Discovery
//! Endpoint".

mod authorize;
mod discovery;
mod format;
mod identity;
pub(super) mod pages;
mod revoke;
pub(crate) mod session;
mod token;

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;

use super::data::header_text;
use super::{Incoming, json_response};
use crate::form::Form;
use crate::oauth::OauthError;
use crate::oauth::audit::{OauthAction, OauthEvent};
use crate::org::Org;

pub(crate) use authorize::browser;
use format::Format;

/// The page on which a real org asks for approval.
const APPROVAL_PAGE: &str = "/setup/secur/RemoteAccessAuthorizationPage.apexp";
/// The page on which it says why it does not.
const ERROR_PAGE: &str = "/setup/secur/RemoteAccessErrorPage.apexp";

/// Whether a path belongs to these services.
pub(crate) fn serves(path: &str) -> bool {
    path.starts_with("/services/oauth2/")
        || path.starts_with("/id/")
        || path.starts_with("/.well-known/")
        || matches!(path, APPROVAL_PAGE | ERROR_PAGE | "/secur/logout.jsp")
}

pub(crate) fn handle(org: &Arc<Org>, incoming: &Incoming) -> Response {
    let origin = allowed_origin(org, incoming);
    if incoming.method == "OPTIONS" {
        return preflight(origin);
    }
    let mut response = route(org, incoming);
    if let Some(origin) = origin {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    }
    response
}

fn route(org: &Arc<Org>, incoming: &Incoming) -> Response {
    let path = incoming.uri.path();
    let query = incoming.uri.query().unwrap_or_default();
    match (incoming.method.as_str(), path) {
        ("POST", "/services/oauth2/token") => token::answer(org, incoming),
        ("POST", "/services/oauth2/introspect") => revoke::introspect(org, incoming, &body(incoming)),
        (_, "/services/oauth2/token" | "/services/oauth2/introspect") => {
            refused(org, &OauthError::new("invalid_request", "must use HTTP POST"), Format::Json)
        }
        ("POST", "/services/oauth2/revoke") => revoke::revoke(org, incoming, &body(incoming)),
        ("GET", "/services/oauth2/revoke") => revoke::revoke(org, incoming, &Form::parse(query)),
        ("GET" | "POST", "/services/oauth2/userinfo") => identity::userinfo(org, incoming),
        ("GET", "/services/oauth2/authorize" | APPROVAL_PAGE) => authorize::begin(org, incoming, query),
        ("POST", "/services/oauth2/authorize" | APPROVAL_PAGE) => {
            authorize::answer(org, incoming, &body_text(incoming))
        }
        ("GET", ERROR_PAGE) => pages::error(&Form::parse(query)),
        ("GET", "/secur/logout.jsp") => authorize::log_out(org, incoming),
        ("GET", "/.well-known/openid-configuration") => json_response(StatusCode::OK, &discovery::openid(org)),
        ("GET", "/.well-known/auth-configuration") => json_response(StatusCode::OK, &discovery::auth(org)),
        ("GET", "/id/keys") => json_response(StatusCode::OK, &org.oauth.signer.keys()),
        ("GET" | "POST", _) if path.starts_with("/id/") => identity::identity(org, incoming),
        _ => json_response(StatusCode::NOT_FOUND, &crate::api_error::ApiError::not_found().body()),
    }
}

fn body_text(incoming: &Incoming) -> String {
    String::from_utf8_lossy(&incoming.body).into_owned()
}

fn body(incoming: &Incoming) -> Form {
    Form::parse(&body_text(incoming))
}

fn refused(org: &Org, error: &OauthError, format: Format) -> Response {
    let status = if error.error == "invalid_client" { org.settings().invalid_client_status } else { 400 };
    let body = serde_json::json!({ "error": error.error, "error_description": error.description });
    format.response(status, &body)
}

/// `https://host/id/00D…/005…`.
pub(super) fn identity_url(org: &Org, user: crate::ids::RecordId) -> String {
    let organization = org.state().defaults.organization;
    format!("{}/id/{organization}/{user}", org.base_url())
}

fn instance_url(org: &Org) -> String {
    org.settings().instance_url.clone().unwrap_or_else(|| org.base_url())
}

/// An audit entry of this request, to be filled.
pub(super) fn event(org: &Org, incoming: &Incoming, action: OauthAction, flow: &str, client_id: &str) -> OauthEvent {
    OauthEvent {
        number: 0,
        at: org.clock.now_text(),
        action,
        flow: flow.to_owned(),
        client_id: client_id.to_owned(),
        username: String::new(),
        scope: String::new(),
        error: None,
        from: incoming.peer,
    }
}

/// The caller's origin, if the org lets it in (Help, "Enable CORS for OAuth Endpoints").
fn allowed_origin(org: &Org, incoming: &Incoming) -> Option<HeaderValue> {
    let origin = header_text(&incoming.headers, "origin")?;
    let settings = org.settings();
    // The pages are for people and no script may read them.
    if !matches!(incoming.uri.path(), "/services/oauth2/token" | "/services/oauth2/revoke")
        && !matches!(incoming.uri.path(), "/services/oauth2/introspect" | "/services/oauth2/userinfo")
        && !incoming.uri.path().starts_with("/id/")
        && !incoming.uri.path().starts_with("/.well-known/")
    {
        return None;
    }
    let allowed = settings.cors_origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin));
    allowed.then(|| HeaderValue::from_str(origin).ok()).flatten()
}

fn preflight(origin: Option<HeaderValue>) -> Response {
    let mut response = Response::new(Body::empty());
    let Some(origin) = origin else {
        *response.status_mut() = StatusCode::FORBIDDEN;
        return response;
    };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, OPTIONS"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("Authorization, Content-Type"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    response
}

/// A page for people: never framed, never with scripts, never reflected into one.
pub(super) fn page(status: u16, html: String) -> Response {
    let mut response = super::text_response(status, "text/html; charset=UTF-8", html);
    let headers = response.headers_mut();
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(HeaderName::from_static("x-frame-options"), HeaderValue::from_static("DENY"));
    response
}
