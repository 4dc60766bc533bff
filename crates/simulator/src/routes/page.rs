//! The page at `/`: records, events, API usage and the request log for a person.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::text_response;
use crate::control::Control;
use crate::form::encode;
use crate::org::Org;

const STYLE: &str = include_str!("page.css");
const ROWS: usize = 50;

#[derive(Deserialize)]
pub(crate) struct View {
    object: Option<String>,
}

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

pub(crate) async fn show(State(org): State<Arc<Org>>, Query(view): Query<View>) -> Response {
    let control = Control::new(org);
    let mut html = String::with_capacity(64 * 1024);
    let usage = control.usage();
    let share = usage.api_calls.saturating_mul(100).checked_div(usage.api_limit).unwrap_or(100).min(100);
    let chosen = view.object.unwrap_or_else(|| "Account".to_owned());
    let (events_total, events) = control.newest_events(ROWS);
    let (requests_total, requests) = control.newest_requests(ROWS);
    // Writing to a String cannot fail, so the results carry nothing.
    let _ = write!(
        html,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><meta http-equiv=\"refresh\" content=\"5\"><title>Simulated org</title>\
         <style>{STYLE}</style></head><body><header><h1>Simulated Salesforce org</h1>\
         <p>Nothing here is real: rows live in memory until this program ends. The page renews itself every five \
         seconds. The control plane is described at <a href=\"/_sim/openapi.json\">/_sim/openapi.json</a>.</p></header>\
         <section class=\"figures\">\
         <div><b>{}</b><span>of {} API calls in 24 hours</span><meter min=\"0\" max=\"100\" value=\"{share}\"></meter></div>\
         <div><b>{events_total}</b><span>events on the bus</span></div>\
         <div><b>{}</b><span>live sessions</span></div>\
         <div><b>{}</b><span>requests running</span></div>\
         <div><b>{}</b><span>faults armed</span></div></section>",
        usage.api_calls,
        usage.api_limit,
        control.live_sessions(),
        usage.running,
        control.faults().iter().filter(|armed| armed.fault.times.is_none_or(|times| armed.applied < times)).count(),
    );
    html.push_str("<section><h2>Records</h2><nav>");
    for object in control.stored_objects() {
        let current = if object.eq_ignore_ascii_case(&chosen) { " aria-current=\"page\"" } else { "" };
        let _ = write!(html, "<a href=\"/?object={}\"{current}>{}</a>", encode(&object), escape(&object));
    }
    html.push_str("</nav>");
    match control.newest(&chosen, ROWS) {
        Some((0, _)) => {
            let _ = write!(html, "<p class=\"empty\">No {} rows yet.</p>", escape(&chosen));
        }
        Some((total, records)) => {
            let _ = write!(html, "<p>{total} rows, newest first{}.</p>", shortened(total));
            record_table(&mut html, &records);
        }
        None => {
            let _ = write!(html, "<p class=\"empty\">The org has no object {}.</p>", escape(&chosen));
        }
    }
    let _ = write!(html, "</section><section><h2>Events</h2>");
    if events.is_empty() {
        html.push_str("<p class=\"empty\">No events yet.</p>");
    } else {
        let _ = write!(
            html,
            "<p>{events_total} events, newest first{}.</p><div class=\"wide\"><table><thead><tr><th>Replay id<th>At<th>Event\
             <th>UUID<th>Payload</tr></thead><tbody>",
            shortened(events_total)
        );
        for event in &events {
            let payload = serde_json::to_string_pretty(&decoded(&event.payload)).unwrap_or_default();
            let _ = write!(
                html,
                "<tr><td>{}<td>{}<td>{}<td><code>{}</code><td><details><summary>{} fields</summary><pre>{}</pre></details></tr>",
                event.replay_id,
                escape(&event.published_at),
                escape(&event.object),
                escape(&event.event_uuid),
                event.payload.len(),
                escape(&payload),
            );
        }
        html.push_str("</tbody></table></div>");
    }
    html.push_str("</section><section><h2>Requests</h2>");
    if requests.is_empty() {
        html.push_str("<p class=\"empty\">No requests yet.</p>");
    } else {
        let _ = write!(
            html,
            "<p>{requests_total} in the log, newest first{}.</p><div class=\"wide\"><table><thead><tr><th>No.<th>At<th>Request\
             <th>Status<th>ms<th>Graphs<th>Nodes<th>Fault</tr></thead><tbody>",
            shortened(requests_total)
        );
        for request in &requests {
            let status = if request.status == 0 { "dropped".to_owned() } else { request.status.to_string() };
            let bad = if request.status == 0 || request.status >= 400 { " class=\"bad\"" } else { "" };
            let _ = write!(
                html,
                "<tr><td>{}<td>{}<td><code>{} {}</code><td{bad}>{status}<td>{}<td>{}<td>{}<td>{}</tr>",
                request.number,
                escape(&request.at),
                escape(&request.method),
                escape(&request.path),
                request.duration_ms,
                request.graphs,
                request.nodes,
                escape(request.fault.as_deref().unwrap_or_default()),
            );
        }
        html.push_str("</tbody></table></div>");
    }
    html.push_str("</section></body></html>");
    text_response(200, "text/html; charset=UTF-8", html)
}

fn shortened(total: usize) -> String {
    if total > ROWS { format!("; the first {ROWS} are shown") } else { String::new() }
}

/// Columns that any of the rows fills, system columns last.
fn record_table(html: &mut String, records: &[Map<String, Value>]) {
    let mut columns: Vec<&str> = Vec::new();
    for name in records.iter().flat_map(Map::keys) {
        if !columns.contains(&name.as_str()) {
            columns.push(name);
        }
    }
    let system = [
        "IsDeleted",
        "CreatedDate",
        "CreatedById",
        "LastModifiedDate",
        "LastModifiedById",
        "SystemModstamp",
        "OwnerId",
    ];
    columns.sort_by_key(|name| system.contains(name));
    html.push_str("<div class=\"wide\"><table><thead><tr>");
    for column in &columns {
        let _ = write!(html, "<th>{}", escape(column));
    }
    html.push_str("</tr></thead><tbody>");
    for record in records {
        html.push_str("<tr>");
        for column in &columns {
            let text = match record.get(*column) {
                Some(Value::String(text)) => text.clone(),
                Some(value) => value.to_string(),
                None => String::new(),
            };
            let _ = write!(html, "<td>{}", escape(&text));
        }
        html.push_str("</tr>");
    }
    html.push_str("</tbody></table></div>");
}

/// The payload with JSON text inside it unfolded, so that a person can read the order.
fn decoded(payload: &Map<String, Value>) -> Map<String, Value> {
    let unfold = |value: &Value| {
        let text = value.as_str().filter(|text| text.starts_with('{'));
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_else(|| value.clone())
    };
    payload.iter().map(|(key, value)| (key.clone(), unfold(value))).collect()
}
