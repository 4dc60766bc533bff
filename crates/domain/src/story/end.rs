//! Where an order is now, what it waits for, and what to do about it.

use super::{Answer, Ending, Told, What};
use crate::atlas::Atlas;
use crate::failure::Reason;

/// What is known for certain of where an order is, whatever was recorded.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Place {
    /// Nothing.
    #[default]
    Unknown,
    /// An open dead letter.
    Dead {
        /// The letter.
        letter: String,
        /// Why.
        reason: Reason,
        /// Salesforce's code, where it refused.
        code: Option<String>,
        /// Whether an operator has released it.
        released: bool,
    },
    /// Parked behind another letter.
    Parked {
        /// Its own letter.
        letter: String,
        /// The letter it waits behind.
        behind: String,
        /// Whether an operator has released it.
        released: bool,
    },
    /// In the journal for want of room in its customer's lane.
    Overflowed {
        /// Its letter there.
        letter: String,
    },
    /// The ledger has it as settled.
    Settled {
        /// How.
        how: Ending,
        /// The Account.
        crm_id: Option<String>,
        /// Why it was rejected.
        reason: Option<Reason>,
    },
    /// An operator threw it away.
    Discarded {
        /// Its letter.
        letter: String,
    },
}

/// Where an order is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// In a word: `unheard`, `intake`, `partition`, `lane`, `at_work`, `waiting`, `paused`, `dead`, `parked`, `overflowed`,
    /// `released`, `written`, `rejected`, `discarded`.
    pub state: &'static str,
    /// In a sentence.
    pub sentence: String,
    /// Until when it waits, in milliseconds since 1970, where that is known.
    pub until: Option<u64>,
    /// What a person does.
    pub todo: String,
    /// The letter to look at.
    pub letter: Option<String>,
    /// The code to have explained.
    pub code: Option<String>,
}

impl Standing {
    /// By what is known for certain, else by the last step that says something. `now` is in milliseconds since 1970;
    /// `moment` says a time in words.
    pub fn of(told: &[Told], place: &Place, now: u64, moment: impl Fn(u64) -> String) -> Self {
        match place {
            Place::Unknown => Self::of_steps(told, now, moment),
            Place::Dead { letter, released: true, .. } | Place::Parked { letter, released: true, .. } => Self {
                letter: Some(letter.clone()),
                ..Self::new(
                    "released",
                    format!("Letter {letter} was released and goes again, in the order of its customer."),
                    "Nothing, unless it stays so for minutes: then look whether writers run and whether intake is paused.",
                )
            },
            Place::Dead { letter, reason, code, released: false } => {
                let named = code.as_deref().filter(|code| Atlas::code(code).is_some());
                let todo = code.as_deref().and_then(Atlas::code).map_or(reason.remedy(), |code| &code.action);
                Self {
                    letter: Some(letter.clone()),
                    code: Some(named.unwrap_or(reason.as_str()).to_owned()),
                    ..Self::new(
                        "dead",
                        format!("It is dead letter {letter}: {}", meaning(*reason, code.as_deref())),
                        todo,
                    )
                }
            }
            Place::Parked { letter: _, behind, released: false } => Self {
                letter: Some(behind.clone()),
                ..Self::new(
                    "parked",
                    format!("It is parked behind letter {behind} of the same customer, and goes after it."),
                    "Replay or discard that letter.",
                )
            },
            Place::Overflowed { letter } => Self {
                letter: Some(letter.clone()),
                ..Self::new(
                    "overflowed",
                    "It waits in the journal for room in its customer's lane, behind earlier orders of the customer, and comes \
                     back by itself."
                        .to_owned(),
                    "Nothing, unless it stays so: then look at the story of the customer's earlier orders, and whether intake \
                     is paused.",
                )
            },
            Place::Settled { how: Ending::Written, crm_id, .. } => {
                let account = crm_id.as_deref().map(|id| format!(" on Account {id}")).unwrap_or_default();
                Self::new("written", format!("It is written{account}."), "Nothing.")
            }
            Place::Settled { how: Ending::Rejected, reason, .. } => {
                let why = reason.and_then(Atlas::reason).map_or("", |entry| &entry.meaning);
                Self {
                    code: reason.map(|reason| reason.as_str().to_owned()),
                    ..Self::new("rejected", format!("It is rejected. {why}"), reason.map_or("Nothing.", Reason::remedy))
                }
            }
            Place::Discarded { letter } => Self {
                letter: Some(letter.clone()),
                ..Self::new("discarded", "An operator threw it away; it was not written.".to_owned(), "Nothing.")
            },
        }
    }

