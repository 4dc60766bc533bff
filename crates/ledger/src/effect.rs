//! What may become of one effect: the rules, without anything that keeps them.
//!
//! The scripts beside `redis.rs` say the same in Lua; the tests hold both against each other.

use std::time::Duration;

use domain::order::id::Fingerprint;

use crate::contract::{Attempts, Closed, Closing, KnownSince};

/// How long an effect is remembered after the last thing that happened to it.
pub const KEPT: Duration = Duration::from_hours(30 * 24);

/// One effect as the ledger knows it. `None` in place of it: never heard of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Effect {
    fingerprint: Fingerprint,
    state: State,
    /// The memory in which it was claimed last; the one that knows its order where it was never claimed. What another
    /// memory says of it may be old.
    memory: Option<String>,
    /// Grows with each claim; a closing must name the latest.
    token: u64,
    /// Attempts with this fingerprint that failed or whose answer was lost.
    attempts: u32,
    /// As many of them as there were when it was given up last.
    spent: u32,
    /// Claims that their owner's end left open, since it was given up last.
    crashes: u32,
    /// Until when what was sent under the latest claim may happen, though it should not be sent twice.
    under_way: Option<Duration>,
    /// How the claim with this token was closed, so that closing it again the same way is harmless.
    closed: Option<How>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum State {
    /// Did not happen.
    Absent,
    /// Somebody may be making it happen.
    Claimed {
        epoch: String,
        until: Duration,
        /// It was unknown before.
        doubtful: bool,
    },
    /// May have happened.
    Unknown,
    /// Happened, with this result.
    Settled(String),
}

/// A [`Closing`] without what it carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum How {
    Settle,
    Failed,
    Unknown,
    GiveUp { unknown: bool },
    Doubt,
    Release,
}

/// The answer to a claim, before it is dressed up with a ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Claimed { token: u64, attempts: Attempts },
    Unknown { token: u64, attempts: Attempts },
    Settled(String),
    Busy { left: Duration },
    Conflict,
}

/// A claim as the rules see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// Whose it will be.
    pub(crate) epoch: &'a str,
    /// What the order says.
    pub(crate) fingerprint: Fingerprint,
    /// How long it lasts.
    pub(crate) lease: Duration,
    /// The name of the memory that is asked.
    pub(crate) memory: &'a str,
    /// The ledger's time.
    pub(crate) now: Duration,
}

/// What is absent from the memory that knows an order since before it was handed on, and keeps so long, did not happen.
pub(crate) fn vouches(known_since: &KnownSince, memory: &str, now: Duration) -> bool {
    known_since.memory == memory && now < known_since.at.saturating_add(KEPT)
}

impl Effect {
    /// What is known when nothing is: that it did not happen, where the memory that is asked vouches for it.
    pub(crate) fn absent(fingerprint: Fingerprint, vouched_by: Option<&str>) -> Self {
        Self {
            fingerprint,
            state: State::Absent,
            memory: vouched_by.map(str::to_owned),
            token: 0,
            attempts: 0,
            spent: 0,
            crashes: 0,
            under_way: None,
            closed: None,
        }
    }

