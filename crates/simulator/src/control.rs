//! The org from behind: what tests arm, seed and read without going through the API.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use serde_json::{Map, Value};

use crate::auth_providers::{AuthProviderStatus, CalloutAnswer, CalloutRequest};
use crate::call::{Call, DuplicateOptions};
use crate::config::{AuthProvider, ConnectedApp, SeedRecord, User};
use crate::duplicates::DuplicateRule;
use crate::events::PublishedEvent;
use crate::faults::{ArmedFault, Fault};
use crate::ids::RecordId;
use crate::limits::UsageReport;
use crate::oauth::audit::OauthEvent;
use crate::org::Org;
use crate::request_log::LoggedRequest;
use crate::schema::ObjectIx;
use crate::settings::Settings;
use crate::transaction::{Saved, Target, Transaction};

/// A refused control call: what was wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ControlError(pub String);

/// Typed control calls. Each one is also a path under `/_sim/`.
#[derive(Debug, Clone)]
pub struct Control {
    org: Arc<Org>,
}

impl Control {
    pub(crate) fn new(org: Arc<Org>) -> Self {
        Self { org }
    }

    /// Back to the state after start.
    pub fn reset(&self) {
        self.org.reset();
    }

    /// Writes the rows the org starts with: all or none.
    pub(crate) fn plant(&self) -> Result<(), ControlError> {
        let records = self.org.seed_records();
        if records.is_empty() {
            return Ok(());
        }
        // No request reaches the org yet, so there are no locks to wait for, and these rows have no latency.
        let busy = || Err(ControlError("something holds rows of an org that nobody reaches yet".to_owned()));
        self.planted(records).now_or_never().unwrap_or_else(busy)
    }

    async fn planted(&self, records: &[SeedRecord]) -> Result<(), ControlError> {
        let mut call = self.call();
        let mut settings = Settings::clone(&call.settings);
        settings.latency_per_row_ms = 0;
        call.settings = Arc::new(settings);
        let mut ids: HashMap<&str, String> = HashMap::new();
        let mut transaction = Transaction::begin(&self.org);
        for (number, record) in (1..).zip(records) {
            let refused = |said: String| ControlError(format!("record {number} ({}): {said}", record.object));
            let mut fields = record.fields.clone();
            for value in fields.values_mut() {
                if let Some(id) = value.as_str().and_then(|text| ids.get(text.strip_prefix('@')?)) {
                    *value = Value::String(id.clone());
                }
            }
            let saved = match self.object(&record.object) {
                Ok(ix) => transaction.save(ix, Target::New, &fields, &call).await,
                Err(error) => {
                    transaction.rollback(&call).await;
                    return Err(refused(error.0));
                }
            };
            match saved {
                Ok(Saved::Row { id, .. }) => {
                    if let Some(name) = &record.reference {
                        ids.insert(name, id.to_string());
                    }
                }
                Ok(Saved::Several(_)) => {}
                Err(error) => {
                    transaction.rollback(&call).await;
                    return Err(refused(format!("{}: {}", error.code, error.message)));
                }
            }
        }
        transaction.commit(&call).await;
        Ok(())
    }

    /// Committed rows of an object in the order of their creation, fields with a value only, deleted rows left out.
    ///
    /// # Errors
    /// The org has no such object.
    pub fn records(&self, object: &str) -> Result<Vec<Map<String, Value>>, ControlError> {
        let ix = self.org.schema.find(object).ok_or_else(|| ControlError(format!("no object {object}")))?;
        let definition = self.org.schema.object(ix);
        let rows: Vec<_> = self.org.state().table(ix).committed().map(|(_, row)| Arc::clone(row)).collect();
        Ok(rows
            .iter()
            .map(|row| {
                definition
                    .each_field()
                    .filter_map(|(field, definition)| Some((definition.name.clone(), row.get(field)?.clone())))
                    .collect()
            })
            .collect())
    }

