//! A refusal as Salesforce words it, in the three shapes it takes on the wire.

use serde_json::{Map, Value, json};

/// A refusal: HTTP status, error code, message, and the fields it names.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) message: String,
    /// `None` leaves the key out, as most recorded bodies do.
    pub(crate) fields: Option<Vec<String>>,
    /// Key (one of two spellings) and content of a duplicate result.
    pub(crate) duplicate: Option<Box<(&'static str, Value)>>,
    /// Further refusals of the same row.
    pub(crate) also: Vec<Self>,
}

impl ApiError {
    pub(crate) fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into(), fields: None, duplicate: None, also: Vec::new() }
    }

    pub(crate) fn bad_request(code: &str, message: impl Into<String>) -> Self {
        Self::new(400, code, message)
    }

    pub(crate) fn with_fields<I: IntoIterator<Item = S>, S: Into<String>>(mut self, fields: I) -> Self {
        self.fields = Some(fields.into_iter().map(Into::into).collect());
        self
    }

    pub(crate) fn not_found() -> Self {
        Self::new(404, "NOT_FOUND", "The requested resource does not exist")
    }

    pub(crate) fn no_external_id(field: &str) -> Self {
        Self::new(404, "NOT_FOUND", format!("Provided external ID field does not exist or is not accessible: {field}"))
    }

    pub(crate) fn method_not_allowed(method: &str, allowed: &str) -> Self {
        Self::new(405, "METHOD_NOT_ALLOWED", format!("HTTP Method '{method}' not allowed. Allowed are {allowed}"))
    }

    pub(crate) fn json(message: impl Into<String>) -> Self {
        Self::bad_request("JSON_PARSER_ERROR", message)
    }

    pub(crate) fn unknown_field(field: &str, object: &str) -> Self {
        Self::bad_request("INVALID_FIELD", format!("No such column '{field}' on sobject of type {object}"))
    }

    pub(crate) fn lock(row: &str) -> Self {
        Self::bad_request(
            "UNABLE_TO_LOCK_ROW",
            format!("unable to obtain exclusive access to this record or 1 records: {row}"),
        )
        .with_fields([""; 0])
    }

    pub(crate) fn halted() -> Self {
        Self::bad_request(
            "PROCESSING_HALTED",
            "The transaction was rolled back since another operation in the same transaction failed.",
        )
    }

    /// The REST form: an array of objects with `errorCode`, most often one.
    pub(crate) fn body(&self) -> Value {
        Value::Array(self.each().map(Self::entry).collect())
    }

    /// This refusal and those that came with it.
    pub(crate) fn each(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.also)
    }

    fn entry(&self) -> Value {
        let mut object = Map::new();
        if let Some(duplicate) = &self.duplicate {
            object.insert(duplicate.0.to_owned(), duplicate.1.clone());
            object.insert("errorCode".into(), json!(self.code));
            object.insert("message".into(), json!(self.message));
        } else if matches!(
            self.code.as_str(),
            "NOT_FOUND" | "PROCESSING_HALTED" | "METHOD_NOT_ALLOWED" | "INVALIDJOBSTATE"
        ) {
            object.insert("errorCode".into(), json!(self.code));
            object.insert("message".into(), json!(self.message));
        } else {
            object.insert("message".into(), json!(self.message));
            object.insert("errorCode".into(), json!(self.code));
        }
        if let Some(fields) = &self.fields {
            object.insert("fields".into(), json!(fields));
        }
        Value::Object(object)
    }

    /// The REST form with `errorCode` in front, whatever the code.
    pub(crate) fn body_with_code_first(&self) -> Value {
        json!([{ "errorCode": self.code, "message": self.message }])
    }

    /// The refusal of a row among others: there the data APIs have their own word for a row that does not exist (SOAP API
    /// Developer Guide, "Status Codes").
    pub(crate) fn of_row(self) -> Self {
        if self.code != "NOT_FOUND" {
            return self;
        }
        Self::bad_request("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id").with_fields([""; 0])
    }

    /// The row form of sObject Collections: `statusCode`, and no duplicate result.
    pub(crate) fn row(&self, id: Option<&str>) -> Value {
        let error = |error: &Self| json!({ "statusCode": error.code, "message": error.message, "fields": error.fields.as_deref().unwrap_or_default() });
        let errors: Vec<Value> = self.each().map(error).collect();
        match id {
            Some(id) => json!({ "id": id, "success": false, "errors": errors }),
            None => json!({ "success": false, "errors": errors }),
        }
    }
}
