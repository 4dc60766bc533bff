//! A batch of messages: check, strip, fold doubles, hand on, confirmed.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use domain::dead_letter::LetterId;
use domain::envelope::{DecodeSettings, Envelope};
use domain::event::OrderEvent;
use domain::failure::{Failure, Reason};
use domain::secrets;
use domain::settlement::Settlement;
use domain::story::{Recorder, Unrecorded, What, trace_id};
use futures::future::join_all;
use ledger::{Identity, KnownSince, Ledger, Sighting};
use queue::error::PublishError;
use queue::handler::{Announcement, Handler, Job, Outage, Sorted, Verdict};
use queue::message::{KNOWN_SINCE, Message, ORDER_ID, SEQUENCE_KEY, TRACE_PARENT};
use queue::session::Session;
use queue::topology::{Queue, Target, Topology};

use crate::metrics::Metrics;

/// Orders that are checked against the ledger in one round trip and published side by side.
pub(crate) const BATCH: usize = 64;

/// How long intake pauses when the ledger does not answer.
const OUTAGE_WAIT: Duration = Duration::from_secs(1);

/// How long a partition that is full is left alone.
const FULL_WAIT: Duration = Duration::from_secs(1);

/// The header that carries the order's fingerprint.
const FINGERPRINT: &str = "fingerprint";

/// Relays valid orders to their customers' partitions.
pub struct OrderIntake {
    decode: DecodeSettings,
    topology: Topology,
    ledger: Arc<dyn Ledger>,
    metrics: Arc<Metrics>,
    stories: Arc<dyn Recorder>,
    /// Orders whose partition is full: that they wait is told once.
    full: Mutex<HashSet<String>>,
}

/// Orders with a full partition that are remembered at most; more than are ever in flight.
const MOST_FULL: usize = 4_096;

impl OrderIntake {
    /// An intake that works through these.
    pub fn new(decode: DecodeSettings, topology: Topology, ledger: Arc<dyn Ledger>, metrics: Arc<Metrics>) -> Self {
        Self { decode, topology, ledger, metrics, stories: Arc::new(Unrecorded), full: Mutex::default() }
    }

    /// The same intake, which tells what happens to each order.
    #[must_use]
    pub fn recorded_by(self, stories: Arc<dyn Recorder>) -> Self {
        Self { stories, ..self }
    }

    /// Tells what became of an order. Of one whose publish ended unknown nothing is told: its session is over, and whoever it
    /// comes to next tells.
    fn tell(&self, event: &OrderEvent, sighting: &Sighting, settled: &Result<Settlement, PublishError>) {
        if matches!(settled, Err(PublishError::Unknown(_) | PublishError::Unroutable(_))) {
            return;
        }
        let handed_on = settled.is_ok();
        let order = event.order_id().as_str();
        let record = |what| self.stories.record(order, what);
        let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = full.remove(order);
        match sighting {
            Sighting::Again => record(What::Folded),
            Sighting::Conflict => record(What::Conflicted),
            Sighting::First { .. } => {
                if !waited {
                    let trace = event.envelope.trace_parent.as_deref().and_then(trace_id).map(str::to_owned);
                    record(What::Received { trace });
                }
                if handed_on {
                    let partition = self.topology.partition_of(event.sequence_key().as_str());
                    record(What::HandedOn { partition });
                } else {
                    if !waited {
                        record(What::PartitionFull);
                    }
                    if full.len() < MOST_FULL {
                        full.insert(order.to_owned());
                    }
                }
            }
        }
    }

    /// Publishes an order to its customer's partition; returns when the broker has it.
    async fn hand_on(
        &self,
        session: &Arc<dyn Session>,
        event: &OrderEvent,
        known_since: Option<&KnownSince>,
    ) -> Result<(), PublishError> {
        let partition = self.topology.partition_of(event.sequence_key().as_str());
        session.publish(&Target::Partition(partition), &onward(event, known_since)).await
    }
}

