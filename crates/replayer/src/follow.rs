//! What becomes of letters after they were let go.

use std::collections::{HashMap, HashSet};

use domain::dead_letter::LetterId;
use domain::failure::Failure;
use queue::journal::fold::{Letter, LetterState};
use serde::Serialize;

use crate::closed::{Closed, How};
use crate::letters::{OpenLetter, OpenLetters};
use crate::shown;

/// Letters that were let go, as they stood before.
#[derive(Debug, Clone)]
pub struct Followed {
    letters: Vec<Before>,
    /// Letters that were another before, and are so since before these were let go.
    known: HashSet<LetterId>,
}

#[derive(Debug, Clone)]
struct Before {
    id: LetterId,
    key: Option<String>,
    times_dead: u32,
}

/// What became of a letter.
#[derive(Debug, Clone, PartialEq)]
pub enum Fate {
    /// It is settled. [`How::Published`] is not the end: what was published again is not seen yet.
    Ended(How),
    /// It was given up again.
    DeadAgain {
        /// Why.
        failure: Failure,
        /// The letter that it is now, where it was published again.
        letter: Option<LetterId>,
    },
    /// It is parked behind one of its customer's that was given up again.
    Parked,
    /// Nothing yet.
    Pending,
}

impl Fate {
    /// The name in JSON: that of [`How`], or `dead_again`, `parked`, `pending`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Ended(how) => how.as_str(),
            Self::DeadAgain { .. } => "dead_again",
            Self::Parked => "parked",
            Self::Pending => "pending",
        }
    }
}

/// How many letters met which fate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Tally {
    /// In the org.
    pub written: usize,
    /// Settled by a business answer, which is no failure.
    pub rejected: usize,
    /// Settled before they were replayed.
    pub already_settled: usize,
    /// Without a customer: published again and accepted.
    pub accepted: usize,
    /// Thrown away meanwhile.
    pub discarded: usize,
    /// Settled in a way that is not known.
    pub settled: usize,
    /// Without a customer: published again, and neither accepted nor given up so far.
    pub published: usize,
    /// Given up again.
    pub dead_again: usize,
    /// Parked behind one that was given up again.
    pub parked: usize,
    /// Nothing yet.
    pub pending: usize,
}

impl Followed {
    /// Letters as they stand before they are let go.
    pub fn new<'a>(open: &OpenLetters, letters: impl IntoIterator<Item = &'a OpenLetter>) -> Self {
        let before = |open: &OpenLetter| Before {
            id: open.letter.id.clone(),
            key: open.letter.key.clone(),
            times_dead: open.letter.times_dead,
        };
        let known = every(open).filter(|letter| letter.after.is_some()).map(|letter| letter.id.clone()).collect();
        Self { letters: letters.into_iter().map(before).collect(), known }
    }

    /// What has become of each by now, in order.
    pub fn fates(&self, open: &OpenLetters) -> Vec<(LetterId, Fate)> {
        let now: HashMap<&LetterId, &OpenLetter> = open.all().iter().map(|open| (&open.letter.id, open)).collect();
        let ended: HashMap<&LetterId, &Closed> =
            open.closed().iter().map(|closed| (&closed.was.letter.id, closed)).collect();
        let again: HashMap<&LetterId, &Letter> = every(open)
            .filter(|letter| !self.known.contains(&letter.id))
            .filter_map(|letter| letter.after.as_ref().map(|before| (before, letter)))
            .collect();
        // Customers of whom a letter failed again: nothing behind it moves.
        let stopped: HashSet<&str> = self
            .letters
            .iter()
            .filter(|before| now.get(&before.id).is_some_and(|open| open.letter.times_dead > before.times_dead))
            .filter_map(|before| before.key.as_deref())
            .collect();
        let fate = |before: &Before| match (now.get(&before.id), &before.key) {
            (None, Some(_)) => Fate::Ended(ended.get(&before.id).map_or(How::Settled, |closed| closed.how)),
            (None, None) => match again.get(&before.id).map(|letter| (&letter.id, &letter.state)) {
                Some((id, LetterState::Dead(failure))) => {
                    Fate::DeadAgain { failure: failure.clone(), letter: Some(id.clone()) }
                }
                Some((_, LetterState::Held(_))) => Fate::Parked,
                None => Fate::Ended(ended.get(&before.id).map_or(How::Published, |closed| closed.how)),
            },
            (Some(open), key) => match (open.failure(), key) {
                (Some(failure), None) => Fate::DeadAgain { failure: failure.clone(), letter: None },
                (Some(failure), Some(_)) if open.letter.times_dead > before.times_dead => {
                    Fate::DeadAgain { failure: failure.clone(), letter: None }
                }
                (_, Some(key)) if stopped.contains(key.as_str()) => Fate::Parked,
                _ => Fate::Pending,
            },
        };
        self.letters.iter().map(|before| (before.id.clone(), fate(before))).collect()
    }
}

