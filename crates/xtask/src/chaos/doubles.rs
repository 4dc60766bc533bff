//! Events that the org published more than once, by the key that each carries, and whether anybody is to blame for it.
//!
//! Who does not know whether an event was published asks Redis and then the order's record, which notes it. A double is
//! excused only where both could not tell: the org carried out a publish of this very event whose publisher never had the
//! answer, and Redis was disturbed between that publish and the next.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Deserialize;

use super::journal::Span;
use super::requests::Request;
use super::schedule::{Kind, Service, Subject};
use crate::demo::reconcile::Event;

/// Where events are published.
const PUBLISHES: [&str; 2] = ["/composite/sobjects", "/composite/graph"];

/// An event as the org's bus has it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct BusEvent {
    payload: Payload,
}

#[derive(Debug, Clone, Deserialize)]
struct Payload {
    #[serde(rename = "EventKey__c")]
    key: Option<String>,
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Doubles {
    /// Events beyond the first of their key.
    pub(crate) count: usize,
    /// Those of them that nobody could have avoided.
    pub(crate) excused: usize,
    /// Events without a key.
    pub(crate) keyless: usize,
    /// A sentence for each that somebody could have avoided.
    pub(crate) findings: Vec<String>,
}

/// The events without those whose key came before, as a subscriber folds them. The bus tells each event's key.
pub(crate) fn folded(events: Vec<Event>, bus: &[BusEvent]) -> Vec<Event> {
    let mut seen = HashSet::new();
    let keys = bus.iter().map(|event| event.payload.key.as_deref()).chain(std::iter::repeat(None));
    let first = events.into_iter().zip(keys).filter(|(_, key)| key.is_none_or(|key| seen.insert(key)));
    first.map(|(event, _)| event).collect()
}

/// The keys on the bus, in the order of the events.
pub(crate) fn keys(events: &[BusEvent]) -> Vec<String> {
    events.iter().filter_map(|event| event.payload.key.clone()).collect()
}

/// Counts them. A call whose answer takes longer than `deadline_ms` has lost it.
pub(crate) fn doubles(events: &[BusEvent], requests: &[Request], spans: &[Span], deadline_ms: i64) -> Doubles {
    let mut copies: BTreeMap<&str, usize> = BTreeMap::new();
    let mut found = Doubles::default();
    for event in events {
        match event.payload.key.as_deref() {
            Some(key) => *copies.entry(key).or_default() += 1,
            None => found.keyless += 1,
        }
    }
    copies.retain(|_, copies| *copies > 1);
    let mut publishes: HashMap<&str, Vec<&Request>> = HashMap::new();
    let publishing = |request: &&Request| PUBLISHES.iter().any(|path| request.path.ends_with(path));
    for request in requests.iter().filter(|request| request.carried_out()).filter(publishing) {
        for key in request.values().filter(|value| copies.contains_key(value)) {
            publishes.entry(key).or_default().push(request);
        }
    }
    for (key, copies) in copies {
        let mut of_key = publishes.remove(key).unwrap_or_default();
        of_key.sort_by_key(|request| request.span());
        for copy in 1..copies {
            found.count += 1;
            let (before, again) = (of_key.get(copy - 1), of_key.get(copy));
            match before.zip(again).map_or(Some("no publish of it is in the org's log"), |(before, again)| {
                blame(before, again, spans, deadline_ms)
            }) {
                None => found.excused += 1,
                Some(why) => {
                    let publishes: Vec<String> = before.iter().chain(&again).map(ToString::to_string).collect();
                    found.findings.push(format!("published again: {key}; {why}; {}", publishes.join("; ")));
                }
            }
        }
    }
    found
}

/// Why the second publish should not have been made.
fn blame(before: &Request, again: &Request, spans: &[Span], deadline_ms: i64) -> Option<&'static str> {
    let Some(((begin, end), (next, _))) = before.span().zip(again.span()) else { return Some("the log has no times") };
    let lost = before.unanswered()
        || before.duration_ms >= deadline_ms
        || spans.iter().any(|span| takes_answers(span) && span.touches(begin, end.max(begin + deadline_ms)));
    if !lost {
        return Some("the answer of the first publish was not lost");
    }
    let disturbed = spans.iter().any(|span| disturbs_redis(span) && span.touches(begin, next));
    (!disturbed).then_some("Redis was well from the first publish to the next")
}

/// Whether a writer may not have had an answer that the org gave. The log does not say whose a request was, so any writer's
/// trouble counts.
fn takes_answers(span: &Span) -> bool {
    match span.subject {
        Subject::Writer(_) => matches!(span.kind, Kind::KillWriter | Kind::StopWriter),
        Subject::WriterLine(_, Service::Org) => true,
        Subject::WriterLine(_, Service::RabbitMq | Service::Redis)
        | Subject::Ingest(_)
        | Subject::IngestLine(..)
        | Subject::PublisherLine
        | Subject::RabbitMq
        | Subject::Redis
        | Subject::Org => false,
    }
}

