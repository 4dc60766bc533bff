//! What is printed. The snapshots are the documented shapes.

use causeway_replayer::cli::{explain, list, show};
use causeway_replayer::letters::GroupBy;
use causeway_replayer::selection::{Filter, State};
use causeway_replayer::terminal::Terminal;
use domain::dead_letter::LetterId;
use insta::assert_snapshot;
use queue::journal::entry::{Entry, EntryKind};
use queue::topology::{Namespace, Topology};

use crate::letters::{
    MINUTE, NOW, dead, entry, message, order, published_and_dead_again, refused, seen, some_entries, some_open,
    unavailable,
};

fn terminal(width: usize) -> Terminal {
    Terminal { width: Some(width), hints: true, ..Terminal::PIPE }
}

fn listed(width: Option<usize>, by: Option<GroupBy>) -> String {
    let terminal = width.map_or(Terminal::PIPE, terminal);
    list::render(&some_open(), &Filter::default(), by, false, &terminal)
}

fn shown(name: &str, reveal: bool, width: usize) -> String {
    shown_after(&[], name, reveal, width)
}

/// The letter with this name after some more entries, open or closed.
fn shown_after(more: &[Entry], name: &str, reveal: bool, width: usize) -> String {
    let entries = [some_entries(), more.to_vec()].concat();
    let open = seen(&entries);
    let message =
        |id: &LetterId| entries.iter().find(|entry| entry.letter.as_ref() == Some(id)).map(|one| &one.message);
    let topology = Topology::new(Namespace::parse("causeway").expect("a name"));
    let (found, closed) = show::named(&open, name).expect("it is known");
    let facts = match (found.first(), closed.first()) {
        (Some(letter), _) => show::facts(&open, letter, message(&letter.letter.id), &topology, reveal),
        (None, Some(closed)) => show::closed_facts(&open, closed, message(&closed.was.letter.id), &topology, reveal),
        (None, None) => panic!("nothing is called {name}"),
    };
    show::render(&facts, &terminal(width))
}

#[test]
fn a_list_fits_a_terminal_of_80_columns() {
    let text = listed(Some(80), None);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert_snapshot!(text);
}

#[test]
fn a_list_fits_a_terminal_of_140_columns() {
    let text = listed(Some(140), None);
    assert!(text.lines().all(|line| line.chars().count() <= 140), "{text}");
    assert_snapshot!(text);
}

#[test]
fn a_list_in_a_pipe_is_whole_and_without_hints() {
    assert_snapshot!(listed(None, None));
}

#[test]
fn a_list_by_reason_counts_parked_orders_under_what_they_wait_for() {
    assert_snapshot!(listed(Some(80), Some(GroupBy::Reason)));
}

#[test]
fn a_list_as_json_has_the_documented_shape() {
    let document = list::document(&some_open(), &Filter { limit: Some(2), ..Filter::default() }, None, false);
    assert_snapshot!(serde_json::to_string_pretty(&document).expect("JSON"));
}

#[test]
fn groups_as_json_have_the_documented_shape() {
    let document = list::document(&some_open(), &Filter::default(), Some(GroupBy::Customer), false);
    assert_snapshot!(serde_json::to_string_pretty(&document).expect("JSON"));
}

#[test]
fn no_view_without_reveal_holds_personal_data() {
    let open = some_open();
    let mut views = vec![listed(None, None), listed(Some(140), Some(GroupBy::Customer))];
    views.push(serde_json::to_string(&list::document(&open, &Filter::default(), None, false)).expect("JSON"));
    views.extend(open.all().iter().map(|letter| shown(letter.letter.id.as_str(), false, 80)));
    let closed = Entry { kind: EntryKind::Resolved { how: "written".into() }, ..some_entries()[0].clone() };
    views.push(shown_after(std::slice::from_ref(&closed), &order(1), false, 80));
    let all_closed = Filter { state: Some(State::Closed), ..Filter::default() };
    let open_now = seen(&[some_entries(), vec![closed]].concat());
    views.push(list::render(&open_now, &all_closed, None, false, &Terminal::PIPE));
    for view in views {
        assert!(!view.contains("jane"), "{view}");
    }
    assert!(list::render(&open, &Filter::default(), None, true, &Terminal::PIPE).contains("jane.doe@example.com"));
}

