//! What is printed. The snapshots are the documented shapes.

use causeway_replayer::cli::{explain, list, show};
use causeway_replayer::letters::GroupBy;
use causeway_replayer::selection::{Filter, find};
use causeway_replayer::terminal::Terminal;
use insta::assert_snapshot;
use queue::topology::{Namespace, Topology};

use crate::letters::{message, some_entries, some_open};

fn terminal(width: usize) -> Terminal {
    Terminal { width: Some(width), hints: true, ..Terminal::PIPE }
}

fn listed(width: Option<usize>, by: Option<GroupBy>) -> String {
    let terminal = width.map_or(Terminal::PIPE, terminal);
    list::render(&some_open(), &Filter::default(), by, false, &terminal)
}

fn shown(name: &str, reveal: bool, width: usize) -> String {
    let open = some_open();
    let letter = find(&open, name).expect("it is open")[0];
    let entries = some_entries();
    let entry = entries.iter().find(|entry| entry.letter.as_ref() == Some(&letter.letter.id));
    let topology = Topology::new(Namespace::parse("causeway").expect("a name"));
    let facts = show::facts(&open, letter, entry.map(|entry| &entry.message), &topology, reveal);
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
fn a_misspelt_code_is_answered_with_the_nearest() {
    let unknown = causeway_replayer::explain::explain("salesforce_refsed").expect_err("misspelt");
    assert_eq!(unknown.near.first().map(String::as_str), Some("salesforce_refused"));
}
