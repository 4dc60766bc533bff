//! What is known of an order, from everywhere: steps that were recorded, the journal, the ledger.

use domain::order::id::OrderId;
use domain::outcome::Result as Ended;
use domain::story::{Ending, Place, Source, Standing, Step, Told, What, tell};
use ledger::stories::{LostSteps, Recorded};
use queue::journal::fold::LetterState;
use serde::Serialize;

use crate::closed::How;
use crate::letters::OpenLetters;
use crate::shown;

/// An order's story.
#[derive(Debug, Clone, PartialEq)]
pub struct Story {
    /// The order.
    pub order: OrderId,
    /// Its steps, in the order of their times.
    pub told: Vec<Told>,
    /// Where it is now.
    pub standing: Standing,
    /// Since when it was recorded, in milliseconds since 1970; `None` when nothing recorded is left.
    pub recorded_since: Option<u64>,
    /// Why what was recorded could not be read.
    pub unread: Option<String>,
    /// When steps of unnamed orders were lost, within the time of this story.
    pub lost: Vec<LostSteps>,
}

impl Story {
    /// The story of an order. `recorded` is what Redis holds, or why it could not be read; `moment` says a time in words.
    pub fn of(
        order: OrderId,
        recorded: Result<Recorded, String>,
        open: &OpenLetters,
        moment: impl Fn(u64) -> String,
    ) -> Self {
        let (recorded, unread) = match recorded {
            Ok(recorded) => (recorded, None),
            Err(why) => (Recorded::default(), Some(why)),
        };
        let (mut known, mut place) = letters(&order, open);
        known.extend(ledger_knows(&recorded, &mut place));
        let recorded_since = recorded.steps.iter().map(|step| step.at).min();
        let told = tell(recorded.steps, known);
        let standing = Standing::of(&told, &place, open.now(), moment);
        let (began, ended) = (told.first().map(|told| told.step.at), told.last().map(|told| told.step.at));
        let touches = |lost: &LostSteps| {
            began.is_some_and(|began| lost.to >= began)
                && ended.is_some_and(|ended| lost.from <= ended.saturating_add(LATER))
        };
        let lost = recorded.lost.into_iter().filter(touches).collect();
        Self { order, told, standing, recorded_since, unread, lost }
    }

    /// Whether nothing at all is known of the order.
    pub fn is_empty(&self) -> bool {
        self.told.is_empty() && self.standing.state == "unheard"
    }

    /// The trace that its publisher gave it.
    pub fn trace(&self) -> Option<&str> {
        self.told
            .iter()
            .find_map(|told| if let What::Received { trace } = &told.step.what { trace.as_deref() } else { None })
    }
}

/// How long after its last step a lost step may still have been one of this story, in milliseconds.
const LATER: u64 = 60 * 60 * 1000;

/// What the journal knows.
fn letters(order: &OrderId, open: &OpenLetters) -> (Vec<(Source, Step)>, Place) {
    let mut known = Vec::new();
    let mut place = Place::Unknown;
    let mut tells =
        |at: u64, by: &str, what: What| known.push((Source::Journal, Step { at, by: shown::printable(by), what }));
    let of_order = |id: &Option<String>| id.as_deref() == Some(order.as_str());
    for closed in open.closed().iter().filter(|closed| of_order(&closed.was.letter.order_id)) {
        let letter = &closed.was.letter;
        let id = letter.id.as_str().to_owned();
        opened(letter, &mut tells);
        let why = closed.why.as_deref().map(shown::printable);
        tells(closed.at, &closed.by, What::Closed { letter: id.clone(), how: closed.how.as_str().to_owned(), why });
        place = match closed.how {
            How::Discarded => Place::Discarded { letter: id },
            How::Written => Place::Settled { how: Ending::Written, crm_id: None, reason: None },
            How::Rejected => Place::Settled { how: Ending::Rejected, crm_id: None, reason: None },
            How::AlreadySettled | How::Published | How::Accepted | How::Settled => place,
        };
    }
    for one in open.all().iter().filter(|one| of_order(&one.letter.order_id)) {
        let letter = one.letter.id.as_str().to_owned();
        opened(&one.letter, &mut tells);
        let released = one.released_at.is_some();
        place = match &one.letter.state {
            LetterState::Dead(failure) => {
                Place::Dead { letter, reason: failure.reason, code: failure.salesforce_code.clone(), released }
            }
            LetterState::Held(_) if one.overflowed && !released => Place::Overflowed { letter },
            LetterState::Held(behind) => {
                // One that found no room was written behind nothing, and may wait for one that was given up since.
                let behind = one.caused_by.as_ref().filter(|_| one.letter.ahead.is_some()).unwrap_or(behind);
                Place::Parked { letter, behind: behind.as_str().to_owned(), released }
            }
        };
    }
    (known, place)
}

