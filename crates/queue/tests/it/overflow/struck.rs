//! A broker whose worker dies at one step: before or after its n-th publish, of whatever kind.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::stream::BoxStream;
use queue::error::{Error, PublishError, VisitError};
use queue::journal::entry::Entry;
use queue::message::Message;
use queue::session::{Broker, JournalItem, JournalStart, Session, Subscription};
use queue::topology::{Queue, Target, Topology};
use tokio_util::sync::CancellationToken;

/// Lets everything through up to the step; there its session ends, unseen by the worker, and nothing goes any more.
pub(crate) struct Struck {
    inner: Arc<dyn Broker>,
    steps: Arc<Steps>,
}

pub(crate) struct Steps {
    /// Two of each publish: the even one is before it, the odd one after the broker has confirmed it.
    at: usize,
    /// The kind that it dies before.
    before: Option<&'static str>,
    next: AtomicUsize,
    /// The worker has got there: nothing goes any more.
    struck: CancellationToken,
    /// Its session is gone.
    pub(crate) gone: CancellationToken,
    /// What was published, and before or after which it died.
    published: Mutex<Vec<&'static str>>,
}

impl Steps {
    /// How many of a kind were published: `overflowed`, another kind of entry, `control`, `other`.
    pub(crate) fn published(&self, kind: &str) -> usize {
        self.published.lock().expect("no panic").iter().filter(|published| **published == kind).count()
    }

    /// What was published last.
    pub(crate) fn last(&self) -> Option<&'static str> {
        self.published.lock().expect("no panic").last().copied()
    }
}

impl Struck {
    /// Its worker dies at this step.
    pub(crate) fn at(step: usize, inner: &Arc<dyn Broker>) -> (Arc<dyn Broker>, Arc<Steps>) {
        Self::dies(step, None, inner)
    }

    /// Its worker dies before it first publishes something of this kind.
    pub(crate) fn before(kind: &'static str, inner: &Arc<dyn Broker>) -> (Arc<dyn Broker>, Arc<Steps>) {
        Self::dies(usize::MAX, Some(kind), inner)
    }

    fn dies(at: usize, before: Option<&'static str>, inner: &Arc<dyn Broker>) -> (Arc<dyn Broker>, Arc<Steps>) {
        let steps = Arc::new(Steps {
            at,
            before,
            next: AtomicUsize::new(0),
            struck: CancellationToken::new(),
            gone: CancellationToken::new(),
            published: Mutex::default(),
        });
        (Arc::new(Self { inner: Arc::clone(inner), steps: Arc::clone(&steps) }), steps)
    }
}

#[async_trait]
impl Broker for Struck {
    async fn connect(&self) -> Result<Arc<dyn Session>, Error> {
        if self.steps.struck.is_cancelled() {
            return std::future::pending().await;
        }
        let inner = self.inner.connect().await?;
        Ok(Arc::new(StruckSession { inner, steps: Arc::clone(&self.steps) }))
    }

    async fn visit(&self) -> Result<Arc<dyn Session>, VisitError> {
        self.inner.visit().await
    }

    fn topology(&self) -> &Topology {
        self.inner.topology()
    }
}

struct StruckSession {
    inner: Arc<dyn Session>,
    steps: Arc<Steps>,
}

impl StruckSession {
    async fn dies_at(&self, step: usize) {
        if step == self.steps.at {
            self.steps.struck.cancel();
            let (inner, gone) = (Arc::clone(&self.inner), self.steps.gone.clone());
            // Whoever waits for this publish is let go when the session ends.
            tokio::spawn(async move {
                inner.close().await;
                gone.cancel();
            });
        }
        if self.steps.struck.is_cancelled() {
            std::future::pending::<()>().await;
        }
    }
}

fn kind_of(target: &Target, message: &Message) -> &'static str {
    match target {
        Target::Journal => Entry::from_message(message)
            .map_or("other", |entry| if entry.ahead.is_some() { "overflowed" } else { entry.kind.as_str() }),
        Target::Partition(_) => "control",
        Target::Orders | Target::Outcomes(_) | Target::Links => "other",
    }
}

#[async_trait]
impl Session for StruckSession {
    async fn publish(&self, target: &Target, message: &Message) -> Result<(), PublishError> {
        let step = self.steps.next.fetch_add(2, Ordering::SeqCst);
        let dies_before = self.steps.before == Some(kind_of(target, message));
        self.dies_at(if dies_before { self.steps.at } else { step }).await;
        let published = self.inner.publish(target, message).await;
        self.steps.published.lock().expect("no panic").push(kind_of(target, message));
        self.dies_at(step + 1).await;
        published
    }

    async fn subscribe(&self, queue: Queue, prefetch: u16) -> Result<Subscription, Error> {
        self.inner.subscribe(queue, prefetch).await
    }

    async fn agree_on_prefetch(&self, kind: Queue, prefetch: u16) -> Result<(), Error> {
        self.inner.agree_on_prefetch(kind, prefetch).await
    }

    async fn read_journal(&self, from: JournalStart) -> Result<BoxStream<'static, JournalItem>, Error> {
        self.inner.read_journal(from).await
    }

    async fn ready_of(&self, queues: &[Queue]) -> Result<Vec<u32>, Error> {
        self.inner.ready_of(queues).await
    }

    fn is_blocked(&self) -> bool {
        self.inner.is_blocked()
    }

    fn ended(&self) -> CancellationToken {
        self.inner.ended()
    }

    fn why_ended(&self) -> Error {
        self.inner.why_ended()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
