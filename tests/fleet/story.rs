//! The story of an order: every step of a life with failures in it, told without a gap, also where recording was lost.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::Value;
use service::Exit;
use simulator::{Fault, FaultKind};
use testkit::eventually_some;
use testkit::orders::{self, new_order, order_id};

use crate::stage::{QUICK, Stage};

const TWO_ATTEMPTS: &str = "[retry]\nmax_attempts = 2\ninitial_seconds = 0.1\nmax_seconds = 0.2\n";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// The story of an order once it stands so.
async fn story(stage: &Stage, order: &str, standing: &str) -> Value {
    let what = format!("the story of {order} to say {standing}");
    eventually_some(&what, async || {
        let (exit, story) = stage.ask_if(&["story", order]).await?;
        (exit == Exit::Done && story["now"]["state"] == standing).then_some(story)
    })
    .await
}

/// The names of a story's steps.
fn steps(story: &Value) -> Vec<String> {
    let steps = story["steps"].as_array().expect("steps");
    steps.iter().map(|step| step["step"].as_str().expect("a name").to_owned()).collect()
}

fn step<'a>(story: &'a Value, name: &str) -> &'a Value {
    let steps = story["steps"].as_array().expect("steps");
    steps.iter().find(|step| step["step"] == name).unwrap_or_else(|| panic!("no {name} in {story:#}"))
}

/// An Account of this customer is locked for so many tries.
fn lock(stage: &Stage, customer: &str, tries: u64) {
    let fault = Fault::always(FaultKind::Lock).times(tries);
    stage.org().arm(fault.on_object("Account").containing(orders::identity(customer)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_failed_was_tried_again_died_was_released_and_written_has_a_story_without_a_gap() {
    let mut stage = Stage::new(TWO_ATTEMPTS).await;
    lock(&stage, "ann", 2);
    let (ingest, writer) = (stage.ingest(), stage.writer());
    let mut headers = FieldTable::default();
    let trace_parent = format!("00-{TRACE}-b7ad6b7169203331-01");
    headers.insert("traceparent".into(), AMQPValue::LongString(trace_parent.into()));
    let body = new_order("ann", 1).to_string();
    stage.publish(body.as_bytes(), BasicProperties::default().with_headers(headers)).await;
    let told = stage.told.next().await;
    assert_eq!(told.kind, "order.dead_lettered");

    let order = order_id("ann", 1);
    let dead = story(&stage, &order, "dead").await;
    let life = [
        "received",
        "handed_on",
        "taken_up",
        "claimed",
        "sent",
        "answered",
        "waits",
        "claimed",
        "sent",
        "answered",
        "dead",
        "announced",
    ];
    assert_eq!(steps(&dead), life, "{dead:#}");
    assert_eq!(dead["trace"], TRACE);
    assert_eq!(step(&dead, "answered")["detail"]["code"], "UNABLE_TO_LOCK_ROW");
    assert_eq!(step(&dead, "waits")["detail"]["reason"], "record_locked");
    assert_eq!(dead["now"]["code"], "UNABLE_TO_LOCK_ROW");
    let letter = dead["now"]["letter"].as_str().expect("a letter").to_owned();
    // The request that carried it belongs to its trace, and the story names its span.
    let request = step(&dead, "sent")["detail"]["request"].as_str().expect("a request").to_owned();
    let sent = stage.org().requests();
    let traces: Vec<String> = sent.into_iter().filter_map(|request| request.traceparent).collect();
    assert!(traces.contains(&format!("00-{TRACE}-{request}-01")), "{traces:?}");

    let replay = ["replay", &letter, "--yes", "--by", "an operator", "--wait", "--timeout", "20s"];
    assert_eq!(stage.ask(&replay).await.0, Exit::Done);
    stage.told.until("order.written", [order.clone()]).await;
    let written = story(&stage, &letter, "written").await;
    let rest = ["released", "claimed", "sent", "answered", "settled", "announced", "announced", "closed"];
    assert_eq!(steps(&written), [&life[..], &rest[..]].concat(), "{written:#}");
    assert_eq!(step(&written, "released")["detail"]["operator"], "an operator");
    assert_eq!(step(&written, "closed")["source"], "journal");
    assert!(!written.to_string().contains(&orders::email("ann")), "{written:#}");

    // Redis loses everything: what the journal knows is still told, and what it does not know is a gap.
    stage.fleet.forget().await;
    let left = story(&stage, &order, "written").await;
    assert_eq!(steps(&left), ["gap", "dead", "released", "closed"], "{left:#}");
    assert!(left["recorded_since"].is_null() && left["unread"].is_null(), "{left:#}");
    assert_eq!(step(&left, "released")["detail"]["operator"], "an operator");
    stage.end([ingest, writer]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_behind_a_letter_says_which_one_and_an_order_in_an_outage_says_until_when() {
    let mut stage = Stage::new(TWO_ATTEMPTS).await;
    lock(&stage, "ann", 2);
    let (ingest, writer) = (stage.ingest(), stage.writer());
    stage.publish_order(&new_order("ann", 1)).await;
    let dead = stage.told.next().await;
    assert_eq!(dead.kind, "order.dead_lettered");
    stage.publish_order(&new_order("ann", 2)).await;
    let parked = story(&stage, &order_id("ann", 2), "parked").await;
    assert_eq!(steps(&parked), ["received", "handed_on", "taken_up", "parked"], "{parked:#}");
    let first = story(&stage, &order_id("ann", 1), "dead").await;
    assert_eq!(parked["now"]["letter"], first["now"]["letter"]);

    stage.org().arm(Fault::always(FaultKind::DailyLimit).on_path("/composite/graph"));
    stage.publish_order(&new_order("bob", 1)).await;
    let paused = story(&stage, &order_id("bob", 1), "paused").await;
    assert_eq!(paused["now"]["code"], "quota_exhausted");
    assert!(paused["now"]["until"].as_str().is_some(), "{paused:#}");
    assert_eq!(step(&paused, "answered")["detail"]["code"], "REQUEST_LIMIT_EXCEEDED");
    drop((ingest, writer));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_came_twice_says_so_and_was_written_once() {
    let mut stage = Stage::new(QUICK).await;
    let (ingest, writer) = (stage.ingest(), stage.writer());
    stage.publish_order(&new_order("ann", 1)).await;
    stage.told.until("order.written", [order_id("ann", 1)]).await;
    stage.publish_order(&new_order("ann", 1)).await;
    let told = eventually_some("the second to be folded", async || {
        let (_, story) = stage.ask_if(&["story", &order_id("ann", 1)]).await?;
        steps(&story).contains(&"folded".to_owned()).then_some(story)
    })
    .await;
    assert_eq!(told["now"]["state"], "written", "{told:#}");
    assert_eq!(steps(&told).iter().filter(|step| *step == "sent").count(), 1);
    stage.assert_each_once_and_in_order(&[("ann", 1)]);
    stage.end([ingest, writer]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn telling_costs_no_api_call() {
    let mut stage = Stage::new(QUICK).await;
    let (ingest, writer) = (stage.ingest(), stage.writer());
    stage.publish_order(&new_order("ann", 1)).await;
    stage.told.until("order.written", [order_id("ann", 1)]).await;
    let calls = stage.org().requests().len();
    story(&stage, &order_id("ann", 1), "written").await;
    assert_eq!(stage.org().requests().len(), calls);
    let graphs = stage.org().requests().iter().filter(|request| request.path.ends_with("/composite/graph")).count();
    assert_eq!(graphs, 1, "one call wrote the order");
    stage.end([ingest, writer]).await;
}
