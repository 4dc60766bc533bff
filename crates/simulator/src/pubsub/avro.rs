//! The Avro schema of an event, and event payloads in its binary encoding.
//!
//! Source: Pub/Sub API guide, "Event Data Serialization with Apache Avro" and "Date Fields"; Platform Events Developer
//! Guide, "Platform Event Schema by Event Name", for names and `doc` of the fields.

use apache_avro::types::Value as Avro;
use apache_avro::{Schema, from_avro_datum, to_avro_datum};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::clock::{datetime_text, parse_datetime};
use crate::events::{read_value, utc};
use crate::ids::RecordId;
use crate::schema::{Field, FieldIx, FieldType, Object, ObjectIx};
use crate::settings::Settings;
use crate::validation::Changes;

const DAY_MS: i64 = 24 * 3_600_000;

/// The schema of one event object.
#[derive(Debug)]
pub(super) struct EventSchema {
    pub(super) id: String,
    pub(super) json: String,
    object: ObjectIx,
    parsed: Schema,
    /// Fields after `CreatedDate` and `CreatedById`, in the order of the record.
    fields: Vec<FieldIx>,
}

impl EventSchema {
    pub(super) fn new(definition: &Object, object: ObjectIx, settings: &Settings) -> Result<Self, String> {
        // Decoding believes no length that is larger than an event may be.
        apache_avro::util::max_allocation_bytes(super::MESSAGE_LIMIT);
        let fields: Vec<FieldIx> = definition
            .each_field()
            .filter(|(ix, field)| !field.read_only && definition.is_visible(*ix, settings))
            .map(|(ix, _)| ix)
            .collect();
        let mut described = vec![
            json!({ "name": "CreatedDate", "type": "long", "doc": "CreatedDate:DateTime" }),
            json!({ "name": "CreatedById", "type": "string", "doc": "CreatedBy:EntityId" }),
        ];
        for ix in &fields {
            let field = definition.field(*ix);
            let number = u64::try_from(object.0 * 1_000 + ix.0).unwrap_or(u64::MAX);
            let doc = format!("Data:{}:{}", data_type(field.kind), RecordId::new("00N", number).short());
            described.push(if field.required {
                json!({ "name": field.name, "type": avro_type(field.kind), "doc": doc })
            } else {
                json!({ "name": field.name, "type": ["null", avro_type(field.kind)], "doc": doc, "default": null })
            });
        }
        let record = json!({
            "type": "record", "name": definition.name, "namespace": "com.sforce.eventbus", "fields": described,
        });
        let json = record.to_string();
        let parsed = Schema::parse_str(&json).map_err(|error| error.to_string())?;
        // A recorded id is 22 characters long: sixteen bytes.
        let id = URL_SAFE_NO_PAD.encode(&Sha256::digest(json.as_bytes())[..16]);
        Ok(Self { id, json, object, parsed, fields })
    }

    pub(super) fn object(&self) -> ObjectIx {
        self.object
    }

    /// Reads a payload: typed values, and when and by whom it says it was created.
    pub(super) fn decode(&self, definition: &Object, payload: &[u8]) -> Result<(Changes, (String, String)), String> {
        let mut rest = payload;
        let record = from_avro_datum(&self.parsed, &mut rest, None).map_err(|error| error.to_string())?;
        if !rest.is_empty() {
            return Err(format!("{} bytes are left after the record", rest.len()));
        }
        let Avro::Record(values) = record else { return Err("the payload is no record".to_owned()) };
        let mut values = values.into_iter().map(|(_, value)| value);
        let (Some(Avro::Long(date)), Some(Avro::String(by))) = (values.next(), values.next()) else {
            return Err("CreatedDate and CreatedById are required".to_owned());
        };
        let date = in_range(date).ok_or("CreatedDate is out of range")?;
        if RecordId::parse(&by).is_none() {
            return Err(format!("CreatedById: id value of incorrect type: {by}"));
        }
        let mut changes = Changes::default();
        for (ix, value) in self.fields.iter().zip(values) {
            let field = definition.field(*ix);
            let value = to_json(field, value)?;
            let value = read_value(field, &value).map_err(|error| error.message)?;
            if !value.is_null() {
                changes.set(*ix, value);
            }
        }
        Ok((changes, (utc(&datetime_text(date)), by)))
    }

