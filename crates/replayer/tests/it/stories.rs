//! The story of an order, as it is printed.

use causeway_replayer::cli::story::render;
use causeway_replayer::letters::OpenLetters;
use causeway_replayer::story::Story;
use causeway_replayer::terminal::Terminal;
use domain::failure::Reason;
use domain::order::id::{OrderId, RecordId};
use domain::outcome::{MatchExplanation, MatchedField, Result as Ended, Written};
use domain::story::{Answer, Ending, Found, Step, What};
use insta::assert_snapshot;
use jiff::tz::TimeZone;
use ledger::stories::{KnownEffect, LostSteps, Recorded};
use queue::journal::entry::{Entry, EntryKind, letter_of};

use crate::letters::{NOW, dead, entry, message, order, refused, seen, some_open};

fn at(ms: u64, by: &str, what: What) -> Step {
    Step { at: NOW - 600_000 + ms, by: by.to_owned(), what }
}

/// A life with a duplicate, a lock and a crash in it.
fn steps() -> Vec<Step> {
    const INGEST: &str = "ingest/0f00ba12";
    const WRITER: &str = "writer/1a2b3c4d";
    const NEXT: &str = "writer/9e8d7c6b";
    let sent = |call, orders| What::Sent { request: "b7ad6b7169203331".to_owned(), orders, call, event: false };
    let refused = |code: &str| What::Answered { answer: Answer::Refused, code: Some(code.to_owned()), fields: None };
    let claimed = |attempt, unknown| What::Claimed { attempt, unknown };
    let until = NOW - 600_000 + 2_500;
    let explanation = MatchExplanation {
        rule: "Standard_Account_Rule".to_owned(),
        matching_rule: Some("Standard_Account_Match_Rule_v1_0".to_owned()),
        matched: RecordId::parse("001000000000001AAA").into_iter().collect(),
        fields: vec![MatchedField { name: "PersonEmail".to_owned(), shape: "e-mail address".to_owned() }],
        decision: "attached".to_owned(),
        ..MatchExplanation::default()
    };
    let account = Some("001000000000001AAA".to_owned());
    vec![
        at(0, INGEST, What::Received { trace: Some("0af7651916cd43dd8448eb211c80319c".to_owned()) }),
        at(4, INGEST, What::HandedOn { partition: 16 }),
        at(9, WRITER, What::TakenUp { partition: 16 }),
        at(31, WRITER, claimed(1, false)),
        at(32, WRITER, sent(811, 75)),
        at(480, WRITER, refused("UNABLE_TO_LOCK_ROW")),
        at(
            482,
            WRITER,
            What::Waits { until, reason: Reason::RecordLocked, code: Some("UNABLE_TO_LOCK_ROW".to_owned()) },
        ),
        at(2_501, WRITER, claimed(2, false)),
        at(2_502, WRITER, sent(823, 1)),
        at(130_000, NEXT, What::TakenUp { partition: 16 }),
        at(130_010, NEXT, claimed(3, true)),
        at(130_200, NEXT, What::LookedUp { found: Found::Nothing }),
        at(130_201, NEXT, sent(4, 12)),
        at(130_700, NEXT, refused("DUPLICATES_DETECTED")),
        at(130_701, NEXT, What::Duplicate { explanation }),
        at(130_702, NEXT, sent(5, 1)),
        at(131_100, NEXT, What::Answered { answer: Answer::Written, code: None, fields: None }),
        at(
            131_105,
            NEXT,
            What::Settled { how: Ending::Written, crm_id: account, event: Some("e7f0".to_owned()), reason: None },
        ),
        at(131_140, NEXT, What::Announced { told: "order.written".to_owned() }),
    ]
}

fn story(name: &str, recorded: Recorded, open: &OpenLetters) -> Story {
    Story::of(OrderId::parse(name).expect("an id"), Ok(recorded), open, causeway_replayer::shown::exact_moment)
}

fn shown(story: &Story, width: Option<usize>) -> String {
    let terminal = width.map_or(Terminal::PIPE, |width| Terminal { width: Some(width), hints: true, ..Terminal::PIPE });
    render(story, &TimeZone::UTC, &terminal)
}

fn recorded(steps: Vec<Step>) -> Recorded {
    Recorded { steps, ..Recorded::default() }
}

#[test]
fn a_story_is_told_step_by_step_with_the_time_between_them() {
    let story = story("order-9", recorded(steps()), &OpenLetters::new(Vec::new(), NOW));
    assert_snapshot!(shown(&story, Some(140)));
}

#[test]
fn a_story_in_a_pipe_is_whole_and_without_hints() {
    let story = story("order-9", recorded(steps()), &OpenLetters::new(Vec::new(), NOW));
    assert_snapshot!(shown(&story, None));
}

