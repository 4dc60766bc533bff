//! Copies of orders that are settled, which wait behind a dead letter of their customer.
//!
//! Where Redis forgets an order, a copy of it (sent twice, or delivered once more) is handed on like a first one. Meets it a
//! dead letter of its customer, it waits behind that without being looked up; once released it is found settled. Nothing is
//! lost or written twice, and an operator sees one letter more than there are orders.
//!
//! Only that excuses such a letter: Redis lost its memory after the order was sent first and before the letter was written.
//! It need not have been after the order was settled. A copy may be handed on while the order still waits for its answer,
//! and then it stands in the queue, behind what dies next.

use std::collections::{HashMap, HashSet};

use super::journal::Span;
use super::schedule::{Kind, Subject};
use crate::demo::reconcile::{Evidence, Fate, Letter};

/// Takes the letters of such copies out of the evidence, which is of orders; returns how many there were. `first_sent` tells
/// when each order was sent first, by its identity, in milliseconds since 1970.
pub(crate) fn set_aside(evidence: &mut Evidence, first_sent: &HashMap<String, i64>, spans: &[Span]) -> usize {
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
    let is_excused = |letter: &Letter| {
        let settled = letter.order_id.as_ref().filter(|id| settled.contains(*id));
        let sent = settled.and_then(|id| first_sent.get(id));
        let forgot = |sent: &i64| spans.iter().any(|span| forgets(span) && span.touches(*sent, letter.at));
        letter.held && sent.is_some_and(forgot)
    };
    evidence.letters.retain(|letter| !is_excused(letter));
    before - evidence.letters.len()
}

/// Whether Redis lost its memory: all of it, or what it had not written down. A line that is cut loses nothing: nobody hands
/// on what Redis has not answered for.
pub(super) fn forgets(span: &Span) -> bool {
    span.subject == Subject::Redis && matches!(span.kind, Kind::Flush | Kind::KillRedis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::schedule::Service;
    use crate::demo::reconcile::{Published, Record, Whose};

    /// When every order is sent, and every letter written.
    const SENT: i64 = 1_000;
    const PARKED: i64 = 5_000;

    fn order(name: &str, expected: Fate) -> Published {
        Published {
            key: "ann".into(),
            id: name.into(),
            reference: name.into(),
            subscription: Vec::new(),
            order_type: "renew",
            event: None,
            expected,
            whose: Whose::Customers,
            letter: format!("letter-{name}"),
        }
    }

    fn letter(name: &str, held: bool) -> Letter {
        Letter { id: name.into(), order_id: Some(name.into()), blocks: true, held, reason: String::new(), at: PARKED }
    }

    fn evidence() -> Evidence {
        let records =
            ["copied", "dead", "shared"].map(|name| Record { order: name.into(), account: None, subscription: None });
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

    fn flush(at: i64) -> Span {
        Span::of(Kind::Flush, Subject::Redis, at, at)
    }

    /// The letters that stay.
    fn left(spans: &[Span]) -> Vec<String> {
        let mut evidence = evidence();
        let first_sent = evidence.published.iter().map(|order| (order.id.clone(), SENT)).collect();
        let before = evidence.letters.len();
        let set_aside = set_aside(&mut evidence, &first_sent, spans);
        assert_eq!(set_aside, before - evidence.letters.len());
        evidence.letters.into_iter().map(|letter| letter.id).collect()
    }

    const OTHERS: [&str; 4] = ["dead", "shared", "behind", "never written"];

    #[test]
    fn a_held_copy_of_a_written_order_is_set_aside_where_redis_forgot_the_order_and_nothing_else_is() {
        assert_eq!(left(&[flush(3_000)]), OTHERS);
        assert_eq!(left(&[Span::of(Kind::KillRedis, Subject::Redis, 500, 1_500)]), OTHERS);
    }

    #[test]
    fn a_redis_that_forgot_before_the_order_was_sent_or_after_the_letter_was_written_excuses_nothing() {
        assert_eq!(left(&[]).len(), 5);
        assert_eq!(left(&[flush(SENT - 1), flush(PARKED + 1)]).len(), 5);
    }

    #[test]
    fn what_loses_no_memory_excuses_nothing() {
        let lines = [Service::Redis, Service::RabbitMq, Service::Org];
        let cut = |line| Span::of(Kind::Cut, line, SENT, PARKED);
        let writers = lines.map(|service| cut(Subject::WriterLine(0, service)));
        let ingests = [Service::Redis, Service::RabbitMq].map(|service| cut(Subject::IngestLine(0, service)));
        let killed = Span::of(Kind::KillRabbitmq, Subject::RabbitMq, SENT, PARKED);
        let spans: Vec<Span> = writers.into_iter().chain(ingests).chain([killed]).collect();
        assert_eq!(left(&spans).len(), 5);
    }

    #[test]
    fn an_order_that_nobody_sent_has_no_excuse() {
        let mut evidence = evidence();
        assert_eq!(set_aside(&mut evidence, &HashMap::new(), &[flush(3_000)]), 0);
    }
}
