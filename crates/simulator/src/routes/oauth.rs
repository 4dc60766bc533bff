//! `/services/oauth2`: tokens in and out, and the page on which a person approves an app.
//!
//! Source: Help, "OAuth Authorization Flows" and "OAuth 2.0 Error Codes".

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};

use super::data::{bearer, header_text};
use super::page::escape;
use super::{Incoming, json_response, text_response};
use crate::form::{Form, encode, segments};
use crate::oauth::{Code, Issued, OAuth, OauthError, PASSWORD, USERNAME, basic, signature};
use crate::org::Org;
use crate::settings::Settings;

const API_SCOPE: &str = "api id web";

pub(crate) fn handle(org: &Arc<Org>, incoming: &Incoming) -> Response {
    let path = incoming.uri.path();
    let query = Form::parse(incoming.uri.query().unwrap_or_default());
    let body = Form::parse(&String::from_utf8_lossy(&incoming.body));
    let method = incoming.method.as_str();
    match (method, path) {
        ("POST", "/services/oauth2/token") => token(org, incoming, &body),
        (_, "/services/oauth2/token") => refused(org, &OauthError::new("invalid_request", "must use HTTP POST")),
        ("POST", "/services/oauth2/revoke") => revoke(org, &body),
        ("GET", "/services/oauth2/revoke") => revoke(org, &query),
        ("POST", "/services/oauth2/introspect") => introspect(org, incoming, &body),
        ("GET" | "POST", "/services/oauth2/userinfo") => userinfo(org, incoming),
        ("GET", "/services/oauth2/authorize") => authorize(org, &query, None),
        ("POST", "/services/oauth2/authorize") => authorize(org, &body, Some(&body)),
        ("GET", "/.well-known/openid-configuration") => json_response(StatusCode::OK, &discovery(org)),
        ("GET", _) if path.starts_with("/id/") => identity(org, incoming),
        _ => json_response(StatusCode::NOT_FOUND, &crate::api_error::ApiError::not_found().body()),
    }
}

fn refused(org: &Org, error: &OauthError) -> Response {
    let status = if error.error == "invalid_client" { org.settings().invalid_client_status } else { 400 };
    let body = json!({ "error": error.error, "error_description": error.description });
    json_response(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST), &body)
}

/// Consumer key and secret, from the Basic header or from the body.
fn credentials(incoming: &Incoming, body: &Form) -> (String, String) {
    header_text(&incoming.headers, "authorization").and_then(basic).unwrap_or_else(|| {
        let text = |key: &str| body.get(key).unwrap_or_default().to_owned();
        (text("client_id"), text("client_secret"))
    })
}

fn token(org: &Arc<Org>, incoming: &Incoming, body: &Form) -> Response {
    match grant(org, incoming, body) {
        Ok(answer) => json_response(StatusCode::OK, &answer),
        Err(error) => refused(org, &error),
    }
}

