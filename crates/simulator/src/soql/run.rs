//! A plan against the rows a reader may see.
//!
//! The org's state is looked at in slices, and whoever waits for it goes first between two of them. A statement sees
//! the rows of its object as they were at one moment; parents, children and the rows of a semi-join are those of the
//! moment when their slice is looked at.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashSet};
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, MutexGuard};

use serde_json::Value;

use super::bind::Binder;
use super::condition::{Key, passes};
use super::plan::{Bound, Plan, Shape, Sort, Test, Wanted};
use super::values::is_exact;
use super::{Operator, Query, aggregate, print};
use crate::api_error::ApiError;
use crate::call::Call;
use crate::ids::RecordId;
use crate::org::{Org, State};
use crate::records::{Row, Snapshot, TransactionId};
use crate::schema::{Field, FieldType, ObjectIx};

/// What a statement came to, before paging.
#[derive(Debug)]
pub(crate) enum Answer {
    /// `COUNT()`.
    Total(usize),
    /// Groups, all of them.
    Groups(Vec<Value>),
    Rows(Box<Found>),
}

/// Rows looked at in one go, for which a writer waits.
pub(crate) const SLICE: usize = 2_000;
/// Rows printed in one go; their children come on top.
const PRINTED: usize = 200;

/// One version of a row, which stays as it is whatever is written later.
pub(super) type Kept = (RecordId, Arc<Row>);

/// Rows that were found, as they were then; they are printed when they are asked for.
#[derive(Debug)]
pub(crate) struct Found {
    plan: Plan,
    rows: Vec<Kept>,
    deleted: bool,
}

#[cfg(test)]
impl Found {
    /// So many rows without a value.
    pub(crate) fn blank(rows: usize) -> Self {
        let (shape, joins) = (super::plan::Shape::Total, Vec::new());
        let plan = Plan { object: ObjectIx(0), shape, filter: None, owned_by: None, joins, limit: None, offset: 0 };
        let rows = vec![(RecordId::new("001", 1), Arc::new(Row::default())); rows];
        Self { plan, rows, deleted: false }
    }
}

impl Found {
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Prints some of the rows. Parents and children are those of now.
    pub(crate) async fn print(
        &self,
        org: &Org,
        transaction: Option<TransactionId>,
        call: &Call,
        some: Range<usize>,
    ) -> Result<Vec<Value>, ApiError> {
        let reader = Reader { org, epoch: call.epoch, transaction, deleted: self.deleted };
        let rows = self.rows.get(some).unwrap_or_default();
        let parents = rows.iter().map(|(id, _)| *id).collect();
        let families = print::families(reader, &self.plan, parents).await?;
        let mut printed = Vec::with_capacity(rows.len());
        for slice in rows.chunks(PRINTED) {
            if !printed.is_empty() {
                org.give_way().await;
            }
            let state = reader.state()?;
            printed.extend(print::rows(&reader.view(&state), call, &self.plan, &families, slice));
        }
        Ok(printed)
    }
}

/// Who reads, and whether the recycle bin is read too.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    org: &'a Org,
    /// The epoch of the org in which the call began.
    epoch: u64,
    transaction: Option<TransactionId>,
    deleted: bool,
}

/// The rows as one reader sees them while the state is held.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) org: &'a Org,
    pub(super) state: &'a State,
    transaction: Option<TransactionId>,
    deleted: bool,
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

    /// Whether values at the end of a path are told apart by their case.
    pub(super) fn is_exact(&self, bound: &Bound) -> bool {
        is_exact(self.org.schema.object(bound.object).field(bound.field))
    }

    pub(super) fn row(&self, object: ObjectIx, id: RecordId) -> Option<&'a Arc<Row>> {
        self.state.table(object).get(id, self.transaction)
    }
}

