//! The sign-in of a fleet: one for all writers, rotation, lost answers, and a grant that is gone.

use domain::failure::Reason;
use domain::story::{Place, Standing, What, tell};
use nix::sys::signal::Signal;
use simulator::{Fault, FaultKind, OauthAction};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::stage::{ONE_ATTEMPT, Process, QUICK, Stage, fault_strikes, id_of, orders_of};
use crate::stories::recorded;

const TOKEN: &str = "/services/oauth2/token";
const KEY: &str = "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=";
const KEY_VARIABLE: &str = "CAUSEWAY_SALESFORCE_TOKEN_KEY";
const CALLBACK: &str = "http://localhost:9/callback";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// An org whose refresh tokens rotate, and whose grants end when a spent one comes back after this time.
fn rotating(grace_s: u64) -> simulator::Config {
    let mut config = simulator::Config::default();
    config.settings.auto_approve = true;
    config.settings.refresh_rotation = true;
    config.settings.refresh_reuse_detection = true;
    config.settings.refresh_grace_s = grace_s;
    config
}

/// Authorises the connection, as an operator does with a browser; returns the refresh token.
async fn authorise(stage: &Stage) -> String {
    authorise_for(stage, "api%20refresh_token").await
}

/// As [`authorise`], for this scope.
async fn authorise_for(stage: &Stage, scope: &str) -> String {
    let query = format!(
        "response_type=code&client_id=causeway-dev&redirect_uri={CALLBACK}&scope={scope}\
         &code_challenge={CHALLENGE}&code_challenge_method=S256"
    );
    let answer = http(stage, &format!("GET /services/oauth2/authorize?{query}"), "").await;
    let (_, code) = answer.split_once("code=").unwrap_or_else(|| panic!("no code in {answer}"));
    let code = code.split(['&', '\r', '\n', '"']).next().expect("a code");
    let form = format!(
        "grant_type=authorization_code&code={code}&client_id=causeway-dev&client_secret=causeway-dev-secret\
         &redirect_uri={CALLBACK}&code_verifier={VERIFIER}"
    );
    let answer = http(stage, &format!("POST {TOKEN}"), &form).await;
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    let body: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("no JSON in {answer}"));
    body["refresh_token"].as_str().unwrap_or_else(|| panic!("no refresh token in {answer}")).to_owned()
}

