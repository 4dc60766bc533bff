//! What a predecessor may still have in flight when nobody knows.
//!
//! A successor that finds the predecessor's claims waits for exactly those that are open. But a memory that was emptied,
//! started again or restored from a copy may know nothing of a call that began before: as long as one may still be under way,
//! the customers of whom something came again wait, unless whoever had the queue before said that all was finished. Others go
//! on.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::Generation;
use super::taking_over::Ownership;
use crate::handler::Handler;
use crate::message::{Message, RELEASE, SEQUENCE_KEY};
use crate::session::Delivery;
use crate::settle::milliseconds;
use crate::topology::Queue;
use service::hints::{Before, Taken};

/// The customers of one queue that wait, with what has come of them.
pub(super) struct Precaution {
    until: Instant,
    customers: HashMap<String, Vec<Delivery>>,
}

impl<H: Handler> Generation<H> {
    /// A queue was taken over, and these came meanwhile.
    pub(super) fn begin(&mut self, queue: Queue, taken: Option<Taken>, waiting: Vec<Delivery>) {
        let longest = self.handler.longest_call();
        let wait = match taken {
            Some(Taken { before: Before::Finished, .. }) => Duration::ZERO,
            Some(Taken { remembers, .. }) => longest.saturating_sub(remembers),
            None => longest,
        };
        if !wait.is_zero() && waiting.iter().any(|delivery| delivery.redelivered) {
            tracing::info!(
                ?queue,
                wait_ms = milliseconds(wait),
                "nobody knows what the predecessor had in flight: its customers wait until that must be over"
            );
            let precaution = Precaution { until: Instant::now() + wait, customers: HashMap::new() };
            self.precautions.insert(queue, precaution);
        }
        for delivery in waiting {
            self.sort_in(delivery);
        }
    }

    /// Sorts a delivery of a queue that is owned into its lane, or lets it wait with its customer.
    pub(super) fn sort_in(&mut self, delivery: Delivery) {
        if let Some(precaution) = self.precautions.get_mut(&delivery.queue)
            && let Some(key) = customer(self.handler.as_ref(), &delivery.message)
        {
            if let Some(waiting) = precaution.customers.get_mut(&key) {
                waiting.push(delivery);
                return;
            }
            if delivery.redelivered {
                precaution.customers.insert(key, vec![delivery]);
                return;
            }
        }
        self.enqueue(delivery);
    }

    /// Whether a customer waits for what a predecessor may still have in flight.
    pub(super) fn is_held_back(&self, key: &str) -> bool {
        let precaution = self.precautions.get(&self.settler.queue_of(key));
        precaution.is_some_and(|precaution| precaution.customers.contains_key(key))
    }

    /// How many deliveries wait before they come into a lane: for a predecessor's last call, or for their queue to be taken
    /// over.
    pub(super) fn held_back(&self) -> usize {
        let customers = self.precautions.values().flat_map(|precaution| precaution.customers.values());
        let taking = self.owned.values().filter_map(|ownership| match ownership {
            Ownership::Taking(waiting) => Some(waiting.len()),
            Ownership::Owned => None,
        });
        customers.map(Vec::len).chain(taking).sum()
    }

    /// Lets those go who have waited for long enough. Returns when to look again.
    pub(super) fn end_precautions(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let over: Vec<Queue> =
            self.precautions.iter().filter(|(_, each)| each.until <= now).map(|(queue, _)| *queue).collect();
        for queue in over {
            let customers = self.precautions.remove(&queue).map(|precaution| precaution.customers);
            for delivery in customers.into_iter().flatten().flat_map(|(_, deliveries)| deliveries) {
                self.enqueue(delivery);
            }
        }
        self.precautions.values().map(|precaution| precaution.until).min()
    }
}

/// Whose a message is. A control message says it in its header alone.
fn customer<H: Handler>(handler: &H, message: &Message) -> Option<String> {
    let of_control = message.header(SEQUENCE_KEY).filter(|_| message.kind.as_deref() == Some(RELEASE));
    of_control.map(str::to_owned).or_else(|| handler.sort(message).key)
}
