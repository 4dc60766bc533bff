//! Questions to the org about orders, and what it means for them that one failed.
//!
//! A question changes nothing, so nothing of an order is in doubt when its answer is lost, and nobody pays for it: the org
//! is away, and intake pauses; or it answers others, and the orders are asked about again, in the end each by itself. Only an
//! order about which the org stays silent again and again while it answers others pays with attempts, so that it ends as a
//! letter and neither goes round for ever nor takes others with it. So does one that needs to know what the org refuses to
//! tell this user.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::atlas::LiesIn;
use domain::breaker::{Judgement, Time};
use domain::failure::{Failure, FailureClass, Reason};
use domain::order::id::OrderId;
use domain::outcome::Outcome;
use salesforce::{CallOptions, Client, Error};

use super::OrderWriter;
use crate::attempt::{Attempt, Stage};
use crate::gate::Asked;
use crate::outcome::{not_written, of_error};

/// How long the org may take for the cheapest question.
const QUESTION: Duration = Duration::from_secs(5);

/// The cheapest query: one row, which every org has. A user who may not read it is refused, which is an answer too.
const CHEAPEST: &str = "SELECT Id FROM Organization LIMIT 1";

/// Answers about an order that were lost in a row, while the org answered others, before it is asked about by itself.
const ALONE: u8 = 2;

/// From so many on each is an attempt, where it went by itself.
const PAYS: u8 = 3;

/// So many orders are remembered. What is forgotten is asked for a few times more.
const REMEMBERED: usize = 4096;

/// Orders about which answers were lost while the org answered others.
#[derive(Debug, Default)]
pub(super) struct Unanswered(Mutex<HashMap<OrderId, u8>>);

impl Unanswered {
    /// An answer about this order was lost once more. How many that makes.
    pub(super) fn again(&self, order: &OrderId) -> u8 {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED && !known.contains_key(order) {
            known.clear();
        }
        let times = known.entry(order.clone()).or_default();
        *times = times.saturating_add(1);
        *times
    }

    /// The order is settled.
    pub(super) fn forget(&self, order: &OrderId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(order);
    }
}

impl OrderWriter {
    /// Asks the org. With the answer comes when it was asked for, which [`OrderWriter::question_failed`] needs.
    pub(super) async fn ask<T, E>(&self, question: impl Future<Output = Result<T, E>>) -> (Time, Result<T, E>) {
        let asked = self.gate.now();
        let answer = question.await;
        if answer.is_ok() {
            self.gate.answered_question();
        }
        (asked, answer)
    }

