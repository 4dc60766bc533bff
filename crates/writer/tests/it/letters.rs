//! Orders that are given up: what the letter says, who waits behind it, and how it goes on.

use queue::journal::fold::LetterState;
use queue::message::{Message, REFUSAL};
use serde_json::json;
use simulator::{Fault, FaultKind};
use testkit::fleet::failure;
use testkit::orders::{self, golden, handed_on, new_order, order_id};

use crate::stage::{QUICK, Stage, id_of, orders_of};

fn validation_rule() -> FaultKind {
    FaultKind::RefuseRow {
        code: "FIELD_CUSTOM_VALIDATION_EXCEPTION".into(),
        message: "Billing country is required".into(),
        status: 400,
        fields: vec!["BillingCountry".into()],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_order_becomes_a_letter_with_code_and_field_and_its_successors_wait_until_it_is_replayed() {
    let mut stage = Stage::new(QUICK).await;
    stage.org().arm(Fault::always(validation_rule()).on_object("Account").containing(orders::identity("ann")));
    let writer = stage.writer();
    stage.hand_on(&[orders_of("ann", 3), orders_of("bob", 2)].concat()).await;
    let told = stage.told.until("order.written", orders_of("bob", 2).iter().map(id_of)).await;
    let dead = match told.into_iter().find(|told| told.kind == "order.dead_lettered") {
        Some(dead) => dead,
        None => stage.told.next().await,
    };
    assert_eq!((dead.kind.as_str(), &dead.order_id), ("order.dead_lettered", &order_id("ann", 1)));
    assert_eq!(dead.data()["failure"]["salesforce_code"], "FIELD_CUSTOM_VALIDATION_EXCEPTION");

    let open = stage.fleet.dead_letters().await;
    testkit::eventually("the successors to be parked", async || {
        open.refresh().await.expect("the journal can be read");
        open.letters().len() == 3
    })
    .await;
    let letters = open.letters();
    let names: Vec<_> = letters.iter().map(|letter| letter.order_id.clone().expect("an order")).collect();
    assert_eq!(names, [1, 2, 3].map(|number| order_id("ann", number)));
    let why = failure(&letters[0]);
    assert_eq!(
        (why.reason.as_str(), why.salesforce_code.as_deref()),
        ("salesforce_refused", Some("FIELD_CUSTOM_VALIDATION_EXCEPTION"))
    );
    assert_eq!(why.field.as_deref(), Some("BillingCountry"));
    assert_eq!(letters[1].state, LetterState::Held(letters[0].id.clone()));
    assert!(matches!(letters[2].state, LetterState::Held(_)));

    // Replayed before the org is mended, the letter comes back and the others stay where they are.
    open.release(&orders::identity("ann")).await.expect("released");
    assert_eq!(stage.told.next().await.kind, "order.dead_lettered");
    open.refresh().await.expect("the journal can be read");
    assert_eq!(open.letters().len(), 3);

    // A newer order still waits, and the replay of a mended org lets all of them go, in order.
    stage.hand_on(&[new_order("ann", 4)]).await;
    stage.org().clear_faults();
    open.release(&orders::identity("ann")).await.expect("released");
    let told = stage.told.until("order.written", orders_of("ann", 4).iter().map(id_of)).await;
    let replayed = told.iter().filter(|told| told.kind == "order.replayed").count();
    assert!((3..=4).contains(&replayed), "{replayed} of the letters were told of as replayed");
    stage.assert_each_once_and_in_order(&[("ann", 4), ("bob", 2)]);
    testkit::eventually("the letters to be closed", async || {
        open.refresh().await.expect("the journal can be read");
        open.letters().is_empty()
    })
    .await;
    open.close().await;
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_refers_to_a_missing_account_is_written_once_the_account_is_there() {
    let mut stage = Stage::new(QUICK).await;
    let account = json!({ "LastName": "Quist" }).as_object().expect("an object").clone();
    // Orgs number their records alike, so another one tells the id of the Account that is not there yet.
    let other = simulator::Simulator::start(simulator::Config::default()).await.expect("an org");
    let missing = other.control().seed("Account", std::slice::from_ref(&account)).await.expect("seeded").remove(0);
    let writer = stage.writer();
    let mut order = golden("03");
    order["tracking"]["accountId"] = json!(missing);
    stage.hand_on(std::slice::from_ref(&order)).await;
    let dead = stage.told.next().await;
    assert_eq!((dead.kind.as_str(), dead.order_id), ("order.dead_lettered", id_of(&order)));
    let open = stage.fleet.dead_letters().await;
    let letters = open.letters();
    assert!(failure(&letters[0]).salesforce_code.is_some(), "{letters:#?}");
    assert!(stage.events().is_empty(), "the event is in the same all-or-none unit");

    let seeded = stage.org().seed("Account", &[account]).await.expect("seeded");
    assert_eq!(seeded, [missing.as_str()]);
    open.release(letters[0].key.as_deref().expect("a lane")).await.expect("released");
    let told = stage.told.until("order.written", [id_of(&order)]).await;
    assert_eq!(told.last().expect("told").data()["crm_id"], missing.as_str());
    assert_eq!((stage.order_records().len(), stage.events().len()), (1, 1));
    open.close().await;
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_content_under_the_same_identity_is_a_conflict_and_changes_nothing() {
    let mut stage = Stage::new(QUICK).await;
    let writer = stage.writer();
    stage.written(&orders_of("ann", 1)).await;
    let mut other = new_order("ann", 1);
    other["total"]["amount"] = json!(99.5);
    stage.hand_on(&[other]).await;
    let dead = stage.told.next().await;
    assert_eq!((dead.kind.as_str(), dead.order_id.clone()), ("order.dead_lettered", order_id("ann", 1)));
    assert_eq!(dead.data()["failure"]["reason"], "identity_conflict");
    assert_eq!(failure(&stage.fleet.letters().await[0]).reason.as_str(), "identity_conflict");
    stage.assert_each_once_and_in_order(&[("ann", 1)]);
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ingest_refused_becomes_a_letter_at_its_own_place_in_the_lane() {
    let mut stage = Stage::new(QUICK).await;
    let refused = Message {
        headers: {
            let mut headers = handed_on(&new_order("ann", 2), "m2").headers;
            let why =
                json!({ "class": { "class": "permanent" }, "reason": "missing_field", "message": "it says no date" });
            headers.insert(REFUSAL.to_owned(), why.to_string());
            headers
        },
        ..handed_on(&new_order("ann", 2), "m2")
    };
    let messages = [handed_on(&new_order("ann", 1), "m1"), refused, handed_on(&new_order("ann", 3), "m3")];
    stage.fleet.hand_on(&stage.session, &messages).await;
    let writer = stage.writer();
    let told = stage.told.take(2).await;
    assert_eq!((told[0].kind.as_str(), &told[0].order_id), ("order.written", &order_id("ann", 1)));
    assert_eq!((told[1].kind.as_str(), &told[1].order_id), ("order.dead_lettered", &order_id("ann", 2)));
    let open = stage.fleet.dead_letters().await;
    testkit::eventually("the third order to be parked", async || {
        open.refresh().await.expect("the journal can be read");
        open.letters().len() == 2
    })
    .await;
    assert_eq!(open.letters()[1].order_id, Some(order_id("ann", 3)));
    open.close().await;
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_and_logged_names_no_person() {
    let mut stage = Stage::new(QUICK).await;
    // A refusal that quotes the customer, as Salesforce's do.
    let quoting = FaultKind::RefuseRow {
        code: "INVALID_EMAIL_ADDRESS".into(),
        message: format!("Email: invalid email address: {}", orders::email("bob")),
        status: 400,
        fields: vec!["PersonEmail".into()],
    };
    stage.org().arm(Fault::always(quoting).on_object("Account").containing(orders::identity("bob")));
    let rule = simulator::DuplicateRule::standard_person_account(simulator::RuleResponse::BLOCK);
    stage.org().set_duplicate_rules(&[rule]).expect("a rule");
    let known =
        json!({ "FirstName": "Nora", "LastName": orders::surname("cleo"), "PersonEmail": orders::email("cleo") });
    stage.org().seed("Account", &[known.as_object().expect("an object").clone()]).await.expect("seeded");
    let process = stage.process();
    let customers = ["ann", "bob", "cleo"];
    stage.hand_on(&customers.map(|customer| new_order(customer, 1))).await;
    let told = stage.told.take(3).await;
    let mut kinds: Vec<&str> = told.iter().map(|told| told.kind.as_str()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["order.dead_lettered", "order.rejected", "order.written"]);
    let said = process.said();
    for customer in customers {
        for personal in [orders::email(customer), orders::surname(customer), "+15550100".to_owned()] {
            let personal = personal.to_lowercase();
            for told in &told {
                assert!(!told.event.to_string().to_lowercase().contains(&personal), "{personal} in {told:#?}");
            }
            assert!(!said.to_lowercase().contains(&personal), "{personal} in the log:\n{said}");
        }
    }
}
