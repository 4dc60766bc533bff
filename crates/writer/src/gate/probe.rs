//! Whether orders may go again, asked by a process that takes none in meanwhile: by the same gate that they go through.

use std::time::Duration;

use domain::failure::{Failure, Reason};
use domain::outcome::Outcome;
use tokio::time::Instant;

use super::{ASK_AGAIN, Gate};

/// What asking the org once came to.
pub(crate) struct Asked {
    /// API calls that this process has made since it told last.
    pub(crate) calls: u64,
    /// What is away, and how long to leave it alone at least.
    pub(crate) away: Option<(Failure, Duration)>,
}

impl Gate {
    /// Whether a batch could go. While the budget is spent it says so, and nothing is asked but in the fleet's one look at it.
    /// Else one process of the fleet asks the org at a time, once after each of the growing pauses; where this one has had an
    /// answer a moment ago, nothing is asked at all.
    ///
    /// # Errors
    /// What is away, and when to ask again.
    pub(crate) async fn probe(&self, ask: impl Future<Output = Asked> + Send) -> Result<(), Outcome> {
        if self.answered_since(self.now().saturating_sub(ASK_AGAIN)) {
            return self.goes_on().await;
        }
        let (request, began) = (uuid::Uuid::new_v4().simple().to_string(), Instant::now());
        let spent = self.spend(&request, true, false).await;
        let may_ask = match &spent {
            Ok(_) => self.take_the_look().await,
            Err(outage) => Err(outage.clone()),
        };
        let looks = spent.is_ok_and(|spent| spent.looks);
        let asked = match may_ask {
            Ok(()) => Ok(ask.await),
            Err(outage) => Err(outage),
        };
        let calls = asked.as_ref().map_or(0, |asked| asked.calls);
        let told = self.ends(&request, calls, began).await;
        if looks {
            self.quota_look_is_over(calls, told).await;
        }
        match asked?.away {
            None => {
                self.answered_question();
                self.look_is_over().await;
                Ok(())
            }
            // The org is there, and tells nothing but that its allocation is spent.
            Some((failure, after)) if failure.reason == Reason::QuotaExhausted => {
                self.look_is_over().await;
                Err(Outcome::Outage { failure, retry_after: after })
            }
            Some((failure, after)) => {
                let retry_after = self.opens(after, &failure).await;
                Err(Outcome::Outage { failure, retry_after })
            }
        }
    }
}
