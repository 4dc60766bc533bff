//! How many orders in one request: as many as can be expected to be tried, and to be answered in time.

use std::time::Duration;

use super::{Observation, SLOW};

/// A composite graph request is halted after so many refused graphs; the rest is not tried.
pub(super) const TOLERATED: usize = 14;

/// What slow requests are shrunk to.
const AIM: Duration = Duration::from_secs(8);

/// Millionths: shares are whole numbers, so that limits can be compared.
const MILLION: u64 = 1_000_000;

/// Over how many orders a share is averaged: an order counts half after seven tenths of that number.
const MEMORY: u64 = 300;

/// The most orders, by three things: the share of refused orders, halted requests, and the time that requests take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SizeLimit {
    most: usize,
    /// The share of refused orders, in millionths of those tried.
    refused: u64,
    /// What the share of refused orders allows.
    by_share: usize,
    /// Since a request was halted: what is tried.
    after_halt: Option<usize>,
    /// What can be answered in time.
    in_time: usize,
}

impl SizeLimit {
    pub(super) fn new(most: usize) -> Self {
        let most = most.max(1);
        Self { most, refused: 0, by_share: most, after_halt: None, in_time: most }
    }

    pub(super) fn limit(&self) -> usize {
        self.by_share.min(self.in_time).min(self.after_halt.unwrap_or(self.most)).max(1)
    }

    pub(super) fn observe(&mut self, request: &Observation) {
        let telling = 2 * request.orders >= self.limit();
        self.observe_share(request, telling);
        self.observe_time(request, telling);
    }

    /// After a halted request the next ones are so small that hardly any would be halted if the org went on refusing as many
    /// of them; each clean one grows them by a quarter.
    fn observe_share(&mut self, request: &Observation, telling: bool) {
        let tried = request.orders.saturating_sub(request.halted);
        for order in 0..tried {
            let came = if order < request.refused { MILLION } else { 0 };
            self.refused = (self.refused * (MEMORY - 1) + came) / MEMORY;
        }
        self.by_share = largest(self.refused, self.most);
        if request.halted > 0 {
            let came = MILLION * request.refused.min(tried) as u64 / tried.max(1) as u64;
            let bearable = largest(came, self.most);
            self.after_halt = Some(self.after_halt.map_or(bearable, |limit| limit.min(bearable)));
        } else if telling && tried > 0 && !request.overloaded {
            let grown = |limit: usize| limit + limit.div_ceil(4);
            self.after_halt = self.after_halt.map(grown).filter(|limit| *limit < self.most);
        }
    }

    fn observe_time(&mut self, request: &Observation, telling: bool) {
        if request.took > SLOW {
            let share = AIM.as_millis() * request.orders as u128 / request.took.as_millis().max(1);
            let share = usize::try_from(share).unwrap_or(self.most);
            self.in_time = self.in_time.min(share).max(1);
        } else if telling && !request.overloaded && self.in_time < self.most {
            let grown = self.in_time + self.in_time.div_ceil(4);
            // It is expected to take as long for each order as this one did.
            let expected = request.took.as_millis() * grown as u128 / request.orders.max(1) as u128;
            if expected <= SLOW.as_millis() {
                self.in_time = grown.min(self.most);
            }
        }
    }
}

/// The most orders of which, with at least 99 % probability, no more than the tolerated number is refused.
fn largest(millionths: u64, most: usize) -> usize {
    #[expect(clippy::cast_precision_loss, reason = "at most a million")]
    let share = millionths as f64 / MILLION as f64;
    // The more orders, the more refusals: a search by halves.
    let (mut good, mut bad) = (TOLERATED.min(most), most + 1);
    while good + 1 < bad {
        let middle = good.midpoint(bad);
        if halts(middle, share) <= 0.01 { good = middle } else { bad = middle }
    }
    good
}

