//! A batch of orders: claim, look up what is unknown, send, decide duplicates, settle.

mod accounts;
mod admission;
mod duplicate;
mod link;
mod look_up;
mod publish;
mod published;
mod question;
mod record;
mod send;
mod sending;
mod suspects;
mod transfer;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use domain::config::{OrderProcessing, PublishBehavior};
use domain::dead_letter::LetterId;
use domain::envelope::{DecodeSettings, Envelope};
use domain::event::OrderEvent;
use domain::failure::{Failure, Reason};
use domain::order::AccountNames;
use domain::order::id::{OrderId, SequenceKey, TenantId};
use domain::outcome::{Outcome, OutcomeEvent, OutcomeKind, Result as Ending};
use domain::quota::Reserve;
use domain::settlement::{Settlement, settle};
use domain::story::{Recorder, Unrecorded, What};
use ledger::{Claim, ClaimTicket, Closed, Closing, KnownSince, Ledger, Owner};
use queue::handler::{Announcement, Handler, Job, Outage, Sorted, Verdict};
use queue::lanes::Observation;
use queue::message::{KNOWN_SINCE, Message, ORDER_ID, REFUSAL};
use queue::session::Session;
use queue::topology::Queue;
use salesforce::Client;
use tokio::sync::watch;

use self::published::Published;
use self::question::Unanswered;
use self::suspects::Suspects;
use crate::accounts::Accounts;
use crate::attempt::{Attempt, Stage};
use crate::duplicates::decided::Decided;
use crate::gate::Gate;
use crate::links::LinkMetrics;
use crate::metrics::Metrics;
use crate::outcome::Probes;

/// The largest batch: one composite graph request takes so many graphs.
pub const MAX_BATCH: usize = 75;

type Fields = serde_json::Map<String, serde_json::Value>;

/// What the handler is told once.
#[derive(Debug, Clone)]
pub struct HandlerSettings {
    /// The tenant that the fleet serves.
    pub decode: DecodeSettings,
    /// How long an effect may take to happen once it was sent: longer than the slowest call.
    pub lease: Duration,
    /// How long a call may take.
    pub deadline: Duration,
    /// How long an outage of Salesforce or Redis lasts at most before the next probe.
    pub outage_probe: Duration,
    /// How long to wait before a probe when the org's allocation is spent.
    pub quota_probe: Duration,
    /// What of the allocation is left to others.
    pub reserve: Reserve,
}

/// Writes orders.
pub struct OrderWriter {
    settings: HandlerSettings,
    client: Client,
    ledger: Arc<dyn Ledger>,
    processing: watch::Receiver<Arc<OrderProcessing>>,
    metrics: Arc<Metrics>,
    gate: Arc<Gate>,
    epochs: Mutex<HashMap<u16, String>>,
    /// What requests came to, until the loop asks.
    requests: Mutex<Vec<Observation>>,
    outages: AtomicU32,
    decided: Decided,
    /// Whose Account it is, by what the org told of it.
    accounts: Accounts,
    suspects: Suspects,
    unanswered: Unanswered,
    published: Published,
    /// Whether the answer to an event was lost, and none has come since.
    events_lost: AtomicBool,
    /// Whether the org has refused an event because it came in a graph.
    events_barred: AtomicBool,
    /// Takes in what happens to each order.
    stories: Arc<dyn Recorder>,
    /// Requests that this process has sent with orders.
    calls: AtomicU64,
    /// Where Limio is told of orders that are written, what is counted of that.
    links: Option<Arc<LinkMetrics>>,
}

impl OrderWriter {
    /// A writer that works through these.
    pub fn new(
        settings: HandlerSettings,
        client: Client,
        ledger: Arc<dyn Ledger>,
        processing: watch::Receiver<Arc<OrderProcessing>>,
        metrics: Arc<Metrics>,
        gate: Arc<Gate>,
    ) -> Self {
        Self {
            settings,
            client,
            ledger,
            processing,
            metrics,
            gate,
            epochs: Mutex::default(),
            requests: Mutex::default(),
            outages: AtomicU32::new(0),
            decided: Decided::default(),
            accounts: Accounts::default(),
            suspects: Suspects::default(),
            unanswered: Unanswered::default(),
            published: Published::default(),
            events_lost: AtomicBool::new(false),
            events_barred: AtomicBool::new(false),
            stories: Arc::new(Unrecorded),
            calls: AtomicU64::new(0),
            links: None,
        }
    }

