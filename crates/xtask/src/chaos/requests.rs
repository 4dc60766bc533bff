//! The org's own log of requests, put together from what it still has each time: it forgets.

use std::fmt;
use std::net::Ipv4Addr;

use anyhow::Result;
use serde::Deserialize;

use crate::demo::org::Org;

/// One request, as the org's log has it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Request {
    /// Running number in the order of their ends.
    pub(crate) number: u64,
    pub(crate) at: String,
    pub(crate) duration_ms: i64,
    /// The rows that it names: object and record id, or object, field and value.
    #[serde(default)]
    pub(crate) rows: Vec<String>,
    /// The names that a query asks for.
    #[serde(default)]
    pub(crate) asked: Vec<String>,
    pub(crate) status: u16,
    pub(crate) path: String,
    pub(crate) fault: Option<String>,
    /// The caller's address.
    #[serde(default)]
    pub(crate) from: String,
}

/// The address from which the org sees a writer, counted from 0, come.
pub(crate) fn address_of(writer: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, writer.saturating_add(1))
}

/// Faults whose request was carried out all the same; with any other, nothing was.
const CARRIED_OUT: [&str; 4] = ["commit_then_drop", "commit_then_503", "truncated_body", "gzip_body"];
/// Of those, the ones whose answer says nothing.
const UNANSWERED: [&str; 3] = ["commit_then_drop", "commit_then_503", "truncated_body"];

impl Request {
    /// Whether a row of it has this in its name, or it asks for that.
    pub(crate) fn concerns(&self, what: &str) -> bool {
        self.rows.iter().chain(&self.asked).any(|name| name.contains(what))
    }

    /// What follows the object, and the field where there is one, in the name of each row. A value may hold slashes.
    pub(crate) fn values(&self) -> impl Iterator<Item = &str> {
        self.rows.iter().filter_map(|row| {
            let mut parts = row.splitn(3, '/').skip(1);
            let (second, third) = (parts.next()?, parts.next());
            Some(third.unwrap_or(second))
        })
    }

    /// Which writer made it, counted from 0; `None` for anybody else.
    pub(crate) fn writer(&self) -> Option<usize> {
        let [127, 0, 1, place] = self.from.parse::<Ipv4Addr>().ok()?.octets() else { return None };
        usize::from(place).checked_sub(1)
    }

    /// When it began and ended, in milliseconds since 1970.
    pub(crate) fn span(&self) -> Option<(i64, i64)> {
        milliseconds(&self.at).map(|begin| (begin, begin + self.duration_ms))
    }

    /// Whether the org worked on it.
    pub(crate) fn carried_out(&self) -> bool {
        self.fault.as_deref().is_none_or(|fault| CARRIED_OUT.contains(&fault))
    }

    /// Whether the org gave no answer to it from which its fate can be told.
    pub(crate) fn unanswered(&self) -> bool {
        self.fault.as_deref().is_some_and(|fault| UNANSWERED.contains(&fault))
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, at, duration_ms, rows, asked, status, path, fault, .. } = self;
        let fault = fault.as_deref().unwrap_or("no fault");
        let named = rows.len() + asked.len();
        let who = self.writer().map_or_else(|| "somebody".to_owned(), |writer| format!("writer-{}", writer + 1));
        write!(
            f,
            "request {number} of {who} at {at}, {duration_ms} ms, {path}, {named} names, status {status}, {fault}"
        )
    }
}

/// Milliseconds since 1970 of a date-time as the org prints it.
pub(crate) fn milliseconds(text: &str) -> Option<i64> {
    let zoned = jiff::fmt::strtime::parse("%Y-%m-%dT%H:%M:%S%.f%z", text).ok()?;
    Some(zoned.to_timestamp().ok()?.as_millisecond())
}

/// All requests so far.
#[derive(Debug, Default)]
pub(crate) struct RequestLog {
    pub(crate) requests: Vec<Request>,
}

impl RequestLog {
    /// Reads on.
    pub(crate) async fn read(&mut self, org: &Org) -> Result<()> {
        let last = self.requests.last().map_or(0, |request| request.number);
        let newer: Vec<Request> = org.get(&format!("requests?after={last}")).await?;
        self.requests.extend(newer);
        Ok(())
    }

    /// How many requests the org had forgotten before they were read.
    pub(crate) fn missing(&self) -> u64 {
        let last = self.requests.last().map_or(0, |request| request.number);
        last.saturating_sub(self.requests.len() as u64)
    }
}

/// A request of 10 ms for a test, at 2026-02-03T16:00:00Z.
#[cfg(test)]
pub(super) fn made_by(writer: u8, number: u64, rows: &[&str]) -> Request {
    Request {
        number,
        at: "2026-02-03T16:00:00.000+0000".to_owned(),
        duration_ms: 10,
        rows: rows.iter().map(|row| (*row).to_owned()).collect(),
        asked: Vec::new(),
        status: 200,
        path: String::new(),
        fault: None,
        from: address_of(writer).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(number: u64, rows: &[&str]) -> Request {
        made_by(0, number, rows)
    }

    #[test]
    fn a_request_is_told_to_be_a_writers_by_the_address_from_which_it_came() {
        assert_eq!(made_by(2, 1, &[]).writer(), Some(2));
        for other in ["127.0.0.1", "127.0.1.0", "", "::1"] {
            assert_eq!(Request { from: other.to_owned(), ..request(1, &[]) }.writer(), None, "{other}");
        }
    }

    #[test]
    fn requests_that_the_org_forgot_before_they_were_read_are_missed() {
        let whole = RequestLog { requests: (1..=3).map(|number| request(number, &[])).collect() };
        assert_eq!(whole.missing(), 0);
        let torn = RequestLog { requests: [2, 3, 6].map(|number| request(number, &[])).to_vec() };
        assert_eq!(torn.missing(), 3);
    }

    #[test]
    fn a_row_is_told_by_its_id_or_by_a_value_that_may_hold_slashes() {
        let rows = ["Account/001000000000001AAA", "Order__c/LimioId__c/order-1", "Event__e/Key__c/order-1/NEW"];
        let request = request(1, &rows);
        assert_eq!(request.values().collect::<Vec<_>>(), ["001000000000001AAA", "order-1", "order-1/NEW"]);
        assert_eq!(request.span(), Some((1_770_134_400_000, 1_770_134_400_010)));
    }
}
