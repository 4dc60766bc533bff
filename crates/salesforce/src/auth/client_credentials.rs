//! The client credentials flow: the app signs in by itself, as its execution user.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};

use super::endpoint::{Endpoint, Granted, LoginSettings, Repeatable};
use super::fleet::{self, AccessTokenStore};
use super::single_flight::{Grant, SingleFlight};
use super::{Token, TokenError, TokenSource};
use crate::Error;

/// Signs in by client id and secret (Salesforce Help, OAuth 2.0 Client Credentials Flow). The login URL has to be the
/// org's My Domain.
#[derive(Debug)]
pub struct ClientCredentials(SingleFlight<Flow>);

struct Flow {
    endpoint: Endpoint,
    secret: SecretString,
    store: Option<Arc<dyn AccessTokenStore>>,
}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flow").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl ClientCredentials {
    /// A source that asks for its first token when it is needed.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the login URL is none.
    pub fn new(login: LoginSettings, client_secret: SecretString) -> Result<Self, Error> {
        Self::over(login, client_secret, None)
    }

    /// As [`ClientCredentials::new`], with a token that the processes of a fleet share.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the login URL is none.
    pub fn sharing(
        login: LoginSettings,
        client_secret: SecretString,
        store: Arc<dyn AccessTokenStore>,
    ) -> Result<Self, Error> {
        Self::over(login, client_secret, Some(store))
    }

    fn over(
        login: LoginSettings,
        secret: SecretString,
        store: Option<Arc<dyn AccessTokenStore>>,
    ) -> Result<Self, Error> {
        Ok(Self(SingleFlight::new(Flow { endpoint: Endpoint::new(login)?, secret, store })))
    }
}

#[async_trait]
impl Grant for Flow {
    async fn obtain(&self, stale: Option<&Token>) -> Result<Granted, TokenError> {
        let form = || {
            Ok(vec![
                ("grant_type", "client_credentials".to_owned()),
                ("client_id", self.endpoint.client_id().to_owned()),
                ("client_secret", self.secret.expose_secret().to_owned()),
            ])
        };
        let ask = self.endpoint.ask(Repeatable::Always, form);
        fleet::obtain(self.store.as_deref(), &self.endpoint, stale, ask).await
    }
}

#[async_trait]
impl TokenSource for ClientCredentials {
    async fn token(&self) -> Result<Token, TokenError> {
        self.0.get(None).await
    }

    async fn renew(&self, stale: &Token) -> Result<Token, TokenError> {
        self.0.get(Some(stale)).await
    }
}
