//! Conditional requests on rows and metadata: `ETag`, `Last-Modified`, 304 and 412.
//!
//! Source: REST API Developer Guide, "Conditional Request Headers": entity tags on Account rows only, dates on rows and
//! describe calls, 400 for a header that cannot be read on PATCH or POST, no conditions on DELETE.

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::data::{Resource, header_text};
use crate::api_error::ApiError;
use crate::call::Call;
use crate::clock::parse_datetime;
use crate::ids::RecordId;
use crate::org::{Org, State};
use crate::records::{Row, TransactionId};
use crate::reply::Reply;
use crate::schema::ObjectIx;

const HEADERS: [&str; 4] = ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"];

/// What a resource is now, as far as conditions can tell.
#[derive(Debug)]
pub(crate) struct Version {
    etag: Option<String>,
    modified_s: i64,
}

/// Whether anything here concerns conditions: a read, or a request that has some.
pub(crate) fn concerns(method: &str, headers: &HeaderMap) -> bool {
    method == "GET" || HEADERS.iter().any(|name| headers.contains_key(*name))
}

/// The version of the row or description that a path names, as `reader` sees it.
pub(crate) fn version(
    org: &Org,
    resource: &Resource,
    headers: &HeaderMap,
    reader: Option<TransactionId>,
    call: &Call,
) -> Option<Version> {
    let parts: Vec<&str> = resource.segments.iter().map(String::as_str).collect();
    let state = org.state();
    match parts.as_slice() {
        ["sobjects"] | ["sobjects", _] | ["sobjects", _, "describe"] => {
            // Metadata is as old as the org.
            let row = state.table(org.schema.organization).get(state.defaults.organization, None)?;
            Some(Version { etag: None, modified_s: modified(org, org.schema.organization, row)? })
        }
        ["sobjects", object, id] => {
            let object = org.schema.find(object)?;
            row_version(org, &state, (object, RecordId::parse(id)?), headers, reader, call)
        }
        ["sobjects", object, field, value] => {
            let object = org.schema.find(object)?;
            let field = org.schema.object(object).find(field)?;
            let (index, key) = state.unique_key(&org.schema, object, field, value)?;
            let found = state.table(object).lookup(index, &key, reader);
            let id = found.first().filter(|_| found.len() == 1)?;
            row_version(org, &state, (object, *id), headers, reader, call)
        }
        _ => None,
    }
}

fn row_version(
    org: &Org,
    state: &State,
    (object, id): (ObjectIx, RecordId),
    headers: &HeaderMap,
    reader: Option<TransactionId>,
    call: &Call,
) -> Option<Version> {
    let row = state.table(object).get(id, reader).filter(|row| !row.deleted && !call.settings.hides_record(id))?;
    let etag = (object == org.schema.account).then(|| {
        let mut hash = Sha256::new();
        for (ix, field) in org.schema.object(object).each_field() {
            if let Some(value) = row.get(ix) {
                hash.update(field.name.as_bytes());
                hash.update(value.to_string().as_bytes());
            }
        }
        let tag = STANDARD.encode(hash.finalize().get(..20).unwrap_or_default());
        let gzip = header_text(headers, "accept-encoding").is_some_and(|accepted| accepted.contains("gzip"));
        format!("\"{tag}{}\"", if gzip { "-gzip" } else { "" })
    });
    Some(Version { etag, modified_s: modified(org, object, row)? })
}

fn modified(org: &Org, object: ObjectIx, row: &Row) -> Option<i64> {
    let text = row.text(org.schema.object(object).find("LastModifiedDate")?)?;
    Some(parse_datetime(text)?.div_euclid(1_000))
}

impl Version {
    /// The answer when a condition decides: 304, 412, or 400 for a header that says nothing.
    pub(crate) fn decides(&self, method: &str, headers: &HeaderMap) -> Option<Reply> {
        let writes = matches!(method, "PATCH" | "POST");
        if method == "DELETE" {
            return None;
        }
        let failed = || ApiError::new(412, "PRECONDITION_FAILED", "The precondition of the request is not met.").into();
        if let Some(tags) = self.condition(headers, "if-match", writes) {
            match tags {
                Err(error) => return Some(error.into()),
                Ok(false) => return Some(failed()),
                Ok(true) => {}
            }
        }
        if let Some(tags) = self.condition(headers, "if-none-match", writes) {
            match tags {
                Err(error) => return Some(error.into()),
                Ok(true) if writes => return Some(failed()),
                Ok(true) => return Some(self.attach(Reply::empty(304))),
                Ok(false) => {}
            }
        }
        if let Some(text) = header_text(headers, "if-unmodified-since") {
            match date(text) {
                None if writes => return Some(invalid("If-Unmodified-Since").into()),
                Some(since) if self.modified_s > since => return Some(failed()),
                None | Some(_) => {}
            }
        }
        let since = header_text(headers, "if-modified-since").and_then(date).filter(|_| method == "GET");
        since.filter(|since| self.modified_s <= *since).map(|_| self.attach(Reply::empty(304)))
    }

    /// Whether one of the listed tags is this version's; `None` without the header, or where there are no tags.
    fn condition(&self, headers: &HeaderMap, name: &str, writes: bool) -> Option<Result<bool, ApiError>> {
        let etag = self.etag.as_deref()?;
        let list = headers.get(name)?.to_str().unwrap_or_default().trim();
        if list == "*" {
            return Some(Ok(true));
        }
        let bare = |tag: &str| -> Option<String> {
            let tag = tag.trim();
            let tag = tag.strip_prefix("W/").unwrap_or(tag).strip_prefix('"')?.strip_suffix('"')?;
            Some(tag.strip_suffix("-gzip").unwrap_or(tag).to_owned())
        };
        let tags: Option<Vec<String>> = list.split(',').map(bare).collect();
        match tags {
            Some(tags) => Some(Ok(bare(etag).is_some_and(|etag| tags.contains(&etag)))),
            None if writes => Some(Err(invalid(if name == "if-match" { "If-Match" } else { "If-None-Match" }))),
            None => None,
        }
    }

    /// Adds what a reader may ask about later.
    pub(crate) fn attach(&self, mut reply: Reply) -> Reply {
        if let Ok(time) = Timestamp::from_second(self.modified_s) {
            reply.headers.push(("last-modified", time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()));
        }
        if let Some(etag) = &self.etag {
            reply.headers.push(("etag", etag.clone()));
        }
        reply
    }
}

fn invalid(name: &str) -> ApiError {
    ApiError::bad_request("INVALID_HTTP_HEADER", format!("The value of the header {name} is not valid."))
}

/// Seconds since the epoch of an HTTP date.
fn date(text: &str) -> Option<i64> {
    jiff::fmt::rfc2822::parse(text.trim()).ok().map(|zoned| zoned.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn http_dates_are_read() {
        assert_eq!(date("Wed, 14 Apr 2021 13:50:54 GMT"), Some(1_618_408_254));
        assert_eq!(date("yesterday"), None);
    }
}
