//! Orders that went without an Account because Redis, which alone knew it, was lost.
//!
//! An Account that a duplicate rule chose has no name of ours. Redis knows whose it is; where Redis has forgotten, only the
//! customer's earlier orders in the org lead to it, by their subscription. A change order that spells its subscription
//! otherwise than they do (by its reference alone, where they have its id) finds nobody, and goes without an Account: that is
//! less than it could say, and never another customer's.
//!
//! Only that excuses such an order: its customer's Account is one that a rule chose, Redis lost its memory before the org
//! carried the order out, neither its record nor its event names any Account, and none of the customer's earlier orders in
//! the org has an Account and one of the names by which it calls its subscription.

use std::collections::{HashMap, HashSet};

use super::copies::forgets;
use super::journal::Span;
use super::requests::Request;
use crate::demo::reconcile::{Evidence, Whose};

/// Notes in the evidence that such orders are expected to name nobody; returns how many there were.
pub(crate) fn set_aside(evidence: &mut Evidence, requests: &[Request], spans: &[Span]) -> usize {
    let records = evidence.records.iter().filter(|record| record.account.is_none());
    let without: HashSet<&str> = records.map(|record| record.order.as_str()).collect();
    let named = evidence.events.iter().filter(|event| event.account.is_some());
    let named: HashSet<&str> = named.map(|event| event.order_number.as_str()).collect();
    let forgotten = |order: &str| {
        let written = requests.iter().filter(|request| request.carried_out() && request.values().any(|id| id == order));
        let written = written.filter_map(Request::span).map(|(_, end)| end).max();
        written.is_some_and(|written| spans.iter().any(|span| forgets(span) && span.touches(i64::MIN, written)))
    };
    let leads = evidence.records.iter().filter(|record| record.account.is_some());
    let leads: HashMap<&str, &str> =
        leads.filter_map(|record| Some((record.order.as_str(), record.subscription.as_deref()?))).collect();
    // Under each customer, the subscriptions by which the org leads to the Account, from one order to the next.
    let mut led: HashSet<(String, &str)> = HashSet::new();
    let mut count = 0;
    for order in &mut evidence.published {
        let of_a_twin = matches!(order.whose, Whose::Twins(_)) && order.order_type != "new";
        let nameless = without.contains(order.id.as_str()) && !named.contains(order.reference.as_str());
        let told = order.subscription.iter().any(|name| led.contains(&(order.key.clone(), name.as_str())));
        led.extend(leads.get(order.id.as_str()).map(|name| (order.key.clone(), *name)));
        if of_a_twin && nameless && !told && forgotten(&order.id) {
            order.whose = Whose::Nobodys;
            count += 1;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::schedule::{Kind, Subject};
    use crate::demo::reconcile::{Event, Fate, Published, Record};

    /// When the org carries the order out: 2026-02-03T16:00:10, and 100 ms more.
    const WRITTEN: i64 = 1_770_134_410_100;

    fn request(order: &str) -> Request {
        Request {
            number: 1,
            at: "2026-02-03T16:00:10.000+0000".to_owned(),
            duration_ms: 100,
            rows: vec![format!("LimioOrder__c/LimioId__c/{order}")],
            status: 200,
            path: "/services/data/v62.0/composite/graph".to_owned(),
            fault: None,
            asked: Vec::new(),
            from: String::new(),
        }
    }

    fn evidence(whose: Whose, order_type: &'static str, account: Option<&str>) -> Evidence {
        let order = Published {
            key: "ann".into(),
            id: "order-1".into(),
            reference: "REF-1".into(),
            subscription: vec!["sub-1".into(), "SUB-1".into()],
            order_type,
            event: Some("RENEWAL"),
            expected: Fate::Written,
            whose,
            letter: "letter-1".into(),
        };
        let record = record("order-1", account, "sub-1");
        Evidence { published: vec![order], records: vec![record], ..Evidence::default() }
    }

    fn record(order: &str, account: Option<&str>, subscription: &str) -> Record {
        Record { order: order.into(), account: account.map(str::to_owned), subscription: Some(subscription.into()) }
    }

    /// An order of this customer before the one that names nobody.
    fn before(evidence: &mut Evidence, key: &str, account: Option<&str>, subscription: &str) {
        let order = Published { key: key.into(), id: "order-0".into(), ..evidence.published[0].clone() };
        evidence.published.insert(0, Published { order_type: "new", ..order });
        evidence.records.insert(0, record("order-0", account, subscription));
    }

    fn twin() -> Whose {
        Whose::Twins("ann@example.org".into())
    }

    fn lost(at: i64, kind: Kind, subject: Subject) -> Span {
        Span::of(kind, subject, at, at + 50)
    }

    #[test]
    fn an_order_of_a_twin_that_names_nobody_after_redis_was_lost_is_set_aside_and_no_other() {
        let flushed = [lost(WRITTEN - 60_000, Kind::Flush, Subject::Redis)];
        let requests = [request("order-1")];
        let mut found = evidence(twin(), "renew", None);
        assert_eq!(set_aside(&mut found, &requests, &flushed), 1);
        assert_eq!(found.published[0].whose, Whose::Nobodys);

        for mut other in [
            evidence(twin(), "renew", Some("001-b")),
            evidence(twin(), "new", None),
            evidence(Whose::Customers, "renew", None),
        ] {
            assert_eq!(set_aside(&mut other, &requests, &flushed), 0, "{other:?}");
        }
        let mut announced = evidence(twin(), "renew", None);
        let event = Event { order_number: "REF-1".into(), order_type: "RENEWAL".into(), account: Some("001-b".into()) };
        announced.events.push(event);
        assert_eq!(set_aside(&mut announced, &requests, &flushed), 0, "its event names somebody");
    }

    #[test]
    fn who_could_have_been_found_by_an_earlier_order_of_the_subscription_is_not_set_aside() {
        let flushed = [lost(WRITTEN - 60_000, Kind::Flush, Subject::Redis)];
        let requests = [request("order-1")];
        for name in ["sub-1", "SUB-1"] {
            let mut found = evidence(twin(), "renew", None);
            before(&mut found, "ann", Some("001-a"), name);
            assert_eq!(set_aside(&mut found, &requests, &flushed), 0, "{name} led to the Account");
        }
        for (key, account, name) in
            [("ann", Some("001-a"), "sub-2"), ("ann", None, "sub-1"), ("bob", Some("001-b"), "sub-1")]
        {
            let mut found = evidence(twin(), "renew", None);
            before(&mut found, key, account, name);
            assert_eq!(set_aside(&mut found, &requests, &flushed), 1, "{name} of {key}, {account:?}");
        }
        let mut later = evidence(twin(), "renew", None);
        before(&mut later, "ann", Some("001-a"), "sub-1");
        later.published.reverse();
        assert_eq!(set_aside(&mut later, &requests, &flushed), 1, "an order that came afterwards tells nothing");
    }

    #[test]
    fn nothing_is_set_aside_where_redis_was_lost_afterwards_or_only_out_of_reach() {
        let requests = [request("order-1")];
        for spans in [
            vec![],
            vec![lost(WRITTEN + 1, Kind::Flush, Subject::Redis)],
            vec![lost(WRITTEN - 60_000, Kind::KillRabbitmq, Subject::RabbitMq)],
        ] {
            assert_eq!(set_aside(&mut evidence(twin(), "renew", None), &requests, &spans), 0, "{spans:?}");
        }
        let flushed = [lost(WRITTEN - 60_000, Kind::Flush, Subject::Redis)];
        assert_eq!(set_aside(&mut evidence(twin(), "renew", None), &[], &flushed), 0, "the org carried nothing out");
    }
}
