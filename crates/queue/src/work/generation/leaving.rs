//! Letting go of queues: one that belongs to another, one that is stalled, all of them during a long outage, and in the end.
//!
//! Nothing is ever cancelled. Whoever lets go stops taking, waits for what is in flight, proves by one round trip that the
//! broker has read the last acknowledgements, says that it has finished, and closes the channel; what was not begun goes back
//! in order.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use domain::failure::Reason;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::taking_over::Ownership;
use super::{Done, Generation};
use crate::handler::{Handler, Outage};
use crate::lanes::{ItemId, Lanes};
use crate::session::Channel;
use crate::settle::jittered;
use crate::topology::Queue;
use crate::work::company::{Act, View};
use crate::work::intake::Intake;
use crate::work::reading::subscribe;
use crate::work::{LONG_OUTAGE, LONG_QUOTA_PAUSE};
use service::hints::{Before, Leaving, Taken};

/// One subscription of a queue.
pub(super) struct Holding {
    /// Which of the session's subscriptions it is: what still comes by an earlier one has gone back.
    pub(super) number: u64,
    pub(super) channel: Arc<dyn Channel>,
    /// Something came by it: the broker made it the active one, and it stays that until its channel closes.
    pub(super) came: Arc<AtomicBool>,
    /// Something came by it that nobody was delivered before: all that was given back has come before that.
    pub(super) came_anew: bool,
    pub(super) stop: CancellationToken,
    pub(super) close: CancellationToken,
    pub(super) reader: JoinHandle<()>,
    /// How the one before let go of it, once that was asked.
    pub(super) taken: Option<Taken>,
    /// It was subscribed to again because it was stalled.
    pub(super) reopened: bool,
    pub(super) giving_up: Option<GivingUp>,
}

/// A queue that is being let go of.
#[derive(Debug, Clone, Copy)]
pub(super) struct GivingUp {
    /// From then on nothing of it is begun any more.
    until: Instant,
    then: Then,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// Subscribe again, at the end of the waiting list.
    Wait { stalled: bool },
    /// Stay away until a probe says that what is away is back.
    StayAway,
}

impl Holding {
    /// Closes the channel and waits until the deliveries are gone.
    pub(super) async fn end(self) {
        self.stop.cancel();
        self.close.cancel();
        let _ = self.reader.await;
    }
}

/// Everything is let go of, because something has been away for long.
pub(super) struct StayingAway {
    queues: Vec<Queue>,
    probe_at: Option<Instant>,
}

impl<H: Handler> Generation<H> {
    /// How it stands, for the company.
    pub(super) fn view(&self) -> View {
        let owned = |queue: &Queue| matches!(self.owned.get(queue), Some(Ownership::Owned));
        let active = self.holdings.iter().filter(|(queue, holding)| owned(queue) && holding.giving_up.is_none());
        let held_up = self.is_held_up();
        let mut in_hand: HashSet<Queue> = self.jobs.values().map(|job| job.queue).collect();
        in_hand.extend(self.precautions.keys());
        let taking = self.owned.iter().filter(|(_, ownership)| matches!(ownership, Ownership::Taking(_)));
        in_hand.extend(taking.map(|(queue, _)| queue));
        if held_up {
            // Nothing is read for the moment: what came meanwhile is in no lane yet.
            let came = self.holdings.iter().filter(|(_, holding)| holding.came.load(Ordering::Relaxed));
            in_hand.extend(came.map(|(queue, _)| queue));
        }
        View {
            subscribed: self.holdings.keys().copied().collect(),
            active: active.map(|(queue, _)| *queue).collect(),
            in_hand,
            held_up,
        }
    }

    /// Whether something that is needed is away.
    pub(super) fn is_held_up(&self) -> bool {
        self.lanes.is_paused() || !self.not_taken.is_empty() || self.staying_away.is_some()
    }

    /// Does what the company says. While everything is let go of it is not asked.
    pub(super) fn tend(&mut self) {
        let view = self.view();
        let session = Arc::clone(&self.session);
        for act in self.company.tend(&view, &session) {
            match act {
                Act::GiveUp(queue) => {
                    tracing::info!(?queue, "a queue is given up to the worker to which it belongs");
                    self.let_go_of(queue, Instant::now() + self.company.run_empty(), Then::Wait { stalled: false });
                }
                Act::Reopen(queue) => {
                    tracing::warn!(
                        ?queue,
                        "messages are ready and nobody works on them: the channel is closed and opened again"
                    );
                    self.let_go_of(queue, Instant::now(), Then::Wait { stalled: true });
                }
                Act::Stalled(queue, ready) => {
                    tracing::error!(
                        queue = self.settler.topology.queue_name(queue),
                        ready,
                        "the queue is stalled: RabbitMQ has messages and consumers, and delivers nothing. Look at its \
                         consumers (rabbitmqctl list_consumers): close the connection of an active one that is no writer \
                         of this fleet, or is dead; if there is none, deploy/README.md says how to have RabbitMQ forget it \
                         (\"A partition that is stalled\"). Do not delete the queue: its messages would be lost"
                    );
                    self.observer.stalled(queue, true);
                }
                Act::Recovered(queue) => {
                    tracing::info!(queue = self.settler.topology.queue_name(queue), "the queue is no longer stalled");
                    self.observer.stalled(queue, false);
                }
            }
        }
    }