    /// The partition's owner claims it.
    pub(crate) fn claim(&mut self, asked: Asked<'_>) -> Answer {
        let Asked { epoch, fingerprint, lease, memory, now } = asked;
        // An older memory than this one, restored: it is right about what it says is settled, and of the rest it only
        // says that somebody should look.
        let old = self.memory.as_deref() != Some(memory);
        let other = self.fingerprint != fingerprint;
        let under_way = self.under_way.filter(|until| !old && now < *until);
        let left_open = match &self.state {
            State::Settled(_) if other => return Answer::Conflict,
            State::Claimed { .. } | State::Unknown if other && !old => return Answer::Conflict,
            State::Settled(result) => return Answer::Settled(result.clone()),
            State::Claimed { epoch: owner, until, .. } if owner != epoch && now < *until => {
                return Answer::Busy { left: until.saturating_sub(now) };
            }
            State::Claimed { .. } | State::Unknown if under_way.is_some() => {
                return Answer::Busy { left: under_way.unwrap_or_default().saturating_sub(now) };
            }
            State::Claimed { epoch: owner, .. } => Some(owner == epoch),
            State::Unknown | State::Absent => None,
        };
        let doubtful = old || !matches!(self.state, State::Absent);
        if other {
            // A corrected order, which has failed nothing yet.
            self.fingerprint = fingerprint;
            (self.attempts, self.spent, self.crashes) = (0, 0, 0);
        } else if left_open == Some(true) {
            // Its own claim: whoever asks again has forgotten what became of it.
            self.attempts = self.attempts.saturating_add(1);
        } else if left_open == Some(false) && !old {
            // Where the memory broke in between, its owner may have closed it all the same.
            self.crashes = self.crashes.saturating_add(1);
        }
        self.token += 1;
        self.memory = Some(memory.to_owned());
        (self.closed, self.under_way) = (None, None);
        self.state = State::Claimed { epoch: epoch.to_owned(), until: now.saturating_add(lease), doubtful };
        let token = self.token;
        let round = self.attempts.saturating_sub(self.spent);
        let attempts = Attempts { total: self.attempts, round, crashes: self.crashes };
        if doubtful { Answer::Unknown { token, attempts } } else { Answer::Claimed { token, attempts } }
    }

    /// The partition's owner is about to send what may take so long to happen; whether it may.
    pub(crate) fn send(&mut self, token: u64, memory: &str, takes: Duration, now: Duration) -> bool {
        let latest = self.token == token && self.memory.as_deref() == Some(memory);
        let State::Claimed { until, .. } = &mut self.state else { return false };
        if latest {
            self.under_way = Some(now.saturating_add(takes)).filter(|_| !takes.is_zero());
            *until = self.under_way.unwrap_or(*until);
        }
        latest
    }

    /// The partition's owner closes its claim. A lease that has run out changes nothing as long as nobody claimed anew.
    pub(crate) fn close(&mut self, token: u64, memory: &str, closing: &Closing) -> Closed {
        let how = How::of(closing);
        if self.token != token || self.memory.as_deref() != Some(memory) {
            return Closed::Stale;
        }
        let State::Claimed { doubtful, .. } = self.state else {
            return if self.closed == Some(how) { Closed::Done } else { Closed::Stale };
        };
        if matches!(how, How::Failed | How::Unknown | How::GiveUp { .. }) {
            self.attempts = self.attempts.saturating_add(1);
        }
        if matches!(how, How::GiveUp { .. }) {
            self.spent = self.attempts;
            self.crashes = 0;
        }
        self.closed = Some(how);
        self.under_way = self.under_way.filter(|_| how.is_doubt());
        self.state = match closing {
            Closing::Settle(result) => State::Settled(result.clone()),
            Closing::Unknown | Closing::GiveUp { unknown: true } | Closing::Doubt => State::Unknown,
            Closing::Release if doubtful => State::Unknown,
            Closing::Failed | Closing::GiveUp { unknown: false } | Closing::Release => State::Absent,
        };
        Closed::Done
    }

    /// The owner of this claim lost the partition and lives: it settles nothing, but nobody has to wait for it, unless what
    /// it sent may yet happen.
    pub(crate) fn let_go(&mut self, epoch: &str, token: u64, memory: &str, closing: &Closing) {
        let latest = self.token == token && self.memory.as_deref() == Some(memory);
        if latest && matches!(&self.state, State::Claimed { epoch: owner, .. } if owner == epoch) {
            self.state = State::Unknown;
            self.under_way = self.under_way.filter(|_| How::of(closing).is_doubt());
        }
    }
}

impl How {
    /// Whether it may yet happen.
    fn is_doubt(self) -> bool {
        matches!(self, Self::Unknown | Self::GiveUp { unknown: true } | Self::Doubt)
    }

    fn of(closing: &Closing) -> Self {
        match closing {
            Closing::Settle(_) => Self::Settle,
            Closing::Failed => Self::Failed,
            Closing::Unknown => Self::Unknown,
            Closing::GiveUp { unknown } => Self::GiveUp { unknown: *unknown },
            Closing::Doubt => Self::Doubt,
            Closing::Release => Self::Release,
        }
    }
}