    /// The newest rows of an object and how many there are.
    pub(crate) fn newest(&self, object: &str, limit: usize) -> Option<(usize, Vec<Map<String, Value>>)> {
        let ix = self.org.schema.find(object)?;
        let definition = self.org.schema.object(ix);
        let state = self.org.state();
        let total = state.table(ix).committed().count();
        let rows = state.table(ix).committed().rev().take(limit);
        let records = rows.map(|(_, row)| {
            let fields = definition.each_field();
            fields.filter_map(|(field, definition)| Some((definition.name.clone(), row.get(field)?.clone()))).collect()
        });
        Some((total, records.collect()))
    }

    /// Writes rows as the API would, without counting calls and without duplicate rules; returns their ids.
    /// All rows are written, or none.
    ///
    /// # Errors
    /// The first refusal, worded as Salesforce words it.
    pub async fn seed(&self, object: &str, rows: &[Map<String, Value>]) -> Result<Vec<String>, ControlError> {
        let ix = self.object(object)?;
        let call = self.call();
        let mut transaction = Transaction::begin(&self.org);
        let mut ids = Vec::with_capacity(rows.len());
        for row in rows {
            match transaction.save(ix, Target::New, row, &call).await {
                Ok(Saved::Row { id, .. }) => ids.push(id.to_string()),
                Ok(Saved::Several(_)) => {}
                Err(error) => {
                    transaction.rollback(&call).await;
                    return Err(ControlError(format!("{}: {}", error.code, error.message)));
                }
            }
        }
        transaction.commit(&call).await;
        Ok(ids)
    }

    /// Deletes a row as somebody in the org would.
    ///
    /// # Errors
    /// The object or the row does not exist.
    pub async fn delete(&self, object: &str, id: &str) -> Result<(), ControlError> {
        let ix = self.object(object)?;
        let id = RecordId::parse(id).ok_or_else(|| ControlError(format!("{id} is no record id")))?;
        let call = self.call();
        let mut transaction = Transaction::begin(&self.org);
        if let Err(error) = transaction.delete(ix, id, &call).await {
            transaction.rollback(&call).await;
            return Err(ControlError(format!("{}: {}", error.code, error.message)));
        }
        transaction.commit(&call).await;
        Ok(())
    }

    fn object(&self, object: &str) -> Result<ObjectIx, ControlError> {
        self.org.schema.find(object).ok_or_else(|| ControlError(format!("no object {object}")))
    }

    fn call(&self) -> Call {
        Call {
            settings: Arc::new(self.org.settings().without_security()),
            user: crate::oauth::first_user(),
            epoch: self.org.epoch(),
            version: "62.0".to_owned(),
            path: "/_sim/records".to_owned(),
            duplicates: DuplicateOptions { bypass: true, ..DuplicateOptions::default() },
            batch_size: 2_000,
            in_graph: false,
        }
    }

    /// All events on the bus in replay order.
    pub fn events(&self) -> Vec<PublishedEvent> {
        self.events_after(0)
    }

    /// Events with a replay id above `replay_id`, in replay order.
    pub fn events_after(&self, replay_id: u64) -> Vec<PublishedEvent> {
        let mut bus = self.org.bus();
        bus.settle(self.org.clock.now_ms(), &self.org.settings());
        bus.after(replay_id).cloned().collect()
    }

    /// The newest events and how many are on the bus.
    pub(crate) fn newest_events(&self, limit: usize) -> (usize, Vec<PublishedEvent>) {
        let mut bus = self.org.bus();
        bus.settle(self.org.clock.now_ms(), &self.org.settings());
        (bus.len(), bus.after(0).rev().take(limit).cloned().collect())
    }

    /// The last requests, oldest first; the log is bounded.
    pub fn requests(&self) -> Vec<LoggedRequest> {
        self.requests_after(0)
    }

    /// As [`Control::requests`], those with a higher number than this.
    pub fn requests_after(&self, number: u64) -> Vec<LoggedRequest> {
        self.org.log().entries().filter(|request| request.number > number).cloned().collect()
    }

