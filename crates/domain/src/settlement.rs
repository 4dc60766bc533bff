//! What becomes of a delivery: the only place that decides it.

use std::time::Duration;

use crate::failure::{Failure, FailureClass};
use crate::outcome::Outcome;
use crate::retry::RetryPolicy;

/// What the queue does with a delivery, once.
#[derive(Debug, Clone, PartialEq)]
pub enum Settlement {
    /// Its effect is durable: acknowledge it.
    Ack,
    /// It stays at the head of its lane and is tried again after this time. The failure counted as an attempt.
    Retry {
        /// How long to wait, before jitter.
        after: Duration,
        /// Why.
        failure: Failure,
    },
    /// It stays at the head of its lane and goes again after this time. No attempt was counted.
    Again {
        /// How long to wait; zero for at once.
        after: Duration,
    },
    /// It stays at the head of its lane, and nothing else is taken in before one probe after this time. No attempt was counted.
    Pause {
        /// How long to wait before the probe.
        after: Duration,
        /// What is away.
        failure: Failure,
    },
    /// It is given up: journalled, then acknowledged. Its key is blocked.
    DeadLetter(Failure),
}

/// Decides what becomes of a delivery.
///
/// `attempts` counts the failed attempts so far, this one included. A rejection is a business answer and settles like a
/// success. Halted, busy and outage cost no attempt. An ambiguous failure is tried again, and whoever tries looks it up
/// first. A code that nobody catalogued arrives here as transient, so the policy caps it.
pub fn settle(outcome: &Outcome, attempts: u32, policy: &RetryPolicy) -> Settlement {
    match outcome {
        Outcome::Settled(_) => Settlement::Ack,
        Outcome::Halted => Settlement::Again { after: Duration::ZERO },
        Outcome::Busy { left } => Settlement::Again { after: *left },
        Outcome::Outage { failure, retry_after } => Settlement::Pause { after: *retry_after, failure: failure.clone() },
        Outcome::Failed(failure) => match (failure.class, policy.delay(attempts)) {
            (FailureClass::Permanent, _) | (_, None) => Settlement::DeadLetter(failure.clone()),
            (FailureClass::Throttled { retry_after }, Some(delay)) => {
                Settlement::Retry { after: delay.max(retry_after.unwrap_or_default()), failure: failure.clone() }
            }
            (FailureClass::Transient | FailureClass::Ambiguous, Some(after)) => {
                Settlement::Retry { after, failure: failure.clone() }
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Reason;
    use crate::outcome::{Rejected, Result, Written};

    fn failed(class: FailureClass) -> Outcome {
        Outcome::Failed(Failure::new(class, Reason::SalesforceUnavailable, "x"))
    }

    #[test]
    fn a_rejection_settles_the_order_as_a_success_does() {
        let rejected = Rejected {
            failure: Failure::permanent(Reason::DuplicateBlocked, "x"),
            customer_text: String::new(),
            explanation: None,
        };
        for result in [Result::Rejected(rejected), Result::Written(Written::default())] {
            assert_eq!(settle(&Outcome::Settled(result), 1, &RetryPolicy::default()), Settlement::Ack);
        }
    }

    #[test]
    fn a_permanent_failure_is_given_up_at_the_first_attempt() {
        assert!(matches!(
            settle(&failed(FailureClass::Permanent), 1, &RetryPolicy::default()),
            Settlement::DeadLetter(_)
        ));
    }

    #[test]
    fn a_transient_failure_is_given_up_when_its_attempts_are_spent() {
        let policy = RetryPolicy::default();
        for class in [FailureClass::Transient, FailureClass::Ambiguous, FailureClass::Throttled { retry_after: None }] {
            assert!(matches!(settle(&failed(class), 7, &policy), Settlement::Retry { .. }));
            assert!(matches!(settle(&failed(class), 8, &policy), Settlement::DeadLetter(_)));
        }
    }

    #[test]
    fn a_throttled_failure_waits_at_least_as_long_as_salesforce_asks() {
        let asked = Duration::from_secs(90);
        let outcome = failed(FailureClass::Throttled { retry_after: Some(asked) });
        assert!(
            matches!(settle(&outcome, 1, &RetryPolicy::default()), Settlement::Retry { after, .. } if after == asked)
        );
    }

    #[test]
    fn an_outage_a_halt_and_a_busy_claim_never_use_up_an_attempt() {
        let outage = Outcome::Outage {
            failure: Failure::transient(Reason::QuotaExhausted, "x"),
            retry_after: Duration::from_secs(5),
        };
        assert!(matches!(settle(&outage, u32::MAX, &RetryPolicy::default()), Settlement::Pause { .. }));
        assert_eq!(
            settle(&Outcome::Halted, u32::MAX, &RetryPolicy::default()),
            Settlement::Again { after: Duration::ZERO }
        );
        let left = Duration::from_secs(3);
        assert_eq!(
            settle(&Outcome::Busy { left }, u32::MAX, &RetryPolicy::default()),
            Settlement::Again { after: left }
        );
    }
}
