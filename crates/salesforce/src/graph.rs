//! Composite graphs: up to 75 units of work in one API call, each written wholly or not at all.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use crate::envelope;
use crate::error::{ApiError, Error, ErrorKind};
use crate::{ApiVersion, limits, sobject};

/// One unit of work: its nodes are written together or not at all, whatever becomes of other graphs.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    /// Names the graph within the request: begins with a letter or digit, shorter than 40 characters, no dot.
    pub id: String,
    /// What to write, in this order. A node refers to the record of an earlier one by `@{reference.id}`.
    pub nodes: Vec<Node>,
}

/// One record to write.
///
/// Salesforce looks for `@{…}` in every string of `body`. Text from outside has to be free of it
/// ([`contains_reference`]), or it would be replaced or fail the graph.
#[derive(Clone, PartialEq)]
pub struct Node {
    /// Names the node within its graph: letters, digits and underscores.
    pub reference: String,
    /// Which record, and how.
    pub write: NodeWrite,
    /// The fields, without the external id of an upsert and without `Id`.
    pub body: Map<String, Value>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("reference", &self.reference)
            .field("write", &self.write)
            .field("fields", &self.body.keys().collect::<Vec<_>>())
            .finish()
    }
}

/// Which record a node writes, and how. `Debug` leaves the external id's value out: it is a field of the record.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum NodeWrite {
    /// Create the record, or update the one that has this external id.
    Upsert {
        /// The object's API name.
        object: String,
        /// The external id field's API name.
        field: String,
        /// The external id; any text.
        value: String,
    },
    /// Create a record, or publish a platform event.
    Create {
        /// The object's or event's API name.
        object: String,
    },
    /// Update a record.
    Update {
        /// The object's API name.
        object: String,
        /// Its id, or the reference `@{reference.id}` to an earlier node.
        id: String,
    },
}

impl std::fmt::Debug for NodeWrite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Upsert { object, field, value: _ } => {
                f.debug_struct("Upsert").field("object", object).field("field", field).finish_non_exhaustive()
            }
            Self::Create { object } => f.debug_struct("Create").field("object", object).finish(),
            Self::Update { object, id } => f.debug_struct("Update").field("object", object).field("id", id).finish(),
        }
    }
}

impl NodeWrite {
    /// The object's API name.
    pub fn object(&self) -> &str {
        match self {
            Self::Upsert { object, .. } | Self::Create { object } | Self::Update { object, .. } => object,
        }
    }

    pub(crate) const fn method(&self) -> &'static str {
        match self {
            Self::Upsert { .. } | Self::Update { .. } => "PATCH",
            Self::Create { .. } => "POST",
        }
    }

    /// The address from its first slash on.
    pub(crate) fn address(&self, version: ApiVersion) -> Result<String, Error> {
        let object = sobject::name("an object", self.object())?;
        let base = format!("/services/data/v{version}/sobjects/{object}");
        Ok(match self {
            Self::Create { .. } => base,
            Self::Update { id, .. } => format!("{base}/{}", sobject::record(id)?),
            Self::Upsert { field, value, .. } => {
                if value.is_empty() {
                    return Err(Error::Invalid(format!("the external id of an upsert of {object} is empty")));
                }
                format!("{base}/{}/{}", sobject::name("a field", field)?, sobject::segment(value))
            }
        })
    }
}

/// What became of one graph.
#[derive(Debug, Clone, PartialEq)]
pub struct GraphAnswer {
    /// The graph's id.
    pub id: String,
    /// What became of it.
    pub result: GraphResult,
}

/// What became of one graph.
#[derive(Debug, Clone, PartialEq)]
pub enum GraphResult {
    /// Every node was written; the answers are in the order of the nodes.
    Written(Vec<NodeAnswer>),
    /// Nothing of it was written. A platform event that publishes immediately may have gone out all the same.
    Refused(Refusal),
    /// Not tried, because more than 14 other graphs of the request failed. Send it again; it is no failed attempt. Where
    /// no graph of the request failed, it is refused for an unknown cause instead.
    Halted,
}

/// What became of one node that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAnswer {
    /// The node's reference.
    pub reference: String,
    /// The record's id. An update answers none. The id of a platform event identifies nothing.
    pub id: Option<String>,
    /// For an upsert, whether it created the record.
    pub created: Option<bool>,
    /// For a platform event, the UUID it goes out with: accepted, and not yet delivered.
    pub event_uuid: Option<String>,
}

/// Why a graph, row or part was refused.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// The node that carries the cause, where the answer tells: some releases repeat one error on every node.
    pub reference: Option<String>,
    /// The cause: the first error that does not merely say that something else failed.
    pub error: ApiError,
    /// The remaining distinct errors.
    pub others: Vec<ApiError>,
}

/// Whether Salesforce would take a part of this text for a reference to another node.
pub fn contains_reference(text: &str) -> bool {
    text.contains("@{")
}

