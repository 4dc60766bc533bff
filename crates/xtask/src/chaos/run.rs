//! The run: load and faults together, then a bounded time to drain, and only then the evidence that counts.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::try_join_all;
use tokio::time::{Instant, sleep};

use super::charges::{Charges, Losses};
use super::copies;
use super::doubles::{BusEvent, Doubles, doubles, folded, keys};
use super::history::histories;
use super::journal::{Entries, Journal};
use super::nameless;
use super::overlaps::{overlaps, unseen};
use super::programs::Place;
use super::publish::{Progress, publish};
use super::requests::RequestLog;
use super::schedule::{Fault, Service, Subject};
use super::sign_in::{Renewals, lost_renewals};
use super::stage::{DEADLINE, Stage};
use super::surroundings::{disturb_line, disturb_org, disturb_rabbitmq, disturb_redis};
use crate::demo::console::{Bars, Console};
use crate::demo::reconcile::{Reconciliation, reconcile};

/// How often the run is shown.
const SHOW: Duration = Duration::from_millis(250);
/// How often the org's request log is read, which forgets.
const READ_LOG: Duration = Duration::from_secs(20);

/// How often the operator looks whether the org has ended the writers' connection.
const MEND: Duration = Duration::from_secs(1);

/// What a run came to.
pub(crate) struct Run {
    /// What became of every order.
    pub(crate) reconciliation: Reconciliation,
    /// Pairs of requests of one customer that the org worked on at once.
    pub(crate) overlaps: Vec<String>,
    /// Events on the org's bus.
    pub(crate) events: usize,
    /// Those that were published more than once.
    pub(crate) doubles: Doubles,
    /// Attempts that orders were charged.
    pub(crate) charges: Charges,
    /// Copies of settled orders that wait behind a dead letter, Redis having been lost.
    pub(crate) copies_parked: usize,
    pub(crate) orders_nameless: usize,
    /// What became of the writers' sign-in.
    pub(crate) renewals: Renewals,
    /// What fell, and what was noticed.
    pub(crate) journal: Entries,
    /// API calls that the org counted.
    pub(crate) api_calls: u64,
    /// From the first publish until every order was accounted for and every queue empty.
    pub(crate) took: Duration,
    /// From the end of the faults until then.
    pub(crate) drained_in: Duration,
    /// Messages that were published, doubles and repetitions included.
    pub(crate) deliveries: usize,
    /// Messages that the publisher sent again because nobody knew whether they had arrived.
    pub(crate) repeated: usize,
    /// How often programs were started.
    pub(crate) lives: BTreeMap<&'static str, u32>,
    /// The whole history of the customers of whom something is wrong.
    pub(crate) histories: String,
    /// Why the run failed beyond what the reconciliation says.
    pub(crate) failures: Vec<String>,
}

impl Stage {
    /// Publishes while the faults fall, lets the fleet drain, ends it, and judges.
    pub(crate) async fn play(mut self, faults: &[Fault], console: &Console) -> Result<Run> {
        let journal = Journal::default();
        let progress = Progress::default();
        let mut log = RequestLog::default();
        let calls_before = self.org.usage().await?.api_calls_total;
        let (orders, deliveries) = (self.script.orders.len(), self.script.deliveries.len());
        let mut bars = console.bars(deliveries, orders);
        let began = Instant::now();
        self.disturb(faults, began, &journal, &progress, &mut log, console, &mut bars).await?;
        let lifted = Instant::now();
        let drained = self.drain(&journal, &mut log, console, &mut bars).await?;
        let mut failures = Vec::new();
        failures.extend(drained.left);
        let (took, drained_in) = (drained.at - began, drained.at - lifted);
        failures.extend(self.end(&journal).await?);
        console.end(&bars);

        let (desk, letters) = self.desk().await?;
        let mut evidence = self.evidence(&letters).await?;
        let bus: Vec<BusEvent> = self.org.get("events").await?;
        // Doubles are judged on their own, by what a subscriber folds them by.
        evidence.events = folded(evidence.events, &bus);
        log.read(&self.org).await?;
        let entries = journal.so_far();
        let deadline_ms = i64::try_from(DEADLINE.as_millis()).unwrap_or(i64::MAX);
        let doubles = doubles(&bus, &log.requests, &entries.spans, deadline_ms);
        let losses = Losses { requests: &log.requests, spans: &entries.spans, deadline_ms };
        let charges = Charges::read(self.services.redis_url(), &self.script, losses).await?;
        let renewals = self.connection.renewals(&self.org).await?;
        let first_sent = progress.first_sent(&self.script);
        failures.extend(charges.silent(&self.script, &first_sent, &entries.spans));
        let lost = lost_renewals(&log.requests, &entries.spans, deadline_ms);
        failures.extend(renewals.failure(self.connection.how(), lost));
        let copies_parked = copies::set_aside(&mut evidence, &first_sent, &entries.spans);
        let orders_nameless = nameless::set_aside(&mut evidence, &log.requests, &entries.spans);
        let reconciliation = reconcile(&evidence);
        let overlaps = overlaps(&log.requests, &evidence);
        failures.extend(blind(&log, &unseen(&log.requests, &evidence, &keys(&bus))));
        let findings =
            reconciliation.findings.iter().chain(&overlaps).chain(&doubles.findings).chain(&charges.findings);
        let findings: Vec<String> = findings.cloned().collect();
        let histories = histories(&findings, &evidence, &self.script, &log.requests);
        letters.close().await;
        desk.close().await;
        let api_calls = self.org.usage().await?.api_calls_total.saturating_sub(calls_before);
        let lives = |places: &[Place]| places.iter().map(Place::lives).sum();
        let lives = BTreeMap::from([("ingest", lives(&self.ingests)), ("writer", lives(&self.writers))]);
        let returned = progress.returned.load(Ordering::Relaxed);
        if returned > 0 {
            failures.push(format!("{returned} messages came back to the publisher: nothing was bound to the exchange"));
        }
        Ok(Run {
            reconciliation,
            overlaps,
            events: bus.len(),
            doubles,
            charges,
            copies_parked,
            orders_nameless,
            renewals,
            journal: entries,
            api_calls,
            took,
            drained_in,
            deliveries,
            repeated: progress.repeated.load(Ordering::Relaxed),
            lives,
            histories,
            failures,
        })
    }

