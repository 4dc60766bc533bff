//! A look at the org before the first order: does it have what the settings name?
//!
//! A field that the order's record needs and the org does not have would make a dead letter of every order; an external id
//! that is not unique lets an order or a customer be written twice. Both are found here, named, with what to do, all at
//! once. It costs one API call per start, whatever the settings name. An org that is away, or that does not let this user
//! look, stops nobody.

mod needs;

use std::collections::HashMap;
use std::time::Duration;

use domain::config::OrderProcessing;
use salesforce::{ApiError, Client, Described, Field};
use service::{Problems, Stopped};

use self::needs::{Access, Need, Object};

/// How long an org may take that answers slowly, for all objects together.
const PATIENCE: Duration = Duration::from_secs(20);

/// The setting that all of this is about.
const SETTING: &str = "CAUSEWAY_ORDER_PROCESSING";

/// What the org shows, by the object's name in lower case: Salesforce compares without regard to case.
type Shown = HashMap<String, Described>;

/// Looks whether the org has what the settings name.
///
/// # Errors
/// It lacks some. Each is named (exit code 78).
pub(crate) async fn look(client: &Client, processing: &OrderProcessing) -> Result<(), Stopped> {
    let needed = needs::of(processing);
    let mut names: Vec<&str> = Vec::new();
    for object in &needed {
        if !names.iter().any(|name| name.eq_ignore_ascii_case(object.name)) {
            names.push(object.name);
        }
    }
    let answers = match tokio::time::timeout(PATIENCE, client.describe(&names)).await {
        Ok(Ok(answers)) => answers,
        Ok(Err(error)) => {
            tracing::warn!(%error, "whether the org has what the settings name was not found out");
            return Ok(());
        }
        Err(_) => {
            tracing::warn!("whether the org has what the settings name was not found out in time");
            return Ok(());
        }
    };
    let problems = judged(&needed, &names, answers);
    if problems.is_empty() { Ok(()) } else { Err(Stopped::settings(problems.to_string())) }
}

/// Everything that is wrong. Of an object that the org did not tell of, nothing is.
fn judged(needed: &[Object<'_>], names: &[&str], answers: Vec<Result<Described, ApiError>>) -> Problems {
    let (mut shown, mut missing) = (Shown::new(), Vec::new());
    for (name, answer) in names.iter().zip(answers) {
        match answer {
            Ok(described) => drop(shown.insert(name.to_lowercase(), described)),
            Err(error) if is_missing(&error) => missing.push(*name),
            Err(error) => {
                tracing::warn!(%error, object = name, "whether the org has what the settings name of it was not found out");
            }
        }
    }
    let mut problems = Problems::default();
    for object in needed {
        if missing.iter().any(|name| name.eq_ignore_ascii_case(object.name)) {
            let what = format!("names {} ({}), which this org does not show", object.name, object.setting);
            problems.note(SETTING, what, object.remedy());
        } else if let Some(described) = shown.get(&object.name.to_lowercase()) {
            check(object, described, &shown, &mut problems);
        }
    }
    problems
}

fn is_missing(error: &ApiError) -> bool {
    matches!(error.code.as_str(), "NOT_FOUND" | "INVALID_TYPE")
}

/// Notes what an object lacks that is there.
fn check(object: &Object<'_>, described: &Described, shown: &Shown, problems: &mut Problems) {
    let lacks = match object.access {
        Access::Create if !described.createable => Some("which the integration user may not create"),
        Access::Edit if !described.updateable => Some("which the integration user may not change"),
        Access::Create | Access::Edit => None,
    };
    if let Some(lacks) = lacks {
        let what = format!("names {} ({}), {lacks}", object.name, object.setting);
        problems.note(SETTING, what, object.remedy());
    }
    for field in object.fields.iter().filter(|field| !field.name.is_empty()) {
        if let Some(lacks) = lacks_of(object.name, field, described, shown) {
            let what = format!("names {}.{} ({}), {lacks}", object.name, field.name, field.setting);
            problems.note(SETTING, what, field.remedy());
        }
    }
}

/// What a field lacks. A user who may not create the object is told so once, not for each of its fields.
fn lacks_of(object: &str, field: &needs::Field<'_>, described: &Described, shown: &Shown) -> Option<&'static str> {
    if field.need == Need::Sought {
        return not_sought(object, field.name, shown);
    }
    let Some(found) = named(described, field.name) else { return Some(NOT_THERE) };
    let barred = described.createable && !found.createable;
    match field.need {
        Need::Filled { .. } | Need::Belongs | Need::Traced | Need::OrderKey | Need::CustomerKey if barred => {
            Some("which the integration user may not fill")
        }
        Need::Filled { length } if found.length > 0 && found.length < length => Some("which is too short"),
        Need::OrderKey if !found.unique => Some("which is not unique: an order could be written twice"),
        Need::CustomerKey if !found.unique => Some("which is not unique: a customer could be written twice"),
        Need::OrderKey | Need::CustomerKey if !found.external_id => {
            Some("which is not an external id: nothing can be found by it")
        }
        Need::Traced if !found.filterable => Some(NOT_FILTERED),
        Need::Belongs | Need::Moved if !found.refers_to.iter().any(|to| to.eq_ignore_ascii_case("Account")) => {
            Some("which is no lookup to Account")
        }
        Need::Moved if described.updateable && !found.updateable => {
            Some("which cannot be changed: the integration user may not, or it is a master-detail that stays")
        }
        Need::Noted if !found.kind.eq_ignore_ascii_case("boolean") => {
            Some("which is no checkbox: whether an event went out could not be read from it")
        }
        Need::Noted if !found.updateable => Some("which the integration user may not change"),
        Need::Filled { .. }
        | Need::Belongs
        | Need::Traced
        | Need::OrderKey
        | Need::CustomerKey
        | Need::Noted
        | Need::Moved
        | Need::Sought => None,
    }
}

const NOT_FILTERED: &str = "by which nothing can be looked for";

const NOT_THERE: &str = "which the org does not have or does not show to the integration user";

/// What a field lacks by which records are looked for; it may be one of a parent, such as `Plan__r.LimioId__c`. Of a parent
/// that was not asked for nothing is known.
fn not_sought(object: &str, path: &str, shown: &Shown) -> Option<&'static str> {
    let mut described = shown.get(&object.to_lowercase())?;
    let mut path = path;
    while let Some((lookup, rest)) = path.split_once('.') {
        let leads =
            |field: &&Field| field.relationship.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(lookup));
        let Some(lookup) = described.fields.iter().find(leads) else { return Some(NOT_THERE) };
        let [parent] = lookup.refers_to.as_slice() else { return None };
        described = shown.get(&parent.to_lowercase())?;
        path = rest;
    }
    match named(described, path) {
        None => Some(NOT_THERE),
        Some(found) if !found.filterable => Some(NOT_FILTERED),
        Some(_) => None,
    }
}

fn named<'a>(described: &'a Described, name: &str) -> Option<&'a Field> {
    described.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_org_refuses_to_tell_is_not_called_missing() {
        let processing = OrderProcessing::default();
        let needed = needs::of(&processing);
        let names: Vec<&str> = needed.iter().map(|object| object.name).collect();
        let refused = |code: &str| names.iter().map(|_| Err(ApiError::new(code, ""))).collect();
        assert!(judged(&needed, &names, refused("UNKNOWN_EXCEPTION")).is_empty());
        assert_eq!(judged(&needed, &names, refused("NOT_FOUND")).found().len(), names.len());
    }
}
