//! Queues end up where rendezvous hashing says, whoever comes and goes, and no order overtakes another on the way.

use std::sync::Arc;
use std::time::Duration;

use queue::memory::Memory;
use queue::session::Broker;
use queue::spread::best;
use queue::topology::Queue;
use testkit::eventually::eventually;
use tokio::time::Instant;

use super::{Start, Worker, World, customers, publish};
use crate::conformance::on_both_backends;
use crate::stage::{Stage, topology};

on_both_backends!(three_workers_that_join_and_leave_end_up_as_rendezvous_says with |topology| topology.partitions = 8);

fn is_as_rendezvous_says(broker: &Arc<dyn Broker>, world: &World, members: &[&str]) -> bool {
    let queues = broker.topology().partition_queues();
    queues.iter().all(|queue| world.owner(*queue).as_deref() == best(members.iter().copied(), *queue))
}

async fn three_workers_that_join_and_leave_end_up_as_rendezvous_says(stage: Stage) {
    let (broker, world, start) = (Arc::clone(&stage.broker), World::new(), Start::quick());
    let customers = customers(&broker);
    // Work goes on all the time: a worker knows that it is active only by what it gets.
    let publishing = {
        let (session, customers) = (stage.connect().await, customers.clone());
        let over = tokio_util::sync::CancellationToken::new();
        let until = over.clone();
        let task = tokio::spawn(async move {
            let mut number = 0;
            while !until.is_cancelled() {
                number += 1;
                publish(&session, &customers, number).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            session.close().await;
            number
        });
        (over, task)
    };
    let settles = async |members: &[&str]| {
        eventually(&format!("{members:?} to share the queues"), async || {
            is_as_rendezvous_says(&broker, &world, members)
        })
        .await;
    };
    let first = Worker::start(&broker, &world, "writer/1", &start);
    settles(&["writer/1"]).await;
    let second = Worker::start(&broker, &world, "writer/2", &start);
    let third = Worker::start(&broker, &world, "writer/3", &start);
    settles(&["writer/1", "writer/2", "writer/3"]).await;
    first.drain().await;
    settles(&["writer/2", "writer/3"]).await;
    publishing.0.cancel();
    let published = publishing.1.await.expect("no panic") as usize * customers.len();
    eventually("everything to be handled", async || world.count() == published).await;
    world.assert_in_order();
    second.drain().await;
    third.drain().await;
}

/// Twelve queues, and work on all of them for as long as the broker lives.
fn busy(partitions: u16) -> Arc<dyn Broker> {
    let broker: Arc<dyn Broker> = Arc::new(Memory::new(topology(|topology| topology.partitions = partitions)));
    let (publisher, customers) = (Arc::clone(&broker), customers(&broker));
    tokio::spawn(async move {
        let session = publisher.connect().await.expect("a session");
        for number in 1.. {
            publish(&session, &customers, number).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    broker
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_comes_late_gets_its_share_half_a_minute_later_and_everything_is_handled_once() {
    let (broker, world) = (busy(12), World::new());
    let first = Worker::start(&broker, &world, "writer/1", &Start::standard());
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(is_as_rendezvous_says(&broker, &world, &["writer/1"]));
    let _second = Worker::start(&broker, &world, "writer/2", &Start::standard());
    tokio::time::sleep(Duration::from_secs(29)).await;
    assert!(is_as_rendezvous_says(&broker, &world, &["writer/1"]), "it is left what it has for 30 s");
    // A look every 3 s, two moves a second, and a second until something comes.
    tokio::time::sleep(Duration::from_secs(16)).await;
    assert!(is_as_rendezvous_says(&broker, &world, &["writer/1", "writer/2"]));
    first.drain().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(is_as_rendezvous_says(&broker, &world, &["writer/2"]));
    world.assert_in_order();
    world.assert_each_once();
}

#[tokio::test(start_paused = true)]
async fn workers_that_start_together_share_the_queues_from_the_beginning() {
    let (broker, world) = (busy(12), World::new());
    let names = ["writer/1", "writer/2", "writer/3"];
    let workers: Vec<Worker> =
        names.iter().map(|name| Worker::start(&broker, &world, name, &Start::standard())).collect();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(is_as_rendezvous_says(&broker, &world, &names));
    let taken = world.causes.lock().expect("no panic").len();
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!(world.causes.lock().expect("no panic").len(), taken, "nothing moves any more");
    drop(workers);
}

#[tokio::test(start_paused = true)]
async fn workers_that_cannot_see_each_other_keep_what_they_have_and_go_on() {
    let (broker, world) = (busy(12), World::new());
    let names = ["writer/1", "writer/2"];
    let workers: Vec<Worker> =
        names.iter().map(|name| Worker::start(&broker, &world, name, &Start::standard())).collect();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let taken = world.causes.lock().expect("no panic").len();
    for away in [true, false] {
        world.hints.be_away(away);
        world.hints.forget();
        let before = world.count();
        tokio::time::sleep(Duration::from_mins(5)).await;
        assert!(world.count() >= before + 24 * 290, "work goes on");
        assert_eq!(world.causes.lock().expect("no panic").len(), taken, "and nothing moves");
    }
    world.assert_in_order();
    drop(workers);
    // One that starts now sees nobody: it takes all that is left to it.
    let (broker, world) = (busy(12), World::new());
    world.hints.be_away(true);
    let alone = Worker::start(&broker, &world, "writer/3", &Start::standard());
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(is_as_rendezvous_says(&broker, &world, &["writer/3"]));
    let began = Instant::now();
    alone.drain().await;
    assert!(began.elapsed() < Duration::from_secs(1), "hints that are away do not hold up the end");
}

#[tokio::test(start_paused = true)]
async fn a_queue_is_given_up_only_when_what_is_in_flight_is_finished() {
    let (broker, world) = (busy(4), World::new());
    // Longer than the lanes may take to run empty.
    let slow = Start { time: Duration::from_secs(12), ..Start::standard() };
    let _first = Worker::start(&broker, &world, "writer/1", &slow);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let _second = Worker::start(&broker, &world, "writer/2", &slow);
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert!(is_as_rendezvous_says(&broker, &world, &["writer/1", "writer/2"]));
    let moved = |queue: &Queue| best(["writer/1", "writer/2"], *queue) == Some("writer/2");
    assert!(broker.topology().partition_queues().iter().any(moved), "something moved");
    world.assert_in_order();
    world.assert_each_once();
}
