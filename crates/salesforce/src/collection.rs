//! sObject Collections: up to 200 rows in one API call, each of them written or refused for itself.

use serde_json::{Map, Value, json};

use crate::envelope;
use crate::error::{ApiError, Error, ErrorKind};
use crate::graph::{Refusal, event_uuid};
use crate::{limits, sobject};

/// A row to create.
#[derive(Clone, PartialEq)]
pub struct Row {
    /// The object's API name. Rows of one object should stand together: at most 10 runs fit into one request.
    pub object: String,
    /// The fields.
    pub fields: Map<String, Value>,
}

/// A row to update.
#[derive(Clone, PartialEq)]
pub struct RowUpdate {
    /// The object's API name.
    pub object: String,
    /// The record's id.
    pub id: String,
    /// The fields, without `Id`.
    pub fields: Map<String, Value>,
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Row").field("object", &self.object).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for RowUpdate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowUpdate").field("object", &self.object).field("id", &self.id).finish_non_exhaustive()
    }
}

/// What became of one row; answers are in the order of the rows.
#[derive(Debug, Clone, PartialEq)]
pub enum RowAnswer {
    /// It was written.
    Saved {
        /// The record's id.
        id: String,
        /// For an upsert, whether it created the record.
        created: Option<bool>,
        /// For a platform event, the UUID it goes out with.
        event_uuid: Option<String>,
    },
    /// It was refused. Collections never carry the records that a duplicate rule matched.
    Refused(Refusal),
    /// It was rolled back because another row failed, in a request that writes all or none.
    Halted,
}

/// Rows ready to be sent.
pub(crate) fn body(all_or_none: bool, rows: &[Map<String, Value>], objects: &[&str]) -> Result<Value, Error> {
    limits::check("rows", limits::ROWS, rows.len())?;
    let chunks = 1 + objects.windows(2).filter(|pair| pair[0] != pair[1]).count();
    limits::check("runs of rows of one object", limits::CHUNKS, chunks)?;
    Ok(json!({ "allOrNone": all_or_none, "records": rows }))
}

/// The fields of one row with the attributes that name its object, and its id for an update.
pub(crate) fn row(object: &str, id: Option<&str>, fields: &Map<String, Value>) -> Result<Map<String, Value>, Error> {
    let object = sobject::name("an object", object)?;
    let mut row = Map::with_capacity(fields.len() + 2);
    row.insert("attributes".to_owned(), json!({ "type": object }));
    if let Some(id) = id {
        row.insert("Id".to_owned(), sobject::record(id)?.into());
    }
    row.extend(fields.iter().map(|(name, value)| (name.clone(), value.clone())));
    Ok(row)
}

/// The answers to `rows` rows.
pub(crate) fn answers(rows: usize, body: &Value) -> Result<Vec<RowAnswer>, Error> {
    let items = body.as_array().ok_or_else(|| Error::Protocol("a collections answer that is no array".to_owned()))?;
    if items.len() != rows {
        return Err(Error::Protocol(format!("{} answers for {rows} rows", items.len())));
    }
    items.iter().map(answer).collect()
}

fn answer(item: &Value) -> Result<RowAnswer, Error> {
    // A rolled-back row may carry an id, and a published event an error: only `success` tells.
    let success = item.get("success").and_then(Value::as_bool);
    if success == Some(true) {
        return Ok(RowAnswer::Saved {
            id: item.get("id").and_then(Value::as_str).unwrap_or_default().to_owned(),
            created: item.get("created").and_then(Value::as_bool),
            event_uuid: event_uuid(item),
        });
    }
    let mut errors = envelope::errors(item);
    if errors.is_empty() {
        if success.is_none() {
            return Err(Error::Protocol("a row that is neither saved nor refused".to_owned()));
        }
        errors.push(ApiError::new("", "a row failed without an error"));
    }
    Ok(match errors.iter().position(|error| error.kind() != ErrorKind::Halted) {
        None => RowAnswer::Halted,
        Some(cause) => {
            let error = errors.remove(cause);
            RowAnswer::Refused(Refusal { reference: None, error, others: errors })
        }
    })
}
