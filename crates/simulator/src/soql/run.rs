//! A plan against the rows a reader may see.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashSet};
use std::ops::Range;
use std::sync::Arc;

use serde_json::Value;

use super::bind::Binder;
use super::condition::{Key, passes};
use super::plan::{Bound, Plan, Shape, Sort, Test, Wanted};
use super::{Operator, Query, aggregate, print};
use crate::api_error::ApiError;
use crate::call::Call;
use crate::ids::RecordId;
use crate::org::{Org, State};
use crate::records::{Row, TransactionId};
use crate::schema::{FieldType, ObjectIx};

/// What a statement came to, before paging.
#[derive(Debug)]
pub(crate) enum Answer {
    /// `COUNT()`.
    Total(usize),
    /// Groups, all of them.
    Groups(Vec<Value>),
    Rows(Box<Found>),
}

/// Rows that were found, as they were then; they are printed when they are asked for.
#[derive(Debug)]
pub(crate) struct Found {
    plan: Plan,
    rows: Vec<(RecordId, Arc<Row>)>,
    deleted: bool,
}

impl Found {
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Prints some of the rows. Parents and children are those of now.
    pub(crate) fn print(
        &self,
        org: &Org,
        transaction: Option<TransactionId>,
        call: &Call,
        some: Range<usize>,
    ) -> Vec<Value> {
        let state = org.state();
        let view = View { org, state: &state, transaction, deleted: self.deleted };
        print::rows(&view, call, &self.plan, self.rows.get(some).unwrap_or_default())
    }
}

/// The rows as one reader sees them.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) org: &'a Org,
    pub(super) state: &'a State,
    pub(super) transaction: Option<TransactionId>,
    /// With the recycle bin.
    pub(super) deleted: bool,
}

impl<'a> View<'a> {
    /// The value at the end of a path; null when a parent is missing.
    pub(super) fn value(&self, bound: &Bound, row: &'a Row) -> Option<&'a Value> {
        let mut row = row;
        for (hop, target) in &bound.hops {
            row = self.row(*target, RecordId::parse(row.text(*hop)?)?)?;
        }
        row.get(bound.field)
    }

    pub(super) fn row(&self, object: ObjectIx, id: RecordId) -> Option<&'a Arc<Row>> {
        self.state.table(object).get(id, self.transaction)
    }
}

/// Runs `query`, whose text is `statement`. With `deleted` the recycle bin is looked at too.
///
/// `FOR UPDATE` takes no lock: the transaction of a query request ends with it.
pub(crate) fn run(
    org: &Org,
    transaction: Option<TransactionId>,
    statement: &str,
    query: &Query,
    deleted: bool,
    call: &Call,
) -> Result<Answer, ApiError> {
    let state = org.state();
    let binder = Binder { org, state: &state, transaction, call, statement };
    let plan = binder.statement(query)?;
    let view = View { org, state: &state, transaction, deleted };
    match &plan.shape {
        Shape::Total => {
            let all = usize::MAX;
            Ok(Answer::Total(matching(&view, &plan).skip(plan.offset).take(plan.limit.unwrap_or(all)).count()))
        }
        Shape::Groups(grouping) => Ok(Answer::Groups(aggregate::groups(&view, &plan, grouping)?)),
        Shape::Rows { order, .. } => {
            let rows = arranged(&view, &plan, order, matching(&view, &plan));
            let rows = rows.into_iter().map(|(id, row)| (id, Arc::clone(row))).collect();
            drop(state);
            Ok(Answer::Rows(Box::new(Found { plan, rows, deleted })))
        }
    }
}

/// The ids that an inner query selects.
pub(super) fn ids(binder: &Binder<'_>, plan: &Plan, selected: &Bound) -> HashSet<String> {
    let view = View { org: binder.org, state: binder.state, transaction: binder.transaction, deleted: false };
    matching(&view, plan).filter_map(|(_, row)| view.value(selected, row)?.as_str().map(str::to_owned)).collect()
}

