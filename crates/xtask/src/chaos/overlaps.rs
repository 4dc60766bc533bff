//! Whether the org ever worked on two requests of one customer at once, by its own log of requests.
//!
//! A request is one of a customer when it names the customer's Account, one of the customer's orders, or the event of one:
//! by its address, or in the body of what it makes.

use std::collections::HashMap;

use super::requests::Request;
use crate::demo::reconcile::{Evidence, Whose};

/// The log has milliseconds: what ends in one may be followed within the same.
const GRAIN_MS: i64 = 1;

/// Customers by each name that a request may have for what is theirs.
struct Customers<'a>(HashMap<&'a str, &'a str>);

impl<'a> Customers<'a> {
    fn of(evidence: &'a Evidence) -> Self {
        let mut customers: HashMap<&str, &str> = HashMap::new();
        let mut twins: HashMap<&str, &str> = HashMap::new();
        for order in &evidence.published {
            customers.insert(&order.id, &order.key);
            customers.insert(&order.key, &order.key);
            if let Whose::Twins(email) = &order.whose {
                twins.insert(email, &order.key);
            }
        }
        for account in &evidence.accounts {
            let of_twin = account.email.as_deref().and_then(|email| twins.get(email).copied());
            if let Some(key) = account.limio_id.as_deref().or(of_twin) {
                customers.insert(&account.id, key);
            }
        }
        Self(customers)
    }

    /// Whose row it is. An event's key begins with the order's identity.
    fn whose(&self, value: &str) -> Option<&'a str> {
        self.0.get(value).or_else(|| self.0.get(value.split('/').next()?)).copied()
    }
}

