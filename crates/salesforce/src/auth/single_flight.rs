//! One request for a token at a time, whoever waits for it and whoever stops waiting.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{Mutex, oneshot};
use tokio::time::Instant;

use super::endpoint::Granted;
use super::{Token, TokenError};

/// Obtains a token by one OAuth flow.
#[async_trait]
pub(crate) trait Grant: Send + Sync + 'static {
    /// A new token. `stale` is the last one, which Salesforce refused.
    async fn obtain(&self, stale: Option<&Token>) -> Result<Granted, TokenError>;
}

/// Shares tokens of one [`Grant`] among all calls of the process.
///
/// A request for a token runs in a task of its own: a caller that is dropped neither aborts it nor loses what it
/// brings, which matters where each answer carries the only refresh token that still works.
#[derive(Debug)]
pub(crate) struct SingleFlight<G> {
    grant: Arc<G>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    token: Option<Token>,
    /// The last token, once it was refused.
    spent: Option<Token>,
    generation: u64,
    last_failure: Option<(Instant, TokenError)>,
}

impl<G: Grant> SingleFlight<G> {
    pub(crate) fn new(grant: G) -> Self {
        Self { grant: Arc::new(grant), state: Arc::default() }
    }

    /// The current token, if it is younger than the one that Salesforce refused; a new one otherwise.
    pub(crate) async fn get(&self, refused: Option<&Token>) -> Result<Token, TokenError> {
        let asked = Instant::now();
        let mut state = Arc::clone(&self.state).lock_owned().await;
        if let Some(token) = &state.token {
            if refused.is_none_or(|refused| token.generation() > refused.generation()) {
                return Ok(token.clone());
            }
            state.spent = state.token.take();
        }
        // Whoever waited while a request failed shares its failure instead of sending one more.
        if let Some((at, error)) = &state.last_failure
            && *at >= asked
        {
            return Err(error.clone());
        }
        let grant = Arc::clone(&self.grant);
        let (told, answer) = oneshot::channel();
        tokio::spawn(async move {
            let obtained = match grant.obtain(state.spent.as_ref()).await {
                Ok(granted) => {
                    state.generation += 1;
                    let token = Token::new(&granted.instance_url, granted.access_token, state.generation);
                    state.token = Some(token.clone());
                    state.last_failure = None;
                    tracing::info!(
                        instance_url = token.instance_url(),
                        generation = token.generation(),
                        "access token"
                    );
                    Ok(token)
                }
                Err(error) => {
                    state.last_failure = Some((Instant::now(), error.clone()));
                    Err(error)
                }
            };
            drop(state);
            // A failure is the caller's to log. One whose deadline has passed does not learn the cause.
            if let Err(Err(error)) = told.send(obtained) {
                tracing::warn!(%error, "no access token; who asked for it waits no longer");
            }
        });
        answer.await.unwrap_or(Err(TokenError::Stopped))
    }
}
