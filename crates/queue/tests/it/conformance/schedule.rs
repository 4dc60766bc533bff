//! Generated schedules: whatever is published, consumed, acknowledged, closed and lost, nothing is lost or reordered within a
//! customer.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures::FutureExt;
use futures::StreamExt;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use queue::session::{Delivery, Session, Subscription};
use queue::topology::Topology;

use crate::stage::{PARTITION, Stage, TO_PARTITION, message, subscribe, within};

#[derive(Debug, Clone)]
enum Step {
    /// One more message of this customer.
    Publish(u8),
    /// A further subscriber; it stands by if there is one.
    Subscribe,
    /// The subscriber takes what has arrived.
    Take(usize),
    /// The subscriber acknowledges the oldest delivery of some customer that it holds.
    Ack(usize, usize),
    /// The subscriber closes its channel.
    Close(usize),
    /// The subscriber is dropped without a word.
    Drop(usize),
    /// Every connection is cut.
    Lose,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..4_u8).prop_map(Step::Publish),
        2 => Just(Step::Subscribe),
        8 => (0..4_usize).prop_map(Step::Take),
        8 => (0..4_usize, 0..8_usize).prop_map(|(subscriber, customer)| Step::Ack(subscriber, customer)),
        1 => (0..4_usize).prop_map(Step::Close),
        1 => (0..4_usize).prop_map(Step::Drop),
        1 => Just(Step::Lose),
    ]
}

/// One that consumes, with what it has not settled yet.
struct Subscriber {
    subscription: Subscription,
    held: Vec<Delivery>,
}

struct World {
    stage: Stage,
    session: Arc<dyn Session>,
    /// The same for all. RabbitMQ puts what is returned behind what was returned before and not yet taken; a successor that
    /// takes less than its predecessor held, and returns it, therefore reorders. With equal windows it takes everything.
    prefetch: u16,
    subscribers: Vec<Subscriber>,
    published: BTreeMap<u8, u32>,
    /// Per customer, the numbers whose acknowledgement was accepted, in order.
    settled: HashMap<u8, Vec<u32>>,
}

impl World {
    async fn new(stage: Stage, prefetch: u16) -> Self {
        let session = stage.connect().await;
        Self { stage, session, prefetch, subscribers: Vec::new(), published: BTreeMap::new(), settled: HashMap::new() }
    }

    async fn step(&mut self, step: &Step) {
        let count = self.subscribers.len();
        match *step {
            Step::Publish(customer) => {
                let number = self.published.entry(customer).or_default();
                let message = message(*number, &customer.to_string());
                within(self.session.publish(&TO_PARTITION, &message)).await.expect("confirmed");
                *number += 1;
            }
            Step::Subscribe if count < 4 => {
                let subscription = subscribe(&self.session, PARTITION, self.prefetch).await;
                self.subscribers.push(Subscriber { subscription, held: Vec::new() });
            }
            Step::Take(index) if count > 0 => self.subscribers[index % count].take_what_is_there(),
            Step::Ack(index, choice) if count > 0 => {
                let subscriber = &mut self.subscribers[index % count];
                if let Some(delivery) = subscriber.oldest_of_some_customer(choice) {
                    self.settle(delivery).await;
                }
            }
            Step::Close(index) if count > 0 => {
                let subscriber = self.subscribers.remove(index % count);
                within(subscriber.subscription.channel.close()).await;
            }
            Step::Drop(index) if count > 0 => drop(self.subscribers.remove(index % count)),
            Step::Lose => {
                self.stage.lose_sessions(&[&self.session]).await;
                self.subscribers.clear();
                self.session = self.stage.connect().await;
            }
            Step::Subscribe | Step::Take(_) | Step::Ack(..) | Step::Close(_) | Step::Drop(_) => {}
        }
    }

    async fn settle(&mut self, delivery: Delivery) {
        let customer: u8 = delivery.message.headers["sequencekey"].parse().expect("a customer");
        let number: u32 = delivery.message.id.parse().expect("a number");
        if within(delivery.ack()).await.is_ok() {
            self.settled.entry(customer).or_default().push(number);
        }
    }

    /// Takes and settles all that is left, and looks whether each customer's history is complete and in order. An
    /// acknowledgement that was lost with its connection lets a message come again; it may not bring an older one behind.
    async fn finish(mut self) -> Result<(), TestCaseError> {
        for subscriber in std::mem::take(&mut self.subscribers) {
            within(subscriber.subscription.channel.close()).await;
        }
        let mut last = Subscriber { subscription: subscribe(&self.session, PARTITION, 100).await, held: Vec::new() };
        let mut missing: usize = self.published.iter().map(|(customer, count)| self.missing(*customer, *count)).sum();
        while missing > 0 {
            let delivery = within(last.subscription.deliveries.next()).await;
            let Some(delivery) = delivery else { return Err(TestCaseError::fail("the stream ended")) };
            self.settle(delivery).await;
            missing = self.published.iter().map(|(customer, count)| self.missing(*customer, *count)).sum();
        }
        for (customer, numbers) in &self.settled {
            let mut next = 0;
            for number in numbers {
                // Again is allowed, ahead is not.
                prop_assert!(*number <= next, "customer {customer}: {number} came before {next}, in {numbers:?}");
                next = next.max(number + 1);
            }
        }
        within(self.session.close()).await;
        Ok(())
    }

    fn missing(&self, customer: u8, count: u32) -> usize {
        let settled = self.settled.get(&customer);
        (0..count).filter(|number| !settled.is_some_and(|settled| settled.contains(number))).count()
    }
}

impl Subscriber {
    fn take_what_is_there(&mut self) {
        while let Some(Some(delivery)) = self.subscription.deliveries.next().now_or_never() {
            self.held.push(delivery);
        }
    }

    fn oldest_of_some_customer(&mut self, choice: usize) -> Option<Delivery> {
        let chosen = self.held.get(choice % self.held.len().max(1))?.message.headers["sequencekey"].clone();
        let oldest = self.held.iter().position(|delivery| delivery.message.headers["sequencekey"] == chosen)?;
        Some(self.held.remove(oldest))
    }
}

fn check(cases: u32, stage: impl AsyncFn() -> Stage) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let run = TestRunner::new(config).run(&(1..6_u16, prop::collection::vec(step(), 1..80)), |(prefetch, steps)| {
        runtime.block_on(async {
            let mut world = World::new(stage().await, prefetch).await;
            for step in &steps {
                world.step(step).await;
            }
            world.finish().await
        })
    });
    if let Err(failure) = run {
        panic!("{failure}");
    }
}

fn one_partition(topology: &mut Topology) {
    topology.inboxes = 1;
}

#[test]
fn in_memory_no_schedule_loses_or_reorders_a_customers_messages() {
    check(200, async || Stage::memory(one_partition));
}

#[test]
fn on_rabbitmq_no_schedule_loses_or_reorders_a_customers_messages() {
    check(12, async || Stage::rabbitmq(one_partition).await);
}