impl<'a> Reader<'a> {
    fn view<'s>(&self, state: &'s State) -> View<'s>
    where
        'a: 's,
    {
        View { org: self.org, state, transaction: self.transaction, deleted: self.deleted }
    }

    /// The state, unless the org was reset since the call began.
    fn state(&self) -> Result<MutexGuard<'a, State>, ApiError> {
        let state = self.org.state();
        self.org.check_epoch(self.epoch)?;
        Ok(state)
    }

    pub(super) fn field(&self, bound: &Bound) -> &'a Field {
        self.org.schema.object(bound.object).field(bound.field)
    }

    /// Shows `each` the rows that pass the plan's condition, in the order of their creation, until it breaks off. A
    /// reset of the org is an error: nothing is left of what the statement was looking at.
    pub(super) async fn scan(
        &self,
        plan: &Plan,
        mut each: impl FnMut(&View<'_>, RecordId, &Arc<Row>) -> ControlFlow<()> + Send,
    ) -> Result<(), ApiError> {
        let mut show = |view: &View<'_>, id: RecordId, row: &Arc<Row>| {
            if fits(view, plan, row) { each(view, id, row) } else { ControlFlow::Continue(()) }
        };
        let mut ids = plan.filter.as_ref().and_then(listed).map(BTreeSet::into_iter);
        let mut snapshot: Option<Arc<Snapshot>> = None;
        let mut last = None;
        loop {
            {
                let mut state = self.state()?;
                let table = state.table(plan.object);
                let view = self.view(&state);
                if snapshot.is_none() && ids.is_none() {
                    let found = plan.filter.as_ref().and_then(|test| indexed(&view, plan.object, test));
                    ids = found.map(BTreeSet::into_iter);
                }
                let replaced = snapshot.as_ref().map(|snapshot| snapshot.replaced());
                let mut then = |id: RecordId, now: Option<&Arc<Row>>| {
                    let before = replaced.as_ref().and_then(|replaced| replaced.get(&id));
                    let row = before.map_or(now, Option::as_ref);
                    row.map_or(ControlFlow::Continue(()), |row| show(&view, id, row))
                };
                let (flow, more) = if let Some(ids) = &mut ids {
                    let mut slice = ids.by_ref().take(SLICE);
                    let flow = slice.try_for_each(|id| then(id, table.get(id, self.transaction)));
                    (flow, ids.len() > 0)
                } else {
                    let mut looked_at = 0;
                    let mut slice = table.rows_after(last, self.transaction).take(SLICE);
                    let flow = slice.try_for_each(|(id, row)| {
                        (last, looked_at) = (Some(id), looked_at + 1);
                        then(id, Some(row))
                    });
                    (flow, looked_at == SLICE)
                };
                if flow.is_break() || !more {
                    return Ok(());
                }
                drop(replaced);
                snapshot.get_or_insert_with(|| state.table_mut(plan.object).snapshots.take());
            }
            self.org.give_way().await;
        }
    }

    /// Runs the inner queries of the plan's semi-joins.
    async fn join(&self, plan: &Plan) -> Result<(), ApiError> {
        for join in plan.every_join() {
            let mut ids = HashSet::new();
            let alive = Self { deleted: false, ..*self };
            let scan = alive.scan(&join.plan, |view, _, row| {
                ids.extend(view.value(&join.selected, row).and_then(Value::as_str).map(str::to_owned));
                ControlFlow::Continue(())
            });
            scan.await?;
            // A plan is run once.
            let _ = join.ids.set(ids);
        }
        Ok(())
    }

    /// Rows of a plan in its order, within its bounds.
    async fn rows(&self, plan: &Plan, order: &[Sort<Bound>]) -> Result<Vec<Kept>, ApiError> {
        let end = plan.end();
        let mut keyed: Vec<(Vec<Key>, Kept)> = Vec::new();
        let scan = self.scan(plan, |view, id, row| {
            if order.is_empty() && keyed.len() >= end {
                return ControlFlow::Break(());
            }
            keyed.push((keys(view, order, row), (id, Arc::clone(row))));
            ControlFlow::Continue(())
        });
        scan.await?;
        keyed.sort_by(|(left, _), (right, _)| by_keys(order, left, right));
        Ok(keyed.into_iter().map(|(_, row)| row).take(end).skip(plan.offset).collect())
    }
}

