//! Duplicate rules: what a save looks like when a rule fires.
//!
//! Rules see committed rows and the rows of their own transaction. The body is the one recorded from orgs,
//! with its misspelt key. Source: Help, "Duplicate Rules"; REST API Developer Guide, "Duplicate Rule Header".

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::api_error::ApiError;
use crate::call::Call;
use crate::ids::RecordId;
use crate::org::{Org, State};
use crate::records::{KeyPart, Row, Table, TransactionId};
use crate::schema::{FieldIx, ObjectIx, Schema};
use crate::settings::GraphDuplicateBody;
use crate::transaction::touches;
use crate::validation::Changes;

/// What a rule does to a save that matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DuplicateAction {
    /// The save is refused, whatever the header says.
    Block,
    /// The save passes, after an alert if the rule has one.
    Allow,
}

/// Action on create or on edit, with its operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleResponse {
    /// Block or allow.
    pub action: DuplicateAction,
    /// Answer 400 unless the caller sent `allowSave=true`.
    #[serde(default)]
    pub alert: bool,
    /// Write a `DuplicateRecordSet` when the save passes.
    #[serde(default)]
    pub report: bool,
}

impl RuleResponse {
    /// Refuses the save.
    pub const BLOCK: Self = Self { action: DuplicateAction::Block, alert: true, report: false };
    /// Refuses with `allowSave: true` until the caller insists.
    pub const ALERT: Self = Self { action: DuplicateAction::Allow, alert: true, report: false };
    /// Saves and reports.
    pub const REPORT: Self = Self { action: DuplicateAction::Allow, alert: false, report: true };
}

/// How one field of a matching rule is compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatchField {
    /// API name of the field.
    pub field: String,
    /// Compare with case.
    #[serde(default)]
    pub exact_case: bool,
}

/// A duplicate rule with its matching rule: all fields must match, blank ones never do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DuplicateRule {
    /// Developer name of the duplicate rule.
    pub name: String,
    /// Object whose saves it watches.
    pub object: String,
    /// Fields of the matching rule.
    pub fields: Vec<MatchField>,
    /// Developer name of the matching rule.
    pub matching_rule: String,
    /// `FuzzyMatchEngine` or `ExactMatchEngine`, as the body names it.
    #[serde(default = "exact_engine")]
    pub engine: String,
    /// Alert text, `message` of the error.
    #[serde(default = "alert_text")]
    pub message: String,
    /// What happens on create; absent means nothing.
    #[serde(default)]
    pub on_create: Option<RuleResponse>,
    /// What happens on edit; absent means nothing.
    #[serde(default)]
    pub on_edit: Option<RuleResponse>,
    /// Inactive rules do nothing.
    #[serde(default = "active")]
    pub active: bool,
}

fn exact_engine() -> String {
    "ExactMatchEngine".to_owned()
}

fn alert_text() -> String {
    "Use one of these records?".to_owned()
}

fn active() -> bool {
    true
}

impl DuplicateRule {
    fn standard(name: &str, object: &str, matching_rule: &str, fields: &[&str], on_create: RuleResponse) -> Self {
        Self {
            name: name.to_owned(),
            object: object.to_owned(),
            fields: fields.iter().map(|field| MatchField { field: (*field).to_owned(), exact_case: false }).collect(),
            matching_rule: matching_rule.to_owned(),
            engine: "FuzzyMatchEngine".to_owned(),
            message: alert_text(),
            on_create: Some(on_create),
            on_edit: None,
            active: true,
        }
    }

    /// First name, last name and e-mail of person accounts.
    pub fn standard_person_account(on_create: RuleResponse) -> Self {
        Self::standard(
            "Standard_Person_Account_Duplicate_Rule",
            "Account",
            "Standard_Person_Account_Match_Rule_v1_0",
            &["FirstName", "LastName", "PersonEmail"],
            on_create,
        )
    }

    /// Name of business accounts.
    pub fn standard_account(on_create: RuleResponse) -> Self {
        Self::standard(
            "Standard_Account_Duplicate_Rule",
            "Account",
            "Standard_Account_Match_Rule_v1_0",
            &["Name"],
            on_create,
        )
    }

    /// First name, last name and e-mail of contacts.
    pub fn standard_contact(on_create: RuleResponse) -> Self {
        Self::standard(
            "Standard_Contact_Duplicate_Rule",
            "Contact",
            "Standard_Contact_Match_Rule_v1_1",
            &["FirstName", "LastName", "Email"],
            on_create,
        )
    }

    /// One e-mail field, compared exactly but for case.
    pub fn exact_email(object: &str, field: &str, on_create: RuleResponse) -> Self {
        Self {
            engine: exact_engine(),
            ..Self::standard("Exact_Email_Duplicate_Rule", object, "Exact_Email_Match_Rule", &[field], on_create)
        }
    }
}

/// Active rules with their indexes, and the list they were made from.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    pub(crate) all: Vec<DuplicateRule>,
    compiled: Vec<Compiled>,
}

