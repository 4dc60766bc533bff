//! What becomes of an order when a duplicate rule of the org fires.

use std::time::Duration;

use serde_json::{Value, json};
use simulator::{DuplicateRule, GraphDuplicateBody, RuleResponse, Settings};
use testkit::fleet::Told;
use testkit::orders;

use crate::stage::{QUICK, Stage, orders_of};

const ON: &str = "includeDuplicateCheck = true\n";

/// An org with a rule about person accounts, and so many Accounts that match the customer `ann`, oldest first.
async fn stage(rule: RuleResponse, matches: usize, settings: &str, body: GraphDuplicateBody) -> (Stage, Vec<String>) {
    let config = simulator::Config {
        duplicate_rules: vec![DuplicateRule::standard_person_account(rule)],
        settings: Settings { graph_duplicate_body: body, ..Settings::default() },
        ..simulator::Config::default()
    };
    let stage = Stage::on(config, &format!("{settings}{QUICK}")).await;
    let mut ids = Vec::new();
    for _ in 0..matches {
        let account =
            json!({ "FirstName": "Nora", "LastName": orders::surname("ann"), "PersonEmail": orders::email("ann") });
        let account = account.as_object().expect("an object").clone();
        ids.extend(stage.org().seed("Account", &[account]).await.expect("seeded"));
        stage.org().advance_clock(Duration::from_mins(1));
    }
    (stage, ids)
}

/// The order is rejected: it is settled, nothing is written, and the customer's next order is tried by itself.
async fn rejected(mut stage: Stage, matches: usize, reason: &str) -> Told {
    let writer = stage.writer();
    let orders = orders_of("ann", 2);
    stage.hand_on(&orders).await;
    let told = stage.told.take(2).await;
    for (told, number) in told.iter().zip(1..) {
        assert_eq!((told.kind.as_str(), &told.order_id), ("order.rejected", &orders::order_id("ann", number)));
        assert_eq!(told.data()["failure"]["reason"], reason);
    }
    assert_eq!(stage.records("Account").len(), matches);
    assert!(stage.order_records().is_empty() && stage.events().is_empty());
    assert_eq!(stage.fleet.letters().await.len(), 0, "a rejection is no failure");
    stage.end(writer).await;
    told.into_iter().next().expect("two were told")
}

/// The order is written to this Account, and says why.
async fn attached(mut stage: Stage, account: &str, matches: usize) {
    let writer = stage.writer();
    let told = stage.written(&orders_of("ann", 1)).await;
    let written = told[0].data();
    assert_eq!(written["crm_id"], account);
    assert_eq!(written["explanation"]["rule"], "Standard_Person_Account_Duplicate_Rule");
    assert_eq!(written["explanation"]["matched"].as_array().map(Vec::len), Some(matches));
    assert_eq!(written["explanation"]["decision"], "attached");
    assert_eq!(stage.records("LimioOrder__c")[0]["Account__c"], account);
    let events = stage.events();
    assert_eq!((events.len(), &events[0].payload["i42as__AccountId__c"]), (1, &Value::from(account)));
    assert_eq!(stage.records("Account").len(), matches, "no further Account");
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_check_off_every_duplicate_is_rejected_whatever_its_rule_says() {
    let (stage, ids) = stage(RuleResponse::ALERT, 1, "", GraphDuplicateBody::Full).await;
    let told = rejected(stage, 1, "duplicate_detected").await;
    assert_eq!(told.data()["explanation"]["matched"], json!(ids));
    assert!(told.data()["customer_text"].as_str().is_some_and(|text| text.contains("log in")), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_blocks_rejects_the_order_by_its_name() {
    let (stage, _) = stage(RuleResponse::BLOCK, 1, ON, GraphDuplicateBody::Full).await;
    let told = rejected(stage, 1, "duplicate_blocked").await;
    assert_eq!(told.data()["failure"]["rule"], "Standard_Person_Account_Duplicate_Rule");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_allows_puts_the_order_on_the_one_account_that_matches() {
    let (stage, ids) = stage(RuleResponse::ALERT, 1, ON, GraphDuplicateBody::Full).await;
    attached(stage, &ids[0], 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_order_of_a_customer_who_was_matched_goes_to_the_matched_account_at_once() {
    let (mut stage, ids) = stage(RuleResponse::ALERT, 1, ON, GraphDuplicateBody::Full).await;
    let writer = stage.writer();
    stage.written(&orders_of("ann", 2)).await;
    assert!(stage.records("LimioOrder__c").iter().all(|record| record["Account__c"] == ids[0].as_str()));
    let nodes: Vec<usize> = stage.graph_requests().iter().map(|request| request.nodes).collect();
    assert_eq!(nodes, [3, 2, 2], "refused, attached, and the next one");
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_matches_are_ambiguous_unless_the_settings_choose() {
    let (stage, ids) = stage(RuleResponse::ALERT, 3, ON, GraphDuplicateBody::Full).await;
    let told = rejected(stage, 3, "duplicate_ambiguous").await;
    let matched = told.data()["explanation"]["matched"].as_array().expect("the matches").clone();
    assert!(ids.iter().all(|id| matched.contains(&Value::from(id.as_str()))), "{matched:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_matches_the_oldest_can_be_chosen() {
    let (stage, ids) = stage(RuleResponse::ALERT, 3, ON, GraphDuplicateBody::Full).await;
    stage.write_order_processing(&format!("{ON}{QUICK}[duplicates]\nseveral_matches = \"oldest\"\n"));
    attached(stage, &ids[0], 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_matches_the_newest_can_be_chosen() {
    let (stage, ids) = stage(RuleResponse::ALERT, 3, ON, GraphDuplicateBody::Full).await;
    stage.write_order_processing(&format!("{ON}{QUICK}[duplicates]\nseveral_matches = \"newest\"\n"));
    attached(stage, &ids[2], 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_graph_does_not_say_what_matched_the_account_is_tried_alone() {
    let (stage, ids) = stage(RuleResponse::ALERT, 1, ON, GraphDuplicateBody::Short).await;
    attached(stage, &ids[0], 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_blocks_is_recognised_also_where_the_graph_does_not_say_so() {
    let (stage, _) = stage(RuleResponse::BLOCK, 1, ON, GraphDuplicateBody::Short).await;
    rejected(stage, 1, "duplicate_blocked").await;
}
