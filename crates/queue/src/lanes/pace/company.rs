//! How long a ready order waits for company while other requests are in flight.

use std::time::Duration;

use super::Observation;

/// What a request usually takes is divided by this: an order waits no longer for company than a small part of what it has
/// to wait for anyway.
const PART: u32 = 4;

/// However long requests take, nobody waits longer than this beside one request.
pub const LONGEST: Duration = Duration::from_millis(250);

/// Of what is usual, the last request makes one part in so many.
const MEMORY: u32 = 8;

/// A request costs the same with one order as with seventy-five, so what is ready waits until it fills one, or for a while
/// that follows what requests take. Beside two or more, and after a full request, it waits as long as one takes: by then one
/// of those in flight has come back, and its place is as good as a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Company {
    least: Duration,
    usual: Option<Duration>,
}

impl Company {
    pub(super) fn new(least: Duration) -> Self {
        Self { least, usual: None }
    }

    pub(super) fn observe(&mut self, request: &Observation) {
        let took = request.took.min(super::SLOW);
        self.usual = Some(self.usual.map_or(took, |usual| (usual * (MEMORY - 1) + took) / MEMORY));
    }

    pub(super) fn wait(&self, in_flight: usize, pours: bool) -> Duration {
        let usual = self.usual.unwrap_or_default();
        let long = in_flight >= 2 || in_flight == 1 && pours;
        let wait = if long { usual } else { (usual / PART).min(LONGEST) };
        wait.max(self.least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(least: u64, requests: &[u64]) -> Duration {
        beside(1, false, least, requests)
    }

    fn beside(in_flight: usize, pours: bool, least: u64, requests: &[u64]) -> Duration {
        let mut company = Company::new(Duration::from_millis(least));
        for took in requests {
            company.observe(&Observation { orders: 1, took: Duration::from_millis(*took), ..Observation::default() });
        }
        company.wait(in_flight, pours)
    }

    #[test]
    fn company_is_waited_for_a_quarter_of_what_requests_take_at_most_250_ms_and_never_less_than_the_linger() {
        assert_eq!(after(25, &[]), Duration::from_millis(25));
        assert_eq!(after(25, &[40]), Duration::from_millis(25));
        assert_eq!(after(25, &[400]), Duration::from_millis(100));
        assert_eq!(after(25, &[3_000]), Duration::from_millis(250));
        assert_eq!(after(400, &[3_000]), Duration::from_millis(400));
    }

    #[test]
    fn beside_two_requests_or_after_a_full_one_company_is_waited_for_as_long_as_one_takes_at_most_ten_seconds() {
        for (in_flight, pours) in [(2, false), (3, false), (8, true), (1, true)] {
            assert_eq!(beside(in_flight, pours, 25, &[]), Duration::from_millis(25));
            assert_eq!(beside(in_flight, pours, 25, &[3_000]), Duration::from_secs(3));
            assert_eq!(beside(in_flight, pours, 25, &[60_000]), crate::lanes::pace::SLOW);
        }
        assert_eq!(beside(0, true, 25, &[3_000]), LONGEST, "nothing is in flight");
    }

    #[test]
    fn one_odd_request_changes_it_by_an_eighth() {
        assert_eq!(after(0, &[400, 400, 1_200]), Duration::from_millis(125));
    }
}
