//! That a long scan leaves the state to others, and what it then sees.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use serde_json::{Map, Value, json};

use crate::api_error::ApiError;
use crate::call::{Call, DuplicateOptions};
use crate::config::Config;
use crate::form::Form;
use crate::ids::RecordId;
use crate::org::Org;
use crate::records::Row;
use crate::routes::data::Resource;
use crate::routes::{query, replication::updated, sobjects};
use crate::schema::Schema;
use crate::soql::run::SLICE;
use crate::soql::{Answer, parse, run};
use crate::transaction::{Target, Transaction};

fn body(value: Value) -> Map<String, Value> {
    if let Value::Object(map) = value { map } else { Map::new() }
}

/// An org with `rows` accounts of one employee each, and a call to it.
fn filled(rows: usize) -> (Arc<Org>, Call) {
    let org = Arc::new(Org::new(Config::default(), 1, Schema::load(&[]).unwrap()));
    let account = org.schema.account;
    let field = |name: &str| org.schema.object(account).find(name).unwrap();
    let (number, stamp) = (field("NumberOfEmployees"), field("SystemModstamp"));
    for n in 0..rows {
        let mut row = Row::default();
        row.set(number, json!(1.0));
        row.set(stamp, json!(org.clock.stamp_text()));
        org.state().table_mut(account).seed(RecordId::new("001", 10 + n as u64), row);
    }
    org.state().table_mut(account).last_number = 10 + rows as u64;
    let call = Call {
        settings: org.settings(),
        user: org.state().defaults.user,
        epoch: org.epoch(),
        version: "62.0".to_owned(),
        path: String::new(),
        duplicates: DuplicateOptions::default(),
        batch_size: 2_000,
        in_graph: false,
    };
    (org, call)
}

/// A span around now.
fn now(org: &Org) -> Resource {
    let at = |minutes: i64| crate::clock::datetime_text(org.clock.now_ms() + minutes * 60_000).replace('+', "%2B");
    get(&["sobjects"], &format!("start={}&end={}", at(-2), at(2)))
}

fn get(segments: &[&str], query: &str) -> Resource {
    let segments = segments.iter().map(|segment| (*segment).to_owned()).collect();
    Resource { method: "GET".to_owned(), segments, query: Form::parse(query), body: None }
}

/// Refused because the org was reset.
fn is_fenced<T>(answer: &Result<T, ApiError>) -> bool {
    answer.as_ref().is_err_and(|error| (error.status, &*error.code) == (503, "SERVER_UNAVAILABLE"))
}

/// How many hold the row: the table is one of them.
fn holders(org: &Org, id: RecordId) -> usize {
    org.state().table(org.schema.account).get(id, None).map_or(0, Arc::strong_count)
}

fn waker() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

#[tokio::test]
async fn what_a_scan_has_not_reached_is_not_copied() {
    let (org, call) = filled(2 * SLICE);
    let last = RecordId::new("001", 9 + 2 * SLICE as u64);
    for statement in ["SELECT COUNT() FROM Account WHERE NumberOfEmployees = 1", "SELECT COUNT() FROM Account"] {
        let query = parse(statement).unwrap();
        let mut answer = pin!(run(&org, None, statement, &query, false, &call));
        assert!(answer.as_mut().poll(&mut waker()).is_pending(), "{statement}");
        assert_eq!(holders(&org, last), 1, "{statement}");
        assert!(matches!(answer.await.unwrap(), Answer::Total(total) if total == 2 * SLICE));
    }
}

#[tokio::test]
async fn a_statement_is_refused_once_the_org_it_looks_at_is_gone() {
    for statement in [
        "SELECT COUNT() FROM Account",
        "SELECT SUM(NumberOfEmployees) FROM Account",
        "SELECT Id FROM Account",
        "SELECT COUNT() FROM Contact WHERE AccountId IN (SELECT Id FROM Account)",
    ] {
        let (org, call) = filled(2 * SLICE);
        let query = parse(statement).unwrap();
        let mut answer = pin!(run(&org, None, statement, &query, false, &call));
        assert!(answer.as_mut().poll(&mut waker()).is_pending(), "{statement}");
        org.reset();
        // A row of the new org, behind all that the scan has seen.
        org.state().table_mut(org.schema.account).seed(RecordId::new("001", 1_000_000), Row::default());
        assert!(is_fenced(&answer.await), "{statement}");
        assert!(is_fenced(&run(&org, None, statement, &query, false, &call).await), "{statement}");
    }
}

#[tokio::test]
async fn rows_found_before_a_reset_are_not_printed_after_it() {
    let statement = "SELECT Id, (SELECT Id FROM Contacts) FROM Account";
    let (org, call) = filled(SLICE);
    let Answer::Rows(found) = run(&org, None, statement, &parse(statement).unwrap(), false, &call).await.unwrap()
    else {
        panic!("no rows")
    };
    let mut printed = pin!(found.print(&org, None, &call, 0..found.len()));
    assert!(printed.as_mut().poll(&mut waker()).is_pending());
    org.reset();
    assert!(is_fenced(&printed.await));
}

