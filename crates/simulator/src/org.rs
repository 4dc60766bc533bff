//! The org: everything that all requests share, each part behind its own short lock.

mod state;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use crate::api_error::ApiError;
use crate::auth_providers::AuthProviders;
use crate::bulk::Jobs;
use crate::call::Call;
use crate::clock::Clock;
use crate::config::{Config, SeedRecord, User};
use crate::control::Control;
use crate::duplicates::{DuplicateRule, Rules};
use crate::events::EventBus;
use crate::faults::armed::Faults;
use crate::ids::RecordId;
use crate::limits::{Stored, Usage};
use crate::oauth::OAuth;
use crate::orgs::Reached;
use crate::pubsub::Streams;
use crate::records::{Table, TransactionId};
use crate::request_log::RequestLog;
use crate::routes::query::Cursors;
use crate::schema::{FieldIx, ObjectIx, Schema};
use crate::settings::Settings;
use crate::transaction::LockTable;

pub(crate) use state::stamp;

/// All shared state. Locks are held for one step of work and never across a wait.
#[derive(Debug)]
pub(crate) struct Org {
    pub(crate) schema: Arc<Schema>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) faults: Faults,
    pub(crate) oauth: OAuth,
    pub(crate) auth_providers: AuthProviders,
    pub(crate) streams: Streams,
    state: Mutex<State>,
    /// How many wait for the state.
    waiting: AtomicUsize,
    bus: Mutex<EventBus>,
    usage: Mutex<Usage>,
    log: Mutex<RequestLog>,
    cursors: Mutex<Cursors>,
    bulk: Mutex<Jobs>,
    rng: Mutex<StdRng>,
    settings: RwLock<Arc<Settings>>,
    initial: Config,
    own_url: OnceLock<String>,
    number: u64,
    last_transaction: AtomicU64,
    /// How often the org was reset. It changes under the locks of the state, the bus, the usage, the log, the cursors and
    /// the bulk jobs.
    epoch: AtomicU64,
}

/// Rows, locks and duplicate rules: what a transaction works on.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) tables: Vec<Table>,
    pub(crate) locks: LockTable,
    pub(crate) rules: Rules,
    /// For each object its unique or external-id fields and their index.
    pub(crate) unique: Vec<Vec<(FieldIx, usize)>>,
    /// For each object the lookups that name its rows, and their index.
    pub(crate) referencing: Vec<Vec<(ObjectIx, FieldIx, usize)>>,
    /// For each object the lookups whose rows a write locks.
    pub(crate) locking: Vec<Vec<FieldIx>>,
    /// For each object how many of its indexes come first and serve other things than the duplicate rules.
    lasting_indexes: Vec<usize>,
    pub(crate) defaults: Defaults,
}

/// Rows every org starts with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Defaults {
    pub(crate) organization: RecordId,
    pub(crate) user: RecordId,
    pub(crate) person_record_type: RecordId,
    pub(crate) business_record_type: RecordId,
}

/// A user who has left: no row can be given to them.
pub(crate) const FORMER_USER: &str = "former@causeway.test";

/// How fast a clock that stood goes at the end: waits are short, and no session dies of it.
const LAST_PACE: f64 = 100.0;

/// How often one who gives way looks whether anyone still waits.
const PATIENCE: usize = 1_000;

