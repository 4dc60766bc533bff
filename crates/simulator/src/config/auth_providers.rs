//! Auth. Providers: servers that the org signs in at, as their OAuth client.

use serde::{Deserialize, Serialize};

/// An Auth. Provider of the type `OpenID` Connect (Metadata API Developer Guide, "`AuthProvider`").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthProvider {
    /// URL suffix: the last part of the kick-off and callback URLs.
    pub suffix: String,
    /// Consumer key at the provider.
    pub consumer_key: String,
    /// Consumer secret at the provider; never shown again.
    #[serde(default, skip_serializing)]
    pub consumer_secret: String,
    /// Authorize Endpoint URL; its own query parameters are kept.
    pub authorize_url: String,
    /// Token Endpoint URL; its own query parameters are kept.
    pub token_url: String,
    /// User Info Endpoint URL; needed to log in, not to call out.
    #[serde(default)]
    pub user_info_url: Option<String>,
    /// Token Issuer: if set, the id token must name it.
    #[serde(default)]
    pub token_issuer: Option<String>,
    /// Default Scopes, separated by spaces.
    #[serde(default)]
    pub default_scopes: String,
    /// Use Proof Key for Code Exchange.
    #[serde(default)]
    pub use_pkce: bool,
    /// Whether the authorize request carries a nonce; recordings show both.
    #[serde(default)]
    pub send_nonce: bool,
    /// Send client credentials in header instead of the body.
    #[serde(default)]
    pub send_client_credentials_in_header: bool,
    /// Send access token in header to the user info endpoint, instead of its query.
    #[serde(default)]
    pub send_access_token_in_header: bool,
    /// Additional Status Codes for Token Refresh, besides 401.
    #[serde(default)]
    pub refresh_statuses: Vec<u16>,
}