    /// The newest requests and how many the log holds.
    pub(crate) fn newest_requests(&self, limit: usize) -> (usize, Vec<LoggedRequest>) {
        let log = self.org.log();
        (log.entries().len(), log.entries().rev().take(limit).cloned().collect())
    }

    /// API calls counted since start or reset.
    pub fn api_calls(&self) -> u64 {
        self.org.usage().total()
    }

    /// Calls, events and running requests against their limits.
    pub fn usage(&self) -> UsageReport {
        let now = self.org.clock.now_ms();
        let settings = self.org.settings();
        let (events_last_hour, deliveries_last_day) = {
            let mut bus = self.org.bus();
            (bus.published_last_hour(now), bus.delivered_last_day(now))
        };
        let stored = self.org.stored();
        let (locked_rows, lock_waiters) = {
            let state = self.org.state();
            (state.locks.held(), state.locks.waiting())
        };
        let mut usage = self.org.usage();
        UsageReport {
            api_calls: usage.last_day(now),
            api_limit: settings.api_limit,
            api_calls_total: usage.total(),
            events_last_hour,
            event_hourly_limit: settings.event_hourly_limit,
            deliveries_last_day,
            event_daily_delivery_limit: settings.event_daily_delivery_limit,
            running: usage.running(),
            locked_rows,
            lock_waiters,
            stored,
            waiting: self.org.clock.waiting(),
        }
    }

    /// Arms a fault and returns the id that disarms it.
    ///
    /// # Errors
    /// The fault cannot be armed as it is (an empty sequence, a probability above 1, …), or too many are armed.
    pub fn try_arm(&self, fault: Fault) -> Result<u64, ControlError> {
        self.org.faults.arm(fault).map_err(ControlError)
    }

    /// Arms a fault that is known to be sound, as tests write them; one that is not is logged and left out.
    pub fn arm(&self, fault: Fault) {
        if let Err(error) = self.try_arm(fault) {
            tracing::error!(%error, "a fault was not armed");
        }
    }

    /// Disarms one fault and lets go what it holds; `false` when none has this id.
    pub fn disarm(&self, id: u64) -> bool {
        self.org.faults.disarm(id)
    }

    /// Lets go every request that [`crate::FaultKind::Hold`] or [`crate::FaultKind::HoldAnswer`] holds, and says how
    /// many. The faults stay armed and hold what matches next.
    pub fn release_held(&self) -> u64 {
        self.org.faults.release()
    }

    /// Waits until at least `count` requests are held.
    pub async fn until_held(&self, count: u64) {
        // The org, and with it the sender, lives as long as this handle.
        let _ = self.org.faults.held().wait_for(|held| *held >= count).await;
    }

    /// Disarms all faults.
    pub fn clear_faults(&self) {
        self.org.faults.clear();
    }

    /// Armed faults and what became of them.
    pub fn faults(&self) -> Vec<ArmedFault> {
        self.org.faults.list()
    }

    /// Replaces the duplicate rules.
    ///
    /// # Errors
    /// A rule names an object or field the org does not have; the old rules stay.
    pub fn set_duplicate_rules(&self, rules: &[DuplicateRule]) -> Result<(), ControlError> {
        self.org.set_duplicate_rules(rules).map_err(ControlError)
    }

    /// The duplicate rules.
    pub fn duplicate_rules(&self) -> Vec<DuplicateRule> {
        self.org.state().rules.all.clone()
    }

    /// Ends all sessions; returns how many there were. Refresh tokens stay good.
    pub fn expire_sessions(&self) -> usize {
        let ended = self.org.oauth.expire_sessions();
        self.org.bus().tell();
        ended
    }

    /// Sessions that are good now.
    pub fn live_sessions(&self) -> usize {
        self.org.oauth.live_sessions(self.org.clock.now_ms())
    }

    /// Adds a connected app, or replaces the one with its consumer key.
    ///
    /// # Errors
    /// Its public key is no RSA key in PEM.
    pub fn register_app(&self, app: ConnectedApp) -> Result<(), ControlError> {
        self.org.oauth.register(app).map_err(ControlError)
    }

