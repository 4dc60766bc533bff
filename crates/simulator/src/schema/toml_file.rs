//! The TOML format of metadata, inside the crate and outside. Unknown keys are refused.
//!
//! A file holds one object at its top, or any number of tables:
//!
//! ```toml
//! namespace = "acme"                # optional: custom names without a namespace get it
//!
//! [[object]]                        # a new object, or more fields for one that exists
//! name = "Subscription__c"
//! label = "Subscription"
//! auto_number = "S-{00000}"         # without it the object has a Name to write
//! fields = [
//!   { name = "Account__c", type = "Lookup", to = ["Account"], children = "Subscriptions__r", on_delete = "restrict" },
//!   { name = "Status__c", type = "Picklist", restricted = true, values = ["New", { value = "Old", active = false }] },
//! ]
//!
//! [[validation_rule]]
//! object = "Subscription__c"
//! name = "Ended_needs_reason"
//! when = [{ field = "Status__c", equals = "Ended" }, { field = "Reason__c", blank = true }]
//! message = "Say why it ended."
//! field = "Reason__c"
//!
//! [[trigger]]
//! object = "Subscription__c"
//! name = "SubscriptionTrigger"
//! at = ["after insert"]
//! raises = "lock"
//! ```

use std::path::Path;

use serde::Deserialize;
use toml::Value as Toml;

use super::automation::{TriggerSeed, ValidationRuleSeed};
use super::build::{Seed, SeedOf};
use super::source::{SchemaError, did_you_mean, is_namespace};
use super::{Feature, OnDelete};
use crate::settings::PublishBehavior;

/// An object as a file writes it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ObjectSeed {
    pub(crate) name: String,
    pub(crate) label: Option<String>,
    pub(crate) label_plural: Option<String>,
    pub(crate) key_prefix: Option<String>,
    pub(crate) custom: Option<bool>,
    pub(crate) event: Option<bool>,
    pub(crate) publish_behavior: Option<PublishBehavior>,
    pub(crate) read_only: Option<bool>,
    /// Display format of the row's `Name`.
    pub(crate) auto_number: Option<String>,
    pub(crate) fields: Vec<FieldSeed>,
}

/// A field as a file writes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FieldSeed {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: TypeName,
    #[serde(default)]
    pub(crate) label: Option<String>,
    #[serde(default)]
    pub(crate) length: Option<usize>,
    #[serde(default)]
    pub(crate) precision: Option<u32>,
    #[serde(default)]
    pub(crate) scale: Option<u32>,
    #[serde(default)]
    pub(crate) required: bool,
    #[serde(default)]
    pub(crate) read_only: bool,
    #[serde(default)]
    pub(crate) create_only: bool,
    #[serde(default)]
    pub(crate) defaulted: bool,
    #[serde(default)]
    pub(crate) default: Option<Toml>,
    #[serde(default)]
    pub(crate) unique: bool,
    #[serde(default)]
    pub(crate) case_sensitive: bool,
    #[serde(default)]
    pub(crate) external_id: bool,
    #[serde(default)]
    pub(crate) id_lookup: bool,
    #[serde(default)]
    pub(crate) restricted: bool,
    #[serde(default)]
    pub(crate) values: Vec<ValueSeed>,
    #[serde(default)]
    pub(crate) to: Vec<String>,
    #[serde(default)]
    pub(crate) relationship: Option<String>,
    #[serde(default)]
    pub(crate) children: Option<String>,
    #[serde(default)]
    pub(crate) on_delete: Option<OnDelete>,
    /// A master-detail may be moved to another parent.
    #[serde(default)]
    pub(crate) reparentable: bool,
    #[serde(default)]
    pub(crate) locks_parent: bool,
    #[serde(default)]
    pub(crate) needs: Option<Feature>,
    #[serde(default)]
    pub(crate) person: Option<String>,
    /// Display format of an `AutoNumber`.
    #[serde(default)]
    pub(crate) format: Option<String>,
    #[serde(default)]
    pub(crate) help: Option<String>,
    #[serde(default)]
    pub(crate) compound: Option<String>,
}

