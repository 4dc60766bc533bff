//! What an object is made of, as far as a writer has to know before it writes.

use serde_json::Value;

use crate::error::Error;

/// A field of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its API name.
    pub name: String,
    /// Whether this user may fill it in a new record.
    pub createable: bool,
    /// Whether no two records may have the same value.
    pub unique: bool,
    /// The most characters of a text; 0 for what is no text.
    pub length: u64,
}

/// The fields that a describe lists.
pub(crate) fn fields(describe: &Value) -> Result<Vec<Field>, Error> {
    let read = |field: &Value| {
        let flag = |name: &str| field.get(name).and_then(Value::as_bool).unwrap_or_default();
        Some(Field {
            name: field.get("name")?.as_str()?.to_owned(),
            createable: flag("createable"),
            unique: flag("unique"),
            length: field.get("length").and_then(Value::as_u64).unwrap_or_default(),
        })
    };
    let fields = describe.get("fields").and_then(Value::as_array).map(|fields| fields.iter().map(read).collect());
    fields.flatten().ok_or_else(|| Error::Protocol("a describe without named fields".to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_field_does_not_say_it_is_not() {
        let describe = json!({ "fields": [
            { "name": "LimioId__c", "createable": true, "unique": true, "length": 255 },
            { "name": "Id" },
        ] });
        let read = fields(&describe).expect("a describe");
        assert_eq!(read[0], Field { name: "LimioId__c".into(), createable: true, unique: true, length: 255 });
        assert_eq!(read[1], Field { name: "Id".into(), createable: false, unique: false, length: 0 });
    }

    #[test]
    fn an_answer_that_lists_no_fields_is_none() {
        for bad in [json!({}), json!({ "fields": {} }), json!({ "fields": [{ "label": "Name" }] }), json!([])] {
            assert!(fields(&bad).is_err(), "{bad}");
        }
    }
}