    /// The same writer, which has Limio told of orders that are written.
    #[must_use]
    pub(crate) fn linked_by(self, links: Arc<LinkMetrics>) -> Self {
        Self { links: Some(links), ..self }
    }

    /// The same writer, which tells what happens to each order.
    #[must_use]
    pub fn recorded_by(self, stories: Arc<dyn Recorder>) -> Self {
        Self { stories, ..self }
    }

    fn owner(&self, queue: Queue) -> Owner {
        let partition = partition(queue);
        let epochs = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        Owner { partition, epoch: epochs.get(&partition).cloned().unwrap_or_default() }
    }

    /// Outages in a row lengthen the pause: 1, 2, 4 … seconds up to the setting.
    fn probes(&self) -> Probes {
        Probes { unavailable: self.gate.pause(), quota: self.settings.quota_probe }
    }

    fn ledger_outage(&self, error: &ledger::Error) -> Outcome {
        let failure = Failure::transient(Reason::LedgerUnavailable, error.to_string());
        let doubled = Duration::from_secs(1) * 2_u32.saturating_pow(self.outages.load(Ordering::Relaxed).min(10));
        Outcome::Outage { failure, retry_after: doubled.min(self.settings.outage_probe) }
    }

    async fn begin<'a>(&self, jobs: &[(&'a OrderEvent, &Job<OrderEvent>)]) -> Result<Vec<Attempt<'a>>, ledger::Error> {
        let claims: Vec<Claim> = jobs
            .iter()
            .map(|(event, job)| Claim {
                owner: self.owner(job.queue),
                order: event.order_id().clone(),
                effect: "order",
                fingerprint: event.fingerprint(),
                known_since: known_since(event, &job.message),
                lease: self.settings.lease,
            })
            .collect();
        let names: Vec<AccountNames> = jobs.iter().map(|(event, _)| event.order.account_names()).collect();
        // An Account that a duplicate rule or an agent chose has no external id of ours: only the ledger knows it. So not
        // knowing is an outage, and nothing is claimed before it is known.
        let accounts = self.remembered(&names).await?;
        let answers = self.ledger.claim(&claims).await?;
        for ((event, _), answer) in jobs.iter().zip(&answers) {
            self.note_claim(event, answer);
        }
        let attempts = jobs.iter().zip(answers).zip(accounts);
        Ok(attempts.map(|(((event, _), answer), account)| Attempt::begin(event, answer, account)).collect())
    }

    /// Closes every claim and remembers whose Account it was. Returns which settlements were refused as stale.
    async fn close(&self, attempts: &[Attempt<'_>], settlements: &[Settlement]) -> Result<Vec<bool>, ledger::Error> {
        let (mut closings, mut places): (Vec<(ClaimTicket, Closing)>, Vec<usize>) = (Vec::new(), Vec::new());
        let (mut accounts, mut holders) = (Vec::new(), Vec::new());
        for (index, (attempt, settlement)) in attempts.iter().zip(settlements).enumerate() {
            if let Some(ticket) = &attempt.ticket {
                closings.push((ticket.clone(), attempt.closing(settlement)));
                places.push(index);
            }
            // Also of an order that was settled before: whoever settled it may have died before it remembered.
            if let Stage::Over { outcome, already: _ } = &attempt.stage
                && let Outcome::Settled(Ending::Written(written)) = outcome.as_ref()
                && let Some(crm_id) = &written.crm_id
            {
                accounts.push((attempt.names_to_remember(written), crm_id.as_str().to_owned()));
                holders.extend(attempt.holding(written, crm_id));
                self.forget_nobody(attempt, written);
            }
        }
        let (closed, remembered, held) = tokio::join!(
            self.ledger.close(&closings),
            self.ledger.remember_accounts(&accounts),
            self.ledger.remember_holders(&holders),
        );
        // The order comes again as settled before, and is remembered then.
        remembered?;
        held?;
        let mut stale = vec![false; attempts.len()];
        for (place, closed) in places.into_iter().zip(closed?) {
            stale[place] = closed == Closed::Stale;
        }
        Ok(stale)
    }

    /// An order that is given up may be sent again, corrected or not: `ingest` must not take it for a double. It waits behind
    /// its own letter then, until an operator has dealt with that.
    async fn take_back_sightings(&self, attempts: &[Attempt<'_>], verdicts: &[Verdict]) {
        let given_up = attempts.iter().zip(verdicts).filter(|(attempt, verdict)| {
            let conflicts = |failure: &Failure| failure.reason == Reason::IdentityConflict;
            let given_up = matches!(&verdict.settlement, Settlement::DeadLetter(failure) if !conflicts(failure));
            given_up && !attempt.owes_event
        });
        let orders: Vec<OrderId> = given_up.map(|(attempt, _)| attempt.event.order_id().clone()).collect();
        if orders.is_empty() {
            return;
        }
        if let Err(error) = self.ledger.forget_sightings(&orders).await {
            tracing::warn!(%error, orders = orders.len(), "orders that were given up still count as handed on; replay them instead of sending them again");
        }
    }

    fn verdict(&self, attempt: &Attempt<'_>, settlement: Settlement, stale: bool) -> Verdict {
        // Whoever holds a stale claim now looks the effect up; here it is asked for again.
        if stale || matches!(attempt.stage, Stage::NotOwner) {
            return Verdict { lost_ownership: true, ..Verdict::of(Settlement::Again { after: Duration::ZERO }) };
        }
        // What was found out meanwhile keeps it apart from whoever else writes to that Account.
        let account = attempt.known.crm_id.as_ref().map(|account| format!("account:{}", account.as_str()));
        let mut verdict =
            Verdict { alone: attempt.alone, shares: account.into_iter().collect(), ..Verdict::of(settlement) };
        if let Stage::Over { outcome, already } = &attempt.stage
            && let Outcome::Settled(ending) = outcome.as_ref()
        {
            verdict.resolution = match (*already, ending) {
                (true, _) => "already",
                (false, Ending::Written(_)) => "written",
                (false, Ending::Rejected(_)) => "rejected",
            };
            self.metrics.settled(verdict.resolution);
            if !*already {
                self.note_end(attempt, ending);
            }
            let event = &attempt.event;
            verdict.links = self.links_of(event, ending);
            let told = OutcomeEvent::of_result(
                self.settings.decode.tenant.clone(),
                event.order_id().clone(),
                event.sequence_key().clone(),
                ending,
            );
            if attempt.released {
                verdict.announcements.push(announcement(&OutcomeEvent { kind: OutcomeKind::Replayed, ..told.clone() }));
            }
            verdict.announcements.push(announcement(&told));
        }
        verdict
    }
}

#[async_trait]
impl Handler for OrderWriter {
    type Item = OrderEvent;

    fn sort(&self, message: &Message) -> Sorted<OrderEvent> {
        let sorted = sort(message, &self.settings.decode);
        if let Ok(event) = &sorted.item {
            self.await_account(&event.order);
        }
        sorted
    }

    fn observed(&self) -> Vec<Observation> {
        std::mem::take(&mut *self.requests.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn took_over(&self, queue: Queue, regained: bool) -> Result<(), Failure> {
        // Regained: the ledger forgot. The same epoch again keeps the claims of the other batches in flight valid.
        let known = Some(self.owner(queue)).filter(|owner| regained && !owner.epoch.is_empty());
        let new = || Owner { partition: partition(queue), epoch: uuid::Uuid::new_v4().to_string() };
        let owner = known.unwrap_or_else(new);
        self.ledger
            .own(&owner)
            .await
            .map_err(|error| Failure::transient(Reason::LedgerUnavailable, error.to_string()))?;
        if regained {
            self.metrics.regained();
        }
        self.decided.forget_all();
        self.accounts.forget_all();
        self.accounts.in_flight.forget_all();
        self.epochs.lock().unwrap_or_else(PoisonError::into_inner).insert(owner.partition, owner.epoch);
        Ok(())
    }

    fn longest_call(&self) -> Duration {
        self.settings.lease
    }

    /// One call of the ledger; and where the gate lets it, one of Salesforce that tells nothing about any order.
    async fn probe(&self) -> Result<(), Outage> {
        let away = if let Err(error) = self.ledger.ping().await {
            let outage = self.ledger_outage(&error);
            self.outages.fetch_add(1, Ordering::Relaxed);
            Err(outage)
        } else {
            self.gate.probe(self.ask_whether_it_is_back()).await
        };
        match away {
            Err(Outcome::Outage { failure, retry_after }) => Err(Outage { failure, after: retry_after }),
            Ok(()) | Err(Outcome::Settled(_) | Outcome::Failed(_) | Outcome::Halted | Outcome::Busy { .. }) => Ok(()),
        }
    }

    async fn handle(&self, _session: &Arc<dyn Session>, jobs: &[Arc<Job<OrderEvent>>]) -> Vec<Verdict> {
        self.admit(jobs).await
    }

    fn link_queued(&self, job: &Job<OrderEvent>, taken: bool) {
        self.note_links(job, taken);
    }

    fn note(&self, order: &str, what: What) {
        self.stories.record(order, what);
    }

    fn letter_announcement(&self, job: &Job<OrderEvent>, failure: &Failure, letter: &LetterId) -> Option<Announcement> {
        self.metrics.settled("dead");
        letter_announcement(&self.settings.decode.tenant, job, failure, letter)
    }
}

impl OrderWriter {
    /// Works on a batch that may go.
    async fn work_on(&self, jobs: &[&Arc<Job<OrderEvent>>]) -> Vec<Verdict> {
        let processing = Arc::clone(&self.processing.borrow());
        let turn = match self.turn(jobs) {
            Ok(turn) => turn,
            Err(later) => return later,
        };
        let orders: Vec<(&OrderEvent, &Job<OrderEvent>)> =
            jobs.iter().filter_map(|job| job.item.as_ref().ok().map(|event| (event, job.as_ref()))).collect();
        let mut attempts = match self.begin(&orders).await {
            Ok(mut attempts) => {
                self.outages.store(0, Ordering::Relaxed);
                for (attempt, job) in attempts.iter_mut().zip(jobs) {
                    attempt.released = job.is_replay();
                }
                attempts
            }
            Err(error) => {
                let outage = settle(&self.ledger_outage(&error), 0, &processing.retry);
                self.outages.fetch_add(1, Ordering::Relaxed);
                return jobs.iter().map(|_| Verdict::of(outage.clone())).collect();
            }
        };
        self.set_suspects_apart(&mut attempts, turn.is_some());
        self.recall_matches(&processing, &mut attempts);
        self.look_up(&processing, &mut attempts).await;
        Self::give_poison_up(&mut attempts);
        self.name_accounts_of_contacts(&mut attempts).await;
        self.find_accounts(&processing, &mut attempts).await;
        let mut accounts = self.accounts.in_flight.none_taken();
        self.take_accounts(&mut accounts, &mut attempts);
        self.find_transfers(&processing, &mut attempts).await;
        self.send(&processing, &mut attempts).await;
        self.send_without_lost_accounts(&processing, &mut accounts, &mut attempts).await;
        self.decide_duplicates(&processing, &mut attempts).await;
        // Orders whose own record was found to exist.
        self.look_up(&processing, &mut attempts).await;
        for attempt in &mut attempts {
            if matches!(attempt.stage, Stage::Send) {
                attempt.end(Outcome::Failed(Failure::transient(
                    Reason::RecordLocked,
                    "a record with the same unique value was created at the same time",
                )));
            }
        }
        drop(accounts);
        self.publish(&processing, &mut attempts).await;
        self.clear_suspects(&attempts);
        self.forget_turns(&attempts);
        let settlements: Vec<Settlement> =
            attempts.iter().map(|attempt| attempt.settlement(&processing.retry)).collect();
        self.forget_matches(&attempts, &settlements);
        self.await_accounts_no_longer(&attempts, &settlements);
        match self.close(&attempts, &settlements).await {
            Ok(stale) => {
                self.forget_published(&attempts, &stale);
                let verdicts = attempts.iter().zip(settlements).zip(stale);
                let verdicts: Vec<Verdict> =
                    verdicts.map(|((attempt, settlement), stale)| self.verdict(attempt, settlement, stale)).collect();
                self.take_back_sightings(&attempts, &verdicts).await;
                verdicts
            }
            // What happened is not remembered, so nothing is acknowledged: the orders come again, and the claims that were
            // left open are looked up.
            Err(error) => {
                let outage = settle(&self.ledger_outage(&error), 0, &processing.retry);
                jobs.iter().map(|_| Verdict::of(outage.clone())).collect()
            }
        }
    }
}

/// What the ledger said of this order when it was handed on. A letter that was edited may be about another one.
fn known_since(event: &OrderEvent, message: &Message) -> Option<KnownSince> {
    let same = message.header(ORDER_ID) == Some(event.order_id().as_str());
    message.header(KNOWN_SINCE).filter(|_| same).and_then(KnownSince::parse)
}

/// Reads a message as an order, unless it was refused on the way.
fn sort(message: &Message, settings: &DecodeSettings) -> Sorted<OrderEvent> {
    let parsed = Envelope::decode(&message.incoming(), settings).and_then(OrderEvent::parse);
    let refusal = message.header(REFUSAL).map(|text| {
        serde_json::from_str(text)
            .unwrap_or_else(|_| Failure::permanent(Reason::InvalidValue, "the refusal header is unreadable"))
    });
    let foreign = parsed.as_ref().is_err_and(|undecodable| undecodable.failure.reason == Reason::WrongTenant);
    let (order_id, key, order_type, item) = match parsed {
        Ok(event) => (
            Some(event.order_id().clone()),
            Some(event.sequence_key().clone()),
            Some(event.order_type().as_str().to_owned()),
            Ok(event),
        ),
        Err(undecodable) => {
            (undecodable.order_id, undecodable.sequence_key, undecodable.order_type, Err(undecodable.failure))
        }
    };
    // The header says in whose lane an unreadable order came, but another tenant's order has no lane here.
    let header = message.header(queue::message::SEQUENCE_KEY).filter(|_| !foreign);
    let key = key.map(|key| key.as_str().to_owned()).or_else(|| header.map(str::to_owned));
    let order_id = order_id.map(|id| id.as_str().to_owned());
    let item = refusal.map_or(item, Err);
    let shares = item.as_ref().map(|event| event.order.shares()).unwrap_or_default();
    Sorted { key, order_id, order_type, shares, item }
}

fn letter_announcement<I>(
    tenant: &TenantId,
    job: &Job<I>,
    failure: &Failure,
    letter: &LetterId,
) -> Option<Announcement> {
    let order_id = order_of(job)?;
    let key = SequenceKey::parse(job.key.as_deref()?)?;
    let mut told = OutcomeEvent::of_failure(tenant.clone(), order_id, key, failure, letter.as_str());
    if job.is_replay() && failure.attempts.is_none() {
        // Never tried, such as an order that cannot be read: no attempts tell this death from the one before the replay.
        told.occasion = Some(format!("{letter}:{}", uuid::Uuid::new_v4().simple()));
    }
    Some(announcement(&told))
}

/// The order of a job, where its message told one.
fn order_of<I>(job: &Job<I>) -> Option<OrderId> {
    OrderId::parse(job.order_id.as_deref()?)
}

fn announcement(event: &OutcomeEvent) -> Announcement {
    let message = Message {
        body: event.render().into(),
        id: event.id(),
        kind: Some(format!("com.causeway.{}", event.kind.routing_key())),
        content_type: Some("application/cloudevents+json".to_owned()),
        ..Message::default()
    };
    Announcement { routing_key: event.kind.routing_key(), message }
}

/// Whether the org publishes the event only when its transaction commits, so that it may travel with the records.
fn in_graph(processing: &OrderProcessing) -> bool {
    matches!(processing.platform_events.publish_behavior, PublishBehavior::AfterCommit)
}

fn partition(queue: Queue) -> u16 {
    match queue {
        Queue::Partition(_) | Queue::Inbox(_) | Queue::Links => queue.index(),
    }
}
