//! Questions to the org about an order that nobody answers: an outage pauses, and no order pays with an attempt.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use simulator::{DuplicateRule, Fault, FaultKind, GraphDuplicateBody, PublishBehavior, RuleResponse, Settings};
use testkit::orders::{self, new_order};

use crate::customers::cancellation;
use crate::stage::{ONE_ATTEMPT, QUICK, Stage, fault_strikes, id_of, orders_of, text};

/// Events that are published at once: each with a note in its order's record, or without one.
pub(crate) const IMMEDIATE: [&str; 2] = [
    "[platform_events]\npublish_behavior = \"immediate\"\n",
    "[platform_events]\npublish_behavior = \"immediate\"\n[external_ids]\norder_event_published = \"\"\n",
];

/// In every request that publishes an event, and in none that writes records alone.
pub(crate) const EVENT: &str = "i42as__OrderEvent__e";

/// How an org is silent: it hangs, or drops every connection.
const SILENT: [FaultKind; 2] = [FaultKind::Hold, FaultKind::DropBefore];

/// From its `nth` request about these orders on the org is silent, while one counted attempt would make a dead letter of an
/// order. Later they are all written.
pub(crate) async fn costs_no_attempt(stage: Stage, kind: FaultKind, nth: u64, orders: &[Value]) -> Stage {
    let mut stage = stage.set("CAUSEWAY_SALESFORCE_DEADLINE", "400ms").set("CAUSEWAY_LEASE", "1s");
    let writer = stage.writer();
    stage.written(&[new_order("zoe", 1)]).await;
    stage.org().arm(Fault::always(kind).on_path("/services/data").from_nth(nth));
    stage.hand_on(orders).await;
    assert_eq!(writer.pauses().await, "answer_lost");
    fault_strikes(&stage.org(), 6).await;
    assert!(writer.metric("breaker_state") > 0.5);
    stage.org().clear_faults();
    stage.told.until("order.written", orders.iter().map(id_of)).await;
    assert_eq!(stage.fleet.letters().await.len(), 0);
    stage.end(writer).await;
    stage
}

/// An order that names a Contact and no Account.
pub(crate) async fn of_a_contact(stage: &Stage, customer: &str) -> Value {
    let account = json!({ "LastName": orders::surname(customer) });
    let account = account.as_object().expect("an object").clone();
    let id = stage.org().seed("Account", &[account]).await.expect("seeded").remove(0);
    let account = stage.records("Account").into_iter().find(|record| text(record, "Id") == id).expect("seeded");
    let mut order = new_order(customer, 1);
    order["tracking"] = json!({ "contactId": account["PersonContactId"] });
    order
}

