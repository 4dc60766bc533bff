//! A fleet of programs in this process, in a namespace of its own, with an org of its own.

use clap::{Parser, Subcommand};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Connection, ConnectionProperties};
use serde_json::{Map, Value};
use service::{Exit, Lifecycle, Problems};
use simulator::{Control, Simulator};
use testkit::eventually::PATIENCE;
use testkit::fleet::Outcomes;
use testkit::{Fleet, orders};

/// Retries that do not keep a test waiting.
pub(crate) const QUICK: &str = "[retry]\nmax_attempts = 20\ninitial_seconds = 0.1\nmax_seconds = 0.2\n";

/// Names and org of a fleet.
pub(crate) struct Stage {
    pub(crate) fleet: Fleet,
    pub(crate) told: Outcomes,
    org: Simulator,
    folder: tempfile::TempDir,
    amqp_url: String,
    publisher: Connection,
}

impl Stage {
    pub(crate) async fn new(order_processing: &str) -> Self {
        Self::on(simulator::Config::default(), order_processing).await
    }

    /// With an org of one's own.
    pub(crate) async fn on(org: simulator::Config, order_processing: &str) -> Self {
        let fleet = Fleet::new("fleet");
        fleet.connect().await.close().await;
        let stage = Self {
            told: fleet.outcomes().await,
            org: Simulator::start(org).await.expect("an org"),
            folder: tempfile::tempdir().expect("a folder"),
            amqp_url: fleet.amqp_url().to_owned(),
            publisher: Connection::connect(fleet.amqp_url(), ConnectionProperties::default()).await.expect("connected"),
            fleet,
        };
        stage.write_order_processing(order_processing);
        stage
    }

    /// The programs that are started from now on find the broker here.
    pub(crate) fn behind(mut self, amqp_url: String) -> Self {
        self.amqp_url = amqp_url;
        self
    }

    pub(crate) fn org(&self) -> Control {
        self.org.control()
    }

    pub(crate) fn write_order_processing(&self, text: &str) {
        std::fs::write(self.folder.path().join("order-processing.toml"), text).expect("written");
    }

    /// Flags for a program, those of the fleet and its own.
    fn flags(&self, own: &[(&str, &str)]) -> Vec<String> {
        let mut fleet = self.fleet.settings();
        fleet.retain(|(name, _)| name != testkit::AMQP_URL);
        fleet.push((testkit::AMQP_URL.to_owned(), self.amqp_url.clone()));
        let own = own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let flags = fleet.into_iter().chain(own).flat_map(|(name, value)| {
            let flag = name.trim_start_matches("CAUSEWAY_").to_lowercase().replace('_', "-");
            [format!("--{flag}"), value]
        });
        std::iter::once("a program".to_owned()).chain(flags).collect()
    }

    pub(crate) fn ingest(&self) -> Program {
        let mut problems = Problems::with_environment([]);
        let args = ingest::Args::parse_from(self.flags(&[("CAUSEWAY_PATIENCE", "20s")]));
        let config = ingest::Config::read(args, &mut problems).unwrap_or_else(|| panic!("{problems}"));
        let lifecycle = Lifecycle::new();
        lifecycle.spawn("ingest", ingest::run(config, lifecycle.clone()));
        Program(lifecycle)
    }

    pub(crate) fn writer(&self) -> Program {
        let file = self.folder.path().join("order-processing.toml").display().to_string();
        let url = self.org.base_url();
        let own = [
            ("CAUSEWAY_SALESFORCE_LOGIN_URL", url),
            ("CAUSEWAY_SALESFORCE_TRUSTED_HOSTS", url.trim_start_matches("http://")),
            ("CAUSEWAY_SALESFORCE_CLIENT_ID", "causeway-dev"),
            ("CAUSEWAY_ORDER_PROCESSING", file.as_str()),
            ("CAUSEWAY_OUTAGE_PROBE", "100ms"),
            ("CAUSEWAY_PATIENCE", "20s"),
        ];
        let mut problems = Problems::with_environment([("CAUSEWAY_SALESFORCE_CLIENT_SECRET", "causeway-dev-secret")]);
        let args = writer::Args::parse_from(self.flags(&own));
        let config = writer::Config::read(args, &mut problems).unwrap_or_else(|| panic!("{problems}"));
        let lifecycle = Lifecycle::new();
        lifecycle.spawn("writer", writer::run(config, lifecycle.clone()));
        Program(lifecycle)
    }

    /// Publishes as any publisher may: a body, and nothing else but what is in `properties`. Confirmed.
    pub(crate) async fn publish(&self, body: &[u8], properties: BasicProperties) {
        let channel = self.publisher.create_channel().await.expect("a channel");
        channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let exchange = self.fleet.topology().orders_exchange();
        let confirm = channel.basic_publish(exchange.into(), "".into(), options, body, properties).await.expect("sent");
        let confirmation = confirm.await.expect("an answer");
        assert!(confirmation.is_ack() && confirmation.take_message().is_none(), "the broker keeps it");
        let _ = channel.close(200, "OK".into()).await;
    }

