//! Letters that are settled, as far as they are still known.

use queue::journal::entry::{ACCEPTED, ALREADY, PUBLISHED, REJECTED, WRITTEN};
use queue::journal::fold::{ClosedLetter, Ending};
use serde::Serialize;

use crate::letters::OpenLetter;
use crate::shown;

/// A settled letter.
#[derive(Debug, Clone, PartialEq)]
pub struct Closed {
    /// The letter as it was; it has no place among others any more.
    pub was: OpenLetter,
    /// How it ended.
    pub how: How,
    /// Who settled it: program and instance, or the operator.
    pub by: String,
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// Why, where an operator threw it away.
    pub why: Option<String>,
}

/// How a letter ended. In JSON by its name in snake case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// It is in the org.
    Written,
    /// A business answer settled it; no failure.
    Rejected,
    /// It was settled before it was replayed.
    AlreadySettled,
    /// It had no customer and was published again; what came of that is not told.
    Published,
    /// It had no customer, was published again and accepted: from there on it is an order like any other.
    Accepted,
    /// An operator threw it away.
    Discarded,
    /// In a way that this version does not know, or so many letters ago that it is no longer known.
    Settled,
}

/// The end of a letter in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClosedShown {
    /// How it ended.
    pub how: How,
    /// Who settled it.
    pub by: String,
    /// When, RFC 3339.
    pub at: String,
    /// Why, where an operator threw it away.
    pub why: Option<String>,
}

impl How {
    /// The name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Rejected => "rejected",
            Self::AlreadySettled => "already_settled",
            Self::Published => "published",
            Self::Accepted => "accepted",
            Self::Discarded => "discarded",
            Self::Settled => "settled",
        }
    }

    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::AlreadySettled => "already settled",
            Self::Published => "published again",
            Self::Written | Self::Rejected | Self::Accepted | Self::Discarded | Self::Settled => self.as_str(),
        }
    }

    /// What that means, as a sentence; empty where the words say it all.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Written | Self::Settled => "",
            Self::Rejected => "A business answer and no failure: order.rejected went out with the reason.",
            Self::AlreadySettled => "It had been written or rejected before; nothing was done twice.",
            Self::Published => {
                "It had no customer and went out again as a new message; should that die, it is a letter of its own."
            }
            Self::Accepted => {
                "It had no customer and went out again; since ingest took it, it is an order like any other."
            }
            Self::Discarded => "The order was not written.",
        }
    }
}

impl From<ClosedLetter> for Closed {
    fn from(closed: ClosedLetter) -> Self {
        let (how, why) = match closed.ending {
            Ending::Discarded(why) => (How::Discarded, Some(why)),
            Ending::Resolved(how) => {
                let how = match how.as_str() {
                    WRITTEN => How::Written,
                    REJECTED => How::Rejected,
                    ALREADY => How::AlreadySettled,
                    PUBLISHED => How::Published,
                    ACCEPTED => How::Accepted,
                    _ => How::Settled,
                };
                (how, None)
            }
        };
        Self { was: OpenLetter::alone(closed.letter), how, by: closed.by, at: closed.at, why }
    }
}

impl Closed {
    /// The end in JSON.
    pub fn shown(&self) -> ClosedShown {
        ClosedShown {
            how: self.how,
            by: shown::printable(&self.by),
            at: shown::moment(self.at),
            why: self.why.as_deref().map(shown::printable),
        }
    }
}
