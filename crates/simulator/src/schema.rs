//! Which objects and fields the org has; everything else is refused as the org would refuse it.
//!
//! The metadata every org has lies in `schema/*.toml`; [`source`] adds what a file brings. Field names, types, lengths
//! and labels follow the Object Reference and the Salesforce Field Reference Guide.

pub(crate) mod addresses;
pub(crate) mod automation;
pub(crate) mod build;
pub(crate) mod metadata_xml;
pub(crate) mod source;
mod system_fields;
pub(crate) mod toml_file;

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

use crate::settings::{PublishBehavior, Settings};
use addresses::{AddressFields, Country};
use automation::{Trigger, ValidationRule};

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
    /// The lookups that name rows of an object, by its place; none where no row can be deleted.
    pub(crate) referencing: Vec<Vec<(ObjectIx, FieldIx)>>,
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
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) name: String,
    pub(crate) label: String,
    pub(crate) label_plural: String,
    pub(crate) key_prefix: String,
    pub(crate) custom: bool,
    /// A platform event: published, never stored.
    pub(crate) event: bool,
    /// When a platform event reaches the bus; the setting decides where this is absent.
    pub(crate) publish_behavior: Option<PublishBehavior>,
    /// Rows cannot be written through the API.
    pub(crate) read_only: bool,
    pub(crate) fields: Vec<Field>,
    pub(crate) rules: Vec<ValidationRule>,
    pub(crate) triggers: Vec<Trigger>,
    /// Fields without which a row is not stored.
    pub(crate) required: Vec<FieldIx>,
    /// Values a new row starts with.
    pub(crate) defaults: Vec<(FieldIx, Value)>,
    /// Fields with a running number.
    pub(crate) auto_numbers: Vec<FieldIx>,
    /// The address groups, with the places of their parts.
    pub(crate) addresses: Vec<AddressFields>,
    by_name: HashMap<String, FieldIx>,
}

/// One field, with what its validation needs.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) label: String,
    pub(crate) kind: FieldType,
    pub(crate) length: usize,
    pub(crate) precision: u32,
    pub(crate) scale: u32,
    pub(crate) required: bool,
    /// Never written through the API.
    pub(crate) read_only: bool,
    /// Written on create only.
    pub(crate) create_only: bool,
    pub(crate) defaulted: bool,
    pub(crate) unique: bool,
    pub(crate) case_sensitive: bool,
    pub(crate) external_id: bool,
    pub(crate) id_lookup: bool,
    pub(crate) restricted: bool,
    pub(crate) values: Vec<PicklistValue>,
    pub(crate) to: Vec<String>,
    pub(crate) relationship: Option<String>,
    /// Name of the relationship from the parent to these rows.
    pub(crate) children: Option<String>,
    /// The parent owns these rows.
    pub(crate) master_detail: bool,
    pub(crate) on_delete: OnDelete,
    /// A write of this lookup also locks the row it names.
    pub(crate) locks_parent: bool,
    pub(crate) needs: Option<Feature>,
    /// The field of the hidden Contact that follows this one on a person account.
    pub(crate) person: Option<String>,
    pub(crate) auto_number: Option<AutoNumber>,
    /// Text with markup.
    pub(crate) html: bool,
    pub(crate) help: Option<String>,
    /// The compound field this one is a part of.
    pub(crate) compound: Option<String>,
    /// A field every object has; security settings do not reach it.
    pub(crate) system: bool,
}

/// One value of a picklist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PicklistValue {
    pub(crate) value: String,
    pub(crate) label: String,
    pub(crate) active: bool,
    pub(crate) default: bool,
}

/// What happens to a row when the row its lookup names is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnDelete {
    /// The lookup is emptied.
    SetNull,
    /// The deletion is refused.
    Restrict,
    /// The row is deleted too.
    Cascade,
}

/// The pattern of a running number: `LO-{000000}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AutoNumber {
    pub(crate) before: String,
    pub(crate) digits: usize,
    pub(crate) after: String,
}

impl AutoNumber {
    /// Reads a display format; one without braces is a prefix in front of six digits.
    pub(crate) fn parse(format: &str) -> Self {
        let parts = format.split_once("{0").and_then(|(before, rest)| {
            let (zeros, after) = rest.split_once('}')?;
            zeros.chars().all(|c| c == '0').then(|| (before, zeros.len() + 1, after))
        });
        let (before, digits, after) = parts.unwrap_or((format, 6, ""));
        Self { before: before.to_owned(), digits: digits.min(10), after: after.to_owned() }
    }

    pub(crate) fn text(&self, number: u64) -> String {
        format!("{}{number:0width$}{}", self.before, self.after, width = self.digits)
    }
}

/// Field types, by the names a describe call uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldType {
    Id,
    String,
    Textarea,
    Email,
    Phone,
    Url,
    Picklist,
    Multipicklist,
    Reference,
    Boolean,
    Date,
    Datetime,
    Double,
    Currency,
    Percent,
    Int,
    Address,
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
            Self::Multipicklist => "multipicklist",
            Self::Reference => "reference",
            Self::Boolean => "boolean",
            Self::Date => "date",
            Self::Datetime => "datetime",
            Self::Double => "double",
            Self::Currency => "currency",
            Self::Percent => "percent",
            Self::Int => "int",
            Self::Address => "address",
        }
    }

    /// A number of any kind.
    pub(crate) fn is_numeric(self) -> bool {
        matches!(self, Self::Double | Self::Currency | Self::Percent | Self::Int)
    }
}

