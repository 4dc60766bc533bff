//! How long the loop may take to finish: as long as the process may, and no limit of its own.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::dead_letter::LetterId;
use domain::failure::Failure;
use domain::settlement::Settlement;
use futures::stream::BoxStream;
use queue::error::{Error, PublishError, VisitError};
use queue::handler::{Announcement, Handler, Job, Sorted, Unobserved, Verdict};
use queue::lanes::{BatchSettings, InFlight};
use queue::memory::Memory;
use queue::message::Message;
use queue::session::{Broker, JournalItem, JournalStart, Session, Subscription};
use queue::topology::{Queue, Target, Topology};
use queue::work::{Letters, Stop, WorkSettings, run};
use service::{Exit, Lifecycle, Stopped};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::stage::{PARTITION, TO_PARTITION, ids, message, publish, subscribe, take, topology};

/// Needs this long for each order.
struct Slow {
    time: Duration,
    began: Semaphore,
}

impl Slow {
    fn new(seconds: u64) -> Arc<Self> {
        Arc::new(Self { time: Duration::from_secs(seconds), began: Semaphore::new(0) })
    }
}

#[async_trait]
impl Handler for Slow {
    type Item = ();

    fn sort(&self, message: &Message) -> Sorted<()> {
        Sorted {
            key: Some("one customer".into()),
            order_id: Some(message.id.clone()),
            order_type: None,
            shares: Vec::new(),
            item: Ok(()),
        }
    }

    async fn took_over(&self, _: Queue, _: bool) -> Result<(), Failure> {
        Ok(())
    }

    async fn handle(&self, _: &Arc<dyn Session>, batch: &[Arc<Job<()>>]) -> Vec<Verdict> {
        self.began.add_permits(1);
        tokio::time::sleep(self.time).await;
        batch.iter().map(|_| Verdict::of(Settlement::Ack)).collect()
    }

    fn letter_announcement(&self, _: &Job<()>, _: &Failure, _: &LetterId) -> Option<Announcement> {
        None
    }
}

fn work<H: Handler>(broker: Arc<dyn Broker>, handler: Arc<H>, lifecycle: &Lifecycle) {
    let settings = WorkSettings {
        queues: vec![PARTITION],
        prefetch: 8,
        batches: BatchSettings { orders: 8, in_flight: InFlight::Fixed(4), linger: Duration::ZERO },
        letters: Letters::Block,
        by: "worker".into(),
        peers: None,
        patience: Duration::from_secs(20),
    };
    let stop = Stop { draining: lifecycle.draining().clone(), aborting: lifecycle.aborting().clone() };
    lifecycle.spawn("work", async move {
        let worked = run(broker, handler, settings, Arc::new(Unobserved), stop).await;
        worked.map_err(|error| Stopped::failed(error.to_string()))
    });
}

/// Two orders of one customer, the first of them in flight for 40 s when the process is told to drain. Returns how it ended,
/// after how many seconds, and which orders are left.
async fn drained(drain: Duration) -> (Exit, u64, Vec<u32>) {
    let broker: Arc<dyn Broker> = Arc::new(Memory::new(topology(|_| {})));
    let session = broker.connect().await.expect("a session");
    publish(&session, &TO_PARTITION, [1, 2]).await;
    let lifecycle = Lifecycle::with_drain(drain);
    let slow = Slow::new(40);
    work(Arc::clone(&broker), Arc::clone(&slow), &lifecycle);
    slow.began.acquire().await.expect("open").forget();
    let told = Instant::now();
    lifecycle.drain();
    let exit = lifecycle.ended().await;
    let seconds = told.elapsed().as_secs();
    let left = session.ready(PARTITION).await.expect("a depth");
    let mut subscription = subscribe(&session, PARTITION, 8).await;
    let left = take(&mut subscription, usize::try_from(left).expect("few")).await;
    (exit, seconds, ids(&left))
}

#[tokio::test(start_paused = true)]
async fn an_order_in_flight_is_finished_when_the_process_may_drain_for_so_long() {
    assert_eq!(drained(Duration::from_mins(1)).await, (Exit::Done, 40, vec![2]));
}

