//! `/query` and `/queryAll`: SOQL with paging by cursor.
//!
//! Source: REST API Developer Guide, "Query", "Query More Results" and "Query Options Header"; Salesforce
//! Developer Limits Quick Reference, "API Query Cursor Limits": cursors live two days, and their number is not
//! limited any more.

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
use crate::soql::{self, Answer, Found};

/// A cursor lives for two days.
const TTL_MS: i64 = 2 * 24 * 3_600_000;
/// Rows that all cursors hold together; the oldest cursor goes first. The bound is ours, for memory.
const HELD: usize = 2_000_000;

/// Results that did not fit on one page.
#[derive(Debug, Default)]
pub(crate) struct Cursors {
    open: VecDeque<Cursor>,
    held: usize,
    last: u64,
}

#[derive(Debug)]
struct Cursor {
    id: RecordId,
    expires_at_ms: i64,
    page: usize,
    found: Arc<Found>,
}

impl Cursors {
    fn open(&mut self, found: &Arc<Found>, page: usize, call: &Call, now_ms: i64) -> RecordId {
        let limit = call.settings.query_cursor_limit.unwrap_or(usize::MAX).max(1);
        self.held += found.len();
        while self.open.front().is_some_and(|oldest| oldest.expires_at_ms <= now_ms)
            || self.open.len() >= limit
            || (self.held > HELD && !self.open.is_empty())
        {
            let gone = self.open.pop_front();
            self.held -= gone.map_or(0, |gone| gone.found.len());
        }
        self.last += 1;
        let id = RecordId::new(&call.settings.query_locator_prefix, self.last);
        let expires_at_ms = now_ms.saturating_add(TTL_MS);
        self.open.push_back(Cursor { id, expires_at_ms, page, found: Arc::clone(found) });
        id
    }
}

impl Cursors {
    /// How many are kept.
    pub(crate) fn kept(&self) -> usize {
        self.open.len()
    }
}

/// Answers a statement in `q`, or the next page of a locator.
pub(crate) async fn handle(
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
            let complete = |total: usize, records: Vec<Value>| {
                Reply::json(200, json!({ "totalSize": total, "done": true, "records": records }))
            };
            Ok(match soql::run(org, reader, statement, &query, all, call).await? {
                Answer::Total(total) => complete(total, Vec::new()),
                Answer::Groups(groups) => complete(groups.len(), groups),
                Answer::Rows(found) if found.len() <= call.batch_size => {
                    complete(found.len(), found.print(org, reader, call, 0..found.len()).await?)
                }
                Answer::Rows(found) => {
                    let found: Arc<Found> = Arc::from(found);
                    let id = org.cursors_for(call)?.open(&found, call.batch_size, call, org.clock.now_ms());
                    page(org, reader, &found, id, 0, call.batch_size, call).await?
                }
            })
        }
        [locator] => next_page(org, reader, locator, call).await,
        _ => Err(ApiError::not_found()),
    }
}

async fn next_page(org: &Org, reader: Option<TransactionId>, locator: &str, call: &Call) -> Result<Reply, ApiError> {
    let invalid = || ApiError::bad_request("INVALID_QUERY_LOCATOR", "invalid query locator");
    let (name, offset) = locator.rsplit_once('-').ok_or_else(invalid)?;
    let id = RecordId::parse(name).ok_or_else(invalid)?;
    let offset: usize = offset.parse().map_err(|_| invalid())?;
    let now = org.clock.now_ms();
    let (found, size) = {
        let cursors = org.cursors_for(call)?;
        let cursor = cursors.open.iter().find(|cursor| cursor.id == id && cursor.expires_at_ms > now);
        let cursor = cursor.filter(|cursor| offset < cursor.found.len()).ok_or_else(invalid)?;
        (Arc::clone(&cursor.found), cursor.page)
    };
    page(org, reader, &found, id, offset, size, call).await
}

async fn page(
    org: &Org,
    reader: Option<TransactionId>,
    found: &Found,
    id: RecordId,
    offset: usize,
    size: usize,
    call: &Call,
) -> Result<Reply, ApiError> {
    let end = offset.saturating_add(size).min(found.len());
    let done = end == found.len();
    let mut body = Map::new();
    body.insert("totalSize".into(), json!(found.len()));
    body.insert("done".into(), json!(done));
    if !done {
        let next = format!("/services/data/v{}/query/{id}-{end}", call.version);
        body.insert("nextRecordsUrl".into(), json!(next));
    }
    body.insert("records".into(), Value::Array(found.print(org, reader, call, offset..end).await?));
    Ok(Reply::json(200, Value::Object(body)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Cursors, HELD, TTL_MS};
    use crate::call::{Call, DuplicateOptions};
    use crate::settings::Settings;
    use crate::soql::Found;

    #[test]
    fn cursors_hold_two_million_rows_for_two_days() {
        let call = Call {
            settings: Arc::new(Settings::default()),
            user: crate::oauth::first_user(),
            epoch: 0,
            version: "62.0".to_owned(),
            path: String::new(),
            duplicates: DuplicateOptions::default(),
            batch_size: 200,
            in_graph: false,
        };
        let found = Arc::new(Found::blank(HELD / 4));
        let mut cursors = Cursors::default();
        for _ in 0..6 {
            cursors.open(&found, 200, &call, 0);
        }
        assert_eq!((cursors.kept(), cursors.held), (4, HELD));
        cursors.open(&found, 200, &call, TTL_MS);
        assert_eq!((cursors.kept(), cursors.held), (1, HELD / 4));
    }
}