fn opened(letter: &queue::journal::fold::Letter, tells: &mut impl FnMut(u64, &str, What)) {
    let id = letter.id.as_str().to_owned();
    match &letter.state {
        LetterState::Dead(failure) => {
            let dead = What::Dead { letter: id.clone(), reason: failure.reason, code: failure.salesforce_code.clone() };
            // The deaths between the first and the last are known by their number only.
            if let (Some(first), Some(last)) = (letter.first_dead_at, letter.last_dead_at)
                && first != last
            {
                tells(first, &letter.by, dead.clone());
            }
            tells(letter.since(), &letter.by, dead);
        }
        LetterState::Held(_) if letter.ahead.is_some() => {
            tells(letter.at, &letter.by, What::Overflowed { letter: id.clone() });
        }
        LetterState::Held(behind) => {
            tells(letter.at, &letter.by, What::Parked { letter: id.clone(), behind: behind.as_str().to_owned() });
        }
    }
    if let Some(at) = letter.released_at {
        let operator = letter.released_by.as_deref().map(shown::printable);
        tells(at, letter.released_by.as_deref().unwrap_or_default(), What::Released { letter: id, operator });
    }
}

/// What the ledger knows.
fn ledger_knows(recorded: &Recorded, place: &mut Place) -> Vec<(Source, Step)> {
    let mut known = Vec::new();
    let by = || "ledger".to_owned();
    let settled = recorded.effect.as_ref().and_then(|effect| Some((effect.at, effect.ended.as_ref()?)));
    if let Some((at, ended)) = settled {
        let (how, crm_id, event, reason) = match ended {
            Ended::Written(written) => (
                Ending::Written,
                written.crm_id.as_ref().map(|id| id.as_str().to_owned()),
                written.event_uuid.clone(),
                None,
            ),
            Ended::Rejected(rejected) => (Ending::Rejected, None, None, Some(rejected.failure.reason)),
        };
        let what = What::Settled { how, crm_id: crm_id.clone(), event, reason };
        known.push((Source::Ledger, Step { at, by: by(), what }));
        // An open letter of an order that is settled is a later copy of it, and still to be dealt with.
        if matches!(place, Place::Unknown | Place::Discarded { .. } | Place::Settled { .. }) {
            *place = Place::Settled { how, crm_id, reason };
        }
    }
    known
}

/// The JSON shape of `story`.
#[derive(Debug, Serialize)]
pub struct Document {
    as_of: String,
    order_id: String,
    trace: Option<String>,
    recorded_since: Option<String>,
    unread: Option<String>,
    steps: Vec<StepShown>,
    lost: Vec<LostShown>,
    now: StandingShown,
}

#[derive(Debug, Serialize)]
struct StepShown {
    at: String,
    after_ms: Option<u64>,
    source: &'static str,
    by: String,
    step: String,
    text: String,
    detail: serde_json::Value,
}

#[derive(Debug, Serialize)]
struct LostShown {
    from: String,
    to: String,
    steps: u64,
    by: String,
}

#[derive(Debug, Serialize)]
struct StandingShown {
    state: &'static str,
    sentence: String,
    until: Option<String>,
    todo: String,
    letter: Option<String>,
    code: Option<String>,
}

impl Story {
    /// The story as one document.
    pub fn document(&self, as_of: u64) -> Document {
        let mut before: Option<u64> = None;
        let steps = self.told.iter().map(|told| {
            let at = told.step.at;
            let after_ms = before.replace(at).map(|before| at.saturating_sub(before));
            let mut detail = serde_json::to_value(&told.step.what).unwrap_or_default();
            let name = detail.as_object_mut().and_then(|detail| detail.shift_remove("s"));
            StepShown {
                at: shown::exact_moment(at),
                after_ms,
                source: told.source.as_str(),
                by: told.step.by.clone(),
                step: name.and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default(),
                text: shown::printable(&told.step.what.words(shown::exact_moment)),
                detail,
            }
        });
        let steps = steps.collect();
        Document {
            as_of: shown::exact_moment(as_of),
            order_id: shown::printable(self.order.as_str()),
            trace: self.trace().map(shown::printable),
            recorded_since: self.recorded_since.map(shown::exact_moment),
            unread: self.unread.clone(),
            steps,
            lost: self
                .lost
                .iter()
                .map(|lost| LostShown {
                    from: shown::exact_moment(lost.from),
                    to: shown::exact_moment(lost.to),
                    steps: lost.steps,
                    by: shown::printable(&lost.by),
                })
                .collect(),
            now: StandingShown {
                state: self.standing.state,
                sentence: shown::printable(&self.standing.sentence),
                until: self.standing.until.map(shown::exact_moment),
                todo: self.standing.todo.clone(),
                letter: self.standing.letter.clone(),
                code: self.standing.code.clone(),
            },
        }
    }
}
