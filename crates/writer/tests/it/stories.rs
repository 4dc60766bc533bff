//! The story of an order whose writer died, and what is told with recording switched off.

use std::time::Duration;

use domain::order::id::OrderId;
use domain::story::{Found, Step, What, tell};
use ledger::RedisLedger;
use ledger::stories::Stories;
use nix::sys::signal::Signal;
use simulator::{Fault, FaultKind};
use testkit::eventually_some;

use crate::stage::{QUICK, Stage, fault_strikes, id_of, orders_of};

const PATIENT: ledger::Settings =
    ledger::Settings { response_timeout: Duration::from_secs(10), connect_timeout: Duration::from_secs(10) };

/// What Redis holds of an order.
pub(crate) async fn recorded(stage: &Stage, order: &str) -> Vec<Step> {
    let namespace = format!("{}:{}", stage.fleet.namespace(), stage.tenant());
    let ledger = RedisLedger::connect(stage.fleet.redis_url(), &namespace, PATIENT).await.expect("Redis answers");
    let order = OrderId::parse(order).expect("an id");
    Stories::beside(&ledger, Duration::ZERO).read(&order).await.expect("Redis answers").steps
}

/// The story of an order, once it is announced.
pub(crate) async fn told(stage: &Stage, order: &str) -> Vec<Step> {
    eventually_some("the announcement in the story", async || {
        let steps = recorded(stage, order).await;
        matches!(steps.last().map(|step| &step.what), Some(What::Announced { .. })).then_some(steps)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_story_goes_on_over_the_death_of_a_writer_and_says_that_the_order_was_looked_up() {
    let stage = Stage::new(QUICK).await;
    let mut stage = stage.set("CAUSEWAY_SALESFORCE_DEADLINE", "2s").set("CAUSEWAY_LEASE", "3s");
    stage.org().arm(Fault::once(FaultKind::Slow { ms: 1_500 }).on_path("/composite/graph"));
    let first = stage.process();
    first.says("started").await;
    let orders = orders_of("ann", 1);
    let order = id_of(&orders[0]);
    stage.hand_on(&orders).await;
    fault_strikes(&stage.org(), 1).await;
    eventually_some("the request in the story", async || {
        let steps = recorded(&stage, &order).await;
        matches!(steps.last().map(|step| &step.what), Some(What::Sent { .. })).then_some(())
    })
    .await;
    first.signal(Signal::SIGKILL);
    let second = stage.process();
    stage.told.until("order.written", [order.clone()]).await;

    let steps = told(&stage, &order).await;
    let writers: std::collections::BTreeSet<&str> = steps.iter().map(|step| step.by.as_str()).collect();
    assert_eq!(writers.len(), 2, "{steps:#?}");
    let names: Vec<&str> = steps.iter().map(|step| step.what.title()).filter(|title| *title != "waits").collect();
    let expected = ["taken up", "claimed", "sent", "taken up", "claimed", "looked up", "settled", "announced"];
    assert_eq!(names, expected, "{steps:#?}");
    let looked_up = steps.iter().any(|step| step.what == What::LookedUp { found: Found::Written });
    let unknown = steps.iter().any(|step| matches!(step.what, What::Claimed { unknown: true, .. }));
    assert!(looked_up && unknown, "{steps:#?}");
    // These orders did not come by ingest, and nothing else is missing.
    let gaps: Vec<String> = tell(steps, Vec::new())
        .into_iter()
        .filter_map(|told| if let What::Gap { missing, .. } = told.step.what { missing } else { None })
        .collect();
    assert_eq!(gaps, ["how it was received, how it was handed on"]);
    drop(second);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_recorded_when_that_is_switched_off_and_orders_are_written_as_ever() {
    let mut stage = Stage::new(QUICK).await.set("CAUSEWAY_STORY_KEPT", "off");
    let writer = stage.writer();
    let orders = orders_of("ann", 2);
    stage.written(&orders).await;
    stage.assert_each_once_and_in_order(&[("ann", 2)]);
    stage.end(writer).await;
    assert_eq!(recorded(&stage, &id_of(&orders[0])).await, []);
}
