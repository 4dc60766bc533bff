//! Whether a batch may go to Salesforce now: the org's allocation, and whether the org is there at all.
//!
//! `domain` decides ([`domain::quota`], [`domain::breaker`]), the fleet's memory is in Redis ([`ledger::budget`]), and this
//! module asks one and tells the other. It asks Salesforce nothing: what it knows came with answers. While Redis is away each
//! process goes by what it was told itself.
//!
//! A batch that may not go is not claimed, so it costs no attempt and no call. Who waits asks Redis again after at most
//! [`ASK_AGAIN`], because another process may have learned that things are well.

mod gauges;
mod settings;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use domain::breaker::{Breaker, Judgement, Questions, State};
use domain::failure::{Failure, FailureClass, Reason};
use domain::outcome::Outcome;
use domain::quota::{Class, Decision, Reserve, Spending, Time, Usage};
use domain::settlement::Settlement;
use ledger::budget::{Begun, Budget};
use queue::handler::Verdict;
use salesforce::Client;
use service::{Health, Lifecycle};
use tokio::time::Instant;

pub(crate) use self::gauges::Gauges;
pub(crate) use self::settings::QuotaArgs;

/// How long a batch waits at most before it asks the fleet's memory again.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// The shortest wait.
const SOON: Duration = Duration::from_millis(50);

/// How often the forecast is made anew.
const FORECAST: Duration = Duration::from_secs(15);

/// The allocation, among what `/ready` tells.
const QUOTA: &str = "salesforce_quota";

/// The org, among what `/ready` tells.
const ORG: &str = "salesforce";

/// How patient the gate is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GateSettings {
    /// What of the allocation is left to others, and to new orders.
    pub reserve: Reserve,
    /// How old a count may be before one request looks again.
    pub quota_probe: Duration,
    /// The longest pause between two looks at an org that is away.
    pub outage_probe: Duration,
    /// The longest that a batch takes.
    pub longest: Duration,
}

/// What this process knows by itself.
#[derive(Debug, Default)]
struct Own {
    /// What its own answers told.
    usage: Option<Usage>,
    /// Its batches under way.
    in_flight: u64,
    /// When it let a batch look at a spent allocation by itself.
    looked_at: Option<Time>,
    /// What was away last.
    outage: Option<Failure>,
    replays_wait: bool,
}

/// The way to Salesforce.
pub struct Gate {
    settings: GateSettings,
    budget: Budget,
    client: Client,
    health: Health,
    gauges: Gauges,
    started: Instant,
    breaker: Mutex<Breaker>,
    questions: Mutex<Questions>,
    own: Mutex<Own>,
}

/// A batch that may go.
#[derive(Debug)]
pub(crate) struct Pass {
    request: String,
    /// How long the replays of the batch wait; they do not go.
    pub(crate) replays_wait: Option<Duration>,
    /// Whether it is the fleet's one look at an org that was away.
    looks: bool,
}

impl Gate {
    /// A gate before the org that this client speaks to.
    pub(crate) fn new(
        settings: GateSettings,
        budget: Budget,
        client: Client,
        gauges: Gauges,
        lifecycle: &Lifecycle,
    ) -> Self {
        Self {
            settings,
            budget,
            client,
            health: lifecycle.health().clone(),
            gauges,
            started: Instant::now(),
            breaker: Mutex::default(),
            questions: Mutex::default(),
            own: Mutex::default(),
        }
    }

    /// Makes the forecast anew every [`FORECAST`], until the process drains.
    pub(crate) fn follow(self: &std::sync::Arc<Self>, lifecycle: &Lifecycle) {
        let (this, draining) = (std::sync::Arc::clone(self), lifecycle.draining().clone());
        lifecycle.spawn_job("forecast", async move {
            loop {
                tokio::select! {
                    () = draining.cancelled() => break,
                    () = tokio::time::sleep(FORECAST) => {}
                }
                if let Ok(spending) = this.budget.spending().await {
                    this.tell_spending(&spending, since_1970());
                }
            }
        });
    }

    fn tell_spending(&self, spending: &Spending, now: Time) {
        let forecast = spending.forecast(&self.settings.reserve, now);
        self.gauges.spending(spending.usage, forecast);
    }

    /// Lets a batch go, or says what everything waits for.
    pub(crate) async fn enter(&self, new: bool, replays: bool) -> Result<Pass, Outcome> {
        let looks = self.look_at_the_org().await?;
        let request = uuid::Uuid::new_v4().simple().to_string();
        let entered = self.spend(&request, new, replays).await;
        if entered.is_err() {
            self.ends(&request, 0).await;
            if looks {
                self.look_is_over().await;
            }
        }
        entered.map(|replays_wait| Pass { request, replays_wait, looks })
    }

