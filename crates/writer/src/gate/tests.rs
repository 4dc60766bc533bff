//! The gate between a real Redis and a simulated org.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use domain::envelope::DecodeSettings;
use domain::order::id::TenantId;
use ledger::{RedisLedger, Settings};
use queue::handler::Handler as _;
use salesforce::{ApiVersion, ClientCredentials, ClientSettings, LoginSettings, TokenRetry};
use simulator::{Fault, FaultKind, Simulator};
use testkit::eventually;

use super::*;
use crate::handler::{HandlerSettings, OrderWriter};
use crate::metrics::Metrics;

const LIMIT: u64 = 1_000;

/// Beyond what the fleet goes to.
const SPENT: u64 = 950;

/// An org, and what the fleet shares.
struct Stage {
    org: Simulator,
    namespace: String,
}

/// One process's gate, with its client.
struct Process {
    gate: Gate,
    lifecycle: Lifecycle,
    /// How often the org was asked by a probe.
    asked: AtomicU64,
}

impl Stage {
    async fn new() -> Self {
        let mut config = simulator::Config::default();
        config.settings.api_limit = LIMIT;
        let org = Simulator::start(config).await.expect("an org");
        Self { org, namespace: testkit::namespace("gate") }
    }

    async fn ledger(&self) -> RedisLedger {
        let ledger = RedisLedger::connect(&testkit::redis_url(), &self.namespace, Settings::RECOMMENDED).await;
        ledger.expect("Redis answers")
    }

    async fn budget(&self) -> Budget {
        self.ledger().await.budget()
    }

    /// Some answer told that so many calls are used.
    async fn told(&self, used: u64) {
        self.budget().await.ends("another", 0, Some((used, LIMIT))).await.expect("Redis answers");
    }

    async fn used(&self) -> u64 {
        self.budget().await.spending().await.expect("Redis answers").usage.expect("it was told").used
    }

    /// A process that looks at a spent allocation after this time, and at an org that is away after 50 ms at the latest.
    async fn process(&self, quota_probe: Duration) -> Process {
        let login = LoginSettings {
            login_url: self.org.base_url().to_owned(),
            client_id: "causeway-dev".to_owned(),
            trusted_hosts: Vec::new(),
            connect_timeout: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(10),
            retry: TokenRetry {
                tries: 3,
                first: Duration::from_millis(1),
                longest: Duration::from_millis(2),
                patience: Duration::from_secs(1),
            },
        };
        let tokens = Arc::new(ClientCredentials::new(login, "causeway-dev-secret".into()).expect("settings"));
        let settings = ClientSettings {
            api_version: ApiVersion::V62,
            deadline: Duration::from_millis(500),
            connect_timeout: Duration::from_secs(5),
            client_name: "causeway-test/1".to_owned(),
        };
        let client = Client::new(settings, tokens).expect("settings");
        let lifecycle = Lifecycle::new();
        let settings = GateSettings {
            reserve: Reserve { percent: 10, calls: 0, replays_percent: 10 },
            quota_probe,
            outage_probe: Duration::from_millis(50),
            longest: Duration::from_secs(20),
        };
        let gauges = Gauges::register(lifecycle.registry()).expect("names");
        let gate = Gate::new(settings, self.budget().await, client, gauges, &lifecycle);
        Process { gate, lifecycle, asked: AtomicU64::new(0) }
    }
}

impl Process {
    /// The writer behind the gate.
    async fn writer(self, stage: &Stage) -> OrderWriter {
        let settings = HandlerSettings {
            decode: DecodeSettings::inside_fleet(TenantId::parse("acme").expect("a name")),
            lease: Duration::from_secs(20),
            deadline: Duration::from_secs(10),
            outage_probe: self.gate.settings.outage_probe,
            quota_probe: self.gate.settings.quota_probe,
            reserve: self.gate.settings.reserve,
        };
        let registry = self.lifecycle.registry();
        let metrics = Metrics::register(registry, self.lifecycle.health().clone()).expect("names");
        let (_, processing) = tokio::sync::watch::channel(Arc::default());
        let (client, ledger) = (self.gate.client.clone(), Arc::new(stage.ledger().await));
        OrderWriter::new(settings, client, ledger, processing, Arc::new(metrics), Arc::new(self.gate))
    }

