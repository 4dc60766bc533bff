//! `/sobjects/{object}/deleted` and `/updated`: what changed in a span of time.
//!
//! Source: REST API Developer Guide, "sObject Get Deleted" and "sObject Get Updated".

use std::sync::Arc;

use serde_json::{Value, json};

use super::data::Resource;
use crate::api_error::ApiError;
use crate::call::Call;
use crate::clock::{datetime_text, parse_datetime};
use crate::ids::RecordId;
use crate::org::Org;
use crate::records::Row;
use crate::reply::Reply;
use crate::schema::ObjectIx;
use crate::soql::SLICE;

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;
/// Deleted rows are told for so many days, changed ones for twice as many.
const DAYS: i64 = 15;

/// Rows whose last change lies in the span: id and time of the change.
async fn changed(
    org: &Org,
    object: ObjectIx,
    resource: &Resource,
    days: i64,
    wanted: impl Fn(&Row) -> bool + Send,
    call: &Call,
) -> Result<(Vec<(RecordId, String)>, i64), ApiError> {
    let bound = |name: &str| {
        let text = resource.query.filled(name).ok_or_else(|| {
            ApiError::bad_request("MISSING_ARGUMENT", format!("Required parameter is missing: {name}"))
        })?;
        // A plus sign in a query string reads as a space.
        parse_datetime(&text.replace(' ', "+")).ok_or_else(|| {
            ApiError::bad_request("INVALID_REPLICATION_DATE", format!("{name} is no date and time: {text}"))
        })
    };
    let (start, end) = (bound("start")?, bound("end")?);
    let minute = |ms: i64| ms.div_euclid(MINUTE_MS) * MINUTE_MS;
    if minute(end) - minute(start) < MINUTE_MS {
        let message = "endDate must be at least one minute greater than startDate";
        return Err(ApiError::bad_request("INVALID_REPLICATION_DATE", message));
    }
    if start < org.clock.now_ms() - days * DAY_MS {
        let message = format!("startDate before org replication enabled date or more than {days} days ago");
        return Err(ApiError::bad_request("INVALID_REPLICATION_DATE", message));
    }
    let stamp = org.schema.object(object).find("SystemModstamp");
    let mut found = Vec::new();
    let mut last = None;
    loop {
        // Times are read after the state was given back.
        let slice: Vec<(RecordId, Arc<Row>)> = {
            let state = org.state();
            org.check_epoch(call.epoch)?;
            state.table(object).rows_after(last, None).take(SLICE).map(|(id, row)| (id, Arc::clone(row))).collect()
        };
        found.extend(slice.iter().filter(|(_, row)| wanted(row)).filter_map(|(id, row)| {
            let text = row.text(stamp?)?;
            // Seconds of the span do not count.
            (minute(start)..minute(end)).contains(&parse_datetime(text)?).then(|| (*id, text.to_owned()))
        }));
        if slice.len() < SLICE {
            return Ok((found, end.min(org.clock.now_ms())));
        }
        last = slice.last().map(|(id, _)| *id);
        org.give_way().await;
    }
}

pub(crate) async fn deleted(org: &Org, object: ObjectIx, resource: &Resource, call: &Call) -> Result<Reply, ApiError> {
    let (rows, latest) = changed(org, object, resource, DAYS, |row| row.deleted, call).await?;
    let records: Vec<Value> = rows.iter().map(|(id, at)| json!({ "id": id.to_string(), "deletedDate": at })).collect();
    let earliest = org.clock.now_ms() - DAYS * DAY_MS;
    Ok(Reply::json(
        200,
        json!({
            "deletedRecords": records,
            "earliestDateAvailable": datetime_text(earliest),
            "latestDateCovered": datetime_text(latest),
        }),
    ))
}

pub(crate) async fn updated(org: &Org, object: ObjectIx, resource: &Resource, call: &Call) -> Result<Reply, ApiError> {
    let (rows, latest) = changed(org, object, resource, 2 * DAYS, |row| !row.deleted, call).await?;
    let ids: Vec<String> = rows.iter().map(|(id, _)| id.to_string()).collect();
    Ok(Reply::json(200, json!({ "ids": ids, "latestDateCovered": datetime_text(latest) })))
}
