//! A letter: what is known of it while it is open, and how it ended.

use std::collections::HashSet;

use domain::dead_letter::LetterId;
use domain::failure::Failure;

/// A letter that nobody has settled yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Letter {
    /// Its id.
    pub id: LetterId,
    /// The customer, where known.
    pub key: Option<String>,
    /// The order's identity, where known.
    pub order_id: Option<String>,
    /// The order's type, where known.
    pub order_type: Option<String>,
    /// Given up, or held behind another.
    pub state: LetterState,
    /// When it was written first, in milliseconds since 1970.
    pub at: u64,
    /// Who wrote it.
    pub by: String,
    /// Where its message lies in the journal; unknown for the moment between the append and the reading of it, and when
    /// retention has dropped it.
    pub offset: Option<u64>,
    /// Where its first entry lay, which retention may have dropped since: its place among its customer's letters.
    pub place: Option<u64>,
    /// When the entry with its message was written, in milliseconds since 1970.
    pub kept_at: u64,
    /// How much of the journal had been read before that entry, in bytes.
    pub kept_from: u64,
    /// How often it was given up, as letters before it included ([`Letter::after`]).
    pub times_dead: u32,
    /// When it was given up first, in milliseconds since 1970; `None` for one that was only held.
    pub first_dead_at: Option<u64>,
    /// When it was given up last.
    pub last_dead_at: Option<u64>,
    /// The letter that it was before it was published again.
    pub after: Option<LetterId>,
    /// When an operator last released its customer, in milliseconds since 1970.
    pub released_at: Option<u64>,
    /// Who did, where the release itself is still in the journal.
    pub released_by: Option<String>,
    /// It found no room ([`crate::journal::entry::LANE_OVERFLOW`]): the orders of its customer that were in hand before it and
    /// go first, by the letters that they would become. It goes by itself as long as it is merely held and nothing before it was
    /// given up; kept when it is given up itself.
    pub ahead: Option<Vec<LetterId>>,
    /// Entries about it that we appended and have not read back.
    pub(super) unread: u32,
}

impl Letter {
    /// Whether it waits for room alone, and goes by itself unless something before it was given up. It is no failure; one whose
    /// message retention has dropped is.
    pub const fn waits_for_room(&self) -> bool {
        self.found_no_room() && !self.is_lost()
    }

    /// Whether retention has dropped its message.
    pub const fn is_lost(&self) -> bool {
        self.offset.is_none() && self.place.is_some()
    }

    pub(super) const fn found_no_room(&self) -> bool {
        self.ahead.is_some() && matches!(self.state, LetterState::Held(_))
    }

    /// Whether it may not go while these orders are in hand: it is one of them, or names one.
    pub(super) fn comes_after(&self, in_hand: &HashSet<LetterId>) -> bool {
        in_hand.contains(&self.id) || self.ahead.iter().flatten().any(|order| in_hand.contains(order))
    }

    /// Since when it is as it is, in milliseconds since 1970: given up for the last time, or held.
    pub fn since(&self) -> u64 {
        self.last_dead_at.unwrap_or(self.at)
    }
}

/// A letter that was settled, published again or discarded.
#[derive(Debug, Clone, PartialEq)]
pub struct ClosedLetter {
    /// The letter as it was.
    pub letter: Letter,
    /// How it ended.
    pub ending: Ending,
    /// Who closed it: program and instance, or the operator.
    pub by: String,
    /// When, in milliseconds since 1970.
    pub at: u64,
}

/// How a letter ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// It was resolved; how is said in a word of [`crate::journal::entry`].
    Resolved(String),
    /// An operator threw it away, and said why.
    Discarded(String),
}

/// Why a letter is open.
#[derive(Debug, Clone, PartialEq)]
pub enum LetterState {
    /// It was given up.
    Dead(Failure),
    /// It waits behind this letter of its customer.
    Held(LetterId),
}