    /// Publishes an order without any property.
    pub(crate) async fn publish_order(&self, order: &Value) {
        self.publish(order.to_string().as_bytes(), BasicProperties::default()).await;
    }

    /// What an operator gets from a verb of `causeway-replayer` with `--json`; the exit tells whether all went well.
    pub(crate) async fn ask(&self, words: &[&str]) -> (Exit, Value) {
        self.ask_if(words).await.expect("an answer")
    }

    /// The same; `None` where the verb refuses.
    pub(crate) async fn ask_if(&self, words: &[&str]) -> Option<(Exit, Value)> {
        let connection: &[&str] = match words.first() {
            Some(&"story") => &["amqp-url", "namespace", "partitions", "inboxes", "redis-url", "tenant"],
            _ => &["amqp-url", "namespace", "partitions", "inboxes"],
        };
        let flags = self.fleet.settings().into_iter().flat_map(|(name, value)| {
            let flag = name.trim_start_matches("CAUSEWAY_").to_lowercase().replace('_', "-");
            if connection.contains(&flag.as_str()) { vec![format!("--{flag}"), value] } else { Vec::new() }
        });
        let words = words.iter().map(|word| (*word).to_owned());
        let words = ["replayer", "--json"].map(str::to_owned).into_iter().chain(words).chain(flags);
        let CommandLine { verb, json } = CommandLine::parse_from(words);
        let tools = replayer::cli::Tools { terminal: replayer::terminal::Terminal::PIPE, json };
        let report = match verb {
            Verb::Show(show) => show.run(&tools).await,
            Verb::Replay(replay) => replay.run(&tools).await,
            Verb::List(list) => list.run(&tools).await,
            Verb::Discard(discard) => discard.run(&tools).await,
            Verb::Story(tell) => tell.run(&tools).await,
        };
        let report = report.ok()?;
        Some((report.exit, serde_json::from_slice(&report.answer).expect("one JSON document")))
    }

    pub(crate) fn records(&self, object: &str) -> Vec<Map<String, Value>> {
        self.org().records(object).expect("an object of the org")
    }

    /// Each of these customers' orders, from the first to this one, is in the org once and in order, with one event.
    pub(crate) fn assert_each_once_and_in_order(&self, customers: &[(&str, u32)]) {
        let records = names(self.records("LimioOrder__c").iter(), "LimioId__c");
        let events = self.org().events();
        let events = names(events.iter().map(|event| &event.payload), "i42as__OrderNumber__c");
        for (customer, count) in customers {
            let ids: Vec<String> = (1..=*count).map(|number| orders::order_id(customer, number)).collect();
            let references: Vec<String> = (1..=*count).map(|number| orders::reference(customer, number)).collect();
            let of_customer = |all: &[String], wanted: &[String]| -> Vec<String> {
                all.iter().filter(|name| wanted.contains(name)).cloned().collect()
            };
            assert_eq!(of_customer(&records, &ids), ids);
            assert_eq!(of_customer(&events, &references), references);
        }
        let expected: usize = customers.iter().map(|(_, count)| *count as usize).sum();
        assert_eq!((records.len(), events.len()), (expected, expected));
        assert_eq!(self.records("Account").len(), customers.len());
    }

    /// Stops the programs and makes sure that nothing is left in the queues.
    pub(crate) async fn end(&self, programs: impl IntoIterator<Item = Program>) {
        for program in programs {
            program.stop().await;
        }
        let session = self.fleet.connect().await;
        assert_eq!(self.fleet.left_over(&session).await, Vec::<String>::new());
        session.close().await;
    }
}

fn names<'a>(rows: impl Iterator<Item = &'a Map<String, Value>>, field: &str) -> Vec<String> {
    rows.map(|row| row.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()).collect()
}

/// The command line, as far as these tests use it.
#[derive(Debug, Parser)]
struct CommandLine {
    #[command(subcommand)]
    verb: Verb,
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Show(replayer::cli::show::Show),
    Replay(replayer::cli::replay::Replay),
    List(replayer::cli::list::List),
    Discard(replayer::cli::discard::Discard),
    Story(replayer::cli::story::Tell),
}

/// A program inside this process; it ends with the test.
pub(crate) struct Program(Lifecycle);

impl Program {
    /// Reads its files again, as on SIGHUP.
    pub(crate) fn reload(&self) {
        self.0.reload();
    }

    /// Waits until it has nothing left to do, then stops it.
    async fn stop(self) {
        testkit::eventually("the lanes to be empty", async || {
            let families = self.0.registry().gather();
            let lanes = families.iter().filter(|family| family.name().ends_with("_lanes"));
            lanes
                .flat_map(prometheus::proto::MetricFamily::get_metric)
                .all(|metric| metric.get_gauge().get_value() < 1.0)
        })
        .await;
        self.0.drain();
        let exit = tokio::time::timeout(PATIENCE, self.0.ended()).await;
        assert_eq!(exit.expect("it drains in time"), Exit::Done);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.0.abort();
    }
}
