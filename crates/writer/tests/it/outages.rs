//! When something is away as a whole: intake pauses, no order pays with an attempt, and everything is written afterwards.

use simulator::{Fault, FaultKind, Simulator};
use testkit::TcpProxy;

use crate::stage::{ONE_ATTEMPT, QUICK, Stage, fault_strikes, orders_of};

/// The org answers three requests with this, while one counted attempt would make a dead letter.
async fn is_waited_out(kind: FaultKind, reason: &str) {
    let mut stage = Stage::new(ONE_ATTEMPT).await;
    stage.org().arm(Fault::always(kind).times(3));
    let writer = stage.writer();
    let orders = [orders_of("ann", 2), orders_of("bob", 1)].concat();
    stage.hand_on(&orders).await;
    assert_eq!(writer.pauses().await, reason);
    let told = stage.told.take(3).await;
    assert!(told.iter().all(|told| told.kind == "order.written"), "{told:#?}");
    stage.assert_each_once_and_in_order(&[("ann", 2), ("bob", 1)]);
    assert_eq!(writer.paused_by(), None, "intake goes on");
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_org_is_waited_out() {
    is_waited_out(FaultKind::UnavailableJson, "salesforce_unavailable").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_behind_a_page_of_html_is_waited_out() {
    is_waited_out(FaultKind::UnavailableHtml, "salesforce_unavailable").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spent_allocation_is_waited_out() {
    is_waited_out(FaultKind::DailyLimit, "quota_exhausted").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_not_use_the_api_is_waited_for_until_an_administrator_has_acted() {
    is_waited_out(FaultKind::SessionNotValidForRest, "authentication_failed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_org_that_refuses_every_order_alike_is_waited_for_and_is_not_asked_in_halves() {
    let not_enabled = FaultKind::RefuseRequest {
        code: "FUNCTIONALITY_NOT_ENABLED".into(),
        message: "Feature is not enabled for this organization".into(),
        status: 403,
    };
    for kind in [FaultKind::ApiDisabled, not_enabled] {
        let mut stage = Stage::new(ONE_ATTEMPT).await.set("CAUSEWAY_IN_FLIGHT", "1");
        let writer = stage.writer();
        stage.org().arm(Fault::once(FaultKind::Hold).on_path("/composite/graph"));
        stage.hand_on(&orders_of("zoe", 1)).await;
        testkit::eventually("the first call", async || writer.in_hand() >= 1.0).await;
        let customers = ["ann", "bob", "cleo", "dora", "emil", "fay"];
        let orders = customers.map(|customer| testkit::orders::new_order(customer, 1));
        stage.hand_on(&orders).await;
        testkit::eventually("the others", async || writer.in_hand() >= 7.0).await;
        stage.org().until_held(1).await;
        stage.org().arm(Fault::always(kind).on_path("/composite/graph").times(2));
        stage.org().release_held();
        assert_eq!(writer.pauses().await, "salesforce_misconfigured");
        stage.told.until("order.written", orders.iter().map(crate::stage::id_of)).await;
        let graphs: Vec<usize> = stage.graph_requests().iter().map(|request| request.graphs).collect();
        assert_eq!(graphs, [1, 0, 0, 1, 5], "refused as a whole, refused a probe, and a probe again");
        assert_eq!(stage.fleet.letters().await.len(), 0);
        stage.end(writer).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_expires_is_renewed_without_anybody_noticing() {
    let mut stage = Stage::new(ONE_ATTEMPT).await;
    let writer = stage.writer();
    stage.written(&orders_of("ann", 1)).await;
    assert!(stage.org().expire_sessions() > 0);
    stage.written(&orders_of("ann", 2)[1..]).await;
    stage.assert_each_once_and_in_order(&[("ann", 2)]);
    assert_eq!(writer.paused_by(), None);
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_org_that_drops_every_connection_is_waited_for_and_what_was_sent_is_looked_up() {
    let mut stage = Stage::new("[retry]\nmax_attempts = 2\ninitial_seconds = 0.1\n").await;
    stage.org().arm(Fault::always(FaultKind::DropBefore));
    let writer = stage.writer();
    stage.hand_on(&orders_of("ann", 2)).await;
    assert_eq!(writer.pauses().await, "answer_lost");
    // Long enough for many attempts, if each probe were one.
    fault_strikes(&stage.org(), 6).await;
    stage.org().clear_faults();
    let told = stage.told.take(2).await;
    assert!(told.iter().all(|told| told.kind == "order.written"), "{told:#?}");
    stage.assert_each_once_and_in_order(&[("ann", 2)]);
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_org_that_hangs_is_waited_for_and_no_attempt_is_counted() {
    let mut stage =
        Stage::new(ONE_ATTEMPT).await.set("CAUSEWAY_SALESFORCE_DEADLINE", "500ms").set("CAUSEWAY_LEASE", "1s");
    let writer = stage.writer();
    stage.written(&orders_of("ann", 1)).await;
    stage.org().arm(Fault::always(FaultKind::Hold).on_path("/services/data"));
    let orders = [orders_of("bob", 2), orders_of("cleo", 1)].concat();
    stage.hand_on(&orders).await;
    assert_eq!(writer.pauses().await, "answer_lost");
    fault_strikes(&stage.org(), 6).await;
    assert!(writer.metric("breaker_state") > 0.5);
    stage.org().clear_faults();
    let told = stage.told.take(3).await;
    assert!(told.iter().all(|told| told.kind == "order.written"), "{told:#?}");
    assert!(writer.metric("breaker_state") < 0.5, "closed");
    stage.assert_each_once_and_in_order(&[("ann", 1), ("bob", 2), ("cleo", 1)]);
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_alone_makes_the_org_hang_pays_for_it_itself() {
    let mut stage =
        Stage::new(ONE_ATTEMPT).await.set("CAUSEWAY_SALESFORCE_DEADLINE", "500ms").set("CAUSEWAY_LEASE", "1s");
    let graph = Fault::always(FaultKind::Hold).on_path("/composite/graph");
    stage.org().arm(graph.containing(testkit::orders::identity("ann")));
    let writer = stage.writer();
    stage.hand_on(&orders_of("ann", 1)).await;
    stage.told.until("order.dead_lettered", orders_of("ann", 1).iter().map(crate::stage::id_of)).await;
    stage.written(&orders_of("bob", 1)).await;
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_requests_at_once_are_waited_out() {
    let mut stage = Stage::new(ONE_ATTEMPT).await;
    stage.org().arm(Fault::once(FaultKind::ConcurrentLimit).on_path("/composite/graph"));
    let writer = stage.writer();
    stage.hand_on(&orders_of("ann", 2)).await;
    assert_eq!(writer.pauses().await, "salesforce_unavailable");
    stage.told.until("order.written", orders_of("ann", 2).iter().map(crate::stage::id_of)).await;
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_writer_of_the_fleet_looks_at_an_org_that_is_away() {
    let stage = Stage::for_several(ONE_ATTEMPT).await;
    let mut stage = stage.set("CAUSEWAY_OUTAGE_PROBE", "500ms").set("CAUSEWAY_IN_FLIGHT", "1");
    let writers = [stage.writer(), stage.writer(), stage.writer()];
    let started = || stage.org().requests().iter().filter(|request| request.path.ends_with("/composite")).count();
    testkit::eventually("each writer's look at the org", async || started() == writers.len()).await;
    stage.org().arm(Fault::always(FaultKind::UnavailableHtml).on_path("/services/data"));
    let began = tokio::time::Instant::now();
    let customers = ["ann", "bob", "cleo", "dora", "emil", "fay", "gus", "hal"];
    let orders = customers.map(|customer| testkit::orders::new_order(customer, 1));
    stage.hand_on(&orders).await;
    fault_strikes(&stage.org(), 8).await;
    // Each writer meets the outage once by itself; then one looks every half second.
    let looks = began.elapsed().as_millis() / 500 + 1;
    let strikes = stage.org().faults()[0].applied;
    assert!(u128::from(strikes) <= 3 + looks, "{strikes} requests in {:?}", began.elapsed());
    stage.org().clear_faults();
    stage.told.until("order.written", orders.iter().map(crate::stage::id_of)).await;
    assert_eq!(stage.fleet.letters().await.len(), 0);
    for writer in writers {
        writer.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_org_whose_port_is_closed_is_waited_for_and_no_attempt_is_counted() {
    // The org behind a fixed port, so that it can go and come back there.
    let [port] = testkit::port::free().expect("a port");
    let listen = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let config = simulator::Config { listen, ..simulator::Config::default() };
    let first = Simulator::start(config.clone()).await.expect("an org");
    let mut stage = Stage::new(ONE_ATTEMPT)
        .await
        .set("CAUSEWAY_SALESFORCE_LOGIN_URL", first.base_url())
        .set("CAUSEWAY_SALESFORCE_TRUSTED_HOSTS", &listen.to_string());
    let writer = stage.writer();
    stage.written(&orders_of("ann", 1)).await;
    first.shutdown().await;
    stage.hand_on(&orders_of("bob", 2)).await;
    assert_eq!(writer.pauses().await, "salesforce_unavailable");
    let second = Simulator::start(config).await.expect("the org is back");
    let told = stage.told.take(2).await;
    assert!(told.iter().all(|told| told.kind == "order.written"), "{told:#?}");
    assert_eq!(second.control().records("LimioOrder__c").expect("an object").len(), 2);
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_is_away_stops_intake_and_is_waited_for() {
    let stage = Stage::new(ONE_ATTEMPT).await;
    let url = stage.fleet.redis_url().to_owned();
    let port = url.trim_end_matches('/').rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let proxy = TcpProxy::before(port).await.expect("a proxy");
    let mut stage = stage.set(testkit::REDIS_URL, &proxy.url(&url, port));
    let writer = stage.writer();
    stage.written(&orders_of("ann", 1)).await;
    proxy.cut();
    stage.hand_on(&orders_of("bob", 2)).await;
    assert_eq!(writer.pauses().await, "ledger_unavailable");
    assert_eq!(stage.order_records().len(), 1, "nothing is sent without a claim");
    proxy.restore();
    stage.told.until("order.written", orders_of("bob", 2).iter().map(crate::stage::id_of)).await;
    stage.assert_each_once_and_in_order(&[("ann", 1), ("bob", 2)]);
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_org_is_away_nobody_hammers_it() {
    let mut stage = Stage::new(QUICK).await.set("CAUSEWAY_OUTAGE_PROBE", "300ms");
    stage.org().arm(Fault::always(FaultKind::UnavailableJson).times(2));
    let writer = stage.writer();
    let customers: Vec<String> = (0..20_u8).map(|n| format!("c{}", char::from(b'a' + n))).collect();
    let orders: Vec<_> = customers.iter().flat_map(|customer| orders_of(customer, 1)).collect();
    stage.hand_on(&orders).await;
    fault_strikes(&stage.org(), 2).await;
    stage.told.until("order.written", orders.iter().map(crate::stage::id_of)).await;
    let graphs: Vec<usize> =
        stage.graph_requests().iter().filter(|request| request.status == 200).map(|request| request.graphs).collect();
    assert_eq!(graphs[0], 1, "a probe with one order goes first: {graphs:?}");
    assert_eq!(stage.org().faults()[0].applied, 2, "one request a probe");
    stage.end(writer).await;
}
