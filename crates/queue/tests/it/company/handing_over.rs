//! A worker that is told to end, or is let go: what is in flight is finished, the rest goes back, and nothing overtakes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use queue::error::{Error, PublishError, VisitError};
use queue::memory::Memory;
use queue::message::Message;
use queue::session::{Broker, Channel, JournalItem, JournalStart, Session, Subscription};
use queue::topology::{Queue, Target, Topology};
use service::hints::{Away, Hints, Leaving, Taken};
use testkit::eventually::eventually;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::hints::MemoryHints;
use super::{Start, Worker, World, customers, publish};
use crate::conformance::on_both_backends;
use crate::stage::{Stage, topology, within};

on_both_backends!(
    a_drained_worker_hands_over_under_load_and_nothing_overtakes,
    a_worker_that_aborts_while_it_drains_keeps_the_order_all_the_same,
);

async fn a_drained_worker_hands_over_under_load_and_nothing_overtakes(stage: Stage) {
    let (broker, world, start) = (Arc::clone(&stage.broker), World::new(), Start::quick());
    let (session, customers) = (stage.connect().await, customers(&stage.broker));
    let first = Worker::start(&broker, &world, "writer/1", &start);
    publish(&session, &customers, 1).await;
    eventually("the first to have everything", async || world.count() == customers.len()).await;
    let standby = Worker::start(&broker, &world, "writer/2", &start);
    eventually("the standby to be there", async || world.hints.members().len() == 2).await;
    for number in 2..=60 {
        publish(&session, &customers, number).await;
        if number == 30 {
            first.stop.draining.cancel();
        }
    }
    within(first.task).await.expect("no panic").expect("drained");
    eventually("everything to be handled", async || world.count() == 60 * customers.len()).await;
    world.assert_in_order();
    assert!(world.tries("writer/2") > 0 && world.tries("writer/1") > 0);
    standby.drain().await;
    session.close().await;
}

async fn a_worker_that_aborts_while_it_drains_keeps_the_order_all_the_same(stage: Stage) {
    let (broker, world) = (Arc::clone(&stage.broker), World::new());
    let (session, customers) = (stage.connect().await, customers(&stage.broker));
    let gate = Arc::new(Semaphore::new(2));
    let gated = Start { gate: Some(Arc::clone(&gate)), ..Start::quick() };
    let first = Worker::start(&broker, &world, "writer/1", &gated);
    for number in 1..=10 {
        publish(&session, &customers, number).await;
    }
    eventually("batches to wait at the gate", async || world.tries("writer/1") >= 3).await;
    let standby = Worker::start(&broker, &world, "writer/2", &Start::quick());
    eventually("the standby to be there", async || world.hints.members().len() == 2).await;
    first.stop.draining.cancel();
    first.stop.aborting.cancel();
    within(first.task).await.expect("no panic").expect("it let go");
    eventually("everything to be handled", async || world.count() == 10 * customers.len()).await;
    world.assert_in_order();
    standby.drain().await;
    session.close().await;
}

/// What was done, in order.
#[derive(Clone, Default)]
struct Trace(Arc<Mutex<Vec<String>>>);

impl Trace {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().expect("no panic").push(what.into());
    }

    fn since(&self, what: &str) -> Vec<String> {
        let all = self.0.lock().expect("no panic").clone();
        all.into_iter().skip_while(|noted| noted != what).collect()
    }
}

struct TracedBroker(Memory, Trace);

struct TracedSession(Arc<dyn Session>, Trace);

struct TracedChannel(Arc<dyn Channel>, Queue, Trace);

struct TracedHints(Arc<MemoryHints>, Trace);

/// Notes when it is dropped.
struct Consumer(Queue, Trace);

impl Drop for Consumer {
    fn drop(&mut self) {
        self.1.note(format!("consumer dropped {}", self.0.index()));
    }
}

#[async_trait]
impl Broker for TracedBroker {
    async fn connect(&self) -> Result<Arc<dyn Session>, Error> {
        Ok(Arc::new(TracedSession(self.0.connect().await?, self.1.clone())))
    }

    async fn visit(&self) -> Result<Arc<dyn Session>, VisitError> {
        self.0.visit().await
    }

    fn topology(&self) -> &Topology {
        self.0.topology()
    }
}

#[async_trait]
impl Session for TracedSession {
    async fn publish(&self, target: &Target, message: &Message) -> Result<(), PublishError> {
        self.0.publish(target, message).await
    }

    async fn subscribe(&self, queue: Queue, prefetch: u16) -> Result<Subscription, Error> {
        let Subscription { queue, deliveries, channel } = self.0.subscribe(queue, prefetch).await?;
        let consumer = Consumer(queue, self.1.clone());
        let trace = self.1.clone();
        let deliveries = deliveries.map(move |delivery| {
            let _ = &consumer;
            trace.note(format!("taken {}", delivery.message.id));
            delivery
        });
        let channel = Arc::new(TracedChannel(channel, queue, self.1.clone()));
        Ok(Subscription { queue, deliveries: deliveries.boxed(), channel })
    }

