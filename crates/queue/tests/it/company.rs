//! Several workers: they spread the queues, hand over to each other, and notice a queue that delivers to nobody.

mod handing_over;
pub(crate) mod hints;
pub(crate) mod keeping;
mod outage;
mod spreading;
mod stalled;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use domain::dead_letter::LetterId;
use domain::failure::{Failure, Reason};
use domain::settlement::Settlement;
use queue::handler::{Announcement, Handler, Job, Observer, Outage, Sorted, Verdict};
use queue::lanes::{BatchSettings, InFlight};
use queue::message::{Message, SEQUENCE_KEY};
use queue::session::{Broker, Session};
use queue::spread::SpreadSettings;
use queue::topology::{Queue, Target};
use queue::watch::WatchSettings;
use queue::work::{Letters, Peers, Stop, WorkSettings, run};
use service::hints::Hints;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::hints::MemoryHints;
use crate::stage::within;

/// One order as it was handled: by which worker, of which customer, which of the customer's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Done {
    worker: String,
    queue: Queue,
    key: String,
    number: u32,
}

/// What all the workers of a test share.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) hints: Arc<MemoryHints>,
    done: Mutex<Vec<Done>>,
    /// Whoever took each queue over last.
    owners: Mutex<HashMap<Queue, String>>,
    pub(crate) causes: Mutex<Vec<&'static str>>,
    stalled: Mutex<HashSet<(String, Queue)>>,
    /// Something that the handlers need is away.
    pub(crate) away: AtomicBool,
    /// What is away is the allocation.
    pub(crate) spent: AtomicBool,
    pub(crate) probes: Mutex<Vec<String>>,
    tries: Mutex<Vec<String>>,
    /// How often loops turned at the same instant.
    turns: Mutex<Option<(Instant, usize)>>,
    /// How many orders each worker has taken and not settled.
    taken: Mutex<HashMap<String, usize>>,
}

impl World {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn done(&self) -> Vec<Done> {
        self.done.lock().expect("no panic").clone()
    }

    pub(crate) fn count(&self) -> usize {
        let seen: HashSet<(String, u32)> = self.done().into_iter().map(|done| (done.key, done.number)).collect();
        seen.len()
    }

    pub(crate) fn owner(&self, queue: Queue) -> Option<String> {
        self.owners.lock().expect("no panic").get(&queue).cloned()
    }

    /// How often workers began to handle orders.
    pub(crate) fn tries(&self, worker: &str) -> usize {
        self.tries.lock().expect("no panic").iter().filter(|tried| *tried == worker).count()
    }

    /// How many orders a worker says that it has taken and not settled.
    pub(crate) fn taken(&self, worker: &str) -> usize {
        self.taken.lock().expect("no panic").get(worker).copied().unwrap_or_default()
    }

    /// What is away.
    fn why(&self) -> Failure {
        let spent = self.spent.load(Ordering::SeqCst);
        let reason = if spent { Reason::QuotaExhausted } else { Reason::SalesforceUnavailable };
        Failure::transient(reason, "scripted")
    }

    pub(crate) fn is_stalled(&self, queue: Queue) -> bool {
        self.stalled.lock().expect("no panic").iter().any(|(_, stalled)| *stalled == queue)
    }

    /// No order of a customer was handled before an earlier one, and none again after a later one.
    #[track_caller]
    pub(crate) fn assert_in_order(&self) {
        let mut last: HashMap<String, u32> = HashMap::new();
        for done in self.done() {
            let before = last.insert(done.key.clone(), done.number).unwrap_or(0);
            assert!(
                done.number == before || done.number == before + 1,
                "{} of {} after {before}, by {}",
                done.number,
                done.key,
                done.worker
            );
        }
    }

    /// No order was handled twice.
    #[track_caller]
    pub(crate) fn assert_each_once(&self) {
        assert_eq!(self.done().len(), self.count());
    }
}

