//! Composite requests: up to 25 linked parts in one API call, written all or none, or each for itself.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::error::{ApiError, Error, ErrorKind};
use crate::graph::{Node, NodeAnswer, NodeOutcome, NodeWrite, Refusal, node_body};
use crate::{ApiVersion, limits, query};

/// One part of a composite request.
#[derive(Debug, Clone, PartialEq)]
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

impl Part {
    /// The part's name.
    pub fn reference(&self) -> &str {
        match self {
            Self::Write(node) => &node.reference,
            Self::Query { reference, .. } => reference,
        }
    }
}

/// What became of one part; answers are in the order of the parts.
#[derive(Debug, Clone, PartialEq)]
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
    parts
        .iter()
        .map(|part| {
            let item = by_reference
                .get(part.reference())
                .ok_or_else(|| Error::Protocol(format!("no answer for the part {:?}", part.reference())))?;
            Ok(answer(part, item))
        })
        .collect()
}

fn answer(part: &Part, item: &Value) -> PartAnswer {
    let node = match part {
        Part::Write(node) => node.clone(),
        Part::Query { reference, .. } => {
            Node { reference: reference.clone(), write: NodeWrite::Create { object: String::new() }, body: Map::new() }
        }
    };
    let errors = match NodeOutcome::read(&node, item) {
        NodeOutcome::Written(answer) => {
            return match part {
                Part::Write(_) => PartAnswer::Written(answer),
                Part::Query { .. } => PartAnswer::Records(query::records(item.get("body").unwrap_or(&Value::Null))),
            };
        }
        NodeOutcome::Refused(errors) => errors,
    };
    if errors.iter().all(|error| error.kind() == ErrorKind::Halted) {
        return PartAnswer::Halted;
    }
    let pairs: Vec<(&Node, &ApiError)> = errors.iter().map(|error| (&node, error)).collect();
    PartAnswer::Refused(crate::graph::refusal(&pairs))
}