/// Rows that pass the plan's condition, in the order of their creation.
pub(super) fn matching<'v>(view: &View<'v>, plan: &'v Plan) -> Box<dyn Iterator<Item = (RecordId, &'v Arc<Row>)> + 'v> {
    let view = *view;
    let table = view.state.table(plan.object);
    let candidates = plan.filter.as_ref().and_then(|test| candidates(&view, plan.object, test));
    match candidates {
        Some(ids) => Box::new(
            ids.into_iter()
                .filter_map(move |id| Some((id, table.get(id, view.transaction)?)))
                .filter(move |(_, row)| fits(&view, plan, row)),
        ),
        None => Box::new(table.rows(view.transaction).filter(move |(_, row)| fits(&view, plan, row))),
    }
}

/// Whether a row is there, in scope, and passes.
pub(super) fn fits(view: &View<'_>, plan: &Plan, row: &Row) -> bool {
    (view.deleted || !row.deleted)
        && plan.owned_by.is_none_or(|owner| {
            row.text(owner).and_then(RecordId::parse).is_some_and(|id| id == view.state.defaults.user)
        })
        && plan.filter.as_ref().is_none_or(|test| passes(test, &|bound: &Bound| view.value(bound, row)))
}

/// Rows that can pass at all, when an index says so.
fn candidates(view: &View<'_>, object: ObjectIx, test: &Test<Bound>) -> Option<BTreeSet<RecordId>> {
    match test {
        Test::All(tests) => tests.iter().find_map(|test| candidates(view, object, test)),
        Test::OneOf { subject, ids, negated: false } if subject.hops.is_empty() && subject.kind == FieldType::Id => {
            Some(ids.iter().filter_map(|id| RecordId::parse(id)).collect())
        }
        Test::Compare { subject, operator: Operator::Equal | Operator::In, wanted } if subject.hops.is_empty() => {
            if subject.kind == FieldType::Id {
                let id = |wanted: &Wanted| if let Wanted::Id(id) = wanted { RecordId::parse(id) } else { None };
                // Nothing has a null id.
                return Some(wanted.iter().filter_map(id).collect());
            }
            // Deleted rows are in no index.
            let index = view.state.unique_index(object, subject.field).filter(|_| !view.deleted)?;
            let table = view.state.table(object);
            let mut found = BTreeSet::new();
            for wanted in wanted {
                let Wanted::Folded(key) = wanted else { return None };
                found.extend(table.lookup(index, key, view.transaction));
            }
            Some(found)
        }
        Test::Compare { .. } | Test::OneOf { .. } | Test::Any(_) | Test::Not(_) => None,
    }
}

/// Rows in the plan's order, within its bounds.
pub(super) fn arranged<'v>(
    view: &View<'v>,
    plan: &Plan,
    order: &[Sort<Bound>],
    rows: impl Iterator<Item = (RecordId, &'v Arc<Row>)>,
) -> Vec<(RecordId, &'v Arc<Row>)> {
    let limit = plan.limit.unwrap_or(usize::MAX);
    if order.is_empty() {
        return rows.skip(plan.offset).take(limit).collect();
    }
    let mut keyed: Vec<(Vec<Key>, _)> = rows
        .map(|(id, row)| (order.iter().map(|sort| Key::of(view.value(&sort.subject, row))).collect(), (id, row)))
        .collect();
    keyed.sort_by(|(left, _), (right, _)| by_keys(order, left, right));
    keyed.into_iter().map(|(_, row)| row).skip(plan.offset).take(limit).collect()
}

pub(super) fn by_keys<S>(order: &[Sort<S>], left: &[Key], right: &[Key]) -> Ordering {
    order.iter().zip(left.iter().zip(right)).fold(Ordering::Equal, |so_far, (sort, (left, right))| {
        so_far.then_with(|| left.cmp(right, sort.descending, sort.nulls_last))
    })
}
