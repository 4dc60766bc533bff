//! The look at the org before the first order.

use simulator::{Fault, FaultKind, ObjectPermission};

use crate::stage::{QUICK, Stage, orders_of};

/// Objects whose records would move, none of which can.
const SCHEMA: &str = r#"
[[object]]
name = "Plan__c"
label = "Plan"
fields = [
  { name = "Terms__c", type = "LongTextArea", length = 1000 },
  { name = "Owner__c", type = "Lookup", to = ["Contact"], relationship = "Owner__r" },
]

[[object]]
name = "Visit__c"
label = "Visit"
fields = [
  { name = "Plan__c", type = "Lookup", to = ["Plan__c"], relationship = "Plan__r" },
  { name = "Account__c", type = "MasterDetail", to = ["Account"], relationship = "Account__r" },
]

[[object]]
name = "Trip__c"
label = "Trip"
fields = [{ name = "Account__c", type = "Lookup", to = ["Account"], relationship = "Account__r" }]
"#;

/// Settings of which nothing fits, and the object of the order's record as it is.
const ASKEW: &str = r#"
createPersonAccount = false
includeDuplicateCheck = true
transferOwnership = true
[external_ids]
account = "Site"
contact = "LegacyId__c"
order = "OrderReference__c"
order_fingerprint = "Print__c"
order_reference = ""
[platform_events]
event_key = "EventKey__c"
[transfers.Plan__c]
subscription = "Terms__c"
account = "Owner__c"
[transfers.Visit__c]
subscription = "Plan__r.LimioId__c"
account = "Account__c"
[transfers.Trip__c]
subscription = "Plan__r.LimioId__c"
account = "Account__c"
"#;