/// The request's body; refuses what Salesforce would refuse as a whole.
pub(crate) fn body(graphs: &[Graph], version: ApiVersion) -> Result<Value, Error> {
    limits::check("graphs", limits::GRAPHS, graphs.len())?;
    limits::check("nodes", limits::NODES, graphs.iter().map(|graph| graph.nodes.len()).sum())?;
    let different: HashSet<_> =
        graphs.iter().flat_map(|graph| &graph.nodes).map(|node| (node.write.method(), node.write.object())).collect();
    limits::check("different nodes", limits::DIFFERENT_NODES, different.len())?;
    let mut ids = HashSet::new();
    let graphs = graphs
        .iter()
        .map(|graph| {
            if !is_graph_id(&graph.id) || !ids.insert(graph.id.as_str()) {
                return Err(Error::Invalid(format!("{:?} is not a graph id, or is used twice", graph.id)));
            }
            limits::check("references in a chain", limits::DEPTH, depth(&graph.nodes))?;
            let nodes = graph.nodes.iter().map(|node| node_body(node, version)).collect::<Result<Vec<_>, Error>>()?;
            if nodes.is_empty() {
                return Err(Error::Invalid(format!("the graph {:?} has no nodes", graph.id)));
            }
            let mut references = HashSet::new();
            if !graph.nodes.iter().all(|node| references.insert(node.reference.as_str())) {
                return Err(Error::Invalid(format!("the graph {:?} uses a reference twice", graph.id)));
            }
            Ok(json!({ "graphId": graph.id, "compositeRequest": nodes }))
        })
        .collect::<Result<Vec<_>, Error>>()?;
    Ok(json!({ "graphs": graphs }))
}

pub(crate) fn node_body(node: &Node, version: ApiVersion) -> Result<Value, Error> {
    if node.reference.is_empty() || !node.reference.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(Error::Invalid(format!("{:?} is not a reference", node.reference)));
    }
    Ok(json!({
        "method": node.write.method(),
        "url": node.write.address(version)?,
        "referenceId": node.reference,
        "body": node.body,
    }))
}

fn is_graph_id(id: &str) -> bool {
    id.starts_with(|c: char| c.is_ascii_alphanumeric()) && id.len() <= limits::GRAPH_ID && !id.contains('.')
}

/// The longest chain of nodes in which each refers to the one before.
fn depth(nodes: &[Node]) -> usize {
    let mut depths: HashMap<&str, usize> = HashMap::new();
    for node in nodes {
        let mut found = Vec::new();
        if let NodeWrite::Update { id, .. } = &node.write {
            references(id, &mut found);
        }
        for value in node.body.values() {
            references_in(value, &mut found);
        }
        let deepest = found.iter().filter_map(|name| depths.get(name)).max().copied().unwrap_or(0);
        depths.insert(&node.reference, deepest + 1);
    }
    depths.values().max().copied().unwrap_or(0)
}

