//! The end of a session: once, with its first cause.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::error::Error;

const CLOSED: &str = "the session was closed";

/// Shared by everything that can end a session or has to notice its end.
#[derive(Debug, Clone)]
pub(super) struct Ending {
    token: CancellationToken,
    cause: Arc<OnceLock<String>>,
    place: Arc<str>,
}

impl Ending {
    pub(super) fn new(place: &str) -> Self {
        Self { token: CancellationToken::new(), cause: Arc::default(), place: place.into() }
    }

    pub(super) fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    pub(super) async fn ended(&self) {
        self.token.cancelled().await;
    }

    /// Ends it because of a fault. The first cause is logged and kept; later ones follow from it.
    pub(super) fn end(&self, cause: &str) {
        if self.cause.set(cause.to_owned()).is_ok() {
            tracing::warn!(place = %self.place, cause, "the connection to RabbitMQ was lost");
        }
        self.token.cancel();
    }

    /// Ends it because its owner wants so.
    pub(super) fn close(&self) {
        let _ = self.cause.set(CLOSED.to_owned());
        self.token.cancel();
    }

    pub(super) fn cause(&self) -> String {
        self.cause.get().map_or(CLOSED, String::as_str).to_owned()
    }

    pub(super) fn lost(&self) -> Error {
        Error::Lost(self.cause())
    }

    /// Waits for an answer of the broker, at most for `deadline` and until the session ends. A fault ends the session.
    pub(super) async fn guard<T>(
        &self,
        doing: &str,
        deadline: Duration,
        answer: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T, Error> {
        let cause = tokio::select! {
            biased;
            answer = tokio::time::timeout(deadline, answer) => match answer {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(error)) => format!("{doing}: {error}"),
                Err(_) => format!("{doing}: no answer within {} s", deadline.as_secs()),
            },
            () = self.token.cancelled() => return Err(self.lost()),
        };
        self.end(&cause);
        Err(Error::Lost(cause))
    }
}
