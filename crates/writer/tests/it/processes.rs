//! The writer as a process: signals, exit codes, and a death at the worst moment.

use nix::sys::signal::Signal;
use simulator::{Fault, FaultKind};
use testkit::TcpProxy;
use testkit::orders::new_order;

use crate::stage::{Process, QUICK, Stage, fault_strikes, id_of, orders_of};

const GRAPH: &str = "/composite/graph";

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_is_killed_during_a_call_leaves_every_order_written_once_and_in_order() {
    let stage = Stage::for_several(QUICK).await;
    let mut stage = stage.set("CAUSEWAY_SALESFORCE_DEADLINE", "2s").set("CAUSEWAY_LEASE", "3s");
    // The call outlives its writer and is carried out while the other one has taken over.
    stage.org().arm(Fault::once(FaultKind::Slow { ms: 1_500 }).on_path(GRAPH));
    let first = stage.process();
    first.says("started").await;
    let orders = [orders_of("ann", 4), orders_of("bob", 4), orders_of("cleo", 4)].concat();
    stage.hand_on(&orders).await;
    fault_strikes(&stage.org(), 1).await;
    let second = stage.process();
    first.signal(Signal::SIGKILL);
    stage.told.until("order.written", orders.iter().map(id_of)).await;
    stage.assert_each_once_and_in_order(&[("ann", 4), ("bob", 4), ("cleo", 4)]);
    assert_eq!(stage.fleet.letters().await.len(), 0);
    drop(second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_was_frozen_beyond_its_lease_wakes_and_neither_writes_nor_settles_anything() {
    let stage = Stage::for_several(QUICK).await;
    let mut stage = stage.set("CAUSEWAY_SALESFORCE_DEADLINE", "3s").set("CAUSEWAY_LEASE", "4s");
    let url = stage.fleet.amqp_url().to_owned();
    let port = url.split('@').next_back().and_then(|rest| rest.split(':').nth(1)).expect("an address");
    let port = port.split('/').next().and_then(|port| port.parse().ok()).expect("a port");
    let proxy = TcpProxy::before(port).await.expect("a proxy");
    let frozen = stage.process_with(&[(testkit::AMQP_URL, &proxy.url(&url, port))]);
    frozen.says("started").await;
    stage.org().arm(Fault::once(FaultKind::Hold).on_path(GRAPH));
    let orders = [orders_of("ann", 3), orders_of("bob", 3), orders_of("cleo", 3)].concat();
    stage.hand_on(&orders).await;
    stage.org().until_held(1).await;
    frozen.signal(Signal::SIGSTOP);
    // The broker gives it up at once, and not only when its heartbeats have been missed.
    proxy.cut();
    let second = stage.process();
    stage.told.until("order.written", orders.iter().map(id_of)).await;
    let customers = [("ann", 3), ("bob", 3), ("cleo", 3)];
    stage.assert_each_once_and_in_order(&customers);
    assert!(stage.queries() >= 1, "what the frozen one had in hand was looked up");

    // Now the org carries out what it had from the frozen one, and that one wakes.
    stage.org().release_held();
    frozen.signal(Signal::SIGCONT);
    proxy.restore();
    frozen.says("the session with RabbitMQ ended").await;
    testkit::eventually("the late request to be refused", async || {
        stage.graph_requests().iter().all(|request| request.status != 0)
    })
    .await;
    stage.assert_each_once_and_in_order(&customers);
    // What was settled stays settled: delivered again, every order is told with the same words, and costs nothing.
    let calls = stage.org().api_calls();
    stage.written(&orders).await;
    assert_eq!(stage.org().api_calls(), calls);
    stage.assert_each_once_and_in_order(&customers);
    assert_eq!(stage.fleet.letters().await.len(), 0);
    drop((frozen, second));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_writers_share_the_partitions_without_writing_anything_twice() {
    let mut stage = Stage::for_several(QUICK).await;
    let (first, second) = (stage.process(), stage.process());
    first.says("started").await;
    second.says("started").await;
    let customers = ["ann", "bob", "cleo", "dora"];
    let orders: Vec<_> = (1..=5).flat_map(|number| customers.map(|customer| new_order(customer, number))).collect();
    stage.written(&orders).await;
    stage.assert_each_once_and_in_order(&customers.map(|customer| (customer, 5)));
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_finishes_what_is_in_flight_and_hands_the_rest_back() {
    let mut stage = Stage::new(QUICK).await;
    stage.org().arm(Fault::once(FaultKind::Slow { ms: 1_000 }).on_path(GRAPH));
    let mut process = stage.process();
    stage.hand_on(&orders_of("ann", 3)).await;
    fault_strikes(&stage.org(), 1).await;
    process.signal(Signal::SIGTERM);
    assert_eq!(process.code().await, 0, "{}", process.said());
    assert_eq!(stage.told.next().await.kind, "order.written", "what was in flight");
    assert_eq!(stage.order_records().len(), 1);
    assert_eq!(stage.fleet.left_over(&stage.session).await.len(), 1, "the rest is in its queue");

    let writer = stage.writer();
    stage.told.until("order.written", orders_of("ann", 3)[1..].iter().map(id_of)).await;
    stage.assert_each_once_and_in_order(&[("ann", 3)]);
    let lookups = stage.org().requests().iter().filter(|request| request.path.ends_with("/query")).count();
    assert_eq!(lookups, 0, "nothing was left unknown");
    stage.end(writer).await;
}

/// Under load, with a standby: what the first has not begun is written by the second, in order, and nothing is written twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_is_told_to_end_under_load_hands_over_to_its_standby_in_order() {
    let mut stage = Stage::for_several(QUICK).await;
    stage.org().arm(Fault::always(FaultKind::Slow { ms: 100 }).on_path(GRAPH));
    let few = [("CAUSEWAY_BATCH_ORDERS", "4"), ("CAUSEWAY_LOG", "info")];
    let mut first = stage.process_with(&few);
    let customers = ["ann", "bob", "cleo", "dora", "elsa", "finn", "gus", "hugo"];
    let orders: Vec<_> = (1..=12).flat_map(|number| customers.map(|customer| new_order(customer, number))).collect();
    stage.written(&orders[..8]).await;
    let standby = stage.process_with(&few);
    standby.says("started").await;
    stage.hand_on(&orders[8..]).await;
    let first_of_each = orders[8..16].iter().map(id_of);
    stage.told.until("order.written", first_of_each).await;
    let told = tokio::time::Instant::now();
    first.signal(Signal::SIGTERM);
    assert_eq!(first.code().await, 0, "{}", first.said());
    assert!(told.elapsed() < std::time::Duration::from_secs(10), "{:?}: {}", told.elapsed(), first.said());
    let written = stage.order_records().len();
    assert!(written < orders.len(), "it ended while there was still work");
    testkit::eventually("everything to be written", async || stage.order_records().len() == orders.len()).await;
    testkit::eventually("every event", async || stage.event_numbers().len() == orders.len()).await;
    stage.assert_each_once_and_in_order(&customers.map(|customer| (customer, 12)));
    assert_eq!(stage.fleet.letters().await.len(), 0);
    drop(standby);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sigterm_lets_go_at_once_and_the_order_is_looked_up_by_whoever_comes_next() {
    let mut stage = Stage::new(QUICK).await.set("CAUSEWAY_SALESFORCE_DEADLINE", "3s").set("CAUSEWAY_LEASE", "4s");
    stage.org().arm(Fault::once(FaultKind::Slow { ms: 2_500 }).on_path(GRAPH));
    let mut process = stage.process();
    stage.hand_on(&orders_of("ann", 2)).await;
    fault_strikes(&stage.org(), 1).await;
    process.signal(Signal::SIGTERM);
    process.says("draining").await;
    process.signal(Signal::SIGTERM);
    assert_eq!(process.code().await, 1, "not everything was finished");
    assert_eq!(stage.order_records().len(), 0, "it did not wait for the call:\n{}", process.said());

    let writer = stage.writer();
    stage.told.until("order.written", orders_of("ann", 2).iter().map(id_of)).await;
    stage.assert_each_once_and_in_order(&[("ann", 2)]);
    let lookups = stage.org().requests().iter().filter(|request| request.path.ends_with("/query")).count();
    assert_eq!(lookups, 1, "the order that was let go");
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_takes_a_good_file_and_keeps_the_old_settings_over_a_bad_one() {
    let mut stage = Stage::new(QUICK).await;
    let process = stage.process();
    stage.written(&orders_of("ann", 1)).await;
    assert_eq!(stage.events().len(), 1);

    stage.write_order_processing(&format!("{QUICK}[platform_events]\nenabled = false\n"));
    process.signal(Signal::SIGHUP);
    process.says("was read again").await;
    stage.written(&orders_of("bob", 1)).await;
    assert_eq!(stage.events().len(), 1, "events are off");

    stage.write_order_processing("[platform_events]\nenabeld = true\n");
    process.signal(Signal::SIGHUP);
    process.says("stays as it was").await;
    process.says("enabled").await;
    stage.written(&orders_of("cleo", 1)).await;
    assert_eq!(stage.events().len(), 1, "events are still off");
    assert_eq!(stage.order_records().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_setting_is_named_at_once_before_anything_is_opened() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("order-processing.toml");
    std::fs::write(&file, "creatPersonAccount = true\n[retry]\nmax_attempts = 0\n").expect("written");
    let mut process = Process::start(
        folder.path(),
        [
            ("CAUSEWAY_AMQP_URL", "http://127.0.0.1"),
            ("CAUSEWAY_REDIS_URL", "redis://127.0.0.1:1"),
            ("CAUSEWAY_PARTITIONS", "0"),
            ("CAUSEWAY_BATCH_ORDERS", "76"),
            ("CAUSEWAY_LEASE", "soon"),
            ("CAUSEWAY_OUTAGE_PROBE", "0s"),
            ("CAUSEWAY_QUOTA_PROBE", "0s"),
            ("CAUSEWAY_ORDER_PROCESSING", file.to_str().expect("a path")),
            ("CAUSEWAY_SALESFORCE_CLIENT_SECRET", "hush"),
        ],
    );
    assert_eq!(process.code().await, 78);
    let said = process.said();
    for setting in [
        "CAUSEWAY_AMQP_URL",
        "CAUSEWAY_PARTITIONS",
        "CAUSEWAY_BATCH_ORDERS",
        "CAUSEWAY_LEASE",
        "CAUSEWAY_OUTAGE_PROBE",
        "CAUSEWAY_QUOTA_PROBE",
        "CAUSEWAY_TENANT",
        "CAUSEWAY_SALESFORCE_LOGIN_URL",
        "CAUSEWAY_SALESFORCE_CLIENT_ID",
        "creatPersonAccount",
        "max_attempts",
    ] {
        assert!(said.contains(setting), "{setting} is not named:\n{said}");
    }
    assert!(!said.contains("hush"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_that_does_not_exist_is_a_mistake_of_usage() {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_causeway-writer"));
    let output = command.arg("--no-such-flag").output().await.expect("it runs");
    assert_eq!(output.status.code(), Some(64));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_reached_within_the_patience_is_named() {
    let [closed] = testkit::port::free().expect("a port");
    let nowhere = format!("127.0.0.1:{closed}");
    let unreachable = [
        ("CAUSEWAY_AMQP_URL", format!("amqp://{nowhere}/%2f")),
        ("CAUSEWAY_REDIS_URL", format!("redis://{nowhere}/")),
        ("CAUSEWAY_SALESFORCE_LOGIN_URL", format!("http://{nowhere}")),
    ];
    for (setting, url) in unreachable {
        let stage = Stage::new(QUICK).await.set("CAUSEWAY_PATIENCE", "300ms").set(setting, &url);
        let hosts = format!("{},{nowhere}", stage.org_host());
        let stage = stage.set("CAUSEWAY_SALESFORCE_TRUSTED_HOSTS", &hosts);
        let mut process = stage.process();
        assert_eq!(process.code().await, 69, "{setting}: {}", process.said());
        assert!(process.said().contains(&closed.to_string()), "{}", process.said());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_salesforce_refuses_ends_it_at_once_with_the_setting_named_once() {
    let stage = Stage::new(QUICK).await;
    // Waiting would take longer than the test waits for it.
    let wrong = [("CAUSEWAY_SALESFORCE_CLIENT_SECRET", "an old secret"), ("CAUSEWAY_PATIENCE", "1h")];
    for status in [400, 401] {
        stage.org().update_settings(|settings| settings.invalid_client_status = status);
        let mut process = stage.process_with(&wrong);
        assert_eq!(process.code().await, 78, "{status}: {}", process.said());
        let said = process.said();
        let about: Vec<&str> = said.lines().filter(|line| line.contains("refuses a token")).collect();
        assert!(about.len() == 1 && about[0].contains("CAUSEWAY_SALESFORCE_CLIENT_SECRET"), "{status}: {said}");
        assert!(!said.contains("an old secret"), "{status}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_salesforce_does_not_know_yet_is_waited_for_as_long_as_the_patience_lasts() {
    let stage = Stage::new(QUICK).await;
    let mut process = stage.process_with(&[("CAUSEWAY_SALESFORCE_CLIENT_ID", "nobody"), ("CAUSEWAY_PATIENCE", "1s")]);
    assert_eq!(process.code().await, 69, "{}", process.said());
    let said = process.said();
    assert!(said.contains("trying again") && said.contains("The client id is unknown on this host"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_host_that_is_away_is_told_of_once_per_try() {
    let [closed] = testkit::port::free().expect("a port");
    let stage = Stage::new(QUICK).await;
    let url = format!("http://127.0.0.1:{closed}");
    let settings = [("CAUSEWAY_SALESFORCE_LOGIN_URL", url.as_str()), ("CAUSEWAY_PATIENCE", "3s")];
    let mut process = stage.process_with(&settings);
    assert_eq!(process.code().await, 69, "{}", process.said());
    let said = process.said();
    let tries = said.lines().filter(|line| line.contains("trying again")).count();
    let lines = said.lines().filter(|line| line.contains("unreachable") || line.contains("access token")).count();
    assert!(tries >= 1, "{said}");
    assert_eq!(lines, tries + 1, "the last one is why it ended:\n{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_wrong_sign_in_setting_is_told_under_its_own_name_together_with_the_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut process = Process::start(
        folder.path(),
        [
            ("CAUSEWAY_AMQP_URL", "http://127.0.0.1"),
            ("CAUSEWAY_SALESFORCE_LOGIN_URL", "http://acme.my.salesforce.com"),
            ("CAUSEWAY_SALESFORCE_AUTH", "jwt-bearer"),
            ("CAUSEWAY_SALESFORCE_JWT_KEY", "hush"),
        ],
    );
    assert_eq!(process.code().await, 78);
    let said = process.said();
    for problem in [
        "CAUSEWAY_AMQP_URL",
        "CAUSEWAY_SALESFORCE_LOGIN_URL",
        "cannot be used: the login URL is plain http",
        "CAUSEWAY_SALESFORCE_TRUSTED_HOSTS",
        "CAUSEWAY_SALESFORCE_JWT_KEY",
        "cannot be used: the private key is not an RSA key in PEM",
        "CAUSEWAY_SALESFORCE_USERNAME",
        "CAUSEWAY_SALESFORCE_CLIENT_ID",
    ] {
        assert!(said.contains(problem), "{problem} is not told:\n{said}");
    }
    assert!(!said.contains("CAUSEWAY_SALESFORCE_AUTH") && !said.contains("hush"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn help_shows_addresses_as_they_are_written_and_every_cause_of_an_exit_code() {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_causeway-writer"));
    let output = command.arg("--help").output().await.expect("it runs");
    let help = String::from_utf8_lossy(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("https://login.salesforce.com") && !help.contains("<https"), "{help}");
    assert!(help.contains("a topology on the broker that differs"), "{help}");
}
