//! What a duplicate rule answers, and how a request asks it to behave.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// The detail of a `DUPLICATES_DETECTED` refusal.
///
/// On the wire its key is spelt `duplicateResut`; both spellings are read. Each part may be missing: collections and
/// Bulk API carry none of it, and a record that the user may not see is left out. Without a usable match, ask again
/// with a single create, which carries the most.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DuplicateResult {
    /// `false`: the rule blocks, and no header overrides it. `true`: the rule alerts, and a repeated request with
    /// [`DuplicateRuleHeader::allow_save`] would save a second record. `None`: the answer does not say.
    pub allow_save: Option<bool>,
    /// The rule's API name.
    pub rule: Option<String>,
    /// The object whose rule fired: in a graph it tells which node was meant.
    pub object: Option<String>,
    /// The rule's alert text, in the language of the integration user. An administrator wrote it.
    pub alert: Option<String>,
    /// The records that match, in the order of the answer, over all matching rules.
    pub matches: Vec<DuplicateMatch>,
}

/// One record that a matching rule found.
#[derive(Clone, PartialEq)]
pub struct DuplicateMatch {
    /// The record's object, for instance `Account`; a rule on one object may match records of another.
    pub object: Option<String>,
    /// The record's id; `None` when the integration user may not see the record.
    pub id: Option<String>,
    /// How sure the matching rule is, from 0 to 100.
    pub confidence: Option<f64>,
    /// The matching rule's API name.
    pub rule: Option<String>,
    /// `FuzzyMatchEngine` for standard rules, `ExactMatchEngine` for exact ones.
    pub engine: Option<String>,
    /// The fields that the answer calls the same in both records (`fieldDiffs`); most answers name none.
    pub same_fields: Vec<String>,
    /// The record as answered: its id, and with [`DuplicateRuleHeader::include_record_details`] every field that the
    /// user may read. It may hold personal data, so `Debug` leaves it out.
    pub record: Map<String, Value>,
}

impl std::fmt::Debug for DuplicateMatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DuplicateMatch")
            .field("object", &self.object)
            .field("id", &self.id)
            .field("confidence", &self.confidence)
            .field("rule", &self.rule)
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}

impl DuplicateResult {
    /// Reads the detail from what stands under `duplicateResut`. Whatever has an unexpected type counts as missing.
    pub(crate) fn read(value: &Value) -> Option<Self> {
        let body = value.as_object()?;
        let mut matches = Vec::new();
        for result in items(body.get("matchResults")) {
            for found in items(result.get("matchRecords")) {
                let record = found.get("record").and_then(Value::as_object).cloned().unwrap_or_default();
                matches.push(DuplicateMatch {
                    object: object_of(&record).or_else(|| text(result.get("entityType"))),
                    id: text(record.get("Id")).or_else(|| text(record.get("id"))),
                    confidence: found.get("matchConfidence").and_then(Value::as_f64),
                    rule: text(result.get("rule")),
                    engine: text(result.get("matchEngine")),
                    same_fields: items(found.get("fieldDiffs"))
                        .iter()
                        .filter(|diff| diff.get("difference").and_then(Value::as_str) == Some("SAME"))
                        .filter_map(|diff| text(diff.get("name")))
                        .collect(),
                    record,
                });
            }
        }
        Some(Self {
            allow_save: body.get("allowSave").and_then(Value::as_bool),
            rule: text(body.get("duplicateRule")),
            object: text(body.get("duplicateRuleEntityType")),
            alert: text(body.get("errorMessage")),
            matches,
        })
    }
}

fn object_of(record: &Map<String, Value>) -> Option<String> {
    text(record.get("attributes")?.get("type"))
}

fn text(value: Option<&Value>) -> Option<String> {
    value.and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// How duplicate rules treat one request: the header `Sforce-Duplicate-Rule-Header` (REST API Developer Guide, since
/// API version 52). Without it, every alerting or blocking rule refuses the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DuplicateRuleHeader {
    /// Save although an alerting rule fires. It creates duplicates, silently, and never overrides a Block rule.
    pub allow_save: bool,
    /// Answer with the matched records' fields and not only their ids.
    pub include_record_details: bool,
    /// Match only what the integration user may see.
    pub run_as_current_user: bool,
}

impl DuplicateRuleHeader {
    /// The header's value.
    pub(crate) fn value(self) -> String {
        let mut value = String::new();
        let Self { allow_save, include_record_details, run_as_current_user } = self;
        write!(
            value,
            "allowSave={allow_save}; includeRecordDetails={include_record_details}; runAsCurrentUser={run_as_current_user}"
        )
        .expect("writing to a String does not fail");
        value
    }
}