/// A sentence for each pair of requests that were worked on at once and named the same customer.
pub(crate) fn overlaps(requests: &[Request], evidence: &Evidence) -> Vec<String> {
    let customers = Customers::of(evidence);
    let mut spans: HashMap<&str, Vec<(i64, i64, u64)>> = HashMap::new();
    for request in requests.iter().filter(|request| request.carried_out()) {
        let Some((begin, end)) = request.span() else { continue };
        let mut concerned: Vec<&str> = request.values().filter_map(|value| customers.whose(value)).collect();
        concerned.sort_unstable();
        concerned.dedup();
        for customer in concerned {
            spans.entry(customer).or_default().push((begin, end, request.number));
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

/// A sentence for each record and event of the org that no request in the log names: of it the log would prove nothing.
pub(crate) fn unseen(requests: &[Request], evidence: &Evidence, event_keys: &[String]) -> Vec<String> {
    let carried_out = requests.iter().filter(|request| request.carried_out());
    let named: std::collections::HashSet<&str> = carried_out.flat_map(Request::values).collect();
    let records = evidence.records.iter().map(|record| record.order.as_str());
    let made = records.chain(event_keys.iter().map(String::as_str)).filter(|value| !named.contains(value));
    made.map(|value| format!("no request in the org's log names {value}")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::chaos::requests::made_by;
    use crate::demo::generator::{Script, script};
    use crate::demo::org::Org;
    use crate::demo::reconcile::Account;
    use crate::demo::watch::published;

    fn evidence(script: &Script) -> Evidence {
        Evidence { published: published(script), ..Evidence::default() }
    }

    fn request(number: u64, at_ms: i64, duration_ms: i64, row: &str) -> Request {
        let at = format!("2026-02-03T16:00:{:02}.{:03}+0000", at_ms / 1_000, at_ms % 1_000);
        Request { at, duration_ms, ..made_by(0, number, &[row]) }
    }

    #[test]
    fn two_requests_of_a_customer_at_once_are_found_whatever_row_they_name_and_those_of_two_customers_are_not() {
        let script = script(200, 1, "acme");
        let order = &script.orders[0];
        let other = script.orders.iter().find(|order| order.key != script.orders[0].key).expect("several customers");
        let account = Account { id: "001000000000001AAA".into(), limio_id: Some(order.key.clone()), email: None };
        let by_order = request(1, 0, 100, &format!("LimioOrder__c/LimioId__c/{}", order.id));
        let by_key = request(2, 90, 100, &format!("Account/LimioId__c/{}", order.key));
        let by_id = request(3, 150, 60, &format!("Account/{}", account.id));
        let by_event = request(4, 200, 10, &format!("Event__e/Key__c/{}/NEW_ORDER", order.id));
        let of_other = request(5, 0, 500, &format!("LimioOrder__c/LimioId__c/{}", other.id));
        let evidence = Evidence { accounts: vec![account], ..evidence(&script) };
        let found = overlaps(&[by_order.clone(), by_key.clone(), by_id, by_event, of_other], &evidence);
        let key = &order.key;
        let expected = [
            format!("requests 1 and 2 of {key} overlap by 10 ms"),
            format!("requests 2 and 3 of {key} overlap by 40 ms"),
            format!("requests 3 and 4 of {key} overlap by 10 ms"),
        ];
        assert_eq!(found, expected);
        let after = request(5, 100, 100, &format!("Account/LimioId__c/{}", order.key));
        assert!(overlaps(&[by_order, after], &evidence).is_empty());
    }

    #[test]
    fn a_twins_account_is_the_customers() {
        let script = script(400, 1, "acme");
        let evidence = evidence(&script);
        let twin = evidence.published.iter().find_map(|order| match &order.whose {
            Whose::Twins(email) => Some((order.id.clone(), email.clone())),
            Whose::Nobodys | Whose::Customers => None,
        });
        let (order, email) = twin.expect("customers with a twin");
        let account = Account { id: "001000000000001AAA".into(), limio_id: None, email: Some(email) };
        let requests = [
            request(1, 0, 100, "Account/001000000000001AAA"),
            request(2, 50, 100, &format!("LimioOrder__c/LimioId__c/{order}")),
        ];
        assert_eq!(overlaps(&requests, &Evidence { accounts: vec![account], ..evidence }).len(), 1);
    }

    #[test]
    fn what_the_org_refused_to_carry_out_overlaps_nothing_and_what_it_only_did_not_answer_does() {
        let script = script(200, 1, "acme");
        let row = format!("Account/LimioId__c/{}", script.orders[0].key);
        let with = |fault: &str| Request { fault: Some(fault.to_owned()), ..request(1, 0, 100, &row) };
        let next = request(2, 50, 100, &row);
        assert_eq!(overlaps(&[with("drop_before"), next.clone()], &evidence(&script)).len(), 0);
        assert_eq!(overlaps(&[with("commit_then_drop"), next], &evidence(&script)).len(), 1);
    }

    /// Sends to an org what a writer sends of orders that say little of their customer: a record and an event, each made.
    async fn sent(org: &simulator::Simulator, path: &str, body: &Value) {
        let client = reqwest::Client::new();
        let url = |path: &str| format!("{}{path}", org.base_url());
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", "causeway-dev"),
            ("client_secret", "causeway-dev-secret"),
        ];
        let token = client.post(url("/services/oauth2/token")).form(&form).send().await.expect("answered");
        let token: Value = token.json().await.expect("JSON");
        let token = token["access_token"].as_str().expect("a token").to_owned();
        let answer = client.post(url(path)).bearer_auth(token).json(body).send().await.expect("answered");
        assert_eq!(answer.status(), 200);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn requests_that_only_make_rows_are_seen_by_what_the_org_logs_of_their_bodies() {
        let script = script(200, 1, "acme");
        let mut config = simulator::Config::default();
        config.settings.latency_ms = 300;
        config.settings.logged_fields = vec!["i42as__OrderEvent__e.i42as__OrderNumber__c".to_owned()];
        let org = simulator::Simulator::start(config).await.expect("an org");
        let of_one = script.orders.iter().filter(|order| order.key == script.orders[0].key);
        let [first, second] = of_one.take(2).collect::<Vec<_>>()[..] else { panic!("two orders of a customer") };
        let make = |object: &str, fields: Value| {
            let url = format!("/services/data/v62.0/sobjects/{object}");
            json!({ "method": "POST", "url": url, "referenceId": object, "body": fields })
        };
        let record = make("LimioOrder__c", json!({ "LimioId__c": first.id, "OrderType__c": "new" }));
        let graph = json!({ "graphs": [{ "graphId": "g", "compositeRequest": [record] }] });
        let key = format!("{}/NEW_ORDER", second.id);
        let event = json!({ "attributes": { "type": "i42as__OrderEvent__e" }, "i42as__OrderNumber__c": key });
        let events = json!({ "records": [event] });
        tokio::join!(
            sent(&org, "/services/data/v62.0/composite/graph", &graph),
            sent(&org, "/services/data/v62.0/composite/sobjects", &events),
        );
        let mut log = super::super::requests::RequestLog::default();
        log.read(&Org::new(org.base_url().to_owned()).expect("a client")).await.expect("read");
        assert_eq!(log.missing(), 0);
        let evidence = evidence(&script);
        assert_eq!(overlaps(&log.requests, &evidence).len(), 1, "{:#?}", log.requests);
        assert_eq!(unseen(&log.requests, &evidence, &[key]), [""; 0]);
        assert_eq!(unseen(&log.requests, &evidence, &["order-0/NEW_ORDER".to_owned()]).len(), 1);
    }
}
