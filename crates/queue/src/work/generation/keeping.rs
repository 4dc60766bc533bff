//! One worker of the fleet keeps the journal: it carries open letters on before retention drops them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Generation;
use crate::handler::Handler;
use crate::journal::carrying::{Retention, carry};
use crate::journal::entry::now_ms;
use crate::settle::jittered;

/// How often the keeper looks for letters to carry on. Half of the retention is left for it.
const CARRY_EVERY: Duration = Duration::from_mins(10);

/// How soon a session looks for the first time.
const FIRST_CARRY: Duration = Duration::from_mins(1);

impl<H: Handler> Generation<H> {
    /// When a session looks for letters to carry on for the first time.
    pub(super) fn first_carry() -> Instant {
        Instant::now() + jittered(FIRST_CARRY)
    }

    /// Carries letters on when it is time to and this worker is the one that does; others may think so too, which does no
    /// harm.
    pub(super) fn keep_journal(&mut self) {
        if Instant::now() < self.carry_at {
            return;
        }
        self.carry_at = Instant::now() + jittered(CARRY_EVERY);
        let going_on = self.carrying.as_ref().is_some_and(|carrying| !carrying.is_finished());
        let Some(tail) = self.settler.tail.clone().filter(|_| self.company.keeps_journal() && !going_on) else {
            return;
        };
        let (session, retention) = (Arc::clone(&self.session), Retention::of(&self.settler.topology));
        // It ends with the session at the latest; nobody waits for it.
        self.carrying = Some(tokio::spawn(async move {
            match carry(&session, &tail, now_ms(), retention).await {
                Ok(0) => {}
                Ok(letters) => tracing::info!(letters, "open letters were carried on before retention drops them"),
                Err(error) => tracing::warn!(%error, "open letters were not carried on; tried again"),
            }
        }));
    }
}
