//! How long to wait between tries of the token endpoint and of the token store. Requests to the org are not retried at
//! all.

use std::time::Duration;

use service::intervals::{Growth, Intervals};

/// How long Salesforce wants to be left alone after `login rate exceeded`.
pub(crate) const RATE_LIMIT_PAUSE: Duration = Duration::from_mins(1);

/// How often, and for how long, a token is asked for before the caller is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenRetry {
    /// Tries in all, the first included. At most 3 is wise: `unknown_error` also means a wrong login host.
    pub tries: u32,
    /// The first wait; later ones double, and each is spread by half of itself to either side.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
    /// All waits together. A wait that exceeds it is not begun.
    pub patience: Duration,
}

impl TokenRetry {
    /// Three tries within ten seconds of waiting, the first wait half a second.
    pub const STANDARD: Self = Self {
        tries: 3,
        first: Duration::from_millis(500),
        longest: Duration::from_secs(5),
        patience: Duration::from_secs(10),
    };

    /// One try.
    pub const NEVER: Self =
        Self { tries: 1, first: Duration::from_millis(1), longest: Duration::from_millis(1), patience: Duration::ZERO };

    pub(crate) fn intervals(self) -> RetryInterval {
        RetryInterval {
            waits: Growth { first: self.first, longest: self.longest, spread: 0.5 }.intervals(),
            left: self.tries.saturating_sub(1),
            patience: self.patience,
        }
    }
}

/// The waits of one sequence of tries.
#[derive(Debug)]
pub(crate) struct RetryInterval {
    waits: Intervals,
    left: u32,
    patience: Duration,
}

impl RetryInterval {
    /// The wait before the next try, `at_least` so long; `None` when tries or patience are used up.
    pub(crate) fn next(&mut self, at_least: Duration) -> Option<Duration> {
        self.left = self.left.checked_sub(1)?;
        let wait = self.waits.next_wait().max(at_least);
        self.patience = self.patience.checked_sub(wait)?;
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_are_bounded_and_waits_grow_within_their_spread() {
        let retry = TokenRetry { tries: 4, patience: Duration::from_hours(1), ..TokenRetry::STANDARD };
        let mut intervals = retry.intervals();
        for expected in [500_u64, 1000, 2000] {
            let wait = intervals.next(Duration::ZERO).expect("a try is left");
            let (low, high) = (Duration::from_millis(expected / 2), Duration::from_millis(expected * 3 / 2));
            assert!(low <= wait && wait <= high, "{wait:?} for {expected} ms");
        }
        assert_eq!(intervals.next(Duration::ZERO), None);
    }

    #[test]
    fn a_wait_beyond_the_patience_is_not_begun() {
        let mut intervals = TokenRetry::STANDARD.intervals();
        assert_eq!(intervals.next(RATE_LIMIT_PAUSE), None);
        let mut patient = TokenRetry { patience: Duration::from_secs(90), ..TokenRetry::STANDARD }.intervals();
        assert_eq!(patient.next(RATE_LIMIT_PAUSE), Some(RATE_LIMIT_PAUSE));
        assert_eq!(patient.next(RATE_LIMIT_PAUSE), None);
    }

    #[test]
    fn one_try_means_no_wait() {
        assert_eq!(TokenRetry::NEVER.intervals().next(Duration::ZERO), None);
    }
}
