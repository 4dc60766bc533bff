//! The queue of links: before an order is acknowledged its links are there, and full, it holds no order up.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use domain::dead_letter::LetterId;
use domain::failure::Failure;
use domain::settlement::Settlement;
use queue::error::PublishError;
use queue::handler::{Announcement, Handler, Job, Sorted, Unobserved, Verdict};
use queue::lanes::{BatchSettings, InFlight};
use queue::message::{Message, SEQUENCE_KEY};
use queue::session::Session;
use queue::topology::{Queue, Target, Topology};
use queue::work::{Letters, Stop, WorkSettings, run};
use testkit::eventually;
use tokio_util::sync::CancellationToken;

use crate::stage::{PARTITION, Stage, TO_PARTITION, next, nothing_comes, subscribe, within};

/// Is done with every order at once; each has links.
#[derive(Default)]
struct Linking {
    queued: Mutex<Vec<(String, bool)>>,
}

fn links_of(order: &str) -> Message {
    Message { id: format!("link:{order}"), body: vec![b'x'; 512].into(), ..Message::default() }
}

#[async_trait]
impl Handler for Linking {
    type Item = ();

    fn sort(&self, message: &Message) -> Sorted<()> {
        let key = message.header(SEQUENCE_KEY).map(str::to_owned);
        Sorted { key, order_id: Some(message.id.clone()), order_type: None, shares: Vec::new(), item: Ok(()) }
    }

    async fn took_over(&self, _: Queue, _: bool) -> Result<(), Failure> {
        Ok(())
    }

    async fn handle(&self, _: &Arc<dyn Session>, batch: &[Arc<Job<()>>]) -> Vec<Verdict> {
        let done =
            |job: &Arc<Job<()>>| Verdict { links: Some(links_of(&job.message.id)), ..Verdict::of(Settlement::Ack) };
        batch.iter().map(done).collect()
    }

    fn link_queued(&self, job: &Job<()>, taken: bool) {
        self.queued.lock().expect("no panic").push((job.message.id.clone(), taken));
    }

    fn letter_announcement(&self, _: &Job<()>, _: &Failure, _: &LetterId) -> Option<Announcement> {
        None
    }
}

/// Has one order worked on. Returns what was told of its links.
async fn work_on_one(stage: &Stage) -> Vec<(String, bool)> {
    let linking = Arc::new(Linking::default());
    let settings = WorkSettings {
        queues: vec![PARTITION],
        prefetch: 8,
        batches: BatchSettings { orders: 8, in_flight: InFlight::Fixed(1), linger: Duration::ZERO },
        letters: Letters::Block,
        by: "worker".into(),
        peers: None,
        patience: Duration::from_secs(20),
    };
    let stop = Stop { draining: CancellationToken::new(), aborting: CancellationToken::new() };
    let task = run(Arc::clone(&stage.broker), Arc::clone(&linking), settings, Arc::new(Unobserved), stop.clone());
    let task = tokio::spawn(task);
    let session = stage.connect().await;
    let mut order = Message { id: "1".into(), ..Message::default() };
    order.headers.insert(SEQUENCE_KEY.into(), "ann".into());
    within(session.publish(&TO_PARTITION, &order)).await.expect("confirmed");
    eventually("the order to be done", async || !linking.queued.lock().expect("no panic").is_empty()).await;
    stop.draining.cancel();
    within(task).await.expect("no panic").expect("drained");
    let mut left = subscribe(&session, PARTITION, 8).await;
    nothing_comes(&mut left).await;
    session.close().await;
    let queued = linking.queued.lock().expect("no panic");
    queued.clone()
}

async fn the_links_of_an_order_are_in_their_queue_when_it_is_acknowledged(stage: Stage) {
    assert_eq!(work_on_one(&stage).await, [("1".to_owned(), true)]);
    let session = stage.connect().await;
    let mut links = subscribe(&session, Queue::Links, 8).await;
    assert_eq!(next(&mut links).await.message.id, "link:1");
    session.close().await;
}

async fn a_full_queue_of_links_holds_no_order_up(stage: Stage) {
    let session = stage.connect().await;
    eventually("the queue of links to be full", async || {
        matches!(session.publish(&Target::Links, &links_of("0")).await, Err(PublishError::Refused))
    })
    .await;
    session.close().await;
    assert_eq!(work_on_one(&stage).await, [("1".to_owned(), false)]);
}

fn linked(topology: &mut Topology) {
    topology.links = true;
}

fn narrow(topology: &mut Topology) {
    topology.links = true;
    topology.links_bytes = 1_024;
}

#[tokio::test]
async fn in_memory_links_are_queued_and_hold_no_order_up() {
    the_links_of_an_order_are_in_their_queue_when_it_is_acknowledged(Stage::memory(linked)).await;
    a_full_queue_of_links_holds_no_order_up(Stage::memory(narrow)).await;
}

#[tokio::test]
async fn on_rabbitmq_links_are_queued_and_hold_no_order_up() {
    the_links_of_an_order_are_in_their_queue_when_it_is_acknowledged(Stage::rabbitmq(linked).await).await;
    a_full_queue_of_links_holds_no_order_up(Stage::rabbitmq(narrow).await).await;
}
