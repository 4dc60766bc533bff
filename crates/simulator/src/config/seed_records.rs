//! Rows that an org starts with, from JSON.
//!
//! Taken are the form of sObject Tree and of `sf data export tree` (`{"records": [{"attributes": {"type": …,
//! "referenceId": …}, …}]}`), the list of records that a collections request holds, and rows under the name of their
//! object (`{"Account": [{…}]}`). A value `@name` is the id of the record with that `referenceId`.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

use super::Problem;

/// A row to start with.
#[derive(Debug, Clone, PartialEq)]
pub struct SeedRecord {
    /// API name of its object.
    pub object: String,
    /// Name by which later records mean this one.
    pub reference: Option<String>,
    /// Its fields.
    pub fields: Map<String, Value>,
}

impl SeedRecord {
    /// A record from its fields; `attributes` among them names object and reference.
    pub(crate) fn from_fields(object: Option<&str>, mut fields: Map<String, Value>) -> Result<Self, String> {
        let attributes = fields.shift_remove("attributes").unwrap_or_default();
        let text = |key: &str| attributes.get(key).and_then(Value::as_str).map(str::to_owned);
        let object = text("type").or_else(|| object.map(str::to_owned));
        let object = object.ok_or("a record needs attributes with a type, such as {\"type\": \"Account\"}")?;
        if let Some((name, _)) = fields.iter().find(|(_, value)| value.get("records").is_some()) {
            return Err(format!(
                "{name}: nested children are not read; list them beside their parent and name it by \"@referenceId\""
            ));
        }
        Ok(Self { object, reference: text("referenceId"), fields })
    }
}

/// The records of a file.
///
/// # Errors
/// What is wrong with it first.
pub fn read(path: &Path) -> Result<Vec<SeedRecord>, Problem> {
    let problem = |place: String, text: String| Problem { file: path.to_owned(), place, text };
    let text = fs::read_to_string(path)
        .map_err(|error| problem(String::new(), format!("cannot be read: {error}; give a readable file")))?;
    let value: Value = serde_json::from_str(&text).map_err(|error| {
        problem(format!("line {}, column {}", error.line(), error.column()), format!("not JSON: {error}"))
    })?;
    let mut records = Vec::new();
    let mut add = |place: String, object: Option<&str>, rows: Value| {
        let Value::Array(rows) = rows else { return Err(problem(place, "expected a list of records".to_owned())) };
        for (n, row) in rows.into_iter().enumerate() {
            let at = format!("{place}[{n}]");
            let Value::Object(fields) = row else { return Err(problem(at, "expected a record".to_owned())) };
            records.push(SeedRecord::from_fields(object, fields).map_err(|text| problem(at, text))?);
        }
        Ok(())
    };
    match value {
        Value::Array(_) => add(String::new(), None, value)?,
        Value::Object(mut keys) => match keys.shift_remove("records") {
            Some(rows) => add("records".to_owned(), None, rows)?,
            None => {
                for (object, rows) in keys {
                    add(object.clone(), Some(&object), rows)?;
                }
            }
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            return Err(problem(String::new(), "expected {\"records\": […]} or {\"Account\": […]}".to_owned()));
        }
    }
    Ok(records)
}
