use domain::failure::{Failure, Reason};

use super::*;

fn entry(kind: EntryKind, letter: &str, key: Option<&str>) -> Entry {
    Entry { letter: Some(LetterId::from_text(letter)), key: key.map(str::to_owned), ..Entry::new(kind, "test") }
}

fn dead() -> EntryKind {
    EntryKind::Dead { failure: Failure::permanent(Reason::SalesforceRefused, "x") }
}

fn held() -> EntryKind {
    EntryKind::Held { behind: LetterId::from_text("a") }
}

fn names(fold: &Fold, key: &str) -> Vec<String> {
    fold.chain(key).iter().map(|letter| letter.id.as_str().to_owned()).collect()
}

#[test]
fn a_customer_is_blocked_from_the_first_dead_letter_to_the_last_settled_one() {
    let mut fold = Fold::default();
    assert!(!fold.is_blocked("k"));
    fold.apply(Some(1), &entry(dead(), "a", Some("k")));
    fold.apply(Some(2), &entry(held(), "b", Some("k")));
    assert_eq!(names(&fold, "k"), ["a", "b"]);
    fold.apply(Some(3), &entry(EntryKind::Resolved { how: "written".into() }, "a", Some("k")));
    assert!(fold.is_blocked("k"));
    fold.apply(Some(4), &entry(EntryKind::Discarded { why: "test".into() }, "b", Some("k")));
    assert!(!fold.is_blocked("k") && fold.is_empty());
}

#[test]
fn a_letter_that_fails_again_keeps_its_place() {
    let mut fold = Fold::default();
    fold.apply(Some(1), &entry(dead(), "a", Some("k")));
    fold.apply(Some(2), &entry(held(), "b", Some("k")));
    fold.apply(Some(3), &entry(dead(), "a", Some("k")));
    assert_eq!(names(&fold, "k"), ["a", "b"]);
    assert_eq!(fold.letter(&LetterId::from_text("a")).expect("open").times_dead, 2);
}

#[test]
fn reading_back_ones_own_entry_counts_it_once_and_learns_its_place() {
    let mut fold = Fold::default();
    fold.apply(None, &entry(dead(), "a", Some("k")));
    fold.apply(Some(7), &entry(dead(), "a", Some("k")));
    let letter = fold.letter(&LetterId::from_text("a")).expect("open");
    assert_eq!((letter.offset, letter.times_dead), (Some(7), 1));
    fold.apply(None, &entry(dead(), "a", Some("k")));
    fold.apply(Some(9), &entry(dead(), "a", Some("k")));
    assert_eq!(fold.letter(&LetterId::from_text("a")).expect("open").times_dead, 2);
}

#[test]
fn a_letter_without_a_customer_blocks_nobody() {
    let mut fold = Fold::default();
    fold.apply(Some(1), &entry(dead(), "a", None));
    assert_eq!((fold.len(), fold.blocked_keys()), (1, 0));
    fold.apply(Some(2), &entry(EntryKind::Discarded { why: String::new() }, "a", None));
    assert!(fold.is_empty());
}

#[test]
fn a_release_marks_the_open_letters_of_its_customer_only() {
    let mut fold = Fold::default();
    fold.apply(Some(1), &entry(dead(), "a", Some("k")));
    fold.apply(Some(2), &entry(dead(), "b", Some("other")));
    fold.apply(Some(3), &Entry { letter: None, ..entry(EntryKind::Released { plan: "p".into() }, "", Some("k")) });
    assert!(fold.letter(&LetterId::from_text("a")).expect("open").released_at.is_some());
    assert!(fold.letter(&LetterId::from_text("b")).expect("open").released_at.is_none());
}

fn resolved(how: &str) -> EntryKind {
    EntryKind::Resolved { how: how.into() }
}

fn ended(fold: &Fold) -> Vec<(String, Ending)> {
    fold.closed_letters().iter().map(|closed| (closed.letter.id.to_string(), closed.ending.clone())).collect()
}

