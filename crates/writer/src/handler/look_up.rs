//! What only the org knows of the orders of a batch: whether they were written, and whose Account they belong to.

use domain::config::OrderProcessing;
use domain::failure::{Failure, FailureClass, Reason};
use domain::order::id::{OrderId, RecordId};
use domain::outcome::Outcome;
use domain::story::Found;

use super::{OrderWriter, in_graph};
use crate::attempt::{Attempt, Stage};
use crate::outcome::{not_written, of_error};
use crate::resolve;

impl OrderWriter {
    /// Looks up what may have been written before.
    pub(super) async fn look_up(&self, processing: &OrderProcessing, attempts: &mut [Attempt<'_>]) {
        let in_graph = in_graph(processing);
        let unknown: Vec<&OrderId> = attempts
            .iter()
            .filter(|attempt| matches!(attempt.stage, Stage::LookUp))
            .map(|attempt| attempt.event.order_id())
            .collect();
        if unknown.is_empty() {
            return;
        }
        if processing.external_ids.order_object.is_empty() {
            for attempt in attempts.iter().filter(|attempt| matches!(attempt.stage, Stage::LookUp)) {
                self.note_look_up(attempt, Found::Impossible);
            }
            Self::cannot_look_up(attempts);
            return;
        }
        let found = resolve::written_orders(&self.client, &processing.external_ids, &unknown).await;
        for attempt in attempts.iter_mut().filter(|attempt| matches!(attempt.stage, Stage::LookUp)) {
            if found.is_err() {
                self.note_look_up(attempt, Found::Unanswered);
            }
            match &found {
                Ok(found) => {
                    let found = found.get(attempt.event.order_id());
                    let says = attempt.event.fingerprint();
                    match found {
                        // What the ledger would have said, had it not forgotten.
                        Some(found) if found.fingerprint.is_some_and(|written| written != says) => {
                            self.metrics.resolved("conflict");
                            self.note_look_up(attempt, Found::Conflict);
                            attempt.end_conflict();
                        }
                        Some(found) => {
                            self.metrics.resolved("done");
                            self.note_look_up(attempt, Found::Written);
                            attempt.found(found.written.clone(), processing, in_graph);
                        }
                        None => {
                            self.metrics.resolved("not_done");
                            self.note_look_up(attempt, Found::Nothing);
                            attempt.stage = Stage::Send;
                        }
                    }
                }
                // Not knowing stays not knowing: the claim goes back as unknown. Only an org that refuses to be asked costs
                // attempts, so that it ends as a dead letter that says so.
                Err(error) => attempt.end(match not_written(of_error(error, self.probes())) {
                    Outcome::Failed(failure) if failure.class == FailureClass::Permanent => {
                        Outcome::Failed(Failure { class: FailureClass::Ambiguous, ..failure })
                    }
                    Outcome::Outage { failure, retry_after } => Outcome::Outage { failure, retry_after },
                    Outcome::Failed(failure) => Outcome::Outage { failure, retry_after: self.probes().unavailable },
                    Outcome::Settled(_) | Outcome::Halted | Outcome::Busy { .. } => Outcome::Halted,
                }),
            }
        }
    }

    /// An order that names a Contact and no Account belongs to that Contact's Account, whatever else is known of the
    /// customer. One API call for a batch that holds such orders, none for any other.
    pub(super) async fn name_accounts_of_contacts(&self, attempts: &mut [Attempt<'_>]) {
        let named: Vec<&RecordId> = attempts.iter().filter_map(Attempt::contact_without_account).collect();
        if named.is_empty() {
            return;
        }
        let found = resolve::accounts_of_contacts(&self.client, &named).await;
        for attempt in attempts {
            let Some(contact) = attempt.contact_without_account() else { continue };
            match &found {
                Ok(found) => attempt.belongs_to(found.get(contact).cloned()),
                Err(error) => attempt.end(self.unasked(error)),
            }
        }
    }

    /// Orders that say too little of their customer are written to the Account that is there, also when nobody remembers it:
    /// the ledger was emptied, or the customer was there before the fleet. An API call or two for a batch that holds such
    /// orders, none for any other; what is found is remembered with the order.
    pub(super) async fn find_accounts(&self, processing: &OrderProcessing, attempts: &mut [Attempt<'_>]) {
        let traces: Vec<_> = attempts.iter().map(|attempt| attempt.account_trace(processing)).collect();
        let sought: Vec<_> = traces.iter().flatten().cloned().collect();
        if sought.is_empty() {
            return;
        }
        let found = resolve::accounts_of_customers(&self.client, &processing.external_ids, &sought).await;
        for (attempt, trace) in attempts.iter_mut().zip(traces) {
            let Some(trace) = trace else { continue };
            match &found {
                // Who is in the org under neither name has no Account: the order goes without one.
                Ok(found) => attempt.known.crm_id = found.get(&trace).cloned(),
                Err(error) => attempt.end(self.unasked(error)),
            }
        }
    }

    /// A question that the org did not answer says nothing of the order: another try may do. It is counted, so it does not go
    /// on for ever.
    fn unasked(&self, error: &salesforce::Error) -> Outcome {
        let mut outcome = not_written(of_error(error, self.probes()));
        if let Outcome::Failed(failure) = &mut outcome
            && failure.class == FailureClass::Permanent
        {
            failure.class = FailureClass::Transient;
        }
        outcome
    }

    /// Without an order record nothing tells whether an order was written. It is not sent again by hope: its attempts are
    /// counted, and it ends as a dead letter. An operator who releases it has looked.
    fn cannot_look_up(attempts: &mut [Attempt<'_>]) {
        for attempt in attempts.iter_mut().filter(|attempt| matches!(attempt.stage, Stage::LookUp)) {
            if attempt.released {
                attempt.stage = Stage::Send;
                continue;
            }
            attempt.end(Outcome::Failed(Failure::new(
                FailureClass::Ambiguous,
                Reason::AnswerLost,
                "an earlier answer was lost, and the settings name no order record to look it up by",
            )));
        }
    }
}
