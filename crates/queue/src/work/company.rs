//! One worker among the others of its fleet: announces itself, and says what is to be done about the queues.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use rand::seq::SliceRandom as _;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::session::Session;
use crate::spread::{Spread, SpreadSettings};
use crate::topology::Queue;
use crate::watch::{Step, Watch, WatchSettings};
use service::hints::{Away, Before, Hints, Leaving, Taken};

/// How long a hint may take before the worker goes on without it.
const HINT: Duration = Duration::from_secs(2);

/// The other workers of the fleet.
#[derive(Clone)]
pub struct Peers {
    /// What they tell each other.
    pub hints: Arc<dyn Hints>,
    /// How queues are spread over them.
    pub spread: SpreadSettings,
    /// How queues are watched.
    pub watch: WatchSettings,
}

impl Peers {
    /// With the standard settings.
    pub fn new(hints: Arc<dyn Hints>) -> Self {
        Self { hints, spread: SpreadSettings::STANDARD, watch: WatchSettings::STANDARD }
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").field("spread", &self.spread).field("watch", &self.watch).finish_non_exhaustive()
    }
}

/// What the loop is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// It belongs to another.
    GiveUp(Queue),
    /// It delivers to nobody: close the channel and subscribe again.
    Reopen(Queue),
    /// It delivers to nobody, and opening it again did not help.
    Stalled(Queue, u32),
    /// It delivers again.
    Recovered(Queue),
}

/// How the loop stands.
pub(super) struct View {
    /// Every queue that it is subscribed to.
    pub(super) subscribed: Vec<Queue>,
    /// Those that it owns and is not giving up.
    pub(super) active: Vec<Queue>,
    /// Those of which this worker has something in hand, at work or not.
    pub(super) in_hand: HashSet<Queue>,
    /// Something is away.
    pub(super) held_up: bool,
}

type Looked = Result<Vec<(Queue, u32, Option<Duration>)>, Away>;

/// This worker among the others.
pub(super) struct Company {
    me: String,
    with: Option<With>,
}

struct With {
    peers: Peers,
    started: Instant,
    spread: Spread,
    watch: Watch,
    announced: watch::Receiver<Vec<String>>,
    over: CancellationToken,
    announcing: Option<JoinHandle<()>>,
    /// Queues on which something moved since that was said last.
    moved: HashSet<Queue>,
    tend_at: Instant,
    look_at: Instant,
    mark_at: Instant,
    reopen: Vec<(Instant, Queue)>,
    looking: JoinSet<Looked>,
    looked: Option<Looked>,
}

impl Company {
    /// Announces the worker, and looks who else is there. The watch is that of the session before.
    pub(super) async fn join(peers: Option<Peers>, me: &str, watch: Watch) -> Self {
        let me = me.to_owned();
        let Some(peers) = peers else { return Self { me, with: None } };
        let lasts = peers.spread.announcement_lasts;
        let first = within(peers.hints.announce(&me, lasts)).await;
        if first.is_ok() {
            tokio::time::sleep(peers.spread.settle).await;
        }
        let (started, mut spread) = (Instant::now(), Spread::new(&me, peers.spread));
        match within(peers.hints.announce(&me, lasts)).await {
            Ok(members) => spread.saw(Duration::ZERO, members),
            Err(away) => tracing::warn!(%away, "the other workers cannot be seen: queues are shared by chance"),
        }
        let (sender, announced) = watch::channel(Vec::new());
        let over = CancellationToken::new();
        let announcing = tokio::spawn(announce(peers.clone(), me.clone(), sender, over.clone()));
        let with = With {
            started,
            spread,
            watch,
            announced,
            over,
            announcing: Some(announcing),
            moved: HashSet::new(),
            tend_at: started + peers.spread.pace,
            look_at: started + jitter(peers.watch.look_every),
            mark_at: started + peers.watch.mark_every,
            reopen: Vec::new(),
            looking: JoinSet::new(),
            looked: None,
            peers,
        };
        Self { me, with: Some(with) }
    }

    /// The queues to subscribe to at once, and those to subscribe to after the time given.
    pub(super) fn waves(&self, queues: &[Queue]) -> (Vec<Queue>, Vec<Queue>, Duration) {
        let mut queues = queues.to_vec();
        queues.shuffle(&mut rand::rng());
        let Some(with) = &self.with else { return (queues, Vec::new(), Duration::ZERO) };
        let now = with.started.elapsed();
        let (own, others) = queues.into_iter().partition(|queue| with.spread.is_mine(now, *queue));
        (own, others, with.peers.spread.second_wave)
    }

