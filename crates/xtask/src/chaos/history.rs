//! The whole history of the customers of whom something is wrong, for whoever looks for the cause.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;

use super::requests::Request;
use crate::demo::generator::Script;
use crate::demo::reconcile::Evidence;

/// At most so many customers are told of.
const CUSTOMERS: usize = 20;

/// What was published, recorded, announced and given up for each customer whose key or order a finding names, and the
/// org's requests for each order.
pub(crate) fn histories(findings: &[String], evidence: &Evidence, script: &Script, requests: &[Request]) -> String {
    let text = findings.join("\n");
    let concerned = script.orders.iter().filter(|order| text.contains(&order.id) || text.contains(&order.reference));
    let concerned: BTreeSet<&str> = concerned.map(|order| order.key.as_str()).take(CUSTOMERS * 4).collect();
    let records: HashMap<&str, usize> =
        evidence.records.iter().enumerate().map(|(place, record)| (record.order.as_str(), place)).collect();
    let mut told = String::new();
    for customer in concerned.into_iter().take(CUSTOMERS) {
        let _ = writeln!(told, "{customer}");
        for (place, order) in script.orders.iter().enumerate().filter(|(_, order)| order.key == customer) {
            let sent = script.deliveries.iter().filter(|sent| **sent == place).count();
            let record = records.get(order.id.as_str()).map_or_else(|| "-".to_owned(), ToString::to_string);
            let events = evidence.events.iter().enumerate();
            let events = events.filter(|(_, event)| event.order_number == order.reference);
            let events: Vec<String> = events.map(|(place, _)| place.to_string()).collect();
            let letters = evidence.letters.iter().filter(|letter| letter.order_id.as_ref() == Some(&order.id));
            let letters: Vec<String> =
                letters.map(|letter| if letter.held { "held".to_owned() } else { letter.reason.clone() }).collect();
            let _ = writeln!(
                told,
                "  {} {:<24} published as {place}, sent {sent} times; record {record}, events [{}], letters [{}]",
                order.id,
                order.order_type.as_str(),
                events.join(" "),
                letters.join(" ")
            );
            for request in requests.iter().filter(|request| request.concerns(&order.id)) {
                let _ = writeln!(told, "      {request}");
            }
        }
    }
    told
}
