//! Validation rules and triggers that a schema file declares.
//!
//! A rule fires when every condition under `when` holds and, if it has `requires`, one of those fields is blank. A
//! condition names a field and one test: `blank`, `changed` (true or false), `equals`, `not_equals`, `one_of`,
//! `starts_with`, `contains`, `longer_than` (UTF-16 units), `above` or `below`. Texts are compared without case.
//!
//! Sources: Help, "Validation Rules"; Apex Developer Guide, "Triggers and Order of Execution"; the text of a trigger's
//! exception is recorded in public bug reports.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use toml::Value as Toml;

use super::build::{Seed, SeedOf};
use super::source::{SchemaError, did_you_mean};
use super::{FieldIx, FieldType, Object, Schema};
use crate::api_error::ApiError;
use crate::ids::RecordId;
use crate::records::Row;

/// A validation rule as a file writes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ValidationRuleSeed {
    object: String,
    name: String,
    #[serde(default)]
    when: Vec<ConditionSeed>,
    /// Fields that must have a value when the conditions hold.
    #[serde(default)]
    requires: Vec<String>,
    message: String,
    /// The field the error stands at; without it the error is the page's.
    #[serde(default)]
    field: Option<String>,
    #[serde(default)]
    inactive: bool,
}

/// A trigger that refuses, as a file writes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TriggerSeed {
    object: String,
    name: String,
    at: Vec<Moment>,
    #[serde(default)]
    when: Vec<ConditionSeed>,
    /// `lock`, `limit`, or an exception with its text: `System.NullPointerException: Attempt to …`.
    #[serde(default)]
    raises: Option<String>,
    /// A refusal in the trigger's own words.
    #[serde(default)]
    add_error: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConditionSeed {
    field: String,
    blank: Option<bool>,
    changed: Option<bool>,
    equals: Option<Toml>,
    not_equals: Option<Toml>,
    one_of: Option<Vec<Toml>>,
    starts_with: Option<String>,
    contains: Option<String>,
    longer_than: Option<usize>,
    above: Option<f64>,
    below: Option<f64>,
}

impl ValidationRuleSeed {
    pub(crate) fn each_name(&mut self, mut change: impl FnMut(&mut String)) {
        change(&mut self.object);
        self.requires.iter_mut().chain(&mut self.field).for_each(&mut change);
        self.when.iter_mut().for_each(|condition| change(&mut condition.field));
    }
}

impl TriggerSeed {
    pub(crate) fn each_name(&mut self, mut change: impl FnMut(&mut String)) {
        change(&mut self.object);
        self.when.iter_mut().for_each(|condition| change(&mut condition.field));
    }
}

/// When a trigger runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum Moment {
    #[serde(rename = "before insert")]
    BeforeInsert,
    #[serde(rename = "before update")]
    BeforeUpdate,
    #[serde(rename = "before delete")]
    BeforeDelete,
    #[serde(rename = "after insert")]
    AfterInsert,
    #[serde(rename = "after update")]
    AfterUpdate,
}

impl Moment {
    fn name(self) -> &'static str {
        match self {
            Self::BeforeInsert => "BeforeInsert",
            Self::BeforeUpdate => "BeforeUpdate",
            Self::BeforeDelete => "BeforeDelete",
            Self::AfterInsert => "AfterInsert",
            Self::AfterUpdate => "AfterUpdate",
        }
    }
}

/// A validation rule, ready to run.
#[derive(Debug)]
pub(crate) struct ValidationRule {
    when: Vec<Condition>,
    requires: Vec<FieldIx>,
    message: String,
    field: Option<String>,
}

/// A trigger, ready to refuse.
#[derive(Debug)]
pub(crate) struct Trigger {
    name: String,
    at: Vec<Moment>,
    when: Vec<Condition>,
    refusal: Refusal,
}

#[derive(Debug)]
enum Refusal {
    Lock,
    Limit,
    Exception(String),
    Error(String),
}

#[derive(Debug)]
struct Condition {
    field: FieldIx,
    test: Test,
}

#[derive(Debug)]
enum Test {
    Blank(bool),
    Changed(bool),
    OneOf(Vec<Value>, bool),
    StartsWith(String),
    Contains(String),
    LongerThan(usize),
    Above(f64),
    Below(f64),
}