#[tokio::test(flavor = "multi_thread")]
async fn an_org_that_is_silent_about_a_contact_costs_no_attempt() {
    for kind in SILENT {
        let stage = Stage::new(ONE_ATTEMPT).await;
        let orders = [of_a_contact(&stage, "ann").await, new_order("bob", 1)];
        let stage = costs_no_attempt(stage, kind, 1, &orders).await;
        assert_eq!(stage.order_records().len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_org_that_is_silent_about_whose_a_cancellation_is_costs_no_attempt() {
    for kind in SILENT {
        let stage = Stage::new(ONE_ATTEMPT).await;
        let orders = [cancellation("ann", Some("id-ann")), cancellation("bob", None)];
        let stage = costs_no_attempt(stage, kind, 1, &orders).await;
        assert_eq!(stage.order_records().len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_org_that_is_silent_about_a_duplicate_that_is_tried_alone_costs_no_attempt() {
    for kind in SILENT {
        let config = simulator::Config {
            duplicate_rules: vec![DuplicateRule::exact_email("Account", "PersonEmail", RuleResponse::ALERT)],
            settings: Settings { graph_duplicate_body: GraphDuplicateBody::Short, ..Settings::default() },
            ..simulator::Config::default()
        };
        let stage = Stage::on(config, &format!("includeDuplicateCheck = true\n{ONE_ATTEMPT}")).await;
        let twin = json!({ "LastName": orders::surname("ann"), "PersonEmail": orders::email("ann") });
        let twin = twin.as_object().expect("an object").clone();
        let twin = stage.org().seed("Account", &[twin]).await.expect("seeded").remove(0);
        // The first request is the graph, which is refused without saying what matched.
        let stage = costs_no_attempt(stage, kind, 2, &orders_of("ann", 1)).await;
        assert_eq!(stage.records("LimioOrder__c")[1]["Account__c"], twin);
    }
}

/// An org that publishes events at once.
async fn at_once(retry: &str, how: &str) -> Stage {
    let settings = Settings { publish_behavior: PublishBehavior::Immediately, ..Settings::default() };
    let config = simulator::Config { settings, ..simulator::Config::default() };
    Stage::on(config, &format!("{retry}{how}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_org_that_is_silent_about_an_event_that_it_publishes_at_once_costs_no_attempt() {
    for (kind, how) in SILENT.into_iter().zip(IMMEDIATE).chain(SILENT.into_iter().rev().zip(IMMEDIATE)) {
        let stage = at_once(ONE_ATTEMPT, how).await;
        // The first request writes the records.
        let stage = costs_no_attempt(stage, kind, 2, &orders_of("ann", 2)).await;
        let events = stage.event_numbers();
        let distinct: BTreeSet<&String> = events.iter().collect();
        assert_eq!((stage.order_records().len(), distinct.len()), (3, 3));
        // The one that was held as the org came back may be there twice.
        assert!(events.len() <= 4, "{events:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_was_answered_is_not_published_again_because_redis_forgot_its_claim() {
    for how in IMMEDIATE {
        let mut stage = at_once(ONE_ATTEMPT, how).await;
        let writer = stage.writer();
        stage.written(&[new_order("zoe", 1)]).await;
        stage.org().arm(Fault::once(FaultKind::HoldAnswer).on_path("/composite").containing(EVENT));
        let orders = ["ann", "bob", "cleo"].map(|customer| new_order(customer, 1));
        stage.hand_on(&orders).await;
        stage.org().until_held(1).await;
        stage.fleet.forget().await;
        stage.org().release_held();
        stage.told.until("order.written", orders.iter().map(id_of)).await;
        stage.end(writer).await;
        let events = stage.event_numbers();
        let distinct: BTreeSet<&String> = events.iter().collect();
        assert_eq!((events.len(), distinct.len()), (4, 4), "{events:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_without_notes_whose_answers_are_lost_are_published_one_by_one_until_one_is_answered() {
    let mut stage = at_once(QUICK, IMMEDIATE[1])
        .await
        .set("CAUSEWAY_SALESFORCE_DEADLINE", "400ms")
        .set("CAUSEWAY_LEASE", "1s")
        .set("CAUSEWAY_IN_FLIGHT", "1");
    let writer = stage.writer();
    stage.written(&[new_order("zoe", 1)]).await;
    // Together in one batch, which is held until all have come.
    stage.org().arm(Fault::once(FaultKind::Slow { ms: 300 }).on_path("/composite/graph"));
    stage.org().arm(Fault::always(FaultKind::HoldAnswer).on_path("/composite/sobjects"));
    let customers = ["ann", "bob", "cleo", "dora", "emil", "fay"];
    let orders: Vec<Value> = customers.iter().map(|customer| new_order(customer, 1)).collect();
    stage.hand_on(&orders).await;
    fault_strikes(&stage.org(), 8).await;
    stage.org().clear_faults();
    stage.told.until("order.written", orders.iter().map(id_of)).await;
    let published: Vec<usize> = stage
        .org()
        .requests()
        .iter()
        .filter(|request| request.path.ends_with("/composite/sobjects"))
        .map(|request| request.nodes)
        .collect();
    // What was under way when the first answer was lost, then one event a request until one is answered.
    let (silent, others) = (&published[1..8], orders.len());
    assert!(silent.iter().filter(|rows| **rows > 1).count() <= 1, "{published:?}");
    let events = stage.event_numbers();
    assert!(events.len() <= 1 + others + silent.len() + others, "{published:?}");
    let distinct: BTreeSet<&String> = events.iter().collect();
    assert_eq!(distinct.len(), 7, "folded by the order's number each is there once");
    assert_eq!(stage.fleet.letters().await.len(), 0);
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_the_org_refuses_for_several_orders_is_asked_for_each_by_itself() {
    let mut stage = Stage::new(ONE_ATTEMPT).await.set("CAUSEWAY_IN_FLIGHT", "1");
    let orders = [of_a_contact(&stage, "ann").await, of_a_contact(&stage, "bob").await];
    let writer = stage.writer();
    stage.org().arm(Fault::once(FaultKind::Hold).on_path("/composite/graph"));
    stage.hand_on(&[new_order("zoe", 1)]).await;
    testkit::eventually("the first call", async || writer.in_hand() >= 1.0).await;
    stage.hand_on(&orders).await;
    testkit::eventually("both to wait", async || writer.in_hand() >= 3.0).await;
    stage.org().until_held(1).await;
    let refusal = FaultKind::RefuseRequest { code: "MALFORMED_QUERY".into(), message: "?".into(), status: 400 };
    stage.org().arm(Fault::once(refusal).on_path("/query"));
    stage.org().release_held();
    stage.told.until("order.written", orders.iter().map(id_of)).await;
    assert_eq!(stage.queries(), 3, "once for both, then for each");
    assert_eq!(stage.fleet.letters().await.len(), 0);
    stage.end(writer).await;
}