fn grant(org: &Arc<Org>, incoming: &Incoming, body: &Form) -> Result<Value, OauthError> {
    let settings = org.settings();
    let now = org.clock.now_ms();
    let organization = org.state().defaults.organization.short();
    let grant_type = body
        .filled("grant_type")
        .ok_or_else(|| OauthError::new("unsupported_grant_type", "grant type not supported"))?;
    match grant_type {
        "client_credentials" => {
            let (client_id, secret) = credentials(incoming, body);
            let app = org.oauth.authenticate(&client_id, &secret)?;
            usable(&settings)?;
            let issued = org.oauth.issue(&app.client_id, API_SCOPE, false, &organization, now, &settings);
            let mut answer = answer(org, &issued, Some(&app.client_secret));
            if let Some(fields) = answer.as_object_mut() {
                fields.insert("api_instance_url".into(), json!(instance_url(org, &settings)));
            }
            Ok(answer)
        }
        "urn:ietf:params:oauth:grant-type:jwt-bearer" => {
            let assertion = body
                .filled("assertion")
                .ok_or_else(|| OauthError::new("invalid_request", "missing required parameters"))?;
            let client_id = org.oauth.check_assertion(assertion, &org.audiences(), now)?;
            usable(&settings)?;
            let issued = org.oauth.issue(&client_id, "web api", false, &organization, now, &settings);
            Ok(answer(org, &issued, None))
        }
        "refresh_token" => {
            let (client_id, secret) = credentials(incoming, body);
            let app = org.oauth.authenticate(&client_id, &secret)?;
            usable(&settings)?;
            let token = body.get("refresh_token").unwrap_or_default();
            let issued = org.oauth.refresh(&client_id, token, &organization, now, &settings)?;
            Ok(answer(org, &issued, Some(&app.client_secret)))
        }
        "authorization_code" => {
            let (client_id, secret) = credentials(incoming, body);
            let app = org.oauth.authenticate(&client_id, &secret)?;
            usable(&settings)?;
            let text = |key: &str| body.get(key).unwrap_or_default();
            let code =
                org.oauth.redeem(text("code"), &client_id, text("redirect_uri"), body.filled("code_verifier"), now)?;
            let refreshable = code.scope.split(' ').any(|s| matches!(s, "refresh_token" | "offline_access" | "full"));
            let issued = org.oauth.issue(&client_id, &code.scope, refreshable, &organization, now, &settings);
            Ok(answer(org, &issued, Some(&app.client_secret)))
        }
        _ => Err(OauthError::new("unsupported_grant_type", "grant type not supported")),
    }
}

fn usable(settings: &Settings) -> Result<(), OauthError> {
    if !settings.app_installed {
        return Err(OauthError::new("invalid_client", "app must be installed into org"));
    }
    if !settings.user_active {
        return Err(OauthError::new("invalid_grant", "inactive user"));
    }
    Ok(())
}

fn instance_url(org: &Org, settings: &Settings) -> String {
    settings.instance_url.clone().unwrap_or_else(|| org.base_url())
}

fn identity_url(org: &Org) -> String {
    let defaults = org.state().defaults;
    format!("{}/id/{}/{}", org.base_url(), defaults.organization, defaults.user)
}

/// The token answer; flows with a secret are signed and dated.
fn answer(org: &Org, issued: &Issued, secret: Option<&str>) -> Value {
    let id = identity_url(org);
    let mut body = json!({ "access_token": issued.access_token });
    if let Some(fields) = body.as_object_mut() {
        if let Some(token) = &issued.refresh_token {
            fields.insert("refresh_token".into(), json!(token));
        }
        if let Some(secret) = secret {
            let issued_at = issued.at_ms.to_string();
            fields.insert("signature".into(), json!(signature(secret, &id, &issued_at)));
            fields.insert("issued_at".into(), json!(issued_at));
        }
        fields.insert("scope".into(), json!(issued.scope));
        fields.insert("instance_url".into(), json!(instance_url(org, &org.settings())));
        fields.insert("id".into(), json!(id));
        fields.insert("token_type".into(), json!("Bearer"));
    }
    body
}

fn revoke(org: &Org, form: &Form) -> Response {
    if org.oauth.revoke(form.get("token").unwrap_or_default()) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::OK;
        response
    } else {
        refused(org, &OauthError::new("invalid_token", "invalid token: unknown"))
    }
}

fn introspect(org: &Org, incoming: &Incoming, body: &Form) -> Response {
    let (client_id, secret) = credentials(incoming, body);
    if let Err(error) = org.oauth.authenticate(&client_id, &secret) {
        return refused(org, &error);
    }
    let token = body.get("token").unwrap_or_default();
    let seconds = |ms: i64| ms / 1000;
    let answer = if let Some(session) = org.oauth.session(token, org.clock.now_ms()) {
        json!({
            "active": true, "scope": session.scope, "client_id": session.client_id, "username": USERNAME,
            "sub": identity_url(org), "token_type": "access_token", "exp": seconds(session.expires_at_ms),
            "iat": seconds(session.issued_at_ms), "nbf": seconds(session.issued_at_ms),
        })
    } else if let Some((client_id, scope)) = org.oauth.refresh_grant(token) {
        json!({
            "active": true, "scope": scope, "client_id": client_id, "username": USERNAME, "sub": identity_url(org),
            "token_type": "refresh_token",
        })
    } else {
        json!({ "active": false })
    };
    json_response(StatusCode::OK, &answer)
}

