//! The run itself: publishes, kills a writer half-way, waits until every order is accounted for and nothing is left to
//! do, and only then gathers the evidence that counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::HumanCount;
use queue::dead_letters::DeadLetters;
use queue::journal::fold::LetterState;
use queue::rabbitmq::{RabbitMq, RabbitMqSettings};
use queue::session::{Broker, Session};
use queue::topology::{Namespace, Topology};
use tokio::task::JoinHandle;

use super::console::Console;
use super::drain;
use super::expectation::expectations;
use super::fleet::{Fleet, NAMESPACE};
use super::generator::{Order, Script};
use super::outcomes::Outcomes;
use super::publish::publish;
use super::reconcile::{Evidence, Fate, Letter, Published, Reconciliation, Whose, reconcile};

/// How often the run is looked at.
const LOOK: Duration = Duration::from_millis(25);
/// How often the journal is read.
const READ_JOURNAL: Duration = Duration::from_millis(500);
/// How often the evidence is gathered once everything seems to have come to rest.
const GATHER: Duration = Duration::from_secs(2);
/// What counts as rest.
const REST: Duration = Duration::from_secs(3);
/// After this long without any progress the run has stalled.
const STALLED: Duration = Duration::from_secs(30);
/// No run takes longer.
const LIMIT: Duration = Duration::from_mins(15);

/// What a run came to.
pub(crate) struct Run {
    /// What became of every order.
    pub(crate) reconciliation: Reconciliation,
    /// From the first publish until the last order was settled.
    pub(crate) took: Duration,
    /// How many orders were settled when the writer was killed; `None` when it came to no kill.
    pub(crate) killed_after: Option<usize>,
    /// API calls that the org counted for this.
    pub(crate) api_calls: u64,
    /// Why the run proves nothing: it was given up, no writer was killed, or work was left. Empty when all went well.
    pub(crate) failures: Vec<String>,
}

/// The demo's own ends of the broker.
pub(crate) struct Desk {
    session: Arc<dyn Session>,
    topology: Topology,
    letters: DeadLetters,
    outcomes: Outcomes,
}

impl Desk {
    /// Connects, declares the topology and listens, before anybody publishes.
    pub(crate) async fn open(amqp_url: &str) -> Result<Self> {
        let namespace = Namespace::parse(NAMESPACE).context("the namespace is a name")?;
        let topology = Topology::new(namespace);
        let settings = RabbitMqSettings::new("demo");
        let broker = RabbitMq::new(amqp_url, topology.clone(), settings)?;
        // An operator's tool declares nothing, so this comes first.
        let session = broker.connect().await?;
        let letters = DeadLetters::open(&broker, "demo").await?;
        let outcomes = Outcomes::listen(amqp_url, &topology).await?;
        Ok(Self { session, topology, letters, outcomes })
    }

    /// Letters that no outcome tells of: those that only wait, and those of nobody.
    async fn quiet_letters(&self) -> Result<usize> {
        self.letters.refresh().await?;
        let (letters, on_its_way) = (self.letters.letters(), self.letters.overflowed());
        let quiet =
            letters.iter().filter(|letter| !on_its_way.contains(&letter.id)).filter(|letter| match letter.state {
                LetterState::Held(_) => true,
                LetterState::Dead(_) => letter.key.is_none() || letter.order_id.is_none(),
            });
        Ok(quiet.count())
    }

    async fn evidence(&self, fleet: &Fleet, script: &Script) -> Result<Evidence> {
        self.letters.refresh().await?;
        let (records, accounts, events) =
            tokio::try_join!(fleet.org.order_records(), fleet.org.accounts(), fleet.org.events())?;
        Ok(Evidence {
            published: published(script),
            records,
            accounts,
            accounts_before: fleet.accounts_before.clone(),
            events,
            letters: open_letters(&self.letters),
            told: self.outcomes.told(),
        })
    }
}

/// The open letters, as a run is judged by them. What waits for room alone is an order on its way, and no letter.
pub(crate) fn open_letters(letters: &DeadLetters) -> Vec<Letter> {
    let of = |letter: queue::journal::fold::Letter| {
        let (held, reason) = match letter.state {
            LetterState::Held(_) => (true, String::new()),
            LetterState::Dead(failure) => (false, failure.reason.as_str().to_owned()),
        };
        let (blocks, at) = (letter.key.is_some(), i64::try_from(letter.at).unwrap_or(i64::MAX));
        Letter { id: letter.id.as_str().to_owned(), order_id: letter.order_id, blocks, held, reason, at }
    };
    let on_its_way = letters.overflowed();
    letters.letters().into_iter().filter(|letter| !on_its_way.contains(&letter.id)).map(of).collect()
}

/// The publisher's own list.
pub(crate) fn published(script: &Script) -> Vec<Published> {
    let of = |(order, (expected, whose)): (&Order, (Fate, Whose))| Published {
        key: order.key.clone(),
        id: order.id.clone(),
        reference: order.reference.clone(),
        subscription: order.subscription.clone(),
        order_type: order.order_type.as_str(),
        event: order.event,
        expected,
        whose,
        letter: domain::dead_letter::LetterId::of(&order.message.id, &domain::secrets::strip_body(&order.message.body))
            .as_str()
            .to_owned(),
    };
    script.orders.iter().zip(expectations(script)).map(of).collect()
}

/// A task that ends with whoever waits for it.
struct Publisher(JoinHandle<Result<()>>);

