//! Takes Limio's order events, checks and normalises them, and hands them to the writers.
//!
//! # The story
//!
//! A message arrives in an inbox. `domain` decodes it and parses its order, without the payment's secrets. The ledger says
//! whether the same order was handed on before. A new one is published to its customer's partition, confirmed, noted as
//! handed on, and acknowledged, in this order.
//!
//! What is refused but belongs to a known customer goes on in the customer's lane as refused: there it becomes a dead
//! letter at its own place, behind what came before and in front of what comes after. What belongs to nobody becomes a dead
//! letter here.
//!
//! # Invariants
//!
//! * Nothing is acknowledged before it is confirmed elsewhere: in a partition or in the journal.
//! * One order of a customer is published at a time, so a lost confirm cannot reverse two of them.
//! * Payment secrets do not pass.
//! * Without the ledger nothing is taken in; nothing is lost and no attempt is counted.

pub mod config;
pub mod handler;
pub mod metrics;

use std::sync::Arc;
use std::time::Duration;

use domain::story::Recorder;
use ledger::stories::{Stories, StoryRecorder};
use ledger::{Ledger, Presence};
use queue::lanes::{BatchSettings, InFlight};
use queue::work::{Letters, Peers, Stop, WorkSettings};
use service::{Lifecycle, Stopped};

pub use crate::config::{Args, Config};
use crate::handler::{BATCH, OrderIntake};
use crate::metrics::Metrics;

/// Batches in flight at once; each is one round trip to Redis and one round of confirms.
const IN_FLIGHT: usize = 4;

/// How long a message waits for company while other batches are in flight.
const LINGER: Duration = Duration::from_millis(2);

/// Works until the process drains.
///
/// # Errors
/// RabbitMQ or Redis could not be reached within the patience, or the broker's topology differs.
pub async fn run(config: Config, lifecycle: Lifecycle) -> Result<(), Stopped> {
    let metrics = Metrics::register(lifecycle.registry(), lifecycle.health().clone())
        .map_err(|error| Stopped::failed(error.to_string()))?;
    let metrics = Arc::new(metrics);
    queue::readiness::begins(lifecycle.health());
    ledger::readiness::begins(lifecycle.health());
    let namespace = format!("{}:{}", config.fleet.topology.namespace, config.decode.tenant);
    let ledger = ledger::settings::open(&config.redis, &namespace, config.patience, &lifecycle).await?;
    let Some(ledger) = ledger else { return Ok(()) };
    let peers = Peers::new(Arc::new(Presence::new(&ledger, "ingest")));
    let name = format!("ingest/{}", uuid::Uuid::new_v4().simple());
    let stories =
        config.story_kept.map(|kept| StoryRecorder::start(Stories::beside(&ledger, kept), &name, lifecycle.health()));
    let ledger: Arc<dyn Ledger> = Arc::new(ledger);
    ledger::readiness::connected(lifecycle.health());
    let broker = config.fleet.broker(&name).map_err(|error| Stopped::settings(error.to_string()))?;
    let topology = config.fleet.topology;
    let mut handler = OrderIntake::new(config.decode, topology.clone(), ledger, Arc::clone(&metrics));
    if let Some(stories) = &stories {
        handler = handler.recorded_by(Arc::clone(stories) as Arc<dyn Recorder>);
    }
    let work = WorkSettings {
        queues: topology.inbox_queues(),
        prefetch: config.prefetch,
        batches: BatchSettings { orders: BATCH, in_flight: InFlight::Fixed(IN_FLIGHT), linger: LINGER },
        letters: Letters::Forward,
        by: name,
        peers: Some(peers),
        patience: config.patience,
    };
    let stop = Stop { draining: lifecycle.draining().clone(), aborting: lifecycle.aborting().clone() };
    let worked = queue::work::run(Arc::new(broker), Arc::new(handler), work, metrics, stop).await;
    if let Some(stories) = stories {
        stories.close(StoryRecorder::CLOSE).await;
    }
    worked.map_err(|error| match error {
        queue::error::Error::Topology { .. } => Stopped::settings(error.to_string()),
        queue::error::Error::Unreachable { .. } | queue::error::Error::Lost(_) => {
            Stopped::unavailable(error.to_string())
        }
    })
}