#[test]
fn a_letter_is_shown_with_all_that_an_operator_needs() {
    assert_snapshot!(shown(&crate::letters::order(1), false, 80));
}

#[test]
fn a_letter_that_waits_names_what_it_waits_for() {
    assert_snapshot!(shown(&crate::letters::order(2), false, 80));
}

#[test]
fn a_letter_that_was_discarded_is_shown_with_by_whom_when_and_why() {
    assert_snapshot!(shown(&order(6), false, 80));
}

#[test]
fn a_letter_that_died_again_tells_the_last_death_first() {
    let again = Entry { at: NOW - 2 * MINUTE, kind: dead(unavailable()), ..some_entries()[3].clone() };
    let text = shown_after(&[again], &order(4), false, 100);
    let state = text.lines().find(|line| line.starts_with("State")).expect("a state");
    assert!(state.contains("dead since 2026-09-21T14:11:20Z (2m), first 2026-09-21T12:43:20Z, 2 times"), "{text}");
}

#[test]
fn a_letter_that_was_published_again_and_the_one_that_it_became_name_each_other() {
    let entries = published_and_dead_again(10);
    let old = entries[0].letter.as_ref().expect("about a letter").as_str();
    let new = entries[1].letter.as_ref().expect("about a letter").as_str();
    assert_snapshot!("published_before", shown_after(&entries, old, false, 80));
    assert_snapshot!("published_again", shown_after(&entries, new, false, 80));
}

#[test]
fn a_released_letter_is_released_in_every_view() {
    let text = shown(&order(8), false, 200);
    assert!(text.contains("released 2026-09-21T14:12:20Z and not settled yet; before that dead since"), "{text}");
    let filter = Filter { order: vec![order(8)], ..Filter::default() };
    let document = serde_json::to_value(list::document(&some_open(), &filter, None, false)).expect("JSON");
    assert_eq!(document["letters"][0]["state"], "released");
    assert_eq!((&document["summary"]["released"], &document["summary"]["dead"]), (&1.into(), &0.into()));
    assert!(list::render(&some_open(), &filter, None, false, &Terminal::PIPE).contains("  released  "));
}

#[test]
fn closed_letters_are_listed_with_how_they_ended() {
    let [published, _] = published_and_dead_again(10);
    let written =
        Entry { kind: EntryKind::Resolved { how: "written".into() }, at: NOW - MINUTE, ..some_entries()[0].clone() };
    let open = seen(&[some_entries(), vec![published, written]].concat());
    let closed = |filter: Filter| Filter { state: Some(State::Closed), ..filter };
    assert_snapshot!(list::render(&open, &closed(Filter::default()), None, false, &terminal(100)));
    let newest = closed(Filter { limit: Some(1), ..Filter::default() });
    let document = serde_json::to_value(list::document(&open, &newest, None, false)).expect("JSON");
    assert_eq!((&document["matched"], &document["letters"][0]["closed"]["how"]), (&3.into(), &"written".into()));
    let recent = closed(Filter { newer_than: Some(std::time::Duration::from_mins(5)), ..Filter::default() });
    assert!(list::render(&open, &recent, None, false, &Terminal::PIPE).lines().count() == 2);
}

#[test]
fn a_list_by_customer_counts_no_customers_and_names_those_without_one() {
    assert_snapshot!(listed(Some(80), Some(GroupBy::Customer)));
}