fn references_in<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => references(text, found),
        Value::Array(items) => items.iter().for_each(|item| references_in(item, found)),
        Value::Object(fields) => fields.values().for_each(|item| references_in(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn references<'a>(text: &'a str, found: &mut Vec<&'a str>) {
    for part in text.split("@{").skip(1) {
        found.push(part.split(['.', '}', '[']).next().unwrap_or_default());
    }
}

/// The answers in the order of `graphs`, whatever order they came in.
pub(crate) fn answers(graphs: &[Graph], body: &Value) -> Result<Vec<GraphAnswer>, Error> {
    let items = body
        .get("graphs")
        .and_then(Value::as_array)
        .ok_or_else(|| Error::Protocol("a graph answer without graphs".to_owned()))?;
    let by_id: HashMap<&str, &Value> =
        items.iter().filter_map(|item| Some((item.get("graphId")?.as_str()?, item))).collect();
    let mut answers = graphs
        .iter()
        .map(|graph| {
            let item = by_id
                .get(graph.id.as_str())
                .ok_or_else(|| Error::Protocol(format!("no answer for the graph {:?}", graph.id)))?;
            Ok(GraphAnswer { id: graph.id.clone(), result: result(graph, item)? })
        })
        .collect::<Result<Vec<_>, Error>>()?;
    // A halt costs no attempt, so one that nothing explains would be sent again for ever.
    if !answers.iter().any(|answer| matches!(answer.result, GraphResult::Refused(_))) {
        for answer in answers.iter_mut().filter(|answer| answer.result == GraphResult::Halted) {
            let error = ApiError::new("", "halted, although no other graph of the request failed");
            answer.result = GraphResult::Refused(Refusal { reference: None, error, others: Vec::new() });
        }
    }
    Ok(answers)
}

fn result(graph: &Graph, item: &Value) -> Result<GraphResult, Error> {
    let parts = item.pointer("/graphResponse/compositeResponse").and_then(Value::as_array);
    let by_reference: HashMap<&str, &Value> =
        parts.into_iter().flatten().filter_map(|part| Some((part.get("referenceId")?.as_str()?, part))).collect();
    let answered: Vec<(&Node, NodeOutcome)> = graph
        .nodes
        .iter()
        .filter_map(|node| Some((node, NodeOutcome::read(node, by_reference.get(node.reference.as_str())?)?)))
        .collect();
    let mut errors: Vec<(&Node, &ApiError)> = Vec::new();
    for (node, outcome) in &answered {
        if let NodeOutcome::Refused(found) = outcome {
            errors.extend(found.iter().map(|error| (*node, error)));
        }
    }
    let says_success = item.get("isSuccessful").and_then(Value::as_bool);
    if says_success != Some(false) && errors.is_empty() {
        if answered.len() != graph.nodes.len() {
            return Err(Error::Protocol(format!("the graph {:?} lacks the answer of a node", graph.id)));
        }
        let written = answered
            .into_iter()
            .filter_map(|(_, outcome)| match outcome {
                NodeOutcome::Written(answer) => Some(answer),
                NodeOutcome::Refused(_) => None,
            })
            .collect();
        return Ok(GraphResult::Written(written));
    }
    if errors.is_empty() {
        let error = ApiError::new("", "the graph failed without an error");
        return Ok(GraphResult::Refused(Refusal { reference: None, error, others: Vec::new() }));
    }
    if errors.iter().all(|(_, error)| error.kind() == ErrorKind::Halted) {
        return Ok(GraphResult::Halted);
    }
    Ok(GraphResult::Refused(refusal(&errors)))
}

/// The refusal that these errors make. `errors` holds one that is a cause.
pub(crate) fn refusal(errors: &[(&Node, &ApiError)]) -> Refusal {
    let mut cause = errors
        .iter()
        .map(|(_, error)| *error)
        .find(|error| error.kind() != ErrorKind::Halted)
        .cloned()
        .unwrap_or_else(|| ApiError::new("", ""));
    let carriers: Vec<&Node> = errors.iter().filter(|(_, error)| **error == cause).map(|(node, _)| *node).collect();
    let of_rule: Vec<&&Node> = match cause.duplicate.as_ref().and_then(|duplicate| duplicate.object.as_deref()) {
        Some(object) => carriers.iter().filter(|node| node.write.object() == object).collect(),
        None => Vec::new(),
    };
    let reference = match (carriers.as_slice(), of_rule.as_slice()) {
        ([only], _) => Some(only.reference.clone()),
        (_, [only]) => Some(only.reference.clone()),
        _ => None,
    };
    let mut others: Vec<ApiError> = Vec::new();
    for (_, error) in errors {
        if **error != cause && !others.contains(error) {
            others.push((*error).clone());
        }
    }
    let objects: Vec<&str> = match (&reference, carriers.as_slice()) {
        (Some(reference), nodes) => {
            nodes.iter().filter(|node| node.reference == *reference).map(|node| node.write.object()).collect()
        }
        (None, nodes) => nodes.iter().map(|node| node.write.object()).collect(),
    };
    if let [first, rest @ ..] = objects.as_slice()
        && !first.is_empty()
        && rest.iter().all(|object| object == first)
    {
        cause.object = Some((*first).to_owned());
    }
    Refusal { reference, error: cause, others }
}

/// What one node's answer says.
pub(crate) enum NodeOutcome {
    Written(NodeAnswer),
    Refused(Vec<ApiError>),
}

impl NodeOutcome {
    /// Reads `{body, httpStatusCode, …}`: an object after a create or upsert, null after an update, an array of errors.
    /// `None` for what says neither that the record was written nor that it was not.
    pub(crate) fn read(node: &Node, part: &Value) -> Option<Self> {
        let body = part.get("body").unwrap_or(&Value::Null);
        let status = part.get("httpStatusCode").and_then(Value::as_u64);
        let success = body.get("success").and_then(Value::as_bool);
        let succeeded = status.map_or(success == Some(true), |status| (200..300).contains(&status));
        if succeeded && success != Some(false) {
            return Some(Self::Written(NodeAnswer {
                reference: node.reference.clone(),
                id: body.get("id").and_then(Value::as_str).map(str::to_owned),
                created: body.get("created").and_then(Value::as_bool),
                event_uuid: event_uuid(body),
            }));
        }
        let mut errors = envelope::errors(body);
        if errors.is_empty() {
            if status.is_none() && success.is_none() {
                return None;
            }
            errors.push(ApiError::new("", format!("status {} without an error", status.unwrap_or_default())));
        }
        Some(Self::Refused(errors))
    }
}

/// The UUID of a published event: a success that lists `OPERATION_ENQUEUED` among its errors, with the UUID as its
/// message.
pub(crate) fn event_uuid(body: &Value) -> Option<String> {
    body.get("errors")?
        .as_array()?
        .iter()
        .filter_map(envelope::error)
        .find(|error| error.code == "OPERATION_ENQUEUED")
        .map(|error| error.message)
        .filter(|uuid| !uuid.is_empty())
}
