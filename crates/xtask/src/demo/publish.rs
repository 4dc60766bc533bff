//! The publisher: sends the script in its sequence, confirmed, many customers at once and one order of a customer at a
//! time.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use queue::error::PublishError;
use queue::session::Session;
use queue::topology::Target;

use super::generator::Script;

/// Messages that wait for their confirm.
const IN_FLIGHT: usize = 128;
/// Messages that wait for an earlier one of their customer.
const WAITING: usize = 2_000;
/// How long a message waits when the broker is full.
const REFUSED_WAIT: Duration = Duration::from_millis(200);

/// Sends every delivery of the script and counts the confirmed ones.
///
/// # Errors
/// The connection was lost, or nothing is bound to the orders exchange.
pub(crate) async fn publish(session: Arc<dyn Session>, script: Arc<Script>, confirmed: Arc<AtomicUsize>) -> Result<()> {
    let mut next = script.deliveries.iter().copied();
    let mut waiting: HashMap<&str, VecDeque<usize>> = HashMap::new();
    let mut waiting_count = 0;
    let mut in_flight = FuturesUnordered::new();
    loop {
        while in_flight.len() < IN_FLIGHT && waiting_count < WAITING {
            let Some(place) = next.next() else { break };
            if let Some(behind) = waiting.get_mut(script.orders[place].key.as_str()) {
                behind.push_back(place);
                waiting_count += 1;
            } else {
                waiting.insert(&script.orders[place].key, VecDeque::new());
                in_flight.push(send(&session, &script, place));
            }
        }
        let Some(sent) = in_flight.next().await else { return Ok(()) };
        let place = sent?;
        confirmed.fetch_add(1, Ordering::Relaxed);
        let key = script.orders[place].key.as_str();
        match waiting.get_mut(key).and_then(VecDeque::pop_front) {
            Some(place) => {
                waiting_count -= 1;
                in_flight.push(send(&session, &script, place));
            }
            None => {
                waiting.remove(key);
            }
        }
    }
}

async fn send(session: &Arc<dyn Session>, script: &Script, place: usize) -> Result<usize> {
    loop {
        match session.publish(&Target::Orders, &script.orders[place].message).await {
            Ok(()) => return Ok(place),
            Err(PublishError::Refused) => tokio::time::sleep(REFUSED_WAIT).await,
            Err(error @ (PublishError::Unroutable(_) | PublishError::Unknown(_))) => {
                return Err(error).context("publishing an order");
            }
        }
    }
}
