//! Whose order it is: which records each kind of customer gets, and the event that follows.

use serde_json::json;
use simulator::{Fault, FaultKind};
use testkit::orders::{self, golden, new_order};

use crate::stage::{ONE_ATTEMPT, QUICK, Stage, id_of, orders_of, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_shopper_becomes_a_person_account_with_an_order_record_and_an_event() {
    let mut stage = Stage::new(QUICK).await;
    let writer = stage.writer();
    let told = stage.written(&orders_of("ann", 1)).await;

    let accounts = stage.records("Account");
    assert_eq!(accounts.len(), 1);
    let account = &accounts[0];
    assert_eq!(account["IsPersonAccount"], true);
    assert_eq!(text(account, "LimioId__c"), orders::identity("ann"));
    assert_eq!(text(account, "LastName"), orders::surname("ann"));
    assert_eq!(text(account, "PersonEmail").to_lowercase(), orders::email("ann"));
    let records = stage.records("LimioOrder__c");
    assert_eq!(
        (text(&records[0], "LimioId__c"), &records[0]["Account__c"]),
        (orders::order_id("ann", 1), &account["Id"])
    );
    let events = stage.events();
    assert_eq!(events[0].payload["i42as__AccountId__c"], account["Id"]);
    assert_eq!(events[0].payload["i42as__OrderType__c"], "NEW_ORDER");

    let written = told[0].data();
    assert_eq!(written["crm_id"], account["Id"]);
    assert_eq!(written["event_uuid"], events[0].event_uuid);
    assert_eq!(written["record_ids"], json!({ "account": account["Id"], "order": records[0]["Id"] }));
    stage.assert_each_once_and_in_order(&[("ann", 1)]);
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_company_becomes_a_business_account_with_a_contact() {
    let mut stage = Stage::new(&format!("createPersonAccount = false\n{QUICK}")).await;
    let writer = stage.writer();
    let mut order = golden("02");
    order["owner"] = json!("id-company");
    let told = stage.written(&[order]).await;

    let (accounts, contacts) = (stage.records("Account"), stage.records("Contact"));
    assert_eq!((accounts.len(), contacts.len()), (1, 1));
    assert_eq!(text(&accounts[0], "Name"), "Quist Labs");
    assert_ne!(accounts[0].get("IsPersonAccount"), Some(&json!(true)));
    assert_eq!(contacts[0]["AccountId"], accounts[0]["Id"]);
    assert_eq!(told[0].data()["crm_id"], accounts[0]["Id"]);
    let event = &stage.events()[0].payload;
    assert_eq!(
        (&event["i42as__AccountId__c"], &event["i42as__ContactId__c"]),
        (&accounts[0]["Id"], &contacts[0]["Id"])
    );
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_began_in_salesforce_goes_to_the_account_that_it_names() {
    let mut stage = Stage::new(QUICK).await;
    let seeded = stage.org().seed("Account", &[row(&json!({ "LastName": "Quist" }))]).await.expect("seeded");
    let writer = stage.writer();
    let mut order = golden("03");
    order["tracking"]["accountId"] = json!(seeded[0]);
    let told = stage.written(std::slice::from_ref(&order)).await;

    assert_eq!(stage.records("Account").len(), 1, "no account node");
    assert_eq!(stage.records("LimioOrder__c")[0]["Account__c"], seeded[0]);
    assert_eq!(stage.events()[0].payload["i42as__AccountId__c"], seeded[0]);
    assert_eq!(told[0].data()["crm_id"], seeded[0]);
    assert_eq!(stage.graph_requests()[0].nodes, 2, "the order record and the event");
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_names_a_contact_goes_to_the_account_of_that_contact_whatever_else_is_known() {
    let mut stage = Stage::new(QUICK).await;
    let seeded = stage.org().seed("Account", &[row(&json!({ "LastName": "Quist" }))]).await.expect("seeded");
    let contact = stage.records("Account")[0]["PersonContactId"].clone();
    let writer = stage.writer();
    // Somebody made another Account for the same customer before, and the identity names it.
    stage.written(&orders_of("ann", 1)).await;
    let other = stage.records("Account")[1]["Id"].clone();
    let calls = stage.org().api_calls();
    let mut order = new_order("ann", 2);
    order["tracking"] = json!({ "contactId": contact });
    order["userDetails"]["crm_id"] = other;
    let told = stage.written(std::slice::from_ref(&order)).await;

    assert_eq!(stage.records("Account").len(), 2, "no account node");
    let event = &stage.events()[1].payload;
    assert_eq!((&event["i42as__AccountId__c"], &event["i42as__ContactId__c"]), (&json!(seeded[0]), &contact));
    assert_eq!(told[0].data()["crm_id"], seeded[0]);
    assert_eq!(stage.org().api_calls() - calls, 2, "the query and the graph");
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_names_a_contact_who_is_gone_is_a_letter_unless_its_customer_is_known() {
    let mut stage = Stage::new(QUICK).await;
    stage.org().seed("Account", &[row(&json!({ "LastName": "Quist" }))]).await.expect("seeded");
    let account = stage.records("Account")[0].clone();
    stage.delete("Account", &text(&account, "Id")).await;
    let writer = stage.writer();
    stage.written(&orders_of("ann", 1)).await;
    let of_the_contact = |customer, number| {
        let mut order = new_order(customer, number);
        order["tracking"] = json!({ "contactId": account["PersonContactId"] });
        order
    };
    let told = stage.written(&[of_the_contact("ann", 2)]).await;
    let anns = stage.records("LimioOrder__c")[0]["Account__c"].clone();
    assert_eq!(told[0].data()["crm_id"], anns, "what was remembered holds");

    stage.hand_on(&[of_the_contact("bob", 1)]).await;
    assert_eq!(stage.told.next().await.kind, "order.dead_lettered");
    let letters = stage.fleet.letters().await;
    let why = testkit::fleet::failure(&letters[0]);
    assert_eq!((why.reason.as_str(), why.field.as_deref()), ("invalid_value", Some("tracking.contactId")));
    assert_eq!(stage.order_records().len(), 2, "nothing is written of it");
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_order_of_a_customer_uses_the_account_that_the_first_one_made() {
    let mut stage = Stage::new(QUICK).await;
    let writer = stage.writer();
    stage.written(&orders_of("ann", 2)).await;
    let nodes: Vec<usize> = stage.graph_requests().iter().map(|request| request.nodes).collect();
    assert_eq!(nodes, [3, 2], "the second order has no account node");
    let account = &stage.records("Account")[0]["Id"];
    assert!(stage.records("LimioOrder__c").iter().all(|record| record["Account__c"] == *account));
    stage.assert_each_once_and_in_order(&[("ann", 2)]);
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_type_that_is_excluded_gets_its_records_and_no_event() {
    let mut stage = Stage::new(&format!("{QUICK}[platform_events]\norder_types = [\"CANCEL_REQUEST\"]\n")).await;
    let writer = stage.writer();
    let mut cancel = golden("05");
    cancel["owner"] = json!(orders::identity("ann"));
    let told = stage.written(&[new_order("ann", 1), cancel.clone()]).await;
    assert_eq!(stage.order_records(), [orders::order_id("ann", 1), id_of(&cancel)]);
    let events = stage.events();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].payload["i42as__OrderType__c"], "CANCEL_REQUEST");
    assert_eq!(told[0].data().get("event_uuid"), None);
    assert_eq!(stage.records("Account").len(), 1);
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_events_switched_off_the_records_are_written_all_the_same() {
    let mut stage = Stage::new(&format!("{QUICK}[platform_events]\nenabled = false\n")).await;
    let writer = stage.writer();
    stage.written(&orders_of("ann", 1)).await;
    assert_eq!((stage.order_records().len(), stage.events().len()), (1, 0));
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_the_org_publishes_at_once_follows_its_records_in_a_request_of_its_own() {
    let publish_behavior = simulator::PublishBehavior::Immediately;
    let settings = simulator::Settings { publish_behavior, ..simulator::Settings::default() };
    let config = simulator::Config { settings, ..simulator::Config::default() };
    let mut stage = Stage::on(config, &format!("{QUICK}[platform_events]\npublish_behavior = \"immediate\"\n")).await;
    // A graph that is rolled back: its event would be out already, had it been in the graph.
    stage.org().arm(simulator::Fault::once(simulator::FaultKind::Lock).on_object("LimioOrder__c"));
    let writer = stage.writer();
    let told = stage.written(&orders_of("ann", 1)).await;
    stage.assert_each_once_and_in_order(&[("ann", 1)]);
    let event = &stage.events()[0];
    assert_eq!(event.payload["i42as__AccountId__c"], stage.records("Account")[0]["Id"]);
    assert_eq!(told[0].data()["event_uuid"], event.event_uuid);
    let nodes: Vec<usize> = stage.graph_requests().iter().map(|request| request.nodes).collect();
    assert_eq!(nodes, [2, 2, 2], "Account and record, twice; then the event with the note of it in the record");
    assert_eq!(stage.records("LimioOrder__c")[0]["EventPublished__c"], true);
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_shopper_types_is_never_read_as_a_reference() {
    let mut stage = Stage::new(QUICK).await;
    let writer = stage.writer();
    let mut order = new_order("ann", 1);
    order["customerDetails"]["lastName"] = json!("@{account.id}");
    let told = stage.written(&[order]).await;
    let account = &stage.records("Account")[0];
    assert_eq!(text(account, "LastName"), "@ {account.id}");
    let adjustments = told[0].data()["adjustments"].as_array().expect("what was changed is told").clone();
    assert!(
        adjustments.iter().any(|note| note.as_str().is_some_and(|note| note.contains("LastName: "))),
        "{adjustments:?}"
    );
    stage.end(writer).await;
}

fn row(fields: &serde_json::Value) -> serde_json::Map<String, serde_json::Value> {
    fields.as_object().expect("an object").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remembered_account_that_is_gone_is_forgotten_and_the_customer_is_made_anew() {
    let mut stage = Stage::new(QUICK).await;
    let writer = stage.writer();
    let orders = orders_of("ann", 2);
    stage.written(&orders[..1]).await;
    let first = text(&stage.records("Account")[0], "Id");
    stage.delete("Account", &first).await;
    let told = stage.written(&orders[1..]).await;

    let accounts = stage.records("Account");
    let alive: Vec<_> = accounts.iter().filter(|account| account["IsDeleted"] != true).collect();
    assert_eq!(alive.len(), 1);
    assert_ne!(text(alive[0], "Id"), first);
    assert_eq!(told[0].data()["crm_id"], alive[0]["Id"]);
    stage.end(writer).await;
}

/// A cancellation of the subscription of the customer's first order. It names the customer, if at all, by identity alone.
pub(crate) fn cancellation(customer: &str, owner: Option<&str>) -> serde_json::Value {
    let mut order = golden("05");
    order["id"] = json!(orders::order_id(customer, 9));
    order["order_reference"] = json!(orders::reference(customer, 9));
    order["owner"] = json!(owner);
    order["subscriptionRef"] = json!(format!("S-{customer}-1"));
    order
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_says_little_of_its_customer_finds_their_account_also_when_the_ledger_was_emptied() {
    let mut stage = Stage::new(QUICK).await;
    let writer = stage.writer();
    stage.written(&orders_of("ann", 1)).await;
    let account = text(&stage.records("Account")[0], "Id");
    stage.fleet.forget().await;
    let told = stage.written(&[cancellation("ann", Some("id-ann"))]).await;
    assert_eq!(told.last().expect("it was told").data()["crm_id"], account.as_str());
    assert_eq!(text(&stage.records("LimioOrder__c")[1], "Account__c"), account);
    assert_eq!(stage.events()[1].payload["i42as__AccountId__c"], account.as_str());
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_who_was_in_the_org_before_the_fleet_is_found_once_and_remembered() {
    let mut stage = Stage::new(QUICK).await;
    let seeded = row(&json!({ "LastName": "Quist", "LimioId__c": "ID-ANN" }));
    let account = stage.org().seed("Account", &[seeded]).await.expect("seeded").remove(0);
    let writer = stage.writer();
    for number in [8, 9] {
        let mut order = cancellation("ann", Some("id-ann"));
        order["id"] = json!(orders::order_id("ann", number));
        order["order_reference"] = json!(orders::reference("ann", number));
        stage.written(&[order]).await;
    }
    assert!(stage.records("LimioOrder__c").iter().all(|record| text(record, "Account__c") == account));
    assert_eq!(stage.calls(), 3, "a query, and a request for each order");
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_without_an_external_id_is_found_by_the_customers_earlier_orders() {
    let mut stage = Stage::new(QUICK).await;
    let account = stage.org().seed("Account", &[row(&json!({ "LastName": "Quist" }))]).await.expect("seeded").remove(0);
    let writer = stage.writer();
    let mut first = new_order("ann", 1);
    first["tracking"] = json!({ "accountId": account });
    stage.written(&[first]).await;
    stage.fleet.forget().await;
    let told = stage.written(&[cancellation("ann", None)]).await;
    assert_eq!(told.last().expect("it was told").data()["crm_id"], account.as_str());
    assert_eq!(text(&stage.records("LimioOrder__c")[1], "Account__c"), account);
    assert_eq!(stage.records("Account").len(), 1);
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_gone_beside_the_account_leaves_the_account_remembered() {
    let mut stage = Stage::new(ONE_ATTEMPT).await;
    let account = stage.org().seed("Account", &[row(&json!({ "LastName": "Quist" }))]).await.expect("seeded").remove(0);
    let writer = stage.writer();
    let mut first = new_order("ann", 1);
    first["tracking"] = json!({ "accountId": account });
    stage.written(&[first]).await;
    // A trigger of the org looks something up for the order's record that was deleted.
    let refusal = FaultKind::RefuseRow {
        code: "INVALID_CROSS_REFERENCE_KEY".into(),
        message: "invalid cross reference id".into(),
        status: 400,
        fields: Vec::new(),
    };
    stage.org().arm(Fault::once(refusal).on_object("LimioOrder__c"));
    let calls = stage.calls();
    stage.hand_on(&[new_order("ann", 2)]).await;
    stage.told.until("order.dead_lettered", [orders::order_id("ann", 2)]).await;
    assert_eq!(stage.calls() - calls, 2, "the request, and one look at the Account");
    let open = stage.fleet.dead_letters().await;
    open.release(&orders::identity("ann")).await.expect("released");
    stage.told.until("order.written", [orders::order_id("ann", 2)]).await;
    open.close().await;
    assert_eq!(text(&stage.records("LimioOrder__c")[1], "Account__c"), account);
    assert_eq!(stage.records("Account").len(), 1, "no second one was made");
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_of_a_subscriptions_new_owner_goes_to_nobody_elses_account() {
    let mut stage = Stage::new(QUICK).await;
    let writer = stage.writer();
    stage.written(&[orders_of("ann", 1), vec![cancellation("ann", Some("id-ann"))]].concat()).await;
    let anns = text(&stage.records("Account")[0], "Id");
    // The subscription passes to Bob, of whom the org knows nothing yet.
    let mut bobs = cancellation("bob", Some("id-bob"));
    bobs["subscriptionRef"] = json!("S-ann-1");
    let told = stage.written(std::slice::from_ref(&bobs)).await;
    assert_eq!(told[0].data().get("crm_id"), None);
    stage.fleet.forget().await;
    bobs["id"] = json!(orders::order_id("bob", 10));
    bobs["order_reference"] = json!(orders::reference("bob", 10));
    let told = stage.written(&[bobs, new_order("bob", 2)]).await;
    let of_bob: Vec<_> = told.iter().filter(|told| told.order_id != orders::order_id("ann", 9)).collect();
    assert_eq!(of_bob.len(), 2);
    let records = stage.records("LimioOrder__c");
    let on_anns: Vec<String> = records
        .iter()
        .filter(|record| text(record, "Account__c") == anns)
        .map(|record| text(record, "LimioId__c"))
        .collect();
    assert_eq!(on_anns, [orders::order_id("ann", 1), orders::order_id("ann", 9)], "nothing of Bob's");
    assert_eq!(stage.records("Account").len(), 2, "Bob's own order makes Bob's own Account");
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_a_subscription_led_to_is_asked_for_once_and_holds_for_that_subscription_alone() {
    let mut stage = Stage::new(QUICK).await;
    let account = stage.org().seed("Account", &[row(&json!({ "LastName": "Quist" }))]).await.expect("seeded").remove(0);
    let writer = stage.writer();
    // An agent's order: the Account carries nobody's name.
    let mut first = cancellation("ann", None);
    first["tracking"] = json!({ "accountId": account });
    stage.written(&[first]).await;
    let calls = stage.calls();
    for number in [10, 11] {
        let mut order = cancellation("ann", Some("id-ann"));
        order["id"] = json!(orders::order_id("ann", number));
        order["order_reference"] = json!(orders::reference("ann", number));
        let told = stage.written(&[order]).await;
        assert_eq!(told[0].data()["crm_id"], account.as_str());
    }
    assert_eq!(stage.calls() - calls, 3, "a question, and a request for each order");
    let told = stage.written(&[new_order("ann", 2)]).await;
    assert_ne!(told[0].data()["crm_id"], account.as_str(), "a new order is the customer's own");
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_subscription_has_a_name_that_no_field_can_hold_fails_alone() {
    let mut stage = Stage::new(crate::stage::ONE_ATTEMPT).await;
    let writer = stage.writer();
    let mut long = cancellation("ann", Some("id-ann"));
    long["subscriptionId"] = json!(null);
    long["subscriptionRef"] = json!("S".repeat(6_000));
    let neighbours = ["bob", "cas"].map(|customer| {
        let mut order = cancellation(customer, Some(&orders::identity(customer)));
        order["subscriptionId"] = json!(null);
        order
    });
    stage.hand_on(&[std::slice::from_ref(&long), &neighbours].concat()).await;
    let told = stage.told.take(3).await;
    for told in told {
        let kind = if told.order_id == id_of(&long) { "order.dead_lettered" } else { "order.written" };
        assert_eq!(told.kind, kind);
    }
    let letters = stage.fleet.letters().await;
    assert_eq!((letters.len(), testkit::fleet::failure(&letters[0]).field.as_deref()), (1, Some("forSubscription")));
    stage.end(writer).await;
}
