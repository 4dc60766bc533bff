//! `/services/data`: sign-in, version, counting, and the way to each resource.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::{
    Incoming, Size, batch, bulk, collections, composite, conditional, graph, headers, json_response, limit_info, query,
    rows, sobjects, text_response, tree, ui,
};
use crate::api_error::ApiError;
use crate::call::{Call, DuplicateOptions};
use crate::form::{Form, segments};
use crate::localised;
use crate::org::Org;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The first version REST had; versions before [`OLDEST`] are retired.
const FIRST: u32 = 20;
const OLDEST: u32 = 31;
const NEWEST: u32 = 67;

/// One request below a version: the outer one, or a part of a composite.
#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) method: String,
    /// Decoded segments below the version.
    pub(crate) segments: Vec<String>,
    pub(crate) query: Form,
    pub(crate) body: Option<Value>,
}

impl Resource {
    /// The body as an object, as every write needs it.
    pub(crate) fn object(&self) -> Result<&Map<String, Value>, ApiError> {
        match &self.body {
            Some(Value::Object(object)) => Ok(object),
            None => Err(ApiError::json("The HTTP entity body is required, but this request has no entity body.")),
            Some(_) => Err(ApiError::json("The HTTP entity body must be a JSON object at [line:1, column:1]")),
        }
    }
}

/// Version and rest of `/services/data/v62.0/…`.
pub(crate) fn split_path(path: &str) -> Option<(String, Vec<String>)> {
    let mut parts = segments(path.strip_prefix("/services/data/")?).into_iter();
    let version = parts.next()?.strip_prefix('v')?.to_owned();
    let (major, minor) = version.split_once('.')?;
    let valid = major.len() <= 3 && minor == "0" && major.parse::<u32>().is_ok();
    valid.then(|| (version, parts.collect()))
}

