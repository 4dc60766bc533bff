//! What a selection means, what a replay or discard would do, and what became of letters.

use std::time::Duration;

use causeway_replayer::cli::{discard, replay};
use causeway_replayer::closed::How;
use causeway_replayer::follow::{Fate, Followed, Tally};
use causeway_replayer::forecast::{DiscardPlan, Outlook, ReplayPlan};
use causeway_replayer::letters::OpenLetter;
use causeway_replayer::selection::{Choice, Filter, State, Unfound, find, find_all, find_closed};
use causeway_replayer::terminal::Terminal;
use domain::failure::Reason;
use insta::assert_snapshot;
use queue::journal::entry::{Entry, EntryKind};
use queue::topology::{Namespace, Topology};

use crate::letters::{
    dead, order, published_and_dead_again, refused, seen, some_entries, some_open, torn, unavailable,
};

fn topology() -> Topology {
    Topology::new(Namespace::parse("causeway").expect("a name"))
}

fn orders(letters: &[&OpenLetter]) -> Vec<String> {
    letters.iter().map(|open| open.letter.order_id.clone().unwrap_or_default()).collect()
}

fn numbered(numbers: &[u32]) -> Vec<String> {
    numbers.iter().map(|number| order(*number)).collect()
}

#[test]
fn filters_of_different_kinds_narrow_each_other() {
    let open = some_open();
    let select = |filter: Filter| orders(&filter.select(&open));
    let jane = vec!["jane.doe@example.com".to_owned()];
    assert_eq!(select(Filter { customer: jane.clone(), ..Filter::default() }), numbered(&[1, 2, 3]));
    assert_eq!(
        select(Filter { customer: jane.clone(), state: Some(State::Parked), ..Filter::default() }),
        numbered(&[2, 3])
    );
    assert_eq!(select(Filter { customer: jane, limit: Some(1), ..Filter::default() }), numbered(&[1]));
    assert_eq!(select(Filter { reason: vec![Reason::SalesforceUnavailable], ..Filter::default() }), numbered(&[4, 8]));
    assert_eq!(select(Filter { state: Some(State::Released), ..Filter::default() }), numbered(&[8]));
    assert_eq!(select(Filter { state: Some(State::Closed), ..Filter::default() }), numbered(&[]));
    let dead = select(Filter { state: Some(State::Dead), ..Filter::default() });
    assert_eq!(dead, [order(1), order(4), String::new()], "a released letter is in no other state");
    let hour = Some(Duration::from_hours(1));
    assert_eq!(
        select(Filter { older_than: hour, order_type: vec!["new".into()], ..Filter::default() }),
        numbered(&[1, 2, 3, 4])
    );
    assert_eq!(select(Filter { newer_than: hour, order: vec![order(7)], ..Filter::default() }), numbered(&[7]));
    assert_eq!(select(Filter { limit: Some(0), ..Filter::default() }).len(), open.all().len());
}

#[test]
fn a_letter_is_named_by_its_id_a_unique_beginning_or_its_order() {
    let open = some_open();
    let letter = &open.all()[0].letter;
    let id = letter.id.as_str();
    for name in [id, &id[..4], &order(1), "order-00000…001"] {
        assert_eq!(find(&open, name).map(|found| found[0].letter.id.clone()), Ok(letter.id.clone()), "{name}");
    }
    let short = find(&open, &id[..3]).expect_err("too short");
    assert_eq!(short, Unfound::Short { name: id[..3].to_owned() });
    assert!(short.to_string().contains("at least 4 characters"), "{short}");
    assert_eq!(find(&open, "feedfeed"), Err(Unfound::Nothing { name: "feedfeed".to_owned() }));
    assert_eq!(find(&open, &order(6)), Err(Unfound::Closed { name: order(6), how: How::Discarded }));
    assert_eq!(find_closed(&open, &order(6)).map(|closed| closed.len()), Ok(1));
    assert!(matches!(find(&open, "order-0000…"), Err(Unfound::Several { count: 6, .. })));
    let unfound =
        find_all(&open, &["nothing".into(), id.into(), "neither".into()]).expect_err("two names mean nothing");
    assert_eq!(unfound.len(), 2);
    assert_eq!(find_all(&open, &[id.into(), order(1)]).map(|found| found.len()), Ok(1));
}

#[test]
fn letters_are_chosen_in_exactly_one_way() {
    let names = vec!["x".to_owned()];
    let filter = Filter { limit: Some(1), ..Filter::default() };
    assert!(Choice::default().check().is_err());
    assert!(Choice { all: true, ..Choice::default() }.check().is_ok());
    assert!(Choice { names: names.clone(), ..Choice::default() }.check().is_ok());
    assert!(Choice { filter: filter.clone(), ..Choice::default() }.check().is_ok());
    assert!(Choice { names: names.clone(), filter: filter.clone(), all: false }.check().is_err());
    assert!(Choice { names, filter: Filter::default(), all: true }.check().is_err());
    assert!(Choice { names: Vec::new(), filter, all: true }.check().is_err());
    let closed = Filter { state: Some(State::Closed), ..Filter::default() };
    assert!(Choice { filter: closed, ..Choice::default() }.check().is_err_and(|said| said.contains("settled")));
}

#[test]
fn a_replay_takes_whole_customers_in_order_and_says_how_many_come_along() {
    let open = some_open();
    let chosen = find_all(&open, &[order(2)]).expect("open");
    let plan = ReplayPlan::new(&open, &chosen, &topology());
    assert_eq!((plan.customers.len(), plan.letters(), plan.along()), (1, 3, 2));
    assert_eq!(orders(&plan.customers[0].letters.iter().collect::<Vec<_>>()), numbered(&[1, 2, 3]));
    assert_eq!(plan.customers[0].partition, topology().partition_of("jane.doe@example.com"));
    assert_eq!(plan.customers[0].outlook, Outlook::NeedsCorrection);
}

