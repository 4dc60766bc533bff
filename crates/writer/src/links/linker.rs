//! Tells Limio of links, one order's after the other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use domain::dead_letter::LetterId;
use domain::failure::{Failure, Reason};
use domain::link::{IdentityLink, IdentityLinks, Linked};
use domain::settlement::Settlement;
use domain::story::{Recorder, What};
use ledger::links::KnownLinks;
use limio::{Client, Error, Kind, Object};
use queue::handler::{Announcement, Handler, Job, Outage, Sorted, Verdict};
use queue::message::{LINK, Message};
use queue::session::Session;
use queue::topology::Queue;

use super::metrics::LinkMetrics;

/// How often Limio may fail at one order's links, or not find what they are about, before they become a letter. A pause while
/// Limio is away counts as none.
const TRIES: u32 = 5;

/// The longest pause between two tries while Limio is away; pauses grow to it from 1 s.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// A record that no org has: whether Limio answers is seen by asking what is linked to it.
const NO_RECORD: &str = "001000000000000AAA";

/// How many orders' tries are remembered at most; more than are ever in hand.
const MOST_TRIED: usize = 1_024;

/// Takes links to Limio.
pub(crate) struct Linker {
    client: Client,
    known: KnownLinks,
    stories: Arc<dyn Recorder>,
    metrics: Arc<LinkMetrics>,
    /// The wait after the first try at an order's links; each is four times as long as the one before.
    retry: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Pauses since Limio answered last.
    pauses: u32,
    /// Orders whose links wait, with how often Limio failed at them.
    tried: HashMap<String, u32>,
}

/// Why an order's links are not all known to Limio.
enum Stopped {
    /// Limio as a whole is away, or does not accept the credentials.
    Away(Error),
    /// It failed at this link, and answers otherwise.
    Failed(IdentityLink, Error),
    /// It refuses this link.
    Refused(IdentityLink, Error),
}

/// The links of an order as they wait in the queue.
pub(crate) fn message(links: &IdentityLinks) -> Message {
    Message {
        body: links.render().into(),
        id: format!("link:{}", links.order),
        kind: Some(LINK.to_owned()),
        content_type: Some("application/json".to_owned()),
        ..Message::default()
    }
}

