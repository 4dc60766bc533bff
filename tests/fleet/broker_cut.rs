//! The line to the broker is cut in the middle of the work.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use testkit::TcpProxy;
use testkit::orders::{self, new_order, order_id};

use crate::stage::{QUICK, Stage};

const CUSTOMERS: [&str; 6] = ["ann", "bob", "cleo", "dora", "emil", "fay"];
const ORDERS: u32 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_line_to_the_broker_that_is_cut_again_and_again_loses_doubles_and_reorders_nothing() {
    let stage = Stage::new(QUICK).await;
    let url = stage.fleet.amqp_url().to_owned();
    let port = url.split(['/', ':']).filter_map(|part| part.parse().ok()).next_back().expect("a port");
    let proxy = TcpProxy::before(port).await.expect("a proxy");
    let mut stage = stage.behind(proxy.url(&url, port));
    let programs = [stage.ingest(), stage.writer(), stage.ingest(), stage.writer()];
    for number in 1..=ORDERS {
        for customer in CUSTOMERS {
            let mut headers = FieldTable::default();
            headers.insert("sequencekey".into(), AMQPValue::LongString(orders::identity(customer).into()));
            let body = new_order(customer, number).to_string();
            stage.publish(body.as_bytes(), BasicProperties::default().with_headers(headers)).await;
        }
        if number % 5 == 0 {
            proxy.cut();
            proxy.restore();
        }
    }
    let all = CUSTOMERS.iter().flat_map(|customer| (1..=ORDERS).map(|number| order_id(customer, number)));
    stage.told.until("order.written", all.collect::<Vec<_>>()).await;
    stage.assert_each_once_and_in_order(&CUSTOMERS.map(|customer| (customer, ORDERS)));
    assert!(stage.fleet.letters().await.is_empty());
    stage.end(programs).await;
}