async fn http(stage: &Stage, request: &str, form: &str) -> String {
    let host = stage.org_host();
    let mut stream = TcpStream::connect(host).await.expect("the org listens");
    let text = format!(
        "{request} HTTP/1.0\r\nhost: {host}\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
        form.len()
    );
    stream.write_all(text.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    answer
}

/// A machine of the fleet: its writers share a grant file.
struct Machine(tempfile::TempDir);

impl Machine {
    /// With the refresh token that an operator put there.
    fn given(refresh_token: &str) -> Self {
        let machine = Self(tempfile::tempdir().expect("a folder"));
        machine.give(refresh_token);
        machine
    }

    fn give(&self, refresh_token: &str) {
        std::fs::write(self.0.path().join("grant"), refresh_token).expect("written");
    }

    fn holds(&self) -> String {
        std::fs::read_to_string(self.0.path().join("grant")).expect("read")
    }

    /// The version of the sealed grant; `None` while an operator's lies there.
    fn version(&self) -> Option<u64> {
        serde_json::from_str::<serde_json::Value>(&self.holds()).ok()?["version"].as_u64()
    }

    fn writer(&self, stage: &Stage, more: &[(&str, &str)]) -> Process {
        let file = self.0.path().join("grant");
        let mut settings = vec![
            ("CAUSEWAY_SALESFORCE_AUTH", "refresh-token"),
            ("CAUSEWAY_SALESFORCE_GRANT_FILE", file.to_str().expect("a path")),
            ("CAUSEWAY_SALESFORCE_TOKEN_LEASE", "2s"),
        ];
        settings.extend_from_slice(more);
        stage.process_with(&settings)
    }
}

fn actions(stage: &Stage, action: OauthAction) -> usize {
    stage.org().oauth_audit().iter().filter(|event| event.action == action).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_signs_in_once_and_again_only_when_its_session_ends() {
    let mut stage = Stage::for_several(QUICK).await;
    let writers = [(); 3].map(|()| stage.process_with(&[(KEY_VARIABLE, KEY)]));
    for writer in &writers {
        writer.says("started").await;
    }
    let customers = ["ann", "bob", "cleo", "dora"];
    for number in 1..=2 {
        let orders = customers.map(|customer| testkit::orders::new_order(customer, number));
        stage.written(&orders).await;
        assert_eq!(actions(&stage, OauthAction::Issued), number as usize);
        stage.org().expire_sessions();
    }
    stage.assert_each_once_and_in_order(&customers.map(|customer| (customer, 2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotating_refresh_token_serves_machines_of_a_fleet_whose_redis_is_emptied() {
    let mut stage = Stage::on_several(rotating(0), QUICK).await;
    let token = authorise(&stage).await;
    // The same token is put on both machines, and is spent on one of them soon.
    let machines = [Machine::given(&token), Machine::given(&token)];
    let writers = machines.each_ref().map(|machine| machine.writer(&stage, &[(KEY_VARIABLE, KEY)]));
    for writer in &writers {
        writer.says("started").await;
    }
    let customers = ["ann", "bob", "cleo", "dora"];
    for number in 1..=3 {
        let orders = customers.map(|customer| testkit::orders::new_order(customer, number));
        stage.written(&orders).await;
        if number == 2 {
            stage.fleet.forget().await;
        }
        stage.org().expire_sessions();
    }
    stage.assert_each_once_and_in_order(&customers.map(|customer| (customer, 3)));
    assert!(actions(&stage, OauthAction::Refreshed) >= 3, "{:#?}", stage.org().oauth_audit());
    assert_eq!(actions(&stage, OauthAction::ReuseDetected), 0);
    for (machine, writer) in machines.iter().zip(&writers) {
        assert!(machine.holds().contains("sealed") && !machine.holds().contains(&token), "{}", machine.holds());
        assert!(!writer.said().contains(&token));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_is_killed_while_it_renews_leaves_the_grant_to_the_others() {
    for (kind, grace_s) in [(FaultKind::Hold, 0), (FaultKind::HoldAnswer, 3600)] {
        let mut stage = Stage::on_several(rotating(grace_s), QUICK).await;
        let machine = Machine::given(&authorise(&stage).await);
        let first = machine.writer(&stage, &[(KEY_VARIABLE, KEY)]);
        first.says("started").await;
        stage.written(&orders_of("ann", 1)).await;
        stage.org().arm(Fault::once(kind).on_path(TOKEN));
        stage.org().expire_sessions();
        stage.hand_on(&orders_of("ann", 2)[1..]).await;
        stage.org().until_held(1).await;
        let second = machine.writer(&stage, &[(KEY_VARIABLE, KEY)]);
        first.signal(Signal::SIGKILL);
        stage.told.until("order.written", orders_of("ann", 2)[1..].iter().map(id_of)).await;
        stage.assert_each_once_and_in_order(&[("ann", 2)]);
        assert_eq!(actions(&stage, OauthAction::ReuseDetected), 0);
        second.says("is presented once more").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_that_spent_the_grant_stops_the_fleet_until_an_operator_gives_a_new_one() {
    // With the first attempt that counts an order would become a letter.
    let mut stage = Stage::on_several(rotating(0), ONE_ATTEMPT).await;
    let machines = [Machine::given(&authorise(&stage).await), Machine::given("")];
    let first = machines[0].writer(&stage, &[(KEY_VARIABLE, KEY)]);
    first.says("started").await;
    let second = machines[1].writer(&stage, &[(KEY_VARIABLE, KEY)]);
    second.says("started").await;
    stage.written(&[orders_of("ann", 1), orders_of("bob", 1)].concat()).await;
    stage.org().arm(Fault::once(FaultKind::CommitThenDrop).on_path(TOKEN));
    stage.org().expire_sessions();
    let orders = [&orders_of("ann", 3)[1..], &orders_of("bob", 3)[1..], &orders_of("cleo", 2)].concat();
    stage.hand_on(&orders).await;
    fault_strikes(&stage.org(), 1).await;
    testkit::eventually("the fleet to stop", async || {
        [&first, &second].iter().any(|writer| writer.said().contains("Salesforce no longer accepts the grant"))
    })
    .await;
    let said = "No default instance, please select a default external key for this service";
    testkit::eventually("the reason", async || [&first, &second].iter().any(|writer| writer.said().contains(said)))
        .await;
    let paused = "causeway_intake_paused{reason=\"authentication_failed\"} 1";
    testkit::eventually("it to be told where one looks for what a process lacks", async || {
        for writer in [&first, &second] {
            let (ready, metrics) = (writer.answers("/ready").await, writer.answers("/metrics").await);
            if ready.contains(" 200 ") && ready.contains(said) && metrics.contains(paused) {
                return true;
            }
        }
        false
    })
    .await;
    let waiting = testkit::eventually_some("an order whose story says what it waits for", async || {
        for order in &orders {
            let steps = recorded(&stage, &id_of(order)).await;
            let last = steps.last().map(|step| &step.what);
            if let Some(What::Paused { until, reason: Reason::AuthenticationFailed }) = last {
                let now = *until;
                return Some(Standing::of(&tell(steps, Vec::new()), &Place::Unknown, now, |_| "then".to_owned()));
            }
        }
        None
    })
    .await;
    assert_eq!(waiting.state, "paused");
    assert!(waiting.sentence.contains(said), "{}", waiting.sentence);
    assert!(waiting.todo.contains("authorise the connected app again"), "{}", waiting.todo);
    machines[1].give(&authorise(&stage).await);
    stage.told.until("order.written", orders.iter().map(id_of)).await;
    stage.assert_each_once_and_in_order(&[("ann", 3), ("bob", 3), ("cleo", 2)]);
    assert_eq!(stage.fleet.letters().await.len(), 0);
    // Each probe of each writer would have presented it again.
    let audit = stage.org().oauth_audit();
    let refused = audit.iter().filter(|event| event.action == OauthAction::Refused).count();
    assert!(actions(&stage, OauthAction::ReuseDetected) == 1 && refused <= 1, "{audit:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_comes_late_never_replaces_the_grant_that_an_operator_gave_meanwhile() {
    let mut stage = Stage::on_several(rotating(0), QUICK).await;
    let machines = [Machine::given(&authorise(&stage).await), Machine::given("")];
    let late = machines[0].writer(&stage, &[(KEY_VARIABLE, KEY)]);
    late.says("started").await;
    stage.written(&orders_of("ann", 1)).await;
    stage.org().arm(Fault::once(FaultKind::HoldAnswer).on_path(TOKEN));
    stage.org().expire_sessions();
    stage.hand_on(&orders_of("ann", 2)[1..]).await;
    stage.org().until_held(1).await;

    let other = machines[1].writer(&stage, &[(KEY_VARIABLE, KEY)]);
    machines[1].give(&authorise_for(&stage, "api%20refresh_token%20openid").await);
    other.says("a new grant was taken from the grant file").await;
    testkit::eventually("the new grant on both machines", async || {
        machines[1].version().is_some_and(|version| machines[0].version() == Some(version))
    })
    .await;
    stage.org().release_held();
    late.says("a younger grant is in Redis; the one that came just now is not kept").await;
    stage.told.until("order.written", orders_of("ann", 2)[1..].iter().map(id_of)).await;

    stage.org().expire_sessions();
    stage.written(&[orders_of("bob", 1), orders_of("cleo", 1)].concat()).await;
    let audit = stage.org().oauth_audit();
    let renewed = audit.iter().rfind(|event| event.action == OauthAction::Refreshed).expect("a renewal");
    assert!(renewed.scope.contains("openid"), "the fleet went back to the old grant: {audit:#?}");
    assert_eq!(actions(&stage, OauthAction::ReuseDetected), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_emptied_during_a_renewal_lets_nobody_present_its_refresh_token_again() {
    let mut stage = Stage::with(16, rotating(0), QUICK).await;
    let machine = Machine::given(&authorise(&stage).await);
    let writers = [(); 2].map(|()| machine.writer(&stage, &[(KEY_VARIABLE, KEY)]));
    for writer in &writers {
        writer.says("started").await;
    }
    // So many that each writer has some of them.
    let customers: Vec<String> = ('a'..='x').map(|letter| format!("an{letter}")).collect();
    let nth =
        |number| customers.iter().map(|customer| testkit::orders::new_order(customer, number)).collect::<Vec<_>>();
    stage.written(&nth(1)).await;
    for writer in &writers {
        writer.owns_some().await;
    }
    stage.org().arm(Fault::once(FaultKind::HoldAnswer).on_path(TOKEN));
    stage.org().expire_sessions();
    let orders = nth(2);
    stage.hand_on(&orders).await;
    stage.org().until_held(1).await;
    stage.fleet.forget().await;
    let waits = "the answer to another writer's renewal may still come";
    testkit::eventually("one to wait for the other", async || {
        writers.iter().any(|writer| writer.said().contains(waits))
    })
    .await;
    stage.org().release_held();
    stage.told.until("order.written", orders.iter().map(id_of)).await;
    stage.assert_each_once_and_in_order(&customers.iter().map(|customer| (customer.as_str(), 2)).collect::<Vec<_>>());
    assert_eq!(actions(&stage, OauthAction::ReuseDetected), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_was_away_for_longer_than_the_lease_gets_the_successor_before_anybody_presents_again() {
    let (mut stage, proxy) = Stage::on_several(rotating(0), QUICK).await.with_proxy_before_redis().await;
    let machines = [Machine::given(&authorise(&stage).await), Machine::given("")];
    let writers = machines.each_ref().map(|machine| machine.writer(&stage, &[(KEY_VARIABLE, KEY)]));
    for writer in &writers {
        writer.says("started").await;
    }
    let customers = ["ann", "bob", "cleo", "dora"];
    stage.written(&customers.map(|customer| testkit::orders::new_order(customer, 1))).await;
    stage.org().arm(Fault::once(FaultKind::HoldAnswer).on_path(TOKEN));
    stage.org().expire_sessions();
    let orders = customers.map(|customer| testkit::orders::new_order(customer, 2));
    stage.hand_on(&orders).await;
    stage.org().until_held(1).await;
    proxy.cut();
    stage.org().release_held();
    testkit::eventually("the successor to lie in memory alone", async || {
        writers.iter().any(|writer| writer.said().contains("it is kept in memory until the store takes it"))
    })
    .await;
    proxy.restore();
    stage.told.until("order.written", orders.iter().map(id_of)).await;
    stage.assert_each_once_and_in_order(&customers.map(|customer| (customer, 2)));
    assert_eq!(actions(&stage, OauthAction::ReuseDetected), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_of_a_fleet_that_starts_with_a_dead_grant_waits_for_the_operators_new_one() {
    let mut stage = Stage::on_several(rotating(0), ONE_ATTEMPT).await;
    let machine = Machine::given(&authorise(&stage).await);
    stage.org().revoke_tokens(None, None).expect("revoked");
    let writer = machine.writer(&stage, &[(KEY_VARIABLE, KEY)]);
    writer.says("Salesforce no longer accepts the grant").await;
    machine.give(&authorise(&stage).await);
    stage.written(&orders_of("ann", 1)).await;
    let refused = actions(&stage, OauthAction::Refused);
    assert_eq!(refused, 1, "a grant that is known to be dead is not presented: {:#?}", stage.org().oauth_audit());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_under_a_second_is_refused_at_the_start() {
    let stage = Stage::new(QUICK).await;
    let mut writer = stage.process_with(&[("CAUSEWAY_SALESFORCE_TOKEN_LEASE", "0s")]);
    assert_eq!(writer.code().await, 78);
    assert!(writer.said().contains("CAUSEWAY_SALESFORCE_TOKEN_LEASE"), "{}", writer.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_without_a_key_reads_its_grant_file_again_when_the_grant_is_gone() {
    let mut stage = Stage::on_several(rotating(0), ONE_ATTEMPT).await;
    let machine = Machine::given(&authorise(&stage).await);
    let writer = machine.writer(&stage, &[]);
    stage.written(&orders_of("ann", 1)).await;
    stage.org().revoke_tokens(None, None).expect("revoked");
    stage.hand_on(&orders_of("ann", 2)[1..]).await;
    writer.says("authentication_failed").await;
    machine.give(&authorise(&stage).await);
    stage.told.until("order.written", orders_of("ann", 2)[1..].iter().map(id_of)).await;
    stage.assert_each_once_and_in_order(&[("ann", 2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_none_is_told_without_showing_it() {
    let stage = Stage::new(QUICK).await;
    let mut writer = stage.process_with(&[(KEY_VARIABLE, "hush-hush")]);
    assert_eq!(writer.code().await, 78);
    assert!(writer.said().contains(KEY_VARIABLE) && !writer.said().contains("hush-hush"), "{}", writer.said());
}