    /// The payload of a stored event.
    pub(super) fn encode(&self, definition: &Object, payload: &Map<String, Value>) -> Result<Vec<u8>, String> {
        let text = |name: &str| payload.get(name).and_then(Value::as_str).unwrap_or_default();
        let created = parse_datetime(text("CreatedDate")).unwrap_or_default();
        let mut values = vec![
            ("CreatedDate".to_owned(), Avro::Long(created)),
            ("CreatedById".to_owned(), Avro::String(text("CreatedById").to_owned())),
        ];
        for ix in &self.fields {
            let field = definition.field(*ix);
            let value = payload.get(&field.name).map(|value| to_avro(field, value));
            let value = match (field.required, value) {
                (true, value) => value.unwrap_or_else(|| to_avro(field, &Value::Null)),
                (false, Some(value)) => Avro::Union(1, Box::new(value)),
                (false, None) => Avro::Union(0, Box::new(Avro::Null)),
            };
            values.push((field.name.clone(), value));
        }
        to_avro_datum(&self.parsed, Avro::Record(values)).map_err(|error| error.to_string())
    }
}

fn avro_type(kind: FieldType) -> &'static str {
    match kind {
        FieldType::Boolean => "boolean",
        FieldType::Double | FieldType::Currency | FieldType::Percent | FieldType::Int => "double",
        FieldType::Date | FieldType::Datetime => "long",
        FieldType::Id
        | FieldType::String
        | FieldType::Textarea
        | FieldType::Email
        | FieldType::Phone
        | FieldType::Url
        | FieldType::Picklist
        | FieldType::Multipicklist
        | FieldType::Address
        | FieldType::Reference => "string",
    }
}

/// The name of the type in a field's `doc`.
fn data_type(kind: FieldType) -> &'static str {
    match kind {
        FieldType::Boolean => "Boolean",
        FieldType::Double | FieldType::Currency | FieldType::Percent | FieldType::Int => "Double",
        FieldType::Date => "DateOnly",
        FieldType::Datetime => "DateTime",
        FieldType::Textarea => "StringPlusClob",
        FieldType::Email => "Email",
        FieldType::Phone => "Phone",
        FieldType::Url => "Url",
        FieldType::Picklist => "DynamicEnum",
        FieldType::Multipicklist => "MultiEnum",
        FieldType::Address => "Address",
        FieldType::Id | FieldType::Reference => "EntityId",
        FieldType::String => "Text",
    }
}

/// Milliseconds a date-time can print, years 0 to 9999.
fn in_range(ms: i64) -> Option<i64> {
    (-62_167_219_200_000..=253_402_300_799_999).contains(&ms).then_some(ms)
}

fn to_json(field: &Field, value: Avro) -> Result<Value, String> {
    let value = if let Avro::Union(_, inner) = value { *inner } else { value };
    match (field.kind, value) {
        (_, Avro::Null) => Ok(Value::Null),
        (_, Avro::String(text)) => Ok(Value::String(text)),
        (_, Avro::Boolean(on)) => Ok(Value::Bool(on)),
        (_, Avro::Double(number)) => serde_json::Number::from_f64(number)
            .map(Value::Number)
            .ok_or_else(|| format!("{}: {number} is no number a field can hold", field.name)),
        (FieldType::Date, Avro::Long(ms)) => {
            let ms = in_range(ms).ok_or_else(|| format!("{}: the date is out of range", field.name))?;
            Ok(Value::String(datetime_text(ms).chars().take(10).collect()))
        }
        (_, Avro::Long(ms)) => {
            let ms = in_range(ms).ok_or_else(|| format!("{}: the date-time is out of range", field.name))?;
            Ok(Value::String(datetime_text(ms)))
        }
        (_, _) => Err(format!("{}: the value has a type that no field has", field.name)),
    }
}

/// A stored value; what does not fit its field's type becomes the type's empty value.
fn to_avro(field: &Field, value: &Value) -> Avro {
    let text = value.as_str().unwrap_or_default();
    match avro_type(field.kind) {
        "boolean" => Avro::Boolean(value.as_bool().unwrap_or_default()),
        "double" => Avro::Double(value.as_f64().unwrap_or_default()),
        "long" if field.kind == FieldType::Date => {
            let day = parse_datetime(&format!("{text}T00:00:00Z")).unwrap_or_default();
            Avro::Long(day.div_euclid(DAY_MS) * DAY_MS)
        }
        "long" => Avro::Long(parse_datetime(text).unwrap_or_default()),
        _ => Avro::String(text.to_owned()),
    }
}
