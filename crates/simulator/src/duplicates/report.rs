//! Reports of duplicates that were let through: `DuplicateRecordSet` and `DuplicateRecordItem`.
//!
//! Source: Object Reference, `DuplicateRecordSet` and `DuplicateRecordItem`.

use super::Fired;
use crate::ids::RecordId;
use crate::org::State;
use crate::records::{KeyPart, Table, TransactionId};
use crate::schema::{FieldIx, Schema};

/// A match that was let through and is to be reported.
#[derive(Debug)]
pub(crate) struct Report {
    /// Id of the duplicate rule.
    pub(crate) rule: RecordId,
    pub(crate) matches: Vec<RecordId>,
}

impl Report {
    pub(super) fn of(fired: &Fired<'_>) -> Self {
        let mut matches: Vec<RecordId> =
            fired.sets.iter().flat_map(|set| set.matches.iter().map(|(id, _)| *id)).collect();
        matches.sort_unstable();
        matches.dedup();
        Self { rule: fired.id, matches }
    }
}

/// Indexes of `DuplicateRecordItem`: by record and by set.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ItemIndexes {
    by_record: Option<usize>,
    by_set: Option<usize>,
}

impl ItemIndexes {
    pub(super) fn build(schema: &Schema, tables: &mut [Table]) -> Self {
        let items = schema.duplicate_record_item;
        let mut index = |field: &str| {
            let field = schema.object(items).find(field)?;
            Some(tables.get_mut(items.0)?.add_index(vec![KeyPart::folded(field)]))
        };
        Self { by_record: index("RecordId"), by_set: index("DuplicateRecordSetId") }
    }
}

/// The set of this rule that one of the matches is in already, with the records it holds.
pub(crate) fn record_set(
    schema: &Schema,
    state: &State,
    reader: TransactionId,
    report: &Report,
) -> Option<(RecordId, Vec<RecordId>)> {
    let (sets, items) = (schema.duplicate_record_set, schema.duplicate_record_item);
    let rule_field = schema.object(sets).find("DuplicateRuleId")?;
    let set_field = schema.object(items).find("DuplicateRecordSetId")?;
    let record_field = schema.object(items).find("RecordId")?;
    let table = state.table(items);
    let refer = |index: Option<usize>, id: RecordId, field: FieldIx| -> Vec<RecordId> {
        let rows = index.map(|index| table.lookup(index, &id.to_string().to_lowercase(), Some(reader)));
        let rows = rows.into_iter().flatten().filter_map(|item| table.get(item, Some(reader)));
        rows.filter_map(|row| row.text(field).and_then(RecordId::parse)).collect()
    };
    let indexes = state.rules.items;
    let rule = report.rule.to_string();
    let of_rule = |set: &RecordId| {
        let row = state.table(sets).get(*set, Some(reader)).filter(|row| !row.deleted);
        row.and_then(|row| row.text(rule_field)) == Some(&*rule)
    };
    let set = report
        .matches
        .iter()
        .flat_map(|record| refer(indexes.by_record, *record, set_field))
        .find(|set| of_rule(set))?;
    Some((set, refer(indexes.by_set, set, record_field)))
}