    /// A question about these orders and no other, asked then, failed as a whole.
    pub(super) async fn question_failed(
        &self,
        error: &Error,
        asked: Time,
        about: &[usize],
        attempts: &mut [Attempt<'_>],
    ) {
        self.asked_in_vain(error, asked, about, false, attempts).await;
    }

    /// A question that was about these orders failed; `shared` says whether it may have failed for something that was asked
    /// with it for others: then none of these ends by it, and each is asked about by itself.
    pub(super) async fn asked_in_vain(
        &self,
        error: &Error,
        asked: Time,
        about: &[usize],
        shared: bool,
        attempts: &mut [Attempt<'_>],
    ) {
        let outcome = of_error(error, self.probes());
        if matches!(&outcome, Outcome::Failed(failure) if failure.class == FailureClass::Ambiguous) {
            if self.is_away(asked).await {
                Self::hold_back(attempts, &self.silence(error, FailureClass::Transient));
            } else {
                self.asks_again(about, shared, attempts, error);
            }
            return;
        }
        if let Outcome::Outage { failure, .. } = &outcome
            && error.lies_in() == Some(LiesIn::Resource)
        {
            // What was asked for is closed to this user. Whoever does not ask for it goes on, and who does is tried again
            // until its attempts are spent: the org is not away. A policy may as well have counted the rows that several
            // ask for together.
            let by_itself = about.len() == 1 && !shared;
            for index in about {
                let attempt = &mut attempts[*index];
                if by_itself { attempt.end_unasked(failure.clone()) } else { attempt.goes_alone() }
            }
        } else if shared && matches!(outcome, Outcome::Failed(_)) {
            for index in about {
                attempts[*index].goes_alone();
            }
        } else {
            Self::question_refused(outcome, about, attempts);
        }
    }

    /// The org answered a question about these orders with a refusal, or says that it is away.
    pub(super) fn question_refused(outcome: Outcome, about: &[usize], attempts: &mut [Attempt<'_>]) {
        let permanent = |failure: &Failure| failure.class == FailureClass::Permanent;
        match not_written(outcome) {
            outage @ Outcome::Outage { .. } => Self::hold_back(attempts, &outage),
            // One of them may make the question one that cannot be asked.
            Outcome::Failed(failure) if permanent(&failure) && about.len() > 1 => {
                for index in about {
                    attempts[*index].goes_alone();
                }
            }
            Outcome::Failed(failure) => {
                for index in about {
                    attempts[*index].end_unasked(failure.clone());
                }
            }
            Outcome::Settled(_) | Outcome::Halted | Outcome::Busy { .. } => {
                let failure = Failure::transient(Reason::AnswerLost, "Salesforce halted a question that stands alone");
                for index in about {
                    attempts[*index].end_unasked(failure.clone());
                }
            }
        }
    }

    /// The org answers others: these are asked about again.
    fn asks_again(&self, about: &[usize], shared: bool, attempts: &mut [Attempt<'_>], error: &Error) {
        for index in about {
            let attempt = &mut attempts[*index];
            let lost = self.unanswered.again(attempt.event.order_id());
            if lost >= PAYS && about.len() == 1 && !shared {
                attempt.end_unasked(Failure::transient(Reason::AnswerLost, error.to_string()));
            } else if lost >= ALONE {
                attempt.goes_alone();
            } else {
                attempt.end(Outcome::Halted);
            }
        }
    }

    /// The answer to an event was lost that the org publishes at once: what that means for the orders of the request. Each
    /// may have been published. An order pays only when its own event went by itself and was lost again and again while the
    /// org answered others; else everything waits, so that the next one shows whether events are answered.
    pub(super) async fn event_lost(&self, error: &Error, sent: Time, about: &[usize], attempts: &mut [Attempt<'_>]) {
        let away = self.is_away(sent).await;
        let silence = self.silence(error, FailureClass::Ambiguous);
        for index in about {
            let attempt = &mut attempts[*index];
            let own = !away && self.unanswered.again(attempt.event.order_id()) >= PAYS && about.len() == 1;
            let lost = Failure::new(FailureClass::Ambiguous, Reason::AnswerLost, error.to_string());
            attempt.end(if own { Outcome::Failed(lost) } else { silence.clone() });
        }
    }

    /// Ends what is open in the batch without a request: the org is away.
    pub(super) fn hold_back(attempts: &mut [Attempt<'_>], outage: &Outcome) {
        for attempt in attempts.iter_mut().filter(|attempt| attempt.is_open()) {
            attempt.owes_event |= matches!(attempt.stage, Stage::Publish(_));
            attempt.end(outage.clone());
        }
    }

    /// The org takes requests and answers none: intake pauses. The class says whether the orders may have been written.
    pub(super) fn silence(&self, error: &Error, class: FailureClass) -> Outcome {
        Outcome::Outage { failure: silent(error, class), retry_after: self.probes().unavailable }
    }

    /// Whether the org is away, seen from a question whose answer was lost: it has answered no other since, nor the cheapest.
    async fn is_away(&self, asked: Time) -> bool {
        match self.gate.lost_question(asked) {
            Judgement::Own => false,
            Judgement::Away => true,
            Judgement::Ask => {
                let answer = self.asking().query(CHEAPEST).await.map(drop);
                let answered = is_answer(&answer);
                if answered {
                    self.gate.answered_question();
                }
                !answered
            }
        }
    }

    /// Asks the cheapest question: what is away, if anything is. Salesforce is there when it answers, whatever it says of this
    /// question, unless it says that it is away for every other one too.
    pub(super) async fn ask_whether_it_is_back(&self) -> Asked {
        let answer = self.asking().query(CHEAPEST).await;
        let calls = self.metrics.take_calls();
        let away =
            answer.err().filter(|error| error.lies_in() != Some(LiesIn::Resource)).and_then(|error| match not_written(
                of_error(&error, self.probes()),
            ) {
                Outcome::Outage { failure, retry_after } => Some((failure, retry_after)),
                Outcome::Failed(_) if error.is_ambiguous() => {
                    Some((silent(&error, FailureClass::Transient), self.probes().unavailable))
                }
                Outcome::Failed(_) | Outcome::Settled(_) | Outcome::Halted | Outcome::Busy { .. } => None,
            });
        Asked { calls, away }
    }

    /// The client for questions that say nothing but whether the org is there.
    pub(super) fn asking(&self) -> Client {
        self.client.with(CallOptions { deadline: Some(QUESTION), ..CallOptions::default() })
    }
}

fn silent(error: &Error, class: FailureClass) -> Failure {
    Failure::new(class, Reason::AnswerLost, format!("Salesforce takes requests and does not answer them: {error}"))
}

/// Whether this is an answer of Salesforce's own that shows that it is there: a refusal is one too.
pub(super) fn is_answer(answer: &Result<(), Error>) -> bool {
    match answer {
        Ok(()) => true,
        Err(Error::Refused { status, .. }) => *status < 500,
        Err(
            Error::Unreachable(_)
            | Error::AnswerLost { .. }
            | Error::Unavailable { .. }
            | Error::Redirected { .. }
            | Error::Token(_)
            | Error::Protocol(_)
            | Error::TooLarge { .. }
            | Error::Invalid(_),
        ) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_answers_are_counted_by_order_until_it_is_settled_and_do_not_pile_up() {
        let order = |number: usize| OrderId::parse(&format!("order-{number}")).expect("an id");
        let unanswered = Unanswered::default();
        assert_eq!((unanswered.again(&order(1)), unanswered.again(&order(1)), unanswered.again(&order(2))), (1, 2, 1));
        unanswered.forget(&order(1));
        assert_eq!(unanswered.again(&order(1)), 1);
        for number in 0..3 * REMEMBERED {
            unanswered.again(&order(number));
            assert!(unanswered.0.lock().expect("a lock").len() <= REMEMBERED);
        }
    }
}
