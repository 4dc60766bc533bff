//! The page for people at `/`: a shell from `page/`, and what it polls, `/_sim/view`.
//!
//! The page needs nothing from elsewhere and gets the org's text as JSON only, so nothing a shopper wrote is markup.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{json_response, text_response};
use crate::control::Control;
use crate::org::Org;
use crate::settings::Settings;

const HTML: &str = include_str!("../../page/index.html");
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Files the page asks for, by name.
const FILES: [(&str, &str, &str); 3] = [
    ("/page/page.js", "text/javascript; charset=UTF-8", include_str!("../../page/page.js")),
    ("/page/page.css", "text/css; charset=UTF-8", include_str!("../../page/page.css")),
    ("/page/icon.svg", "image/svg+xml", include_str!("../../page/icon.svg")),
];
const ROWS: usize = 100;
const AUDIT: usize = 50;

/// Text as HTML content or attribute value.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

/// The part of `/_sim` that serves the page.
pub(crate) fn router() -> Router<Arc<Org>> {
    FILES.into_iter().fold(Router::new().route("/view", get(view)), |router, (path, content_type, text)| {
        router.route(path, get(move || async move { text_response(200, content_type, text.to_owned()) }))
    })
}

pub(crate) async fn show() -> Response {
    let mut response = text_response(200, "text/html; charset=UTF-8", HTML.to_owned());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(HeaderName::from_static("x-frame-options"), HeaderValue::from_static("DENY"));
    response
}

#[derive(Deserialize)]
struct Wanted {
    /// The object whose newest rows are wanted.
    object: Option<String>,
}

/// Everything the page shows, newest first, in one answer of bounded size.
async fn view(State(org): State<Arc<Org>>, Query(wanted): Query<Wanted>) -> Response {
    let control = Control::new(Arc::clone(&org));
    let object = wanted.object.unwrap_or_else(|| "Account".to_owned());
    let Some((total, rows)) = control.newest(&object, ROWS) else {
        return json_response(StatusCode::NOT_FOUND, &json!({ "error": format!("no object {object}") }));
    };
    let setup = ["Organization", "User", "RecordType"];
    let objects: Vec<Value> = control
        .stored_objects()
        .into_iter()
        .map(|(name, count)| json!({ "setup": setup.contains(&name.as_str()), "name": name, "count": count }))
        .collect();
    let (events_total, events) = control.newest_events(ROWS);
    let (requests_total, requests) = control.newest_requests(ROWS);
    json_response(
        StatusCode::OK,
        &json!({
            "org": {
                "name": org.name(),
                "organization_id": org.organization().to_string(),
                "sandbox": org.sandbox(),
                "base_url": org.settings().instance_url.clone().unwrap_or_else(|| org.own_url().to_owned()),
            },
            "now": org.clock.now_text(),
            "usage": control.usage(),
            "live_sessions": control.live_sessions(),
            "objects": objects,
            "records": { "object": object, "total": total, "rows": rows },
            "events": { "total": events_total, "rows": events },
            "requests": { "total": requests_total, "rows": requests },
            "faults": control.faults(),
            "rules": control.duplicate_rules(),
            "settings": changed(&control.settings()),
            "audit": control.oauth_audit().into_iter().rev().take(AUDIT).collect::<Vec<_>>(),
        }),
    )
}

/// Settings that are not at their default.
fn changed(settings: &Settings) -> Vec<Value> {
    let now = serde_json::to_value(settings).unwrap_or_default();
    let default = serde_json::to_value(Settings::default()).unwrap_or_default();
    now.as_object()
        .into_iter()
        .flatten()
        .filter(|(key, value)| default.get(key.as_str()) != Some(*value))
        .map(|(key, value)| json!({ "key": key, "value": value, "default": default.get(key.as_str()) }))
        .collect()
}