pub(crate) async fn handle(org: &Arc<Org>, incoming: Incoming, size: &mut Size) -> Response {
    let path = incoming.uri.path().to_owned();
    if matches!(path.as_str(), "/services/data" | "/services/data/") {
        return json_response(StatusCode::OK, &versions());
    }
    let settings = org.settings();
    let writer = match super::oauth::session::sign_in(org, &incoming, &settings) {
        Ok(writer) => writer,
        Err(response) => return response,
    };
    let (used, counted) = org.usage().count(org.clock.now_ms(), 1, settings.api_limit);
    let reply = if !counted {
        ApiError::new(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.").into()
    } else if incoming.arrival.long_running >= settings.long_running_limit {
        let message = "ConcurrentRequests (Concurrent API Requests) Limit exceeded.";
        ApiError::new(403, "REQUEST_LIMIT_EXCEEDED", message).into()
    } else {
        let latency = settings.latency_ms.saturating_add(org.jitter(settings.latency_jitter_ms));
        size.latency_ms = latency;
        org.clock.sleep(Duration::from_millis(latency)).await;
        let call = Call {
            version: String::new(),
            path,
            duplicates: header_text(&incoming.headers, "sforce-duplicate-rule-header")
                .map(DuplicateOptions::parse)
                .unwrap_or_default(),
            batch_size: header_text(&incoming.headers, "sforce-query-options").map_or(2_000, batch_size),
            in_graph: false,
            settings: Arc::clone(&settings),
            user: writer,
            epoch: incoming.arrival.epoch,
        };
        route(org, &incoming, call, size).await
    };
    // A batch counts more than the request itself.
    let used =
        if incoming.uri.path().ends_with("/composite/batch") { org.usage().last_day(org.clock.now_ms()) } else { used };
    respond(localised::reply(reply, settings.language), used, settings.api_limit)
}

/// The answer of a call whose time is over. Whether the call was `counted` depends on how far it got.
///
/// Source: Salesforce Developer Limits Quick Reference, "API Request Limits and Allocations" ("API Timeout Limits"):
/// `QUERY_TIMEOUT` over REST, where SOAP has `REQUEST_RUNNING_TOO_LONG`. Status and text are those recorded of queries.
pub(crate) fn timed_out(org: &Org, counted: bool) -> Response {
    let (settings, now) = (org.settings(), org.clock.now_ms());
    let used = if counted { org.usage().last_day(now) } else { org.usage().count(now, 1, settings.api_limit).0 };
    let error = ApiError::bad_request("QUERY_TIMEOUT", "Your query request was running for too long.");
    respond(localised::reply(error.into(), settings.language), used, settings.api_limit)
}

fn respond(reply: Reply, used: u64, limit: u64) -> Response {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = if let Some(body) = &reply.body {
        json_response(status, body)
    } else if let Some(csv) = reply.csv {
        text_response(reply.status, "text/csv", csv)
    } else {
        let mut response = Response::new(axum::body::Body::empty());
        *response.status_mut() = status;
        response
    };
    if let Some(location) = reply.location.and_then(|location| HeaderValue::from_str(&location).ok()) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    for (name, value) in reply.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    limit_info(&mut response, used, limit);
    response
}

/// The refusal of a version the org does not speak (REST API Developer Guide, "API End-of-Life Policy").
pub(crate) fn version_refusal(call: &Call) -> Option<ApiError> {
    match call.major() {
        FIRST..OLDEST => Some(ApiError::new(410, "GONE", "The requested API version is retired")),
        OLDEST..=NEWEST => None,
        _ => Some(ApiError::not_found()),
    }
}

async fn route(org: &Arc<Org>, incoming: &Incoming, mut call: Call, size: &mut Size) -> Reply {
    if let Some(refusal) = headers::refusal(incoming) {
        return refusal.into();
    }
    let Some((version, mut segments)) = split_path(incoming.uri.path()) else { return ApiError::not_found().into() };
    call.version = version;
    if let Some(refusal) = version_refusal(&call) {
        return refusal.into();
    }
    // A path may name the format it asks for; an external id that ends like that keeps its end.
    if segments.len() <= 3
        && let Some(last) = segments.last_mut()
        && let Some(bare) = last.strip_suffix(".json")
    {
        *last = bare.to_owned();
    }
    let query = Form::parse(incoming.uri.query().unwrap_or_default());
    let method = match query.get("_HttpMethod").filter(|_| incoming.method == "POST") {
        Some(method) => method.to_ascii_uppercase(),
        None if incoming.method == "HEAD" => "GET".to_owned(),
        None => incoming.method.to_string(),
    };
    if let [jobs, ingest, ..] = segments.as_slice()
        && (jobs.as_str(), ingest.as_str()) == ("jobs", "ingest")
    {
        return bulk::handle(org, incoming, &method, &segments, &query, &call).await.into();
    }
    let body = if incoming.body.is_empty() || method == "GET" {
        None
    } else {
        match serde_json::from_slice(&incoming.body) {
            Ok(body) => Some(body),
            Err(error) => {
                let message = format!(
                    "Unexpected character or end of input at [line:{}, column:{}]",
                    error.line(),
                    error.column()
                );
                return ApiError::json(message).into();
            }
        }
    };
    let mut resource = Resource { method, segments, query, body };
    let version = conditional::concerns(&resource.method, &incoming.headers)
        .then(|| conditional::version(org, &resource, &incoming.headers, None, &call))
        .flatten();
    if let Some(reply) = version.as_ref().and_then(|version| version.decides(&resource.method, &incoming.headers)) {
        return reply;
    }
    let parts: Vec<&str> = resource.segments.iter().map(String::as_str).collect();
    match parts.as_slice() {
        [] => only(&resource, &["GET"], || Reply::json(200, resources(org, &call))),
        ["limits"] => only(&resource, &["GET"], || Reply::json(200, limits(org, &call))),
        ["composite"] if resource.method == "GET" => Reply::json(200, composite_resources(&call)),
        ["jobs"] => only(&resource, &["GET"], || {
            let ingest = format!("/services/data/v{}/jobs/ingest", call.version);
            Reply::json(200, json!({ "ingest": ingest }))
        }),
        ["composite"] => composite::handle(org, resource, call, size).await,
        ["composite", "graph"] => {
            let body = resource.body.take();
            graph::handle(org, &resource, body, call, size).await
        }
        ["composite", "sobjects", ..] => collections::run(org, &resource, &call, size).await,
        ["composite", "tree", _] => tree::run(org, resource, &call, size).await,
        ["composite", "batch"] => batch::run(org, resource, &call, size).await,
        ["ui-api", ..] => ui::handle(org, &resource, &call).into(),
        ["query" | "queryAll", ..] => queried(org, &resource, &call, size).await,
        ["sobjects", ..] => {
            let reply = alone(org, &resource, &call, size).await.unwrap_or_else(|| ApiError::not_found().into());
            match version {
                Some(version) if reply.status == 200 && resource.method == "GET" => version.attach(reply),
                Some(_) | None => reply,
            }
        }
        _ => ApiError::not_found().into(),
    }
}

/// A resource that stands for itself, in a transaction of its own; `None` for any other.
pub(crate) async fn alone(org: &Arc<Org>, resource: &Resource, call: &Call, size: &mut Size) -> Option<Reply> {
    let parts: Vec<&str> = resource.segments.iter().map(String::as_str).collect();
    Some(match parts.as_slice() {
        ["limits"] => only(resource, &["GET"], || Reply::json(200, limits(org, call))),
        ["query" | "queryAll", ..] => queried(org, resource, call, size).await,
        ["sobjects", ..] => {
            size.nodes = 1;
            if !matches!(parts.get(2), Some(&("describe" | "deleted" | "updated"))) {
                size.rows = rows::of_address(org, &parts[1..].join("/"), resource.body.as_ref(), &call.settings);
            }
            let mut transaction = Transaction::begin(org);
            let reply = sobjects::handle(org, &mut transaction, resource, call).await;
            if reply.is_success() {
                transaction.commit(call).await;
            } else {
                transaction.rollback(call).await;
            }
            reply
        }
        _ => return None,
    })
}

async fn queried(org: &Arc<Org>, resource: &Resource, call: &Call, size: &mut Size) -> Reply {
    size.asked = rows::of_statement(resource.query.filled("q").unwrap_or_default());
    query::handle(org, None, resource, call).await.into()
}

fn only(resource: &Resource, methods: &[&str], reply: impl FnOnce() -> Reply) -> Reply {
    if methods.contains(&resource.method.as_str()) {
        reply()
    } else {
        ApiError::method_not_allowed(&resource.method, &methods.join(",")).into()
    }
}

pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = header_text(headers, "authorization")?;
    let (scheme, token) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("oauth")).then(|| token.trim())
}

