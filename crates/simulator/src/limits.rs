//! Counting: API calls of the last 24 hours and requests that run too long.
//!
//! Source: Salesforce Developer Limits Quick Reference, "API Request Limits and Allocations".

pub(crate) mod sizes;

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;

use crate::clock::Moment;
use crate::events::rolling::Rolling;

const DAY_MS: i64 = 24 * 3_600_000;

/// Calls of the rolling day in buckets of a minute, and running requests.
#[derive(Debug)]
pub(crate) struct Usage {
    calls: Rolling,
    total: u64,
    running: HashMap<u64, Moment>,
    last_request: u64,
}

/// How much the org holds in memory, in its own units.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Stored {
    /// Rows, deleted ones included.
    pub records: usize,
    /// Versions of rows that are not committed.
    pub pending: usize,
    /// Entries of all indexes.
    pub index_entries: usize,
    /// Events on the bus.
    pub events: usize,
    /// Results that wait for a caller to page through them.
    pub cursors: usize,
    /// Requests in the log.
    pub requests: usize,
}

/// What `GET /_sim/usage` tells.
#[derive(Debug, Clone, Serialize)]
pub struct UsageReport {
    /// Calls of the rolling 24 hours.
    pub api_calls: u64,
    /// Calls allowed in that time.
    pub api_limit: u64,
    /// Calls since start or reset.
    pub api_calls_total: u64,
    /// Events of the rolling hour.
    pub events_last_hour: u64,
    /// Events allowed in that time.
    pub event_hourly_limit: u64,
    /// Events delivered to subscribers in the rolling 24 hours.
    pub deliveries_last_day: u64,
    /// Deliveries allowed in that time.
    pub event_daily_delivery_limit: u64,
    /// Requests being worked on.
    pub running: usize,
    /// Rows that running transactions hold locked.
    pub locked_rows: usize,
    /// Transactions that wait for a locked row.
    pub lock_waiters: usize,
    /// What the org holds in memory.
    pub stored: Stored,
    /// Of the running requests, those that sleep or wait for a lock by the org's clock.
    pub waiting: usize,
}

impl Default for Usage {
    fn default() -> Self {
        Self { calls: Rolling::new(DAY_MS), total: 0, running: HashMap::new(), last_request: 0 }
    }
}

impl Usage {
    pub(crate) fn last_day(&mut self, now_ms: i64) -> u64 {
        self.calls.total(now_ms)
    }

    /// Counts calls, unless the limit is reached; says how many stand counted and whether these were.
    pub(crate) fn count(&mut self, now_ms: i64, calls: u64, limit: u64) -> (u64, bool) {
        let used = self.last_day(now_ms);
        if used >= limit {
            return (used, false);
        }
        self.total += calls;
        self.calls.add(now_ms, calls);
        (used + calls, true)
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    pub(crate) fn started(&mut self, now: Moment) -> u64 {
        self.last_request += 1;
        self.running.insert(self.last_request, now);
        self.last_request
    }

    pub(crate) fn ended(&mut self, request: u64) {
        self.running.remove(&request);
    }

    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    pub(crate) fn long_running(&self, now: Moment, after: Duration) -> usize {
        self.running.values().filter(|started| now.since(**started) >= after).count()
    }
}
