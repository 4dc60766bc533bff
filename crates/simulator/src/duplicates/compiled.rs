//! Rules with their names resolved: which rows to compare, and whether they match.

use std::cell::LazyCell;

use serde_json::Value;

use super::criteria::{Criterion, derived_keys, given_key, named, text_of};
use super::logic::{Expr, Verdict};
use super::report::ItemIndexes;
use super::rule::{DuplicateRule, FilterItem, FilterOperator, MatchingRule};
use super::{MatchSet, Saved};
use crate::ids::RecordId;
use crate::org::{State, stamp};
use crate::records::{Row, Table};
use crate::schema::{Feature, FieldIx, ObjectIx, Schema};
use crate::settings::Settings;

/// Criteria of one matching rule; the platform allows ten, the standard rules have more.
const CRITERIA: usize = 24;
/// Rows compared for one match key, the newest ones.
const CANDIDATES: usize = 200;
/// Matches told of one matching rule.
const MATCHES: usize = 100;

/// Active rules with their indexes, and the list they were made from.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    pub(crate) all: Vec<DuplicateRule>,
    compiled: Vec<CompiledRule>,
    pub(crate) items: ItemIndexes,
}

/// One rule that is looked at.
#[derive(Debug)]
pub(crate) struct CompiledRule {
    /// Place in [`Rules::all`].
    pub(crate) rule: usize,
    object: ObjectIx,
    /// Fields of the saved object that some criterion compares.
    pub(crate) touched: Vec<FieldIx>,
    persons: Option<bool>,
    filter: Vec<(FieldIx, FilterItem)>,
    filter_logic: Option<Expr>,
    matching: Vec<Matching>,
}

#[derive(Debug)]
struct Matching {
    name: String,
    engine: String,
    object: ObjectIx,
    persons: Option<bool>,
    criteria: Vec<Criterion>,
    logic: Expr,
    indexes: Vec<usize>,
    /// First and last name of the saved object, to be swapped.
    swap: Option<(FieldIx, FieldIx)>,
}

impl Rules {
    /// Resolves names and builds the indexes the rules need.
    pub(crate) fn compile(schema: &Schema, tables: &mut [Table], rules: &[DuplicateRule]) -> Result<Self, String> {
        let mut compiled = Vec::new();
        for (place, rule) in rules.iter().enumerate() {
            let ready = CompiledRule::new(schema, tables, place, rule)
                .map_err(|reason| format!("rule {}: {reason}", rule.name))?;
            if rule.active {
                compiled.push(ready);
            }
        }
        compiled.sort_by_key(|ready| rules.get(ready.rule).map(|rule| rule.sort_order));
        let items = ItemIndexes::build(schema, tables);
        Ok(Self { all: rules.to_vec(), compiled, items })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.compiled.is_empty()
    }

    /// Rules to look at for saves of `object`, in their order.
    pub(crate) fn active(&self, object: ObjectIx) -> impl Iterator<Item = &CompiledRule> {
        self.compiled.iter().filter(move |compiled| compiled.object == object)
    }

    /// Active rules about accounts of people or of companies, or about another object.
    pub(crate) fn about(
        &self,
        schema: &Schema,
        object: ObjectIx,
        person: bool,
    ) -> impl Iterator<Item = &DuplicateRule> {
        let any = object != schema.account;
        let kind = move |compiled: &&CompiledRule| any || compiled.persons.is_none_or(|persons| persons == person);
        self.active(object).filter(kind).filter_map(|compiled| self.all.get(compiled.rule))
    }

    /// The id of the rule at `place`, as a `DuplicateRule` row carries it.
    #[expect(clippy::unused_self, reason = "ids belong to the list, though its order alone decides them")]
    pub(crate) fn id(&self, place: usize) -> RecordId {
        RecordId::new("0Bm", place as u64 + 1)
    }

    /// Stores the rules as rows of `DuplicateRule`, so that they can be queried.
    pub(crate) fn store(&self, schema: &Schema, state: &mut State, now: &str) {
        let Some(object) = schema.find("DuplicateRule") else { return };
        let user = state.defaults.user;
        let surplus: Vec<RecordId> = state.table(object).committed().map(|(id, _)| id).skip(self.all.len()).collect();
        for id in surplus {
            let mut gone = Row::default();
            gone.deleted = true;
            state.table_mut(object).seed(id, gone);
        }
        for (place, rule) in self.all.iter().enumerate() {
            let id = self.id(place);
            let saved = schema.find(&rule.object);
            let fields =
                rule.fields.iter().filter_map(|field| schema.object(saved?).find(&field.field)).collect::<Vec<_>>();
            let personal = saved.and_then(|saved| persons(schema, saved, rule.subtype.as_deref(), &fields));
            let values = [
                ("DeveloperName", Value::String(rule.name.clone())),
                ("MasterLabel", Value::String(rule.label())),
                ("IsActive", Value::Bool(rule.active)),
                ("Language", Value::String("en_US".to_owned())),
                ("SobjectType", Value::String(saved.map_or_else(String::new, |ix| schema.object(ix).name.clone()))),
                (
                    "SobjectSubtype",
                    Value::String(if personal == Some(true) { "PersonAccount" } else { "None" }.to_owned()),
                ),
            ];
            let mut row = Row::default();
            for (name, value) in values {
                if let Some(field) = schema.object(object).find(name) {
                    row.set(field, value);
                }
            }
            stamp(&mut row, schema, object, id, user, now);
            state.table_mut(object).seed(id, row);
        }
    }
}