#[test]
fn a_closed_letter_is_kept_with_how_by_whom_and_when() {
    let mut fold = Fold::default();
    fold.apply(Some(1), &entry(dead(), "a", Some("k")));
    fold.apply(Some(2), &entry(held(), "b", Some("k")));
    fold.apply(Some(3), &Entry { at: 5, by: "writer/1".into(), ..entry(resolved("rejected"), "a", Some("k")) });
    fold.apply(Some(4), &Entry { at: 6, ..entry(EntryKind::Discarded { why: "old".into() }, "b", Some("k")) });
    let discarded = Ending::Discarded("old".into());
    assert_eq!(ended(&fold), [("b".into(), discarded), ("a".into(), Ending::Resolved("rejected".into()))]);
    let closed = fold.closed_letters();
    assert_eq!((closed[1].by.as_str(), closed[1].at), ("writer/1", 5));
    // Given up once more, it is open and no longer closed.
    fold.apply(Some(5), &entry(dead(), "a", Some("k")));
    assert!(fold.is_blocked("k"));
    assert_eq!(ended(&fold), [("b".into(), Ending::Discarded("old".into()))]);
}

#[test]
fn closed_letters_are_bounded_in_number_and_the_oldest_go() {
    let mut fold = Fold::default();
    let close = |fold: &mut Fold, offset: usize, name: &str| {
        fold.apply(Some(offset as u64 * 2), &entry(dead(), name, None));
        fold.apply(Some(offset as u64 * 2 + 1), &entry(resolved("written"), name, None));
    };
    // One that is opened and closed again and again takes no more room than others.
    for number in 0..CLOSED_KEPT + 10 {
        close(&mut fold, number, "same");
    }
    assert_eq!((fold.closed_letters().len(), fold.closings.len()), (1, CLOSED_KEPT));
    for number in 0..CLOSED_KEPT + 10 {
        close(&mut fold, CLOSED_KEPT + 10 + number, &number.to_string());
    }
    let closed = fold.closed_letters();
    assert_eq!((closed.len(), fold.closed.len()), (CLOSED_KEPT, CLOSED_KEPT));
    assert_eq!(closed.last().map(|closed| closed.letter.id.as_str()), Some("10"));
}

#[test]
fn what_became_of_a_message_that_was_published_again_is_the_last_word() {
    let mut fold = Fold::default();
    fold.apply(Some(1), &entry(dead(), "a", None));
    fold.apply(Some(2), &entry(resolved(PUBLISHED), "a", None));
    fold.apply(Some(3), &entry(resolved(ACCEPTED), "a", None));
    assert_eq!(ended(&fold), [("a".into(), Ending::Resolved(ACCEPTED.into()))]);
    fold.apply(Some(4), &entry(resolved(PUBLISHED), "a", None));
    assert_eq!(ended(&fold), [("a".into(), Ending::Resolved(ACCEPTED.into()))]);
}

#[test]
fn a_header_does_not_let_a_customer_go() {
    let mut fold = Fold::default();
    fold.apply(Some(1), &entry(dead(), "a", Some("k")));
    fold.apply(Some(2), &entry(resolved(ACCEPTED), "a", None));
    assert!(fold.is_blocked("k"));
}

#[test]
fn a_letter_knows_when_it_died_first_and_last() {
    let mut fold = Fold::default();
    let at = |at: u64, kind: EntryKind| Entry { at, ..entry(kind, "a", Some("k")) };
    let times = |fold: &Fold| {
        let letter = fold.letter(&LetterId::from_text("a")).expect("open");
        (letter.at, letter.first_dead_at, letter.last_dead_at, letter.since())
    };
    fold.apply(Some(1), &at(10, held()));
    assert_eq!(times(&fold), (10, None, None, 10));
    fold.apply(None, &at(20, dead()));
    fold.apply(Some(2), &at(20, dead()));
    assert_eq!(times(&fold), (10, Some(20), Some(20), 20));
    fold.apply(Some(3), &at(30, dead()));
    assert_eq!(times(&fold), (10, Some(20), Some(30), 30));
}

#[test]
fn a_message_that_was_published_again_and_dies_again_counts_on_and_names_the_letter_before() {
    let before = Before { letter: LetterId::from_text("feed"), times_dead: 2, first_dead_at: Some(10) };
    let mut fold = Fold::default();
    let again = Entry { at: 50, ..entry(dead(), "new", None) };
    fold.apply(Some(9), &Entry { message: before.on(again.message.clone()), ..again });
    let letter = fold.letter(&LetterId::from_text("new")).expect("open");
    assert_eq!((letter.times_dead, letter.first_dead_at, letter.since()), (3, Some(10), 50));
    assert_eq!(letter.after, Some(LetterId::from_text("feed")));
}
