//! Events that the org publishes at once, and that so cannot travel with their records.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use domain::failure::{Failure, FailureClass, Reason};
use domain::outcome::Outcome;

use super::{Fields, OrderWriter};
use crate::attempt::{Attempt, Stage};
use crate::batch;
use crate::outcome::{lies_in_the_request, of_error, of_refusal};
use crate::trace::Request;

impl OrderWriter {
    /// Publishes the events that the org publishes at once, after their records are safe.
    ///
    /// Such an event cannot be looked up. When its answer is lost, whoever takes the order up next finds its record and
    /// publishes the event once more: consumers fold the double by its key, or by order number and type. So that an org
    /// that publishes and does not answer makes few doubles, one event goes by itself from then on until one is answered,
    /// and the others wait without being published. Of what was answered nothing is published again by this process. An org whose event is published after commit has no such case.
    pub(super) async fn publish(&self, attempts: &mut [Attempt<'_>]) {
        let mut by_event: HashMap<String, Vec<(usize, Fields)>> = HashMap::new();
        for (index, attempt) in attempts.iter_mut().enumerate() {
            let Stage::Publish(publish) = &attempt.stage else { continue };
            if let Some(written) = self.published.of(attempt.event.order_id()) {
                attempt.end_written(written);
                continue;
            }
            attempt.owes_event = true;
            let (written, plan) = publish.as_ref();
            if let Some((event, fields)) = batch::event(plan, written) {
                by_event.entry(event).or_default().push((index, fields));
            } else {
                let written = written.clone();
                attempt.end_written(written);
            }
        }
        // Halved where a request is refused as a whole: one event must not take the others of its request down.
        let mut requests: Vec<(String, Vec<(usize, Fields)>)> = by_event.into_iter().collect();
        while let Some((event, mut events)) = requests.pop() {
            if self.events_lost.load(Ordering::Relaxed) && events.len() > 1 {
                let rest = events.split_off(1);
                requests.push((event.clone(), rest));
            }
            let rows: Vec<Fields> = events.iter().map(|(_, fields)| fields.clone()).collect();
            let going: Vec<&Attempt<'_>> = events.iter().filter_map(|(index, _)| attempts.get(*index)).collect();
            let request = Request::of(going.iter().copied());
            self.note_event_request(&request, &going);
            let client = self.client.within(request.trace_parent());
            let sent = self.gate.now();
            let answers = client.publish_many(&event, &rows).await;
            self.note_event_answers(&going, &answers);
            if events.len() > 1 && answers.as_ref().is_err_and(lies_in_the_request) {
                let rest = events.split_off(events.len() / 2);
                requests.extend([(event.clone(), rest), (event, events)]);
                continue;
            }
            match &answers {
                Ok(_) => self.events_lost.store(false, Ordering::Relaxed),
                Err(error) if error.is_ambiguous() => {
                    self.events_lost.store(true, Ordering::Relaxed);
                    let about: Vec<usize> = events.iter().map(|(index, _)| *index).collect();
                    self.event_lost(error, sent, &about, attempts).await;
                    Self::hold_back(attempts, &self.silence(error, FailureClass::Ambiguous));
                    return;
                }
                Err(_) => {}
            }
            for (place, (index, _)) in events.into_iter().enumerate() {
                let attempt = &mut attempts[index];
                let Stage::Publish(publish) = &attempt.stage else { continue };
                let mut written = publish.0.clone();
                match &answers {
                    Ok(answers) => match answers.get(place) {
                        Some(Ok(published)) => {
                            written.event_uuid.clone_from(&published.event_uuid);
                            self.published.keep(attempt.event.order_id(), written.clone());
                            attempt.end_written(written);
                        }
                        Some(Err(error)) => attempt.end(of_refusal(error, self.probes())),
                        None => attempt.end(Outcome::Failed(Failure::new(
                            FailureClass::Ambiguous,
                            Reason::AnswerLost,
                            "Salesforce answered fewer events than were sent",
                        ))),
                    },
                    Err(error) => attempt.end(of_error(error, self.probes())),
                }
            }
        }
    }
}