#[tokio::test(start_paused = true)]
async fn an_order_that_outlasts_a_short_drain_is_handed_back_in_time_and_in_order() {
    assert_eq!(drained(Duration::from_secs(10)).await, (Exit::Failed, 5, vec![1, 2]));
}

/// A broker whose journal takes for ever to read.
struct LongJournal {
    memory: Memory,
    entries: Arc<Semaphore>,
}

struct LongSession {
    session: Arc<dyn Session>,
    entries: Arc<Semaphore>,
}

#[async_trait]
impl Broker for LongJournal {
    async fn connect(&self) -> Result<Arc<dyn Session>, Error> {
        let session = self.memory.connect().await?;
        Ok(Arc::new(LongSession { session, entries: Arc::clone(&self.entries) }))
    }

    async fn visit(&self) -> Result<Arc<dyn Session>, VisitError> {
        self.memory.visit().await
    }

    fn topology(&self) -> &Topology {
        self.memory.topology()
    }
}

#[async_trait]
impl Session for LongSession {
    async fn publish(&self, target: &Target, message: &Message) -> Result<(), PublishError> {
        self.session.publish(target, message).await
    }

    async fn subscribe(&self, queue: Queue, prefetch: u16) -> Result<Subscription, Error> {
        self.session.subscribe(queue, prefetch).await
    }

    async fn read_journal(&self, _: JournalStart) -> Result<BoxStream<'static, JournalItem>, Error> {
        let read = Arc::clone(&self.entries);
        let entries = futures::stream::unfold((0, read), |(offset, read)| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            read.add_permits(1);
            Some(((offset, message(offset, "somebody")), (offset + 1, read)))
        });
        Ok(Box::pin(entries))
    }

    async fn ready_of(&self, queues: &[Queue]) -> Result<Vec<u32>, Error> {
        self.session.ready_of(queues).await
    }

    fn is_blocked(&self) -> bool {
        self.session.is_blocked()
    }

    fn ended(&self) -> CancellationToken {
        self.session.ended()
    }

    async fn close(&self) {
        self.session.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_still_reads_the_journal_ends_as_soon_as_it_is_told_to() {
    let lifecycle = Lifecycle::new();
    let entries = Arc::new(Semaphore::new(0));
    let broker = LongJournal { memory: Memory::new(topology(|_| {})), entries: Arc::clone(&entries) };
    work(Arc::new(broker), Slow::new(1), &lifecycle);
    entries.acquire_many(300).await.expect("open").forget();
    let told = Instant::now();
    lifecycle.drain();
    assert_eq!((lifecycle.ended().await, told.elapsed().as_secs()), (Exit::Done, 0));
}

/// Is told so many times that another process owns the partition.
struct Disowned(Semaphore);

#[async_trait]
impl Handler for Disowned {
    type Item = ();

    fn sort(&self, message: &Message) -> Sorted<()> {
        Slow::new(0).sort(message)
    }

    async fn took_over(&self, _: Queue, _: bool) -> Result<(), Failure> {
        Ok(())
    }

    async fn handle(&self, _: &Arc<dyn Session>, batch: &[Arc<Job<()>>]) -> Vec<Verdict> {
        let lost_ownership = self.0.try_acquire().map(tokio::sync::SemaphorePermit::forget).is_ok();
        batch.iter().map(|_| Verdict { lost_ownership, ..Verdict::of(Settlement::Ack) }).collect()
    }

    fn letter_announcement(&self, _: &Job<()>, _: &Failure, _: &LetterId) -> Option<Announcement> {
        None
    }
}

#[tokio::test(start_paused = true)]
async fn two_owners_of_a_partition_do_not_take_it_from_each_other_without_a_pause() {
    let broker: Arc<dyn Broker> = Arc::new(Memory::new(topology(|_| {})));
    let session = broker.connect().await.expect("a session");
    publish(&session, &TO_PARTITION, [1]).await;
    let began = Instant::now();
    let lifecycle = Lifecycle::new();
    let disowned = Arc::new(Disowned(Semaphore::new(20)));
    work(broker, Arc::clone(&disowned), &lifecycle);
    testkit::eventually::eventually("the last try", async || disowned.0.available_permits() == 0).await;
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    lifecycle.drain();
    assert_eq!(lifecycle.ended().await, Exit::Done);
}