    /// Whether this worker keeps the journal: whoever the first partition belongs to does.
    pub(super) fn keeps_journal(&self) -> bool {
        self.with.as_ref().is_none_or(|with| with.spread.is_mine(with.started.elapsed(), Queue::Partition(0)))
    }

    /// How long the lanes of a queue may take to run empty.
    pub(super) fn run_empty(&self) -> Duration {
        self.with.as_ref().map_or(SpreadSettings::STANDARD.run_empty, |with| with.peers.spread.run_empty)
    }

    /// What was seen of the queues.
    pub(super) fn watch(&self) -> Option<&Watch> {
        self.with.as_ref().map(|with| &with.watch)
    }

    /// Something came by this queue, or was settled.
    pub(super) fn moved(&mut self, queue: Queue) {
        if let Some(with) = &mut self.with {
            with.moved.insert(queue);
        }
    }

    /// Returns when there is something to look at. May be dropped halfway.
    pub(super) async fn wakes(&mut self) {
        let Some(with) = &mut self.with else { return std::future::pending().await };
        let reopen = with.reopen.iter().map(|(at, _)| *at).min();
        // A look that takes longer than it should is not followed by another before it has ended.
        let look_at = with.looking.is_empty().then_some(with.look_at);
        let at = [with.tend_at, with.mark_at].into_iter().chain(look_at).chain(reopen).min();
        let at = at.unwrap_or_else(Instant::now);
        tokio::select! {
            () = tokio::time::sleep_until(at) => {}
            Some(looked) = with.looking.join_next(), if !with.looking.is_empty() => with.looked = looked.ok(),
        }
    }

    /// What is to be done now.
    pub(super) fn tend(&mut self, view: &View, session: &Arc<dyn Session>) -> Vec<Act> {
        let Some(with) = &mut self.with else { return Vec::new() };
        let (instant, now) = (Instant::now(), with.started.elapsed());
        if with.announced.has_changed().unwrap_or(false) {
            let members = with.announced.borrow_and_update().clone();
            with.spread.saw(now, members);
        }
        with.tend_at = instant + with.peers.spread.pace;
        let mut acts: Vec<Act> = Vec::new();
        acts.extend(with.spread.gives_up(now, &view.active, view.held_up).map(Act::GiveUp));
        with.mark(instant, view);
        with.look(instant, view, session);
        if view.held_up {
            with.watch.is_blind();
            with.reopen.clear();
        }
        if let Some(looked) = with.looked.take().filter(|_| !view.held_up) {
            with.judge(now, instant, looked, &mut acts);
        }
        let due = with.reopen.iter().filter(|(at, _)| *at <= instant).map(|(_, queue)| Act::Reopen(*queue));
        acts.extend(due);
        with.reopen.retain(|(at, _)| *at > instant);
        acts
    }

    /// How whoever had this queue before let go of it, and notes that this worker has it now; `None` when that cannot be
    /// asked. Whoever works as if there were no others has nobody to wait for.
    pub(super) fn takes(&self, queue: Queue) -> impl Future<Output = Option<Taken>> + Send + 'static {
        let hints = self.with.as_ref().map(|with| Arc::clone(&with.peers.hints));
        let me = self.me.clone();
        async move {
            match hints {
                None => Some(Taken { before: Before::Unknown, remembers: Duration::MAX }),
                Some(hints) => within(hints.take(queue.index(), &me)).await.ok(),
            }
        }
    }

    /// Notes that this worker lets go of these queues.
    pub(super) fn lets_go(&self, queues: Vec<Queue>, how: Leaving) -> impl Future<Output = ()> + Send + 'static {
        let hints = self.with.as_ref().map(|with| Arc::clone(&with.peers.hints)).filter(|_| !queues.is_empty());
        let me = self.me.clone();
        async move {
            let Some(hints) = hints else { return };
            if let Err(away) = within(hints.let_go(&numbers(&queues), &me, how)).await {
                tracing::debug!(%away, "a successor will not know that everything was finished");
            }
        }
    }

    /// Takes the announcement back. Returns when the others no longer see it.
    pub(super) fn leave(&mut self) -> impl Future<Output = ()> + Send + 'static {
        let announcing = self.with.as_mut().and_then(|with| {
            with.over.cancel();
            with.announcing.take()
        });
        async move {
            if let Some(announcing) = announcing {
                let _ = announcing.await;
            }
        }
    }
}

