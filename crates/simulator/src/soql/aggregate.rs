//! `GROUP BY`, aggregates and `HAVING`.
//!
//! Source: SOQL and SOSL Reference, "Aggregate Functions", "GROUP BY", "HAVING". Text groups without case, but for
//! unique fields that tell case apart.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use serde_json::{Map, Number, Value, json};

use super::bind::{Binder, Scope};
use super::condition::{Key, passes};
use super::message::malformed;
use super::plan::{Bound, Grouping, Plan, Shape, Sort, Test};
use super::run::{Reader, View, by_keys};
use super::values::{Class, Compared, class, is_exact, wanted};
use super::{Aggregate, Filter, Function, Order, Path, Place, Query, Selected, Subject};
use crate::api_error::ApiError;
use crate::records::Row;
use crate::schema::FieldType;

/// Groups fit on one page or are refused; no cursor holds them.
const GROUPS: usize = 2_000;

/// Binds a grouped query, or one that only counts.
pub(super) fn bind(binder: &Binder<'_>, query: &Query, scope: Scope<'_>) -> Result<Shape, ApiError> {
    let counts = |one: &Selected| matches!(one, Selected::Aggregate { aggregate, .. } if aggregate.path.is_none());
    if query.select.iter().any(counts) {
        if query.select.len() > 1 || !query.group.is_empty() || !query.order.is_empty() || query.having.is_some() {
            return Err(malformed("COUNT() must be the only element of the field list, without GROUP BY or ORDER BY"));
        }
        return Ok(Shape::Total);
    }
    let mut cells = Cells { binder, scope, keys: Vec::new(), aggregates: Vec::new() };
    for path in &query.group {
        cells.keys.push(cells.groupable(path)?);
    }
    if query.group.is_empty() && (query.limit.is_some() || query.offset.is_some()) {
        return Err(malformed("Non-grouped query that uses overall aggregate functions cannot also use LIMIT"));
    }
    let mut columns: Vec<(String, usize)> = Vec::new();
    let mut unnamed = 0;
    for selected in &query.select {
        let (name, cell) = match selected {
            Selected::Field { path, alias } => {
                let name = alias.clone().or_else(|| path.names.last().cloned()).unwrap_or_default();
                let cell = cells.key(path, "Field")?;
                let shown = cells.keys.get(cell).map(|key| binder.field(key).name.clone());
                (alias.clone().or(shown).unwrap_or(name), cell)
            }
            Selected::Aggregate { aggregate, alias } => {
                let name = alias.clone().unwrap_or_else(|| {
                    unnamed += 1;
                    format!("expr{}", unnamed - 1)
                });
                (name, cells.aggregate(aggregate, query.group.len())?)
            }
            Selected::Fields { .. } => return Err(malformed("FIELDS() is not allowed in a grouped query")),
            Selected::Child(_) => return Err(malformed("Child queries are not allowed in a grouped query")),
        };
        if columns.iter().any(|(known, _)| known.eq_ignore_ascii_case(&name)) {
            return Err(malformed(format!("duplicate alias: {name}")));
        }
        columns.push((name, cell));
    }
    let order = query.order.iter().map(|order| cells.order(order)).collect::<Result<Vec<_>, _>>()?;
    let having = query.having.as_ref().map(|filter| cells.having(filter)).transpose()?;
    let Cells { keys, aggregates, .. } = cells;
    Ok(Shape::Groups(Grouping { keys, aggregates, columns, having, order }))
}

/// The cells of a group while they are bound; keys first.
struct Cells<'b, 'a> {
    binder: &'b Binder<'a>,
    scope: Scope<'b>,
    keys: Vec<Bound>,
    aggregates: Vec<(Function, Option<Bound>)>,
}

impl Cells<'_, '_> {
    fn groupable(&self, path: &Path) -> Result<Bound, ApiError> {
        let bound = self.binder.path(self.scope, path)?;
        self.binder.short(&bound, path.place, "grouped")?;
        if matches!(bound.kind, FieldType::Datetime | FieldType::Double | FieldType::Currency | FieldType::Percent) {
            let message = format!("field '{}' can not be grouped in a query call", self.binder.field(&bound).name);
            return Err(super::message::pointed("INVALID_FIELD", self.binder.statement, path.place, &message));
        }
        Ok(bound)
    }

    /// The cell of a grouped field.
    fn key(&self, path: &Path, what: &str) -> Result<usize, ApiError> {
        let bound = self.binder.path(self.scope, path)?;
        let cell = self.keys.iter().position(|key| key.same(&bound));
        cell.ok_or_else(|| malformed(format!("{what} must be grouped or aggregated: {}", path.names.join("."))))
    }

