//! Waiting for what a process cannot start without.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::intervals::Growth;

const GROWTH: Growth = Growth { first: Duration::from_millis(200), longest: Duration::from_secs(5), spread: 0.3 };

/// Why an attempt did not succeed.
#[derive(Debug)]
pub enum Attempt<E> {
    /// It may succeed later.
    Later(E),
    /// It never will.
    Never(E),
}

/// Tries until it succeeds: after 0.2 s, 0.4 s, … 5 s, each by up to 30 % longer or shorter. Each failure is logged once.
/// `None` when `stop` is cancelled first.
///
/// # Errors
/// [`Attempt::Never`] at once; what the last attempt met, when `patience` is used up.
pub async fn patiently<T, E: Display, F: Future<Output = Result<T, Attempt<E>>>>(
    patience: Duration,
    stop: &CancellationToken,
    mut attempt: impl FnMut() -> F,
) -> Result<Option<T>, E> {
    let began = Instant::now();
    let mut waits = GROWTH.intervals();
    loop {
        let tried = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(None),
            tried = attempt() => tried,
        };
        let error = match tried {
            Ok(value) => return Ok(Some(value)),
            Err(Attempt::Never(error)) => return Err(error),
            Err(Attempt::Later(error)) => error,
        };
        let wait = waits.next_wait();
        if began.elapsed() + wait > patience {
            return Err(error);
        }
        tracing::warn!(retry_after_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), "{error}; trying again");
        tokio::select! {
            () = stop.cancelled() => return Ok(None),
            () = tokio::time::sleep(wait) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_tries_again_until_it_succeeds() {
        let mut tries = 0;
        let stop = CancellationToken::new();
        let found = patiently(Duration::from_mins(1), &stop, || {
            tries += 1;
            std::future::ready(if tries < 5 { Err(Attempt::Later("away")) } else { Ok(tries) })
        });
        assert_eq!(found.await, Ok(Some(5)));
    }

    #[tokio::test(start_paused = true)]
    async fn it_says_what_it_met_last_when_its_patience_is_used_up_and_not_later() {
        let began = Instant::now();
        let stop = CancellationToken::new();
        let tried: Result<Option<()>, _> =
            patiently(Duration::from_secs(10), &stop, || std::future::ready(Err(Attempt::Later("away")))).await;
        assert_eq!(tried, Err("away"));
        assert!(began.elapsed() <= Duration::from_secs(10));
    }

    #[tokio::test]
    async fn what_never_succeeds_is_not_tried_twice() {
        let mut attempts = 0;
        let stop = CancellationToken::new();
        let answered: Result<Option<()>, _> = patiently(Duration::from_mins(1), &stop, || {
            attempts += 1;
            std::future::ready(Err(Attempt::Never("wrong")))
        })
        .await;
        assert_eq!((answered, attempts), (Err("wrong"), 1));
    }

    #[tokio::test]
    async fn it_ends_when_it_is_told_to() {
        let stop = CancellationToken::new();
        stop.cancel();
        let tried: Result<Option<()>, &str> = patiently(Duration::from_mins(1), &stop, std::future::pending).await;
        assert_eq!(tried, Ok(None));
    }
}
