//! Events that the org publishes at once, and that nothing refuses the second time: each goes out once, whoever is late.

use simulator::{Fault, FaultKind};
use testkit::{TcpProxy, orders};

use crate::lost_answers::{at_once, key, keys};
use crate::questions::{EVENT, of_a_contact};
use crate::stage::{ONE_ATTEMPT, QUICK, id_of, orders_of};

const GRAPH: &str = "/composite/graph";

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_whose_records_are_answered_when_another_one_has_the_order_leaves_the_event_to_that_one() {
    let mut stage = at_once(QUICK, "").await.set("CAUSEWAY_SALESFORCE_DEADLINE", "5500ms").set("CAUSEWAY_LEASE", "6s");
    let order = of_a_contact(&stage, "ann").await;
    let url = stage.fleet.amqp_url().to_owned();
    let port = url.split('@').next_back().and_then(|rest| rest.split(':').nth(1)).expect("an address");
    let port = port.split('/').next().and_then(|port| port.parse().ok()).expect("a port");
    let proxy = TcpProxy::before(port).await.expect("a proxy");
    let late = stage.process_with(&[(testkit::AMQP_URL, &proxy.url(&url, port))]);
    late.says("started").await;
    // Whose Contact it is takes the org so long that the claim ends before the records are answered.
    stage.org().arm(Fault::once(FaultKind::Slow { ms: 4_500 }).on_path("/query"));
    stage.org().arm(Fault::once(FaultKind::HoldAnswer).on_path(GRAPH));
    stage.hand_on(std::slice::from_ref(&order)).await;
    stage.org().until_held(1).await;
    proxy.cut();
    let second = stage.process();
    stage.told.until("order.written", [id_of(&order)]).await;
    stage.org().release_held();
    late.says("the event is left to whoever has claimed the order since").await;
    assert_eq!(keys(&stage), [key(1)]);
    assert_eq!(stage.order_records(), [id_of(&order)]);
    drop((late, second));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_the_org_publishes_after_its_answer_was_given_up_is_not_published_again() {
    let mut stage = at_once(QUICK, "").await.set("CAUSEWAY_SALESFORCE_DEADLINE", "500ms").set("CAUSEWAY_LEASE", "3s");
    let writer = stage.writer();
    let orders = orders_of("ann", 3);
    stage.written(&orders[..1]).await;
    // The first request writes the records. The second one is carried out a second after nobody waits for it any more.
    stage.org().arm(Fault::once(FaultKind::Slow { ms: 1_500 }).on_path(GRAPH).from_nth(2));
    stage.written(&orders[1..]).await;
    assert_eq!(keys(&stage), [key(1), key(2), key(3)]);
    assert_eq!(stage.fleet.letters().await.len(), 0);
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_org_takes_no_events_in_graphs_they_are_published_without_a_note() {
    let mut stage = at_once(ONE_ATTEMPT, "").await;
    stage.org().update_settings(|settings| settings.graph_events_allowed = false);
    let writer = stage.writer();
    let orders = orders_of("ann", 3);
    stage.written(&orders).await;
    assert_eq!(keys(&stage), [key(1), key(2), key(3)]);
    assert_eq!(stage.graph_requests().len(), 4, "each order's records, and the first event's attempt in a graph");
    assert_eq!(stage.fleet.letters().await.len(), 0);
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_more_refused_events_than_a_request_endures_each_becomes_a_letter_and_the_others_are_published() {
    let mut stage = at_once(ONE_ATTEMPT, "").await.set("CAUSEWAY_IN_FLIGHT", "1");
    let writer = stage.writer();
    let refusal = FaultKind::RefuseRow {
        code: "FIELD_INTEGRITY_EXCEPTION".into(),
        message: "not so".into(),
        status: 400,
        fields: Vec::new(),
    };
    stage.org().arm(Fault::always(refusal).on_object(EVENT).containing("wrong"));
    let customers =
        |kind: &str, count: u8| (0..count).map(|n| format!("{kind}{}", char::from(b'a' + n))).collect::<Vec<_>>();
    let (wrong, right) = (customers("wrong", 20), customers("right", 5));
    stage.org().arm(Fault::once(FaultKind::Hold).on_path(GRAPH));
    stage.hand_on(&orders_of("zoe", 1)).await;
    stage.org().until_held(1).await;
    let orders: Vec<_> = wrong.iter().chain(&right).flat_map(|customer| orders_of(customer, 1)).collect();
    stage.hand_on(&orders).await;
    testkit::eventually("all to wait", async || writer.in_hand() >= 26.0).await;
    stage.org().release_held();
    let told = stage.told.take(26).await;
    assert_eq!(told.iter().filter(|told| told.kind == "order.dead_lettered").count(), wrong.len());
    let mut numbers = stage.event_numbers();
    numbers.sort();
    let expected: Vec<String> = right.iter().map(|customer| orders::reference(customer, 1)).collect();
    assert_eq!(numbers, [expected, vec![orders::reference("zoe", 1)]].concat());
    let noted = stage.records("LimioOrder__c").iter().filter(|record| record["EventPublished__c"] == true).count();
    assert_eq!((noted, stage.order_records().len()), (6, 26));
    stage.end(writer).await;
}
