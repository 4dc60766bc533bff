//! How long to wait between tries. The only place that knows the `backoff` crate.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;

/// How waits grow: each is twice the one before, up to the longest, and is spread by chance so that a fleet does not come
/// back all at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Growth {
    /// The first wait, before the spread.
    pub first: Duration,
    /// The longest wait, before the spread.
    pub longest: Duration,
    /// Each wait is up to this share longer or shorter, 0 to 1; what is beyond counts as the limit. 0 makes the waits exact.
    pub spread: f64,
}

impl Growth {
    /// The waits of one sequence of tries, from the first on.
    pub fn intervals(self) -> Intervals {
        let first = self.first.min(self.longest);
        Intervals(ExponentialBackoff {
            current_interval: first,
            initial_interval: first,
            max_interval: self.longest,
            multiplier: 2.0,
            randomization_factor: self.spread.clamp(0.0, 1.0),
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        })
    }
}

/// Waits without end. With `base` as the smaller of `first` × 2ⁿ and `longest`, wait `n` (from 0) lies between
/// `base` × (1 − `spread`) and `base` × (1 + `spread`), to the nanosecond. How many tries there are, and for how long, is the
/// caller's to decide.
#[derive(Debug)]
pub struct Intervals(ExponentialBackoff);

impl Intervals {
    /// The next wait.
    pub fn next_wait(&mut self) -> Duration {
        // `None` would mean that a limit on the time of all tries is used up; there is none.
        self.0.next_backoff().unwrap_or(self.0.max_interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn waits(growth: Growth, n: usize) -> Vec<Duration> {
        let mut intervals = growth.intervals();
        (0..n).map(|_| intervals.next_wait()).collect()
    }

    #[test]
    fn without_a_spread_waits_double_exactly_and_stay_at_the_longest() {
        let exact = waits(Growth { first: 200 * MS, longest: 1000 * MS, spread: 0.0 }, 6);
        assert_eq!(exact, [200, 400, 800, 1000, 1000, 1000].map(|ms| ms * MS));
    }

    #[test]
    fn every_wait_stays_within_its_spread_and_they_differ() {
        let growth = Growth { first: 500 * MS, longest: 5000 * MS, spread: 0.5 };
        let mut seen = std::collections::HashSet::new();
        for _ in 0..200 {
            for (wait, base) in waits(growth, 6).into_iter().zip([500, 1000, 2000, 4000, 5000, 5000]) {
                let (low, high) = (base * MS / 2, base * MS * 3 / 2);
                assert!(low <= wait && wait <= high + Duration::from_nanos(1), "{wait:?} for {base} ms");
                seen.insert(wait);
            }
        }
        assert!(seen.len() > 1000, "{} different waits", seen.len());
    }

    #[test]
    fn growths_that_make_no_sense_still_wait_no_longer_than_the_longest() {
        let shrinking = waits(Growth { first: 2000 * MS, longest: 100 * MS, spread: 0.0 }, 3);
        assert_eq!(shrinking, [100 * MS; 3]);
        let wild = waits(Growth { first: 100 * MS, longest: 100 * MS, spread: 7.0 }, 100);
        assert!(wild.iter().all(|wait| *wait <= 200 * MS + Duration::from_nanos(1)), "{wild:?}");
    }

    #[test]
    fn waits_go_on_for_ever() {
        let growth = Growth { first: MS, longest: Duration::from_hours(24), spread: 0.3 };
        assert_eq!(waits(growth, 10_000).len(), 10_000);
    }
}
