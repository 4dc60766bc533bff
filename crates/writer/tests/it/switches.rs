//! Where public sources do not say what an org does, it can be one or the other: no order may fare differently for it.

use serde_json::json;
use simulator::{
    DuplicateKey, DuplicateRule, Fault, FaultKind, GraphDuplicateBody, GraphErrorStyle, ObjectPermission,
    ReferenceMessage, RuleResponse, Settings,
};
use testkit::fleet::failure;
use testkit::orders;
use tokio::sync::OnceCell;

use crate::questions::IMMEDIATE;
use crate::stage::{ONE_ATTEMPT, Stage, orders_of};

const CHECKED: &str = "includeDuplicateCheck = true\n";

/// How events go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Events {
    /// With the records.
    InGraph,
    /// With a note in their order's record, by graphs of their own.
    Noted,
    /// By a call of their own, for orgs that take none within a graph.
    Apart,
}

impl Events {
    const ALL: [Self; 3] = [Self::InGraph, Self::Noted, Self::Apart];

    const fn settings(self) -> &'static str {
        match self {
            Self::InGraph => "",
            Self::Noted => IMMEDIATE[0],
            Self::Apart => IMMEDIATE[1],
        }
    }
}

/// What became of each order, by customer, and what stands in the org at the end.
#[derive(Debug, PartialEq, Eq)]
struct Fared {
    told: Vec<String>,
    letters: Vec<String>,
    records: Vec<String>,
    events: Vec<String>,
    accounts: usize,
}

/// Twenty orders that fail (more than a graph request endures), one on an Account that matches, ten good ones, all in
/// one request; then one that meets a full storage; then one without permission to its object.
async fn fared(settings: Settings, events: Events) -> Fared {
    let config = simulator::Config {
        settings,
        duplicate_rules: vec![DuplicateRule::exact_email("Account", "PersonEmail", RuleResponse::ALERT)],
        ..simulator::Config::default()
    };
    let processing = format!("{CHECKED}{ONE_ATTEMPT}{}", events.settings());
    let mut stage = Stage::on(config, &processing).await.set("CAUSEWAY_IN_FLIGHT", "1");
    let matched =
        json!({ "FirstName": "Nora", "LastName": orders::surname("ann"), "PersonEmail": orders::email("ann") });
    let matched = matched.as_object().expect("an object").clone();
    stage.org().seed("Account", &[matched]).await.expect("seeded");
    let bad: Vec<String> = (0..20).map(|n| format!("bad{}", char::from(b'a' + n))).collect();
    let good = (0..10).map(|n| format!("good{}", char::from(b'a' + n)));
    stage.refuse_accounts(&bad);
    stage.org().arm(Fault::once(FaultKind::StorageLimit).on_object("Account").containing(orders::identity("full")));
    stage.org().arm(Fault::once(FaultKind::Hold).on_path("/composite/graph"));
    let writer = stage.writer();
    stage.hand_on(&orders_of("first", 1)).await;
    testkit::eventually("the first call", async || writer.in_hand() >= 1.0).await;
    let customers: Vec<String> = bad.into_iter().chain(["ann".to_owned()]).chain(good).collect();
    let orders: Vec<_> = customers.iter().flat_map(|customer| orders_of(customer, 1)).collect();
    stage.hand_on(&orders).await;
    testkit::eventually("all orders in hand", async || writer.in_hand() >= 32.0).await;
    stage.org().until_held(1).await;
    stage.org().release_held();
    let mut told = stage.told.take(32).await;
    stage.hand_on(&orders_of("full", 1)).await;
    told.push(stage.told.next().await);
    stage.org().update_settings(|settings| {
        settings.object_permissions.insert("LimioOrder__c".to_owned(), ObjectPermission::READ);
    });
    stage.hand_on(&orders_of("barred", 1)).await;
    told.push(stage.told.next().await);
    let letters = stage.fleet.letters().await;
    // The message may name more where the org says more.
    let mut letters: Vec<String> = letters
        .iter()
        .map(|letter| (&letter.key, failure(letter)))
        .map(|(key, f)| format!("{key:?} {:?} {:?} {:?} {:?}", f.class, f.reason, f.salesforce_code, f.field))
        .collect();
    letters.sort();
    let mut told: Vec<String> = told.iter().map(|told| format!("{} {}", told.order_id, told.kind)).collect();
    told.sort();
    let (mut records, mut events) = (stage.order_records(), stage.event_numbers());
    records.sort();
    events.sort();
    stage.end(writer).await;
    Fared { told, letters, records, events, accounts: stage.records("Account").len() }
}

/// How they fare in an org as it comes, by how events go out.
static USUAL: [OnceCell<Fared>; 3] = [const { OnceCell::const_new() }; 3];

/// Every order fares as in an org that chose the first of all values.
async fn fares_as_usual(change: impl FnOnce(&mut Settings), events: Events) {
    let mut settings = Settings::default();
    change(&mut settings);
    let how = Events::ALL.iter().position(|how| *how == events).expect("one of all");
    let usual = USUAL[how].get_or_init(|| fared(Settings::default(), events)).await;
    let other = fared(settings, events).await;
    let written = usual.told.iter().filter(|told| told.ends_with("order.written")).count();
    assert_eq!((written, usual.records.len(), usual.events.len(), usual.accounts), (13, 13, 13, 13));
    assert_eq!(usual.letters.len(), 21);
    assert_eq!(*usual, other);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_innocent_nodes_of_a_failed_graph_repeat_its_error_or_say_that_they_were_halted() {
    fares_as_usual(|settings| settings.graph_error_style = GraphErrorStyle::ProcessingHalted, Events::InGraph).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_in_a_graph_says_what_it_matched_or_does_not() {
    fares_as_usual(|settings| settings.graph_duplicate_body = GraphDuplicateBody::Short, Events::InGraph).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graph_takes_events_or_they_go_by_a_call_of_their_own() {
    for events in [Events::Apart, Events::Noted] {
        fares_as_usual(|settings| settings.graph_events_allowed = false, events).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_header_of_a_graph_reaches_its_nodes_or_does_not() {
    fares_as_usual(|settings| settings.graph_header_propagation = false, Events::InGraph).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_a_duplicates_result_is_misspelt_or_spelt() {
    fares_as_usual(|settings| settings.duplicate_key = DuplicateKey::Spelt, Events::InGraph).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_innocent_nodes_of_an_events_failed_graph_repeat_its_error_or_say_that_they_were_halted() {
    fares_as_usual(|settings| settings.graph_error_style = GraphErrorStyle::ProcessingHalted, Events::Noted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_collection_rolls_back_keep_their_ids_or_lose_them() {
    fares_as_usual(|settings| settings.collections_rolled_back_rows_keep_id = false, Events::Apart).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_permission_is_a_403_or_a_400() {
    fares_as_usual(|settings| settings.insufficient_access_status = 400, Events::InGraph).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_storage_is_a_400_or_a_403() {
    fares_as_usual(|settings| settings.storage_limit_status = 403, Events::InGraph).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_to_a_failed_node_is_worded_one_way_or_the_other() {
    fares_as_usual(|settings| settings.reference_message = ReferenceMessage::Long, Events::InGraph).await;
}