fn every(open: &OpenLetters) -> impl Iterator<Item = &Letter> {
    let closed = open.closed().iter().map(|closed| &closed.was.letter);
    open.all().iter().map(|open| &open.letter).chain(closed)
}

impl Tally {
    /// Of these fates.
    pub fn of<'a>(fates: impl IntoIterator<Item = &'a Fate>) -> Self {
        let mut tally = Self::default();
        for fate in fates {
            *match fate {
                Fate::Ended(How::Written) => &mut tally.written,
                Fate::Ended(How::Rejected) => &mut tally.rejected,
                Fate::Ended(How::AlreadySettled) => &mut tally.already_settled,
                Fate::Ended(How::Accepted) => &mut tally.accepted,
                Fate::Ended(How::Discarded) => &mut tally.discarded,
                Fate::Ended(How::Settled) => &mut tally.settled,
                Fate::Ended(How::Published) => &mut tally.published,
                Fate::DeadAgain { .. } => &mut tally.dead_again,
                Fate::Parked => &mut tally.parked,
                Fate::Pending => &mut tally.pending,
            } += 1;
        }
        tally
    }

    /// Letters of which more is to be expected.
    pub const fn unsettled(&self) -> usize {
        self.published + self.pending
    }

    /// Whether every letter is known to be settled. A rejection settles an order as much as a write.
    pub const fn is_success(&self) -> bool {
        self.dead_again == 0 && self.parked == 0 && self.unsettled() == 0
    }

    /// `3 written, 1 dead again, 2 parked behind it`, without what there is none of.
    pub fn line(&self) -> String {
        let parked = if self.dead_again == 1 { "parked behind it" } else { "parked behind those" };
        let parts = [
            (self.written, "written"),
            (self.rejected, "rejected"),
            (self.already_settled, "already settled"),
            (self.accepted, "published again and accepted"),
            (self.discarded, "discarded meanwhile"),
            (self.settled, "settled"),
            (self.dead_again, "dead again"),
            (self.parked, parked),
            (self.published, "published again and not seen since"),
            (self.pending, "not settled yet"),
        ];
        let said: Vec<String> =
            parts.iter().filter(|(number, _)| *number > 0).map(|(number, what)| format!("{number} {what}")).collect();
        if said.is_empty() { "nothing to do".to_owned() } else { said.join(", ") }
    }

    /// What somebody has to know about it, a sentence each. `waited` is how long was waited.
    pub fn remarks(&self, waited: std::time::Duration) -> Vec<String> {
        let waited = shown::age(waited);
        let mut remarks = Vec::new();
        if self.rejected > 0 {
            remarks.push(
                "A rejection is a business answer and no failure; order.rejected went out with the reason.".to_owned(),
            );
        }
        if self.pending > 0 {
            remarks.push(format!(
                "Not everything was settled within {waited}. See whether a writer runs; the letters drain when it does."
            ));
        }
        if self.published > 0 {
            let what = shown::count(self.published, "letter that was", "letters that were");
            remarks.push(format!(
                "Of {what} published again the journal tells neither acceptance nor death within {waited}. See whether \
                 ingest runs; should it refuse one again, `list` shows it as a letter of its own."
            ));
        }
        remarks
    }
}
