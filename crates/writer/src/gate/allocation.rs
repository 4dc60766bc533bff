//! The org's allocation of API calls: who may spend it, who waits, and who looks whether there is room again.

use std::time::Duration;

use domain::failure::{Failure, FailureClass, Reason};
use domain::outcome::Outcome;
use domain::quota::{Class, Decision, Spending, Time};
use ledger::budget::Begun;
use tokio::time::Instant;

use super::{ASK_AGAIN, Gate, QUOTA, SOON, clock, since_1970};

/// What the allocation lets a batch do.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    /// How long the replays of the batch wait; they do not go.
    pub(super) replays_wait: Option<Duration>,
    /// Whether it is the fleet's one look at a spent allocation.
    pub(super) looks: bool,
}

impl Gate {
    /// Whether a batch that has begun may make a further request that was not reckoned with.
    pub(crate) async fn goes_on(&self) -> Result<(), Outcome> {
        let request = uuid::Uuid::new_v4().simple().to_string();
        let spent = self.spend(&request, true, false).await;
        self.ends(&request, 0, Instant::now()).await;
        if spent.as_ref().is_ok_and(|spent| spent.looks) {
            self.quota_look_is_over(0, false).await;
        }
        spent.map(drop)
    }

    /// Whether the allocation lets a batch go; how long its replays wait where only they do.
    pub(super) async fn spend(&self, request: &str, new: bool, replays: bool) -> Result<Spent, Outcome> {
        let (begun, mut spent) = (self.begins(request).await, Spent::default());
        let now = begun.now;
        let decide =
            |class, spending: &Spending| spending.decide(class, &self.settings.reserve, now, self.settings.quota_probe);
        if decide(Class::Replay, &begun.spending) == Decision::Go {
            self.nobody_waits();
            return Ok(spent);
        }
        if !replays && decide(Class::New, &begun.spending) == Decision::Go {
            self.new_orders_go();
            return Ok(spent);
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
                Decision::Look => match self.somebody_looks(now).await {
                    None => spent.looks = true,
                    Some(left) => return Err(self.waits(&spending, now, now + left, None)),
                },
                Decision::Wait { until, moves } => return Err(self.waits(&spending, now, until, moves)),
            }
        }
        if !replays {
            return Ok(spent);
        }
        let until = match decide(Class::Replay, &spending) {
            Decision::Go => return Ok(spent),
            Decision::Wait { until, .. } => until,
            // New orders look, where there are some.
            Decision::Look if new => now + ASK_AGAIN,
            Decision::Look => match self.somebody_looks(now).await {
                None => return Ok(Spent { looks: true, ..spent }),
                Some(left) => now + left,
            },
        };
        self.replays_wait(&spending, until);
        spent.replays_wait = Some(until.saturating_sub(now).clamp(SOON, ASK_AGAIN));
        Ok(spent)
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
        if let Ok(left) = self.budget.probes(QUOTA, self.settings.longest).await {
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

    /// The look at a spent allocation has ended after so many calls. What it was told says when to look next; where calls told
    /// nothing nobody looks for a while; a look that made none is as if it had not been taken.
    pub(super) async fn quota_look_is_over(&self, calls: u64, told: bool) {
        let silent = calls > 0 && !told;
        let noted = if silent { self.budget.hold(QUOTA, ASK_AGAIN).await } else { self.budget.probed(QUOTA).await };
        if let Err(error) = noted {
            tracing::debug!(%error, "the fleet's look at the allocation ends by itself");
        }
        if !silent {
            self.own().looked_at = None;
        }
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

    /// New orders go, whatever replays do.
    fn new_orders_go(&self) {
        let message = self.own().replays_wait.then(|| {
            "replays wait for the org's API calls of the last 24 hours to become fewer; new orders go on".to_owned()
        });
        self.health.notice(QUOTA, message);
    }
}