/// The probability that more than the tolerated number of so many orders is refused.
fn halts(orders: usize, share: f64) -> f64 {
    if share >= 1.0 {
        return if orders > TOLERATED { 1.0 } else { 0.0 };
    }
    let odds = share / (1.0 - share);
    let mut term = (1.0 - share).powi(i32::try_from(orders).unwrap_or(i32::MAX));
    let mut tolerated = 0.0;
    for refused in 0..=TOLERATED.min(orders) {
        tolerated += term;
        #[expect(clippy::cast_precision_loss, reason = "at most 75")]
        let choices = (orders - refused) as f64 / (refused + 1) as f64;
        term *= odds * choices;
    }
    1.0 - tolerated
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(orders: usize, refused: usize) -> Observation {
        Observation { orders, refused, took: Duration::from_secs(1), ..Observation::default() }
    }

    /// A request that was halted: fifteen refused, the rest of it not tried.
    fn halted(orders: usize) -> Observation {
        Observation { halted: orders - 15, ..request(orders, 15) }
    }

    #[test]
    fn the_share_of_refused_orders_bounds_a_request_so_that_one_in_a_hundred_is_halted() {
        let table = [(2, 75), (5, 75), (8, 75), (10, 75), (12, 65), (15, 53), (20, 40), (30, 28), (50, 19), (100, 14)];
        for (percent, orders) in table {
            assert_eq!(largest(percent * 10_000, 75), orders, "{percent} %");
        }
        for (percent, halted) in [(8, 0.000_8), (10, 0.007), (12, 0.032), (15, 0.147), (20, 0.546), (30, 0.98)] {
            let found = halts(75, f64::from(percent) / 100.0);
            assert!((found - halted).abs() < 0.006, "{percent} %: {found}");
        }
    }

    #[test]
    fn it_begins_with_the_largest_and_settles_where_the_org_refuses_a_fifth() {
        let mut limit = SizeLimit::new(75);
        assert_eq!(limit.limit(), 75);
        for _ in 0..100 {
            let orders = limit.limit();
            limit.observe(&request(orders, orders.div_ceil(5)));
        }
        assert!((36..=42).contains(&limit.limit()), "{limit:?}");
        for _ in 0..100 {
            limit.observe(&request(limit.limit(), 0));
        }
        assert_eq!(limit.limit(), 75);
    }

    #[test]
    fn single_refusals_at_light_load_do_not_shrink_what_comes_later() {
        let mut limit = SizeLimit::new(75);
        for order in 0..1_000 {
            limit.observe(&request(1, usize::from(order % 20 == 0)));
        }
        assert_eq!(limit.limit(), 75);
    }

    #[test]
    fn after_a_request_that_was_halted_early_none_can_be_halted_and_each_clean_one_grows_by_a_quarter() {
        let mut limit = SizeLimit::new(75);
        limit.observe(&halted(75));
        let mut limits = vec![limit.limit()];
        while limit.limit() < 75 {
            limit.observe(&request(limit.limit(), 0));
            limits.push(limit.limit());
        }
        assert_eq!(limits, [14, 18, 23, 29, 37, 47, 59, 74, 75]);
        limit.observe(&halted(75));
        limit.observe(&request(1, 0));
        assert_eq!(limit.limit(), 14, "one order proves nothing of many");
        limit.observe(&Observation { overloaded: true, ..request(14, 0) });
        assert_eq!(limit.limit(), 14, "nor does a request that was turned away");
    }

    #[test]
    fn after_one_that_was_halted_late_the_next_are_as_large_as_the_share_in_it_allows() {
        let mut limit = SizeLimit::new(75);
        // The fifteenth refusal was the seventieth order's: a fifth.
        limit.observe(&Observation { halted: 5, ..request(75, 15) });
        let mut limits = vec![limit.limit()];
        while limit.limit() < 70 {
            limit.observe(&request(limit.limit(), limit.limit() / 10));
            limits.push(limit.limit());
        }
        assert_eq!(limits, [38, 48, 60, 75]);
    }

    #[test]
    fn a_slow_request_shrinks_the_next_to_eight_seconds_and_quick_ones_let_them_grow() {
        let mut limit = SizeLimit::new(75);
        let taking = |orders: usize, ms: u64| Observation { took: Duration::from_millis(ms), ..request(orders, 0) };
        limit.observe(&taking(75, 10_000));
        assert_eq!(limit.limit(), 75, "not yet slow");
        limit.observe(&taking(75, 15_000));
        assert_eq!(limit.limit(), 40);
        // An org that takes 200 ms for each order: up to ten seconds and no further.
        for _ in 0..50 {
            let orders = limit.limit();
            limit.observe(&taking(orders, 200 * orders as u64));
            assert!((40..=50).contains(&limit.limit()), "{limit:?}");
        }
        assert_eq!(limit.limit(), 50);
        for _ in 0..10 {
            limit.observe(&taking(limit.limit(), 1_000));
        }
        assert_eq!(limit.limit(), 75);
        limit.observe(&taking(1, 60_000));
        assert_eq!(limit.limit(), 1, "one order is the least");
    }

    #[test]
    fn the_most_that_is_allowed_is_never_passed() {
        for most in [1, 5, 14, 20] {
            let mut limit = SizeLimit::new(most);
            limit.observe(&halted(20.max(most)));
            assert_eq!(limit.limit(), most.min(14));
            for _ in 0..20 {
                limit.observe(&request(limit.limit(), 0));
            }
            assert_eq!(limit.limit(), most);
        }
    }
}
