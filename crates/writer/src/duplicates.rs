//! What to do when a duplicate rule of the org fires.
//!
//! | `includeDuplicateCheck` | rule's action | decision |
//! |---|---|---|
//! | off | any | reject: `duplicate_detected` |
//! | on | Block | reject: `duplicate_blocked` |
//! | on | Allow with alert, one match | attach the order to the match |
//! | on | Allow with alert, several | as `[duplicates] several_matches` says |
//!
//! Nothing here asks the org: [`weigh`] says what an answer leaves open, `handler::duplicate` finds it out for a whole batch
//! at once, and [`Question::decide`] decides.

pub(crate) mod decided;

use std::collections::{HashMap, HashSet};

use domain::config::{OrderProcessing, SeveralMatches};
use domain::failure::{Failure, Reason};
use domain::order::id::RecordId;
use domain::outcome::{MatchExplanation, MatchedField, Rejected};
use domain::plan::{FieldValue, WritePlan};
use salesforce::{ApiError, DuplicateMatch, DuplicateResult};
use serde_json::Value;

/// Key prefix of Accounts.
const ACCOUNT: &str = "001";
/// Key prefix of Contacts.
const CONTACT: &str = "003";

/// What a duplicate means for an order.
#[derive(Debug)]
pub(crate) enum Decision {
    /// A business answer.
    Reject(Rejected),
    /// The order belongs to this Account.
    Attach {
        /// The Account.
        account: RecordId,
        /// Why.
        explanation: MatchExplanation,
    },
}

/// What an answer tells about a duplicate.
#[derive(Debug)]
pub(crate) enum Weighed {
    /// Enough.
    Decided(Decision),
    /// It does not say what matched: the customer's record has to be tried by itself to learn it.
    AskAlone,
    /// Which Account it is has to be looked up, or nothing at all.
    Open(Question),
}

/// Weighs an answer. `may_ask_alone` is false where it is the answer to that already.
pub(crate) fn weigh(processing: &OrderProcessing, error: &ApiError, may_ask_alone: bool) -> Weighed {
    let detail = error.duplicate.as_deref();
    let reject = |reason, detail| Weighed::Decided(reject(processing, reason, error, detail, &[]));
    if !processing.include_duplicate_check {
        return reject(Reason::DuplicateDetected, detail);
    }
    let Some(detail) = detail else {
        return if may_ask_alone { Weighed::AskAlone } else { reject(Reason::DuplicateDetected, None) };
    };
    match detail.allow_save {
        Some(true) => {}
        Some(false) => return reject(Reason::DuplicateBlocked, Some(detail)),
        // It may be a rule that blocks.
        None if may_ask_alone => return Weighed::AskAlone,
        None => return reject(Reason::DuplicateDetected, Some(detail)),
    }
    let matches = surest_first(detail);
    let of = |prefix: &str| -> Vec<RecordId> {
        let mut seen = HashSet::new();
        let ids = matches.iter().filter(|id| id.key_prefix() == prefix);
        ids.filter(|id| seen.insert((*id).clone())).cloned().collect()
    };
    let (accounts, contacts) = (of(ACCOUNT), of(CONTACT));
    if accounts.is_empty() && contacts.is_empty() {
        return if may_ask_alone { Weighed::AskAlone } else { reject(Reason::DuplicateDetected, Some(detail)) };
    }
    let contacts = if accounts.is_empty() { contacts } else { Vec::new() };
    Weighed::Open(Question { error: error.clone(), detail: detail.clone(), accounts, contacts })
}

/// A duplicate that a rule allows. Which Account it is may have to be looked up.
#[derive(Debug)]
pub(crate) struct Question {
    error: ApiError,
    detail: DuplicateResult,
    accounts: Vec<RecordId>,
    contacts: Vec<RecordId>,
}

impl Question {
    /// The matched Contacts whose Accounts have to be known; none where Accounts matched.
    pub(crate) fn contacts(&self) -> &[RecordId] {
        &self.contacts
    }

    /// Each matched Contact counts as its Account from here on.
    pub(crate) fn belong_to(&mut self, accounts: &HashMap<RecordId, RecordId>) {
        let mut seen = HashSet::new();
        let found = self.contacts.iter().filter_map(|contact| accounts.get(contact));
        self.accounts.extend(found.filter(|account| seen.insert((*account).clone())).cloned());
    }

    /// The Accounts whose age decides and is not known from the answer.
    pub(crate) fn ages_wanted(&self, policy: SeveralMatches) -> &[RecordId] {
        let by_age = !matches!(policy, SeveralMatches::Reject) && self.accounts.len() > 1;
        if by_age && self.told_ages().is_none() { &self.accounts } else { &[] }
    }

    /// When each Account was created, where the answer says so of all of them.
    fn told_ages(&self) -> Option<HashMap<RecordId, String>> {
        self.accounts
            .iter()
            .map(|account| {
                let told = self.record(account)?.record.get("CreatedDate")?.as_str()?;
                Some((account.clone(), told.to_owned()))
            })
            .collect()
    }