/// An order as it travels between our programs: structured mode, without secrets.
fn onward(event: &OrderEvent, known_since: Option<&KnownSince>) -> Message {
    let mut headers = BTreeMap::from([
        (SEQUENCE_KEY.to_owned(), event.sequence_key().as_str().to_owned()),
        (ORDER_ID.to_owned(), event.order_id().as_str().to_owned()),
        (FINGERPRINT.to_owned(), event.fingerprint().to_string()),
    ]);
    if let Some(trace_parent) = &event.envelope.trace_parent {
        headers.insert(TRACE_PARENT.to_owned(), trace_parent.clone());
    }
    if let Some(known_since) = known_since {
        headers.insert(KNOWN_SINCE.to_owned(), known_since.to_string());
    }
    Message {
        body: event.render().into(),
        id: event.message_id().to_owned(),
        kind: Some(event.envelope.kind.as_str().to_owned()),
        content_type: Some("application/cloudevents+json".to_owned()),
        headers,
        ..Message::default()
    }
}

#[async_trait]
impl Handler for OrderIntake {
    type Item = OrderEvent;

    fn sort(&self, message: &Message) -> Sorted<OrderEvent> {
        match Envelope::decode(&message.incoming(), &self.decode).and_then(OrderEvent::parse) {
            Ok(event) => Sorted {
                key: Some(event.sequence_key().as_str().to_owned()),
                order_id: Some(event.order_id().as_str().to_owned()),
                order_type: Some(event.order_type().as_str().to_owned()),
                shares: Vec::new(),
                item: Ok(event),
            },
            Err(refused) => Sorted {
                key: refused.sequence_key.map(|key| key.as_str().to_owned()),
                order_id: refused.order_id.map(|id| id.as_str().to_owned()),
                order_type: refused.order_type,
                shares: Vec::new(),
                item: Err(refused.failure),
            },
        }
    }

    async fn took_over(&self, _: Queue, _: bool) -> Result<(), Failure> {
        // What waited came from the session before, and may come to another process now.
        self.full.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
    }

    async fn probe(&self) -> Result<(), Outage> {
        let away = |error: ledger::Error| Outage {
            failure: Failure::transient(Reason::LedgerUnavailable, error.to_string()),
            after: OUTAGE_WAIT,
        };
        self.ledger.ping().await.map_err(away)
    }

    async fn handle(&self, session: &Arc<dyn Session>, jobs: &[Arc<Job<OrderEvent>>]) -> Vec<Verdict> {
        let orders: Vec<&OrderEvent> = jobs.iter().filter_map(|job| job.item.as_ref().ok()).collect();
        let identities: Vec<Identity> = orders
            .iter()
            .zip(jobs)
            .map(|(event, job)| Identity {
                order: event.order_id().clone(),
                fingerprint: event.fingerprint(),
                redelivered: job.redelivered(),
            })
            .collect();
        let sightings = match self.ledger.sight(&identities).await {
            Ok(sightings) => sightings,
            Err(error) => return jobs.iter().map(|_| outage(&error)).collect(),
        };
        let settled = orders.iter().zip(&sightings).map(|(event, sighting)| async move {
            match sighting {
                Sighting::Again => Ok(Settlement::Ack),
                Sighting::Conflict => Ok(Settlement::DeadLetter(Failure::permanent(
                    Reason::IdentityConflict,
                    format!("another order came before under the identity {}", event.order_id()),
                ))),
                Sighting::First { known_since } => {
                    self.hand_on(session, event, known_since.as_ref()).await.map(|()| Settlement::Ack)
                }
            }
        });
        let settled = join_all(settled).await;
        let handed_on: Vec<Identity> = identities
            .into_iter()
            .zip(&sightings)
            .zip(&settled)
            .filter(|((_, sighting), settled)| matches!(sighting, Sighting::First { .. }) && settled.is_ok())
            .map(|((identity, _), _)| identity)
            .collect();
        // Not noting it would let a double through later; coming again now only publishes once more what folds anyway.
        if let Err(error) = self.ledger.handed_on(&handed_on).await {
            return jobs.iter().map(|_| outage(&error)).collect();
        }
        for ((event, sighting), settled) in orders.iter().zip(&sightings).zip(&settled) {
            self.tell(event, sighting, settled);
        }
        let verdicts = settled.into_iter().zip(sightings).map(|(settled, sighting)| match settled {
            Ok(settlement) => {
                match sighting {
                    Sighting::First { .. } => self.metrics.relayed(),
                    Sighting::Again => self.metrics.again(),
                    Sighting::Conflict => {}
                }
                Verdict::of(settlement)
            }
            // Full, or unknown whether it was stored: the session ends by itself in the second case. A partition that is
            // gone is declared anew by the next session.
            Err(error) => {
                if let PublishError::Unroutable(_) = &error {
                    tracing::error!(%error, "a partition is gone; connecting again to declare it");
                    session.ended().cancel();
                } else {
                    tracing::debug!(%error, "an order was not handed on yet");
                }
                Verdict::of(Settlement::Again { after: FULL_WAIT })
            }
        });
        verdicts.collect()
    }