    /// The users, passwords left out when printed as JSON.
    pub fn users(&self) -> Vec<User> {
        self.org.oauth.store().users().to_vec()
    }

    /// Adds a user, or replaces the one with his name; an empty password keeps the old one. Returns his id.
    /// Whoever may not sign in any more, or has a new password, loses his sessions.
    ///
    /// # Errors
    /// As [`User::check`].
    pub fn put_user(&self, user: User) -> Result<String, ControlError> {
        self.org.put_user(user).map(|id| id.to_string()).map_err(ControlError)
    }

    /// Who was given which tokens, oldest first; the list is bounded and holds no secret.
    pub fn oauth_audit(&self) -> Vec<OauthEvent> {
        self.org.oauth.store().audit.entries()
    }

    /// Revokes all tokens and approvals of an app, of a user, of both together, or of all, as an administrator does
    /// on "Connected Apps OAuth Usage". Returns how many refresh tokens ended.
    ///
    /// # Errors
    /// There is no such user.
    pub fn revoke_tokens(&self, client_id: Option<&str>, username: Option<&str>) -> Result<usize, ControlError> {
        let mut store = self.org.oauth.store();
        let user = match username {
            Some(name) => Some(store.user_named(name).ok_or_else(|| ControlError(format!("no user {name}")))?.0),
            None => None,
        };
        Ok(store.revoke_usage(client_id, user))
    }

    /// The Auth. Providers, and whether somebody has authenticated at each.
    pub fn auth_providers(&self) -> Vec<AuthProviderStatus> {
        self.org.auth_providers.list(&self.org.base_url())
    }

    /// Adds an Auth. Provider, or replaces the one with its suffix, whose tokens end.
    ///
    /// # Errors
    /// The suffix or an address cannot be used.
    pub fn put_auth_provider(&self, provider: AuthProvider) -> Result<(), ControlError> {
        self.org.auth_providers.put(provider).map_err(ControlError)
    }

    /// Calls another server with the token of an Auth. Provider, as a Named Credential does: a 401 is answered with
    /// one refresh and one repetition.
    ///
    /// # Errors
    /// Nobody has authenticated there, the server cannot be reached, or the token cannot be refreshed.
    pub async fn call_out(
        &self,
        provider: &str,
        method: &str,
        url: &str,
        body: Option<Value>,
    ) -> Result<CalloutAnswer, ControlError> {
        let (provider, method, url) = (provider.to_owned(), method.to_owned(), url.to_owned());
        self.send_callout(&CalloutRequest { provider, method, url, body }).await
    }

    pub(crate) async fn send_callout(&self, call: &CalloutRequest) -> Result<CalloutAnswer, ControlError> {
        self.org.auth_providers.call_out(call).await.map_err(ControlError)
    }

    /// The org's time, as a date-time field prints it.
    pub fn now(&self) -> String {
        self.org.clock.now_text()
    }

    /// Moves the org's clock forward: sleepers and lock waiters whose moment has come wake, windows and ages move.
    pub fn advance_clock(&self, by: Duration) {
        self.org.clock.advance(by);
    }

    /// The settings in force.
    pub fn settings(&self) -> Settings {
        Settings::clone(&self.org.settings())
    }

    /// Changes settings; requests that run keep those they began with.
    pub fn update_settings(&self, change: impl FnOnce(&mut Settings)) {
        let mut settings = self.settings();
        change(&mut settings);
        self.org.set_settings(settings);
    }

    pub(crate) fn merge_settings(&self, changes: &Value) -> Result<Settings, ControlError> {
        let merged = self.org.settings().merged(changes).map_err(ControlError)?;
        self.org.set_settings(merged.clone());
        Ok(merged)
    }

    /// Names of the objects that hold rows, and how many they hold.
    pub(crate) fn stored_objects(&self) -> Vec<(String, usize)> {
        let state = self.org.state();
        let stored = self.org.schema.objects.iter().enumerate().filter(|(_, object)| !object.event);
        stored.map(|(ix, object)| (object.name.clone(), state.table(ObjectIx(ix)).committed().count())).collect()
    }
}
