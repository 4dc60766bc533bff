//! The rules, one by one.

use super::*;

const SECOND: Time = Duration::from_secs(1);
const NOBODY: [&str; 0] = [];

fn lanes(orders: usize, in_flight: usize, linger_ms: u64) -> Lanes {
    let linger = Duration::from_millis(linger_ms);
    let settings = BatchSettings { orders, in_flight: InFlight::Fixed(in_flight), linger };
    Lanes::new(Pace::new(settings))
}

fn ids(numbers: &[u64]) -> Vec<ItemId> {
    numbers.iter().copied().map(ItemId).collect()
}

fn send(numbers: &[u64]) -> Command {
    Command::Send(ids(numbers))
}

fn deliver(lanes: &mut Lanes, items: &[(u64, &str)]) {
    for (id, key) in items {
        lanes.delivered(Time::ZERO, ItemId(*id), key, &NOBODY);
    }
}

/// Delivers items that each have a key of their own, and these names.
fn sharing(lanes: &mut Lanes, items: &[(u64, &[&str])]) {
    for (id, names) in items {
        lanes.delivered(Time::ZERO, ItemId(*id), &format!("key of {id}"), names);
    }
}

fn done(lanes: &mut Lanes, numbers: &[u64]) {
    for id in numbers {
        lanes.answered(Time::ZERO, ItemId(*id), Next::Done);
    }
}

#[test]
fn a_batch_takes_one_item_of_each_key_and_the_rest_of_a_lane_waits() {
    let mut lanes = lanes(75, 4, 0);
    deliver(&mut lanes, &[(1, "a"), (2, "a"), (3, "b")]);
    assert_eq!(lanes.next(Time::ZERO), send(&[1, 3]));
    assert_eq!(lanes.next(Time::ZERO), Command::Wait(None));
    done(&mut lanes, &[1]);
    assert_eq!(lanes.next(Time::ZERO), send(&[2]));
}

#[test]
fn a_head_that_waits_holds_its_own_lane_back_and_no_other() {
    let mut lanes = lanes(75, 4, 0);
    deliver(&mut lanes, &[(1, "a"), (2, "a"), (3, "b"), (4, "b")]);
    assert_eq!(lanes.next(Time::ZERO), send(&[1, 3]));
    lanes.answered(Time::ZERO, ItemId(1), Next::At(SECOND));
    done(&mut lanes, &[3]);
    assert_eq!(lanes.next(Time::ZERO), send(&[4]));
    done(&mut lanes, &[4]);
    assert_eq!(lanes.next(Time::ZERO), Command::Wait(Some(SECOND)));
    assert_eq!(lanes.next(SECOND), send(&[1]));
}

#[test]
fn an_idle_process_sends_at_once_and_a_busy_one_waits_for_company_no_longer_than_the_linger() {
    let mut lanes = lanes(2, 4, 25);
    deliver(&mut lanes, &[(1, "a")]);
    assert_eq!(lanes.next(Time::ZERO), send(&[1]));
    deliver(&mut lanes, &[(2, "b")]);
    let due = Duration::from_millis(25);
    assert_eq!(lanes.next(Time::ZERO), Command::Wait(Some(due)));
    assert_eq!(lanes.next(due), send(&[2]));
    deliver(&mut lanes, &[(3, "c"), (4, "d")]);
    assert_eq!(lanes.next(Time::ZERO), send(&[3, 4]), "full");
}

#[test]
fn after_a_full_batch_also_an_idle_process_waits_for_company_once() {
    let mut lanes = lanes(2, 4, 25);
    deliver(&mut lanes, &[(1, "a"), (2, "b")]);
    assert_eq!(lanes.next(Time::ZERO), send(&[1, 2]));
    done(&mut lanes, &[1, 2]);
    deliver(&mut lanes, &[(3, "c")]);
    let due = Duration::from_millis(25);
    assert_eq!(lanes.next(Time::ZERO), Command::Wait(Some(due)));
    assert_eq!(lanes.next(due), send(&[3]));
    done(&mut lanes, &[3]);
    deliver(&mut lanes, &[(4, "d")]);
    assert_eq!(lanes.next(due), send(&[4]), "light load again");
}

#[test]
fn requests_beside_each_other_become_more_only_while_a_full_one_waits() {
    let settings = BatchSettings { orders: 2, in_flight: InFlight::UpTo(4), linger: Duration::ZERO };
    let mut lanes = Lanes::new(Pace::new(settings));
    let request = Observation { orders: 2, took: SECOND, ..Observation::default() };
    deliver(&mut lanes, &[(1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "e")]);
    assert_eq!(lanes.next(Time::ZERO), send(&[1, 2]));
    assert_eq!(lanes.next(Time::ZERO), send(&[3, 4]));
    for _ in 0..9 {
        lanes.observed(SECOND, &request);
    }
    assert_eq!(lanes.pace().in_flight(), 2, "one order does not fill a request");
    deliver(&mut lanes, &[(6, "f")]);
    for _ in 0..2 {
        lanes.observed(SECOND, &request);
    }
    assert_eq!(lanes.pace().in_flight(), 3);
}