    /// Payment secrets stay behind here, also those of an order that is refused.
    fn kept(&self, message: &Message) -> Message {
        Message { body: secrets::strip_body(&message.body).into_owned().into(), ..message.clone() }
    }

    fn note(&self, order: &str, what: What) {
        self.stories.record(order, what);
    }

    /// Nothing: the letters that are written here belong to nobody, and an announcement is of a customer's order.
    fn letter_announcement(&self, _: &Job<OrderEvent>, _: &Failure, _: &LetterId) -> Option<Announcement> {
        None
    }
}

fn outage(error: &ledger::Error) -> Verdict {
    let failure = Failure::transient(Reason::LedgerUnavailable, error.to_string());
    Verdict::of(Settlement::Pause { after: OUTAGE_WAIT, failure })
}

#[cfg(test)]
mod tests {
    use ledger::MemoryLedger;
    use prometheus::Registry;
    use queue::topology::Namespace;
    use service::Health;

    use super::*;

    #[derive(Default)]
    struct Told(Mutex<Vec<What>>);

    impl Recorder for Told {
        fn record(&self, _: &str, what: What) {
            self.0.lock().expect("no panic").push(what);
        }
    }

    impl Told {
        fn take(&self) -> Vec<&'static str> {
            std::mem::take(&mut *self.0.lock().expect("no panic")).iter().map(What::title).collect()
        }
    }

    #[tokio::test]
    async fn only_a_full_partition_is_told_as_one_and_once_until_the_session_ends() {
        let tenant = domain::order::id::TenantId::parse(testkit::orders::TENANT).expect("a tenant");
        let decode = DecodeSettings { tenant, max_body_bytes: 1 << 20 };
        let message = testkit::orders::handed_on(&testkit::orders::new_order("ann", 1), "m");
        let event = Envelope::decode(&message.incoming(), &decode).and_then(OrderEvent::parse).expect("an order");
        let topology = Topology::new(Namespace::parse("acme").expect("a name"));
        let metrics = Arc::new(Metrics::register(&Registry::new(), Health::default()).expect("registered once"));
        let told = Arc::new(Told::default());
        let intake = OrderIntake::new(decode, topology, Arc::new(MemoryLedger::default()), metrics)
            .recorded_by(Arc::clone(&told) as Arc<dyn Recorder>);
        let first = Sighting::First { known_since: None };
        let full = || Err(PublishError::Refused);

        intake.tell(&event, &first, &Err(PublishError::Unknown("the broker died".to_owned())));
        intake.tell(&event, &first, &Err(PublishError::Unroutable("a partition".to_owned())));
        assert_eq!(told.take(), [""; 0], "nobody knows that it waits for room");
        intake.tell(&event, &first, &full());
        intake.tell(&event, &first, &full());
        assert_eq!(told.take(), ["received", "waits"]);
        intake.tell(&event, &first, &Ok(Settlement::Ack));
        assert_eq!(told.take(), ["handed on"]);

        intake.tell(&event, &first, &full());
        intake.took_over(Queue::Inbox(0), false).await.expect("taken over");
        told.take();
        intake.tell(&event, &first, &Ok(Settlement::Ack));
        assert_eq!(told.take(), ["received", "handed on"], "another session's order is told whole");
    }
}
