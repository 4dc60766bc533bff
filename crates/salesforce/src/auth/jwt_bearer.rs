//! The JWT bearer flow: the app proves itself with a certificate, for a user who is pre-authorised.

use std::sync::Arc;

use async_trait::async_trait;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;

use super::endpoint::{Endpoint, Granted, LoginSettings, Repeatable};
use super::fleet::{self, AccessTokenStore};
use super::single_flight::{Grant, SingleFlight};
use super::{Token, TokenError, TokenSource};
use crate::Error;

/// How long an assertion is valid, in seconds. Salesforce takes at most five minutes; two leave room for a clock that
/// is wrong by a minute.
const VALID_SECONDS: u64 = 120;

/// Signs in by a signed assertion (Salesforce Help, OAuth 2.0 JWT Bearer Flow for Server-to-Server Integration).
pub struct JwtBearer(SingleFlight<Flow>);

impl std::fmt::Debug for JwtBearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JwtBearer").finish_non_exhaustive()
    }
}

struct Flow {
    endpoint: Endpoint,
    key: EncodingKey,
    username: String,
    audience: String,
    store: Option<Arc<dyn AccessTokenStore>>,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    exp: u64,
}

impl JwtBearer {
    /// A source for `username`, signing with an RSA private key in PEM. `audience` is `https://login.salesforce.com`,
    /// `https://test.salesforce.com` for sandboxes, or the address of an Experience Cloud site.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the login URL or the key cannot be read.
    pub fn new(
        login: LoginSettings,
        username: String,
        audience: String,
        private_key_pem: &SecretString,
    ) -> Result<Self, Error> {
        Self::over(login, username, audience, private_key_pem, None)
    }

    /// As [`JwtBearer::new`], with a token that the processes of a fleet share.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the login URL or the key cannot be read.
    pub fn sharing(
        login: LoginSettings,
        username: String,
        audience: String,
        private_key_pem: &SecretString,
        store: Arc<dyn AccessTokenStore>,
    ) -> Result<Self, Error> {
        Self::over(login, username, audience, private_key_pem, Some(store))
    }

    fn over(
        login: LoginSettings,
        username: String,
        audience: String,
        private_key_pem: &SecretString,
        store: Option<Arc<dyn AccessTokenStore>>,
    ) -> Result<Self, Error> {
        let key = signing_key(private_key_pem).map_err(Error::Invalid)?;
        Ok(Self(SingleFlight::new(Flow { endpoint: Endpoint::new(login)?, key, username, audience, store })))
    }
}

impl JwtBearer {
    /// Whether this is a key that [`JwtBearer::new`] takes.
    ///
    /// # Errors
    /// What is wrong with it, without showing it.
    pub fn check_key(private_key_pem: &SecretString) -> Result<(), String> {
        signing_key(private_key_pem).map(|_| ())
    }
}

fn signing_key(private_key_pem: &SecretString) -> Result<EncodingKey, String> {
    EncodingKey::from_rsa_pem(private_key_pem.expose_secret().as_bytes())
        .map_err(|_| "the private key is not an RSA key in PEM".to_owned())
}

impl Flow {
    fn assertion(&self) -> Result<String, TokenError> {
        let claims = Claims {
            iss: self.endpoint.client_id(),
            sub: &self.username,
            aud: &self.audience,
            exp: jsonwebtoken::get_current_timestamp() + VALID_SECONDS,
        };
        jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &self.key)
            .map_err(|error| TokenError::Assertion(error.to_string()))
    }
}

#[async_trait]
impl Grant for Flow {
    async fn obtain(&self, stale: Option<&Token>) -> Result<Granted, TokenError> {
        let form = || {
            Ok(vec![
                ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer".to_owned()),
                ("assertion", self.assertion()?),
            ])
        };
        let ask = self.endpoint.ask(Repeatable::Always, form);
        fleet::obtain(self.store.as_deref(), &self.endpoint, stale, ask).await
    }
}

#[async_trait]
impl TokenSource for JwtBearer {
    async fn token(&self) -> Result<Token, TokenError> {
        self.0.get(None).await
    }

    async fn renew(&self, stale: &Token) -> Result<Token, TokenError> {
        self.0.get(Some(stale)).await
    }
}
