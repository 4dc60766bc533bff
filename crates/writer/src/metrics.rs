//! What the writer counts. Names follow Prometheus: base units, `_total` for counters; ids are never labels. The registry
//! puts `causeway_` in front.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::atlas::{Atlas, Surface};
use domain::failure::{Failure, Reason};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};
use queue::error::Error;
use queue::handler::{Observer, OpenLetters};
use queue::lanes::Pace;
use queue::topology::Queue;
use salesforce::{ApiUsage, CallEnd, CallObserver, Client, Operation};
use service::Health;

/// The org, among what a process depends on.
const DEPENDENCY: &str = "salesforce";

/// How Salesforce's answers end a call; the values of the label `status`.
const ENDS: [CallEnd; 5] =
    [CallEnd::Answered, CallEnd::Refused, CallEnd::Failed, CallEnd::Unreachable, CallEnd::AnswerLost];

/// The codes that the writer's resources answer with; the values of the label `code`.
fn writers_codes() -> impl Iterator<Item = &'static str> {
    Atlas::codes().iter().filter(|code| code.surface == Surface::Rest).map(|code| code.code.as_str())
}

/// The counters, and the readiness that follows from them.
pub struct Metrics {
    health: Health,
    received: IntCounter,
    settled: IntCounterVec,
    refused: IntCounterVec,
    resolved: IntCounterVec,
    takeovers: IntCounterVec,
    owned: IntGauge,
    stalled: IntGaugeVec,
    batch_orders: Histogram,
    settle_seconds: Histogram,
    waiting: IntGauge,
    in_flight: IntGauge,
    lanes_waiting: IntGauge,
    oldest_order: IntGauge,
    blocked: IntGauge,
    batch_limit: IntGauge,
    in_flight_limit: IntGauge,
    letters_open: IntGauge,
    overflowed: IntGauge,
    keys_blocked: IntGauge,
    oldest_letter: IntGauge,
    paused: IntGaugeVec,
    calls: IntCounterVec,
    call_seconds: HistogramVec,
    /// API calls since somebody took the number.
    calls_made: AtomicU64,
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
            received: IntCounter::new("writer_received_total", "Deliveries taken from RabbitMQ.")?,
            settled: counter(
                "writer_settled_total",
                "Orders by how they ended: written, rejected, already, dead, held; or overflowed, which is no end: the order \
                 waits in the journal for room in its customer's lane, and ends later.",
                &["settlement"],
            )?,
            refused: counter("writer_refused_total", "Graphs that Salesforce refused, by its code.", &["code"])?,
            resolved: counter(
                "writer_unknown_resolved_total",
                "Orders whose answer was lost, by what the look-up found: done, not_done, conflict.",
                &["verdict"],
            )?,
            takeovers: counter(
                "partition_takeovers_total",
                "Partitions taken over, by cause: first (nobody is known to have had it), handed_over (whoever had it had \
                 finished), outage (had let go of it in an outage), lost (was lost), stalled (it was opened again because \
                 it delivered nothing), regained (the ledger had forgotten whose it is).",
                &["cause"],
            )?,
            owned: IntGauge::new("partitions_owned", "Partitions that this process is active on, as far as it knows.")?,
            stalled: IntGaugeVec::new(
                Opts::new(
                    "partition_stalled",
                    "1 while a partition has messages and delivers none, although its channels were opened again; the log \
                     says what to do. Every writer that is subscribed tells it: aggregate with max.",
                ),
                &["partition"],
            )?,
            batch_orders: Histogram::with_opts(
                HistogramOpts::new("writer_batch_orders", "Orders per request.")
                    .buckets(vec![1.0, 2.0, 5.0, 10.0, 14.0, 25.0, 50.0, 75.0]),
            )?,
            settle_seconds: Histogram::with_opts(
                HistogramOpts::new(
                    "writer_settle_seconds",
                    "Seconds from an order's being handed on by ingest to its being written, rejected or dead, by the \
                     clocks of both and to the second. Without released letters, which waited for an operator.",
                )
                .buckets(vec![1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0, 21600.0]),
            )?,
            waiting: IntGauge::new("orders_waiting", "Orders that were taken and wait for their turn.")?,
            in_flight: IntGauge::new("orders_in_flight", "Orders that are worked on.")?,
            lanes_waiting: IntGauge::new(
                "lanes_waiting",
                "Customers whose next order is tried again at a later time; their others wait behind it.",
            )?,
            oldest_order: IntGauge::new(
                "oldest_order_timestamp_seconds",
                "When the oldest order that this process has in hand was handed on to its partition, in seconds since 1970, \
                 whatever it waits for; 0 without one. Released letters do not count. Its age: time() - min(this > 0).",
            )?,
            blocked: IntGauge::new(
                "connection_blocked",
                "1 while RabbitMQ takes no messages from this process, for want of memory or disk (an alarm). It says so only to \
                 who has tried since.",
            )?,
            batch_limit: IntGauge::new(
                "batch_orders_limit",
                "Most orders that one request may carry now: fewer while Salesforce refuses many, or is slow.",
            )?,
            in_flight_limit: IntGauge::new(
                "batches_in_flight_limit",
                "Most batches that may be in flight at once now: fewer while records are locked, or Salesforce is slow or \
                 busy.",
            )?,
            letters_open: IntGauge::new(
                "letters_open",
                "Open letters in the journal, of the whole fleet: every writer tells the same number. Aggregate with max, \
                 never with sum.",
            )?,
            overflowed: IntGauge::new(
                "orders_overflowed",
                "Orders that wait in the journal for room in their customer's lane and come back by themselves, of the whole \
                 fleet; they are no letters_open. Aggregate with max, never with sum.",
            )?,
            keys_blocked: IntGauge::new(
                "keys_blocked",
                "Customers whose orders wait behind an open letter, of the whole fleet. Aggregate with max, never with sum.",
            )?,
            oldest_letter: IntGauge::new(
                "oldest_letter_timestamp_seconds",
                "When the oldest open letter of the fleet was written, in seconds since 1970; 0 when none is open. Its age: \
                 time() - max(this) where this > 0.",
            )?,
            paused: IntGaugeVec::new(Opts::new("intake_paused", "1 while intake is paused."), &["reason"])?,
            calls: counter("salesforce_calls_total", "API calls, by how they ended.", &["operation", "status"])?,
            calls_made: AtomicU64::new(0),
            call_seconds: HistogramVec::new(
                HistogramOpts::new("salesforce_call_seconds", "How long API calls took.")
                    .buckets(prometheus::exponential_buckets(0.01, 2.0, 14)?),
                &["operation"],
            )?,
        };
        let Self {
            health: _,
            received,
            settled,
            refused,
            resolved,
            takeovers,
            owned,
            stalled,
            batch_orders,
            settle_seconds,
            waiting,
            in_flight,
            lanes_waiting,
            oldest_order,
            blocked,
            batch_limit,
            in_flight_limit,
            letters_open,
            overflowed,
            keys_blocked,
            oldest_letter,
            paused,
            calls,
            call_seconds,
            calls_made: _,
        } = &metrics;
        for collector in [
            Box::new(received.clone()) as Box<dyn prometheus::core::Collector>,
            Box::new(settled.clone()),
            Box::new(refused.clone()),
            Box::new(resolved.clone()),
            Box::new(takeovers.clone()),
            Box::new(owned.clone()),
            Box::new(stalled.clone()),
            Box::new(batch_orders.clone()),
            Box::new(settle_seconds.clone()),
            Box::new(waiting.clone()),
            Box::new(in_flight.clone()),
            Box::new(lanes_waiting.clone()),
            Box::new(oldest_order.clone()),
            Box::new(blocked.clone()),
            Box::new(batch_limit.clone()),
            Box::new(in_flight_limit.clone()),
            Box::new(letters_open.clone()),
            Box::new(overflowed.clone()),
            Box::new(keys_blocked.clone()),
            Box::new(oldest_letter.clone()),
            Box::new(paused.clone()),
            Box::new(calls.clone()),
            Box::new(call_seconds.clone()),
        ] {
            registry.register(collector)?;
        }
        metrics.begin_at_zero();
        Ok(metrics)
    }

    /// Registers `salesforce_api_calls_left` and `salesforce_api_calls_limit`, which say what this client was told last.
    ///
    /// # Errors
    /// A name is registered twice, which is a bug.
    pub fn follow_allocation(registry: &Registry, client: Client) -> prometheus::Result<()> {
        registry.register(Box::new(Allocation::new(move || client.usage())?))
    }

    /// A rate can be told of a counter only from its zero on.
    fn begin_at_zero(&self) {
        for settlement in ["written", "rejected", "already", "dead", "held", "overflowed"] {
            self.settled.with_label_values(&[settlement]).inc_by(0);
        }
        for cause in ["first", "handed_over", "outage", "lost", "stalled", "regained"] {
            self.takeovers.with_label_values(&[cause]).inc_by(0);
        }
        for verdict in ["done", "not_done", "conflict"] {
            self.resolved.with_label_values(&[verdict]).inc_by(0);
        }
        for code in writers_codes().chain(["other"]) {
            self.refused.with_label_values(&[code]).inc_by(0);
        }
        for operation in Operation::ALL {
            for end in ENDS {
                self.calls.with_label_values(&[operation.as_str(), end.as_str()]).inc_by(0);
            }
        }
    }

    /// How many API calls were made since this was asked last.
    pub(crate) fn take_calls(&self) -> u64 {
        self.calls_made.swap(0, Ordering::Relaxed)
    }

    /// An order ended.
    pub(crate) fn settled(&self, settlement: &str) {
        self.settled.with_label_values(&[settlement]).inc();
    }

    /// A graph was refused; codes that are not catalogued count as `other`.
    pub(crate) fn refused(&self, code: &str) {
        let code = writers_codes().find(|known| *known == code).unwrap_or("other");
        self.refused.with_label_values(&[code]).inc();
    }

    /// An unknown order was looked up.
    pub(crate) fn resolved(&self, verdict: &str) {
        self.resolved.with_label_values(&[verdict]).inc();
    }

    /// A partition was taken again that was this process's already.
    pub(crate) fn regained(&self) {
        self.takeovers.with_label_values(&["regained"]).inc();
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

    fn settled(&self, settlement: &'static str, age: Option<Duration>) {
        // Written, rejected, already and dead are counted where they are decided.
        if settlement == "held" || settlement == "overflowed" {
            Self::settled(self, settlement);
        } else if let Some(age) = age {
            self.settle_seconds.observe(age.as_secs_f64());
        }
    }

    fn lanes(&self, items: usize, waiting: usize, in_flight: usize) {
        self.waiting.set(gauge(items.saturating_sub(in_flight)));
        self.in_flight.set(gauge(in_flight));
        self.lanes_waiting.set(gauge(waiting));
    }

    fn oldest(&self, at: Option<u64>) {
        self.oldest_order.set(at.map_or(0, |at| i64::try_from(at).unwrap_or(i64::MAX)));
    }

    fn blocked(&self, blocked: bool) {
        self.blocked.set(i64::from(blocked));
    }

    fn pace(&self, pace: &Pace) {
        self.batch_limit.set(gauge(pace.orders()));
        self.in_flight_limit.set(gauge(pace.in_flight()));
    }

    fn owned(&self, queues: usize) {
        self.owned.set(gauge(queues));
    }

    fn took_over(&self, _: Queue, cause: &'static str) {
        self.takeovers.with_label_values(&[cause]).inc();
    }

    fn stalled(&self, queue: Queue, stalled: bool) {
        self.stalled.with_label_values(&[&format!("{:02}", queue.index())]).set(i64::from(stalled));
    }

    fn letters(&self, open: OpenLetters) {
        let OpenLetters { letters, blocked_customers, oldest_at, overflowed } = open;
        self.overflowed.set(gauge(overflowed));
        self.letters_open.set(gauge(letters));
        self.keys_blocked.set(gauge(blocked_customers));
        self.oldest_letter.set(oldest_at.map_or(0, |at| i64::try_from(at / 1000).unwrap_or(i64::MAX)));
    }

    fn connected(&self, state: Result<(), &Error>) {
        queue::readiness::connected(&self.health, state);
    }

    fn paused(&self, why: Option<&Failure>) {
        self.paused.reset();
        if let Some(failure) = why {
            self.paused.with_label_values(&[failure.reason.as_str()]).set(1);
            if matches!(failure.reason, Reason::SalesforceUnavailable | Reason::AuthenticationFailed) {
                self.health.neighbour(DEPENDENCY, false);
            }
        }
        ledger::readiness::paused(&self.health, why);
    }
}

