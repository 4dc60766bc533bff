//! `/jobs/ingest`: Bulk API 2.0 jobs that write.
//!
//! Source: Bulk API 2.0 and Bulk API Developer Guide, "Bulk API 2.0 Ingest". Each request is one API call; the data is none.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Bytes;
use futures::stream;
use multer::Multipart;
use serde_json::{Value, json};

use super::Incoming;
use super::data::header_text;
use crate::api_error::ApiError;
use crate::bulk::{self, Order, Results};
use crate::call::Call;
use crate::form::Form;
use crate::org::Org;
use crate::reply::Reply;

/// Characters of data that may come with the job in one body.
const INLINE: usize = 100_000;

/// Answers a request below `/jobs/ingest`.
pub(crate) async fn handle(
    org: &Arc<Org>,
    incoming: &Incoming,
    method: &str,
    segments: &[String],
    query: &Form,
    call: &Call,
) -> Result<Reply, ApiError> {
    let parts: Vec<&str> = segments.iter().skip(2).map(String::as_str).collect();
    let now = org.clock.now_ms();
    let csv = |text: String| Reply { csv: Some(text), ..Reply::empty(200) };
    match (method, parts.as_slice()) {
        ("POST", []) => create(org, incoming, call).await,
        ("GET", []) => {
            let from = match query.filled("queryLocator") {
                None => 0,
                Some(locator) => locator
                    .parse()
                    .map_err(|_| ApiError::bad_request("INVALID_QUERY_LOCATOR", "invalid query locator"))?,
            };
            // All jobs here are of this type, and none is chunked by primary key.
            let asked = query.filled("jobType").is_none_or(|kind| kind.eq_ignore_ascii_case("V2Ingest"))
                && !query.filled("isPkChunkingEnabled").is_some_and(|flag| flag.eq_ignore_ascii_case("true"));
            if !asked {
                return Ok(Reply::json(200, json!({ "done": true, "records": [], "nextRecordsUrl": null })));
            }
            Ok(Reply::json(200, org.bulk_for(call)?.list(org, from, &call.version, now)))
        }
        (_, []) => Err(ApiError::method_not_allowed(method, "GET,HEAD,POST")),
        ("GET", [id]) => Ok(Reply::json(200, org.bulk_for(call)?.info(org, id, now)?)),
        ("PATCH", [id]) => {
            match object(&incoming.body)?.get("state").and_then(Value::as_str) {
                Some("UploadComplete") => {
                    let closed = org.bulk_for(call)?.close(id, now)?;
                    bulk::start(org, closed, call.clone());
                }
                Some("Aborted") => org.bulk_for(call)?.abort(id, now)?,
                _ => {
                    return Err(ApiError::bad_request("INVALIDJOB", "state must be UploadComplete or Aborted"));
                }
            }
            Ok(Reply::json(200, org.bulk_for(call)?.brief(org, id, now)?))
        }
        ("DELETE", [id]) => org.bulk_for(call)?.delete(id, now).map(|()| Reply::empty(204)),
        (_, [_]) => Err(ApiError::method_not_allowed(method, "DELETE,GET,HEAD,PATCH")),
        ("PUT", [id, "batches"]) => {
            let kind = content_type(incoming);
            if !kind.is_empty() && kind != "text/csv" {
                return Err(unsupported(&kind));
            }
            org.bulk_for(call)?.upload(id, incoming.body.clone(), call, now)?;
            Ok(Reply::empty(201))
        }
        (_, [_, "batches"]) => Err(ApiError::method_not_allowed(method, "PUT")),
        ("GET", [id, "successfulResults"]) => org.bulk_for(call)?.results(id, Results::Successful, now).map(csv),
        ("GET", [id, "failedResults"]) => org.bulk_for(call)?.results(id, Results::Failed, now).map(csv),
        ("GET", [id, "unprocessedrecords" | "unprocessedRecords"]) => {
            org.bulk_for(call)?.results(id, Results::Unprocessed, now).map(csv)
        }
        _ => Err(ApiError::not_found()),
    }
}

async fn create(org: &Arc<Org>, incoming: &Incoming, call: &Call) -> Result<Reply, ApiError> {
    let kind = content_type(incoming);
    let user = call.user;
    let now = org.clock.now_ms();
    if kind != "multipart/form-data" {
        if !kind.is_empty() && kind != "application/json" {
            return Err(unsupported(&kind));
        }
        let order = Order::parse(org, &object(&incoming.body)?, call)?;
        let mut jobs = org.bulk_for(call)?;
        let id = jobs.create(order, user, now)?.to_string();
        return Ok(Reply::json(200, jobs.brief(org, &id, now)?));
    }
    let (job, content) = parts(incoming).await?;
    let order = Order::parse(org, &object(&job)?, call)?;
    // A job that comes with its data is closed at once.
    let (closed, answer) = {
        let mut jobs = org.bulk_for(call)?;
        let created = jobs.create(order, user, now)?;
        let id = created.to_string();
        if let Err(error) = jobs.upload(&id, content, call, now) {
            jobs.withdraw(created);
            return Err(error);
        }
        let closed = jobs.close(&id, now)?;
        (closed, jobs.brief(org, &id, now)?)
    };
    bulk::start(org, closed, call.clone());
    Ok(Reply::json(200, answer))
}

/// The parts `job` and `content` of a multipart body.
async fn parts(incoming: &Incoming) -> Result<(Bytes, Bytes), ApiError> {
    let malformed =
        |error: multer::Error| ApiError::bad_request("INVALIDJOB", format!("Malformed multipart body: {error}"));
    let header = header_text(&incoming.headers, "content-type").unwrap_or_default();
    let boundary = multer::parse_boundary(header).map_err(malformed)?;
    let body = incoming.body.clone();
    let mut multipart = Multipart::new(stream::once(async move { Ok::<_, Infallible>(body) }), boundary);
    let (mut job, mut content) = (None, None);
    while let Some(field) = multipart.next_field().await.map_err(malformed)? {
        let name = field.name().unwrap_or_default().to_owned();
        let bytes = field.bytes().await.map_err(malformed)?;
        match name.as_str() {
            "job" => job = Some(bytes),
            "content" => content = Some(bytes),
            other => {
                let message = format!("Unexpected part in multipart body: {other}");
                return Err(ApiError::bad_request("INVALIDJOB", message));
            }
        }
    }
    let missing = |name: &str| ApiError::bad_request("INVALIDJOB", format!("The multipart body has no part {name}"));
    let (job, content) = (job.ok_or_else(|| missing("job"))?, content.ok_or_else(|| missing("content"))?);
    if String::from_utf8_lossy(&content).chars().nth(INLINE).is_some() {
        let message = "The data of a multipart job cannot be longer than 100,000 characters";
        return Err(ApiError::bad_request("INVALIDJOB", message));
    }
    Ok((job, content))
}

fn object(body: &[u8]) -> Result<serde_json::Map<String, Value>, ApiError> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(ApiError::json("The HTTP entity body must be a JSON object at [line:1, column:1]")),
        Err(error) => Err(ApiError::json(format!(
            "Unexpected character or end of input at [line:{}, column:{}]",
            error.line(),
            error.column()
        ))),
    }
}

/// The media type, without its parameters.
fn content_type(incoming: &Incoming) -> String {
    let header = header_text(&incoming.headers, "content-type").unwrap_or_default();
    header.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn unsupported(kind: &str) -> ApiError {
    ApiError::new(415, "UNSUPPORTED_MEDIA_TYPE", format!("Content-Type not supported: {kind}"))
}
