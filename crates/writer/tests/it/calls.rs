//! What a thousand orders cost of the org's allocation, counted by the org, with the settings as they come.

use std::time::Duration;

use serde_json::{Map, Value, json};
use simulator::{DuplicateRule, RuleResponse};
use testkit::orders;

use crate::accounts::change;
use crate::stage::{QUICK, Stage, id_of, text};

/// One of these tests at a time: beside another one it is this machine that holds a writer back, and not the org.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Orders that wait when the writer starts, each of another customer.
const ORDERS: u32 = 3_000;

/// The customer of this number, as a word of letters.
fn customer(number: u32) -> String {
    let digits =
        (0..4).map(|place| char::from(b'a' + u8::try_from(number / 26_u32.pow(place) % 26).expect("a letter")));
    digits.collect()
}

fn customers() -> impl Iterator<Item = String> {
    (0..ORDERS).map(customer)
}

/// A fleet that has worked before: its ledger is older than the backlog, which needs no looking up.
async fn a_fleet_that_has_worked() -> Stage {
    a_fleet_that_has_worked_with(simulator::Config::default(), QUICK).await
}

async fn a_fleet_that_has_worked_with(org: simulator::Config, processing: &str) -> Stage {
    let mut stage = Stage::with(16, org, processing).await;
    let writer = stage.writer();
    stage.written(&[orders::new_order("first", 1)]).await;
    stage.end(writer).await;
    next_second().await;
    stage
}

/// The ledger counts in seconds: what it knows since this one is not older than what was written in it.
async fn next_second() {
    let second = || std::time::SystemTime::UNIX_EPOCH.elapsed().map(|elapsed| elapsed.as_secs()).unwrap_or_default();
    let marked = second();
    testkit::eventually("the next second", async || second() > marked).await;
}

/// How many API calls a writer makes for these orders, which wait when it starts, per thousand of them. What holds it back
/// is the org: it takes a second for a request, and so long for the first ones that the writer has its hands full by then.
async fn per_thousand(stage: &mut Stage, backlog: &[Value]) -> f64 {
    let (before, events) = (stage.calls(), stage.events().len());
    stage.hand_on(backlog).await;
    stage.org().update_settings(|settings| settings.latency_ms = 8_000);
    let writer = stage.writer();
    let all = f64::from(u32::try_from(backlog.len()).expect("a number of orders")) - 150.0;
    let full = async || (writer.in_hand() >= all).then_some(());
    testkit::eventually::within(Duration::from_mins(2), full).await.expect("the writer has its hands full");
    stage.org().update_settings(|settings| settings.latency_ms = 1_000);
    stage.told.until("order.written", backlog.iter().map(id_of)).await;
    let calls = stage.calls() - before;
    assert_eq!(stage.events().len(), events + backlog.len());
    stage.end(writer).await;
    let calls = u32::try_from(calls).expect("a number of calls");
    f64::from(calls) * 1_000.0 / f64::from(u32::try_from(backlog.len()).expect("a number of orders"))
}

/// These customers are in the org, from before the fleet.
async fn seed_accounts(stage: &Stage, customers: &[String]) {
    let row = |customer: &String| {
        let row = json!({ "LastName": orders::surname(customer), "LimioId__c": orders::identity(customer) });
        row.as_object().expect("an object").clone()
    };
    let rows: Vec<Map<String, Value>> = customers.iter().map(row).collect();
    stage.org().seed("Account", &rows).await.expect("seeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_orders_of_a_backlog_cost_at_most_fifteen_api_calls_and_so_do_their_customers_change_orders() {
    let _turn = TURN.lock().await;
    let mut stage = a_fleet_that_has_worked().await;
    let backlog: Vec<Value> = customers().map(|customer| orders::new_order(&customer, 1)).collect();
    let calls = per_thousand(&mut stage, &backlog).await;
    assert!(calls <= 15.0, "{calls} API calls");
    next_second().await;
    let backlog: Vec<Value> = customers().map(|customer| change(&customer, 2)).collect();
    let calls = per_thousand(&mut stage, &backlog).await;
    assert!(stage.records("LimioOrder__c").iter().all(|record| !text(record, "Account__c").is_empty()));
    assert!(calls <= 15.0, "{calls} API calls");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_change_orders_of_customers_whom_nobody_remembers_cost_at_most_eighteen_api_calls() {
    let _turn = TURN.lock().await;
    let mut stage = a_fleet_that_has_worked().await;
    // Every other one is in the org from before the fleet, and the others are nowhere.
    let known: Vec<String> = customers().step_by(2).collect();
    seed_accounts(&stage, &known).await;
    let backlog: Vec<Value> = customers().map(|customer| change(&customer, 1)).collect();
    let calls = per_thousand(&mut stage, &backlog).await;
    let records = stage.records("LimioOrder__c");
    let without = records.iter().filter(|record| text(record, "Account__c").is_empty()).count();
    assert_eq!(without, backlog.len() - known.len());
    assert!(calls <= 18.0, "{calls} API calls");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_orders_of_which_a_tenth_are_duplicates_cost_at_most_seventeen_api_calls() {
    let _turn = TURN.lock().await;
    let rule = DuplicateRule::exact_email("Account", "PersonEmail", RuleResponse::ALERT);
    let org = simulator::Config { duplicate_rules: vec![rule], ..simulator::Config::default() };
    let mut stage = a_fleet_that_has_worked_with(org, &format!("includeDuplicateCheck = true\n{QUICK}")).await;
    let twins: Vec<Map<String, Value>> = customers()
        .step_by(10)
        .map(|customer| {
            let row = json!({
                "FirstName": "Nora", "LastName": orders::surname(&customer), "PersonEmail": orders::email(&customer),
            });
            row.as_object().expect("an object").clone()
        })
        .collect();
    stage.org().seed("Account", &twins).await.expect("seeded");
    let backlog: Vec<Value> = customers().map(|customer| orders::new_order(&customer, 1)).collect();
    let calls = per_thousand(&mut stage, &backlog).await;
    assert_eq!(stage.records("Account").len(), backlog.len() + 1, "each duplicate went to the Account that it matches");
    assert!(calls <= 17.0, "{calls} API calls");
}
