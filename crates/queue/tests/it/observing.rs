//! What the loop tells whoever counts.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use domain::dead_letter::LetterId;
use domain::failure::{Failure, Reason};
use domain::settlement::Settlement;
use queue::dead_letters::DeadLetters;
use queue::error::Error;
use queue::handler::{Announcement, Handler, Job, Observer, OpenLetters, Sorted, Verdict};
use queue::lanes::{BatchSettings, InFlight};
use queue::memory::Memory;
use queue::message::{Message, SEQUENCE_KEY};
use queue::session::{Broker, Session};
use queue::topology::Queue;
use queue::work::{HUNG, Letters, Stop, WorkSettings, run};
use testkit::eventually::eventually;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::conformance::on_both_backends;
use crate::stage::{PARTITION, Stage, TO_PARTITION, message, publish, topology, within};

on_both_backends!(
    whoever_works_on_nothing_tells_the_letters_that_others_open_and_operators_close,
    an_order_is_told_with_its_age_and_a_released_letter_without,
    a_process_with_another_prefetch_than_its_fleet_ends_and_says_so,
);

/// Remembers what it is told.
#[derive(Default)]
struct Told {
    turned: AtomicUsize,
    letters: Mutex<Option<OpenLetters>>,
    /// Connected, or why not.
    connected: Mutex<Vec<Option<String>>>,
    paused: Mutex<Vec<Option<Reason>>>,
    settled: Mutex<Vec<(&'static str, Option<Duration>)>>,
    oldest: Mutex<Vec<Option<u64>>>,
    /// Each value once, until it changes.
    blocked: Mutex<Vec<bool>>,
}

impl Told {
    fn letters(&self) -> Option<OpenLetters> {
        *self.letters.lock().expect("no panic")
    }

    fn turned(&self) -> usize {
        self.turned.load(Ordering::SeqCst)
    }

    fn oldest_is(&self, at: Option<u64>) -> bool {
        self.oldest.lock().expect("no panic").last() == Some(&at)
    }

    fn blocked(&self) -> Vec<bool> {
        self.blocked.lock().expect("no panic").clone()
    }
}

impl Observer for Told {
    fn turned(&self) {
        self.turned.fetch_add(1, Ordering::SeqCst);
    }

    fn settled(&self, settlement: &'static str, age: Option<Duration>) {
        self.settled.lock().expect("no panic").push((settlement, age));
    }

    fn oldest(&self, at: Option<u64>) {
        self.oldest.lock().expect("no panic").push(at);
    }

    fn blocked(&self, blocked: bool) {
        let mut told = self.blocked.lock().expect("no panic");
        told.push(blocked);
        told.dedup();
    }

    fn letters(&self, open: OpenLetters) {
        *self.letters.lock().expect("no panic") = Some(open);
    }

    fn connected(&self, state: Result<(), &Error>) {
        self.connected.lock().expect("no panic").push(state.err().map(ToString::to_string));
    }

    fn paused(&self, why: Option<&Failure>) {
        self.paused.lock().expect("no panic").push(why.map(|failure| failure.reason));
    }
}

/// Answers every order the same way, so many times; from then on all is well.
struct Says {
    what: Answer,
    left: AtomicUsize,
}

#[derive(Clone, Copy)]
enum Answer {
    Dead,
    Pause,
    Nothing,
}

#[async_trait]
impl Handler for Says {
    type Item = ();

    fn sort(&self, message: &Message) -> Sorted<()> {
        let key = message.header(SEQUENCE_KEY).map(str::to_owned);
        Sorted { key, order_id: Some(message.id.clone()), order_type: None, shares: Vec::new(), item: Ok(()) }
    }

    async fn took_over(&self, _: Queue, _: bool) -> Result<(), Failure> {
        Ok(())
    }

    async fn handle(&self, _: &Arc<dyn Session>, _: &[Arc<Job<()>>]) -> Vec<Verdict> {
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        let settlement = match (left, self.what) {
            (Err(_), _) => Settlement::Ack,
            (Ok(_), Answer::Dead) => Settlement::DeadLetter(Failure::permanent(Reason::SalesforceRefused, "scripted")),
            (Ok(_), Answer::Pause) => Settlement::Pause {
                after: Duration::from_secs(10),
                failure: Failure::transient(Reason::LedgerUnavailable, "scripted"),
            },
            (Ok(_), Answer::Nothing) => std::future::pending().await,
        };
        vec![Verdict::of(settlement)]
    }

    fn letter_announcement(&self, _: &Job<()>, _: &Failure, _: &LetterId) -> Option<Announcement> {
        None
    }
}

/// The loop at work on one queue.
struct Worker {
    told: Arc<Told>,
    stop: Stop,
    task: JoinHandle<Result<(), Error>>,
}

impl Worker {
    fn start(broker: &Arc<dyn Broker>, queue: Queue, what: Answer, times: usize) -> Self {
        Self::with_prefetch(broker, queue, what, times, 64)
    }

