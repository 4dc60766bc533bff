//! What `ingest` counts. Names follow Prometheus: base units, `_total` for counters; ids are never labels. The registry
//! puts `causeway_` in front.

use domain::failure::{Failure, Reason};
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use queue::error::Error;
use queue::handler::Observer;
use queue::topology::Queue;
use service::{Condition, Health};

/// The counters, and the readiness that follows from them.
pub struct Metrics {
    health: Health,
    received: IntCounter,
    settled: IntCounterVec,
    relayed: IntCounter,
    in_flight: IntGauge,
    paused: IntGaugeVec,
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// A name is registered twice, which is a bug.
    pub fn register(registry: &Registry, health: Health) -> prometheus::Result<Self> {
        let metrics = Self {
            health,
            received: IntCounter::new("received_total", "Messages taken from the inboxes.")?,
            settled: IntCounterVec::new(
                Opts::new(
                    "settled_total",
                    "Messages by how they ended: relayed, again (handed on before), refused (sent on to block its \
                     customer), dead (a letter of nobody).",
                ),
                &["settlement"],
            )?,
            relayed: IntCounter::new("relayed_total", "Orders handed on to a partition, confirmed.")?,
            in_flight: IntGauge::new("orders_in_flight", "Orders between taking and acknowledging.")?,
            paused: IntGaugeVec::new(Opts::new("intake_paused", "1 while intake is paused."), &["reason"])?,
        };
        registry.register(Box::new(metrics.received.clone()))?;
        registry.register(Box::new(metrics.settled.clone()))?;
        registry.register(Box::new(metrics.relayed.clone()))?;
        registry.register(Box::new(metrics.in_flight.clone()))?;
        registry.register(Box::new(metrics.paused.clone()))?;
        Ok(metrics)
    }

    /// An order was handed on.
    pub(crate) fn relayed(&self) {
        self.relayed.inc();
        self.count("relayed");
    }

    /// An order was handed on before.
    pub(crate) fn again(&self) {
        self.count("again");
    }

    fn count(&self, settlement: &str) {
        self.settled.with_label_values(&[settlement]).inc();
    }
}

impl Observer for Metrics {
    fn turned(&self) {
        self.health.beat();
    }

    fn received(&self, _: Queue) {
        self.received.inc();
    }

    fn settled(&self, settlement: &'static str) {
        // Acknowledged messages were counted as relayed or again.
        if matches!(settlement, "dead" | "refused") {
            self.count(settlement);
        }
    }

    fn lanes(&self, _: usize, _: usize, in_flight: usize) {
        self.in_flight.set(i64::try_from(in_flight).unwrap_or(i64::MAX));
    }

    fn connected(&self, state: Result<(), &Error>) {
        match state {
            Ok(()) => self.health.set("rabbitmq", Condition::Ready),
            Err(error) => self.health.not_ready("rabbitmq", error.to_string()),
        }
    }

    fn paused(&self, why: Option<&Failure>) {
        self.paused.reset();
        if let Some(failure) = why {
            self.paused.with_label_values(&[failure.reason.as_str()]).set(1);
        }
        // An org that is away is no reason to restart or unroute a process; a ledger that is away is one not to count on it.
        match why.filter(|failure| failure.reason == Reason::LedgerUnavailable) {
            Some(failure) => self.health.not_ready("redis", failure.message.as_str()),
            None => self.health.set("redis", Condition::Ready),
        }
    }
}