/// A picklist value: its text, or a table.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "a text, or a table with `value` and optionally `label`, `active`, `default`")]
pub(crate) enum ValueSeed {
    Text(String),
    Table(ValueTable),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ValueTable {
    pub(crate) value: String,
    #[serde(default)]
    pub(crate) label: Option<String>,
    #[serde(default = "yes")]
    pub(crate) active: bool,
    #[serde(default)]
    pub(crate) default: bool,
}

fn yes() -> bool {
    true
}

/// A type by its describe name or by its metadata name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum TypeName {
    #[serde(rename = "string", alias = "Text")]
    Text,
    #[serde(rename = "textarea")]
    AnyTextArea,
    TextArea,
    LongTextArea,
    Html,
    #[serde(rename = "email", alias = "Email")]
    Email,
    #[serde(rename = "phone", alias = "Phone")]
    Phone,
    #[serde(rename = "url", alias = "Url")]
    Url,
    #[serde(rename = "picklist", alias = "Picklist")]
    Picklist,
    #[serde(rename = "multipicklist", alias = "MultiselectPicklist")]
    Multipicklist,
    #[serde(rename = "reference", alias = "Lookup")]
    Lookup,
    MasterDetail,
    #[serde(rename = "boolean", alias = "Checkbox")]
    Checkbox,
    #[serde(rename = "date", alias = "Date")]
    Date,
    #[serde(rename = "datetime", alias = "DateTime")]
    DateTime,
    #[serde(rename = "double", alias = "Number")]
    Number,
    #[serde(rename = "currency", alias = "Currency")]
    Currency,
    #[serde(rename = "percent", alias = "Percent")]
    Percent,
    #[serde(rename = "int")]
    Int,
    #[serde(rename = "address")]
    Address,
    AutoNumber,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    object: Vec<ObjectSeed>,
    #[serde(default)]
    validation_rule: Vec<ValidationRuleSeed>,
    #[serde(default)]
    trigger: Vec<TriggerSeed>,
}

/// Reads one file.
pub(crate) fn read(path: &Path, text: &str) -> Result<Vec<Seed>, SchemaError> {
    let wrong = |error: &toml::de::Error| {
        SchemaError::new(path, place(text, error.span().map_or(0, |span| span.start)), explain(error.message()))
    };
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| wrong(&error))?;
    let mut namespace = None;
    let mut seeds = Vec::new();
    if table.contains_key("name") {
        let object: ObjectSeed = toml::from_str(text).map_err(|error| wrong(&error))?;
        seeds.push(Seed::new(path, SeedOf::Object(object)));
    } else {
        let file: File = toml::from_str(text).map_err(|error| wrong(&error))?;
        namespace = file.namespace;
        seeds.extend(file.object.into_iter().map(|object| Seed::new(path, SeedOf::Object(object))));
        seeds.extend(file.validation_rule.into_iter().map(|rule| Seed::new(path, SeedOf::Rule(rule))));
        seeds.extend(file.trigger.into_iter().map(|trigger| Seed::new(path, SeedOf::Trigger(trigger))));
    }
    if let Some(namespace) = namespace {
        if !is_namespace(&namespace) {
            let problem = format!("`{namespace}` is no namespace; use up to 15 letters and digits, a letter first");
            return Err(SchemaError::new(path, "namespace", problem));
        }
        for seed in &mut seeds {
            seed.namespaced(&namespace);
        }
    }
    Ok(seeds)
}

/// `line:column` of a byte.
fn place(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("{line}:{column}")
}

/// The reader's message with the nearest known word; the list of all words only where nothing is near.
fn explain(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = message.starts_with("unknown field") || message.starts_with("unknown variant");
    let Some(word) = quoted.next().filter(|_| unknown) else { return message.to_owned() };
    let hint = did_you_mean(word, quoted);
    if hint.is_empty() {
        return message.to_owned();
    }
    let what = if message.starts_with("unknown field") { "key" } else { "value" };
    format!("unknown {what} `{word}`{hint}")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::read;

    #[test]
    fn a_misspelt_key_is_refused_with_its_place_and_the_right_word() {
        let text = "[[object]]\nname = \"A__c\"\nfields = [\n  { name = \"B__c\", type = \"Text\", lenght = 5 },\n]\n";
        let error = read(Path::new("x.toml"), text).expect_err("a misspelt key");
        let said = error.to_string();
        assert!(said.starts_with("x.toml:4:"), "{said}");
        assert!(said.ends_with("unknown key `lenght`; did you mean `length`?"), "{said}");
        let text = "name = \"A__c\"\nfields = [{ name = \"B__c\", type = \"Lokup\" }]";
        let said = read(Path::new("x.toml"), text).expect_err("a misspelt type").to_string();
        assert!(said.ends_with("unknown value `Lokup`; did you mean `Lookup`?"), "{said}");
    }
}
