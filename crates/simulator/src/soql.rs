//! SOQL: a statement is parsed into the types here, bound to the schema, run against the rows, and printed.
//!
//! Source: SOQL and SOSL Reference; error texts recorded where the README says so. Statement length: Salesforce
//! Developer Limits Quick Reference, "SOQL and SOSL Limits for Search Queries".

mod aggregate;
mod bind;
mod condition;
mod dates;
mod message;
mod parser;
mod plan;
mod print;
mod run;
mod values;

pub(crate) use parser::parse;
pub(crate) use run::{Answer, Found, SLICE, run};

/// Longest statement the org reads, in characters.
const LONGEST: usize = 100_000;
/// Longest text in a condition.
const LONGEST_TEXT: usize = 4_000;
/// Deepest nesting of parentheses.
const DEEPEST: usize = 50;

/// Byte offset in the statement. It says where something stands, not what it is, so all places are equal.
#[derive(Debug, Clone, Copy)]
struct Place(usize);

impl PartialEq for Place {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// A statement after parsing; names are not looked up yet.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Query {
    select: Vec<Selected>,
    /// An object, or in a child query a relationship.
    source: Path,
    alias: Option<String>,
    scope: Option<(String, Place)>,
    filter: Option<Filter>,
    group: Vec<Path>,
    having: Option<Filter>,
    order: Vec<Order>,
    limit: Option<usize>,
    offset: Option<usize>,
    /// `ALL ROWS`, which only Apex may say.
    all_rows: bool,
    for_update: bool,
}

impl Query {
    /// Nothing selected, from nowhere, and no clause.
    const fn new() -> Self {
        Self {
            select: Vec::new(),
            source: Path { names: Vec::new(), place: Place(0) },
            alias: None,
            scope: None,
            filter: None,
            group: Vec::new(),
            having: None,
            order: Vec::new(),
            limit: None,
            offset: None,
            all_rows: false,
            for_update: false,
        }
    }
}

/// One entry of the field list.
#[derive(Debug, Clone, PartialEq)]
enum Selected {
    Field { path: Path, alias: Option<String> },
    Fields { set: FieldSet, place: Place },
    Aggregate { aggregate: Aggregate, alias: Option<String> },
    Child(Box<Query>),
}

/// The groups of `FIELDS()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FieldSet {
    All,
    Standard,
    Custom,
}

/// `Owner.Name`.
#[derive(Debug, Clone, PartialEq)]
struct Path {
    names: Vec<String>,
    place: Place,
}

#[derive(Debug, Clone, PartialEq)]
struct Aggregate {
    function: Function,
    /// Nothing for `COUNT()`.
    path: Option<Path>,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Count,
    CountDistinct,
    Min,
    Max,
    Sum,
    Avg,
}

impl Function {
    fn name(self) -> &'static str {
        match self {
            Self::Count => "COUNT",
            Self::CountDistinct => "COUNT_DISTINCT",
            Self::Min => "MIN",
            Self::Max => "MAX",
            Self::Sum => "SUM",
            Self::Avg => "AVG",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Order {
    subject: Subject,
    descending: bool,
    nulls_last: bool,
}

/// What is compared or ordered by.
#[derive(Debug, Clone, PartialEq)]
enum Subject {
    Path(Path),
    Aggregate(Aggregate),
}

#[derive(Debug, Clone, PartialEq)]
enum Filter {
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Not(Box<Filter>),
    Compare {
        subject: Subject,
        operator: Operator,
        values: Vec<Literal>,
    },
    /// `AccountId IN (SELECT …)`.
    Join {
        subject: Subject,
        negated: bool,
        query: Box<Query>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Like,
    In,
    NotIn,
    Includes,
    Excludes,
}

#[derive(Debug, Clone, PartialEq)]
enum Literal {
    /// As written between the quotes, escapes and all: what `\%` means depends on the operator.
    Text(String),
    Number(f64),
    Flag(bool),
    Null,
    Date(jiff::civil::Date),
    /// Milliseconds since the Unix epoch.
    Instant(i64),
    Relative(dates::Relative),
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests;
