//! How long a ready order waits for company while other requests are in flight.

use std::time::Duration;

use super::Observation;

/// What a request usually takes is divided by this: an order waits no longer for company than a small part of what it has
/// to wait for anyway.
const PART: u32 = 4;

/// However long requests take, nobody waits longer than this.
pub const LONGEST: Duration = Duration::from_millis(250);

/// Of what is usual, the last request makes one part in so many.
const MEMORY: u32 = 8;

/// A request costs the same with one order as with seventy-five, so what is ready waits until it fills one, or for a while
/// that follows what requests take.
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

    pub(super) fn wait(&self) -> Duration {
        self.usual.map_or(Duration::ZERO, |usual| (usual / PART).min(LONGEST)).max(self.least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(least: u64, requests: &[u64]) -> Duration {
        let mut company = Company::new(Duration::from_millis(least));
        for took in requests {
            company.observe(&Observation { orders: 1, took: Duration::from_millis(*took), ..Observation::default() });
        }
        company.wait()
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
    fn one_odd_request_changes_it_by_an_eighth() {
        assert_eq!(after(0, &[400, 400, 1_200]), Duration::from_millis(125));
    }
}
