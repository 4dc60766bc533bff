//! Access tokens: where they come from, and what happens when one ends.

use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;

pub use domain::atlas::{SignIn as TokenFault, SignInKind as TokenErrorKind, SignInSetting};

mod client_credentials;
mod endpoint;
mod faults;
mod fleet;
mod jwt_bearer;
mod refresh_token;
mod retry_interval;
mod single_flight;

pub use client_credentials::ClientCredentials;
pub use endpoint::LoginSettings;
pub use faults::token_faults;
pub use fleet::AccessTokenStore;
pub use jwt_bearer::JwtBearer;
pub use refresh_token::{AccessGrant, GrantRefusal, Lease, RefreshToken, RefreshTokenStore, StoreError, StoredGrant};
pub use retry_interval::TokenRetry;

/// Gives access tokens, and new ones when Salesforce no longer accepts the last.
///
/// Implementations are shared by every call of a process, so they ask for a token once however many calls wait for it.
#[async_trait]
pub trait TokenSource: Send + Sync {
    /// The token to use now; asked for if there is none yet.
    ///
    /// # Errors
    /// [`TokenError`], classified by [`TokenError::kind`].
    async fn token(&self) -> Result<Token, TokenError>;

    /// A token younger than `stale`, which Salesforce refused. If there is one already, nothing is asked for: of many
    /// calls that met the same dead token, one renews it.
    ///
    /// # Errors
    /// [`TokenError`], classified by [`TokenError::kind`].
    async fn renew(&self, stale: &Token) -> Result<Token, TokenError>;
}

/// An access token with the address of the org it belongs to. `Debug` does not show the token.
#[derive(Debug, Clone)]
pub struct Token {
    instance_url: String,
    secret: SecretString,
    generation: u64,
}

impl Token {
    /// A token of this generation: a number that its source raises with each token it gives.
    ///
    /// `instance_url` is the scheme, host and port of the org; slashes at its end are cut off.
    pub fn new(instance_url: &str, access_token: SecretString, generation: u64) -> Self {
        Self { instance_url: instance_url.trim_end_matches('/').to_owned(), secret: access_token, generation }
    }

    /// The org's address, without a slash at its end. It may change with each renewal, because orgs move.
    pub fn instance_url(&self) -> &str {
        &self.instance_url
    }

    /// The secret itself, for the `Authorization` header only.
    pub fn access_token(&self) -> &SecretString {
        &self.secret
    }

    /// Which token of its source this is; younger ones have higher numbers.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

/// No access token could be had. No variant holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The token endpoint refused, by the table of [`token_faults`].
    #[error("Salesforce refuses a token: {error} ({description}). {action}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The classification.
        kind: TokenErrorKind,
        /// Whether it may go away while one waits, whatever its kind; so of each refusal that the table does not list.
        heals: bool,
        /// The setting it is about.
        setting: SignInSetting,
        /// OAuth's `error`.
        error: String,
        /// OAuth's `error_description`, cut to 200 characters.
        description: String,
        /// What a person does about it.
        action: &'static str,
    },
    /// The connection to the login host was not made.
    #[error("the login host is unreachable: {0}")]
    Unreachable(String),
    /// The request was sent and no complete answer came. With a rotating refresh token the old one may be spent.
    #[error("the answer to a token request was lost: {0}")]
    AnswerLost(String),
    /// An error status without an OAuth error: the edge or maintenance answered.
    #[error("the login host answered status {status} without an OAuth error")]
    Unavailable {
        /// The HTTP status.
        status: u16,
    },
    /// A success without an access token or instance URL.
    #[error("the token answer lacks {0}")]
    Malformed(&'static str),
    /// The instance URL is not one that a token may be sent to.
    #[error(
        "the login host named the instance {host:?}, which is neither a Salesforce host under https nor a trusted host of the settings"
    )]
    Untrusted {
        /// The host it named.
        host: String,
    },
    /// The token store failed. A token that could not be stored is kept in memory, and storing it is tried again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The assertion could not be signed.
    #[error("the JWT assertion cannot be signed: {0}")]
    Assertion(String),
    /// The deadline of the call passed while it waited for a token.
    #[error("no token came within the deadline of the call")]
    Deadline,
    /// The runtime stopped while a token was being asked for.
    #[error("the request for a token was stopped")]
    Stopped,
}

impl TokenError {
    /// What Salesforce said of a grant before, said again without asking.
    fn refused_before(refusal: &GrantRefusal) -> Self {
        let GrantRefusal { error, description } = refusal.clone();
        let faults::Verdict { kind, setting, heals, action } = faults::classify(400, &error, &description);
        Self::Refused { status: 400, kind, heals, setting, error, description, action }
    }

    /// What it asks of people.
    pub fn kind(&self) -> TokenErrorKind {
        match self {
            Self::Refused { kind, .. } => *kind,
            Self::Unavailable { status: 429 } => TokenErrorKind::RateLimited,
            Self::Unavailable { status: 408 | 420 | 500.. } => TokenErrorKind::Transient,
            Self::Unavailable { .. } | Self::Untrusted { .. } | Self::Assertion(_) => TokenErrorKind::Configuration,
            Self::Malformed(_) => TokenErrorKind::Defect,
            Self::Unreachable(_) | Self::AnswerLost(_) | Self::Store(_) | Self::Deadline | Self::Stopped => {
                TokenErrorKind::Transient
            }
        }
    }

    /// Whether waiting cannot help: the cause lies in our settings, in the grant or in this program, and somebody has to
    /// change one of them.
    ///
    /// Of refusals, only those that the table of [`token_faults`] lists without [`heals`](TokenFault::heals) are final: an
    /// unlisted one may be a proxy's, and so may a status without an OAuth error. What the org's administrator heals is
    /// not final either, nor anything with status 408, 420 or 500 and above.
    pub fn is_final(&self) -> bool {
        let may_pass = matches!(self, Self::Unavailable { .. } | Self::Refused { heals: true, .. });
        match self.kind() {
            TokenErrorKind::Dead | TokenErrorKind::Configuration | TokenErrorKind::Defect => !may_pass,
            TokenErrorKind::Transient | TokenErrorKind::RateLimited | TokenErrorKind::Administrator => false,
        }
    }

    /// Which setting to look at first.
    pub fn setting(&self) -> SignInSetting {
        match self {
            Self::Refused { setting, .. } => *setting,
            Self::Untrusted { .. } => SignInSetting::TrustedHosts,
            Self::Assertion(_) => SignInSetting::Credential,
            Self::Store(_) => SignInSetting::Grant,
            Self::Unreachable(_)
            | Self::AnswerLost(_)
            | Self::Unavailable { .. }
            | Self::Malformed(_)
            | Self::Deadline
            | Self::Stopped => SignInSetting::LoginUrl,
        }
    }

    /// How long to wait at least before asking again.
    pub fn retry_after(&self) -> Option<Duration> {
        (self.kind() == TokenErrorKind::RateLimited).then_some(retry_interval::RATE_LIMIT_PAUSE)
    }
}
