//! A small, real SOQL: one object with parent fields, filters, order and limits. No grouping, no child queries.
//!
//! Source: SOQL and SOSL Reference, "SOQL SELECT Syntax".

mod evaluate;
mod lexer;
mod parser;

pub(crate) use evaluate::{Answer, run};
pub(crate) use parser::parse;

use crate::api_error::ApiError;

/// Longest statement the org reads.
const LONGEST: usize = 100_000;
/// Deepest nesting of parentheses and `NOT`.
const DEEPEST: usize = 50;

/// A statement after parsing; names are not looked up yet.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Query {
    /// Paths to print; empty for `COUNT()`.
    select: Vec<Path>,
    count: bool,
    object: Path,
    filter: Option<Filter>,
    order: Vec<Order>,
    limit: Option<usize>,
    offset: usize,
}

/// `Owner.Name`, with where it stands in the statement.
#[derive(Debug, Clone, PartialEq)]
struct Path {
    names: Vec<String>,
    /// Characters before it.
    at: usize,
}

#[derive(Debug, Clone, PartialEq)]
struct Order {
    path: Path,
    descending: bool,
    nulls_last: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Filter {
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Not(Box<Filter>),
    Compare { path: Path, operator: Operator, values: Vec<Literal> },
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
}

#[derive(Debug, Clone, PartialEq)]
enum Literal {
    Text(String),
    Number(f64),
    Flag(bool),
    Null,
    /// `2026-02-03`.
    Date(String),
    /// Milliseconds since the Unix epoch.
    Instant(i64),
    /// `TODAY`, `YESTERDAY`, `TOMORROW`: days from today.
    Day(i64),
    /// `LAST_N_DAYS:7`.
    LastDays(i64),
}

fn unexpected(token: &str) -> ApiError {
    ApiError::bad_request("MALFORMED_QUERY", format!("unexpected token: {token}"))
}

/// Points at a place of the statement, as the org's messages do.
fn pointed(code: &str, statement: &str, at: usize, message: &str) -> ApiError {
    let line = statement.replace(['\n', '\r'], " ");
    let message = format!("\n{line}\n{}^\nERROR at Row:1:Column:{}\n{message}", " ".repeat(at), at + 1);
    ApiError::bad_request(code, message)
}
