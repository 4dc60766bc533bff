//! Waiting for what happens in another process: poll, with one bound for all tests.

use std::time::{Duration, Instant};

/// How long a test waits for something that should happen soon. Generous, because it is only used up by failures.
pub const PATIENCE: Duration = Duration::from_secs(30);

const PAUSE: Duration = Duration::from_millis(20);

/// Asks `check` again and again until it says yes. `what` completes the sentence "waited 30 s for …".
///
/// # Panics
/// When [`PATIENCE`] is used up.
pub async fn eventually(what: &str, mut check: impl AsyncFnMut() -> bool) {
    eventually_some(what, async || check().await.then_some(())).await;
}

/// Asks `check` again and again until it gives a value, which is returned.
///
/// # Panics
/// When [`PATIENCE`] is used up.
pub async fn eventually_some<T>(what: &str, check: impl AsyncFnMut() -> Option<T>) -> T {
    within(PATIENCE, check).await.unwrap_or_else(|| panic!("waited {} s for {what}", PATIENCE.as_secs()))
}

/// Asks `check` until it gives a value or `patience` is used up. A check that hangs is given up with it.
pub async fn within<T>(patience: Duration, mut check: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left, check()).await {
            Ok(Some(value)) => return Some(value),
            Ok(None) if Instant::now() < deadline => tokio::time::sleep(PAUSE).await,
            Ok(None) | Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_returns_as_soon_as_there_is_a_value() {
        let mut asked = 0;
        let value = eventually_some("the third answer", async || {
            asked += 1;
            (asked == 3).then_some(asked)
        })
        .await;
        assert_eq!(value, 3);
    }

    #[tokio::test]
    async fn a_check_that_hangs_does_not_hang_the_test() {
        assert_eq!(within(Duration::from_millis(30), async || std::future::pending::<Option<()>>().await).await, None);
    }
}
