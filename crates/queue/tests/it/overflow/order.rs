//! What might let orders that wait in the journal overtake others of their customer, and what fills it.

use std::sync::Arc;

use queue::dead_letters::DeadLetters;
use queue::handler::Unobserved;
use queue::journal::entry::LANE_OVERFLOW;
use queue::message::{Message, RELEASE, SEQUENCE_KEY};
use testkit::eventually::eventually;

use super::struck::Struck;
use super::{
    Order, Told, WINDOW, customer, customers, letters, once, orders, publish, settled, until_in_order,
    until_in_order_in_runs,
};
use crate::company::keeping::fill;
use crate::conformance::on_both_backends;
use crate::stage::{Stage, TO_PARTITION, within};
use crate::work::{Script, Worker};

on_both_backends!(
    a_released_letter_and_the_orders_behind_its_release_go_before_those_that_found_no_room,
    control_messages_that_nobody_needed_let_nothing_overtake_the_orders_in_the_lane,
    a_control_message_that_comes_again_lets_nothing_overtake_what_comes_again_behind_it,
    whenever_a_writer_dies_while_it_moves_a_lane_its_orders_stay_in_order,
    a_standby_that_comes_and_one_that_takes_over_repeat_nothing,
    what_finds_no_room_in_the_journal_either_waits_in_its_queue_and_goes_in_order,
    a_customer_that_filled_the_journal_gives_the_window_back_once_there_is_room_in_it_again,
    a_customer_that_filled_the_journal_while_its_orders_are_let_in_gives_the_window_back_too,
    a_copy_that_waits_for_room_hides_no_death_of_its_order_in_the_lane,
    orders_that_all_come_twice_keep_their_order,
);

/// As a worker sends it that lets a customer's orders in, whether or not there is reason to.
async fn control(stage: &Stage, key: &str) {
    let headers = [(SEQUENCE_KEY.to_owned(), key.to_owned())].into();
    let control = Message { id: LANE_OVERFLOW.into(), kind: Some(RELEASE.into()), headers, ..Message::default() };
    let session = stage.connect().await;
    within(session.publish(&TO_PARTITION, &control)).await.expect("confirmed");
    session.close().await;
}

/// A worker dies, with its connection.
async fn dies(stage: &Stage, worker: Worker) {
    worker.vanish();
    let witness = stage.connect().await;
    stage.lose_sessions(&[&witness]).await;
}

async fn a_released_letter_and_the_orders_behind_its_release_go_before_those_that_found_no_room(stage: Stage) {
    let worker = Worker::with_window(&stage, Script::new(), WINDOW);
    let hot = orders(&customer(&stage, "hot"), 20, &["dead_gate"]);
    publish(&stage, &hot[..1]).await;
    eventually("the letter", async || letters(&stage).await.0 == 1).await;
    worker.script.heal();
    let dead = DeadLetters::open(stage.broker.as_ref(), "test").await.expect("read");
    dead.release(&hot[0].1).await.expect("released");
    dead.close().await;
    eventually("it goes again", async || worker.script.tries(&hot[0].0) == 2).await;
    publish(&stage, &hot[1..]).await;
    // It is slow. Behind it and its release some are in the lane, the others find no room.
    eventually("the journal", async || letters(&stage).await.0 > 14).await;
    let cool = orders(&customer(&stage, "cool"), 1, &[]);
    publish(&stage, &cool).await;
    until_in_order(&worker.script, &cool).await;
    worker.script.gate.add_permits(1);
    until_in_order(&worker.script, &hot).await;
    settled(&stage, worker).await;
}

async fn control_messages_that_nobody_needed_let_nothing_overtake_the_orders_in_the_lane(stage: Stage) {
    let worker = Worker::with_window(&stage, Script::new(), WINDOW);
    let key = customer(&stage, "hot");
    let hot = orders(&key, 20, &["gate", "gate", "ok", "gate"]);
    publish(&stage, &hot[..1]).await;
    control(&stage, &key).await;
    publish(&stage, &hot[1..2]).await;
    control(&stage, &key).await;
    publish(&stage, &hot[2..]).await;
    eventually("the journal", async || letters(&stage).await.1 >= 15).await;
    for done in [1, 3] {
        worker.script.gate.add_permits(1);
        eventually("as many", async || worker.script.done(&key).len() >= done).await;
        control(&stage, &key).await;
    }
    worker.script.gate.add_permits(1);
    until_in_order(&worker.script, &hot).await;
    settled(&stage, worker).await;
}

