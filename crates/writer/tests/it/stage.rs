//! A writer between a private namespace on the broker and an org of its own.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;

use causeway_writer::{Args, Config};
use clap::Parser as _;
use domain::order::id::{Fingerprint, OrderId};
use ledger::{Ledger as _, RedisLedger, Settings, Sighting};
use nix::sys::signal::Signal;
use queue::message::{KNOWN_SINCE, Message};
use queue::session::Session;
use serde_json::{Map, Value};
use service::{Exit, Lifecycle, Problems};
use simulator::{Control, Fault, FaultKind, LoggedRequest, PublishedEvent, Simulator};
use testkit::fleet::{Outcomes, Told};
use testkit::limio::Limio;
use testkit::process::Identity;
use testkit::proxy::TcpProxy;
use testkit::{Fleet, eventually_some, orders};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const SECRET: &str = "CAUSEWAY_SALESFORCE_CLIENT_SECRET";
const LIMIO_SECRET: &str = "CAUSEWAY_LIMIO_CLIENT_SECRET";

/// Retries that do not keep a test waiting.
pub(crate) const QUICK: &str = "[retry]\nmax_attempts = 20\ninitial_seconds = 0.1\nmax_seconds = 0.2\n";

/// The first failure that counts as an attempt makes a dead letter.
pub(crate) const ONE_ATTEMPT: &str = "[retry]\nmax_attempts = 1\n";

/// Everything around a writer.
pub(crate) struct Stage {
    pub(crate) fleet: Fleet,
    pub(crate) told: Outcomes,
    pub(crate) session: Arc<dyn Session>,
    org: Simulator,
    /// Where the ledger is, past whatever the writers reach it through.
    redis_url: String,
    settings: Vec<(String, String)>,
    folder: tempfile::TempDir,
}

impl Stage {
    /// With this order-processing.toml, and an org as it comes.
    pub(crate) async fn new(order_processing: &str) -> Self {
        Self::on(simulator::Config::default(), order_processing).await
    }

    /// With an org of one's own.
    pub(crate) async fn on(org: simulator::Config, order_processing: &str) -> Self {
        Self::with(1, org, order_processing).await
    }

    /// With several partitions, for several writers.
    pub(crate) async fn for_several(order_processing: &str) -> Self {
        Self::with(4, simulator::Config::default(), order_processing).await
    }

    /// With several partitions and an org of one's own.
    pub(crate) async fn on_several(org: simulator::Config, order_processing: &str) -> Self {
        Self::with(4, org, order_processing).await
    }

    /// With so many partitions.
    pub(crate) async fn with(partitions: u16, org: simulator::Config, order_processing: &str) -> Self {
        let fleet = Fleet::with("writer", |topology| topology.partitions = partitions);
        let session = fleet.connect().await;
        let told = fleet.outcomes().await;
        let org = Simulator::start(org).await.expect("an org");
        let folder = tempfile::tempdir().expect("a folder");
        let (settings, redis_url) = (fleet.settings(), fleet.redis_url().to_owned());
        let stage = Self { fleet, told, session, org, redis_url, settings, folder };
        stage.write_order_processing(order_processing);
        let (url, file) = (stage.org.base_url().to_owned(), stage.order_processing().display().to_string());
        stage
            .set("CAUSEWAY_SALESFORCE_LOGIN_URL", &url)
            .set("CAUSEWAY_SALESFORCE_TRUSTED_HOSTS", url.trim_start_matches("http://"))
            .set("CAUSEWAY_SALESFORCE_CLIENT_ID", "causeway-dev")
            .set("CAUSEWAY_ORDER_PROCESSING", &file)
            .set("CAUSEWAY_ADMIN_LISTEN", "127.0.0.1:0")
            .set("CAUSEWAY_OUTAGE_PROBE", "100ms")
            .set("CAUSEWAY_QUOTA_PROBE", "100ms")
            .set("CAUSEWAY_SALESFORCE_DEADLINE", "15s")
            .set("CAUSEWAY_LEASE", "20s")
            .set("CAUSEWAY_PATIENCE", "20s")
    }

    /// Sets a setting of the writers that are started from now on.
    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.retain(|(known, _)| known != name);
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a Limio that is told which records belong to what.
    pub(crate) fn linked_to(self, limio: &Limio) -> Self {
        self.set("CAUSEWAY_LIMIO_URL", limio.url())
            .set("CAUSEWAY_LIMIO_CLIENT_ID", testkit::limio::CLIENT_ID)
            .set(LIMIO_SECRET, testkit::limio::CLIENT_SECRET)
            .set("CAUSEWAY_LIMIO_RETRY", "20ms")
    }