pub(crate) fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// `batchSize=500` of `Sforce-Query-Options`, held to 200–2,000.
pub(crate) fn batch_size(header: &str) -> usize {
    header
        .split([';', ','])
        .filter_map(|part| part.split_once('='))
        .find(|(key, _)| key.trim().eq_ignore_ascii_case("batchSize"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok())
        .map_or(2_000, |size| size.clamp(200, 2_000))
}

fn versions() -> Value {
    (OLDEST..=NEWEST)
        .map(|version| {
            // Release 52 is Summer '21, and three follow each year.
            let (season, year) = match version % 3 {
                0 => ("Spring", (version + 12) / 3),
                1 => ("Summer", (version + 11) / 3),
                _ => ("Winter", (version + 13) / 3),
            };
            let url = format!("/services/data/v{version}.0");
            json!({ "label": format!("{season} '{year:02}"), "url": url, "version": format!("{version}.0") })
        })
        .collect()
}

/// What of the guide's list the org serves (REST API Developer Guide, "List Available REST Resources"). `ui-api`, which
/// has a guide of its own, is in no such list, recorded ones included.
fn resources(org: &Org, call: &Call) -> Value {
    let all = ["queryAll", "composite", "limits", "query", "jobs", "sobjects"];
    let entries =
        all.iter().map(|name| ((*name).to_owned(), json!(format!("/services/data/v{}/{name}", call.version))));
    let identity = ("identity".to_owned(), json!(super::oauth::identity_url(org, call.user)));
    Value::Object(entries.chain([identity]).collect())
}

fn composite_resources(call: &Call) -> Value {
    let entries = ["tree", "batch", "sobjects", "graph"]
        .map(|name| (name.to_owned(), json!(format!("/services/data/v{}/composite/{name}", call.version))));
    Value::Object(entries.into_iter().collect())
}

/// Data storage in use: two kilobytes a row, whatever it holds, and nothing for what is in the recycle bin, for events
/// and for rows of the org itself (Help, "Data and File Storage Allocations").
fn stored_mb(org: &Org) -> u64 {
    let state = org.state();
    let counted = org.schema.objects.iter().zip(&state.tables).filter(|(object, _)| !object.event && !object.read_only);
    let rows: usize = counted.map(|(_, table)| table.live).sum();
    u64::try_from(rows.saturating_mul(2) / 1_024).unwrap_or(u64::MAX)
}

fn limits(org: &Org, call: &Call) -> Value {
    let now = org.clock.now_ms();
    let used = org.usage().last_day(now);
    let (events, delivered) = {
        let mut bus = org.bus();
        (bus.published_last_hour(now), bus.delivered_last_day(now))
    };
    let batches = org.bulk().batches_last_day(now);
    let left = |max: u64, used: u64| json!({ "Max": max, "Remaining": max.saturating_sub(used) });
    let settings = &call.settings;
    json!({
        "DailyApiRequests": left(settings.api_limit, used),
        "DailyBulkApiBatches": left(settings.bulk_batch_limit, batches),
        "DailyBulkV2QueryJobs": left(10_000, 0),
        "DataStorageMB": left(1_073, stored_mb(org)),
        "FileStorageMB": left(1_073, 0),
        "HourlyPublishedPlatformEvents": left(settings.event_hourly_limit, events),
        "HourlyPublishedStandardVolumePlatformEvents": left(1_000, 0),
        "DailyDeliveredPlatformEvents": left(settings.event_daily_delivery_limit, delivered),
        "DailyStandardVolumePlatformEvents": left(25_000, 0),
        "MonthlyPlatformEventsUsageEntitlement": left(0, 0),
        "PublishCallbackUsageInApex": left(5_242_880, 0),
        "SingleEmail": left(5_000, 0),
    })
}