    /// While the org is away one batch of the fleet goes at a time, and tells whether it is back.
    async fn look_at_the_org(&self) -> Result<bool, Outcome> {
        if self.breaker().state(self.started.elapsed()) == State::Closed {
            return Ok(false);
        }
        if let Ok(Some(left)) = self.budget.probes(ORG, self.settings.longest).await {
            let failure = self.own().outage.clone();
            let failure = failure.unwrap_or_else(|| Failure::transient(Reason::SalesforceUnavailable, "away"));
            let retry_after = left.min(self.settings.outage_probe).min(ASK_AGAIN).max(SOON);
            return Err(Outcome::Outage { failure, retry_after });
        }
        // Without Redis everybody looks for himself.
        self.gauges.breaker(State::HalfOpen);
        Ok(true)
    }

    async fn look_is_over(&self) {
        if let Err(error) = self.budget.probed(ORG).await {
            tracing::debug!(%error, "the fleet's look at the org ends by itself");
        }
    }

    /// Whether the allocation lets a batch go; how long its replays wait where only they do.
    async fn spend(&self, request: &str, new: bool, replays: bool) -> Result<Option<Duration>, Outcome> {
        let begun = self.begins(request).await;
        let now = begun.now;
        let decide =
            |class, spending: &Spending| spending.decide(class, &self.settings.reserve, now, self.settings.quota_probe);
        if decide(Class::Replay, &begun.spending) == Decision::Go {
            self.nobody_waits();
            return Ok(None);
        }
        if !replays && decide(Class::New, &begun.spending) == Decision::Go {
            return Ok(None);
        }
        // What the fleet has called tells when there is room again; it is read only where somebody has to wait.
        let spending = match self.budget.spending().await {
            Ok(known) => Spending { own: known.own, past: known.past, ..begun.spending.clone() },
            Err(_) => begun.spending.clone(),
        };
        self.tell_spending(&spending, now);
        if new {
            match decide(Class::New, &spending) {
                Decision::Go => {}
                Decision::Look => {
                    if let Some(left) = self.somebody_looks(now).await {
                        return Err(self.waits(&spending, now, now + left, None));
                    }
                }
                Decision::Wait { until, moves } => return Err(self.waits(&spending, now, until, moves)),
            }
        }
        if !replays {
            return Ok(None);
        }
        let until = match decide(Class::Replay, &spending) {
            Decision::Go => return Ok(None),
            Decision::Wait { until, .. } => until,
            // New orders look, where there are some.
            Decision::Look if new => now + ASK_AGAIN,
            Decision::Look => match self.somebody_looks(now).await {
                None => return Ok(None),
                Some(left) => now + left,
            },
        };
        self.replays_wait(&spending, until);
        Ok(Some(until.saturating_sub(now).clamp(SOON, ASK_AGAIN)))
    }

    async fn begins(&self, request: &str) -> Begun {
        let under_way = {
            let mut own = self.own();
            own.in_flight += 1;
            own.in_flight
        };
        if let Ok(begun) = self.budget.begins(request, self.settings.longest).await {
            return begun;
        }
        // Redis is away, so the claims of the batch will say so; until then this process goes by what it knows.
        let spending = Spending { usage: self.own().usage, in_flight: under_way, ..Spending::default() };
        Begun { now: since_1970(), spending }
    }

    /// Takes the fleet's one look at a spent allocation. How long to wait, when it is somebody else's.
    async fn somebody_looks(&self, now: Time) -> Option<Duration> {
        if let Ok(left) = self.budget.probes(QUOTA, self.settings.quota_probe).await {
            return left.map(|left| left.max(SOON));
        }
        let mut own = self.own();
        let since = own.looked_at.map(|at| now.saturating_sub(at));
        let left = since.and_then(|since| self.settings.quota_probe.checked_sub(since)).filter(|left| !left.is_zero());
        if left.is_none() {
            own.looked_at = Some(now);
        }
        left
    }

    fn waits(&self, spending: &Spending, now: Time, until: Time, moves: Option<Time>) -> Outcome {
        let (used, limit) = spending.usage.map(|usage| (usage.used, usage.limit)).unwrap_or_default();
        let ceiling = self.settings.reserve.ceiling(Class::New, limit);
        let then = match moves {
            Some(moves) => format!("calls of this fleet leave the window of 24 hours at {}", clock(moves)),
            None => "nothing is known of when calls leave the window of 24 hours".to_owned(),
        };
        let message = format!(
            "{used} of the org's {limit} API calls are used and this fleet goes to {ceiling}: it waits until {}, then one \
             request looks ({then})",
            clock(until)
        );
        self.health.notice(QUOTA, Some(message.clone()));
        let retry_after = until.saturating_sub(now).clamp(SOON, ASK_AGAIN);
        let class = FailureClass::Throttled { retry_after: Some(until.saturating_sub(now)) };
        Outcome::Outage { failure: Failure::new(class, Reason::QuotaExhausted, message), retry_after }
    }