impl Linker {
    pub(crate) fn new(
        client: Client,
        known: KnownLinks,
        stories: Arc<dyn Recorder>,
        metrics: Arc<LinkMetrics>,
        retry: Duration,
    ) -> Self {
        Self { client, known, stories, metrics, retry, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn work_on(&self, task: &IdentityLinks) -> Verdict {
        // Without Redis Limio is told once more, which is harmless.
        let known = self.known.known(&task.links).await.unwrap_or_default();
        let mut linked = 0;
        for (index, link) in task.links.iter().enumerate() {
            if known.get(index) == Some(&true) {
                self.metrics.count("known", 1);
                continue;
            }
            match self.link(link).await {
                Ok(()) => {
                    linked += 1;
                    self.state().pauses = 0;
                    self.metrics.count("linked", 1);
                    if let Err(error) = self.known.remember(link).await {
                        tracing::debug!(%error, "a link is not remembered, and may be told to Limio again");
                    }
                }
                Err(stopped) => return Verdict::of(self.stopped(task, stopped)),
            }
        }
        self.state().tried.remove(task.order.as_str());
        self.stories.record(task.order.as_str(), What::Linked { links: linked });
        Verdict::of(Settlement::Ack)
    }

    /// Asks for one link. Where the answer does not tell whether it is there, or whose fault it is that it is not, Limio is
    /// asked what is linked.
    async fn link(&self, link: &IdentityLink) -> Result<(), Stopped> {
        let object = match link.object {
            Linked::Subscription => Object::Subscription,
            Linked::Customer => Object::Customer,
        };
        let Err(error) = self.client.link(object, &link.id, link.record.as_str()).await else { return Ok(()) };
        let stopped: fn(IdentityLink, Error) -> Stopped = match (error.kind(), &error) {
            (Kind::Credentials, _) | (_, Error::Unreachable(_) | Error::Throttled { .. }) => {
                return Err(Stopped::Away(error));
            }
            // What was made a moment ago may not be found yet.
            (Kind::Away, _) | (Kind::Refused, Error::Refused { status: 404, .. }) => Stopped::Failed,
            (Kind::Refused, _) => Stopped::Refused,
        };
        match self.client.linked(link.record.as_str()).await {
            Ok(linked) if linked.has(object, &link.id) => Ok(()),
            // Limio answers, so what failed lies in the link.
            Ok(_) | Err(Error::Refused { .. }) => Err(stopped(link.clone(), error)),
            Err(_) => Err(Stopped::Away(error)),
        }
    }

    fn stopped(&self, task: &IdentityLinks, stopped: Stopped) -> Settlement {
        match stopped {
            Stopped::Away(error) => {
                let failure = away(&error);
                self.waits(task, &failure, 0);
                Settlement::Pause { after: self.pause(&error), failure }
            }
            Stopped::Failed(link, error) => {
                let failure = refused(task, &link, &error);
                match self.waits(task, &failure, 1) {
                    tries if tries < TRIES => {
                        let after = self.retry * 4_u32.saturating_pow(tries.saturating_sub(1));
                        Settlement::Retry { after, failure: Failure { class: away(&error).class, ..failure } }
                    }
                    tries => self.give_up(task, &link, Failure { attempts: Some(tries), ..failure }),
                }
            }
            Stopped::Refused(link, error) => self.give_up(task, &link, refused(task, &link, &error)),
        }
    }

    fn give_up(&self, task: &IdentityLinks, link: &IdentityLink, failure: Failure) -> Settlement {
        self.state().tried.remove(task.order.as_str());
        let why = format!("Limio refused {} {}; a dead letter of nobody tells more", link.object.as_str(), link.id);
        self.stories.record(task.order.as_str(), What::NotLinked { why });
        Settlement::DeadLetter(failure)
    }

    /// Notes that an order's links wait, once in its story, and counts its tries.
    fn waits(&self, task: &IdentityLinks, failure: &Failure, tries: u32) -> u32 {
        let mut state = self.state();
        if state.tried.len() >= MOST_TRIED && !state.tried.contains_key(task.order.as_str()) {
            state.tried.clear();
        }
        let known = state.tried.contains_key(task.order.as_str());
        let counted = state.tried.entry(task.order.as_str().to_owned()).or_default();
        *counted += tries;
        let counted = *counted;
        drop(state);
        if !known {
            self.stories.record(task.order.as_str(), What::LinkWaits { reason: Some(failure.reason) });
        }
        counted
    }

    /// Pauses in a row grow: 1, 2, 4 … seconds, or as long as Limio asked for.
    fn pause(&self, error: &Error) -> Duration {
        let mut state = self.state();
        let grown = Duration::from_secs(1) * 2_u32.saturating_pow(state.pauses.min(10));
        state.pauses = state.pauses.saturating_add(1);
        grown.min(LONGEST_PAUSE).max(error.retry_after().unwrap_or_default().min(Duration::from_hours(1)))
    }
}

/// Limio as a whole is away.
fn away(error: &Error) -> Failure {
    Failure::transient(Reason::LimioUnavailable, error.to_string())
}

/// Limio does not take this link.
fn refused(task: &IdentityLinks, link: &IdentityLink, error: &Error) -> Failure {
    let (object, id, record) = (link.object.as_str(), &link.id, link.record.as_str());
    let message = format!("{object} {id} of order {} was not linked to {record}: {error}", task.order);
    let failure = Failure::permanent(Reason::IdentityLinkRefused, message);
    match error {
        Error::Refused { said, .. } => failure.quoting(said),
        Error::Credentials(_)
        | Error::Throttled { .. }
        | Error::Failed { .. }
        | Error::Unreachable(_)
        | Error::AnswerLost(_)
        | Error::Invalid(_) => failure,
    }
}

#[async_trait]
impl Handler for Linker {
    type Item = IdentityLinks;

    /// Without a customer: links wait for nobody. Without an order: the order is written, and its story is told here.
    fn sort(&self, message: &Message) -> Sorted<IdentityLinks> {
        Sorted {
            key: None,
            order_id: None,
            order_type: Some("identity_link".to_owned()),
            shares: Vec::new(),
            item: IdentityLinks::parse(&message.body),
        }
    }

    async fn took_over(&self, _: Queue, _: bool) -> Result<(), Failure> {
        Ok(())
    }

    async fn probe(&self) -> Result<(), Outage> {
        match self.client.linked(NO_RECORD).await {
            Ok(_) | Err(Error::Refused { .. }) => Ok(()),
            Err(error) => Err(Outage { failure: away(&error), after: self.pause(&error) }),
        }
    }

    async fn handle(&self, _: &Arc<dyn Session>, jobs: &[Arc<Job<IdentityLinks>>]) -> Vec<Verdict> {
        let verdicts = jobs.iter().map(|job| async move {
            match &job.item {
                Ok(task) => self.work_on(task).await,
                Err(failure) => Verdict::of(Settlement::DeadLetter(failure.clone())),
            }
        });
        futures::future::join_all(verdicts).await
    }

    /// Nothing: the order was told of as written.
    fn letter_announcement(&self, _: &Job<IdentityLinks>, _: &Failure, _: &LetterId) -> Option<Announcement> {
        self.metrics.count("refused", 1);
        None
    }
}
