//! From what Salesforce said to what it means for an order: the one translation.

use std::time::Duration;

use domain::atlas::{Atlas, LiesIn};
use domain::failure::{Failure, FailureClass, Reason};
use domain::outcome::Outcome;
use salesforce::{ApiError, Error, ErrorKind, TokenErrorKind};

/// How long Salesforce is left alone when it says that there is too much at once.
const THROTTLED_WAIT: Duration = Duration::from_secs(5);

/// How long an outage lasts before the next probe, by what is away.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probes {
    /// Salesforce cannot be reached or is too busy.
    pub(crate) unavailable: Duration,
    /// The request allocation is spent, or an administrator has to act.
    pub(crate) quota: Duration,
}

/// What it means for one order that its graph was refused. Duplicates and existing records are decided elsewhere.
pub(crate) fn of_refusal(error: &ApiError, probes: Probes) -> Outcome {
    let failure = |class, reason| {
        let failure = Failure::new(class, reason, error.operator_text()).coded(error.code.as_str());
        let mut failure = failure.quoting(&error.message);
        if let Some(field) = error.fields.first() {
            failure = failure.at(field.as_str());
        }
        failure
    };
    match error.kind() {
        // An existing record: another transaction created the same customer meanwhile, and the next attempt finds it.
        ErrorKind::Lock | ErrorKind::AlreadyExists => {
            Outcome::Failed(failure(FailureClass::Transient, Reason::RecordLocked))
        }
        ErrorKind::Transient if error.is_ambiguous() => {
            Outcome::Failed(failure(FailureClass::Ambiguous, Reason::AnswerLost))
        }
        ErrorKind::Transient => Outcome::Failed(failure(FailureClass::Transient, Reason::SalesforceUnavailable)),
        ErrorKind::Throttled => {
            let class = FailureClass::Throttled { retry_after: Some(THROTTLED_WAIT) };
            Outcome::Failed(failure(class, Reason::SalesforceUnavailable))
        }
        ErrorKind::Quota => Outcome::Outage {
            failure: failure(FailureClass::Throttled { retry_after: Some(probes.quota) }, Reason::QuotaExhausted),
            retry_after: probes.quota,
        },
        ErrorKind::Maintenance => Outcome::Outage {
            failure: failure(FailureClass::Transient, Reason::SalesforceUnavailable),
            retry_after: probes.unavailable,
        },
        ErrorKind::Halted => Outcome::Halted,
        ErrorKind::Session | ErrorKind::Authentication => Outcome::Outage {
            failure: failure(FailureClass::Transient, Reason::AuthenticationFailed),
            retry_after: probes.unavailable,
        },
        ErrorKind::Duplicate => Outcome::Failed(failure(FailureClass::Permanent, Reason::DuplicateDetected)),
        ErrorKind::Permanent => Outcome::Failed(failure(FailureClass::Permanent, Reason::SalesforceRefused)),
        ErrorKind::Configuration => Outcome::Failed(failure(FailureClass::Permanent, Reason::SalesforceMisconfigured)),
        ErrorKind::Unknown => Outcome::Failed(failure(FailureClass::Transient, Reason::UnknownSalesforceCode)),
    }
}

