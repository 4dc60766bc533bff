//! `transferOwnership`: what moves to the matched Account with an order, and what stays.

use serde_json::{Value, json};
use simulator::{DuplicateRule, Fault, FaultKind, RuleResponse};
use testkit::fleet::Told;
use testkit::orders;

use crate::stage::{ONE_ATTEMPT, QUICK, Stage, orders_of, text};

const SCHEMA: &str = r#"
[[object]]
name = "Subscription__c"
label = "Subscription"
fields = [
  { name = "LimioId__c", type = "Text", external_id = true },
  { name = "Account__c", type = "Lookup", to = ["Account"], relationship = "Account__r" },
]

[[object]]
name = "Visit__c"
label = "Visit"
fields = [
  { name = "Subscription__c", type = "Lookup", to = ["Subscription__c"], relationship = "Subscription__r" },
  { name = "Account__c", type = "Lookup", to = ["Account"], relationship = "Account__r" },
]
"#;

const ON: &str = "includeDuplicateCheck = true\ntransferOwnership = true\n\
    [transfers.Subscription__c]\nsubscription = \"LimioId__c\"\naccount = \"Account__c\"\n\
    [transfers.Visit__c]\nsubscription = \"Subscription__r.LimioId__c\"\naccount = \"Account__c\"\n";

/// An org with a shopper's Account of old (`twin`), and one that holds the subscription `S-ann-1` with two visits.
struct Shop {
    stage: Stage,
    twin: String,
    other: String,
}

impl Shop {
    async fn open(retry: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("schema.toml");
        std::fs::write(&path, SCHEMA).expect("written");
        let config = simulator::Config {
            schema: vec![path.into()],
            duplicate_rules: vec![DuplicateRule::exact_email("Account", "PersonEmail", RuleResponse::ALERT)],
            ..simulator::Config::default()
        };
        let stage = Stage::on(config, &format!("{ON}{retry}")).await;
        let twin =
            one(&stage, "Account", json!({ "LastName": orders::surname("ann"), "PersonEmail": orders::email("ann") }))
                .await;
        let other = one(&stage, "Account", json!({ "LastName": "Other", "PersonEmail": "other@example.org" })).await;
        let shop = Self { stage, twin, other };
        for name in ["S-ann-1", "S-bob-1"] {
            let subscription =
                one(&shop.stage, "Subscription__c", json!({ "LimioId__c": name, "Account__c": shop.other })).await;
            for _ in 0..2 {
                one(&shop.stage, "Visit__c", json!({ "Subscription__c": subscription, "Account__c": shop.other }))
                    .await;
            }
        }
        shop
    }

    /// Whose the subscriptions and visits are: how many the matched Account has, and the other one.
    fn owned(&self) -> (usize, usize) {
        let records = [self.stage.records("Subscription__c"), self.stage.records("Visit__c")].concat();
        let of = |account: &str| records.iter().filter(|record| text(record, "Account__c") == account).count();
        (of(&self.twin), of(&self.other))
    }
}

async fn one(stage: &Stage, object: &str, fields: Value) -> String {
    let fields = fields.as_object().expect("an object").clone();
    stage.org().seed(object, &[fields]).await.expect("seeded").remove(0)
}

/// An order of a customer who has not signed in anywhere.
fn anonymous(number: u32) -> Value {
    let mut order = orders::new_order("ann", number);
    order["userDetails"] = json!({ "sub": orders::identity("ann") });
    order["sub_reference"] = json!("S-ann-1");
    order
}

