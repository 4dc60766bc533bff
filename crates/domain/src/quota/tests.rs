#![expect(clippy::unchecked_time_subtraction, reason = "the times of these tests are long after 1970")]

use proptest::prelude::*;

use super::*;

const RESERVE: Reserve = Reserve { percent: 10, calls: 0, replays_percent: 10 };
const PROBE: Duration = Duration::from_mins(15);
const HOUR: Duration = Duration::from_hours(1);

fn told(used: u64, limit: u64, at: Time) -> Usage {
    Usage { used, limit, at }
}

fn spending(used: u64, in_flight: u64) -> Spending {
    Spending { usage: Some(told(used, 1000, WINDOW)), in_flight, ..Spending::default() }
}

#[test]
fn replays_wait_before_new_orders_do_and_both_before_the_reserve_is_touched() {
    let goes = |used, class| spending(used, 1).decide(class, &RESERVE, WINDOW, PROBE) == Decision::Go;
    for (used, new, replay) in [(0, true, true), (799, true, true), (800, true, false), (899, true, false)] {
        assert_eq!((goes(used, Class::New), goes(used, Class::Replay)), (new, replay), "{used}");
    }
    assert!(!goes(900, Class::New) && !goes(5000, Class::New));
}

#[test]
fn the_reserve_is_the_larger_of_a_share_and_a_number() {
    let reserve = |calls| Reserve { calls, ..RESERVE };
    assert_eq!(reserve(50).ceiling(Class::New, 1000), 900);
    assert_eq!(reserve(300).ceiling(Class::New, 1000), 700);
    assert_eq!(reserve(300).ceiling(Class::Replay, 1000), 600);
    assert_eq!(reserve(u64::MAX).ceiling(Class::Replay, 1000), 0);
}

#[test]
fn what_is_under_way_counts_as_spent() {
    let decide = |in_flight| spending(890, in_flight).decide(Class::New, &RESERVE, WINDOW, PROBE);
    assert_eq!(decide(10), Decision::Go);
    assert!(matches!(decide(11), Decision::Wait { .. }));
}

#[test]
fn a_wait_ends_when_enough_of_the_own_calls_have_left_the_window() {
    let now = 2 * WINDOW;
    let own = vec![(now - WINDOW - HOUR, 90), (now - WINDOW + HOUR, 5), (now - WINDOW + 2 * HOUR, 50)];
    let waits = |used, probe| {
        let usage = Some(told(used, 1000, now));
        Spending { usage, in_flight: 1, own: own.clone(), ..Spending::default() }.decide(
            Class::New,
            &RESERVE,
            now,
            probe,
        )
    };
    let first = now + HOUR + BUCKET;
    assert_eq!(waits(902, 3 * HOUR), Decision::Wait { until: first, moves: Some(first) });
    assert_eq!(
        waits(902, PROBE),
        Decision::Wait { until: now + PROBE, moves: Some(first) },
        "others' calls may go sooner"
    );
    let second = now + 2 * HOUR + BUCKET;
    assert_eq!(waits(910, 3 * HOUR), Decision::Wait { until: second, moves: Some(second) });
    assert_eq!(waits(990, 3 * HOUR), Decision::Wait { until: now + 3 * HOUR, moves: None }, "others have spent it");
}

#[test]
fn one_request_may_look_once_what_was_told_is_old_or_the_window_has_moved() {
    let told_at = 2 * WINDOW;
    let own = vec![(told_at - WINDOW, 50)];
    let decide = |later: Duration, probe| {
        let usage = Some(told(910, 1000, told_at));
        let spending = Spending { usage, in_flight: 1, own: own.clone(), ..Spending::default() };
        spending.decide(Class::New, &RESERVE, told_at + later, probe)
    };
    let second = Duration::from_secs(1);
    assert!(matches!(decide(PROBE - second, PROBE), Decision::Wait { .. }));
    assert_eq!(decide(PROBE, PROBE), Decision::Look);
    assert!(matches!(decide(BUCKET - second, HOUR), Decision::Wait { .. }));
    assert_eq!(decide(BUCKET, HOUR), Decision::Look, "the own calls have left");
}

#[test]
fn a_server_that_is_behind_gives_nothing_back_and_a_window_that_moved_does() {
    let known = told(500, 1000, HOUR);
    let second = Duration::from_secs(1);
    assert_eq!(known.or_newer(told(480, 1000, HOUR + second)), known);
    assert_eq!(known.or_newer(told(450, 1000, HOUR + second)).used, 450, "no server is so far behind");
    assert_eq!(known.or_newer(told(501, 1000, HOUR + second)).used, 501);
    assert_eq!(known.or_newer(told(480, 1000, HOUR + DISAGREEMENT)).used, 480);
    assert_eq!(known.or_newer(told(480, 2000, HOUR + second)).limit, 2000, "the org bought more");
}

