//! One session's worth of work.

mod answering;
mod chains;
mod keeping;
mod leaving;
mod overflow;
mod precaution;
mod taking_over;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use domain::dead_letter::LetterId;
use domain::failure::Failure;
use domain::story::What;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::handler::{Handler, Job, Observer, Outage, Verdict, note};
use crate::journal::tail::JournalTail;
use crate::lanes::{Command, ItemId, Lanes, Time};
use crate::message::{Message, REFUSAL, RELEASE, SEQUENCE_KEY};
use crate::session::{Broker, Delivery, Session, Subscription};
use crate::settle::{Answer, Settler, handed_on, milliseconds};
use crate::topology::Queue;
use crate::work::company::Company;
use crate::work::generation::chains::CHAIN_READERS;
use crate::work::generation::leaving::{Holding, StayingAway};
use crate::work::generation::overflow::Overflow;
use crate::work::generation::precaution::Precaution;
use crate::work::generation::taking_over::{Ownership, cause};
use crate::work::intake::Intake;
use crate::work::probing::Probing;
use crate::work::reading::{read, subscribe, tell_letters};
use crate::work::{HUNG, Lasting, Letters, Stop, TURN, WorkSettings, closing};
use service::hints::Taken;

/// How an item goes the next time, if it does.
struct NextTime {
    item: ItemId,
    alone: bool,
    shares: Vec<String>,
}

/// What a spawned task reports.
enum Done {
    Answers(Vec<(ItemId, Answer)>),
    /// The batch of this number, what came of its items, and what is known of how they go the next time.
    Batch(u64, Vec<(ItemId, Answer)>, Vec<NextTime>),
    /// A queue, the number of its subscription, how the one before let go of it, and what came of the take-over.
    TookOver(Queue, u64, Option<Taken>, Result<(), Outage>),
    /// And whether it was because they were stalled.
    Subscribed(Result<Vec<Subscription>, Error>, bool),
    Probed(Result<(), Outage>),
    Told,
    Chain(ItemId, Result<Vec<(LetterId, Message)>, Error>),
    /// A customer, and what came of an order of it that found no room.
    Overflowed(String, ItemId, Answer),
    /// A customer, and whether the control message that lets its orders in is stored.
    LetIn(String, Result<bool, Error>),
}

/// At most so often it is told how old the oldest order is.
const OLDEST_TOLD: Duration = Duration::from_secs(1);

/// One session's worth of work.
pub(super) struct Generation<H: Handler> {
    handler: Arc<H>,
    settings: WorkSettings,
    observer: Arc<dyn Observer>,
    settler: Arc<Settler>,
    session: Arc<dyn Session>,
    /// With the number of the subscription that they came by.
    incoming: mpsc::Receiver<(u64, Delivery)>,
    sender: mpsc::Sender<(u64, Delivery)>,
    company: Company,
    second_wave: Option<(Instant, Vec<Queue>)>,
    holdings: HashMap<Queue, Holding>,
    subscriptions: u64,
    stop_reading: CancellationToken,
    probing: Arc<Probing>,
    precautions: HashMap<Queue, Precaution>,
    carry_at: Instant,
    carrying: Option<tokio::task::JoinHandle<()>>,
    held_up_since: Option<Instant>,
    staying_away: Option<StayingAway>,
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
    overflow: Overflow,
    /// When each batch that the handler has in hand was given to it.
    batches: HashMap<u64, Instant>,
    /// One of them takes longer than any should.
    hangs: bool,
    /// When it was last told how old the oldest order is.
    oldest_told: Option<Instant>,
}

impl<H: Handler> Generation<H> {
    pub(super) async fn start(
        session: &Arc<dyn Session>,
        broker: &Arc<dyn Broker>,
        handler: &Arc<H>,
        settings: &WorkSettings,
        observer: &Arc<dyn Observer>,
        lasting: &Lasting,
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
        let (sender, incoming) = mpsc::channel(64);
        let company = Company::join(settings.peers.clone(), &settings.by, lasting.watch.clone()).await;
        let (own, rest, after) = company.waves(&settings.queues);
        let subscriptions = subscribe(session, &own, settings.prefetch).await?;
        let settler = Settler {
            session: Arc::clone(session),
            topology: broker.topology().clone(),
            tail,
            channels: std::sync::Mutex::default(),
            chain_readers: tokio::sync::Semaphore::new(CHAIN_READERS),
            told_again: std::sync::Mutex::default(),
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
            company,
            second_wave: (!rest.is_empty()).then(|| (Instant::now() + after, rest)),
            holdings: HashMap::new(),
            subscriptions: 0,
            stop_reading: CancellationToken::new(),
            probing: Arc::default(),
            precautions: HashMap::new(),
            carry_at: Self::first_carry(),
            carrying: None,
            held_up_since: None,
            staying_away: None,
            started: Instant::now(),
            lanes: Lanes::new(lasting.pace.clone()),
            jobs: HashMap::new(),
            owned: HashMap::new(),
            keyless: 0,
            last: 0,
            tasks: JoinSet::new(),
            retake: Vec::new(),
            not_taken: HashSet::new(),
            overflow: Overflow::new(),
            batches: HashMap::new(),
            hangs: false,
            oldest_told: None,
        };
        generation.read_from(subscriptions, false);
        generation.observer.pace(generation.lanes.pace());
        Ok(generation)
    }

