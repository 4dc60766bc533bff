//! `/composite/graph`: up to 75 graphs, each all or nothing, in one API call.
//!
//! Source: REST API Developer Guide, "Composite Graph", "Using Composite Graphs" and "Composite Graph Limits".

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::composite::{Part, parse_part};
use super::data::{Resource, split_path, version_refusal};
use super::{Size, rows, sobjects};
use crate::api_error::ApiError;
use crate::call::Call;
use crate::form::Form;
use crate::org::Org;
use crate::references::{self, Results};
use crate::reply::Reply;
use crate::settings::GraphErrorStyle;
use crate::transaction::Transaction;

const GRAPHS: usize = 75;
const NODES: usize = 500;
const DIFFERENT_NODES: usize = 15;
const DEPTH: usize = 15;
/// The resource exists from this version on, and its nodes may name no older one.
const OLDEST: u32 = 50;
/// With more failed graphs than this, the rest of the request is not run.
const FAILED_GRAPHS: usize = 14;

struct Graph {
    id: String,
    nodes: Vec<Part>,
}

impl Graph {
    /// Id, URLs and bodies, for faults that look for a text.
    fn text(&self) -> String {
        let mut text = self.id.clone();
        for node in &self.nodes {
            text.push(' ');
            text.push_str(&node.url);
            if let Some(body) = &node.body {
                text.push(' ');
                text.push_str(&body.to_string());
            }
        }
        text
    }
}

pub(crate) async fn handle(
    org: &Arc<Org>,
    resource: &Resource,
    body: Option<Value>,
    mut call: Call,
    size: &mut Size,
) -> Reply {
    if resource.method != "POST" {
        return ApiError::method_not_allowed(&resource.method, "POST").into();
    }
    if call.major() < OLDEST {
        return ApiError::not_found().into();
    }
    let graphs = match parse(body, call.major()) {
        Ok(graphs) => graphs,
        Err(error) => return error.into(),
    };
    size.graphs = graphs.len();
    size.nodes = graphs.iter().map(|graph| graph.nodes.len()).sum();
    let nodes = graphs.iter().flat_map(|graph| &graph.nodes);
    size.rows = nodes.flat_map(|node| rows::of_part(org, node, &call.settings)).collect();
    call.in_graph = true;
    let mut answers = Vec::with_capacity(graphs.len());
    let mut failed = 0;
    for graph in graphs {
        let halted = failed > FAILED_GRAPHS || org.faults.halts_graph(&call.path, || graph.text());
        let (replies, successful) = if halted {
            let replies = graph.nodes.iter().map(|node| (node.reference.clone(), ApiError::halted().into())).collect();
            (replies, false)
        } else {
            run(org, graph.nodes, &call).await
        };
        failed += usize::from(!successful);
        let parts: Value =
            replies.into_iter().map(|(reference, reply)| super::composite::part_answer(reference, reply)).collect();
        // Put together by hand: `json!` would copy every part.
        answers.push(named([
            ("graphId", Value::String(graph.id)),
            ("graphResponse", named([("compositeResponse", parts)])),
            ("isSuccessful", Value::Bool(successful)),
        ]));
    }
    Reply::json(200, named([("graphs", Value::Array(answers))]))
}

/// An object of these members.
fn named<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// Runs one graph in a transaction of its own.
async fn run(org: &Arc<Org>, nodes: Vec<Part>, call: &Call) -> (Vec<(String, Reply)>, bool) {
    let mut transaction = Transaction::begin(org);
    let mut results = Results::new(call);
    let mut replies: Vec<(String, Reply)> = Vec::with_capacity(nodes.len());
    let names: Vec<String> = nodes.iter().map(|node| node.reference.clone()).collect();
    for node in nodes {
        let reference = node.reference.clone();
        let reply = run_node(org, &mut transaction, node, &results, call).await;
        let succeeded = reply.is_success();
        if succeeded {
            results.insert(reference.clone(), reply.body.clone());
        }
        replies.push((reference, reply));
        if !succeeded {
            break;
        }
    }
    match replies.pop_if(|(_, reply)| !reply.is_success()) {
        None => {
            transaction.commit(call).await;
            (replies, true)
        }
        Some((culprit, root)) => {
            transaction.rollback(call).await;
            let innocent = match call.settings.graph_error_style {
                GraphErrorStyle::RepeatRoot => root.clone(),
                GraphErrorStyle::ProcessingHalted => ApiError::halted().into(),
            };
            let all = names
                .into_iter()
                .map(|name| {
                    let reply = if name == culprit { root.clone() } else { innocent.clone() };
                    (name, reply)
                })
                .collect();
            (all, false)
        }
    }
}