impl Condition {
    fn holds(&self, before: Option<&Row>, row: &Row) -> bool {
        let value = row.get(self.field);
        let text = || value.and_then(Value::as_str).unwrap_or_default();
        let number = || value.and_then(Value::as_f64);
        match &self.test {
            Test::Blank(wanted) => value.is_none() == *wanted,
            Test::Changed(wanted) => before.is_none_or(|before| before.get(self.field) != value) == *wanted,
            Test::OneOf(values, wanted) => values.iter().any(|known| same(known, value)) == *wanted,
            Test::StartsWith(start) => text().to_lowercase().starts_with(start),
            Test::Contains(part) => text().to_lowercase().contains(part),
            Test::LongerThan(length) => text().encode_utf16().count() > *length,
            Test::Above(limit) => number().is_some_and(|number| number > *limit),
            Test::Below(limit) => number().is_some_and(|number| number < *limit),
        }
    }
}

fn same(known: &Value, value: Option<&Value>) -> bool {
    match (known, value) {
        (Value::String(known), Some(Value::String(text))) => known.eq_ignore_ascii_case(text),
        (Value::Number(known), Some(Value::Number(number))) => known.as_f64() == number.as_f64(),
        (known, Some(value)) => known == value,
        (known, None) => known.as_str().is_some_and(str::is_empty),
    }
}

/// The rules of the object that the row breaks: all of them, because a rule that fails does not keep the others from
/// being looked at (Help, "Validation Rule Considerations").
pub(crate) fn validate(object: &Object, before: Option<&Row>, row: &Row) -> Result<(), ApiError> {
    let broken = object.rules.iter().filter(|rule| {
        rule.when.iter().all(|condition| condition.holds(before, row))
            && (rule.requires.is_empty() || rule.requires.iter().any(|field| row.get(*field).is_none()))
    });
    let mut refusals = broken.map(|rule| {
        ApiError::bad_request("FIELD_CUSTOM_VALIDATION_EXCEPTION", rule.message.clone())
            .with_fields(rule.field.iter().cloned())
    });
    let Some(mut first) = refusals.next() else { return Ok(()) };
    first.also = refusals.collect();
    Err(first)
}

/// Runs the triggers of one moment; the first that refuses ends the save.
pub(crate) fn run(
    object: &Object,
    moment: Moment,
    before: Option<&Row>,
    row: &Row,
    id: Option<RecordId>,
) -> Result<(), ApiError> {
    let refusing = object.triggers.iter().find(|trigger| {
        trigger.at.contains(&moment) && trigger.when.iter().all(|condition| condition.holds(before, row))
    });
    refusing.map_or(Ok(()), |trigger| Err(trigger.refuse(object, moment, row, id)))
}

impl Trigger {
    /// The exception as Apex words it, with what caused it inside.
    fn refuse(&self, object: &Object, moment: Moment, row: &Row, id: Option<RecordId>) -> ApiError {
        let cause = match &self.refusal {
            Refusal::Error(message) => {
                return ApiError::bad_request("FIELD_CUSTOM_VALIDATION_EXCEPTION", message.clone())
                    .with_fields([""; 0]);
            }
            Refusal::Lock => {
                // The row that a trigger updates is most often a parent.
                let mut parents =
                    object.each_field().filter(|(_, field)| field.kind == FieldType::Reference && !field.system);
                let parent = parents.find_map(|(ix, _)| row.text(ix)).map(str::to_owned);
                let locked = parent.or_else(|| id.map(|id| id.to_string())).unwrap_or_default();
                format!(
                    "System.DmlException: Update failed. First exception on row 0 with id {locked}; first error: \
                     UNABLE_TO_LOCK_ROW, unable to obtain exclusive access to this record or 1 records: {locked}: []"
                )
            }
            Refusal::Limit => "System.LimitException: Too many SOQL queries: 101".to_owned(),
            Refusal::Exception(text) => text.clone(),
        };
        let message = format!(
            "{name}: execution of {moment}\n\ncaused by: {cause}\n\nTrigger.{name}: line 1, column 1",
            name = self.name,
            moment = moment.name()
        );
        ApiError::bad_request("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", message).with_fields([""; 0])
    }
}

