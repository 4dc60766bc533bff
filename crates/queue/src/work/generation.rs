//! One session's worth of work.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use domain::dead_letter::LetterId;
use domain::failure::Failure;
use rand::seq::SliceRandom as _;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::handler::{Handler, Job, Observer};
use crate::journal::entry::for_replay;
use crate::journal::tail::JournalTail;
use crate::lanes::{Command, ItemId, Lanes, Next, Pace, Time};
use crate::message::{Message, REFUSAL, RELEASE, SEQUENCE_KEY};
use crate::session::{Broker, Delivery, Session, Subscription};
use crate::settle::{Answer, Settler, jittered, milliseconds};
use crate::topology::Queue;
use crate::work::intake::Intake;
use crate::work::reading::{read, subscribe, tell_letters};
use crate::work::{HUNG, Letters, Stop, TURN, WorkSettings, closing};

/// How long after the first half of its queues a process subscribes to the rest.
const SECOND_WAVE: Duration = Duration::from_secs(1);

/// How many letters of a customer are fetched from the journal at a time.
const CHAIN_STEP: usize = 16;

/// How many customers' letters are read from the journal at once.
const CHAIN_READERS: usize = 4;

/// How long a release waits when the journal could not be read for it.
const CHAIN_WAIT: Duration = Duration::from_secs(5);

/// What a spawned task reports.
enum Done {
    Answers(Vec<(ItemId, Answer)>),
    /// The batch of this number, and which of its items go alone the next time.
    Batch(u64, Vec<(ItemId, Answer)>, Vec<ItemId>),
    TookOver(Queue, Result<(), Failure>),
    Subscribed(Result<Vec<Subscription>, Error>),
    Chain(ItemId, Result<Vec<(LetterId, Message)>, Error>),
}

/// Whether deliveries of a queue may be worked on.
enum Ownership {
    Taking(Vec<Delivery>),
    Owned,
}

/// One session's worth of work.
pub(super) struct Generation<H: Handler> {
    handler: Arc<H>,
    settings: WorkSettings,
    observer: Arc<dyn Observer>,
    settler: Arc<Settler>,
    session: Arc<dyn Session>,
    incoming: mpsc::Receiver<Delivery>,
    sender: mpsc::Sender<Delivery>,
    second_wave: Option<(Instant, Vec<Queue>)>,
    readers: Vec<JoinHandle<()>>,
    stop_reading: CancellationToken,
    close_channels: CancellationToken,
    started: Instant,
    lanes: Lanes,
    jobs: HashMap<ItemId, Arc<Job<H::Item>>>,
    owned: HashMap<Queue, Ownership>,
    keyless: u64,
    last: u64,
    tasks: JoinSet<Done>,
    retake: Vec<(Instant, Queue)>,
    /// Queues that could not be taken over yet.
    not_taken: HashSet<Queue>,
    /// When each batch that the handler has in hand was given to it.
    batches: HashMap<u64, Instant>,
    /// One of them takes longer than any should.
    hangs: bool,
}

