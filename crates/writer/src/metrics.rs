//! What the writer counts. Names follow Prometheus: base units, `_total` for counters; ids are never labels. The registry
//! puts `causeway_` in front.

use std::time::Duration;

use domain::failure::{Failure, Reason};
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};
use queue::error::Error;
use queue::handler::Observer;
use queue::topology::Queue;
use salesforce::{CallEnd, CallObserver, Operation};
use service::{Condition, Health};

/// The counters, and the readiness that follows from them.
pub struct Metrics {
    health: Health,
    received: IntCounter,
    settled: IntCounterVec,
    refused: IntCounterVec,
    resolved: IntCounterVec,
    takeovers: IntCounter,
    batch_orders: Histogram,
    lanes: IntGaugeVec,
    letters_open: IntGauge,
    keys_blocked: IntGauge,
    paused: IntGaugeVec,
    calls: IntCounterVec,
    call_seconds: HistogramVec,
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// A name is registered twice, which is a bug.
    pub fn register(registry: &Registry, health: Health) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        let metrics = Self {
            health,
            received: IntCounter::new("received_total", "Deliveries taken from RabbitMQ.")?,
            settled: counter(
                "settled_total",
                "Orders by how they ended: written, rejected, already, dead, held.",
                &["settlement"],
            )?,
            refused: counter("refused_total", "Graphs that Salesforce refused, by its code.", &["code"])?,
            resolved: counter(
                "unknown_resolved_total",
                "Orders whose answer was lost, by what the look-up found: done, not_done.",
                &["verdict"],
            )?,
            takeovers: IntCounter::new("partition_takeovers_total", "Partitions taken over.")?,
            batch_orders: Histogram::with_opts(
                HistogramOpts::new("batch_orders", "Orders per request.")
                    .buckets(vec![1.0, 2.0, 5.0, 10.0, 14.0, 25.0, 50.0, 75.0]),
            )?,
            lanes: IntGaugeVec::new(
                Opts::new("lanes", "Orders in lanes: all, in flight, or lanes that wait for a time."),
                &["state"],
            )?,
            letters_open: IntGauge::new("letters_open", "Open letters in the journal.")?,
            keys_blocked: IntGauge::new("keys_blocked", "Customers with an open letter.")?,
            paused: IntGaugeVec::new(Opts::new("intake_paused", "1 while intake is paused."), &["reason"])?,
            calls: counter("salesforce_calls_total", "API calls, by how they ended.", &["operation", "status"])?,
            call_seconds: HistogramVec::new(
                HistogramOpts::new("salesforce_call_seconds", "How long API calls took.")
                    .buckets(prometheus::exponential_buckets(0.01, 2.0, 14)?),
                &["operation"],
            )?,
        };
        let Self {
            health: _, received, settled, refused, resolved, takeovers, batch_orders, lanes, letters_open, ..
        } = &metrics;
        let Self { keys_blocked, paused, calls, call_seconds, .. } = &metrics;
        for collector in [
            Box::new(received.clone()) as Box<dyn prometheus::core::Collector>,
            Box::new(settled.clone()),
            Box::new(refused.clone()),
            Box::new(resolved.clone()),
            Box::new(takeovers.clone()),
            Box::new(batch_orders.clone()),
            Box::new(lanes.clone()),
            Box::new(letters_open.clone()),
            Box::new(keys_blocked.clone()),
            Box::new(paused.clone()),
            Box::new(calls.clone()),
            Box::new(call_seconds.clone()),
        ] {
            registry.register(collector)?;
        }
        Ok(metrics)
    }

    /// An order ended.
    pub(crate) fn settled(&self, settlement: &str) {
        self.settled.with_label_values(&[settlement]).inc();
    }

    /// A graph was refused; codes that are not catalogued count as `other`.
    pub(crate) fn refused(&self, code: &str) {
        let code = salesforce::Catalogue::get(code).map_or("other", |_| code);
        self.refused.with_label_values(&[code]).inc();
    }

    /// An unknown order was looked up.
    pub(crate) fn resolved(&self, verdict: &str) {
        self.resolved.with_label_values(&[verdict]).inc();
    }

    /// A partition was taken over.
    pub(crate) fn took_over(&self) {
        self.takeovers.inc();
    }

    /// A request with so many orders goes out.
    pub(crate) fn batch(&self, orders: usize) {
        // A batch holds 75 at most; the conversion is exact.
        self.batch_orders.observe(f64::from(u32::try_from(orders).unwrap_or(u32::MAX)));
    }
}

fn gauge(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Observer for Metrics {
    fn turned(&self) {
        self.health.beat();
    }

    fn received(&self, _: Queue) {
        self.received.inc();
    }

    fn settled(&self, settlement: &'static str) {
        // Written, rejected, already and dead are counted where they are decided.
        if settlement == "held" {
            Self::settled(self, settlement);
        }
    }

    fn lanes(&self, items: usize, waiting: usize, in_flight: usize) {
        self.lanes.with_label_values(&["all"]).set(gauge(items));
        self.lanes.with_label_values(&["waiting"]).set(gauge(waiting));
        self.lanes.with_label_values(&["in_flight"]).set(gauge(in_flight));
    }

    fn letters(&self, open: usize, blocked_keys: usize) {
        self.letters_open.set(gauge(open));
        self.keys_blocked.set(gauge(blocked_keys));
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

impl CallObserver for Metrics {
    fn call(&self, operation: Operation, end: CallEnd, duration: Duration) {
        self.calls.with_label_values(&[operation.as_str(), end.as_str()]).inc();
        self.call_seconds.with_label_values(&[operation.as_str()]).observe(duration.as_secs_f64());
    }
}
