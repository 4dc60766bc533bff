//! One field, from what a file says of it.

use super::drafts::Draft;
use crate::schema::source::SchemaError;
use crate::schema::toml_file::{FieldSeed, TypeName, ValueSeed};
use crate::schema::{AutoNumber, Field, FieldType, OnDelete, PicklistValue};

pub(super) fn field(draft: &Draft, seed: &FieldSeed, event: bool) -> Result<Field, SchemaError> {
    let wrong = |problem: &str| SchemaError::new(&draft.file, format!("{}.{}", draft.seed.name, seed.name), problem);
    let (kind, length, most) = shape(seed.kind);
    let length = if kind == FieldType::Reference { 18 } else { seed.length.unwrap_or(length) };
    let numeric = kind.is_numeric();
    let scale = seed.scale.unwrap_or(if matches!(kind, FieldType::Currency | FieldType::Percent) { 2 } else { 0 });
    let precision = seed.precision.unwrap_or(if kind == FieldType::Int { 8 } else { 18 });
    if !draft.built_in {
        if most > 0 && (length == 0 || length > most) {
            return Err(wrong(&format!("length {length} is not possible for this type; use 1 to {most}")));
        }
        if numeric && (precision == 0 || precision > 18 || scale > precision) {
            return Err(wrong("a number has at most 18 digits, and no more after the point than in all"));
        }
    }
    let simple = matches!(
        seed.kind,
        TypeName::Text
            | TypeName::AnyTextArea
            | TypeName::LongTextArea
            | TypeName::Checkbox
            | TypeName::Date
            | TypeName::DateTime
            | TypeName::Number
    );
    if event && !simple {
        return Err(wrong(
            "an event's field is a Checkbox, Date, DateTime, Number, Text or LongTextArea; use one of those",
        ));
    }
    let reference = kind == FieldType::Reference;
    if reference && seed.to.is_empty() {
        return Err(wrong("a lookup says which object it names; write `to = [\"Account\"]`"));
    }
    if !reference && (!seed.to.is_empty() || seed.relationship.is_some() || seed.on_delete.is_some()) {
        return Err(wrong("only a Lookup or MasterDetail has `to`, `relationship` or `on_delete`; take them away"));
    }
    let key_type = matches!(kind, FieldType::String | FieldType::Email | FieldType::Double);
    if (seed.external_id || seed.unique) && !key_type && kind != FieldType::Int {
        return Err(wrong(
            "only Text, Number and Email can be external ids or unique; take `external_id` and `unique` away",
        ));
    }
    let master_detail = seed.kind == TypeName::MasterDetail;
    let custom = seed.name.ends_with("__c") || seed.name.ends_with("__pc");
    let relationship = seed
        .relationship
        .clone()
        .or_else(|| (reference && custom).then(|| seed.name.trim_end_matches('c').to_owned() + "r"));
    let auto = seed.kind == TypeName::AutoNumber;
    let on_delete = match seed.on_delete {
        Some(OnDelete::SetNull) if seed.required || master_detail => {
            return Err(wrong("a required lookup cannot be emptied; make `on_delete` restrict or cascade"));
        }
        Some(chosen) => chosen,
        None if master_detail => OnDelete::Cascade,
        None if seed.required => OnDelete::Restrict,
        None => OnDelete::SetNull,
    };
    Ok(Field {
        label: seed.label.clone().unwrap_or_else(|| if custom { plain(&seed.name) } else { seed.name.clone() }),
        name: seed.name.clone(),
        kind,
        length: if numeric { 0 } else { length },
        precision: if numeric && kind != FieldType::Int { precision } else { 0 },
        scale: if numeric { scale } else { 0 },
        required: seed.required || master_detail,
        read_only: seed.read_only || auto || kind == FieldType::Address,
        create_only: seed.create_only || (master_detail && !seed.reparentable),
        defaulted: seed.defaulted
            || seed.default.is_some()
            || auto
            || kind == FieldType::Boolean
            || seed.values.iter().any(|value| matches!(value, ValueSeed::Table(table) if table.default)),
        unique: seed.unique,
        case_sensitive: seed.case_sensitive,
        external_id: seed.external_id,
        id_lookup: seed.id_lookup,
        restricted: seed.restricted,
        values: seed.values.iter().map(value).collect(),
        to: seed.to.clone(),
        relationship,
        children: seed.children.as_ref().map(|name| child_name(name, custom)),
        master_detail,
        on_delete,
        // Help, "Record Locking Cheat Sheet": a lookup that is emptied with its parent does not lock it.
        locks_parent: seed.locks_parent || on_delete != OnDelete::SetNull,
        needs: seed.needs,
        person: seed.person.clone(),
        auto_number: auto.then(|| AutoNumber::parse(seed.format.as_deref().unwrap_or("{0000}"))),
        html: seed.kind == TypeName::Html,
        help: seed.help.clone(),
        compound: seed.compound.clone(),
        system: false,
    })
}

fn value(seed: &ValueSeed) -> PicklistValue {
    match seed {
        ValueSeed::Text(text) => {
            PicklistValue { value: text.clone(), label: text.clone(), active: true, default: false }
        }
        ValueSeed::Table(table) => PicklistValue {
            value: table.value.clone(),
            label: table.label.clone().unwrap_or_else(|| table.value.clone()),
            active: table.active,
            default: table.default,
        },
    }
}

/// Type, length where none is given, and the longest possible length (0: the type has none).
fn shape(name: TypeName) -> (FieldType, usize, usize) {
    match name {
        TypeName::Text => (FieldType::String, 255, 255),
        TypeName::AnyTextArea => (FieldType::Textarea, 255, 131_072),
        TypeName::TextArea => (FieldType::Textarea, 255, 255),
        TypeName::LongTextArea | TypeName::Html => (FieldType::Textarea, 32_768, 131_072),
        TypeName::Email => (FieldType::Email, 80, 0),
        TypeName::Phone => (FieldType::Phone, 40, 0),
        TypeName::Url => (FieldType::Url, 255, 0),
        TypeName::Picklist => (FieldType::Picklist, 255, 0),
        TypeName::Multipicklist => (FieldType::Multipicklist, 4_099, 0),
        TypeName::Lookup | TypeName::MasterDetail => (FieldType::Reference, 18, 0),
        TypeName::Checkbox => (FieldType::Boolean, 0, 0),
        TypeName::Date => (FieldType::Date, 0, 0),
        TypeName::DateTime => (FieldType::Datetime, 0, 0),
        TypeName::Number => (FieldType::Double, 0, 0),
        TypeName::Currency => (FieldType::Currency, 0, 0),
        TypeName::Percent => (FieldType::Percent, 0, 0),
        TypeName::Int => (FieldType::Int, 0, 0),
        TypeName::Address => (FieldType::Address, 0, 0),
        TypeName::AutoNumber => (FieldType::String, 30, 30),
    }
}

/// Child relationships of custom fields end in `__r`.
fn child_name(name: &str, custom: bool) -> String {
    if custom && !name.ends_with("__r") { format!("{name}__r") } else { name.to_owned() }
}

/// `Some_Thing__c` as a person reads it.
pub(super) fn plain(name: &str) -> String {
    let short = name.rsplit_once("__").map_or(name, |(front, _)| front);
    short.rsplit("__").next().unwrap_or(short).replace('_', " ")
}
