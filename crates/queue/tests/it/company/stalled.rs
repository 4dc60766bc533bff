//! A queue that has messages and delivers them to nobody of the fleet is noticed, opened again, and told of.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use queue::memory::Memory;
use queue::session::Broker;
use queue::topology::{Queue, Target};
use testkit::eventually::eventually;
use tokio::sync::Semaphore;

use super::{Start, Worker, World, customers, publish};
use crate::conformance::on_both_backends;
use crate::stage::{PARTITION, Stage, subscribe, take, topology, within};

on_both_backends!(a_consumer_of_somebody_else_that_holds_a_queue_is_told_of_until_it_is_gone);

async fn a_consumer_of_somebody_else_that_holds_a_queue_is_told_of_until_it_is_gone(stage: Stage) {
    let (broker, world) = (Arc::clone(&stage.broker), World::new());
    let (session, customers) = (stage.connect().await, customers(&stage.broker));
    let mut foreign = subscribe(&session, PARTITION, 16).await;
    let worker = Worker::start(&broker, &world, "writer/1", &Start::quick());
    for number in 1..=20 {
        publish(&session, &customers, number).await;
    }
    let held = take(&mut foreign, 16).await;
    eventually("an operator to be told", async || world.is_stalled(PARTITION)).await;
    assert!(!world.is_stalled(Queue::Partition(0)), "the other queue is worked on");
    foreign.channel.close().await;
    drop((held, foreign));
    eventually("everything to be handled", async || world.count() == 20 * customers.len()).await;
    eventually("that it is over", async || !world.is_stalled(PARTITION)).await;
    world.assert_in_order();
    worker.drain().await;
    session.close().await;
}

/// A broker with one queue, a worker that has it, and the customers.
async fn one_worker() -> (Arc<Memory>, Arc<World>, Worker) {
    let memory = Arc::new(Memory::new(topology(|topology| topology.partitions = 1)));
    let (broker, world) = (Arc::clone(&memory) as Arc<dyn Broker>, World::new());
    let worker = Worker::start(&broker, &world, "writer/1", &Start::standard());
    order(&memory, 1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.count(), 2);
    (memory, world, worker)
}

/// The next order of each customer.
async fn order(memory: &Arc<Memory>, number: u32) {
    let broker = Arc::clone(memory) as Arc<dyn Broker>;
    let session = broker.connect().await.expect("a session");
    publish(&session, &customers(&broker), number).await;
}

const ONLY: Queue = Queue::Partition(0);

