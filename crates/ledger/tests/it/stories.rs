//! Stories in Redis: bounded as the core says, expiring, and without a silent gap when Redis was away.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use causeway_ledger as ledger;
use domain::failure::Reason;
use domain::outcome::{Result as Ended, Written};
use domain::story::{Answer, Ending, FIRST, LAST, Recorder as _, Step, What, bounded};
use ledger::stories::{Kept, LostSteps, Stories, StoryRecorder};
use ledger::{Closing, Ledger, RedisLedger};
use proptest::strategy::{Strategy as _, ValueTree as _};
use service::Health;
use testkit::{Redis, eventually, eventually_some};

use crate::{LONG, PATIENT, claim, order, owner, redis, take};

const DAY: Duration = Duration::from_hours(24);

fn step(at: u64) -> Step {
    // A step that looks like the mark of a cut, and is none.
    let code = Some(r#""s":"cut","steps":7"#.to_owned());
    Step { at, by: "writer/1".to_owned(), what: What::Waits { until: at, reason: Reason::RecordLocked, code } }
}

async fn written(stories: &Stories, name: &str) -> Vec<Step> {
    stories.read(&order(name)).await.expect("Redis answers").steps
}

#[tokio::test]
async fn redis_keeps_the_same_steps_of_a_story_as_the_core_says_however_they_come() {
    let stories = Stories::beside(&redis().await, DAY);
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for run in 0..12 {
        let chunks = proptest::collection::vec(1_usize..40, 1..12).new_tree(&mut runner).expect("chunks").current();
        let (name, mut kept, mut at) = (format!("order-{run}"), Vec::new(), 0);
        for chunk in chunks {
            let steps: Vec<Step> = (at..at + chunk as u64).map(step).collect();
            at += chunk as u64;
            kept = bounded([kept, steps.clone()].concat());
            stories.append(&[(name.clone(), steps)], None).await.expect("kept");
            assert_eq!(written(&stories, &name).await, kept);
        }
    }
}

#[tokio::test]
async fn many_orders_are_written_at_once_and_each_has_its_own_story() {
    let stories = Stories::beside(&redis().await, DAY);
    let batch: Vec<(String, Vec<Step>)> = (0..50).map(|at| (format!("o-{at}"), vec![step(at), step(at + 1)])).collect();
    stories.append(&batch, None).await.expect("kept");
    for (name, steps) in &batch {
        assert_eq!(&written(&stories, name).await, steps);
    }
    assert_eq!(written(&stories, "another").await, []);
}

#[tokio::test]
async fn a_story_expires_after_its_last_step() {
    let stories = Stories::beside(&redis().await, Duration::from_millis(300));
    stories.append(&[("o".to_owned(), vec![step(1)])], None).await.expect("kept");
    eventually("the story to expire", async || written(&stories, "o").await.is_empty()).await;
}

#[tokio::test]
async fn what_the_ledger_knows_of_an_order_is_read_with_its_story() {
    let ledger = redis().await;
    let stories = Stories::beside(&ledger, DAY);
    let known = stories.read(&order("o")).await.expect("Redis answers");
    assert_eq!(known.effect, None);
    ledger.own(&owner("a")).await.expect("owned");
    let (ticket, _) = take(&ledger, claim("a", "o", LONG)).await;
    let ended = Ended::Written(Written { event_uuid: Some("e".to_owned()), ..Written::default() });
    let stored = serde_json::to_string(&ended).expect("JSON");
    ledger.close(&[(ticket, Closing::Settle(stored))]).await.expect("settled");
    let known = stories.read(&order("o")).await.expect("Redis answers");
    let effect = known.effect.expect("an effect");
    assert_eq!(effect.ended, Some(ended));
    assert!(effect.at > 1_600_000_000_000, "{}", effect.at);
}

/// The steps of an order that was written at once.
fn ordinary() -> Vec<Step> {
    let whats = [
        What::Received { trace: Some("0af7651916cd43dd8448eb211c80319c".to_owned()) },
        What::HandedOn { partition: 17 },
        What::TakenUp { partition: 17 },
        What::Claimed { attempt: 1, unknown: false },
        What::Sent { request: "b7ad6b7169203331".to_owned(), orders: 75, call: 100, event: false },
        What::Answered { answer: Answer::Written, code: None, fields: None },
        What::Settled {
            how: Ending::Written,
            crm_id: Some("0015g00000ZxQ1aAAF".to_owned()),
            event: Some("c1a1b6ef-8c59-4a3c-9e51-6d2b9f5f7b10".to_owned()),
            reason: None,
        },
        What::Announced { told: "order.written".to_owned() },
        What::LinkWaits { reason: None },
        What::Linked { links: 4 },
    ];
    let step = |(at, what): (u64, What)| Step { at: 1_790_000_000_000 + at, by: "writer/01234567".to_owned(), what };
    (0..).zip(whats).map(step).collect()
}

/// What a Redis of one's own answers to a command.
async fn command<T: ::redis::FromRedisValue>(node: &Redis, words: &[&str]) -> T {
    let client = ::redis::Client::open(node.url()).expect("an address");
    let mut connection = client.get_multiplexed_async_connection().await.expect("Redis answers");
    let mut ask = ::redis::Cmd::new();
    for word in words {
        ask.arg(*word);
    }
    ask.query_async(&mut connection).await.expect("Redis answers")
}

/// How often it refused to tell how full it is.
async fn refused_to_tell(node: &Redis) -> u64 {
    let entries: Vec<HashMap<String, ::redis::Value>> = command(node, &["ACL", "LOG"]).await;
    let of = |entry: &HashMap<String, ::redis::Value>| -> Option<u64> {
        let text = |name: &str| ::redis::from_redis_value::<String>(entry.get(name)?.clone()).ok();
        (text("object")? == "info").then(|| ::redis::from_redis_value(entry.get("count")?.clone()).ok())?
    };
    entries.iter().filter_map(of).sum()
}

/// What a command of Redis's says of an order's story.
async fn of_story(namespace: &str, url: &str, name: &str, command: &[&str]) -> i64 {
    let mut connection = ::redis::Client::open(url)
        .expect("an address")
        .get_multiplexed_async_connection()
        .await
        .expect("Redis answers");
    let mut ask = ::redis::Cmd::new();
    for word in command {
        ask.arg(*word);
    }
    ask.arg(format!("{{{namespace}}}:story:{name}")).query_async(&mut connection).await.expect("Redis answers")
}

#[tokio::test]
async fn the_story_of_a_settled_order_is_kept_for_a_shorter_time_and_takes_less_than_two_kilobytes() {
    let (namespace, url) = (testkit::namespace("stories"), testkit::redis_url());
    let ledger = RedisLedger::connect(&url, &namespace, PATIENT).await.expect("Redis answers");
    let stories = Stories::beside(&ledger, Kept { open: 30 * DAY, settled: 3 * DAY });
    let days = async |name: &str| {
        let left = of_story(&namespace, &url, name, &["PTTL"]).await;
        (Duration::from_millis(left.try_into().expect("it expires")) + Duration::from_mins(1)).as_secs() / DAY.as_secs()
    };
    let steps = ordinary();
    for settled_at in [7, 8, 10] {
        stories.append(&[("o".to_owned(), steps[..6].to_vec())], None).await.expect("kept");
        assert_eq!(days("o").await, 30, "on its way");
        stories.append(&[("o".to_owned(), steps[6..settled_at].to_vec())], None).await.expect("kept");
        assert_eq!(days("o").await, 3, "settled");
    }
    let dead = What::Dead { letter: "l".to_owned(), reason: Reason::SalesforceRefused, code: None };
    let told = What::Announced { told: "order.dead_lettered".to_owned() };
    let dead = [dead, told].map(|what| Step { at: 1, by: "writer/1".to_owned(), what }).to_vec();
    stories.append(&[("dead".to_owned(), dead)], None).await.expect("kept");
    assert_eq!(days("dead").await, 30, "somebody has to look at it");
    stories.append(&[("whole".to_owned(), steps)], None).await.expect("kept");
    let bytes = of_story(&namespace, &url, "whole", &["MEMORY", "USAGE"]).await;
    assert!((500..2_000).contains(&bytes), "{bytes}");
}

#[tokio::test]
async fn a_copy_that_comes_again_or_a_gap_neither_shortens_nor_lengthens_the_time_for_which_a_story_is_kept() {
    let (namespace, url) = (testkit::namespace("stories"), testkit::redis_url());
    let ledger = RedisLedger::connect(&url, &namespace, PATIENT).await.expect("Redis answers");
    let stories = Stories::beside(&ledger, Kept { open: 30 * DAY, settled: 3 * DAY });
    let append = async |name: &str, whats: Vec<What>| {
        let steps = whats.into_iter().map(|what| Step { at: 1, by: "writer/1".to_owned(), what }).collect();
        stories.append(&[(name.to_owned(), steps)], None).await.expect("kept");
        let left = of_story(&namespace, &url, name, &["PTTL"]).await;
        (Duration::from_millis(left.try_into().expect("it expires")) + Duration::from_mins(1)).as_secs() / DAY.as_secs()
    };
    let gap = || What::Gap { steps: 1, missing: None };
    let parked = || What::Parked { letter: "l".to_owned(), behind: "b".to_owned() };
    assert_eq!(append("parked", vec![parked()]).await, 30);
    assert_eq!(append("settled", vec![parked(), What::SettledBefore]).await, 3);
    for (name, days) in [("parked", 30), ("settled", 3)] {
        for says_nothing in [vec![What::Folded], vec![gap()], vec![What::Folded, gap()]] {
            assert_eq!(append(name, says_nothing.clone()).await, days, "{name} {says_nothing:?}");
        }
        // Also when the story is written anew because it has grown too long.
        assert_eq!(append(name, vec![What::Folded; FIRST + LAST + 1]).await, days, "{name}");
    }
    assert_eq!(append("parked", vec![What::SettledBefore, What::Folded, gap()]).await, 3, "settled, then a copy");
    assert_eq!(append("new", vec![What::Folded]).await, 30, "nobody knows that it is settled");
}

#[tokio::test]
async fn stories_stop_before_a_redis_that_may_not_evict_is_full_and_go_on_when_it_has_room() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(testkit::namespace("stories"));
    let mut node = Redis::start(&folder).await.expect("Redis starts");
    let namespace = testkit::namespace("stories");
    let ledger = RedisLedger::connect(&node.url(), &namespace, PATIENT).await.expect("Redis answers");
    let mut connection =
        ::redis::Client::open(node.url()).expect("an address").get_multiplexed_async_connection().await.expect("Redis");
    let mut limit = async |bytes: &str| {
        let mut set = ::redis::cmd("CONFIG");
        set.arg("SET").arg("maxmemory").arg(bytes);
        set.exec_async(&mut connection).await.expect("set");
    };
    let (stories, health) = (Stories::beside(&ledger, DAY), Health::default());
    // Less than an empty Redis takes.
    limit("100000").await;
    let recorder = StoryRecorder::start(stories.clone(), "writer/1", &health);
    let notice = eventually_some("the notice", async || health.notices().remove("stories")).await;
    assert!(notice.contains("maxmemory"), "{notice}");
    // A Redis that does not tell how full it is has not become empty.
    let () = command(&node, &["ACL", "SETUSER", "default", "-info"]).await;
    eventually("two looks in vain", async || refused_to_tell(&node).await >= 2).await;
    assert!(health.notices().contains_key("stories"));
    let () = command(&node, &["ACL", "SETUSER", "default", "+info"]).await;
    for _ in 0..3 {
        recorder.record("o", What::Folded);
    }
    limit("100000000").await;
    let steps = eventually_some("what was missed to be told", async || {
        let steps = stories.read(&order("o")).await.ok()?.steps;
        (!steps.is_empty()).then_some(steps)
    })
    .await;
    assert_eq!(steps.iter().map(|step| &step.what).collect::<Vec<_>>(), [&What::Gap { steps: 3, missing: None }]);
    assert!(health.notices().is_empty());
    recorder.record("o", What::SettledBefore);
    eventually("the next step", async || written(&stories, "o").await.len() == 2).await;
    node.kill();
    let _ = std::fs::remove_dir_all(&folder);
}

