//! When Salesforce refuses: one order alone pays, for as long as it has to.

use simulator::{Fault, FaultKind};
use testkit::fleet::{Told, failure};
use testkit::orders::{self, order_id};

use crate::questions::{EVENT, IMMEDIATE};
use crate::stage::{ONE_ATTEMPT, QUICK, Stage, Writer, fault_strikes, id_of, orders_of};

/// The orders that were told of as dead letters.
fn dead(told: &[Told]) -> Vec<&str> {
    told.iter().filter(|told| told.kind == "order.dead_lettered").map(|told| told.order_id.as_str()).collect()
}

/// Lets the held call go once the writer has so many orders in hand.
async fn let_go(stage: &Stage, writer: &Writer, orders: u8) {
    testkit::eventually("all orders in hand", async || writer.in_hand() >= f64::from(orders)).await;
    stage.org().until_held(1).await;
    stage.org().release_held();
}

/// Customers with two-letter names.
fn customers(count: u8) -> Vec<String> {
    (0..count).map(|n| format!("{}{}", char::from(b'a' + n / 26), char::from(b'a' + n % 26))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_record_is_tried_again_while_its_customers_next_order_waits_and_others_pass() {
    let mut stage = Stage::new(QUICK).await;
    stage.org().arm(Fault::always(FaultKind::Lock).containing(orders::identity("ann")));
    let orders = [orders_of("ann", 2), orders_of("bob", 3)].concat();
    stage.hand_on(&orders).await;
    let writer = stage.writer();
    stage.told.until("order.written", orders_of("bob", 3).iter().map(id_of)).await;
    fault_strikes(&stage.org(), 3).await;
    assert!(!stage.order_records().contains(&order_id("ann", 2)), "the second order waits for the first");
    stage.org().clear_faults();
    stage.told.until("order.written", orders_of("ann", 2).iter().map(id_of)).await;
    stage.assert_each_once_and_in_order(&[("ann", 2), ("bob", 3)]);
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn seventy_five_orders_of_seventy_five_customers_are_one_api_call() {
    let mut stage = Stage::new(QUICK).await.set("CAUSEWAY_IN_FLIGHT", "1");
    let customers = customers(76);
    let orders: Vec<_> = customers.iter().flat_map(|customer| orders_of(customer, 1)).collect();
    // The first order is held under way until the others have come together.
    stage.org().arm(Fault::once(FaultKind::Hold).on_path("/composite/graph"));
    let writer = stage.writer();
    stage.hand_on(&orders[..1]).await;
    testkit::eventually("the first call", async || writer.in_hand() >= 1.0).await;
    stage.hand_on(&orders[1..]).await;
    let_go(&stage, &writer, 76).await;
    stage.told.until("order.written", orders.iter().map(id_of)).await;
    let graphs: Vec<usize> = stage.graph_requests().iter().map(|request| request.graphs).collect();
    assert_eq!(graphs, [1, 75]);
    assert_eq!(stage.calls(), 2);
    assert_eq!((stage.order_records().len(), stage.events().len(), stage.records("Account").len()), (76, 76, 76));
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_that_were_halted_because_others_failed_are_written_without_an_attempt() {
    let mut stage = Stage::new(ONE_ATTEMPT).await.set("CAUSEWAY_IN_FLIGHT", "1");
    let (bad, good) = (customers(20), customers(40).split_off(20));
    stage.refuse_accounts(&bad);
    stage.org().arm(Fault::once(FaultKind::Hold).on_path("/composite/graph"));
    let writer = stage.writer();
    stage.hand_on(&orders_of("zz", 1)).await;
    testkit::eventually("the first call", async || writer.in_hand() >= 1.0).await;
    let orders: Vec<_> = bad.iter().chain(&good).flat_map(|customer| orders_of(customer, 1)).collect();
    stage.hand_on(&orders).await;
    let_go(&stage, &writer, 41).await;
    let told = stage.told.take(41).await;
    let written = told.iter().filter(|told| told.kind == "order.written").count();
    let dead = told.iter().filter(|told| told.kind == "order.dead_lettered").count();
    assert_eq!((written, dead), (21, 20), "a halted order that had paid with its one attempt would be dead");
    let letters = stage.fleet.letters().await;
    let keys: Vec<String> = bad.iter().map(|customer| orders::identity(customer)).collect();
    assert!(letters.iter().all(|letter| letter.key.as_ref().is_some_and(|key| keys.contains(key))), "{letters:#?}");
    let graphs: Vec<usize> = stage.graph_requests().iter().map(|request| request.graphs).collect();
    assert_eq!(graphs[1], 40);
    assert!(graphs[2..].iter().all(|graphs| *graphs <= 18), "then the requests are small: {graphs:?}");
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_for_which_the_whole_request_is_refused_is_isolated_and_the_others_are_written() {
    let mut stage = Stage::new(ONE_ATTEMPT).await.set("CAUSEWAY_IN_FLIGHT", "1");
    let refusal = FaultKind::RefuseRequest {
        code: "JSON_PARSER_ERROR".into(),
        message: "Unexpected character".into(),
        status: 400,
    };
    stage.org().arm(Fault::once(FaultKind::Hold).on_path("/composite/graph"));
    stage.org().arm(Fault::always(refusal).on_path("/composite/graph").containing(orders::identity("culprit")));
    let writer = stage.writer();
    stage.hand_on(&orders_of("zz", 1)).await;
    testkit::eventually("the first call", async || writer.in_hand() >= 1.0).await;
    let innocent = customers(8);
    let mut orders: Vec<_> = innocent.iter().flat_map(|customer| orders_of(customer, 1)).collect();
    orders.insert(3, orders_of("culprit", 1).remove(0));
    stage.hand_on(&orders).await;
    let_go(&stage, &writer, 10).await;
    let told = stage.told.take(10).await;
    assert_eq!(dead(&told), [order_id("culprit", 1)]);
    let letters = stage.fleet.letters().await;
    assert_eq!(failure(&letters[0]).salesforce_code.as_deref(), Some("JSON_PARSER_ERROR"));
    assert_eq!((stage.order_records().len(), stage.events().len()), (9, 9));
    stage.end(writer).await;
}

async fn an_event_is_isolated(how: &str) {
    let publish_behavior = simulator::PublishBehavior::Immediately;
    let settings = simulator::Settings { publish_behavior, ..simulator::Settings::default() };
    let config = simulator::Config { settings, ..simulator::Config::default() };
    let processing = format!("{ONE_ATTEMPT}{how}");
    let mut stage = Stage::on(config, &processing).await.set("CAUSEWAY_IN_FLIGHT", "1");
    let refusal = FaultKind::RefuseRequest {
        code: "JSON_PARSER_ERROR".into(),
        message: "Unexpected character".into(),
        status: 400,
    };
    stage.org().arm(Fault::once(FaultKind::Hold).on_path("/composite/graph"));
    let culprit = orders::reference("culprit", 1);
    stage.org().arm(Fault::always(refusal).on_object(EVENT).containing(culprit));
    let writer = stage.writer();
    stage.hand_on(&orders_of("zz", 1)).await;
    testkit::eventually("the first call", async || writer.in_hand() >= 1.0).await;
    let mut orders: Vec<_> = customers(8).iter().flat_map(|customer| orders_of(customer, 1)).collect();
    orders.insert(3, orders_of("culprit", 1).remove(0));
    stage.hand_on(&orders).await;
    let_go(&stage, &writer, 10).await;
    let told = stage.told.take(10).await;
    assert_eq!(dead(&told), [order_id("culprit", 1)]);
    assert_eq!((stage.order_records().len(), stage.events().len()), (10, 9), "its records are safe");
    let letters = stage.fleet.letters().await;
    let message = &failure(&letters[0]).message;
    assert!(message.starts_with("its records are written and only its event is owed"), "{message}");

    // Replayed once the org takes it: only the event is still owed.
    let graphs = stage.graph_requests().len();
    stage.org().clear_faults();
    let open = stage.fleet.dead_letters().await;
    open.release(&orders::identity("culprit")).await.expect("released");
    stage.told.until("order.written", [order_id("culprit", 1)]).await;
    assert_eq!((stage.order_records().len(), stage.events().len()), (10, 10));
    let noted = usize::from(how == IMMEDIATE[0]);
    assert_eq!(stage.graph_requests().len() - graphs, noted, "its records are looked up and not sent again");
    open.close().await;
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_for_which_the_whole_request_is_refused_is_isolated_and_the_others_are_published() {
    for how in IMMEDIATE {
        an_event_is_isolated(how).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cause_of_a_refusal_is_found_also_where_the_graphs_other_nodes_say_that_they_were_halted() {
    let settings = simulator::Settings {
        graph_error_style: simulator::GraphErrorStyle::ProcessingHalted,
        ..simulator::Settings::default()
    };
    let mut stage = Stage::on(simulator::Config { settings, ..simulator::Config::default() }, QUICK).await;
    let refusal = FaultKind::RefuseRow {
        code: "STRING_TOO_LONG".into(),
        message: "Order Reference: data value too large".into(),
        status: 400,
        fields: vec!["OrderReference__c".into()],
    };
    stage.org().arm(Fault::always(refusal).on_object("LimioOrder__c"));
    let writer = stage.writer();
    stage.hand_on(&orders_of("ann", 1)).await;
    assert_eq!(stage.told.next().await.kind, "order.dead_lettered");
    let letters = stage.fleet.letters().await;
    let failure = failure(&letters[0]);
    assert_eq!(
        (failure.salesforce_code.as_deref(), failure.field.as_deref()),
        (Some("STRING_TOO_LONG"), Some("OrderReference__c"))
    );
    assert!(stage.records("Account").is_empty(), "nothing of the order is left in the org");
    assert!(stage.events().is_empty());
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_nobody_catalogued_is_tried_again_and_then_given_up_by_its_name() {
    let mut stage = Stage::new("[retry]\nmax_attempts = 3\ninitial_seconds = 0.1\nmax_seconds = 0.1\n").await;
    let refusal =
        FaultKind::RefuseRow { code: "NEVER_HEARD_OF".into(), message: "?".into(), status: 400, fields: Vec::new() };
    stage.org().arm(Fault::always(refusal).on_object("Account"));
    let writer = stage.writer();
    stage.hand_on(&orders_of("ann", 1)).await;
    assert_eq!(stage.told.next().await.kind, "order.dead_lettered");
    let letters = stage.fleet.letters().await;
    let failure = failure(&letters[0]);
    assert_eq!(
        (failure.reason.as_str(), failure.salesforce_code.as_deref()),
        ("unknown_salesforce_code", Some("NEVER_HEARD_OF"))
    );
    assert_eq!(stage.graph_requests().len(), 3, "all its attempts");
    stage.end(writer).await;
}
