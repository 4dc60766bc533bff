//! From files to a schema: merges what they say about an object, adds what every object has, and checks the names.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::automation::{TriggerSeed, ValidationRuleSeed};
use super::source::{self, SchemaError, SchemaSource, did_you_mean};
use super::toml_file::{self, FieldSeed, ObjectSeed, TypeName, ValueSeed};
use super::{AutoNumber, Feature, Field, FieldIx, FieldType, Object, ObjectIx, OnDelete, PicklistValue, Schema};
use super::{addresses, automation};

const SEEDS: [(&str, &str); 6] = [
    ("account.toml", include_str!("../../schema/account.toml")),
    ("contact.toml", include_str!("../../schema/contact.toml")),
    ("limio_order.toml", include_str!("../../schema/limio_order.toml")),
    ("opportunity.toml", include_str!("../../schema/opportunity.toml")),
    ("order_event.toml", include_str!("../../schema/order_event.toml")),
    ("setup.toml", include_str!("../../schema/setup.toml")),
];

/// One thing a file says, with the file for what is wrong about it.
#[derive(Debug, Clone)]
pub(crate) struct Seed {
    pub(crate) file: PathBuf,
    pub(crate) of: SeedOf,
}

#[derive(Debug, Clone)]
pub(crate) enum SeedOf {
    Object(ObjectSeed),
    /// Values of a standard picklist, as metadata of a standard field gives them.
    Values {
        object: String,
        field: String,
        values: Vec<ValueSeed>,
        restricted: bool,
    },
    Rule(ValidationRuleSeed),
    Trigger(TriggerSeed),
}

impl Seed {
    pub(crate) fn new(file: &Path, of: SeedOf) -> Self {
        Self { file: file.to_owned(), of }
    }

    /// Puts custom names that have no namespace into one.
    pub(crate) fn namespaced(&mut self, namespace: &str) {
        match &mut self.of {
            SeedOf::Object(object) => {
                prefix(namespace, &mut object.name);
                for field in &mut object.fields {
                    prefix(namespace, &mut field.name);
                    field.to.iter_mut().chain(&mut field.relationship).for_each(|name| prefix(namespace, name));
                }
            }
            SeedOf::Values { object, .. } => prefix(namespace, object),
            SeedOf::Rule(rule) => rule.each_name(|name| prefix(namespace, name)),
            SeedOf::Trigger(trigger) => trigger.each_name(|name| prefix(namespace, name)),
        }
    }
}

/// `Name__c` becomes `namespace__Name__c`.
fn prefix(namespace: &str, name: &mut String) {
    let custom = name.ends_with("__c") || name.ends_with("__e") || name.ends_with("__r");
    if custom && name.matches("__").count() == 1 {
        name.insert_str(0, &format!("{namespace}__"));
    }
}

/// An object while its files are put together.
struct Draft {
    file: PathBuf,
    seed: ObjectSeed,
    /// From the crate, not from a file of the user's.
    built_in: bool,
}

impl Schema {
    /// The schema every org has, with what the sources add.
    pub(crate) fn load(sources: &[SchemaSource]) -> Result<Self, SchemaError> {
        let mut drafts: Vec<Draft> = Vec::new();
        let mut rest = Vec::new();
        for (name, text) in SEEDS {
            merge(toml_file::read(Path::new(name), text)?, &mut drafts, &mut rest, true)?;
        }
        for source in sources {
            merge(source::read(source)?, &mut drafts, &mut rest, false)?;
        }
        mirror_on_account(&mut drafts);
        let mut objects = Vec::with_capacity(drafts.len());
        let mut prefixes = Prefixes::default();
        for draft in &drafts {
            prefixes.reserve(draft)?;
        }
        for draft in &drafts {
            objects.push(object(draft, &mut prefixes)?);
        }
        let mut schema = Self::index(objects)?;
        for draft in &drafts {
            check_targets(&schema, draft)?;
        }
        for seed in rest {
            automation::attach(&mut schema, seed)?;
        }
        Ok(schema)
    }

