//! The two shared login hosts: `login` for production orgs, `test` for sandboxes, each knowing its own orgs only.
//!
//! Sources: Help, "OAuth Endpoints"; Help, "OAuth 2.0 Client Credentials Flow" (My Domain only); RFC 7523; SOAP API
//! Developer Guide, "`login()`".

use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::Response;
use serde_json::json;

use super::{Asked, Entry, Orgs};
use crate::form::{Form, segments};
use crate::oauth::claims;
use crate::routes::data::bearer;
use crate::routes::{json_response, oauth, soap};

/// Forms of the OAuth endpoints are small.
const BODY_LIMIT: usize = 1024 * 1024;

/// One of the two hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Login {
    Production,
    Sandbox,
}

impl Login {
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Production => "/login",
            Self::Sandbox => "/test",
        }
    }
}

pub(super) fn by_label(label: &str) -> Option<Login> {
    match label {
        "login" => Some(Login::Production),
        "test" => Some(Login::Sandbox),
        _ => None,
    }
}

/// The login host of a path; only what a login host serves is taken from the first org's paths.
pub(super) fn by_prefix(path: &str) -> Option<Login> {
    [Login::Production, Login::Sandbox].into_iter().find(|login| {
        let rest = path.strip_prefix(login.prefix()).unwrap_or_default();
        ["/services/", "/.well-known/", "/id/", "/setup/secur/", "/secur/"]
            .iter()
            .any(|served| rest.starts_with(served))
    })
}

/// Finds the org the request belongs to and lets it answer.
///
/// `url` is the address without path; `asked` is given when the host was named, and then the org's URL is a name too.
pub(super) async fn answer(
    orgs: &Arc<Orgs>,
    login: Login,
    request: Request,
    host: String,
    url: &str,
    asked: Option<&Asked>,
) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_LIMIT).await else {
        return refused("invalid_request", "the request could not be read");
    };
    let candidates: Vec<Entry> =
        orgs.read().iter().filter(|entry| entry.org.sandbox() == (login == Login::Sandbox)).cloned().collect();
    let entry = match choose(&candidates, &parts.method, &parts.uri, &parts.headers, &body) {
        Ok(entry) => entry,
        Err(_) if is_soap(parts.uri.path()) => return soap::without_org(parts.uri.path(), &soap::caller(&body)),
        Err((error, description)) => return refused(error, description),
    };
    let instance = asked
        .and_then(|asked| asked.with_label(entry.org.name(), orgs.scheme))
        .unwrap_or_else(|| super::prefixed(url, entry.org.name()));
    let request = Request::from_parts(parts, Body::from(body));
    super::ask(orgs, entry, request, instance, host).await
}

fn is_soap(path: &str) -> bool {
    path.starts_with("/services/Soap/")
}

fn refused(error: &str, description: &str) -> Response {
    json_response(StatusCode::BAD_REQUEST, &json!({ "error": error, "error_description": description }))
}

/// The org that knows the code, token, session, user, browser or app of the request. Where none does, the first of this
/// host refuses it in the words of an org.
fn choose(
    candidates: &[Entry],
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Entry, (&'static str, &'static str)> {
    let mut form = Form::parse(uri.query().unwrap_or_default());
    form.extend(Form::parse(&String::from_utf8_lossy(body)));
    let text = |key: &str| form.filled(key).unwrap_or_default();
    let found = |knows: &dyn Fn(&Entry) -> bool| candidates.iter().find(|entry| knows(entry)).cloned();
    let of_token = |token: &str| {
        found(&|entry| entry.org.oauth.has_refresh_token(token) || token.starts_with(&entry.org.organization().short()))
    };
    let path = uri.path();
    let (chosen, none) = match path {
        "/services/oauth2/token" if method == Method::POST => match text("grant_type") {
            "client_credentials" => return Err(("invalid_grant", "request not supported on this domain")),
            "authorization_code" => (
                found(&|entry| entry.org.oauth.has_code(text("code"))),
                ("invalid_grant", "invalid authorization code"),
            ),
            "refresh_token" => (of_token(text("refresh_token")), ("invalid_grant", "expired access/refresh token")),
            "urn:ietf:params:oauth:grant-type:jwt-bearer" => {
                let claims = claims(text("assertion")).unwrap_or_default();
                let claim = |name: &str| claims.get(name).and_then(|value| value.as_str()).unwrap_or_default();
                let (app, user) = (claim("iss"), claim("sub"));
                let both = found(&|entry| entry.org.oauth.app(app).is_some() && entry.org.has_user(user));
                (
                    both.or_else(|| found(&|entry| entry.org.has_user(user))),
                    ("invalid_grant", "user hasn't approved this consumer"),
                )
            }
            _ => (found(&|entry| entry.org.has_user(text("username"))), ("invalid_grant", "authentication failure")),
        },
        "/services/oauth2/revoke" | "/services/oauth2/introspect" => {
            (of_token(text("token")), ("invalid_token", "invalid token"))
        }
        _ if path.starts_with("/id/") => {
            let wanted = segments(path).into_iter().nth(1).and_then(|id| crate::ids::RecordId::parse(&id));
            (found(&|entry| Some(entry.org.organization()) == wanted), ("invalid_request", "Bad_Id"))
        }
        _ if is_soap(path) => {
            let caller = soap::caller(body);
            let by_session = caller.session.as_deref().and_then(&of_token);
            let by_user = || found(&|entry| entry.org.has_user(&caller.username));
            (by_session.or_else(by_user), ("invalid_grant", "authentication failure"))
        }
        _ if form.filled("source").is_some() => {
            // A person's answer to a page. He may belong to another org than the one the page began at.
            let source = text("source");
            let began = found(&|entry| entry.org.oauth.store().browsers.waits(source));
            let his = form.filled("username").and_then(|user| found(&|entry: &Entry| entry.org.has_user(user)));
            if let (Some(began), Some(his)) = (&began, &his)
                && !Arc::ptr_eq(&began.org, &his.org)
            {
                let page = began.org.oauth.store().browsers.take(source);
                if let Some(mut page) = page {
                    // Each org has a clock of its own.
                    let left = page.expires_at_ms.saturating_sub(began.org.clock.now_ms());
                    let now_ms = his.org.clock.now_ms();
                    page.expires_at_ms = now_ms.saturating_add(left);
                    his.org.oauth.store().browsers.put(source, page, now_ms);
                }
            }
            (his.or(began), ("invalid_request", "this page has expired"))
        }
        _ => {
            let by_bearer = bearer(headers).and_then(&of_token);
            let by_user = || form.filled("username").and_then(|user| found(&|entry: &Entry| entry.org.has_user(user)));
            let app = text("client_id");
            let by_app = || found(&|entry| entry.org.oauth.app(app).is_some());
            // Who is logged in meets his own org, if it has the app he came from.
            let by_browser = || {
                let browser = oauth::browser(headers)?;
                let his =
                    |entry: &Entry| entry.org.oauth.store().browsers.user(&browser, entry.org.clock.now_ms()).is_some();
                found(&|entry| (app.is_empty() || entry.org.oauth.app(app).is_some()) && his(entry))
            };
            let chosen = by_bearer.or_else(by_browser).or_else(by_user).or_else(by_app);
            (chosen, ("invalid_client_id", "client identifier invalid"))
        }
    };
    chosen.or_else(|| candidates.first().cloned()).ok_or(none)
}
