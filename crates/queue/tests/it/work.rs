//! The loop on both backends: once, in order, nothing lost.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use domain::dead_letter::LetterId;
use domain::failure::{Failure, Reason};
use domain::settlement::Settlement;
use futures::StreamExt;
use queue::dead_letters::DeadLetters;
use queue::handler::{Announcement, Handler, Job, Observer, Sorted, Unobserved, Verdict};
use queue::journal::entry::ACCEPTED;
use queue::journal::fold::Ending;
use queue::lanes::{BatchSettings, InFlight};
use queue::message::{Message, REFUSAL, RELEASE, SEQUENCE_KEY};
use queue::session::{Broker, Session};
use queue::topology::{Queue, Target};
use queue::work::{Letters, Stop, WorkSettings};
use testkit::eventually::eventually;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::conformance::on_both_backends;
use crate::stage::{PARTITION, Stage, TO_PARTITION, ack, next, subscribe, within};

on_both_backends!(
    every_order_is_handled_once_and_acknowledged,
    a_head_that_is_tried_again_holds_back_its_own_customer_and_no_other,
    a_dead_letter_holds_its_successors_until_a_release_lets_them_go_in_order,
    a_released_letter_that_fails_again_keeps_its_customer_blocked_and_the_order,
    a_message_of_nobody_becomes_a_letter_and_blocks_nobody,
    a_letter_of_nobody_that_is_published_again_counts_on_until_it_is_accepted,
    a_lost_session_loses_nothing_and_reverses_nothing,
    draining_finishes_what_is_in_flight_and_hands_the_rest_back,
    an_outage_tries_one_probe_at_a_time_and_uses_up_no_order,
    a_refused_order_of_a_known_customer_goes_on_in_its_lane,
    lost_ownership_is_proven_and_taken_again_before_the_order_goes_again,
    what_is_announced_is_published_before_the_order_is_acknowledged,
    an_order_that_has_to_go_alone_goes_again_in_a_batch_of_its_own,
);

/// Does what a message's `script` header says, and writes down what it did.
pub(crate) struct Script {
    /// Message ids by customer, in the order in which they succeeded.
    done: Mutex<HashMap<String, Vec<String>>>,
    /// How often each message was tried.
    tries: Mutex<HashMap<String, usize>>,
    /// Scripts that say `dead` succeed once this is set; `dead_gate` takes a permit then.
    healed: AtomicBool,
    takeovers: AtomicUsize,
    /// Messages scripted `gate` take a permit each.
    pub(crate) gate: Semaphore,
    /// The message ids of every batch.
    batches: Mutex<Vec<Vec<String>>>,
}