#[test]
fn the_plan_of_a_replay_says_what_to_expect() {
    let open = some_open();
    let all = Filter::default().select(&open);
    let plan = ReplayPlan::new(&open, &all, &topology());
    assert_eq!((plan.with_outlook(Outlook::FailsAgain), plan.with_outlook(Outlook::NeedsCorrection)), (1, 1));
    assert_snapshot!(replay::answer::render_plan(&plan, false, &Terminal { width: Some(80), ..Terminal::PIPE }));
}

#[test]
fn the_plan_of_a_discard_says_who_stays_parked() {
    let open = some_open();
    let chosen = find_all(&open, &[order(1), order(8)]).expect("open");
    let plan = DiscardPlan::new(&open, &chosen);
    assert_eq!((plan.stranded.0, plan.stranded.1.len(), plan.being_replayed, plan.never_tried), (2, 1, 1, 0));
    assert_snapshot!(discard::render_plan(&open, &plan, false, &Terminal { width: Some(80), ..Terminal::PIPE }));
}

#[test]
fn what_waits_behind_a_discarded_letter_is_said_to_be_stranded() {
    let open = some_open();
    let stranded: Vec<_> = open.all().iter().filter(|open| open.is_stranded()).collect();
    assert_eq!(orders(&stranded), numbered(&[7]));
}

fn about(index: usize, kind: EntryKind) -> Entry {
    Entry { kind, ..some_entries()[index].clone() }
}

fn resolved(how: &str) -> EntryKind {
    EntryKind::Resolved { how: how.into() }
}

/// What became of all letters after these entries.
fn fates_after(more: Vec<Entry>) -> Vec<Fate> {
    let before = some_open();
    let mut entries = some_entries();
    entries.extend(more);
    Followed::new(&before, before.all()).fates(&seen(&entries)).into_iter().map(|(_, fate)| fate).collect()
}

fn dead_again() -> Fate {
    Fate::DeadAgain { failure: refused(), letter: None }
}

#[test]
fn letters_are_followed_until_they_are_settled_or_dead_again() {
    assert_eq!(Tally::of(&fates_after(Vec::new())).pending, 6);
    // The first goes through, the second fails again, the third stays behind it.
    let fates =
        fates_after(vec![about(0, resolved("written")), about(1, dead(refused())), about(4, resolved("published"))]);
    assert_eq!(fates[..3], [Fate::Ended(How::Written), dead_again(), Fate::Parked]);
    let tally = Tally::of(&fates);
    assert_eq!((tally.written, tally.dead_again, tally.parked, tally.published, tally.pending), (1, 1, 1, 1, 3));
    assert!(!tally.is_success());
    // One that was dead before is dead again, by name.
    let fates = fates_after(vec![about(0, dead(refused()))]);
    assert_eq!(fates[..3], [dead_again(), Fate::Parked, Fate::Parked]);
}

#[test]
fn how_a_letter_was_settled_is_told_and_a_rejection_is_no_failure() {
    let ends = ["written", "rejected", "already"].map(resolved).into_iter().zip(0..);
    let fates = fates_after(ends.map(|(kind, index)| about(index, kind)).collect());
    let tally = Tally::of(&fates[..3]);
    assert_eq!((tally.written, tally.rejected, tally.already_settled), (1, 1, 1));
    assert_eq!(tally.line(), "1 written, 1 rejected, 1 already settled");
    assert!(tally.is_success());
    assert!(tally.remarks(Duration::from_secs(1))[0].contains("business answer"));
    let discarded = fates_after(vec![about(3, EntryKind::Discarded { why: "test".into() })]);
    assert_eq!(discarded[3], Fate::Ended(How::Discarded));
}

#[test]
fn a_letter_that_was_published_again_is_no_success_before_it_is_known_to_be_accepted() {
    let [published, died] = published_and_dead_again(10);
    let fates = fates_after(vec![published.clone()]);
    assert_eq!(fates[4], Fate::Ended(How::Published));
    let tally = Tally::of(&fates[4..5]);
    assert!(!tally.is_success() && tally.unsettled() == 1);
    assert!(tally.remarks(Duration::from_secs(7))[0].contains("neither acceptance nor death within 7s"));

    let fates = fates_after(vec![published.clone(), died.clone()]);
    assert_eq!(fates[4], Fate::DeadAgain { failure: torn(), letter: died.letter.clone() });
    // In the order of a quick ingest, too.
    assert_eq!(fates_after(vec![died, published.clone()])[4], fates[4]);

    let accepted = Entry { kind: resolved("accepted"), ..published.clone() };
    assert!(Tally::of(&fates_after(vec![published, accepted])[4..5]).is_success());
}

#[test]
fn a_letter_that_died_again_is_as_old_as_its_last_death() {
    let again = Entry { at: crate::letters::NOW - 2 * crate::letters::MINUTE, ..about(3, dead(unavailable())) };
    let mut entries = some_entries();
    entries.push(again);
    let open = seen(&entries);
    let letter = find(&open, &order(4)).expect("open")[0];
    assert_eq!(open.age(&letter.letter), Duration::from_mins(2));
    let row = open.row(letter, false);
    assert_eq!((row.at.as_str(), row.first_dead_at.as_deref()), ("2026-09-21T14:11:20Z", Some("2026-09-21T12:43:20Z")));
    let within = Filter { newer_than: Some(Duration::from_mins(3)), ..Filter::default() };
    assert_eq!(orders(&within.select(&open)), numbered(&[4]));
    let older = Filter { older_than: Some(Duration::from_hours(1)), ..Filter::default() };
    assert!(!orders(&older.select(&open)).contains(&order(4)));
}
