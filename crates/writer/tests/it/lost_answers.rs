//! When it is not known whether a request was carried out: it is looked up before anything is sent again.

use simulator::{Fault, FaultKind};
use testkit::orders;

use crate::stage::{ONE_ATTEMPT, QUICK, Stage, id_of, orders_of, text};

const GRAPH: &str = "/composite/graph";
const QUERY: &str = "/query";

/// Two orders of a customer, while the first graph request meets this fault. Returns how many graph requests were made.
async fn meets(kind: FaultKind) -> usize {
    let mut stage = Stage::new(QUICK).await;
    stage.org().arm(Fault::once(kind).on_path(GRAPH));
    let writer = stage.writer();
    stage.written(&orders_of("ann", 2)).await;
    stage.assert_each_once_and_in_order(&[("ann", 2)]);
    let lookups = stage.org().requests().iter().filter(|request| request.path.ends_with(QUERY)).count();
    assert_eq!(lookups, 1, "the first order was looked up once");
    stage.end(writer).await;
    stage.graph_requests().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_answer_was_lost_after_the_commit_is_found_and_not_sent_again() {
    assert_eq!(meets(FaultKind::CommitThenDrop).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_answer_broke_off_is_found_and_not_sent_again() {
    assert_eq!(meets(FaultKind::TruncatedBody).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_was_committed_behind_a_503_is_found_and_not_sent_again() {
    assert_eq!(meets(FaultKind::CommitThen503).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_was_dropped_before_it_was_carried_out_is_not_found_and_sent_once_more() {
    assert_eq!(meets(FaultKind::DropBefore).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_exception_may_have_been_carried_out_so_it_is_looked_up() {
    assert_eq!(meets(FaultKind::UnknownException).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_up_that_fails_leaves_the_order_unknown_until_it_can_be_looked_up() {
    let mut stage = Stage::new(QUICK).await;
    stage.org().arm(Fault::once(FaultKind::CommitThenDrop).on_path(GRAPH));
    stage.org().arm(Fault::always(FaultKind::UnavailableJson).on_path(QUERY).times(3));
    let writer = stage.writer();
    stage.written(&orders_of("ann", 1)).await;
    stage.assert_each_once_and_in_order(&[("ann", 1)]);
    assert_eq!(stage.graph_requests().len(), 1);
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_forgets_everything_makes_no_order_twice() {
    let mut stage = Stage::new(QUICK).await;
    let writer = stage.writer();
    let orders = orders_of("ann", 3);
    stage.written(&orders).await;
    assert!(stage.fleet.forget().await > 0);
    // Everything is delivered again, as after a crash before the acknowledgements.
    let told = stage.written(&orders).await;
    stage.assert_each_once_and_in_order(&[("ann", 3)]);
    assert!(told.iter().all(|told| told.data()["crm_id"] == stage.records("Account")[0]["Id"]));
    assert_eq!(stage.fleet.letters().await.len(), 0);
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_delivered_again_costs_no_api_call_and_is_told_of_with_the_same_words() {
    let mut stage = Stage::new(QUICK).await;
    let writer = stage.writer();
    let orders = orders_of("ann", 1);
    let first = stage.written(&orders).await;
    let calls = stage.org().api_calls();
    let second = stage.written(&orders).await;
    assert_eq!(first, second);
    assert_eq!(stage.org().api_calls(), calls);
    assert_eq!(stage.order_records(), [orders::order_id("ann", 1)]);
    stage.end(writer).await;
}

/// An org that publishes its event at once, with a field for the event's key.
pub(crate) async fn at_once(retry: &str, external_ids: &str) -> Stage {
    let folder = tempfile::tempdir().expect("a folder");
    let field = folder.path().join("event.toml");
    let with_key = "name = \"i42as__OrderEvent__e\"\nevent = true\ncustom = true\n\
        fields = [{ name = \"EventKey__c\", label = \"Event Key\", type = \"string\", length = 255 }]\n";
    std::fs::write(&field, with_key).expect("written");
    let publish_behavior = simulator::PublishBehavior::Immediately;
    let settings = simulator::Settings { publish_behavior, ..simulator::Settings::default() };
    let config = simulator::Config { settings, schema: vec![field.into()], ..simulator::Config::default() };
    let events = "[platform_events]\npublish_behavior = \"immediate\"\nevent_key = \"EventKey__c\"\n";
    Stage::on(config, &format!("{retry}{events}{external_ids}")).await
}

pub(crate) fn keys(stage: &Stage) -> Vec<String> {
    stage.events().iter().map(|event| text(&event.payload, "EventKey__c")).collect()
}

pub(crate) fn key(number: u32) -> String {
    format!("{}/NEW_ORDER", orders::order_id("ann", number))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_whose_answer_was_lost_and_that_cannot_be_looked_up_comes_twice_under_one_key() {
    let mut stage = at_once(QUICK, "[external_ids]\norder_event_published = \"\"\n").await;
    stage.org().arm(Fault::once(FaultKind::CommitThenDrop).on_path("/composite/sobjects"));
    let first = stage.process();
    let orders = orders_of("ann", 2);
    stage.written(&orders[..1]).await;
    // Another process, and a ledger that has forgotten everything: the third event of the order.
    drop(first);
    stage.fleet.forget().await;
    let writer = stage.writer();
    stage.written(&orders).await;
    assert_eq!(keys(&stage), [key(1), key(1), key(1), key(2)]);
    let records = [1, 2].map(|number| orders::order_id("ann", number));
    assert_eq!(stage.order_records(), records, "folded by the key, each order is there once");
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_its_orders_record_notes_is_published_once_also_when_answer_process_and_ledger_are_lost() {
    let mut stage = at_once(QUICK, "").await;
    // The first request writes the records, the second one publishes the event.
    stage.org().arm(Fault::once(FaultKind::CommitThenDrop).on_path("/composite/graph").from_nth(2));
    let first = stage.process();
    let orders = orders_of("ann", 2);
    stage.written(&orders[..1]).await;
    assert_eq!(keys(&stage), [key(1)]);
    drop(first);
    stage.fleet.forget().await;
    let writer = stage.writer();
    stage.written(&orders).await;
    assert_eq!(keys(&stage), [key(1), key(2)]);
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_the_org_refuses_leaves_no_note_and_is_published_when_the_order_is_released() {
    let mut stage = at_once(ONE_ATTEMPT, "").await;
    let refusal = FaultKind::RefuseRow {
        code: "FIELD_INTEGRITY_EXCEPTION".into(),
        message: "not so".into(),
        status: 400,
        fields: Vec::new(),
    };
    stage.org().arm(Fault::always(refusal).on_object("i42as__OrderEvent__e"));
    let writer = stage.writer();
    let order = orders_of("ann", 1);
    stage.hand_on(&order).await;
    stage.told.until("order.dead_lettered", order.iter().map(id_of)).await;
    assert_eq!(stage.records("LimioOrder__c")[0]["EventPublished__c"], false);
    stage.org().clear_faults();
    let open = stage.fleet.dead_letters().await;
    open.release(&orders::identity("ann")).await.expect("released");
    stage.told.until("order.written", order.iter().map(id_of)).await;
    assert_eq!(keys(&stage), [key(1)]);
    assert_eq!(stage.records("LimioOrder__c")[0]["EventPublished__c"], true);
    open.close().await;
    stage.end(writer).await;
}