    /// With a Redis of its own.
    pub(crate) fn on_redis(mut self, url: &str) -> Self {
        url.clone_into(&mut self.redis_url);
        self.set(testkit::REDIS_URL, url)
    }

    /// The tenant that the fleet serves.
    pub(crate) fn tenant(&self) -> &str {
        let tenant = self.settings.iter().find(|(name, _)| name == "CAUSEWAY_TENANT");
        tenant.map(|(_, tenant)| tenant.as_str()).expect("a fleet serves a tenant")
    }

    pub(crate) fn org(&self) -> Control {
        self.org.control()
    }

    /// From now on a validation rule refuses the Accounts of these customers.
    pub(crate) fn refuse_accounts(&self, customers: &[String]) {
        for customer in customers {
            let refusal = FaultKind::RefuseRow {
                code: "FIELD_CUSTOM_VALIDATION_EXCEPTION".into(),
                message: "Not today".into(),
                status: 400,
                fields: vec!["LastName".into()],
            };
            self.org().arm(Fault::always(refusal).on_object("Account").containing(orders::identity(customer)));
        }
    }

    /// Where the org listens: host and port.
    pub(crate) fn org_host(&self) -> &str {
        self.org.base_url().trim_start_matches("http://")
    }

    fn order_processing(&self) -> PathBuf {
        self.folder.path().join("order-processing.toml")
    }

    pub(crate) fn write_order_processing(&self, text: &str) {
        std::fs::write(self.order_processing(), text).expect("written");
    }

    /// A writer inside this process.
    pub(crate) fn writer(&self) -> Writer {
        let flag = |name: &str| name != "CAUSEWAY_ADMIN_LISTEN" && name != LIMIO_SECRET;
        let settings = self.settings.iter().filter(|(name, _)| flag(name));
        let flags = settings.flat_map(|(name, value)| {
            let flag = name.trim_start_matches("CAUSEWAY_").to_lowercase().replace('_', "-");
            [format!("--{flag}"), value.clone()]
        });
        let args = Args::parse_from(["causeway-writer".to_owned()].into_iter().chain(flags));
        let secret = (SECRET, "causeway-dev-secret");
        let mut problems = match self.settings.iter().find(|(name, _)| name == LIMIO_SECRET) {
            Some((_, limio)) => Problems::with_environment([secret, (LIMIO_SECRET, limio)]),
            None => Problems::with_environment([secret]),
        };
        let config = Config::read(args, &mut problems).unwrap_or_else(|| panic!("{problems}"));
        let lifecycle = Lifecycle::new();
        lifecycle.spawn("writer", causeway_writer::run(config, lifecycle.clone()));
        Writer(lifecycle)
    }

    /// A writer as a process of its own.
    pub(crate) fn process(&self) -> Process {
        self.process_with(&[])
    }

    /// A writer as a process of its own, with these settings in place of the stage's.
    pub(crate) fn process_with(&self, others: &[(&str, &str)]) -> Process {
        let settings = self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        // Of two values the later one holds.
        let settings = settings.chain([(SECRET, "causeway-dev-secret")]).chain(others.iter().copied());
        Process::start(self.folder.path(), settings)
    }

    /// With a proxy between the writers and Redis.
    pub(crate) async fn with_proxy_before_redis(self) -> (Self, TcpProxy) {
        let url = self.fleet.redis_url().to_owned();
        let port = url.trim_end_matches('/').rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        let proxy = TcpProxy::before(port).await.expect("a proxy");
        (self.set(testkit::REDIS_URL, &proxy.url(&url, port)), proxy)
    }

    /// Hands orders on, as `ingest` does.
    pub(crate) async fn hand_on(&self, orders: &[Value]) {
        let known_since = self.known_since().await;
        let message = |order: &Value| {
            let mut message = orders::handed_on(order, &id_of(order));
            message.headers.insert(KNOWN_SINCE.to_owned(), known_since.clone());
            message
        };
        let messages: Vec<Message> = orders.iter().map(message).collect();
        self.fleet.hand_on(&self.session, &messages).await;
    }

    /// The ledger of the writers.
    pub(crate) async fn ledger(&self) -> RedisLedger {
        let namespace = format!("{}:{}", self.fleet.namespace(), orders::TENANT);
        let ledger = RedisLedger::connect(&self.redis_url, &namespace, Settings::RECOMMENDED).await;
        ledger.expect("Redis answers")
    }

