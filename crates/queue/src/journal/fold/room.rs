//! What waits for room, beside what was given up: its order, for whoever reads what of the journal.

use domain::failure::Failure;

use super::*;

mod model;

const KEY: &str = "k";

fn id(order: usize) -> LetterId {
    LetterId::from_text(order.to_string())
}

fn entry(kind: EntryKind, order: usize) -> Entry {
    Entry { letter: Some(id(order)), key: Some(KEY.into()), ..Entry::new(kind, "test") }
}

fn dead(order: usize) -> Entry {
    entry(EntryKind::Dead { failure: Failure::permanent(domain::failure::Reason::SalesforceRefused, "x") }, order)
}

fn held(order: usize, behind: usize) -> Entry {
    entry(EntryKind::Held { behind: id(behind) }, order)
}

/// An order that finds no room while these are in the lane.
fn overflowed(order: usize, ahead: &[usize]) -> Entry {
    Entry { ahead: Some(ahead.iter().copied().map(id).collect()), ..held(order, order) }
}

fn written(order: usize) -> Entry {
    entry(EntryKind::Resolved { how: "written".into() }, order)
}

fn discarded(order: usize) -> Entry {
    entry(EntryKind::Discarded { why: "test".into() }, order)
}

fn chain(fold: &Fold) -> Vec<usize> {
    fold.chain(KEY).iter().map(|letter| letter.id.as_str().parse().expect("a number")).collect()
}

fn read(entries: &[(u64, Entry)]) -> Fold {
    let mut fold = Fold::default();
    for (offset, entry) in entries {
        fold.apply(Some(*offset), entry);
    }
    fold
}

fn numbered(entries: &[Entry]) -> Vec<(u64, Entry)> {
    (1..).zip(entries.iter().cloned()).collect()
}

#[test]
fn orders_that_wait_for_room_let_those_before_them_go_and_are_no_failures() {
    let mut fold = read(&numbered(&[overflowed(4, &[1, 2, 3]), overflowed(5, &[])]));
    assert!(fold.waits_for_room(KEY) && fold.waiting_for_room().eq([KEY]));
    assert_eq!((fold.before(KEY, &id(1)), fold.before(KEY, &id(6))), (None, Some(&id(4))));
    assert_eq!((fold.len(), fold.overflowed().count(), fold.oldest_at()), (2, 2, None));
    // One of those before them fails: it takes its own place, and holds back its successors.
    fold.apply(Some(3), &dead(2));
    assert_eq!(chain(&fold), [2, 4, 5]);
    assert_eq!(fold.before(KEY, &id(3)), Some(&id(2)));
    assert!(!fold.waits_for_room(KEY) && fold.overflowed().count() == 0);
    fold.apply(Some(4), &held(3, 2));
    assert_eq!(chain(&fold), [2, 3, 4, 5]);
    // One that waited for room and fails is a failure as any.
    fold.apply(Some(5), &written(2));
    fold.apply(Some(6), &written(3));
    assert_eq!(fold.overflowed().count(), 2);
    fold.apply(Some(7), &dead(4));
    assert!(!fold.waits_for_room(KEY));
    assert_eq!((fold.len(), fold.overflowed().count()), (2, 0), "what is behind it waits for it");
}

#[test]
fn after_the_first_that_waits_for_room_was_discarded_those_in_the_lane_still_go_before_the_others() {
    let mut entries = numbered(&[overflowed(4, &[1, 2, 3]), overflowed(5, &[]), discarded(4)]);
    let mut fold = read(&entries);
    assert_eq!((fold.before(KEY, &id(1)), fold.before(KEY, &id(6))), (None, Some(&id(5))));
    fold.apply(Some(4), &dead(2));
    entries.push((4, dead(2)));
    assert_eq!((chain(&fold), chain(&read(&entries))), (vec![2, 5], vec![2, 5]));
}

#[test]
fn what_went_before_the_last_that_waited_for_room_goes_before_one_that_was_being_written_when_that_was_discarded() {
    // While 5 was being written, 4 said who goes first.
    let relies_on_it = Entry { ahead: Some(Vec::new()), ..held(5, 4) };
    let fold = read(&numbered(&[overflowed(4, &[1, 2, 3]), discarded(4), relies_on_it.clone()]));
    assert_eq!((fold.before(KEY, &id(3)), fold.before(KEY, &id(6))), (None, Some(&id(5))));
    // What was let in went when all that it names was gone.
    let fold = read(&numbered(&[overflowed(4, &[1, 2, 3]), written(4), relies_on_it]));
    assert_eq!(fold.before(KEY, &id(3)), Some(&id(5)));
    assert_eq!(fold.letter(&id(5)).and_then(|letter| letter.ahead.as_ref()).map(Vec::len), Some(0));
}