/// Whether the request carries a good token; else the plain-text 403 of the identity services.
fn signed_in(org: &Org, incoming: &Incoming) -> Result<(), Response> {
    match bearer(&incoming.headers) {
        None => Err(text_response(403, "text/html; charset=UTF-8", "Missing_OAuth_Token".to_owned())),
        Some(token) if org.oauth.accept(token, org.clock.now_ms(), &org.settings()) => Ok(()),
        Some(_) => Err(text_response(403, "text/html; charset=UTF-8", "Bad_OAuth_Token".to_owned())),
    }
}

fn userinfo(org: &Org, incoming: &Incoming) -> Response {
    if let Err(response) = signed_in(org, incoming) {
        return response;
    }
    let defaults = org.state().defaults;
    let rest = format!("{}/services/data/v{{version}}/", org.base_url());
    json_response(
        StatusCode::OK,
        &json!({
            "sub": identity_url(org), "user_id": defaults.user.to_string(),
            "organization_id": defaults.organization.to_string(), "preferred_username": USERNAME,
            "nickname": "integration", "name": "Integration User", "email": USERNAME, "email_verified": true,
            "given_name": "Integration", "family_name": "User", "zoneinfo": "Europe/London", "active": true,
            "user_type": "STANDARD", "language": "en_US", "locale": "en_GB", "utcOffset": 0,
            "is_app_installed": org.settings().app_installed, "urls": { "rest": rest },
        }),
    )
}

fn identity(org: &Org, incoming: &Incoming) -> Response {
    if let Err(response) = signed_in(org, incoming) {
        return response;
    }
    let defaults = org.state().defaults;
    let wanted = segments(incoming.uri.path());
    let mine = [defaults.organization.to_string(), defaults.user.to_string()];
    if wanted.get(1..) != Some(&mine[..]) {
        return text_response(403, "text/html; charset=UTF-8", "Bad_Id".to_owned());
    }
    let version = Form::parse(incoming.uri.query().unwrap_or_default())
        .get("version")
        .map_or("{version}".to_owned(), |v| if v == "latest" { "67.0".to_owned() } else { v.to_owned() });
    let rest = format!("{}/services/data/v{version}/", org.base_url());
    json_response(
        StatusCode::OK,
        &json!({
            "id": identity_url(org), "asserted_user": true, "user_id": defaults.user.to_string(),
            "organization_id": defaults.organization.to_string(), "username": USERNAME, "nick_name": "integration",
            "display_name": "Integration User", "email": USERNAME, "email_verified": true,
            "first_name": "Integration", "last_name": "User", "timezone": "Europe/London", "active": true,
            "user_type": "STANDARD", "language": "en_US", "locale": "en_GB", "utcOffset": 0,
            "last_modified_date": org.clock.now_text(), "is_app_installed": org.settings().app_installed,
            "urls": { "rest": rest, "sobjects": format!("{rest}sobjects/"), "query": format!("{rest}query/") },
        }),
    )
}

fn discovery(org: &Org) -> Value {
    let at = |path: &str| format!("{}/services/oauth2/{path}", org.host_url());
    json!({
        "issuer": org.host_url(),
        "authorization_endpoint": at("authorize"),
        "token_endpoint": at("token"),
        "revocation_endpoint": at("revoke"),
        "userinfo_endpoint": at("userinfo"),
        "introspection_endpoint": at("introspect"),
        "scopes_supported": ["api", "full", "id", "refresh_token", "offline_access", "web"],
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic", "private_key_jwt"],
    })
}

