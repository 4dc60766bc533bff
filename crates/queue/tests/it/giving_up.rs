//! An order dies once, however often it has to be told, and a release is over when its letter has failed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use domain::dead_letter::LetterId;
use domain::failure::{Failure, Reason};
use domain::settlement::Settlement;
use domain::story::What;
use queue::dead_letters::DeadLetters;
use queue::handler::{Announcement, Handler, Job, Sorted, Unobserved, Verdict};
use queue::lanes::{BatchSettings, InFlight};
use queue::memory::Memory;
use queue::message::{Message, SEQUENCE_KEY};
use queue::session::{Broker, JournalStart, Session};
use queue::spread::best;
use queue::topology::{Queue, Target};
use queue::work::{Letters, Peers, Stop, WorkSettings, run};
use service::hints::Hints;
use tokio_util::sync::CancellationToken;

use crate::company::hints::MemoryHints;
use crate::stage::{message, topology, within};

/// Needs its time for each order, and then gives it up.
struct GivesUp {
    memory: Arc<Memory>,
    time: Duration,
    /// How often each outcome is refused before it is taken.
    refusals: usize,
    refused: AtomicUsize,
    tries: AtomicUsize,
    deaths: Mutex<Vec<String>>,
}

impl GivesUp {
    fn new(memory: &Arc<Memory>, time: Duration, refusals: usize) -> Arc<Self> {
        let (refused, tries) = (AtomicUsize::new(refusals), AtomicUsize::new(0));
        Arc::new(Self { memory: Arc::clone(memory), time, refusals, refused, tries, deaths: Mutex::default() })
    }

    fn tries(&self) -> usize {
        self.tries.load(Ordering::SeqCst)
    }
}

fn scripted() -> Failure {
    Failure::permanent(Reason::SalesforceRefused, "scripted")
}

#[async_trait]
impl Handler for GivesUp {
    type Item = ();

    fn sort(&self, message: &Message) -> Sorted<()> {
        let key = message.header(SEQUENCE_KEY).map(str::to_owned);
        let item = if key.is_some() { Ok(()) } else { Err(scripted()) };
        Sorted { key, order_id: Some(message.id.clone()), order_type: None, item, shares: Vec::new() }
    }

    async fn took_over(&self, _: Queue, _: bool) -> Result<(), Failure> {
        Ok(())
    }

    async fn handle(&self, _: &Arc<dyn Session>, batch: &[Arc<Job<()>>]) -> Vec<Verdict> {
        self.tries.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(self.time).await;
        batch.iter().map(|_| Verdict::of(Settlement::DeadLetter(scripted()))).collect()
    }

    fn note(&self, order: &str, what: What) {
        if matches!(what, What::Dead { .. }) {
            self.deaths.lock().expect("no panic").push(order.to_owned());
        }
    }

    /// By then it stands in the journal.
    fn letter_announcement(&self, job: &Job<()>, _: &Failure, _: &LetterId) -> Option<Announcement> {
        let refuses = self.refused.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        if refuses {
            self.memory.refuse_publishes(1);
        } else {
            self.refused.store(self.refusals, Ordering::SeqCst);
        }
        Some(Announcement { routing_key: "order.dead_lettered", message: job.message.clone() })
    }
}

fn work(broker: &Arc<dyn Broker>, handler: &Arc<GivesUp>, letters: Letters, by: &str, peers: Option<Peers>) -> Stop {
    let stop = Stop { draining: CancellationToken::new(), aborting: CancellationToken::new() };
    let topology = broker.topology();
    let settings = WorkSettings {
        queues: if letters == Letters::Block { topology.partition_queues() } else { topology.inbox_queues() },
        prefetch: 8,
        batches: BatchSettings { orders: 4, in_flight: InFlight::Fixed(4), linger: Duration::ZERO },
        letters,
        by: by.to_owned(),
        peers,
        patience: Duration::from_secs(20),
    };
    let observer = Arc::new(Unobserved);
    tokio::spawn(run(Arc::clone(broker), Arc::clone(handler), settings, observer, stop.clone()));
    stop
}

/// How many deaths stand in the journal.
async fn deaths(session: &Arc<dyn Session>) -> usize {
    let mut entries = session.read_journal(JournalStart::First).await.expect("a reader");
    let mut deaths = 0;
    while let Ok(Some((_, message))) =
        tokio::time::timeout(Duration::from_millis(10), futures::StreamExt::next(&mut entries)).await
    {
        deaths += usize::from(message.header("kind") == Some("dead"));
    }
    deaths
}

#[tokio::test(start_paused = true)]
async fn an_order_whose_death_has_to_be_told_again_and_again_died_once() {
    let memory = Arc::new(Memory::new(topology(|topology| topology.partitions = 1)));
    let broker = Arc::clone(&memory) as Arc<dyn Broker>;
    let session = broker.connect().await.expect("a session");
    let handler = GivesUp::new(&memory, Duration::ZERO, 5);
    let stop = work(&broker, &handler, Letters::Block, "writer/1", None);
    within(session.publish(&Target::Partition(0), &message(1, "k"))).await.expect("confirmed");
    tokio::time::sleep(Duration::from_secs(20)).await;
    let told = || (memory.outcomes().len(), handler.deaths.lock().expect("no panic").len());
    assert_eq!((told(), deaths(&session).await), ((1, 1), 1));

    let letters = within(DeadLetters::open(broker.as_ref(), "operator")).await.expect("open");
    within(letters.release("k")).await.expect("released");
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!((told(), deaths(&session).await), ((2, 2), 2), "it died once more");
    within(letters.refresh()).await.expect("read");
    assert_eq!(letters.letters().iter().map(|letter| letter.times_dead).collect::<Vec<_>>(), [2]);
    stop.draining.cancel();
}

