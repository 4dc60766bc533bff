//! What a thousand orders cost of the org's allocation, counted by the org.

use std::time::Duration;

use serde_json::json;
use simulator::{DuplicateRule, RuleResponse, Settings};
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

/// Has a backlog written by one writer; one customer in ten matches an Account when `duplicates` is set. Returns the calls
/// per thousand orders.
async fn calls_of_a_backlog(duplicates: bool) -> f64 {
    let config = simulator::Config {
        duplicate_rules: vec![DuplicateRule::exact_email("Account", "PersonEmail", RuleResponse::ALERT)],
        settings: Settings { latency_ms: 50, ..Settings::default() },
        ..simulator::Config::default()
    };
    let mut stage = Stage::with(8, config, &format!("includeDuplicateCheck = true\n{QUICK}")).await;
    if duplicates {
        let matched = (0..ORDERS).step_by(10).map(customer).map(|customer| {
            json!({ "FirstName": "Nora", "LastName": orders::surname(&customer), "PersonEmail": orders::email(&customer) })
        });
        let matched: Vec<_> = matched.map(|account| account.as_object().expect("an object").clone()).collect();
        stage.org().seed("Account", &matched).await.expect("seeded");
        stage.org().advance_clock(Duration::from_mins(1));
    }
    let backlog: Vec<_> = (0..ORDERS).map(|number| orders::new_order(&customer(number), 1)).collect();
    stage.hand_on(&backlog).await;
    let before = stage.org().api_calls();
    let writer = stage.writer();
    stage.told.until("order.written", (0..ORDERS).map(|number| orders::order_id(&customer(number), 1))).await;
    let calls = stage.org().api_calls() - before;
    let graphs: Vec<usize> = stage.graph_requests().iter().map(|request| request.graphs).collect();
    eprintln!("{calls} {graphs:?}");
    assert_eq!(stage.records("Account").len(), ORDERS as usize, "a match is no further Account");
    assert_eq!(stage.events().len(), ORDERS as usize);
    stage.end(writer).await;
    #[expect(clippy::cast_precision_loss, reason = "a few calls")]
    let calls = calls as f64;
    calls * 1_000.0 / f64::from(ORDERS)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_orders_of_a_backlog_cost_at_most_fifteen_api_calls() {
    let calls = calls_of_a_backlog(false).await;
    assert!(calls <= 15.0, "{calls} API calls for a thousand orders");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_one_duplicate_in_ten_they_cost_at_most_seventeen() {
    let calls = calls_of_a_backlog(true).await;
    assert!(calls <= 17.0, "{calls} API calls for a thousand orders");
}