impl Script {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            done: Mutex::default(),
            tries: Mutex::default(),
            healed: AtomicBool::new(false),
            takeovers: AtomicUsize::new(0),
            gate: Semaphore::new(0),
            batches: Mutex::default(),
        })
    }

    pub(crate) fn done(&self, key: &str) -> Vec<String> {
        self.done.lock().expect("no panic").get(key).cloned().unwrap_or_default()
    }

    pub(crate) fn tries(&self, id: &str) -> usize {
        self.tries.lock().expect("no panic").get(id).copied().unwrap_or_default()
    }

    /// From now on nothing dies.
    pub(crate) fn heal(&self) {
        self.healed.store(true, Ordering::SeqCst);
    }

    async fn one(&self, job: &Job<String>) -> Verdict {
        let id = job.message.id.clone();
        let tries = {
            let mut tries = self.tries.lock().expect("no panic");
            *tries.entry(id.clone()).and_modify(|tries| *tries += 1).or_insert(1)
        };
        let script = job.item.as_ref().expect("readable").clone();
        let failure = Failure::permanent(Reason::SalesforceRefused, "scripted");
        let (word, number) = script.split_once(':').unwrap_or((&script, "0"));
        let number: usize = number.parse().expect("a number");
        let verdict = match word {
            "dead" | "dead_gate" if !self.healed.load(Ordering::SeqCst) => Verdict::of(Settlement::DeadLetter(failure)),
            "gate" | "dead_gate" => {
                self.gate.acquire().await.expect("open").forget();
                Verdict::of(Settlement::Ack)
            }
            "retry" if tries <= number => Verdict::of(Settlement::Retry { after: Duration::from_millis(40), failure }),
            "wait" if tries <= number => Verdict::of(Settlement::Retry { after: Duration::from_secs(2), failure }),
            "pause" if tries <= number => Verdict::of(Settlement::Pause { after: Duration::from_millis(40), failure }),
            "disown" if tries <= number => {
                Verdict { lost_ownership: true, ..Verdict::of(Settlement::Again { after: Duration::ZERO }) }
            }
            "alone" if tries <= number => {
                self.gate.acquire().await.expect("open").forget();
                Verdict { alone: true, ..Verdict::of(Settlement::Again { after: Duration::ZERO }) }
            }
            "announce" => Verdict { announcements: vec![announcement(&id)], ..Verdict::of(Settlement::Ack) },
            _ => Verdict::of(Settlement::Ack),
        };
        if verdict.settlement == Settlement::Ack {
            let key = job.key.clone().unwrap_or_default();
            self.done.lock().expect("no panic").entry(key).or_default().push(id);
        }
        verdict
    }
}

fn announcement(id: &str) -> Announcement {
    Announcement { routing_key: "order.written", message: Message { id: format!("{id}:told"), ..Message::default() } }
}

#[async_trait]
impl Handler for Script {
    type Item = String;

    fn sort(&self, message: &Message) -> Sorted<String> {
        let script = message.header("script").unwrap_or("ok").to_owned();
        let item = match (message.header(REFUSAL), script.as_str()) {
            (Some(refusal), _) => Err(serde_json::from_str(refusal).expect("a failure")),
            (None, "torn") => Err(Failure::permanent(Reason::UnreadableJson, "scripted")),
            (None, _) => Ok(script),
        };
        Sorted {
            key: message.header(SEQUENCE_KEY).map(str::to_owned),
            order_id: Some(message.id.clone()),
            order_type: None,
            shares: Vec::new(),
            item,
        }
    }

    async fn took_over(&self, _: Queue, _: bool) -> Result<(), Failure> {
        self.takeovers.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    async fn handle(&self, _: &Arc<dyn Session>, batch: &[Arc<Job<String>>]) -> Vec<Verdict> {
        let ids = batch.iter().map(|job| job.message.id.clone()).collect();
        self.batches.lock().expect("no panic").push(ids);
        futures::future::join_all(batch.iter().map(|job| self.one(job))).await
    }

    fn letter_announcement(&self, job: &Job<String>, _: &Failure, _: &LetterId) -> Option<Announcement> {
        Some(announcement(&job.message.id))
    }
}

/// The loop at work on a stage.
pub(crate) struct Worker {
    pub(crate) script: Arc<Script>,
    stop: Stop,
    task: JoinHandle<Result<(), queue::error::Error>>,
}

impl Worker {
    fn start(stage: &Stage, letters: Letters) -> Self {
        Self::with(stage, letters, Script::new())
    }

    fn with(stage: &Stage, letters: Letters, script: Arc<Script>) -> Self {
        let batches = BatchSettings { orders: 8, in_flight: InFlight::Fixed(4), linger: Duration::from_millis(1) };
        Self::observed(stage, letters, script, batches, Arc::new(Unobserved))
    }

    /// With a window of so many unacknowledged orders.
    pub(crate) fn with_window(stage: &Stage, script: Arc<Script>, prefetch: u16) -> Self {
        let batches = BatchSettings { orders: 8, in_flight: InFlight::Fixed(4), linger: Duration::from_millis(1) };
        Self::run(Arc::clone(&stage.broker), Letters::Block, script, batches, Arc::new(Unobserved), prefetch)
    }

