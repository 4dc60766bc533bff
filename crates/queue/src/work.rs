//! The loop: takes deliveries, keeps each customer in order, hands batches to a handler, and settles every delivery once.
//!
//! One loop serves one process for its life: when a session is lost it makes another and begins anew with what the broker
//! delivers again. [`crate::lanes::Lanes`] decides what goes when; this module carries it out.

mod generation;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::handler::{Handler, Observer};
use crate::lanes::BatchSettings;
use crate::reconnect;
use crate::session::Broker;
use crate::settle::jittered;
use crate::topology::Queue;
use crate::work::generation::Generation;

/// How a program works.
#[derive(Debug, Clone)]
pub struct WorkSettings {
    /// The queues it subscribes to: a random half at once, the rest a second later. So processes that start together
    /// share the queues, although nobody assigns them.
    pub queues: Vec<Queue>,
    /// Unacknowledged deliveries per queue, at most. This bounds the memory: queues × prefetch × body. The same for every
    /// process of a fleet: RabbitMQ may reverse what consumers of different prefetch hand back one after the other.
    pub prefetch: u16,
    /// How batches are made.
    pub batches: BatchSettings,
    /// How long batches in flight may take to finish when the process drains.
    pub drain: Duration,
    /// What happens to an order that is given up.
    pub letters: Letters,
    /// Program and instance, for the journal.
    pub by: String,
    /// How long the first connection may take to succeed. Later ones are tried without end.
    pub patience: Duration,
}

/// What happens to an order that is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Letters {
    /// Its customer is known: it goes on to the customer's partition as refused, and blocks the customer there, at its own
    /// place. Its customer is unknown: it becomes a letter at once. For `ingest`.
    Forward,
    /// It becomes a letter and blocks its customer: later orders are held. For `writer`.
    Block,
}

/// What ends the loop.
#[derive(Debug, Clone)]
pub struct Stop {
    /// Take nothing more, finish what is in flight, then end.
    pub draining: CancellationToken,
    /// End now; whatever is unsettled is released.
    pub aborting: CancellationToken,
}

/// How long the loop waits for anything before it turns.
const TURN: Duration = Duration::from_secs(5);

/// Works until told to stop.
///
/// # Errors
/// The broker could not be reached within the patience given, or its topology differs. Later losses are survived.
pub async fn run<H: Handler>(
    broker: Arc<dyn Broker>,
    handler: Arc<H>,
    settings: WorkSettings,
    observer: Arc<dyn Observer>,
    stop: Stop,
) -> Result<(), Error> {
    let mut patience = Some(settings.patience);
    loop {
        let connecting = reconnect::connect(broker.as_ref(), patience, &stop.draining);
        let session = match turning(observer.as_ref(), connecting).await {
            Ok(Some(session)) => session,
            Ok(None) => return Ok(()),
            Err(error) => {
                observer.connected(Err(&error));
                return Err(error);
            }
        };
        patience = None;
        let starting = Generation::start(&session, &broker, &handler, &settings, &observer);
        let generation = turning(observer.as_ref(), starting).await;
        let lost = match generation {
            Ok(generation) => {
                observer.connected(Ok(()));
                generation.work(&stop).await
            }
            Err(error) => Err(error),
        };
        tokio::select! {
            () = session.close() => {}
            () = stop.aborting.cancelled() => {}
        }
        match lost {
            Ok(()) => return Ok(()),
            Err(error) => {
                tracing::warn!(%error, "the session with RabbitMQ ended; connecting again");
                observer.connected(Err(&error));
                // A broker that accepts connections and then fails at once is not hammered.
                tokio::select! {
                    () = tokio::time::sleep(jittered(Duration::from_millis(500))) => {}
                    () = stop.draining.cancelled() => return Ok(()),
                }
            }
        }
    }
}

/// Waits for something, and tells the observer meanwhile that the loop turns.
async fn turning<T>(observer: &dyn Observer, waited: impl Future<Output = T>) -> T {
    let mut waited = std::pin::pin!(waited);
    loop {
        observer.turned();
        if let Ok(value) = tokio::time::timeout(TURN, waited.as_mut()).await {
            return value;
        }
    }
}
