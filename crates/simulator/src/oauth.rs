//! Connected apps, users, sessions, refresh tokens and authorization codes.
//!
//! Source: Help, "OAuth Authorization Flows", "Manage OAuth Access Policies" and "OAuth 2.0 Error Codes";
//! RFC 6749, RFC 7523 and RFC 7636 where Salesforce follows them.

pub(crate) mod assertion;
pub(crate) mod audit;
pub(crate) mod browser;
pub(crate) mod codes;
pub(crate) mod grants;
pub(crate) mod id_token;
pub(crate) mod policy;
pub(crate) mod scope;
pub(crate) mod sessions;
pub(crate) mod text;
pub(crate) mod users;

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard};

use jsonwebtoken::DecodingKey;

use crate::config::{Config, ConnectedApp, User};
use crate::ids::RecordId;
use crate::org::guard;
use crate::settings::Settings;

pub(crate) use assertion::claims;
use audit::Audit;
use browser::Browsers;
use codes::Code;
use grants::Grant;
use id_token::Signer;
use scope::Scopes;
use sessions::{Refused, Session};

/// Name of the built-in user.
pub const USERNAME: &str = "integration@causeway.test";
/// Password of the built-in user.
pub const PASSWORD: &str = "causeway";

/// A refusal of the token endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OauthError {
    pub(crate) error: &'static str,
    pub(crate) description: String,
}

impl OauthError {
    pub(crate) fn new(error: &'static str, description: impl Into<String>) -> Self {
        Self { error, description: description.into() }
    }
}

/// Who owns what nobody else has written.
pub(crate) fn first_user() -> RecordId {
    users::id_of(0)
}

/// All sign-in state behind one lock, and the key that signs id tokens.
#[derive(Debug)]
pub(crate) struct OAuth {
    store: Mutex<Store>,
    pub(crate) signer: Signer,
}

/// Everything about who may come in. Methods are in the modules of their subject.
#[derive(Debug, Default)]
pub(crate) struct Store {
    apps: Vec<ConnectedApp>,
    users: Vec<User>,
    access: HashMap<String, Session>,
    /// Refresh tokens, retired ones included, with their grant.
    refresh: HashMap<String, u64>,
    grants: HashMap<u64, Grant>,
    last_grant: u64,
    codes: HashMap<String, Code>,
    /// What each user has allowed each app.
    approvals: HashMap<(String, RecordId), Scopes>,
    /// Times of the logins of the last hour.
    logins: HashMap<RecordId, VecDeque<i64>>,
    pub(crate) browsers: Browsers,
    pub(crate) audit: Audit,
}

impl OAuth {
    pub(crate) fn new(config: &Config) -> Self {
        Self { store: Mutex::new(Store::of(config)), signer: Signer::default() }
    }

    pub(crate) fn reset(&self, config: &Config) {
        *self.store() = Store::of(config);
    }

    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        guard(&self.store)
    }

    /// Adds an app, or replaces the one with its consumer key.
    pub(crate) fn register(&self, app: ConnectedApp) -> Result<(), String> {
        if app.client_id.is_empty() {
            return Err("client_id: must not be empty".to_owned());
        }
        if let Some(pem) = &app.public_key_pem {
            DecodingKey::from_rsa_pem(pem.as_bytes()).map_err(|error| format!("public_key_pem: {error}"))?;
        }
        if let Some(unknown) = app.scopes.iter().find(|name| !scope::is_known(name)) {
            return Err(format!("scopes: Salesforce has no scope {unknown}"));
        }
        let mut store = self.store();
        store.apps.retain(|other| other.client_id != app.client_id);
        store.apps.push(app);
        Ok(())
    }

    /// The user of a bearer token; using it extends its life.
    pub(crate) fn accept(&self, token: &str, now_ms: i64, settings: &Settings) -> Result<RecordId, Refused> {
        self.store().accept(token, now_ms, settings)
    }

    /// Ends all sessions; refresh tokens stay good.
    pub(crate) fn expire_sessions(&self) -> usize {
        self.store().expire_sessions()
    }

    pub(crate) fn live_sessions(&self, now_ms: i64) -> usize {
        self.store().live_sessions(now_ms)
    }
}

impl OAuth {
    pub(crate) fn app(&self, client_id: &str) -> Option<ConnectedApp> {
        self.store().app(client_id).ok()
    }

    /// The live session of a token; looking does not extend it.
    pub(crate) fn session(&self, token: &str, now_ms: i64, settings: &Settings) -> Option<Session> {
        self.store().session(token, now_ms, settings).cloned()
    }

    pub(crate) fn has_code(&self, text: &str) -> bool {
        self.store().codes.contains_key(text)
    }

    /// Whether the org handed out this refresh token, retired or not.
    pub(crate) fn has_refresh_token(&self, text: &str) -> bool {
        self.store().refresh.contains_key(text)
    }
}

impl Store {
    fn of(config: &Config) -> Self {
        Self { apps: config.apps.clone(), users: config.users.clone(), ..Self::default() }
    }

    pub(crate) fn app(&self, client_id: &str) -> Result<ConnectedApp, OauthError> {
        let app = self.apps.iter().find(|app| app.client_id == client_id).cloned();
        app.ok_or_else(|| OauthError::new("invalid_client_id", "client identifier invalid"))
    }
}