    /// On a broker of its own, with a window of so many; told to an observer.
    pub(crate) fn on(broker: Arc<dyn Broker>, script: Arc<Script>, observer: Arc<dyn Observer>, prefetch: u16) -> Self {
        let batches = BatchSettings { orders: 75, in_flight: InFlight::Fixed(2), linger: Duration::from_millis(1) };
        Self::run(broker, Letters::Block, script, batches, observer, prefetch)
    }

    fn observed(
        stage: &Stage,
        letters: Letters,
        script: Arc<Script>,
        batches: BatchSettings,
        observer: Arc<dyn Observer>,
    ) -> Self {
        Self::run(Arc::clone(&stage.broker), letters, script, batches, observer, 64)
    }

    fn run(
        broker: Arc<dyn Broker>,
        letters: Letters,
        script: Arc<Script>,
        batches: BatchSettings,
        observer: Arc<dyn Observer>,
        prefetch: u16,
    ) -> Self {
        let settings = WorkSettings {
            queues: vec![PARTITION],
            prefetch,
            batches,
            letters,
            by: "worker".into(),
            peers: None,
            patience: Duration::from_secs(20),
        };
        let stop = Stop { draining: CancellationToken::new(), aborting: CancellationToken::new() };
        let task = tokio::spawn(queue::work::run(broker, Arc::clone(&script), settings, observer, stop.clone()));
        Self { script, stop, task }
    }

    /// Ends without a word, as a process does that is killed.
    pub(crate) fn vanish(self) {
        self.task.abort();
    }

    pub(crate) async fn drain(self) {
        self.stop.draining.cancel();
        within(self.task).await.expect("no panic").expect("drained");
    }