/// Locks a mutex; what a panicking holder left behind is still consistent enough to report.
pub(crate) fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Org {
    /// The `number`th org of the process; it is told apart by its id.
    pub(crate) fn new(config: Config, number: u64, schema: Schema) -> Self {
        let clock = Arc::new(Clock::new(config.settings.pace));
        Self::at(config, number, Arc::new(schema), clock)
    }

    fn at(config: Config, number: u64, schema: Arc<Schema>, clock: Arc<Clock>) -> Self {
        let state = State::seeded(&schema, &clock, &config, number);
        Self {
            state: Mutex::new(state),
            waiting: AtomicUsize::new(0),
            bus: Mutex::new(EventBus::new(config.seed)),
            usage: Mutex::new(Usage::default()),
            log: Mutex::new(RequestLog::default()),
            cursors: Mutex::new(Cursors::default()),
            bulk: Mutex::new(Jobs::default()),
            rng: Mutex::new(StdRng::seed_from_u64(config.seed)),
            settings: RwLock::new(Arc::new(config.settings.clone())),
            faults: Faults::new(config.seed),
            oauth: OAuth::new(&config),
            auth_providers: AuthProviders::default(),
            streams: Streams::default(),
            initial: config,
            own_url: OnceLock::new(),
            number,
            last_transaction: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            schema,
            clock,
        }
    }

    /// Back to the state after start: rows, events, usage, log, faults, settings and sessions.
    ///
    /// The rows the org starts with come in the same step, so nobody can write before them.
    /// Requests that run have begun in an epoch that is over then: what they still write is refused, and what they
    /// hold is gone already.
    pub(crate) fn reset(&self) {
        let fresh = self.fresh();
        {
            let (mut state, mut bus) = (guard(&self.state), guard(&self.bus));
            let (mut usage, mut log) = (guard(&self.usage), guard(&self.log));
            let (mut cursors, mut bulk) = (guard(&self.cursors), guard(&self.bulk));
            self.epoch.fetch_add(1, Ordering::Relaxed);
            *state = fresh;
            *bus = EventBus::new(self.initial.seed);
            *usage = Usage::default();
            *log = RequestLog::default();
            *cursors = Cursors::default();
            *bulk = Jobs::default();
        }
        *guard(&self.rng) = StdRng::seed_from_u64(self.initial.seed);
        self.set_settings(self.initial.settings.clone());
        self.faults.clear();
        self.streams.reset();
        self.oauth.reset(&self.initial);
        self.auth_providers.reset(&self.initial.auth_providers);
    }

    /// The rows of this org as it starts, written where no request can be in their way.
    fn fresh(&self) -> State {
        let bare = || State::seeded(&self.schema, &self.clock, &self.initial, self.number);
        if self.initial.records.is_empty() {
            return bare();
        }
        let (schema, clock) = (Arc::clone(&self.schema), Arc::clone(&self.clock));
        let org = Arc::new(Self::at(self.initial.clone(), self.number, schema, clock));
        if let Err(error) = Control::new(Arc::clone(&org)).plant() {
            // The same rows were taken at the start, or the org would not be.
            tracing::error!(%error, "the rows to start with were not written at a reset");
        }
        Arc::into_inner(org).map_or_else(bare, |org| org.state.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets go what the org holds, because it ends: held calls, open streams, and whoever waits on a clock that stands
    /// and that nobody will push any more.
    pub(crate) fn end(&self) {
        self.faults.clear();
        self.streams.close();
        if self.settings().pace <= 0.0 {
            self.clock.set_pace(LAST_PACE);
        }
    }

    /// How often the org was reset. It stays while the state, the bus, the usage, the log, the cursors or the bulk jobs
    /// are held.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    /// Refuses what is left of a call when the org was reset since it began.
    pub(crate) fn check_epoch(&self, epoch: u64) -> Result<(), ApiError> {
        if self.epoch() == epoch {
            return Ok(());
        }
        Err(ApiError::new(503, "SERVER_UNAVAILABLE", "The org was reset while this request was running."))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        if let Ok(state) = self.state.try_lock() {
            return state;
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let state = guard(&self.state);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        state
    }

    /// Lets those who wait for the state go first. Who takes it many times in a row calls this in between, because
    /// the lock itself is not fair.
    pub(crate) async fn give_way(&self) {
        for _ in 0..PATIENCE {
            tokio::task::yield_now().await;
            if self.waiting.load(Ordering::Relaxed) == 0 {
                return;
            }
        }
    }

    pub(crate) fn bus(&self) -> MutexGuard<'_, EventBus> {
        guard(&self.bus)
    }

    pub(crate) fn usage(&self) -> MutexGuard<'_, Usage> {
        guard(&self.usage)
    }

    pub(crate) fn log(&self) -> MutexGuard<'_, RequestLog> {
        guard(&self.log)
    }

    pub(crate) fn bulk(&self) -> MutexGuard<'_, Jobs> {
        guard(&self.bulk)
    }

    /// The bulk jobs of the org in which the call began.
    pub(crate) fn bulk_for(&self, call: &Call) -> Result<MutexGuard<'_, Jobs>, ApiError> {
        let jobs = self.bulk();
        self.check_epoch(call.epoch)?;
        Ok(jobs)
    }

    /// The cursors of the org in which the call began.
    pub(crate) fn cursors_for(&self, call: &Call) -> Result<MutexGuard<'_, Cursors>, ApiError> {
        let cursors = guard(&self.cursors);
        self.check_epoch(call.epoch)?;
        Ok(cursors)
    }

    /// What the org holds in memory. Rows and indexes are counted one by one: this is for people and tests.
    pub(crate) fn stored(&self) -> Stored {
        // One lock after the other: a reset takes them all.
        let events = self.bus().len();
        let cursors = guard(&self.cursors).kept();
        let requests = self.log().entries().len();
        let mut stored = Stored { events, cursors, requests, ..Stored::default() };
        let state = self.state();
        for table in &state.tables {
            let (records, pending, index_entries) = table.sizes();
            stored.records += records;
            stored.pending += pending;
            stored.index_entries += index_entries;
        }
        stored
    }

    pub(crate) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_settings(&self, settings: Settings) {
        self.clock.set_pace(settings.pace);
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    pub(crate) fn set_own_url(&self, url: String) {
        // A second call would come from a second listener; the first address stays the org's.
        let _ = self.own_url.set(url);
    }

    /// Where the org answers, whoever asks.
    pub(crate) fn own_url(&self) -> &str {
        self.own_url.get().map_or("", String::as_str)
    }

    /// Where the org answers, in the way the running request reached it.
    pub(crate) fn base_url(&self) -> String {
        Reached::current().map_or_else(|| self.own_url().to_owned(), |reached| reached.instance.clone())
    }

    /// The host the running request asked: a login host, or the org itself.
    pub(crate) fn host_url(&self) -> String {
        Reached::current().map_or_else(|| self.own_url().to_owned(), |reached| reached.host.clone())
    }

    /// What a JWT assertion may name as its audience, beside Salesforce's own login hosts.
    pub(crate) fn audiences(&self) -> [String; 3] {
        [self.host_url(), self.base_url(), self.own_url().to_owned()]
    }

    /// Whether the org is served by TLS.
    pub(crate) fn secure(&self) -> bool {
        self.own_url().starts_with("https:")
    }

    /// My Domain name.
    pub(crate) fn name(&self) -> &str {
        &self.initial.name
    }

    /// Rows the org starts with.
    pub(crate) fn seed_records(&self) -> &[SeedRecord] {
        &self.initial.records
    }

    pub(crate) fn sandbox(&self) -> bool {
        self.initial.sandbox
    }

    pub(crate) fn organization(&self) -> RecordId {
        self.state().defaults.organization
    }

    /// Whether a user of the org has this name.
    pub(crate) fn has_user(&self, username: &str) -> bool {
        let Some(field) = self.schema.object(self.schema.user).find("Username") else { return false };
        let state = self.state();
        state.table(self.schema.user).committed().any(|(_, row)| {
            row.get(field).and_then(Value::as_str).is_some_and(|name| name.eq_ignore_ascii_case(username))
        })
    }

    pub(crate) fn next_transaction(&self) -> TransactionId {
        TransactionId(self.last_transaction.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// A whole number from 0 to `upper` of the seeded generator.
    pub(crate) fn jitter(&self, upper: u64) -> u64 {
        if upper == 0 { 0 } else { guard(&self.rng).random_range(0..=upper) }
    }

    /// Adds or replaces a user and his row.
    pub(crate) fn put_user(&self, user: User) -> Result<RecordId, String> {
        user.check()?;
        let fields = crate::oauth::users::fields(&user);
        let id = self.oauth.store().put_user(user);
        self.state().seed(&self.schema, self.schema.user, id, &fields, &self.clock.stamp_text());
        Ok(id)
    }

    pub(crate) fn set_duplicate_rules(&self, rules: &[DuplicateRule]) -> Result<(), String> {
        let mut state = self.state();
        let state = &mut *state;
        let in_use: Vec<usize> = state.tables.iter().map(|table| table.indexes.len()).collect();
        // The first pass finds out whether the rules are good; the second makes their indexes in place of the old ones.
        let good = Rules::compile(&self.schema, &mut state.tables, rules).map(drop);
        state.keep_indexes(if good.is_ok() { None } else { Some(&in_use) });
        good?;
        let compiled = Rules::compile(&self.schema, &mut state.tables, rules)?;
        compiled.store(&self.schema, state, &self.clock.stamp_text());
        state.rules = compiled;
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use std::sync::Arc;

    use serde_json::{Map, json};

    use super::Org;
    use crate::config::{Config, SeedRecord};
    use crate::control::Control;
    use crate::schema::Schema;

    #[test]
    fn the_rows_an_org_starts_with_come_in_one_step_with_its_reset() {
        let fields = Map::from_iter([("Name".to_owned(), json!("A"))]);
        let record = SeedRecord { object: "Account".to_owned(), reference: None, fields };
        let config = Config { records: vec![record], ..Config::default() };
        let org = Arc::new(Org::new(config, 1, Schema::load(&[]).unwrap()));
        let control = Control::new(Arc::clone(&org));
        control.plant().unwrap();
        let first = control.records("Account").unwrap();
        org.reset();
        let again = control.records("Account").unwrap();
        assert_eq!((again.len(), &again[0]["Id"], &again[0]["Name"]), (1, &first[0]["Id"], &json!("A")));
        // Several at once: each brings its rows, and none brings them into the org of another.
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..8).for_each(|_| control.reset()));
            }
        });
        assert_eq!(control.records("Account").unwrap().len(), 1);
        assert_eq!((org.epoch(), org.stored().pending), (33, 0));
        assert_eq!(org.state().locks.held(), 0);
    }
}
