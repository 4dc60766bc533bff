//! Events that the org publishes at once, and that so cannot travel with their records.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use domain::config::OrderProcessing;
use domain::failure::{Failure, FailureClass, Reason};
use domain::outcome::Outcome;
use salesforce::{ApiError, Client, Error, Graph, GraphResult, Published};

use super::{Fields, OrderWriter};
use crate::attempt::{Attempt, Stage};
use crate::batch;
use crate::outcome::{lies_in_the_request, of_error, of_refusal};
use crate::trace::Request;

/// How an org says that it takes no event in a composite graph.
const BARRED: &str = "OPERATION_NOT_ALLOWED";

/// What the org said of each event of a request.
type Answers = Result<Vec<Result<Published, ApiError>>, Error>;

/// An event that is due.
struct Due {
    /// Whose, by its place in the batch.
    index: usize,
    /// For publishing it together with a note in its order's record, where there is one.
    noted: Option<Graph>,
    /// For publishing it by itself.
    fields: Fields,
}

impl OrderWriter {
    /// Publishes the events that the org publishes at once, after their records are safe.
    ///
    /// Such an event is not refused when it comes twice, so it goes only under a claim that is still held, and nobody claims
    /// its order again before an event without an answer has had its time.
    ///
    /// Nor can it be looked up. So a field of the order's record is set in the unit that publishes it: whoever
    /// finds the record after a lost answer finds there whether the event is out. Without such a field the event is published
    /// once more: consumers fold the double by its key, or by order number and type.
    ///
    /// So that an org that publishes and does not answer makes few doubles, one event goes by itself from then on until one
    /// is answered, and the others wait without being published. Of what was answered nothing is published again by this
    /// process. An org whose event is published after commit has no such case.
    pub(super) async fn publish(&self, processing: &OrderProcessing, attempts: &mut [Attempt<'_>]) {
        // Halved where a request is refused as a whole: one event must not take the others of its request down.
        let mut requests = self.due(processing, attempts);
        while let Some((event, mut due)) = requests.pop() {
            if self.events_lost.load(Ordering::Relaxed) && due.len() > 1 {
                let rest = due.split_off(1);
                requests.push((event.clone(), rest));
            }
            let held = match self.hold(due.iter().map(|due| due.index), attempts).await {
                Ok(held) => held,
                Err(error) => {
                    self.outages.fetch_add(1, Ordering::Relaxed);
                    return Self::hold_back(attempts, &self.ledger_outage(&error));
                }
            };
            due.retain(|due| matches!(attempts[due.index].stage, Stage::Publish(_)));
            if due.is_empty() {
                continue;
            }
            let about: Vec<usize> = due.iter().map(|due| due.index).collect();
            if !held.is_fresh() {
                for index in &about {
                    attempts[*index].end(Outcome::Halted);
                }
                self.need_not_wait(&about, attempts).await;
                continue;
            }
            let going: Vec<&Attempt<'_>> = due.iter().filter_map(|due| attempts.get(due.index)).collect();
            let request = Request::of(going.iter().copied());
            self.note_event_request(&request, &going);
            let client = self.client.within(request.trace_parent());
            let sent = self.gate.now();
            let answers = send(&client, &event, &due).await;
            self.note_event_answers(&going, &answers);
            let barred = answers.as_ref().is_err_and(|error| error.code() == BARRED);
            if due.len() > 1 && !barred && answers.as_ref().is_err_and(lies_in_the_request) {
                let rest = due.split_off(due.len() / 2);
                requests.extend([(event.clone(), rest), (event, due)]);
                continue;
            }
            match &answers {
                Ok(_) => self.events_lost.store(false, Ordering::Relaxed),
                Err(error) if error.is_ambiguous() => {
                    self.events_lost.store(true, Ordering::Relaxed);
                    self.event_lost(error, sent, &about, attempts).await;
                    Self::hold_back(attempts, &self.silence(error, FailureClass::Ambiguous));
                    return;
                }
                Err(_) => {}
            }
            let without_note = self.take_event_answers(due, &answers, attempts);
            self.need_not_wait(&about, attempts).await;
            if !without_note.is_empty() {
                self.publishes_without_notes();
                requests.push((event, without_note));
            }
        }
    }

    /// Ends the attempts that were answered. Returns the events that the org does not take together with a note.
    fn take_event_answers(&self, due: Vec<Due>, answers: &Answers, attempts: &mut [Attempt<'_>]) -> Vec<Due> {
        let mut without_note = Vec::new();
        for (place, due) in due.into_iter().enumerate() {
            let attempt = &mut attempts[due.index];
            let Stage::Publish(publish) = &attempt.stage else { continue };
            let mut written = publish.0.clone();
            let answer = answers.as_ref().map(|answers| answers.get(place));
            match answer {
                Ok(Some(Ok(published))) => {
                    written.event_uuid.clone_from(&published.event_uuid);
                    self.published.keep(attempt.event.order_id(), written.clone());
                    attempt.end_written(written);
                }
                Ok(Some(Err(error))) if due.noted.is_some() && error.code == BARRED => {
                    without_note.push(Due { noted: None, ..due });
                }
                Err(error) if due.noted.is_some() && error.code() == BARRED => {
                    without_note.push(Due { noted: None, ..due });
                }
                Ok(Some(Err(error))) => attempt.end(of_refusal(error, self.probes())),
                Ok(None) => attempt.end(Outcome::Failed(Failure::new(
                    FailureClass::Ambiguous,
                    Reason::AnswerLost,
                    "Salesforce answered fewer events than were sent",
                ))),
                Err(error) => attempt.end(of_error(error, self.probes())),
            }
        }
        without_note
    }

    /// From now on events go by themselves.
    fn publishes_without_notes(&self) {
        if !self.events_barred.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "the org takes no platform events in composite graphs: they are published without a note in the order's record, \
                 and once more where an answer is lost; set external_ids.order_event_published = \"\" to settle for that"
            );
        }
    }

