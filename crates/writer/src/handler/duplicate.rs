//! Orders whose customer matches another: rejected, or sent to the matched Account.
//!
//! What the answers of a batch leave open is asked for the whole batch at once: one composite request for the records that
//! have to be tried by themselves, one query for the Accounts of Contacts, one for the ages of Accounts. An order that
//! belongs to a matched Account then goes again with the next batch, so that it shares a request with new orders instead of
//! costing one.

use std::collections::HashMap;
use std::sync::Arc;

use domain::config::OrderProcessing;
use domain::failure::{Failure, Reason};
use domain::order::id::RecordId;
use domain::outcome::{Outcome, Result as Ending};
use domain::settlement::Settlement;
use salesforce::{ApiError, CallOptions, Client, DuplicateRuleHeader, ErrorKind, Part, PartAnswer};

use super::OrderWriter;
use crate::attempt::{Attempt, Stage};
use crate::batch;
use crate::duplicates::decided::Match;
use crate::duplicates::{self, Decision, Question, Weighed};
use crate::outcome::{not_written, of_refusal};
use crate::resolve;

/// The first of a customer's records.
const ACCOUNT: &str = "Account";

impl OrderWriter {
    /// The client as duplicate rules should answer it: with the matched records, whose age and fields decide and explain,
    /// so that neither has to be looked up. Nothing is saved that a rule refuses.
    pub(super) fn client_for(&self, processing: &OrderProcessing) -> Client {
        if !processing.include_duplicate_check {
            return self.client.clone();
        }
        let header = DuplicateRuleHeader { include_record_details: true, ..DuplicateRuleHeader::default() };
        self.client.with(CallOptions { duplicate_rule: Some(header), ..CallOptions::default() })
    }

