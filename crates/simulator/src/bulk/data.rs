//! The CSV of a job: its header against the schema, its rows as bodies, and the lines of its results.
//!
//! Source: Bulk API 2.0 and Bulk API Developer Guide, "Prepare CSV Files", "Relationship Fields in a Header Row", "Valid
//! Date Format in Records". A cell that is empty leaves its field alone, `#N/A` clears it.

use csv::{ByteRecord, ReaderBuilder, StringRecord, Terminator, WriterBuilder};
use serde_json::{Map, Value, json};

use super::Order;
use crate::api_error::ApiError;
use crate::call::Call;
use crate::org::Org;
use crate::schema::{Field, FieldIx, FieldType};
use crate::validation::read_value;

/// Columns of a record.
const COLUMNS: usize = 5_000;
/// Characters of a record, and of a field.
const RECORD: usize = 400_000;
const CELL: usize = 32_000;

/// One column of the header.
#[derive(Debug)]
pub(super) enum Column {
    Field(FieldIx),
    /// `Account.LimioId__c`: a parent by its external id.
    Parent {
        reference: FieldIx,
        relationship: String,
        key: String,
    },
}

/// A job's data after its header was understood.
#[derive(Debug)]
pub(super) struct Sheet {
    pub(super) columns: Vec<Column>,
    pub(super) header: StringRecord,
    pub(super) rows: usize,
}

fn reader<'d>(order: &Order, data: &'d [u8]) -> csv::Reader<&'d [u8]> {
    let data = data.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(data);
    ReaderBuilder::new().delimiter(order.delimiter).has_headers(false).flexible(true).from_reader(data)
}

/// The rows below the header.
pub(super) fn rows<'d>(order: &Order, data: &'d [u8]) -> impl Iterator<Item = StringRecord> + use<'d> {
    reader(order, data)
        .into_byte_records()
        .skip(1)
        .filter_map(|record| record.ok().map(StringRecord::from_byte_record_lossy))
}

impl Sheet {
    /// Reads the header and looks once over all rows; the text is why the whole job fails.
    pub(super) fn read(org: &Org, order: &Order, data: &[u8], call: &Call) -> Result<Self, String> {
        if std::str::from_utf8(data).is_err() {
            return Err("ClientInputError : The data is not valid UTF-8".to_owned());
        }
        check_line_ending(order, data)?;
        let mut records = reader(order, data).into_byte_records();
        let header = match records.next() {
            Some(Ok(record)) => StringRecord::from_byte_record_lossy(record),
            Some(Err(error)) => return Err(format!("ClientInputError : {error}")),
            None => return Err("InvalidBatch : The data has no header row".to_owned()),
        };
        if header.len() > COLUMNS {
            return Err(format!("InvalidBatch : Records with more than {COLUMNS} fields are not supported"));
        }
        let columns = columns(org, order, &header, call)?;
        let mut rows = 0;
        for record in records {
            let record: ByteRecord = record.map_err(|error| format!("ClientInputError : {error}"))?;
            rows += 1;
            if record.len() != header.len() {
                return Err(format!(
                    "ClientInputError : Row {rows} has {} columns, its header has {}",
                    record.len(),
                    header.len()
                ));
            }
            if is_longer(record.as_slice(), RECORD) || record.iter().any(|cell| is_longer(cell, CELL)) {
                return Err(format!("InvalidBatch : Row {rows} exceeds the limits of a record"));
            }
        }
        Ok(Self { columns, header, rows })
    }

    /// Place of a field's own column.
    pub(super) fn place(&self, wanted: FieldIx) -> Option<usize> {
        self.columns.iter().position(|column| matches!(column, Column::Field(field) if *field == wanted))
    }

    /// A row as the body of a save, without the column at `key`.
    pub(super) fn body(
        &self,
        org: &Org,
        order: &Order,
        row: &StringRecord,
        key: Option<usize>,
    ) -> Result<Map<String, Value>, ApiError> {
        let definition = org.schema.object(order.object);
        let mut body = Map::new();
        for (place, (column, cell)) in self.columns.iter().zip(row).enumerate() {
            if Some(place) == key || cell.is_empty() {
                continue;
            }
            match column {
                Column::Field(field) => {
                    let field = definition.field(*field);
                    body.insert(field.name.clone(), value(field, cell)?);
                }
                Column::Parent { reference, .. } if cell == "#N/A" => {
                    body.insert(definition.field(*reference).name.clone(), Value::Null);
                }
                Column::Parent { relationship, key, .. } => {
                    let mut parent = Map::new();
                    parent.insert(key.clone(), json!(cell));
                    body.insert(relationship.clone(), Value::Object(parent));
                }
            }
        }
        Ok(body)
    }
}

/// Whether a text in UTF-8 has more characters than `limit`.
fn is_longer(text: &[u8], limit: usize) -> bool {
    // Bytes that continue a character are no characters.
    text.len() > limit && text.iter().filter(|byte| **byte & 0xC0 != 0x80).count() > limit
}