    fn replays_wait(&self, spending: &Spending, until: Time) {
        let (used, limit) = spending.usage.map(|usage| (usage.used, usage.limit)).unwrap_or_default();
        let ceiling = self.settings.reserve.ceiling(Class::Replay, limit);
        let message = format!(
            "{used} of the org's {limit} API calls are used: replays, which go to {ceiling}, wait until {} at least and leave \
             the rest to new orders",
            clock(until)
        );
        if !std::mem::replace(&mut self.own().replays_wait, true) {
            tracing::warn!("{message}");
        }
        self.gauges.replays_wait(true);
        self.health.notice(QUOTA, Some(message));
    }

    fn nobody_waits(&self) {
        if std::mem::replace(&mut self.own().replays_wait, false) {
            tracing::info!("replays go on");
        }
        self.gauges.replays_wait(false);
        self.health.notice(QUOTA, None);
    }

    /// A batch has come back.
    pub(crate) async fn leave(&self, pass: Pass, calls: u64, verdicts: &[Verdict]) {
        self.ends(&pass.request, calls).await;
        let outage = verdicts.iter().find_map(|verdict| match &verdict.settlement {
            Settlement::Pause { after, failure } => Some((*after, failure)),
            Settlement::Ack | Settlement::Retry { .. } | Settlement::Again { .. } | Settlement::DeadLetter(_) => None,
        });
        match outage {
            // Another dependency than the org says nothing of it, and what the allocation means is said above.
            Some((_, failure)) if matches!(failure.reason, Reason::LedgerUnavailable | Reason::QuotaExhausted) => {
                if pass.looks {
                    self.look_is_over().await;
                }
            }
            // The batches that were under way when it opened say the same once more.
            Some(_) if !pass.looks && self.breaker().state(self.started.elapsed()) != State::Closed => {}
            Some((after, failure)) => {
                let pause = self.breaker().opens(self.started.elapsed(), self.settings.outage_probe, after);
                self.own().outage = Some(failure.clone());
                self.gauges.breaker(State::Open);
                let message = format!("{}; looked at again at {}", failure.message, clock(since_1970() + pause));
                self.health.notice(ORG, Some(message));
                if let Err(error) = self.budget.hold(ORG, pause).await {
                    tracing::debug!(%error, "each process looks at the org by itself");
                }
            }
            None => {
                if pass.looks {
                    self.look_is_over().await;
                }
            }
        }
    }

    async fn ends(&self, request: &str, calls: u64) {
        let usage = self.client.usage().filter(|_| calls > 0);
        {
            let mut own = self.own();
            own.in_flight = own.in_flight.saturating_sub(1);
            if let Some(usage) = usage {
                let told = Usage { used: usage.used, limit: usage.limit, at: since_1970() };
                own.usage = Some(own.usage.map_or(told, |known| known.or_newer(told)));
            }
        }
        let told = usage.map(|usage| (usage.used, usage.limit));
        if let Err(error) = self.budget.ends(request, calls, told).await {
            tracing::debug!(%error, "the fleet is not told what was spent; the next answer tells");
        }
    }

    /// The time of now, for [`Gate::lost`].
    pub(crate) fn now(&self) -> domain::breaker::Time {
        self.started.elapsed()
    }

    /// The org answered a request that writes.
    pub(crate) fn answered(&self) {
        let now = self.started.elapsed();
        let was = {
            let mut breaker = self.breaker();
            let was = breaker.state(now);
            breaker.answered(now);
            was
        };
        if was != State::Closed {
            self.own().outage = None;
            self.gauges.breaker(State::Closed);
            self.health.notice(ORG, None);
        }
    }

    /// The answer to a request was lost; what that means.
    pub(crate) fn lost(&self, sent: domain::breaker::Time, subject: u64) -> Judgement {
        self.breaker().lost(sent, subject)
    }

    /// Whether the org answered a cheap question after that.
    pub(crate) fn asked(&self, answered: bool) -> Judgement {
        self.breaker().asked(answered)
    }

    /// The org answered a question, which changes nothing.
    pub(crate) fn answered_question(&self) {
        let now = self.now();
        self.questions.lock().unwrap_or_else(PoisonError::into_inner).answered(now);
    }

    /// The answer to a question that was asked then was lost; what that means.
    pub(crate) fn lost_question(&self, asked: domain::breaker::Time) -> Judgement {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner).lost(asked)
    }

    /// How long to leave an org alone that is away.
    pub(crate) fn pause(&self) -> Duration {
        self.breaker().pause(self.settings.outage_probe)
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::disallowed_methods, reason = "an operator is told the time of day")]
fn since_1970() -> Time {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The time of day, as an operator reads it.
fn clock(time: Time) -> String {
    let minutes = time.as_secs() / 60 % (24 * 60);
    format!("{:02}:{:02}:{:02} UTC", minutes / 60, minutes % 60, time.as_secs() % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_by_the_clock() {
        assert_eq!(clock(Time::from_secs(1_790_000_123)), "14:15:23 UTC");
        assert_eq!(clock(Time::ZERO), "00:00:00 UTC");
    }
}
