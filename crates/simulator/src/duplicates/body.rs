//! The refusal of a duplicate, to the letter of the recordings.
//!
//! Source: recorded bodies (API 50 to 56) and Metadata names of their parts in the SOAP API Developer Guide,
//! `DuplicateResult`, `MatchResult`, `MatchRecord`.

use serde_json::{Map, Value, json};

use super::{Fired, MatchSet, header};
use crate::api_error::ApiError;
use crate::call::Call;
use crate::ids::RecordId;
use crate::org::{Org, State};
use crate::records::TransactionId;
use crate::settings::{GraphDuplicateBody, UnseenRecord};

pub(super) fn refusal(org: &Org, state: &State, reader: TransactionId, fired: &Fired<'_>, call: &Call) -> ApiError {
    let mut error = ApiError::bad_request("DUPLICATES_DETECTED", fired.rule.message.clone());
    if call.in_graph && call.settings.graph_duplicate_body == GraphDuplicateBody::Short {
        return error;
    }
    let entity = org.schema.find(&fired.rule.object).map_or(&fired.rule.object, |ix| &org.schema.object(ix).name);
    let results: Vec<Value> = fired
        .sets
        .iter()
        .map(|set| {
            let records: Vec<Value> = set
                .matches
                .iter()
                .map(|(id, confidence)| match_record(org, state, reader, set, *id, *confidence, call))
                .collect();
            json!({
                "entityType": org.schema.object(set.object).name,
                "errors": [],
                "matchEngine": set.engine,
                "size": records.len(),
                "matchRecords": records,
                "rule": set.rule,
                "success": true,
            })
        })
        .map(in_order)
        .collect();
    let result = json!({
        "allowSave": fired.allows(),
        "duplicateRule": fired.rule.name,
        "duplicateRuleEntityType": entity,
        "errorMessage": fired.rule.message,
        "matchResults": results,
    });
    error.duplicate = Some(Box::new((call.settings.duplicate_key.as_str(), result)));
    error
}

/// Keys in alphabetical order, as every recording has them.
fn in_order(value: Value) -> Value {
    let Value::Object(fields) = value else { return value };
    let mut fields: Vec<(String, Value)> = fields.into_iter().collect();
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    Value::Object(fields.into_iter().collect())
}

fn match_record(
    org: &Org,
    state: &State,
    reader: TransactionId,
    set: &MatchSet,
    id: RecordId,
    confidence: f64,
    call: &Call,
) -> Value {
    let mut answer = json!({ "additionalInformation": [], "fieldDiffs": [], "matchConfidence": confidence });
    let hidden = call.settings.hides_record(id);
    let record = match call.settings.duplicate_unseen_record {
        UnseenRecord::Absent if hidden => return answer,
        UnseenRecord::Null if hidden => Value::Null,
        UnseenRecord::Null | UnseenRecord::Absent | UnseenRecord::Id => {
            record(org, state, reader, set, id, header(call).include_record_details && !hidden, call)
        }
    };
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("record".into(), record);
    }
    answer
}

/// The matched row: its id, or all fields that the user can read and that have a value.
fn record(
    org: &Org,
    state: &State,
    reader: TransactionId,
    set: &MatchSet,
    id: RecordId,
    details: bool,
    call: &Call,
) -> Value {
    let definition = org.schema.object(set.object);
    let mut record = Map::new();
    let url = call.record_url(&definition.name, id);
    record.insert("attributes".into(), json!({ "type": definition.name, "url": url }));
    record.insert("Id".into(), json!(id.to_string()));
    if let Some(row) = state.table(set.object).get(id, Some(reader)).filter(|_| details) {
        for (ix, field) in definition.each_field() {
            if definition.is_visible(ix, &call.settings)
                && let Some(value) = row.get(ix)
            {
                record.insert(field.name.clone(), value.clone());
            }
        }
    }
    Value::Object(record)
}