#[derive(Debug)]
struct Compiled {
    rule: usize,
    object: ObjectIx,
    fields: Vec<FieldIx>,
    index: usize,
}

impl Rules {
    /// Resolves names and builds the indexes the rules need.
    pub(crate) fn compile(schema: &Schema, tables: &mut [Table], rules: &[DuplicateRule]) -> Result<Self, String> {
        let mut compiled = Vec::new();
        for (place, rule) in rules.iter().enumerate() {
            let object =
                schema.find(&rule.object).ok_or_else(|| format!("rule {}: no object {}", rule.name, rule.object))?;
            if rule.fields.is_empty() {
                return Err(format!("rule {}: no fields to match", rule.name));
            }
            let mut key = Vec::new();
            for part in &rule.fields {
                let field = schema
                    .object(object)
                    .find(&part.field)
                    .ok_or_else(|| format!("rule {}: no field {} on {}", rule.name, part.field, rule.object))?;
                key.push(KeyPart { field, fold: !part.exact_case });
            }
            let fields = key.iter().map(|part| part.field).collect();
            let index = tables[object.0].add_index(key);
            if rule.active {
                compiled.push(Compiled { rule: place, object, fields, index });
            }
        }
        Ok(Self { all: rules.to_vec(), compiled })
    }
}

/// A match that was let through and is to be reported.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) rule: String,
    pub(crate) matches: Vec<RecordId>,
}

/// Refuses the save if a rule says so; otherwise says what to report.
#[expect(clippy::too_many_arguments, reason = "one save has this many sides, and each is used once")]
pub(crate) fn check(
    org: &Org,
    state: &State,
    reader: TransactionId,
    object: ObjectIx,
    existing: Option<RecordId>,
    row: &Row,
    changes: &Changes,
    call: &Call,
) -> Result<Option<Report>, ApiError> {
    if call.duplicates.bypass {
        return Ok(None);
    }
    let mut report = None;
    for compiled in state.rules.compiled.iter().filter(|compiled| compiled.object == object) {
        let rule = &state.rules.all[compiled.rule];
        let response = match existing {
            None => rule.on_create,
            // An edit is looked at when it writes a field that the matching rule compares.
            Some(_) => rule.on_edit.filter(|_| touches(changes, &compiled.fields)),
        };
        let Some(response) = response else { continue };
        let table = state.table(object);
        let Some(key) = table.indexes[compiled.index].key_of(row) else { continue };
        let mut matches = table.lookup(compiled.index, &key, Some(reader));
        matches.retain(|id| Some(*id) != existing);
        if matches.is_empty() {
            continue;
        }
        let allowed = response.action == DuplicateAction::Allow;
        let header_counts = !call.in_graph || call.settings.graph_header_propagation;
        let insisted = call.duplicates.allow_save && header_counts;
        if !allowed || (response.alert && !insisted) {
            return Err(refusal(org, state, reader, object, rule, allowed, &matches, call));
        }
        if response.report && report.is_none() {
            report = Some(Report { rule: rule.name.clone(), matches });
        }
    }
    Ok(report)
}

#[expect(clippy::too_many_arguments, reason = "one save has this many sides, and each is used once")]
fn refusal(
    org: &Org,
    state: &State,
    reader: TransactionId,
    object: ObjectIx,
    rule: &DuplicateRule,
    allow_save: bool,
    matches: &[RecordId],
    call: &Call,
) -> ApiError {
    let definition = org.schema.object(object);
    let mut error = ApiError::bad_request("DUPLICATES_DETECTED", rule.message.clone());
    if call.in_graph && call.settings.graph_duplicate_body == GraphDuplicateBody::Short {
        return error;
    }
    let records: Vec<Value> = matches
        .iter()
        .map(|id| {
            let mut record = Map::new();
            let url = call.record_url(&definition.name, id);
            record.insert("attributes".into(), json!({ "type": definition.name, "url": url }));
            record.insert("Id".into(), json!(id.to_string()));
            if call.duplicates.include_record_details
                && let Some(row) = state.table(object).get(*id, Some(reader))
            {
                for (ix, field) in definition.each_field() {
                    if definition.is_visible(ix, &call.settings)
                        && let Some(value) = row.get(ix)
                    {
                        record.insert(field.name.clone(), value.clone());
                    }
                }
            }
            json!({ "additionalInformation": [], "fieldDiffs": [], "matchConfidence": 100.0, "record": record })
        })
        .collect();
    let result = json!({
        "allowSave": allow_save,
        "duplicateRule": rule.name,
        "duplicateRuleEntityType": definition.name,
        "errorMessage": rule.message,
        "matchResults": [{
            "entityType": definition.name,
            "errors": [],
            "matchEngine": rule.engine,
            "matchRecords": records,
            "rule": rule.matching_rule,
            "size": matches.len(),
            "success": true,
        }],
    });
    error.duplicate = Some(Box::new((call.settings.duplicate_key.as_str(), result)));
    error
}
