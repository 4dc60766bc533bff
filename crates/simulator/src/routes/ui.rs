//! `/ui-api`: the two resources about duplicates. They ask the engine that saves ask.
//!
//! Source: User Interface API Developer Guide, "Check for Duplicate Records", "Get Duplicate Management Configuration for
//! a Specified Object" and the response bodies they name (`Duplicates`, `Match`, `Duplicate Result Info`, `Duplicates
//! Configuration`, `Duplicate Rule`, `Match Rule`); key order and `eTag` after a recorded configuration of Lead.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::data::Resource;
use crate::api_error::ApiError;
use crate::call::Call;
use crate::duplicates::{self, DuplicateAction, DuplicateRule, Fired, RuleResponse};
use crate::ids::RecordId;
use crate::org::{Org, State};
use crate::records::Row;
use crate::reply::Reply;
use crate::schema::{Feature, ObjectIx};
use crate::validation::{self, Mode};

/// From this API version on the resources exist.
const SINCE: u32 = 50;

pub(crate) fn handle(org: &Arc<Org>, resource: &Resource, call: &Call) -> Result<Reply, ApiError> {
    if call.major() < SINCE {
        return Err(ApiError::not_found());
    }
    let parts: Vec<&str> = resource.segments.iter().skip(1).map(String::as_str).collect();
    match (resource.method.as_str(), parts.as_slice()) {
        ("POST", ["predupe"]) => predupe(org, resource, call),
        (method, ["predupe"]) => Err(ApiError::method_not_allowed(method, "POST")),
        ("GET", ["duplicates", object]) => configuration(org, object, resource, call),
        (method, ["duplicates", _]) => Err(ApiError::method_not_allowed(method, "GET,HEAD")),
        _ => Err(ApiError::not_found()),
    }
}

fn supported(org: &Org, name: &str, call: &Call) -> Result<ObjectIx, ApiError> {
    let found = org.schema.find_readable(name, &call.settings);
    let found = found.filter(|ix| !org.schema.object(*ix).event && !org.schema.object(*ix).read_only);
    found.ok_or_else(|| ApiError::bad_request("INVALID_TYPE", format!("Object {name} is not supported in UI API")))
}

/// Whether a record type is one of people.
fn is_person_type(org: &Org, state: &State, id: RecordId) -> bool {
    let flag = org.schema.object(org.schema.record_type).find("IsPersonType");
    let row = state.table(org.schema.record_type).get(id, None);
    row.zip(flag).is_some_and(|(row, flag)| row.flag(flag))
}

fn predupe(org: &Arc<Org>, resource: &Resource, call: &Call) -> Result<Reply, ApiError> {
    const KEYS: [&str; 3] = ["allowSaveOnDuplicate", "apiName", "fields"];
    let body = resource.object()?;
    if let Some(key) = body.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(ApiError::json(format!("Unrecognized field \"{key}\" at [line:1, column:1]")));
    }
    let Some(name) = body.get("apiName").and_then(Value::as_str) else {
        return Err(ApiError::json("Required field is missing: apiName at [line:1, column:1]"));
    };
    let object = supported(org, name, call)?;
    let empty = Map::new();
    let fields = match body.get("fields") {
        None | Some(Value::Null) => &empty,
        Some(Value::Object(fields)) => fields,
        Some(_) => return Err(ApiError::json("Cannot deserialize instance of map: fields at [line:1, column:1]")),
    };
    let definition = org.schema.object(object);
    let reader = org.next_transaction();
    let state = org.state();
    let changes = validation::read_fields(&org.schema, &state, reader, object, fields, Mode::Create, &call.settings)?;
    let mut row = Row::default();
    for (field, value) in changes.iter() {
        row.set(*field, value.clone());
    }
    if object == org.schema.account
        && let Some(flag) = definition.find("IsPersonAccount")
    {
        let chosen = definition.find("RecordTypeId").and_then(|ix| row.text(ix)).and_then(RecordId::parse);
        let named = definition.find("Name").is_some_and(|ix| row.get(ix).is_some());
        let personal = changes
            .iter()
            .any(|(ix, value)| !value.is_null() && definition.field(*ix).needs == Some(Feature::PersonAccounts));
        let person = chosen.map_or(personal && !named, |id| is_person_type(org, &state, id));
        row.set(flag, Value::Bool(person && call.settings.person_accounts));
    }
    let saved = duplicates::Saved { object, existing: None, row: &row, reader };
    let fired: Vec<Fired<'_>> = duplicates::fired(org, &state, saved, None, call).collect();
    let rules: Vec<&str> = fired.iter().map(|fired| fired.rule.name.as_str()).collect();
    let answer = json!({
        "allowSave": fired.iter().all(Fired::allows),
        "duplicateError": !fired.is_empty(),
        "duplicateRules": rules,
        "matches": matches(org, &fired),
    });
    drop(state);
    Ok(Reply::json(200, answer))
}

