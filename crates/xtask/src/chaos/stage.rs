//! Everything that stands before the first order: nodes, org, lines, programs.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::try_join_all;
use queue::rabbitmq::{RabbitMq, RabbitMqSettings};
use queue::session::Broker;
use queue::topology::{Namespace, Topology};
use serde_json::json;
use testkit::eventually::within;
use testkit::{Services, TcpProxy, port};

use super::listener::Listener;
use super::programs::Place;
use super::requests::address_of;
use super::schedule::{Service, Subject};
use super::sign_in::{Connection, SignIn};
use super::{Chaos, Publish};
use crate::demo::build::Programs;
use crate::demo::console::Console;
use crate::demo::fleet::{Member, NAMESPACE, TENANT, spawn};
use crate::demo::generator::{Script, Shape, shaped_script};
use crate::demo::org::Org;

/// How long a program, or the org, may take until it is ready.
pub(super) const START: Duration = Duration::from_mins(1);
/// A call's deadline.
pub(super) const DEADLINE: Duration = Duration::from_secs(3);

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
/// The field of the event that carries the key by which subscribers fold a double.
const EVENT_KEY: &str = "EventKey__c";
const EVENT_KEY_SCHEMA: &str = "\
[[object]]
name = \"i42as__OrderEvent__e\"
fields = [{ name = \"EventKey__c\", label = \"Event Key\", type = \"Text\", length = 255 }]
";
/// Milliseconds that each API call of the org takes, up to so many more, and each written row on top.
const LATENCY: [(&str, &str); 3] = [
    ("CAUSEWAY_SIMULATOR_LATENCY_MS", "80"),
    ("CAUSEWAY_SIMULATOR_LATENCY_JITTER_MS", "80"),
    ("CAUSEWAY_SIMULATOR_LATENCY_PER_ROW_MS", "1"),
];

/// Everything that stands before the first order. Programs are dropped before what they talk to.
pub(crate) struct Stage {
    pub(super) ingests: Vec<Place>,
    pub(super) writers: Vec<Place>,
    pub(super) lines: BTreeMap<Subject, TcpProxy>,
    pub(super) connection: Connection,
    pub(super) script: Arc<Script>,
    pub(super) org: Org,
    pub(super) accounts_before: HashSet<String>,
    pub(super) listener: Listener,
    pub(super) direct: RabbitMq,
    pub(super) publisher: RabbitMq,
    pub(super) topology: Topology,
    pub(super) client: reqwest::Client,
    pub(super) time: Duration,
    pub(super) drain: Duration,
    _simulator: Member,
    pub(super) services: Services,
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
        let connection = Connection::set(chaos.sign_in(), &org, &dir, chaos.programs.into()).await?;
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
            for (service, port) in [(Service::RabbitMq, amqp_port), (Service::Redis, redis_port)] {
                lines.insert(Subject::WriterLine(place, service), TcpProxy::before(port).await?);
            }
            // Its address tells in the org's log whose a request was.
            let to_org = TcpProxy::before_as(org_port, address_of(u8::try_from(place)?)).await?;
            lines.insert(Subject::WriterLine(place, Service::Org), to_org);
        }
        let publisher = RabbitMq::new(
            &lines[&Subject::PublisherLine].url(&amqp_url, amqp_port),
            topology.clone(),
            RabbitMqSettings::new("chaos publisher"),
        )?;
        let order_processing = dir.join("order-processing.toml");
        std::fs::write(&order_processing, order_processing_of(how, chaos.sign_in()))
            .context("cannot write order-processing.toml")?;
        let org_host = org.base_url().trim_start_matches("http://").to_owned();
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
                // One org by one name, or writers could not share a sign-in; each reaches it by a line of its own.
                ("CAUSEWAY_SALESFORCE_LOGIN_URL", org.base_url().to_owned()),
                ("CAUSEWAY_SALESFORCE_TRUSTED_HOSTS", org_host.clone()),
                ("http_proxy", line(Service::Org).url(org.base_url(), org_port)),
                ("no_proxy", String::new()),
                ("NO_PROXY", String::new()),
            ]);
            environment.extend(connection.settings(place));
            environment.extend(QUICK.map(|(variable, value)| (variable, value.to_owned())));
            Place::new(format!("writer-{}", place + 1), &programs.writer, &dir, environment)
        });
        let writers: Vec<Place> = writers.collect();
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build()?;
        let mut stage = Self {
            ingests,
            writers,
            lines,
            connection,
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
}

async fn start_org(programs: &Programs, dir: &Path, how: Publish, script: &Script) -> Result<(Member, Org)> {
    let [port] = port::free()?;
    let host = format!("127.0.0.1:{port}");
    let org = Org::new(format!("http://{host}"))?;
    let mut environment =
        vec![("CAUSEWAY_LOG_FORMAT", "pretty".to_owned()), ("CAUSEWAY_SIMULATOR_LISTEN", host.clone())];
    environment.extend(LATENCY.map(|(variable, value)| (variable, value.to_owned())));
    let schema = dir.join("event-key.toml");
    std::fs::write(&schema, EVENT_KEY_SCHEMA).with_context(|| format!("cannot write {}", schema.display()))?;
    environment.push(("CAUSEWAY_SIMULATOR_SCHEMA", schema.display().to_string()));
    let simulator = spawn(dir, "simulator", &programs.simulator, &environment, host)?;
    let answers = within(START, async || org.answers().await.then_some(()));
    answers.await.context("the simulator does not answer; see its log")?;
    let behaviour = match how {
        Publish::AfterCommit => "after_commit",
        Publish::Immediate => "immediately",
    };
    let logged = [format!("i42as__OrderEvent__e.{EVENT_KEY}")];
    org.post("settings", &json!({ "publish_behavior": behaviour, "logged_fields": logged })).await?;
    org.prepare(&script.customers).await?;
    Ok((simulator, org))
}

/// What the orders mean. A fleet with one sign-in has the retries that come of themselves: few, so that an order that is
/// charged for what passes is soon given up. The others' are quick and many.
fn order_processing_of(how: Publish, sign_in: SignIn) -> String {
    let retry = match sign_in {
        SignIn::Fleet | SignIn::FleetWithGrace => "",
        SignIn::Own => "[retry]\nmax_attempts = 50\ninitial_seconds = 0.1\nmax_seconds = 1.0\n\n",
    };
    format!(
        "includeDuplicateCheck = true\nsendWholeOrder = true\n\n{retry}\
         [platform_events]\npublish_behavior = \"{}\"\nevent_key = \"{EVENT_KEY}\"\n",
        how.setting()
    )
}
