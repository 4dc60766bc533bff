//! Events that the org published more than once, by the key that each carries, and whether anybody is to blame for it.
//!
//! Who does not know whether an event was published asks Redis and then the order's record, which notes it. A double is
//! excused only where neither could tell: the org carried out a publish of this very event whose publisher never had the
//! answer; Redis lost its memory before the next one, or could not be told by that publisher; and whoever published it again
//! had looked the order up before the first publish was over.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Deserialize;

use super::answers::may_be_lost;
use super::journal::Span;
use super::requests::Request;
use super::schedule::{Kind, Service, Subject};
use crate::demo::reconcile::Event;

/// Where events are published.
const PUBLISHES: [&str; 2] = ["/composite/sobjects", "/composite/graph"];
/// Where orders are looked up.
const QUERIES: &str = "/query";

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
    let court = Court { requests, spans, deadline_ms };
    for (key, copies) in copies {
        let mut of_key = publishes.remove(key).unwrap_or_default();
        of_key.sort_by_key(|request| request.span());
        for copy in 1..copies {
            found.count += 1;
            let (before, again) = (of_key.get(copy - 1), of_key.get(copy));
            match before
                .zip(again)
                .map_or(Some("no publish of it is in the org's log"), |(before, again)| court.blame(key, before, again))
            {
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

/// What a double is judged by.
struct Court<'a> {
    requests: &'a [Request],
    spans: &'a [Span],
    deadline_ms: i64,
}

impl Court<'_> {
    /// Why the second publish of a key should not have been made.
    fn blame(&self, key: &str, before: &Request, again: &Request) -> Option<&'static str> {
        let Some(((begin, end), (next, _))) = before.span().zip(again.span()) else {
            return Some("the log has no times");
        };
        if !may_be_lost(before, self.spans, self.deadline_ms) {
            return Some("the answer of the first publish was not lost");
        }
        // The key begins with the order's identity.
        let order = key.split('/').next().unwrap_or(key);
        match self.looked_up(order, again, next) {
            None => return Some("who published it again had not looked the order up"),
            Some(looked) if looked > end => return Some("the order's record told of it when it was looked up"),
            Some(_) => {}
        }
        let disturbed = self.spans.iter().any(|span| takes_memory_of(before, span) && span.touches(begin, next));
        (!disturbed).then_some("Redis was well from the first publish to the next")
    }

    /// When the org began to answer the last question about an order that the maker of a request asked before it.
    fn looked_up(&self, order: &str, again: &Request, next: i64) -> Option<i64> {
        let asked = self.requests.iter().filter(|request| {
            let about = request.path.ends_with(QUERIES) && request.asked.iter().any(|name| name == order);
            about && request.carried_out() && !request.unanswered() && request.writer() == again.writer()
        });
        asked.filter_map(|request| Some(request.span()?.0)).filter(|begin| *begin < next).max()
    }
}

