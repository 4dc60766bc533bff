//! Everything about the org that may be changed while it runs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::RecordId;
use crate::oauth::policy;

mod choices;

pub use choices::{
    BusinessFields, DuplicateKey, GraphDuplicateBody, GraphErrorStyle, Language, MissingCreate, ObjectPermission,
    PersonContactWrites, PublishBehavior, ReferenceMessage, RefreshPolicy, Reparenting, UnseenRecord,
};

/// Settings of the org. `POST /_sim/settings` takes any subset of these keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Virtual seconds in a real second: 1 is real time, more speeds latency, lock waits, sessions and all windows up,
    /// and at 0 the clock only moves when it is pushed. A wait is never shorter than a real millisecond, so above 100 no
    /// call is stopped for its length.
    pub pace: f64,
    /// Milliseconds each request waits before it is worked on.
    pub latency_ms: u64,
    /// Milliseconds each written row takes, with its locks held.
    pub latency_per_row_ms: u64,
    /// Upper bound of the random milliseconds added to each request.
    pub latency_jitter_ms: u64,
    /// Calls allowed in a rolling 24 hours.
    pub api_limit: u64,
    /// Events that may be published in a rolling hour.
    pub event_hourly_limit: u64,
    /// Milliseconds a transaction waits for a row lock; Salesforce waits about ten seconds.
    pub lock_wait_ms: u64,
    /// Whether two transactions that wait for each other are found at once, and the younger one fails; without it both
    /// wait for the end of the lock wait.
    pub deadlock_detection: bool,
    /// Milliseconds after which a running request counts as long-running.
    pub long_running_ms: u64,
    /// Long-running requests allowed at once.
    pub long_running_limit: usize,
    /// How failed graphs word their innocent nodes.
    pub graph_error_style: GraphErrorStyle,
    /// How a reference to something that is not there is worded.
    pub reference_message: ReferenceMessage,
    /// Whether duplicates in graphs carry matches.
    pub graph_duplicate_body: GraphDuplicateBody,
    /// Whether a graph node may publish a platform event.
    pub graph_events_allowed: bool,
    /// Whether the duplicate-rule header of a graph request reaches its nodes.
    pub graph_header_propagation: bool,
    /// Spelling of the duplicate result's key.
    pub duplicate_key: DuplicateKey,
    /// Ids of records that sharing hides from the integration user.
    pub unshared_records: Vec<String>,
    /// What a duplicate result says of a match that sharing hides.
    pub duplicate_unseen_record: UnseenRecord,
    /// Whether rows rolled back by `allOrNone` still print the id they would have had.
    pub collections_rolled_back_rows_keep_id: bool,
    /// Rows that the deletions of one call may take with them; a deletion with which it would be as many is refused.
    pub cascade_delete_limit: usize,
    /// Milliseconds a closed bulk job waits before it is worked on.
    pub bulk_delay_ms: u64,
    /// Bytes of data that a bulk job takes, counted in base64.
    pub bulk_upload_max_bytes: usize,
    /// Batches of ten thousand rows that bulk jobs may use in a rolling 24 hours.
    pub bulk_batch_limit: u64,
    /// Query cursors a user may hold; the oldest goes first. Nothing means any number, as since API version 56; 10 is
    /// the earlier rule.
    pub query_cursor_limit: Option<usize>,
    /// First three characters of a query locator: `01g` is recorded, Help names `0r8`.
    pub query_locator_prefix: String,
    /// When events reach the bus, if not as their definitions say.
    pub publish_behavior: PublishBehavior,
    /// Milliseconds an accepted event takes from its commit to the bus.
    pub event_delay_ms: u64,
    /// Largest event message; Salesforce takes one megabyte.
    pub event_max_bytes: usize,
    /// Events delivered to Pub/Sub API subscribers in a rolling 24 hours, each subscriber's counted.
    pub event_daily_delivery_limit: u64,
    /// Bytes of events the bus keeps at most; older ones go before their 72 hours are over.
    pub event_bus_max_bytes: usize,
    /// Largest gap between the replay ids of two events; 0 makes them contiguous.
    pub replay_gap: u32,
    /// Length of a replay id on the wire: 10 as recorded, or 8.
    pub replay_id_bytes: u8,
    /// Streams of the Pub/Sub API that may be open at once.
    pub pubsub_max_streams: usize,
    /// Whether the org has person accounts.
    pub person_accounts: bool,
    /// Whether State and Country/Territory picklists are on.
    pub state_country_picklists: bool,
    /// Fields hidden from the integration user, as `Object.Field`; they look unknown.
    pub hidden_fields: Vec<String>,
    /// Fields whose values in bodies the request log tells, as it tells external ids, as `Object.Field`.
    pub logged_fields: Vec<String>,
    /// Language of error messages.
    pub language: Language,
    /// HTTP status of `STORAGE_LIMIT_EXCEEDED`: 400 or 403.
    pub storage_limit_status: u16,
    /// Fields the integration user may read but not write, as `Object.Field`.
    pub read_only_fields: Vec<String>,
    /// What the integration user may do with each object; objects that are not named allow everything.
    pub object_permissions: BTreeMap<String, ObjectPermission>,
    /// Status of `INSUFFICIENT_ACCESS_OR_READONLY`: 403 or 400.
    pub insufficient_access_status: u16,
    /// How a create without the Create permission is refused.
    pub missing_create: MissingCreate,
    /// Writes to the hidden Contact of a person account.
    pub person_contact_writes: PersonContactWrites,
    /// Business-only fields on person accounts.
    pub person_account_business_fields: BusinessFields,
    /// Whether the user's profile has a person account record type.
    pub person_record_type_assigned: bool,
    /// How moving a row to another master is refused.
    pub reparenting: Reparenting,
    /// Seconds an access token lives after its last use.
    pub session_ttl_s: u64,
    /// Whether a refresh hands out a new refresh token and retires the old one.
    pub refresh_rotation: bool,
    /// Whether a retired refresh token revokes its whole family.
    pub refresh_reuse_detection: bool,
    /// Seconds for which a retired refresh token still gives a session, and the current refresh token again.
    pub refresh_grace_s: u64,
    /// How long refresh tokens are good.
    pub refresh_policy: RefreshPolicy,
    /// Seconds a refresh token is good, where `refresh_policy` is `expire_after` or `expire_unused`.
    pub refresh_lifetime_s: u64,
    /// Whether a refresh token past its life is called `token validity expired` instead of `expired access/refresh token`.
    pub token_validity_expired: bool,
    /// Addresses from which refresh tokens may be used, as `10.0.0.0/8`; empty allows any.
    pub refresh_ip_ranges: Vec<String>,
    /// Refresh tokens a user may have of one app; the oldest ends when there is one more.
    pub refresh_tokens_per_user: usize,
    /// Whether every app must use PKCE.
    pub pkce_required: bool,
    /// Whether only users whom an administrator has approved may use an app.
    pub admin_approved_only: bool,
    /// Whether a user who lacks that approval is sent back to the app instead of being shown an error page.
    pub access_denied_redirects: bool,
    /// Whether users of an API-only profile may approve apps on the page.
    pub api_only_users_may_authorize: bool,
    /// Whether the username-password flow is open; new orgs have it closed.
    pub username_password_flow: bool,
    /// Seconds a JWT assertion may still be good when it is presented.
    pub assertion_lifetime_s: u64,
    /// Logins of one user allowed in a rolling hour.
    pub logins_per_hour: usize,
    /// Whether the org is locked: no app gets a token, and nobody a session by SOAP.
    pub org_locked: bool,
    /// Origins that may call the OAuth endpoints from a browser, as `https://app.example`.
    pub cors_origins: Vec<String>,
    /// Whether the integration user is active.
    pub user_active: bool,
    /// Whether the connected app is installed in the org; one that is not serves only those who approved it before.
    pub app_installed: bool,
    /// Status of `invalid_client` at the token endpoint: 400 or 401.
    pub invalid_client_status: u16,
    /// Whether the authorize endpoint approves without asking.
    pub auto_approve: bool,
    /// Whether `login()` of the SOAP API is enabled; in new orgs it is not.
    pub soap_login: bool,
    /// Answered as `instance_url` instead of the listening address.
    pub instance_url: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pace: 1.0,
            latency_ms: 0,
            latency_per_row_ms: 0,
            latency_jitter_ms: 0,
            api_limit: 100_000,
            event_hourly_limit: 250_000,
            lock_wait_ms: 10_000,
            deadlock_detection: true,
            long_running_ms: 20_000,
            long_running_limit: 25,
            graph_error_style: GraphErrorStyle::RepeatRoot,
            reference_message: ReferenceMessage::Short,
            graph_duplicate_body: GraphDuplicateBody::Full,
            graph_events_allowed: true,
            graph_header_propagation: true,
            duplicate_key: DuplicateKey::Misspelt,
            unshared_records: Vec::new(),
            duplicate_unseen_record: UnseenRecord::Null,
            collections_rolled_back_rows_keep_id: true,
            cascade_delete_limit: 100_000,
            bulk_delay_ms: 0,
            bulk_upload_max_bytes: 150_000_000,
            bulk_batch_limit: 15_000,
            query_cursor_limit: None,
            query_locator_prefix: "01g".to_owned(),
            publish_behavior: PublishBehavior::AsDefined,
            event_delay_ms: 0,
            event_max_bytes: 1_048_576,
            event_daily_delivery_limit: 25_000,
            event_bus_max_bytes: 512 * 1024 * 1024,
            replay_gap: 3,
            replay_id_bytes: 10,
            pubsub_max_streams: 1_000,
            person_accounts: true,
            state_country_picklists: false,
            hidden_fields: Vec::new(),
            logged_fields: Vec::new(),
            language: Language::English,
            storage_limit_status: 400,
            read_only_fields: Vec::new(),
            object_permissions: BTreeMap::new(),
            insufficient_access_status: 403,
            missing_create: MissingCreate::InsufficientAccess,
            person_contact_writes: PersonContactWrites::Refused,
            person_account_business_fields: BusinessFields::Refused,
            person_record_type_assigned: true,
            reparenting: Reparenting::NotUpdateable,
            session_ttl_s: 7_200,
            refresh_rotation: false,
            refresh_reuse_detection: true,
            refresh_grace_s: 0,
            refresh_policy: RefreshPolicy::UntilRevoked,
            refresh_lifetime_s: 30 * 24 * 3_600,
            token_validity_expired: false,
            refresh_ip_ranges: Vec::new(),
            refresh_tokens_per_user: 5,
            pkce_required: false,
            admin_approved_only: false,
            access_denied_redirects: false,
            api_only_users_may_authorize: true,
            username_password_flow: false,
            assertion_lifetime_s: 300,
            logins_per_hour: 3_600,
            org_locked: false,
            cors_origins: Vec::new(),
            user_active: true,
            app_installed: true,
            invalid_client_status: 400,
            auto_approve: false,
            soap_login: true,
            instance_url: None,
        }
    }
}