    /// The cell of an aggregate; one that is new gets a new cell.
    fn aggregate(&mut self, aggregate: &Aggregate, keys: usize) -> Result<usize, ApiError> {
        let bound = aggregate.path.as_ref().map(|path| self.binder.path(self.scope, path)).transpose()?;
        if let (Some(bound), Some(path)) = (&bound, &aggregate.path) {
            self.binder.short(bound, path.place, "aggregated")?;
            let class = class(bound.kind);
            let fits = match aggregate.function {
                Function::Sum | Function::Avg => class == Class::Number,
                Function::Min | Function::Max => class != Class::Flag && class != Class::Id,
                Function::Count | Function::CountDistinct => class != Class::Flag,
            };
            if !fits {
                let (name, function) = (&self.binder.field(bound).name, aggregate.function.name());
                return Err(malformed(format!("field {name} does not support aggregate operator {function}")));
            }
        }
        let same = |(function, known): &(Function, Option<Bound>)| {
            *function == aggregate.function
                && match (known, &bound) {
                    (Some(known), Some(bound)) => known.same(bound),
                    (None, None) => true,
                    _ => false,
                }
        };
        if let Some(place) = self.aggregates.iter().position(same) {
            return Ok(keys + place);
        }
        self.aggregates.push((aggregate.function, bound));
        Ok(keys + self.aggregates.len() - 1)
    }

    fn order(&mut self, order: &Order) -> Result<Sort<usize>, ApiError> {
        let subject = match &order.subject {
            Subject::Path(path) => self.key(path, "Ordered field")?,
            Subject::Aggregate(aggregate) => self.aggregate(aggregate, self.keys.len())?,
        };
        Ok(Sort { subject, descending: order.descending, nulls_last: order.nulls_last })
    }

    fn having(&mut self, filter: &Filter) -> Result<Test<usize>, ApiError> {
        Ok(match filter {
            Filter::All(filters) => Test::All(filters.iter().map(|one| self.having(one)).collect::<Result<_, _>>()?),
            Filter::Any(filters) => Test::Any(filters.iter().map(|one| self.having(one)).collect::<Result<_, _>>()?),
            Filter::Not(one) => Test::Not(Box::new(self.having(one)?)),
            Filter::Join { .. } => return Err(malformed("Semi join sub-selects are not allowed in HAVING")),
            Filter::Compare { subject, operator, values } => {
                let (cell, name, bound, place) = self.compared(subject)?;
                let (kind, exact) =
                    bound.map_or((FieldType::Double, false), |bound| (bound.kind, is_exact(self.binder.field(&bound))));
                let compared = Compared { name: &name, kind, exact, place };
                let wanted = values
                    .iter()
                    .map(|value| wanted(self.binder, &compared, *operator, value))
                    .collect::<Result<Vec<_>, _>>()?;
                Test::Compare { subject: cell, operator: *operator, wanted }
            }
        })
    }

    /// The cell of a subject, its name, and the field whose values it has; a count or sum has none.
    fn compared(&mut self, subject: &Subject) -> Result<(usize, String, Option<Bound>, Place), ApiError> {
        match subject {
            Subject::Path(path) => {
                let cell = self.key(path, "Field")?;
                Ok((cell, path.names.join("."), self.keys.get(cell).cloned(), path.place))
            }
            Subject::Aggregate(aggregate) => {
                let cell = self.aggregate(aggregate, self.keys.len())?;
                let bound = self.aggregates.get(cell - self.keys.len()).and_then(|(_, bound)| bound.as_ref());
                let bound = bound.filter(|_| matches!(aggregate.function, Function::Min | Function::Max)).cloned();
                Ok((cell, aggregate.function.name().to_owned(), bound, aggregate.place))
            }
        }
    }
}

