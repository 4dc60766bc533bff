//! The org's allocation of API calls: shared by the fleet, and never spent to the end.

use std::time::Duration;

use testkit::eventually;
use testkit::orders::{self, new_order};

use crate::stage::{QUICK, Stage, Writer, id_of, orders_of};

const LIMIT: u64 = 40;

/// An org with few API calls; each order takes one.
async fn small(reserve_percent: &str, replays_percent: &str) -> Stage {
    let mut config = simulator::Config::default();
    config.settings.api_limit = LIMIT;
    Stage::on_several(config, QUICK)
        .await
        .set("CAUSEWAY_BATCH_ORDERS", "1")
        .set("CAUSEWAY_QUOTA_RESERVE_PERCENT", reserve_percent)
        .set("CAUSEWAY_QUOTA_REPLAYS_PERCENT", replays_percent)
        .set("CAUSEWAY_QUOTA_PROBE", "2s")
}

fn refused(stage: &Stage) -> usize {
    stage.org().requests().iter().filter(|request| request.status == 403).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn intake_pauses_before_the_org_refuses_and_all_is_written_after_the_window_has_moved() {
    let stage = small("50", "0").await;
    let writers: [Writer; 2] = [stage.writer(), stage.writer()];
    let customers: Vec<String> = (0..30_u8).map(|n| format!("c{}{}", char::from(b'a' + n % 26), n)).collect();
    let orders: Vec<_> = customers.iter().map(|customer| new_order(customer, 1)).collect();
    stage.hand_on(&orders).await;
    eventually("intake to pause", async || {
        writers.iter().any(|writer| writer.paused_by().as_deref() == Some("quota_exhausted"))
    })
    .await;
    eventually("the half that may be spent", async || stage.org().usage().api_calls >= LIMIT / 2).await;
    // Batches under way count as spent, so nothing but a look every two seconds goes beyond.
    assert!(stage.org().usage().api_calls <= LIMIT * 3 / 4, "{:?}", stage.org().usage());
    assert_eq!(refused(&stage), 0);
    stage.org().advance_clock(Duration::from_hours(25));
    eventually("all to be written", async || stage.order_records().len() == orders.len()).await;
    assert_eq!(refused(&stage), 0, "the org never had to refuse");
    assert_eq!(stage.fleet.letters().await.len(), 0);
    for writer in writers {
        writer.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replays_wait_for_the_window_while_new_orders_go_on() {
    let mut stage = small("10", "60").await;
    stage.refuse_accounts(&["ann".to_owned()]);
    let writer = stage.writer();
    stage.hand_on(&orders_of("ann", 1)).await;
    stage.told.until("order.dead_lettered", orders_of("ann", 1).iter().map(id_of)).await;
    // Twelve are what replays may go to.
    for number in 1..=14 {
        stage.written(&[new_order("bob", number)]).await;
    }
    stage.org().clear_faults();
    let open = stage.fleet.dead_letters().await;
    open.release(&orders::identity("ann")).await.expect("released");
    eventually("the replay to wait", async || writer.metric("replays_wait") > 0.5).await;
    stage.written(&[new_order("cleo", 1)]).await;
    assert!(writer.metric("replays_wait") > 0.5 && !stage.order_records().contains(&orders::order_id("ann", 1)));
    stage.org().advance_clock(Duration::from_hours(25));
    stage.written(&[new_order("dora", 1)]).await;
    stage.told.until("order.written", orders_of("ann", 1).iter().map(id_of)).await;
    assert_eq!(refused(&stage), 0);
    stage.end(writer).await;
}
