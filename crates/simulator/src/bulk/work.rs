//! Working on a job: chunks of two hundred rows, each chunk one transaction, each row its own outcome.
//!
//! Source: Bulk API 2.0 and Bulk API Developer Guide, "How Requests Are Processed".

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use csv::StringRecord;

use super::data::{Sheet, line, refusal, rows};
use super::{BATCH_ROWS, HELD, Jobs, Operation, Order, State};
use crate::api_error::ApiError;
use crate::call::Call;
use crate::ids::RecordId;
use crate::org::Org;
use crate::transaction::{Saved, Target, Transaction};

/// Rows of a transaction.
const CHUNK: usize = 200;

/// Begins with a closed job; the caller need not wait for it.
pub(crate) fn start(org: &Arc<Org>, id: RecordId, call: Call) {
    let org = Arc::clone(org);
    tokio::spawn(async move { run(&org, id, &call).await });
}

/// After a reset another job may go by this id, so each look at the jobs is one of the call's own epoch.
async fn run(org: &Arc<Org>, id: RecordId, call: &Call) {
    org.clock.sleep(Duration::from_millis(call.settings.bulk_delay_ms)).await;
    let begun = org.bulk_for(call).map(|mut jobs| begin(&mut jobs, id, org.clock.now_ms()));
    let Ok(Some((order, data))) = begun else { return };
    let sheet = match Sheet::read(org, &order, &data, call).and_then(|sheet| usable(org, &order, sheet)) {
        Ok(sheet) => sheet,
        Err(message) => return fail(org, id, &data, message, call),
    };
    match admit(org, id, &order, &sheet, call) {
        None => return,
        Some(true) => {}
        Some(false) => {
            return fail(org, id, &data, "ExceededQuota : ApiBatchItems Limit exceeded.".to_owned(), call);
        }
    }
    let mut left = rows(&order, &data);
    loop {
        let chunk: Vec<StringRecord> = left.by_ref().take(CHUNK).collect();
        let done = chunk.is_empty();
        let Some(outcomes) = write(org, &order, &sheet, &chunk, call).await else { return };
        let Ok(mut jobs) = org.bulk_for(call) else { return };
        let full = jobs.held() > HELD;
        let Some(job) = jobs.all.get_mut(&id) else { return };
        for (row, outcome) in chunk.iter().zip(outcomes) {
            job.processed += 1;
            match outcome {
                Ok((id, created)) => {
                    let created = if created { "true" } else { "false" };
                    job.successes.push_str(&line(&order, &[&id.to_string(), created], row));
                }
                Err((id, error)) => {
                    job.failed += 1;
                    job.failures.push_str(&line(&order, &[&id, &refusal(&error)], row));
                }
            }
        }
        job.modified_ms = org.clock.now_ms();
        if !done && full && job.state == State::InProgress {
            // Results of many short rows outgrow their data.
            job.state = State::Failed;
            job.error = Some("ExceededQuota : The org holds no more job data".to_owned());
        }
        if done || job.state != State::InProgress {
            if !done {
                let rest: String = left.map(|row| line(&order, &[], &row)).collect();
                job.unprocessed.push_str(&rest);
            } else if job.state == State::InProgress {
                job.state = State::JobComplete;
            }
            job.data = None;
            return;
        }
    }
}

pub(super) fn begin(jobs: &mut Jobs, id: RecordId, now_ms: i64) -> Option<(Order, Bytes)> {
    let job = jobs.all.get_mut(&id).filter(|job| job.state == State::UploadComplete)?;
    job.state = State::InProgress;
    job.started_ms = now_ms;
    job.modified_ms = now_ms;
    Some((job.order.clone(), job.data.clone().unwrap_or_default()))
}

/// Takes the job's batches off the daily allocation and begins its result files. False when there are not enough left;
/// nothing when the job is gone.
pub(super) fn admit(org: &Org, id: RecordId, order: &Order, sheet: &Sheet, call: &Call) -> Option<bool> {
    let batches = u64::try_from(sheet.rows.div_ceil(BATCH_ROWS)).unwrap_or(u64::MAX);
    let mut jobs = org.bulk_for(call).ok()?;
    let now = org.clock.now_ms();
    if jobs.batches_last_day(now).saturating_add(batches) > call.settings.bulk_batch_limit {
        return Some(false);
    }
    jobs.batches.push_back((now, batches));
    let job = jobs.all.get_mut(&id)?;
    job.successes = line(order, &["sf__Id", "sf__Created"], &sheet.header);
    job.failures = line(order, &["sf__Id", "sf__Error"], &sheet.header);
    job.unprocessed = line(order, &[], &sheet.header);
    Some(true)
}