async fn a_control_message_that_comes_again_lets_nothing_overtake_what_comes_again_behind_it(stage: Stage) {
    let script = Script::new();
    let key = customer(&stage, "hot");
    let first = Worker::with_window(&stage, Arc::clone(&script), WINDOW);
    let hot = orders(&key, 20, &["gate"]);
    publish(&stage, &hot[..1]).await;
    control(&stage, &key).await;
    publish(&stage, &hot[1..]).await;
    eventually("the journal", async || letters(&stage).await.1 >= 16).await;
    dies(&stage, first).await;
    let next = Worker::with_window(&stage, Arc::clone(&script), WINDOW);
    script.gate.add_permits(2);
    until_in_order_in_runs(&script, &hot, 2).await;
    settled(&stage, next).await;
}

/// A lane of four waits for its retry, others behind it found no room, and then so many others wait that it is moved. Its
/// writer dies at a step. Returns how many orders it had put into the journal when it did.
async fn dies_while_it_moves(stage: &Stage, step: usize, key: &str, others: &[String]) -> Option<usize> {
    let (broker, steps) = Struck::at(step, &stage.broker);
    let script = Script::new();
    let first = Worker::on(broker, Arc::clone(&script), Arc::new(Unobserved), WINDOW);
    let hot = orders(key, 8, &["wait:1"]);
    let others: Vec<Order> = others.iter().flat_map(|other| orders(other, 1, &["wait:1"])).collect();
    publish(stage, &hot).await;
    publish(stage, &others).await;
    let dead = || steps.gone.is_cancelled();
    let done = || once(&script, key).len() == hot.len();
    eventually("the end", async || dead() || done() && letters(stage).await.0 == 0).await;
    let died = dead();
    first.vanish();
    let next = Worker::on(Arc::clone(&stage.broker), Arc::clone(&script), Arc::new(Unobserved), WINDOW);
    until_in_order_in_runs(&script, &hot, if died { 2 } else { 1 }).await;
    for other in &others {
        until_in_order_in_runs(&script, std::slice::from_ref(other), 2).await;
    }
    settled(stage, next).await;
    died.then(|| steps.published("overflowed"))
}

async fn whenever_a_writer_dies_while_it_moves_a_lane_its_orders_stay_in_order(stage: Stage) {
    // Two publishes are barriers, four find no room; then a lane of four is moved.
    let steps: Vec<usize> = if stage.is_memory() { (10..24).collect() } else { vec![13, 15, 17] };
    let keys = customers(&stage, "hot", 2 * steps.len());
    let others = customers(&stage, "slow", 4 * steps.len());
    let mut died_at = Vec::new();
    for ((step, key), others) in steps.iter().zip(&keys).zip(others.chunks(4)) {
        died_at.extend(dies_while_it_moves(&stage, *step, key, others).await);
    }
    assert!(died_at.iter().any(|appended| (5..8).contains(appended)), "none died while it moved a lane: {died_at:?}");
}

async fn a_standby_that_comes_and_one_that_takes_over_repeat_nothing(stage: Stage) {
    let script = Script::new();
    let first = Worker::with_window(&stage, Arc::clone(&script), WINDOW);
    let key = customer(&stage, "hot");
    let hot = orders(&key, 60, &["gate", "ok", "ok", "retry:1", "ok", "ok", "retry:2"]);
    publish(&stage, &hot[..30]).await;
    eventually("the journal", async || letters(&stage).await.1 == 26).await;
    let second = Worker::with_window(&stage, Arc::clone(&script), WINDOW);
    let third = Worker::with_window(&stage, Arc::clone(&script), WINDOW);
    publish(&stage, &hot[30..45]).await;
    script.gate.add_permits(1);
    eventually("some are done", async || script.done(&key).len() > 8).await;
    // Nobody dies: what is in flight is finished and acknowledged first.
    first.drain().await;
    publish(&stage, &hot[45..]).await;
    eventually("more are done", async || script.done(&key).len() > 20).await;
    second.drain().await;
    until_in_order(&script, &hot).await;
    settled(&stage, third).await;
}