    /// Asks whether orders may go, while the org is away for this reason.
    async fn probe(&self, away: Option<Reason>) -> Result<(), Reason> {
        let ask = async {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let away = away.map(|reason| (Failure::transient(reason, "scripted"), Duration::ZERO));
            Asked { calls: 1, away }
        };
        match self.gate.probe(ask).await {
            Ok(()) => Ok(()),
            Err(Outcome::Outage { failure, .. }) => Err(failure.reason),
            Err(other) => panic!("{other:?}"),
        }
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    fn notices(&self) -> Vec<&'static str> {
        self.lifecycle.health().notices().into_keys().collect()
    }

    /// A batch of new orders that makes so many calls, of which no answer tells a count.
    async fn batch(&self, calls: u64) -> bool {
        let Ok(pass) = self.gate.enter(true, false).await else { return false };
        self.gate.leave(pass, calls, &[]).await;
        true
    }
}

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test(flavor = "multi_thread")]
async fn while_the_budget_is_spent_probes_say_so_and_ask_nothing() {
    let stage = Stage::new().await;
    stage.told(SPENT).await;
    let processes = [stage.process(HOUR).await, stage.process(HOUR).await];
    for _ in 0..50 {
        for process in &processes {
            assert_eq!(process.probe(None).await, Err(Reason::QuotaExhausted));
        }
    }
    assert_eq!(processes.iter().map(Process::asked).sum::<u64>(), 0);
    assert_eq!(stage.org.control().api_calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_probes_at_a_count_that_is_too_old_one_asks_and_the_others_wait_for_what_it_is_told() {
    let stage = Stage::new().await;
    stage.told(SPENT).await;
    let (one, other) = (stage.process(Duration::from_millis(1)).await, stage.process(Duration::from_millis(1)).await);
    let look = async {
        let others = other.probe(None).await;
        assert_eq!(others, Err(Reason::QuotaExhausted), "one is looking");
        // Its answer tells the count: a few calls.
        one.gate.client.limits().await.expect("answered");
        Asked { calls: 1, away: None }
    };
    one.gate.probe(look).await.expect("there is room again");
    assert!(stage.used().await < 10);
    assert_eq!((other.probe(None).await, other.asked()), (Ok(()), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_org_is_away_one_process_of_the_fleet_asks_after_each_pause_and_one_that_has_just_started_too() {
    let stage = Stage::new().await;
    let one = stage.process(HOUR).await;
    assert_eq!(one.probe(Some(Reason::AnswerLost)).await, Err(Reason::AnswerLost));
    assert!(one.lifecycle.health().notices().contains_key("salesforce"));
    let started = stage.process(HOUR).await;
    stage.budget().await.hold("salesforce", HOUR).await.expect("Redis answers");
    for process in [&one, &started] {
        assert!(process.probe(None).await.is_err(), "nobody asks before the pause is over");
    }
    assert_eq!((one.asked(), started.asked()), (1, 0));
    stage.budget().await.hold("salesforce", Duration::from_millis(30)).await.expect("Redis answers");
    eventually("an answer", async || started.probe(None).await.is_ok()).await;
    assert_eq!(started.asked(), 1);
    assert_eq!((started.probe(None).await, started.asked()), (Ok(()), 1), "what was answered a moment ago holds");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_that_came_before_a_batch_is_not_told_as_what_the_batch_was_told() {
    let stage = Stage::new().await;
    let process = stage.process(HOUR).await;
    // A header of long ago, on which much has been called since.
    process.gate.client.limits().await.expect("answered");
    stage.told(500).await;
    assert!(process.batch(1).await, "a batch that was told nothing, such as one whose answer was lost");
    assert_eq!(stage.used().await, 500);
    let pass = process.gate.enter(true, false).await.expect("it may go");
    process.gate.client.limits().await.expect("answered");
    process.gate.leave(pass, 1, &[]).await;
    assert!(stage.used().await < 10, "what an answer told within the batch is");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_at_a_spent_allocation_that_called_nothing_is_left_to_the_next_one() {
    let stage = Stage::new().await;
    stage.told(SPENT).await;
    let soon = Duration::from_millis(1);
    let (one, other) = (stage.process(soon).await, stage.process(soon).await);
    assert!(one.batch(0).await, "all of its orders were settled before");
    assert!(other.batch(1).await, "so another one looks, and is told nothing");
    assert!(!one.batch(1).await, "then nobody looks for a while");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_makes_no_further_request_once_the_budget_is_spent() {
    let stage = Stage::new().await;
    stage.told(10).await;
    let process = stage.process(HOUR).await;
    process.gate.goes_on().await.expect("there is room");
    stage.told(SPENT).await;
    assert!(matches!(process.gate.goes_on().await, Err(Outcome::Outage { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_says_that_orders_wait_only_while_they_do() {
    let stage = Stage::new().await;
    stage.told(SPENT).await;
    let process = stage.process(HOUR).await;
    assert!(!process.batch(1).await);
    assert_eq!(process.notices(), ["salesforce_quota"]);
    // Between the two ceilings: new orders go, replays would not.
    stage.told(850).await;
    assert!(process.batch(1).await);
    assert_eq!(process.notices(), Vec::<&str>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_without_orders_forgets_an_outage_that_nobody_of_the_fleet_minds() {
    let stage = Stage::new().await;
    let process = stage.process(HOUR).await;
    assert!(process.probe(Some(Reason::SalesforceUnavailable)).await.is_err());
    let forecast = async || {
        process.gate.forget_an_outage_that_nobody_minds().await;
        process.notices()
    };
    stage.budget().await.hold("salesforce", HOUR).await.expect("Redis answers");
    eventually("the pause to pass", async || process.gate.breaker().state(process.gate.now()) == State::HalfOpen).await;
    for _ in 0..3 {
        assert_eq!(forecast().await, ["salesforce"], "another process leaves it alone");
    }
    stage.budget().await.probed("salesforce").await.expect("Redis answers");
    assert_eq!(forecast().await, ["salesforce"]);
    assert_eq!(forecast().await, Vec::<&str>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_org_is_back_when_it_answers_and_not_while_it_hangs_or_says_that_it_is_away() {
    let forbidden = FaultKind::RefuseRequest { code: "FORBIDDEN".into(), message: "?".into(), status: 403 };
    for (fault, away) in [
        (FaultKind::Pass, None),
        // A user who may not read the record that is asked for may write orders all the same.
        (forbidden, None),
        (FaultKind::Hold, Some(Reason::AnswerLost)),
        (FaultKind::DropBefore, Some(Reason::AnswerLost)),
        (FaultKind::UnknownException, Some(Reason::AnswerLost)),
        (FaultKind::UnavailableHtml, Some(Reason::SalesforceUnavailable)),
        (FaultKind::SessionNotValidForRest, Some(Reason::AuthenticationFailed)),
        (FaultKind::ApiDisabled, Some(Reason::SalesforceMisconfigured)),
        (FaultKind::DailyLimit, Some(Reason::QuotaExhausted)),
    ] {
        let stage = Stage::new().await;
        let process = stage.process(HOUR).await;
        // It knows its way: a token is no question.
        process.gate.client.limits().await.expect("answered");
        let told = format!("{fault:?}");
        stage.org.control().arm(Fault::always(fault));
        let writer = process.writer(&stage).await;
        let found = writer.probe().await.err().map(|outage| outage.failure.reason);
        assert_eq!(found, away, "{told}");
        stage.org.control().clear_faults();
        eventually("it to be back", async || writer.probe().await.is_ok()).await;
    }
}

#[test]
fn a_time_is_told_by_the_clock() {
    assert_eq!(clock(Time::from_secs(1_790_000_123)), "14:15:23 UTC");
    assert_eq!(clock(Time::ZERO), "00:00:00 UTC");
}
