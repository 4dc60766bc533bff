//! What the gate shows: the allocation, when it is spent, and the breaker.

use domain::breaker::State;
use domain::quota::{Forecast, Usage};
use prometheus::{Gauge, IntGauge, IntGaugeVec, Opts, Registry};

/// The gauges of the way to Salesforce.
pub(crate) struct Gauges {
    used: IntGaugeVec,
    limit: IntGaugeVec,
    left: IntGauge,
    own_per_hour: IntGauge,
    others_per_hour: IntGauge,
    exhausted_in: Gauge,
    replays_wait: IntGauge,
    breaker: IntGaugeVec,
}

/// The allocation of API calls, among the org's quotas.
const API_CALLS: &str = "api_calls";

impl Gauges {
    /// Registers everything.
    ///
    /// # Errors
    /// A name is registered twice, which is a bug.
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let by = |name: &str, help: &str, label: &str| IntGaugeVec::new(Opts::new(name, help), &[label]);
        let gauges = Self {
            used: by("quota_used", "Used of the org's allocation for 24 hours, as the fleet was told last.", "quota")?,
            limit: by("quota_limit", "The org's allocation for 24 hours, as the fleet was told last.", "quota")?,
            left: IntGauge::new("quota_budget_left", "API calls left for this fleet above its reserve.")?,
            own_per_hour: IntGauge::new("quota_own_calls_per_hour", "API calls of this fleet in the last hour.")?,
            others_per_hour: IntGauge::new(
                "quota_others_calls_per_hour",
                "By how much the org's count of API calls grows in an hour beyond this fleet's own.",
            )?,
            exhausted_in: Gauge::new(
                "quota_exhausted_in_seconds",
                "Seconds until this fleet's budget is spent at the rate of the last hour; +Inf while the count does not grow.",
            )?,
            replays_wait: IntGauge::new("replays_wait", "1 while replays leave the org's allocation to new orders.")?,
            breaker: by("breaker_state", "0 closed, 1 half open, 2 open.", "target")?,
        };
        let Self { used, limit, left, own_per_hour, others_per_hour, exhausted_in, replays_wait, breaker } = &gauges;
        for collector in [
            Box::new(used.clone()) as Box<dyn prometheus::core::Collector>,
            Box::new(limit.clone()),
            Box::new(left.clone()),
            Box::new(own_per_hour.clone()),
            Box::new(others_per_hour.clone()),
            Box::new(exhausted_in.clone()),
            Box::new(replays_wait.clone()),
            Box::new(breaker.clone()),
        ] {
            registry.register(collector)?;
        }
        gauges.breaker(State::Closed);
        gauges.exhausted_in.set(f64::INFINITY);
        Ok(gauges)
    }

    /// What the fleet was told, and what follows from it.
    pub(super) fn spending(&self, usage: Option<Usage>, forecast: Option<Forecast>) {
        let Some((usage, forecast)) = usage.zip(forecast) else { return };
        self.used.with_label_values(&[API_CALLS]).set(gauge(usage.used));
        self.limit.with_label_values(&[API_CALLS]).set(gauge(usage.limit));
        self.left.set(gauge(forecast.left));
        self.own_per_hour.set(gauge(forecast.own_per_hour));
        self.others_per_hour.set(gauge(forecast.others_per_hour));
        self.exhausted_in.set(forecast.spent_in.map_or(f64::INFINITY, |time| time.as_secs_f64()));
    }

    pub(super) fn replays_wait(&self, wait: bool) {
        self.replays_wait.set(i64::from(wait));
    }

    pub(super) fn breaker(&self, state: State) {
        self.breaker.with_label_values(&["salesforce"]).set(state as i64);
    }
}

fn gauge(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
