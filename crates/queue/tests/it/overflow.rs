//! Hot and slow customers: what one lane or all waiting lanes take of a partition's window, through every crash.

mod order;
mod struck;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::failure::{Failure, Reason};
use futures::StreamExt;
use queue::dead_letters::DeadLetters;
use queue::handler::{Observer, OpenLetters, Unobserved};
use queue::journal::entry::LANE_OVERFLOW;
use queue::journal::fold::{Letter, LetterState};
use queue::message::{Message, REFUSAL, RELEASE, SEQUENCE_KEY};
use queue::topology::Queue;
use testkit::eventually::eventually;

use self::struck::Struck;
use crate::conformance::on_both_backends;
use crate::stage::{PARTITION, Stage, TO_PARTITION, ack, subscribe, within};
use crate::work::{Script, Worker, nothing_is_left, send};

/// A window of eight: a lane may take four, and lanes that wait six.
const WINDOW: u16 = 8;

on_both_backends!(
    a_hot_customer_takes_half_of_the_window_and_its_orders_stay_in_order,
    a_hot_customer_stays_in_order_through_lost_sessions_at_any_step,
    a_writer_that_dies_between_the_held_entry_and_its_acknowledgement_has_it_acknowledged_by_the_next,
    whatever_publish_a_writer_dies_before_or_after_a_hot_customer_stays_in_order,
    whatever_publish_a_writer_dies_before_or_after_its_standby_goes_on_in_order,
    orders_in_the_journal_are_let_in_although_nothing_is_left_in_their_partition,
    the_death_of_an_order_that_had_waited_for_room_is_told_although_its_writer_died_before_it_told_it,
    a_drain_leaves_the_rest_of_a_hot_customer_to_the_next_in_order,
    an_order_that_fails_in_the_lane_goes_before_those_that_waited_for_room,
    what_waits_for_room_goes_by_itself_once_an_operator_discarded_what_it_waited_for,
    an_operator_who_releases_or_discards_while_orders_wait_for_room_changes_nothing_about_their_order,
    a_refused_order_that_waits_for_room_stays_refused,
    lanes_that_wait_for_their_retry_leave_room_for_others,
);