/// Whether a rule is about people only, companies only, or both. Only accounts come in these kinds.
///
/// Without a subtype, a criterion that only person accounts have makes it a rule about people.
fn persons(schema: &Schema, object: ObjectIx, subtype: Option<&str>, fields: &[FieldIx]) -> Option<bool> {
    if object == schema.contact {
        return Some(false);
    }
    if object != schema.account {
        return None;
    }
    let definition = schema.object(object);
    let personal = |ix: &FieldIx| definition.field(*ix).needs == Some(Feature::PersonAccounts);
    Some(subtype.map_or_else(|| fields.iter().any(personal), |subtype| subtype.eq_ignore_ascii_case("PersonAccount")))
}

/// Whether a row is of the kind; a Contact that follows a person account counts as a person.
fn is_kind(schema: &Schema, object: ObjectIx, row: &Row, persons: Option<bool>) -> bool {
    let Some(wanted) = persons else { return true };
    let flag = schema.object(object).find("IsPersonAccount");
    flag.is_none_or(|flag| row.flag(flag) == wanted)
}

impl CompiledRule {
    fn new(schema: &Schema, tables: &mut [Table], place: usize, rule: &DuplicateRule) -> Result<Self, String> {
        let object = schema.find(&rule.object).ok_or_else(|| format!("no object {}", rule.object))?;
        let definition = schema.object(object);
        if definition.event {
            return Err(format!("{} holds no rows", definition.name));
        }
        let mut matching = Vec::new();
        for one in rule.matching_rules() {
            matching.push(Matching::new(schema, tables, object, &one)?);
        }
        let mut filter = Vec::new();
        for item in &rule.filter {
            filter.push((named(definition, &item.field)?, item.clone()));
        }
        let filter_logic = match &rule.filter_logic {
            Some(logic) => Some(Expr::parse(logic, filter.len())?),
            None => (!filter.is_empty()).then(|| Expr::all(filter.len())),
        };
        let touched: Vec<FieldIx> =
            matching.iter().flat_map(|one| one.criteria.iter().map(|criterion| criterion.field)).collect();
        let persons =
            if object == schema.contact { None } else { persons(schema, object, rule.subtype.as_deref(), &touched) };
        Ok(Self { rule: place, object, touched, persons, filter, filter_logic, matching })
    }

    /// What the matching rules find for a row. With `blind`, rows that its sharing hides are not found.
    pub(crate) fn matches(
        &self,
        schema: &Schema,
        state: &State,
        saved: Saved<'_>,
        blind: Option<&Settings>,
    ) -> Vec<MatchSet> {
        if !is_kind(schema, self.object, saved.row, self.persons) || !self.passes_filter(saved.row) {
            return Vec::new();
        }
        let mut sets = Vec::new();
        for one in &self.matching {
            let mut matches = one.matches(schema, state, saved);
            if let Some(settings) = blind {
                matches.retain(|(id, _)| !settings.hides_record(*id));
            }
            if !matches.is_empty() {
                sets.push(MatchSet { object: one.object, engine: one.engine.clone(), rule: one.name.clone(), matches });
            }
        }
        sets
    }

    fn passes_filter(&self, row: &Row) -> bool {
        let Some(logic) = &self.filter_logic else { return true };
        let verdict = logic.judge(&mut |place| match self.filter.get(place) {
            Some((field, item)) if holds(text_of(row, *field).as_deref(), item) => Verdict::Hit(100.0),
            _ => Verdict::Miss,
        });
        matches!(verdict, Verdict::Hit(_))
    }
}

/// Whether a condition holds; text is compared without case, numbers as numbers.
fn holds(value: Option<&str>, item: &FilterItem) -> bool {
    let (value, wanted) = (value.unwrap_or_default().to_lowercase(), item.value.to_lowercase());
    let order = match (value.parse::<f64>(), wanted.parse::<f64>()) {
        (Ok(value), Ok(wanted)) => value.partial_cmp(&wanted),
        _ => Some(value.cmp(&wanted)),
    };
    let Some(order) = order else { return false };
    match item.operation {
        FilterOperator::Equals => order.is_eq(),
        FilterOperator::NotEqual => order.is_ne(),
        FilterOperator::LessThan => !value.is_empty() && order.is_lt(),
        FilterOperator::GreaterThan => !value.is_empty() && order.is_gt(),
        FilterOperator::LessOrEqual => !value.is_empty() && order.is_le(),
        FilterOperator::GreaterOrEqual => !value.is_empty() && order.is_ge(),
        FilterOperator::Contains => value.contains(&wanted),
        FilterOperator::NotContain => !value.contains(&wanted),
        FilterOperator::StartsWith => value.starts_with(&wanted),
    }
}