pub(super) fn fail(org: &Org, id: RecordId, data: &[u8], message: String, call: &Call) {
    let Ok(mut jobs) = org.bulk_for(call) else { return };
    let Some(job) = jobs.all.get_mut(&id) else { return };
    job.state = State::Failed;
    job.error = Some(message);
    job.unprocessed = String::from_utf8_lossy(data).into_owned();
    job.data = None;
    job.modified_ms = org.clock.now_ms();
}

/// The header has the column that says which row is meant.
fn usable(org: &Org, order: &Order, sheet: Sheet) -> Result<Sheet, String> {
    let definition = org.schema.object(order.object);
    let needed = match order.operation {
        Operation::Insert => None,
        Operation::Update | Operation::Delete => definition.find("Id"),
        Operation::Upsert => order.external_id.filter(|field| definition.field(*field).name != "Id"),
    };
    match needed {
        Some(field) if sheet.place(field).is_none() => {
            Err(format!("InvalidBatch : Field name not found : {}", definition.field(field).name))
        }
        Some(_) | None => Ok(sheet),
    }
}

/// A row's id and whether it is new, or the id it named and why it was refused.
type Outcome = Result<(RecordId, bool), (String, ApiError)>;

/// Writes a chunk; nothing when the org is reset meanwhile, which then keeps no row of it.
async fn write(
    org: &Arc<Org>,
    order: &Order,
    sheet: &Sheet,
    chunk: &[StringRecord],
    call: &Call,
) -> Option<Vec<Outcome>> {
    let mut transaction = Transaction::begin(org);
    let mut outcomes = Vec::with_capacity(chunk.len());
    for row in chunk {
        org.check_epoch(call.epoch).ok()?;
        let savepoint = transaction.savepoint();
        let outcome = write_row(org, &mut transaction, order, sheet, row, call).await;
        if outcome.is_err() {
            transaction.rollback_to(savepoint);
        }
        outcomes.push(outcome);
    }
    transaction.commit(call).await;
    Some(outcomes)
}

async fn write_row(
    org: &Arc<Org>,
    transaction: &mut Transaction,
    order: &Order,
    sheet: &Sheet,
    row: &StringRecord,
    call: &Call,
) -> Outcome {
    let definition = org.schema.object(order.object);
    let id_column = definition.find("Id").and_then(|field| sheet.place(field));
    let read = |column: Option<usize>| column.and_then(|column| row.get(column)).unwrap_or_default();
    let named = read(id_column).to_owned();
    let refused = |error: ApiError| (named.clone(), error.of_row());
    let missing = |name: &str, verb: &str| {
        let message = format!("{name} not specified in {verb} call");
        refused(ApiError::bad_request("MISSING_ARGUMENT", message).with_fields([name]))
    };
    let by_id = || {
        let id = RecordId::parse(&named).filter(|id| org.schema.by_prefix(id.prefix()) == Some(order.object));
        id.ok_or_else(|| {
            let message = format!("Record ID: id value of incorrect type: {named}");
            refused(ApiError::bad_request("MALFORMED_ID", message).with_fields(["Id"]))
        })
    };
    let (target, key) = match order.operation {
        Operation::Delete => {
            if named.is_empty() {
                return Err(missing("Id", "a delete"));
            }
            let id = by_id()?;
            transaction.delete(order.object, id, call).await.map_err(refused)?;
            return Ok((id, false));
        }
        Operation::Insert if !named.is_empty() => {
            let error = ApiError::bad_request("INVALID_FIELD_FOR_INSERT_UPDATE", "cannot specify Id in an insert call");
            return Err(refused(error.with_fields(["Id"])));
        }
        Operation::Insert => (Target::New, id_column),
        Operation::Update if named.is_empty() => return Err(missing("Id", "an update")),
        Operation::Update => (Target::Id(by_id()?), id_column),
        Operation::Upsert => match order.external_id.filter(|field| definition.field(*field).name != "Id") {
            None if named.is_empty() => (Target::New, id_column),
            None => (Target::Id(by_id()?), id_column),
            Some(field) => {
                let column = sheet.place(field);
                let value = read(column);
                if value.trim().is_empty() || value == "#N/A" {
                    return Err(missing(&definition.field(field).name, "an upsert"));
                }
                (Target::ExternalId { field, value: value.to_owned(), update_only: false }, column)
            }
        },
    };
    let body = sheet.body(org, order, row, key).map_err(refused)?;
    if definition.event {
        let published = transaction.publish(order.object, &body, call).map_err(refused)?;
        return Ok((published.id, true));
    }
    match transaction.save(order.object, target, &body, call).await.map_err(refused)? {
        Saved::Row { id, created } => Ok((id, created)),
        Saved::Several(_) => Err(refused(ApiError::bad_request(
            "DUPLICATE_EXTERNAL_ID",
            "more than one record found for external id field",
        ))),
    }
}
