//! Sends many orders in one request, and takes each one's answer.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::Duration;

use domain::config::OrderProcessing;
use domain::order::id::RecordId;
use domain::outcome::Outcome;
use domain::plan::WritePlan;
use queue::lanes::Observation;
use salesforce::{Error, ErrorKind, GraphAnswer, GraphResult};
use tokio::time::Instant;

use super::record::attempt_of;
use super::{OrderWriter, in_graph};
use crate::accounts::Taken;
use crate::attempt::{Attempt, Remembered, Stage};
use crate::batch;
use crate::outcome::{lies_in_the_request, not_written, of_refusal};
use crate::resolve;
use crate::trace::Request;

impl OrderWriter {
    /// Sends every attempt that may be sent: many orders in one request, halved where a request is refused as a whole.
    pub(super) async fn send(&self, processing: &OrderProcessing, attempts: &mut [Attempt<'_>]) {
        let in_graph = in_graph(processing);
        let mut plans = HashMap::new();
        let mut graphs = Vec::new();
        for (index, attempt) in attempts.iter_mut().enumerate() {
            if !matches!(attempt.stage, Stage::Send) {
                continue;
            }
            match attempt.plan(processing) {
                Err(failure) => attempt.end(Outcome::Failed(failure)),
                Ok(mut plan) => {
                    let graph = batch::graph(index.to_string(), &mut plan, in_graph);
                    if graph.nodes.is_empty() && plan.publishes() {
                        let written = attempt.written(&[], &plan);
                        attempt.stage = Stage::Publish(Box::new((written, plan)));
                    } else if graph.nodes.is_empty() {
                        attempt.end_written(attempt.written(&[], &plan));
                    } else {
                        graphs.push(graph);
                        plans.insert(index, plan);
                    }
                }
            }
        }
        let client = self.client_for(processing);
        let (mut requests, mut further) = (vec![graphs], false);
        while let Some(mut graphs) = requests.pop() {
            if graphs.is_empty() {
                continue;
            }
            // The batch was let in for one request.
            if std::mem::replace(&mut further, true)
                && let Err(outage) = self.gate.goes_on().await
            {
                return Self::hold_back(attempts, &outage);
            }
            self.metrics.batch(graphs.len());
            let request = Request::of(graphs.iter().filter_map(|graph| attempt_of(attempts, &graph.id)));
            self.note_request(&request, &graphs, attempts);
            let (began, sent) = (self.gate.now(), Instant::now());
            let answer = client.within(request.trace_parent()).graph(&graphs).await;
            self.observe(graphs.len(), sent.elapsed(), &answer);
            match answer {
                Ok(answers) => {
                    self.gate.answered();
                    for answer in answers {
                        let Some((attempt, plan)) = answer
                            .id
                            .parse()
                            .ok()
                            .and_then(|index: usize| Some((attempts.get_mut(index)?, plans.remove(&index)?)))
                        else {
                            continue;
                        };
                        self.take_answer(attempt, plan, answer.result, in_graph);
                    }
                }
                Err(error) if lies_in_the_request(&error) && graphs.len() > 1 => {
                    let rest = graphs.split_off(graphs.len() / 2);
                    requests.extend([rest, graphs]);
                }
                Err(error) => {
                    let first = graphs.first().and_then(|graph| graph.id.parse::<usize>().ok());
                    let first = first.and_then(|index| attempts.get(index)).map(|attempt| attempt.event.order_id());
                    let outcome = self.judge(&error, began, first).await;
                    self.note_failed_request(&error, &graphs, attempts);
                    for graph in graphs {
                        if let Some(attempt) = graph.id.parse().ok().and_then(|index: usize| attempts.get_mut(index)) {
                            attempt.end(outcome.clone());
                        }
                    }
                    if matches!(outcome, Outcome::Outage { .. }) {
                        return Self::hold_back(attempts, &not_written(outcome));
                    }
                }
            }
        }
    }

    pub(super) fn take_answer(&self, attempt: &mut Attempt<'_>, plan: WritePlan, result: GraphResult, in_graph: bool) {
        self.note_answer(attempt, &result);
        match result {
            GraphResult::Written(nodes) => {
                let written = attempt.written(&nodes, &plan);
                if in_graph || !plan.publishes() {
                    attempt.end_written(written);
                } else {
                    attempt.stage = Stage::Publish(Box::new((written, plan)));
                }
            }
            GraphResult::Halted => attempt.end(Outcome::Halted),
            GraphResult::Refused(refusal) => {
                let error = refusal.error;
                self.metrics.refused(&error.code);
                if attempt.may_lack_account(&error) {
                    attempt.stage = Stage::Gone(Box::new(error));
                    return;
                }
                match error.kind() {
                    salesforce::ErrorKind::Duplicate => attempt.stage = Stage::Duplicate(Box::new(error)),
                    // Either the order's own record exists, which is the trace of an earlier attempt, or another
                    // customer record does: the look-up tells which.
                    salesforce::ErrorKind::AlreadyExists => attempt.stage = Stage::LookUp,
                    salesforce::ErrorKind::Lock
                    | salesforce::ErrorKind::Transient
                    | salesforce::ErrorKind::Throttled
                    | salesforce::ErrorKind::Quota
                    | salesforce::ErrorKind::Maintenance
                    | salesforce::ErrorKind::Halted
                    | salesforce::ErrorKind::Session
                    | salesforce::ErrorKind::Permanent
                    | salesforce::ErrorKind::Configuration
                    | salesforce::ErrorKind::Authentication
                    | salesforce::ErrorKind::Unknown => attempt.end(of_refusal(&error, self.probes())),
                }
            }
        }
    }

    /// Orders whose remembered Account is gone from the org go once more, as those of a customer whom nobody knows: who says
    /// too little to be written anew is asked for. One API call tells for a batch with such refusals whether it was the
    /// Account.
    pub(super) async fn send_without_lost_accounts(
        &self,
        processing: &OrderProcessing,
        taken: &mut Taken,
        attempts: &mut [Attempt<'_>],
    ) {
        let about: Vec<usize> =
            (0..attempts.len()).filter(|index| matches!(attempts[*index].stage, Stage::Gone(_))).collect();
        if about.is_empty() {
            return;
        }
        let accounts: Vec<&RecordId> =
            about.iter().filter_map(|index| attempts[*index].known.crm_id.as_ref()).collect();
        let (asked, there) = self.ask(resolve::ages_of_accounts(&self.client, &accounts)).await;
        let there = match there {
            Ok(there) => there,
            Err(error) => return self.question_failed(&error, asked, &about, attempts).await,
        };
        let mut lost = Vec::new();
        for index in about {
            let attempt = &mut attempts[index];
            let Stage::Gone(error) = &attempt.stage else { continue };
            if attempt.known.crm_id.as_ref().is_some_and(|account| there.contains_key(account)) {
                let outcome = of_refusal(error, self.probes());
                attempt.end(outcome);
            } else {
                self.decided.forget(attempt.event.order_id());
                lost.push((index, attempt.known.crm_id.clone(), of_refusal(error, self.probes())));
                attempt.forget_account();
            }
        }
        let again = attempts.iter().filter(|attempt| matches!(attempt.stage, Stage::Send));
        let names: Vec<String> =
            again.flat_map(|attempt| Remembered::asked(&attempt.event.order.account_names())).flatten().collect();
        if names.is_empty() {
            return;
        }
        self.accounts.forget_all();
        if let Err(error) = self.ledger.forget_accounts(&names).await {
            tracing::debug!(%error, "an Account that is gone stays remembered; the next order forgets it");
        }
        // A merge leaves the customer and their subscription with another Account.
        self.find_accounts(processing, attempts).await;
        for (index, account, outcome) in lost {
            let attempt = &mut attempts[index];
            // Its orders are still on it: it is not gone but closed to this user, and the order would be refused for ever.
            if matches!(attempt.stage, Stage::Send) && account.is_some() && attempt.known.crm_id == account {
                attempt.end(outcome);
            }
        }
        self.take_accounts(taken, attempts);
        self.send(processing, attempts).await;
    }

    /// Notes what a request came to, for the pace of the next ones. What never reached the org says nothing of it.
    fn observe(&self, orders: usize, took: Duration, answer: &Result<Vec<GraphAnswer>, Error>) {
        let mut request = Observation { orders, took, ..Observation::default() };
        match answer {
            Ok(answers) => {
                for answer in answers {
                    match &answer.result {
                        GraphResult::Written(_) => {}
                        GraphResult::Halted => request.halted += 1,
                        GraphResult::Refused(refusal) => {
                            request.refused += 1;
                            request.locked += usize::from(refusal.error.kind() == ErrorKind::Lock);
                        }
                    }
                }
            }
            Err(error) => match error {
                Error::AnswerLost { .. } | Error::Unavailable { .. } => request.overloaded = true,
                Error::Refused { .. } if matches!(error.kind(), ErrorKind::Throttled | ErrorKind::Transient) => {
                    request.overloaded = true;
                }
                Error::Refused { .. } if error.kind() == ErrorKind::Lock => request.locked = orders,
                Error::Refused { .. }
                | Error::Unreachable(_)
                | Error::Redirected { .. }
                | Error::Token(_)
                | Error::Protocol(_)
                | Error::TooLarge { .. }
                | Error::Invalid(_) => return,
            },
        }
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    }
}
