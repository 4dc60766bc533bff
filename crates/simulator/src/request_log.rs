//! The last requests, for people and tests.

use std::collections::VecDeque;
use std::net::IpAddr;

use serde::Serialize;

const CAPACITY: usize = 20_000;
/// A path, a method or the address of a row is kept up to this many bytes.
const LONGEST: usize = 2_000;

/// One request as it was answered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LoggedRequest {
    /// Running number from 1.
    pub number: u64,
    /// When it arrived, as a date-time field prints it.
    pub at: String,
    /// HTTP method.
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// HTTP status; 0 when the connection was dropped instead.
    pub status: u16,
    /// Milliseconds of the org's time until the answer.
    pub duration_ms: u64,
    /// Graphs in the request.
    pub graphs: usize,
    /// Nodes, subrequests or rows in the request.
    pub nodes: usize,
    /// Subrequests that ask what an object is made of; a request of its own tells by its path.
    pub describes: usize,
    /// Milliseconds that the latency model drew for the request, those of its rows apart; the same seed draws the same.
    pub latency_ms: u64,
    /// The rows that a graph, a composite request, a collection or a request for one row names: those it addresses, as
    /// `Account/LimioId__c/id-1` or with a record id in place of the last two, and of those it makes each external id in the
    /// body, and each field of the setting `logged_fields`, in the same form.
    pub rows: Vec<String>,
    /// The texts in quotes of the statement that a request for a query brings.
    pub asked: Vec<String>,
    /// Name of the fault that was applied, if any.
    pub fault: Option<String>,
    /// The W3C trace context that the request carried.
    pub traceparent: Option<String>,
    /// The caller's address.
    pub from: IpAddr,
}

#[derive(Debug, Default)]
pub(crate) struct RequestLog {
    entries: VecDeque<LoggedRequest>,
    last: u64,
}

impl RequestLog {
    pub(crate) fn push(&mut self, mut request: LoggedRequest) {
        self.last += 1;
        request.number = self.last;
        for text in [&mut request.path, &mut request.method]
            .into_iter()
            .chain(&mut request.rows)
            .chain(&mut request.asked)
            .chain(&mut request.traceparent)
        {
            text.truncate(text.floor_char_boundary(LONGEST));
        }
        if self.entries.len() == CAPACITY {
            self.entries.pop_front();
        }
        self.entries.push_back(request);
    }

    /// Oldest first.
    pub(crate) fn entries(&self) -> impl DoubleEndedIterator<Item = &LoggedRequest> + ExactSizeIterator {
        self.entries.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{CAPACITY, LONGEST, LoggedRequest, RequestLog};

    #[test]
    fn the_log_keeps_the_last_requests_and_the_beginning_of_a_long_path() {
        let mut log = RequestLog::default();
        for _ in 0..CAPACITY + 10 {
            log.push(LoggedRequest {
                number: 0,
                at: String::new(),
                method: "GET".to_owned(),
                path: "/é".repeat(LONGEST / 2),
                status: 200,
                duration_ms: 0,
                graphs: 0,
                nodes: 0,
                describes: 0,
                latency_ms: 0,
                rows: vec!["Account/LimioId__c/é".repeat(LONGEST)],
                asked: Vec::new(),
                fault: None,
                traceparent: None,
                from: IpAddr::from([127, 0, 0, 1]),
            });
        }
        assert_eq!(log.entries().len(), CAPACITY);
        assert_eq!(log.entries().next().map(|first| first.number), Some(11));
        assert!(log.entries().all(|request| request.path.len() <= LONGEST && request.path.len() > LONGEST - 3));
        assert!(log.entries().all(|request| request.rows.iter().all(|row| row.len() <= LONGEST)));
    }
}
