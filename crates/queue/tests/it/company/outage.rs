//! An outage that lasts: everything goes back in order, and only probes ask whether it is over.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use queue::memory::Memory;
use queue::session::Broker;
use queue::topology::Queue;

use super::{Start, Worker, World, customers, publish};
use crate::stage::topology;

const ONLY: Queue = Queue::Partition(0);

#[tokio::test(start_paused = true)]
async fn after_five_minutes_everything_goes_back_in_order_and_a_probe_decides_when_it_is_taken_again() {
    let broker: Arc<dyn Broker> = Arc::new(Memory::new(topology(|topology| topology.partitions = 1)));
    let (world, customers) = (World::new(), customers(&broker));
    let session = broker.connect().await.expect("a session");
    world.away.store(true, Ordering::SeqCst);
    for number in 1..=6 {
        publish(&session, &customers, number).await;
    }
    let worker = Worker::start(&broker, &world, "writer/1", &Start { prefetch: 4, ..Start::standard() });
    tokio::time::sleep(Duration::from_mins(4)).await;
    assert_eq!(session.ready(ONLY).await.expect("a depth"), 8, "the window is held");
    assert!(world.probes.lock().expect("no panic").is_empty(), "orders are the probes until then");
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert_eq!(session.ready(ONLY).await.expect("a depth"), 12, "everything went back");
    let tries = world.tries("writer/1");
    tokio::time::sleep(Duration::from_hours(8)).await;
    assert_eq!(world.tries("writer/1"), tries, "no order is tried");
    let probes = world.probes.lock().expect("no panic").len();
    assert!((800..1_200).contains(&probes), "one every half a minute: {probes}");
    world.away.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(world.count(), 12);
    world.assert_in_order();
    world.assert_each_once();
    worker.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_standby_that_becomes_active_in_an_outage_asks_before_it_tries_any_order() {
    let broker: Arc<dyn Broker> = Arc::new(Memory::new(topology(|topology| topology.partitions = 4)));
    let (world, customers) = (World::new(), customers(&broker));
    let session = broker.connect().await.expect("a session");
    let first = Worker::start(&broker, &world, "writer/1", &Start::standard());
    publish(&session, &customers, 1).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(world.count(), customers.len(), "it has every queue");
    world.away.store(true, Ordering::SeqCst);
    for number in 2..=6 {
        publish(&session, &customers, number).await;
    }
    tokio::time::sleep(Duration::from_mins(4)).await;
    let standby = Worker::start(&broker, &world, "writer/2", &Start::standard());
    tokio::time::sleep(Duration::from_mins(3)).await;
    assert_eq!(world.tries("writer/2"), 0, "it has everything now, and knows why");
    let asked = |name: &str| world.probes.lock().expect("no panic").iter().filter(|asked| *asked == name).count();
    assert!((1..=8).contains(&asked("writer/2")), "once for all queues, and again half a minute later");
    world.away.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert_eq!(world.count(), 6 * customers.len());
    world.assert_in_order();
    world.assert_each_once();
    first.drain().await;
    standby.drain().await;
}

/// It has everything for five minutes, owns nothing, and lets go of it again.
#[tokio::test(start_paused = true)]
async fn an_outage_is_handed_on_by_whoever_finds_it_and_is_counted_as_no_loss() {
    let broker: Arc<dyn Broker> = Arc::new(Memory::new(topology(|topology| topology.partitions = 2)));
    let (world, customers) = (World::new(), customers(&broker));
    let session = broker.connect().await.expect("a session");
    let first = Worker::start(&broker, &world, "writer/1", &Start::standard());
    publish(&session, &customers, 1).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    world.away.store(true, Ordering::SeqCst);
    publish(&session, &customers, 2).await;
    let second = Worker::start(&broker, &world, "writer/2", &Start::standard());
    tokio::time::sleep(Duration::from_mins(6)).await;
    let third = Worker::start(&broker, &world, "writer/3", &Start::standard());
    tokio::time::sleep(Duration::from_mins(8)).await;
    assert_eq!([world.tries("writer/2"), world.tries("writer/3")], [0, 0]);
    // A fourth learns it from one that ends before it has taken anything over.
    let fourth = Worker::start(&broker, &world, "writer/4", &Start::standard());
    third.drain().await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(world.tries("writer/4"), 0);
    world.away.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert_eq!(world.count(), 2 * customers.len());
    let causes = world.causes.lock().expect("no panic").clone();
    assert!(!causes.contains(&"lost"), "{causes:?}");
    world.assert_in_order();
    for worker in [first, second, fourth] {
        worker.drain().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_stays_away_ends_at_once_when_it_is_told_to() {
    let broker: Arc<dyn Broker> = Arc::new(Memory::new(topology(|topology| topology.partitions = 1)));
    let (world, customers) = (World::new(), customers(&broker));
    let session = broker.connect().await.expect("a session");
    world.away.store(true, Ordering::SeqCst);
    publish(&session, &customers, 1).await;
    let worker = Worker::start(&broker, &world, "writer/1", &Start::standard());
    tokio::time::sleep(Duration::from_mins(10)).await;
    let began = tokio::time::Instant::now();
    worker.drain().await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_spent_allocation_is_waited_for_with_everything_in_hand_and_nothing_is_taken_anew_before_there_is_room() {
    let broker: Arc<dyn Broker> = Arc::new(Memory::new(topology(|topology| topology.partitions = 1)));
    let (world, customers) = (World::new(), customers(&broker));
    let session = broker.connect().await.expect("a session");
    world.away.store(true, Ordering::SeqCst);
    world.spent.store(true, Ordering::SeqCst);
    for number in 1..=6 {
        publish(&session, &customers, number).await;
    }
    let worker = Worker::start(&broker, &world, "writer/1", &Start { prefetch: 4, ..Start::standard() });
    tokio::time::sleep(Duration::from_mins(19)).await;
    assert_eq!(session.ready(ONLY).await.expect("a depth"), 8, "the window is held");
    assert!(world.probes.lock().expect("no panic").is_empty());
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert_eq!(session.ready(ONLY).await.expect("a depth"), 12, "before the broker ends the consumer it goes back");
    let (tries, taken) = (world.tries("writer/1"), world.causes.lock().expect("no panic").len());
    tokio::time::sleep(Duration::from_hours(3)).await;
    assert_eq!((world.tries("writer/1"), world.causes.lock().expect("no panic").len()), (tries, taken));
    world.away.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(world.count(), 12);
    world.assert_in_order();
    world.assert_each_once();
    worker.drain().await;
}
