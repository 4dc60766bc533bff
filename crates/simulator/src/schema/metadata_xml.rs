//! Salesforce source-format metadata: `objects/X__c/X__c.object-meta.xml`, `objects/X__c/fields/Y__c.field-meta.xml`.
//!
//! Elements that say nothing about data (layouts, tracking, sharing) are passed over. Formulas and roll-ups become
//! read-only fields without a value. Source: Metadata API Developer Guide, `CustomObject` and `CustomField`.

use std::path::Path;

use quick_xml::Reader;
use quick_xml::events::Event;
use serde::Deserialize;
use toml::Value as Toml;

use super::OnDelete;
use super::build::{Seed, SeedOf};
use super::source::SchemaError;
use super::toml_file::{FieldSeed, ObjectSeed, TypeName, ValueSeed, ValueTable};
use crate::settings::PublishBehavior;

const OBJECT: [&str; 2] = [".object-meta.xml", ".object"];
const FIELD: &str = ".field-meta.xml";

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CustomObject {
    label: Option<String>,
    plural_label: Option<String>,
    publish_behavior: Option<String>,
    name_field: Option<CustomField>,
    fields: Vec<CustomField>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CustomField {
    full_name: Option<String>,
    label: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    length: Option<usize>,
    precision: Option<u32>,
    scale: Option<u32>,
    required: bool,
    unique: bool,
    external_id: bool,
    case_sensitive: bool,
    default_value: Option<String>,
    inline_help_text: Option<String>,
    reference_to: Vec<String>,
    relationship_name: Option<String>,
    delete_constraint: Option<String>,
    reparentable_master_detail: bool,
    display_format: Option<String>,
    value_set: Option<ValueSet>,
    formula: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ValueSet {
    restricted: bool,
    #[serde(rename = "valueSetName")]
    global: Option<String>,
    #[serde(rename = "valueSetDefinition")]
    definition: Option<Definition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Definition {
    value: Vec<CustomValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CustomValue {
    full_name: String,
    label: Option<String>,
    default: bool,
    is_active: Option<bool>,
}

/// Whether a file of that name is an object or a field.
pub(crate) fn is_metadata(name: &str) -> bool {
    name.ends_with(FIELD) || OBJECT.iter().any(|end| name.ends_with(end))
}

/// Reads one object or field.
pub(crate) fn read(path: &Path, text: &str) -> Result<Vec<Seed>, SchemaError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if let Some(field) = name.strip_suffix(FIELD) {
        let folder = path.parent().filter(|folder| folder.ends_with("fields")).and_then(Path::parent);
        let Some(object) = folder.and_then(Path::file_name).and_then(|name| name.to_str()) else {
            let problem = "a field stands in `OBJECT/fields/`, which says whose it is; put it there";
            return Err(SchemaError::new(path, "", problem));
        };
        let mut parsed: CustomField = parse(path, text, "CustomField")?;
        parsed.full_name.get_or_insert_with(|| field.to_owned());
        return field_seeds(path, object, vec![parsed]);
    }
    let Some(object) = OBJECT.iter().find_map(|end| name.strip_suffix(end)) else {
        let problem = "is no metadata this org reads; name a .toml, .object-meta.xml or .field-meta.xml file";
        return Err(SchemaError::new(path, "", problem));
    };
    let parsed: CustomObject = parse(path, text, "CustomObject")?;
    let publish_behavior = match parsed.publish_behavior.as_deref() {
        None => None,
        Some("PublishAfterCommit") => Some(PublishBehavior::AfterCommit),
        Some("PublishImmediately") => Some(PublishBehavior::Immediately),
        Some(other) => {
            let problem = format!("publishBehavior `{other}` must be PublishAfterCommit or PublishImmediately");
            return Err(SchemaError::new(path, object, problem));
        }
    };
    let mut seeds = Vec::new();
    // Metadata of a standard object says nothing more than its fields.
    if object.contains("__") {
        let mut fields = Vec::new();
        let mut auto_number = None;
        if let Some(mut name) = parsed.name_field {
            if name.kind.as_deref() == Some("AutoNumber") {
                auto_number = Some(name.display_format.take().unwrap_or_else(|| "{0000}".to_owned()));
            }
            name.full_name = Some("Name".to_owned());
            name.kind = Some("Text".to_owned());
            name.length = Some(80);
            let mut seed = custom(path, object, name)?;
            seed.id_lookup = true;
            seed.defaulted = true;
            fields.push(seed);
        }
        seeds.push(Seed::new(
            path,
            SeedOf::Object(ObjectSeed {
                name: object.to_owned(),
                label: parsed.label,
                label_plural: parsed.plural_label,
                publish_behavior,
                auto_number,
                fields,
                ..ObjectSeed::default()
            }),
        ));
    }
    seeds.append(&mut field_seeds(path, object, parsed.fields)?);
    Ok(seeds)
}

fn parse<'de, T: Deserialize<'de>>(path: &Path, text: &'de str, root: &str) -> Result<T, SchemaError> {
    let mut reader = Reader::from_str(text);
    let place = |at: u64| {
        let before = usize::try_from(at).ok().and_then(|at| text.get(..at)).unwrap_or(text);
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        format!("{}:{column}", before.matches('\n').count() + 1)
    };
    let mut first = true;
    loop {
        match reader.read_event() {
            Ok(Event::Start(start) | Event::Empty(start)) if first => {
                first = false;
                let found = start.local_name().as_ref().to_owned();
                if found != root {
                    let problem = format!("starts with <{found}>, but a file of this name holds a <{root}>");
                    return Err(SchemaError::new(path, place(reader.buffer_position()), problem));
                }
            }
            Ok(Event::Eof) => break,
            Ok(_) => {}
            Err(error) => {
                let problem = format!("is not well-formed XML ({error}); mend it there");
                return Err(SchemaError::new(path, place(reader.error_position()), problem));
            }
        }
    }
    if first {
        return Err(SchemaError::new(path, "1:1", format!("is empty; it should hold a <{root}>")));
    }
    quick_xml::de::from_str(text)
        .map_err(|error| SchemaError::new(path, root, format!("{error}; see the Metadata API guide for this element")))
}

/// Custom fields as they are; of standard fields only the values of their picklist.
fn field_seeds(path: &Path, object: &str, fields: Vec<CustomField>) -> Result<Vec<Seed>, SchemaError> {
    let mut seeds = Vec::new();
    let mut own = Vec::new();
    for field in fields {
        let name = field.full_name.clone().unwrap_or_default();
        if name.is_empty() {
            return Err(SchemaError::new(path, object, "a <fields> element without <fullName>; name the field"));
        }
        if name.ends_with("__c") {
            own.push(custom(path, object, field)?);
        } else if let Some(set) = field.value_set {
            let of = SeedOf::Values {
                object: object.to_owned(),
                field: name.clone(),
                restricted: set.restricted,
                values: values(path, &format!("{object}.{name}"), set)?,
            };
            seeds.push(Seed::new(path, of));
        }
    }
    if !own.is_empty() {
        let of = ObjectSeed { name: object.to_owned(), fields: own, ..ObjectSeed::default() };
        seeds.insert(0, Seed::new(path, SeedOf::Object(of)));
    }
    Ok(seeds)
}

fn custom(path: &Path, object: &str, field: CustomField) -> Result<FieldSeed, SchemaError> {
    let name = field.full_name.unwrap_or_default();
    let place = format!("{object}.{name}");
    let wrong = |problem: String| Err(SchemaError::new(path, place.clone(), problem));
    let kind = field.kind.as_deref().unwrap_or_default();
    let computed = field.formula.is_some() || kind == "Summary";
    let Some(type_name) = type_of(kind) else {
        return wrong(format!("the type `{kind}` is not simulated; leave this field out"));
    };
    let reference = matches!(type_name, TypeName::Lookup | TypeName::MasterDetail);
    let on_delete = match field.delete_constraint.as_deref() {
        None => None,
        Some("SetNull") => Some(OnDelete::SetNull),
        Some("Restrict") => Some(OnDelete::Restrict),
        Some("Cascade") => Some(OnDelete::Cascade),
        Some(other) => return wrong(format!("deleteConstraint `{other}` must be SetNull, Restrict or Cascade")),
    };
    let (restricted, values) = match field.value_set {
        None => (false, Vec::new()),
        Some(set) => (set.restricted, values(path, &place, set)?),
    };
    Ok(FieldSeed {
        kind: type_name,
        label: field.label,
        length: field.length,
        precision: field.precision,
        scale: field.scale,
        required: field.required,
        read_only: computed,
        create_only: false,
        defaulted: false,
        default: field.default_value.as_deref().filter(|_| !computed).and_then(|text| literal(type_name, text)),
        unique: field.unique,
        case_sensitive: field.case_sensitive,
        external_id: field.external_id,
        id_lookup: false,
        restricted,
        values,
        to: if reference { field.reference_to } else { Vec::new() },
        relationship: None,
        children: field.relationship_name.filter(|_| reference).map(|name| format!("{name}__r")),
        on_delete: on_delete.filter(|_| reference),
        reparentable: field.reparentable_master_detail,
        locks_parent: false,
        needs: None,
        person: None,
        format: field.display_format,
        help: field.inline_help_text,
        compound: None,
        name,
    })
}

fn type_of(name: &str) -> Option<TypeName> {
    Some(match name {
        "AutoNumber" => TypeName::AutoNumber,
        "Checkbox" => TypeName::Checkbox,
        "Currency" => TypeName::Currency,
        "Date" => TypeName::Date,
        "DateTime" => TypeName::DateTime,
        "Email" => TypeName::Email,
        "Html" => TypeName::Html,
        "LongTextArea" => TypeName::LongTextArea,
        "Lookup" => TypeName::Lookup,
        "MasterDetail" => TypeName::MasterDetail,
        "MultiselectPicklist" => TypeName::Multipicklist,
        "Number" | "Summary" => TypeName::Number,
        "Percent" => TypeName::Percent,
        "Phone" => TypeName::Phone,
        "Picklist" => TypeName::Picklist,
        "Text" => TypeName::Text,
        "TextArea" => TypeName::TextArea,
        "Url" => TypeName::Url,
        _ => return None,
    })
}

fn values(path: &Path, place: &str, set: ValueSet) -> Result<Vec<ValueSeed>, SchemaError> {
    if let Some(name) = &set.global {
        let problem = format!("takes its values from the global value set `{name}`; write the values in the field");
        return Err(SchemaError::new(path, place, problem));
    }
    let values = set.definition.unwrap_or_default().value;
    Ok(values
        .into_iter()
        .map(|value| {
            ValueSeed::Table(ValueTable {
                value: value.full_name,
                label: value.label,
                active: value.is_active.unwrap_or(true),
                default: value.default,
            })
        })
        .collect())
}

/// A default that is a plain literal; the rest of the formula language is not simulated.
fn literal(kind: TypeName, text: &str) -> Option<Toml> {
    let text = text.trim();
    if kind == TypeName::Checkbox {
        return text.to_ascii_lowercase().parse().ok().map(Toml::Boolean);
    }
    if matches!(kind, TypeName::Number | TypeName::Currency | TypeName::Percent) {
        return text.parse().ok().map(Toml::Float);
    }
    let inner = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'))?;
    (!inner.contains('"')).then(|| Toml::String(inner.to_owned()))
}
