//! Whose Account an order goes to that says little of its customer, and that no order pays for what another one asks.

use ledger::Ledger as _;
use serde_json::{Value, json};
use simulator::{Fault, FaultKind};
use testkit::orders::{self, golden, new_order};

use crate::stage::{ONE_ATTEMPT, QUICK, Stage, Writer, fault_strikes, id_of, orders_of, text};

/// A change order of a customer named by identity alone, with a subscription of their own.
pub(crate) fn change(customer: &str, number: u32) -> Value {
    let mut order = golden("05");
    order["id"] = json!(orders::order_id(customer, number));
    order["order_reference"] = json!(orders::reference(customer, number));
    order["owner"] = json!(orders::identity(customer));
    order["subscriptionId"] = json!(format!("sub-{customer}"));
    order["subscriptionRef"] = json!(format!("S-{customer}-1"));
    order
}

/// The same of whoever has the subscription of this customer now.
fn change_of_the_subscription_of(customer: &str, number: u32, who: &Value) -> Value {
    let mut order = change(customer, number);
    let fields = order.as_object_mut().expect("an object");
    fields.remove("owner");
    fields.extend(who.as_object().expect("an object").clone());
    order
}

async fn seed(stage: &Stage, object: &str, fields: &Value) -> String {
    let fields = fields.as_object().expect("an object").clone();
    stage.org().seed(object, &[fields]).await.expect("seeded").remove(0)
}

fn refusal(code: &str, status: u16) -> FaultKind {
    FaultKind::RefuseRequest { code: code.into(), message: "?".into(), status }
}

/// How often the org was asked, with one query or several.
fn questions(stage: &Stage) -> usize {
    let asks = |path: &str| path.ends_with("/composite") || path.ends_with("/query");
    stage.org().requests().iter().filter(|request| asks(&request.path) && request.describes == 0).count()
}

