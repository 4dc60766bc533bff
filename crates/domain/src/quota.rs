//! How much of the org's request allocation the fleet may spend, and when it may go on: decided from what answers tell.
//!
//! Salesforce counts the requests of the last 24 hours, of all programs of the org together, and says the count with each
//! answer (REST API Developer Guide, Limit Info Header). It says what is used now, not when that leaves the window; the
//! fleet's own calls it knows, by quarters of an hour. Nothing here asks Salesforce, or knows a clock.

use std::time::Duration;

/// A time: since 1970.
pub type Time = Duration;

/// How long a call counts.
pub const WINDOW: Duration = Duration::from_hours(24);

/// The grain in which own calls are remembered.
pub const BUCKET: Duration = Duration::from_mins(15);

/// For how long Salesforce's servers may tell different counts.
pub const DISAGREEMENT: Duration = Duration::from_mins(1);

/// The time over which rates are taken.
pub const RATE_OVER: Duration = Duration::from_hours(1);

/// What an answer told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Requests used in the window, by every program of the org.
    pub used: u64,
    /// Requests allowed.
    pub limit: u64,
    /// When it was told.
    pub at: Time,
}

impl Usage {
    /// Which of two tellings holds: the higher count, until the lower one has outlasted [`DISAGREEMENT`] or is lower by a
    /// twentieth of the allocation. A server that is behind the others does not give back what is spent; a window that moved
    /// does.
    #[must_use]
    pub fn or_newer(self, told: Self) -> Self {
        let settled = told.at.saturating_sub(self.at) >= DISAGREEMENT;
        let moved = self.used.saturating_sub(told.used).saturating_mul(20) >= self.limit;
        if told.limit != self.limit || told.used >= self.used || settled || moved { told } else { self }
    }
}

/// What is left to others, and what to new orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reserve {
    /// Per cent of the allocation that the fleet leaves to the org's other programs.
    pub percent: u64,
    /// Calls that it leaves to them at least.
    pub calls: u64,
    /// Per cent of the allocation beyond these that replays leave to new orders.
    pub replays_percent: u64,
}

/// What a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// An order that came.
    New,
    /// An order that an operator released.
    Replay,
}

impl Reserve {
    /// How much of the allocation may be used when a call of this class begins.
    pub fn ceiling(&self, class: Class, limit: u64) -> u64 {
        let share = |percent: u64| limit.saturating_mul(percent).div_ceil(100);
        let others = share(self.percent).max(self.calls);
        let kept = match class {
            Class::New => others,
            Class::Replay => others.saturating_add(share(self.replays_percent)),
        };
        limit.saturating_sub(kept)
    }
}

/// What the fleet knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spending {
    /// What holds of all that was told.
    pub usage: Option<Usage>,
    /// Requests under way of which no answer has told yet, the one that is asked for included.
    pub in_flight: u64,
    /// Own calls by the start of their [`BUCKET`], oldest first; without them nobody knows when room comes.
    pub own: Vec<(Time, u64)>,
    /// What was used when past buckets began, oldest first.
    pub past: Vec<(Time, u64)>,
}

/// What a request may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It may go.
    Go,
    /// What was told is too old to go by: one request of the fleet may go, and learns what is used now.
    Look,
    /// It waits; after that time [`Decision::Look`] comes, unless an answer has told something newer.
    Wait {
        /// When that is.
        until: Time,
        /// When own calls will have left the window that make room enough, if there are so many.
        moves: Option<Time>,
    },
}

impl Spending {
    /// Whether a request of this class may go. `probe` is how old a telling may be: what others have spent may leave the
    /// window at any time, so the fleet looks again.
    pub fn decide(&self, class: Class, reserve: &Reserve, now: Time, probe: Duration) -> Decision {
        let Some(usage) = self.usage else { return Decision::Go };
        let ceiling = reserve.ceiling(class, usage.limit);
        let used = usage.used.saturating_add(self.in_flight);
        if used <= ceiling {
            return Decision::Go;
        }
        let moves = self.room_at(used - ceiling, usage.at);
        let latest = usage.at + probe;
        let until = moves.map_or(latest, |moves| moves.min(latest));
        if until <= now { Decision::Look } else { Decision::Wait { until, moves } }
    }

    /// When so many of the own calls will have left the window, of those that were in it at this time.
    fn room_at(&self, calls: u64, counted_at: Time) -> Option<Time> {
        let mut left = calls;
        for (start, own) in &self.own {
            let gone = *start + BUCKET + WINDOW;
            if gone <= counted_at {
                continue;
            }
            left = left.saturating_sub(*own);
            if left == 0 {
                return Some(gone);
            }
        }
        None
    }

    /// What is used up how fast.
    pub fn forecast(&self, reserve: &Reserve, now: Time) -> Option<Forecast> {
        let usage = self.usage?;
        let since = now.saturating_sub(RATE_OVER);
        let own: u64 = self.own.iter().filter(|(start, _)| *start >= since).map(|(_, calls)| *calls).sum();
        // Fewer when the window frees more than is spent: nothing runs out then.
        let growth = self.past.iter().find(|(at, _)| *at >= since).and_then(|(at, used)| {
            let over = usage.at.checked_sub(*at).filter(|over| !over.is_zero())?;
            let grown = usage.used.saturating_sub(*used);
            Some(per_hour(grown, over))
        });
        let per_hour = growth.unwrap_or_default();
        let left = reserve.ceiling(Class::New, usage.limit).saturating_sub(usage.used);
        let spent_in = (per_hour > 0).then(|| Duration::from_secs(left.saturating_mul(3600) / per_hour));
        Some(Forecast { own_per_hour: own, others_per_hour: per_hour.saturating_sub(own), left, spent_in })
    }
}

fn per_hour(calls: u64, over: Duration) -> u64 {
    u64::try_from(u128::from(calls) * RATE_OVER.as_millis() / over.as_millis().max(1)).unwrap_or(u64::MAX)
}

/// How the allocation goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forecast {
    /// Calls of the fleet in the last hour.
    pub own_per_hour: u64,
    /// By how much more the count grows in an hour: what others call, less what leaves the window.
    pub others_per_hour: u64,
    /// Calls left above the reserve.
    pub left: u64,
    /// When these are spent at this rate; `None` while the count does not grow.
    pub spent_in: Option<Duration>,
}

#[cfg(test)]
mod tests;
