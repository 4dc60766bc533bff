//! Connected apps and their policies.

use serde::{Deserialize, Serialize};

use crate::oauth::USERNAME;

/// An app registered in the org (Help, "Connected App Settings" and "Manage OAuth Access Policies").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectedApp {
    /// Consumer key.
    pub client_id: String,
    /// Consumer secret.
    #[serde(default, skip_serializing)]
    pub client_secret: String,
    /// Name on the approval page; the consumer key if absent.
    #[serde(default)]
    pub name: String,
    /// RSA public key or X.509 certificate in PEM; assertions are checked against it.
    #[serde(default)]
    pub public_key_pem: Option<String>,
    /// Allowed callbacks; empty allows any, as a development app may.
    #[serde(default)]
    pub redirect_uris: Vec<String>,
    /// Whether the authorize request must carry a PKCE challenge.
    #[serde(default)]
    pub pkce_required: bool,
    /// Scopes the app has; empty means all.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Whether the app keeps no secret: it sends none, and must use PKCE.
    #[serde(default)]
    pub public: bool,
    /// "Require Secret for Refresh Token Flow".
    #[serde(default = "yes")]
    pub refresh_secret_required: bool,
    /// User that client credentials act as; without one the flow is refused.
    #[serde(default)]
    pub run_as: Option<String>,
    /// "Admin approved users are pre-authorized": only [`ConnectedApp::preauthorized_users`] may use the app.
    #[serde(default)]
    pub admin_approved_only: bool,
    /// User names that an administrator has approved; they may use JWT bearer without having approved the app.
    #[serde(default)]
    pub preauthorized_users: Vec<String>,
    /// Whether an administrator has blocked the app.
    #[serde(default)]
    pub blocked: bool,
    /// Seconds a session of this app lives after its last use; the org's setting if absent.
    #[serde(default)]
    pub session_ttl_s: Option<u64>,
    /// "Introspect All Tokens"; without it the app sees its own tokens only.
    #[serde(default)]
    pub introspect_all_tokens: bool,
}

fn yes() -> bool {
    true
}

impl ConnectedApp {
    /// The built-in app `causeway-dev` with the secret `causeway-dev-secret`, acting as the built-in user.
    pub fn development() -> Self {
        Self {
            run_as: Some(USERNAME.to_owned()),
            preauthorized_users: vec![USERNAME.to_owned()],
            ..Self::new("causeway-dev", "causeway-dev-secret")
        }
    }

    /// An app that anybody may approve, for any callback and scope.
    pub fn new(client_id: impl Into<String>, client_secret: impl Into<String>) -> Self {
        Self {
            client_id: client_id.into(),
            client_secret: client_secret.into(),
            name: String::new(),
            public_key_pem: None,
            redirect_uris: Vec::new(),
            pkce_required: false,
            scopes: Vec::new(),
            public: false,
            refresh_secret_required: true,
            run_as: None,
            admin_approved_only: false,
            preauthorized_users: Vec::new(),
            blocked: false,
            session_ttl_s: None,
            introspect_all_tokens: false,
        }
    }

    /// What people know it by.
    pub fn label(&self) -> &str {
        if self.name.is_empty() { &self.client_id } else { &self.name }
    }

    pub(crate) fn preauthorizes(&self, username: &str) -> bool {
        self.preauthorized_users.iter().any(|user| user.eq_ignore_ascii_case(username))
    }
}