#[tokio::test(start_paused = true)]
async fn a_message_of_nobody_whose_death_has_to_be_told_again_died_once() {
    let memory = Arc::new(Memory::new(topology(|topology| topology.partitions = 1)));
    let broker = Arc::clone(&memory) as Arc<dyn Broker>;
    let session = broker.connect().await.expect("a session");
    let handler = GivesUp::new(&memory, Duration::ZERO, 5);
    let stop = work(&broker, &handler, Letters::Forward, "ingest/1", None);
    let nobodys = Message { headers: std::collections::BTreeMap::new(), ..message(1, "") };
    within(session.publish(&Target::Orders, &nobodys)).await.expect("confirmed");
    tokio::time::sleep(Duration::from_secs(20)).await;
    let told = (memory.outcomes().len(), handler.deaths.lock().expect("no panic").len());
    assert_eq!((told, deaths(&session).await), ((1, 1), 1));
    stop.draining.cancel();
}

/// The queue goes to another worker while the letter is on its way for the second time.
#[tokio::test(start_paused = true)]
async fn a_release_whose_letter_fails_while_its_queue_is_given_up_is_over() {
    let memory = Arc::new(Memory::new(topology(|topology| topology.partitions = 1)));
    let broker = Arc::clone(&memory) as Arc<dyn Broker>;
    let session = broker.connect().await.expect("a session");
    let hints = Arc::new(MemoryHints::default());
    let peers = || Some(Peers::new(Arc::clone(&hints) as Arc<dyn Hints>));
    let slow = GivesUp::new(&memory, Duration::from_secs(40), 0);
    let first = work(&broker, &slow, Letters::Block, "writer/1", peers());
    for number in 1..=3 {
        within(session.publish(&Target::Partition(0), &message(number, "k"))).await.expect("confirmed");
    }
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!((slow.tries(), deaths(&session).await), (1, 1), "one is dead and two are held");

    // It is left what it has for half a minute; then its lanes may run empty for five seconds.
    let quick = GivesUp::new(&memory, Duration::ZERO, 0);
    let second = work(&broker, &quick, Letters::Block, &preferred(), peers());
    tokio::time::sleep(Duration::from_secs(20)).await;
    let letters = within(DeadLetters::open(broker.as_ref(), "operator")).await.expect("open");
    within(letters.release("k")).await.expect("released");
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert_eq!((slow.tries(), deaths(&session).await), (2, 2), "it failed again");
    assert_eq!(quick.tries(), 0, "the successor finds no release");
    // The queue is the other's now.
    within(session.publish(&Target::Partition(0), &message(4, "another"))).await.expect("confirmed");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!((slow.tries(), quick.tries()), (2, 1));
    first.draining.cancel();
    second.draining.cancel();
}

/// The letters come when the time in which the queue's lanes could run empty is over.
#[tokio::test(start_paused = true)]
async fn letters_that_are_read_after_their_queue_was_given_up_are_left_to_the_successor() {
    let memory = Arc::new(Memory::new(topology(|topology| topology.partitions = 1)));
    let broker = Arc::clone(&memory) as Arc<dyn Broker>;
    let session = broker.connect().await.expect("a session");
    let hints = Arc::new(MemoryHints::default());
    let peers = || Some(Peers::new(Arc::clone(&hints) as Arc<dyn Hints>));
    let handlers = [(); 2].map(|()| GivesUp::new(&memory, Duration::ZERO, 0));
    let first = work(&broker, &handlers[0], Letters::Block, "writer/1", peers());
    within(session.publish(&Target::Partition(0), &message(1, "k"))).await.expect("confirmed");
    tokio::time::sleep(Duration::from_secs(10)).await;
    let second = work(&broker, &handlers[1], Letters::Block, &preferred(), peers());
    tokio::time::sleep(Duration::from_secs(20)).await;
    let letters = within(DeadLetters::open(broker.as_ref(), "operator")).await.expect("open");
    within(letters.release("k")).await.expect("released");
    memory.block(true);
    tokio::time::sleep(Duration::from_mins(1)).await;
    memory.block(false);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(handlers.each_ref().map(|handler| handler.tries()), [1, 1]);
    assert_eq!(deaths(&session).await, 2);
    first.draining.cancel();
    second.draining.cancel();
}

/// A worker to which the queue belongs as soon as it is there.
fn preferred() -> String {
    let mut names = (2..).map(|number| format!("writer/{number}"));
    names.find(|name| best(["writer/1", name], Queue::Partition(0)) == Some(name)).expect("one of many")
}