impl<H: Handler> Generation<H> {
    pub(super) async fn start(
        session: &Arc<dyn Session>,
        broker: &Arc<dyn Broker>,
        handler: &Arc<H>,
        settings: &WorkSettings,
        observer: &Arc<dyn Observer>,
        pace: &Pace,
    ) -> Result<Self, Error> {
        if let Some(queue) = settings.queues.first() {
            session.agree_on_prefetch(*queue, settings.prefetch).await?;
        }
        let tail = match settings.letters {
            Letters::Block => Some(JournalTail::start(Arc::clone(session), &settings.by).await?),
            Letters::Forward => None,
        };
        if let Some(tail) = tail.clone() {
            tokio::spawn(tell_letters(tail, Arc::clone(observer), session.ended()));
        }
        let (stop_reading, close_channels) = (CancellationToken::new(), CancellationToken::new());
        let (sender, incoming) = mpsc::channel(64);
        let mut first = settings.queues.clone();
        first.shuffle(&mut rand::rng());
        let rest = first.split_off(first.len().div_ceil(2));
        let subscriptions = subscribe(session, &first, settings.prefetch).await?;
        let settler = Settler {
            session: Arc::clone(session),
            topology: broker.topology().clone(),
            tail,
            channels: std::sync::Mutex::default(),
            chain_readers: tokio::sync::Semaphore::new(CHAIN_READERS),
            by: settings.by.clone(),
            observer: Arc::clone(observer),
        };
        let mut generation = Self {
            handler: Arc::clone(handler),
            settings: settings.clone(),
            observer: Arc::clone(observer),
            settler: Arc::new(settler),
            session: Arc::clone(session),
            incoming,
            sender,
            second_wave: (!rest.is_empty()).then(|| (Instant::now() + jittered(SECOND_WAVE), rest)),
            readers: Vec::new(),
            stop_reading,
            close_channels,
            started: Instant::now(),
            lanes: Lanes::new(settings.batches, pace.clone()),
            jobs: HashMap::new(),
            owned: HashMap::new(),
            keyless: 0,
            last: 0,
            tasks: JoinSet::new(),
            retake: Vec::new(),
            not_taken: HashSet::new(),
            batches: HashMap::new(),
            hangs: false,
        };
        generation.read_from(subscriptions);
        generation.observer.pace(generation.lanes.pace());
        Ok(generation)
    }

    /// Reads from these subscriptions until told to stop.
    fn read_from(&mut self, subscriptions: Vec<Subscription>) {
        for subscription in subscriptions {
            self.settler.add_channel(subscription.queue, Arc::clone(&subscription.channel));
            let (stop, close) = (self.stop_reading.clone(), self.close_channels.clone());
            self.readers.push(tokio::spawn(read(subscription, self.sender.clone(), stop, close)));
        }
    }

    /// Works until drained (`Ok`) or lost (`Err`).
    pub(super) async fn work(mut self, stop: &Stop, intake: &mut Intake, pace: &mut Pace) -> Result<(), Error> {
        let ended = self.session.ended();
        // What waited came from the session before; whether something is still away shows with the next order.
        intake.resumes();
        let mut draining = false;
        let result = loop {
            if draining && self.tasks.is_empty() {
                break Ok(());
            }
            let wake = self.send_what_may_go();
            self.observer.lanes(self.lanes.len(), self.lanes.waiting(), self.lanes.in_flight());
            self.turned();
            let second_wave = self.second_wave.as_ref().map(|(at, _)| *at);
            let wakes = [wake, second_wave, self.retake.iter().map(|(at, _)| *at).min()];
            let wake =
                wakes.into_iter().flatten().min().unwrap_or_else(|| Instant::now() + TURN).min(Instant::now() + TURN);
            tokio::select! {
                biased;
                () = stop.aborting.cancelled() => {
                    tracing::warn!(in_flight = self.lanes.in_flight(), "aborting: unfinished orders are released");
                    break Ok(());
                }
                () = ended.cancelled() => break Err(self.session.why_ended()),
                () = stop.draining.cancelled(), if !draining => {
                    self.stop_reading.cancel();
                    self.second_wave = None;
                    self.lanes.drain();
                    draining = true;
                }
                Some(done) = self.tasks.join_next(), if !self.tasks.is_empty() => match done {
                    Ok(done) => {
                        if let Err(error) = self.take_in(done, intake) {
                            break Err(error);
                        }
                    }
                    // A panic in a handler is a bug: it ends the process as one, instead of leaving orders in limbo.
                    Err(failed) => match failed.try_into_panic() {
                        Ok(panic) => std::panic::resume_unwind(panic),
                        Err(_) => break Err(Error::Lost("a batch was cancelled".into())),
                    },
                },
                Some(delivery) = self.incoming.recv(), if !draining && !self.lanes.is_paused() => {
                    self.observer.received(delivery.queue);
                    self.admit(delivery);
                }
                () = tokio::time::sleep_until(wake) => {
                    self.take_over_again();
                    self.subscribe_to_the_rest();
                }
            }
        };
        self.stop_reading.cancel();
        self.close_channels.cancel();
        // What is not closed by then is closed with the session.
        let closed = futures::future::join_all(std::mem::take(&mut self.readers));
        closing(closed, self.observer.as_ref(), stop).await;
        // Batches in flight may finish and settle their effects where they are remembered; their deliveries come again.
        self.tasks.detach_all();
        // What was learned of the org outlasts the session.
        pace.clone_from(self.lanes.pace());
        result
    }

