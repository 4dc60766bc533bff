//! The look at the org before the first order.

use simulator::{Fault, FaultKind};

use crate::stage::{QUICK, Stage, orders_of};

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_the_org_does_not_have_ends_the_writer_with_the_field_the_setting_and_the_remedy() {
    let settings = "[external_ids]\norder_fingerprint = \"Print__c\"\norder = \"OrderReference__c\"\n\
        order_reference = \"\"\n[platform_events]\nevent_key = \"EventKey__c\"\n";
    let stage = Stage::new(settings).await;
    let mut process = stage.process();
    assert_eq!(process.code().await, 78, "{}", process.said());
    let said = process.said();
    for told in [
        "LimioOrder__c.Print__c (external_ids.order_fingerprint)",
        "set external_ids.order_fingerprint = ",
        "LimioOrder__c.OrderReference__c (external_ids.order), which is not unique",
        "i42as__OrderEvent__e.EventKey__c (platform_events.event_key)",
        "CAUSEWAY_ORDER_PROCESSING",
    ] {
        assert!(said.contains(told), "{told:?} is not told:\n{said}");
    }
    assert!(!said.contains("OrderType__c"), "what is there is not told of:\n{said}");
    assert_eq!(stage.org().api_calls(), 2, "one for the order's record, one for the event");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_the_org_does_not_have_is_named() {
    let stage = Stage::new("[external_ids]\norder_object = \"Proof__c\"\n").await;
    let mut process = stage.process();
    assert_eq!(process.code().await, 78, "{}", process.said());
    let said = process.said();
    assert!(said.contains("Proof__c (external_ids.order_object), which this org does not show"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_org_that_cannot_be_asked_stops_nobody() {
    let mut stage = Stage::new(QUICK).await;
    stage.org().arm(Fault::always(FaultKind::UnavailableHtml).on_path("/describe"));
    let writer = stage.writer();
    stage.written(&orders_of("ann", 1)).await;
    stage.assert_each_once_and_in_order(&[("ann", 1)]);
    let asked = stage.org().requests().iter().filter(|request| request.path.ends_with("/describe")).count();
    assert_eq!(asked, 1, "once per start");
    stage.end(writer).await;
}
