//! The run: load and faults together, then a bounded time to drain, and only then the evidence that counts.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::{join_all, try_join_all};
use queue::dead_letters::DeadLetters;
use queue::rabbitmq::{RabbitMq, RabbitMqSettings};
use queue::session::{Broker, Session};
use queue::topology::{Namespace, Topology};
use serde_json::json;
use testkit::eventually::within;
use testkit::{Services, TcpProxy, port};
use tokio::time::{Instant, sleep};

use super::history::histories;
use super::journal::{Entries, Journal};
use super::listener::Listener;
use super::overlaps::{Request, overlaps};
use super::programs::Place;
use super::publish::{Progress, publish};
use super::schedule::{Fault, Service, Subject};
use super::surroundings::{disturb_line, disturb_org, disturb_rabbitmq, disturb_redis};
use super::{Chaos, Publish};
use crate::demo::build::Programs;
use crate::demo::console::{Bars, Console};
use crate::demo::drain::ready;
use crate::demo::fleet::{Member, NAMESPACE, TENANT, spawn};
use crate::demo::generator::{Script, Shape, shaped_script};
use crate::demo::org::Org;
use crate::demo::reconcile::{Evidence, Fate, Reconciliation, reconcile};
use crate::demo::watch::{open_letters, published};

/// How long a program, or the org, may take until it is ready.
const START: Duration = Duration::from_mins(1);
/// How often the run is shown.
const SHOW: Duration = Duration::from_millis(250);
/// How often the org's request log is read, which forgets.
const READ_LOG: Duration = Duration::from_secs(20);
/// How often evidence is gathered while the fleet drains.
const GATHER: Duration = Duration::from_secs(2);
/// How long the broker may take to put back what ended workers left.
const PUT_BACK: Duration = Duration::from_secs(1);
/// So many calm answers in a row are believed.
const CALM_ANSWERS: u32 = 2;

/// Customers who order much, and how many in a hundred of the orders are theirs.
const HOT_CUSTOMERS: usize = 3;
const HOT_PERCENT: u32 = 15;

/// Times that make a short run show what takes minutes with the programs' own defaults. A call's deadline is short, a
/// claim lasts a little longer, outages are probed often.
const QUICK: [(&str, &str); 4] = [
    ("CAUSEWAY_SALESFORCE_DEADLINE", "3s"),
    ("CAUSEWAY_LEASE", "5s"),
    ("CAUSEWAY_OUTAGE_PROBE", "2s"),
    ("CAUSEWAY_QUOTA_PROBE", "2s"),
];
/// Milliseconds that each API call of the org takes, up to so many more, and each written row on top.
const LATENCY: [(&str, &str); 3] = [
    ("CAUSEWAY_SIMULATOR_LATENCY_MS", "80"),
    ("CAUSEWAY_SIMULATOR_LATENCY_JITTER_MS", "80"),
    ("CAUSEWAY_SIMULATOR_LATENCY_PER_ROW_MS", "1"),
];