    async fn read_journal(&self, from: JournalStart) -> Result<BoxStream<'static, JournalItem>, Error> {
        self.0.read_journal(from).await
    }

    async fn ready_of(&self, queues: &[Queue]) -> Result<Vec<u32>, Error> {
        self.0.ready_of(queues).await
    }

    fn is_blocked(&self) -> bool {
        self.0.is_blocked()
    }

    fn ended(&self) -> CancellationToken {
        self.0.ended()
    }

    async fn close(&self) {
        self.1.note("connections closed");
        self.0.close().await;
    }
}

#[async_trait]
impl Channel for TracedChannel {
    async fn flush(&self) -> Result<(), Error> {
        self.2.note(format!("round trip {}", self.1.index()));
        self.0.flush().await
    }

    async fn close(&self) {
        self.0.close().await;
        self.2.note(format!("channel closed {}", self.1.index()));
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    async fn ack(&self, tag: u64) -> Result<(), Error> {
        self.0.ack(tag).await
    }
}

#[async_trait]
impl Hints for TracedHints {
    async fn announce(&self, member: &str, lasts: Duration) -> Result<Vec<String>, Away> {
        self.0.announce(member, lasts).await
    }

    async fn withdraw(&self, member: &str) -> Result<(), Away> {
        self.1.note("withdrawn");
        self.0.withdraw(member).await
    }

    async fn goes_on(&self, queues: &[u16]) -> Result<(), Away> {
        self.0.goes_on(queues).await
    }

    async fn went_on(&self, queues: &[u16]) -> Result<Vec<Option<Duration>>, Away> {
        self.0.went_on(queues).await
    }

    async fn take(&self, queue: u16, member: &str) -> Result<Taken, Away> {
        self.0.take(queue, member).await
    }

