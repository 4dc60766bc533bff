//! What the deployment guide says of a queue that is stalled does what it says.

use queue::session::Broker;

use super::OwnNode;
use crate::stage::{PARTITION, TO_PARTITION, ids, publish, subscribe, take, within};

const GUIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/README.md");

/// The guide's expression, of this queue and consumer instead of its examples.
fn remedy(queue: &str, consumer: &str) -> String {
    let guide = std::fs::read_to_string(GUIDE).expect("the guide");
    let (_, rest) = guide.split_once("rabbitmqctl eval '\n").expect("the guide has an expression");
    let (expression, _) = rest.split_once('\'').expect("it ends");
    let (start, end) = expression.split_once("string_to_pid(\"").expect("it names a consumer");
    let (_, end) = end.split_once('"').expect("in quotes");
    let (start, name) = start.split_once("queue, <<\"").expect("it names a queue");
    let (_, name) = name.split_once('"').expect("in quotes");
    format!("{start}queue, <<\"{queue}\"{name}string_to_pid(\"{consumer}\"{end}")
}

/// A ghost is a consumer whose end the queue was never told of; to the queue one that lives is no other.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_guide_says_of_a_ghost_gives_its_queue_to_the_next_consumer_in_order() {
    let own = OwnNode::start().await;
    let broker = own.broker();
    let ghost = within(broker.connect()).await.expect("a session");
    publish(&ghost, &TO_PARTITION, 1..=6).await;
    let mut haunting = subscribe(&ghost, PARTITION, 3).await;
    let held = take(&mut haunting, 3).await;
    let worker = within(broker.connect()).await.expect("a session");
    let mut next = subscribe(&worker, PARTITION, 10).await;

    let queue = broker.topology().queue_name(PARTITION);
    let listed = own.ctl(&["list_consumers", "queue_name", "channel_pid", "active"]).await;
    let active: Vec<&str> = listed
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|columns| columns.len() == 3 && columns[0] == queue && columns[2] == "true")
        .map(|columns| columns[1])
        .collect();
    assert_eq!(active.len(), 1, "{listed}");
    let said = own.ctl(&["eval", &remedy(&queue, active[0])]).await;
    assert!(said.contains("ok"), "{said}");

    assert_eq!(ids(&take(&mut next, 6).await), [1, 2, 3, 4, 5, 6]);
    drop(held);
    within(ghost.close()).await;
    within(worker.close()).await;
}