#[tokio::test]
async fn a_request_from_before_a_reset_reads_and_opens_no_cursor_of_the_new_org() {
    let (org, old) = filled(0);
    org.reset();
    let (_, call) = filled(0);
    let call = Call { epoch: org.epoch(), ..call };
    for n in 0..=SLICE as u64 {
        org.state().table_mut(org.schema.account).seed(RecordId::new("001", 10 + n), Row::default());
    }
    let statement = get(&["query"], "q=SELECT+Id+FROM+Account");
    let first = query::handle(&org, None, &statement, &call).await.unwrap().body.unwrap();
    let next = first["nextRecordsUrl"].as_str().unwrap().rsplit('/').next().unwrap();
    let more = get(&["query", next], "");
    assert!(is_fenced(&query::handle(&org, None, &more, &old).await));
    assert!(is_fenced(&query::handle(&org, None, &statement, &old).await));
    assert!(query::handle(&org, None, &more, &call).await.is_ok());
    assert_eq!(org.stored().cursors, 1);
}

#[tokio::test]
async fn changes_of_a_span_and_children_of_a_row_are_not_read_on_in_a_new_org() {
    let (org, call) = filled(2 * SLICE);
    let span = now(&org);
    let mut answer = pin!(updated(&org, org.schema.account, &span, &call));
    assert!(answer.as_mut().poll(&mut waker()).is_pending());
    org.reset();
    assert!(is_fenced(&answer.await));
    let parent = RecordId::new("001", 10);
    org.state().table_mut(org.schema.account).seed(parent, Row::default());
    let children = get(&["sobjects", "Account", &parent.to_string(), "Contacts"], "");
    for (epoch, status) in [(call.epoch, 503), (org.epoch(), 200)] {
        let call = Call { epoch, ..call.clone() };
        let reply = sobjects::handle(&org, &mut Transaction::begin(&org), &children, &call).await;
        assert_eq!(reply.status, status, "{:?}", reply.body);
    }
}

#[tokio::test]
async fn changes_of_a_span_are_read_in_slices() {
    let (org, call) = filled(SLICE + 1);
    let resource = now(&org);
    let mut answer = pin!(updated(&org, org.schema.account, &resource, &call));
    assert!(answer.as_mut().poll(&mut waker()).is_pending());
    let body = answer.await.unwrap().body.unwrap();
    assert_eq!(body["ids"].as_array().map(Vec::len), Some(SLICE + 1));
}

#[tokio::test]
async fn a_writer_comes_between_two_slices_and_the_answer_is_of_one_moment() {
    let rows = 3 * SLICE;
    let (org, call) = filled(rows);
    let account = org.schema.account;
    let number = org.schema.object(account).find("NumberOfEmployees").unwrap();
    for statement in [
        "SELECT SUM(NumberOfEmployees) FROM Account WHERE Phone = null",
        "SELECT COUNT() FROM Account WHERE NumberOfEmployees = 1",
        "SELECT Id FROM Account WHERE NumberOfEmployees = 1 ORDER BY Name",
        "SELECT COUNT() FROM Account WHERE Id NOT IN (SELECT AccountId FROM Contact)",
    ] {
        let query = parse(statement).unwrap();
        let mut answer = pin!(run(&org, None, statement, &query, false, &call));
        assert!(answer.as_mut().poll(&mut waker()).is_pending(), "{statement}");
        // The last row, which the scan has not reached, changes, and one more comes.
        let last = RecordId::new("001", 9 + rows as u64);
        let mut transaction = Transaction::begin(&org);
        let change = body(json!({ "NumberOfEmployees": 7, "Phone": "1" }));
        transaction.save(account, Target::Id(last), &change, &call).await.unwrap();
        let row = body(json!({ "Name": "new", "NumberOfEmployees": 1 }));
        transaction.save(account, Target::New, &row, &call).await.unwrap();
        transaction.commit(&call).await;
        let found = match answer.await.unwrap() {
            Answer::Total(total) => json!(total),
            Answer::Rows(found) => json!(found.len()),
            Answer::Groups(groups) => groups[0]["expr0"].clone(),
        };
        assert_eq!(found, json!(rows), "{statement}");
        // As it was before, for the next statement.
        let mut state = org.state();
        let id = RecordId::new("001", state.table(account).last_number);
        let mut gone = Row::default();
        gone.deleted = true;
        state.table_mut(account).seed(id, gone);
        let mut row = Row::default();
        row.set(number, json!(1.0));
        state.table_mut(account).seed(last, row);
    }
}