/// The approval page; with an answer, the way back to the app.
fn authorize(org: &Org, form: &Form, answer: Option<&Form>) -> Response {
    let text = |key: &str| form.get(key).unwrap_or_default();
    let shown = |error: &str, description: &str| {
        let body = format!("error={error}&error_description={}", description.replace(' ', "+"));
        text_response(400, "text/html; charset=UTF-8", body)
    };
    let Some(app) = org.oauth.app(text("client_id")) else {
        return shown("invalid_client_id", "client identifier invalid");
    };
    let redirect = text("redirect_uri");
    if redirect.is_empty() {
        return shown("redirect_uri_missing", "redirect_uri not provided");
    }
    if !app.redirect_uris.is_empty() && !app.redirect_uris.iter().any(|uri| uri == redirect) {
        return shown("redirect_uri_mismatch", "redirect_uri must match configuration");
    }
    if text("response_type") != "code" {
        return shown("unsupported_response_type", "response type not supported");
    }
    if app.pkce_required && form.filled("code_challenge").is_none() {
        return shown("invalid_request", "missing required code challenge");
    }
    let back = |query: String| {
        let joint = if redirect.contains('?') { '&' } else { '?' };
        let state = form.filled("state").map_or(String::new(), |state| format!("&state={}", encode(state)));
        let mut response = Response::new(Body::empty());
        match HeaderValue::from_str(&format!("{redirect}{joint}{query}{state}")) {
            Ok(location) => {
                *response.status_mut() = StatusCode::FOUND;
                response.headers_mut().insert(header::LOCATION, location);
            }
            Err(_) => *response.status_mut() = StatusCode::BAD_REQUEST,
        }
        response
    };
    let approved = org.settings().auto_approve
        || answer.is_some_and(|form| {
            form.get("decision") == Some("allow")
                && form.get("username") == Some(USERNAME)
                && form.get("password") == Some(PASSWORD)
        });
    if !approved {
        return match answer {
            Some(form) if form.get("decision") == Some("deny") => {
                back("error=access_denied&error_description=end-user+denied+authorization".to_owned())
            }
            Some(_) => approval_page(form, Some("Please check your username and password.")),
            None => approval_page(form, None),
        };
    }
    let code = org.oauth.add_code(Code {
        client_id: app.client_id,
        redirect_uri: redirect.to_owned(),
        scope: form.filled("scope").unwrap_or("api id refresh_token").to_owned(),
        challenge: form.filled("code_challenge").map(str::to_owned),
        expires_at_ms: OAuth::code_expiry(org.clock.now_ms()),
    });
    back(format!("code={}", encode(&code)))
}

fn approval_page(form: &Form, problem: Option<&str>) -> Response {
    let mut hidden = String::new();
    for key in ["client_id", "redirect_uri", "response_type", "scope", "state", "code_challenge"] {
        if let Some(value) = form.filled(key) {
            hidden.extend(["<input type=\"hidden\" name=\"", key, "\" value=\"", &escape(value), "\">"]);
        }
    }
    let problem = problem.map_or(String::new(), |text| format!("<p role=\"alert\">{}</p>", escape(text)));
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Allow access?</title>\
         <style>body{{font:16px system-ui;max-width:24rem;margin:4rem auto;padding:0 1rem}}label{{display:block;margin:1rem 0}}\
         input{{width:100%;padding:.5rem;box-sizing:border-box}}button{{padding:.6rem 1.2rem;margin-right:.5rem}}\
         [role=alert]{{color:#b00020}}</style>\
         <h1>Allow access?</h1><p><b>{}</b> asks for access to this simulated org.</p>{problem}\
         <form method=\"post\" action=\"authorize\">{hidden}\
         <label>Username <input name=\"username\" autocomplete=\"username\"></label>\
         <label>Password <input name=\"password\" type=\"password\" autocomplete=\"current-password\"></label>\
         <button name=\"decision\" value=\"allow\">Allow</button><button name=\"decision\" value=\"deny\">Deny</button>\
         </form></html>",
        escape(form.get("client_id").unwrap_or_default())
    );
    text_response(200, "text/html; charset=UTF-8", html)
}
