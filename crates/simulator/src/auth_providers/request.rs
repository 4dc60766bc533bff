//! The authorize request that the org sends: parameters in alphabetical order, merged with those of the configured
//! address, and a long state. Shape recorded.

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};

use super::{Purpose, STATE_TTL_MS, Waiting, callback_url};
use crate::config::AuthProvider;
use crate::form::{Form, encode};
use crate::oauth::codes::challenge_of;

/// Recorded states begin with `CAAAA`, have 250 to 350 characters and end with padding.
fn state() -> String {
    let bytes = [8, 0, 0, 1, 0].into_iter().chain((0..9).flat_map(|_| rand::random::<[u8; 24]>()));
    URL_SAFE.encode(bytes.collect::<Vec<u8>>())
}

/// A value as the org writes it into a query: a space is a plus.
fn plus(value: &str) -> String {
    encode(value).replace("%20", "+")
}

/// Where to send the person, the state, and what to remember under it.
pub(super) fn authorize(
    provider: &AuthProvider,
    purpose: Purpose,
    base_url: &str,
    now_ms: i64,
) -> (String, String, Waiting) {
    let redirect_uri = callback_url(base_url, &provider.suffix);
    let state = state();
    let verifier = provider.use_pkce.then(|| {
        let bytes: Vec<u8> = (0..2).flat_map(|_| rand::random::<[u8; 24]>()).collect();
        URL_SAFE_NO_PAD.encode(bytes)
    });
    let nonce = provider.send_nonce.then(|| (rand::random::<u64>() % 1_000_000_000_000_000_000).to_string());
    let (address, configured) = provider.authorize_url.split_once('?').unwrap_or((&provider.authorize_url, ""));
    let mut own = vec![
        ("client_id", provider.consumer_key.clone()),
        ("redirect_uri", redirect_uri.clone()),
        ("response_type", "code".to_owned()),
        ("state", state.clone()),
    ];
    if !provider.default_scopes.trim().is_empty() {
        own.push(("scope", provider.default_scopes.split_whitespace().collect::<Vec<_>>().join(" ")));
    }
    if let Some(verifier) = &verifier {
        own.push(("code_challenge", challenge_of(verifier)));
        own.push(("code_challenge_method", "S256".to_owned()));
    }
    if let Some(nonce) = &nonce {
        own.push(("nonce", nonce.clone()));
    }
    let own: Vec<(String, String)> = own.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let kept = Form::parse(configured).into_pairs().into_iter().filter(|(key, _)| !own.iter().any(|(o, _)| o == key));
    let mut all: Vec<(String, String)> = kept.collect();
    all.extend(own);
    all.sort_by(|left, right| left.0.cmp(&right.0));
    let query: Vec<String> = all.iter().map(|(key, value)| format!("{}={}", plus(key), plus(value))).collect();
    let suffix = provider.suffix.clone();
    let expires_at_ms = now_ms.saturating_add(STATE_TTL_MS);
    let waiting = Waiting { suffix, purpose, redirect_uri, verifier, nonce, expires_at_ms };
    (format!("{address}?{}", query.join("&")), state, waiting)
}