/// The first line break says which ones the file has.
fn check_line_ending(order: &Order, data: &[u8]) -> Result<(), String> {
    let Some(end) = data.iter().position(|byte| *byte == b'\n') else { return Ok(()) };
    let crlf = end > 0 && data.get(end - 1) == Some(&b'\r');
    if crlf == order.crlf {
        return Ok(());
    }
    let set = if order.crlf { "CRLF" } else { "LF" };
    Err(format!("ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is {set}"))
}

fn columns(org: &Org, order: &Order, header: &StringRecord, call: &Call) -> Result<Vec<Column>, String> {
    let schema = &org.schema;
    let definition = schema.object(order.object);
    let unknown = |name: &str| format!("InvalidBatch : Field name not found : {name}");
    let mut columns: Vec<Column> = Vec::with_capacity(header.len());
    for name in header {
        let name = name.trim();
        let column = if let Some((relationship, key)) = name.split_once('.') {
            let reference =
                definition.relationship(relationship).filter(|ix| definition.is_visible(*ix, &call.settings));
            let target = reference.and_then(|ix| schema.find(definition.field(ix).to.first()?));
            let key = target.and_then(|target| {
                let target = schema.object(target);
                target.find_visible(key, &call.settings).map(|ix| target.field(ix).name.clone())
            });
            let (Some(reference), Some(key)) = (reference, key) else { return Err(unknown(name)) };
            Column::Parent { reference, relationship: relationship.to_owned(), key }
        } else {
            Column::Field(definition.find_visible(name, &call.settings).ok_or_else(|| unknown(name))?)
        };
        if let Column::Field(field) = column
            && columns.iter().any(|known| matches!(known, Column::Field(other) if *other == field))
        {
            return Err(format!("InvalidBatch : Duplicate field name : {name}"));
        }
        columns.push(column);
    }
    Ok(columns)
}

/// A cell as JSON; what does not fit the field's type is refused in Bulk API's words.
fn value(field: &Field, cell: &str) -> Result<Value, ApiError> {
    if cell == "#N/A" {
        return Ok(Value::Null);
    }
    let value = match (field.kind, cell.to_ascii_lowercase().as_str()) {
        (FieldType::Boolean, "yes" | "y" | "true" | "on" | "1") => Value::Bool(true),
        (FieldType::Boolean, "no" | "n" | "false" | "off" | "0") => Value::Bool(false),
        _ => Value::String(cell.to_owned()),
    };
    match read_value(field, &value) {
        Err(error) if error.code == "JSON_PARSER_ERROR" => {
            let message = format!("{}: value not of required type: {cell}", field.label);
            Err(ApiError::bad_request("INVALID_TYPE_ON_FIELD_IN_RECORD", message).with_fields([field.name.clone()]))
        }
        // Everything else is the save's to refuse.
        Ok(_) | Err(_) => Ok(value),
    }
}

/// `CODE:message:Field --`, as result files word a refusal.
pub(super) fn refusal(error: &ApiError) -> String {
    let one = |error: &ApiError| {
        let fields = error.fields.as_deref().unwrap_or_default().join(", ");
        let fields = if fields.is_empty() { "--".to_owned() } else { format!("{fields} --") };
        format!("{}:{}:{fields}", error.code, error.message)
    };
    error.each().map(one).collect()
}

/// One line of a result file: columns of the org, quoted, then the row as it was.
pub(super) fn line(order: &Order, own: &[&str], row: &StringRecord) -> String {
    let mut text = String::new();
    for cell in own {
        text.push('"');
        text.push_str(&cell.replace('"', "\"\""));
        text.push('"');
        text.push(char::from(order.delimiter));
    }
    let end = if order.crlf { Terminator::CRLF } else { Terminator::Any(b'\n') };
    let mut writer = WriterBuilder::new().delimiter(order.delimiter).terminator(end).from_writer(Vec::new());
    // Writing to memory does not fail, and the cells were UTF-8.
    let written = writer.write_record(row).is_ok();
    let bytes = writer.into_inner().unwrap_or_default();
    if written {
        text.push_str(&String::from_utf8_lossy(&bytes));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{is_longer, refusal};
    use crate::api_error::ApiError;

    #[test]
    fn lengths_are_those_of_characters() {
        assert!(!is_longer("äöü".as_bytes(), 3));
        assert!(is_longer("äöü".as_bytes(), 2));
        assert!(is_longer(b"abcd", 3));
    }

    #[test]
    fn a_refusal_ends_in_its_fields_and_two_dashes() {
        let error = ApiError::bad_request("DUPLICATES_DETECTED", "Use one of these records?");
        assert_eq!(refusal(&error), "DUPLICATES_DETECTED:Use one of these records?:--");
        let error = ApiError::bad_request("REQUIRED_FIELD_MISSING", "Required fields are missing: [LastName]");
        let shown = "REQUIRED_FIELD_MISSING:Required fields are missing: [LastName]:LastName --";
        assert_eq!(refusal(&error.with_fields(["LastName"])), shown);
    }
}