#[test]
fn one_is_said_in_the_singular() {
    let one = Filter { customer: vec!["jane.doe@example.com".into()], limit: Some(2), ..Filter::default() };
    let text = list::render(&some_open(), &one, None, false, &Terminal::PIPE);
    assert!(text.contains("1 dead, 2 parked behind it, 1 customer blocked"), "{text}");
    let stranded = list::render(&some_open(), &Filter::default(), None, false, &Terminal::PIPE);
    assert!(stranded.contains("1 order is parked behind nothing any more: replay lets it go."), "{stranded}");
}

#[test]
fn the_orgs_own_words_are_shown_only_when_they_are_asked_for() {
    let failure = refused().quoting("Nora Quistling is blocked");
    let told = message("m-77", None, b"{}");
    let letter = entry(dead(failure), told, None, Some(&order(77)), 0);
    let without = shown_after(std::slice::from_ref(&letter), &order(77), false, 120);
    assert!(!without.contains("Quistling"), "{without}");
    assert!(without.contains("--reveal   for the org's own words and the values"), "{without}");
    let with = shown_after(&[letter], &order(77), true, 120);
    assert!(with.contains("Nora Quistling is blocked"), "{with}");
}

#[test]
fn a_revealed_letter_shows_its_values() {
    let text = shown(&crate::letters::order(1), true, 100);
    assert!(text.contains("\"email\": \"jane.doe@example.com\""), "{text}");
}

#[test]
fn a_letter_whose_message_is_gone_is_still_shown() {
    let open = some_open();
    let topology = Topology::new(Namespace::parse("causeway").expect("a name"));
    let facts = show::facts(&open, &open.all()[0], None, &topology, false);
    assert!(show::render(&facts, &terminal(80)).contains("no longer keeps this letter's message"));
}

#[test]
fn a_letter_that_is_not_utf8_is_revealed_in_hex() {
    let open = some_open();
    let topology = Topology::new(Namespace::parse("causeway").expect("a name"));
    let message = message("m", None, b"{\"name\":\"Jos\xe9\"}");
    let text =
        |reveal| show::render(&show::facts(&open, &open.all()[0], Some(&message), &topology, reveal), &terminal(100));
    assert!(text(false).contains("not UTF-8: 15 bytes") && !text(false).contains("Jos"));
    assert!(text(true).contains("4a 6f 73 e9"), "{}", text(true));
}

#[test]
fn a_reason_is_explained() {
    let explanation = causeway_replayer::explain::explain("answer-lost").expect("a reason");
    assert_snapshot!(explain::render(&explanation, &terminal(80)));
}

#[test]
fn a_salesforce_code_with_two_meanings_is_explained() {
    let explanation = causeway_replayer::explain::explain("request_limit_exceeded").expect("a code");
    assert_snapshot!(explain::render(&explanation, &terminal(80)));
}

#[test]
fn every_code_is_explained_in_sentences() {
    for explanation in causeway_replayer::explain::all() {
        for text in [&explanation.meaning, &explanation.you_do, &explanation.we_do.to_owned()] {
            assert!(text.len() > 8 && text.trim_end().ends_with(['.', '?']), "{}: {text}", explanation.code);
        }
        assert_eq!(causeway_replayer::explain::explain(&explanation.code).as_ref(), Ok(&explanation));
    }
}

#[test]
fn case_and_spacing_of_a_code_are_forgiven() {
    for (written, code) in [
        ("  answer lost ", "answer_lost"),
        ("ANSWER-LOST", "answer_lost"),
        ("unable to  lock row", "UNABLE_TO_LOCK_ROW"),
        ("bad_oauth_token", "Bad_OAuth_Token"),
        ("Invalid_Grant", "invalid_grant"),
        ("503", "HTTP_503"),
        ("http 503", "HTTP_503"),
        ("504", "HTTP_5XX"),
        ("no answer", "NO_ANSWER"),
    ] {
        let found = causeway_replayer::explain::explain(written).map(|explanation| explanation.code);
        assert_eq!(found.as_deref(), Ok(code), "{written:?}");
    }
    for nothing in ["", "42", "12345678901", "Nora Quist"] {
        assert!(causeway_replayer::explain::explain(nothing).is_err(), "{nothing:?}");
    }
}

