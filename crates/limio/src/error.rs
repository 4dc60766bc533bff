//! What may come of a call.

use std::error::Error as _;
use std::time::Duration;

/// Why a call did not succeed. No variant holds a token or a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Limio refused the request itself.
    #[error("Limio answered {status}")]
    Refused {
        /// The HTTP status, 400 to 499.
        status: u16,
        /// What Limio said, at most 500 characters. It may repeat values of the request: not for logs.
        said: String,
    },
    /// Limio does not accept the credentials.
    #[error("Limio does not accept the credentials ({0})")]
    Credentials(String),
    /// Limio wants to be left alone for a while.
    #[error("Limio answered 429")]
    Throttled {
        /// For how long, where it said.
        retry_after: Option<Duration>,
    },
    /// Limio failed, or something in front of it did.
    #[error("Limio answered {status}")]
    Failed {
        /// The HTTP status.
        status: u16,
    },
    /// No connection was made: nothing was sent.
    #[error("Limio is unreachable: {0}")]
    Unreachable(String),
    /// The request was sent, and no complete answer came: it may have been carried out.
    #[error("Limio's answer was lost: {0}")]
    AnswerLost(String),
    /// The client cannot be set up with these settings.
    #[error("the client of Limio's API cannot be set up: {0}")]
    Invalid(String),
}

/// What an error asks of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The same request never succeeds: give it up.
    Refused,
    /// Somebody has to look at the credentials; until then nothing succeeds.
    Credentials,
    /// It may succeed later.
    Away,
}

impl Error {
    /// What it asks of the caller.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Refused { .. } | Self::Invalid(_) => Kind::Refused,
            Self::Credentials(_) => Kind::Credentials,
            Self::Throttled { .. } | Self::Failed { .. } | Self::Unreachable(_) | Self::AnswerLost(_) => Kind::Away,
        }
    }

    /// For how long Limio asked to be left alone.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Throttled { retry_after } => *retry_after,
            Self::Refused { .. }
            | Self::Credentials(_)
            | Self::Failed { .. }
            | Self::Unreachable(_)
            | Self::AnswerLost(_)
            | Self::Invalid(_) => None,
        }
    }

    /// What a failed exchange means, without its address, which names a customer's object.
    pub(crate) fn of_exchange(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            let inner_text = inner.to_string();
            if !text.contains(&inner_text) {
                text = format!("{text}: {inner_text}");
            }
            source = inner.source();
        }
        if error.is_connect() { Self::Unreachable(text) } else { Self::AnswerLost(text) }
    }
}
