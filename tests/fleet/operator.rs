//! An order is refused, an operator asks why, mends the mapping and replays it.

use serde_json::json;
use service::Exit;
use testkit::eventually;
use testkit::orders::{self, new_order, order_id};

use crate::stage::{QUICK, Stage};

async fn a_nameless_order_is_given_up(stage: &mut Stage) {
    let mut nameless = new_order("ann", 1);
    nameless["customerDetails"] = json!({ "email": orders::email("ann") });
    stage.publish_order(&nameless).await;
    let dead = stage.told.next().await;
    assert_eq!((dead.kind.as_str(), &dead.order_id), ("order.dead_lettered", &order_id("ann", 1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_was_refused_is_explained_and_a_replay_after_mending_the_mapping_writes_it_and_its_successors_in_order()
 {
    let mut stage = Stage::new(QUICK).await;
    let (ingest, writer) = (stage.ingest(), stage.writer());
    a_nameless_order_is_given_up(&mut stage).await;
    stage.publish_order(&new_order("ann", 2)).await;
    stage.publish_order(&new_order("bob", 1)).await;
    stage.told.until("order.written", [order_id("bob", 1)]).await;
    eventually("the customer's next order to be parked", async || stage.fleet.letters().await.len() == 2).await;

    let (exit, shown) = stage.ask(&["show", &order_id("ann", 1)]).await;
    assert_eq!(exit, Exit::Done);
    let letter = &shown["letters"][0];
    assert_eq!(letter["failure"]["reason"], "missing_field");
    assert_eq!(letter["failure"]["field"], "customerDetails.lastName");
    assert!(letter["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{shown:#}");
    assert_eq!(letter["waiting"].as_array().map(Vec::len), Some(1), "{shown:#}");
    assert!(!shown.to_string().contains(&orders::email("ann")), "nothing personal without --reveal");

    stage.write_order_processing(&format!("{QUICK}[accounts]\nmissing_last_name = \"Unknown\"\n"));
    writer.reload();
    // The settings hold from the next batch on; a replay that comes too early leaves everything as it was.
    eventually("the replay to succeed", async || {
        stage
            .ask(&["replay", "--reason", "missing_field", "--yes", "--by", "a test", "--wait", "--timeout", "20s"])
            .await
            .0
            == Exit::Done
    })
    .await;
    stage.told.until("order.written", [1, 2].map(|number| order_id("ann", number))).await;
    stage.assert_each_once_and_in_order(&[("ann", 2), ("bob", 1)]);
    let (_, left) = stage.ask(&["list"]).await;
    assert_eq!(left["letters"].as_array().map(Vec::len), Some(0), "{left:#}");
    stage.end([ingest, writer]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_was_given_up_may_be_sent_again_corrected_and_is_written_once_its_letter_is_discarded() {
    let mut stage = Stage::new(QUICK).await;
    let (ingest, writer) = (stage.ingest(), stage.writer());
    a_nameless_order_is_given_up(&mut stage).await;
    let (_, shown) = stage.ask(&["list"]).await;
    let letter = shown["letters"][0]["letter"].as_str().expect("an id").to_owned();

    stage.publish_order(&new_order("ann", 1)).await;
    eventually("the corrected order to wait behind its letter", async || stage.fleet.letters().await.len() == 2).await;
    let discard = ["discard", &letter, "--why", "sent again", "--yes", "--by", "a test"];
    assert_eq!(stage.ask(&discard).await.0, Exit::Done);
    let replay = ["replay", "--order", &order_id("ann", 1), "--yes", "--by", "a test", "--wait", "--timeout", "20s"];
    assert_eq!(stage.ask(&replay).await.0, Exit::Done);
    stage.told.until("order.written", [order_id("ann", 1)]).await;
    stage.assert_each_once_and_in_order(&[("ann", 1)]);
    stage.end([ingest, writer]).await;
}