    fn index(objects: Vec<Object>) -> Result<Self, SchemaError> {
        let mut by_name = HashMap::new();
        let mut by_prefix = HashMap::new();
        for (place, object) in objects.iter().enumerate() {
            by_name.insert(object.name.to_ascii_lowercase(), ObjectIx(place));
            by_prefix.insert(key(&object.key_prefix), ObjectIx(place));
        }
        let known = |name: &str| {
            by_name.get(&name.to_ascii_lowercase()).copied().ok_or_else(|| {
                SchemaError::new(Path::new("schema"), name, "the org cannot do without this standard object")
            })
        };
        Ok(Self {
            account: known("Account")?,
            contact: known("Contact")?,
            user: known("User")?,
            record_type: known("RecordType")?,
            organization: known("Organization")?,
            duplicate_record_set: known("DuplicateRecordSet")?,
            duplicate_record_item: known("DuplicateRecordItem")?,
            objects,
            countries: addresses::countries(),
            by_name,
            by_prefix,
        })
    }
}

fn key(prefix: &str) -> [u8; 3] {
    let mut key = [b'0'; 3];
    for (to, from) in key.iter_mut().zip(prefix.bytes()) {
        *to = from;
    }
    key
}

/// Adds what one file says to the drafts; a field said twice is taken as said last.
fn merge(seeds: Vec<Seed>, drafts: &mut Vec<Draft>, rest: &mut Vec<Seed>, built_in: bool) -> Result<(), SchemaError> {
    for seed in seeds {
        match seed.of {
            SeedOf::Object(object) => {
                let known = drafts.iter_mut().find(|draft| draft.seed.name.eq_ignore_ascii_case(&object.name));
                if let Some(draft) = known {
                    merge_object(draft, object, &seed.file, built_in)?;
                } else {
                    check_object_name(&seed.file, &object, built_in, drafts)?;
                    let mut seed_object = ObjectSeed { fields: Vec::new(), ..object.clone() };
                    seed_object.custom = Some(object.custom.unwrap_or_else(|| is_custom(&object.name)));
                    let mut draft = Draft { file: seed.file.clone(), seed: seed_object, built_in };
                    merge_object(&mut draft, object, &seed.file, built_in)?;
                    drafts.push(draft);
                }
            }
            SeedOf::Values { object, field, values, restricted } => {
                let known = drafts.iter_mut().find(|draft| draft.seed.name.eq_ignore_ascii_case(&object));
                let found = known.and_then(|draft| {
                    draft.seed.fields.iter_mut().find(|known| known.name.eq_ignore_ascii_case(&field))
                });
                if let Some(found) = found {
                    found.values = values;
                    found.restricted |= restricted;
                } else {
                    tracing::warn!(
                        file = %seed.file.display(), %object, %field, "a standard field this org does not have is left out"
                    );
                }
            }
            of @ (SeedOf::Rule(_) | SeedOf::Trigger(_)) => rest.push(Seed { file: seed.file, of }),
        }
    }
    Ok(())
}

fn is_custom(name: &str) -> bool {
    name.ends_with("__c") || name.ends_with("__e")
}