#[test]
fn a_pause_stops_every_lane_until_one_probe_has_come_back_well() {
    let mut lanes = lanes(1, 4, 0);
    deliver(&mut lanes, &[(1, "a"), (2, "b"), (3, "c")]);
    assert_eq!(lanes.next(Time::ZERO), send(&[1]));
    lanes.answered(Time::ZERO, ItemId(1), Next::PauseUntil(SECOND));
    assert_eq!(lanes.next(Time::ZERO), Command::Wait(Some(SECOND)));
    assert_eq!(lanes.next(SECOND), send(&[2]));
    assert_eq!(lanes.next(SECOND), Command::Wait(None), "one probe at a time");
    lanes.answered(SECOND, ItemId(2), Next::PauseUntil(2 * SECOND));
    assert_eq!(lanes.next(SECOND), Command::Wait(Some(2 * SECOND)));
    assert_eq!(lanes.next(2 * SECOND), send(&[3]));
    lanes.answered(2 * SECOND, ItemId(3), Next::Done);
    assert!(!lanes.is_paused());
    assert_eq!(lanes.next(2 * SECOND), send(&[1]));
    assert_eq!(lanes.next(2 * SECOND), send(&[2]));
}

#[test]
fn letters_go_before_the_control_message_that_released_them_and_before_newer_orders() {
    let mut lanes = lanes(75, 4, 0);
    deliver(&mut lanes, &[(1, "a"), (2, "a")]);
    assert_eq!(lanes.next(Time::ZERO), send(&[1]));
    lanes.insert_before(ItemId(1), &[(ItemId(10), &NOBODY[..]), (ItemId(11), &NOBODY[..])]);
    lanes.answered(Time::ZERO, ItemId(1), Next::At(Time::ZERO));
    for expected in [10, 11, 1, 2] {
        assert_eq!(lanes.next(Time::ZERO), send(&[expected]));
        done(&mut lanes, &[expected]);
    }
    assert!(lanes.is_empty());
}

#[test]
fn a_draining_process_starts_no_new_head() {
    let mut lanes = lanes(75, 4, 0);
    deliver(&mut lanes, &[(1, "a"), (2, "a")]);
    assert_eq!(lanes.next(Time::ZERO), send(&[1]));
    lanes.drain();
    done(&mut lanes, &[1]);
    assert_eq!(lanes.next(Time::ZERO), Command::Wait(None));
    assert_eq!(lanes.in_flight(), 0);
}

#[test]
fn what_is_isolated_goes_in_a_batch_of_its_own_at_its_turn_and_once() {
    let mut lanes = lanes(75, 4, 0);
    deliver(&mut lanes, &[(1, "a")]);
    assert_eq!(lanes.next(Time::ZERO), send(&[1]));
    deliver(&mut lanes, &[(2, "b"), (3, "c")]);
    lanes.isolate(ItemId(1));
    lanes.answered(Time::ZERO, ItemId(1), Next::At(Time::ZERO));
    deliver(&mut lanes, &[(4, "d")]);
    assert_eq!(lanes.next(Time::ZERO), send(&[2, 3, 4]), "not with others");
    assert_eq!(lanes.next(Time::ZERO), send(&[1]), "nor held back by them");
    lanes.answered(Time::ZERO, ItemId(1), Next::At(Time::ZERO));
    deliver(&mut lanes, &[(5, "e")]);
    assert_eq!(lanes.next(Time::ZERO), send(&[1, 5]), "nobody said so again");
}

#[test]
fn what_is_isolated_and_oldest_does_not_take_others_along() {
    let mut lanes = lanes(75, 4, 0);
    deliver(&mut lanes, &[(1, "a")]);
    assert_eq!(lanes.next(Time::ZERO), send(&[1]));
    lanes.isolate(ItemId(1));
    lanes.answered(Time::ZERO, ItemId(1), Next::At(Time::ZERO));
    deliver(&mut lanes, &[(2, "b")]);
    assert_eq!(lanes.next(Time::ZERO), send(&[1]));
    assert_eq!(lanes.next(Time::ZERO), send(&[2]));
}