/// Needs some time for each batch, or a permit of the gate.
struct Works {
    world: Arc<World>,
    name: String,
    time: Duration,
    gate: Option<Arc<Semaphore>>,
    longest_call: Duration,
}

#[async_trait]
impl Handler for Works {
    type Item = u32;

    fn sort(&self, message: &Message) -> Sorted<u32> {
        let number = message.id.rsplit('/').next().and_then(|number| number.parse().ok());
        Sorted {
            key: message.header(SEQUENCE_KEY).map(str::to_owned),
            order_id: Some(message.id.clone()),
            order_type: None,
            item: number.ok_or_else(|| Failure::permanent(Reason::InvalidValue, "not a number")),
            shares: Vec::new(),
        }
    }

    async fn took_over(&self, _: Queue, _: bool) -> Result<(), Failure> {
        Ok(())
    }

    fn longest_call(&self) -> Duration {
        self.longest_call
    }

    async fn probe(&self) -> Result<(), Outage> {
        self.world.probes.lock().expect("no panic").push(self.name.clone());
        if self.world.away.load(Ordering::SeqCst) {
            return Err(Outage { failure: self.world.why(), after: Duration::from_secs(30) });
        }
        Ok(())
    }

    async fn handle(&self, _: &Arc<dyn Session>, batch: &[Arc<Job<u32>>]) -> Vec<Verdict> {
        self.world.tries.lock().expect("no panic").push(self.name.clone());
        if self.world.away.load(Ordering::SeqCst) {
            let pause = || Settlement::Pause { after: Duration::from_secs(10), failure: self.world.why() };
            return batch.iter().map(|_| Verdict::of(pause())).collect();
        }
        if let Some(gate) = &self.gate {
            gate.acquire().await.expect("open").forget();
        }
        tokio::time::sleep(self.time).await;
        let mut done = self.world.done.lock().expect("no panic");
        for job in batch {
            let (key, number) = (job.key.clone().expect("a key"), *job.item.as_ref().expect("a number"));
            done.push(Done { worker: self.name.clone(), queue: job.queue, key, number });
        }
        batch.iter().map(|_| Verdict::of(Settlement::Ack)).collect()
    }

    fn letter_announcement(&self, _: &Job<u32>, _: &Failure, _: &LetterId) -> Option<Announcement> {
        None
    }
}

struct Told(Arc<World>, String);

impl Observer for Told {
    /// Under virtual time a loop that never waits would stand still for ever.
    fn turned(&self) {
        const MOST_AT_ONCE: usize = 50_000;
        let mut turns = self.0.turns.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let now = Instant::now();
        let at_once = turns.filter(|(at, _)| *at == now).map_or(1, |(_, times)| times + 1);
        *turns = Some((now, at_once));
        assert!(at_once < MOST_AT_ONCE, "{} turns and does not wait", self.1);
    }

    fn lanes(&self, items: usize, _: usize, _: usize) {
        self.0.taken.lock().expect("no panic").insert(self.1.clone(), items);
    }

    fn took_over(&self, queue: Queue, cause: &'static str) {
        self.0.owners.lock().expect("no panic").insert(queue, self.1.clone());
        self.0.causes.lock().expect("no panic").push(cause);
    }

    fn stalled(&self, queue: Queue, stalled: bool) {
        let mut all = self.0.stalled.lock().expect("no panic");
        let entry = (self.1.clone(), queue);
        if stalled {
            all.insert(entry);
        } else {
            all.remove(&entry);
        }
    }
}

/// How a worker is started.
#[derive(Clone)]
pub(crate) struct Start {
    pub(crate) spread: SpreadSettings,
    pub(crate) watch: WatchSettings,
    pub(crate) prefetch: u16,
    pub(crate) time: Duration,
    pub(crate) gate: Option<Arc<Semaphore>>,
    pub(crate) longest_call: Duration,
}

