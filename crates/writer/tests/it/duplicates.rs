//! What becomes of an order when a duplicate rule of the org fires.

use std::time::Duration;

use domain::story::{Step, What};
use serde_json::{Value, json};
use simulator::{DuplicateRule, Fault, FaultKind, GraphDuplicateBody, RuleResponse, Settings};
use testkit::fleet::Told;
use testkit::orders;

use crate::accounts::change;
use crate::stage::{QUICK, Stage, id_of, orders_of};
use crate::stories::{self, recorded};

const ON: &str = "includeDuplicateCheck = true\n";

/// An org with a rule about person accounts, and so many Accounts that match the customer `ann`, oldest first.
async fn stage(rule: RuleResponse, matches: usize, settings: &str, body: GraphDuplicateBody) -> (Stage, Vec<String>) {
    let stage = stage_with(DuplicateRule::standard_person_account(rule), settings, body).await;
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

/// An org with this rule.
async fn stage_with(rule: DuplicateRule, settings: &str, body: GraphDuplicateBody) -> Stage {
    let config = simulator::Config {
        duplicate_rules: vec![rule],
        settings: Settings { graph_duplicate_body: body, ..Settings::default() },
        ..simulator::Config::default()
    };
    Stage::on(config, &format!("{settings}{QUICK}")).await
}

/// An org in which an e-mail address is enough to match.
async fn stage_by_email(settings: &str, body: GraphDuplicateBody) -> Stage {
    stage_with(DuplicateRule::exact_email("Account", "PersonEmail", RuleResponse::ALERT), settings, body).await
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
    let by_email = json!({ "name": "PersonEmail", "shape": "e-mail address" });
    let fields = written["explanation"]["fields"].as_array().expect("the fields that agree");
    assert!(fields.contains(&by_email), "{fields:?}");
    let told = written.to_string().to_lowercase();
    assert!(!told.contains("nora") && !told.contains("quist"), "{told}");
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

/// An org in which every customer matches this one Account, and a writer that sends single orders, two at once.
async fn stage_of_one_account() -> (Stage, String) {
    let rule = DuplicateRule::exact_email("Account", "FirstName", RuleResponse::ALERT);
    let stage = stage_with(rule, ON, GraphDuplicateBody::Full).await;
    let stage = stage.set("CAUSEWAY_IN_FLIGHT", "2").set("CAUSEWAY_BATCH_ORDERS", "1");
    let nora = json!({ "FirstName": "Nora", "LastName": "Anybody" });
    let ids = stage.org().seed("Account", &[nora.as_object().expect("an object").clone()]).await.expect("seeded");
    (stage, ids.into_iter().next().expect("one"))
}

#[tokio::test(flavor = "multi_thread")]
async fn customers_who_match_one_account_are_written_to_it_one_after_the_other() {
    let (mut stage, nora) = stage_of_one_account().await;
    let writer = stage.writer();
    // Ann's order is being written to it.
    stage.org().arm(Fault::once(FaultKind::Hold).on_path("/composite/graph").containing(&nora));
    stage.hand_on(&orders_of("ann", 1)).await;
    stage.org().until_held(1).await;
    let refused = stage.graph_requests().len() + 1;
    stage.hand_on(&orders_of("bob", 1)).await;
    testkit::eventually("what Bob matches to be known", async || stage.graph_requests().len() >= refused).await;
    // Whoever shares nothing with them goes beside hers.
    for customer in ["cas", "dee", "eve"] {
        let mut order = orders_of(customer, 1);
        order[0]["customerDetails"]["firstName"] = json!(customer);
        stage.written(&order).await;
    }
    assert_eq!(stage.order_records().len(), 3, "Bob's waits for hers");
    stage.org().release_held();
    let both = [orders::order_id("ann", 1), orders::order_id("bob", 1)];
    let told = stage.told.until("order.written", both).await;
    assert!(told.iter().all(|told| told.data()["crm_id"] == nora.as_str()), "{told:?}");
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn customers_of_whom_only_redis_knows_that_they_share_an_account_are_written_to_it_one_after_the_other() {
    let (mut stage, nora) = stage_of_one_account().await;
    let writer = stage.writer();
    for customer in ["ann", "bob"] {
        stage.written(&orders_of(customer, 1)).await;
    }
    stage.end(writer).await;

    let writer = stage.writer();
    let (of_ann, of_bob) = (change("ann", 2), change("bob", 2));
    stage.org().arm(Fault::once(FaultKind::Hold).on_path("/composite/graph").containing(&nora));
    stage.hand_on(std::slice::from_ref(&of_ann)).await;
    stage.org().until_held(1).await;
    stage.hand_on(std::slice::from_ref(&of_bob)).await;
    let is_in_use = |step: &Step| step.what == What::AccountInUse;
    let waits = async || recorded(&stage, &id_of(&of_bob)).await.iter().any(is_in_use);
    testkit::eventually("Bob's to find it in use", waits).await;
    // Who shares nothing with them goes beside hers.
    let mut other = orders_of("cas", 1);
    other[0]["customerDetails"]["firstName"] = json!("Cas");
    stage.written(&other).await;
    assert_eq!(stage.order_records().len(), 3, "Bob's waits for hers");
    stage.org().release_held();
    let told = stage.told.until("order.written", [id_of(&of_ann), id_of(&of_bob)]).await;
    assert!(told.iter().all(|told| told.data()["crm_id"] == nora.as_str()), "{told:?}");
    let steps = stories::told(&stage, &id_of(&of_bob)).await;
    let attempts = |step: &Step| if let What::Claimed { attempt, .. } = step.what { Some(attempt) } else { None };
    assert_eq!(
        steps.iter().filter_map(attempts).collect::<Vec<_>>(),
        [1, 1],
        "waiting costs no attempt, and no claims"
    );
    assert_eq!(steps.iter().filter(|step| is_in_use(step)).count(), 1);
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

/// So many Accounts that match each of these customers, the oldest first.
async fn seed_twins(stage: &Stage, customers: &[String], matches: usize) {
    for _ in 0..matches {
        let rows: Vec<_> = customers
            .iter()
            .map(|customer| {
                let row = json!({
                    "FirstName": "Nora", "LastName": orders::surname(customer), "PersonEmail": orders::email(customer),
                });
                row.as_object().expect("an object").clone()
            })
            .collect();
        stage.org().seed("Account", &rows).await.expect("seeded");
        stage.org().advance_clock(Duration::from_mins(1));
    }
}

/// A word of letters for a number.
fn word(number: u32) -> String {
    [number / 676, number / 26 % 26, number % 26]
        .iter()
        .map(|place| char::from(b'a' + u8::try_from(*place).expect("a letter")))
        .collect()
}

/// API calls for 1,000 orders of 1,000 customers that wait when the writer starts. Every tenth customer has this many
/// Accounts that match, of which a refused graph tells or does not.
async fn calls_per_thousand(matches: usize, body: GraphDuplicateBody) -> u64 {
    let settings = "includeDuplicateCheck = true\n[duplicates]\nseveral_matches = \"oldest\"\n";
    let stage = stage_by_email(settings, body).await;
    // One request at a time: the next one is full when it goes.
    let mut stage = stage.set("CAUSEWAY_IN_FLIGHT", "1").set("CAUSEWAY_PREFETCH", "2000");
    let customers: Vec<String> = (0..1_000).map(word).collect();
    let twins: Vec<String> = customers.iter().step_by(10).cloned().collect();
    seed_twins(&stage, &twins, matches).await;
    let before = stage.calls();
    let orders: Vec<Value> = customers.iter().map(|customer| orders::new_order(customer, 1)).collect();
    stage.hand_on(&orders).await;
    let writer = stage.writer();
    let told = stage.told.until("order.written", orders.iter().map(id_of)).await;
    let attached = told.iter().filter(|told| told.data()["explanation"]["decision"] == "attached").count();
    assert_eq!(attached, if matches == 0 { 0 } else { twins.len() });
    assert_eq!(stage.records("Account").len(), 1_000 + twins.len() * matches.saturating_sub(1));
    let calls = stage.calls() - before;
    stage.end(writer).await;
    calls
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_orders_at_saturation_take_at_most_15_api_calls() {
    let calls = calls_per_thousand(0, GraphDuplicateBody::Full).await;
    assert!(calls <= 15, "{calls} calls");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_orders_of_which_a_tenth_are_duplicates_take_at_most_17_api_calls() {
    let calls = calls_per_thousand(1, GraphDuplicateBody::Full).await;
    assert!(calls <= 17, "{calls} calls");
}

#[tokio::test(flavor = "multi_thread")]
async fn also_where_each_duplicate_matches_several_accounts_they_take_at_most_17_api_calls() {
    let calls = calls_per_thousand(3, GraphDuplicateBody::Full).await;
    assert!(calls <= 17, "{calls} calls");
}

/// The Accounts of duplicates are asked for their matches once more, several in one call.
#[tokio::test(flavor = "multi_thread")]
async fn where_a_graph_does_not_tell_the_match_of_a_tenth_they_take_at_most_30_api_calls() {
    let calls = calls_per_thousand(1, GraphDuplicateBody::Short).await;
    assert!(calls <= 30, "{calls} calls");
}

#[tokio::test(flavor = "multi_thread")]
async fn ages_that_a_graph_does_not_tell_are_looked_up_for_the_batch_at_once() {
    let policy = "[duplicates]\nseveral_matches = \"newest\"\n";
    let stage = stage_by_email(&format!("{ON}{policy}"), GraphDuplicateBody::Full).await;
    let mut stage = stage.set("CAUSEWAY_IN_FLIGHT", "1");
    stage.org().update_settings(|settings| settings.graph_header_propagation = false);
    let customers: Vec<String> = (0..10).map(word).collect();
    seed_twins(&stage, &customers, 2).await;
    let accounts = stage.records("Account");
    let orders: Vec<Value> = customers.iter().map(|customer| orders::new_order(customer, 1)).collect();
    stage.hand_on(&orders).await;
    let writer = stage.writer();
    let told = stage.told.until("order.written", orders.iter().map(id_of)).await;
    for told in told {
        let at = accounts.iter().position(|account| account["Id"] == told.data()["crm_id"]);
        assert!(at.is_some_and(|at| at >= customers.len()), "the newer of the two");
        assert_eq!(told.data()["explanation"]["policy"], "newest");
    }
    let queries = stage.org().requests().iter().filter(|request| request.path.ends_with("/query")).count();
    assert!(queries <= stage.graph_requests().len(), "at most one a batch: {queries}");
    assert_eq!(stage.records("Account").len(), 2 * customers.len());
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_have_to_be_tried_alone_share_a_request() {
    let stage = stage_by_email(ON, GraphDuplicateBody::Short).await;
    let mut stage = stage.set("CAUSEWAY_IN_FLIGHT", "1");
    let customers: Vec<String> = (0..12).map(word).collect();
    seed_twins(&stage, &customers, 1).await;
    let orders: Vec<Value> = customers.iter().map(|customer| orders::new_order(customer, 1)).collect();
    stage.hand_on(&orders).await;
    let writer = stage.writer();
    stage.told.until("order.written", orders.iter().map(id_of)).await;
    let tried: Vec<usize> = stage
        .org()
        .requests()
        .iter()
        .filter(|request| request.path.ends_with("/composite") && request.describes == 0)
        .map(|request| request.nodes)
        .collect();
    assert_eq!(tried.iter().sum::<usize>(), 12);
    assert!(tried.len() <= stage.graph_requests().len() && tried.len() < 12, "one a batch: {tried:?}");
    assert_eq!(stage.records("Account").len(), 12, "nothing was saved beside the matches");
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_that_matches_leaves_no_account_behind_even_where_the_graph_does_not_say_what_matched() {
    let config = simulator::Config {
        duplicate_rules: vec![DuplicateRule::standard_contact(RuleResponse::BLOCK)],
        settings: Settings { graph_duplicate_body: GraphDuplicateBody::Short, ..Settings::default() },
        ..simulator::Config::default()
    };
    let mut stage = Stage::on(config, &format!("createPersonAccount = false\n{ON}{QUICK}")).await;
    let contact = json!({ "FirstName": "Nora", "LastName": orders::surname("ann"), "Email": orders::email("ann") });
    stage.org().seed("Contact", &[contact.as_object().expect("an object").clone()]).await.expect("seeded");
    let writer = stage.writer();
    stage.hand_on(&orders_of("ann", 1)).await;
    let told = stage.told.take(1).await;
    assert_eq!(told[0].data()["failure"]["reason"], "duplicate_blocked", "{told:?}");
    assert_eq!((stage.records("Account").len(), stage.records("Contact").len()), (0, 1));
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_shopper_types_is_no_reference_on_any_way_to_a_matched_account() {
    for body in [GraphDuplicateBody::Full, GraphDuplicateBody::Short] {
        let mut stage = stage_by_email(ON, body).await;
        seed_twins(&stage, &["ann".to_owned()], 1).await;
        let twin = stage.records("Account")[0]["Id"].clone();
        let writer = stage.writer();
        let mut order = orders::new_order("ann", 1);
        let hostile = "@{account.id}@{order.id}@{account0.id}";
        order["customerDetails"]["firstName"] = json!("@{account.id}");
        order["customerDetails"]["phone"] = json!("@{order.id}");
        order["userDetails"]["sub"] = json!(hostile);
        order["sub_reference"] = json!(hostile);
        order["giftCode"] = json!("@{order.id}");
        order["orderItems"][0]["name"] = json!(hostile);
        let told = stage.written(&[order]).await;
        assert_eq!(told[0].data()["crm_id"], twin);
        assert_eq!(stage.records("LimioOrder__c")[0]["SubscriptionId__c"], "@ {account.id}@ {order.id}@ {account0.id}");
        let event = Value::Object(stage.events()[0].payload.clone());
        assert!(!event.to_string().contains("@{"), "{event}");
        assert_eq!(event["i42as__AccountId__c"], twin);
        stage.end(writer).await;
    }
}