/// Whether what a writer put into Redis may be lost, or was never put there.
fn disturbs_redis(span: &Span) -> bool {
    matches!(span.subject, Subject::Redis | Subject::WriterLine(_, Service::Redis))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "order-1/NEW_ORDER";

    fn events(copies: usize) -> Vec<BusEvent> {
        let event = BusEvent { payload: Payload { key: Some(KEY.to_owned()) } };
        let other = BusEvent { payload: Payload { key: Some("order-2/NEW_ORDER".to_owned()) } };
        std::iter::repeat_n(event, copies).chain([other]).collect()
    }

    /// A publish of the event, so many milliseconds after the first.
    fn publish(number: u64, at_ms: i64, fault: Option<&str>) -> Request {
        Request {
            number,
            at: format!("2026-02-03T16:00:{:02}.{:03}+0000", at_ms / 1_000, at_ms % 1_000),
            duration_ms: 100,
            rows: vec![format!("Event__e/EventKey__c/{KEY}")],
            status: 200,
            path: "/services/data/v62.0/composite/sobjects".to_owned(),
            fault: fault.map(str::to_owned),
        }
    }

    fn flush(at_ms: i64) -> Span {
        fell(Kind::Flush, Subject::Redis, at_ms, at_ms)
    }

    fn fell(kind: Kind, subject: Subject, from_ms: i64, to_ms: i64) -> Span {
        let (begin, _) = publish(1, 0, None).span().expect("a time");
        Span::of(kind, subject, begin + from_ms, begin + to_ms)
    }

    fn counted(copies: usize, requests: &[Request], spans: &[Span]) -> (usize, usize) {
        let found = doubles(&events(copies), requests, spans, 3_000);
        assert_eq!(found.findings.len(), found.count - found.excused);
        (found.count, found.excused)
    }

    #[test]
    fn a_double_is_excused_where_an_answer_of_this_event_was_lost_and_redis_was_disturbed_before_the_next_publish() {
        let requests = [publish(1, 0, Some("commit_then_drop")), publish(2, 5_000, None)];
        assert_eq!(counted(1, &requests[..1], &[flush(200)]), (0, 0));
        assert_eq!(counted(2, &requests, &[flush(200)]), (1, 1));
        let away = [fell(Kind::KillRedis, Subject::Redis, -1_000, 50)];
        assert_eq!(counted(2, &requests, &away), (1, 1));
    }

    #[test]
    fn a_double_is_not_excused_by_a_redis_that_was_disturbed_at_another_time() {
        let requests = [publish(1, 1_000, Some("commit_then_drop")), publish(2, 5_000, None)];
        assert_eq!(counted(2, &requests, &[]), (1, 0));
        assert_eq!(counted(2, &requests, &[flush(900), flush(5_001)]), (1, 0));
    }

    #[test]
    fn a_double_is_not_excused_where_the_publisher_had_its_answer() {
        let requests = [publish(1, 0, None), publish(2, 5_000, None)];
        assert_eq!(counted(2, &requests, &[flush(200)]), (1, 0));
        let of_another = Request { rows: vec!["Event__e/EventKey__c/order-2/NEW_ORDER".into()], ..requests[0].clone() };
        let of_another = Request { fault: Some("commit_then_drop".into()), ..of_another };
        assert_eq!(counted(2, &[of_another, requests[1].clone()], &[flush(200)]), (1, 0));
    }

    #[test]
    fn an_answer_is_also_lost_on_the_writers_line_with_the_writer_and_by_its_deadline() {
        let requests = [publish(1, 0, None), publish(2, 5_000, None)];
        let lines = [
            fell(Kind::Cut, Subject::WriterLine(0, Service::Org), 50, 60),
            fell(Kind::KillWriter, Subject::Writer(0), 50, 60),
        ];
        for line in lines {
            assert_eq!(counted(2, &requests, &[line, flush(200)]), (1, 1));
        }
        let elsewhere = fell(Kind::Cut, Subject::WriterLine(0, Service::RabbitMq), 50, 60);
        assert_eq!(counted(2, &requests, &[elsewhere, flush(200)]), (1, 0));
        let slow = Request { duration_ms: 3_500, ..requests[0].clone() };
        assert_eq!(counted(2, &[slow, requests[1].clone()], &[flush(200)]), (1, 1));
    }

    #[test]
    fn the_second_of_a_key_is_folded_and_events_without_one_are_not() {
        let event = |number: &str| Event { order_number: number.into(), order_type: "New".into(), account: None };
        let bus = |key: Option<&str>| BusEvent { payload: Payload { key: key.map(str::to_owned) } };
        let bus = [bus(Some("a")), bus(None), bus(Some("a")), bus(Some("b")), bus(None)];
        let events = ["1", "2", "1", "3", "2"].map(event).to_vec();
        let kept: Vec<String> = folded(events, &bus).into_iter().map(|event| event.order_number).collect();
        assert_eq!(kept, ["1", "2", "3", "2"]);
    }

    #[test]
    fn each_copy_needs_an_excuse_of_its_own_and_an_event_without_a_key_is_told() {
        let requests = [publish(1, 0, Some("truncated_body")), publish(2, 5_000, None), publish(3, 9_000, None)];
        assert_eq!(counted(3, &requests, &[flush(200), flush(6_000)]), (2, 1));
        let keyless = [BusEvent { payload: Payload { key: None } }];
        assert_eq!(doubles(&keyless, &[], &[], 3_000).keyless, 1);
    }
}