/// What it means for every order of a request that the request failed as a whole.
pub(crate) fn of_error(error: &Error, probes: Probes) -> Outcome {
    // A server failure in somebody else's words, such as a page of maintenance: the org is away, and it is not known for
    // what was sent last.
    if let Error::Unavailable { ambiguous: true, retry_after, .. } = error {
        let failure = coded(error, FailureClass::Ambiguous, Reason::SalesforceUnavailable);
        return Outcome::Outage { failure, retry_after: retry_after.unwrap_or_default().max(probes.unavailable) };
    }
    if let Error::Token(refused) = error
        && refused.kind() == TokenErrorKind::Dead
    {
        // In the words that Limio shows meanwhile: who reads them there finds them here.
        let in_limio = Atlas::reason(Reason::AuthenticationFailed).and_then(|entry| entry.in_limio.as_deref());
        let message = format!("{}: the org is not connected. {refused}", in_limio.unwrap_or("Not signed in"));
        let failure = Failure::new(FailureClass::Transient, Reason::AuthenticationFailed, message);
        return Outcome::Outage { failure, retry_after: probes.unavailable };
    }
    if error.is_ambiguous() {
        return Outcome::Failed(Failure::new(FailureClass::Ambiguous, Reason::AnswerLost, error.to_string()));
    }
    let outage = |reason, retry_after: Duration| {
        let retry_after = error.retry_after().unwrap_or_default().max(retry_after);
        Outcome::Outage { failure: coded(error, FailureClass::Transient, reason), retry_after }
    };
    match error.kind() {
        ErrorKind::Lock | ErrorKind::AlreadyExists => {
            Outcome::Failed(coded(error, FailureClass::Transient, Reason::RecordLocked))
        }
        ErrorKind::Transient | ErrorKind::Maintenance => outage(Reason::SalesforceUnavailable, probes.unavailable),
        ErrorKind::Throttled => outage(Reason::SalesforceUnavailable, THROTTLED_WAIT),
        ErrorKind::Quota => outage(Reason::QuotaExhausted, probes.quota),
        ErrorKind::Session | ErrorKind::Authentication => outage(Reason::AuthenticationFailed, probes.unavailable),
        ErrorKind::Halted => Outcome::Halted,
        // A refusal of the whole request by our own fault or the org's: the halves tell whose order it was.
        ErrorKind::Configuration if matches!(error, Error::Token(_) | Error::Redirected { .. }) => {
            outage(Reason::AuthenticationFailed, probes.unavailable)
        }
        ErrorKind::Configuration if concerns_every_order(error) => {
            outage(Reason::SalesforceMisconfigured, probes.unavailable)
        }
        ErrorKind::Configuration => {
            Outcome::Failed(coded(error, FailureClass::Permanent, Reason::SalesforceMisconfigured))
        }
        ErrorKind::Permanent | ErrorKind::Duplicate => {
            Outcome::Failed(coded(error, FailureClass::Permanent, Reason::SalesforceRefused))
        }
        ErrorKind::Unknown => Outcome::Failed(coded(error, FailureClass::Transient, Reason::UnknownSalesforceCode)),
    }
}

/// The same outcome where only what may be repeated was sent: nothing is in doubt.
pub(crate) fn not_written(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Failed(failure) if failure.class == FailureClass::Ambiguous => {
            Outcome::Failed(Failure { class: FailureClass::Transient, ..failure })
        }
        Outcome::Outage { failure, retry_after } if failure.class == FailureClass::Ambiguous => {
            Outcome::Outage { failure: Failure { class: FailureClass::Transient, ..failure }, retry_after }
        }
        Outcome::Failed(_) | Outcome::Settled(_) | Outcome::Halted | Outcome::Busy { .. } | Outcome::Outage { .. } => {
            outcome
        }
    }
}

/// Whether a request that failed as a whole should be halved: the fault may lie in one order.
pub(crate) fn lies_in_the_request(error: &Error) -> bool {
    match error {
        Error::Refused { .. } => {
            // What may have been executed is not sent again in halves.
            let refused = matches!(error.kind(), ErrorKind::Permanent | ErrorKind::Configuration | ErrorKind::Unknown);
            refused && !error.is_ambiguous() && !concerns_every_order(error)
        }
        Error::TooLarge { .. } | Error::Invalid(_) => true,
        Error::Unreachable(_)
        | Error::AnswerLost { .. }
        | Error::Unavailable { .. }
        | Error::Redirected { .. }
        | Error::Token(_)
        | Error::Protocol(_) => false,
    }
}

/// Whether what a question met is met by whoever else asks just then: the org is away, or says nothing.
pub(crate) fn tells_of_the_org(error: &Error, probes: Probes) -> bool {
    let away = matches!(of_error(error, probes), Outcome::Outage { .. });
    error.is_ambiguous() || (away && error.lies_in() != Some(LiesIn::Resource))
}