    /// Tells that the loop turns, unless a batch has hung in the handler for too long. What waits for the broker does not
    /// hang: a restart would not help it.
    fn turned(&mut self) {
        if self.settler.session.is_blocked() {
            self.batches.values_mut().for_each(|began| *began = Instant::now());
        }
        let hangs = self.batches.values().any(|began| began.elapsed() > HUNG);
        if hangs && !self.hangs {
            tracing::error!(
                limit_ms = milliseconds(HUNG),
                "a batch hangs: until it ends, this process no longer says that it is live"
            );
        }
        self.hangs = hangs;
        if !hangs {
            self.observer.turned();
        }
    }

    /// Sorts a delivery into its lane, or has its queue taken over first.
    fn admit(&mut self, delivery: Delivery) {
        let queue = delivery.queue;
        match self.owned.get_mut(&queue) {
            Some(Ownership::Owned) => self.enqueue(delivery),
            Some(Ownership::Taking(waiting)) => waiting.push(delivery),
            None => {
                self.owned.insert(queue, Ownership::Taking(vec![delivery]));
                self.take_over(queue);
            }
        }
    }

    fn take_over(&mut self, queue: Queue) {
        let (settler, handler) = (Arc::clone(&self.settler), Arc::clone(&self.handler));
        self.tasks.spawn(async move { Done::TookOver(queue, settler.take_over(handler.as_ref(), queue, false).await) });
    }

    fn take_over_again(&mut self) {
        let now = Instant::now();
        let due: HashSet<Queue> = self.retake.iter().filter(|(at, _)| *at <= now).map(|(_, queue)| *queue).collect();
        self.retake.retain(|(at, _)| *at > now);
        for queue in due {
            self.take_over(queue);
        }
    }

    fn subscribe_to_the_rest(&mut self) {
        let due = self.second_wave.take_if(|(at, _)| *at <= Instant::now());
        if let Some((_, queues)) = due {
            let (session, prefetch) = (Arc::clone(&self.session), self.settings.prefetch);
            self.tasks.spawn(async move { Done::Subscribed(subscribe(&session, &queues, prefetch).await) });
        }
    }

    fn enqueue(&mut self, delivery: Delivery) {
        // Only a partition has control messages; in an inbox it would be somebody's message, to be judged as any other.
        let control = self.settings.letters == Letters::Block
            && delivery.message.kind.as_deref() == Some(RELEASE)
            && delivery.message.header(REFUSAL).is_none();
        let job = if control {
            let key = delivery.message.header(SEQUENCE_KEY).map(str::to_owned);
            let item = Err(Failure::permanent(domain::failure::Reason::NotAnOrder, "a control message"));
            Job {
                message: delivery.message.clone(),
                queue: delivery.queue,
                key,
                order_id: None,
                order_type: None,
                item,
                letter: None,
                shares: Vec::new(),
                control,
                delivery: std::sync::Mutex::new(Some(delivery)),
            }
        } else {
            let message = delivery.message.clone();
            self.job(message, delivery.queue, None, Some(delivery))
        };
        let id = self.next_id();
        // A message of nobody has a lane of its own; the space keeps it apart from every customer's key.
        let lane = job.key.clone().unwrap_or_else(|| {
            self.keyless += 1;
            format!(" {}", self.keyless)
        });
        self.lanes.delivered(self.now(), id, &lane, &job.shares);
        self.jobs.insert(id, Arc::new(job));
    }

