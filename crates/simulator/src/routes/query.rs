//! `/query` and `/queryAll`: SOQL with paging by cursor.
//!
//! Source: REST API Developer Guide, "Query" and "Query More Results".

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::data::Resource;
use crate::api_error::ApiError;
use crate::call::Call;
use crate::ids::RecordId;
use crate::org::Org;
use crate::records::TransactionId;
use crate::reply::Reply;
use crate::soql;

/// Cursors kept at once; the oldest goes first.
const OPEN: usize = 10;
/// A cursor lives for two days.
const TTL_MS: i64 = 2 * 24 * 3_600_000;

/// Results that did not fit on one page.
#[derive(Debug, Default)]
pub(crate) struct Cursors {
    open: VecDeque<Cursor>,
    last: u64,
}

#[derive(Debug)]
struct Cursor {
    locator: String,
    expires_at_ms: i64,
    page: usize,
    records: Arc<Vec<Value>>,
}

/// Answers a statement in `q`, or the next page of a locator.
pub(crate) fn handle(
    org: &Arc<Org>,
    reader: Option<TransactionId>,
    resource: &Resource,
    call: &Call,
) -> Result<Reply, ApiError> {
    if resource.method != "GET" {
        return Err(ApiError::method_not_allowed(&resource.method, "GET,HEAD"));
    }
    let parts: Vec<&str> = resource.segments.iter().map(String::as_str).collect();
    let all = parts.first() == Some(&"queryAll");
    match parts.get(1..).unwrap_or_default() {
        [] => {
            let statement = resource
                .query
                .filled("q")
                .ok_or_else(|| ApiError::bad_request("MALFORMED_QUERY", "A query string has to be specified"))?;
            let query = soql::parse(statement)?;
            let answer = soql::run(org, reader, statement, &query, all, call)?;
            Ok(first_page(org, answer, call))
        }
        [locator] => next_page(org, locator, call),
        _ => Err(ApiError::not_found()),
    }
}

fn first_page(org: &Org, answer: soql::Answer, call: &Call) -> Reply {
    let soql::Answer { total, records } = answer;
    if records.len() <= call.batch_size {
        return Reply::json(200, json!({ "totalSize": total, "done": true, "records": records }));
    }
    let now = org.clock.now_ms();
    let records = Arc::new(records);
    let mut cursors = org.cursors();
    cursors.last += 1;
    let locator = RecordId::new("01g", cursors.last).to_string();
    if cursors.open.len() == OPEN {
        cursors.open.pop_front();
    }
    cursors.open.push_back(Cursor {
        locator: locator.clone(),
        expires_at_ms: now.saturating_add(TTL_MS),
        page: call.batch_size,
        records: Arc::clone(&records),
    });
    drop(cursors);
    page(&records, &locator, 0, call.batch_size, call)
}

fn next_page(org: &Org, locator: &str, call: &Call) -> Result<Reply, ApiError> {
    let invalid = || ApiError::bad_request("INVALID_QUERY_LOCATOR", "invalid query locator");
    let (name, offset) = locator.rsplit_once('-').ok_or_else(invalid)?;
    let offset: usize = offset.parse().map_err(|_| invalid())?;
    let now = org.clock.now_ms();
    let cursors = org.cursors();
    let cursor = cursors.open.iter().find(|cursor| cursor.locator == name && cursor.expires_at_ms > now);
    let cursor = cursor.filter(|cursor| offset < cursor.records.len()).ok_or_else(invalid)?;
    let (records, size) = (Arc::clone(&cursor.records), cursor.page);
    drop(cursors);
    Ok(page(&records, name, offset, size, call))
}

fn page(records: &[Value], locator: &str, offset: usize, size: usize, call: &Call) -> Reply {
    let end = offset.saturating_add(size).min(records.len());
    let done = end == records.len();
    let mut body = Map::new();
    body.insert("totalSize".into(), json!(records.len()));
    body.insert("done".into(), json!(done));
    if !done {
        let next = format!("/services/data/v{}/query/{locator}-{end}", call.version);
        body.insert("nextRecordsUrl".into(), json!(next));
    }
    body.insert("records".into(), Value::Array(records[offset..end].to_vec()));
    Reply::json(200, Value::Object(body))
}
