//! What Salesforce accepts in one request, and how much of an answer is read.
//!
//! The client refuses a larger request before it sends it ([`Error::TooLarge`]): Salesforce would refuse it as a whole,
//! and the call would count against the org's allocation.

use std::time::Duration;

use crate::Error;

/// Graphs in one request (REST API Developer Guide, Composite Graph Limits).
pub const GRAPHS: usize = 75;

/// Nodes in one graph request, summed over its graphs (REST API Developer Guide, Composite Graph Limits).
pub const NODES: usize = 500;

/// Different nodes in one graph request; two nodes differ when method or object differ (REST API Developer Guide,
/// Composite Graph Limits).
pub const DIFFERENT_NODES: usize = 15;

/// The longest chain of references within a graph (REST API Developer Guide, Composite Graph Limits).
pub const DEPTH: usize = 15;

/// Failed graphs after which Salesforce halts the rest of the request (REST API Developer Guide, Composite Graph
/// Limits).
pub const FAILED_GRAPHS: usize = 14;

/// The longest `graphId` in characters: it has to be shorter than 40 (REST API Developer Guide, Composite Graph).
pub const GRAPH_ID: usize = 39;

/// Rows in one collections request (REST API Developer Guide, sObject Collections).
pub const ROWS: usize = 200;

/// Runs of rows of one object in one collections request (REST API Developer Guide, sObject Collections).
pub const CHUNKS: usize = 10;

/// Subrequests in one composite request (REST API Developer Guide, Composite).
pub const SUBREQUESTS: usize = 25;

/// Queries among the subrequests of one composite request (REST API Developer Guide, Composite).
pub const QUERIES: usize = 5;

/// The longest address in bytes, host excluded (REST API Developer Guide, status 414).
pub const ADDRESS: usize = 16_384;

/// Pages that one query follows. At 2,000 records a page this is 100,000 records; a larger result is a Bulk API job.
pub const PAGES: usize = 50;

/// The largest answer that is read, decompressed, in bytes: 32 MiB. The largest graph answer is far below.
pub const ANSWER: usize = 32 * 1024 * 1024;

/// How much of an error body in an unknown shape is kept for a closer look, in bytes: 64 KiB.
pub const KEPT_BODY: usize = 64 * 1024;

/// Request bodies above this many bytes are sent gzip-compressed: 4 KiB.
pub const COMPRESS_ABOVE: usize = 4 * 1024;

/// Calls that run at least this long count against the org's limit on concurrent long-running requests (25 in
/// production, 5 in developer orgs; Salesforce Developer Limits, Concurrent API Request Limits).
pub const LONG_RUNNING: Duration = Duration::from_secs(20);

/// Refuses `found` of `what` above `max`.
pub(crate) fn check(what: &'static str, max: usize, found: usize) -> Result<(), Error> {
    if found > max { Err(Error::TooLarge { limit: what, max, found }) } else { Ok(()) }
}

/// The longest time for which a `Retry-After` is honoured. Core REST sends none; proxies may.
pub const RETRY_AFTER: std::time::Duration = std::time::Duration::from_mins(5);