type Order = (String, String, &'static str);

/// Orders of a customer: the first ones with these scripts, all others well.
fn orders(customer: &str, count: usize, first: &[&'static str]) -> Vec<Order> {
    let script = |n: usize| first.get(n).copied().unwrap_or("ok");
    (0..count).map(|n| (format!("{customer}.{n}"), customer.to_owned(), script(n))).collect()
}

/// Customers whose orders come by the partition of these tests: a control message goes where they are.
fn customers(stage: &Stage, name: &str, count: usize) -> Vec<String> {
    let here = |key: &String| PARTITION == Queue::Partition(stage.topology().partition_of(key));
    (0..).map(|n| format!("{name}{n}")).filter(here).take(count).collect()
}

fn customer(stage: &Stage, name: &str) -> String {
    customers(stage, name, 1).remove(0)
}

async fn publish(stage: &Stage, orders: &[Order]) {
    let orders: Vec<(&str, &str, &str)> =
        orders.iter().map(|(id, key, script)| (id.as_str(), key.as_str(), *script)).collect();
    send(stage, &orders).await;
}

async fn open_letters(stage: &Stage) -> Vec<Letter> {
    let letters = DeadLetters::open(stage.broker.as_ref(), "test").await.expect("read");
    let open = letters.letters();
    letters.close().await;
    open
}

/// The open letters, and how many of them wait for room alone.
async fn letters(stage: &Stage) -> (usize, usize) {
    let open = open_letters(stage).await;
    let blocked = open.iter().any(|letter| matches!(letter.state, LetterState::Dead(_)));
    (open.len(), open.iter().filter(|letter| letter.waits_for_room() && !blocked).count())
}

/// The orders of a customer that succeeded, without those that came twice.
fn once(script: &Script, key: &str) -> Vec<String> {
    let mut seen: Vec<String> = Vec::new();
    for id in script.done(key) {
        if !seen.contains(&id) {
            seen.push(id);
        }
    }
    seen
}

/// Every order succeeded, once and in order.
async fn until_in_order(script: &Script, orders: &[Order]) {
    until_in_order_in_runs(script, orders, 1).await;
    let key = &orders[0].1;
    assert_eq!(script.done(key).len(), orders.len(), "{:?}", script.done(key));
}

/// Every order succeeded, in order. What came twice did so in one of so many runs, each of which goes on where the one before
/// ended, or repeats the last of it.
async fn until_in_order_in_runs(script: &Script, orders: &[Order], runs: usize) {
    let key = &orders[0].1;
    eventually(&format!("all orders of {key}"), async || once(script, key).len() >= orders.len()).await;
    let expected: Vec<String> = orders.iter().map(|(id, _, _)| id.clone()).collect();
    let done = script.done(key);
    assert_eq!(once(script, key), expected, "{done:?}");
    let places: Vec<Option<usize>> = done.iter().map(|id| expected.iter().position(|other| other == id)).collect();
    let begun = 1 + places.windows(2).filter(|pair| pair[1] <= pair[0]).count();
    assert!(begun <= runs, "{begun} runs, not {runs}: {done:?}");
}

/// Control messages that may be left when all is done: one that was on its way, and of each worker that began the one that
/// wakes whoever owns the partition.
const LEFT: usize = 4;

async fn settled(stage: &Stage, worker: Worker) {
    eventually("the journal to hold nothing", async || letters(stage).await.0 == 0).await;
    worker.drain().await;
    // Every order was acknowledged. What lets orders in that are in already may be left to the next.
    let session = stage.connect().await;
    let mut subscription = subscribe(&session, PARTITION, WINDOW).await;
    let rest = Duration::from_millis(100);
    let mut controls = 0;
    while let Ok(Some(left)) = tokio::time::timeout(rest, subscription.deliveries.next()).await {
        assert_eq!(
            (left.message.kind.as_deref(), left.message.id.as_str()),
            (Some(RELEASE), LANE_OVERFLOW),
            "{left:?}"
        );
        ack(left).await;
        controls += 1;
    }
    assert!(controls <= LEFT, "{controls} control messages are left");
    session.close().await;
}

async fn a_hot_customer_takes_half_of_the_window_and_its_orders_stay_in_order(stage: Stage) {
    let worker = Worker::with_window(&stage, Script::new(), WINDOW);
    let hot = orders(&customer(&stage, "hot"), 30, &["gate"]);
    publish(&stage, &hot).await;
    let cool = orders(&customer(&stage, "cool"), 1, &[]);
    publish(&stage, &cool).await;
    // Thirty orders wait behind the first, in a window of eight; the other customer does not.
    until_in_order(&worker.script, &cool).await;
    assert_eq!(worker.script.tries(&hot[1].0), 0);
    eventually("four in the lane, the others in the journal", async || letters(&stage).await == (26, 26)).await;
    worker.script.gate.add_permits(1);
    until_in_order(&worker.script, &hot).await;
    settled(&stage, worker).await;
}

async fn a_hot_customer_stays_in_order_through_lost_sessions_at_any_step(stage: Stage) {
    let script = Script::new();
    let worker = Worker::with_window(&stage, Arc::clone(&script), WINDOW);
    let key = customer(&stage, "hot");
    let hot = orders(&key, 40, &["gate", "retry:1", "ok", "ok", "retry:1"]);
    for (n, order) in hot.iter().enumerate() {
        publish(&stage, std::slice::from_ref(order)).await;
        // Before the first goes, while others are put into the journal, and while they are let in.
        if n % 5 == 3 {
            stage.lose_sessions(&[]).await;
        }
        if n == 20 {
            script.gate.add_permits(100);
        }
    }
    for _ in 0..4 {
        let before = script.done(&key).len();
        stage.lose_sessions(&[]).await;
        eventually("progress", async || script.done(&key).len() > before || letters(&stage).await.0 == 0).await;
    }
    // What a session had begun goes on beside the next one's first.
    until_in_order_in_runs(&script, &hot, usize::MAX).await;
    settled(&stage, worker).await;
}

/// A writer gets twelve orders of a hot customer and dies at a step; the next one takes over, which may have been there all
/// the time. Returns after what it died, or nothing where it was done before.
async fn dies_at(stage: &Stage, step: usize, key: &str, standby: bool) -> Option<&'static str> {
    let (broker, steps) = Struck::at(step, &stage.broker);
    let script = Script::new();
    let first = Worker::on(broker, Arc::clone(&script), Arc::new(Unobserved), WINDOW);
    let hot = orders(key, 12, &["gate"]);
    publish(stage, &hot).await;
    let dead = || steps.gone.is_cancelled();
    eventually("eight in the journal", async || dead() || steps.published("overflowed") == 8).await;
    let begin = || Worker::on(Arc::clone(&stage.broker), Arc::clone(&script), Arc::new(Unobserved), WINDOW);
    let waits = standby.then(&begin);
    script.gate.add_permits(9);
    eventually("the end", async || dead() || once(&script, key).len() == 12 && letters(stage).await.0 == 0).await;
    if !dead() {
        until_in_order(&script, &hot).await;
        first.drain().await;
        settled(stage, waits.unwrap_or_else(begin)).await;
        return None;
    }
    first.vanish();
    let next = waits.unwrap_or_else(begin);
    until_in_order_in_runs(&script, &hot, 2).await;
    settled(stage, next).await;
    Some(steps.last().unwrap_or("nothing"))
}

async fn whatever_publish_a_writer_dies_before_or_after_a_hot_customer_stays_in_order(stage: Stage) {
    dies_at_every_step(&stage, false).await;
}

async fn whatever_publish_a_writer_dies_before_or_after_its_standby_goes_on_in_order(stage: Stage) {
    dies_at_every_step(&stage, true).await;
}

async fn dies_at_every_step(stage: &Stage, standby: bool) {
    // On RabbitMQ, where each takes long, every fifth: before one publish, after another.
    let stride = if stage.is_memory() { 1 } else { 5 };
    let keys = customers(stage, "hot", 200);
    let mut died_after = Vec::new();
    for (n, key) in keys.iter().enumerate() {
        match dies_at(stage, n * stride, key, standby).await {
            Some(kind) => died_after.push(kind),
            None => break,
        }
    }
    for kind in ["barrier", "overflowed", "control", "resolved"].into_iter().filter(|_| stride == 1) {
        assert!(died_after.contains(&kind), "it never died after a publish of {kind}: {died_after:?}");
    }
    assert!(died_after.len() < keys.len(), "it was never done");
}

async fn a_writer_that_dies_between_the_held_entry_and_its_acknowledgement_has_it_acknowledged_by_the_next(
    stage: Stage,
) {
    let key = customer(&stage, "hot");
    // Two barriers go before: of the start, and of the take-over.
    assert_eq!(dies_at(&stage, 2 * 2 + 1, &key, false).await, Some("overflowed"));
}

async fn orders_in_the_journal_are_let_in_although_nothing_is_left_in_their_partition(stage: Stage) {
    let key = customer(&stage, "hot");
    let (broker, steps) = Struck::before("control", &stage.broker);
    let script = Script::new();
    let first = Worker::on(broker, Arc::clone(&script), Arc::new(Unobserved), WINDOW);
    let hot = orders(&key, 12, &["gate"]);
    publish(&stage, &hot).await;
    eventually("eight in the journal", async || letters(&stage).await == (8, 8)).await;
    script.gate.add_permits(1);
    eventually("it dies", async || steps.gone.is_cancelled()).await;
    first.vanish();
    assert_eq!(once(&script, &key).len(), 4, "what was in the lane is done");
    nothing_is_left(&stage).await;
    let next = Worker::on(Arc::clone(&stage.broker), Arc::clone(&script), Arc::new(Unobserved), WINDOW);
    until_in_order(&script, &hot).await;
    settled(&stage, next).await;
}

async fn the_death_of_an_order_that_had_waited_for_room_is_told_although_its_writer_died_before_it_told_it(
    stage: Stage,
) {
    let (broker, steps) = Struck::before("other", &stage.broker);
    let script = Script::new();
    let first = Worker::on(broker, Arc::clone(&script), Arc::new(Unobserved), WINDOW);
    let hot = orders(&customer(&stage, "hot"), 8, &["gate", "ok", "ok", "ok", "ok", "dead"]);
    publish(&stage, &hot).await;
    eventually("four in the journal", async || letters(&stage).await == (4, 4)).await;
    script.gate.add_permits(1);
    eventually("it dies", async || steps.gone.is_cancelled()).await;
    first.vanish();
    assert_eq!(steps.last(), Some("dead"));
    let (broker, told) = Struck::before("nothing", &stage.broker);
    let next = Worker::on(broker, Arc::clone(&script), Arc::new(Unobserved), WINDOW);
    eventually("it is told", async || told.published("other") == 1).await;
    assert_eq!((letters(&stage).await, script.tries(&hot[5].0)), ((3, 0), 1), "it is dead, and was not tried again");
    next.drain().await;
}

async fn a_drain_leaves_the_rest_of_a_hot_customer_to_the_next_in_order(stage: Stage) {
    let stride = if stage.is_memory() { 2 } else { 8 };
    for (n, key) in customers(&stage, "hot", 14).iter().enumerate() {
        let script = Script::new();
        let first = Worker::with_window(&stage, Arc::clone(&script), WINDOW);
        let hot = orders(key, 12, &["gate", "retry:1"]);
        publish(&stage, &hot).await;
        let begun = n * stride;
        if begun < 12 {
            eventually("some in the journal", async || letters(&stage).await.1 >= begun.min(8)).await;
        }
        script.gate.add_permits(9);
        eventually("some done", async || begun < 12 || once(&script, key).len() >= (begun - 12).min(12)).await;
        first.drain().await;
        let next = Worker::with_window(&stage, Arc::clone(&script), WINDOW);
        until_in_order(&script, &hot).await;
        settled(&stage, next).await;
        if begun >= 24 {
            break;
        }
    }
}

/// Four orders are in the lane of a hot customer and eight in the journal; then the second one fails.
async fn fails_before_eight_that_wait(stage: &Stage, script: &Arc<Script>) -> (Worker, Vec<Order>) {
    let worker = Worker::with_window(stage, Arc::clone(script), WINDOW);
    let hot = orders(&customer(stage, "hot"), 12, &["gate", "dead"]);
    publish(stage, &hot).await;
    eventually("the others in the journal", async || letters(stage).await.1 == 8).await;
    script.gate.add_permits(1);
    eventually("a dead letter and all behind it", async || letters(stage).await == (11, 0)).await;
    assert_eq!(script.done(&hot[0].1), [hot[0].0.as_str()], "nothing overtakes what failed");
    (worker, hot)
}

async fn an_order_that_fails_in_the_lane_goes_before_those_that_waited_for_room(stage: Stage) {
    let script = Script::new();
    let (worker, hot) = fails_before_eight_that_wait(&stage, &script).await;
    script.heal();
    let dead = DeadLetters::open(stage.broker.as_ref(), "test").await.expect("read");
    dead.release(&hot[0].1).await.expect("released");
    dead.close().await;
    until_in_order(&script, &hot).await;
    settled(&stage, worker).await;
}

async fn what_waits_for_room_goes_by_itself_once_an_operator_discarded_what_it_waited_for(stage: Stage) {
    let script = Script::new();
    let (worker, hot) = fails_before_eight_that_wait(&stage, &script).await;
    let dead = DeadLetters::open(stage.broker.as_ref(), "test").await.expect("read");
    // What was parked behind it, too; and the first of those that wait for room.
    let thrown: Vec<Letter> = dead
        .letters()
        .into_iter()
        .filter(|letter| !letter.waits_for_room() || letter.order_id.as_ref() == Some(&hot[4].0))
        .collect();
    assert_eq!(thrown.len(), 4);
    for letter in &thrown {
        dead.discard(letter, "test").await.expect("discarded");
    }
    dead.close().await;
    let left: Vec<Order> = hot[..1].iter().chain(&hot[5..]).cloned().collect();
    until_in_order(&script, &left).await;
    settled(&stage, worker).await;
}

async fn an_operator_who_releases_or_discards_while_orders_wait_for_room_changes_nothing_about_their_order(
    stage: Stage,
) {
    let script = Script::new();
    let worker = Worker::with_window(&stage, Arc::clone(&script), WINDOW);
    let hot = orders(&customer(&stage, "hot"), 14, &["gate"]);
    publish(&stage, &hot[..12]).await;
    eventually("the others in the journal", async || letters(&stage).await.1 == 8).await;
    let dead = DeadLetters::open(stage.broker.as_ref(), "test").await.expect("read");
    dead.release(&hot[0].1).await.expect("released");
    // The first of those in the journal, which says who goes before them all.
    let first =
        dead.letters().into_iter().find(|letter| letter.order_id.as_ref() == Some(&hot[4].0)).expect("it is open");
    dead.discard(&first, "test").await.expect("discarded");
    dead.close().await;
    publish(&stage, &hot[12..]).await;
    // A take-over meets all of it.
    stage.lose_sessions(&[]).await;
    script.gate.add_permits(9);
    let left: Vec<Order> = hot[..4].iter().chain(&hot[5..]).cloned().collect();
    until_in_order_in_runs(&script, &left, 2).await;
    settled(&stage, worker).await;
}

async fn a_refused_order_that_waits_for_room_stays_refused(stage: Stage) {
    let script = Script::new();
    let worker = Worker::with_window(&stage, Arc::clone(&script), WINDOW);
    let key = customer(&stage, "hot");
    publish(&stage, &orders(&key, 6, &["gate"])).await;
    let failure = Failure::permanent(Reason::IdentityConflict, "refused by ingest");
    let headers = [(SEQUENCE_KEY, key.clone()), (REFUSAL, serde_json::to_string(&failure).expect("text"))];
    let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let refused = Message { id: "refused".into(), body: "order".into(), headers, ..Message::default() };
    let session = stage.connect().await;
    within(session.publish(&TO_PARTITION, &refused)).await.expect("confirmed");
    session.close().await;
    eventually("it is in the journal", async || letters(&stage).await == (3, 3)).await;
    script.gate.add_permits(1);
    eventually("it is dead", async || letters(&stage).await == (1, 0)).await;
    let letter = open_letters(&stage).await.remove(0);
    assert!(matches!(&letter.state, LetterState::Dead(why) if why.reason == Reason::IdentityConflict), "{letter:?}");
    assert_eq!((script.done(&key).len(), script.tries("refused")), (6, 0));
    worker.drain().await;
}

async fn lanes_that_wait_for_their_retry_leave_room_for_others(stage: Stage) {
    let (script, told) = (Script::new(), Arc::new(Told::default()));
    let worker = Worker::on(Arc::clone(&stage.broker), Arc::clone(&script), Arc::clone(&told) as _, WINDOW);
    // Ten customers whose orders wait, more than the window holds; one of them has two. They wait once more when they are
    // let in.
    let names = customers(&stage, "slow", 10);
    let mut slow: Vec<Order> = names[..9].iter().flat_map(|customer| orders(customer, 1, &["wait:2"])).collect();
    slow.splice(0..0, orders(&names[9], 2, &["wait:2"]));
    publish(&stage, &slow).await;
    let quick = orders(&customer(&stage, "quick"), 1, &[]);
    publish(&stage, &quick).await;
    until_in_order(&script, &quick).await;
    assert!(told.overflowed.load(Ordering::SeqCst) > 0, "the longest went into the journal");
    until_in_order(&script, &slow[..2]).await;
    for order in &slow[2..] {
        until_in_order(&script, std::slice::from_ref(order)).await;
    }
    settled(&stage, worker).await;
}

/// How many orders wait for room, as a writer tells it, and how often it told that one found none.
#[derive(Default)]
struct Told {
    waiting: AtomicUsize,
    overflowed: AtomicUsize,
    letters: Mutex<Vec<usize>>,
}

impl Told {
    /// Open letters and blocked customers together, each time they were told.
    fn letters(&self) -> Vec<usize> {
        self.letters.lock().expect("no panic").clone()
    }
}

impl Observer for Told {
    fn settled(&self, settlement: &'static str, _: Option<Duration>) {
        if settlement == "overflowed" {
            self.overflowed.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn letters(&self, open: OpenLetters) {
        self.waiting.store(open.overflowed, Ordering::SeqCst);
        self.letters.lock().expect("no panic").push(open.letters + open.blocked_customers);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_orders_of_a_customer_of_whom_no_call_returns_stop_none_of_the_partitions_other_customers() {
    const HOT: usize = 2_000;
    let stage = Stage::memory(|_| {});
    let (script, told) = (Script::new(), Arc::new(Told::default()));
    let worker = Worker::on(Arc::clone(&stage.broker), Arc::clone(&script), Arc::clone(&told) as _, 256);
    let hot = orders(&customer(&stage, "hot"), HOT, &["gate"].repeat(HOT));
    publish(&stage, &hot).await;
    let others: Vec<Order> =
        customers(&stage, "cool", 40).iter().flat_map(|customer| orders(customer, 1, &[])).collect();
    publish(&stage, &others).await;
    // The org has not answered about a single order of the hot customer.
    for order in &others {
        until_in_order(&script, std::slice::from_ref(order)).await;
    }
    assert_eq!((script.done(&hot[0].1).len(), script.tries(&hot[1].0)), (0, 0));
    eventually("the gauge", async || told.waiting.load(Ordering::SeqCst) == HOT - 128).await;
    assert_eq!(told.overflowed.load(Ordering::SeqCst), HOT - 128);
    script.gate.add_permits(HOT * 2);
    until_in_order(&script, &hot).await;
    eventually("the gauge", async || told.waiting.load(Ordering::SeqCst) == 0).await;
    assert!(told.letters().iter().all(|letters| *letters == 0), "none of it is a failure");
    settled(&stage, worker).await;
}
