//! The programs of a fleet, each its own process with its own log.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::future::join_all;
use nix::sys::signal::Signal;
use testkit::eventually::within;
use testkit::port;
use testkit::process::{self, Node};

use super::build::Programs;
use super::customers::Customer;
use super::org::Org;

/// The tenant that the fleet serves.
pub(crate) const TENANT: &str = "acme";
/// The prefix of every queue and key: the programs' own default.
pub(crate) const NAMESPACE: &str = "causeway";

/// How long a program may take until it is ready.
const START: Duration = Duration::from_secs(30);
/// How long a program may take to end after SIGTERM.
const STOP: Duration = Duration::from_secs(10);
/// Milliseconds that each API call takes, and each written row on top: an org that is neither slow nor quick.
const LATENCY_MS: u32 = 40;
const LATENCY_PER_ROW_MS: u32 = 1;

const ORDER_PROCESSING: &str = "\
# What the demo's orders mean. Every other setting has its default.
includeDuplicateCheck = true
sendWholeOrder = true
";

/// A running process.
#[derive(Debug)]
pub(crate) struct Member {
    /// `writer-1`
    pub(crate) name: String,
    /// Where its admin port is.
    pub(crate) admin: String,
    node: Node,
    dir: PathBuf,
}

impl Member {
    /// Whether it runs.
    pub(crate) fn is_alive(&self) -> bool {
        self.node.is_alive()
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.node.pid()
    }

    /// Ends it without notice (SIGKILL).
    pub(crate) fn kill(&mut self) {
        self.node.kill();
    }

    /// How it ended, once it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.node.ended()
    }

    /// Sends a signal, if it still runs.
    pub(crate) fn signal(&self, signal: Signal) {
        self.node.signal(signal);
    }

    /// Whether it has written anything yet: it does before it opens anything.
    pub(crate) fn has_spoken(&self) -> bool {
        !process::output(&self.dir).trim().is_empty()
    }

    fn died(&self) -> anyhow::Error {
        anyhow::anyhow!("{} ended by itself; its last lines:\n{}", self.name, process::output(&self.dir))
    }
}

/// The simulator, the workers, and what is needed to start more of them.
#[derive(Debug)]
pub(crate) struct Fleet {
    /// The org.
    pub(crate) org: Org,
    /// The ids of the Accounts that it had before the first order.
    pub(crate) accounts_before: HashSet<String>,
    /// Both kinds of workers: ingest first.
    pub(crate) ingests: Vec<Member>,
    /// Writers, those that were killed left out.
    pub(crate) writers: Vec<Member>,
    simulator: Member,
    programs: Programs,
    dir: PathBuf,
    environment: Vec<(&'static str, String)>,
    client: reqwest::Client,
    writers_started: usize,
}

impl Fleet {
    /// Starts the simulator and waits for it.
    pub(crate) async fn with_org(programs: Programs, dir: &Path, amqp_url: &str, redis_url: &str) -> Result<Self> {
        let dir = std::path::absolute(dir)?;
        let order_processing = dir.join("order-processing.toml");
        fs::write(&order_processing, ORDER_PROCESSING).context("cannot write order-processing.toml")?;
        let [port] = port::free()?;
        let host = format!("127.0.0.1:{port}");
        let base_url = format!("http://{host}");
        let org = Org::new(base_url.clone())?;
        let environment = [
            ("CAUSEWAY_LOG_FORMAT", "pretty".to_owned()),
            ("CAUSEWAY_SIMULATOR_LISTEN", host.clone()),
            ("CAUSEWAY_SIMULATOR_LATENCY_MS", LATENCY_MS.to_string()),
            ("CAUSEWAY_SIMULATOR_LATENCY_PER_ROW_MS", LATENCY_PER_ROW_MS.to_string()),
        ];
        let simulator = spawn(&dir, "simulator", &programs.simulator, &environment, host.clone())?;
        let environment = vec![
            ("CAUSEWAY_LOG_FORMAT", "pretty".to_owned()),
            ("CAUSEWAY_AMQP_URL", amqp_url.to_owned()),
            ("CAUSEWAY_REDIS_URL", redis_url.to_owned()),
            ("CAUSEWAY_NAMESPACE", NAMESPACE.to_owned()),
            ("CAUSEWAY_TENANT", TENANT.to_owned()),
            ("CAUSEWAY_ORDER_PROCESSING", order_processing.display().to_string()),
            ("CAUSEWAY_SALESFORCE_LOGIN_URL", base_url),
            ("CAUSEWAY_SALESFORCE_TRUSTED_HOSTS", host),
            ("CAUSEWAY_SALESFORCE_CLIENT_ID", "causeway-dev".to_owned()),
            ("CAUSEWAY_SALESFORCE_CLIENT_SECRET", "causeway-dev-secret".to_owned()),
            // A killed writer's claims end soon, so that a run with a kill in it does not take minutes.
            ("CAUSEWAY_SALESFORCE_DEADLINE", "3s".to_owned()),
            ("CAUSEWAY_LEASE", "5s".to_owned()),
        ];
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build()?;
        let (ingests, writers) = (Vec::new(), Vec::new());
        let accounts_before = HashSet::new();
        let fleet = Self {
            org,
            accounts_before,
            ingests,
            writers,
            simulator,
            programs,
            dir,
            environment,
            client,
            writers_started: 0,
        };
        let answers = within(START, async || {
            let ended = !fleet.simulator.is_alive();
            (ended || fleet.org.answers().await).then_some(!ended)
        });
        match answers.await {
            Some(true) => Ok(fleet),
            Some(false) => Err(fleet.simulator.died()),
            None => bail!("the simulator does not answer at {}", fleet.org.base_url()),
        }
    }