    fn record(&self, id: &RecordId) -> Option<&DuplicateMatch> {
        let is = |found: &&DuplicateMatch| found.id.as_deref().and_then(RecordId::parse).as_ref() == Some(id);
        self.detail.matches.iter().find(is)
    }

    /// Decides. `ages` holds when Accounts were created, as far as they were looked up; `plan` is what the order would have
    /// written.
    pub(crate) fn decide(
        &self,
        processing: &OrderProcessing,
        ages: &HashMap<RecordId, String>,
        plan: Option<&WritePlan>,
    ) -> Decision {
        let policy = processing.duplicates.several_matches;
        let rejected = |reason| reject(processing, reason, &self.error, Some(&self.detail), &self.accounts);
        let account = match (self.accounts.as_slice(), policy) {
            // Contacts without an Account.
            ([], _) => return rejected(Reason::DuplicateDetected),
            ([only], _) => only.clone(),
            (_, SeveralMatches::Reject) => return rejected(Reason::DuplicateAmbiguous),
            ([surest, ..], policy) => {
                let told = self.told_ages();
                by_age(&self.accounts, told.as_ref().unwrap_or(ages), policy).unwrap_or(surest).clone()
            }
        };
        let explanation = MatchExplanation {
            fields: plan.map(|plan| self.common_fields(&account, plan)).unwrap_or_default(),
            policy: (self.accounts.len() > 1).then(|| policy.as_str().to_owned()),
            ..explain(&self.detail, &self.accounts, "attached")
        };
        Decision::Attach { account, explanation }
    }

    /// What the order and the record that it matched have in common: the fields that the answer calls the same, else those
    /// whose values are, without regard to case.
    fn common_fields(&self, account: &RecordId, plan: &WritePlan) -> Vec<MatchedField> {
        let Some(matched) = self.record(account).or_else(|| self.detail.matches.first()) else { return Vec::new() };
        let sent = plan.effects.iter().flat_map(|effect| &effect.fields).filter_map(|(name, value)| match value {
            FieldValue::Json(value @ (Value::String(_) | Value::Number(_) | Value::Bool(_))) => Some((name, value)),
            FieldValue::Json(_) | FieldValue::IdOf(_) => None,
        });
        let folded = |value: &Value| match value {
            Value::String(text) => text.trim().to_lowercase(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
        };
        let same = |name: &str, value: &Value| {
            matched.same_fields.iter().any(|field| field == name)
                || matched.record.get(name).is_some_and(|theirs| folded(theirs) == folded(value))
        };
        let mut fields: Vec<MatchedField> =
            sent.filter(|(name, value)| same(name, value)).map(|(name, value)| MatchedField::of(name, value)).collect();
        fields.dedup();
        fields
    }
}

/// The oldest or newest of these; of two of an age, the smaller or greater id. `None` where no age is known.
fn by_age<'a>(
    accounts: &'a [RecordId],
    ages: &HashMap<RecordId, String>,
    policy: SeveralMatches,
) -> Option<&'a RecordId> {
    // All ages come from one answer, in one form that sorts as time does.
    let known = accounts.iter().filter_map(|account| Some((ages.get(account)?, account)));
    let chosen = match policy {
        SeveralMatches::Newest => known.max(),
        SeveralMatches::Oldest | SeveralMatches::Reject => known.min(),
    };
    chosen.map(|(_, account)| account)
}

fn reject(
    processing: &OrderProcessing,
    reason: Reason,
    error: &ApiError,
    detail: Option<&DuplicateResult>,
    accounts: &[RecordId],
) -> Decision {
    let failure = Failure::permanent(reason, error.operator_text()).coded(error.code.as_str());
    let failure = match detail.and_then(|detail| detail.rule.as_deref()) {
        Some(rule) => failure.by(rule),
        None => failure,
    };
    let customer_text = processing.customer_text(reason).unwrap_or_default().to_owned();
    let policy =
        matches!(reason, Reason::DuplicateAmbiguous).then(|| processing.duplicates.several_matches.as_str().to_owned());
    let explanation = detail.map(|detail| MatchExplanation { policy, ..explain(detail, accounts, "rejected") });
    Decision::Reject(Rejected { failure, customer_text, explanation })
}

fn explain(detail: &DuplicateResult, accounts: &[RecordId], decision: &str) -> MatchExplanation {
    MatchExplanation {
        rule: detail.rule.clone().unwrap_or_default(),
        matching_rule: detail.matches.iter().find_map(|found| found.rule.clone()),
        matched: if accounts.is_empty() { surest_first(detail) } else { accounts.to_vec() },
        decision: decision.to_owned(),
        ..MatchExplanation::default()
    }
}

/// The ids of the matched records, surest first.
fn surest_first(detail: &DuplicateResult) -> Vec<RecordId> {
    let mut matches: Vec<_> = detail
        .matches
        .iter()
        .filter_map(|found| Some((found.confidence.unwrap_or_default(), RecordId::parse(found.id.as_deref()?)?)))
        .collect();
    matches.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    matches.into_iter().map(|(_, id)| id).collect()
}

#[cfg(test)]
mod tests;
