//! Revocation and introspection (Help, "Revoke OAuth Tokens" and "`OpenID` Connect Token Introspection Endpoint").

use axum::body::Body;
use axum::response::Response;
use serde_json::json;

use super::format::Format;
use super::{Incoming, event, identity_url, refused, token};
use crate::form::Form;
use crate::oauth::OauthError;
use crate::oauth::audit::OauthAction;
use crate::org::Org;

/// Anyone who holds a token may revoke it.
pub(super) fn revoke(org: &Org, incoming: &Incoming, form: &Form) -> Response {
    let format = Format::asked(form, incoming);
    if let Some(hint) = form.filled("token_type_hint")
        && !matches!(hint, "access_token" | "refresh_token")
    {
        return refused(org, &OauthError::new("unsupported_token_type", "this token type is not supported"), format);
    }
    let Some(text) = form.filled("token") else {
        return refused(org, &OauthError::new("invalid_request", "missing required parameters"), format);
    };
    let mut store = org.oauth.store();
    let Some((client_id, user)) = store.revoke(text) else {
        drop(store);
        // The org repeats the token here; we do not, so that no token stands in an answer that may be logged.
        return refused(org, &OauthError::new("invalid_token", "invalid token: unknown"), format);
    };
    let mut entry = event(org, incoming, OauthAction::Revoked, "revoke", &client_id);
    store.username(user).clone_into(&mut entry.username);
    store.audit.push(entry);
    Response::new(Body::empty())
}

/// Tells an app about its own tokens, or about all if it may.
pub(super) fn introspect(org: &Org, incoming: &Incoming, form: &Form) -> Response {
    let settings = org.settings();
    let format = Format::asked(form, incoming);
    let store = org.oauth.store();
    let app = match token::authenticate(org, &store, incoming, form, |_| true) {
        Ok(app) => app,
        Err(error) => {
            drop(store);
            return refused(org, &error, format);
        }
    };
    let Some(text) = form.filled("token") else {
        drop(store);
        return refused(org, &OauthError::new("invalid_request", "missing required parameters"), format);
    };
    let now_ms = org.clock.now_ms();
    let own = |client_id: &str| app.introspect_all_tokens || client_id == app.client_id;
    let session = store.session(text, now_ms, &settings).filter(|session| own(&session.client_id)).cloned();
    let refresh = store.refresh_state(text, now_ms, &settings).filter(|refresh| own(&refresh.client_id));
    let name = |user| store.username(user).to_owned();
    let username = session.as_ref().map(|of| name(of.user)).or_else(|| refresh.as_ref().map(|of| name(of.user)));
    drop(store);
    let answer = if let Some(session) = session {
        json!({
            "active": true, "scope": session.scope, "client_id": session.client_id, "username": username,
            "sub": identity_url(org, session.user), "token_type": "access_token",
            "exp": session.expires_at_ms / 1000, "iat": session.issued_at_ms / 1000, "nbf": session.issued_at_ms / 1000,
        })
    } else if let Some(refresh) = refresh {
        json!({
            "active": true, "scope": refresh.scope, "client_id": refresh.client_id, "username": username,
            "sub": identity_url(org, refresh.user), "token_type": "refresh_token", "iat": refresh.issued_at_ms / 1000,
            "nbf": refresh.issued_at_ms / 1000,
        })
    } else {
        json!({ "active": false })
    };
    format.response(200, &answer)
}