/// What a run came to.
pub(crate) struct Run {
    /// What became of every order.
    pub(crate) reconciliation: Reconciliation,
    /// Pairs of requests of one customer that the org worked on at once.
    pub(crate) overlaps: Vec<String>,
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

/// Everything that stands before the first order. Programs are dropped before what they talk to.
pub(crate) struct Stage {
    ingests: Vec<Place>,
    writers: Vec<Place>,
    lines: BTreeMap<Subject, TcpProxy>,
    script: Arc<Script>,
    org: Org,
    accounts_before: HashSet<String>,
    listener: Listener,
    direct: RabbitMq,
    publisher: RabbitMq,
    topology: Topology,
    client: reqwest::Client,
    time: Duration,
    drain: Duration,
    _simulator: Member,
    services: Services,
}

impl Stage {
    /// Starts everything and waits until it is ready.
    pub(crate) async fn set(
        chaos: &Chaos,
        how: Publish,
        programs: &Programs,
        mut services: Services,
        dir: &Path,
        console: &Console,
    ) -> Result<Self> {
        let dir = std::path::absolute(dir)?;
        let (orders, seed) = (chaos.orders(), chaos.seed);
        let shape = Shape { hot_customers: HOT_CUSTOMERS, hot_percent: HOT_PERCENT, without_conflict: true };
        let writing = tokio::task::spawn_blocking(move || shaped_script(orders, seed, TENANT, shape));
        let script = console.step("the orders are written", async { Ok(Arc::new(writing.await?)) }).await?;
        let (simulator, org) = console.step("a simulated org answers", start_org(programs, &dir, how, &script)).await?;
        let accounts = org.accounts().await?;
        let accounts_before = accounts.into_iter().map(|account| account.id).collect();

        let (amqp_url, redis_url) = (services.amqp_url().to_owned(), services.redis_url().to_owned());
        let (rabbitmq, redis) = services.nodes().context("the services were started here")?;
        let (amqp_port, redis_port) = (rabbitmq.port(), redis.port());
        let topology = Topology::new(Namespace::parse(NAMESPACE).context("the namespace is a name")?);
        let direct = RabbitMq::new(&amqp_url, topology.clone(), RabbitMqSettings::new("chaos"))?;
        direct.connect().await?.close().await;
        let listener = Listener::listen(&amqp_url, &topology).await?;

        let org_port = org.base_url().trim_start_matches("http://").parse::<SocketAddr>()?.port();
        let count = usize::from(chaos.programs);
        let mut lines = BTreeMap::new();
        lines.insert(Subject::PublisherLine, TcpProxy::before(amqp_port).await?);
        for place in 0..count {
            for (service, port) in [(Service::RabbitMq, amqp_port), (Service::Redis, redis_port)] {
                lines.insert(Subject::IngestLine(place, service), TcpProxy::before(port).await?);
            }
            for (service, port) in
                [(Service::RabbitMq, amqp_port), (Service::Redis, redis_port), (Service::Org, org_port)]
            {
                lines.insert(Subject::WriterLine(place, service), TcpProxy::before(port).await?);
            }
        }
        let publisher = RabbitMq::new(
            &lines[&Subject::PublisherLine].url(&amqp_url, amqp_port),
            topology.clone(),
            RabbitMqSettings::new("chaos publisher"),
        )?;
        let order_processing = dir.join("order-processing.toml");
        std::fs::write(&order_processing, order_processing_of(how)).context("cannot write order-processing.toml")?;
        // Whichever line a token names, every writer may send it there.
        let trusted: Vec<String> =
            (0..count).map(|place| lines[&Subject::WriterLine(place, Service::Org)].address().to_string()).collect();
        let shared = vec![
            ("CAUSEWAY_LOG_FORMAT", "pretty".to_owned()),
            ("CAUSEWAY_NAMESPACE", NAMESPACE.to_owned()),
            ("CAUSEWAY_TENANT", TENANT.to_owned()),
        ];
        let ingests = (0..count).map(|place| {
            let line = |service| &lines[&Subject::IngestLine(place, service)];
            let mut environment = shared.clone();
            environment.extend([
                ("CAUSEWAY_AMQP_URL", line(Service::RabbitMq).url(&amqp_url, amqp_port)),
                ("CAUSEWAY_REDIS_URL", line(Service::Redis).url(&redis_url, redis_port)),
            ]);
            Place::new(format!("ingest-{}", place + 1), &programs.ingest, &dir, environment)
        });
        let ingests: Vec<Place> = ingests.collect();
        let writers = (0..count).map(|place| {
            let line = |service| &lines[&Subject::WriterLine(place, service)];
            let mut environment = shared.clone();
            environment.extend([
                ("CAUSEWAY_AMQP_URL", line(Service::RabbitMq).url(&amqp_url, amqp_port)),
                ("CAUSEWAY_REDIS_URL", line(Service::Redis).url(&redis_url, redis_port)),
                ("CAUSEWAY_ORDER_PROCESSING", order_processing.display().to_string()),
                ("CAUSEWAY_SALESFORCE_LOGIN_URL", line(Service::Org).url(org.base_url(), org_port)),
                ("CAUSEWAY_SALESFORCE_TRUSTED_HOSTS", trusted.join(",")),
                ("CAUSEWAY_SALESFORCE_CLIENT_ID", "causeway-dev".to_owned()),
                ("CAUSEWAY_SALESFORCE_CLIENT_SECRET", "causeway-dev-secret".to_owned()),
            ]);
            environment.extend(QUICK.map(|(variable, value)| (variable, value.to_owned())));
            Place::new(format!("writer-{}", place + 1), &programs.writer, &dir, environment)
        });
        let writers: Vec<Place> = writers.collect();
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build()?;
        let mut stage = Self {
            ingests,
            writers,
            lines,
            script,
            org,
            accounts_before,
            listener,
            direct,
            publisher,
            topology,
            client,
            time: chaos.time(),
            drain: Duration::from_secs(chaos.drain.into()),
            _simulator: simulator,
            services,
        };
        let what = format!("{count} ingests and {count} writers are ready");
        console.step(&what, stage.start_programs()).await?;
        Ok(stage)
    }

