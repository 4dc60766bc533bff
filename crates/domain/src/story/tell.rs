//! What was recorded, and what is known for certain, as one story without a silent gap.

use super::{FIRST, LAST, Step, What};

/// Who knows of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The process that took it recorded it.
    Recorded,
    /// The journal of dead letters holds it.
    Journal,
    /// The ledger holds it. Its time is that of the last change of what the ledger holds.
    Ledger,
    /// It is told here: what is missing.
    Teller,
}

impl Source {
    /// The name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Journal => "journal",
            Self::Ledger => "ledger",
            Self::Teller => "teller",
        }
    }
}

/// A step as it is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// The step.
    pub step: Step,
    /// Who knows of it.
    pub source: Source,
}

/// At most [`FIRST`] and [`LAST`] steps, with the mark of the cut between them. What keeps stories elsewhere has to keep
/// the same.
pub fn bounded(mut steps: Vec<Step>) -> Vec<Step> {
    let earlier = match steps.get(FIRST).map(|step| &step.what) {
        Some(What::Cut { steps: cut }) => {
            let cut = *cut;
            steps.remove(FIRST);
            cut
        }
        Some(_) | None => 0,
    };
    let over = steps.len().saturating_sub(FIRST + LAST);
    if over == 0 && earlier == 0 {
        return steps;
    }
    let dropped: Vec<Step> = steps.drain(FIRST..FIRST + over).collect();
    let at = dropped.last().or(steps.get(FIRST.saturating_sub(1))).map_or(0, |step| step.at);
    let cut = earlier.saturating_add(u64::try_from(over).unwrap_or(u64::MAX));
    steps.insert(FIRST, Step { at, by: String::new(), what: What::Cut { steps: cut } });
    steps
}

/// How far apart two clocks may tell of the same thing, in milliseconds.
const SAME: u64 = 60_000;

/// One story of what was recorded, in the order in which it was kept, and of what others know for certain. What is missing
/// stands where it is missing.
pub fn tell(recorded: Vec<Step>, known: Vec<(Source, Step)>) -> Vec<Told> {
    let mut told: Vec<Told> = Vec::with_capacity(recorded.len() + known.len());
    for step in recorded {
        // What carries steps may deliver one twice, when it does not learn whether it was kept.
        if !told.iter().any(|other| other.step == step) {
            told.push(Told { step, source: Source::Recorded });
        }
    }
    for (source, step) in known {
        if !told.iter().any(|other| other.source == Source::Recorded && says_the_same(&other.step, &step)) {
            told.push(Told { step, source });
        }
    }
    told.sort_by_key(|told| told.step.at);
    intake_first(&mut told);
    with_gaps(told)
}

/// `ingest` tells what it did once the broker has confirmed it, and by its own clock: the writer may have told of the order
/// before. What `ingest` did to hand the order on still comes before what followed from it.
fn intake_first(told: &mut [Told]) {
    let at = |is: fn(&What) -> bool| told.iter().position(|told| is(&told.step.what));
    let taken_up = at(|what| matches!(what, What::TakenUp { .. }));
    let handed_on = at(|what| matches!(what, What::HandedOn { .. }));
    let (Some(taken_up), Some(handed_on)) = (taken_up, handed_on) else { return };
    let Some(span) = told.get_mut(taken_up..=handed_on) else { return };
    let apart = match span {
        [first, .., last] => last.step.at.abs_diff(first.step.at),
        _ => return,
    };
    // Further apart, it was handed on once more.
    if apart <= SAME {
        let intake = |what: &What| matches!(what, What::Received { .. } | What::PartitionFull | What::HandedOn { .. });
        span.sort_by_key(|told| !intake(&told.step.what));
    }
}

/// Whether a recorded step is the one that somebody else knows of.
fn says_the_same(recorded: &Step, known: &Step) -> bool {
    let near = recorded.at.abs_diff(known.at) <= SAME;
    match (&recorded.what, &known.what) {
        (What::Dead { letter: one, .. }, What::Dead { letter: other, .. })
        | (What::Released { letter: one, .. }, What::Released { letter: other, .. }) => one == other && near,
        (What::Parked { letter: one, .. }, What::Parked { letter: other, .. })
        | (What::Overflowed { letter: one }, What::Overflowed { letter: other }) => one == other,
        (What::Settled { how: one, .. }, What::Settled { how: other, .. }) => one == other,
        (_, _) => false,
    }
}

