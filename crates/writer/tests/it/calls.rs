//! What a thousand orders cost of the org's allocation, counted by the org, with the settings as they come.

use simulator::Settings;
use testkit::orders;

use crate::stage::{QUICK, Stage};

/// Orders that wait when the writer starts, each of another customer.
const ORDERS: u32 = 3_000;

/// The customer of this number, as a word of letters.
fn customer(number: u32) -> String {
    let digits =
        (0..4).map(|place| char::from(b'a' + u8::try_from(number / 26_u32.pow(place) % 26).expect("a letter")));
    digits.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_orders_of_a_backlog_cost_at_most_fifteen_api_calls() {
    let settings = Settings { latency_ms: 50, ..Settings::default() };
    let config = simulator::Config { settings, ..simulator::Config::default() };
    let mut stage = Stage::with(8, config, QUICK).await;
    // A fleet that has worked before: its ledger is older than the backlog, which needs no looking up.
    let writer = stage.writer();
    stage.written(&[orders::new_order("first", 1)]).await;
    stage.end(writer).await;
    let second = || std::time::SystemTime::UNIX_EPOCH.elapsed().map(|elapsed| elapsed.as_secs()).unwrap_or_default();
    let marked = second();
    testkit::eventually("the next second", async || second() > marked).await;
    let backlog: Vec<_> = (0..ORDERS).map(|number| orders::new_order(&customer(number), 1)).collect();
    stage.hand_on(&backlog).await;
    let before = stage.calls();
    let writer = stage.writer();
    stage.told.until("order.written", (0..ORDERS).map(|number| orders::order_id(&customer(number), 1))).await;
    let calls = stage.calls() - before;
    assert_eq!(stage.events().len(), ORDERS as usize + 1);
    stage.end(writer).await;
    assert!(calls * 1_000 <= u64::from(ORDERS) * 15, "{calls} API calls for {ORDERS} orders");
}
