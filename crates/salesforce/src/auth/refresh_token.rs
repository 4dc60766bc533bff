//! The refresh token flow, safe with rotation: each answer may carry the only refresh token that still works.

use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};

use super::endpoint::{Endpoint, Granted, LoginSettings, Repeatable, may_be_spent};
use super::fleet::is_stale;
use super::single_flight::{Grant, SingleFlight};
use super::{Token, TokenError, TokenErrorKind, TokenSource};
use crate::Error;

/// What is stored of a connection. `Debug` does not show the tokens.
#[derive(Debug, Clone)]
pub struct StoredGrant {
    /// The refresh token that works now.
    pub refresh_token: SecretString,
    /// The access token that came last, so that other processes and the next start use it instead of refreshing.
    pub access: Option<AccessGrant>,
    /// What Salesforce said of the refresh token, when it is dead: it is not presented again.
    pub refusal: Option<GrantRefusal>,
}

/// Salesforce's words about a grant that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantRefusal {
    /// OAuth's `error`.
    pub error: String,
    /// OAuth's `error_description`.
    pub description: String,
}

/// An access token with the org it belongs to.
#[derive(Debug, Clone)]
pub struct AccessGrant {
    /// The org's address.
    pub instance_url: String,
    /// The secret.
    pub access_token: SecretString,
}