#[test]
fn what_limio_tells_its_users_while_the_org_is_not_connected_is_explained() {
    for read in [
        "No default instance, please select a default external key for this service",
        "Error: no default instance,\n please select a default external key for this service.",
    ] {
        let found = causeway_replayer::explain::explain(read).expect("a reason");
        assert_eq!(found.code, "authentication_failed", "{read:?}");
    }
    assert!(causeway_replayer::explain::explain("No default instance").is_err(), "half of it may be anything");
}

#[test]
fn an_error_of_the_token_endpoint_is_explained_with_every_description_that_changes_it() {
    let explanation = causeway_replayer::explain::explain("invalid_client").expect("an error");
    assert_snapshot!(explain::render(&explanation, &terminal(80)));
}

#[test]
fn a_misspelt_code_is_answered_with_the_nearest() {
    let unknown = causeway_replayer::explain::explain("salesforce_refsed").expect_err("misspelt");
    assert_eq!(unknown.near.first().map(String::as_str), Some("salesforce_refused"));
}

/// A customer with three orders in the journal for want of room, and one behind a dead letter that had found none, too.
fn overflowed() -> Vec<Entry> {
    let room = |name: &str, key: &'static str, number: u32, minutes: u64| {
        let message = message(name, Some(key), b"{}");
        let kind = EntryKind::Held { behind: queue::journal::entry::letter_of(&message) };
        Entry { ahead: Some(Vec::new()), ..entry(kind, message, Some(key), Some(&order(number)), minutes) }
    };
    let (hot, blocked) = ("id-hot00000000000000000000000000001", "id-af385c5fd5a03350308ea28d073e9e26");
    vec![room("h-1", hot, 21, 9), room("h-2", hot, 22, 8), room("h-3", hot, 23, 7), room("b-1", blocked, 24, 6)]
}

#[test]
fn an_order_that_waits_for_room_is_told_from_a_dead_and_from_a_parked_one() {
    let open = seen(&[some_entries(), overflowed()].concat());
    let list = list::render(&open, &Filter::default(), None, false, &Terminal::PIPE);
    let line =
        |text: &str, name: u32| text.lines().find(|line| line.contains(&order(name))).expect("a line").to_owned();
    for number in 21..=23 {
        let line = line(&list, number);
        assert!(line.contains("overflowed") && line.contains("lane_overflow"), "{line}");
    }
    assert!(line(&list, 24).contains("parked"), "what is behind a dead letter waits for that: {list}");
    assert!(list.contains(", 3 that wait for room and come back by themselves"), "{list}");
    let none = seen(&some_entries());
    let blocked = |open| {
        serde_json::to_value(list::document(open, &Filter::default(), None, false)).expect("json")["summary"]["customers"].clone()
    };
    assert_eq!(blocked(&open), blocked(&none), "it blocks nobody");
    let filter = Filter { state: Some(State::Overflowed), ..Filter::default() };
    assert_eq!(filter.matching(&open).len(), 3);
    let parked = Filter { state: Some(State::Parked), ..Filter::default() };
    assert_eq!(parked.matching(&open).len(), parked.matching(&none).len() + 1);
    let by_reason = list::render(&open, &Filter::default(), Some(GroupBy::Reason), false, &Terminal::PIPE);
    assert!(by_reason.contains("lane_overflow") && by_reason.contains("OVERFLOWED"), "{by_reason}");
    let shown = shown_after(&overflowed(), &order(21), false, 100);
    assert!(shown.contains("overflowed since") && shown.contains("comes back by itself"), "{shown}");
    assert!(shown.contains("causeway-replayer story") && !shown.contains("causeway-replayer replay"), "{shown}");
}
