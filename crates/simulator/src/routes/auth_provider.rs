//! `/services/auth` and `/services/authcallback`: a person is sent to an Auth. Provider and comes back.
//!
//! Source: Help, "Use Request Parameters with an Authentication Provider"; error page recorded.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;

use super::Incoming;
use super::oauth::{page, pages};
use crate::auth_providers::Purpose;
use crate::form::{Form, encode, segments};
use crate::org::Org;

const ERROR_PAGE: &str = "/_nc_external/identity/sso/ui/AuthorizationError";

pub(crate) fn serves(path: &str) -> bool {
    path.starts_with("/services/auth/") || path.starts_with("/services/authcallback/") || path == ERROR_PAGE
}

pub(crate) async fn handle(org: &Arc<Org>, incoming: &Incoming) -> Response {
    let query = Form::parse(incoming.uri.query().unwrap_or_default());
    if incoming.method != "GET" {
        return page(405, pages::notice("Method not allowed", "Open this address in a browser."));
    }
    let parts = segments(incoming.uri.path());
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["services", "auth", kind, suffix] => kick_off(org, kind, suffix),
        // Older callbacks name the org in front of the suffix.
        ["services", "authcallback", suffix] | ["services", "authcallback", _, suffix] => {
            callback(org, suffix, &query).await
        }
        ["_nc_external", ..] => {
            let text = |key: &str| query.get(key).unwrap_or_default();
            let content =
                format!("{}: {} (provider {})", text("ErrorCode"), text("ErrorDescription"), text("ProviderId"));
            page(200, pages::notice("We can't log you in", &content))
        }
        _ => page(404, pages::notice("Not found", "There is no such page.")),
    }
}

fn redirect(location: &str) -> Response {
    let mut response = Response::new(Body::empty());
    match HeaderValue::from_str(location) {
        Ok(location) => {
            *response.status_mut() = StatusCode::FOUND;
            response.headers_mut().insert(header::LOCATION, location);
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache,no-store"));
        }
        Err(_) => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    response
}

fn failed(org: &Org, code: &str, description: &str, provider: &str) -> Response {
    let plus = |text: &str| encode(text).replace("%20", "+");
    redirect(&format!(
        "{}{ERROR_PAGE}?ErrorCode={code}&ErrorDescription={}&ProviderId={}",
        org.base_url(),
        plus(description),
        plus(provider)
    ))
}

fn kick_off(org: &Org, kind: &str, suffix: &str) -> Response {
    let purpose = match kind {
        "oauth" => Purpose::Oauth,
        "sso" | "link" => Purpose::Sso,
        "test" => Purpose::Test,
        _ => return page(404, pages::notice("Not found", "There is no such page.")),
    };
    let Some((provider, _)) = org.auth_providers.find(suffix) else {
        return page(404, pages::notice("Not found", "There is no such auth provider."));
    };
    redirect(&org.auth_providers.kick_off(&provider, purpose, &org.base_url(), org.clock.now_ms()))
}

async fn callback(org: &Arc<Org>, suffix: &str, query: &Form) -> Response {
    let Some((provider, id)) = org.auth_providers.find(suffix) else {
        return page(404, pages::notice("Not found", "There is no such auth provider."));
    };
    let state = query.get("state").unwrap_or_default();
    let Some(waiting) = org.auth_providers.came_back(state, suffix, org.clock.now_ms()) else {
        return failed(org, "No_Oauth_State", "State was not valid", &id);
    };
    if let Some(error) = query.filled("error") {
        let description = format!("{error}: {}", query.get("error_description").unwrap_or_default());
        return failed(org, "Remote_Error", &description, &id);
    }
    let Some(code) = query.filled("code") else {
        return failed(org, "No_Oauth_Token", "No code was given", &id);
    };
    match org.auth_providers.exchange(&provider, &waiting, code, org.clock.now_text()).await {
        Ok(None) => {
            let text = "The org keeps the tokens and calls out with them. You can close this page.";
            page(200, pages::notice("Authenticated", text))
        }
        Ok(Some(claims)) => {
            let known = ["sub", "preferred_username", "email", "name"];
            let lines: Vec<String> =
                known.iter().filter_map(|key| Some(format!("{key}: {}", claims.get(*key)?.as_str()?))).collect();
            page(200, pages::notice("Logged in at the provider", &lines.join(", ")))
        }
        Err(failure) => failed(org, failure.code, &failure.description, &id),
    }
}