impl Settings {
    /// These settings with the keys of `changes` replaced.
    ///
    /// # Errors
    /// The text of the first key or value that does not fit.
    pub fn merged(&self, changes: &serde_json::Value) -> Result<Self, String> {
        let serde_json::Value::Object(changes) = changes else { return Err("expected a JSON object".to_owned()) };
        let mut all = serde_json::to_value(self).map_err(|error| error.to_string())?;
        if let serde_json::Value::Object(all) = &mut all {
            all.extend(changes.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        let merged: Self = serde_json::from_value(all).map_err(|error| error.to_string())?;
        if !matches!(merged.invalid_client_status, 400 | 401) {
            return Err("invalid_client_status must be 400 or 401".to_owned());
        }
        if !matches!(merged.insufficient_access_status, 400 | 403) {
            return Err("insufficient_access_status must be 400 or 403".to_owned());
        }
        let anywhere = std::net::IpAddr::from([0, 0, 0, 0]);
        if let Some(range) = merged.refresh_ip_ranges.iter().find(|range| policy::in_range(anywhere, range).is_none()) {
            return Err(format!("refresh_ip_ranges: {range} is no address or range such as 10.0.0.0/8"));
        }
        if !(0.0..=crate::clock::FASTEST).contains(&merged.pace) {
            return Err(format!("pace must be from 0 to {}", crate::clock::FASTEST));
        }
        if !matches!(merged.storage_limit_status, 400 | 403) {
            return Err("storage_limit_status must be 400 or 403".to_owned());
        }
        if !matches!(merged.query_locator_prefix.as_str(), "01g" | "0r8") {
            return Err("query_locator_prefix must be 01g or 0r8".to_owned());
        }
        if !matches!(merged.replay_id_bytes, 8 | 10) {
            return Err("replay_id_bytes must be 8 or 10".to_owned());
        }
        Ok(merged)
    }

    pub(crate) fn lock_wait(&self) -> Duration {
        Duration::from_millis(self.lock_wait_ms)
    }

    /// Whether sharing hides the record from the integration user.
    pub(crate) fn hides_record(&self, id: RecordId) -> bool {
        !self.unshared_records.is_empty() && self.unshared_records.iter().any(|text| RecordId::parse(text) == Some(id))
    }

    pub(crate) fn hides(&self, object: &str, field: &str) -> bool {
        names(&self.hidden_fields, object, field)
    }

    /// The request log tells the field's values.
    pub(crate) fn logs(&self, object: &str, field: &str) -> bool {
        names(&self.logged_fields, object, field)
    }

    /// Field-level security lets the user read the field only.
    pub(crate) fn forbids_writing(&self, object: &str, field: &str) -> bool {
        names(&self.read_only_fields, object, field)
    }

    /// What the user may do with the rows of an object.
    pub(crate) fn permission(&self, object: &str) -> ObjectPermission {
        let mut named = self.object_permissions.iter();
        named.find(|(name, _)| name.eq_ignore_ascii_case(object)).map_or(ObjectPermission::ALL, |(_, found)| *found)
    }

    /// The same org for somebody who may do everything.
    pub(crate) fn without_security(&self) -> Self {
        Self {
            hidden_fields: Vec::new(),
            read_only_fields: Vec::new(),
            object_permissions: BTreeMap::new(),
            ..self.clone()
        }
    }
}

/// Whether a list of `Object.Field` has that field.
fn names(list: &[String], object: &str, field: &str) -> bool {
    list.iter().any(|name| {
        name.split_once('.').is_some_and(|(o, f)| o.eq_ignore_ascii_case(object) && f.eq_ignore_ascii_case(field))
    })
}
