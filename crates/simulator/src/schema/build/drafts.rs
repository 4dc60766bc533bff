//! What several files say about one object, put together before its fields are built.

use std::path::{Path, PathBuf};

use super::{Seed, SeedOf};
use crate::schema::Feature;
use crate::schema::source::{SchemaError, did_you_mean};
use crate::schema::toml_file::{FieldSeed, ObjectSeed};

/// An object while its files are put together.
pub(super) struct Draft {
    pub(super) file: PathBuf,
    pub(super) seed: ObjectSeed,
    /// From the crate, not from a file of the user's.
    pub(super) built_in: bool,
}

/// Adds what one file says to the drafts; a field said twice is taken as said last.
pub(super) fn merge(
    seeds: Vec<Seed>,
    drafts: &mut Vec<Draft>,
    rest: &mut Vec<Seed>,
    built_in: bool,
) -> Result<(), SchemaError> {
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
pub(super) fn mirror_on_account(drafts: &mut [Draft]) {
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
