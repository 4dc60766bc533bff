//! The identity links: Limio is told which Salesforce records an order's subscription and customer belong to.
//!
//! # The story of a link
//!
//! An order that is written is settled in the ledger first; then its links go into the fleet's queue of links, confirmed, and
//! only then is it acknowledged: a writer that dies in between finds the order settled, and puts its links there again. From
//! there they are no part of the order any more. One writer of the fleet takes them from the queue, at Limio's pace, and
//! tells Limio; whatever Limio does, no order waits for it.
//!
//! # Invariants
//!
//! * A link is acknowledged once Limio has it, or once its letter is in the journal.
//! * While Limio is away, or does not accept the credentials, links wait, and no try is counted. Whether Limio as a whole is
//!   away or only fails at this link, it is asked: Limio's documentation says of its 502 that the request is usually at fault.
//! * A letter of a link has no customer: nobody waits behind it.
//! * Linking twice is harmless; the ledger remembers, to spare Limio calls.

mod linker;
mod metrics;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use domain::story::Recorder;
use ledger::links::KnownLinks;
use queue::lanes::{BatchSettings, InFlight};
use queue::rabbitmq::RabbitMq;
use queue::topology::Queue;
use queue::work::{Letters, Stop, WorkSettings};

pub(crate) use self::linker::{Linker, message};
pub(crate) use self::metrics::LinkMetrics;
pub(crate) use self::settings::{LimioArgs, Linking};

/// Orders whose links are asked for side by side, in batches of so many.
const BATCH: usize = 8;

/// Batches in flight at once.
const IN_FLIGHT: usize = 2;

/// Orders whose links a writer has in hand.
const PREFETCH: u16 = 64;

/// Takes links from the queue and tells Limio, until it is stopped.
///
/// # Errors
/// As [`queue::work::run`].
pub(crate) async fn run(
    (client, retry): (limio::Client, Duration),
    known: KnownLinks,
    broker: RabbitMq,
    (by, patience): (String, Duration),
    stories: Arc<dyn Recorder>,
    metrics: Arc<LinkMetrics>,
    stop: Stop,
) -> Result<(), queue::error::Error> {
    let linker = Linker::new(client, known, stories, Arc::clone(&metrics), retry);
    let work = WorkSettings {
        queues: vec![Queue::Links],
        prefetch: PREFETCH,
        batches: BatchSettings { orders: BATCH, in_flight: InFlight::Fixed(IN_FLIGHT), linger: Duration::ZERO },
        // No link has a customer, so each that is given up becomes a letter of nobody.
        letters: Letters::Forward,
        by,
        peers: None,
        patience,
    };
    queue::work::run(Arc::new(broker), Arc::new(linker), work, metrics, stop).await
}
