//! From HTTP to the org and back: sign-in, counting, faults, latency, and the headers every answer carries.

pub(crate) mod auth_provider;
pub(crate) mod batch;
pub(crate) mod bulk;
pub(crate) mod collections;
pub(crate) mod composite;
pub(crate) mod conditional;
pub(crate) mod control;
pub(crate) mod data;
pub(crate) mod describe;
pub(crate) mod graph;
pub(crate) mod headers;
pub(crate) mod oauth;
pub(crate) mod page;
pub(crate) mod query;
pub(crate) mod replication;
mod rows;
pub(crate) mod soap;
pub(crate) mod sobjects;
pub(crate) mod tree;
pub(crate) mod ui;

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::Response;
use axum::routing::{any, get};
use axum::{Extension, Router};
use tower_http::compression::CompressionLayer;

use crate::api_error::ApiError;
use crate::clock::Moment;
use crate::connection::Cut;
use crate::faults::armed::Trouble;
use crate::faults::{FaultKind, refusals};
use crate::limits::sizes;
use crate::org::Org;
use crate::orgs::Reached;
use crate::pubsub;
use crate::request_log::LoggedRequest;

/// Data of a bulk job ("Bulk API and Bulk API 2.0 Limits and Allocations").
const BULK_LIMIT: usize = 150 * 1024 * 1024;

/// Salesforce ends calls that run for ten minutes (Salesforce Developer Limits Quick Reference, "API Request Limits and
/// Allocations", "API Timeout Limits").
const LONGEST_CALL: Duration = Duration::from_mins(10);

/// Query calls have the time of a SOQL query (same page; Apex Developer Guide, "Execution Governors and Limits").
const LONGEST_QUERY: Duration = Duration::from_mins(2);

/// How long a call to this path may run; nothing for what is no call of the data API.
fn longest(path: &str) -> Option<Duration> {
    let (_, resource) = path.strip_prefix("/services/data/")?.split_once('/')?;
    let query = matches!(resource.split('/').next(), Some("query" | "queryAll"));
    Some(if query { LONGEST_QUERY } else { LONGEST_CALL })
}

/// One HTTP request with its body read.
pub(crate) struct Incoming {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The caller's address.
    pub(crate) peer: std::net::IpAddr,
    pub(crate) arrival: Arrival,
}

/// What the org was when a request came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) epoch: u64,
    /// How many requests had been running for long.
    pub(crate) long_running: usize,
}

/// What a request held, for the log.
#[derive(Debug, Default, Clone)]
pub(crate) struct Size {
    pub(crate) graphs: usize,
    pub(crate) nodes: usize,
    pub(crate) describes: usize,
    /// Milliseconds that the latency model drew for it, rows apart.
    pub(crate) latency_ms: u64,
    /// The rows that it names.
    pub(crate) rows: Vec<String>,
    /// The texts in quotes of its statement.
    pub(crate) asked: Vec<String>,
}

/// Everything one org answers.
pub(crate) fn router(org: Arc<Org>) -> Router {
    Router::new()
        .route("/", get(page::show))
        .nest("/_sim", control::router().merge(page::router()))
        .route(pubsub::PATH, any(pubsub::serve))
        .fallback(front)
        .layer(CompressionLayer::new())
        .with_state(org)
}