#[test]
fn a_story_fits_a_narrow_terminal() {
    let story = story("order-9", recorded(steps()), &OpenLetters::new(Vec::new(), NOW));
    let text = shown(&story, Some(80));
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

#[test]
fn an_order_that_waits_says_for_what_until_when_and_what_to_do() {
    let story = story("order-9", recorded(steps()[..7].to_vec()), &OpenLetters::new(Vec::new(), NOW - 599_000));
    assert_snapshot!(shown(&story, Some(100)));
}

#[test]
fn a_wait_that_is_long_over_is_told_as_overdue() {
    let story = story("order-9", recorded(steps()[..7].to_vec()), &OpenLetters::new(Vec::new(), NOW));
    assert!(story.standing.sentence.contains("should have gone on"), "{:?}", story.standing);
}

#[test]
fn a_dead_letter_of_which_nothing_recorded_is_left_is_told_by_the_journal() {
    let open = some_open();
    let name = open.all()[0].letter.order_id.clone().expect("an order");
    assert_snapshot!(shown(&story(&name, recorded(Vec::new()), &open), Some(120)));
}

#[test]
fn what_the_ledger_knows_is_told_after_recording_was_lost_and_lost_steps_are_not_silent() {
    let account = RecordId::parse("001000000000001AAA");
    let ended = Ended::Written(Written { crm_id: account, ..Written::default() });
    let effect = KnownEffect { ended: Some(ended), at: NOW - 60_000 };
    let lost = LostSteps { from: NOW - 70_000, to: NOW - 65_000, steps: 12, by: "writer/1a2b3c4d".to_owned() };
    let held = Recorded { effect: Some(effect), lost: vec![lost], ..Recorded::default() };
    let open = OpenLetters::new(Vec::new(), NOW);
    assert_snapshot!(shown(&story("order-9", held, &open), Some(120)));
}

#[test]
fn a_redis_that_is_away_is_said_and_an_order_that_nobody_heard_of_is_empty() {
    let open = some_open();
    let name = open.all()[0].letter.order_id.clone().expect("an order");
    let order = OrderId::parse(&name).expect("an id");
    let told = Story::of(order, Err("Redis did not answer".to_owned()), &open, |at| format!("{at}"));
    assert!(!told.is_empty() && shown(&told, Some(100)).contains("could not be read: Redis did not answer"));
    assert!(story("nobody", recorded(Vec::new()), &open).is_empty());
}

#[test]
fn the_json_of_a_story_has_the_documented_shape() {
    let story = story("order-9", recorded(steps()[..7].to_vec()), &OpenLetters::new(Vec::new(), NOW - 599_000));
    assert_snapshot!(serde_json::to_string_pretty(&story.document(NOW - 599_000)).expect("JSON"));
}

#[test]
fn an_order_that_found_no_room_in_its_lane_says_so_and_that_it_comes_back_by_itself() {
    let body = message("h-1", Some("id-hot"), b"{}");
    let letter = letter_of(&body);
    let kind = EntryKind::Held { behind: letter.clone() };
    let room = Entry { ahead: Some(Vec::new()), ..entry(kind, body, Some("id-hot"), Some(&order(21)), 9) };
    let open = seen(std::slice::from_ref(&room));
    // Nothing recorded is left: the journal tells.
    let told = story(&order(21), Recorded::default(), &open);
    assert_eq!((told.standing.state, told.standing.letter.as_deref()), ("overflowed", Some(letter.as_str())));
    let text = shown(&told, Some(100));
    assert!(text.contains("waits in the journal for room") && text.contains("by itself"), "{text}");
    assert!(!text.contains("causeway-replayer replay"), "{text}");
    // What was recorded tells of both ways, without a gap.
    let letter = || letter.as_str().to_owned();
    let steps = vec![
        at(0, "ingest/1", What::Received { trace: None }),
        at(1, "ingest/1", What::HandedOn { partition: 16 }),
        at(2, "writer/1", What::TakenUp { partition: 16 }),
        at(3, "writer/1", What::Overflowed { letter: letter() }),
        at(900, "writer/2", What::LetIn { letter: letter() }),
        at(901, "writer/2", What::Claimed { attempt: 1, unknown: false }),
    ];
    let told = story(&order(21), recorded(steps.clone()), &OpenLetters::new(Vec::new(), NOW));
    let titles: Vec<&str> = told.told.iter().map(|told| told.step.what.title()).collect();
    assert_eq!(titles, ["received", "handed on", "taken up", "overflowed", "let in", "claimed"]);
    let back = story(&order(21), recorded(steps[..5].to_vec()), &OpenLetters::new(Vec::new(), NOW));
    assert_eq!(back.standing.state, "lane");
    // Behind one that was given up it waits for that, and for a person.
    let first = entry(dead(refused()), message("h-0", Some("id-hot"), b"{}"), Some("id-hot"), Some(&order(20)), 5);
    let cause = first.letter.clone().expect("about a letter");
    let waits = Entry { ahead: Some(vec![cause.clone()]), ..room };
    let told = story(&order(21), Recorded::default(), &seen(&[waits, first]));
    assert_eq!((told.standing.state, told.standing.letter.as_deref()), ("parked", Some(cause.as_str())));
}