impl Drop for Company {
    fn drop(&mut self) {
        // A session that is lost takes nothing: the others need not wait until the announcement has run out.
        if let Some(with) = &self.with {
            with.over.cancel();
        }
    }
}

/// As the hints name queues.
fn numbers(queues: &[Queue]) -> Vec<u16> {
    queues.iter().copied().map(Queue::index).collect()
}

impl With {
    /// Says of the queues that are worked on that they are.
    fn mark(&mut self, instant: Instant, view: &View) {
        if instant < self.mark_at {
            return;
        }
        self.mark_at = instant + self.peers.watch.mark_every;
        let mut queues = std::mem::take(&mut self.moved);
        queues.extend(view.in_hand.iter().copied());
        if queues.is_empty() {
            return;
        }
        let (hints, queues) = (Arc::clone(&self.peers.hints), queues.into_iter().collect::<Vec<_>>());
        // It ends by itself, well before the next one.
        tokio::spawn(async move {
            if let Err(away) = within(hints.goes_on(&numbers(&queues))).await {
                tracing::debug!(%away, "the others do not know that work goes on");
            }
        });
    }

    /// Asks for the queues that this worker is subscribed to and has nothing of in hand, and for those of which an operator was
    /// told.
    fn look(&mut self, instant: Instant, view: &View, session: &Arc<dyn Session>) {
        if instant < self.look_at || !self.looking.is_empty() {
            return;
        }
        self.look_at = instant + self.peers.watch.look_every;
        let is_looked_at = |queue: &Queue| !view.in_hand.contains(queue) || self.watch.is_told(*queue);
        let queues: Vec<Queue> = view.subscribed.iter().copied().filter(is_looked_at).collect();
        self.watch.looks_at(&queues);
        if queues.is_empty() || view.held_up {
            return;
        }
        let (session, hints) = (Arc::clone(session), Arc::clone(&self.peers.hints));
        self.looking.spawn(async move {
            let ready = session.ready_of(&queues).await.map_err(|error| Away(error.to_string()))?;
            let went_on = within(hints.went_on(&numbers(&queues))).await?;
            Ok(queues.into_iter().zip(ready).zip(went_on).map(|((queue, ready), ago)| (queue, ready, ago)).collect())
        });
    }

    fn judge(&mut self, now: Duration, instant: Instant, looked: Looked, acts: &mut Vec<Act>) {
        let looked = match looked {
            Ok(looked) => looked,
            Err(away) => {
                tracing::debug!(%away, "stalled queues cannot be told for the moment");
                self.watch.is_blind();
                return;
            }
        };
        for (queue, ready, went_on) in looked {
            match self.watch.look(now, queue, ready, went_on) {
                Some(Step::Reopen) => self.reopen.push((instant + jitter(self.peers.watch.stagger), queue)),
                Some(Step::Stalled) => acts.push(Act::Stalled(queue, ready)),
                Some(Step::Recovered) => acts.push(Act::Recovered(queue)),
                None => {}
            }
        }
    }
}

/// Announces the worker again and again, until it is over; then takes the announcement back.
async fn announce(peers: Peers, me: String, seen: watch::Sender<Vec<String>>, over: CancellationToken) {
    loop {
        tokio::select! {
            () = over.cancelled() => break,
            () = tokio::time::sleep(peers.spread.announce_every) => {}
        }
        match within(peers.hints.announce(&me, peers.spread.announcement_lasts)).await {
            Ok(members) => drop(seen.send_replace(members)),
            Err(away) => tracing::debug!(%away, "the other workers cannot be seen"),
        }
    }
    if let Err(away) = within(peers.hints.withdraw(&me)).await {
        tracing::debug!(%away, "the announcement was not taken back; it runs out");
    }
}

async fn within<T>(asked: impl Future<Output = Result<T, Away>>) -> Result<T, Away> {
    tokio::time::timeout(HINT, asked).await.unwrap_or_else(|_| Err(Away("no answer in time".to_owned())))
}

/// Some part of a time, so that many workers do not do the same at once.
fn jitter(time: Duration) -> Duration {
    time.mul_f64(rand::rng().random_range(0.0..1.0))
}