/// Letters, digits and underscores, a letter first.
fn is_name(text: &str) -> bool {
    text.len() <= 80
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn check_object_name(file: &Path, object: &ObjectSeed, built_in: bool, drafts: &[Draft]) -> Result<(), SchemaError> {
    let name = &object.name;
    if name.is_empty() {
        return Err(SchemaError::new(file, "object", "an object without a name; write `name = \"…__c\"`"));
    }
    if !is_name(name) {
        let problem = "is no API name; use letters, digits and underscores, a letter first";
        return Err(SchemaError::new(file, name, problem));
    }
    if !built_in && !is_custom(name) && object.custom != Some(false) {
        let hint = did_you_mean(name, drafts.iter().map(|draft| draft.seed.name.as_str()));
        let problem = format!(
            "the org has no standard object of this name, and a custom one ends in `__c` or `__e`; declare a standard \
             one in a .toml source before, with `custom = false`{hint}"
        );
        return Err(SchemaError::new(file, name, problem));
    }
    Ok(())
}

fn merge_object(draft: &mut Draft, object: ObjectSeed, file: &Path, built_in: bool) -> Result<(), SchemaError> {
    let seed = &mut draft.seed;
    seed.label = object.label.or(seed.label.take());
    seed.label_plural = object.label_plural.or(seed.label_plural.take());
    seed.key_prefix = object.key_prefix.or(seed.key_prefix.take());
    seed.auto_number = object.auto_number.or(seed.auto_number.take());
    seed.publish_behavior = object.publish_behavior.or(seed.publish_behavior);
    seed.read_only = object.read_only.or(seed.read_only);
    seed.event = object.event.or(seed.event);
    for field in object.fields {
        let place = format!("{}.{}", seed.name, field.name);
        if !is_name(&field.name) {
            let problem = "is no API name; use letters, digits and underscores, a letter first";
            return Err(SchemaError::new(file, place, problem));
        }
        if let Some(known) = seed.fields.iter_mut().find(|known| known.name.eq_ignore_ascii_case(&field.name)) {
            *known = field;
        } else {
            let theirs = !draft.built_in && seed.custom == Some(false);
            if !built_in && !theirs && !field.name.ends_with("__c") && field.name != "Name" {
                let hint = did_you_mean(&field.name, seed.fields.iter().map(|field| field.name.as_str()));
                let problem = format!("a custom field ends in `__c`{hint}");
                return Err(SchemaError::new(file, place, problem));
            }
            seed.fields.push(field);
        }
    }
    Ok(())
}

/// Custom fields of Contact are on Account too, for people, with `__pc` at their end (Help, "Person Account Fields").
fn mirror_on_account(drafts: &mut [Draft]) {
    let custom: Vec<FieldSeed> = drafts
        .iter()
        .filter(|draft| draft.seed.name == "Contact")
        .flat_map(|draft| &draft.seed.fields)
        .filter(|field| field.name.ends_with("__c"))
        .cloned()
        .collect();
    let Some(account) = drafts.iter_mut().find(|draft| draft.seed.name == "Account") else { return };
    for field in custom {
        let name = format!("{}pc", field.name.trim_end_matches('c'));
        let mirror = FieldSeed {
            person: Some(field.name.clone()),
            needs: Some(Feature::PersonAccounts),
            relationship: field.relationship.as_ref().map(|_| name.replace("__pc", "__pr")),
            label: field.label.clone().or_else(|| Some(field.name.clone())),
            children: None,
            external_id: false,
            name,
            ..field
        };
        account.seed.fields.push(mirror);
    }
}

/// Key prefixes in use, and the next free ones.
#[derive(Default)]
struct Prefixes {
    used: Vec<String>,
}

impl Prefixes {
    fn reserve(&mut self, draft: &Draft) -> Result<(), SchemaError> {
        let Some(prefix) = &draft.seed.key_prefix else { return Ok(()) };
        let sound = prefix.len() == 3 && prefix.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !sound || self.used.contains(prefix) {
            let problem = format!("key_prefix `{prefix}` must be three letters or digits that no other object uses");
            return Err(SchemaError::new(&draft.file, &draft.seed.name, problem));
        }
        self.used.push(prefix.clone());
        Ok(())
    }

    fn next(&mut self, event: bool) -> String {
        const DIGITS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let first = if event { 'e' } else { 'a' };
        let all = DIGITS.iter().flat_map(|a| DIGITS.iter().map(move |b| (*a, *b)));
        let free = all
            .map(|(a, b)| format!("{first}{}{}", char::from(a), char::from(b)))
            .find(|prefix| !self.used.contains(prefix))
            .unwrap_or_else(|| format!("{first}zz"));
        self.used.push(free.clone());
        free
    }
}

fn object(draft: &Draft, prefixes: &mut Prefixes) -> Result<Object, SchemaError> {
    let seed = &draft.seed;
    let event = seed.event.unwrap_or_else(|| seed.name.ends_with("__e"));
    let custom = seed.custom.unwrap_or_default();
    let label = seed.label.clone().unwrap_or_else(|| plain(&seed.name));
    let mut fields = super::system_fields::of(&label, event);
    let mut own: Vec<Field> = Vec::with_capacity(seed.fields.len() + 2);
    for written in &seed.fields {
        own.push(field(draft, written, event)?);
    }
    if custom && !event {
        let owned = own.iter().any(|field| field.master_detail);
        own.splice(0..0, super::system_fields::of_custom(&label, owned, &own));
    }
    if let (Some(format), Some(name)) = (&seed.auto_number, own.iter_mut().find(|field| field.name == "Name")) {
        name.auto_number = Some(AutoNumber::parse(format));
        name.read_only = true;
        name.defaulted = true;
    }
    fields.append(&mut own);
    let mut object = Object {
        label_plural: seed.label_plural.clone().unwrap_or_else(|| format!("{label}s")),
        label,
        key_prefix: seed.key_prefix.clone().unwrap_or_else(|| prefixes.next(event)),
        name: seed.name.clone(),
        custom,
        event,
        publish_behavior: seed.publish_behavior,
        read_only: seed.read_only.unwrap_or_default(),
        rules: Vec::new(),
        triggers: Vec::new(),
        required: places(&fields, |field| field.required),
        defaults: defaults(seed, &fields),
        auto_numbers: places(&fields, |field| field.auto_number.is_some()),
        addresses: Vec::new(),
        by_name: fields.iter().enumerate().map(|(ix, field)| (field.name.to_ascii_lowercase(), FieldIx(ix))).collect(),
        fields,
    };
    object.addresses = addresses::of(&object);
    Ok(object)
}

fn places(fields: &[Field], wanted: impl Fn(&Field) -> bool) -> Vec<FieldIx> {
    fields.iter().enumerate().filter(|(_, field)| wanted(field)).map(|(ix, _)| FieldIx(ix)).collect()
}

/// `Some_Thing__c` as a person reads it.
fn plain(name: &str) -> String {
    let short = name.rsplit_once("__").map_or(name, |(front, _)| front);
    short.rsplit("__").next().unwrap_or(short).replace('_', " ")
}

/// What new rows start with: given defaults, default picklist values, and false where a box is not ticked.
fn defaults(seed: &ObjectSeed, fields: &[Field]) -> Vec<(FieldIx, Value)> {
    let given = |field: &Field| {
        seed.fields.iter().find(|written| written.name == field.name).and_then(|written| match &written.default {
            Some(toml::Value::String(text)) => Some(Value::from(text.as_str())),
            Some(toml::Value::Integer(number)) => Some(Value::from(*number)),
            Some(toml::Value::Float(number)) => Some(Value::from(*number)),
            Some(toml::Value::Boolean(flag)) => Some(Value::from(*flag)),
            _ => None,
        })
    };
    let each = fields.iter().enumerate().filter(|(_, field)| !field.system);
    each.filter_map(|(ix, field)| {
        let picked = field.values.iter().find(|value| value.default).map(|value| Value::from(value.value.as_str()));
        let box_ = (field.kind == FieldType::Boolean).then_some(Value::Bool(false));
        Some((FieldIx(ix), given(field).or(picked).or(box_)?))
    })
    .collect()
}

fn field(draft: &Draft, seed: &FieldSeed, event: bool) -> Result<Field, SchemaError> {
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
        children: seed.children.clone(),
        master_detail,
        on_delete: seed.on_delete.unwrap_or(if master_detail { OnDelete::Cascade } else { OnDelete::SetNull }),
        locks_parent: seed.locks_parent || master_detail,
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

/// Lookups name objects there are, and people's fields name fields of Contact.
fn check_targets(schema: &Schema, draft: &Draft) -> Result<(), SchemaError> {
    for field in &draft.seed.fields {
        let wrong =
            |problem: String| SchemaError::new(&draft.file, format!("{}.{}", draft.seed.name, field.name), problem);
        for target in &field.to {
            let events = schema.find(target).is_some_and(|ix| schema.object(ix).event);
            if schema.find(target).is_none() || events {
                let hint = did_you_mean(target, schema.objects.iter().map(|object| object.name.as_str()));
                return Err(wrong(format!("names the object `{target}`, which the org does not have{hint}")));
            }
        }
        if let Some(person) = &field.person
            && schema.object(schema.contact).find(person).is_none()
        {
            return Err(wrong(format!("follows `{person}`, which is no field of Contact")));
        }
    }
    Ok(())
}