/// How far an order has come with a step; `None` for a step that says nothing of it.
fn progress(what: &What) -> Option<usize> {
    match what {
        What::Received { .. } | What::Conflicted | What::PartitionFull | What::Refused { .. } => Some(0),
        What::HandedOn { .. } | What::Folded => Some(1),
        What::TakenUp { .. } | What::Parked { .. } | What::Overflowed { .. } | What::LetIn { .. } => Some(2),
        What::Claimed { .. } | What::SettledBefore => Some(3),
        What::Sent { .. }
        | What::Answered { .. }
        | What::LookedUp { .. }
        | What::Duplicate { .. }
        | What::Settled { .. } => Some(4),
        What::Waits { .. }
        | What::Paused { .. }
        | What::Busy { .. }
        | What::AccountInUse
        | What::Dead { .. }
        | What::Released { .. }
        | What::Closed { .. }
        | What::Announced { .. }
        | What::LinkWaits { .. }
        | What::Linked { .. }
        | What::NotLinked { .. }
        | What::Gap { .. }
        | What::Cut { .. }
        | What::Unknown => None,
    }
}

/// What an order that came further must have gone through.
const MUST: [&str; 4] = ["how it was received", "how it was handed on", "who took it up", "its claim"];

/// Whether a story with this step need not have gone through that.
fn excuses(what: &What, stage: usize) -> bool {
    // Refused by ingest: it is handed on as refused, and neither received nor claimed as an order.
    (stage <= 1 && matches!(what, What::Refused { .. }))
        // A released letter is not taken up from a partition.
        || (stage == 2 && matches!(what, What::Released { .. }))
}

