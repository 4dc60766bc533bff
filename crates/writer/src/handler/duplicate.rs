//! Orders whose customer matches another: rejected, or sent again to the matched Account.

use std::collections::HashMap;

use domain::config::OrderProcessing;
use domain::failure::{Failure, Reason};
use domain::outcome::{Outcome, Result as Ending};
use domain::plan::{KnownIdentity, Write};

use super::OrderWriter;
use crate::attempt::{Attempt, Stage};
use crate::batch;
use crate::duplicates::{self, Decision};
use crate::outcome::{not_written, of_error, of_refusal};

impl OrderWriter {
    /// Decides every duplicate; what belongs to a matched Account is sent again without one of its own.
    pub(super) async fn decide_duplicates(&self, processing: &OrderProcessing, attempts: &mut [Attempt<'_>]) {
        let mut explanations = HashMap::new();
        for (index, attempt) in attempts.iter_mut().enumerate() {
            let Stage::Duplicate(error) = &attempt.stage else { continue };
            let mut decision = duplicates::decide(&self.client, processing, error, true).await;
            if matches!(decision, Ok(Decision::AskAlone)) {
                decision = match self.ask_alone(processing, attempt).await {
                    Ok(Some(error)) => duplicates::decide(&self.client, processing, &error, false).await,
                    // The Account alone is accepted: the next attempt finds it. Should the rule fire on another record
                    // of the order again, the attempts are counted, and the order is given up in the end.
                    Ok(None) => {
                        attempt.end(Outcome::Failed(Failure::transient(
                            Reason::DuplicateDetected,
                            "a duplicate rule fires on the order as a whole and does not say what matches",
                        )));
                        continue;
                    }
                    Err(outcome) => {
                        attempt.end(outcome);
                        continue;
                    }
                };
            }
            match decision {
                Ok(Decision::Reject(rejected)) => {
                    attempt.end(Outcome::Settled(Ending::Rejected(rejected)));
                }
                Ok(Decision::Attach { account, explanation }) => {
                    attempt.known = KnownIdentity { crm_id: Some(account), contact_id: None };
                    attempt.stage = Stage::Send;
                    explanations.insert(index, explanation);
                }
                Ok(Decision::AskAlone) => attempt.end(Outcome::Halted),
                // Only reads were sent: nothing about the order is in doubt.
                Err(error) => attempt.end(not_written(of_error(&error, self.probes()))),
            }
        }
        if explanations.is_empty() {
            return;
        }
        self.send(processing, attempts).await;
        for (index, explanation) in explanations {
            match attempts.get_mut(index).map(|attempt| &mut attempt.stage) {
                Some(Stage::Over { outcome, .. }) => {
                    if let Outcome::Settled(Ending::Written(written)) = outcome.as_mut() {
                        written.explanation = Some(explanation);
                    }
                }
                Some(Stage::Publish(publish)) => publish.0.explanation = Some(explanation),
                Some(Stage::Duplicate(error)) => {
                    let outcome = of_refusal(error, self.probes());
                    attempts[index].end(outcome);
                }
                Some(Stage::LookUp | Stage::Send | Stage::NotOwner) | None => {}
            }
        }
    }

    /// Tries the customer's first record alone, to learn what it matches. `None` when it is accepted.
    pub(super) async fn ask_alone(
        &self,
        processing: &OrderProcessing,
        attempt: &Attempt<'_>,
    ) -> Result<Option<salesforce::ApiError>, Outcome> {
        let plan = attempt.plan(processing).map_err(Outcome::Failed)?;
        let Some(effect) = plan.effects.first() else { return Ok(None) };
        let Write::Upsert { object, field, value } = &effect.write else { return Ok(None) };
        let body = batch::body(effect, &mut Vec::new(), |_| serde_json::Value::Null);
        match self.client.upsert(object, field, value, &body).await {
            Ok(_) => Ok(None),
            Err(error) => match error.cause() {
                Some(cause) if cause.kind() == salesforce::ErrorKind::Duplicate => Ok(Some(cause.clone())),
                // An upsert by external id may be repeated: nothing about the order is in doubt.
                Some(_) | None => Err(not_written(of_error(&error, self.probes()))),
            },
        }
    }
}