/// Whether somebody has to set right in the org what no order can be the cause of.
fn concerns_every_order(error: &Error) -> bool {
    matches!(error.lies_in(), Some(LiesIn::Resource | LiesIn::Org))
}

fn coded(error: &Error, class: FailureClass, reason: Reason) -> Failure {
    match error.cause() {
        Some(cause) => {
            Failure::new(class, reason, cause.operator_text()).coded(cause.code.as_str()).quoting(&cause.message)
        }
        None => Failure::new(class, reason, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use domain::atlas::Atlas;

    use super::*;

    const PROBES: Probes = Probes { unavailable: Duration::from_secs(30), quota: Duration::from_mins(15) };

    fn refusal(code: &str) -> Outcome {
        of_refusal(&ApiError::new(code, ""), PROBES)
    }

    #[test]
    fn a_locked_row_is_tried_again_and_a_missing_field_is_not() {
        assert!(matches!(refusal("UNABLE_TO_LOCK_ROW"), Outcome::Failed(f) if f.class == FailureClass::Transient));
        assert!(matches!(refusal("REQUIRED_FIELD_MISSING"), Outcome::Failed(f) if f.class == FailureClass::Permanent));
    }

    #[test]
    fn a_code_that_nobody_catalogued_is_tried_again_and_named() {
        let Outcome::Failed(failure) = refusal("NEVER_HEARD_OF") else { panic!("no failure") };
        assert_eq!(failure.class, FailureClass::Transient);
        assert_eq!(failure.reason, Reason::UnknownSalesforceCode);
        assert_eq!(failure.salesforce_code.as_deref(), Some("NEVER_HEARD_OF"));
    }

    #[test]
    fn the_orgs_own_text_is_kept_beside_the_message_whether_one_order_or_the_whole_request_was_refused() {
        let quoting = || ApiError::new("FIELD_CUSTOM_VALIDATION_EXCEPTION", "Nora Quistling is blocked");
        let whole = Error::Refused { status: 400, errors: vec![quoting()] };
        for outcome in [of_refusal(&quoting(), PROBES), of_error(&whole, PROBES)] {
            let Outcome::Failed(failure) = outcome else { panic!("no failure") };
            assert_eq!(failure.message, "A validation rule or trigger of the org refused the record.");
            assert_eq!(failure.org_text.expect("a text").reveal(), "Nora Quistling is blocked");
        }
    }

    #[test]
    fn a_spent_allocation_pauses_intake_instead_of_using_up_attempts() {
        let error = Error::Refused {
            status: 403,
            errors: vec![ApiError::new("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")],
        };
        assert!(matches!(of_error(&error, PROBES), Outcome::Outage { retry_after, .. } if retry_after == PROBES.quota));
    }

    #[test]
    fn what_an_administrator_has_to_set_right_for_every_order_is_an_outage_and_is_not_looked_for_in_halves() {
        let refused = |code: &str| Error::Refused { status: 403, errors: vec![ApiError::new(code, "")] };
        for code in Atlas::codes().iter().filter(|code| code.kind == ErrorKind::Configuration) {
            let (error, one) = (refused(&code.code), code.lies_in == Some(LiesIn::Record));
            assert_eq!(lies_in_the_request(&error), one, "{}", code.code);
            let outcome = of_error(&error, PROBES);
            let outage = matches!(&outcome, Outcome::Outage { failure, .. } if failure.reason == Reason::SalesforceMisconfigured);
            let failed = matches!(&outcome, Outcome::Failed(failure) if failure.class == FailureClass::Permanent);
            assert_eq!((outage, failed), (!one, one), "{}: {outcome:?}", code.code);
        }
    }

    #[test]
    fn a_lost_answer_is_ambiguous_and_an_unreachable_org_is_an_outage() {
        let lost = Error::AnswerLost { after: Duration::from_secs(30), reason: "time-out".into() };
        assert!(matches!(of_error(&lost, PROBES), Outcome::Failed(f) if f.class == FailureClass::Ambiguous));
        assert!(matches!(of_error(&Error::Unreachable("refused".into()), PROBES), Outcome::Outage { .. }));
    }
}