impl Start {
    /// As programs are.
    pub(crate) fn standard() -> Self {
        let (spread, watch) = (SpreadSettings::STANDARD, WatchSettings::STANDARD);
        Self { spread, watch, prefetch: 16, time: Duration::from_millis(20), gate: None, longest_call: Duration::ZERO }
    }

    /// The same some twenty times quicker, for brokers that have no virtual time.
    pub(crate) fn quick() -> Self {
        let spread = SpreadSettings {
            announce_every: Duration::from_millis(150),
            announcement_lasts: Duration::from_millis(1_500),
            settle: Duration::from_millis(50),
            second_wave: Duration::from_millis(250),
            patience: Duration::from_millis(1_500),
            run_empty: Duration::from_millis(250),
            pace: Duration::from_millis(25),
        };
        let watch = WatchSettings {
            look_every: Duration::from_millis(400),
            mark_every: Duration::from_millis(100),
            stalled_after: Duration::from_millis(800),
            stagger: Duration::from_millis(100),
        };
        Self { spread, watch, time: Duration::from_millis(5), ..Self::standard() }
    }
}

/// One worker.
pub(crate) struct Worker {
    pub(crate) stop: Stop,
    pub(crate) task: JoinHandle<Result<(), queue::error::Error>>,
}

impl Worker {
    pub(crate) fn start(broker: &Arc<dyn Broker>, world: &Arc<World>, name: &str, start: &Start) -> Self {
        Self::telling(broker, world, name, start, Arc::clone(&world.hints) as Arc<dyn Hints>)
    }

    pub(crate) fn telling(
        broker: &Arc<dyn Broker>,
        world: &Arc<World>,
        name: &str,
        start: &Start,
        hints: Arc<dyn Hints>,
    ) -> Self {
        let stop = Stop { draining: CancellationToken::new(), aborting: CancellationToken::new() };
        let settings = WorkSettings {
            queues: broker.topology().partition_queues(),
            prefetch: start.prefetch,
            batches: BatchSettings { orders: 4, in_flight: InFlight::Fixed(4), linger: Duration::ZERO },
            letters: Letters::Block,
            by: name.to_owned(),
            peers: Some(Peers { hints, spread: start.spread, watch: start.watch }),
            patience: Duration::from_secs(20),
        };
        let works = Works {
            world: Arc::clone(world),
            name: name.to_owned(),
            time: start.time,
            gate: start.gate.clone(),
            longest_call: start.longest_call,
        };
        let told = Arc::new(Told(Arc::clone(world), name.to_owned()));
        let task = tokio::spawn(run(Arc::clone(broker), Arc::new(works), settings, told, stop.clone()));
        Self { stop, task }
    }

    /// Finishes what is in flight and ends.
    pub(crate) async fn drain(self) {
        self.stop.draining.cancel();
        within(self.task).await.expect("no panic").expect("drained");
    }
}

/// The customers of the partitions: two of each.
pub(crate) fn customers(broker: &Arc<dyn Broker>) -> Vec<(String, Target)> {
    let topology = broker.topology();
    let mut left: HashMap<u16, u32> = (0..topology.partitions).map(|partition| (partition, 2)).collect();
    let mut customers = Vec::new();
    for number in 0.. {
        let key = format!("customer {number}");
        let partition = topology.partition_of(&key);
        if let Some(left) = left.get_mut(&partition).filter(|left| **left > 0) {
            *left -= 1;
            customers.push((key, Target::Partition(partition)));
        }
        if left.values().all(|left| *left == 0) {
            break;
        }
    }
    customers
}

/// Publishes the next order of each of these customers.
pub(crate) async fn publish(session: &Arc<dyn Session>, customers: &[(String, Target)], number: u32) {
    for (key, target) in customers {
        let message = Message {
            id: format!("{key}/{number}"),
            body: format!("order {number} of {key}").into(),
            headers: [(SEQUENCE_KEY.to_owned(), key.clone())].into(),
            ..Message::default()
        };
        within(session.publish(target, &message)).await.expect("confirmed");
    }
}
