//! A statement after its names were found: what [`mod@super::run`] works on.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use super::{Function, Operator};
use crate::ids::RecordId;
use crate::schema::{FieldIx, FieldType, ObjectIx};

/// A path after lookup: references to follow, then the field.
#[derive(Debug, Clone)]
pub(super) struct Bound {
    pub(super) hops: Vec<(FieldIx, ObjectIx)>,
    pub(super) object: ObjectIx,
    pub(super) field: FieldIx,
    pub(super) kind: FieldType,
}

impl Bound {
    /// Two paths that end in the same place by the same way.
    pub(super) fn same(&self, other: &Self) -> bool {
        self.hops == other.hops && self.field == other.field
    }
}

/// Everything a query needs to run.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) object: ObjectIx,
    pub(super) shape: Shape,
    pub(super) filter: Option<Test<Bound>>,
    /// Only rows that the user owns: the field that says so, and the user.
    pub(super) owned_by: Option<(FieldIx, RecordId)>,
    /// Semi-joins of the condition.
    pub(super) joins: Vec<Join>,
    pub(super) limit: Option<usize>,
    pub(super) offset: usize,
}

impl Plan {
    /// How many rows are found before the offset is left out.
    pub(super) fn end(&self) -> usize {
        self.offset.saturating_add(self.limit.unwrap_or(usize::MAX))
    }

    /// Semi-joins of this plan and of its child queries; inner queries have none.
    pub(super) fn every_join(&self) -> Vec<&Join> {
        let mut joins: Vec<&Join> = self.joins.iter().collect();
        if let Shape::Rows { columns, .. } = &self.shape {
            for column in columns {
                if let Column::Children { plan, .. } = column {
                    joins.extend(plan.every_join());
                }
            }
        }
        joins
    }
}

/// The inner query of a semi-join, and where its ids go.
#[derive(Debug)]
pub(super) struct Join {
    pub(super) plan: Plan,
    pub(super) selected: Bound,
    pub(super) ids: JoinedIds,
}

/// Eighteen-character ids of a semi-join; there are some once its inner query ran.
pub(super) type JoinedIds = Arc<OnceLock<HashSet<String>>>;

/// What comes out.
#[derive(Debug)]
pub(super) enum Shape {
    /// `COUNT()`: only how many.
    Total,
    Rows {
        columns: Vec<Column>,
        order: Vec<Sort<Bound>>,
    },
    Groups(Grouping),
}

/// One entry of a printed row.
#[derive(Debug)]
pub(super) enum Column {
    Field(Bound),
    /// Rows of `plan` whose `link` names the printed row.
    Children {
        name: String,
        link: FieldIx,
        plan: Box<Plan>,
    },
}

/// `GROUP BY` with its aggregates. A group's cells are its keys, then its aggregates.
#[derive(Debug)]
pub(super) struct Grouping {
    pub(super) keys: Vec<Bound>,
    pub(super) aggregates: Vec<(Function, Option<Bound>)>,
    /// Printed name and cell.
    pub(super) columns: Vec<(String, usize)>,
    pub(super) having: Option<Test<usize>>,
    pub(super) order: Vec<Sort<usize>>,
}

#[derive(Debug)]
pub(super) struct Sort<S> {
    pub(super) subject: S,
    pub(super) descending: bool,
    pub(super) nulls_last: bool,
}

/// A condition on fields of a row, or on cells of a group.
#[derive(Debug)]
pub(super) enum Test<S> {
    All(Vec<Test<S>>),
    Any(Vec<Test<S>>),
    Not(Box<Test<S>>),
    Compare {
        subject: S,
        operator: Operator,
        wanted: Vec<Wanted>,
    },
    /// A semi-join.
    OneOf {
        subject: S,
        ids: JoinedIds,
        negated: bool,
    },
}

/// A literal, made ready for the field it is compared with.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Wanted {
    Null,
    /// Text in lower case.
    Folded(String),
    /// Text as it is: an id of eighteen characters, or a value of a field that tells case apart.
    Exact(String),
    Number(f64),
    Flag(bool),
    /// First and last value, as dates and date-times are stored; both sort as text.
    Range(String, String),
    Pattern(Vec<Part>),
    /// All of these values of a multi-select picklist, in lower case.
    Values(Vec<String>),
}

/// One piece of a `LIKE` pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Any,
    One,
    This(char),
}
