//! The loop: takes deliveries, keeps each customer in order, hands batches to a handler, and settles every delivery once.
//!
//! One loop serves one process for its life: when a session is lost it makes another and begins anew with what the broker
//! delivers again. [`crate::lanes::Lanes`] decides what goes when; this module carries it out.

mod company;
mod generation;
mod intake;
mod probing;
mod reading;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::handler::{Handler, Observer};
use crate::lanes::{BatchSettings, Pace};
use crate::reconnect;
use crate::session::{Broker, Session};
use crate::settle::jittered;
use crate::topology::Queue;
use crate::watch::{Watch, WatchSettings};
pub use crate::work::company::Peers;
use crate::work::generation::Generation;
use crate::work::intake::Intake;

/// How a program works.
#[derive(Debug, Clone)]
pub struct WorkSettings {
    /// The queues it subscribes to: those that belong to it among its peers at once, the rest some seconds later.
    pub queues: Vec<Queue>,
    /// Unacknowledged deliveries per queue, at most. This bounds the memory: queues × prefetch × body. The same for every
    /// process of a fleet, which is checked ([`crate::session::Session::agree_on_prefetch`]).
    pub prefetch: u16,
    /// How batches are made.
    pub batches: BatchSettings,
    /// What happens to an order that is given up.
    pub letters: Letters,
    /// Program and instance, for the journal.
    pub by: String,
    /// The other workers of the fleet; `None` for one that works alone, or as if it did.
    pub peers: Option<Peers>,
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
    /// End now; whatever is unsettled is released. The only limit of the time for finishing: whoever drains cancels this when
    /// that is over, as [`service::Lifecycle`] does.
    pub aborting: CancellationToken,
}

/// What outlasts a session.
struct Lasting {
    /// What was learned of the org.
    pace: Pace,
    /// Of which queues an operator was told.
    watch: Watch,
}

/// How long channels may take to close, together, and the session after them.
const CLOSE: Duration = Duration::from_secs(10);

/// How long each of the two may still take once the process aborts: less than [`service::lifecycle::ABORT_WITHIN`] in all.
const CLOSE_ABORTED: Duration = Duration::from_secs(2);

/// How long a batch may take before the loop no longer says that it turns, so that the process is found to be not live and is
/// started again: something in it hangs, and holds its customers back. Far longer than any batch whose calls have deadlines.
pub const HUNG: Duration = Duration::from_mins(15);

/// How long something may be away before everything that was taken goes back, and the channels are closed: what waits in the
/// queues waits as well as what is held here, and nobody takes it for work in hand.
pub const LONG_OUTAGE: Duration = Duration::from_mins(5);

/// The same where what is away is the org's allocation, which comes back by itself and may take hours: below the half hour
/// after which RabbitMQ as it comes ends a consumer that acknowledges nothing.
pub const LONG_QUOTA_PAUSE: Duration = Duration::from_mins(20);

/// How long the loop waits for anything before it turns.
const TURN: Duration = Duration::from_secs(5);

/// Works until told to stop.
///
/// # Errors
/// The broker could not be reached within the patience given, or its topology or the fleet's prefetch differs. Later losses
/// are survived.
pub async fn run<H: Handler>(
    broker: Arc<dyn Broker>,
    handler: Arc<H>,
    settings: WorkSettings,
    observer: Arc<dyn Observer>,
    stop: Stop,
) -> Result<(), Error> {
    let mut patience = Some(settings.patience);
    let mut intake = Intake::new(Arc::clone(&observer));
    let watch = settings.peers.as_ref().map_or(WatchSettings::STANDARD, |peers| peers.watch);
    let mut lasting = Lasting { pace: Pace::new(settings.batches), watch: Watch::new(watch) };
    loop {
        let away = |error: &Error| observer.connected(Err(error));
        let connecting = reconnect::connect(broker.as_ref(), patience, &stop.draining, away);
        let session = match turning(observer.as_ref(), None, connecting).await {
            Ok(Some(session)) => session,
            Ok(None) => return Ok(()),
            Err(error) => {
                observer.connected(Err(&error));
                return Err(error);
            }
        };
        patience = None;
        lasting.pace.begins_anew();
        lasting.watch.begins_anew();
        let starting = Generation::start(&session, &broker, &handler, &settings, &observer, &lasting);
        let generation = tokio::select! {
            biased;
            // Reading a long journal may take longer than draining; nothing is in flight yet.
            () = stop.draining.cancelled() => {
                closing(session.close(), observer.as_ref(), &stop).await;
                return Ok(());
            }
            generation = turning(observer.as_ref(), Some(&session), starting) => generation,
        };
        let lost = match generation {
            Ok(generation) => {
                observer.connected(Ok(()));
                generation.work(&stop, &mut intake, &mut lasting).await
            }
            Err(error) => Err(error),
        };
        closing(session.close(), observer.as_ref(), &stop).await;
        observer.blocked(false);
        match lost {
            Ok(()) => return Ok(()),
            Err(error @ Error::Topology { .. }) => {
                observer.connected(Err(&error));
                return Err(error);
            }
            Err(error @ (Error::Unreachable { .. } | Error::Lost(_))) => {
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

/// Waits for something to close, for as long as that may take.
async fn closing<T>(closed: impl Future<Output = T>, observer: &dyn Observer, stop: &Stop) {
    let aborted = async {
        stop.aborting.cancelled().await;
        tokio::time::sleep(CLOSE_ABORTED).await;
    };
    tokio::select! {
        _ = turning(observer, None, closed) => {}
        () = tokio::time::sleep(CLOSE) => {}
        () = aborted => tracing::warn!("RabbitMQ does not close in time; it takes everything back when the process ends"),
    }
}

/// Waits for something, and tells the observer meanwhile that the loop turns, and whether the session publishes.
async fn turning<T>(observer: &dyn Observer, session: Option<&Arc<dyn Session>>, waited: impl Future<Output = T>) -> T {
    let mut waited = std::pin::pin!(waited);
    loop {
        observer.turned();
        if let Some(session) = session {
            observer.blocked(session.is_blocked());
        }
        if let Ok(value) = tokio::time::timeout(TURN, waited.as_mut()).await {
            return value;
        }
    }
}