/// An org setting without which a field does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Feature {
    PersonAccounts,
    StateCountryPicklists,
    /// Address codes of people.
    PersonStateCountryPicklists,
}

/// What goes by `name`, whose letters may be of either case. Names are short, so they are folded on the stack.
fn without_case<T: Copy>(names: &HashMap<String, T>, name: &str) -> Option<T> {
    let mut buffer = [0; 64];
    let Some(folded) = buffer.get_mut(..name.len()) else {
        return names.get(&name.to_ascii_lowercase()).copied();
    };
    folded.copy_from_slice(name.as_bytes());
    folded.make_ascii_lowercase();
    names.get(std::str::from_utf8(folded).ok()?).copied()
}

impl Schema {
    pub(crate) fn object(&self, ix: ObjectIx) -> &Object {
        &self.objects[ix.0]
    }

    pub(crate) fn find(&self, name: &str) -> Option<ObjectIx> {
        without_case(&self.by_name, name)
    }

    /// The object of that name, if the user may read it; to anyone else it does not exist.
    pub(crate) fn find_readable(&self, name: &str, settings: &Settings) -> Option<ObjectIx> {
        self.find(name).filter(|ix| settings.permission(&self.object(*ix).name).read)
    }

    /// The lookup behind the child relationship of `parent` that goes by `name`, if the user may see both ends.
    pub(crate) fn child(&self, parent: ObjectIx, name: &str, settings: &Settings) -> Option<(ObjectIx, FieldIx)> {
        let parent = &self.object(parent).name;
        let known = self.objects.iter().enumerate().find_map(|(place, object)| {
            let mut links = object.each_field().filter(|(_, field)| field.to.contains(parent));
            let named = links
                .find(|(_, field)| field.children.as_deref().is_some_and(|child| child.eq_ignore_ascii_case(name)));
            named.map(|(ix, _)| (ObjectIx(place), ix))
        });
        known.filter(|(child, link)| {
            let child = self.object(*child);
            child.is_visible(*link, settings) && settings.permission(&child.name).read
        })
    }

    pub(crate) fn by_prefix(&self, prefix: [u8; 3]) -> Option<ObjectIx> {
        self.by_prefix.get(&prefix).copied()
    }
}

impl Object {
    pub(crate) fn field(&self, ix: FieldIx) -> &Field {
        &self.fields[ix.0]
    }

    /// The field of that name, whether or not the user may see it.
    pub(crate) fn find(&self, name: &str) -> Option<FieldIx> {
        without_case(&self.by_name, name)
    }

    /// The field of that name, if the org has it and the user sees it.
    pub(crate) fn find_visible(&self, name: &str, settings: &Settings) -> Option<FieldIx> {
        self.find(name).filter(|ix| self.is_visible(*ix, settings))
    }

    /// The org's features include what the field needs.
    pub(crate) fn exists(&self, ix: FieldIx, settings: &Settings) -> bool {
        match self.field(ix).needs {
            None => true,
            Some(Feature::PersonAccounts) => settings.person_accounts,
            Some(Feature::StateCountryPicklists) => settings.state_country_picklists,
            Some(Feature::PersonStateCountryPicklists) => settings.person_accounts && settings.state_country_picklists,
        }
    }

    /// The user may read the field. Fields of events know no field-level security (Platform Events Developer Guide,
    /// "Considerations for Defining and Publishing Platform Events").
    pub(crate) fn is_visible(&self, ix: FieldIx, settings: &Settings) -> bool {
        let field = self.field(ix);
        let open = self.event || settings.hidden_fields.is_empty() || field.system;
        self.exists(ix, settings) && (open || !settings.hides(&self.name, &field.name))
    }

    /// The field may be written on create: neither its nature nor field-level security forbids it.
    pub(crate) fn is_writable(&self, ix: FieldIx, settings: &Settings) -> bool {
        let field = self.field(ix);
        let open = self.event || settings.read_only_fields.is_empty();
        !field.read_only && (open || !settings.forbids_writing(&self.name, &field.name))
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

impl Field {
    /// A field only people have.
    pub(crate) fn is_personal(&self) -> bool {
        matches!(self.needs, Some(Feature::PersonAccounts | Feature::PersonStateCountryPicklists))
    }

    /// The refusal names this field.
    pub(crate) fn refuse(&self, code: &str, message: impl std::fmt::Display) -> crate::api_error::ApiError {
        crate::api_error::ApiError::bad_request(code, format!("{}: {message}", self.label))
            .with_fields([self.name.clone()])
    }
}

#[cfg(test)]
mod tests {
    use super::AutoNumber;

    #[test]
    fn running_numbers_are_padded_between_their_texts() {
        assert_eq!(AutoNumber::parse("LO-{000000}").text(7), "LO-000007");
        assert_eq!(AutoNumber::parse("A-{0}/x").text(12), "A-12/x");
        assert_eq!(AutoNumber::parse("DRS-").text(1), "DRS-000001");
    }
}
