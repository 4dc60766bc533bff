//! A count over a rolling window, in buckets of a minute.

use std::collections::VecDeque;

#[derive(Debug)]
pub(crate) struct Rolling {
    window_ms: i64,
    minutes: VecDeque<(i64, u64)>,
    sum: u64,
}

impl Rolling {
    pub(crate) fn new(window_ms: i64) -> Self {
        Self { window_ms, minutes: VecDeque::new(), sum: 0 }
    }

    pub(crate) fn add(&mut self, now_ms: i64, count: u64) {
        let minute = now_ms.div_euclid(60_000);
        match self.minutes.back_mut() {
            Some((last, counted)) if *last == minute => *counted += count,
            Some(_) | None => self.minutes.push_back((minute, count)),
        }
        self.sum += count;
    }

    /// What was counted within the window that ends now.
    pub(crate) fn total(&mut self, now_ms: i64) -> u64 {
        while let Some((minute, count)) = self.minutes.front().copied()
            && minute.saturating_mul(60_000).saturating_add(self.window_ms) <= now_ms
        {
            self.minutes.pop_front();
            self.sum -= count;
        }
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::Rolling;

    #[test]
    fn a_count_leaves_the_window_a_minute_at_a_time() {
        let mut hour = Rolling::new(3_600_000);
        hour.add(0, 2);
        hour.add(59_999, 3);
        hour.add(60_000, 5);
        assert_eq!(hour.total(3_599_999), 10);
        assert_eq!(hour.total(3_600_000), 5);
        assert_eq!(hour.total(3_660_000), 0);
    }
}
