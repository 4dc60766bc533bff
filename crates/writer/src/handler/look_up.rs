//! What only the org knows of the orders of a batch: whether they were written, and whose Account they belong to.

use domain::config::OrderProcessing;
use domain::failure::{Failure, FailureClass, Reason};
use domain::order::id::{OrderId, RecordId};
use domain::outcome::Outcome;
use domain::story::Found;

use super::{OrderWriter, in_graph};
use crate::attempt::{Attempt, Stage};
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
        let (asked, found) = self.ask(resolve::written_orders(&self.client, processing, &unknown)).await;
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                let about = indices(attempts, |attempt| matches!(attempt.stage, Stage::LookUp));
                for index in &about {
                    self.note_look_up(&attempts[*index], Found::Unanswered);
                }
                return self.question_failed(&error, asked, &about, attempts).await;
            }
        };
        for attempt in attempts.iter_mut().filter(|attempt| matches!(attempt.stage, Stage::LookUp)) {
            let says = attempt.event.fingerprint();
            match found.get(attempt.event.order_id()) {
                // What the ledger would have said, had it not forgotten.
                Some(found) if found.fingerprint.is_some_and(|written| written != says) => {
                    self.metrics.resolved("conflict");
                    self.note_look_up(attempt, Found::Conflict);
                    attempt.end_conflict();
                }
                Some(found) => {
                    self.metrics.resolved("done");
                    self.note_look_up(attempt, Found::Written);
                    attempt.found(found.written.clone(), processing, in_graph || found.event_published);
                }
                None => {
                    self.metrics.resolved("not_done");
                    self.note_look_up(attempt, Found::Nothing);
                    attempt.stage = Stage::Send;
                }
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
        let (asked, found) = self.ask(resolve::accounts_of_contacts(&self.client, &named)).await;
        match found {
            Ok(found) => {
                for attempt in attempts {
                    let Some(contact) = attempt.contact_without_account() else { continue };
                    attempt.belongs_to(found.get(contact).cloned());
                }
            }
            Err(error) => {
                let about = indices(attempts, |attempt| attempt.contact_without_account().is_some());
                self.question_failed(&error, asked, &about, attempts).await;
            }
        }
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

/// The places of these attempts in their batch.
fn indices(attempts: &[Attempt<'_>], which: impl Fn(&Attempt<'_>) -> bool) -> Vec<usize> {
    attempts.iter().enumerate().filter(|(_, attempt)| which(attempt)).map(|(index, _)| index).collect()
}