/// Runs `query`, whose text is `statement`. With `deleted` the recycle bin is looked at too.
///
/// `FOR UPDATE` takes no lock: the transaction of a query request ends with it.
pub(crate) async fn run(
    org: &Org,
    transaction: Option<TransactionId>,
    statement: &str,
    query: &Query,
    deleted: bool,
    call: &Call,
) -> Result<Answer, ApiError> {
    let plan = Binder { org, call, statement }.statement(query)?;
    let reader = Reader { org, epoch: call.epoch, transaction, deleted };
    reader.join(&plan).await?;
    match &plan.shape {
        Shape::Total => {
            let (end, mut count) = (plan.end(), 0);
            let scan = reader.scan(&plan, |_, _, _| {
                if count >= end {
                    return ControlFlow::Break(());
                }
                count += 1;
                ControlFlow::Continue(())
            });
            scan.await?;
            Ok(Answer::Total(count.saturating_sub(plan.offset)))
        }
        Shape::Groups(grouping) => Ok(Answer::Groups(aggregate::groups(&reader, &plan, grouping).await?)),
        Shape::Rows { order, .. } => {
            let rows = reader.rows(&plan, order).await?;
            Ok(Answer::Rows(Box::new(Found { plan, rows, deleted })))
        }
    }
}

/// Whether a row is there, in scope, and passes.
fn fits(view: &View<'_>, plan: &Plan, row: &Row) -> bool {
    (view.deleted || !row.deleted)
        && plan.owned_by.is_none_or(|(owner, user)| row.text(owner).and_then(RecordId::parse) == Some(user))
        && plan.filter.as_ref().is_none_or(|test| passes(test, &|bound: &Bound| view.value(bound, row)))
}

/// Rows that can pass at all, when the test names them.
fn listed(test: &Test<Bound>) -> Option<BTreeSet<RecordId>> {
    let is_id = |subject: &Bound| subject.hops.is_empty() && subject.kind == FieldType::Id;
    match test {
        Test::All(tests) => tests.iter().find_map(listed),
        Test::OneOf { subject, ids, negated: false } if is_id(subject) => {
            Some(ids.get()?.iter().filter_map(|id| RecordId::parse(id)).collect())
        }
        Test::Compare { subject, operator: Operator::Equal | Operator::In, wanted } if is_id(subject) => {
            let id = |wanted: &Wanted| if let Wanted::Exact(id) = wanted { RecordId::parse(id) } else { None };
            // Nothing has a null id.
            Some(wanted.iter().filter_map(id).collect())
        }
        Test::Compare { .. } | Test::OneOf { .. } | Test::Any(_) | Test::Not(_) => None,
    }
}

/// Rows that can pass at all, when an index says so.
fn indexed(view: &View<'_>, object: ObjectIx, test: &Test<Bound>) -> Option<BTreeSet<RecordId>> {
    match test {
        Test::All(tests) => tests.iter().find_map(|test| indexed(view, object, test)),
        Test::Compare { subject, operator: Operator::Equal | Operator::In, wanted } if subject.hops.is_empty() => {
            // Deleted rows are in no index.
            let index = view.state.unique_index(object, subject.field).filter(|_| !view.deleted)?;
            let table = view.state.table(object);
            let mut found = BTreeSet::new();
            for wanted in wanted {
                // Both are in the form in which the index has its keys.
                let (Wanted::Folded(key) | Wanted::Exact(key)) = wanted else { return None };
                found.extend(table.lookup(index, key, view.transaction));
            }
            Some(found)
        }
        Test::Compare { .. } | Test::OneOf { .. } | Test::Any(_) | Test::Not(_) => None,
    }
}

/// What a row sorts by.
fn keys(view: &View<'_>, order: &[Sort<Bound>], row: &Row) -> Vec<Key> {
    order.iter().map(|sort| Key::of(view.value(&sort.subject, row), view.is_exact(&sort.subject))).collect()
}

/// Some of a plan's rows in its order, within its bounds.
pub(super) fn arranged<'r>(view: &View<'_>, plan: &Plan, order: &[Sort<Bound>], rows: &'r [Kept]) -> Vec<&'r Kept> {
    let mut keyed: Vec<(Vec<Key>, _)> = rows.iter().map(|row| (keys(view, order, &row.1), row)).collect();
    keyed.sort_by(|(left, _), (right, _)| by_keys(order, left, right));
    keyed.into_iter().map(|(_, row)| row).take(plan.end()).skip(plan.offset).collect()
}

pub(super) fn by_keys<S>(order: &[Sort<S>], left: &[Key], right: &[Key]) -> Ordering {
    order.iter().zip(left.iter().zip(right)).fold(Ordering::Equal, |so_far, (sort, (left, right))| {
        so_far.then_with(|| left.cmp(right, sort.descending, sort.nulls_last))
    })
}