fn moved(told: &Told) -> usize {
    told.data()["explanation"]["moved"].as_array().map_or(0, Vec::len)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_subscription_of_a_matched_order_moves_with_it_and_nobody_elses_does() {
    let mut shop = Shop::open(QUICK).await;
    let writer = shop.stage.writer();
    let before = shop.stage.calls();
    let told = shop.stage.written(&[anonymous(1)]).await;
    assert_eq!(told[0].data()["crm_id"], shop.twin.as_str());
    assert_eq!((moved(&told[0]), shop.owned()), (3, (3, 3)), "a subscription with two visits, and another's stay");
    assert_eq!(shop.stage.calls() - before, 3, "refused, one look-up for both objects, written with what moves");
    shop.stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_customer_who_has_signed_in_names_stays_where_it_is() {
    let mut shop = Shop::open(QUICK).await;
    let writer = shop.stage.writer();
    let mut order = anonymous(1);
    order["userDetails"] = json!({
        "sub": orders::identity("ann"), "issuer": "https://login.example",
        "https://login.example/aut": { "iss": "https://idp.example", "sub": "u-1" },
    });
    let told = shop.stage.written(&[order]).await;
    assert_eq!(told[0].data()["crm_id"], shop.twin.as_str());
    assert_eq!((moved(&told[0]), shop.owned()), (0, (0, 6)));
    shop.stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_move_leaves_the_order_and_the_other_records_where_they_are() {
    let shop = Shop::open(ONE_ATTEMPT).await;
    let refusal = FaultKind::RefuseRow {
        code: "CANNOT_REPARENT_RECORD".into(),
        message: "not reparentable".into(),
        status: 400,
        fields: Vec::new(),
    };
    shop.stage.org().arm(Fault::always(refusal).on_object("Visit__c"));
    let writer = shop.stage.writer();
    shop.stage.hand_on(&[anonymous(1)]).await;
    testkit::eventually("the letter", async || shop.stage.fleet.letters().await.len() == 1).await;
    assert_eq!(shop.owned(), (0, 6), "all or none");
    assert!(shop.stage.order_records().is_empty() && shop.stage.events().is_empty());
    writer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_comes_again_after_everything_was_forgotten_moves_nothing_a_second_time() {
    let mut shop = Shop::open(QUICK).await;
    let writer = shop.stage.writer();
    shop.stage.written(&[anonymous(1)]).await;
    assert_eq!(shop.owned(), (3, 3));
    shop.stage.end(writer).await;
    // An agent gives the subscription to somebody else, and then nobody remembers the order.
    let third = one(&shop.stage, "Account", json!({ "LastName": "Third" })).await;
    let subscription =
        one(&shop.stage, "Subscription__c", json!({ "LimioId__c": "S-ann-1", "Account__c": third })).await;
    let emptied = format!("{}/9", shop.stage.fleet.redis_url().trim_end_matches('/'));
    let mut shop = Shop { stage: shop.stage.set(testkit::REDIS_URL, &emptied), ..shop };
    let writer = shop.stage.writer();
    shop.stage.written(&[anonymous(1)]).await;
    let given = shop.stage.records("Subscription__c").into_iter().find(|record| text(record, "Id") == subscription);
    assert_eq!(given.map(|record| text(&record, "Account__c")), Some(third));
    assert_eq!((shop.stage.order_records().len(), shop.stage.events().len()), (1, 1));
    shop.stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_after_the_records_moved_moves_them_once_and_the_order_is_found() {
    let mut shop = Shop::open(QUICK).await;
    // The first request is refused as a duplicate; the second one writes.
    shop.stage.org().arm(Fault::once(FaultKind::CommitThenDrop).on_path("/composite/graph").from_nth(2));
    let writer = shop.stage.writer();
    let told = shop.stage.written(&[anonymous(1)]).await;
    assert_eq!((told[0].data()["crm_id"].as_str(), shop.owned()), (Some(shop.twin.as_str()), (3, 3)));
    assert_eq!((shop.stage.order_records().len(), shop.stage.events().len()), (1, 1));
    shop.stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_org_that_is_silent_about_what_moves_costs_no_attempt() {
    for kind in [FaultKind::Hold, FaultKind::DropBefore] {
        let Shop { stage, twin, other } = Shop::open(ONE_ATTEMPT).await;
        // The first request is the graph, which is refused as a duplicate.
        let stage = crate::questions::costs_no_attempt(stage, kind, 2, &[anonymous(1)]).await;
        let shop = Shop { stage, twin, other };
        assert_eq!(shop.owned(), (3, 3));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_question_alone_is_never_answered_pays_in_the_end_and_nobody_waits_for_it() {
    let mut shop = Shop::open(ONE_ATTEMPT).await;
    shop.stage.org().arm(Fault::always(FaultKind::DropBefore).on_path("/composite").containing("q=SELECT"));
    let writer = shop.stage.writer();
    shop.stage.hand_on(&[anonymous(1)]).await;
    let dead = shop.stage.told.until("order.dead_lettered", [orders::order_id("ann", 1)]).await;
    assert_eq!(dead[0].data()["failure"]["reason"], "answer_lost");
    assert_eq!(shop.stage.org().faults()[0].applied, 3, "asked three times in vain before it pays");
    shop.stage.written(&orders_of("bob", 1)).await;
    assert_eq!(writer.paused_by(), None);
    shop.stage.end(writer).await;
}
