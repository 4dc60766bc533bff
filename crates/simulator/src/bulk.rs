//! Bulk API 2.0 ingest jobs: what is uploaded, what became of it, and the allocations all jobs share.
//!
//! Source: Bulk API 2.0 and Bulk API Developer Guide, "Create a Job", "Upload Job Data", "Upload Complete", "Get Job
//! Info", "Get Job Successful Record Results"; Salesforce Developer Limits Quick Reference, "Bulk API and Bulk API 2.0
//! Limits and Allocations".

mod data;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests;
mod work;

use std::collections::{BTreeMap, VecDeque};

use axum::body::Bytes;
use serde_json::{Map, Value, json};

pub(crate) use work::start;

use crate::api_error::ApiError;
use crate::call::Call;
use crate::clock::datetime_text;
use crate::ids::RecordId;
use crate::org::Org;
use crate::schema::{FieldIx, ObjectIx};

const DAY_MS: i64 = 24 * 3_600_000;
/// Jobs are kept for seven days.
const KEPT_MS: i64 = 7 * DAY_MS;
/// Rows of a batch; batches are what the daily allocation counts.
const BATCH_ROWS: usize = 10_000;
/// Bytes of data and results that all jobs hold together. The bound is ours, for memory.
const HELD: usize = 512 * 1024 * 1024;
/// Jobs kept at once. The bound is ours, for memory.
const JOBS: usize = 10_000;
/// Jobs of one page of the list.
const PAGE: usize = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Insert,
    Update,
    Upsert,
    Delete,
}

impl Operation {
    const ALL: [(&'static str, Self); 4] =
        [("insert", Self::Insert), ("update", Self::Update), ("upsert", Self::Upsert), ("delete", Self::Delete)];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, operation)| *operation == self).map_or("", |(name, _)| name)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Open,
    UploadComplete,
    InProgress,
    JobComplete,
    Failed,
    Aborted,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Open => "Open",
            Self::UploadComplete => "UploadComplete",
            Self::InProgress => "InProgress",
            Self::JobComplete => "JobComplete",
            Self::Failed => "Failed",
            Self::Aborted => "Aborted",
        }
    }

    fn is_terminal(self) -> bool {
        matches!(self, Self::JobComplete | Self::Failed | Self::Aborted)
    }
}

const DELIMITERS: [(&str, u8); 6] =
    [("BACKQUOTE", b'`'), ("CARET", b'^'), ("COMMA", b','), ("PIPE", b'|'), ("SEMICOLON", b';'), ("TAB", b'\t')];

/// What a job was created with.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) object: ObjectIx,
    pub(crate) operation: Operation,
    /// Field of an upsert; `Id` is one too.
    pub(crate) external_id: Option<FieldIx>,
    crlf: bool,
    delimiter: u8,
    assignment_rule: Option<String>,
    version: String,
}

/// The three result files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Results {
    Successful,
    Failed,
    Unprocessed,
}

#[derive(Debug)]
struct Job {
    order: Order,
    user: RecordId,
    state: State,
    created_ms: i64,
    modified_ms: i64,
    started_ms: i64,
    data: Option<Bytes>,
    processed: usize,
    failed: usize,
    error: Option<String>,
    successes: String,
    failures: String,
    unprocessed: String,
}

impl Job {
    fn held(&self) -> usize {
        self.data.as_ref().map_or(0, Bytes::len) + self.successes.len() + self.failures.len() + self.unprocessed.len()
    }
}

/// All jobs of an org.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    all: BTreeMap<RecordId, Job>,
    last: u64,
    /// Batches of the rolling day, by the time they were cut.
    batches: VecDeque<(i64, u64)>,
}

/// `INVALIDJOBSTATE`, as recorded: the code stands before the message.
fn wrong_state(message: impl Into<String>) -> ApiError {
    ApiError::bad_request("INVALIDJOBSTATE", message)
}

fn invalid_job(message: impl Into<String>) -> ApiError {
    ApiError::bad_request("INVALIDJOB", message)
}

