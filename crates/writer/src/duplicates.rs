//! What to do when a duplicate rule of the org fires.
//!
//! | `includeDuplicateCheck` | rule's action | decision |
//! |---|---|---|
//! | off | any | reject: `duplicate_detected` |
//! | on | Block | reject: `duplicate_blocked` |
//! | on | Allow with alert, one match | attach the order to the match |
//! | on | Allow with alert, several | as `[duplicates] several_matches` says |

use domain::config::{OrderProcessing, SeveralMatches};
use domain::failure::{Failure, Reason};
use domain::order::id::RecordId;
use domain::outcome::{MatchExplanation, Rejected};
use salesforce::{ApiError, Client, DuplicateResult};
use serde_json::Value;

use crate::resolve;

/// What a duplicate means for an order.
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
    /// The answer does not say what matched: the Account has to be tried alone to learn it.
    AskAlone,
}

/// Decides. Looks up what the answer leaves open: the Account of a matched Contact, and which match is oldest.
pub(crate) async fn decide(
    client: &Client,
    processing: &OrderProcessing,
    error: &ApiError,
    may_ask_alone: bool,
) -> Result<Decision, salesforce::Error> {
    let detail = error.duplicate.as_deref();
    if !processing.include_duplicate_check {
        return Ok(reject(processing, Reason::DuplicateDetected, error, detail, &[]));
    }
    let Some(detail) = detail else {
        if may_ask_alone {
            return Ok(Decision::AskAlone);
        }
        return Ok(reject(processing, Reason::DuplicateDetected, error, None, &[]));
    };
    if detail.allow_save == Some(false) {
        return Ok(reject(processing, Reason::DuplicateBlocked, error, Some(detail), &[]));
    }
    let accounts = matched_accounts(client, detail).await?;
    let chosen = match (accounts.as_slice(), processing.duplicates.several_matches) {
        ([], _) if may_ask_alone => return Ok(Decision::AskAlone),
        ([], _) => return Ok(reject(processing, Reason::DuplicateDetected, error, Some(detail), &accounts)),
        ([only], _) => only.clone(),
        (_, SeveralMatches::Reject) => {
            return Ok(reject(processing, Reason::DuplicateAmbiguous, error, Some(detail), &accounts));
        }
        (several, policy) => by_age(client, several, policy).await?.unwrap_or_else(|| several[0].clone()),
    };
    let explanation = explain(detail, &accounts, "attached");
    Ok(Decision::Attach { account: chosen, explanation })
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
    let explanation = detail.map(|detail| explain(detail, accounts, "rejected"));
    Decision::Reject(Rejected { failure, customer_text, explanation })
}

fn explain(detail: &DuplicateResult, accounts: &[RecordId], decision: &str) -> MatchExplanation {
    let named = || detail.matches.iter().filter_map(|found| found.id.as_deref()).filter_map(RecordId::parse).collect();
    MatchExplanation {
        rule: detail.rule.clone().unwrap_or_default(),
        matching_rule: detail.matches.iter().find_map(|found| found.rule.clone()),
        matched: if accounts.is_empty() { named() } else { accounts.to_vec() },
        decision: decision.to_owned(),
    }
}

/// The Accounts that match, surest first; a matched Contact counts as its Account.
async fn matched_accounts(client: &Client, detail: &DuplicateResult) -> Result<Vec<RecordId>, salesforce::Error> {
    let mut matches: Vec<_> = detail
        .matches
        .iter()
        .filter_map(|found| Some((found.confidence.unwrap_or_default(), RecordId::parse(found.id.as_deref()?)?)))
        .collect();
    matches.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let contacts: Vec<&RecordId> = matches.iter().map(|(_, id)| id).filter(|id| id.key_prefix() == "003").collect();
    let mut accounts: Vec<RecordId> =
        matches.iter().map(|(_, id)| id.clone()).filter(|id| id.key_prefix() == "001").collect();
    if accounts.is_empty() && !contacts.is_empty() {
        let found = resolve::accounts_of_contacts(client, &contacts).await?;
        accounts = contacts.iter().filter_map(|contact| found.get(*contact).cloned()).collect();
    }
    let mut seen = Vec::new();
    accounts.retain(|id| {
        !seen.contains(id) && {
            seen.push(id.clone());
            true
        }
    });
    Ok(accounts)
}

async fn by_age(
    client: &Client,
    accounts: &[RecordId],
    policy: SeveralMatches,
) -> Result<Option<RecordId>, salesforce::Error> {
    let direction = match policy {
        SeveralMatches::Newest => "DESC",
        SeveralMatches::Oldest | SeveralMatches::Reject => "ASC",
    };
    let soql = format!(
        "SELECT Id FROM Account WHERE Id IN ({}) ORDER BY CreatedDate {direction}, Id {direction} LIMIT 1",
        quoted(accounts.iter())
    );
    let rows = client.query(&soql).await?;
    Ok(rows.first().and_then(|row| row.get("Id")).and_then(Value::as_str).and_then(RecordId::parse))
}

fn quoted<'a>(ids: impl Iterator<Item = &'a RecordId>) -> String {
    ids.map(|id| salesforce::quote(id.as_str())).collect::<Vec<_>>().join(",")
}
