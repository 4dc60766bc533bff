//! Before a batch is worked on: whether it may go, and what a lost answer means.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use domain::breaker::{Judgement, Time};
use domain::event::OrderEvent;
use domain::failure::FailureClass;
use domain::order::id::OrderId;
use domain::outcome::Outcome;
use domain::retry::RetryPolicy;
use domain::settlement::{Settlement, settle};
use queue::handler::{Job, Verdict};
use salesforce::Error;

use super::OrderWriter;
use super::question::is_answer;
use crate::outcome::of_error;

impl OrderWriter {
    /// Works on what of a batch may go, and lets the rest wait without an attempt.
    pub(super) async fn admit(&self, jobs: &[Arc<Job<OrderEvent>>]) -> Vec<Verdict> {
        let is_replay = |job: &Arc<Job<OrderEvent>>| job.is_replay();
        let replays = jobs.iter().filter(|job| is_replay(job)).count();
        let pass = match self.gate.enter(replays < jobs.len(), replays > 0).await {
            Ok(pass) => pass,
            Err(outage) => {
                let pause = settle(&outage, 0, &RetryPolicy::default());
                return jobs.iter().map(|_| Verdict::of(pause.clone())).collect();
            }
        };
        let wait = pass.replays_wait;
        let admitted: Vec<&Arc<Job<OrderEvent>>> =
            jobs.iter().filter(|job| wait.is_none() || !is_replay(job)).collect();
        let verdicts = if admitted.is_empty() { Vec::new() } else { self.work_on(&admitted).await };
        self.gate.leave(pass, self.metrics.take_calls(), &verdicts).await;
        let mut verdicts = verdicts.into_iter();
        jobs.iter()
            .filter_map(|job| match wait {
                Some(after) if is_replay(job) => Some(Verdict::of(Settlement::Again { after })),
                Some(_) | None => verdicts.next(),
            })
            .collect()
    }

    /// What it means for every order of a request that the request failed as a whole. A lost answer is charged to the orders
    /// only if the org answers anything at all; an org that hangs is away.
    pub(super) async fn judge(&self, error: &Error, sent: Time, first: Option<&OrderId>) -> Outcome {
        let outcome = of_error(error, self.probes());
        if !matches!(&outcome, Outcome::Failed(failure) if failure.class == FailureClass::Ambiguous) {
            return outcome;
        }
        let mut subject = DefaultHasher::new();
        first.map(OrderId::as_str).hash(&mut subject);
        let mut judgement = self.gate.lost(sent, subject.finish());
        if judgement == Judgement::Ask {
            let answer = self.asking().limits().await.map(drop);
            judgement = self.gate.asked(is_answer(&answer));
        }
        match judgement {
            Judgement::Own | Judgement::Ask => outcome,
            Judgement::Away => self.silence(error, FailureClass::Ambiguous),
        }
    }
}
