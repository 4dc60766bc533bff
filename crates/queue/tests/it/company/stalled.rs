//! A queue that has messages and delivers them to nobody of the fleet is noticed, opened again, and told of.

use std::sync::Arc;
use std::time::Duration;

use queue::memory::Memory;
use queue::session::Broker;
use queue::topology::Queue;
use testkit::eventually::eventually;

use super::{Start, Worker, World, customers, publish};
use crate::conformance::on_both_backends;
use crate::stage::{PARTITION, Stage, subscribe, take, topology};

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
