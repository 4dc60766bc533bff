//! People and integrations that sign in.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::oauth::{PASSWORD, USERNAME, policy};
use crate::org::FORMER_USER;

/// A user of the org. Rows that he writes name him in `CreatedById`, `LastModifiedById` and `OwnerId`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Name he signs in with; it looks like an e-mail address and is unique.
    pub username: String,
    /// Password; never shown again. Without one he cannot log in on the page.
    #[serde(default, skip_serializing)]
    pub password: String,
    /// Security token, accepted behind the password by the username-password flow.
    #[serde(default, skip_serializing)]
    pub security_token: String,
    /// First name.
    #[serde(default)]
    pub first_name: String,
    /// Last name.
    pub last_name: String,
    /// E-mail address; the user name if absent.
    #[serde(default)]
    pub email: String,
    /// Whether he is active. An inactive user has no sessions and gets no tokens.
    #[serde(default = "yes")]
    pub active: bool,
    /// Whether an administrator has frozen his login; his sessions end, as when he is inactive.
    #[serde(default)]
    pub frozen: bool,
    /// Whether his profile allows the API only.
    #[serde(default)]
    pub api_only: bool,
    /// Login addresses of his profile, as `10.0.0.0/8` or `10.0.0.1`; empty allows any.
    #[serde(default)]
    pub ip_ranges: Vec<String>,
}

fn yes() -> bool {
    true
}

impl User {
    /// The built-in user `integration@causeway.test` with the password `causeway`.
    pub fn integration() -> Self {
        Self::new(USERNAME, PASSWORD, "Integration", "User")
    }

    /// An active user whose e-mail address is his user name.
    pub fn new(
        username: impl Into<String>,
        password: impl Into<String>,
        first_name: impl Into<String>,
        last_name: impl Into<String>,
    ) -> Self {
        let username = username.into();
        Self {
            email: username.clone(),
            username,
            password: password.into(),
            security_token: String::new(),
            first_name: first_name.into(),
            last_name: last_name.into(),
            active: true,
            frozen: false,
            api_only: false,
            ip_ranges: Vec::new(),
        }
    }

    /// First and last name.
    pub fn name(&self) -> String {
        format!("{} {}", self.first_name, self.last_name).trim().to_owned()
    }

    /// Whether an org can have this user.
    ///
    /// # Errors
    /// Who he is, what is wrong with him, and the remedy.
    pub fn check(&self) -> Result<(), String> {
        let name = &self.username;
        if name.trim().is_empty() {
            return Err(format!("user {}: username: must not be empty; give a name such as {USERNAME}", self.name()));
        }
        if name.eq_ignore_ascii_case(FORMER_USER) {
            return Err(format!("user {name}: username: the org's own inactive user has this name; choose another"));
        }
        let anywhere = std::net::IpAddr::from([0, 0, 0, 0]);
        match self.ip_ranges.iter().find(|range| policy::in_range(anywhere, range).is_none()) {
            Some(range) => Err(format!(
                "user {name}: ip_ranges: {range:?} is no address or range; write one such as 10.0.0.1 or 10.0.0.0/8"
            )),
            None => Ok(()),
        }
    }

    pub(crate) fn email(&self) -> &str {
        if self.email.is_empty() { &self.username } else { &self.email }
    }

    /// Whether he may have sessions.
    pub(crate) fn usable(&self) -> bool {
        self.active && !self.frozen
    }
}

/// All that is wrong with the users of one org.
pub(crate) fn problems(users: &[User]) -> Vec<String> {
    if users.is_empty() {
        return vec!["an org needs a user, who owns its first rows; give one, or leave users out".to_owned()];
    }
    let mut names = HashSet::new();
    let mut problems = Vec::new();
    for user in users {
        if let Err(problem) = user.check() {
            problems.push(problem);
        } else if !names.insert(user.username.to_ascii_lowercase()) {
            problems.push(format!("user {}: username: another user has this name; choose another", user.username));
        }
    }
    problems
}