/// Proof that no other process refreshes the connection. Dropping it lets the next one.
pub struct Lease(#[expect(dead_code, reason = "held for its drop")] Option<Box<dyn Send + Sync>>);

impl Lease {
    /// A lease that ends when `held` is dropped.
    pub fn new(held: impl Send + Sync + 'static) -> Self {
        Self(Some(Box::new(held)))
    }

    /// The lease of a store that only one process uses.
    pub const fn sole() -> Self {
        Self(None)
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lease")
    }
}

/// The token store failed. The text holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the token store failed: {0}")]
pub struct StoreError(pub String);

/// Keeps the connection's refresh token, durably and readable by every process that uses the connection.
///
/// With rotation a refresh token works once; presenting it twice revokes the whole connection. So a store of several
/// processes has to give the lease to one of them at a time.
#[async_trait]
pub trait RefreshTokenStore: Send + Sync {
    /// Waits, within bounds, until no other process refreshes.
    ///
    /// # Errors
    /// [`StoreError`] when the store fails or the wait is over; nothing is refreshed then.
    async fn lease(&self) -> Result<Lease, StoreError>;

    /// What is stored now.
    ///
    /// # Errors
    /// [`StoreError`] when the store fails or holds no grant.
    async fn load(&self) -> Result<StoredGrant, StoreError>;

    /// Replaces it; durable when it returns.
    ///
    /// # Errors
    /// [`StoreError`] when it may not be durable. It is called again with the same grant.
    async fn save(&self, grant: &StoredGrant) -> Result<(), StoreError>;

    /// The refresh token is about to be presented. A store that notes it tells whoever comes next that the token may be
    /// spent, and finds out that it can take the successor, before there is one.
    ///
    /// # Errors
    /// [`StoreError`] when the store could not keep a successor; the token is not presented then.
    async fn presents(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// The refresh token that was presented is certainly not spent: the request did not arrive, or was refused.
    async fn unspent(&self) {}

    /// Salesforce says that the refresh token is dead. A store that keeps it says so in [`StoredGrant::refusal`], so that
    /// nobody presents the token again.
    async fn refused(&self, refusal: &GrantRefusal) {
        let _ = refusal;
    }
}

/// Renews access tokens by a refresh token (Salesforce Help, OAuth 2.0 Refresh Token Flow).
///
/// A new refresh token is stored before the access token that came with it is used. If storing fails, the new one is
/// kept in memory and stored at the next request, before anything else. A refresh whose answer was lost is not repeated
/// by itself: the next call that needs a token tries once.
#[derive(Debug)]
pub struct RefreshToken(SingleFlight<Flow>);

struct Flow {
    endpoint: Endpoint,
    secret: Option<SecretString>,
    store: Arc<dyn RefreshTokenStore>,
    /// A grant that Salesforce gave and the store has not taken yet.
    unsaved: Mutex<Option<StoredGrant>>,
}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flow").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl RefreshToken {
    /// A source over this store. `client_secret` is needed unless the app does without it for refreshing.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the login URL is none.
    pub fn new(
        login: LoginSettings,
        client_secret: Option<SecretString>,
        store: Arc<dyn RefreshTokenStore>,
    ) -> Result<Self, Error> {
        let endpoint = Endpoint::new(login)?;
        Ok(Self(SingleFlight::new(Flow { endpoint, secret: client_secret, store, unsaved: Mutex::new(None) })))
    }
}

impl Flow {
    fn unsaved(&self) -> std::sync::MutexGuard<'_, Option<StoredGrant>> {
        self.unsaved.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Stores what Salesforce gave, and only then hands it out.
    async fn keep(&self, grant: StoredGrant) -> Result<(), TokenError> {
        *self.unsaved() = Some(grant.clone());
        let mut intervals = self.endpoint.retry().intervals();
        loop {
            let error = match self.store.save(&grant).await {
                Ok(()) => {
                    *self.unsaved() = None;
                    return Ok(());
                }
                Err(error) => error,
            };
            let Some(wait) = intervals.next(std::time::Duration::ZERO) else {
                tracing::error!(%error, "a new refresh token is not stored; it is kept in memory until the store takes it");
                return Err(error.into());
            };
            tokio::time::sleep(wait).await;
        }
    }

    fn form(&self, refresh_token: &SecretString) -> Vec<(&'static str, String)> {
        let mut form = vec![
            ("grant_type", "refresh_token".to_owned()),
            ("refresh_token", refresh_token.expose_secret().to_owned()),
            ("client_id", self.endpoint.client_id().to_owned()),
        ];
        if let Some(secret) = &self.secret {
            form.push(("client_secret", secret.expose_secret().to_owned()));
        }
        form
    }
}

#[async_trait]
impl Grant for Flow {
    async fn obtain(&self, stale: Option<&Token>) -> Result<Granted, TokenError> {
        let _lease = self.store.lease().await?;
        let waiting = self.unsaved().clone();
        let stored = match waiting {
            Some(grant) => {
                self.keep(grant.clone()).await?;
                grant
            }
            None => self.store.load().await?,
        };
        // Another process may have refreshed since: its token serves this one too.
        if let Some(access) = stored.access
            && !is_stale(stale, &access)
        {
            let instance_url = self.endpoint.trusted(&access.instance_url)?;
            return Ok(Granted { instance_url, access_token: access.access_token, refresh_token: None });
        }
        if let Some(refusal) = &stored.refusal {
            return Err(TokenError::refused_before(refusal));
        }
        self.store.presents().await?;
        let form = || Ok(self.form(&stored.refresh_token));
        let granted = match self.endpoint.ask(Repeatable::OnlyUnexecuted, form).await {
            Ok(granted) => granted,
            Err(error) => {
                if let TokenError::Refused { kind: TokenErrorKind::Dead, error, description, .. } = &error {
                    let refusal = GrantRefusal { error: error.clone(), description: description.clone() };
                    self.store.refused(&refusal).await;
                } else if !may_be_spent(&error) {
                    self.store.unspent().await;
                }
                return Err(error);
            }
        };
        let refresh_token = granted.refresh_token.clone().unwrap_or_else(|| stored.refresh_token.clone());
        let access =
            AccessGrant { instance_url: granted.instance_url.clone(), access_token: granted.access_token.clone() };
        self.keep(StoredGrant { refresh_token, access: Some(access), refusal: None }).await?;
        Ok(granted)
    }
}

#[async_trait]
impl TokenSource for RefreshToken {
    async fn token(&self) -> Result<Token, TokenError> {
        self.0.get(None).await
    }

    async fn renew(&self, stale: &Token) -> Result<Token, TokenError> {
        self.0.get(Some(stale)).await
    }
}
