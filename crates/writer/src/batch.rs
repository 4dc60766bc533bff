//! From write plans to graphs, and from a graph's answer back to an order.

use domain::order::id::RecordId;
use domain::outcome::Written;
use domain::plan::{Effect, FieldValue, KnownIdentity, Reference, Write, WritePlan};
use salesforce::{Graph, Node, NodeAnswer, NodeWrite};
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
            reference: effect.reference.as_str().to_owned(),
            write: node_write(&effect.write),
            body: body(effect, adjustments, |reference| Value::String(format!("@{{{}.id}}", reference.as_str()))),
        })
        .collect();
    Graph { id, nodes }
}

/// The fields of the plan's event, for publishing it outside the graph. References are resolved from what was written.
pub(crate) fn event(plan: &WritePlan, written: &Written) -> Option<(String, Map<String, Value>)> {
    plan.effects.iter().find_map(|effect| match &effect.write {
        Write::Publish { event } => {
            let resolve =
                |reference: Reference| written.record_ids.get(reference.as_str()).cloned().unwrap_or(Value::Null);
            let fields = effect.fields.iter().map(|(name, value)| match value {
                FieldValue::Json(value) => (name.clone(), value.clone()),
                FieldValue::IdOf(reference) => (name.clone(), resolve(*reference)),
            });
            Some((event.clone(), fields.collect()))
        }
        Write::Upsert { .. } | Write::Create { .. } => None,
    })
}

/// What was written, from a graph's answers.
pub(crate) fn written(answers: &[NodeAnswer], known: &KnownIdentity, plan: &WritePlan) -> Written {
    let mut written =
        Written { crm_id: known.crm_id.clone(), adjustments: plan.adjustments.clone(), ..Written::default() };
    for answer in answers {
        if let Some(uuid) = &answer.event_uuid {
            written.event_uuid = Some(uuid.clone());
        } else if let Some(id) = &answer.id {
            if answer.reference == Reference::Account.as_str() {
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
mod tests {
    use super::*;

    fn plan(text: &str) -> WritePlan {
        let account = Effect {
            reference: Reference::Account,
            write: Write::Upsert { object: "Account".into(), field: "LimioId__c".into(), value: "id-1".into() },
            fields: vec![("LastName".into(), FieldValue::Json(text.into()))],
        };
        let event = Effect {
            reference: Reference::Event,
            write: Write::Publish { event: "E__e".into() },
            fields: vec![("AccountId__c".into(), FieldValue::IdOf(Reference::Account))],
        };
        WritePlan { effects: vec![account, event], adjustments: Vec::new() }
    }

    #[test]
    fn a_shopper_cannot_write_a_reference() {
        let mut plan = plan("@{account.id}");
        let graph = graph("0".into(), &mut plan, true);
        assert_eq!(graph.nodes[0].body["LastName"], "@ {account.id}");
        assert_eq!(graph.nodes[1].body["AccountId__c"], "@{account.id}");
        assert_eq!(plan.adjustments.len(), 1);
    }

    #[test]
    fn an_event_that_is_published_at_once_stays_out_of_the_graph_and_gets_its_ids_afterwards() {
        let mut plan = plan("Quist");
        assert_eq!(graph("0".into(), &mut plan, false).nodes.len(), 1);
        let id = "001B000001Lp1G2IAJ".to_owned();
        let answer =
            NodeAnswer { reference: "account".into(), id: Some(id.clone()), created: Some(true), event_uuid: None };
        let written = written(&[answer], &KnownIdentity::default(), &plan);
        assert_eq!(written.crm_id, RecordId::parse(&id));
        let (name, fields) = event(&plan, &written).expect("an event");
        assert_eq!((name.as_str(), &fields["AccountId__c"]), ("E__e", &Value::String(id)));
    }
}
