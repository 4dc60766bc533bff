//! A shopper who has not signed in turns out to be somebody whom the org knows.

use serde_json::{Map, Value, json};
use simulator::{DuplicateRule, RuleResponse};
use testkit::orders::{self, new_order, order_id};

use crate::stage::{QUICK, Stage};

const SCHEMA: &str = r#"
name = "Subscription__c"
label = "Subscription"
fields = [
  { name = "LimioId__c", type = "Text", external_id = true },
  { name = "Account__c", type = "Lookup", to = ["Account"], relationship = "Account__r" },
]
"#;

const MOVES: &str = "includeDuplicateCheck = true\ntransferOwnership = true\n\
    [transfers.Subscription__c]\nsubscription = \"LimioId__c\"\naccount = \"Account__c\"\n";

fn row(fields: &Value) -> Map<String, Value> {
    fields.as_object().cloned().expect("an object")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_subscription_of_a_shopper_whom_the_org_knows_moves_to_their_account_once_however_often_the_order_comes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("schema.toml");
    std::fs::write(&path, SCHEMA).expect("written");
    let config = simulator::Config {
        schema: vec![path.into()],
        duplicate_rules: vec![DuplicateRule::exact_email("Account", "PersonEmail", RuleResponse::ALERT)],
        ..simulator::Config::default()
    };
    let mut stage = Stage::on(config, &format!("{MOVES}{QUICK}")).await;
    let people = [
        row(&json!({ "LastName": orders::surname("ann"), "PersonEmail": orders::email("ann") })),
        row(&json!({ "LastName": "Guest" })),
    ];
    let accounts = stage.org().seed("Account", &people).await.expect("seeded");
    let guests = row(&json!({ "LimioId__c": "S-guest", "Account__c": accounts[1] }));
    stage.org().seed("Subscription__c", &[guests]).await.expect("seeded");

    let mut order = new_order("ann", 1);
    order["userDetails"] = json!({ "sub": orders::identity("ann") });
    order["sub_reference"] = json!("S-guest");
    let programs = [stage.ingest(), stage.writer(), stage.writer()];
    for _ in 0..3 {
        stage.publish_order(&order).await;
    }
    stage.publish_order(&new_order("ann", 2)).await;
    let told = stage.told.until("order.written", [1, 2].map(|number| order_id("ann", number))).await;
    let first = told.iter().find(|told| told.order_id == order_id("ann", 1)).expect("told");
    assert_eq!(first.data()["crm_id"], accounts[0].as_str());
    assert_eq!(first.data()["explanation"]["moved"].as_array().map(Vec::len), Some(1));
    assert_eq!(stage.records("Subscription__c")[0]["Account__c"], accounts[0].as_str());
    let orders = stage.records("LimioOrder__c");
    assert_eq!(orders.len(), 2);
    assert!(orders.iter().all(|order| order["Account__c"] == accounts[0].as_str()));
    assert_eq!((stage.records("Account").len(), stage.org().events().len()), (2, 2));
    stage.end(programs).await;
}