impl CallObserver for Metrics {
    fn call(&self, operation: Operation, end: CallEnd, duration: Duration) {
        self.health.neighbour(DEPENDENCY, matches!(end, CallEnd::Answered | CallEnd::Refused));
        if end != CallEnd::Unreachable {
            self.calls_made.fetch_add(1, Ordering::Relaxed);
        }
        self.calls.with_label_values(&[operation.as_str(), end.as_str()]).inc();
        self.call_seconds.with_label_values(&[operation.as_str()]).observe(duration.as_secs_f64());
    }
}

/// What is left of the org's allocation, as its last answer said; nothing before the first.
struct Allocation<U> {
    usage: U,
    left: IntGauge,
    limit: IntGauge,
}

impl<U: Fn() -> Option<ApiUsage> + Send + Sync> Allocation<U> {
    fn new(usage: U) -> prometheus::Result<Self> {
        let help = "API calls left of the org's allocation for 24 hours, by Salesforce's own count, as it said last.";
        let left = IntGauge::new("salesforce_api_calls_left", help)?;
        let help = "The org's allocation of API calls for 24 hours, as Salesforce said last.";
        let limit = IntGauge::new("salesforce_api_calls_limit", help)?;
        Ok(Self { usage, left, limit })
    }
}

impl<U: Fn() -> Option<ApiUsage> + Send + Sync> Collector for Allocation<U> {
    fn desc(&self) -> Vec<&Desc> {
        [self.left.desc(), self.limit.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(usage) = (self.usage)() else { return Vec::new() };
        let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.left.set(gauge(usage.remaining()));
        self.limit.set(gauge(usage.limit));
        [self.left.collect(), self.limit.collect()].concat()
    }
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;
    use service::Lifecycle;

    use super::*;

    fn registered() -> (Lifecycle, Metrics) {
        let lifecycle = Lifecycle::new();
        let metrics = Metrics::register(lifecycle.registry(), lifecycle.health().clone()).expect("registered");
        (lifecycle, metrics)
    }

    #[track_caller]
    fn says(lifecycle: &Lifecycle, lines: &[&str]) {
        let text = TextEncoder::new().encode_to_string(&lifecycle.registry().gather()).expect("text");
        for line in lines {
            assert!(text.lines().any(|told| told == *line), "{line} in {text}");
        }
    }

    #[test]
    fn counters_with_labels_are_there_from_zero() {
        let (lifecycle, _metrics) = registered();
        says(
            &lifecycle,
            &[
                "causeway_writer_settled_total{settlement=\"written\"} 0",
                "causeway_writer_settled_total{settlement=\"held\"} 0",
                "causeway_writer_unknown_resolved_total{verdict=\"not_done\"} 0",
                "causeway_writer_refused_total{code=\"other\"} 0",
                "causeway_writer_refused_total{code=\"UNABLE_TO_LOCK_ROW\"} 0",
                "causeway_salesforce_calls_total{operation=\"graph\",status=\"answer_lost\"} 0",
            ],
        );
    }

    #[test]
    fn an_order_that_finds_no_room_is_counted_and_is_no_letter() {
        let (lifecycle, metrics) = registered();
        says(&lifecycle, &["causeway_writer_settled_total{settlement=\"overflowed\"} 0"]);
        Observer::settled(&metrics, "overflowed", Some(Duration::from_secs(3)));
        let told = ["causeway_writer_settled_total{settlement=\"overflowed\"} 1", "causeway_letters_open 0"];
        says(&lifecycle, &told);
        says(&lifecycle, &["causeway_writer_settle_seconds_count 0"]);
    }

    #[test]
    fn orders_in_lanes_are_counted_once() {
        let (lifecycle, metrics) = registered();
        metrics.lanes(10, 2, 4);
        says(&lifecycle, &["causeway_orders_waiting 6", "causeway_orders_in_flight 4", "causeway_lanes_waiting 2"]);
    }

    #[test]
    fn the_oldest_order_in_hand_is_told_and_zero_without_one_and_an_alarm_while_it_lasts() {
        let (lifecycle, metrics) = registered();
        metrics.oldest(Some(1_790_000_123));
        metrics.blocked(true);
        let told = ["causeway_oldest_order_timestamp_seconds 1790000123", "causeway_connection_blocked 1"];
        says(&lifecycle, &told);
        metrics.oldest(None);
        metrics.blocked(false);
        says(&lifecycle, &["causeway_oldest_order_timestamp_seconds 0", "causeway_connection_blocked 0"]);
    }

    #[test]
    fn open_letters_are_told_with_when_the_oldest_was_written_and_zero_when_none_is_open() {
        let (lifecycle, metrics) = registered();
        metrics.letters(OpenLetters {
            letters: 902,
            blocked_customers: 40,
            oldest_at: Some(1_790_000_123_456),
            overflowed: 1_744,
        });
        says(
            &lifecycle,
            &[
                "causeway_letters_open 902",
                "causeway_orders_overflowed 1744",
                "causeway_keys_blocked 40",
                "causeway_oldest_letter_timestamp_seconds 1790000123",
            ],
        );
        metrics.letters(OpenLetters::default());
        says(&lifecycle, &["causeway_letters_open 0", "causeway_oldest_letter_timestamp_seconds 0"]);
    }

    #[test]
    fn the_age_of_an_order_is_told_when_it_is_settled_and_not_when_it_is_parked() {
        let (lifecycle, metrics) = registered();
        let observer: &dyn Observer = &metrics;
        observer.settled("acknowledged", Some(Duration::from_secs(4)));
        observer.settled("dead", Some(Duration::from_secs(40)));
        observer.settled("held", Some(Duration::from_secs(400)));
        observer.settled("acknowledged", None);
        says(
            &lifecycle,
            &[
                "causeway_writer_settle_seconds_bucket{le=\"5\"} 1",
                "causeway_writer_settle_seconds_count 2",
                "causeway_writer_settle_seconds_sum 44",
            ],
        );
    }

    #[test]
    fn an_org_that_does_not_answer_is_down_and_the_process_stays_ready() {
        let (lifecycle, metrics) = registered();
        lifecycle.health().set("rabbitmq", service::Condition::Ready);
        metrics.call(Operation::Graph, CallEnd::Unreachable, Duration::ZERO);
        says(&lifecycle, &["causeway_dependency_up{dependency=\"salesforce\"} 0"]);
        assert!(lifecycle.health().is_ready());
        metrics.call(Operation::Graph, CallEnd::Refused, Duration::ZERO);
        says(&lifecycle, &["causeway_dependency_up{dependency=\"salesforce\"} 1"]);
        metrics.paused(Some(&Failure::transient(Reason::AuthenticationFailed, "refused")));
        says(&lifecycle, &["causeway_dependency_up{dependency=\"salesforce\"} 0"]);
    }

    #[test]
    fn the_allocation_is_told_once_the_org_has_said_it() {
        let lifecycle = Lifecycle::new();
        let usage = std::sync::Arc::new(std::sync::Mutex::new(None));
        let said = std::sync::Arc::clone(&usage);
        let allocation = Allocation::new(move || *said.lock().expect("no panic")).expect("names");
        lifecycle.registry().register(Box::new(allocation)).expect("registered");
        assert!(!lifecycle.registry().gather().iter().any(|family| family.name().contains("api_calls")));
        *usage.lock().expect("no panic") = Some(ApiUsage { used: 30, limit: 100 });
        says(&lifecycle, &["causeway_salesforce_api_calls_left 70", "causeway_salesforce_api_calls_limit 100"]);
    }
}
