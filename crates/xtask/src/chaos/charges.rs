//! Whether an order was charged an attempt for what passes: an outage, a spent quota, a sign-in that has to be renewed. The
//! stories of the orders say so: each failed attempt is a step with its reason.
//!
//! An answer that is lost while the org answers others is charged, for the order itself may be the trouble; the next attempt
//! looks the order up. So an order has few of them in a run where nothing is lost for long: more than [`LOST_ANSWERS`] say
//! that an outage was charged answer by answer.
//!
//! Redis may have forgotten a story, or its beginning; the count of those that were read is told beside.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use domain::failure::Reason;
use domain::order::id::OrderId;
use domain::story::{Step, What};
use ledger::RedisLedger;
use ledger::stories::Stories;

use crate::demo::fleet::{NAMESPACE, TENANT};
use crate::demo::generator::Script;

const PATIENT: ledger::Settings =
    ledger::Settings { response_timeout: Duration::from_secs(10), connect_timeout: Duration::from_secs(10) };

/// Lost answers that an order may have been charged for.
const LOST_ANSWERS: usize = 3;

/// What the stories say.
#[derive(Debug, Clone, Default)]
pub(crate) struct Charges {
    /// Orders of which Redis holds a story.
    pub(crate) stories: usize,
    /// Failed attempts by their reason.
    pub(crate) attempts: BTreeMap<String, usize>,
    /// A sentence for each order that was charged for what passes.
    pub(crate) findings: Vec<String>,
}

impl Charges {
    /// Reads the stories of all orders, after the programs have ended and written them to their end.
    ///
    /// # Errors
    /// Redis does not answer.
    pub(crate) async fn read(redis_url: &str, script: &Script) -> Result<Self> {
        let ledger = RedisLedger::connect(redis_url, &format!("{NAMESPACE}:{TENANT}"), PATIENT).await;
        let stories = Stories::beside(&ledger.context("reading the stories")?, Duration::ZERO);
        let mut charges = Self::default();
        for order in &script.orders {
            let Some(id) = OrderId::parse(&order.id) else { continue };
            let recorded = stories.read(&id).await.context("reading a story")?;
            charges.add(&order.id, &recorded.steps);
        }
        Ok(charges)
    }

    fn add(&mut self, order: &str, steps: &[Step]) {
        self.stories += usize::from(!steps.is_empty());
        let (mut wrong, mut lost) = (Vec::new(), 0);
        for step in steps {
            let What::Waits { reason, code, .. } = &step.what else { continue };
            *self.attempts.entry(reason.to_string()).or_default() += 1;
            lost += usize::from(*reason == Reason::AnswerLost);
            if passes(*reason) {
                let code = code.as_deref().map_or_else(String::new, |code| format!(" ({code})"));
                wrong.push(format!("{reason}{code} by {}", step.by));
            }
        }
        if lost > LOST_ANSWERS {
            wrong.push(format!("{lost} lost answers"));
        }
        if !wrong.is_empty() {
            self.findings.push(format!("charged for what passes: {order}: {}", wrong.join(", ")));
        }
    }
}

/// What lies in no order. A record that is locked is refused by itself, and counts.
fn passes(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::SalesforceUnavailable
            | Reason::QuotaExhausted
            | Reason::LedgerUnavailable
            | Reason::BrokerUnavailable
            | Reason::AuthenticationFailed
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_for_a_locked_record_counts_and_one_for_an_outage_is_told_of() {
        let waits = |reason, code: Option<&str>| Step {
            at: 0,
            by: "writer/1".to_owned(),
            what: What::Waits { until: 0, reason, code: code.map(str::to_owned) },
        };
        let mut charges = Charges::default();
        charges.add("order-1", &[waits(Reason::RecordLocked, Some("UNABLE_TO_LOCK_ROW"))]);
        charges.add("order-2", &[waits(Reason::RecordLocked, None), waits(Reason::QuotaExhausted, None)]);
        charges.add("order-3", &[]);
        assert_eq!(charges.stories, 2);
        assert_eq!(charges.attempts, BTreeMap::from([("record_locked".into(), 2), ("quota_exhausted".into(), 1)]));
        assert_eq!(charges.findings, ["charged for what passes: order-2: quota_exhausted by writer/1"]);
        let lost = |times| vec![waits(Reason::AnswerLost, None); times];
        charges.add("order-4", &lost(LOST_ANSWERS));
        assert_eq!(charges.findings.len(), 1);
        charges.add("order-5", &lost(LOST_ANSWERS + 1));
        assert_eq!(charges.findings.len(), 2);
    }
}
