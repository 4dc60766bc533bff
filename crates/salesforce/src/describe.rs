//! What objects are made of, as far as a writer has to know before it writes.

use serde_json::{Value, json};

use crate::error::{ApiError, Error};
use crate::{ApiVersion, envelope, limits, sobject};

/// An object, as this user sees it; also a platform event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Whether this user may make records of it, or publish it.
    pub createable: bool,
    /// Whether this user may change its records.
    pub updateable: bool,
    /// The fields that this user can see.
    pub fields: Vec<Field>,
}

/// A field of an object. What the org does not say of it, it is not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Field {
    /// Its API name.
    pub name: String,
    /// Its type, such as `boolean` or `reference`; empty where the org does not say it.
    pub kind: String,
    /// Whether this user may fill it in a new record.
    pub createable: bool,
    /// Whether this user may change it.
    pub updateable: bool,
    /// Whether a query may ask for records by it.
    pub filterable: bool,
    /// Whether it is an external id, by which records can be upserted.
    pub external_id: bool,
    /// Whether no two records may have the same value.
    pub unique: bool,
    /// The most characters of a text; 0 for what is no text.
    pub length: u64,
    /// The objects that a lookup leads to; several for one of several kinds.
    pub refers_to: Vec<String>,
    /// The name under which a query goes along a lookup, such as `Account__r`.
    pub relationship: Option<String>,
}

/// A composite request for all of them.
pub(crate) fn body(objects: &[&str], version: ApiVersion) -> Result<Value, Error> {
    limits::check("subrequests", limits::SUBREQUESTS, objects.len())?;
    let part = |(index, object): (usize, &&str)| {
        let url = format!("/services/data/v{version}/sobjects/{}/describe", sobject::name("an object", object)?);
        Ok(json!({ "method": "GET", "url": url, "referenceId": reference(index) }))
    };
    let parts = objects.iter().enumerate().map(part).collect::<Result<Vec<_>, Error>>()?;
    Ok(json!({ "allOrNone": false, "compositeRequest": parts }))
}

/// What became of each part of such a request, in the order in which they were asked.
pub(crate) fn answers(asked: usize, body: &Value) -> Result<Vec<Result<Described, ApiError>>, Error> {
    let parts = body.get("compositeResponse").and_then(Value::as_array);
    let parts = parts.ok_or_else(|| Error::Protocol("a composite answer without parts".to_owned()))?;
    let answer = |index: usize| {
        let reference = reference(index);
        let names = |part: &&Value| part.get("referenceId").and_then(Value::as_str) == Some(&reference);
        let part = parts.iter().find(names);
        let part = part.ok_or_else(|| Error::Protocol(format!("no answer for the part {reference:?}")))?;
        let body = part.get("body").unwrap_or(&Value::Null);
        match part.get("httpStatusCode").and_then(Value::as_u64) {
            Some(200..300) => described(body).map(Ok),
            status => {
                let error = envelope::errors(body).into_iter().next();
                let unexplained = || format!("status {} without an error", status.unwrap_or_default());
                Ok(Err(error.unwrap_or_else(|| ApiError::new("", unexplained()))))
            }
        }
    };
    (0..asked).map(answer).collect()
}

fn reference(index: usize) -> String {
    format!("object{index}")
}

fn described(describe: &Value) -> Result<Described, Error> {
    let fields = describe.get("fields").and_then(Value::as_array).map(|fields| fields.iter().map(field).collect());
    let fields: Option<Vec<Field>> = fields.flatten();
    let fields = fields.ok_or_else(|| Error::Protocol("a describe without named fields".to_owned()))?;
    Ok(Described { createable: flag(describe, "createable"), updateable: flag(describe, "updateable"), fields })
}

fn field(field: &Value) -> Option<Field> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let refers_to = field.get("referenceTo").and_then(Value::as_array);
    Some(Field {
        name: field.get("name").and_then(text)?,
        kind: field.get("type").and_then(text).unwrap_or_default(),
        createable: flag(field, "createable"),
        updateable: flag(field, "updateable"),
        filterable: flag(field, "filterable"),
        external_id: flag(field, "externalId"),
        unique: flag(field, "unique"),
        length: field.get("length").and_then(Value::as_u64).unwrap_or_default(),
        refers_to: refers_to.map(|objects| objects.iter().filter_map(text).collect()).unwrap_or_default(),
        relationship: field.get("relationshipName").and_then(text),
    })
}

fn flag(value: &Value, name: &str) -> bool {
    value.get(name).and_then(Value::as_bool).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &Value) -> Value {
        json!({ "compositeResponse": [{ "referenceId": "object0", "httpStatusCode": status, "body": body }] })
    }

    #[test]
    fn what_an_object_or_a_field_does_not_say_it_is_not() {
        let lookup = json!({ "name": "Account__c", "type": "reference", "createable": true, "updateable": true, "filterable": true,
                             "externalId": true, "unique": true, "length": 18, "referenceTo": ["Account"],
                             "relationshipName": "Account__r" });
        let whole = answer(200, &json!({ "createable": true, "updateable": true, "fields": [lookup] }));
        let read = answers(1, &whole).expect("an answer").remove(0).expect("a describe");
        let field = Field {
            name: "Account__c".into(),
            kind: "reference".into(),
            createable: true,
            updateable: true,
            filterable: true,
            external_id: true,
            unique: true,
            length: 18,
            refers_to: vec!["Account".into()],
            relationship: Some("Account__r".into()),
        };
        assert_eq!(read, Described { createable: true, updateable: true, fields: vec![field] });

        let bare = answer(200, &json!({ "fields": [{ "name": "Id", "relationshipName": null }] }));
        let read = answers(1, &bare).expect("an answer").remove(0).expect("a describe");
        let field = Field { name: "Id".into(), ..Field::default() };
        assert_eq!(read, Described { createable: false, updateable: false, fields: vec![field] });
    }

    #[test]
    fn an_answer_that_lists_no_fields_or_leaves_an_object_out_is_none() {
        for bad in
            [json!({}), json!({ "fields": {} }), json!({ "fields": [{ "label": "Name" }] }), json!([]), json!(null)]
        {
            assert!(answers(1, &answer(200, &bad)).is_err(), "{bad}");
        }
        assert!(answers(2, &answer(200, &json!({ "fields": [] }))).is_err());
        for bad in [json!([]), json!({ "compositeResponse": {} }), json!("no")] {
            assert!(answers(1, &bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_part_that_was_refused_without_a_word_is_a_refusal_all_the_same() {
        let refused = answers(1, &answer(500, &json!(null))).expect("an answer").remove(0).expect_err("refused");
        assert_eq!((refused.code.as_str(), refused.message.as_str()), ("", "status 500 without an error"));
    }
}