#[test]
fn the_forecast_tells_own_calls_from_others_and_when_the_budget_is_spent() {
    let now = 2 * WINDOW;
    let spending = Spending {
        usage: Some(told(600, 1000, now)),
        in_flight: 0,
        own: vec![(now - 3 * HOUR, 400), (now - HOUR / 2, 40)],
        past: vec![(now - 2 * HOUR, 100), (now - HOUR / 2, 550)],
    };
    let forecast = spending.forecast(&RESERVE, now).expect("a forecast");
    // 50 in half an hour; 40 of them are ours.
    let expected = Forecast { own_per_hour: 40, others_per_hour: 60, left: 300, spent_in: Some(3 * HOUR) };
    assert_eq!(forecast, expected);
    let falling = Spending { past: vec![(now - HOUR / 2, 700)], ..spending };
    assert_eq!(falling.forecast(&RESERVE, now).expect("a forecast").spent_in, None);
    assert_eq!(Spending::default().forecast(&RESERVE, now), None, "nothing was told yet");
}

/// One thing that happens to the org.
#[derive(Debug, Clone)]
enum Event {
    /// A writer wants to send a request, and does if it may.
    Ask(Class),
    /// The oldest request under way is answered, by a server that is behind by so many.
    Answer(u64),
    /// Another program of the org calls.
    Others(u64),
    /// Time passes, in minutes.
    Pass(u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let class = prop_oneof![Just(Class::New), Just(Class::Replay)];
    let event = prop_oneof![
        6 => class.prop_map(Event::Ask),
        6 => (0..5_u64).prop_map(Event::Answer),
        1 => (0..30_u64).prop_map(Event::Others),
        1 => (1..600_u64).prop_map(Event::Pass),
    ];
    proptest::collection::vec(event, 1..400)
}

proptest! {
    /// The org's own count is kept beside what the fleet believes.
    #[test]
    fn the_fleet_never_begins_a_call_into_the_reserve_but_for_what_it_could_not_know(events in events()) {
        const LIMIT: u64 = 200;
        let (mut now, mut calls) = (2 * WINDOW, Vec::<Time>::new());
        let (mut usage, mut under_way, mut unheard): (Option<Usage>, u64, u64) = (None, 0, 0);
        for event in events {
            calls.retain(|at| *at + WINDOW > now);
            let used = calls.len() as u64;
            match event {
                Event::Pass(minutes) => now += Duration::from_secs(minutes * 60),
                Event::Others(count) => {
                    calls.extend((0..count).map(|_| now));
                    unheard += count;
                }
                Event::Answer(_) if under_way == 0 => {}
                Event::Answer(behind) => {
                    under_way -= 1;
                    let told = told(used.saturating_sub(behind), LIMIT, now);
                    usage = Some(usage.map_or(told, |known| known.or_newer(told)));
                    unheard = 0;
                }
                Event::Ask(class) => {
                    let spending = Spending { usage, in_flight: under_way + 1, ..Spending::default() };
                    let ceiling = RESERVE.ceiling(class, LIMIT);
                    match spending.decide(class, &RESERVE, now, PROBE) {
                        Decision::Go if usage.is_some() => {
                            calls.push(now);
                            under_way += 1;
                            // Servers are behind by less than five, and what others do is heard with the next answer.
                            prop_assert!(used < ceiling + 5 + unheard, "{used} of {ceiling}");
                        }
                        Decision::Go => {
                            calls.push(now);
                            under_way += 1;
                        }
                        // One request of the fleet at a time, and none before the last telling is old.
                        Decision::Look => {
                            prop_assert!(usage.is_some_and(|usage| usage.at + PROBE <= now));
                            if under_way == 0 {
                                calls.push(now);
                                under_way += 1;
                            }
                        }
                        Decision::Wait { until, .. } => {
                            prop_assert!(until > now && until <= now + PROBE);
                            // Nobody waits while what was told leaves room.
                            prop_assert!(usage.is_some_and(|usage| usage.used + under_way + 1 > ceiling));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn an_org_far_from_its_limit_never_makes_anybody_wait(used in 0..500_u64, in_flight in 0..200_u64, at in 0..100_u64) {
        let usage = Some(told(used, 1000, Duration::from_secs(at)));
        let spending = Spending { usage, in_flight, ..Spending::default() };
        for class in [Class::New, Class::Replay] {
            prop_assert_eq!(spending.decide(class, &RESERVE, WINDOW, PROBE), Decision::Go);
        }
    }
}
