//! From files to a schema: merges what they say about an object, adds what every object has, and checks the names.

mod drafts;
mod fields;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::automation::{TriggerSeed, ValidationRuleSeed};
use super::source::{self, SchemaError, SchemaSource, did_you_mean};
use super::toml_file::{self, ObjectSeed, ValueSeed};
use super::{AutoNumber, Field, FieldIx, FieldType, Object, ObjectIx, Schema};
use super::{addresses, automation};
use drafts::{Draft, merge, mirror_on_account};
use fields::{field, plain};

const SEEDS: [(&str, &str); 7] = [
    ("account.toml", include_str!("../../schema/account.toml")),
    ("contact.toml", include_str!("../../schema/contact.toml")),
    ("individual.toml", include_str!("../../schema/individual.toml")),
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
                    let names = field.to.iter_mut().chain(&mut field.relationship).chain(&mut field.children);
                    names.for_each(|name| prefix(namespace, name));
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
            referencing: referencing(&objects),
            objects,
            countries: addresses::countries(),
            by_name,
            by_prefix,
        })
    }
}

/// For each object, the lookups that name its rows, but for objects whose rows nobody can delete and
/// for lookups the org keeps by itself.
fn referencing(objects: &[Object]) -> Vec<Vec<(ObjectIx, FieldIx)>> {
    let naming = |parent: &Object| {
        let lookups = objects.iter().enumerate().filter(|(_, object)| !object.event).flat_map(|(place, object)| {
            let named = object.each_field().filter(|(_, field)| !field.read_only && field.to.contains(&parent.name));
            named.map(move |(ix, _)| (ObjectIx(place), ix))
        });
        lookups.collect()
    };
    objects.iter().map(|object| if object.read_only || object.event { Vec::new() } else { naming(object) }).collect()
}

fn key(prefix: &str) -> [u8; 3] {
    let mut key = [b'0'; 3];
    for (to, from) in key.iter_mut().zip(prefix.bytes()) {
        *to = from;
    }
    key
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
