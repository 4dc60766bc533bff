//! Copies of orders that are settled, which wait behind a dead letter of their customer.
//!
//! Where Redis is lost, a copy of an order (sent twice, or delivered once more) is handed on like a first one. Meets it a dead
//! letter of its customer, it waits behind that without being looked up; once released it is found settled. Nothing is lost
//! or written twice, and an operator sees one letter more than there are orders.

use std::collections::{HashMap, HashSet};

use super::doubles::disturbs_redis;
use super::journal::Span;
use crate::demo::reconcile::{Evidence, Fate};

/// Takes the letters of such copies out of the evidence, which is of orders; returns how many there were. Where Redis was
/// well all the time there can be none, and every letter stays.
pub(crate) fn set_aside(evidence: &mut Evidence, spans: &[Span]) -> usize {
    if !spans.iter().any(disturbs_redis) {
        return 0;
    }
    let mut bearers: HashMap<&str, usize> = HashMap::new();
    for order in &evidence.published {
        *bearers.entry(&order.id).or_default() += 1;
    }
    let alone = evidence.published.iter().filter(|order| bearers.get(order.id.as_str()) == Some(&1));
    let to_be_settled = alone.filter(|order| matches!(order.expected, Fate::Written | Fate::Rejected));
    let to_be_settled: HashSet<&str> = to_be_settled.map(|order| order.id.as_str()).collect();
    let settled = evidence.records.iter().map(|record| &record.order).chain(&evidence.told.rejected);
    let settled: HashSet<String> = settled.filter(|id| to_be_settled.contains(id.as_str())).cloned().collect();
    let before = evidence.letters.len();
    let is_copy = |id: &Option<String>| id.as_ref().is_some_and(|id| settled.contains(id));
    evidence.letters.retain(|letter| !(letter.held && is_copy(&letter.order_id)));
    before - evidence.letters.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::schedule::{Kind, Service, Subject};
    use crate::demo::reconcile::{Letter, Published, Record, Whose};

    fn order(name: &str, expected: Fate) -> Published {
        Published {
            key: "ann".into(),
            id: name.into(),
            reference: name.into(),
            order_type: "renew",
            event: None,
            expected,
            whose: Whose::Customers,
            letter: format!("letter-{name}"),
        }
    }

    fn letter(name: &str, held: bool) -> Letter {
        Letter { id: name.into(), order_id: Some(name.into()), blocks: true, held, reason: String::new() }
    }

    fn evidence() -> Evidence {
        let records = ["copied", "dead", "shared"].map(|name| Record { order: name.into(), account: None });
        Evidence {
            published: vec![
                order("copied", Fate::Written),
                order("dead", Fate::Written),
                order("shared", Fate::Written),
                order("shared", Fate::Parked),
                order("behind", Fate::Parked),
                order("never written", Fate::Written),
            ],
            records: records.into(),
            letters: vec![
                letter("copied", true),
                letter("dead", false),
                letter("shared", true),
                letter("behind", true),
                letter("never written", true),
            ],
            ..Evidence::default()
        }
    }

    fn span(subject: Subject) -> Span {
        Span::of(Kind::Flush, subject, 0, 1)
    }

    #[test]
    fn a_held_copy_of_a_written_order_is_set_aside_where_redis_was_lost_and_nothing_else_is() {
        let mut after_a_flush = evidence();
        assert_eq!(set_aside(&mut after_a_flush, &[span(Subject::Redis)]), 1);
        let left: Vec<&str> = after_a_flush.letters.iter().map(|letter| letter.id.as_str()).collect();
        assert_eq!(left, ["dead", "shared", "behind", "never written"]);
        for spans in [vec![], vec![span(Subject::WriterLine(0, Service::RabbitMq))]] {
            let mut well = evidence();
            assert_eq!(set_aside(&mut well, &spans), 0);
            assert_eq!(well.letters.len(), 5);
        }
    }
}
