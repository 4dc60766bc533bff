//! The org as an OAuth client: it sends a person to an Auth. Provider, exchanges the code, keeps the tokens, and calls
//! out with them.
//!
//! Source: Help, "Configure an Authentication Provider Using `OpenID` Connect" and "Named Credentials"; the shape of the
//! authorize request is recorded.

mod exchange;
mod request;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use serde::Serialize;

use crate::config::AuthProvider;
use crate::ids::RecordId;
use crate::org::guard;

pub use exchange::CalloutAnswer;
pub(crate) use exchange::CalloutRequest;

/// A person has fifteen minutes to come back.
const STATE_TTL_MS: i64 = 15 * 60_000;
/// More authorizations than that do not wait.
const MOST_WAITING: usize = 1_000;
/// The exchange of a code or refresh token must be answered within this time.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// A callout may take two minutes (Apex Developer Guide, "Callout Limits and Limitations").
const CALLOUT_TIMEOUT: Duration = Duration::from_mins(2);

/// What the authorization is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// `/services/auth/oauth/…`: a Named Credential.
    Oauth,
    /// `/services/auth/sso/…` and `/link/…`: a login.
    Sso,
    /// `/services/auth/test/…`: the setup page's test.
    Test,
}

/// An authorization that was sent out.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    pub(crate) suffix: String,
    pub(crate) purpose: Purpose,
    pub(crate) redirect_uri: String,
    pub(crate) verifier: Option<String>,
    pub(crate) nonce: Option<String>,
    expires_at_ms: i64,
}

/// Tokens of a Named Credential.
#[derive(Debug, Clone)]
struct Credential {
    access_token: String,
    refresh_token: Option<String>,
    authenticated_at: String,
    refreshed: u64,
}

/// An Auth. Provider and whether somebody has authenticated at it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuthProviderStatus {
    /// The provider, without its secret.
    #[serde(flatten)]
    pub provider: AuthProvider,
    /// Its id, as `ProviderId` of error pages names it.
    pub id: String,
    /// Where a person authenticates it.
    pub kick_off_url: String,
    /// The callback to register at the provider.
    pub callback_url: String,
    /// When tokens were last got by a person, if ever.
    pub authenticated_at: Option<String>,
    /// How often they were refreshed since.
    pub refreshed: u64,
}

#[derive(Debug, Default)]
struct Inner {
    providers: Vec<AuthProvider>,
    waiting: HashMap<String, Waiting>,
    credentials: HashMap<String, Credential>,
}

/// All Auth. Providers of an org.
#[derive(Debug, Default)]
pub(crate) struct AuthProviders {
    inner: Mutex<Inner>,
    /// Held while tokens are refreshed, so that two callouts do not spend one refresh token twice.
    refreshing: Arc<tokio::sync::Mutex<()>>,
    http: OnceLock<Option<reqwest::Client>>,
}

impl AuthProviders {
    pub(crate) fn reset(&self, providers: &[AuthProvider]) {
        *self.inner() = Inner { providers: providers.to_vec(), ..Inner::default() };
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        guard(&self.inner)
    }

    /// Adds a provider or replaces the one with its suffix, whose tokens end.
    pub(crate) fn put(&self, provider: AuthProvider) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if provider.suffix.is_empty() || !provider.suffix.chars().all(plain) {
            return Err("suffix: letters, digits, _ and - only".to_owned());
        }
        let urls = [
            ("authorize_url", Some(&provider.authorize_url)),
            ("token_url", Some(&provider.token_url)),
            ("user_info_url", provider.user_info_url.as_ref()),
        ];
        for (name, url) in urls {
            if url.is_some_and(|url| !is_web(url)) {
                return Err(format!("{name}: must be an http or https address"));
            }
        }
        let mut inner = self.inner();
        inner.credentials.remove(&provider.suffix);
        match inner.providers.iter_mut().find(|other| other.suffix == provider.suffix) {
            Some(place) => *place = provider,
            None => inner.providers.push(provider),
        }
        Ok(())
    }

    pub(crate) fn list(&self, base_url: &str) -> Vec<AuthProviderStatus> {
        let inner = self.inner();
        let status = |(index, provider): (usize, &AuthProvider)| {
            let credential = inner.credentials.get(&provider.suffix);
            AuthProviderStatus {
                id: id_of(index),
                kick_off_url: format!("{base_url}/services/auth/oauth/{}", provider.suffix),
                callback_url: callback_url(base_url, &provider.suffix),
                authenticated_at: credential.map(|credential| credential.authenticated_at.clone()),
                refreshed: credential.map_or(0, |credential| credential.refreshed),
                provider: provider.clone(),
            }
        };
        inner.providers.iter().enumerate().map(status).collect()
    }

    /// The provider with this suffix, and its id.
    pub(crate) fn find(&self, suffix: &str) -> Option<(AuthProvider, String)> {
        let inner = self.inner();
        let found = inner.providers.iter().enumerate().find(|(_, provider)| provider.suffix == suffix);
        found.map(|(index, provider)| (provider.clone(), id_of(index)))
    }

    /// Sends a person out: the provider's address with everything it needs to know, and the state remembered.
    pub(crate) fn kick_off(&self, provider: &AuthProvider, purpose: Purpose, base_url: &str, now_ms: i64) -> String {
        let (location, state, waiting) = request::authorize(provider, purpose, base_url, now_ms);
        let mut inner = self.inner();
        if inner.waiting.len() >= MOST_WAITING {
            inner.waiting.retain(|_, waiting| waiting.expires_at_ms > now_ms);
            if inner.waiting.len() >= MOST_WAITING {
                inner.waiting.clear();
            }
        }
        inner.waiting.insert(state, waiting);
        location
    }

    /// The authorization that this state belongs to; a state is good once.
    pub(crate) fn came_back(&self, state: &str, suffix: &str, now_ms: i64) -> Option<Waiting> {
        let waiting = self.inner().waiting.remove(state)?;
        (waiting.suffix == suffix && waiting.expires_at_ms > now_ms).then_some(waiting)
    }

    fn http(&self) -> Option<reqwest::Client> {
        let build = || {
            let redirects = reqwest::redirect::Policy::none();
            // Salesforce calls out by itself; a proxy of this machine is none of the org's.
            let builder = reqwest::Client::builder().no_proxy().redirect(redirects);
            builder.connect_timeout(EXCHANGE_TIMEOUT).build().ok()
        };
        self.http.get_or_init(build).clone()
    }
}

fn is_web(url: &str) -> bool {
    reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
}

fn id_of(index: usize) -> String {
    RecordId::new("0SO", index as u64 + 1).to_string()
}

fn callback_url(base_url: &str, suffix: &str) -> String {
    format!("{base_url}/services/authcallback/{suffix}")
}