impl Order {
    /// Reads the body that creates a job.
    pub(crate) fn parse(org: &Org, body: &Map<String, Value>, call: &Call) -> Result<Self, ApiError> {
        let known = [
            "object",
            "operation",
            "externalIdFieldName",
            "contentType",
            "lineEnding",
            "columnDelimiter",
            "assignmentRuleId",
        ];
        if let Some(key) = body.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(ApiError::json(format!("Unrecognized field \"{key}\" at [line:1, column:1]")));
        }
        let text = |key: &str| match body.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(other) => Err(ApiError::json(format!(
                "Cannot deserialize instance of string from {other} or request may be missing a required field at \
                 [line:1, column:1]"
            ))),
        };
        let named = text("operation")?.ok_or_else(|| invalid_job("operation is required"))?;
        if named == "hardDelete" {
            // It needs the permission "Bulk API Hard Delete", which nobody has in a new org.
            return Err(ApiError::bad_request(
                "FEATURENOTENABLED",
                "hardDelete operation is not enabled for this user",
            ));
        }
        let operation = Operation::ALL.iter().find(|(name, _)| *name == named).map(|(_, operation)| *operation);
        let operation = operation.ok_or_else(|| invalid_job(format!("Unknown operation: {named}")))?;
        let name = text("object")?.ok_or_else(|| invalid_job("object is required"))?;
        let object = org.schema.find_readable(name, &call.settings).filter(|ix| !org.schema.object(*ix).read_only);
        let object = object.ok_or_else(|| {
            ApiError::bad_request("INVALIDENTITY", format!("Entity '{name}' is not supported by the Bulk API."))
        })?;
        let definition = org.schema.object(object);
        if definition.event && operation != Operation::Insert {
            return Err(invalid_job(format!("{} can only be inserted", definition.name)));
        }
        let content = text("contentType")?.unwrap_or("CSV");
        if content != "CSV" {
            return Err(invalid_job(format!("Unsupported content type: {content}")));
        }
        let external_id = match (operation, text("externalIdFieldName")?) {
            (Operation::Upsert, None) => return Err(invalid_job("externalIdFieldName is required for upsert")),
            (Operation::Upsert, Some(name)) => {
                let found = definition.find_visible(name, &call.settings).filter(|ix| {
                    let field = definition.field(*ix);
                    field.external_id || field.id_lookup
                });
                Some(found.ok_or_else(|| {
                    invalid_job(format!(
                        "Field name provided, {name} does not match an External ID, Salesforce Id, or indexed field for {}",
                        definition.name
                    ))
                })?)
            }
            (Operation::Insert | Operation::Update | Operation::Delete, _) => None,
        };
        let ending = text("lineEnding")?.unwrap_or("LF");
        if !matches!(ending, "LF" | "CRLF") {
            return Err(invalid_job(format!("Unknown lineEnding: {ending}")));
        }
        let column = text("columnDelimiter")?.unwrap_or("COMMA");
        let delimiter = DELIMITERS.iter().find(|(name, _)| *name == column).map(|(_, byte)| *byte);
        Ok(Self {
            object,
            operation,
            external_id,
            crlf: ending == "CRLF",
            delimiter: delimiter.ok_or_else(|| invalid_job(format!("Unknown columnDelimiter: {column}")))?,
            assignment_rule: text("assignmentRuleId")?.map(str::to_owned),
            version: call.version.clone(),
        })
    }
}

/// The refusal of data above the limit: as recorded of Bulk API, whose limit is another.
pub(crate) fn too_large(limit: usize) -> ApiError {
    ApiError::bad_request("CLIENTINPUTERROR", format!("Failed to read request. Exceeded max size limit of {limit}"))
}

impl Jobs {
    /// Batches cut in the last 24 hours.
    pub(crate) fn batches_last_day(&mut self, now_ms: i64) -> u64 {
        while self.batches.front().is_some_and(|(at, _)| at + DAY_MS <= now_ms) {
            self.batches.pop_front();
        }
        self.batches.iter().map(|(_, count)| count).sum()
    }

    /// Forgets jobs whose time is over.
    fn purge(&mut self, now_ms: i64) {
        self.all.retain(|_, job| job.created_ms + KEPT_MS > now_ms || job.state == State::InProgress);
    }

