//! Connected apps, sessions, refresh tokens and authorization codes.
//!
//! Source: Help, "OAuth Authorization Flows"; RFC 6749, RFC 7523 and RFC 7636 where Salesforce follows them.

use std::collections::HashMap;
use std::sync::Mutex;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Validation};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::config::ConnectedApp;
use crate::org::guard;
use crate::settings::Settings;

/// Name of the built-in user.
pub const USERNAME: &str = "integration@causeway.test";
/// Password of the built-in user.
pub const PASSWORD: &str = "causeway";

/// An authorization code lives for fifteen minutes.
const CODE_TTL_MS: i64 = 15 * 60_000;

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

/// What the token endpoint hands out.
#[derive(Debug, Clone)]
pub(crate) struct Issued {
    pub(crate) access_token: String,
    pub(crate) refresh_token: Option<String>,
    pub(crate) scope: String,
    /// Time of issue.
    pub(crate) at_ms: i64,
}

/// A session as introspection tells it.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) client_id: String,
    pub(crate) scope: String,
    pub(crate) issued_at_ms: i64,
    pub(crate) expires_at_ms: i64,
    grant: Option<u64>,
}

/// An authorization code waiting to be exchanged.
#[derive(Debug, Clone)]
pub(crate) struct Code {
    pub(crate) client_id: String,
    pub(crate) redirect_uri: String,
    pub(crate) scope: String,
    pub(crate) challenge: Option<String>,
    pub(crate) expires_at_ms: i64,
}

#[derive(Debug, Default)]
struct Sessions {
    apps: Vec<ConnectedApp>,
    access: HashMap<String, Session>,
    /// Refresh tokens, retired ones included, with their grant.
    refresh: HashMap<String, u64>,
    grants: HashMap<u64, Grant>,
    codes: HashMap<String, Code>,
    last_grant: u64,
}

#[derive(Debug)]
struct Grant {
    client_id: String,
    scope: String,
    current: String,
}

#[derive(Deserialize)]
struct Assertion {
    #[serde(default)]
    sub: String,
    #[serde(default)]
    aud: serde_json::Value,
    #[serde(default)]
    exp: i64,
}

/// All sign-in state behind one lock.
#[derive(Debug)]
pub(crate) struct OAuth(Mutex<Sessions>);

impl OAuth {
    pub(crate) fn new(apps: &[ConnectedApp]) -> Self {
        Self(Mutex::new(Sessions { apps: apps.to_vec(), ..Sessions::default() }))
    }

    pub(crate) fn reset(&self, apps: &[ConnectedApp]) {
        *guard(&self.0) = Sessions { apps: apps.to_vec(), ..Sessions::default() };
    }

    /// Adds an app, or replaces the one with its consumer key.
    pub(crate) fn register(&self, app: ConnectedApp) -> Result<(), String> {
        if let Some(pem) = &app.public_key_pem {
            DecodingKey::from_rsa_pem(pem.as_bytes()).map_err(|error| format!("public_key_pem: {error}"))?;
        }
        let mut sessions = guard(&self.0);
        sessions.apps.retain(|other| other.client_id != app.client_id);
        sessions.apps.push(app);
        Ok(())
    }

    pub(crate) fn app(&self, client_id: &str) -> Option<ConnectedApp> {
        guard(&self.0).apps.iter().find(|app| app.client_id == client_id).cloned()
    }

    /// Whether a bearer token is good; using it extends its life.
    pub(crate) fn accept(&self, token: &str, now_ms: i64, settings: &Settings) -> bool {
        let mut sessions = guard(&self.0);
        match sessions.access.get_mut(token) {
            Some(session) if session.expires_at_ms > now_ms => {
                session.expires_at_ms = expiry(now_ms, settings);
                true
            }
            Some(_) => {
                sessions.access.remove(token);
                false
            }
            None => false,
        }
    }

    /// Ends all sessions; refresh tokens stay good.
    pub(crate) fn expire_sessions(&self) -> usize {
        let mut sessions = guard(&self.0);
        let ended = sessions.access.len();
        sessions.access.clear();
        ended
    }

    pub(crate) fn live_sessions(&self, now_ms: i64) -> usize {
        guard(&self.0).access.values().filter(|session| session.expires_at_ms > now_ms).count()
    }

    /// Checks consumer key and secret.
    pub(crate) fn authenticate(&self, client_id: &str, secret: &str) -> Result<ConnectedApp, OauthError> {
        let app =
            self.app(client_id).ok_or_else(|| OauthError::new("invalid_client_id", "client identifier invalid"))?;
        if app.client_secret == secret {
            Ok(app)
        } else {
            Err(OauthError::new("invalid_client", "invalid client credentials"))
        }
    }