    fn let_go_of(&mut self, queue: Queue, until: Instant, then: Then) {
        if let Some(holding) = self.holdings.get_mut(&queue)
            && holding.giving_up.is_none()
        {
            holding.stop.cancel();
            holding.giving_up = Some(GivingUp { until, then });
        }
    }

    /// Goes on with the queues that are being let go of: those with nothing left in flight are closed. Returns when to look
    /// again.
    pub(super) fn let_go(&mut self, intake: &mut Intake) -> Option<Instant> {
        let (now, time) = (Instant::now(), self.now());
        let leaving: Vec<(Queue, GivingUp)> = self
            .holdings
            .iter()
            .filter_map(|(queue, holding)| holding.giving_up.map(|giving_up| (*queue, giving_up)))
            .collect();
        let mut again = None;
        for (queue, giving_up) in leaving {
            let items: Vec<ItemId> =
                self.jobs.iter().filter(|(_, job)| job.queue == queue).map(|(id, _)| *id).collect();
            let mut left = items.len();
            if now >= giving_up.until {
                for id in items {
                    if self.releases_one_in_flight(id) {
                        continue;
                    }
                    let key = self.jobs.get(&id).and_then(|job| job.key.clone()).unwrap_or_default();
                    if self.lanes.forget(time, id) || self.overflow.forget(&key, id) {
                        self.jobs.remove(&id);
                        left -= 1;
                    }
                }
            } else {
                again = again.into_iter().chain([giving_up.until]).min();
            }
            if left == 0 {
                self.close(queue, giving_up.then, intake);
            }
        }
        again
    }

    /// Whether an item is the control message of a customer one of whose letters is in flight. It stays: should the letter fail
    /// again, the release is over, and a successor must not find it anew.
    fn releases_one_in_flight(&self, id: ItemId) -> bool {
        let Some(key) = self.jobs.get(&id).filter(|job| job.control).and_then(|job| job.key.as_deref()) else {
            return false;
        };
        let is_letter = |id: &ItemId| self.jobs.get(id).is_some_and(|job| job.letter.is_some());
        self.lanes.items_of(key).iter().any(|other| is_letter(other) && self.lanes.is_in_flight(*other))
    }

    /// What a successor is told of a queue of which nothing is in flight any more. A queue that was not taken over yet is left
    /// as it was found; and nothing is finished while customers wait for what a worker before may have in flight.
    fn leaves(&self, queue: Queue, holding: &Holding, outage: bool) -> Option<Leaving> {
        let found = holding.taken.map(|taken| taken.before);
        match self.owned.get(&queue)? {
            _ if outage => Some(Leaving::Outage),
            Ownership::Owned => (!self.precautions.contains_key(&queue)).then_some(Leaving::Finished),
            Ownership::Taking(_) if found == Some(Before::Finished) => Some(Leaving::Finished),
            Ownership::Taking(_) if found == Some(Before::Outage) => Some(Leaving::Outage),
            Ownership::Taking(_) => None,
        }
    }

    fn close(&mut self, queue: Queue, then: Then, intake: &mut Intake) {
        let Some(holding) = self.holdings.remove(&queue) else { return };
        let how = self.leaves(queue, &holding, then == Then::StayAway);
        self.owned.remove(&queue);
        self.not_taken.remove(&queue);
        self.precautions.remove(&queue);
        self.retake.retain(|(_, other)| *other != queue);
        self.overflow.lets_go(queue, |key| self.settler.queue_of(key) == queue);
        self.resume(intake);
        self.tell_owned();
        let lets_go = how.map(|how| self.company.lets_go(vec![queue], how));
        let (session, prefetch) = (Arc::clone(&self.session), self.settings.prefetch);
        let (over, stalled) = (self.stop_reading.clone(), then == Then::Wait { stalled: true });
        self.tasks.spawn(async move {
            // On a lost channel it fails, and nothing is owed.
            if holding.channel.flush().await.is_ok()
                && let Some(lets_go) = lets_go
            {
                lets_go.await;
            }
            holding.end().await;
            if then == Then::StayAway || over.is_cancelled() {
                return Done::Subscribed(Ok(Vec::new()), false);
            }
            Done::Subscribed(subscribe(&session, &[queue], prefetch).await, stalled)
        });
    }