fn with_gaps(told: Vec<Told>) -> Vec<Told> {
    let reached = told.iter().filter_map(|told| progress(&told.step.what)).max();
    // Where steps were cut, what seems to be missing may have been among them.
    let cut = told.iter().any(|told| matches!(told.step.what, What::Cut { .. }));
    let missing: Vec<&str> = MUST
        .iter()
        .enumerate()
        .filter(|(stage, _)| !cut && reached.is_some_and(|reached| *stage < reached))
        .filter(|(stage, _)| !told.iter().any(|told| progress(&told.step.what) == Some(*stage)))
        .filter(|(stage, _)| !told.iter().any(|told| excuses(&told.step.what, *stage)))
        .map(|(_, name)| *name)
        .collect();
    let mut whole = Vec::with_capacity(told.len() + 2);
    let mut claimed = 0;
    let gap = |before: &Step, steps: u64, missing: String| Told {
        step: Step { at: before.at, by: String::new(), what: What::Gap { steps, missing: Some(missing) } },
        source: Source::Teller,
    };
    let only_letters = reached.is_none() && !told.is_empty();
    for (index, told) in told.into_iter().enumerate() {
        if index == 0 && only_letters {
            whole.push(gap(&told.step, 0, "what went before".to_owned()));
        }
        // Where it is first seen beyond what is missing.
        if !missing.is_empty() && whole.iter().all(|told: &Told| !matches!(told.step.what, What::Gap { .. })) {
            let first_missing = MUST.iter().position(|name| missing.first() == Some(name)).unwrap_or_default();
            if progress(&told.step.what).is_some_and(|reached| reached > first_missing) {
                whole.push(gap(&told.step, u64::try_from(missing.len()).unwrap_or_default(), missing.join(", ")));
            }
        }
        if let What::Claimed { attempt, unknown } = told.step.what {
            let unseen = attempt.saturating_sub(1).saturating_sub(claimed);
            if !cut && unseen > 0 {
                let attempts =
                    if unseen == 1 { "an earlier attempt".to_owned() } else { format!("{unseen} earlier attempts") };
                whole.push(gap(&told.step, 0, attempts));
            } else if !cut && unknown && claimed == 0 {
                whole.push(gap(&told.step, 0, "the attempt whose end is not known".to_owned()));
            }
            claimed = claimed.max(attempt);
        }
        whole.push(told);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::super::{Answer, Ending};
    use super::*;
    use crate::failure::Reason;

    fn step(at: u64, what: What) -> Step {
        Step { at, by: "p/1".to_owned(), what }
    }

    fn claimed(attempt: u32) -> What {
        What::Claimed { attempt, unknown: false }
    }

    fn settled() -> What {
        What::Settled { how: Ending::Written, crm_id: None, event: None, reason: None }
    }

    fn whole() -> Vec<Step> {
        vec![
            step(1, What::Received { trace: None }),
            step(2, What::HandedOn { partition: 3 }),
            step(3, What::TakenUp { partition: 3 }),
            step(4, claimed(1)),
            step(5, What::Sent { request: "r".to_owned(), orders: 1, call: 1, event: false }),
            step(6, What::Answered { answer: Answer::Written, code: None, fields: None }),
            step(7, settled()),
        ]
    }

    fn gaps(told: &[Told]) -> Vec<String> {
        let gap = |told: &Told| {
            if let What::Gap { missing, .. } = &told.step.what { missing.clone() } else { None }
        };
        told.iter().filter_map(gap).collect()
    }

    #[test]
    fn a_whole_story_is_told_without_a_gap() {
        let told = tell(whole(), Vec::new());
        assert_eq!(told.len(), whole().len());
        assert!(told.iter().all(|told| told.source == Source::Recorded));
    }

    #[test]
    fn whatever_step_is_missing_of_what_an_order_must_go_through_is_said() {
        for (left_out, missing) in MUST.iter().enumerate() {
            let mut steps = whole();
            steps.remove(left_out);
            assert_eq!(gaps(&tell(steps, Vec::new())), [*missing]);
        }
        // Redis was flushed before it was claimed.
        assert_eq!(gaps(&tell(whole().split_off(3), Vec::new())), [MUST[..3].join(", ")]);
    }

    #[test]
    fn attempts_of_which_nothing_was_recorded_are_said() {
        let mut steps = whole();
        steps[3].what = claimed(3);
        assert_eq!(gaps(&tell(steps, Vec::new())), ["2 earlier attempts"]);
        let mut steps = whole();
        steps[3].what = What::Claimed { attempt: 1, unknown: true };
        assert_eq!(gaps(&tell(steps, Vec::new())), ["the attempt whose end is not known"]);
    }

    #[test]
    fn what_others_know_is_told_where_it_was_not_recorded_and_never_twice() {
        let dead = |at| step(at, What::Dead { letter: "l".to_owned(), reason: Reason::SalesforceRefused, code: None });
        let mut steps = whole();
        steps.truncate(4);
        steps.push(dead(10));
        let told = tell(steps.clone(), vec![(Source::Journal, dead(12)), (Source::Ledger, step(90_000, settled()))]);
        let sources: Vec<Source> = told.iter().map(|told| told.source).collect();
        assert_eq!(sources.iter().filter(|source| **source == Source::Journal).count(), 0, "{told:?}");
        assert_eq!(sources.last(), Some(&Source::Ledger));
        // Another death of the same letter, long after.
        let told = tell(steps, vec![(Source::Journal, dead(10 + SAME + 1))]);
        assert_eq!(told.last().map(|told| told.source), Some(Source::Journal));
    }

    #[test]
    fn after_everything_recorded_was_lost_the_journal_and_the_ledger_tell_what_they_know_and_the_rest_is_a_gap() {
        let dead = step(5, What::Dead { letter: "l".to_owned(), reason: Reason::SalesforceRefused, code: None });
        let told = tell(Vec::new(), vec![(Source::Journal, dead)]);
        assert_eq!(gaps(&told), ["what went before"]);
        let told = tell(Vec::new(), vec![(Source::Ledger, step(9, settled()))]);
        assert_eq!(gaps(&told), [MUST.join(", ")]);
        assert!(tell(Vec::new(), Vec::new()).is_empty());
    }

    #[test]
    fn an_order_that_ingest_refused_has_no_gap_for_what_it_never_went_through() {
        let refused = What::Refused { reason: Reason::MissingField, field: Some("$.items".to_owned()) };
        let dead = What::Dead { letter: "l".to_owned(), reason: Reason::MissingField, code: None };
        let steps = vec![step(1, refused), step(2, What::TakenUp { partition: 1 }), step(3, dead)];
        assert!(gaps(&tell(steps, Vec::new())).is_empty());
    }

    #[test]
    fn a_writer_that_tells_of_an_order_before_ingest_does_still_took_it_up_after_it_was_handed_on() {
        let mut steps = whole();
        (steps[0].at, steps[1].at, steps[6].at) = (40, 41, 50);
        let names = |told: Vec<Told>| -> Vec<String> { told.iter().map(|told| told.step.what.name()).collect() };
        assert_eq!(names(tell(steps, Vec::new())), names(tell(whole(), Vec::new())));
        // What is handed on once more, because Redis forgot it, stays where it is.
        let mut lost = whole();
        lost.drain(..2);
        lost.push(step(SAME + 9, What::HandedOn { partition: 3 }));
        assert_eq!(names(tell(lost, Vec::new())).last().map(String::as_str), Some("handed_on"));
    }

    #[test]
    fn a_step_that_was_kept_twice_is_told_once() {
        let twice: Vec<Step> = whole().into_iter().flat_map(|step| [step.clone(), step]).collect();
        assert_eq!(tell(twice, Vec::new()), tell(whole(), Vec::new()));
    }

    #[test]
    fn a_long_story_keeps_its_beginning_and_its_end_and_says_how_much_was_cut() {
        let mut kept: Vec<Step> = Vec::new();
        for at in 0..1000 {
            kept.push(step(at, claimed(1)));
            kept = bounded(kept);
            assert!(kept.len() <= FIRST + LAST + 1);
        }
        assert_eq!(kept.len(), 64);
        assert_eq!((kept[0].at, kept[FIRST - 1].at, kept[63].at), (0, FIRST as u64 - 1, 999));
        assert_eq!(kept[FIRST].what, What::Cut { steps: 1000 - 63 });
        assert!(gaps(&tell(kept, Vec::new())).is_empty(), "what was cut is no gap");
        let short: Vec<Step> = (0..63).map(|at| step(at, claimed(1))).collect();
        assert_eq!(bounded(short.clone()), short);
    }
}