#[tokio::test]
async fn lost_steps_of_unnamed_orders_are_kept_as_a_time_and_the_latest_of_them() {
    let stories = Stories::beside(&redis().await, DAY);
    let lost = |from| LostSteps { from, to: from + 5, steps: 3, by: "writer/1 a b".to_owned() };
    for from in 0..=ledger::stories::GAPS as u64 {
        stories.append(&[], Some(&lost(from))).await.expect("kept");
    }
    let kept = stories.read(&order("o")).await.expect("Redis answers").lost;
    assert_eq!((kept.len(), kept.first()), (ledger::stories::GAPS, Some(&lost(ledger::stories::GAPS as u64))));
}

#[tokio::test]
async fn steps_that_redis_was_not_there_for_are_written_when_it_is_back_and_those_that_found_no_room_are_a_gap() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(testkit::namespace("stories"));
    let mut node = Redis::start(&folder).await.expect("Redis starts");
    let namespace = testkit::namespace("stories");
    let ledger = RedisLedger::connect(&node.url(), &namespace, PATIENT).await.expect("Redis answers");
    let stories = Stories::beside(&ledger, DAY);
    node.kill();
    let recorder = StoryRecorder::start(stories.clone(), "writer/0123456789", &Health::default());
    // More than there is room for, beyond what may be on its way already.
    for _ in 0..20_000 {
        recorder.record("crowded", What::Folded);
    }
    for _ in 0..3 {
        recorder.record("late", What::Folded);
    }
    node.restart().await.expect("Redis starts again");
    let late = eventually_some("the late order's gap", async || {
        let steps = stories.read(&order("late")).await.ok()?.steps;
        (!steps.is_empty()).then_some(steps)
    })
    .await;
    assert_eq!(late.iter().map(|step| &step.what).collect::<Vec<_>>(), [&What::Gap { steps: 3, missing: None }]);
    recorder.record("late", What::SettledBefore);
    eventually("the next step", async || written(&stories, "late").await.len() == 2).await;
    let counted = eventually_some("every step of the crowded order", async || {
        let steps = written(&stories, "crowded").await;
        let count = |step: &Step| {
            if let What::Gap { steps, .. } | What::Cut { steps } = step.what { steps } else { 1 }
        };
        let sum: u64 = steps.iter().map(count).sum();
        steps.iter().any(|step| matches!(step.what, What::Gap { .. })).then_some(sum)
    })
    .await;
    assert!(counted >= 16_384, "{counted} of 20000 steps are told or counted");
    node.kill();
    let _ = std::fs::remove_dir_all(&folder);
}

#[tokio::test]
async fn the_last_steps_are_written_when_a_program_ends() {
    let stories = Stories::beside(&redis().await, DAY);
    let recorder = StoryRecorder::start(stories.clone(), "writer/1", &Health::default());
    recorder.record("o", What::Folded);
    recorder.close(testkit::eventually::PATIENCE).await;
    assert_eq!(written(&stories, "o").await.len(), 1);
}