    fn with_prefetch(broker: &Arc<dyn Broker>, queue: Queue, what: Answer, times: usize, prefetch: u16) -> Self {
        let told = Arc::new(Told::default());
        let settings = WorkSettings {
            queues: vec![queue],
            prefetch,
            batches: BatchSettings { orders: 8, in_flight: InFlight::Fixed(4), linger: Duration::ZERO },
            letters: Letters::Block,
            by: "worker".into(),
            peers: None,
            patience: Duration::from_mins(1),
        };
        let stop = Stop { draining: CancellationToken::new(), aborting: CancellationToken::new() };
        let handler = Arc::new(Says { what, left: AtomicUsize::new(times) });
        let task = tokio::spawn(run(Arc::clone(broker), handler, settings, Arc::clone(&told) as _, stop.clone()));
        Self { told, stop, task }
    }

    async fn end(self) {
        self.stop.draining.cancel();
        self.stop.aborting.cancel();
        within(self.task).await.expect("no panic").expect("ended well");
    }
}

async fn whoever_works_on_nothing_tells_the_letters_that_others_open_and_operators_close(stage: Stage) {
    let idle = Worker::start(&stage.broker, Queue::Partition(0), Answer::Dead, 0);
    let busy = Worker::start(&stage.broker, PARTITION, Answer::Dead, 1);
    eventually("the first telling", async || idle.told.letters() == Some(OpenLetters::default())).await;
    let session = stage.connect().await;
    publish(&session, &TO_PARTITION, 1..=3).await;
    let opened = |told: &Told| {
        told.letters().is_some_and(|open| (open.letters, open.blocked_customers) == (3, 1) && open.oldest_at.is_some())
    };
    eventually("three letters, told by both", async || opened(&idle.told) && opened(&busy.told)).await;
    let letters = within(DeadLetters::open(stage.broker.as_ref(), "operator")).await.expect("open");
    let oldest = letters.letters().first().map(|letter| letter.at);
    assert_eq!(idle.told.letters().and_then(|open| open.oldest_at), oldest);
    for letter in letters.letters() {
        within(letters.discard(&letter, "a test")).await.expect("discarded");
    }
    eventually("none, told by both", async || {
        [&idle, &busy].iter().all(|worker| worker.told.letters() == Some(OpenLetters::default()))
    })
    .await;
    letters.close().await;
    session.close().await;
    idle.end().await;
    busy.end().await;
}

async fn an_order_is_told_with_its_age_and_a_released_letter_without(stage: Stage) {
    let worker = Worker::start(&stage.broker, PARTITION, Answer::Dead, 1);
    let session = stage.connect().await;
    publish(&session, &TO_PARTITION, [1]).await;
    let settled = |n: usize| {
        let told = Arc::clone(&worker.told);
        async move {
            eventually("it to be settled", async || told.settled.lock().expect("no panic").len() >= n).await;
            told.settled.lock().expect("no panic").last().copied().expect("there is one")
        }
    };
    let (how, age) = settled(1).await;
    assert_eq!(how, "dead");
    assert!(age.is_some_and(|age| age < Duration::from_mins(1)), "{age:?}");
    let letters = within(DeadLetters::open(stage.broker.as_ref(), "operator")).await.expect("open");
    within(letters.release("one customer")).await.expect("released");
    assert_eq!(settled(2).await, ("acknowledged", None));
    letters.close().await;
    session.close().await;
    worker.end().await;
}

async fn a_process_with_another_prefetch_than_its_fleet_ends_and_says_so(stage: Stage) {
    let first = Worker::start(&stage.broker, PARTITION, Answer::Dead, 0);
    eventually("the first to work", async || first.told.letters().is_some()).await;
    let other = Worker::with_prefetch(&stage.broker, Queue::Partition(0), Answer::Dead, 0, 10);
    let Err(Error::Topology { difference, remedy, .. }) = within(other.task).await.expect("no panic") else {
        panic!("it works")
    };
    assert!(difference.contains("the fleet has 64") && difference.contains("the settings say 10"), "{difference}");
    assert!(remedy.starts_with("Start with the number that the fleet has"), "{remedy}");
    let inboxes = Worker::with_prefetch(&stage.broker, Queue::Inbox(0), Answer::Dead, 0, 10);
    eventually("one of another kind to work", async || inboxes.told.letters().is_some()).await;
    inboxes.end().await;
    first.end().await;
    // A fleet that was stopped starts with any number.
    eventually("the first session to be gone", async || {
        let session = stage.connect().await;
        let agreed = session.agree_on_prefetch(PARTITION, 10).await;
        session.close().await;
        agreed.is_ok()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn while_the_broker_is_away_the_newest_cause_is_told() {
    let memory = Arc::new(Memory::new(topology(|_| {})));
    let broker: Arc<dyn Broker> = Arc::clone(&memory) as _;
    let worker = Worker::start(&broker, PARTITION, Answer::Dead, 0);
    let told = || worker.told.connected.lock().expect("no panic").clone();
    eventually("the first session", async || told() == [None]).await;
    memory.refuse_connects(2);
    memory.lose_sessions();
    eventually("the second session", async || told().last() == Some(&None) && told().len() > 1).await;
    let lost = "the connection to RabbitMQ was lost: the session ended".to_owned();
    let refused = "RabbitMQ at memory cannot be reached: refused by a test".to_owned();
    assert_eq!(told(), [None, Some(lost), Some(refused.clone()), Some(refused), None]);
    worker.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_hangs_ends_the_heartbeat_after_its_limit_and_not_before() {
    let broker: Arc<dyn Broker> = Arc::new(Memory::new(topology(|_| {})));
    let worker = Worker::start(&broker, PARTITION, Answer::Nothing, 1);
    publish(&broker.connect().await.expect("a session"), &TO_PARTITION, [1]).await;
    tokio::time::sleep(HUNG.saturating_sub(Duration::from_mins(1))).await;
    let before = worker.told.turned();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(worker.told.turned() > before, "it may still answer");
    tokio::time::sleep(Duration::from_mins(1)).await;
    let after = worker.told.turned();
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(worker.told.turned(), after);
    worker.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_does_not_count_as_hung_while_the_broker_takes_no_messages() {
    let memory = Arc::new(Memory::new(topology(|_| {})));
    let broker: Arc<dyn Broker> = Arc::clone(&memory) as _;
    let worker = Worker::start(&broker, PARTITION, Answer::Nothing, 1);
    publish(&broker.connect().await.expect("a session"), &TO_PARTITION, [1]).await;
    let turns = async || {
        let before = worker.told.turned();
        tokio::time::sleep(Duration::from_mins(1)).await;
        worker.told.turned() > before
    };
    assert!(turns().await);
    memory.block(true);
    tokio::time::sleep(2 * HUNG).await;
    assert!(turns().await, "it may wait for the broker");
    memory.block(false);
    tokio::time::sleep(HUNG).await;
    assert!(!turns().await, "it had its time");
    worker.end().await;
}

#[tokio::test(start_paused = true)]
async fn while_orders_are_in_hand_it_is_told_when_the_oldest_was_handed_on() {
    let broker: Arc<dyn Broker> = Arc::new(Memory::new(topology(|_| {})));
    let worker = Worker::start(&broker, PARTITION, Answer::Pause, 1);
    eventually("the first telling", async || worker.told.oldest_is(None)).await;
    let session = broker.connect().await.expect("a session");
    // The second one is the older, and waits behind the first.
    for (number, at) in [(1, 1_790_000_060), (2, 1_790_000_000)] {
        let message = Message { timestamp: Some(at), ..message(number, "one customer") };
        session.publish(&TO_PARTITION, &message).await.expect("published");
    }
    eventually("the oldest", async || worker.told.oldest_is(Some(1_790_000_000))).await;
    eventually("none to be left", async || worker.told.oldest_is(None)).await;
    worker.end().await;
}

#[tokio::test(start_paused = true)]
async fn it_is_told_while_the_broker_takes_no_messages() {
    let memory = Arc::new(Memory::new(topology(|_| {})));
    let broker: Arc<dyn Broker> = Arc::clone(&memory) as _;
    let worker = Worker::start(&broker, PARTITION, Answer::Dead, 0);
    eventually("the first telling", async || worker.told.blocked() == [false]).await;
    memory.block(true);
    eventually("the alarm", async || worker.told.blocked() == [false, true]).await;
    memory.lose_sessions();
    // It cannot begin before the broker takes messages again.
    eventually("the next session", async || worker.told.blocked() == [false, true, false, true]).await;
    memory.block(false);
    eventually("its end", async || worker.told.blocked() == [false, true, false, true, false]).await;
    worker.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_told_until_it_is_over_and_is_over_with_its_session() {
    let memory = Arc::new(Memory::new(topology(|_| {})));
    let broker: Arc<dyn Broker> = Arc::clone(&memory) as _;
    let worker = Worker::start(&broker, PARTITION, Answer::Pause, 3);
    publish(&broker.connect().await.expect("a session"), &TO_PARTITION, [1]).await;
    let paused = || worker.told.paused.lock().expect("no panic").clone();
    let away = Some(Reason::LedgerUnavailable);
    eventually("the second probe", async || paused() == [away, away]).await;
    memory.lose_sessions();
    eventually("the end", async || paused() == [away, away, None, away, None]).await;
    worker.end().await;
}