    /// A session for `client_id`, with a refresh token if the scope asks for one.
    pub(crate) fn issue(
        &self,
        client_id: &str,
        scope: &str,
        refreshable: bool,
        organization: &str,
        now_ms: i64,
        settings: &Settings,
    ) -> Issued {
        let mut sessions = guard(&self.0);
        let refresh_token = refreshable.then(refresh_token);
        let grant = refresh_token.as_ref().map(|token| {
            sessions.last_grant += 1;
            let id = sessions.last_grant;
            let grant = Grant { client_id: client_id.to_owned(), scope: scope.to_owned(), current: token.clone() };
            sessions.grants.insert(id, grant);
            sessions.refresh.insert(token.clone(), id);
            id
        });
        let access_token = sessions.open(client_id, scope, grant, organization, now_ms, settings);
        Issued { access_token, refresh_token, scope: scope.to_owned(), at_ms: now_ms }
    }

    /// Exchanges a refresh token; with rotation the answer holds its successor.
    pub(crate) fn refresh(
        &self,
        client_id: &str,
        token: &str,
        organization: &str,
        now_ms: i64,
        settings: &Settings,
    ) -> Result<Issued, OauthError> {
        let expired = || OauthError::new("invalid_grant", "expired access/refresh token");
        let mut sessions = guard(&self.0);
        let id = *sessions.refresh.get(token).ok_or_else(expired)?;
        let grant = sessions.grants.get(&id).filter(|grant| grant.client_id == client_id).ok_or_else(expired)?;
        if grant.current != token {
            if settings.refresh_reuse_detection {
                sessions.revoke_grant(id);
            }
            return Err(expired());
        }
        let scope = grant.scope.clone();
        let successor = settings.refresh_rotation.then(refresh_token);
        if let Some(successor) = &successor {
            sessions.refresh.insert(successor.clone(), id);
            if let Some(grant) = sessions.grants.get_mut(&id) {
                grant.current.clone_from(successor);
            }
        }
        let access_token = sessions.open(client_id, &scope, Some(id), organization, now_ms, settings);
        Ok(Issued { access_token, refresh_token: successor, scope, at_ms: now_ms })
    }

    /// Checks a JWT bearer assertion against the app's public key; returns the app's consumer key.
    pub(crate) fn check_assertion(
        &self,
        assertion: &str,
        own_urls: &[String],
        now_ms: i64,
    ) -> Result<String, OauthError> {
        let invalid = || OauthError::new("invalid_grant", "invalid assertion");
        let issuer = issuer(assertion).ok_or_else(invalid)?;
        let app = self.app(&issuer).ok_or_else(|| OauthError::new("invalid_client_id", "client identifier invalid"))?;
        let pem = app.public_key_pem.as_deref().ok_or_else(invalid)?;
        let key = DecodingKey::from_rsa_pem(pem.as_bytes()).map_err(|_| invalid())?;
        let mut rules = Validation::new(Algorithm::RS256);
        // Expiry is judged by the org's clock and audience by its own address, below.
        rules.validate_exp = false;
        rules.validate_aud = false;
        rules.required_spec_claims.clear();
        let token = jsonwebtoken::decode::<Assertion>(assertion, &key, &rules).map_err(|_| invalid())?;
        let allowed = ["https://login.salesforce.com", "https://test.salesforce.com"];
        let fits = |aud: &str| {
            let aud = aud.trim_end_matches('/');
            allowed.contains(&aud) || own_urls.iter().any(|url| url == aud)
        };
        let audience = match &token.claims.aud {
            serde_json::Value::String(aud) => fits(aud),
            serde_json::Value::Array(all) => all.iter().filter_map(|aud| aud.as_str()).any(fits),
            serde_json::Value::Null
            | serde_json::Value::Bool(_)
            | serde_json::Value::Number(_)
            | serde_json::Value::Object(_) => false,
        };
        if !audience {
            return Err(OauthError::new("invalid_grant", "Audience validation failed"));
        }
        if token.claims.exp.saturating_mul(1000) <= now_ms {
            return Err(OauthError::new("invalid_grant", "expired authorization code"));
        }
        if token.claims.sub != USERNAME {
            return Err(OauthError::new("invalid_grant", "user hasn't approved this consumer"));
        }
        Ok(app.client_id)
    }