/// Whether what a publisher put into Redis may be lost, or was never put there. What is only late arrives.
fn takes_memory_of(publisher: &Request, span: &Span) -> bool {
    match span.subject {
        Subject::Redis => true,
        Subject::WriterLine(place, Service::Redis) => {
            publisher.writer() == Some(place) && matches!(span.kind, Kind::Cut | Kind::Blackhole)
        }
        Subject::WriterLine(_, Service::RabbitMq | Service::Org)
        | Subject::Writer(_)
        | Subject::Ingest(_)
        | Subject::IngestLine(..)
        | Subject::PublisherLine
        | Subject::RabbitMq
        | Subject::Org => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::requests::made_by;

    const KEY: &str = "order-1/NEW_ORDER";

    fn events(copies: usize) -> Vec<BusEvent> {
        let event = BusEvent { payload: Payload { key: Some(KEY.to_owned()) } };
        let other = BusEvent { payload: Payload { key: Some("order-2/NEW_ORDER".to_owned()) } };
        std::iter::repeat_n(event, copies).chain([other]).collect()
    }

    fn at(at_ms: i64) -> String {
        format!("2026-02-03T16:00:{:02}.{:03}+0000", at_ms / 1_000, at_ms % 1_000)
    }

    /// A publish of the event by the first writer, so many milliseconds after the first.
    fn publish(number: u64, at_ms: i64, fault: Option<&str>) -> Request {
        Request {
            at: at(at_ms),
            duration_ms: 100,
            path: "/services/data/v62.0/composite/sobjects".to_owned(),
            fault: fault.map(str::to_owned),
            ..made_by(0, number, &[&format!("Event__e/EventKey__c/{KEY}")])
        }
    }

    /// A look-up of the order by a writer.
    fn look_up(writer: u8, at_ms: i64) -> Request {
        let asked = vec!["order-0".to_owned(), "order-1".to_owned()];
        let path = "/services/data/v62.0/query".to_owned();
        Request { at: at(at_ms), duration_ms: 50, asked, path, ..made_by(writer, 9, &[]) }
    }

    /// A publish that was carried out and not answered, a look-up that was too early to see it, and the next publish.
    fn in_need() -> [Request; 3] {
        [publish(1, 0, Some("commit_then_drop")), look_up(0, 90), publish(2, 5_000, None)]
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
    fn a_double_is_excused_where_neither_an_answer_nor_redis_nor_the_orders_record_could_tell() {
        assert_eq!(counted(1, &in_need()[..1], &[flush(200)]), (0, 0));
        assert_eq!(counted(2, &in_need(), &[flush(200)]), (1, 1));
        let away = [fell(Kind::KillRedis, Subject::Redis, -1_000, 50)];
        assert_eq!(counted(2, &in_need(), &away), (1, 1));
        for kind in [Kind::Cut, Kind::Blackhole] {
            let own_line = [fell(kind, Subject::WriterLine(0, Service::Redis), 50, 60)];
            assert_eq!(counted(2, &in_need(), &own_line), (1, 1), "{kind:?}");
        }
    }

    #[test]
    fn a_double_is_not_excused_where_the_orders_record_would_have_told_or_was_not_asked() {
        let [first, _, again] = in_need();
        let flushed = [flush(200)];
        let late = [first.clone(), look_up(0, 90), look_up(0, 101), again.clone()];
        assert_eq!(counted(2, &late, &flushed), (1, 0), "the last look-up came after the first publish");
        assert_eq!(counted(2, &[first.clone(), again.clone()], &flushed), (1, 0), "nobody looked");
        for other in [look_up(1, 90), look_up(0, 5_001), Request { asked: vec!["order-2".into()], ..look_up(0, 90) }] {
            assert_eq!(counted(2, &[first.clone(), other, again.clone()], &flushed), (1, 0));
        }
        let unanswered = Request { fault: Some("truncated_body".into()), ..look_up(0, 90) };
        assert_eq!(counted(2, &[first, unanswered, again], &flushed), (1, 0));
    }

    #[test]
    fn a_double_is_not_excused_by_a_redis_that_was_disturbed_at_another_time_or_for_another_writer_or_only_slow() {
        assert_eq!(counted(2, &in_need(), &[]), (1, 0));
        assert_eq!(counted(2, &in_need(), &[flush(-1), flush(5_001)]), (1, 0));
        for (kind, place) in [(Kind::Slow, 0), (Kind::Narrow, 0), (Kind::Cut, 1), (Kind::Blackhole, 1)] {
            let line = [fell(kind, Subject::WriterLine(place, Service::Redis), 50, 60)];
            assert_eq!(counted(2, &in_need(), &line), (1, 0), "{kind:?} of writer-{}", place + 1);
        }
    }

    #[test]
    fn a_double_is_not_excused_where_the_publisher_had_its_answer() {
        let [_, looked, again] = in_need();
        let answered = [publish(1, 0, None), looked, again.clone()];
        assert_eq!(counted(2, &answered, &[flush(200)]), (1, 0));
        let of_another_writer = fell(Kind::Cut, Subject::WriterLine(1, Service::Org), 50, 60);
        assert_eq!(counted(2, &answered, &[of_another_writer, flush(200)]), (1, 0));
        let rows = vec!["Event__e/EventKey__c/order-2/NEW_ORDER".to_owned()];
        let of_another_event = Request { rows, ..publish(1, 0, Some("commit_then_drop")) };
        assert_eq!(counted(2, &[of_another_event, look_up(0, 90), again], &[flush(200)]), (1, 0));
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
        let third = publish(3, 9_000, None);
        let requests: Vec<Request> = in_need().into_iter().chain([third]).collect();
        assert_eq!(counted(3, &requests, &[flush(200), flush(6_000)]), (2, 1));
        let keyless = [BusEvent { payload: Payload { key: None } }];
        assert_eq!(doubles(&keyless, &[], &[], 3_000).keyless, 1);
    }
}
