//! Discovery documents (Help, "`OpenID` Connect Discovery Endpoint" and "Authorization Configuration Endpoint").

use serde_json::{Value, json};

use crate::org::Org;

pub(super) fn openid(org: &Org) -> Value {
    let base = org.host_url();
    let at = |path: &str| format!("{base}/services/oauth2/{path}");
    json!({
        "issuer": base,
        "authorization_endpoint": at("authorize"),
        "token_endpoint": at("token"),
        "revocation_endpoint": at("revoke"),
        "userinfo_endpoint": at("userinfo"),
        "jwks_uri": format!("{base}/id/keys"),
        "introspection_endpoint": at("introspect"),
        "scopes_supported": ["api", "full", "id", "openid", "profile", "email", "address", "phone", "refresh_token",
            "offline_access", "web", "chatter_api", "custom_permissions", "visualforce", "content", "wave_api"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials", "password",
            "urn:ietf:params:oauth:grant-type:jwt-bearer"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "display_values_supported": ["page", "popup", "touch"],
        "prompt_values_supported": ["login", "consent", "select_account", "none"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic", "private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["RS256"],
        "claims_supported": ["active", "address", "email", "email_verified", "family_name", "given_name",
            "is_app_installed", "language", "locale", "name", "nickname", "organization_id", "picture",
            "preferred_username", "profile", "sub", "updated_at", "urls", "user_id", "user_type", "zoneinfo"],
    })
}

/// What a login page of this host offers.
pub(super) fn auth(org: &Org) -> Value {
    let base = org.base_url();
    let sso = |suffix: &str| json!({ "Name": suffix, "SsoUrl": format!("{base}/services/auth/sso/{suffix}") });
    let providers: Vec<Value> =
        org.auth_providers.list(&base).iter().map(|status| sso(&status.provider.suffix)).collect();
    json!({
        "OrgId": org.state().defaults.organization.short(),
        "LoginPage": { "LoginPageUrl": format!("{base}/") },
        "UseNativeBrowserForAuthentication": false,
        "AuthProviders": providers,
        "SamlProviders": [],
    })
}