    /// What the ledger says of an order that is new to it.
    async fn known_since(&self) -> String {
        let order = OrderId::parse(&format!("order-{}", uuid::Uuid::new_v4().simple())).expect("a name");
        let identity = ledger::Identity { order, fingerprint: Fingerprint::of([0; 32]), redelivered: false };
        let sighting = self.ledger().await.sight(&[identity]).await.expect("Redis answers").remove(0);
        let Sighting::First { known_since: Some(known_since) } = sighting else { panic!("not new: {sighting:?}") };
        known_since.to_string()
    }

    /// Hands orders on and waits until all are told of as written. Returns what was told.
    pub(crate) async fn written(&mut self, orders: &[Value]) -> Vec<Told> {
        self.hand_on(orders).await;
        self.told.until("order.written", orders.iter().map(id_of)).await
    }

    pub(crate) fn records(&self, object: &str) -> Vec<Map<String, Value>> {
        self.org().records(object).expect("an object of the org")
    }

    /// The orders that the org has a record of, in the order of their creation.
    pub(crate) fn order_records(&self) -> Vec<String> {
        self.records("LimioOrder__c").iter().map(|record| text(record, "LimioId__c")).collect()
    }

    pub(crate) async fn delete(&self, object: &str, id: &str) {
        self.org().delete(object, id).await.expect("deleted");
    }

    pub(crate) fn events(&self) -> Vec<PublishedEvent> {
        self.org().events()
    }

    /// The order numbers of the events on the bus.
    pub(crate) fn event_numbers(&self) -> Vec<String> {
        self.events().iter().map(|event| text(&event.payload, "i42as__OrderNumber__c")).collect()
    }

    /// The composite graph requests so far.
    pub(crate) fn graph_requests(&self) -> Vec<LoggedRequest> {
        self.org().requests().into_iter().filter(|request| request.path.ends_with("/composite/graph")).collect()
    }

    /// The API calls for orders: all but those of starts, in which a writer looks whether the org has what it needs.
    pub(crate) fn calls(&self) -> u64 {
        let requests = self.org().requests();
        let starts = requests.iter().filter(|request| request.describes > 0).count();
        self.org().api_calls() - u64::try_from(starts).expect("a few")
    }

    /// How often the org was asked what it holds.
    pub(crate) fn queries(&self) -> usize {
        self.org().requests().iter().filter(|request| request.path.ends_with("/query")).count()
    }

    /// Each of these orders is in the org once, with one event, and the orders of a customer are in the order in which
    /// they are given here.
    pub(crate) fn assert_each_once_and_in_order(&self, customers: &[(&str, u32)]) {
        let expected: usize = customers.iter().map(|(_, orders)| *orders as usize).sum();
        let (records, events) = (self.order_records(), self.event_numbers());
        for (customer, orders) in customers {
            let expect = |name: fn(&str, u32) -> String| (1..=*orders).map(|number| name(customer, number)).collect();
            let ids: Vec<String> = expect(orders::order_id);
            let references: Vec<String> = expect(orders::reference);
            assert_eq!(only(&records, &ids), ids, "records of {customer}");
            assert_eq!(only(&events, &references), references, "events of {customer}");
        }
        assert_eq!((records.len(), events.len()), (expected, expected));
        assert_eq!(self.records("Account").len(), customers.len());
    }

    /// Stops a writer when it has nothing left to do, and makes sure that nothing is left in the queues.
    pub(crate) async fn end(&self, writer: Writer) {
        testkit::eventually("the lanes to be empty", async || writer.in_hand() < 1.0).await;
        writer.stop().await;
        assert_eq!(self.fleet.left_over(&self.session).await, Vec::<String>::new());
    }
}

fn only(all: &[String], wanted: &[String]) -> Vec<String> {
    all.iter().filter(|name| wanted.contains(name)).cloned().collect()
}