async fn run_node(
    org: &Arc<Org>,
    transaction: &mut Transaction,
    mut node: Part,
    results: &Results,
    call: &Call,
) -> Reply {
    let url = match references::resolve_text(&node.url, results) {
        Ok(url) => url,
        Err(error) => return error.into(),
    };
    if let Some(body) = &mut node.body
        && let Err(error) = references::resolve(body, results)
    {
        return error.into();
    }
    let (path, query) = url.split_once('?').unwrap_or((&url, ""));
    if !path.starts_with('/') {
        return ApiError::bad_request("PROCESSING_HALTED", format!("{url} is not a valid url")).into();
    }
    let Some((version, segments)) = split_path(path) else {
        return ApiError::bad_request("OPERATION_NOT_ALLOWED", format!("{url} is not allowed in a graph")).into();
    };
    let call = if version == call.version { Cow::Borrowed(call) } else { Cow::Owned(Call { version, ..call.clone() }) };
    let allowed = call.major() >= OLDEST
        && matches!(
            (node.method.as_str(), segments.len()),
            ("POST", 2) | ("GET" | "PATCH" | "DELETE", 3) | ("GET" | "PATCH" | "POST" | "DELETE", 4)
        )
        && segments.first().is_some_and(|first| first == "sobjects")
        && segments.get(2).is_none_or(|third| third != "describe");
    if !allowed {
        let message = format!("{} {url} is not allowed in a graph", node.method);
        return ApiError::bad_request("OPERATION_NOT_ALLOWED", message).into();
    }
    if let Some(refusal) = version_refusal(&call) {
        return refusal.into();
    }
    let resource = Resource { method: node.method, segments, query: Form::parse(query), body: node.body };
    sobjects::handle(org, transaction, &resource, &call).await
}

/// Reads the envelope and holds it to the documented limits.
fn parse(body: Option<Value>, major: u32) -> Result<Vec<Graph>, ApiError> {
    let invalid = |message: String| ApiError::bad_request("INVALID_INPUT", message);
    let Some(Value::Object(mut envelope)) = body else {
        return Err(ApiError::json("The HTTP entity body must be a JSON object at [line:1, column:1]"));
    };
    let Some(Value::Array(list)) = envelope.remove("graphs") else {
        return Err(ApiError::json("Required field is missing: graphs at [line:1, column:1]"));
    };
    if let Some(key) = envelope.keys().next() {
        return Err(ApiError::json(format!("Unrecognized field \"{key}\" at [line:1, column:1]")));
    }
    if list.is_empty() {
        return Err(invalid("The request has no graphs.".to_owned()));
    }
    if list.len() > GRAPHS {
        return Err(invalid(format!("The request has {} graphs; the limit is {GRAPHS}.", list.len())));
    }
    let mut graphs = Vec::with_capacity(list.len());
    let mut ids = HashSet::new();
    let mut different = HashSet::new();
    let mut total = 0;
    for item in list {
        let Value::Object(mut item) = item else {
            return Err(ApiError::json("A graph must be a JSON object at [line:1, column:1]"));
        };
        let id = match item.remove("graphId") {
            Some(Value::String(id)) if valid_id(&id) => id,
            Some(id) => return Err(invalid(format!("The graphId {id} is not valid."))),
            None => return Err(ApiError::json("Required field is missing: graphId at [line:1, column:1]")),
        };
        if !ids.insert(id.clone()) {
            return Err(invalid(format!("The graphId {id} is used more than once.")));
        }
        let nodes = parse_nodes(item, &id, major)?;
        total += nodes.len();
        if total > NODES {
            return Err(invalid(format!("The request has more than {NODES} nodes.")));
        }
        for node in &nodes {
            let path = node.url.split(['?']).next().unwrap_or_default();
            let mut parts = path.split('/').filter(|part| !part.is_empty()).skip(2);
            different.insert(format!(
                "{} {} {}",
                parts.next().unwrap_or_default(),
                node.method,
                parts.nth(1).unwrap_or_default().to_ascii_lowercase()
            ));
        }
        let depth = depth(&nodes);
        if depth > DEPTH {
            return Err(invalid(format!("The graph {id} has a depth of {depth}; the limit is {DEPTH}.")));
        }
        graphs.push(Graph { id, nodes });
    }
    if different.len() > DIFFERENT_NODES {
        return Err(invalid(format!(
            "The request has {} different nodes; the limit is {DIFFERENT_NODES}.",
            different.len()
        )));
    }
    Ok(graphs)
}

fn valid_id(id: &str) -> bool {
    id.starts_with(|c: char| c.is_ascii_alphanumeric()) && id.chars().count() < 40 && !id.contains('.')
}

fn parse_nodes(mut item: Map<String, Value>, graph: &str, major: u32) -> Result<Vec<Part>, ApiError> {
    let Some(Value::Array(list)) = item.remove("compositeRequest") else {
        return Err(ApiError::json("Required field is missing: compositeRequest at [line:1, column:1]"));
    };
    if let Some(key) = item.keys().next() {
        return Err(ApiError::json(format!("Unrecognized field \"{key}\" at [line:1, column:1]")));
    }
    if list.is_empty() {
        return Err(ApiError::bad_request("INVALID_INPUT", format!("The graph {graph} has no nodes.")));
    }
    let mut names = HashSet::new();
    let mut nodes = Vec::with_capacity(list.len());
    for node in list {
        let node = parse_part(node, &["method", "url", "referenceId", "body"], major)?;
        if !names.insert(node.reference.clone()) {
            let message = format!("The referenceId {} is used more than once in graph {graph}.", node.reference);
            return Err(ApiError::bad_request("INVALID_INPUT", message));
        }
        nodes.push(node);
    }
    Ok(nodes)
}

/// The longest chain of references.
fn depth(nodes: &[Part]) -> usize {
    let mut depths: HashMap<&str, usize> = HashMap::with_capacity(nodes.len());
    let mut deepest = 0;
    for node in nodes {
        let mut named = Vec::new();
        references::named_in_text(&node.url, &mut named);
        if let Some(body) = &node.body {
            references::named_in(body, &mut named);
        }
        let depth = 1 + named.iter().filter_map(|name| depths.get(name)).max().copied().unwrap_or(0);
        deepest = deepest.max(depth);
        depths.insert(&node.reference, depth);
    }
    deepest
}
