//! The main job.

use testkit::orders::{self, new_order, order_id};

use crate::stage::{QUICK, Stage};

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_order_without_a_single_header_ends_as_records_and_an_event_in_the_org() {
    let mut stage = Stage::new(QUICK).await;
    let (ingest, writer) = (stage.ingest(), stage.writer());
    stage.publish_order(&new_order("ann", 1)).await;
    let told = stage.told.next().await;
    assert_eq!((told.kind.as_str(), &told.order_id), ("order.written", &order_id("ann", 1)));

    let account = stage.records("Account").remove(0);
    assert_eq!(account["LimioId__c"], orders::identity("ann"));
    assert_eq!(account["LastName"], orders::surname("ann"));
    assert_eq!(stage.records("LimioOrder__c")[0]["Account__c"], account["Id"]);
    assert_eq!(told.data()["crm_id"], account["Id"]);
    assert_eq!(told.data()["event_uuid"], stage.org().events()[0].event_uuid);
    stage.assert_each_once_and_in_order(&[("ann", 1)]);
    stage.end([ingest, writer]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_published_three_times_is_written_once() {
    let mut stage = Stage::new(QUICK).await;
    for _ in 0..3 {
        stage.publish_order(&new_order("ann", 1)).await;
    }
    let (ingest, writer) = (stage.ingest(), stage.writer());
    stage.publish_order(&new_order("ann", 2)).await;
    stage.told.until("order.written", [1, 2].map(|number| order_id("ann", number))).await;
    stage.assert_each_once_and_in_order(&[("ann", 2)]);
    stage.end([ingest, writer]).await;
}