    /// Publishes everything while the faults befall their subjects, each subject by itself.
    #[expect(clippy::too_many_arguments, reason = "what a run writes to is made by whoever judges it")]
    async fn disturb(
        &mut self,
        faults: &[Fault],
        began: Instant,
        journal: &Journal,
        progress: &Progress,
        log: &mut RequestLog,
        console: &Console,
        bars: &mut Bars,
    ) -> Result<()> {
        let until = began + self.time;
        let mut by_subject: BTreeMap<Subject, Vec<Fault>> = BTreeMap::new();
        for fault in faults {
            by_subject.entry(fault.subject).or_default().push(*fault);
        }
        let of = |subject: Subject| by_subject.get(&subject).map_or(&[][..], Vec::as_slice);
        let (rabbitmq, redis) = self.services.nodes().context("the services were started here")?;
        let ingests = self
            .ingests
            .iter_mut()
            .enumerate()
            .map(|(index, place)| (Subject::Ingest(index), Subject::IngestLine(index, Service::RabbitMq), place));
        let writers = self
            .writers
            .iter_mut()
            .enumerate()
            .map(|(index, place)| (Subject::Writer(index), Subject::WriterLine(index, Service::RabbitMq), place));
        let programs = ingests
            .chain(writers)
            .map(|(subject, line, place)| place.endure(of(subject), began, until, journal, &self.lines[&line]));
        let lines = self.lines.iter().map(|(subject, line)| disturb_line(line, of(*subject), began, journal));
        let befalling = async {
            tokio::try_join!(
                try_join_all(programs),
                try_join_all(lines),
                disturb_rabbitmq(rabbitmq, of(Subject::RabbitMq), began, journal),
                disturb_redis(redis, of(Subject::Redis), began, journal),
                disturb_org(&self.org, &self.connection, of(Subject::Org), began, journal),
                publish(&self.publisher, &self.script, self.time, progress),
            )
        };
        let showing = async {
            loop {
                sleep(SHOW).await;
                let entries = journal.so_far();
                let fallen: usize = entries.fallen.values().sum();
                let last = entries.last.map_or_else(String::new, |fault| fault.to_string());
                let confirmed = progress.confirmed.load(Ordering::Relaxed);
                let line = format!("{fallen} of {} faults; last:{last}", faults.len());
                console.show(bars, confirmed, self.listener.count(), &line);
            }
        };
        let reading = async {
            loop {
                sleep(READ_LOG).await;
                if let Err(error) = log.read(&self.org).await {
                    break error;
                }
            }
        };
        let mending = async {
            loop {
                sleep(MEND).await;
                if let Err(error) = self.connection.mend(&self.org).await {
                    break error;
                }
            }
        };
        tokio::select! {
            ended = befalling => ended.map(drop),
            () = showing => Ok(()),
            error = reading => Err(error),
            error = mending => Err(error),
        }
    }
}

/// Where the org's log cannot prove that no two requests of a customer overlapped.
fn blind(log: &RequestLog, unseen: &[String]) -> Vec<String> {
    let mut failures = Vec::new();
    if log.missing() > 0 {
        failures.push(format!("the org's log forgot {} requests before they were read", log.missing()));
    }
    if let Some(first) = unseen.first() {
        failures.push(format!("{first}, and {} more", unseen.len() - 1));
    }
    failures
}
