//! Authorization codes: single use, fifteen minutes, bound to app, callback and PKCE challenge.
//!
//! Source: Help, "OAuth 2.0 Web Server Flow"; RFC 7636.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::{OauthError, Store, text};
use crate::ids::RecordId;

/// An authorization code lives for fifteen minutes.
const CODE_TTL_MS: i64 = 15 * 60_000;
/// More codes than that are not kept; expired ones go first, then any.
const MOST_CODES: usize = 10_000;

/// What a person allowed, waiting to be exchanged.
#[derive(Debug, Clone)]
pub(crate) struct Code {
    pub(crate) client_id: String,
    pub(crate) user: RecordId,
    pub(crate) redirect_uri: String,
    pub(crate) scope: String,
    pub(crate) challenge: Option<String>,
    pub(crate) nonce: Option<String>,
    pub(crate) expires_at_ms: i64,
    /// Set once it has been presented.
    pub(crate) used: bool,
    /// The family it gave.
    pub(crate) grant: Option<u64>,
}

/// What a client presents with a code.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Presented<'a> {
    pub(crate) code: &'a str,
    pub(crate) client_id: &'a str,
    pub(crate) redirect_uri: &'a str,
    pub(crate) verifier: Option<&'a str>,
}

/// The S256 challenge of a verifier.
pub(crate) fn challenge_of(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()))
}

/// RFC 7636 stops at 128 characters. Salesforce asks for 128 random bytes in base64url, which are 171, and so does its
/// own command line.
fn well_formed(verifier: &str) -> bool {
    (43..=171).contains(&verifier.len())
        && verifier.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~'))
}

impl Store {
    pub(crate) fn add_code(&mut self, mut code: Code, now_ms: i64) -> String {
        if self.codes.len() >= MOST_CODES {
            self.codes.retain(|_, code| code.expires_at_ms > now_ms);
            if self.codes.len() >= MOST_CODES {
                self.codes.clear();
            }
        }
        code.expires_at_ms = now_ms.saturating_add(CODE_TTL_MS);
        let text = text::code();
        self.codes.insert(text.clone(), code);
        text
    }

    /// Checks a code and what it was bound to, and uses it up. One that comes back takes along what it gave; the
    /// second value tells whether that happened.
    pub(crate) fn redeem(&mut self, presented: Presented<'_>, now_ms: i64) -> Result<Code, (OauthError, bool)> {
        let grant_error = |text: &str| (OauthError::new("invalid_grant", text), false);
        let code = self.codes.get_mut(presented.code).filter(|code| code.client_id == presented.client_id);
        let code = code.ok_or_else(|| grant_error("invalid authorization code"))?;
        if code.used {
            let grant = code.grant.take();
            if let Some(grant) = grant {
                self.revoke_family(grant);
            }
            let error = OauthError::new("invalid_grant", "invalid authorization code");
            return Err((error, grant.is_some()));
        }
        code.used = true;
        if code.expires_at_ms <= now_ms {
            return Err(grant_error("expired authorization code"));
        }
        if presented.redirect_uri.is_empty() {
            return Err((OauthError::new("redirect_uri_missing", "redirect_uri not provided"), false));
        }
        if code.redirect_uri != presented.redirect_uri {
            return Err((OauthError::new("redirect_uri_mismatch", "redirect_uri must match configuration"), false));
        }
        match (&code.challenge, presented.verifier) {
            (None, None) => Ok(code.clone()),
            (Some(_), None) | (None, Some(_)) => Err(grant_error("invalid code verifier")),
            (Some(challenge), Some(verifier)) if well_formed(verifier) && challenge_of(verifier) == *challenge => {
                Ok(code.clone())
            }
            (Some(_), Some(_)) => Err((OauthError::new("invalid_request", "invalid code verifier"), false)),
        }
    }

    /// Remembers what a code gave.
    pub(crate) fn code_gave(&mut self, text: &str, grant: Option<u64>) {
        if let Some(code) = self.codes.get_mut(text) {
            code.grant = grant;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Code, MOST_CODES, Store, well_formed};

    #[test]
    fn codes_that_nobody_redeems_do_not_pile_up() {
        let mut store = Store::default();
        for _ in 0..=MOST_CODES {
            let code = Code {
                client_id: String::new(),
                user: crate::oauth::first_user(),
                redirect_uri: String::new(),
                scope: String::new(),
                challenge: None,
                nonce: None,
                expires_at_ms: 0,
                used: false,
                grant: None,
            };
            store.add_code(code, 0);
        }
        assert!(store.codes.len() <= MOST_CODES);
    }

    #[test]
    fn a_verifier_is_as_long_as_the_rfc_and_salesforce_have_it() {
        for (length, fits) in [(42, false), (43, true), (128, true), (171, true), (172, false)] {
            assert_eq!(well_formed(&"a".repeat(length)), fits, "{length}");
        }
        assert!(!well_formed(&"+".repeat(43)));
    }
}