#[tokio::test(start_paused = true)]
async fn a_queue_that_the_broker_neglects_is_opened_again_after_a_minute_and_delivers_again() {
    let (memory, world, worker) = one_worker().await;
    memory.neglect(ONLY);
    order(&memory, 2).await;
    tokio::time::sleep(Duration::from_secs(55)).await;
    assert_eq!(world.count(), 2, "nobody gets anything");
    // A look within 15 s, a minute, the next look, and up to 5 s so that not all do it at once.
    tokio::time::sleep(Duration::from_secs(45)).await;
    assert_eq!(world.count(), 4);
    assert_eq!(*world.causes.lock().expect("no panic"), ["first", "stalled"]);
    assert!(!world.is_stalled(ONLY), "there is nothing to tell an operator");
    worker.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_ghost_is_told_of_after_another_minute_and_what_it_held_up_goes_on_when_it_is_laid() {
    let (memory, world, worker) = one_worker().await;
    memory.haunt(ONLY);
    order(&memory, 2).await;
    tokio::time::sleep(Duration::from_secs(115)).await;
    assert!(!world.is_stalled(ONLY), "opening it again is tried first");
    tokio::time::sleep(Duration::from_secs(45)).await;
    assert!(world.is_stalled(ONLY));
    memory.lay_ghosts(ONLY);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(!world.is_stalled(ONLY));
    assert_eq!(world.count(), 4);
    worker.drain().await;
}

#[tokio::test(start_paused = true)]
async fn what_an_operator_was_told_is_taken_back_although_the_remedy_ends_every_session() {
    let (memory, world, worker) = one_worker().await;
    memory.haunt(ONLY);
    order(&memory, 2).await;
    tokio::time::sleep(Duration::from_secs(160)).await;
    assert!(world.is_stalled(ONLY));
    // The broker is started again, as the log asks for.
    memory.lose_sessions();
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(world.count(), 4);
    assert!(!world.is_stalled(ONLY));
    // It may happen again, and is told again.
    memory.haunt(ONLY);
    order(&memory, 3).await;
    tokio::time::sleep(Duration::from_secs(160)).await;
    assert!(world.is_stalled(ONLY));
    worker.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_queue_stays_told_of_when_a_session_ends_and_it_delivers_no_more_than_before() {
    let (memory, world, worker) = one_worker().await;
    memory.haunt(ONLY);
    order(&memory, 2).await;
    tokio::time::sleep(Duration::from_secs(160)).await;
    for _ in 0..3 {
        memory.lose_sessions();
        memory.haunt(ONLY);
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert!(world.is_stalled(ONLY), "no look has found it well");
    }
    worker.drain().await;
}

/// One worker is paused, with nothing of some queues in its lanes; another starts.
#[tokio::test(start_paused = true)]
async fn an_outage_that_one_worker_waits_for_is_not_a_stall_to_another() {
    let broker: Arc<dyn Broker> = Arc::new(Memory::new(topology(|topology| topology.partitions = 3)));
    let (world, customers) = (World::new(), customers(&broker));
    let session = broker.connect().await.expect("a session");
    let of = |partition: u16| customers.iter().filter(move |(_, target)| *target == Target::Partition(partition));
    let start = Start { prefetch: 4, ..Start::standard() };
    let first = Worker::start(&broker, &world, "writer/1", &start);
    tokio::time::sleep(Duration::from_secs(6)).await;
    // Of the first it has an order in its lanes; of the second it had one before, of the third none ever.
    publish(&session, &of(1).cloned().collect::<Vec<_>>(), 1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.away.store(true, Ordering::SeqCst);
    publish(&session, &of(0).cloned().collect::<Vec<_>>(), 1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    for number in 2..=5 {
        publish(&session, &of(1).cloned().collect::<Vec<_>>(), number).await;
        publish(&session, &of(2).cloned().collect::<Vec<_>>(), number - 1).await;
    }
    let second = Worker::start(&broker, &world, "writer/2", &start);
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        for queue in broker.topology().partition_queues() {
            assert!(!world.is_stalled(queue), "{queue:?}");
        }
    }
    assert!(!world.causes.lock().expect("no panic").contains(&"stalled"));
    world.away.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert_eq!(world.count(), 2 * (1 + 5 + 4));
    world.assert_in_order();
    first.drain().await;
    second.drain().await;
}

/// A worker takes a queue over while the broker takes no messages: it can prove nothing, and says so.
#[tokio::test(start_paused = true)]
async fn a_take_over_that_waits_for_the_broker_is_not_a_stall() {
    let memory = Arc::new(Memory::new(topology(|topology| topology.partitions = 1)));
    let (broker, world) = (Arc::clone(&memory) as Arc<dyn Broker>, World::new());
    let gate = Some(Arc::new(Semaphore::new(0)));
    let start = Start { prefetch: 4, ..Start::standard() };
    let first = Worker::start(&broker, &world, "writer/1", &Start { gate, ..start.clone() });
    tokio::time::sleep(Duration::from_secs(6)).await;
    let [second, third] = ["writer/2", "writer/3"].map(|name| Worker::start(&broker, &world, name, &start));
    tokio::time::sleep(Duration::from_secs(6)).await;
    for number in 1..=5 {
        order(&memory, number).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    memory.block(true);
    first.stop.draining.cancel();
    first.stop.aborting.cancel();
    within(first.task).await.expect("no panic").expect("it let go");
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(!world.is_stalled(ONLY));
    }
    assert_eq!(world.taken("writer/2") + world.taken("writer/3"), 4, "what waits for the take-over is counted");
    memory.block(false);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(world.count(), 10);
    assert_eq!(*world.causes.lock().expect("no panic"), ["first", "lost"]);
    world.assert_in_order();
    second.drain().await;
    third.drain().await;
}

/// Each look takes longer than the time between two looks.
#[tokio::test(start_paused = true)]
async fn orders_are_taken_and_stalls_noticed_while_the_broker_is_slow_to_say_what_is_ready() {
    let (memory, world, worker) = one_worker().await;
    memory.delay_depths(Duration::from_secs(25));
    for number in 2..=120 {
        order(&memory, number).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(world.count(), 2 * number as usize, "handled within a second");
    }
    memory.neglect(ONLY);
    order(&memory, 121).await;
    tokio::time::sleep(Duration::from_mins(3)).await;
    assert_eq!((world.count(), world.causes.lock().expect("no panic").last()), (242, Some(&"stalled")));
    worker.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_queue_whose_owner_is_slow_is_not_taken_for_stalled() {
    let memory = Arc::new(Memory::new(topology(|topology| topology.partitions = 1)));
    let (broker, world) = (Arc::clone(&memory) as Arc<dyn Broker>, World::new());
    let slow = Start { time: Duration::from_mins(10), prefetch: 1, ..Start::standard() };
    let owner = Worker::start(&broker, &world, "writer/1", &slow);
    order(&memory, 1).await;
    order(&memory, 2).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let _standby = Worker::start(&broker, &world, "writer/2", &slow);
    tokio::time::sleep(Duration::from_mins(9)).await;
    assert!(!world.is_stalled(ONLY));
    assert_eq!(*world.causes.lock().expect("no panic"), ["first"]);
    drop(owner);
}
