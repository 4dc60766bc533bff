//! What a selection means, what a replay or discard would do, and what became of letters.

use std::time::Duration;

use causeway_replayer::cli::{discard, replay};
use causeway_replayer::follow::{Fate, Followed, Tally};
use causeway_replayer::forecast::{DiscardPlan, Outlook, ReplayPlan};
use causeway_replayer::letters::{OpenLetter, OpenLetters};
use causeway_replayer::selection::{Choice, Filter, State, Unfound, find, find_all};
use causeway_replayer::terminal::Terminal;
use domain::failure::Reason;
use insta::assert_snapshot;
use queue::journal::entry::{Entry, EntryKind};
use queue::topology::{Namespace, Topology};

use crate::letters::{NOW, dead, folded, order, refused, some_entries, some_open};

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
        select(Filter { customer: jane.clone(), state: Some(State::Held), ..Filter::default() }),
        numbered(&[2, 3])
    );
    assert_eq!(select(Filter { customer: jane, limit: Some(1), ..Filter::default() }), numbered(&[1]));
    assert_eq!(select(Filter { reason: vec![Reason::SalesforceUnavailable], ..Filter::default() }), numbered(&[4, 8]));
    assert_eq!(select(Filter { state: Some(State::Released), ..Filter::default() }), numbered(&[8]));
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
    assert_eq!(find(&open, &id[..3]), Err(Unfound::Nothing { name: id[..3].to_owned() }));
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

#[test]
fn letters_are_followed_until_they_are_settled_or_dead_again() {
    let before = some_open();
    let followed = Followed::new(before.all());
    let fates_after = |more: Vec<Entry>| {
        let mut entries = some_entries();
        entries.extend(more);
        followed.fates(&OpenLetters::new(folded(&entries), NOW)).into_iter().map(|(_, fate)| fate).collect::<Vec<_>>()
    };
    let about = |index: usize, kind: EntryKind| Entry { kind, ..some_entries()[index].clone() };
    let written = || EntryKind::Resolved { how: "written".into() };

    assert_eq!(Tally::of(&fates_after(Vec::new())).pending, 6);
    // The first goes through, the second fails again, the third stays behind it.
    let fates = fates_after(vec![about(0, written()), about(1, dead(refused())), about(4, written())]);
    assert_eq!(fates[..3], [Fate::Resolved, Fate::DeadAgain(refused()), Fate::Parked]);
    let tally = Tally::of(&fates);
    assert_eq!((tally.resolved, tally.dead_again, tally.parked, tally.published, tally.pending), (1, 1, 1, 1, 3));
    assert!(!tally.is_success());
    // One that was dead before is dead again, by name.
    let fates = fates_after(vec![about(0, dead(refused()))]);
    assert_eq!(fates[..3], [Fate::DeadAgain(refused()), Fate::Parked, Fate::Parked]);
}
