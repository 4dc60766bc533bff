//! When the head of a lane is tried again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How often, and after which delays, an order that failed transiently is tried again.
///
/// The delay doubles (by `factor`) from `initial` to `max`. Jitter is added by whoever waits.
/// The default gives 1, 2, 4, 8, 16, 32, 60 seconds: eight attempts within about two minutes of waiting.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Attempts in all, the first included. At least 1.
    pub max_attempts: u32,
    /// Delay after the first failed attempt.
    pub initial: Duration,
    /// No delay is longer.
    pub max: Duration,
    /// By what each delay exceeds the one before. At least 1.
    pub factor: f64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { max_attempts: 8, initial: Duration::from_secs(1), max: Duration::from_mins(1), factor: 2.0 }
    }
}

impl RetryPolicy {
    /// The delay after `attempts` failed attempts, or `None` when they are spent.
    pub fn delay(&self, attempts: u32) -> Option<Duration> {
        if attempts >= self.max_attempts {
            return None;
        }
        let exponent = i32::try_from(attempts.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.initial.as_secs_f64() * self.factor.max(1.0).powi(exponent);
        Some(if seconds.is_finite() && seconds < self.max.as_secs_f64() {
            Duration::from_secs_f64(seconds)
        } else {
            self.max
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_delays_are_the_documented_ones_and_the_eighth_failure_is_the_last() {
        let policy = RetryPolicy::default();
        let delays: Vec<_> = (1..=8).map(|attempts| policy.delay(attempts).map(|delay| delay.as_secs())).collect();
        assert_eq!(delays, [Some(1), Some(2), Some(4), Some(8), Some(16), Some(32), Some(60), None]);
    }

    proptest::proptest! {
        #[test]
        fn a_delay_is_never_longer_than_the_maximum_nor_shorter_than_the_one_before(
            initial in 0_u64..10_000, max in 0_u64..100_000, factor in 0.0_f64..100.0, attempts in 1_u32..10_000,
        ) {
            let policy = RetryPolicy {
                max_attempts: u32::MAX,
                initial: Duration::from_millis(initial),
                max: Duration::from_millis(max),
                factor,
            };
            let (before, after) = (policy.delay(attempts).expect("not spent"), policy.delay(attempts + 1).expect("not spent"));
            proptest::prop_assert!(before <= after && after <= policy.max.max(policy.initial));
        }
    }
}