    /// The events that are due, by their API name and by how they are published.
    fn due(&self, processing: &OrderProcessing, attempts: &mut [Attempt<'_>]) -> Vec<(String, Vec<Due>)> {
        let mut requests: HashMap<(String, bool), Vec<Due>> = HashMap::new();
        for (index, attempt) in attempts.iter_mut().enumerate() {
            let Stage::Publish(publish) = &attempt.stage else { continue };
            if let Some(written) = self.published.of(attempt.event.order_id()) {
                attempt.end_written(written);
                continue;
            }
            attempt.owes_event = true;
            let (written, plan) = publish.as_ref();
            let Some((event, fields)) = batch::event(plan, written) else {
                let written = written.clone();
                attempt.end_written(written);
                continue;
            };
            let object = &processing.external_ids.order_object;
            let field = processing.event_noted_in().filter(|_| !self.events_barred.load(Ordering::Relaxed));
            let noted = field.and_then(|field| batch::noted_event(index.to_string(), plan, written, object, field));
            requests.entry((event, noted.is_some())).or_default().push(Due { index, noted, fields });
        }
        requests.into_iter().map(|((event, _), due)| (event, due)).collect()
    }
}

/// Publishes these, all in the same way; the answers are in their order.
async fn send(client: &Client, event: &str, due: &[Due]) -> Answers {
    let graphs: Vec<Graph> = due.iter().filter_map(|due| due.noted.clone()).collect();
    if graphs.is_empty() {
        let rows: Vec<Fields> = due.iter().map(|due| due.fields.clone()).collect();
        return client.publish_many(event, &rows).await;
    }
    let answers = client.graph(&graphs).await?;
    let answer = |result| match result {
        GraphResult::Written(nodes) => Ok(Published { event_uuid: nodes.into_iter().find_map(|node| node.event_uuid) }),
        GraphResult::Refused(refusal) => Err(refusal.error),
        GraphResult::Halted => Err(ApiError::new("PROCESSING_HALTED", "not tried")),
    };
    Ok(answers.into_iter().map(|of_graph| answer(of_graph.result)).collect())
}
