//! How many requests at once: one more while all goes well, half as many when the org is pressed.

use std::time::Duration;

use super::{Observation, SLOW};
use crate::lanes::Time;

/// How many batches are in flight at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InFlight {
    /// So many, whatever is observed.
    Fixed(usize),
    /// From two up to so many, by what is observed.
    UpTo(usize),
}

/// Where an adapted limit begins, and below which it is not cut.
const LEAST: usize = 2;

/// After trouble, how long all must have gone well before there is one more.
const CALM: Duration = Duration::from_mins(1);

/// Of so many orders of a request, one that met a locked record is too many.
const ORDERS_PER_LOCK: usize = 20;

/// Additive increase, multiplicative decrease. Before the first trouble a limit grows by one after as many good requests as
/// it allows at once; after it, by one for each good minute. It grows only while it is what holds orders back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FlightLimit {
    limit: usize,
    most: usize,
    fixed: bool,
    /// Good requests in a row, while pressed.
    good: usize,
    /// When it was changed last.
    changed: Time,
    /// When it was cut last: what was sent before that says nothing new.
    cut: Option<Time>,
    /// There was trouble before.
    careful: bool,
}

impl FlightLimit {
    pub(super) fn new(in_flight: InFlight) -> Self {
        let (limit, most, fixed) = match in_flight {
            InFlight::Fixed(number) => (number.max(1), number.max(1), true),
            InFlight::UpTo(most) => (LEAST.min(most).max(1), most.max(1), false),
        };
        Self { limit, most, fixed, good: 0, changed: Time::ZERO, cut: None, careful: false }
    }

    pub(super) fn begins_anew(&mut self) {
        (self.changed, self.cut, self.good) = (Time::ZERO, None, 0);
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn observe(&mut self, now: Time, request: &Observation, pressed: bool) {
        if self.fixed {
            return;
        }
        let locked = request.locked > 0 && request.locked * ORDERS_PER_LOCK >= request.orders;
        if locked || request.overloaded || request.took > SLOW {
            self.good = 0;
            let sent = now.saturating_sub(request.took);
            if self.cut.is_none_or(|cut| sent >= cut) {
                self.limit = (self.limit / 2).max(LEAST.min(self.most));
                (self.cut, self.changed, self.careful) = (Some(now), now, true);
            }
        } else if pressed && self.limit < self.most {
            self.good += 1;
            let calm = !self.careful || now.saturating_sub(self.changed) >= CALM;
            if calm && self.good >= self.limit {
                self.limit += 1;
                (self.good, self.changed) = (0, now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn good() -> Observation {
        Observation { orders: 75, took: SECOND, ..Observation::default() }
    }

    /// As many good requests as are asked for, one a second.
    fn pass(limit: &mut FlightLimit, now: &mut Time, requests: usize) {
        for _ in 0..requests {
            *now += SECOND;
            limit.observe(*now, &good(), true);
        }
    }

    fn grown() -> (FlightLimit, Time) {
        let (mut limit, mut now) = (FlightLimit::new(InFlight::UpTo(8)), Time::ZERO);
        pass(&mut limit, &mut now, 2 + 3 + 4 + 5 + 6 + 7);
        (limit, now)
    }

    #[test]
    fn it_begins_at_two_and_reaches_eight_after_27_good_requests_and_no_more() {
        assert_eq!(FlightLimit::new(InFlight::UpTo(8)).limit(), 2);
        let (mut limit, mut now) = grown();
        assert_eq!(limit.limit(), 8);
        pass(&mut limit, &mut now, 1_000);
        assert_eq!(limit.limit(), 8);
    }

    #[test]
    fn it_does_not_grow_while_slots_are_free() {
        let mut limit = FlightLimit::new(InFlight::UpTo(8));
        for second in 1..100 {
            limit.observe(second * SECOND, &good(), false);
        }
        assert_eq!(limit.limit(), 2);
    }

    #[test]
    fn locks_refusals_of_too_much_and_slow_answers_halve_it_down_to_two() {
        let trouble = [
            Observation { locked: 4, ..good() },
            Observation { orders: 1, locked: 1, ..good() },
            Observation { overloaded: true, ..good() },
            Observation { took: SLOW + SECOND, ..good() },
        ];
        for trouble in trouble {
            let (mut limit, mut now) = grown();
            for expected in [4, 2, 2] {
                now += 20 * SECOND;
                limit.observe(now, &trouble, true);
                assert_eq!(limit.limit(), expected, "{trouble:?}");
            }
        }
    }

    #[test]
    fn one_locked_record_among_many_orders_is_everyday_life() {
        let (mut limit, now) = grown();
        limit.observe(now + SECOND, &Observation { locked: 3, ..good() }, true);
        assert_eq!(limit.limit(), 8);
    }

    #[test]
    fn requests_that_were_in_flight_when_it_was_cut_do_not_cut_it_again() {
        let (mut limit, now) = grown();
        let trouble = Observation { overloaded: true, ..good() };
        limit.observe(now, &trouble, true);
        limit.observe(now + SECOND / 2, &trouble, true);
        assert_eq!(limit.limit(), 4);
        limit.observe(now + SECOND, &trouble, true);
        assert_eq!(limit.limit(), 2);
    }

    #[test]
    fn after_trouble_it_grows_by_one_for_each_good_minute() {
        let (mut limit, mut now) = grown();
        limit.observe(now, &Observation { overloaded: true, ..good() }, true);
        pass(&mut limit, &mut now, 59);
        assert_eq!(limit.limit(), 4);
        pass(&mut limit, &mut now, 1);
        assert_eq!(limit.limit(), 5);
        pass(&mut limit, &mut now, 60);
        assert_eq!(limit.limit(), 6);
    }

    #[test]
    fn a_fixed_number_and_a_bound_below_two_stay_what_they_are() {
        for (in_flight, expected) in [(InFlight::Fixed(4), 4), (InFlight::UpTo(1), 1), (InFlight::Fixed(0), 1)] {
            let (mut limit, mut now) = (FlightLimit::new(in_flight), Time::ZERO);
            pass(&mut limit, &mut now, 100);
            assert_eq!(limit.limit(), expected);
            limit.observe(now, &Observation { overloaded: true, ..good() }, true);
            assert_eq!(limit.limit(), expected);
        }
    }

    #[test]
    fn a_new_session_begins_its_clock_anew_and_keeps_the_limit() {
        let (mut limit, now) = grown();
        limit.observe(now, &Observation { overloaded: true, ..good() }, true);
        limit.begins_anew();
        assert_eq!(limit.limit(), 4);
        limit.observe(2 * SECOND, &Observation { overloaded: true, ..good() }, true);
        assert_eq!(limit.limit(), 2);
    }
}
