//! The publisher: sends the script at an even rate, confirmed, one order of a customer at a time. Where it cannot know
//! whether a message arrived, it sends it again, before any later one of its customer.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use queue::error::PublishError;
use queue::rabbitmq::RabbitMq;
use queue::session::{Broker, Session};
use queue::topology::Target;
use tokio::time::{Instant, sleep, sleep_until};

use crate::demo::generator::Script;

/// Messages that wait for their confirm or for an earlier one of their customer.
const WAITING: usize = 2_000;
/// How long it waits before it connects again, or sends again what was refused.
const AGAIN: Duration = Duration::from_millis(200);

/// How far the publisher is.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Deliveries that were confirmed.
    pub(crate) confirmed: AtomicUsize,
    /// Messages that were sent once more, since nobody knew whether they had arrived.
    pub(crate) repeated: AtomicUsize,
    /// Messages that came back because nothing was bound where they went.
    pub(crate) returned: AtomicUsize,
    /// When each order of the script was sent first, by its place, in milliseconds since 1970.
    first_sent: Mutex<HashMap<usize, i64>>,
}

impl Progress {
    fn sends(&self, place: usize) {
        let mut first_sent = self.first_sent.lock().unwrap_or_else(PoisonError::into_inner);
        first_sent.entry(place).or_insert_with(|| Timestamp::now().as_millisecond());
    }

    /// When each order was sent first, by its identity, in milliseconds since 1970.
    pub(crate) fn first_sent(&self, script: &Script) -> HashMap<String, i64> {
        let first_sent = self.first_sent.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |(place, at): (&usize, &i64)| Some((script.orders.get(*place)?.id.clone(), *at));
        first_sent.iter().filter_map(of).collect()
    }
}

/// Sends every delivery of the script within `time`, or as soon afterwards as the broker takes them.
///
/// # Errors
/// The topology on the broker is another.
pub(crate) async fn publish(broker: &RabbitMq, script: &Script, time: Duration, progress: &Progress) -> Result<()> {
    let began = Instant::now();
    let mut queued = Queued { script, sent: 0, waiting: HashMap::new(), count: 0 };
    while !queued.is_done() {
        let session = loop {
            match broker.connect().await {
                Ok(session) => break session,
                Err(error @ queue::error::Error::Topology { .. }) => return Err(error.into()),
                Err(queue::error::Error::Unreachable { .. } | queue::error::Error::Lost(_)) => sleep(AGAIN).await,
            }
        };
        queued.send_by(session.as_ref(), began, time, progress).await;
        session.close().await;
    }
    Ok(())
}

/// What is not confirmed yet.
struct Queued<'a> {
    script: &'a Script,
    /// How many deliveries were taken up.
    sent: usize,
    /// Places in the script by customer; the first of each is under way.
    waiting: HashMap<&'a str, VecDeque<usize>>,
    count: usize,
}

impl<'a> Queued<'a> {
    fn is_done(&self) -> bool {
        self.count == 0 && self.sent == self.script.deliveries.len()
    }

    /// When the next delivery is due; `None` when it has to wait for room, or there is none.
    fn due(&self, began: Instant, time: Duration) -> Option<Instant> {
        let total = u32::try_from(self.script.deliveries.len()).unwrap_or(u32::MAX).max(1);
        let sent = u32::try_from(self.sent).unwrap_or(u32::MAX);
        (sent < total && self.count < WAITING).then(|| began + time.mul_f64(f64::from(sent) / f64::from(total)))
    }

    /// Takes the next delivery up; gives its place when nothing of its customer is under way.
    fn take(&mut self) -> Option<usize> {
        let place = *self.script.deliveries.get(self.sent)?;
        self.sent += 1;
        self.count += 1;
        let behind = self.waiting.entry(&self.script.orders[place].key).or_default();
        behind.push_back(place);
        (behind.len() == 1).then_some(place)
    }

    /// Strikes out what is confirmed; gives what may go next.
    fn confirmed(&mut self, place: usize) -> Option<usize> {
        let key = self.script.orders[place].key.as_str();
        let behind = self.waiting.get_mut(key)?;
        behind.pop_front();
        self.count -= 1;
        let next = behind.front().copied();
        if next.is_none() {
            self.waiting.remove(key);
        }
        next
    }

    /// Goes on until everything is confirmed or the session has ended.
    async fn send_by(&mut self, session: &dyn Session, began: Instant, time: Duration, progress: &Progress) {
        let script: &'a Script = self.script;
        let mut under_way = FuturesUnordered::new();
        let firsts: Vec<usize> = self.waiting.values().filter_map(|behind| behind.front().copied()).collect();
        progress.repeated.fetch_add(firsts.len(), Ordering::Relaxed);
        under_way.extend(firsts.into_iter().map(|place| send(session, script, place, progress)));
        let ended = session.ended();
        while !self.is_done() {
            let due = self.due(began, time);
            tokio::select! {
                Some(sent) = under_way.next() => match sent {
                    Ok(place) => {
                        progress.confirmed.fetch_add(1, Ordering::Relaxed);
                        under_way.extend(self.confirmed(place).map(|next| send(session, script, next, progress)));
                    }
                    Err(()) => return,
                },
                () = sleep_until(due.unwrap_or(began)), if due.is_some() => {
                    under_way.extend(self.take().map(|place| send(session, script, place, progress)));
                }
                () = ended.cancelled() => return,
            }
        }
    }
}

/// Sends a message until it is confirmed; an error when that is unknown.
async fn send(session: &dyn Session, script: &Script, place: usize, progress: &Progress) -> Result<usize, ()> {
    progress.sends(place);
    loop {
        match session.publish(&Target::Orders, &script.orders[place].message).await {
            Ok(()) => return Ok(place),
            Err(PublishError::Refused) => {}
            Err(PublishError::Unroutable(_)) => {
                progress.returned.fetch_add(1, Ordering::Relaxed);
            }
            Err(PublishError::Unknown(_)) => return Err(()),
        }
        sleep(AGAIN).await;
    }
}
