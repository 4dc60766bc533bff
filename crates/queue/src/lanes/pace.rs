//! How much at once: how many orders in a request, how many requests in flight, and how long an order waits for company,
//! learned from what requests came to.
//!
//! Pure: observations in, limits out. What is known outlasts a session ([`Pace::begins_anew`]).

mod company;
mod flight;
mod size;

use std::time::Duration;

use self::company::Company;
pub use self::company::LONGEST as LONGEST_WAIT_FOR_COMPANY;
use self::flight::FlightLimit;
pub use self::flight::InFlight;
use self::size::SizeLimit;
use super::Time;

/// From this on a request counts as slow: half of the 20 s from which Salesforce counts it against the 25 long-running ones
/// that it allows at once.
pub const SLOW: Duration = Duration::from_secs(10);

/// What became of one request that carried orders.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Observation {
    /// Orders in it.
    pub orders: usize,
    /// Of them, refused, for whatever reason. A duplicate is one.
    pub refused: usize,
    /// Of them, not tried because too many before them were refused.
    pub halted: usize,
    /// Of them, refused because somebody else held a record.
    pub locked: usize,
    /// How long it took.
    pub took: Duration,
    /// It was turned away because too much is going on, or its answer did not come in time.
    pub overloaded: bool,
}

/// How batches are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSettings {
    /// Most orders in a batch. At least 1.
    pub orders: usize,
    /// Batches in flight at once.
    pub in_flight: InFlight,
    /// How long a ready head waits for company at least while other batches are in flight. Beside one it becomes a quarter
    /// of what a request takes, up to [`LONGEST_WAIT_FOR_COMPANY`]; beside several, or after a full batch, as long as a
    /// request takes, up to [`SLOW`]. None are in flight: it goes at once; after a full batch it waits as beside one.
    pub linger: Duration,
}

/// The limits of the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    size: SizeLimit,
    flight: FlightLimit,
    company: Company,
}

impl Pace {
    /// Limits before anything was observed: the largest batch, and the fewest requests.
    ///
    /// A batch that is too large for an org costs one halted or slow request, which uses up no attempt; a small first one
    /// would cost every process that starts as much.
    pub fn new(settings: BatchSettings) -> Self {
        Self {
            size: SizeLimit::new(settings.orders),
            flight: FlightLimit::new(settings.in_flight),
            company: Company::new(settings.linger),
        }
    }

    /// The clock begins at zero again; what was learned stays.
    pub fn begins_anew(&mut self) {
        self.flight.begins_anew();
    }

    /// Takes in what became of a request. `pressed` says that all slots were taken while more orders were ready.
    pub fn observe(&mut self, now: Time, request: &Observation, pressed: bool) {
        self.size.observe(request);
        self.company.observe(request);
        self.flight.observe(now, request, pressed);
    }

    /// Most orders in the next batch. At least 1.
    pub fn orders(&self) -> usize {
        self.size.limit()
    }

    /// How long a ready head waits for company while so many other batches are in flight. `pours` says that the last batch
    /// was a full one; else it does not wait at all while none is in flight.
    pub fn linger(&self, in_flight: usize, pours: bool) -> Duration {
        self.company.wait(in_flight, pours)
    }

    /// Most batches in flight at once. At least 1.
    pub fn in_flight(&self) -> usize {
        self.flight.limit()
    }
}
