//! From HTTP to the org and back: sign-in, counting, faults, latency, and the headers every answer carries.

pub(crate) mod collections;
pub(crate) mod composite;
pub(crate) mod control;
pub(crate) mod data;
pub(crate) mod describe;
pub(crate) mod graph;
pub(crate) mod oauth;
pub(crate) mod page;
pub(crate) mod query;
pub(crate) mod sobjects;

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use tower_http::compression::CompressionLayer;
use tower_http::decompression::RequestDecompressionLayer;

use crate::connection::Cut;
use crate::faults::FaultKind;
use crate::org::Org;
use crate::orgs::Reached;
use crate::request_log::LoggedRequest;

/// Salesforce refuses larger bodies; so does this org.
const BODY_LIMIT: usize = 64 * 1024 * 1024;

/// One HTTP request with its body read.
pub(crate) struct Incoming {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What a request held, for the log.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) graphs: usize,
    pub(crate) nodes: usize,
    /// Milliseconds that the latency model drew for it, rows apart.
    pub(crate) latency_ms: u64,
}

/// Everything one org answers.
pub(crate) fn router(org: Arc<Org>) -> Router {
    Router::new()
        .route("/", get(page::show))
        .nest("/_sim", control::router())
        .fallback(front)
        .layer(RequestDecompressionLayer::new())
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
    let Ok(body) = to_bytes(body, BODY_LIMIT).await else {
        return json_response(
            StatusCode::BAD_REQUEST,
            &crate::api_error::ApiError::json("The request body could not be read").body(),
        );
    };
    let incoming = Incoming { method: parts.method, uri: parts.uri, headers: parts.headers, body };
    match tokio::spawn(reached.scope(answer(org, incoming, cut))).await {
        Ok(response) => response,
        Err(error) => {
            tracing::error!(%error, "a request ended in a panic");
            let mut response = Response::new(Body::from("the simulator has a bug; see its log"));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    }
}

async fn answer(org: Arc<Org>, incoming: Incoming, cut: Cut) -> Response {
    let started = org.clock.now();
    let at = crate::clock::datetime_text(started.ms());
    let request = org.usage().started(started);
    let path = incoming.uri.path().to_owned();
    let method = incoming.method.to_string();
    let fault = org.faults.request(&path, &incoming.body);
    let mut size = Size::default();
    let response = match &fault {
        Some(FaultKind::DropBefore) => {
            cut.now();
            Response::new(Body::empty())
        }
        Some(fault) if refusal(fault, &path).is_some() => {
            let (status, content_type, body) = refusal(fault, &path).unwrap_or((500, "text/plain", String::new()));
            let counted = status != 401 && path.starts_with("/services/data/v");
            let settings = org.settings();
            let used = counted.then(|| org.usage().count(org.clock.now_ms(), 1, settings.api_limit).0);
            let mut response = text_response(status, content_type, body);
            if status == 401 {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Token"));
            }
            if let Some(used) = used {
                limit_info(&mut response, used, settings.api_limit);
            }
            response
        }
        _ => {
            if let Some(FaultKind::Slow { ms }) = fault {
                org.clock.sleep(Duration::from_millis(ms)).await;
            }
            let response = work(&org, incoming, &mut size).await;
            match &fault {
                Some(FaultKind::CommitThenDrop) => {
                    cut.now();
                    response
                }
                Some(FaultKind::CommitThen503) => {
                    text_response(503, "text/html; charset=UTF-8", MAINTENANCE.to_owned())
                }
                Some(FaultKind::TruncatedBody) => truncated(response).await,
                _ => response,
            }
        }
    };
    org.usage().ended(request);
    let dropped = matches!(fault, Some(FaultKind::DropBefore | FaultKind::CommitThenDrop));
    org.log().push(LoggedRequest {
        number: 0,
        at,
        method,
        path,
        status: if dropped { 0 } else { response.status().as_u16() },
        duration_ms: u64::try_from(org.clock.now().since(started).as_millis()).unwrap_or(u64::MAX),
        graphs: size.graphs,
        nodes: size.nodes,
        latency_ms: size.latency_ms,
        fault: fault.map(|fault| fault.name().to_owned()),
    });
    response
}

async fn work(org: &Arc<Org>, incoming: Incoming, size: &mut Size) -> Response {
    let path = incoming.uri.path();
    if path.starts_with("/services/oauth2/") || path.starts_with("/id/") || path.starts_with("/.well-known/") {
        return oauth::handle(org, &incoming);
    }
    data::handle(org, incoming, size).await
}

const MAINTENANCE: &str = "<html><head><title>Down For Maintenance</title></head><body><h1>Service Unavailable</h1>\
    <p>We are down for maintenance. Sorry for the inconvenience. We'll be back shortly.</p></body></html>";

/// The answer of a fault that stops the request before any work.
fn refusal(fault: &FaultKind, path: &str) -> Option<(u16, &'static str, String)> {
    const JSON: &str = "application/json;charset=UTF-8";
    let error = |status, code: &str, message: &str| {
        let body = serde_json::json!([{ "message": message, "errorCode": code }]);
        Some((status, JSON, body.to_string()))
    };
    match fault {
        FaultKind::ExpiredSession => error(401, "INVALID_SESSION_ID", "Session expired or invalid"),
        FaultKind::SessionNotValidForRest => {
            error(401, "INVALID_SESSION_ID", "This session is not valid for use with the REST API")
        }
        FaultKind::DailyLimit => error(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."),
        FaultKind::ConcurrentLimit => {
            error(403, "REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests (Concurrent API Requests) Limit exceeded.")
        }
        FaultKind::UnavailableJson => error(503, "SERVER_UNAVAILABLE", "Server too busy"),
        FaultKind::UnavailableHtml => Some((503, "text/html; charset=UTF-8", MAINTENANCE.to_owned())),
        FaultKind::RefuseRequest { code, message, status } => error(*status, code, message),
        FaultKind::UnknownOauthError if path.starts_with("/services/oauth2/") => {
            let body = serde_json::json!({ "error": "unknown_error", "error_description": "retry your request" });
            Some((400, JSON, body.to_string()))
        }
        FaultKind::UnknownException | FaultKind::UnknownOauthError => error(
            500,
            "UNKNOWN_EXCEPTION",
            "An unexpected error occurred. Please include this ErrorId if you contact support: 123-456 (789)",
        ),
        FaultKind::CommitThenDrop
        | FaultKind::DropBefore
        | FaultKind::CommitThen503
        | FaultKind::Slow { .. }
        | FaultKind::TruncatedBody
        | FaultKind::Lock
        | FaultKind::EventTwice
        | FaultKind::EventLost
        | FaultKind::EventUnavailable
        | FaultKind::RefuseRow { .. } => None,
    }
}

/// The first half of a body, then the end of the connection.
async fn truncated(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let whole = to_bytes(body, BODY_LIMIT).await.unwrap_or_default();
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
