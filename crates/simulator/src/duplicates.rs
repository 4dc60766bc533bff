//! Duplicate rules: what a save looks like when a rule fires.
//!
//! Rules see committed rows and the rows of their own transaction. Only rows that share a match key with the saved one
//! are compared, so the cost of a rule does not grow with the table. The body is the one recorded from orgs, with its
//! misspelt key.
//! Source: Help, "Duplicate Rules", "Matching Rules" and the pages the submodules name; REST API Developer Guide,
//! "Duplicate Rule Header".

mod body;
mod compiled;
mod criteria;
mod logic;
mod report;
mod rule;
mod score;
mod standard;
mod text;

pub use self::rule::{
    BlankValues, DuplicateAction, DuplicateRule, FilterItem, FilterOperator, KeyField, MatchField, MatchingRule,
    RuleResponse,
};
pub use self::score::MatchMethod;
pub use self::text::KeyForm;

pub(crate) use self::compiled::Rules;
pub(crate) use self::report::{Report, record_set};

use crate::api_error::ApiError;
use crate::call::{Call, DuplicateOptions};
use crate::ids::RecordId;
use crate::org::{Org, State};
use crate::records::{Row, TransactionId};
use crate::schema::ObjectIx;
use crate::transaction::touches;
use crate::validation::Changes;

/// From this API version on the duplicate-rule header is read.
const HEADER_SINCE: u32 = 52;

/// The row a rule looks at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Saved<'a> {
    pub(crate) object: ObjectIx,
    /// The row that is edited; none on create.
    pub(crate) existing: Option<RecordId>,
    pub(crate) row: &'a Row,
    pub(crate) reader: TransactionId,
}

/// What one matching rule found.
#[derive(Debug)]
pub(crate) struct MatchSet {
    pub(crate) object: ObjectIx,
    pub(crate) engine: String,
    pub(crate) rule: String,
    /// Best first; confidence out of 100.
    pub(crate) matches: Vec<(RecordId, f64)>,
}

/// A rule that found matches.
#[derive(Debug)]
pub(crate) struct Fired<'a> {
    pub(crate) rule: &'a DuplicateRule,
    pub(crate) id: RecordId,
    pub(crate) response: RuleResponse,
    pub(crate) sets: Vec<MatchSet>,
}

impl Fired<'_> {
    /// Whether the save may pass if the caller insists.
    pub(crate) fn allows(&self) -> bool {
        self.response.action == DuplicateAction::Allow
    }
}

/// The rules that find matches for a row, in their order. `changes` narrows an edit to rules that compare what it writes.
pub(crate) fn fired<'a>(
    org: &'a Org,
    state: &'a State,
    saved: Saved<'a>,
    changes: Option<&'a Changes>,
    call: &'a Call,
) -> impl Iterator<Item = Fired<'a>> + 'a {
    let header = header(call);
    state.rules.active(saved.object).filter_map(move |compiled| {
        let rule = state.rules.all.get(compiled.rule)?;
        let response = match saved.existing {
            None => rule.on_create,
            // An edit is looked at when it writes a field that the matching rule compares.
            Some(_) => rule.on_edit.filter(|_| changes.is_none_or(|changes| touches(changes, &compiled.touched))),
        }?;
        let blind = header.run_as_current_user || rule.enforce_sharing;
        let sets = compiled.matches(&org.schema, state, saved, blind.then_some(&*call.settings));
        (!sets.is_empty()).then(|| Fired { rule, id: state.rules.id(compiled.rule), response, sets })
    })
}

/// Refuses the save if a rule says so; otherwise says what to report.
pub(crate) fn check(
    org: &Org,
    state: &State,
    saved: Saved<'_>,
    changes: &Changes,
    call: &Call,
) -> Result<Vec<Report>, ApiError> {
    let mut reports = Vec::new();
    if call.duplicates.bypass || state.rules.is_empty() {
        return Ok(reports);
    }
    let insisted = header(call).allow_save;
    for fired in fired(org, state, saved, Some(changes), call) {
        if !fired.allows() || (fired.response.alert && !insisted) {
            return Err(body::refusal(org, state, saved.reader, &fired, call));
        }
        if fired.response.report {
            reports.push(Report::of(&fired));
        }
    }
    Ok(reports)
}

/// The header's options, as far as the API version has the header and a graph hands it on.
fn header(call: &Call) -> DuplicateOptions {
    let reaches = !call.in_graph || call.settings.graph_header_propagation;
    if reaches && call.major() >= HEADER_SINCE { call.duplicates } else { DuplicateOptions::default() }
}
