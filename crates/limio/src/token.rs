//! Access tokens by client credentials, one at a time for all calls of a process.

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::Settings;
use crate::client::{MAX_BODY, body};
use crate::error::Error;

/// How long before its end a token is renewed.
const EARLY: Duration = Duration::from_mins(1);

/// How long a token lasts whose answer does not say.
const LASTS: Duration = Duration::from_hours(1);

/// A token, and which of its source it is.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) secret: SecretString,
    pub(crate) generation: u64,
    until: Instant,
}

/// Where tokens come from. Whoever needs one while another asks waits for that one's answer.
pub(crate) struct Tokens {
    http: reqwest::Client,
    settings: Arc<Settings>,
    held: Mutex<Option<Token>>,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: Option<u64>,
}

impl Tokens {
    pub(crate) fn new(http: reqwest::Client, settings: Arc<Settings>) -> Self {
        Self { http, settings, held: Mutex::default() }
    }

    /// A token that lasts for some time yet, and is another one than `stale`, which Limio refused.
    pub(crate) async fn token(&self, stale: Option<u64>) -> Result<Token, Error> {
        let mut held = self.held.lock().await;
        if let Some(token) = held.as_ref()
            && token.until > Instant::now()
            && Some(token.generation) != stale
        {
            return Ok(token.clone());
        }
        let generation = held.as_ref().map_or(1, |token| token.generation + 1);
        let token = self.ask(generation).await?;
        *held = Some(token.clone());
        Ok(token)
    }

    async fn ask(&self, generation: u64) -> Result<Token, Error> {
        let asked = Instant::now();
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &self.settings.client_id),
            ("client_secret", self.settings.client_secret.expose_secret()),
        ];
        let url = format!("{}/oauth2/token", self.settings.url);
        let response = self.http.post(url).form(&form).send().await.map_err(Error::of_exchange)?;
        let status = response.status().as_u16();
        match status {
            200..=299 => {}
            // What the body says beside an OAuth error may repeat what was sent.
            400 | 401 | 403 => return Err(Error::Credentials(format!("the token endpoint answered {status}"))),
            _ => return Err(Error::of_answer(response, MAX_BODY).await),
        }
        let granted: Granted = serde_json::from_slice(&body(response, MAX_BODY).await?)
            .map_err(|_| Error::Credentials("the token endpoint's answer holds no token".to_owned()))?;
        let lasts = granted.expires_in.map_or(LASTS, Duration::from_secs).min(Duration::from_hours(24));
        // A token that lasts for less than twice that is renewed half-way.
        let until = asked + lasts - EARLY.min(lasts / 2);
        Ok(Token { secret: granted.access_token.into(), generation, until })
    }
}
