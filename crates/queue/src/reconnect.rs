//! Connecting with patience.

use std::sync::Arc;
use std::time::Duration;

use service::intervals::Growth;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::session::{Broker, Session};
use crate::settle::milliseconds;

const GROWTH: Growth = Growth { first: Duration::from_millis(200), longest: Duration::from_secs(15), spread: 0.3 };

/// Makes a session; tries again while the broker cannot be reached, after 0.2 s, 0.4 s, … 15 s, each by up to 30 % longer or
/// shorter.
///
/// Each failed try is logged once, and told to `failed`. Without `patience` it tries for ever. `None` when `stop` is cancelled first. Dropping the
/// future ends the try under way.
///
/// # Errors
/// [`Error::Topology`] at once, because only an operator can help. What the last try met, when `patience` is used up.
pub async fn connect(
    broker: &dyn Broker,
    patience: Option<Duration>,
    stop: &CancellationToken,
    failed: impl Fn(&Error) + Send + Sync,
) -> Result<Option<Arc<dyn Session>>, Error> {
    tokio::select! {
        biased;
        () = stop.cancelled() => Ok(None),
        connected = keep_trying(broker, patience, failed) => connected.map(Some),
    }
}

async fn keep_trying(
    broker: &dyn Broker,
    patience: Option<Duration>,
    failed: impl Fn(&Error) + Send + Sync,
) -> Result<Arc<dyn Session>, Error> {
    let began = Instant::now();
    let mut waits = GROWTH.intervals();
    let mut tries: u32 = 0;
    loop {
        tries = tries.saturating_add(1);
        let error = match broker.connect().await {
            Ok(session) => {
                if tries > 1 {
                    tracing::info!(tries, "connected to RabbitMQ");
                }
                return Ok(session);
            }
            Err(error @ Error::Topology { .. }) => return Err(error),
            Err(error @ (Error::Unreachable { .. } | Error::Lost(_))) => error,
        };
        failed(&error);
        let wait = waits.next_wait();
        if patience.is_some_and(|patience| began.elapsed() + wait > patience) {
            return Err(error);
        }
        tracing::warn!(%error, tries, retry_after_ms = milliseconds(wait), "no session with RabbitMQ; trying again");
        tokio::time::sleep(wait).await;
    }
}