    /// Gives the org what it has before the first order.
    pub(crate) async fn prepare(&mut self, customers: &[Customer]) -> Result<()> {
        self.org.prepare(customers).await?;
        self.accounts_before = self.org.accounts().await?.into_iter().map(|account| account.id).collect();
        Ok(())
    }

    /// Starts so many of each worker and waits until all are ready.
    pub(crate) async fn start_workers(&mut self, ingests: usize, writers: usize) -> Result<()> {
        for number in 1..=ingests {
            let member = self.worker(&format!("ingest-{number}"), &self.programs.ingest)?;
            self.ingests.push(member);
        }
        for _ in 0..writers {
            self.start_writer()?;
        }
        for member in self.ingests.iter().chain(&self.writers) {
            self.until_ready(member).await?;
        }
        Ok(())
    }

    /// Starts one more writer, without waiting for it; gives its name.
    pub(crate) fn start_writer(&mut self) -> Result<&Member> {
        self.writers_started += 1;
        let member = self.worker(&format!("writer-{}", self.writers_started), &self.programs.writer)?;
        self.writers.push(member);
        Ok(self.writers.last().expect("one was added in the line before"))
    }

    /// The place of the writer that has settled most, which is the one whose loss hurts most.
    pub(crate) async fn busiest_writer(&self) -> usize {
        let settled = join_all(self.writers.iter().map(|writer| self.metric(writer, "writer_settled_total"))).await;
        let settled = settled.iter().map(|count| count.unwrap_or_default()).enumerate();
        let busiest = settled.max_by(|a, b| a.1.total_cmp(&b.1));
        busiest.map_or(0, |(place, _)| place)
    }

    /// An error when a program has ended by itself.
    pub(crate) fn check(&self) -> Result<()> {
        let mut members = std::iter::once(&self.simulator).chain(&self.ingests).chain(&self.writers);
        members.find(|member| !member.is_alive()).map_or(Ok(()), |member| Err(member.died()))
    }

    /// Where the logs are.
    pub(crate) fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }

    /// The programs.
    pub(crate) fn programs(&self) -> &Programs {
        &self.programs
    }

    /// How many messages the workers have in hand, by their own count; `None` where one of them does not answer.
    pub(crate) async fn in_hand(&self) -> Option<f64> {
        let ingests = self.ingests.iter().map(|ingest| (ingest, "orders_in_flight"));
        let writers = self.writers.iter().flat_map(|writer| [(writer, "orders_waiting"), (writer, "orders_in_flight")]);
        let counts = join_all(ingests.chain(writers).map(|(member, name)| self.metric(member, name))).await;
        counts.into_iter().sum()
    }

    /// Ends the workers in good order, ingests before writers.
    pub(crate) async fn stop_workers(&mut self) {
        for mut workers in [std::mem::take(&mut self.ingests), std::mem::take(&mut self.writers)] {
            join_all(workers.iter_mut().map(|member| member.node.stop(STOP))).await;
        }
    }

    /// Ends all in good order: the workers first, then the org.
    pub(crate) async fn stop(&mut self) {
        self.stop_workers().await;
        self.simulator.node.stop(STOP).await;
    }

    fn worker(&self, name: &str, program: &Path) -> Result<Member> {
        let [port] = port::free()?;
        let admin = format!("127.0.0.1:{port}");
        let mut environment = self.environment.clone();
        environment.push(("CAUSEWAY_ADMIN_LISTEN", admin.clone()));
        spawn(&self.dir, name, program, &environment, admin)
    }

    async fn until_ready(&self, member: &Member) -> Result<()> {
        let url = format!("http://{}/ready", member.admin);
        let mut said = String::new();
        let ready = within(START, async || {
            if !member.is_alive() {
                return Some(false);
            }
            let answer = self.client.get(&url).send().await.ok()?;
            if answer.status().is_success() {
                return Some(true);
            }
            said = answer.text().await.unwrap_or_default();
            None
        });
        match ready.await {
            Some(true) => Ok(()),
            Some(false) => Err(member.died()),
            None => bail!("{} is not ready after {} s: {said}", member.name, START.as_secs()),
        }
    }

    async fn metric(&self, member: &Member, name: &str) -> Option<f64> {
        metric(&self.client, &member.admin, name).await
    }
}

/// The sum of a metric over its labels, named without the `causeway_` before it; `None` when the program at this admin
/// port does not answer or has no such metric.
pub(crate) async fn metric(client: &reqwest::Client, admin: &str, name: &str) -> Option<f64> {
    let asked = async {
        let answer = client.get(format!("http://{admin}/metrics")).send().await?;
        answer.text().await
    };
    let text = asked.await.ok()?;
    let lines = text.lines().filter(|line| line.trim_start_matches("causeway_").starts_with(name));
    let mut counts = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).peekable();
    counts.peek()?;
    Some(counts.sum())
}

/// Starts a program. Its output goes to `logs/<name>.log`; settings of whoever calls do not reach it.
pub(crate) fn spawn(
    dir: &Path,
    name: &str,
    program: &Path,
    environment: &[(&'static str, String)],
    admin: String,
) -> Result<Member> {
    let own = dir.join("processes").join(name);
    let logs = dir.join("logs");
    let starting = || format!("cannot start {name}");
    fs::create_dir_all(&own).and_then(|()| fs::create_dir_all(&logs)).with_context(starting)?;
    symlink(logs.join(format!("{name}.log")), own.join("out.txt")).with_context(starting)?;
    let mut command = Command::new(program);
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("CAUSEWAY_") {
            command.env_remove(variable);
        }
    }
    command.envs(environment.iter().map(|(variable, value)| (variable, value))).current_dir(dir);
    let node = Node::start(&mut command, &own).with_context(starting)?;
    Ok(Member { name: name.to_owned(), admin, node, dir: own })
}