pub(crate) fn text(record: &Map<String, Value>, field: &str) -> String {
    record.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The identity of an order that carries one.
pub(crate) fn id_of(order: &Value) -> String {
    order["id"].as_str().expect("an order of these tests has an id").to_owned()
}

/// The first orders of a customer.
pub(crate) fn orders_of(customer: &str, count: u32) -> Vec<Value> {
    (1..=count).map(|number| orders::new_order(customer, number)).collect()
}

/// A writer inside this process; it ends with the test.
pub(crate) struct Writer(Lifecycle);

impl Writer {
    /// Finishes what is in flight and ends, without a failure.
    pub(crate) async fn stop(self) {
        self.0.drain();
        let exit = tokio::time::timeout(testkit::eventually::PATIENCE, self.0.ended()).await;
        assert_eq!(exit.expect("it drains in time"), Exit::Done);
    }

    /// Why intake is paused, if it is.
    pub(crate) fn paused_by(&self) -> Option<String> {
        let families = self.0.registry().gather();
        let paused = families.iter().find(|family| family.name().ends_with("intake_paused"))?;
        Some(paused.get_metric().first()?.get_label().first()?.value().to_owned())
    }

    /// Waits until intake is paused; returns why.
    pub(crate) async fn pauses(&self) -> String {
        eventually_some("intake to pause", async || self.paused_by()).await
    }

    /// What `/ready` says beside its conditions.
    pub(crate) fn notice(&self, name: &str) -> Option<String> {
        self.0.health().notices().remove(name)
    }

    /// How many links came to this.
    pub(crate) fn links(&self, result: &str) -> f64 {
        let families = self.0.registry().gather();
        let links = families.iter().filter(|family| family.name() == "causeway_identity_links_total");
        let metrics = links.flat_map(prometheus::proto::MetricFamily::get_metric);
        let of = metrics.filter(|metric| metric.get_label().iter().any(|label| label.value() == result));
        of.map(|metric| metric.get_counter().get_value()).sum()
    }

    /// How many orders it has taken and not settled.
    pub(crate) fn in_hand(&self) -> f64 {
        self.metric("orders_waiting") + self.metric("orders_in_flight")
    }

    /// A counter or gauge, added up over its labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let families = self.0.registry().gather();
        let metrics = families
            .iter()
            .filter(|family| family.name() == format!("causeway_{name}"))
            .flat_map(prometheus::proto::MetricFamily::get_metric);
        metrics.map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value()).sum()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A writer as a process; killed when dropped.
pub(crate) struct Process {
    child: tokio::process::Child,
    log: PathBuf,
}

impl Process {
    /// Starts the program with nothing in its environment but these.
    pub(crate) fn start<'a>(folder: &std::path::Path, settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let log = folder.join(testkit::namespace("log"));
        let file = std::fs::File::create(&log).expect("a log file");
        let child = tokio::process::Command::new(env!("CARGO_BIN_EXE_causeway-writer"))
            .env_clear()
            .envs(settings)
            .stdin(std::process::Stdio::null())
            .stdout(file.try_clone().expect("a handle"))
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        Self { child, log }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self.child.id().expect("it runs");
        Identity::of(pid).expect("it runs").signal(signal);
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let ended = tokio::time::timeout(testkit::eventually::PATIENCE, self.child.wait()).await;
        ended.unwrap_or_else(|_| panic!("it does not end:\n{}", self.said())).expect("it can be waited for")
    }

    /// Waits for its end; returns its exit code.
    pub(crate) async fn code(&mut self) -> i32 {
        let status = self.ended().await;
        status.code().unwrap_or_else(|| panic!("ended by a signal: {status}\n{}", self.said()))
    }

    /// Everything it wrote.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).expect("its output can be read")
    }

    /// Waits until it owns a partition. It knows so by the first order that comes from there.
    pub(crate) async fn owns_some(&self) {
        testkit::eventually("a partition of its own", async || {
            let answer = self.answers("/metrics").await;
            let owned = answer.lines().find_map(|line| line.strip_prefix("causeway_partitions_owned ")?.parse().ok());
            owned.is_some_and(|owned: f64| owned > 0.5)
        })
        .await;
    }

    /// What its admin port answers, once it has said where that is.
    pub(crate) async fn answers(&self, path: &str) -> String {
        let said = self.said();
        let started = said.lines().find_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            line["admin"].as_str().map(str::to_owned)
        });
        let admin = started.expect("it has said where its admin port is");
        let mut stream = tokio::net::TcpStream::connect(&admin).await.expect("it listens");
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        answer
    }

    /// Waits until it has written this.
    pub(crate) async fn says(&self, text: &str) {
        let said = testkit::eventually::within(testkit::eventually::PATIENCE, async || {
            self.said().contains(text).then_some(())
        })
        .await;
        assert!(said.is_some(), "it never said {text:?}:\n{}", self.said());
    }
}

/// Waits until so many requests were hit by a fault of this name.
pub(crate) async fn fault_strikes(org: &Control, times: u64) {
    let struck = format!("the faults to go off {times} times");
    testkit::eventually(&struck, async || org.faults().iter().map(|fault| fault.applied).sum::<u64>() >= times).await;
}