    /// Orders about which a rule of the org was asked before go to the Account that matched, unless they name another.
    pub(super) fn recall_matches(&self, processing: &Arc<OrderProcessing>, attempts: &mut [Attempt<'_>]) {
        for attempt in attempts.iter_mut().filter(|attempt| attempt.remembered) {
            if let Some(Match { account, explanation }) = self.decided.of(attempt.event.order_id(), processing) {
                attempt.known.crm_id = Some(account);
                attempt.explanation = Some(explanation);
            }
        }
    }

    /// What was decided about orders that are settled is forgotten, and what was not answered about them.
    pub(super) fn forget_matches(&self, attempts: &[Attempt<'_>], settlements: &[Settlement]) {
        for (attempt, settlement) in attempts.iter().zip(settlements) {
            if matches!(settlement, Settlement::Ack | Settlement::DeadLetter(_)) {
                self.decided.forget(attempt.event.order_id());
                self.unanswered.forget(attempt.event.order_id());
            }
        }
    }

    /// Decides every duplicate of the batch.
    pub(super) async fn decide_duplicates(&self, processing: &Arc<OrderProcessing>, attempts: &mut [Attempt<'_>]) {
        let mut questions = Vec::new();
        let mut alone = Vec::new();
        for (index, attempt) in attempts.iter_mut().enumerate() {
            let Stage::Duplicate(error) = &attempt.stage else { continue };
            if attempt.explanation.is_some() {
                // It was sent to the Account that matched, and another rule refuses what is left of it.
                let outcome = of_refusal(error, self.probes());
                attempt.end(outcome);
                continue;
            }
            match duplicates::weigh(processing, error, true) {
                Weighed::Decided(decision) => self.take_decision(processing, attempt, decision),
                Weighed::AskAlone => alone.push(index),
                Weighed::Open(question) => questions.push((index, question)),
            }
        }
        for (index, answer) in self.ask_alone(processing, attempts, &alone).await {
            let attempt = &mut attempts[index];
            match answer {
                Ok(Some(error)) => match duplicates::weigh(processing, &error, false) {
                    Weighed::Decided(decision) => self.take_decision(processing, attempt, decision),
                    Weighed::Open(question) => questions.push((index, question)),
                    Weighed::AskAlone => attempt.end(Outcome::Halted),
                },
                // It is accepted by itself: the next attempt finds it. Should the rule fire on another record of the order
                // again, the attempts are counted, and the order is given up in the end.
                Ok(None) => attempt.end(Outcome::Failed(Failure::transient(
                    Reason::DuplicateDetected,
                    "a duplicate rule fires on the order as a whole and does not say what matches",
                ))),
                Err(outcome) => attempt.end(*outcome),
            }
        }
        questions.retain(|(index, _)| attempts[*index].is_open());
        if questions.is_empty() {
            return;
        }
        let (asked, ages) = self.ask(self.look_up_matches(processing, &mut questions)).await;
        match ages {
            Ok(ages) => {
                for (index, question) in questions {
                    let plan = attempts[index].plan(processing).ok();
                    let decision = question.decide(processing, &ages, plan.as_ref());
                    self.take_decision(processing, &mut attempts[index], decision);
                }
            }
            Err(error) => {
                let about: Vec<usize> = questions.iter().map(|(index, _)| *index).collect();
                self.question_failed(&error, asked, &about, attempts).await;
            }
        }
    }

    fn take_decision(&self, processing: &Arc<OrderProcessing>, attempt: &mut Attempt<'_>, decision: Decision) {
        match decision {
            Decision::Reject(rejected) => {
                self.note_duplicate(attempt, rejected.explanation.as_ref());
                attempt.end(Outcome::Settled(Ending::Rejected(rejected)));
            }
            Decision::Attach { account, explanation } => {
                self.note_duplicate(attempt, Some(&explanation));
                let order = attempt.event.order_id().clone();
                attempt.known.crm_id = Some(account.clone());
                self.decided.keep(order, processing, Match { account, explanation });
                // Nothing of it was written, and it did not fail: it goes with the next batch.
                attempt.end(Outcome::Halted);
            }
        }
    }

    /// Finds out for all questions at once whose Accounts the Contacts are and how old the Accounts are. At most two API
    /// calls for up to 500 records each, none where the answers say it all.
    async fn look_up_matches(
        &self,
        processing: &OrderProcessing,
        questions: &mut [(usize, Question)],
    ) -> Result<HashMap<RecordId, String>, salesforce::Error> {
        let contacts: Vec<&RecordId> = questions.iter().flat_map(|(_, question)| question.contacts()).collect();
        if !contacts.is_empty() {
            let accounts = resolve::accounts_of_contacts(&self.client, &contacts).await?;
            for (_, question) in questions.iter_mut() {
                question.belong_to(&accounts);
            }
        }
        let policy = processing.duplicates.several_matches;
        let wanted: Vec<&RecordId> = questions.iter().flat_map(|(_, question)| question.ages_wanted(policy)).collect();
        resolve::ages_of_accounts(&self.client, &wanted).await
    }

    /// Tries the customers' records by themselves, to learn what they match: a composite request says it even where a
    /// graph does not. `None` for a record that is accepted; it is the one that the next attempt would write.
    ///
    /// The Accounts of up to 25 orders share a request. Where an order has a Contact too, and the refusal does not name the
    /// Account, both go together or not at all, so that no Account is left behind without its order; then the order has a
    /// request of its own.
    async fn ask_alone(
        &self,
        processing: &OrderProcessing,
        attempts: &mut [Attempt<'_>],
        indices: &[usize],
    ) -> Vec<(usize, Result<Option<ApiError>, Box<Outcome>>)> {
        let mut answers = Vec::new();
        let mut accounts = Vec::new();
        let mut pairs = Vec::new();
        for &index in indices {
            let Stage::Duplicate(error) = &attempts[index].stage else { continue };
            match attempts[index].plan(processing) {
                Err(failure) => answers.push((index, Err(Box::new(Outcome::Failed(failure))))),
                Ok(plan) => match batch::customer_parts(&plan, index) {
                    parts if parts.is_empty() => answers.push((index, Ok(None))),
                    parts if parts.len() > 1 && error.object.as_deref() != Some(ACCOUNT) => pairs.push((index, parts)),
                    parts => accounts.extend(parts.into_iter().take(1).map(|part| (index, part))),
                },
            }
        }
        let client = self.client_for(processing);
        for chunk in accounts.chunks(salesforce::limits::SUBREQUESTS) {
            let about: Vec<usize> =
                chunk.iter().map(|(index, _)| *index).filter(|index| attempts[*index].is_open()).collect();
            if about.is_empty() {
                continue;
            }
            let parts: Vec<Part> = chunk.iter().map(|(_, part)| part.clone()).collect();
            let (asked, told) = self.ask(client.composite(false, &parts)).await;
            match told {
                Ok(told) => {
                    let told = chunk.iter().zip(&told).map(|((index, _), answer)| (*index, self.told(&[answer])));
                    answers.extend(told);
                }
                // Upserts by external id may be repeated: nothing about the orders is in doubt.
                Err(error) => self.question_failed(&error, asked, &about, attempts).await,
            }
        }
        for (index, parts) in pairs {
            if !attempts[index].is_open() {
                continue;
            }
            let (asked, told) = self.ask(client.composite(true, &parts)).await;
            match told {
                Ok(told) => answers.push((index, self.told(&told.iter().collect::<Vec<_>>()))),
                Err(error) => self.question_failed(&error, asked, &[index], attempts).await,
            }
        }
        answers
    }

    fn told(&self, answers: &[&PartAnswer]) -> Result<Option<ApiError>, Box<Outcome>> {
        let refused = answers.iter().find_map(|answer| match answer {
            PartAnswer::Refused(refusal) => Some(&refusal.error),
            PartAnswer::Written(_) | PartAnswer::Records(_) | PartAnswer::Halted => None,
        });
        match refused {
            Some(error) if error.kind() == ErrorKind::Duplicate => Ok(Some(error.clone())),
            Some(error) => Err(Box::new(not_written(of_refusal(error, self.probes())))),
            None if answers.iter().any(|answer| matches!(answer, PartAnswer::Halted)) => Err(Box::new(Outcome::Halted)),
            None => Ok(None),
        }
    }
}
