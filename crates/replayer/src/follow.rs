//! What becomes of letters after they were let go.

use std::collections::{HashMap, HashSet};

use domain::dead_letter::LetterId;
use domain::failure::Failure;
use serde::Serialize;

use crate::letters::{OpenLetter, OpenLetters};

/// Letters that were let go, as they stood before.
#[derive(Debug, Clone)]
pub struct Followed {
    letters: Vec<Before>,
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
    /// It is settled: written, rejected, or found to be settled already.
    Resolved,
    /// It had no customer: it was published again, and settles or fails as a new message.
    Published,
    /// It was given up again.
    DeadAgain(Failure),
    /// It waits behind one of its customer's that was given up again.
    Parked,
    /// Nothing yet.
    Pending,
}

impl Fate {
    /// The name in JSON: `resolved`, `published`, `dead_again`, `parked`, `pending`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Resolved => "resolved",
            Self::Published => "published",
            Self::DeadAgain(_) => "dead_again",
            Self::Parked => "parked",
            Self::Pending => "pending",
        }
    }
}

/// How many letters met which fate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Tally {
    /// Settled.
    pub resolved: usize,
    /// Published again; they have no customer.
    pub published: usize,
    /// Given up again.
    pub dead_again: usize,
    /// Waiting behind one that was given up again.
    pub parked: usize,
    /// Nothing yet.
    pub pending: usize,
}

impl Followed {
    /// Letters as they stand before they are let go.
    pub fn new<'a>(letters: impl IntoIterator<Item = &'a OpenLetter>) -> Self {
        let before = |open: &OpenLetter| Before {
            id: open.letter.id.clone(),
            key: open.letter.key.clone(),
            times_dead: open.letter.times_dead,
        };
        Self { letters: letters.into_iter().map(before).collect() }
    }

    /// What has become of each by now, in order.
    pub fn fates(&self, open: &OpenLetters) -> Vec<(LetterId, Fate)> {
        let now: HashMap<&LetterId, &OpenLetter> = open.all().iter().map(|open| (&open.letter.id, open)).collect();
        // Customers of whom a letter failed again: nothing behind it moves.
        let stopped: HashSet<&str> = self
            .letters
            .iter()
            .filter(|before| now.get(&before.id).is_some_and(|open| open.letter.times_dead > before.times_dead))
            .filter_map(|before| before.key.as_deref())
            .collect();
        self.letters
            .iter()
            .map(|before| {
                let fate = match (now.get(&before.id), &before.key) {
                    (None, Some(_)) => Fate::Resolved,
                    (None, None) => Fate::Published,
                    (Some(open), key) => match (open.failure(), key) {
                        // What was published again and failed is a new letter with the old name.
                        (Some(failure), None) => Fate::DeadAgain(failure.clone()),
                        (Some(failure), Some(_)) if open.letter.times_dead > before.times_dead => {
                            Fate::DeadAgain(failure.clone())
                        }
                        (_, Some(key)) if stopped.contains(key.as_str()) => Fate::Parked,
                        _ => Fate::Pending,
                    },
                };
                (before.id.clone(), fate)
            })
            .collect()
    }
}

impl Tally {
    /// Of these fates.
    pub fn of<'a>(fates: impl IntoIterator<Item = &'a Fate>) -> Self {
        let mut tally = Self::default();
        for fate in fates {
            *match fate {
                Fate::Resolved => &mut tally.resolved,
                Fate::Published => &mut tally.published,
                Fate::DeadAgain(_) => &mut tally.dead_again,
                Fate::Parked => &mut tally.parked,
                Fate::Pending => &mut tally.pending,
            } += 1;
        }
        tally
    }

    /// Letters of which no more is to be expected.
    pub const fn settled(&self) -> usize {
        self.resolved + self.published + self.dead_again + self.parked
    }

    /// Whether every letter left the dead letters.
    pub const fn is_success(&self) -> bool {
        self.dead_again == 0 && self.parked == 0 && self.pending == 0
    }

    /// `3 resolved, 1 dead again, 2 parked behind it`, without what there is none of.
    pub fn line(&self) -> String {
        let parts = [
            (self.resolved, "resolved"),
            (self.published, "published again"),
            (self.dead_again, "dead again"),
            (self.parked, "parked behind those"),
            (self.pending, "not settled yet"),
        ];
        let said: Vec<String> =
            parts.iter().filter(|(number, _)| *number > 0).map(|(number, what)| format!("{number} {what}")).collect();
        if said.is_empty() { "nothing to do".to_owned() } else { said.join(", ") }
    }
}
