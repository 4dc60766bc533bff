//! Whether the org ever worked on two requests of one customer at once, by its own log of requests.

use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;

use crate::demo::generator::Script;
use crate::demo::reconcile::Account;

/// One request, as the org's log has it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Request {
    /// Running number in the order of their ends.
    pub(crate) number: u64,
    at: String,
    duration_ms: i64,
    #[serde(default)]
    rows: Vec<String>,
    status: u16,
    path: String,
    fault: Option<String>,
}

impl Request {
    /// Whether a row of it is this one.
    pub(crate) fn names(&self, id: &str) -> bool {
        self.rows.iter().any(|row| row.ends_with(id))
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, at, duration_ms, rows, status, path, fault } = self;
        let fault = fault.as_deref().unwrap_or("no fault");
        write!(f, "request {number} at {at}, {duration_ms} ms, {path}, {} rows, status {status}, {fault}", rows.len())
    }
}

/// Faults whose request was carried out all the same; with any other, nothing was.
const CARRIED_OUT: [&str; 4] = ["commit_then_drop", "commit_then_503", "truncated_body", "gzip_body"];
/// The log has milliseconds: what ends in one may be followed within the same.
const GRAIN_MS: i64 = 1;

/// A sentence for each pair of requests that were worked on at once and named the same customer.
pub(crate) fn overlaps(requests: &[Request], script: &Script, accounts: &[Account]) -> Vec<String> {
    let mut customers: HashMap<&str, &str> = HashMap::new();
    for order in &script.orders {
        customers.insert(&order.id, &order.key);
        customers.insert(&order.key, &order.key);
    }
    for account in accounts {
        if let Some(key) = &account.limio_id {
            customers.insert(&account.id, key);
        }
    }
    let mut spans: HashMap<&str, Vec<(i64, i64, u64)>> = HashMap::new();
    for request in requests {
        let carried_out = request.fault.as_deref().is_none_or(|fault| CARRIED_OUT.contains(&fault));
        let Some(begin) = milliseconds(&request.at).filter(|_| carried_out) else { continue };
        let names = request.rows.iter().filter_map(|row| row.rsplit('/').next());
        let mut concerned: Vec<&str> = names.filter_map(|name| customers.get(name).copied()).collect();
        concerned.sort_unstable();
        concerned.dedup();
        for customer in concerned {
            spans.entry(customer).or_default().push((begin, begin + request.duration_ms, request.number));
        }
    }
    let mut found = Vec::new();
    for (customer, mut spans) in spans {
        spans.sort_unstable();
        let mut latest: Option<(i64, u64)> = None;
        for (begin, end, number) in spans {
            if let Some((running_until, other)) = latest
                && begin + GRAIN_MS < running_until
            {
                let ms = running_until - begin;
                found.push(format!("requests {other} and {number} of {customer} overlap by {ms} ms"));
            }
            if latest.is_none_or(|(until, _)| end > until) {
                latest = Some((end, number));
            }
        }
    }
    found.sort_unstable();
    found
}

/// Milliseconds since 1970 of a date-time as the org prints it.
fn milliseconds(text: &str) -> Option<i64> {
    let zoned = jiff::fmt::strtime::parse("%Y-%m-%dT%H:%M:%S%.f%z", text).ok()?;
    Some(zoned.to_timestamp().ok()?.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::generator::script;

    fn request(number: u64, at_ms: i64, duration_ms: i64, row: &str) -> Request {
        let at = format!("2026-02-03T16:00:{:02}.{:03}+0000", at_ms / 1_000, at_ms % 1_000);
        Request { number, at, duration_ms, rows: vec![row.to_owned()], status: 200, path: String::new(), fault: None }
    }

    #[test]
    fn two_requests_of_a_customer_at_once_are_found_whatever_row_they_name_and_those_of_two_customers_are_not() {
        let script = script(200, 1, "acme");
        let order = &script.orders[0];
        let other = script.orders.iter().find(|order| order.key != script.orders[0].key).expect("several customers");
        let account = Account { id: "001000000000001AAA".into(), limio_id: Some(order.key.clone()), email: None };
        let by_order = request(1, 0, 100, &format!("LimioOrder__c/LimioId__c/{}", order.id));
        let by_key = request(2, 90, 100, &format!("Account/LimioId__c/{}", order.key));
        let by_id = request(3, 150, 10, &format!("Account/{}", account.id));
        let of_other = request(4, 0, 500, &format!("LimioOrder__c/LimioId__c/{}", other.id));
        let found = overlaps(&[by_order.clone(), by_key.clone(), by_id, of_other], &script, &[account]);
        let key = &order.key;
        let expected = [
            format!("requests 1 and 2 of {key} overlap by 10 ms"),
            format!("requests 2 and 3 of {key} overlap by 40 ms"),
        ];
        assert_eq!(found, expected);
        let after = request(5, 100, 100, &format!("Account/LimioId__c/{}", order.key));
        assert!(overlaps(&[by_order, after], &script, &[]).is_empty());
    }

    #[test]
    fn what_the_org_refused_to_carry_out_overlaps_nothing_and_what_it_only_did_not_answer_does() {
        let script = script(200, 1, "acme");
        let row = format!("Account/LimioId__c/{}", script.orders[0].key);
        let with = |fault: &str| Request { fault: Some(fault.to_owned()), ..request(1, 0, 100, &row) };
        let next = request(2, 50, 100, &row);
        assert_eq!(overlaps(&[with("drop_before"), next.clone()], &script, &[]).len(), 0);
        assert_eq!(overlaps(&[with("commit_then_drop"), next], &script, &[]).len(), 1);
    }
}