    fn job(
        &self,
        message: Message,
        queue: Queue,
        letter: Option<LetterId>,
        delivery: Option<Delivery>,
    ) -> Job<H::Item> {
        let sorted = self.handler.sort(&message);
        Job {
            message,
            queue,
            key: sorted.key,
            order_id: sorted.order_id,
            order_type: sorted.order_type,
            item: sorted.item,
            letter,
            shares: sorted.shares,
            control: false,
            delivery: std::sync::Mutex::new(delivery),
        }
    }

    /// Sends whatever may go; returns when to look again.
    fn send_what_may_go(&mut self) -> Option<Instant> {
        loop {
            match self.lanes.next(self.now()) {
                Command::Wait(until) => return until.map(|until| self.started + until),
                Command::Send(ids) => self.send(ids),
            }
        }
    }

    fn send(&mut self, ids: Vec<ItemId>) {
        let mut batch = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(job) = self.jobs.get(&id).cloned() else { continue };
            let settler = Arc::clone(&self.settler);
            if job.letter.as_ref().is_some_and(|letter| !settler.is_open(letter)) {
                // It was discarded while its customer's letters were being drained.
                self.tasks.spawn(async move { Done::Answers(vec![(id, Answer::Settled)]) });
            } else if job.control {
                let key = job.key.clone().unwrap_or_default();
                self.tasks.spawn(async move { Done::Chain(id, settler.chain(&key, CHAIN_STEP).await) });
            } else if let Some(behind) = settler.blocked_by(&job) {
                let handler = Arc::clone(&self.handler);
                self.tasks.spawn(async move {
                    Done::Answers(vec![(id, settler.hold(handler.as_ref(), &job, behind).await)])
                });
            } else if let Err(failure) = &job.item {
                let (failure, handler) = (failure.clone(), Arc::clone(&self.handler));
                self.tasks.spawn(async move {
                    Done::Answers(vec![(id, settler.give_up(handler.as_ref(), &job, &failure).await)])
                });
            } else {
                batch.push((id, job));
            }
        }
        if batch.is_empty() {
            return;
        }
        let (settler, handler) = (Arc::clone(&self.settler), Arc::clone(&self.handler));
        // Items are numbered, and none is in two batches: its first item names a batch.
        let number = batch.first().map_or(0, |(id, _)| id.0);
        self.batches.insert(number, Instant::now());
        self.tasks.spawn(async move {
            let (ids, jobs): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
            let verdicts = handler.handle(&settler.session, &jobs).await;
            assert_eq!(verdicts.len(), jobs.len(), "a handler answers every job of a batch");
            let alone = ids.iter().zip(&verdicts).filter(|(_, verdict)| verdict.alone).map(|(id, _)| *id).collect();
            let answers =
                jobs.iter().zip(verdicts).map(|(job, verdict)| settler.settle(handler.as_ref(), job, verdict));
            Done::Batch(number, ids.into_iter().zip(futures::future::join_all(answers).await).collect(), alone)
        });
    }

    fn take_in(&mut self, done: Done, intake: &mut Intake) -> Result<(), Error> {
        match done {
            Done::Answers(answers) => self.answer_all(answers, intake)?,
            Done::Batch(number, answers, alone) => {
                self.batches.remove(&number);
                for request in self.handler.observed() {
                    self.lanes.observed(self.now(), &request);
                }
                self.observer.pace(self.lanes.pace());
                for id in alone {
                    self.lanes.isolate(id);
                }
                self.answer_all(answers, intake)?;
            }
            Done::TookOver(queue, Ok(())) => {
                self.not_taken.remove(&queue);
                self.resume(intake);
                if let Some(Ownership::Taking(waiting)) = self.owned.insert(queue, Ownership::Owned) {
                    for delivery in waiting {
                        self.enqueue(delivery);
                    }
                }
            }
            Done::TookOver(queue, Err(failure)) => {
                tracing::debug!(?queue, reason = %failure.reason, "a partition cannot be taken over yet: {}", failure.message);
                let wait = jittered(Duration::from_secs(1));
                intake.pauses(&failure, wait);
                self.not_taken.insert(queue);
                self.retake.push((Instant::now() + wait, queue));
            }
            Done::Subscribed(Ok(subscriptions)) => self.read_from(subscriptions),
            Done::Chain(id, Ok(letters)) => self.expand(id, letters),
            Done::Subscribed(Err(error)) => return Err(error),
            Done::Chain(id, Err(error)) => {
                tracing::warn!(%error, "a released customer's letters were not read; tried again");
                self.lanes.answered(self.now(), id, Next::At(self.now() + jittered(CHAIN_WAIT)));
            }
        }
        Ok(())
    }

    fn answer_all(&mut self, answers: Vec<(ItemId, Answer)>, intake: &mut Intake) -> Result<(), Error> {
        answers.into_iter().try_for_each(|(id, answer)| self.answer(id, answer, intake))
    }

    fn answer(&mut self, id: ItemId, answer: Answer, intake: &mut Intake) -> Result<(), Error> {
        let now = self.now();
        match answer {
            Answer::Settled => {
                self.jobs.remove(&id);
                self.lanes.answered(now, id, Next::Done);
            }
            Answer::Again(after) => self.lanes.answered(now, id, Next::At(now + after)),
            Answer::Pause(after, failure) => {
                intake.pauses(&failure, after);
                self.lanes.answered(now, id, Next::PauseUntil(now + after));
                return Ok(());
            }
            Answer::ChainStopped => self.stop_chain(id),
            Answer::Lost(why) => return Err(Error::Lost(why)),
        }
        self.resume(intake);
        Ok(())
    }

    /// Intake resumes, unless something still holds it up.
    fn resume(&self, intake: &mut Intake) {
        if !self.lanes.is_paused() && self.not_taken.is_empty() {
            intake.resumes();
        }
    }

    /// Puts a customer's letters before the control message that released them; with none left the control message is done.
    fn expand(&mut self, control: ItemId, letters: Vec<(LetterId, Message)>) {
        let Some(job) = self.jobs.get(&control).cloned() else { return };
        if letters.is_empty() {
            let settler = Arc::clone(&self.settler);
            self.tasks.spawn(async move { Done::Answers(vec![(control, settler.acknowledge(&job).await)]) });
            return;
        }
        let mut chain = Vec::with_capacity(letters.len());
        for (letter, message) in letters {
            let mut job_of_letter = self.job(for_replay(message), job.queue, Some(letter), None);
            // Whatever its body says now, the letter drains in the lane that it blocks.
            job_of_letter.key.clone_from(&job.key);
            let id = self.next_id();
            let job_of_letter = Arc::new(job_of_letter);
            self.jobs.insert(id, Arc::clone(&job_of_letter));
            chain.push((id, job_of_letter));
        }
        let chain: Vec<(ItemId, &[String])> = chain.iter().map(|(id, job)| (*id, job.shares.as_slice())).collect();
        self.lanes.insert_before(control, &chain);
        self.lanes.answered(self.now(), control, Next::At(Time::ZERO));
    }

    /// A released letter failed again: its customer stays blocked, the rest of the chain stays in the journal, and the
    /// control message has done what it could.
    fn stop_chain(&mut self, failed: ItemId) {
        let Some(job) = self.jobs.remove(&failed) else { return };
        let lane = self.lanes.items_of(job.key.as_deref().unwrap_or_default());
        for id in lane.into_iter().filter(|id| *id != failed) {
            let Some(other) = self.jobs.get(&id).cloned() else { continue };
            if other.letter.is_none() && !other.control {
                break;
            }
            self.lanes.forget(self.now(), id);
            self.jobs.remove(&id);
            if other.control {
                let settler = Arc::clone(&self.settler);
                self.tasks.spawn(async move { Done::Answers(vec![(id, settler.acknowledge(&other).await)]) });
                break;
            }
        }
        self.lanes.answered(self.now(), failed, Next::Done);
    }

    fn next_id(&mut self) -> ItemId {
        self.last += 1;
        ItemId(self.last)
    }

    fn now(&self) -> Time {
        self.started.elapsed()
    }
}