impl Matching {
    fn new(schema: &Schema, tables: &mut [Table], saved: ObjectIx, rule: &MatchingRule) -> Result<Self, String> {
        let object = match &rule.object {
            Some(name) => schema.find(name).ok_or_else(|| format!("no object {name}"))?,
            None => saved,
        };
        if schema.object(object).event {
            return Err(format!("{} holds no rows", schema.object(object).name));
        }
        if rule.fields.is_empty() {
            return Err("no fields to match".to_owned());
        }
        if rule.fields.len() > CRITERIA {
            return Err(format!("more than {CRITERIA} criteria"));
        }
        let (from, to) = (schema.object(saved), schema.object(object));
        let mut criteria = Vec::with_capacity(rule.fields.len());
        for field in &rule.fields {
            criteria.push(Criterion {
                field: named(from, &field.field)?,
                other: named(to, field.other_field.as_deref().unwrap_or(&field.field))?,
                method: field.method,
                exact_case: field.exact_case,
                threshold: field.threshold.map_or_else(|| field.method.threshold(), f64::from),
                blank: field.blank,
            });
        }
        let logic = match &rule.logic {
            Some(logic) => Expr::parse(logic, criteria.len())?,
            None => Expr::all(criteria.len()),
        };
        let keys = if rule.keys.is_empty() {
            derived_keys(&criteria, &logic.clauses()?)?
        } else {
            rule.keys.iter().map(|key| given_key(to, key)).collect::<Result<_, _>>()?
        };
        let table = tables.get_mut(object.0).ok_or("no rows are kept")?;
        let indexes = keys.into_iter().map(|key| table.add_index(key)).collect();
        let swap = match (rule.swap_names, from.find("FirstName"), from.find("LastName")) {
            (true, Some(first), Some(last)) => Some((first, last)),
            _ => None,
        };
        let others: Vec<FieldIx> = criteria.iter().map(|criterion| criterion.other).collect();
        let persons = persons(schema, object, rule.subtype.as_deref(), &others);
        Ok(Self {
            name: rule.name.clone(),
            engine: rule.engine.clone(),
            object,
            persons,
            criteria,
            logic,
            indexes,
            swap,
        })
    }

    /// Rows that match, best first, then oldest first.
    fn matches(&self, schema: &Schema, state: &State, saved: Saved<'_>) -> Vec<(RecordId, f64)> {
        let table = state.table(self.object);
        let swapped = LazyCell::new(|| self.swapped(saved.row));
        let mut seen: Vec<RecordId> = Vec::new();
        let mut matches: Vec<(RecordId, f64)> = Vec::new();
        for index in &self.indexes {
            let Some(key) = table
                .indexes
                .get(*index)
                .and_then(|index| index.key_from(saved.row, |other| self.source(saved.object, other)))
            else {
                continue;
            };
            for id in table.candidates(*index, &key, CANDIDATES) {
                if Some(*id) == saved.existing || seen.contains(id) {
                    continue;
                }
                seen.push(*id);
                let Some(row) = table.get(*id, Some(saved.reader)).filter(|row| !row.deleted) else { continue };
                if !is_kind(schema, self.object, row, self.persons) {
                    continue;
                }
                let score = self.judge(saved.row, row).or_else(|| self.judge((*swapped).as_ref()?, row));
                matches.extend(score.map(|score| (*id, score)));
            }
        }
        matches.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        matches.truncate(MATCHES);
        matches
    }

    /// The row with first and last name swapped, if the rule compares it so too.
    fn swapped(&self, row: &Row) -> Option<Row> {
        let (first, last) = self.swap?;
        let mut swapped = row.clone();
        let name = |field: FieldIx| row.get(field).cloned().unwrap_or(Value::Null);
        swapped.set(first, name(last));
        swapped.set(last, name(first));
        Some(swapped)
    }

    /// Where the saved row keeps what the matched object keeps in `other`.
    fn source(&self, saved: ObjectIx, other: FieldIx) -> Option<FieldIx> {
        if saved == self.object {
            return Some(other);
        }
        self.criteria.iter().find(|criterion| criterion.other == other).map(|criterion| criterion.field)
    }

    fn judge(&self, saved: &Row, row: &Row) -> Option<f64> {
        let verdict = self.logic.judge(&mut |place| match self.criteria.get(place) {
            Some(criterion) => criterion.judge(saved, row),
            None => Verdict::Miss,
        });
        match verdict {
            Verdict::Hit(score) => Some((score * 10.0).round() / 10.0),
            Verdict::Miss | Verdict::Skip => None,
        }
    }
}
