//! Before a batch is worked on: whether it may go, and what a lost answer means.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use domain::breaker::{Judgement, Time};
use domain::event::OrderEvent;
use domain::failure::FailureClass;
use domain::order::id::OrderId;
use domain::outcome::Outcome;
use domain::retry::RetryPolicy;
use domain::settlement::{Settlement, settle};
use queue::handler::{Job, Verdict};
use salesforce::Error;

use super::question::is_answer;
use super::{OrderWriter, order_of};
use crate::accounts::AGAIN;
use crate::outcome::of_error;

impl OrderWriter {
    /// Works on what of a batch may go, and lets the rest wait without an attempt.
    pub(super) async fn admit(&self, jobs: &[Arc<Job<OrderEvent>>]) -> Vec<Verdict> {
        let replays = jobs.iter().filter(|job| job.is_replay()).count();
        let pass = match self.gate.enter(replays < jobs.len(), replays > 0).await {
            Ok(pass) => pass,
            Err(outage) => {
                let pause = settle(&outage, 0, &RetryPolicy::default());
                return jobs.iter().map(|_| Verdict::of(pause.clone())).collect();
            }
        };
        let replays_wait = pass.replays_wait;
        let (batch, waiting) = self.begin_batch(jobs, |job| job.is_replay() && replays_wait.is_some());
        let later = jobs.iter().map(|job| {
            let in_use = order_of(job).is_some_and(|order| waiting.contains(&order));
            replays_wait.filter(|_| job.is_replay()).or(in_use.then_some(AGAIN))
        });
        let later: Vec<Option<Duration>> = later.collect();
        let admitted: Vec<&Arc<Job<OrderEvent>>> =
            jobs.iter().zip(&later).filter(|(_, later)| later.is_none()).map(|(job, _)| job).collect();
        let verdicts = if admitted.is_empty() { Vec::new() } else { self.work_on(&admitted).await };
        drop(batch);
        self.gate.leave(pass, self.metrics.take_calls(), &verdicts).await;
        let mut verdicts = verdicts.into_iter();
        let verdict = |(job, later): (&Arc<Job<OrderEvent>>, Option<Duration>)| match later {
            Some(after) => Some(Verdict { alone: self.is_suspect(job), ..Verdict::of(Settlement::Again { after }) }),
            None => verdicts.next(),
        };
        jobs.iter().zip(later).filter_map(verdict).collect()
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
