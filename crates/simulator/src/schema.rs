//! Which objects and fields the org has; everything else is refused as the org would refuse it.
//!
//! The seed lies in `schema/*.toml`. A new object is a new table there and a line in [`SEEDS`].

use std::collections::HashMap;

use serde::Deserialize;

use crate::settings::{PublishBehavior, Settings};

const SEEDS: [&str; 6] = [
    include_str!("../schema/account.toml"),
    include_str!("../schema/contact.toml"),
    include_str!("../schema/limio_order.toml"),
    include_str!("../schema/opportunity.toml"),
    include_str!("../schema/order_event.toml"),
    include_str!("../schema/setup.toml"),
];

const COUNTRIES: &str = include_str!("../schema/countries.toml");

/// Place of an object in [`Schema::objects`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ObjectIx(pub(crate) usize);

/// Place of a field in [`Object::fields`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FieldIx(pub(crate) usize);

/// All objects, found by name (without case) or by key prefix.
#[derive(Debug)]
pub(crate) struct Schema {
    pub(crate) objects: Vec<Object>,
    pub(crate) countries: Vec<Country>,
    by_name: HashMap<String, ObjectIx>,
    by_prefix: HashMap<[u8; 3], ObjectIx>,
    /// Objects the engine itself works with.
    pub(crate) account: ObjectIx,
    pub(crate) contact: ObjectIx,
    pub(crate) user: ObjectIx,
    pub(crate) record_type: ObjectIx,
    pub(crate) organization: ObjectIx,
    pub(crate) duplicate_record_set: ObjectIx,
    pub(crate) duplicate_record_item: ObjectIx,
}

/// One sObject type.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Object {
    pub(crate) name: String,
    pub(crate) label: String,
    pub(crate) label_plural: String,
    pub(crate) key_prefix: String,
    #[serde(default)]
    pub(crate) custom: bool,
    /// A platform event: published, never stored.
    #[serde(default)]
    pub(crate) event: bool,
    /// When its events are published; only a platform event has it.
    #[serde(default)]
    pub(crate) publish_behavior: Option<PublishBehavior>,
    /// Rows cannot be written through the API.
    #[serde(default)]
    pub(crate) read_only: bool,
    /// `Name` is this text and a running number.
    #[serde(default)]
    pub(crate) auto_number: Option<String>,
    pub(crate) fields: Vec<Field>,
    #[serde(skip)]
    by_name: HashMap<String, FieldIx>,
}

/// One field, with what its validation needs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Field {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) label: String,
    #[serde(rename = "type")]
    pub(crate) kind: FieldType,
    #[serde(default)]
    pub(crate) length: usize,
    #[serde(default)]
    pub(crate) precision: u32,
    #[serde(default)]
    pub(crate) scale: u32,
    #[serde(default)]
    pub(crate) required: bool,
    #[serde(default)]
    pub(crate) read_only: bool,
    #[serde(default)]
    pub(crate) defaulted: bool,
    #[serde(default)]
    pub(crate) unique: bool,
    #[serde(default)]
    pub(crate) external_id: bool,
    #[serde(default)]
    pub(crate) id_lookup: bool,
    #[serde(default)]
    pub(crate) restricted: bool,
    #[serde(default)]
    pub(crate) values: Vec<String>,
    #[serde(default)]
    pub(crate) to: Vec<String>,
    #[serde(default)]
    pub(crate) relationship: Option<String>,
    /// A write of this lookup also locks the row it names.
    #[serde(default)]
    pub(crate) locks_parent: bool,
    #[serde(default)]
    pub(crate) needs: Option<Feature>,
    /// The field of the hidden Contact that follows this one on a person account.
    #[serde(default)]
    pub(crate) person: Option<String>,
}

/// Field types, by the names a describe call uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FieldType {
    Id,
    String,
    Textarea,
    Email,
    Phone,
    Url,
    Picklist,
    Reference,
    Boolean,
    Date,
    Datetime,
    Double,
    Currency,
    Int,
}

impl FieldType {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::String => "string",
            Self::Textarea => "textarea",
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Url => "url",
            Self::Picklist => "picklist",
            Self::Reference => "reference",
            Self::Boolean => "boolean",
            Self::Date => "date",
            Self::Datetime => "datetime",
            Self::Double => "double",
            Self::Currency => "currency",
            Self::Int => "int",
        }
    }
}

/// An org setting without which a field does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Feature {
    PersonAccounts,
    StateCountryPicklists,
}

/// A country of the address picklists.
#[derive(Debug, Deserialize)]
pub(crate) struct Country {
    pub(crate) code: String,
    pub(crate) name: String,
    /// Pairs of code and name.
    #[serde(default)]
    pub(crate) states: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct Countries {
    country: Vec<Country>,
}

#[derive(Deserialize)]
struct Several {
    object: Vec<Object>,
}

impl Schema {
    /// Reads the embedded seed.
    pub(crate) fn seed() -> Self {
        let mut objects: Vec<Object> = Vec::new();
        for seed in SEEDS {
            match toml::from_str::<Several>(seed) {
                Ok(several) => objects.extend(several.object),
                Err(_) => objects.push(toml::from_str(seed).expect("the embedded schema is read by a unit test")),
            }
        }
        let mut by_name = HashMap::new();
        let mut by_prefix = HashMap::new();
        for (place, object) in objects.iter_mut().enumerate() {
            object.finish();
            by_name.insert(object.name.to_ascii_lowercase(), ObjectIx(place));
            let mut prefix = [b'0'; 3];
            for (to, from) in prefix.iter_mut().zip(object.key_prefix.bytes()) {
                *to = from;
            }
            by_prefix.insert(prefix, ObjectIx(place));
        }
        let countries: Countries = toml::from_str(COUNTRIES).expect("the embedded countries are read by a unit test");
        let known = |name: &str| {
            *by_name.get(&name.to_ascii_lowercase()).expect("the embedded schema holds the standard objects")
        };
        Self {
            account: known("Account"),
            contact: known("Contact"),
            user: known("User"),
            record_type: known("RecordType"),
            organization: known("Organization"),
            duplicate_record_set: known("DuplicateRecordSet"),
            duplicate_record_item: known("DuplicateRecordItem"),
            objects,
            countries: countries.country,
            by_name,
            by_prefix,
        }
    }

