//! Taking a queue over: nothing that came by it is begun before it is proven that the channel lives and the journal was read up
//! to now, and before the handler has prepared for it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use domain::failure::Failure;
use tokio::time::Instant;

use super::{Done, Generation};
use crate::handler::{Handler, Outage};
use crate::session::Delivery;
use crate::settle::jittered;
use crate::topology::Queue;
use crate::work::intake::Intake;
use crate::work::reading::subscribe;
use service::hints::{Before, Taken};

/// Whether deliveries of a queue may be worked on.
pub(super) enum Ownership {
    Taking(Vec<Delivery>),
    Owned,
}

impl<H: Handler> Generation<H> {
    pub(super) fn take_over(&mut self, queue: Queue) {
        let Some(holding) = self.holdings.get(&queue) else { return };
        let (number, known, predecessor) = (holding.number, holding.taken, self.company.takes(queue));
        let (settler, handler, probing) =
            (Arc::clone(&self.settler), Arc::clone(&self.handler), Arc::clone(&self.probing));
        self.tasks.spawn(async move {
            let proven = settler.prove(queue).await;
            let mut taken = known;
            let result = async {
                proven.map_err(soon)?;
                // Asked again at each try, because the memory may be another by then. How the one before let go was told once.
                if let Some(now) = predecessor.await {
                    taken = Some(Taken { before: known.map_or(now.before, |known| known.before), ..now });
                }
                let how = taken.map_or(Before::Unknown, |taken| taken.before);
                // All see the same outage: whoever comes next asks first, and takes nothing as long as it lasts.
                if how == Before::Outage {
                    probing.ask(handler.as_ref()).await?;
                }
                handler.took_over(queue, false).await.map_err(soon)
            };
            let result = result.await;
            Done::TookOver(queue, number, taken, result)
        });
    }

    pub(super) fn take_over_again(&mut self) {
        let now = Instant::now();
        let due: HashSet<Queue> = self.retake.iter().filter(|(at, _)| *at <= now).map(|(_, queue)| *queue).collect();
        self.retake.retain(|(at, _)| *at > now);
        for queue in due {
            self.take_over(queue);
        }
    }

    pub(super) fn subscribe_to_the_rest(&mut self) {
        let due = self.second_wave.take_if(|(at, _)| *at <= Instant::now());
        if let Some((_, queues)) = due {
            let (session, prefetch) = (Arc::clone(&self.session), self.settings.prefetch);
            self.tasks.spawn(async move { Done::Subscribed(subscribe(&session, &queues, prefetch).await, false) });
        }
    }

    pub(super) fn took_over(&mut self, queue: Queue, taken: Option<Taken>, cause: &'static str, intake: &mut Intake) {
        self.not_taken.remove(&queue);
        self.resume(intake);
        self.observer.took_over(queue, cause);
        let waited = self.owned.insert(queue, Ownership::Owned);
        self.tell_owned();
        // Those whom the one before left. Whoever finds no room from here on is let in when it is time.
        self.let_in_all_of(queue);
        if let Some(Ownership::Taking(waiting)) = waited {
            self.begin(queue, taken, waiting);
        }
    }

    pub(super) fn not_taken_over(&mut self, queue: Queue, outage: &Outage, intake: &mut Intake) {
        let Outage { failure, after } = outage;
        tracing::debug!(?queue, reason = %failure.reason, "a partition cannot be taken over yet: {}", failure.message);
        let wait = jittered(*after);
        intake.pauses(failure, wait);
        self.not_taken.insert(queue);
        self.retake.push((Instant::now() + wait, queue));
    }
}

/// Tried again a second later.
fn soon(failure: Failure) -> Outage {
    Outage { failure, after: Duration::from_secs(1) }
}

/// Why a queue came to this process.
pub(super) fn cause(before: Option<Before>, reopened: bool) -> &'static str {
    match before {
        _ if reopened => "stalled",
        None | Some(Before::Unknown) => "first",
        Some(Before::Finished) => "handed_over",
        Some(Before::Outage) => "outage",
        Some(Before::Lost) => "lost",
    }
}
