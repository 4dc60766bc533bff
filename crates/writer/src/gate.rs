//! Whether a batch may go to Salesforce now: the org's allocation, and whether the org is there at all.
//!
//! `domain` decides ([`domain::quota`], [`domain::breaker`]), the fleet's memory is in Redis ([`ledger::budget`]), and this
//! module asks one and tells the other. It asks Salesforce nothing: what it knows came with answers. While Redis is away each
//! process goes by what it was told itself.
//!
//! A batch that may not go is not claimed, so it costs no attempt and no call. Who waits asks Redis again after at most
//! [`ASK_AGAIN`], because another process may have learned that things are well.

mod allocation;
mod gauges;
mod probe;
mod settings;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use domain::breaker::{Breaker, Judgement, Questions, State};
use domain::failure::{Failure, Reason};
use domain::outcome::Outcome;
use domain::quota::{Reserve, Spending, Time, Usage};
use domain::settlement::Settlement;
use ledger::budget::Budget;
use queue::handler::Verdict;
use salesforce::Client;
use service::{Health, Lifecycle};
use tokio::time::Instant;

use self::allocation::Spent;
pub(crate) use self::gauges::Gauges;
pub(crate) use self::probe::Asked;
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
    /// At how many forecasts in a row nobody of the fleet minded the outage that this process knows of.
    unminded: u32,
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
    /// Whether it is the fleet's one look at a spent allocation.
    looks_at_quota: bool,
    began: Instant,
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
                this.forget_an_outage_that_nobody_minds().await;
            }
        });
    }

    /// A process without orders learns of no answer. Once nobody of the fleet has looked at the org or left it alone at two
    /// forecasts in a row, the outage is over, or nobody has any order: the next batch goes as ever, and finds out.
    async fn forget_an_outage_that_nobody_minds(&self) {
        let half_open = self.breaker().state(self.now()) == State::HalfOpen;
        let minded = !half_open || self.budget.is_probed(ORG).await.unwrap_or(true);
        let unminded = {
            let mut own = self.own();
            own.unminded = if minded { 0 } else { own.unminded + 1 };
            own.unminded
        };
        if unminded >= 2 {
            self.breaker().forgets();
            self.is_back();
        }
    }

    /// The org is not away any more, as far as this process knows.
    fn is_back(&self) {
        let mut own = self.own();
        (own.outage, own.unminded) = (None, 0);
        self.gauges.breaker(State::Closed);
        self.health.notice(ORG, None);
    }

    fn tell_spending(&self, spending: &Spending, now: Time) {
        let forecast = spending.forecast(&self.settings.reserve, now);
        self.gauges.spending(spending.usage, forecast);
    }

    /// Lets a batch go, or says what everything waits for.
    pub(crate) async fn enter(&self, new: bool, replays: bool) -> Result<Pass, Outcome> {
        let looks = self.look_at_the_org().await?;
        let began = Instant::now();
        let request = uuid::Uuid::new_v4().simple().to_string();
        match self.spend(&request, new, replays).await {
            Ok(Spent { replays_wait, looks: looks_at_quota }) => {
                Ok(Pass { request, replays_wait, looks, looks_at_quota, began })
            }
            Err(outage) => {
                self.ends(&request, 0, began).await;
                if looks {
                    self.look_is_over().await;
                }
                Err(outage)
            }
        }
    }

    /// While the org is away one batch of the fleet goes at a time, and tells whether it is back.
    async fn look_at_the_org(&self) -> Result<bool, Outcome> {
        if self.breaker().state(self.started.elapsed()) == State::Closed {
            return Ok(false);
        }
        self.take_the_look().await?;
        self.gauges.breaker(State::HalfOpen);
        Ok(true)
    }

    /// Takes the fleet's one look at an org that is away. Without Redis everybody looks for himself.
    async fn take_the_look(&self) -> Result<(), Outcome> {
        let Ok(Some(left)) = self.budget.probes(ORG, self.settings.longest).await else { return Ok(()) };
        let failure = self.own().outage.clone();
        let failure = failure.unwrap_or_else(|| {
            Failure::transient(Reason::SalesforceUnavailable, "another process has found that Salesforce is away")
        });
        let retry_after = left.min(self.settings.outage_probe).min(ASK_AGAIN).max(SOON);
        Err(Outcome::Outage { failure, retry_after })
    }

    async fn look_is_over(&self) {
        if let Err(error) = self.budget.probed(ORG).await {
            tracing::debug!(%error, "the fleet's look at the org ends by itself");
        }
    }

    /// A batch has come back.
    pub(crate) async fn leave(&self, pass: Pass, calls: u64, verdicts: &[Verdict]) {
        let told = self.ends(&pass.request, calls, pass.began).await;
        if pass.looks_at_quota {
            self.quota_look_is_over(calls, told).await;
        }
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
                self.opens(after, failure).await;
            }
            None => {
                if pass.looks {
                    self.look_is_over().await;
                }
            }
        }
    }

    /// Something said that the org is away. Returns how long it is left alone.
    async fn opens(&self, after: Duration, failure: &Failure) -> Duration {
        let pause = self.breaker().opens(self.started.elapsed(), self.settings.outage_probe, after);
        self.questions().away();
        self.own().outage = Some(failure.clone());
        self.gauges.breaker(State::Open);
        let message = format!("{}; looked at again at {}", failure.message, clock(since_1970() + pause));
        self.health.notice(ORG, Some(message));
        if let Err(error) = self.budget.hold(ORG, pause).await {
            tracing::debug!(%error, "each process looks at the org by itself");
        }
        pause
    }

    /// A request is over that began then; the fleet is told what it cost, and the count that came within it. Returns whether
    /// one came.
    async fn ends(&self, request: &str, calls: u64, began: Instant) -> bool {
        let usage = self.client.usage_since(began);
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
        usage.is_some()
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
            self.is_back();
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
        self.questions().answered(now);
    }

    fn answered_since(&self, time: domain::breaker::Time) -> bool {
        self.questions().answered_since(time)
    }

    /// The answer to a question that was asked then was lost; what that means.
    pub(crate) fn lost_question(&self, asked: domain::breaker::Time) -> Judgement {
        self.questions().lost(asked)
    }

    /// How long to leave an org alone that is away.
    pub(crate) fn pause(&self) -> Duration {
        self.breaker().pause(self.settings.outage_probe)
    }

    fn questions(&self) -> MutexGuard<'_, Questions> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner)
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
mod tests;