    pub(crate) async fn until_done(&self, key: &str, ids: &[&str]) {
        eventually(&format!("{ids:?} of {key}"), async || self.script.done(key).len() >= ids.len()).await;
        assert_eq!(self.script.done(key), ids);
    }
}

pub(crate) async fn send(stage: &Stage, orders: &[(&str, &str, &str)]) {
    let session = stage.connect().await;
    for (id, key, script) in orders {
        let mut message = Message { id: (*id).into(), body: format!("order {id}").into(), ..Message::default() };
        message.headers.insert("script".into(), (*script).into());
        if !key.is_empty() {
            message.headers.insert(SEQUENCE_KEY.into(), (*key).into());
        }
        within(session.publish(&TO_PARTITION, &message)).await.expect("confirmed");
    }
    session.close().await;
}

/// No order is left in the partition: all were acknowledged. An operator's release that has done its work may be left: a
/// drain does not wait until it is seen to be done.
pub(crate) async fn nothing_is_left(stage: &Stage) {
    let session = stage.connect().await;
    let mut subscription = subscribe(&session, PARTITION, 8).await;
    let rest = Duration::from_millis(150);
    while let Ok(Some(left)) = tokio::time::timeout(rest, subscription.deliveries.next()).await {
        assert_eq!(left.message.kind.as_deref(), Some(RELEASE), "{left:?}");
        ack(left).await;
    }
    session.close().await;
}

async fn every_order_is_handled_once_and_acknowledged(stage: Stage) {
    let worker = Worker::start(&stage, Letters::Block);
    send(&stage, &[("1", "a", "ok"), ("2", "b", "ok"), ("3", "a", "ok"), ("4", "a", "ok")]).await;
    worker.until_done("a", &["1", "3", "4"]).await;
    worker.until_done("b", &["2"]).await;
    assert!(["1", "2", "3", "4"].iter().all(|id| worker.script.tries(id) == 1));
    worker.drain().await;
    nothing_is_left(&stage).await;
}

async fn a_head_that_is_tried_again_holds_back_its_own_customer_and_no_other(stage: Stage) {
    let worker = Worker::start(&stage, Letters::Block);
    send(&stage, &[("1", "slow", "retry:1000"), ("2", "slow", "ok"), ("3", "b", "ok"), ("4", "b", "ok")]).await;
    worker.until_done("b", &["3", "4"]).await;
    eventually("two tries", async || worker.script.tries("1") >= 2).await;
    assert_eq!(worker.script.tries("2"), 0);
    worker.drain().await;
}

async fn a_dead_letter_holds_its_successors_until_a_release_lets_them_go_in_order(stage: Stage) {
    let worker = Worker::start(&stage, Letters::Block);
    send(&stage, &[("1", "a", "dead"), ("2", "a", "ok"), ("3", "a", "ok"), ("4", "b", "ok")]).await;
    worker.until_done("b", &["4"]).await;
    let letters = within(DeadLetters::open(stage.broker.as_ref(), "operator")).await.expect("open");
    eventually("three letters", async || {
        letters.refresh().await.expect("read");
        letters.letters().len() == 3
    })
    .await;
    assert_eq!(worker.script.done("a"), Vec::<String>::new());
    worker.script.healed.store(true, Ordering::SeqCst);
    within(letters.release("a")).await.expect("released");
    send(&stage, &[("5", "a", "ok")]).await;
    worker.until_done("a", &["1", "2", "3", "5"]).await;
    eventually("no letters", async || {
        letters.refresh().await.expect("read");
        letters.letters().is_empty()
    })
    .await;
    letters.close().await;
    worker.drain().await;
    nothing_is_left(&stage).await;
}

async fn a_released_letter_that_fails_again_keeps_its_customer_blocked_and_the_order(stage: Stage) {
    let worker = Worker::start(&stage, Letters::Block);
    send(&stage, &[("1", "a", "dead"), ("2", "a", "ok")]).await;
    let letters = within(DeadLetters::open(stage.broker.as_ref(), "operator")).await.expect("open");
    let count = async |times: u32| {
        letters.refresh().await.expect("read");
        let open = letters.letters();
        open.len() == 2 && open.iter().any(|letter| letter.times_dead == times)
    };
    eventually("two letters", async || count(1).await).await;
    within(letters.release("a")).await.expect("released");
    eventually("the letter dead again", async || count(2).await).await;
    send(&stage, &[("3", "a", "ok")]).await;
    eventually("a third letter", async || {
        letters.refresh().await.expect("read");
        letters.letters().len() == 3
    })
    .await;
    assert_eq!(worker.script.done("a"), Vec::<String>::new());
    worker.script.healed.store(true, Ordering::SeqCst);
    within(letters.release("a")).await.expect("released");
    worker.until_done("a", &["1", "2", "3"]).await;
    letters.close().await;
    worker.drain().await;
    nothing_is_left(&stage).await;
}

async fn a_message_of_nobody_becomes_a_letter_and_blocks_nobody(stage: Stage) {
    let worker = Worker::start(&stage, Letters::Block);
    send(&stage, &[("1", "", "torn"), ("2", "", "ok"), ("3", "a", "ok")]).await;
    worker.until_done("", &["2"]).await;
    worker.until_done("a", &["3"]).await;
    let letters = within(DeadLetters::open(stage.broker.as_ref(), "operator")).await.expect("open");
    eventually("the letter", async || {
        letters.refresh().await.expect("read");
        letters.letters().len() == 1
    })
    .await;
    let open = letters.letters();
    let messages = within(letters.messages(&open)).await.expect("read");
    assert_eq!(messages[0].1.body, "order 1");
    letters.close().await;
    worker.drain().await;
    nothing_is_left(&stage).await;
}

async fn a_lost_session_loses_nothing_and_reverses_nothing(stage: Stage) {
    let worker = Worker::start(&stage, Letters::Block);
    send(&stage, &[("1", "a", "gate"), ("2", "a", "ok"), ("3", "a", "ok"), ("4", "b", "ok")]).await;
    worker.until_done("b", &["4"]).await;
    eventually("the first try", async || worker.script.tries("1") == 1).await;
    let witness = stage.connect().await;
    stage.lose_sessions(&[&witness]).await;
    eventually("a second try, by the next session", async || worker.script.tries("1") == 2).await;
    // The batch that outlived its session waits longest, so the first permit is its own: the order is done twice, and what
    // follows it only after the second time.
    worker.script.gate.add_permits(1);
    worker.until_done("a", &["1"]).await;
    worker.script.gate.add_permits(1);
    worker.until_done("a", &["1", "1", "2", "3"]).await;
    worker.drain().await;
    nothing_is_left(&stage).await;
}

async fn draining_finishes_what_is_in_flight_and_hands_the_rest_back(stage: Stage) {
    let worker = Worker::start(&stage, Letters::Block);
    send(&stage, &[("1", "a", "gate"), ("2", "a", "ok"), ("3", "a", "ok")]).await;
    eventually("the first in flight", async || worker.script.tries("1") == 1).await;
    let script = Arc::clone(&worker.script);
    worker.stop.draining.cancel();
    script.gate.add_permits(1);
    worker.drain().await;
    assert_eq!(script.done("a"), ["1"]);
    let session = stage.connect().await;
    let mut subscription = subscribe(&session, PARTITION, 8).await;
    assert_eq!(next(&mut subscription).await.message.id, "2");
    assert_eq!(next(&mut subscription).await.message.id, "3");
    session.close().await;
}

async fn an_outage_tries_one_probe_at_a_time_and_uses_up_no_order(stage: Stage) {
    let worker = Worker::start(&stage, Letters::Block);
    send(&stage, &[("1", "a", "pause:3"), ("2", "b", "pause:1"), ("3", "c", "ok")]).await;
    for (key, id) in [("a", "1"), ("b", "2"), ("c", "3")] {
        worker.until_done(key, &[id]).await;
    }
    assert_eq!(worker.script.tries("1"), 4);
    worker.drain().await;
    nothing_is_left(&stage).await;
}

async fn a_refused_order_of_a_known_customer_goes_on_in_its_lane(stage: Stage) {
    let key =
        (0..100).map(|n| format!("customer {n}")).find(|key| stage.topology().partition_of(key) == 0).expect("one");
    let worker = Worker::start(&stage, Letters::Forward);
    send(&stage, &[("1", &key, "torn"), ("2", "", "torn")]).await;
    let session = stage.connect().await;
    let mut partition = subscribe(&session, Queue::Partition(0), 8).await;
    let refused = next(&mut partition).await;
    assert_eq!(refused.message.body, "order 1");
    let failure: Failure =
        serde_json::from_str(refused.message.header(REFUSAL).expect("a refusal")).expect("a failure");
    assert_eq!(failure.reason, Reason::UnreadableJson);
    let letters = within(DeadLetters::open(stage.broker.as_ref(), "operator")).await.expect("open");
    eventually("the letter of nobody", async || {
        letters.refresh().await.expect("read");
        letters.letters().len() == 1
    })
    .await;
    letters.close().await;
    session.close().await;
    worker.drain().await;
}

async fn a_letter_of_nobody_that_is_published_again_counts_on_until_it_is_accepted(stage: Stage) {
    let worker = Worker::start(&stage, Letters::Forward);
    send(&stage, &[("1", "", "torn")]).await;
    let session = stage.connect().await;
    let letters = within(DeadLetters::open(stage.broker.as_ref(), "operator")).await.expect("open");
    let one_with = async |times: u32| {
        eventually("the letter", async || {
            letters.refresh().await.expect("read");
            matches!(letters.letters().as_slice(), [letter] if letter.times_dead == times)
        })
        .await;
        letters.letters().remove(0)
    };
    // Into the queue that the worker takes from, as if that were the inbox.
    let again = async |script: &str, times: u32| {
        let letter = one_with(times).await;
        let message = within(letters.messages(std::slice::from_ref(&letter))).await.expect("read").remove(0).1;
        within(letters.publish_again(&letter, &message)).await.expect("published");
        let inboxes = (0..stage.topology().inboxes).map(Queue::Inbox);
        let mut subscriptions = Vec::new();
        for inbox in inboxes {
            subscriptions.push(subscribe(&session, inbox, 8).await);
        }
        let arrivals = subscriptions.iter_mut().map(|subscription| Box::pin(next(subscription)));
        let (delivery, ..) = futures::future::select_all(arrivals).await;
        let mut message = delivery.message.clone();
        within(delivery.ack()).await.expect("acknowledged");
        for subscription in &subscriptions {
            subscription.channel.close().await;
        }
        message.headers.insert("script".into(), script.into());
        within(session.publish(&TO_PARTITION, &message)).await.expect("confirmed");
        letter.id
    };
    let first = again("torn", 1).await;
    assert_eq!(one_with(2).await.after, Some(first));
    let second = again("ok", 2).await;
    eventually("the last word", async || {
        letters.refresh().await.expect("read");
        let closed = letters.closed();
        closed[0].letter.id == second && closed[0].ending == Ending::Resolved(ACCEPTED.into())
    })
    .await;
    assert!(letters.letters().is_empty());
    letters.close().await;
    session.close().await;
    worker.drain().await;
}

async fn lost_ownership_is_proven_and_taken_again_before_the_order_goes_again(stage: Stage) {
    let worker = Worker::start(&stage, Letters::Block);
    send(&stage, &[("1", "a", "disown:2"), ("2", "a", "ok")]).await;
    worker.until_done("a", &["1", "2"]).await;
    assert_eq!(worker.script.takeovers.load(Ordering::SeqCst), 3);
    worker.drain().await;
}

async fn what_is_announced_is_published_before_the_order_is_acknowledged(stage: Stage) {
    // The announcement goes to an exchange that nobody listens to here; that it is confirmed is what lets the order go.
    let session = stage.connect().await;
    within(session.publish(&Target::Outcomes("order.written"), &announcement("0").message)).await.expect("confirmed");
    let worker = Worker::start(&stage, Letters::Block);
    send(&stage, &[("1", "a", "announce"), ("2", "a", "dead")]).await;
    worker.until_done("a", &["1"]).await;
    eventually("the letter's try", async || worker.script.tries("2") == 1).await;
    worker.drain().await;
    session.close().await;
    nothing_is_left(&stage).await;
}

async fn an_order_that_has_to_go_alone_goes_again_in_a_batch_of_its_own(stage: Stage) {
    let lanes = Arc::new(Lanes::default());
    let batches = BatchSettings { orders: 8, in_flight: InFlight::Fixed(1), linger: Duration::ZERO };
    let worker = Worker::observed(&stage, Letters::Block, Script::new(), batches, Arc::clone(&lanes) as _);
    send(&stage, &[("suspect", "a", "alone:1")]).await;
    eventually("the first try", async || worker.script.tries("suspect") == 1).await;
    send(&stage, &[("1", "b", "ok"), ("2", "c", "ok"), ("3", "d", "ok")]).await;
    eventually("everything to wait", async || lanes.0.load(Ordering::SeqCst) == 4).await;
    worker.script.gate.add_permits(1);
    worker.until_done("a", &["suspect"]).await;
    worker.until_done("d", &["3"]).await;
    let mut batches = worker.script.batches.lock().expect("no panic").clone();
    batches.retain(|batch| batch.contains(&"suspect".to_owned()));
    assert_eq!(batches, [["suspect"], ["suspect"]]);
    worker.drain().await;
    nothing_is_left(&stage).await;
}

/// How many items are in the lanes.
#[derive(Default)]
struct Lanes(AtomicUsize);

impl Observer for Lanes {
    fn lanes(&self, items: usize, _: usize, _: usize) {
        self.0.store(items, Ordering::SeqCst);
    }
}