/// These orders wait for one batch: every request that may be in flight is held, until [`simulator::Control::release_held`].
async fn gather(stage: &Stage, writer: &Writer, in_flight: &[&str], orders: &[Value]) {
    let others: Vec<Value> = in_flight.iter().map(|customer| new_order(customer, 1)).collect();
    for (held, order) in (1..).zip(&others) {
        stage.org().arm(Fault::once(FaultKind::Hold).on_path("/composite/graph"));
        stage.hand_on(std::slice::from_ref(order)).await;
        stage.org().until_held(held).await;
    }
    stage.hand_on(orders).await;
    let all = f64::from(u32::try_from(others.len() + orders.len()).expect("a few"));
    testkit::eventually("all to wait", async || writer.in_hand() >= all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_does_not_end_by_a_question_that_was_asked_with_it_for_orders_that_wait() {
    let stage = Stage::new(ONE_ATTEMPT).await;
    let mut stage = stage.set("CAUSEWAY_IN_FLIGHT", "1").set("CAUSEWAY_BATCH_ORDERS", "2");
    let writer = stage.writer();
    let orders = [change("ann", 1), new_order("bob", 1), change("cas", 1), change("dora", 1)];
    gather(&stage, &writer, &["zoe"], &orders).await;
    // What is asked for Dora with Ann's question makes it too large. Dora's own is not.
    stage.org().arm(Fault::once(refusal("OPERATION_TOO_LARGE", 400)).containing("dora"));
    stage.org().release_held();
    stage.told.until("order.written", orders.iter().map(id_of)).await;
    let questions = stage.org().requests().iter().filter(|request| request.path.ends_with("/composite")).count();
    assert_eq!(questions, 4, "the start's; refused, asked for Ann without the others, and for Cas and Dora together");
    assert_eq!(stage.fleet.letters().await.len(), 0);
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_orders_the_one_whose_question_cannot_be_asked_is_found_by_halves_and_ends_by_itself() {
    // Earlier orders are not asked for where their records do not tell the subscription: one question for each order.
    let settings = format!("{ONE_ATTEMPT}[external_ids]\nsubscription = \"\"\n");
    let mut stage = Stage::new(&settings).await.set("CAUSEWAY_IN_FLIGHT", "1");
    let writer = stage.writer();
    let orders: Vec<Value> = (b'a'..=b'p').map(|letter| change(&format!("ann{}", char::from(letter)), 1)).collect();
    gather(&stage, &writer, &["zoe"], &orders).await;
    // Sixteen, eight, eight, four, two, one and one, two, four; and what is found by itself.
    let answers = ["-", ".", "-", "-", "-", ".", "-", ".", ".", "-"];
    let step = |answer: &&str| if *answer == "-" { refusal("MALFORMED_QUERY", 400) } else { FaultKind::Pass };
    let steps = answers.iter().map(step).collect();
    stage.org().arm(Fault::always(FaultKind::Sequence { steps, repeat: false }).on_path("/query"));
    stage.org().release_held();
    let told = stage.told.take(17).await;
    assert_eq!(told.iter().filter(|told| told.kind == "order.written").count(), 16);
    assert_eq!((stage.queries(), stage.fleet.letters().await.len()), (answers.len(), 1));
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_alone_in_its_batch_waits_for_nobody_elses_question() {
    let mut stage = Stage::new(QUICK).await.set("CAUSEWAY_IN_FLIGHT", "2").set("CAUSEWAY_LEASE", "90s");
    let writer = stage.writer();
    let orders = [change("ann", 1), new_order("bob", 1)];
    gather(&stage, &writer, &["zoe", "zac"], &orders).await;
    stage.org().arm(Fault::once(FaultKind::Hold).containing("SELECT"));
    stage.org().release_held();
    stage.told.until("order.written", ["zoe", "zac"].map(|customer| orders::order_id(customer, 1))).await;
    fault_strikes(&stage.org(), 3).await;
    stage.written(&[change("cas", 1)]).await;
    assert_eq!(stage.order_records().len(), 3, "Ann's question is still held");
    stage.org().release_held();
    stage.told.until("order.written", orders.iter().map(id_of)).await;
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_refuses_one_kind_of_question_holds_up_nobody_who_does_not_ask_it() {
    let mut stage = Stage::new(QUICK).await.set("CAUSEWAY_IN_FLIGHT", "1");
    seed(&stage, "Account", &json!({ "LastName": "Quist" })).await;
    let mut anns = new_order("ann", 1);
    anns["tracking"] = json!({ "contactId": stage.records("Account")[0]["PersonContactId"] });
    let writer = stage.writer();
    gather(&stage, &writer, &["zoe"], &[anns.clone(), new_order("bob", 1)]).await;
    stage.org().arm(Fault::always(refusal("TXN_SECURITY_NO_ACCESS", 403)).on_path("/query"));
    stage.org().release_held();
    stage.told.until("order.written", ["zoe", "bob"].map(|customer| orders::order_id(customer, 1))).await;
    stage.written(&[new_order("cas", 1)]).await;
    fault_strikes(&stage.org(), 4).await;
    assert_eq!((writer.paused_by(), writer.metric("breaker_state")), (None, 0.0));
    stage.org().clear_faults();
    stage.told.until("order.written", [id_of(&anns)]).await;
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_refuses_questions_for_several_customers_ends_no_order_that_passes_by_itself() {
    for (waiting, batch) in [(vec![change("ann", 1)], "2"), (vec![change("ann", 1), change("cas", 1)], "3")] {
        let mut stage =
            Stage::new(ONE_ATTEMPT).await.set("CAUSEWAY_IN_FLIGHT", "1").set("CAUSEWAY_BATCH_ORDERS", batch);
        let writer = stage.writer();
        // Dora's waits for the next batch, and is asked for with those of this one.
        let orders = [waiting, vec![new_order("bob", 1), change("dora", 1)]].concat();
        gather(&stage, &writer, &["zoe"], &orders).await;
        let several = Fault::always(refusal("TXN_SECURITY_NO_ACCESS", 403)).on_path("/composite");
        stage.org().arm(several.containing("%27%2C%27id%2D"));
        stage.org().release_held();
        stage.told.until("order.written", orders.iter().map(id_of)).await;
        assert!(stage.org().faults().iter().any(|fault| fault.applied > 0), "several were asked for together");
        assert_eq!(stage.fleet.letters().await.len(), 0);
        stage.end(writer).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_never_told_whose_contact_it_names_ends_as_a_letter_that_says_why() {
    let mut stage = Stage::new(ONE_ATTEMPT).await;
    seed(&stage, "Account", &json!({ "LastName": "Quist" })).await;
    let mut order = new_order("ann", 1);
    order["tracking"] = json!({ "contactId": stage.records("Account")[0]["PersonContactId"] });
    stage.org().arm(Fault::always(refusal("TXN_SECURITY_NO_ACCESS", 403)).on_path("/query"));
    let writer = stage.writer();
    stage.hand_on(std::slice::from_ref(&order)).await;
    stage.told.until("order.dead_lettered", [id_of(&order)]).await;
    let letters = stage.fleet.letters().await;
    let why = testkit::fleet::failure(&letters[0]);
    assert_eq!(why.reason.as_str(), "salesforce_misconfigured");
    assert_eq!(why.salesforce_code.as_deref(), Some("TXN_SECURITY_NO_ACCESS"));
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_merge_a_change_order_goes_to_the_account_that_has_the_subscription_now() {
    let mut stage = Stage::new(QUICK).await;
    let writer = stage.writer();
    stage.written(&[orders_of("ann", 1), vec![change("ann", 2)]].concat()).await;
    // Ann's Account is merged into another one, which inherits her orders.
    let merged = seed(&stage, "Account", &json!({ "LastName": "Quist" })).await;
    let record = json!({ "LimioId__c": "order-merged", "SubscriptionId__c": "sub-ann", "Account__c": merged });
    seed(&stage, "LimioOrder__c", &record).await;
    let anns = text(&stage.records("Account")[0], "Id");
    stage.delete("Account", &anns).await;
    let calls = stage.calls();
    let told = stage.written(&[change("ann", 3)]).await;
    assert_eq!(told[0].data()["crm_id"], merged.as_str());
    assert_eq!(stage.calls() - calls, 4, "refused, gone, asked for anew, written");
    let events = stage.events();
    assert_eq!(events.last().expect("an event").payload["i42as__AccountId__c"], merged.as_str());
    let told = stage.written(&[change("ann", 4)]).await;
    assert_eq!(told[0].data()["crm_id"], merged.as_str(), "and is remembered");
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_passed_to_another_customer_leads_none_of_their_orders_to_the_former_ones_account() {
    let guest = |name: &str| json!({ "userDetails": { "email": format!("{name}@example.org") } });
    for (ann, bob) in [
        (json!({ "owner": "id-ann" }), json!({ "owner": "id-bob" })),
        (json!({ "owner": "id-ann", "userDetails": { "email": "ann@example.org" } }), guest("bob")),
        (guest("ann"), guest("bob")),
    ] {
        let mut stage = Stage::new(QUICK).await;
        // Chosen for Ann by an agent, so that it carries nobody's name.
        let anns = seed(&stage, "Account", &json!({ "LastName": "Quist" })).await;
        let writer = stage.writer();
        let mut first = change_of_the_subscription_of("ann", 1, &ann);
        first["tracking"] = json!({ "accountId": anns });
        stage.written(&[first]).await;
        for number in [2, 3] {
            let told = stage.written(&[change_of_the_subscription_of("ann", number, &bob)]).await;
            assert_eq!(told[0].data().get("crm_id"), None, "{bob}");
            let told = stage.written(&[change_of_the_subscription_of("ann", 10 + number, &ann)]).await;
            assert_eq!(told[0].data()["crm_id"], anns.as_str(), "Ann's own still does: {ann}");
        }
        stage.end(writer).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_of_nobody_that_turns_out_to_be_anothers_is_not_used_again() {
    let mut stage = Stage::new(QUICK).await;
    let anns = seed(&stage, "Account", &json!({ "LastName": "Quist" })).await;
    let writer = stage.writer();
    let mut nobodys = change_of_the_subscription_of("ann", 1, &json!({}));
    nobodys["tracking"] = json!({ "accountId": anns });
    stage.written(&[nobodys]).await;
    let bob = json!({ "owner": "id-bob" });
    let told = stage.written(&[change_of_the_subscription_of("ann", 2, &bob)]).await;
    assert_eq!(told[0].data()["crm_id"], anns.as_str(), "nothing says that it is not Bob's");
    let mut named = change("ann", 3);
    named["tracking"] = json!({ "accountId": anns });
    stage.written(&[named]).await;
    let told = stage.written(&[change_of_the_subscription_of("ann", 4, &bob)]).await;
    assert_eq!(told[0].data().get("crm_id"), None);
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_several_customers_share_is_found_by_the_subscription_of_each() {
    let mut stage = Stage::new(QUICK).await;
    let shared = seed(&stage, "Account", &json!({ "LastName": "Quist" })).await;
    let writer = stage.writer();
    let named = |customer: &str, number: u32| {
        let mut order = change(customer, number);
        order["tracking"] = json!({ "accountId": shared });
        order
    };
    stage.written(&[named("ann", 1), named("bob", 1)]).await;
    stage.fleet.forget().await;
    for number in [2, 3] {
        // The ledger knows the Account as Bob's alone; of Ann it knows her subscription.
        stage.written(&[named("bob", number)]).await;
        let told = stage.written(&[change("ann", number)]).await;
        assert_eq!(told[0].data()["crm_id"], shared.as_str(), "order {number}");
    }
    // Bob's subscription is his all the same.
    let told = stage.written(&[change_of_the_subscription_of("bob", 4, &json!({ "owner": "id-ann" }))]).await;
    assert_eq!(told[0].data().get("crm_id"), None);
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fields_of_external_ids_may_be_spelled_in_any_case() {
    let fields = "[external_ids]\naccount = \"limioid__c\"\norder = \"LIMIOID__C\"\norder_account = \"account__c\"\n";
    let mut stage = Stage::new(&format!("{QUICK}{fields}")).await;
    let anns = seed(&stage, "Account", &json!({ "LastName": "Quist", "LimioId__c": "id-ann" })).await;
    let writer = stage.writer();
    let told = stage.written(&[change("ann", 1)]).await;
    assert_eq!(told[0].data()["crm_id"], anns.as_str());
    // The subscription passes to Bob.
    let told = stage.written(&[change_of_the_subscription_of("ann", 2, &json!({ "owner": "id-bob" }))]).await;
    assert_eq!(told[0].data().get("crm_id"), None);
    stage.org().arm(Fault::once(FaultKind::CommitThenDrop).on_path("/composite/graph"));
    stage.written(&[change("ann", 3)]).await;
    assert_eq!(stage.order_records().len(), 3, "found written after the answer was lost");
    assert_eq!(stage.graph_requests().len(), 3, "and not sent again");
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_order_whose_account_is_gone_with_nothing_left_goes_without_one() {
    let mut stage = Stage::new(ONE_ATTEMPT).await;
    let writer = stage.writer();
    stage.written(&[orders_of("ann", 1), vec![change("ann", 2)]].concat()).await;
    let anns = text(&stage.records("Account")[0], "Id");
    stage.delete("Account", &anns).await;
    let told = stage.written(&[change("ann", 3)]).await;
    assert_eq!(told[0].data().get("crm_id"), None);
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_ahead_for_an_order_no_longer_holds_once_the_order_before_it_is_written() {
    let rule = simulator::DuplicateRule::exact_email("Account", "PersonEmail", simulator::RuleResponse::ALERT);
    let org = simulator::Config { duplicate_rules: vec![rule], ..simulator::Config::default() };
    let stage = Stage::on(org, &format!("includeDuplicateCheck = true\n{QUICK}")).await;
    let mut stage = stage.set("CAUSEWAY_IN_FLIGHT", "1").set("CAUSEWAY_BATCH_ORDERS", "2");
    // Ann's Account has no name of ours: only her orders lead to it.
    let twin = json!({ "FirstName": "Nora", "LastName": orders::surname("ann"), "PersonEmail": orders::email("ann") });
    let twin = seed(&stage, "Account", &twin).await;
    let writer = stage.writer();
    let mut first = new_order("ann", 1);
    first["subscriptionId"] = json!("sub-ann");
    first["subscriptionRef"] = json!("S-ann-1");
    let orders = [change("cas", 1), first, change("ann", 2)];
    // Behind her first order waits her second one, which is asked for ahead; when its turn comes, it is refused for once.
    let second = orders::order_id("ann", 2);
    gather(&stage, &writer, &["zoe"], &orders).await;
    stage.org().clear_faults();
    stage.org().arm(Fault::once(FaultKind::Hold).on_path("/composite/graph").containing(&second));
    stage.org().arm(Fault::once(FaultKind::Lock).on_object("LimioOrder__c").containing(&second));
    stage.org().release_held();
    fault_strikes(&stage.org(), 1).await;
    stage.org().until_held(1).await;
    let asked = questions(&stage);
    // Whose Account it is is forgotten before it is tried again, and nothing else.
    let names = ["owner:id-ann", "subscription:sub-ann", "subscription:S-ann-1"];
    let together = ["subscription:sub-ann of owner:id-ann", "subscription:S-ann-1 of owner:id-ann"];
    let names: Vec<String> = names.into_iter().chain(together).map(str::to_owned).collect();
    stage.ledger().await.forget_accounts(&names).await.expect("Redis answers");
    stage.org().release_held();
    stage.told.until("order.written", orders.iter().map(id_of)).await;
    assert_eq!(questions(&stage), asked + 1, "nobody remembers her, so she is asked for anew");
    let accounts: Vec<String> =
        stage.records("LimioOrder__c").iter().map(|record| text(record, "Account__c")).collect();
    assert_eq!(accounts.iter().filter(|account| **account == twin).count(), 2, "{accounts:?}");
    stage.end(writer).await;
}