    async fn start_programs(&mut self) -> Result<()> {
        for place in self.ingests.iter_mut().chain(&mut self.writers) {
            place.start()?;
        }
        let places = self.ingests.iter().chain(&self.writers);
        try_join_all(places.map(|place| place.until_ready(&self.client, START))).await?;
        Ok(())
    }

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
        let evidence = self.evidence(&letters).await?;
        log.read(&self.org).await?;
        let reconciliation = reconcile(&evidence);
        let overlaps = overlaps(&log.requests, &self.script, &evidence.accounts);
        let findings: Vec<String> = reconciliation.findings.iter().chain(&overlaps).cloned().collect();
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
            journal: journal.so_far(),
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
        let ingests = self.ingests.iter_mut().enumerate().map(|(index, place)| (Subject::Ingest(index), place));
        let writers = self.writers.iter_mut().enumerate().map(|(index, place)| (Subject::Writer(index), place));
        let programs = ingests.chain(writers).map(|(subject, place)| place.endure(of(subject), began, until, journal));
        let lines = self.lines.iter().map(|(subject, line)| disturb_line(line, of(*subject), began, journal));
        let befalling = async {
            tokio::try_join!(
                try_join_all(programs),
                async { Ok(join_all(lines).await) },
                disturb_rabbitmq(rabbitmq, of(Subject::RabbitMq), began, journal),
                disturb_redis(redis, of(Subject::Redis), began, journal),
                disturb_org(&self.org, of(Subject::Org), began, journal),
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
        tokio::select! {
            ended = befalling => ended.map(drop),
            () = showing => Ok(()),
            error = reading => Err(error),
        }
    }

    /// Waits until every order is accounted for and nothing is in a queue or a program's hands.
    async fn drain(
        &mut self,
        journal: &Journal,
        log: &mut RequestLog,
        console: &Console,
        bars: &mut Bars,
    ) -> Result<Drained> {
        let began = Instant::now();
        let deadline = began + self.drain;
        let deliveries = self.script.deliveries.len();
        let (session, letters) = self.desk().await?;
        let mut calm = 0;
        let drained = loop {
            let next = Instant::now() + GATHER;
            let places = self.ingests.iter_mut().chain(&mut self.writers);
            try_join_all(places.map(|place| place.keep_filled(next, journal))).await?;
            letters.refresh().await?;
            log.read(&self.org).await?;
            let waiting = ready(session.as_ref(), &self.topology).await?;
            let places = self.ingests.iter().chain(&self.writers);
            let in_hand: Option<f64> =
                join_all(places.map(|place| place.in_hand(&self.client))).await.into_iter().sum();
            let held = open_letters(&letters).iter().filter(|letter| letter.held).count();
            let told = self.listener.count() + held;
            let line = format!(
                "draining, {} s left: {waiting} messages wait in queues, {} are in the programs' hands",
                deadline.saturating_duration_since(Instant::now()).as_secs(),
                in_hand.map_or_else(|| "?".to_owned(), |count| count.to_string()),
            );
            console.show(bars, deliveries, told, &line);
            calm = if waiting == 0 && in_hand == Some(0.0) { calm + 1 } else { 0 };
            let at = Instant::now();
            if calm >= CALM_ANSWERS {
                let lost = reconcile(&self.evidence(&letters).await?).total.of(Fate::Lost);
                if lost == 0 {
                    break Drained { at, left: None };
                }
            }
            if at >= deadline {
                let hand = in_hand.map_or_else(|| "an unknown number".to_owned(), |count| count.to_string());
                let left = format!(
                    "after {} s of draining {waiting} messages waited in queues and {hand} were in the programs' hands",
                    self.drain.as_secs()
                );
                break Drained { at, left: Some(left) };
            }
        };
        letters.close().await;
        session.close().await;
        Ok(drained)
    }

    /// Ends the programs in good order, ingests first. What they had not acknowledged is back in its queue then, so empty
    /// queues prove that every message was settled. Says what is left.
    async fn end(&mut self, journal: &Journal) -> Result<Option<String>> {
        for places in [&mut self.ingests, &mut self.writers] {
            join_all(places.iter_mut().map(|place| place.end(journal))).await;
        }
        sleep(PUT_BACK).await;
        let session = self.direct.connect().await?;
        let left = ready(session.as_ref(), &self.topology).await?;
        session.close().await;
        Ok((left > 0).then(|| format!("{left} messages were still unsettled when the programs had drained and ended")))
    }

    /// The run's own ends of the broker. A broker that was killed a moment ago does not know all of its queues yet.
    async fn desk(&self) -> Result<(Arc<dyn Session>, DeadLetters)> {
        let deadline = Instant::now() + START;
        loop {
            let opened = async {
                let session = self.direct.connect().await?;
                anyhow::Ok((session, DeadLetters::open(&self.direct, "chaos").await?))
            };
            match opened.await {
                Ok(desk) => return Ok(desk),
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(_) => sleep(PUT_BACK).await,
            }
        }
    }

    async fn evidence(&self, letters: &DeadLetters) -> Result<Evidence> {
        letters.refresh().await?;
        let (records, accounts, events) =
            tokio::try_join!(self.org.order_records(), self.org.accounts(), self.org.events())?;
        Ok(Evidence {
            published: published(&self.script),
            records,
            accounts,
            accounts_before: self.accounts_before.clone(),
            events,
            letters: open_letters(letters),
            told: self.listener.told(),
        })
    }
}

/// When the fleet was done, and what it was not done with.
struct Drained {
    at: Instant,
    left: Option<String>,
}

/// The org's request log, put together from what it still has each time.
#[derive(Default)]
struct RequestLog {
    requests: Vec<Request>,
}

impl RequestLog {
    async fn read(&mut self, org: &Org) -> Result<()> {
        let last = self.requests.last().map_or(0, |request| request.number);
        let newer: Vec<Request> = org.get(&format!("requests?after={last}")).await?;
        self.requests.extend(newer);
        Ok(())
    }
}

async fn start_org(programs: &Programs, dir: &Path, how: Publish, script: &Script) -> Result<(Member, Org)> {
    let [port] = port::free()?;
    let host = format!("127.0.0.1:{port}");
    let org = Org::new(format!("http://{host}"))?;
    let mut environment =
        vec![("CAUSEWAY_LOG_FORMAT", "pretty".to_owned()), ("CAUSEWAY_SIMULATOR_LISTEN", host.clone())];
    environment.extend(LATENCY.map(|(variable, value)| (variable, value.to_owned())));
    let simulator = spawn(dir, "simulator", &programs.simulator, &environment, host)?;
    let answers = within(START, async || org.answers().await.then_some(()));
    answers.await.context("the simulator does not answer; see its log")?;
    let behaviour = match how {
        Publish::AfterCommit => "after_commit",
        Publish::Immediate => "immediately",
    };
    org.post("settings", &json!({ "publish_behavior": behaviour })).await?;
    org.prepare(&script.customers).await?;
    Ok((simulator, org))
}

/// What the orders mean. Retries are quick and many, so that no order is given up for what passes.
fn order_processing_of(how: Publish) -> String {
    format!(
        "includeDuplicateCheck = true\nsendWholeOrder = true\n\n\
         [retry]\nmax_attempts = 50\ninitial_seconds = 0.1\nmax_seconds = 1.0\n\n\
         [platform_events]\npublish_behavior = \"{}\"\n",
        how.setting()
    )
}
