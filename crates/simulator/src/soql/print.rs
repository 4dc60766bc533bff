//! Rows as REST prints them: attributes, fields in the order of the field list, parents nested, children enveloped.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use futures::future::BoxFuture;
use serde_json::{Map, Value, json};

use super::plan::{Bound, Column, Plan, Shape};
use super::run::{Reader, View, arranged};
use crate::api_error::ApiError;
use crate::call::Call;
use crate::ids::RecordId;
use crate::records::Row;
use crate::schema::ObjectIx;

/// Prints rows of a plan, with the children that were found for them.
pub(super) fn rows(
    view: &View<'_>,
    call: &Call,
    plan: &Plan,
    families: &[Family],
    rows: &[(RecordId, Arc<Row>)],
) -> Vec<Value> {
    let printer = Printer { view, call };
    rows.iter().map(|(id, row)| printer.row(plan, families, *id, row)).collect()
}

/// Children of one column by the id of their parent, and the children of those.
pub(super) struct Family {
    by_parent: HashMap<String, Vec<(RecordId, Arc<Row>)>>,
    below: Vec<Family>,
}

/// The children of `parents`, one pass over each child object.
pub(super) fn families<'f>(
    reader: Reader<'f>,
    plan: &'f Plan,
    parents: Vec<RecordId>,
) -> BoxFuture<'f, Result<Vec<Family>, ApiError>> {
    Box::pin(async move {
        let mut found = Vec::new();
        let Shape::Rows { columns, .. } = &plan.shape else { return Ok(found) };
        for column in columns {
            let Column::Children { link, plan, .. } = column else { continue };
            let mut by_parent: HashMap<String, Vec<_>> =
                parents.iter().map(|id| (id.to_string(), Vec::new())).collect();
            let scan = reader.scan(plan, |_, id, row| {
                if let Some(children) = row.text(*link).and_then(|parent| by_parent.get_mut(parent)) {
                    children.push((id, Arc::clone(row)));
                }
                ControlFlow::Continue(())
            });
            scan.await?;
            let children = by_parent.values().flatten().map(|(id, _)| *id).collect();
            let below = families(reader, plan, children).await?;
            found.push(Family { by_parent, below });
        }
        Ok(found)
    })
}

struct Printer<'p> {
    view: &'p View<'p>,
    call: &'p Call,
}

impl Printer<'_> {
    fn row(&self, plan: &Plan, families: &[Family], id: RecordId, row: &Row) -> Value {
        let mut record = Map::new();
        record.insert("attributes".into(), self.attributes(plan.object, id));
        let Shape::Rows { columns, .. } = &plan.shape else { return Value::Object(record) };
        let mut families = families.iter();
        for column in columns {
            match column {
                Column::Field(bound) => self.path(&mut record, plan.object, row, bound, 0),
                Column::Children { name, plan, .. } => {
                    let children = families.next().map_or(Value::Null, |family| self.children(plan, family, id));
                    record.insert(name.clone(), children);
                }
            }
        }
        Value::Object(record)
    }

    /// An envelope of its own, or null when there are none.
    fn children(&self, plan: &Plan, family: &Family, parent: RecordId) -> Value {
        let Shape::Rows { order, .. } = &plan.shape else { return Value::Null };
        let Some(children) = family.by_parent.get(parent.to_string().as_str()) else { return Value::Null };
        let rows = arranged(self.view, plan, order, children);
        if rows.is_empty() {
            return Value::Null;
        }
        let records: Vec<Value> = rows.into_iter().map(|(id, row)| self.row(plan, &family.below, *id, row)).collect();
        json!({ "totalSize": records.len(), "done": true, "records": records })
    }

    fn attributes(&self, object: ObjectIx, id: RecordId) -> Value {
        let name = &self.view.org.schema.object(object).name;
        json!({ "type": name, "url": self.call.record_url(name, id) })
    }

    fn path(&self, record: &mut Map<String, Value>, object: ObjectIx, row: &Row, bound: &Bound, depth: usize) {
        let definition = self.view.org.schema.object(object);
        let Some((hop, target)) = bound.hops.get(depth) else {
            let value = row.get(bound.field).cloned().unwrap_or(Value::Null);
            record.insert(definition.field(bound.field).name.clone(), value);
            return;
        };
        let name = definition.field(*hop).relationship.clone().unwrap_or_default();
        let parent = row.text(*hop).and_then(RecordId::parse).and_then(|id| Some((id, self.view.row(*target, id)?)));
        let Some((id, parent)) = parent else {
            record.insert(name, Value::Null);
            return;
        };
        let entry = record.entry(name).or_insert_with(|| json!({ "attributes": self.attributes(*target, id) }));
        if let Value::Object(nested) = entry {
            self.path(nested, *target, parent, bound, depth + 1);
        }
    }
}
