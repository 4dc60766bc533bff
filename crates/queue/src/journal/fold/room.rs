//! What waits for room, beside what was given up: its order, for whoever reads what of the journal.

use proptest::prelude::*;

use super::*;
use crate::journal::carrying::on;

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
    let fold = read(&numbered(&[overflowed(4, &[1, 2, 3]), discarded(4), overflowed(5, &[])]));
    assert_eq!((fold.before(KEY, &id(3)), fold.before(KEY, &id(6))), (None, Some(&id(5))));
    assert!(fold.left_over.is_empty());
    let mut fold = Fold::default();
    for customer in 0..LEFT_OVER + 9 {
        let of = |entry: Entry| Entry { key: Some(customer.to_string()), letter: Some(id(customer)), ..entry };
        fold.apply(Some(customer as u64 * 2), &of(overflowed(0, &[1])));
        fold.apply(Some(customer as u64 * 2 + 1), &of(written(0)));
    }
    assert_eq!(fold.left_over.len(), LEFT_OVER);
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

#[derive(Debug, Clone)]
enum Step {
    /// The next order comes: into the lane, or into the journal where there is no room.
    Comes,
    /// The head of the lane is written, or is given up.
    Head { dies: bool },
    /// The lane is moved as a whole.
    Move,
    /// The first letter goes, once nothing is in the lane, and is written, or is given up.
    Letter { dies: bool },
    /// An operator throws a letter away.
    Discard(prop::sample::Index),
    /// Every open letter is carried on, those last written first or last; retention drops everything before.
    Carry { backwards: bool },
    /// Another process takes over, and reads what the journal has.
    TakeOver,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Comes),
        3 => any::<bool>().prop_map(|dies| Step::Head { dies }),
        1 => Just(Step::Move),
        3 => any::<bool>().prop_map(|dies| Step::Letter { dies }),
        2 => any::<prop::sample::Index>().prop_map(Step::Discard),
        1 => any::<bool>().prop_map(|backwards| Step::Carry { backwards }),
        1 => Just(Step::TakeOver),
    ]
}

/// One customer, whose orders are numbered as they come: its lane, its letters, and the journal.
#[derive(Default)]
struct Customer {
    came: usize,
    lane: VecDeque<usize>,
    fold: Fold,
    journal: Vec<(u64, Entry)>,
    offset: u64,
}

impl Customer {
    fn append(&mut self, entry: Entry) {
        self.fold.apply(None, &entry);
        self.offset += 1;
        self.fold.apply(Some(self.offset), &entry);
        self.journal.push((self.offset, entry));
    }

    fn overflow(&mut self, order: usize) {
        let for_room = self.fold.waits_for_room(KEY);
        let said = |order: &usize| for_room && self.fold.before(KEY, &id(*order)).is_none();
        let ahead: Vec<usize> = self.lane.iter().copied().filter(|order| !said(order)).collect();
        self.append(overflowed(order, &ahead));
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Comes => {
                self.came += 1;
                let order = self.came;
                let follows = self.fold.waits_for_room(KEY) && self.fold.before(KEY, &id(order)).is_some();
                if follows || self.lane.len() >= 3 { self.overflow(order) } else { self.lane.push_back(order) }
            }
            Step::Head { dies } => {
                let Some(order) = self.lane.pop_front() else { return };
                match self.fold.before(KEY, &id(order)).cloned() {
                    Some(behind) => {
                        let for_room = self.fold.waits_for_room(KEY).then(Vec::new);
                        let behind = behind.as_str().parse().expect("a number");
                        self.append(Entry { ahead: for_room, ..held(order, behind) });
                    }
                    None if *dies => self.append(dead(order)),
                    None => {}
                }
            }
            Step::Move => {
                for order in std::mem::take(&mut self.lane) {
                    self.overflow(order);
                }
            }
            Step::Letter { dies } => {
                let first = chain(&self.fold).first().copied().filter(|_| self.lane.is_empty());
                if let Some(first) = first {
                    self.append(if *dies { dead(first) } else { written(first) });
                }
            }
            Step::Discard(index) => {
                let chain = chain(&self.fold);
                if !chain.is_empty() {
                    self.append(discarded(*index.get(&chain)));
                }
            }
            Step::Carry { backwards } => {
                let before = self.journal.len();
                let letters: Vec<Letter> = self.fold.chain(KEY).into_iter().cloned().collect();
                let mut carried: Vec<Entry> = letters
                    .iter()
                    .filter_map(|letter| {
                        on(letter, Entry::new(EntryKind::Barrier { mark: String::new() }, "test"), "test")
                    })
                    .collect();
                if *backwards {
                    carried.reverse();
                }
                for entry in carried {
                    self.append(Entry::from_message(&entry.to_message()).expect("it reads back"));
                }
                self.journal.drain(..before);
            }
            Step::TakeOver => self.fold = read(&self.journal),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever was given up, moved, discarded, carried on and read again, a customer's letters are in the order in which its
    /// orders came, and no order in the lane waits behind one that came after it.
    #[test]
    fn a_customers_orders_keep_their_order_in_lane_and_journal(steps in prop::collection::vec(step(), 1..60)) {
        let mut customer = Customer::default();
        for step in &steps {
            customer.step(step);
            for fold in [&customer.fold, &read(&customer.journal)] {
                let letters = chain(fold);
                prop_assert!(letters.is_sorted(), "{letters:?} after {step:?}");
                for order in &customer.lane {
                    let behind = fold.before(KEY, &id(*order)).map(|id| id.as_str().parse::<usize>().expect("a number"));
                    prop_assert!(behind.is_none_or(|behind| behind < *order), "{order} waits behind {behind:?}");
                }
                let first = fold.chain(KEY).first().is_some_and(|first| first.waits_for_room());
                prop_assert_eq!(fold.waits_for_room(KEY), first);
            }
        }
    }
}
