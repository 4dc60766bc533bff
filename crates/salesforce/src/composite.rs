//! Composite requests: up to 25 linked parts in one API call, written all or none, or each for itself.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::error::{ApiError, Error, ErrorKind};
use crate::graph::{Node, NodeAnswer, NodeOutcome, NodeWrite, Refusal, node_body};
use crate::{ApiVersion, limits, query};

/// One part of a composite request. `Debug` leaves a query's text out: it quotes what is looked for.
#[derive(Clone, PartialEq)]
pub enum Part {
    /// Writes a record.
    Write(Node),
    /// Reads the first page of a query; its records can be referred to as `@{reference.records[0].Id}`.
    Query {
        /// Names the part: letters, digits and underscores.
        reference: String,
        /// The query.
        soql: String,
    },
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Write(node) => f.debug_tuple("Write").field(node).finish(),
            Self::Query { reference, soql: _ } => {
                f.debug_struct("Query").field("reference", reference).finish_non_exhaustive()
            }
        }
    }
}

impl Part {
    /// The part's name.
    pub fn reference(&self) -> &str {
        match self {
            Self::Write(node) => &node.reference,
            Self::Query { reference, .. } => reference,
        }
    }
}

/// What became of one part; answers are in the order of the parts. `Debug` tells how many records there are, not what
/// they hold.
#[derive(Clone, PartialEq)]
pub enum PartAnswer {
    /// The record was written.
    Written(NodeAnswer),
    /// The query's first page, at most 2,000 records.
    Records(Vec<Map<String, Value>>),
    /// It was refused.
    Refused(Refusal),
    /// It was not tried, or rolled back, because another part failed.
    Halted,
}

impl std::fmt::Debug for PartAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Written(answer) => f.debug_tuple("Written").field(answer).finish(),
            Self::Records(records) => write!(f, "Records({})", records.len()),
            Self::Refused(refusal) => f.debug_tuple("Refused").field(refusal).finish(),
            Self::Halted => f.write_str("Halted"),
        }
    }
}

pub(crate) fn body(all_or_none: bool, parts: &[Part], version: ApiVersion) -> Result<Value, Error> {
    limits::check("subrequests", limits::SUBREQUESTS, parts.len())?;
    let queries = parts.iter().filter(|part| matches!(part, Part::Query { .. })).count();
    limits::check("queries among the subrequests", limits::QUERIES, queries)?;
    let requests = parts
        .iter()
        .map(|part| match part {
            Part::Write(node) => node_body(node, version),
            Part::Query { reference, soql } => Ok(json!({
                "method": "GET", "url": query::address(version, soql), "referenceId": reference,
            })),
        })
        .collect::<Result<Vec<_>, Error>>()?;
    Ok(json!({ "allOrNone": all_or_none, "collateSubrequests": true, "compositeRequest": requests }))
}

pub(crate) fn answers(parts: &[Part], body: &Value) -> Result<Vec<PartAnswer>, Error> {
    let items = body
        .get("compositeResponse")
        .and_then(Value::as_array)
        .ok_or_else(|| Error::Protocol("a composite answer without parts".to_owned()))?;
    let by_reference: HashMap<&str, &Value> =
        items.iter().filter_map(|item| Some((item.get("referenceId")?.as_str()?, item))).collect();
    let mut answers = parts
        .iter()
        .map(|part| {
            by_reference
                .get(part.reference())
                .and_then(|item| answer(part, item))
                .ok_or_else(|| Error::Protocol(format!("no answer for the part {:?}", part.reference())))
        })
        .collect::<Result<Vec<_>, Error>>()?;
    // As in a graph: a halt that nothing explains would be tried again for ever.
    if !answers.iter().any(|answer| matches!(answer, PartAnswer::Refused(_))) {
        for answer in answers.iter_mut().filter(|answer| matches!(answer, PartAnswer::Halted)) {
            let error = ApiError::new("", "halted, although no other part of the request failed");
            *answer = PartAnswer::Refused(Refusal { reference: None, error, others: Vec::new() });
        }
    }
    Ok(answers)
}

fn answer(part: &Part, item: &Value) -> Option<PartAnswer> {
    let node = match part {
        Part::Write(node) => node.clone(),
        Part::Query { reference, .. } => {
            Node { reference: reference.clone(), write: NodeWrite::Create { object: String::new() }, body: Map::new() }
        }
    };
    let errors = match NodeOutcome::read(&node, item)? {
        NodeOutcome::Written(answer) => {
            return match part {
                Part::Write(_) => Some(PartAnswer::Written(answer)),
                Part::Query { .. } => query::records(item.get("body")?).map(PartAnswer::Records),
            };
        }
        NodeOutcome::Refused(errors) => errors,
    };
    if errors.iter().all(|error| error.kind() == ErrorKind::Halted) {
        return Some(PartAnswer::Halted);
    }
    let pairs: Vec<(&Node, &ApiError)> = errors.iter().map(|error| (&node, error)).collect();
    Some(PartAnswer::Refused(crate::graph::refusal(&pairs)))
}
