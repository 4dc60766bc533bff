//! How a fault is worded: the answers of request faults and the refusals of row faults.
//!
//! Source: REST API Developer Guide, "Status Codes and Error Responses"; API Query and Data guides' lists of `StatusCode`;
//! the texts of 401, 403 and 503 and of the lock inside a trigger are recorded.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::json;

use super::FaultKind;
use crate::api_error::ApiError;
use crate::events;
use crate::ids::RecordId;
use crate::routes::text_response;
use crate::settings::Settings;
use crate::transaction::Target;

pub(crate) const MAINTENANCE: &str = "<html><head><title>Down For Maintenance</title></head><body><h1>Service Unavailable</h1>\
    <p>We are down for maintenance. Sorry for the inconvenience. We'll be back shortly.</p></body></html>";
const BAD_GATEWAY: &str =
    "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>";
const HTML: &str = "text/html; charset=UTF-8";
const JSON: &str = "application/json;charset=UTF-8";

/// What a row fault does to its row.
#[derive(Debug)]
pub(crate) enum RowTrouble {
    /// The row is refused.
    Refuse(ApiError),
    /// The external id is answered as if these rows had it.
    Several(Vec<RecordId>),
}

/// The answer of a fault that ends the request before any work; `None` for faults that let it be carried out.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "only some kinds refuse a request; the others let it be carried out"
)]
pub(crate) fn request(fault: &FaultKind, path: &str) -> Option<Response> {
    let error = |status, code: &str, message: &str| {
        text_response(status, JSON, json!([{ "message": message, "errorCode": code }]).to_string())
    };
    let answer = match fault {
        FaultKind::ExpiredSession => token_header(error(401, "INVALID_SESSION_ID", "Session expired or invalid")),
        FaultKind::SessionNotValidForRest => {
            token_header(error(401, "INVALID_SESSION_ID", "This session is not valid for use with the REST API"))
        }
        FaultKind::DailyLimit => error(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."),
        FaultKind::ConcurrentLimit => {
            error(403, "REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests (Concurrent API Requests) Limit exceeded.")
        }
        FaultKind::ApiDisabled => {
            error(403, "API_DISABLED_FOR_ORG", "The REST API is not enabled for this Organization.")
        }
        FaultKind::UnavailableJson => error(503, "SERVER_UNAVAILABLE", "Server too busy"),
        FaultKind::UnavailableHtml => text_response(503, HTML, MAINTENANCE.to_owned()),
        FaultKind::BadGateway => text_response(502, HTML, BAD_GATEWAY.to_owned()),
        FaultKind::NoRoute => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::from_u16(420).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
            response
        }
        FaultKind::TooManyRequests { retry_after_s } => {
            let mut response =
                text_response(429, HTML, "<html><body><h1>429 Too Many Requests</h1></body></html>".to_owned());
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(*retry_after_s));
            response
        }
        FaultKind::RefuseRequest { code, message, status } => error(*status, code, message),
        FaultKind::UnknownOauthError if path.starts_with("/services/oauth2/") => {
            let body = json!({ "error": "unknown_error", "error_description": "retry your request" });
            text_response(400, JSON, body.to_string())
        }
        FaultKind::UnknownException | FaultKind::UnknownOauthError => error(
            500,
            "UNKNOWN_EXCEPTION",
            "An unexpected error occurred. Please include this ErrorId if you contact support: 123-456 (789)",
        ),
        _ => return None,
    };
    Some(answer)
}

fn token_header(mut response: Response) -> Response {
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Token"));
    response
}

/// Whether a refused request still counts as an API call: what never reached the org does not, and a 401 does not.
pub(crate) fn counts(status: StatusCode) -> bool {
    !matches!(status.as_u16(), 401 | 420 | 429 | 502)
}

/// The answer as gzip, marked so that no layer packs it again.
pub(crate) fn gzip(parts: &mut axum::http::response::Parts, body: &[u8]) -> Body {
    use std::io::Write as _;
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    // Writing to memory does not fail.
    let zipped = packer.write_all(body).and_then(|()| packer.finish()).unwrap_or_default();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.insert(HeaderName::from_static("vary"), HeaderValue::from_static("Accept-Encoding"));
    Body::from(zipped)
}

/// What a row fault does to the row with this target; `None` for a kind that is not for rows.
#[expect(clippy::wildcard_enum_match_arm, reason = "kinds of another level do nothing to a row")]
pub(crate) fn row(kind: FaultKind, target: &Target, settings: &Settings) -> Option<RowTrouble> {
    let at = || match target {
        Target::Id(id) => id.to_string(),
        Target::New | Target::ExternalId { .. } => RecordId::new("001", 0).to_string(),
    };
    let plain = |status, code: &str, message: String| ApiError::new(status, code, message).with_fields([""; 0]);
    let error = match kind {
        FaultKind::Lock => ApiError::lock(&at()),
        FaultKind::TriggerLock => plain(
            400,
            "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
            format!(
                "OrderTrigger: execution of AfterInsert\n\ncaused by: System.DmlException: Update failed. First exception on \
                 row 0 with id {id}; first error: UNABLE_TO_LOCK_ROW, unable to obtain exclusive access to this record or 1 \
                 records: {id}: []\n\nTrigger.OrderTrigger: line 12, column 1",
                id = at()
            ),
        ),
        FaultKind::TriggerLimit => plain(
            400,
            "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
            "OrderTrigger: System.LimitException: Too many SOQL queries: 101".to_owned(),
        ),
        FaultKind::StorageLimit => {
            plain(settings.storage_limit_status, "STORAGE_LIMIT_EXCEEDED", "storage limit exceeded".to_owned())
        }
        FaultKind::Maintenance => plain(
            503,
            "INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE",
            "Cannot insert, update or delete during maintenance; the organization is in read-only mode.".to_owned(),
        ),
        FaultKind::EventUnavailable => events::unavailable(),
        FaultKind::MultipleChoices => {
            return Some(match target {
                Target::ExternalId { .. } => {
                    RowTrouble::Several(vec![RecordId::new("001", 1), RecordId::new("001", 2)])
                }
                Target::New | Target::Id(_) => RowTrouble::Refuse(plain(
                    400,
                    "DUPLICATE_EXTERNAL_ID",
                    "more than one record found for external id field".to_owned(),
                )),
            });
        }
        FaultKind::RefuseRow { code, message, status, fields } => {
            ApiError::new(status, &code, message).with_fields(fields)
        }
        _ => return None,
    };
    Some(RowTrouble::Refuse(error))
}
