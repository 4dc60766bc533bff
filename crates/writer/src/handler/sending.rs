//! Claims that hold while an event is published.
//!
//! A record is refused the second time, so it may be sent late. An event is not: between the claim of its order and its
//! publication so much may have been asked and sent, or the process may have stood still for so long, that somebody else has
//! claimed the order, looked, and found that the event is owed. So the claim is lengthened just before; where it is no longer
//! held, nothing is published. And what was published without an answer may yet happen: nobody, not even this process, claims
//! the order and looks before that has had its time.

use std::time::Duration;

use domain::outcome::Outcome;
use ledger::ClaimTicket;
use tokio::time::Instant;

use super::OrderWriter;
use crate::attempt::Attempt;

/// Proof that claims were lengthened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    since: Instant,
    /// How long a claim lasts beyond the longest call.
    spare: Duration,
}

impl Held {
    fn from(since: Instant, spare: Duration) -> Self {
        Self { since, spare }
    }

    /// Whether what is sent now is answered or given up before the claims end: not where the process stood still since.
    pub(super) fn is_fresh(self) -> bool {
        self.since.elapsed() < self.spare
    }
}

impl OrderWriter {
    /// Lengthens the claims of these attempts, by their places in the batch. An attempt whose claim is no longer held ends:
    /// whoever has it now sees to its event.
    pub(super) async fn hold(
        &self,
        about: impl Iterator<Item = usize>,
        attempts: &mut [Attempt<'_>],
    ) -> Result<Held, ledger::Error> {
        let places: Vec<(usize, ClaimTicket)> =
            about.filter_map(|index| Some((index, attempts.get(index)?.ticket.clone()?))).collect();
        let tickets: Vec<ClaimTicket> = places.iter().map(|(_, ticket)| ticket.clone()).collect();
        let since = Instant::now();
        let held = self.ledger.sending(&tickets, self.settings.lease).await?;
        for ((index, ticket), _) in places.iter().zip(held).filter(|(_, held)| !held) {
            tracing::info!(order = %ticket.order, "the event is left to whoever has claimed the order since");
            attempts[*index].end(Outcome::Halted);
        }
        Ok(Held::from(since, self.settings.lease.saturating_sub(self.settings.deadline)))
    }

    /// Of these attempts it is known what became of the event, or that it was not sent: whoever claims them need not wait.
    pub(super) async fn need_not_wait(&self, about: &[usize], attempts: &[Attempt<'_>]) {
        let known = about.iter().filter_map(|index| attempts.get(*index));
        let known = known.filter(|attempt| !attempt.is_settled() && !attempt.is_in_doubt());
        let tickets: Vec<ClaimTicket> = known.filter_map(|attempt| attempt.ticket.clone()).collect();
        if tickets.is_empty() {
            return;
        }
        if let Err(error) = self.ledger.sending(&tickets, Duration::ZERO).await {
            tracing::debug!(%error, "orders whose events were answered go again a lease later");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_proves_nothing_once_a_call_could_outlast_it() {
        // A lease of 35 seconds, and calls of 30.
        let spare = Duration::from_secs(5);
        let ago = |seconds| Held::from(Instant::now() - Duration::from_secs(seconds), spare);
        assert!(ago(0).is_fresh() && ago(4).is_fresh());
        assert!(!ago(5).is_fresh() && !ago(17).is_fresh());
    }
}