#[test]
fn what_is_isolated_and_oldest_does_not_wait_for_company_and_the_next_one_does() {
    let mut lanes = lanes(75, 4, 100);
    deliver(&mut lanes, &[(1, "a")]);
    assert_eq!(lanes.next(Time::ZERO), send(&[1]));
    deliver(&mut lanes, &[(2, "b")]);
    let Command::Wait(Some(due)) = lanes.next(Time::ZERO) else { panic!("it waits for company beside another batch") };
    assert_eq!(lanes.next(due), send(&[2]));
    lanes.isolate(ItemId(2));
    lanes.answered(due, ItemId(2), Next::At(due));
    lanes.delivered(due, ItemId(3), "c", &NOBODY);
    assert_eq!(lanes.next(due), send(&[2]), "while the first is still in flight");
    assert!(matches!(lanes.next(due), Command::Wait(Some(later)) if later > due), "the third waits for company");
}

#[test]
fn orders_that_share_a_record_travel_together_or_one_after_the_other_and_hold_back_no_others() {
    let mut lanes = lanes(75, 4, 0);
    sharing(&mut lanes, &[(1, &["account"]), (2, &["account"]), (3, &["other"])]);
    assert_eq!(lanes.next(Time::ZERO), send(&[1, 2, 3]), "in one batch they are written one after the other");
    sharing(&mut lanes, &[(4, &["account"]), (5, &[]), (6, &["third"])]);
    assert_eq!(lanes.next(Time::ZERO), send(&[5, 6]), "the fourth waits for the batch, others do not");
    done(&mut lanes, &[1]);
    assert_eq!(lanes.next(Time::ZERO), Command::Wait(None), "one of its orders is still in flight");
    done(&mut lanes, &[2]);
    assert_eq!(lanes.next(Time::ZERO), send(&[4]));
    done(&mut lanes, &[3, 4, 5, 6]);
    assert!(lanes.is_empty() && lanes.names.is_empty(), "no name outlives its orders");
}

#[test]
fn an_order_of_two_shared_records_is_not_overtaken_for_ever_by_orders_of_one() {
    let mut lanes = lanes(1, 4, 0);
    sharing(&mut lanes, &[(1, &["a"]), (2, &["b"]), (3, &["a", "b"]), (4, &["a"]), (5, &["b"])]);
    assert_eq!(lanes.next(Time::ZERO), send(&[1]));
    assert_eq!(lanes.next(Time::ZERO), send(&[2]));
    done(&mut lanes, &[1]);
    assert_eq!(lanes.next(Time::ZERO), Command::Wait(None), "the first record is promised to the third");
    done(&mut lanes, &[2]);
    assert_eq!(lanes.next(Time::ZERO), send(&[3]));
    done(&mut lanes, &[3]);
    assert_eq!(lanes.next(Time::ZERO), send(&[4]));
    assert_eq!(lanes.next(Time::ZERO), send(&[5]));
}

#[test]
fn an_order_that_waits_for_its_retry_keeps_no_record_from_others() {
    let mut lanes = lanes(75, 4, 0);
    sharing(&mut lanes, &[(1, &["account"])]);
    assert_eq!(lanes.next(Time::ZERO), send(&[1]));
    sharing(&mut lanes, &[(2, &["account"])]);
    lanes.answered(Time::ZERO, ItemId(1), Next::At(SECOND));
    assert_eq!(lanes.next(Time::ZERO), send(&[2]));
    assert_eq!(lanes.next(SECOND), Command::Wait(None), "now it is the other way round");
    lanes.answered(SECOND, ItemId(2), Next::Done);
    assert_eq!(lanes.next(SECOND), send(&[1]));
}

#[test]
fn what_is_forgotten_gives_up_its_place_for_the_records_it_shares() {
    let mut lanes = lanes(1, 4, 0);
    sharing(&mut lanes, &[(1, &["a"]), (2, &["a"]), (3, &["a"])]);
    lanes.delivered(Time::ZERO, ItemId(4), "key of 2", &["b"]);
    assert_eq!(lanes.next(Time::ZERO), send(&[1]));
    assert!(!lanes.forget(Time::ZERO, ItemId(1)), "it is in flight");
    assert!(lanes.forget(Time::ZERO, ItemId(2)));
    assert_eq!(lanes.next(Time::ZERO), send(&[4]), "the next of its lane shares something else");
    done(&mut lanes, &[1]);
    assert_eq!(lanes.next(Time::ZERO), send(&[3]));
    assert!(!lanes.forget(Time::ZERO, ItemId(2)), "it is gone");
}

