//! Connecting with patience. The only place of this crate that knows the `backoff` crate.

use std::sync::Arc;
use std::time::Duration;

use backoff::backoff::Backoff;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::session::{Broker, Session};

/// The first wait, before jitter.
pub const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The longest wait, before jitter.
pub const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// Each wait is this share longer or shorter by chance, so that a fleet does not come back all at once.
pub const JITTER: f64 = 0.3;

/// Makes a session; tries again while the broker cannot be reached, after 0.2 s, 0.4 s, … 15 s, each with jitter.
///
/// Each failed try is logged once. Without `patience` it tries for ever. `None` when `stop` is cancelled first. Dropping the
/// future ends the try under way.
///
/// # Errors
/// [`Error::Topology`] at once, because only an operator can help. What the last try met, when `patience` is used up.
pub async fn connect(
    broker: &dyn Broker,
    patience: Option<Duration>,
    stop: &CancellationToken,
) -> Result<Option<Arc<dyn Session>>, Error> {
    tokio::select! {
        biased;
        () = stop.cancelled() => Ok(None),
        connected = keep_trying(broker, patience) => connected.map(Some),
    }
}

async fn keep_trying(broker: &dyn Broker, patience: Option<Duration>) -> Result<Arc<dyn Session>, Error> {
    let began = Instant::now();
    let mut waits = waits();
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
        let wait = waits.next_backoff().unwrap_or(LONGEST_WAIT);
        if patience.is_some_and(|patience| began.elapsed() + wait > patience) {
            return Err(error);
        }
        let retry_after_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(%error, tries, retry_after_ms, "no session with RabbitMQ; trying again");
        tokio::time::sleep(wait).await;
    }
}

fn waits() -> ExponentialBackoff {
    ExponentialBackoffBuilder::new()
        .with_initial_interval(FIRST_WAIT)
        .with_multiplier(2.0)
        .with_randomization_factor(JITTER)
        .with_max_interval(LONGEST_WAIT)
        .with_max_elapsed_time(None)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_from_a_fifth_of_a_second_to_fifteen_seconds() {
        let mut waits = waits();
        let waits: Vec<Duration> = std::iter::from_fn(|| waits.next_backoff()).take(40).collect();
        assert!(waits[0] >= FIRST_WAIT.mul_f64(1.0 - JITTER) && waits[0] <= FIRST_WAIT.mul_f64(1.0 + JITTER));
        assert!(waits.iter().all(|wait| *wait <= LONGEST_WAIT.mul_f64(1.0 + JITTER)), "{waits:?}");
        assert!(waits[10..].iter().all(|wait| *wait >= LONGEST_WAIT.mul_f64(1.0 - JITTER)), "{waits:?}");
    }
}