    fn of_steps(told: &[Told], now: u64, moment: impl Fn(u64) -> String) -> Self {
        let says = |what: &&What| {
            !matches!(
                what,
                What::Announced { .. }
                    | What::LinkWaits { .. }
                    | What::Linked { .. }
                    | What::NotLinked { .. }
                    | What::Gap { .. }
                    | What::Cut { .. }
                    | What::Unknown
                    | What::Folded
                    | What::Closed { .. }
            )
        };
        let Some(what) = told.iter().rev().map(|told| &told.step.what).find(says) else {
            return Self::new(
                "unheard",
                "Nothing is known of it.".to_owned(),
                "Check the order's id, the namespace and the tenant; ask the publisher whether it was confirmed.",
            );
        };
        let waits = |state, until: u64, why: String, todo: &str| {
            let (sentence, todo) = if now > until.saturating_add(OVERDUE) {
                let sentence = format!("{why} It should have gone on at {}.", moment(until));
                (sentence, "Look whether writers run and are ready, and whether intake is paused.")
            } else {
                (format!("{why} It goes on at {}.", moment(until)), todo)
            };
            Self { until: Some(until), ..Self::new(state, sentence, todo) }
        };
        match what {
            What::Received { .. } | What::PartitionFull => Self::new(
                "intake",
                "ingest has it and has not handed it on.".to_owned(),
                "Look whether ingest runs, and whether the partition is full.",
            ),
            What::HandedOn { partition } => Self::new(
                "partition",
                format!("It waits in partition {partition} for a writer."),
                "Nothing, unless it stays so: then look whether a writer is active on the partition and whether intake is paused.",
            ),
            What::TakenUp { .. } | What::LetIn { .. } => Self::new(
                "lane",
                "A writer has it; it waits its turn behind earlier orders of its customer, or for room in a request."
                    .to_owned(),
                "Nothing, unless it stays so: then look at the story of the customer's earlier orders.",
            ),
            What::Waits { until, reason, code } => Self {
                code: Some(code.clone().unwrap_or_else(|| reason.as_str().to_owned())),
                ..waits(
                    "waiting",
                    *until,
                    format!("It failed and is tried again. {}", meaning(*reason, code.as_deref())),
                    "Nothing yet: it is tried again by itself.",
                )
            },
            What::Paused { until, reason } => Self {
                code: Some(reason.as_str().to_owned()),
                ..waits("paused", *until, format!("Intake is paused. {}", meaning(*reason, None)), reason.remedy())
            },
            What::Busy { until } => {
                waits("waiting", *until, "Another claim may still take effect.".to_owned(), "Nothing.")
            }
            What::AccountInUse => Self::new(
                "waiting",
                "Another order is being written to its Account, or comes first.".to_owned(),
                "Nothing: it goes on by itself.",
            ),
            What::Claimed { .. }
            | What::SettledBefore
            | What::Sent { .. }
            | What::Answered { answer: Answer::Written | Answer::Refused | Answer::Failed | Answer::Halted, .. }
            | What::LookedUp { .. }
            | What::Duplicate { .. } => Self::new(
                "at_work",
                "A writer is at it.".to_owned(),
                "Nothing, unless it stays so for minutes: then the writer died, and the next one looks it up.",
            ),
            What::Settled { how, crm_id, reason, .. } => {
                let place = Place::Settled { how: *how, crm_id: crm_id.clone(), reason: *reason };
                Self::of(told, &place, now, moment)
            }
            What::Refused { reason, .. } => Self {
                code: Some(reason.as_str().to_owned()),
                ..Self::new("refused", format!("It is refused. {}", meaning(*reason, None)), reason.remedy())
            },
            What::Conflicted => Self {
                code: Some(Reason::IdentityConflict.as_str().to_owned()),
                ..Self::new("refused", meaning(Reason::IdentityConflict, None), Reason::IdentityConflict.remedy())
            },
            What::Dead { letter, reason, code } => {
                let place =
                    Place::Dead { letter: letter.clone(), reason: *reason, code: code.clone(), released: false };
                Self::of(told, &place, now, moment)
            }
            What::Parked { letter, behind } => {
                let place = Place::Parked { letter: letter.clone(), behind: behind.clone(), released: false };
                Self::of(told, &place, now, moment)
            }
            What::Overflowed { letter } => Self::of(told, &Place::Overflowed { letter: letter.clone() }, now, moment),
            What::Released { letter, .. } => {
                let place = Place::Parked { letter: letter.clone(), behind: String::new(), released: true };
                Self::of(told, &place, now, moment)
            }
            What::Announced { .. }
            | What::LinkWaits { .. }
            | What::Linked { .. }
            | What::NotLinked { .. }
            | What::Gap { .. }
            | What::Cut { .. }
            | What::Unknown
            | What::Folded
            | What::Closed { .. } => Self::new("unheard", "Nothing is known of it.".to_owned(), ""),
        }
    }

    fn new(state: &'static str, sentence: String, todo: &str) -> Self {
        Self { state, sentence, until: None, todo: todo.to_owned(), letter: None, code: None }
    }
}

/// How long after its time a wait is overdue, in milliseconds.
const OVERDUE: u64 = 60_000;

/// What a code means, or else a reason.
fn meaning(reason: Reason, code: Option<&str>) -> String {
    let reason = Atlas::reason(reason).map_or("", |entry| entry.meaning.as_str());
    match code.and_then(Atlas::code) {
        Some(code) => code.meaning.clone(),
        None => reason.to_owned(),
    }
}
