//! Signed JWTs that clients present: JWT bearer assertions and `private_key_jwt` client assertions.
//!
//! Source: Help, "OAuth 2.0 JWT Bearer Flow for Server-to-Server Integration"; RFC 7523.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::Value;

use super::{OauthError, Store};
use crate::config::ConnectedApp;
use crate::settings::Settings;

/// The claims that count, of any type, so that a wrong type is refused and not a parse error.
#[derive(Debug, Deserialize)]
struct Claims {
    #[serde(default)]
    sub: Value,
    /// The older name of `sub`.
    #[serde(default)]
    prn: Value,
    #[serde(default)]
    aud: Value,
    #[serde(default)]
    exp: Value,
}

fn invalid() -> OauthError {
    OauthError::new("invalid_grant", "invalid assertion")
}

/// The app and the subject of an assertion that is signed by the app's key, for this org, and in time.
pub(crate) fn check(
    store: &Store,
    assertion: &str,
    audiences: &[String],
    now_ms: i64,
    settings: &Settings,
) -> Result<(ConnectedApp, String), OauthError> {
    let issuer = issuer(assertion).ok_or_else(invalid)?;
    let app = store.app(&issuer)?;
    let pem = app.public_key_pem.as_deref().ok_or_else(invalid)?;
    let key = DecodingKey::from_rsa_pem(pem.as_bytes()).map_err(|_| invalid())?;
    let mut rules = Validation::new(Algorithm::RS256);
    // Expiry is judged by the org's clock and audience by its own addresses, below.
    rules.validate_exp = false;
    rules.validate_aud = false;
    rules.required_spec_claims.clear();
    let claims = jsonwebtoken::decode::<Claims>(assertion, &key, &rules).map_err(|_| invalid())?.claims;
    let fits = |aud: &str| audiences.iter().any(|own| own == aud.trim_end_matches('/'));
    let audience = match &claims.aud {
        Value::String(aud) => fits(aud),
        Value::Array(all) => all.iter().filter_map(Value::as_str).any(fits),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    };
    if !audience {
        return Err(OauthError::new("invalid_grant", "Audience validation failed"));
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a fraction of a second does not count, and the cast saturates"
    )]
    let seconds = |number: f64| number as i64;
    // simple-salesforce writes the number as a string, and the org takes it.
    let written = || claims.exp.as_str().and_then(|text| text.parse().ok());
    let exp = claims.exp.as_i64().or_else(|| claims.exp.as_f64().map(seconds)).or_else(written).ok_or_else(invalid)?;
    let until_ms = exp.saturating_mul(1000);
    if until_ms <= now_ms {
        return Err(OauthError::new("invalid_grant", "expired authorization code"));
    }
    let longest = i64::try_from(settings.assertion_lifetime_s.saturating_mul(1000)).unwrap_or(i64::MAX);
    if until_ms.saturating_sub(now_ms) > longest {
        return Err(invalid());
    }
    let subject = claims.sub.as_str().or_else(|| claims.prn.as_str()).unwrap_or_default();
    Ok((app, subject.to_owned()))
}

/// The claims before the signature is checked: they say whose key to check with.
pub(crate) fn claims(assertion: &str) -> Option<Value> {
    let claims = URL_SAFE_NO_PAD.decode(assertion.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&claims).ok()
}

/// The `iss` claim.
fn issuer(assertion: &str) -> Option<String> {
    claims(assertion)?.get("iss")?.as_str().map(str::to_owned)
}
