//! Who was given what, and when. No entry holds a token, a code or a secret.

use std::collections::VecDeque;
use std::net::IpAddr;

use serde::Serialize;

const CAPACITY: usize = 2_000;
/// Names that callers choose are kept up to this many characters.
const LONGEST_NAME: usize = 120;
/// What was refused is told up to this many characters.
const LONGEST_ERROR: usize = 500;

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
    /// Tokens were given for a code, an assertion, a secret or a password.
    Issued,
    /// A refresh token gave a session.
    Refreshed,
    /// A retired refresh token gave one, within its grace.
    Forgiven,
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
    /// `grant_type`, the page it happened on, or the call of the SOAP API.
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
        event.error = event.error.map(|error| error.chars().take(LONGEST_ERROR).collect());
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

#[cfg(test)]
mod tests {
    use super::{Audit, CAPACITY, LONGEST_ERROR, LONGEST_NAME, OauthAction, OauthEvent};

    #[test]
    fn the_audit_keeps_the_last_events_and_the_beginning_of_what_callers_chose() {
        let mut audit = Audit::default();
        let chosen = "é".repeat(LONGEST_ERROR + 1);
        for _ in 0..CAPACITY + 10 {
            audit.push(OauthEvent {
                number: 0,
                at: String::new(),
                action: OauthAction::Refused,
                flow: chosen.clone(),
                client_id: chosen.clone(),
                username: String::new(),
                scope: String::new(),
                error: Some(chosen.clone()),
                from: std::net::IpAddr::from([127, 0, 0, 1]),
            });
        }
        let entries = audit.entries();
        assert_eq!((entries.len(), entries.first().map(|first| first.number)), (CAPACITY, Some(11)));
        let lengths = |event: &OauthEvent| {
            [&event.flow, &event.client_id].map(|text| text.chars().count()) == [LONGEST_NAME; 2]
                && event.error.as_ref().is_some_and(|error| error.chars().count() == LONGEST_ERROR)
        };
        assert!(entries.iter().all(lengths));
    }
}