#[test]
fn no_letter_ever_names_more_than_the_last_two_thousand() {
    let mut fold = Fold::default();
    for round in 1..=9_usize {
        let in_lane: Vec<usize> = (round * 1_000 + 1..(round + 1) * 1_000).collect();
        let number = |n: usize| u64::try_from(round * 2 + n).expect("small");
        fold.apply(Some(number(0)), &overflowed((round + 1) * 1_000, &in_lane));
        // Each hands on what it says to the next one, and its own to the one after that.
        fold.apply(Some(number(1)), &discarded(round * 1_000));
    }
    let last = fold.chain(KEY).last().and_then(|letter| letter.ahead.clone()).expect("it names some");
    assert_eq!((last.len(), fold.len()), (chain::MOST_AHEAD, 1));
    assert_eq!(last.last(), Some(&id(9_999)));
    let entry = Entry { ahead: Some(last), ..overflowed(1, &[]) };
    let header = entry.to_message().header("ahead").map(str::len).expect("a header");
    assert!(header <= chain::MOST_AHEAD * 17, "{header}");
}

#[test]
fn one_whose_message_retention_dropped_is_a_failure_and_lets_pass_whom_it_let_pass() {
    let mut fold = read(&numbered(&[overflowed(4, &[1, 2, 3]), overflowed(5, &[])]));
    assert!(fold.waits_for_room(KEY) && fold.dropped(&id(4), 1));
    assert!(!fold.waits_for_room(KEY) && fold.overflowed().count() == 0 && fold.oldest_at().is_some());
    assert_eq!((fold.before(KEY, &id(1)), fold.before(KEY, &id(6))), (None, Some(&id(4))));
    fold.apply(Some(3), &discarded(4));
    assert!(fold.waits_for_room(KEY) && fold.before(KEY, &id(1)).is_none());
}

#[test]
fn letters_that_were_read_go_only_as_long_as_nothing_came_between_them_or_is_in_hand_before_them() {
    let mut fold = read(&numbered(&[overflowed(3, &[1, 2]), overflowed(5, &[4]), overflowed(6, &[])]));
    let were_read = [id(3), id(5), id(6)];
    let none: [usize; 0] = [];
    let go = |fold: &Fold, in_hand: Option<&[usize]>| {
        let in_hand = in_hand.map(|orders| orders.iter().copied().map(id).collect::<HashSet<_>>());
        let go = fold.may_go(KEY, &were_read, in_hand.as_ref());
        go.iter().map(|letter| letter.as_str().parse().expect("a number")).collect::<Vec<usize>>()
    };
    assert_eq!(go(&fold, Some(&[])), [3, 5, 6]);
    assert_eq!(go(&fold, None), none, "something may come again that goes first");
    assert_eq!((go(&fold, Some(&[2])), go(&fold, Some(&[4])), go(&fold, Some(&[6]))), (vec![], vec![3], vec![3, 5]));
    // 4 is written since, which 5 names.
    fold.apply(Some(4), &overflowed(4, &[]));
    assert_eq!(go(&fold, Some(&[])), [3]);
    fold.apply(Some(5), &discarded(3));
    assert_eq!(go(&fold, Some(&[])), none);
    // What was discarded since is passed over.
    fold.apply(Some(6), &discarded(4));
    assert_eq!(go(&fold, Some(&[])), [5, 6]);
    fold.apply(Some(7), &dead(5));
    assert_eq!(go(&fold, None), [5], "what was given up goes when an operator says so");
}

#[test]
fn what_had_waited_for_room_takes_no_failure_out_of_the_list_of_closed_letters() {
    let mut fold = read(&numbered(&[dead(1), discarded(1), overflowed(2, &[]), discarded(2)]));
    for order in 3..CLOSED_KEPT + 9 {
        fold.apply(Some(order as u64 * 2), &overflowed(order, &[]));
        fold.apply(Some(order as u64 * 2 + 1), &written(order));
    }
    let closed: Vec<&str> = fold.closed_letters().into_iter().map(|closed| closed.letter.id.as_str()).collect();
    assert_eq!((closed, fold.closings_for_room.len()), (vec!["2", "1"], CLOSED_KEPT));
    assert_eq!(fold.closed.len(), CLOSED_KEPT + 2);
}