    pub(crate) fn object(&self, ix: ObjectIx) -> &Object {
        &self.objects[ix.0]
    }

    pub(crate) fn find(&self, name: &str) -> Option<ObjectIx> {
        self.by_name.get(&name.to_ascii_lowercase()).copied()
    }

    pub(crate) fn by_prefix(&self, prefix: [u8; 3]) -> Option<ObjectIx> {
        self.by_prefix.get(&prefix).copied()
    }
}

impl Object {
    /// Adds the system fields and the name index.
    fn finish(&mut self) {
        let system = |name: &str, label: &str, kind, length| Field {
            name: name.to_owned(),
            label: label.to_owned(),
            kind,
            length,
            precision: 0,
            scale: 0,
            required: false,
            read_only: true,
            defaulted: true,
            unique: false,
            external_id: false,
            id_lookup: name == "Id",
            restricted: false,
            values: Vec::new(),
            to: if name.ends_with("ById") { vec!["User".to_owned()] } else { Vec::new() },
            relationship: name.strip_suffix("Id").filter(|_| name.ends_with("ById")).map(str::to_owned),
            locks_parent: false,
            needs: None,
            person: None,
        };
        let mut fields = Vec::with_capacity(self.fields.len() + 7);
        if self.event {
            fields.push(system("ReplayId", "Replay ID", FieldType::String, 1000));
            fields.push(system("EventUuid", "Event UUID", FieldType::String, 36));
        } else {
            fields.push(system("Id", &format!("{} ID", self.label), FieldType::Id, 18));
            fields.push(system("IsDeleted", "Deleted", FieldType::Boolean, 0));
        }
        fields.push(system("CreatedDate", "Created Date", FieldType::Datetime, 0));
        fields.push(system("CreatedById", "Created By ID", FieldType::Reference, 18));
        if !self.event {
            fields.push(system("LastModifiedDate", "Last Modified Date", FieldType::Datetime, 0));
            fields.push(system("LastModifiedById", "Last Modified By ID", FieldType::Reference, 18));
            fields.push(system("SystemModstamp", "System Modstamp", FieldType::Datetime, 0));
        }
        fields.append(&mut self.fields);
        for field in &mut fields {
            if field.label.is_empty() {
                field.label.clone_from(&field.name);
            }
            if field.kind == FieldType::Reference {
                field.length = 18;
            }
        }
        self.by_name =
            fields.iter().enumerate().map(|(ix, field)| (field.name.to_ascii_lowercase(), FieldIx(ix))).collect();
        self.fields = fields;
    }

    pub(crate) fn field(&self, ix: FieldIx) -> &Field {
        &self.fields[ix.0]
    }

    /// The field of that name, whether or not the user may see it.
    pub(crate) fn find(&self, name: &str) -> Option<FieldIx> {
        self.by_name.get(&name.to_ascii_lowercase()).copied()
    }

    /// The field of that name, if the org has it and the user sees it.
    pub(crate) fn find_visible(&self, name: &str, settings: &Settings) -> Option<FieldIx> {
        self.find(name).filter(|ix| self.is_visible(*ix, settings))
    }

    pub(crate) fn is_visible(&self, ix: FieldIx, settings: &Settings) -> bool {
        let field = self.field(ix);
        let exists = match field.needs {
            None => true,
            Some(Feature::PersonAccounts) => settings.person_accounts,
            Some(Feature::StateCountryPicklists) => settings.state_country_picklists,
        };
        exists && (settings.hidden_fields.is_empty() || !settings.hides(&self.name, &field.name))
    }

    /// The reference field whose relationship has that name.
    pub(crate) fn relationship(&self, name: &str) -> Option<FieldIx> {
        self.fields
            .iter()
            .position(|field| field.relationship.as_deref().is_some_and(|r| r.eq_ignore_ascii_case(name)))
            .map(FieldIx)
    }

    /// Fields with their places.
    pub(crate) fn each_field(&self) -> impl Iterator<Item = (FieldIx, &Field)> {
        self.fields.iter().enumerate().map(|(ix, field)| (FieldIx(ix), field))
    }
}

#[cfg(test)]
mod tests {
    use super::Schema;

    #[test]
    fn the_embedded_seed_is_read_and_names_only_objects_it_has() {
        let schema = Schema::seed();
        for object in &schema.objects {
            for field in &object.fields {
                for target in &field.to {
                    assert!(schema.find(target).is_some(), "{}.{} refers to {target}", object.name, field.name);
                }
                if let Some(person) = &field.person {
                    let contact = schema.object(schema.contact);
                    assert!(contact.find(person).is_some(), "{} follows no Contact field", field.name);
                }
            }
        }
        assert!(schema.countries.iter().any(|country| country.code == "US" && !country.states.is_empty()));
    }
}