/// The bound: once an item is the head of its lane, each other lane sends at most one item before it.
#[test]
fn a_record_that_is_known_once_an_item_was_tried_keeps_it_apart_from_others_the_next_time() {
    let mut lanes = lanes(1, 2, 0);
    sharing(&mut lanes, &[(1, &["one"]), (2, &["two"])]);
    assert_eq!((lanes.next(Time::ZERO), lanes.next(Time::ZERO)), (send(&[1]), send(&[2])), "nobody knew");
    for (id, also) in [(1, "one"), (1, "account"), (2, "account")] {
        lanes.shares_also(ItemId(id), &[also]);
    }
    lanes.answered(Time::ZERO, ItemId(1), Next::At(Time::ZERO));
    lanes.answered(Time::ZERO, ItemId(2), Next::At(Time::ZERO));
    assert_eq!((lanes.next(Time::ZERO), lanes.next(Time::ZERO)), (send(&[1]), Command::Wait(None)));
    done(&mut lanes, &[1]);
    assert_eq!(lanes.next(Time::ZERO), send(&[2]));
    done(&mut lanes, &[2]);
    assert!(lanes.is_empty() && lanes.names.is_empty());
}

#[test]
fn a_lane_is_taken_out_with_its_head_in_flight_and_gives_up_its_records() {
    let mut lanes = lanes(10, 1, 0);
    sharing(&mut lanes, &[(1, &["account"])]);
    assert_eq!(lanes.next(Time::ZERO), send(&[1]));
    sharing(&mut lanes, &[(2, &["account"])]);
    deliver(&mut lanes, &[(3, "key of 1"), (4, "key of 1")]);
    assert_eq!(lanes.last_of("key of 1"), Some(ItemId(4)));
    assert_eq!(lanes.take_out(Time::ZERO, "key of 1"), ids(&[1, 3, 4]));
    assert_eq!((lanes.len(), lanes.in_flight(), lanes.depth("key of 1")), (1, 0, 0));
    assert_eq!(lanes.next(Time::ZERO), send(&[2]), "the other one has the record");
}

#[test]
fn a_key_with_a_thousand_orders_sends_at_most_one_before_the_only_order_of_another() {
    for (orders, in_flight) in [(1, 1), (2, 2), (75, 8)] {
        let mut lanes = lanes(orders, in_flight, 0);
        for id in 0..3_000 {
            let key = ["hot", "warm", "busy"][usize::try_from(id % 3).expect("small")];
            lanes.delivered(Time::ZERO, ItemId(id), key, &NOBODY);
        }
        let mut flying: VecDeque<ItemId> = VecDeque::new();
        for step in 0..100_u64 {
            let single = ItemId(10_000 + step);
            lanes.delivered(Time::ZERO, single, &format!("single {step}"), &NOBODY);
            let mut before: HashMap<Arc<str>, usize> = HashMap::new();
            'sent: loop {
                while let Command::Send(batch) = lanes.next(Time::ZERO) {
                    flying.extend(batch.iter().copied());
                    for id in batch {
                        if id == single {
                            break 'sent;
                        }
                        *before.entry(Arc::clone(&lanes.items[&id].key)).or_default() += 1;
                    }
                }
                let answered = flying.pop_front().expect("something is in flight");
                lanes.answered(Time::ZERO, answered, Next::Done);
            }
            assert!(before.values().all(|sent| *sent <= 1), "{before:?}");
            assert!(before.len() <= 3, "{before:?}");
        }
    }
}

#[test]
fn a_batch_holds_what_the_pace_allows_and_as_many_are_in_flight() {
    let settings = BatchSettings { orders: 75, in_flight: InFlight::UpTo(8), linger: Duration::ZERO };
    let mut lanes = Lanes::new(Pace::new(settings));
    for id in 0..1_000 {
        lanes.delivered(Time::ZERO, ItemId(id), &id.to_string(), &NOBODY);
    }
    let sizes = |lanes: &mut Lanes| {
        let mut sizes = Vec::new();
        while let Command::Send(batch) = lanes.next(Time::ZERO) {
            sizes.push(batch.len());
        }
        sizes
    };
    assert_eq!(sizes(&mut lanes), [75, 75], "two at the beginning");
    let request = Observation { orders: 75, took: SECOND, ..Observation::default() };
    lanes.observed(SECOND, &request);
    lanes.observed(SECOND, &request);
    assert_eq!(sizes(&mut lanes), [75], "orders waited while all slots were taken, and all went well");
    lanes.observed(2 * SECOND, &Observation { refused: 15, halted: 60, ..request });
    done(&mut lanes, &(0..225).collect::<Vec<_>>());
    assert_eq!(sizes(&mut lanes), [14, 14, 14], "a halted request");
    lanes.observed(9 * SECOND, &Observation { orders: 14, overloaded: true, ..request });
    done(&mut lanes, &(225..267).collect::<Vec<_>>());
    assert_eq!(sizes(&mut lanes), [14, 14], "the org is pressed");
}