impl Drop for Publisher {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs the script against the fleet. `kill` says whether a writer dies half-way; `keep`, whether the workers go on
/// running afterwards.
pub(crate) async fn run(
    console: &Console,
    desk: &Desk,
    fleet: &mut Fleet,
    script: &Arc<Script>,
    kill: bool,
    keep: bool,
) -> Result<Run> {
    let session = &desk.session;
    let calls_before = fleet.org.usage().await?.api_calls_total;
    let (orders, deliveries) = (script.orders.len(), script.deliveries.len());
    let confirmed = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let mut publisher =
        Publisher(tokio::spawn(publish(Arc::clone(session), Arc::clone(script), Arc::clone(&confirmed))));
    let mut bars = console.bars(deliveries, orders);
    let mut watch = Watch { began, settled: 0, quiet: 0, progress: began, journal: began, gathered: None };
    let mut killed_after = None;
    let mut publishing = true;
    let mut failures = Vec::new();
    loop {
        tokio::select! {
            ended = &mut publisher.0, if publishing => {
                publishing = false;
                ended.context("the publisher panicked")??;
            }
            () = tokio::time::sleep(LOOK) => {}
        }
        fleet.check()?;
        watch.look(desk).await?;
        if kill && killed_after.is_none() && time_to_kill(watch.settled, orders) == Kill::Now {
            killed_after = Some(watch.settled);
            kill_busiest(console, fleet, watch.settled).await?;
        }
        console.show(&mut bars, confirmed.load(Ordering::Relaxed), watch.settled, &line_of(fleet));
        let stalled = watch.stalled();
        if (!publishing && watch.is_time_to_gather(orders)) || stalled.is_some() {
            console.show(
                &mut bars,
                deliveries,
                watch.settled,
                "counting what the org, the journal and the outcomes hold …",
            );
            failures.extend(stalled);
            let found = reconcile(&desk.evidence(fleet, script).await?);
            if found.total.of(Fate::Lost) == 0 || !failures.is_empty() {
                break;
            }
        }
    }
    // A second delivery may still be on its way when every order is settled.
    console.show(&mut bars, deliveries, watch.settled, "waiting until every queue is empty and every worker idle …");
    if failures.is_empty() {
        failures.extend(drain::until_calm(session.as_ref(), &desk.topology, fleet).await?);
    }
    if !keep {
        failures.extend(drain::drained(session.as_ref(), &desk.topology, fleet).await?);
    }
    if kill && killed_after.is_none() {
        failures.push(format!("no writer was killed, which was asked for: nine in ten of {orders} orders were settled before it came to that"));
    }
    let reconciliation = reconcile(&desk.evidence(fleet, script).await?);
    console.end(&bars);
    session.close().await;
    let api_calls = fleet.org.usage().await?.api_calls_total.saturating_sub(calls_before);
    Ok(Run { reconciliation, took: watch.progress - began, killed_after, api_calls, failures })
}

/// Whether the writer dies now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kill {
    /// Not half of the orders are settled.
    NotYet,
    /// Half-way.
    Now,
    /// Nine in ten orders are settled: a kill would prove little.
    TooLate,
}

fn time_to_kill(settled: usize, orders: usize) -> Kill {
    if settled * 10 >= orders * 9 {
        Kill::TooLate
    } else if settled * 2 >= orders {
        Kill::Now
    } else {
        Kill::NotYet
    }
}

async fn kill_busiest(console: &Console, fleet: &mut Fleet, settled: usize) -> Result<()> {
    let place = fleet.busiest_writer().await;
    let mut victim = fleet.writers.remove(place);
    victim.kill();
    let (name, pid) = (&victim.name, victim.pid());
    let next = fleet.start_writer()?;
    console.say(&format!(
        "  ⚡ {name} (pid {pid}) was killed with SIGKILL, {} orders being settled; {} takes its place",
        HumanCount(settled as u64),
        next.name,
    ));
    Ok(())
}

fn line_of(fleet: &Fleet) -> String {
    let alive = fleet.ingests.iter().chain(&fleet.writers).filter(|member| member.is_alive());
    let names: Vec<String> = alive.map(|member| format!("● {}", member.name)).collect();
    names.join("  ")
}

/// How far the run is, as far as it can be told without asking for everything.
struct Watch {
    began: Instant,
    settled: usize,
    quiet: usize,
    progress: Instant,
    journal: Instant,
    gathered: Option<Instant>,
}

impl Watch {
    async fn look(&mut self, desk: &Desk) -> Result<()> {
        if self.journal.elapsed() >= READ_JOURNAL {
            self.quiet = desk.quiet_letters().await?;
            self.journal = Instant::now();
        }
        let settled = desk.outcomes.count() + self.quiet;
        if settled != self.settled {
            self.settled = settled;
            self.progress = Instant::now();
        }
        Ok(())
    }

    /// Whether gathering the evidence, which is large, may find everything.
    fn is_time_to_gather(&mut self, orders: usize) -> bool {
        let rests = self.settled >= orders || self.progress.elapsed() >= REST;
        let due = rests && self.gathered.is_none_or(|at| at.elapsed() >= GATHER);
        if due {
            self.gathered = Some(Instant::now());
        }
        due
    }

    fn stalled(&self) -> Option<String> {
        if self.progress.elapsed() >= STALLED {
            return Some(format!("nothing has been settled for {} s", STALLED.as_secs()));
        }
        (self.began.elapsed() >= LIMIT).then(|| format!("the run took longer than {} s", LIMIT.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_dies_between_half_of_the_orders_and_nine_tenths_of_them_and_never_later() {
        let times = [499, 500, 899, 900, 1_000].map(|settled| time_to_kill(settled, 1_000));
        assert_eq!(times, [Kill::NotYet, Kill::Now, Kill::Now, Kill::TooLate, Kill::TooLate]);
    }
}
