//! What a writer tells of its orders, for their stories. Names, ids and codes only: nothing that a customer typed.

use std::sync::atomic::Ordering;

use domain::event::OrderEvent;
use domain::outcome::{MatchExplanation, Result as Ending};
use domain::story::{Answer, Ending as Ended, Found, What, short};
use ledger::ClaimAnswer;
use queue::journal::entry::now_ms;
use salesforce::{ApiError, Error, Graph, GraphResult, Published};

use super::OrderWriter;
use crate::attempt::Attempt;
use crate::trace::Request;

impl OrderWriter {
    fn tell(&self, attempt: &Attempt<'_>, what: What) {
        self.stories.record(attempt.event.order_id().as_str(), what);
    }

    /// What the ledger answered to the claim.
    pub(super) fn note_claim(&self, event: &OrderEvent, answer: &ClaimAnswer) {
        let what = match answer {
            ClaimAnswer::Claimed { attempts, .. } => {
                What::Claimed { attempt: attempts.total.saturating_add(1), unknown: false }
            }
            ClaimAnswer::Unknown { attempts, .. } => {
                What::Claimed { attempt: attempts.total.saturating_add(1), unknown: true }
            }
            ClaimAnswer::Settled(_) => What::SettledBefore,
            ClaimAnswer::Busy { left } => {
                let left = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
                What::Busy { until: now_ms().saturating_add(left) }
            }
            ClaimAnswer::Conflict => What::Conflicted,
            // Another writer is at it, and tells of it.
            ClaimAnswer::NotOwner => return,
        };
        self.stories.record(event.order_id().as_str(), what);
    }

    /// It begins to wait for its Account.
    pub(super) fn note_account_in_use(&self, attempt: &Attempt<'_>) {
        self.tell(attempt, What::AccountInUse);
    }

    /// What a look-up found.
    pub(super) fn note_look_up(&self, attempt: &Attempt<'_>, found: Found) {
        self.tell(attempt, What::LookedUp { found });
    }

    /// Orders are about to be sent in one request.
    pub(super) fn note_request(&self, request: &Request, graphs: &[Graph], attempts: &[Attempt<'_>]) {
        let call = self.calls.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        for attempt in graphs.iter().filter_map(|graph| attempt_of(attempts, &graph.id)) {
            self.tell(attempt, sent(request, graphs.len(), call, false));
        }
    }

    /// The request failed as a whole.
    pub(super) fn note_failed_request(&self, error: &Error, graphs: &[Graph], attempts: &[Attempt<'_>]) {
        for attempt in graphs.iter().filter_map(|graph| attempt_of(attempts, &graph.id)) {
            self.tell(attempt, failed(error));
        }
    }

    /// What Salesforce said of one order.
    pub(super) fn note_answer(&self, attempt: &Attempt<'_>, result: &GraphResult) {
        let what = match result {
            GraphResult::Written(_) => answered(Answer::Written, None),
            GraphResult::Halted => answered(Answer::Halted, None),
            GraphResult::Refused(refusal) => answered(Answer::Refused, Some(&refusal.error)),
        };
        self.tell(attempt, what);
    }

    /// Events are about to be published on their own.
    pub(super) fn note_event_request(&self, request: &Request, going: &[&Attempt<'_>]) {
        let call = self.calls.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        for attempt in going {
            self.tell(attempt, sent(request, going.len(), call, true));
        }
    }

    /// What Salesforce said of events.
    pub(super) fn note_event_answers(
        &self,
        going: &[&Attempt<'_>],
        answers: &Result<Vec<Result<Published, ApiError>>, Error>,
    ) {
        for (place, attempt) in going.iter().enumerate() {
            let what = match answers {
                Err(error) => failed(error),
                Ok(answers) => match answers.get(place) {
                    Some(Ok(_)) => answered(Answer::Written, None),
                    Some(Err(error)) => answered(Answer::Refused, Some(error)),
                    None => answered(Answer::Failed, None),
                },
            };
            self.tell(attempt, what);
        }
    }

    /// A duplicate was decided.
    pub(super) fn note_duplicate(&self, attempt: &Attempt<'_>, explanation: Option<&MatchExplanation>) {
        self.tell(attempt, What::Duplicate { explanation: explanation.cloned().unwrap_or_default() });
    }

    /// The order is settled, and the ledger remembers it.
    pub(super) fn note_end(&self, attempt: &Attempt<'_>, ending: &Ending) {
        let what = match ending {
            Ending::Written(written) => What::Settled {
                how: Ended::Written,
                crm_id: written.crm_id.as_ref().map(|id| id.as_str().to_owned()),
                event: written.event_uuid.as_deref().map(short),
                reason: None,
            },
            Ending::Rejected(rejected) => {
                What::Settled { how: Ended::Rejected, crm_id: None, event: None, reason: Some(rejected.failure.reason) }
            }
        };
        self.tell(attempt, what);
    }
}

/// The attempt that a graph belongs to.
pub(super) fn attempt_of<'a, 'b>(attempts: &'a [Attempt<'b>], graph: &str) -> Option<&'a Attempt<'b>> {
    graph.parse().ok().and_then(|index: usize| attempts.get(index))
}

fn sent(request: &Request, orders: usize, call: u64, event: bool) -> What {
    What::Sent { request: request.id.clone(), orders: u32::try_from(orders).unwrap_or(u32::MAX), call, event }
}

fn failed(error: &Error) -> What {
    What::Answered {
        answer: Answer::Failed,
        code: Some(short(error.code())).filter(|code| !code.is_empty()),
        fields: None,
    }
}

fn answered(answer: Answer, error: Option<&ApiError>) -> What {
    let place = error.map(|error| {
        let object = error.object.iter().map(String::as_str);
        short(&object.chain(error.fields.iter().take(5).map(String::as_str)).collect::<Vec<_>>().join(", "))
    });
    What::Answered {
        answer,
        code: error.map(|error| short(&error.code)).filter(|code| !code.is_empty()),
        fields: place.filter(|place| !place.is_empty()),
    }
}