    async fn let_go(&self, queues: &[u16], member: &str, how: Leaving) -> Result<(), Away> {
        self.1.note(format!("clean mark of {} queues", queues.len()));
        self.0.let_go(queues, member, how).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_goes_in_the_order_in_which_nothing_is_redelivered_out_of_order() {
    let trace = Trace::default();
    let memory = Memory::new(topology(|topology| topology.partitions = 2));
    let broker: Arc<dyn Broker> = Arc::new(TracedBroker(memory, trace.clone()));
    let (world, customers) = (World::new(), customers(&broker));
    let session = broker.connect().await.expect("a session");
    let hints = Arc::new(TracedHints(Arc::clone(&world.hints), trace.clone()));
    let slow = Start { time: Duration::from_secs(10), prefetch: 4, ..Start::standard() };
    let worker = Worker::telling(&broker, &world, "writer/1", &slow, hints);
    for number in 1..=5 {
        publish(&session, &customers, number).await;
    }
    tokio::time::sleep(Duration::from_secs(6)).await;
    trace.note("told");
    worker.stop.draining.cancel();
    // Something that is published now is nobody's until the next worker comes.
    publish(&session, &customers, 6).await;
    within(worker.task).await.expect("no panic").expect("drained");
    let noted = trace.since("told");
    let place =
        |what: &str| noted.iter().position(|noted| noted == what).unwrap_or_else(|| panic!("{what}: {noted:?}"));
    let noted_after = |what: &str| noted[place(what)..].to_vec();
    assert_eq!(place("withdrawn"), 1, "the others are told before anything else: {noted:?}");
    assert!(!noted.iter().any(|noted| noted.starts_with("taken")), "nothing is taken any more: {noted:?}");
    assert_eq!(world.done().len(), 4, "what was in flight is finished");
    let mark = place("clean mark of 2 queues");
    for queue in 0..2 {
        let closed = place(&format!("channel closed {queue}"));
        assert!(place(&format!("round trip {queue}")) < mark && mark < closed, "{noted:?}");
        assert!(closed < place(&format!("consumer dropped {queue}")), "{noted:?}");
        assert!(closed < place("connections closed"), "{noted:?}");
    }
    assert!(noted_after("connections closed").len() <= 3, "{noted:?}");

    let next = Worker::start(&broker, &world, "writer/2", &Start::standard());
    eventually("the rest", async || world.count() == 6 * customers.len()).await;
    assert_eq!(world.causes.lock().expect("no panic")[2..], ["handed_over", "handed_over"]);
    world.assert_in_order();
    world.assert_each_once();
    next.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_aborts_leaves_no_clean_mark() {
    let broker: Arc<dyn Broker> = Arc::new(Memory::new(topology(|topology| topology.partitions = 2)));
    let (world, customers) = (World::new(), customers(&broker));
    let session = broker.connect().await.expect("a session");
    publish(&session, &customers, 1).await;
    let slow = Start { time: Duration::from_mins(1), ..Start::standard() };
    let first = Worker::start(&broker, &world, "writer/1", &slow);
    tokio::time::sleep(Duration::from_secs(6)).await;
    first.stop.draining.cancel();
    tokio::time::sleep(Duration::from_secs(1)).await;
    first.stop.aborting.cancel();
    within(first.task).await.expect("no panic").expect("it let go");
    let next = Worker::start(&broker, &world, "writer/2", &Start::standard());
    eventually("everything", async || world.count() == customers.len()).await;
    assert_eq!(world.causes.lock().expect("no panic")[2..], ["lost", "lost"]);
    next.drain().await;
}

/// How long a call of a worker may take.
const LONGEST: Duration = Duration::from_secs(30);

/// A worker with an order of the first customer in its hands.
struct Dying {
    memory: Arc<Memory>,
    broker: Arc<dyn Broker>,
    world: Arc<World>,
    customers: Vec<(String, Target)>,
    first: Worker,
}

impl Dying {
    /// The fleet's memory is as old as that.
    async fn start(remembers: Duration) -> Self {
        let memory = Arc::new(Memory::new(topology(|topology| topology.partitions = 1)));
        let broker = Arc::clone(&memory) as Arc<dyn Broker>;
        let (world, customers) = (World::new(), customers(&broker));
        tokio::time::sleep(remembers).await;
        let session = broker.connect().await.expect("a session");
        let gate = Some(Arc::new(Semaphore::new(0)));
        let first = Worker::start(&broker, &world, "writer/1", &Start { gate, ..Start::standard() });
        publish(&session, &customers[..1], 1).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(world.tries("writer/1"), 1);
        Self { memory, broker, world, customers, first }
    }

    /// It dies, and another takes over. More orders come: the customer's next, and one of another customer.
    async fn dies(&self) -> Worker {
        self.first.task.abort();
        self.memory.lose_sessions();
        let next = self.next("writer/2");
        let session = self.broker.connect().await.expect("a session");
        publish(&session, &self.customers[..1], 2).await;
        publish(&session, &self.customers[1..], 1).await;
        next
    }

    fn next(&self, name: &str) -> Worker {
        let start = Start { longest_call: LONGEST, ..Start::standard() };
        Worker::start(&self.broker, &self.world, name, &start)
    }

    /// How many orders are handled in so many seconds more.
    async fn handled_in(&self, seconds: u64) -> usize {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        self.world.count()
    }
}

#[tokio::test(start_paused = true)]
async fn customers_of_a_lost_worker_wait_for_its_last_call_only_when_nobody_remembers_it() {
    let remembered = Dying::start(LONGEST).await;
    let next = remembered.dies().await;
    assert_eq!(remembered.handled_in(10).await, 3);
    remembered.world.assert_in_order();
    next.drain().await;

    let forgotten = Dying::start(LONGEST).await;
    forgotten.world.hints.forget();
    let next = forgotten.dies().await;
    assert_eq!(forgotten.handled_in(10).await, 1, "the other customer's order does not wait");
    assert_eq!(forgotten.world.taken("writer/2"), 2, "who waits is counted");
    assert_eq!(forgotten.handled_in(18).await, 1, "as long as a call may take since it was forgotten");
    assert_eq!(forgotten.handled_in(4).await, 3);
    assert_eq!(forgotten.world.taken("writer/2"), 0);
    forgotten.world.assert_in_order();
    next.drain().await;
}

/// The worker that waits dies as well, or ends: whoever comes next finds a memory that was told of it, and waits on.
#[tokio::test(start_paused = true)]
async fn a_last_call_that_nobody_remembers_is_waited_for_by_every_successor() {
    for drained in [false, true] {
        let dying = Dying::start(LONGEST).await;
        dying.world.hints.forget();
        let second = dying.dies().await;
        assert_eq!(dying.handled_in(8).await, 1);
        if drained {
            second.drain().await;
        } else {
            second.task.abort();
            dying.memory.lose_sessions();
        }
        let third = dying.next("writer/3");
        assert_eq!(dying.handled_in(18).await, 1, "drained: {drained}");
        assert_eq!(dying.handled_in(6).await, 3, "drained: {drained}");
        dying.world.assert_in_order();
        third.drain().await;
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_is_told_that_all_was_finished_waits_for_nobody_however_young_the_memory_is() {
    let broker: Arc<dyn Broker> = Arc::new(Memory::new(topology(|topology| topology.partitions = 1)));
    let (world, customers) = (World::new(), customers(&broker));
    let session = broker.connect().await.expect("a session");
    let start = Start { longest_call: LONGEST, prefetch: 4, ..Start::standard() };
    let slow = Start { time: Duration::from_secs(3), ..start.clone() };
    let first = Worker::start(&broker, &world, "writer/1", &slow);
    for number in 1..=5 {
        publish(&session, &customers, number).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    first.drain().await;
    let next = Worker::start(&broker, &world, "writer/2", &start);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(world.count(), 10, "what comes again was not begun");
    assert_eq!(*world.causes.lock().expect("no panic"), ["first", "handed_over"]);
    world.assert_in_order();
    world.assert_each_once();
    next.drain().await;
}