async fn what_finds_no_room_in_the_journal_either_waits_in_its_queue_and_goes_in_order(stage: Stage) {
    const MOST: usize = WINDOW as usize * 20;
    let script = Script::new();
    let worker = Worker::with_window(&stage, Arc::clone(&script), WINDOW);
    let key = customer(&stage, "hot");
    let hot = orders(&key, MOST + 60, &["gate"]);
    publish(&stage, &hot).await;
    eventually("the journal is full", async || letters(&stage).await.1 >= MOST).await;
    // Whoever takes over puts no more there than what comes again.
    dies(&stage, worker).await;
    let next = Worker::with_window(&stage, Arc::clone(&script), WINDOW);
    eventually("it tries", async || script.tries(&hot[0].0) == 2).await;
    let full = MOST..=MOST + 2 * usize::from(WINDOW);
    assert!(full.contains(&letters(&stage).await.1));
    script.gate.add_permits(2);
    eventually("all are done", async || {
        assert!(letters(&stage).await.1 <= *full.end());
        once(&script, &key).len() == hot.len()
    })
    .await;
    until_in_order_in_runs(&script, &hot, 2).await;
    settled(&stage, next).await;
}

async fn a_customer_that_filled_the_journal_gives_the_window_back_once_there_is_room_in_it_again(stage: Stage) {
    const MOST: usize = WINDOW as usize * 20;
    let script = Script::new();
    let worker = Worker::with_window(&stage, Arc::clone(&script), WINDOW);
    let mut stops = ["ok"; 101];
    (stops[0], stops[100]) = ("gate", "gate");
    let hot = orders(&customer(&stage, "hot"), MOST + 60, &stops);
    publish(&stage, &hot).await;
    eventually("the journal is full", async || letters(&stage).await.1 >= MOST).await;
    let cool = orders(&customer(&stage, "cool"), 1, &[]);
    publish(&stage, &cool).await;
    assert_eq!(script.tries(&cool[0].0), 0, "the window is taken");
    script.gate.add_permits(1);
    until_in_order(&script, &cool).await;
    assert!(script.done(&hot[0].1).len() <= 100, "most of the others are not written");
    script.gate.add_permits(1);
    until_in_order(&script, &hot).await;
    settled(&stage, worker).await;
}

async fn a_customer_that_filled_the_journal_while_its_orders_are_let_in_gives_the_window_back_too(stage: Stage) {
    const MOST: usize = WINDOW as usize * 20;
    let script = Script::new();
    let worker = Worker::with_window(&stage, Arc::clone(&script), WINDOW);
    let mut stops = ["ok"; 101];
    (stops[0], stops[4], stops[100]) = ("gate", "gate", "gate");
    let hot = orders(&customer(&stage, "hot"), MOST + 72, &stops);
    publish(&stage, &hot[..12]).await;
    eventually("eight in the journal", async || letters(&stage).await.1 == 8).await;
    script.gate.add_permits(1);
    eventually("they are let in", async || script.tries(&hot[4].0) == 1).await;
    publish(&stage, &hot[12..]).await;
    eventually("the journal is full", async || letters(&stage).await.1 >= MOST).await;
    let cool = orders(&customer(&stage, "cool"), 1, &[]);
    publish(&stage, &cool).await;
    script.gate.add_permits(1);
    until_in_order(&script, &cool).await;
    assert!(script.done(&hot[0].1).len() <= 100, "most of the others are not written");
    script.gate.add_permits(1);
    until_in_order(&script, &hot).await;
    settled(&stage, worker).await;
}