/// Matches by the object they are of.
fn matches(org: &Org, fired: &[Fired<'_>]) -> Value {
    let mut groups: Vec<(ObjectIx, Map<String, Value>, Vec<String>)> = Vec::new();
    for fired in fired {
        for set in &fired.sets {
            let ids: Vec<String> = set.matches.iter().map(|(id, _)| id.to_string()).collect();
            let info = json!({
                "allowSave": fired.allows(),
                "matchResultInfo": { "recordIds": ids, "rule": set.rule },
                "rule": fired.rule.name,
            });
            if !groups.iter().any(|(object, ..)| *object == set.object) {
                groups.push((set.object, Map::new(), Vec::new()));
            }
            for (_, infos, all) in groups.iter_mut().filter(|(object, ..)| *object == set.object) {
                infos.insert(fired.rule.name.clone(), info.clone());
                let new: Vec<String> = ids.iter().filter(|id| !all.contains(id)).cloned().collect();
                all.extend(new);
            }
        }
    }
    groups
        .into_iter()
        .map(|(object, infos, ids)| {
            json!({
                "duplicateResultInfos": infos,
                "objectApiName": org.schema.object(object).name,
                "recordIds": ids,
            })
        })
        .collect()
}

fn configuration(org: &Org, name: &str, resource: &Resource, call: &Call) -> Result<Reply, ApiError> {
    let object = supported(org, name, call)?;
    let state = org.state();
    let record_type = resource.query.filled("recordTypeId").or_else(|| resource.query.filled("recordTypeID"));
    let person = match record_type {
        None => false,
        Some(text) => {
            let id = RecordId::parse(text).ok_or_else(|| {
                ApiError::bad_request("MALFORMED_ID", format!("Record Type ID: id value of incorrect type: {text}"))
            })?;
            call.settings.person_accounts && is_person_type(org, &state, id)
        }
    };
    let mut fields: Vec<&str> = Vec::new();
    let mut rules = Vec::new();
    for rule in state.rules.about(&org.schema, object, person) {
        for field in &rule.fields {
            if !fields.contains(&field.field.as_str()) {
                fields.push(&field.field);
            }
        }
        rules.push(rule_body(rule));
    }
    fields.sort_unstable();
    let mut answer = json!({
        "apiName": org.schema.object(object).name,
        "dedupeEnabled": !rules.is_empty(),
        "dedupeFields": fields,
        "duplicateRules": rules,
        "predupeEnabled": !rules.is_empty(),
    });
    tag(&mut answer);
    Ok(Reply::json(200, answer))
}

fn rule_body(rule: &DuplicateRule) -> Value {
    let action = |response: Option<RuleResponse>| match response.map(|response| response.action) {
        Some(DuplicateAction::Block) => "Block",
        Some(DuplicateAction::Allow) | None => "Allow",
    };
    let operations = |response: Option<RuleResponse>| -> Vec<&str> {
        let Some(response) = response else { return Vec::new() };
        let alert = response.alert.then_some("Alert");
        alert.into_iter().chain(response.report.then_some("Report")).collect()
    };
    let filters: Vec<Value> = if rule.filter.is_empty() {
        Vec::new()
    } else {
        let items = rule.filter.iter().zip(1..).map(|(item, order)| {
            json!({ "field": item.field, "operation": item.operation, "sortOrder": order, "value": item.value })
        });
        let items: Vec<Value> = items.collect();
        // The guide spells the last key so.
        vec![json!({ "booleanFilter": rule.filter_logic, "filterItems": items, "ruleCritera": null })]
    };
    let match_rules: Vec<Value> = rule
        .matching_rules()
        .iter()
        .map(|matching| {
            let mut fields: Vec<&str> = matching.fields.iter().map(|field| field.field.as_str()).collect();
            fields.sort_unstable();
            fields.dedup();
            let mut body = json!({
                "matchEngine": matching.engine,
                "matchFields": fields,
                "name": matching.name,
                "objectApiName": matching.object.as_ref().unwrap_or(&rule.object),
            });
            tag(&mut body);
            body
        })
        .collect();
    let mut body = json!({
        "actionOnInsert": action(rule.on_create),
        "actionOnUpdate": action(rule.on_edit),
        "active": rule.active,
        "duplicateRuleFilters": filters,
        "matchRules": match_rules,
        "name": rule.name,
        "operationsOnInsert": operations(rule.on_create),
        "operationsOnUpdate": operations(rule.on_edit),
    });
    tag(&mut body);
    body
}

/// Adds the `eTag` of a body, in alphabetical place.
fn tag(body: &mut Value) {
    let hash = Sha256::digest(body.to_string().as_bytes());
    let mut first = [0_u8; 16];
    for (to, from) in first.iter_mut().zip(hash.iter()) {
        *to = *from;
    }
    let tag = format!("{:032x}", u128::from_be_bytes(first));
    if let Value::Object(fields) = body {
        let place = fields.keys().position(|key| key.as_str() > "eTag").unwrap_or(fields.len());
        fields.shift_insert(place, "eTag".to_owned(), Value::String(tag));
    }
}