    fn held(&self) -> usize {
        self.all.values().map(Job::held).sum()
    }

    pub(crate) fn create(&mut self, order: Order, user: RecordId, now_ms: i64) -> Result<RecordId, ApiError> {
        self.purge(now_ms);
        if self.all.len() >= JOBS {
            return Err(ApiError::bad_request("EXCEEDEDQUOTA", format!("The org keeps no more than {JOBS} jobs.")));
        }
        self.last += 1;
        let id = RecordId::new("750", self.last);
        let job = Job {
            order,
            user,
            state: State::Open,
            created_ms: now_ms,
            modified_ms: now_ms,
            started_ms: now_ms,
            data: None,
            processed: 0,
            failed: 0,
            error: None,
            successes: String::new(),
            failures: String::new(),
            unprocessed: String::new(),
        };
        self.all.insert(id, job);
        Ok(id)
    }

    fn job(&mut self, id: &str, now_ms: i64) -> Result<(RecordId, &mut Job), ApiError> {
        self.purge(now_ms);
        let id = RecordId::parse(id).ok_or_else(ApiError::not_found)?;
        self.all.get_mut(&id).map(|job| (id, job)).ok_or_else(ApiError::not_found)
    }

    /// Takes the one upload of a job.
    pub(crate) fn upload(&mut self, id: &str, data: Bytes, call: &Call, now_ms: i64) -> Result<(), ApiError> {
        let limit = call.settings.bulk_upload_max_bytes;
        // "Upload Job Data": what counts is the size in base64.
        if data.len().div_ceil(3).saturating_mul(4) > limit {
            return Err(too_large(limit));
        }
        let held = self.held();
        let (id, job) = self.job(id, now_ms)?;
        if job.state != State::Open {
            return Err(wrong_state(format!("Data cannot be uploaded to a job in state {}", job.state.name())));
        }
        if job.data.is_some() {
            return Err(ApiError::bad_request(
                "CLIENTINPUTERROR",
                format!(
                    "Found multiple contents for job: <{}>, please 'Close' / 'Abort' / 'Delete' the current Job then create \
                     a new Job and make sure you only do 'PUT' once on a given Job.",
                    id.short()
                ),
            ));
        }
        // Results repeat the data, so there must be room for both.
        if held + 2 * data.len() > HELD {
            return Err(ApiError::bad_request(
                "EXCEEDEDQUOTA",
                "The org holds no more job data; delete finished jobs.",
            ));
        }
        job.data = Some(data);
        job.modified_ms = now_ms;
        Ok(())
    }

    /// Takes back a job whose data, which came with it, was refused.
    pub(crate) fn withdraw(&mut self, id: RecordId) {
        self.all.remove(&id);
    }

    /// Ends the upload; the job is ready to be worked on.
    pub(crate) fn close(&mut self, id: &str, now_ms: i64) -> Result<RecordId, ApiError> {
        let (id, job) = self.job(id, now_ms)?;
        if job.state != State::Open {
            return Err(wrong_state(format!("Closing a job in state {} is not allowed", job.state.name())));
        }
        job.state = State::UploadComplete;
        job.modified_ms = now_ms;
        Ok(id)
    }

    pub(crate) fn abort(&mut self, id: &str, now_ms: i64) -> Result<(), ApiError> {
        let (_, job) = self.job(id, now_ms)?;
        if job.state.is_terminal() {
            return Err(wrong_state("Aborting already Completed Job not allowed"));
        }
        // Work in progress notices between two batches, and leaves what it did not reach.
        if job.state != State::InProgress
            && let Some(data) = job.data.take()
        {
            job.unprocessed = String::from_utf8_lossy(&data).into_owned();
        }
        job.state = State::Aborted;
        job.modified_ms = now_ms;
        Ok(())
    }

    pub(crate) fn delete(&mut self, id: &str, now_ms: i64) -> Result<(), ApiError> {
        let (id, job) = self.job(id, now_ms)?;
        if matches!(job.state, State::Open | State::InProgress) {
            return Err(wrong_state(format!("Deleting a job in state {} is not allowed", job.state.name())));
        }
        self.all.remove(&id);
        Ok(())
    }

