//! The client credentials flow: the app signs in by itself, as its execution user.

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};

use super::endpoint::{Endpoint, Granted, LoginSettings, Repeatable};
use super::single_flight::{Grant, SingleFlight};
use super::{Token, TokenError, TokenSource};
use crate::Error;

/// Signs in by client id and secret (Salesforce Help, OAuth 2.0 Client Credentials Flow). The login URL has to be the
/// org's My Domain.
#[derive(Debug)]
pub struct ClientCredentials(SingleFlight<Flow>);

#[derive(Debug)]
struct Flow {
    endpoint: Endpoint,
    secret: SecretString,
}

impl ClientCredentials {
    /// A source that asks for its first token when it is needed.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the login URL is none.
    pub fn new(login: LoginSettings, client_secret: SecretString) -> Result<Self, Error> {
        Ok(Self(SingleFlight::new(Flow { endpoint: Endpoint::new(login)?, secret: client_secret })))
    }
}

#[async_trait]
impl Grant for Flow {
    async fn obtain(&self, _stale: Option<&Token>) -> Result<Granted, TokenError> {
        let form = || {
            Ok(vec![
                ("grant_type", "client_credentials".to_owned()),
                ("client_id", self.endpoint.client_id().to_owned()),
                ("client_secret", self.secret.expose_secret().to_owned()),
            ])
        };
        self.endpoint.ask(Repeatable::Always, form).await
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
