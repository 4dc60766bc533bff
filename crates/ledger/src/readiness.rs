//! What an outage of the ledger means for a process's readiness.

use domain::failure::{Failure, Reason};
use service::{Condition, Health};

/// The dependency's name among the conditions of a process.
const DEPENDENCY: &str = "redis";

/// Nothing is connected yet.
pub fn begins(health: &Health) {
    health.not_ready(DEPENDENCY, "not connected yet");
}

/// It is connected.
pub fn connected(health: &Health) {
    health.set(DEPENDENCY, Condition::Ready);
}

/// Intake is paused, or goes on. Only a ledger that is away makes the process not ready: an org that is away is no reason to
/// restart or unroute a process.
pub fn paused(health: &Health, why: Option<&Failure>) {
    match why.filter(|failure| failure.reason == Reason::LedgerUnavailable) {
        Some(failure) => health.not_ready(DEPENDENCY, failure.message.as_str()),
        None => connected(health),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_whose_ledger_is_away_is_not_ready_and_one_whose_org_is_away_is() {
        let health = Health::default();
        begins(&health);
        assert!(!health.is_ready());
        paused(&health, Some(&Failure::transient(Reason::SalesforceUnavailable, "maintenance")));
        assert!(health.is_ready());
        paused(&health, Some(&Failure::transient(Reason::LedgerUnavailable, "refused")));
        assert!(!health.is_ready());
        paused(&health, None);
        assert!(health.is_ready());
    }
}