/// Takes a request of the org's own API.
///
/// The work runs in a task of its own: a caller that hangs up does not stop a request the org has begun.
async fn front(
    State(org): State<Arc<Org>>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    Extension(reached): Extension<Arc<Reached>>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    if let Some(error) = sizes::head_too_large(&parts.uri, &parts.headers) {
        return refused(&error);
    }
    let bulk = parts.uri.path().contains("/jobs/ingest");
    let body = match to_bytes(body, if bulk { BULK_LIMIT } else { sizes::BODY }).await {
        Ok(body) => body,
        Err(_) if bulk => return refused(&crate::bulk::too_large(org.settings().bulk_upload_max_bytes)),
        Err(error) => return refused(&sizes::unread_body(&error)),
    };
    let running = Running::start(&org);
    let arrival = running.arrival;
    let incoming =
        Incoming { method: parts.method, uri: parts.uri, headers: parts.headers, body, peer: cut.peer(), arrival };
    match tokio::spawn(reached.scope(answer(org, incoming, cut, running))).await {
        Ok(response) => response,
        Err(error) => {
            tracing::error!(%error, "a request ended in a panic");
            let mut response = Response::new(Body::from("the simulator has a bug; see its log"));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    }
}

fn refused(error: &ApiError) -> Response {
    json_response(StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST), &error.body())
}

/// A request being worked on; it counts as running until this goes.
struct Running {
    org: Arc<Org>,
    number: u64,
    started: Moment,
    arrival: Arrival,
}

impl Running {
    fn start(org: &Arc<Org>) -> Self {
        let started = org.clock.now();
        let after = Duration::from_millis(org.settings().long_running_ms);
        let mut usage = org.usage();
        let arrival = Arrival { epoch: org.epoch(), long_running: usage.long_running(started, after) };
        let number = usage.started(started);
        drop(usage);
        Self { org: Arc::clone(org), number, started, arrival }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut usage = self.org.usage();
        // A reset forgets who runs and gives the numbers out anew.
        if self.org.epoch() == self.arrival.epoch {
            usage.ended(self.number);
        }
    }
}

async fn answer(org: Arc<Org>, incoming: Incoming, cut: Cut, running: Running) -> Response {
    let Running { started, arrival, .. } = running;
    let at = crate::clock::datetime_text(started.ms());
    let path = incoming.uri.path().to_owned();
    let method = incoming.method.to_string();
    let traceparent = incoming.headers.get("traceparent").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let known = headers::knows_browser(&incoming.headers);
    let trouble = org.faults.request(&method, &path, &incoming.body);
    let mut size = Size::default();
    let mut response = match &trouble {
        None => work(&org, incoming, started, &mut size).await,
        Some(trouble) => troubled(&org, incoming, trouble, &cut, started, &mut size).await,
    };
    headers::dress(&mut response, known, org.secure(), running.number, org.clock.now_ms());
    drop(running);
    let fault = trouble.map(|trouble| trouble.kind);
    let dropped = matches!(fault, Some(FaultKind::DropBefore | FaultKind::CommitThenDrop));
    let entry = LoggedRequest {
        number: 0,
        at,
        method,
        path,
        status: if dropped { 0 } else { response.status().as_u16() },
        duration_ms: u64::try_from(org.clock.now().since(started).as_millis()).unwrap_or(u64::MAX),
        graphs: size.graphs,
        nodes: size.nodes,
        describes: size.describes,
        latency_ms: size.latency_ms,
        rows: size.rows,
        asked: size.asked,
        fault: fault.map(|fault| fault.name().to_owned()),
        traceparent,
        from: cut.peer(),
    };
    let mut log = org.log();
    if org.epoch() == arrival.epoch {
        log.push(entry);
    }
    drop(log);
    response
}