    /// Reads from these subscriptions until told to stop.
    fn read_from(&mut self, subscriptions: Vec<Subscription>, reopened: bool) {
        for subscription in subscriptions {
            let (queue, channel) = (subscription.queue, Arc::clone(&subscription.channel));
            self.settler.add_channel(queue, Arc::clone(&channel));
            self.subscriptions += 1;
            let (stop, close) = (self.stop_reading.child_token(), CancellationToken::new());
            let (number, came) = (self.subscriptions, Arc::default());
            let sender = self.sender.clone();
            let reader =
                tokio::spawn(read(subscription, number, sender, Arc::clone(&came), stop.clone(), close.clone()));
            let holding = Holding {
                number,
                channel,
                came,
                came_anew: false,
                stop,
                close,
                reader,
                taken: None,
                reopened,
                giving_up: None,
            };
            self.holdings.insert(queue, holding);
            self.wake_owner_of(queue);
        }
    }

    /// Works until drained (`Ok`) or lost (`Err`).
    pub(super) async fn work(mut self, stop: &Stop, intake: &mut Intake, lasting: &mut Lasting) -> Result<(), Error> {
        let ended = self.session.ended();
        // What waited came from the session before; whether something is still away shows with the next order.
        intake.resumes();
        let mut draining = false;
        let result = loop {
            if draining && self.tasks.is_empty() {
                break Ok(());
            }
            let precaution = self.end_precautions();
            // Before anything is sent: of a queue whose time is over nothing is begun any more.
            let (leaving, outage) =
                if draining { (None, None) } else { (self.let_go(intake), self.mind_outage(intake)) };
            let wake = self.send_what_may_go();
            let taken = self.lanes.len() + self.overflow.len() + self.held_back();
            self.observer.lanes(taken, self.lanes.waiting(), self.lanes.in_flight());
            self.tell_oldest();
            self.turned();
            let second_wave = self.second_wave.as_ref().map(|(at, _)| *at);
            let wakes = [
                wake,
                precaution,
                second_wave,
                leaving,
                outage,
                self.overflow_wakes(),
                Some(self.carry_at),
                self.retake.iter().map(|(at, _)| *at).min(),
            ];
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
                    let gone = self.company.leave();
                    self.tasks.spawn(async move {
                        gone.await;
                        Done::Told
                    });
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
                () = self.company.wakes(), if !draining && self.staying_away.is_none() => self.tend(),
                Some((number, delivery)) = self.incoming.recv(), if !draining && !self.lanes.is_paused() => {
                    self.admit(number, delivery);
                }
                () = tokio::time::sleep_until(wake) => {
                    self.take_over_again();
                    self.subscribe_to_the_rest();
                    self.keep_journal();
                    self.mind_overflow();
                }
            }
        };
        self.stop_reading.cancel();
        let in_order = result.is_ok() && !stop.aborting.is_cancelled();
        let observer = Arc::clone(&self.observer);
        // What is not closed by then is closed with the session.
        closing(self.let_go_of_all(in_order), observer.as_ref(), stop).await;
        self.observer.owned(0);
        self.observer.oldest(None);
        // Batches in flight may finish and settle their effects where they are remembered; their deliveries come again.
        self.tasks.detach_all();
        lasting.pace.clone_from(self.lanes.pace());
        if let Some(watch) = self.company.watch() {
            lasting.watch.clone_from(watch);
        }
        result
    }

    /// Tells that the loop turns, unless a batch has hung in the handler for too long. What waits for the broker does not
    /// hang: a restart would not help it.
    fn turned(&mut self) {
        let blocked = self.settler.session.is_blocked();
        self.observer.blocked(blocked);
        if blocked {
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

    /// Tells how old the oldest order is. For that it looks at all of them, so not at every turn.
    fn tell_oldest(&mut self) {
        if self.oldest_told.is_none_or(|at| at.elapsed() >= OLDEST_TOLD) {
            self.oldest_told = Some(Instant::now());
            self.observer.oldest(self.jobs.values().filter_map(|job| handed_on(job)).min());
        }
    }

    /// Sorts a delivery into its lane, or has its queue taken over first. What came by a subscription that is over, or is
    /// being let go of, goes back with its channel.
    fn admit(&mut self, number: u64, delivery: Delivery) {
        let queue = delivery.queue;
        let holding = self.holdings.get_mut(&queue);
        let Some(holding) = holding.filter(|holding| holding.number == number && holding.giving_up.is_none()) else {
            return;
        };
        holding.came_anew |= !delivery.redelivered;
        self.observer.received(queue);
        self.company.moved(queue);
        match self.owned.get_mut(&queue) {
            Some(Ownership::Owned) => self.sort_in(delivery),
            Some(Ownership::Taking(waiting)) => waiting.push(delivery),
            None => {
                self.owned.insert(queue, Ownership::Taking(vec![delivery]));
                self.take_over(queue);
            }
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
                waited_for_room: false,
                shares: Vec::new(),
                control,
                given_up: AtomicBool::new(false),
                own_letter: OnceLock::new(),
                delivery: std::sync::Mutex::new(Some(delivery)),
            }
        } else {
            let message = delivery.message.clone();
            let job = self.job(message, delivery.queue, None, Some(delivery));
            if let Queue::Partition(partition) = job.queue {
                note(self.handler.as_ref(), &job, || What::TakenUp { partition });
            }
            job
        };
        let id = self.next_id();
        let (no_room, job) = (self.finds_no_room(&job), Arc::new(job));
        self.jobs.insert(id, Arc::clone(&job));
        match &job.key {
            Some(key) if no_room => self.overflows(id, key),
            Some(key) => self.lanes.delivered(self.now(), id, key, &job.shares),
            None => {
                // A message of nobody has a lane of its own; the space keeps it apart from every customer's key.
                self.keyless += 1;
                self.lanes.delivered(self.now(), id, &format!(" {}", self.keyless), &job.shares);
            }
        }
    }

    fn job(
        &self,
        message: Message,
        queue: Queue,
        letter: Option<LetterId>,
        delivery: Option<Delivery>,
    ) -> Job<H::Item> {
        let sorted = self.handler.sort(&message);
        let waited_for_room = letter.as_ref().is_some_and(|letter| self.settler.is_for_room(letter));
        Job {
            message,
            queue,
            key: sorted.key,
            order_id: sorted.order_id,
            order_type: sorted.order_type,
            item: sorted.item,
            letter,
            waited_for_room,
            shares: sorted.shares,
            control: false,
            given_up: AtomicBool::new(false),
            own_letter: OnceLock::new(),
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
            } else if job.control && self.is_moved_instead(&job) {
                self.move_away(job.key.as_deref().unwrap_or_default());
            } else if job.control {
                self.release(id, job);
            } else if let Some(behind) = settler.behind(&job) {
                self.goes_behind(id, job, behind);
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
            let next_times = ids.iter().zip(&verdicts).map(|(item, verdict)| {
                let Verdict { alone, shares, .. } = verdict;
                NextTime { item: *item, alone: *alone, shares: shares.clone() }
            });
            let next_times = next_times.collect();
            let answers =
                jobs.iter().zip(verdicts).map(|(job, verdict)| settler.settle(handler.as_ref(), job, verdict));
            Done::Batch(number, ids.into_iter().zip(futures::future::join_all(answers).await).collect(), next_times)
        });
    }

    fn take_in(&mut self, done: Done, intake: &mut Intake) -> Result<(), Error> {
        match done {
            Done::Answers(answers) => self.answer_all(answers, intake)?,
            Done::Batch(number, answers, next_times) => {
                self.batches.remove(&number);
                for request in self.handler.observed() {
                    self.lanes.observed(self.now(), &request);
                }
                self.observer.pace(self.lanes.pace());
                for NextTime { item, alone, shares } in next_times {
                    if alone {
                        self.lanes.isolate(item);
                    }
                    self.lanes.shares_also(item, &shares);
                }
                self.answer_all(answers, intake)?;
                self.make_room();
            }
            Done::Overflowed(key, id, answer) => self.overflowed(&key, id, answer)?,
            Done::LetIn(key, let_in) => {
                if !let_in? {
                    self.came(&key);
                }
            }
            Done::TookOver(queue, number, taken, result) => {
                let Some(holding) = self.holdings.get_mut(&queue).filter(|holding| holding.number == number) else {
                    return Ok(());
                };
                holding.taken = taken;
                let cause = cause(taken.map(|taken| taken.before), holding.reopened);
                match result {
                    Ok(()) => self.took_over(queue, taken, cause, intake),
                    Err(outage) => self.not_taken_over(queue, &outage, intake),
                }
            }
            Done::Subscribed(Ok(subscriptions), stalled) => self.read_from(subscriptions, stalled),
            Done::Probed(found) => self.probed(found, intake),
            Done::Told => {}
            Done::Chain(id, letters) => self.chain_read(id, letters),
            Done::Subscribed(Err(error), _) => return Err(error),
        }
        Ok(())
    }

    fn next_id(&mut self) -> ItemId {
        self.last += 1;
        ItemId(self.last)
    }

    fn now(&self) -> Time {
        self.started.elapsed()
    }
}
