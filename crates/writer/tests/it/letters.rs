//! Orders that are given up: what the letter says, who waits behind it, and how it goes on.

use queue::journal::fold::LetterState;
use queue::message::{Message, REFUSAL};
use serde_json::json;
use simulator::{Fault, FaultKind};
use testkit::fleet::failure;
use testkit::orders::{self, golden, handed_on, new_order, order_id};

use crate::stage::{ONE_ATTEMPT, QUICK, Stage, id_of, orders_of};

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

async fn another_content_is_a_conflict(stage: &mut Stage) {
    let mut other = new_order("ann", 1);
    other["total"]["amount"] = json!(99.5);
    stage.hand_on(&[other]).await;
    let dead = stage.told.next().await;
    assert_eq!((dead.kind.as_str(), dead.order_id.clone()), ("order.dead_lettered", order_id("ann", 1)));
    assert_eq!(dead.data()["failure"]["reason"], "identity_conflict");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_content_under_the_same_identity_is_a_conflict_and_changes_nothing() {
    let mut stage = Stage::new(QUICK).await;
    let writer = stage.writer();
    stage.written(&orders_of("ann", 1)).await;
    another_content_is_a_conflict(&mut stage).await;
    assert_eq!(failure(&stage.fleet.letters().await[0]).reason.as_str(), "identity_conflict");
    stage.assert_each_once_and_in_order(&[("ann", 1)]);
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_content_under_a_written_identity_is_a_conflict_also_when_the_ledger_has_forgotten() {
    let mut stage = Stage::new(QUICK).await;
    let writer = stage.writer();
    stage.written(&orders_of("ann", 1)).await;
    assert!(stage.fleet.forget().await > 0);
    another_content_is_a_conflict(&mut stage).await;
    stage.assert_each_once_and_in_order(&[("ann", 1)]);
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_order_blocks_no_customer_of_ours() {
    let mut stage = Stage::new(QUICK).await;
    let ours = handed_on(&new_order("ann", 7), "foreign");
    let body = String::from_utf8_lossy(&ours.body).replace("/limio/acme", "/limio/globex");
    stage.fleet.hand_on(&stage.session, &[Message { body: body.into(), ..ours }]).await;
    let writer = stage.writer();
    stage.written(&orders_of("ann", 1)).await;
    let letters = stage.fleet.letters().await;
    assert_eq!(failure(&letters[0]).reason.as_str(), "wrong_tenant");
    assert_eq!((letters.len(), letters[0].key.as_deref()), (1, None));
    assert_eq!(stage.told.rest().await, [], "it is told to nobody");
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_released_order_has_all_its_attempts_again_and_each_of_its_deaths_is_told_under_an_id_of_its_own() {
    let mut stage = Stage::new("[retry]\nmax_attempts = 3\ninitial_seconds = 0.1\nmax_seconds = 0.1\n").await;
    stage.org().arm(Fault::once(FaultKind::Lock).on_object("Account"));
    stage.org().arm(Fault::once(validation_rule()).on_object("Account"));
    stage.org().arm(Fault::always(FaultKind::Lock).on_object("Account"));
    let writer = stage.writer();
    let order = orders_of("ann", 1);
    stage.hand_on(&order).await;
    let first = stage.told.next().await;
    assert_eq!(first.data()["failure"]["attempts"], 2, "locked once, then refused: {first:#?}");
    assert_eq!(stage.graph_requests().len(), 2);

    // The same message once more, as after a crash before its acknowledgement.
    stage.hand_on(&order).await;
    assert_eq!(stage.told.next().await, first, "the same death, told in the same words under the same id");
    assert_eq!(stage.graph_requests().len(), 2);

    let open = stage.fleet.dead_letters().await;
    open.release(&orders::identity("ann")).await.expect("released");
    let second = stage.told.next().await;
    assert_eq!(second.kind, "order.dead_lettered");
    assert_eq!(second.data()["letter_id"], first.data()["letter_id"], "the same letter");
    assert_ne!(second.event["id"], first.event["id"], "another death");
    assert_eq!(stage.graph_requests().len(), 5, "three attempts again");
    assert_eq!(second.data()["failure"]["attempts"], 5, "counted on");
    open.refresh().await.expect("the journal can be read");
    assert_eq!(failure(&open.letters()[0]).attempts, Some(5), "what the operator reads");
    open.close().await;
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_cannot_be_read_is_told_of_under_another_id_when_it_is_replayed_in_vain() {
    let mut stage = Stage::new(QUICK).await;
    let order = handed_on(&new_order("ann", 1), "m1");
    let body = String::from_utf8_lossy(&order.body).replace("\"order_type\":\"new\"", "\"order_type\":\"pause_print\"");
    stage.fleet.hand_on(&stage.session, &[Message { body: body.into(), ..order }]).await;
    let writer = stage.writer();
    let first = stage.told.next().await;
    assert_eq!(first.data()["failure"]["reason"], "unknown_order_type");
    let open = stage.fleet.dead_letters().await;
    open.release(&orders::identity("ann")).await.expect("released");
    let second = stage.told.next().await;
    assert_eq!(second.data(), first.data(), "the same letter dies of the same cause");
    assert_ne!(second.event["id"], first.event["id"]);
    open.close().await;
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_in_somebody_elses_words_is_no_attempt() {
    let mut stage = Stage::new(ONE_ATTEMPT).await;
    stage.org().arm(Fault::always(FaultKind::UnavailableHtml).on_path("/composite/graph").times(2));
    stage.org().arm(Fault::always(validation_rule()).on_object("Account"));
    let writer = stage.writer();
    stage.hand_on(&orders_of("ann", 1)).await;
    let dead = stage.told.next().await;
    assert_eq!(dead.data()["failure"]["attempts"], 1, "{dead:#?}");
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
    // Refusals that quote the customer: in Salesforce's words, in those of whoever wrote the org's rules, and in words that
    // begin like Salesforce's.
    let blocked = "Customer Nora Quistling (+44 7700 900123, 41 Collins St) nora3@shop.example is blocked";
    let quoting = [
        ("bob", "INVALID_EMAIL_ADDRESS", format!("Email: invalid email address: {}", orders::email("bob"))),
        ("dora", "FIELD_CUSTOM_VALIDATION_EXCEPTION", blocked.to_owned()),
        ("emil", "REQUIRED_FIELD_MISSING", format!("Required fields are missing: [LastName]. {blocked}")),
        ("fay", "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", format!("Blocker: execution of BeforeInsert: {blocked}")),
    ];
    for (customer, code, message) in &quoting {
        let refusal = FaultKind::RefuseRow {
            code: (*code).into(),
            message: message.clone(),
            status: 400,
            fields: vec!["PersonEmail".into()],
        };
        stage.org().arm(Fault::always(refusal).on_object("Account").containing(orders::identity(customer)));
    }
    let rule = simulator::DuplicateRule::standard_person_account(simulator::RuleResponse::BLOCK);
    stage.org().set_duplicate_rules(&[rule]).expect("a rule");
    let known =
        json!({ "FirstName": "Nora", "LastName": orders::surname("cleo"), "PersonEmail": orders::email("cleo") });
    stage.org().seed("Account", &[known.as_object().expect("an object").clone()]).await.expect("seeded");
    let process = stage.process();
    let customers = ["ann", "bob", "cleo", "dora", "emil", "fay"];
    stage.hand_on(&customers.map(|customer| new_order(customer, 1))).await;
    let told = stage.told.take(customers.len()).await;
    let mut kinds: Vec<&str> = told.iter().map(|told| told.kind.as_str()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds[..4], ["order.dead_lettered"; 4]);
    assert_eq!(kinds[4..], ["order.rejected", "order.written"]);
    let letters = stage.fleet.letters().await;
    assert_eq!(letters.len(), quoting.len());
    let listed: Vec<String> = letters.iter().map(|letter| format!("{0} {0:?}", failure(letter))).collect();
    let said = process.said();
    let of_customers = customers.iter().flat_map(|customer| [orders::email(customer), orders::surname(customer)]);
    let quoted = ["+15550100", "Nora", "Quistling", "7700", "Collins", "nora3@"].map(str::to_owned);
    for personal in of_customers.chain(quoted) {
        let personal = personal.to_lowercase();
        for told in &told {
            assert!(!told.event.to_string().to_lowercase().contains(&personal), "{personal} in {told:#?}");
        }
        for listed in &listed {
            assert!(!listed.to_lowercase().contains(&personal), "{personal} in {listed}");
        }
        assert!(!said.to_lowercase().contains(&personal), "{personal} in the log:\n{said}");
    }
    // What an operator needs all the same: what it means and where, and the org's own words with the letter alone.
    for (customer, code, message) in quoting {
        let key = orders::identity(customer);
        let letter = letters.iter().find(|letter| letter.key.as_deref() == Some(&key)).expect("a letter");
        let failure = failure(letter);
        assert_eq!(failure.salesforce_code.as_deref(), Some(code));
        assert!(failure.message.ends_with(" (PersonEmail)."), "{failure}");
        assert_eq!(failure.org_text.as_ref().map(domain::failure::OrgText::reveal), Some(message.as_str()));
    }
}
