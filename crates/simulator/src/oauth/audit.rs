//! Who was given what, and when. No entry holds a token, a code or a secret.

use std::collections::VecDeque;
use std::net::IpAddr;

use serde::Serialize;

const CAPACITY: usize = 2_000;
/// Names that callers choose are kept up to this many characters.
const LONGEST_NAME: usize = 120;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OauthAction {
    /// A user signed in on the login page.
    LoggedIn,
    /// A user allowed an app access.
    Approved,
    /// A user denied it.
    Denied,
    /// Tokens were given for a code, an assertion or a secret.
    Issued,
    /// A refresh token gave a session.
    Refreshed,
    /// A request was refused.
    Refused,
    /// A used code or a retired refresh token came back, and what it gave was revoked.
    ReuseDetected,
    /// A token was revoked.
    Revoked,
}

/// One entry of the audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OauthEvent {
    /// Running number from 1.
    pub number: u64,
    /// When, as a date-time field prints it.
    pub at: String,
    /// What happened.
    pub action: OauthAction,
    /// `grant_type`, or the page it happened on.
    pub flow: String,
    /// Consumer key.
    pub client_id: String,
    /// User name, if one is known.
    pub username: String,
    /// Scope of what was given.
    pub scope: String,
    /// `error` and its description, if refused.
    pub error: Option<String>,
    /// The caller's address.
    pub from: IpAddr,
}

#[derive(Debug, Default)]
pub(crate) struct Audit {
    entries: VecDeque<OauthEvent>,
    last: u64,
}

impl Audit {
    pub(crate) fn push(&mut self, mut event: OauthEvent) {
        self.last += 1;
        event.number = self.last;
        event.client_id = event.client_id.chars().take(LONGEST_NAME).collect();
        event.flow = event.flow.chars().take(LONGEST_NAME).collect();
        if self.entries.len() == CAPACITY {
            self.entries.pop_front();
        }
        self.entries.push_back(event);
    }

    /// Oldest first.
    pub(crate) fn entries(&self) -> Vec<OauthEvent> {
        self.entries.iter().cloned().collect()
    }
}