/// Runs a grouped plan.
pub(super) async fn groups(reader: &Reader<'_>, plan: &Plan, grouping: &Grouping) -> Result<Vec<Value>, ApiError> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut groups: Vec<(Vec<Value>, Vec<Tally>)> = Vec::new();
    let fresh = || grouping.aggregates.iter().map(|_| Tally::default()).collect::<Vec<_>>();
    if grouping.keys.is_empty() {
        // Without GROUP BY there is one group, even of nothing.
        groups.push((Vec::new(), fresh()));
    }
    let scan = reader.scan(plan, |view, _, row| {
        let place = if grouping.keys.is_empty() {
            0
        } else {
            let keys: Vec<Option<&Value>> = grouping.keys.iter().map(|key| view.value(key, row)).collect();
            let exact = grouping.keys.iter().map(|key| view.is_exact(key));
            *places.entry(keys.iter().zip(exact).map(|(key, exact)| distinct(*key, exact)).collect()).or_insert_with(
                || {
                    groups.push((keys.iter().map(|key| key.cloned().unwrap_or(Value::Null)).collect(), fresh()));
                    groups.len() - 1
                },
            )
        };
        if let Some((_, tallies)) = groups.get_mut(place) {
            add(view, grouping, row, tallies);
        }
        ControlFlow::Continue(())
    });
    scan.await?;
    let mut rows: Vec<Vec<Value>> = Vec::with_capacity(groups.len());
    for (mut cells, tallies) in groups {
        for ((function, bound), tally) in grouping.aggregates.iter().zip(tallies) {
            let scale = bound.as_ref().map(|bound| {
                let field = reader.field(bound);
                (field.kind, field.scale)
            });
            cells.push(tally.result(*function, scale));
        }
        if grouping.having.as_ref().is_none_or(|test| passes(test, &|cell: &usize| cells.get(*cell))) {
            rows.push(cells);
        }
    }
    let bounds = grouping.keys.iter().map(Some).chain(grouping.aggregates.iter().map(|(_, bound)| bound.as_ref()));
    let exact: Vec<bool> = bounds.map(|bound| bound.is_some_and(|bound| is_exact(reader.field(bound)))).collect();
    let key = |cells: &[Value], cell: usize| Key::of(cells.get(cell), exact.get(cell).is_some_and(|exact| *exact));
    let keyed =
        |cells: &Vec<Value>| -> Vec<Key> { grouping.order.iter().map(|sort| key(cells, sort.subject)).collect() };
    let mut sorted: Vec<(Vec<Key>, Vec<Value>)> = rows.into_iter().map(|cells| (keyed(&cells), cells)).collect();
    sorted.sort_by(|(left, _), (right, _)| by_keys(&grouping.order, left, right));
    let answer: Vec<Value> = sorted
        .into_iter()
        .skip(plan.offset)
        .take(plan.limit.unwrap_or(usize::MAX))
        .map(|(_, cells)| printed(grouping, &cells))
        .collect();
    if answer.len() > GROUPS {
        let message =
            "Aggregate query does not support queryMore(), use LIMIT to restrict the results to a single batch";
        return Err(ApiError::bad_request("EXCEEDED_ID_LIMIT", message));
    }
    Ok(answer)
}

fn printed(grouping: &Grouping, cells: &[Value]) -> Value {
    let mut record = Map::with_capacity(grouping.columns.len() + 1);
    record.insert("attributes".into(), json!({ "type": "AggregateResult" }));
    for (name, cell) in &grouping.columns {
        record.insert(name.clone(), cells.get(*cell).cloned().unwrap_or(Value::Null));
    }
    Value::Object(record)
}

/// Text by which equal values are equal, and different ones differ.
fn distinct(value: Option<&Value>, exact: bool) -> String {
    match Key::of(value, exact) {
        Key::Null => "\u{1f}-".to_owned(),
        Key::Text(text) => format!("\u{1f}t{text}"),
        Key::Number(number) => format!("\u{1f}n{number}"),
        Key::Flag(flag) => format!("\u{1f}f{flag}"),
    }
}

/// What one aggregate has seen of its group.
#[derive(Debug, Default)]
struct Tally {
    count: u64,
    sum: f64,
    best: Option<(Key, Value)>,
    seen: HashSet<String>,
}

fn add(view: &View<'_>, grouping: &Grouping, row: &Row, tallies: &mut [Tally]) {
    for ((function, bound), tally) in grouping.aggregates.iter().zip(tallies) {
        let Some(value) = bound.as_ref().and_then(|bound| view.value(bound, row)).filter(|value| !value.is_null())
        else {
            continue;
        };
        tally.count += 1;
        let exact = bound.as_ref().is_some_and(|bound| view.is_exact(bound));
        match function {
            Function::Count => {}
            Function::CountDistinct => {
                tally.seen.insert(distinct(Some(value), exact));
            }
            Function::Sum | Function::Avg => tally.sum += value.as_f64().unwrap_or_default(),
            Function::Min | Function::Max => {
                let key = Key::of(Some(value), exact);
                let better = tally.best.as_ref().is_none_or(|(best, _)| {
                    let order = key.cmp(best, false, false);
                    if *function == Function::Min { order.is_lt() } else { order.is_gt() }
                });
                if better {
                    tally.best = Some((key, value.clone()));
                }
            }
        }
    }
}

impl Tally {
    fn result(self, function: Function, field: Option<(FieldType, u32)>) -> Value {
        match function {
            Function::Count => Value::from(self.count),
            Function::CountDistinct => Value::from(self.seen.len()),
            Function::Min | Function::Max => self.best.map_or(Value::Null, |(_, value)| value),
            Function::Sum | Function::Avg if self.count == 0 => Value::Null,
            Function::Sum => match field {
                Some((FieldType::Int, _)) => Value::from(whole(self.sum)),
                Some((_, scale)) => {
                    // Sums of decimals keep the field's places.
                    let places = 10f64.powi(i32::try_from(scale.min(15)).unwrap_or(15));
                    let rounded = (self.sum * places).round() / places;
                    number(if rounded.is_finite() { rounded } else { self.sum })
                }
                None => number(self.sum),
            },
            #[expect(clippy::cast_precision_loss, reason = "an org holds far fewer rows than 2^52")]
            Function::Avg => number(self.sum / self.count as f64),
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "whole fields hold at most eighteen digits, and the cast saturates"
)]
fn whole(sum: f64) -> i64 {
    sum.round() as i64
}

fn number(value: f64) -> Value {
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}
