//! What may become of one effect: the rules, without anything that keeps them.
//!
//! The scripts beside `redis.rs` say the same in Lua; the tests hold both against each other.

use std::time::Duration;

use domain::order::id::Fingerprint;

use crate::contract::{Attempts, Closed, Closing};

/// How long an effect is remembered after the last thing that happened to it.
pub const KEPT: Duration = Duration::from_hours(30 * 24);

/// One effect as the ledger knows it. `None` in place of it: never heard of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Effect {
    fingerprint: Fingerprint,
    state: State,
    /// Grows with each claim; a closing must name the latest.
    token: u64,
    /// Attempts with this fingerprint that failed or whose answer was lost.
    attempts: u32,
    /// As many of them as there were when it was given up last.
    spent: u32,
    /// How the claim with this token was closed, so that closing it again the same way is harmless.
    closed: Option<How>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

impl Effect {
    /// What is known when nothing is.
    pub(crate) fn absent(fingerprint: Fingerprint) -> Self {
        Self { fingerprint, state: State::Absent, token: 0, attempts: 0, spent: 0, closed: None }
    }

    /// The partition's owner claims it at `now`.
    pub(crate) fn claim(&mut self, epoch: &str, fingerprint: Fingerprint, lease: Duration, now: Duration) -> Answer {
        if self.fingerprint != fingerprint {
            match self.state {
                // It certainly did not happen: this is a corrected order, which has failed nothing yet.
                State::Absent => {
                    self.fingerprint = fingerprint;
                    (self.attempts, self.spent) = (0, 0);
                }
                State::Claimed { .. } | State::Unknown | State::Settled(_) => return Answer::Conflict,
            }
        }
        let doubtful = match &self.state {
            State::Settled(result) => return Answer::Settled(result.clone()),
            State::Claimed { epoch: other, until, .. } if other != epoch && now < *until => {
                return Answer::Busy { left: until.saturating_sub(now) };
            }
            // Its own claim too: whoever asks again has forgotten what became of it.
            State::Claimed { .. } => {
                self.attempts = self.attempts.saturating_add(1);
                true
            }
            State::Unknown => true,
            State::Absent => false,
        };
        self.token += 1;
        self.closed = None;
        self.state = State::Claimed { epoch: epoch.to_owned(), until: now.saturating_add(lease), doubtful };
        let token = self.token;
        let attempts = Attempts { total: self.attempts, round: self.attempts.saturating_sub(self.spent) };
        if doubtful { Answer::Unknown { token, attempts } } else { Answer::Claimed { token, attempts } }
    }

    /// The partition's owner closes its claim. A lease that has run out changes nothing as long as nobody claimed anew.
    pub(crate) fn close(&mut self, token: u64, closing: &Closing) -> Closed {
        let how = How::of(closing);
        let State::Claimed { doubtful, .. } = self.state else {
            let again = self.token == token && self.closed == Some(how);
            return if again { Closed::Done } else { Closed::Stale };
        };
        if self.token != token {
            return Closed::Stale;
        }
        if matches!(how, How::Failed | How::Unknown | How::GiveUp { .. }) {
            self.attempts = self.attempts.saturating_add(1);
        }
        if matches!(how, How::GiveUp { .. }) {
            self.spent = self.attempts;
        }
        self.closed = Some(how);
        self.state = match closing {
            Closing::Settle(result) => State::Settled(result.clone()),
            Closing::Unknown | Closing::GiveUp { unknown: true } | Closing::Doubt => State::Unknown,
            Closing::Release if doubtful => State::Unknown,
            Closing::Failed | Closing::GiveUp { unknown: false } | Closing::Release => State::Absent,
        };
        Closed::Done
    }
}

impl How {
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
