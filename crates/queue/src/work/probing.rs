//! Asks whether what was away is back, one question at a time however many queues wait for the answer.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::handler::{Handler, Outage};

/// How long a good answer holds.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// The last answer, and until when it holds.
#[derive(Default)]
pub(super) struct Probing(Mutex<Option<(Instant, Option<Outage>)>>);

impl Probing {
    /// Whether everything that the handler needs is there.
    pub(super) async fn ask<H: Handler>(&self, handler: &H) -> Result<(), Outage> {
        let mut last = self.0.lock().await;
        if let Some((until, answer)) = last.as_ref()
            && Instant::now() < *until
        {
            return answer.clone().map_or(Ok(()), Err);
        }
        let answer = handler.probe().await;
        // Shorter than the shortest wait that follows from it, so that the first who comes back asks anew.
        let holds = answer.as_ref().map_or_else(|outage| outage.after.mul_f64(0.7), |()| GOOD_FOR);
        *last = Some((Instant::now() + holds, answer.as_ref().err().cloned()));
        answer
    }
}