/// Gives a rule or trigger to its object.
pub(crate) fn attach(schema: &mut Schema, seed: Seed) -> Result<(), SchemaError> {
    let Seed { file, of } = seed;
    match of {
        SeedOf::Rule(rule) => {
            let place = format!("validation_rule {}", rule.name);
            let (ix, object) = target(schema, &file, &place, &rule.object)?;
            let when = conditions(object, &file, &place, rule.when)?;
            let requires = rule.requires.iter().map(|name| field(object, &file, &place, name));
            let requires: Vec<FieldIx> = requires.collect::<Result<_, _>>()?;
            if when.is_empty() && requires.is_empty() {
                let problem = "would refuse every row; give it `when` or `requires`";
                return Err(SchemaError::new(&file, place, problem));
            }
            let at = rule.field.map(|name| field(object, &file, &place, &name)).transpose()?;
            let field = at.map(|ix| object.field(ix).name.clone());
            if !rule.inactive {
                schema.objects[ix].rules.push(ValidationRule { when, requires, message: rule.message, field });
            }
        }
        SeedOf::Trigger(trigger) => {
            let place = format!("trigger {}", trigger.name);
            let (ix, object) = target(schema, &file, &place, &trigger.object)?;
            let when = conditions(object, &file, &place, trigger.when)?;
            let refusal = match (trigger.raises.as_deref(), trigger.add_error) {
                (Some("lock"), None) => Refusal::Lock,
                (Some("limit"), None) => Refusal::Limit,
                (Some(text), None) => Refusal::Exception(text.to_owned()),
                (None, Some(message)) => Refusal::Error(message),
                (Some(_), Some(_)) | (None, None) => {
                    return Err(SchemaError::new(&file, place, "write either `raises` or `add_error`"));
                }
            };
            if trigger.at.is_empty() {
                let problem = "never runs; write `at = [\"before insert\"]` or another moment";
                return Err(SchemaError::new(&file, place, problem));
            }
            schema.objects[ix].triggers.push(Trigger { name: trigger.name, at: trigger.at, when, refusal });
        }
        SeedOf::Object(_) | SeedOf::Values { .. } => {}
    }
    Ok(())
}

fn target<'a>(schema: &'a Schema, file: &Path, place: &str, name: &str) -> Result<(usize, &'a Object), SchemaError> {
    let ix = schema.find(name).ok_or_else(|| {
        let hint = did_you_mean(name, schema.objects.iter().map(|object| object.name.as_str()));
        SchemaError::new(file, place, format!("names the object `{name}`, which the org does not have{hint}"))
    })?;
    Ok((ix.0, schema.object(ix)))
}

fn field(object: &Object, file: &Path, place: &str, name: &str) -> Result<FieldIx, SchemaError> {
    object.find(name).ok_or_else(|| {
        let hint = did_you_mean(name, object.fields.iter().map(|field| field.name.as_str()));
        let problem = format!("names the field `{name}`, which {} does not have{hint}", object.name);
        SchemaError::new(file, place, problem)
    })
}

fn conditions(
    object: &Object,
    file: &Path,
    place: &str,
    seeds: Vec<ConditionSeed>,
) -> Result<Vec<Condition>, SchemaError> {
    let literal = |value: Toml| match value {
        Toml::String(text) => Ok(Value::String(text)),
        Toml::Integer(number) => Ok(Value::from(number)),
        Toml::Float(number) => Ok(Value::from(number)),
        Toml::Boolean(flag) => Ok(Value::Bool(flag)),
        Toml::Datetime(date) => Ok(Value::String(date.to_string())),
        Toml::Array(_) | Toml::Table(_) => Err(SchemaError::new(
            file,
            place,
            "compares with one text, number, date or true and false; use one of those",
        )),
    };
    let mut conditions = Vec::with_capacity(seeds.len());
    for seed in seeds {
        let ix = field(object, file, place, &seed.field)?;
        let mut tests = Vec::new();
        tests.extend(seed.blank.map(Test::Blank));
        tests.extend(seed.changed.map(Test::Changed));
        for (value, wanted) in [(seed.equals, true), (seed.not_equals, false)] {
            if let Some(value) = value {
                tests.push(Test::OneOf(vec![literal(value)?], wanted));
            }
        }
        if let Some(values) = seed.one_of {
            tests.push(Test::OneOf(values.into_iter().map(literal).collect::<Result<_, _>>()?, true));
        }
        tests.extend(seed.starts_with.map(|text| Test::StartsWith(text.to_lowercase())));
        tests.extend(seed.contains.map(|text| Test::Contains(text.to_lowercase())));
        tests.extend(seed.longer_than.map(Test::LongerThan));
        tests.extend(seed.above.map(Test::Above));
        tests.extend(seed.below.map(Test::Below));
        let Some(test) = tests.pop().filter(|_| tests.is_empty()) else {
            let problem = format!("the condition on `{}` needs exactly one test, such as `equals`", seed.field);
            return Err(SchemaError::new(file, place, problem));
        };
        conditions.push(Condition { field: ix, test });
    }
    Ok(conditions)
}