async fn stage_with(schema: &str, settings: &str) -> Stage {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("schema.toml");
    std::fs::write(&path, schema).expect("written");
    let config = simulator::Config { schema: vec![path.into()], ..simulator::Config::default() };
    Stage::on(config, settings).await
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_the_org_lacks_is_named_at_once_with_setting_and_remedy_for_one_api_call() {
    let stage = stage_with(SCHEMA, ASKEW).await;
    let mut process = stage.process();
    assert_eq!(process.code().await, 78, "{}", process.said());
    let said = process.said();
    for told in [
        "Account.Site (external_ids.account), which is not unique: a customer could be written twice",
        "Contact.LegacyId__c (external_ids.contact), which is not unique: a customer could be written twice",
        "LimioOrder__c.Print__c (external_ids.order_fingerprint), which the org does not have",
        "set external_ids.order_fingerprint = ",
        "LimioOrder__c.OrderReference__c (external_ids.order), which is not unique: an order could be written twice",
        "i42as__OrderEvent__e.EventKey__c (platform_events.event_key), which the org does not have",
        "Plan__c.Terms__c (transfers.Plan__c.subscription), by which nothing can be looked for",
        "Plan__c.Owner__c (transfers.Plan__c.account), which is no lookup to Account",
        "Visit__c.Plan__r.LimioId__c (transfers.Visit__c.subscription), which the org does not have",
        "Visit__c.Account__c (transfers.Visit__c.account), which cannot be changed",
        "Trip__c.Plan__r.LimioId__c (transfers.Trip__c.subscription), which the org does not have",
        "allow reparenting",
        "CAUSEWAY_ORDER_PROCESSING",
    ] {
        assert!(said.contains(told), "{told:?} is not told:\n{said}");
    }
    for fits in ["OrderType__c", "transfers.Trip__c.account"] {
        assert!(!said.contains(fits), "what is there is not told of:\n{said}");
    }
    let asked: Vec<usize> = stage.org().requests().iter().map(|request| request.describes).filter(|n| *n > 0).collect();
    assert_eq!((stage.org().api_calls(), asked), (1, vec![7]), "one API call for seven objects");
}

/// A record of orders that can be written and by which nothing can be found out.
const OPAQUE: &str = r#"
[[object]]
name = "Proof__c"
label = "Proof"
fields = [
  { name = "Key__c", type = "Text", length = 255, external_id = true, unique = true, required = true },
  { name = "Whose__c", type = "Text", length = 18 },
  { name = "Terms__c", type = "LongTextArea", length = 1000 },
  { name = "Told__c", type = "Text", length = 5 },
]
"#;

const OPAQUE_FIELDS: &str = r#"
order_object = "Proof__c"
order = "Key__c"
order_fingerprint = ""
order_type = ""
order_reference = ""
order_account = "Whose__c"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn fields_that_can_be_filled_and_not_be_asked_by_are_named() {
    let fields = format!("{OPAQUE_FIELDS}subscription = \"Terms__c\"\norder_event_published = \"Told__c\"\n");
    let settings = format!("[platform_events]\npublish_behavior = \"immediate\"\n[external_ids]\n{fields}");
    let stage = stage_with(OPAQUE, &settings).await;
    let mut process = stage.process();
    assert_eq!(process.code().await, 78, "{}", process.said());
    let said = process.said();
    for told in [
        "Proof__c.Whose__c (external_ids.order_account), which is no lookup to Account",
        "Proof__c.Terms__c (external_ids.subscription), by which nothing can be looked for",
        "Proof__c.Told__c (external_ids.order_event_published), which is no checkbox",
    ] {
        assert!(said.contains(told), "{told:?} is not told:\n{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_order_is_looked_for_by_its_subscription_its_account_may_stand_in_a_text() {
    let settings = format!("{QUICK}[external_ids]\n{OPAQUE_FIELDS}subscription = \"\"\n");
    let mut stage = stage_with(OPAQUE, &settings).await;
    let writer = stage.writer();
    stage.written(&orders_of("ann", 1)).await;
    assert_eq!(stage.records("Proof__c").len(), 1);
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_found_by_nothing_unique_ends_the_writer_also_where_everything_else_is_as_it_comes() {
    let stage = Stage::new("[external_ids]\naccount = \"Site\"\n").await;
    let mut process = stage.process();
    assert_eq!(process.code().await, 78, "{}", process.said());
    let said = process.said();
    assert!(said.contains("Account.Site (external_ids.account), which is not unique"), "{said}");
    assert!(said.contains("create it as a unique external id"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_customers_are_person_accounts_no_contact_is_asked_for() {
    let mut stage = Stage::new(&format!("[external_ids]\ncontact = \"Nothing__c\"\n{QUICK}")).await;
    let writer = stage.writer();
    stage.written(&orders_of("ann", 1)).await;
    stage.assert_each_once_and_in_order(&[("ann", 1)]);
    stage.end(writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_the_org_does_not_have_or_that_may_not_be_written_is_named() {
    let settings = "createPersonAccount = false\n[external_ids]\norder_object = \"Proof__c\"\n\
        [platform_events]\napi_name = \"Told__e\"\n";
    let stage = Stage::new(settings).await;
    stage.org().update_settings(|settings| {
        settings.object_permissions.insert("Account".to_owned(), ObjectPermission::NONE);
        settings.object_permissions.insert("Contact".to_owned(), ObjectPermission::READ);
    });
    let mut process = stage.process();
    assert_eq!(process.code().await, 78, "{}", process.said());
    let said = process.said();
    for told in [
        "Proof__c (external_ids.order_object), which this org does not show",
        "Told__e (platform_events.api_name), which this org does not show",
        "Account (external_ids.account), which this org does not show",
        "Contact (external_ids.contact), which the integration user may not create",
    ] {
        assert!(said.contains(told), "{told:?} is not told:\n{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_org_that_cannot_be_asked_stops_nobody() {
    let mut stage = Stage::new(QUICK).await;
    stage.org().arm(Fault::always(FaultKind::UnavailableHtml).on_path("/composite").containing("/describe"));
    let writer = stage.writer();
    stage.written(&orders_of("ann", 1)).await;
    stage.assert_each_once_and_in_order(&[("ann", 1)]);
    let refused = stage.org().requests().iter().filter(|request| request.fault.is_some()).count();
    assert_eq!(refused, 1, "once per start");
    stage.end(writer).await;
}