    /// In the end: proves that the broker has read the last acknowledgements, says that everything is finished, and closes.
    pub(super) async fn let_go_of_all(&mut self, in_order: bool) {
        let holdings: Vec<(Queue, Holding)> = self.holdings.drain().collect();
        if in_order {
            let flushed = futures::future::join_all(holdings.iter().map(async |(queue, holding)| {
                let how = self.leaves(*queue, holding, false)?;
                holding.channel.flush().await.is_ok().then_some((*queue, how))
            }));
            let flushed: Vec<(Queue, Leaving)> = flushed.await.into_iter().flatten().collect();
            for how in [Leaving::Finished, Leaving::Outage] {
                let queues = flushed.iter().filter(|(_, each)| *each == how).map(|(queue, _)| *queue).collect();
                self.company.lets_go(queues, how).await;
            }
        }
        futures::future::join_all(holdings.into_iter().map(|(_, holding)| holding.end())).await;
    }

    /// Lets everything go once something has been away for long, and asks from then on whether it is back. Returns when to
    /// look again.
    pub(super) fn mind_outage(&mut self, intake: &mut Intake) -> Option<Instant> {
        let now = Instant::now();
        if !self.is_held_up() {
            self.held_up_since = None;
            return None;
        }
        let since = *self.held_up_since.get_or_insert(now);
        let spent = intake.paused_by() == Some(Reason::QuotaExhausted);
        let long = if spent { LONG_QUOTA_PAUSE } else { LONG_OUTAGE };
        if now < since + long && self.staying_away.is_none() {
            return Some(since + long);
        }
        let Some(away) = &mut self.staying_away else {
            let mut queues: Vec<Queue> = self.holdings.keys().copied().collect();
            queues.extend(self.second_wave.take().into_iter().flat_map(|(_, rest)| rest));
            tracing::warn!(
                minutes = long.as_secs() / 60,
                "the outage lasts: everything goes back to RabbitMQ in order until a probe succeeds"
            );
            for queue in &queues {
                self.let_go_of(*queue, now, Then::StayAway);
            }
            self.staying_away = Some(StayingAway { queues, probe_at: Some(now) });
            return self.let_go(intake);
        };
        // What was subscribed to while everything was let go.
        let late: Vec<Queue> = self.holdings.keys().copied().collect();
        let probe_at = if late.is_empty() { away.probe_at } else { None };
        for queue in late {
            if !self.staying_away.as_ref().is_some_and(|away| away.queues.contains(&queue))
                && let Some(away) = &mut self.staying_away
            {
                away.queues.push(queue);
            }
            self.let_go_of(queue, now, Then::StayAway);
        }
        let due = probe_at?;
        if due > now {
            return Some(due);
        }
        if let Some(away) = &mut self.staying_away {
            away.probe_at = None;
        }
        let (probing, handler) = (Arc::clone(&self.probing), Arc::clone(&self.handler));
        self.tasks.spawn(async move { Done::Probed(probing.ask(handler.as_ref()).await) });
        None
    }

    /// What a probe has found.
    pub(super) fn probed(&mut self, found: Result<(), Outage>, intake: &mut Intake) {
        if let Err(outage) = found {
            intake.pauses(&outage.failure, outage.after);
            if let Some(away) = &mut self.staying_away {
                away.probe_at = Some(Instant::now() + jittered(outage.after));
            }
            return;
        }
        let Some(away) = self.staying_away.take() else { return };
        tracing::info!(queues = away.queues.len(), "what was away is back: the queues are subscribed to again");
        // Nothing is in them: everything was forgotten or answered before the channels were closed.
        self.lanes = Lanes::new(self.lanes.pace().clone());
        self.held_up_since = None;
        let (own, rest, after) = self.company.waves(&away.queues);
        self.second_wave = (!rest.is_empty()).then(|| (Instant::now() + after, rest));
        let (session, prefetch) = (Arc::clone(&self.session), self.settings.prefetch);
        let over = self.stop_reading.clone();
        self.tasks.spawn(async move {
            let own = if over.is_cancelled() { Vec::new() } else { own };
            Done::Subscribed(subscribe(&session, &own, prefetch).await, false)
        });
        self.resume(intake);
    }

    /// Tells how many queues this worker owns.
    pub(super) fn tell_owned(&self) {
        let owned = self.owned.values().filter(|ownership| matches!(ownership, Ownership::Owned)).count();
        self.observer.owned(owned);
    }
}
