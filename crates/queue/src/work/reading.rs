//! What one session's worth of work reads: the deliveries of its queues, and how much the journal holds open.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::handler::Observer;
use crate::journal::tail::JournalTail;
use crate::session::{Delivery, Session, Subscription};
use crate::topology::Queue;

/// How long after one telling of the open letters the next comes, when many change.
const TELL_LETTERS: Duration = Duration::from_secs(1);

/// Subscribes to queues, one after the other.
pub(super) async fn subscribe(
    session: &Arc<dyn Session>,
    queues: &[Queue],
    prefetch: u16,
) -> Result<Vec<Subscription>, Error> {
    let mut subscriptions = Vec::with_capacity(queues.len());
    for queue in queues {
        subscriptions.push(session.subscribe(*queue, prefetch).await?);
    }
    Ok(subscriptions)
}

/// Tells how many letters are open, at once and whenever that may have changed, until the session ends. Whoever works on
/// nothing tells it too: letters are written by others, and settled by operators.
pub(super) async fn tell_letters(tail: JournalTail, observer: Arc<dyn Observer>, ended: CancellationToken) {
    let mut changes = tail.changes();
    let telling = async {
        loop {
            changes.mark_unchanged();
            observer.letters(tail.open());
            tokio::time::sleep(TELL_LETTERS).await;
            if changes.changed().await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = ended.cancelled() => {}
        () = telling => {}
    }
}

/// Hands on the deliveries of one queue with the number of its subscription, until told to stop; closes the channel before
/// the deliveries are dropped. `came` tells from the first delivery on that the queue is this process's, whether or not the
/// loop takes anything for the moment.
pub(super) async fn read(
    mut subscription: Subscription,
    number: u64,
    sender: mpsc::Sender<(u64, Delivery)>,
    came: Arc<AtomicBool>,
    stop: CancellationToken,
    close: CancellationToken,
) {
    loop {
        let delivery = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            delivery = subscription.deliveries.next() => delivery,
        };
        let Some(delivery) = delivery else { break };
        came.store(true, Ordering::Relaxed);
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            sent = sender.send((number, delivery)) => if sent.is_err() { break },
        }
    }
    close.cancelled().await;
    subscription.channel.close().await;
    drop(subscription.deliveries);
}