#[test]
fn an_order_that_came_into_the_lane_before_a_discard_goes_before_one_that_found_no_room_after_it() {
    let mut entries = numbered(&[overflowed(4, &[1, 2, 3]), dead(2), held(3, 2), discarded(2), discarded(3)]);
    let fold = read(&entries);
    assert_eq!(fold.before(KEY, &id(6)), Some(&id(4)), "6 was in the lane, and waits behind what is there");
    entries.extend([(6, overflowed(7, &[6])), (7, overflowed(6, &[]))]);
    assert_eq!(chain(&read(&entries)), [4, 6, 7]);
}

#[test]
fn a_copy_of_a_settled_order_that_is_named_yet_lets_nothing_pass_that_it_came_behind() {
    // 4 names 3, which is written since. 3 comes once more, behind 5 and 6, which wait behind 4.
    let entries = numbered(&[overflowed(4, &[3]), overflowed(3, &[5, 6]), overflowed(5, &[])]);
    let fold = read(&entries);
    assert_eq!(chain(&fold), [3, 4, 5]);
    assert_eq!((fold.before(KEY, &id(5)), fold.before(KEY, &id(6))), (Some(&id(3)), Some(&id(3))));
}

#[test]
fn an_order_in_the_lane_goes_before_a_later_one_of_the_lane_that_was_put_into_the_journal() {
    let fold = read(&numbered(&[overflowed(4, &[1, 2, 3]), overflowed(2, &[])]));
    assert_eq!(chain(&fold), [2, 4]);
    assert_eq!((fold.before(KEY, &id(1)), fold.before(KEY, &id(3))), (None, Some(&id(2))));
}

#[test]
fn an_order_whose_copy_waits_for_room_and_that_was_given_up_holds_back_what_it_let_pass() {
    let mut fold = read(&numbered(&[overflowed(5, &[1, 2, 3, 4]), overflowed(2, &[1, 2, 3, 4])]));
    assert_eq!((fold.before(KEY, &id(1)), fold.before(KEY, &id(3))), (None, Some(&id(2))));
    fold.apply(Some(3), &dead(2));
    assert_eq!((fold.before(KEY, &id(3)), fold.waits_for_room(KEY)), (Some(&id(2)), false));
    fold.apply(Some(4), &held(3, 2));
    assert_eq!(chain(&fold), [2, 3, 5]);
}

#[test]
fn a_copy_that_is_put_into_the_journal_while_its_letter_is_discarded_names_what_that_named() {
    let again = Entry { ahead: Some(Vec::new()), ..held(4, 4) };
    let fold = read(&numbered(&[overflowed(4, &[1, 2, 3]), discarded(4), again]));
    assert_eq!((fold.before(KEY, &id(3)), fold.before(KEY, &id(5))), (None, Some(&id(4))));
}

#[test]
fn a_lane_that_is_moved_as_a_whole_goes_before_what_had_found_no_room_behind_it() {
    let entries = numbered(&[overflowed(3, &[1, 2]), overflowed(1, &[]), overflowed(2, &[])]);
    for end in 1..=entries.len() {
        let fold = read(&entries[..end]);
        assert_eq!(fold.before(KEY, &id(2)).is_none(), end == 1, "it waits behind 1 once that is there");
    }
    assert_eq!(chain(&read(&entries)), [1, 2, 3]);
}

#[test]
fn letters_of_a_view_are_put_in_the_order_of_the_fold() {
    let fold = read(&numbered(&[overflowed(4, &[1, 2, 3]), overflowed(5, &[]), dead(1), held(2, 1), held(3, 1)]));
    let mut letters = fold.open_letters();
    letters.reverse();
    in_order(&mut letters);
    let sorted: Vec<&str> = letters.iter().map(|letter| letter.id.as_str()).collect();
    assert_eq!((sorted, chain(&fold)), (vec!["1", "2", "3", "4", "5"], vec![1, 2, 3, 4, 5]));
}
