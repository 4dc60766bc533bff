//! From write plans to graphs, and from a graph's answer back to an order.

use domain::order::id::RecordId;
use domain::outcome::Written;
use domain::plan::{Effect, FieldValue, KnownIdentity, Reference, Write, WritePlan};
use salesforce::{Graph, Node, NodeAnswer, NodeWrite, Part};
use serde_json::{Map, Value};

/// The graph of one order: its plan's effects as nodes. `events` says whether the platform event goes in.
///
/// Salesforce resolves `@{…}` in every text of a graph. Where a shopper's text says so, a space is put after the at sign;
/// the plan's adjustments say that it was.
pub(crate) fn graph(id: String, plan: &mut WritePlan, events: bool) -> Graph {
    let WritePlan { effects, adjustments } = plan;
    let nodes = effects
        .iter()
        .filter(|effect| events || !matches!(effect.write, Write::Publish { .. }))
        .map(|effect| Node {
            reference: effect.reference.name().into_owned(),
            write: node_write(&effect.write),
            body: body(effect, adjustments, |reference| Value::String(format!("@{{{}.id}}", reference.name()))),
        })
        .collect();
    Graph { id, nodes }
}

/// The fields of the plan's event, for publishing it outside the graph. References are resolved from what was written.
pub(crate) fn event(plan: &WritePlan, written: &Written) -> Option<(String, Map<String, Value>)> {
    plan.effects.iter().find_map(|effect| match &effect.write {
        Write::Publish { event } => {
            let resolve =
                |reference: Reference| written.record_ids.get(&*reference.name()).cloned().unwrap_or(Value::Null);
            let fields = effect.fields.iter().map(|(name, value)| match value {
                FieldValue::Json(value) => (name.clone(), value.clone()),
                FieldValue::IdOf(reference) => (name.clone(), resolve(*reference)),
            });
            Some((event.clone(), fields.collect()))
        }
        Write::Upsert { .. } | Write::Create { .. } | Write::Update { .. } => None,
    })
}

/// The graph that publishes the plan's event outside its records' own, and sets this field of the order's record with it:
/// the field first, so that no refusal of the note comes after the event. Should the unit fail all the same once the event's
/// node was carried out, or the org repeat it by itself, the event stays, since it does not wait for the commit, and is
/// published once more. None where no record of the order is known.
pub(crate) fn noted_event(id: String, plan: &WritePlan, written: &Written, object: &str, field: &str) -> Option<Graph> {
    let order = written.record_ids.get(&*Reference::Order.name())?.as_str()?.to_owned();
    let effect = plan.effects.iter().find(|effect| matches!(effect.write, Write::Publish { .. }))?;
    let resolve = |reference: Reference| written.record_ids.get(&*reference.name()).cloned().unwrap_or(Value::Null);
    let note = Node {
        reference: Reference::Order.name().into_owned(),
        write: NodeWrite::Update { object: object.to_owned(), id: order },
        body: Map::from_iter([(field.to_owned(), Value::Bool(true))]),
    };
    let event = Node {
        reference: effect.reference.name().into_owned(),
        write: node_write(&effect.write),
        body: body(effect, &mut Vec::new(), resolve),
    };
    Some(Graph { id, nodes: vec![note, event] })
}

/// What was written, from a graph's answers.
pub(crate) fn written(answers: &[NodeAnswer], known: &KnownIdentity, plan: &WritePlan) -> Written {
    let mut written =
        Written { crm_id: known.crm_id.clone(), adjustments: plan.adjustments.clone(), ..Written::default() };
    for answer in answers {
        if let Some(uuid) = &answer.event_uuid {
            written.event_uuid = Some(uuid.clone());
        } else if let Some(id) = &answer.id {
            if answer.reference == Reference::Account.name() {
                written.crm_id = RecordId::parse(id);
            }
            written.record_ids.insert(answer.reference.clone(), id.as_str().into());
        }
    }
    written
}

fn node_write(write: &Write) -> NodeWrite {
    match write {
        Write::Upsert { object, field, value } => {
            NodeWrite::Upsert { object: object.clone(), field: field.clone(), value: value.clone() }
        }
        Write::Update { object, id } => NodeWrite::Update { object: object.clone(), id: id.as_str().to_owned() },
        Write::Create { object } | Write::Publish { event: object } => NodeWrite::Create { object: object.clone() },
    }
}

/// The fields of an effect as a request body, with shopper text made harmless.
pub(crate) fn body(
    effect: &Effect,
    adjustments: &mut Vec<String>,
    reference: impl Fn(Reference) -> Value,
) -> Map<String, Value> {
    let mut body = Map::new();
    for (name, value) in &effect.fields {
        let value = match value {
            FieldValue::IdOf(target) => reference(*target),
            FieldValue::Json(value) => {
                let mut value = value.clone();
                if neutralise(&mut value) {
                    let note =
                        format!("{name}: a space was put into \"@{{\", which Salesforce would read as a reference");
                    if !adjustments.contains(&note) {
                        adjustments.push(note);
                    }
                }
                value
            }
        };
        body.insert(name.clone(), value);
    }
    body
}

/// Account and Contact of a plan as parts of a composite request; `index` tells those of one order from another's.
pub(crate) fn customer_parts(plan: &WritePlan, index: usize) -> Vec<Part> {
    let name = |reference: Reference| format!("{}{index}", reference.name());
    let customer = plan.effects.iter().filter(|effect| matches!(effect.write, Write::Upsert { .. }));
    customer
        .map(|effect| {
            let id_of = |reference| Value::String(format!("@{{{}.id}}", name(reference)));
            let body = body(effect, &mut Vec::new(), id_of);
            Part::Write(Node { reference: name(effect.reference), write: node_write(&effect.write), body })
        })
        .collect()
}

fn neutralise(value: &mut Value) -> bool {
    match value {
        // The plan's own texts are harmless already; what comes from the settings is not.
        Value::String(text) => domain::mapping::fields::without_references(text).is_some_and(|harmless| {
            *text = harmless;
            true
        }),
        Value::Array(items) => items.iter_mut().fold(false, |changed, item| neutralise(item) | changed),
        Value::Object(fields) => fields.values_mut().fold(false, |changed, item| neutralise(item) | changed),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests;