    /// One result file.
    pub(crate) fn results(&mut self, id: &str, which: Results, now_ms: i64) -> Result<String, ApiError> {
        let (_, job) = self.job(id, now_ms)?;
        if !job.state.is_terminal() {
            return Err(wrong_state(format!("Results of a job in state {} are not ready", job.state.name())));
        }
        Ok(match which {
            Results::Successful => job.successes.clone(),
            Results::Failed => job.failures.clone(),
            Results::Unprocessed => job.unprocessed.clone(),
        })
    }

    /// A job as the answer to its creation, upload or abort shows it.
    pub(crate) fn brief(&mut self, org: &Org, id: &str, now_ms: i64) -> Result<Value, ApiError> {
        let (id, job) = self.job(id, now_ms)?;
        Ok(Value::Object(info(org, id, job, false)))
    }

    /// A job with its counters.
    pub(crate) fn info(&mut self, org: &Org, id: &str, now_ms: i64) -> Result<Value, ApiError> {
        let (id, job) = self.job(id, now_ms)?;
        Ok(Value::Object(info(org, id, job, true)))
    }

    /// One page of all jobs, from the `from`th on.
    pub(crate) fn list(&mut self, org: &Org, from: usize, version: &str, now_ms: i64) -> Value {
        self.purge(now_ms);
        let some = self.all.iter().skip(from).take(PAGE);
        let records: Vec<Value> = some
            .map(|(id, job)| {
                let mut brief = info(org, *id, job, false);
                brief.insert("jobType".into(), json!("V2Ingest"));
                Value::Object(brief)
            })
            .collect();
        let end = from.saturating_add(records.len());
        let done = end >= self.all.len();
        let next = (!done).then(|| format!("/services/data/v{version}/jobs/ingest?queryLocator={end}"));
        json!({ "done": done, "records": records, "nextRecordsUrl": next })
    }
}

fn info(org: &Org, id: RecordId, job: &Job, counters: bool) -> Map<String, Value> {
    let order = &job.order;
    let definition = org.schema.object(order.object);
    let delimiter = DELIMITERS.iter().find(|(_, byte)| *byte == order.delimiter).map_or("COMMA", |(name, _)| name);
    let version: f64 = order.version.parse().unwrap_or_default();
    let mut all = Map::new();
    let mut put = |key: &str, value: Value| {
        all.insert(key.to_owned(), value);
    };
    put("id", json!(id.to_string()));
    put("operation", json!(order.operation.name()));
    put("object", json!(definition.name));
    put("createdById", json!(job.user.to_string()));
    put("createdDate", json!(datetime_text(job.created_ms)));
    put("systemModstamp", json!(datetime_text(job.modified_ms)));
    put("state", json!(job.state.name()));
    if let Some(field) = order.external_id {
        put("externalIdFieldName", json!(definition.field(field).name));
    }
    if let Some(rule) = &order.assignment_rule {
        put("assignmentRuleId", json!(rule));
    }
    put("concurrencyMode", json!("Parallel"));
    put("contentType", json!("CSV"));
    put("apiVersion", json!(version));
    if counters {
        put("jobType", json!("V2Ingest"));
    }
    if job.state == State::Open {
        put("contentUrl", json!(format!("services/data/v{}/jobs/ingest/{id}/batches", order.version)));
    }
    put("lineEnding", json!(if order.crlf { "CRLF" } else { "LF" }));
    put("columnDelimiter", json!(delimiter));
    if counters {
        let taken = if job.state == State::Open { 0 } else { job.modified_ms.saturating_sub(job.started_ms) };
        put("numberRecordsProcessed", json!(job.processed));
        put("numberRecordsFailed", json!(job.failed));
        put("retries", json!(0));
        put("totalProcessingTime", json!(taken));
        put("apiActiveProcessingTime", json!(taken));
        put("apexProcessingTime", json!(0));
        if let Some(error) = &job.error {
            put("errorMessage", json!(error));
        }
    }
    all
}