    pub(crate) fn add_code(&self, code: Code) -> String {
        let text = format!("aPrx{}{}==", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        guard(&self.0).codes.insert(text.clone(), code);
        text
    }

    /// Takes a code out of the store and checks what it was bound to.
    pub(crate) fn redeem(
        &self,
        text: &str,
        client_id: &str,
        redirect_uri: &str,
        verifier: Option<&str>,
        now_ms: i64,
    ) -> Result<Code, OauthError> {
        let code = guard(&self.0).codes.remove(text);
        let code = code
            .filter(|code| code.client_id == client_id)
            .ok_or_else(|| OauthError::new("invalid_grant", "invalid authorization code"))?;
        if code.expires_at_ms <= now_ms {
            return Err(OauthError::new("invalid_grant", "expired authorization code"));
        }
        if code.redirect_uri != redirect_uri {
            return Err(OauthError::new("redirect_uri_mismatch", "redirect_uri must match configuration"));
        }
        match (&code.challenge, verifier) {
            (None, _) => Ok(code),
            (Some(_), None) => Err(OauthError::new("invalid_grant", "invalid code verifier")),
            (Some(challenge), Some(verifier)) => {
                let valid = (43..=128).contains(&verifier.len())
                    && URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes())) == *challenge;
                if valid { Ok(code) } else { Err(OauthError::new("invalid_request", "invalid code verifier")) }
            }
        }
    }

    pub(crate) fn has_code(&self, text: &str) -> bool {
        guard(&self.0).codes.contains_key(text)
    }

    /// Whether the org handed out this refresh token, retired or not.
    pub(crate) fn has_refresh_token(&self, text: &str) -> bool {
        guard(&self.0).refresh.contains_key(text)
    }

    pub(crate) fn code_expiry(now_ms: i64) -> i64 {
        now_ms.saturating_add(CODE_TTL_MS)
    }

    /// Revokes an access token, or a refresh token with all its sessions.
    pub(crate) fn revoke(&self, token: &str) -> bool {
        let mut sessions = guard(&self.0);
        if let Some(id) = sessions.refresh.get(token).copied() {
            sessions.revoke_grant(id);
            return true;
        }
        sessions.access.remove(token).is_some()
    }

    pub(crate) fn session(&self, token: &str, now_ms: i64) -> Option<Session> {
        guard(&self.0).access.get(token).filter(|session| session.expires_at_ms > now_ms).cloned()
    }

    /// `client_id` and scope of a live refresh token.
    pub(crate) fn refresh_grant(&self, token: &str) -> Option<(String, String)> {
        let sessions = guard(&self.0);
        let grant = sessions.grants.get(sessions.refresh.get(token)?)?;
        (grant.current == token).then(|| (grant.client_id.clone(), grant.scope.clone()))
    }
}

impl Sessions {
    fn open(
        &mut self,
        client_id: &str,
        scope: &str,
        grant: Option<u64>,
        organization: &str,
        now_ms: i64,
        settings: &Settings,
    ) -> String {
        // Tokens nobody uses any more would otherwise pile up in a long run.
        if self.access.len() >= 10_000 {
            self.access.retain(|_, session| session.expires_at_ms > now_ms);
        }
        let token =
            format!("{organization}!{}{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let session = Session {
            client_id: client_id.to_owned(),
            scope: scope.to_owned(),
            issued_at_ms: now_ms,
            expires_at_ms: expiry(now_ms, settings),
            grant,
        };
        self.access.insert(token.clone(), session);
        token
    }

    fn revoke_grant(&mut self, id: u64) {
        self.grants.remove(&id);
        self.refresh.retain(|_, grant| *grant != id);
        self.access.retain(|_, session| session.grant != Some(id));
    }
}

/// The claims before the signature is checked: they say whose key to check with.
pub(crate) fn claims(assertion: &str) -> Option<serde_json::Value> {
    let claims = URL_SAFE_NO_PAD.decode(assertion.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&claims).ok()
}

/// The `iss` claim.
fn issuer(assertion: &str) -> Option<String> {
    claims(assertion)?.get("iss")?.as_str().map(str::to_owned)
}

fn refresh_token() -> String {
    format!("5Aep861{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

fn expiry(now_ms: i64, settings: &Settings) -> i64 {
    now_ms.saturating_add(i64::try_from(settings.session_ttl_s.saturating_mul(1000)).unwrap_or(i64::MAX))
}

/// base64(HMAC-SHA256(client secret, identity URL + issue time)).
pub(crate) fn signature(secret: &str, id: &str, issued_at: &str) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    let signed = jsonwebtoken::crypto::sign(format!("{id}{issued_at}").as_bytes(), &key, Algorithm::HS256);
    let bytes = signed.ok().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).unwrap_or_default();
    STANDARD.encode(bytes)
}

/// User name and password of a Basic authorization header.
pub(crate) fn basic(header: &str) -> Option<(String, String)> {
    let encoded = header.strip_prefix("Basic ")?;
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}
