//! What `ingest` counts. Names follow Prometheus: base units, `_total` for counters; ids are never labels. The registry
//! puts `causeway_` in front.

use std::time::Duration;

use domain::failure::Failure;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use queue::error::Error;
use queue::handler::Observer;
use queue::topology::Queue;
use service::Health;

/// The counters, and the readiness that follows from them.
pub struct Metrics {
    health: Health,
    received: IntCounter,
    settled: IntCounterVec,
    waiting: IntGauge,
    in_flight: IntGauge,
    oldest_message: IntGauge,
    blocked: IntGauge,
    paused: IntGaugeVec,
    owned: IntGauge,
    takeovers: IntCounterVec,
    stalled: IntGaugeVec,
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// A name is registered twice, which is a bug.
    pub fn register(registry: &Registry, health: Health) -> prometheus::Result<Self> {
        let metrics = Self {
            health,
            received: IntCounter::new("ingest_received_total", "Messages taken from the inboxes.")?,
            settled: IntCounterVec::new(
                Opts::new(
                    "ingest_settled_total",
                    "Messages by how they ended: relayed, again (handed on before), refused (sent on to block its \
                     customer), dead (a letter of nobody).",
                ),
                &["settlement"],
            )?,
            waiting: IntGauge::new("orders_waiting", "Messages that were taken and wait for their turn.")?,
            in_flight: IntGauge::new("orders_in_flight", "Messages that are worked on.")?,
            oldest_message: IntGauge::new(
                "oldest_message_timestamp_seconds",
                "When the oldest message that this process has in hand was sent, as its sender says, in seconds since 1970; \
                 0 without one. Messages that do not say do not count. Its age: time() - min(this > 0).",
            )?,
            blocked: IntGauge::new(
                "connection_blocked",
                "1 while RabbitMQ takes no messages from this process, for want of memory or disk (an alarm). It says so only to \
                 who has tried since.",
            )?,
            paused: IntGaugeVec::new(Opts::new("intake_paused", "1 while intake is paused."), &["reason"])?,
            owned: IntGauge::new("inboxes_owned", "Inboxes that this process is active on, as far as it knows.")?,
            takeovers: IntCounterVec::new(
                Opts::new(
                    "inbox_takeovers_total",
                    "Inboxes taken over, by cause: first (nobody is known to have had it), handed_over (whoever had it had \
                     finished), outage (had let go of it in an outage), lost (was lost), stalled (it was opened again \
                     because it delivered nothing).",
                ),
                &["cause"],
            )?,
            stalled: IntGaugeVec::new(
                Opts::new(
                    "inbox_stalled",
                    "1 while an inbox has messages and delivers none, although its channels were opened again; the log \
                     says what to do. Every ingest that is subscribed tells it: aggregate with max.",
                ),
                &["inbox"],
            )?,
        };
        registry.register(Box::new(metrics.received.clone()))?;
        registry.register(Box::new(metrics.settled.clone()))?;
        registry.register(Box::new(metrics.waiting.clone()))?;
        registry.register(Box::new(metrics.in_flight.clone()))?;
        registry.register(Box::new(metrics.oldest_message.clone()))?;
        registry.register(Box::new(metrics.blocked.clone()))?;
        registry.register(Box::new(metrics.paused.clone()))?;
        registry.register(Box::new(metrics.owned.clone()))?;
        registry.register(Box::new(metrics.takeovers.clone()))?;
        registry.register(Box::new(metrics.stalled.clone()))?;
        // A rate can be told of a counter only from its zero on.
        for settlement in ["relayed", "again", "refused", "dead"] {
            metrics.settled.with_label_values(&[settlement]).inc_by(0);
        }
        for cause in ["first", "handed_over", "outage", "lost", "stalled"] {
            metrics.takeovers.with_label_values(&[cause]).inc_by(0);
        }
        Ok(metrics)
    }

    /// An order was handed on.
    pub(crate) fn relayed(&self) {
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

    fn settled(&self, settlement: &'static str, _: Option<Duration>) {
        // Acknowledged messages were counted as relayed or again.
        if matches!(settlement, "dead" | "refused") {
            self.count(settlement);
        }
    }

    fn lanes(&self, items: usize, _: usize, in_flight: usize) {
        let gauge = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.waiting.set(gauge(items.saturating_sub(in_flight)));
        self.in_flight.set(gauge(in_flight));
    }

    fn oldest(&self, at: Option<u64>) {
        self.oldest_message.set(at.map_or(0, |at| i64::try_from(at).unwrap_or(i64::MAX)));
    }

    fn blocked(&self, blocked: bool) {
        self.blocked.set(i64::from(blocked));
    }

    fn owned(&self, queues: usize) {
        self.owned.set(i64::try_from(queues).unwrap_or(i64::MAX));
    }

    fn took_over(&self, _: Queue, cause: &'static str) {
        self.takeovers.with_label_values(&[cause]).inc();
    }

    fn stalled(&self, queue: Queue, stalled: bool) {
        self.stalled.with_label_values(&[&format!("{:02}", queue.index())]).set(i64::from(stalled));
    }

    fn connected(&self, state: Result<(), &Error>) {
        queue::readiness::connected(&self.health, state);
    }

    fn paused(&self, why: Option<&Failure>) {
        self.paused.reset();
        if let Some(failure) = why {
            self.paused.with_label_values(&[failure.reason.as_str()]).set(1);
        }
        ledger::readiness::paused(&self.health, why);
    }
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;
    use service::Lifecycle;

    use super::*;

    #[test]
    fn every_settlement_is_there_from_zero_and_waiting_and_in_flight_add_up() {
        let lifecycle = Lifecycle::new();
        let metrics = Metrics::register(lifecycle.registry(), lifecycle.health().clone()).expect("registered");
        let text = || TextEncoder::new().encode_to_string(&lifecycle.registry().gather()).expect("text");
        for settlement in ["relayed", "again", "refused", "dead"] {
            let line = format!("causeway_ingest_settled_total{{settlement=\"{settlement}\"}} 0");
            assert!(text().contains(&line), "{line} in {}", text());
        }
        metrics.lanes(5, 1, 2);
        metrics.relayed();
        metrics.oldest(Some(1_790_000_123));
        metrics.blocked(true);
        for line in [
            "causeway_oldest_message_timestamp_seconds 1790000123",
            "causeway_connection_blocked 1",
            "causeway_orders_waiting 3",
            "causeway_orders_in_flight 2",
            "causeway_ingest_settled_total{settlement=\"relayed\"} 1",
        ] {
            assert!(text().contains(line), "{line} in {}", text());
        }
    }
}
