//! What an error asks of whoever meets it.

use std::fmt;

use serde::Deserialize;

/// What a failure asks of the caller. Each error code of the [`Atlas`](super::Atlas) has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// Another transaction holds a record. Retry in a moment, and alone with that record.
    Lock,
    /// It may succeed unchanged in a moment.
    Transient,
    /// Too much at once. Send less, retry in 5 to 60 seconds.
    Throttled,
    /// An allocation is spent: requests of 24 hours, events of an hour, storage. Stop sending, probe every 15 to 30
    /// minutes.
    Quota,
    /// The org as a whole takes no writes for minutes to hours. Stop sending, probe every 5 to 15 minutes.
    Maintenance,
    /// Not tried, because something else in the same request failed. Send again; it is no failed attempt.
    Halted,
    /// The session ended, and a renewed one was refused as well.
    Session,
    /// A duplicate rule fired: the error's duplicate result says how.
    Duplicate,
    /// A record with this unique value exists already: often the trace of an earlier attempt.
    AlreadyExists,
    /// The same record will be refused each time.
    Permanent,
    /// The org, its permissions or its features do not fit. Every such record will be refused until an administrator
    /// acts.
    Configuration,
    /// The credentials or the connected app are not accepted. Nothing will succeed until an administrator acts.
    Authentication,
    /// A code that the atlas does not know. Treat it as transient, and give up after a few tries.
    Unknown,
}

impl ErrorKind {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::Lock,
        Self::Transient,
        Self::Throttled,
        Self::Quota,
        Self::Maintenance,
        Self::Halted,
        Self::Session,
        Self::Duplicate,
        Self::AlreadyExists,
        Self::Permanent,
        Self::Configuration,
        Self::Authentication,
        Self::Unknown,
    ];

    /// The name in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::Transient => "transient",
            Self::Throttled => "throttled",
            Self::Quota => "quota",
            Self::Maintenance => "maintenance",
            Self::Halted => "halted",
            Self::Session => "session",
            Self::Duplicate => "duplicate",
            Self::AlreadyExists => "already_exists",
            Self::Permanent => "permanent",
            Self::Configuration => "configuration",
            Self::Authentication => "authentication",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a failed request for a token asks of people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignInKind {
    /// It may succeed in a moment.
    Transient,
    /// Too many sign-ins. Wait for a minute at least.
    RateLimited,
    /// The grant is gone: somebody has to authorise the connection again.
    Dead,
    /// The customer's administrator has to act: user, app installation, network or org.
    Administrator,
    /// Our settings are wrong: client id, secret, key, or login host.
    Configuration,
    /// We asked in a way that Salesforce does not take. A defect of this program.
    Defect,
}

impl SignInKind {
    /// The name in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::RateLimited => "rate_limited",
            Self::Dead => "dead",
            Self::Administrator => "administrator",
            Self::Configuration => "configuration",
            Self::Defect => "defect",
        }
    }
}

impl fmt::Display for SignInKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which of the settings a failed sign-in is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignInSetting {
    /// The client id, or the app that it names.
    #[default]
    App,
    /// The login URL.
    LoginUrl,
    /// The client secret, or the private key of an assertion.
    Credential,
    /// The user of an assertion, or the app's execution user.
    User,
    /// The stored refresh token.
    Grant,
    /// The hosts that a token may be sent to.
    TrustedHosts,
}