/// Answers a request on which a fault went off.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "each kind acts at one of the three stations, and passes the others"
)]
async fn troubled(
    org: &Arc<Org>,
    incoming: Incoming,
    trouble: &Trouble,
    cut: &Cut,
    started: Moment,
    size: &mut Size,
) -> Response {
    let path = incoming.uri.path();
    let longest = longest(path);
    if let Some(mut response) = refusals::request(&trouble.kind, path) {
        if path.starts_with("/services/data/v") && refusals::counts(response.status()) {
            let limit = org.settings().api_limit;
            let (used, _) = org.usage().count(org.clock.now_ms(), 1, limit);
            limit_info(&mut response, used, limit);
        }
        return response;
    }
    match &trouble.kind {
        FaultKind::DropBefore => {
            cut.now();
            return Response::new(Body::empty());
        }
        FaultKind::Slow { ms } => {
            let wait = Duration::from_millis(*ms);
            let ends = longest.filter(|longest| wait >= *longest);
            org.clock.sleep(ends.unwrap_or(wait)).await;
            if ends.is_some() {
                return data::timed_out(org, false);
            }
        }
        FaultKind::Hold if !hold(org, trouble, longest).await && longest.is_some() => {
            return data::timed_out(org, false);
        }
        _ => {}
    }
    let response = work(org, incoming, started, size).await;
    match &trouble.kind {
        FaultKind::CommitThenDrop => {
            cut.now();
            response
        }
        FaultKind::CommitThen503 => text_response(503, "text/html; charset=UTF-8", refusals::MAINTENANCE.to_owned()),
        FaultKind::TruncatedBody => truncated(response).await,
        FaultKind::HoldAnswer => {
            let let_go = hold(org, trouble, longest).await;
            if let_go || longest.is_none() { response } else { data::timed_out(org, true) }
        }
        FaultKind::GzipBody => {
            let (mut parts, body) = response.into_parts();
            let whole = to_bytes(body, sizes::BODY).await.unwrap_or_default();
            let body = refusals::gzip(&mut parts, &whole);
            Response::from_parts(parts, body)
        }
        _ => response,
    }
}

/// Waits until the fault lets go, at most `longest` or ten minutes; false when it did not let go in that time.
pub(crate) async fn hold(org: &Org, trouble: &Trouble, longest: Option<Duration>) -> bool {
    let end = org.clock.now().plus(longest.unwrap_or(LONGEST_CALL));
    let _held = org.faults.hold(trouble);
    org.clock.before(end, trouble.let_go.cancelled()).await.is_some()
}

/// Carries a request out. A call of the data API is dropped when its time is over: what it has not committed by then is
/// rolled back, what it has committed stays.
async fn work(org: &Arc<Org>, incoming: Incoming, started: Moment, size: &mut Size) -> Response {
    let path = incoming.uri.path();
    if oauth::serves(path) {
        return oauth::handle(org, &incoming);
    }
    if auth_provider::serves(path) {
        return auth_provider::handle(org, &incoming).await;
    }
    if path.starts_with("/services/Soap/") {
        return soap::handle(org, &incoming);
    }
    let longest = longest(path);
    let answer = data::handle(org, incoming, size);
    match longest {
        None => answer.await,
        Some(longest) => match org.clock.within(started.plus(longest), answer).await {
            Some(answer) => answer,
            None => data::timed_out(org, true),
        },
    }
}

/// The first half of a body, then the end of the connection.
async fn truncated(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let whole = to_bytes(body, sizes::BODY).await.unwrap_or_default();
    let half = whole.slice(..whole.len() / 2);
    parts.headers.remove(header::CONTENT_LENGTH);
    // The compression layer leaves marked bodies alone, so the break arrives as it was made.
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("identity"));
    let pieces = [Ok(half), Err(std::io::Error::from(std::io::ErrorKind::ConnectionAborted))];
    Response::from_parts(parts, Body::from_stream(futures::stream::iter(pieces)))
}

/// `Sforce-Limit-Info`, on everything the data API counts.
pub(crate) fn limit_info(response: &mut Response, used: u64, limit: u64) {
    if let Ok(value) = HeaderValue::from_str(&format!("api-usage={used}/{limit}")) {
        response.headers_mut().insert(HeaderName::from_static("sforce-limit-info"), value);
    }
}

pub(crate) fn text_response(status: u16, content_type: &'static str, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache,must-revalidate,max-age=0,no-store,private"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(HeaderName::from_static("x-robots-tag"), HeaderValue::from_static("none"));
    response
}

pub(crate) fn json_response(status: StatusCode, body: &serde_json::Value) -> Response {
    text_response(status.as_u16(), "application/json;charset=UTF-8", body.to_string())
}