async fn a_copy_that_waits_for_room_hides_no_death_of_its_order_in_the_lane(stage: Stage) {
    let script = Script::new();
    let worker = Worker::with_window(&stage, Arc::clone(&script), WINDOW);
    let hot = orders(&customer(&stage, "hot"), 20, &["gate", "dead"]);
    publish(&stage, &hot).await;
    publish(&stage, &hot[1..2]).await;
    eventually("sixteen and the copy in the journal", async || letters(&stage).await == (17, 17)).await;
    script.gate.add_permits(1);
    eventually("a dead letter and all behind it", async || letters(&stage).await == (19, 0)).await;
    assert_eq!((script.done(&hot[0].1).len(), script.tries(&hot[2].0)), (1, 0), "nothing overtakes what failed");
    script.heal();
    let dead = DeadLetters::open(stage.broker.as_ref(), "test").await.expect("read");
    dead.release(&hot[0].1).await.expect("released");
    dead.close().await;
    until_in_order_in_runs(&script, &hot, 2).await;
    settled(&stage, worker).await;
}

async fn orders_that_all_come_twice_keep_their_order(stage: Stage) {
    let script = Script::new();
    let worker = Worker::with_window(&stage, Arc::clone(&script), WINDOW);
    let hot = orders(&customer(&stage, "hot"), 25, &["gate", "retry:1", "ok", "ok", "ok", "retry:1", "gate"]);
    publish(&stage, &hot[..16]).await;
    eventually("twelve in the journal", async || letters(&stage).await.1 == 12).await;
    // As by whoever published them, had no answer, and goes on.
    publish(&stage, &hot[2..24]).await;
    script.gate.add_permits(1);
    eventually("some are done", async || once(&script, &hot[0].1).len() >= 6).await;
    publish(&stage, &hot[4..20]).await;
    publish(&stage, &hot[24..]).await;
    script.gate.add_permits(10);
    until_in_order_in_runs(&script, &hot, usize::MAX).await;
    settled(&stage, worker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hot_customers_take_a_quarter_of_the_window_each() {
    let stage = Stage::memory(|_| {});
    let script = Script::new();
    let worker = Worker::with_window(&stage, Arc::clone(&script), 64);
    let hot: Vec<Vec<Order>> =
        customers(&stage, "hot", 3).iter().map(|customer| orders(customer, 40, &["gate"])).collect();
    for n in 0..40 {
        for orders in &hot {
            publish(&stage, &orders[n..=n]).await;
        }
    }
    let cool = orders(&customer(&stage, "cool"), 4, &[]);
    publish(&stage, &cool).await;
    until_in_order(&script, &cool).await;
    eventually("the rest in the journal", async || letters(&stage).await == (3 * 24, 3 * 24)).await;
    script.gate.add_permits(3);
    for orders in &hot {
        until_in_order(&script, orders).await;
    }
    settled(&stage, worker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_whose_waiting_orders_retention_dropped_is_blocked_and_told_and_goes_on_when_an_operator_says_so() {
    let stage = Stage::memory(|topology| topology.journal_bytes = 2 << 20);
    let (broker, steps) = Struck::before("nothing", &stage.broker);
    let (script, told) = (Script::new(), Arc::new(Told::default()));
    let worker = Worker::on(broker, Arc::clone(&script), Arc::clone(&told) as _, WINDOW);
    let key = customer(&stage, "hot");
    let hot = orders(&key, 12, &["gate"]);
    publish(&stage, &hot[..8]).await;
    eventually("four in the journal", async || letters(&stage).await == (4, 4)).await;
    fill(&stage.connect().await, 4 << 20).await;
    let barriers = steps.published("barrier");
    script.gate.add_permits(1);
    eventually("the letters are failures", async || told.letters().last() == Some(&(4 + 1))).await;
    assert_eq!(script.done(&key).len(), 4);
    assert!(steps.published("barrier") <= barriers + 2, "{} barriers", steps.published("barrier") - barriers);
    // Later orders are held behind them.
    publish(&stage, &hot[8..]).await;
    eventually("four are held", async || letters(&stage).await.0 == 4).await;
    let dead = DeadLetters::open(stage.broker.as_ref(), "test").await.expect("read");
    dead.release(&key).await.expect("released");
    dead.close().await;
    let left: Vec<Order> = hot[..4].iter().chain(&hot[8..]).cloned().collect();
    until_in_order(&script, &left).await;
    worker.drain().await;
}
