//! The texts that are handed out: tokens, codes, signatures.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use percent_encoding::percent_decode_str;

/// `bytes` random bytes as URL-safe text; longer than any guess.
fn random(bytes: usize) -> String {
    let mut all = Vec::with_capacity(bytes);
    while all.len() < bytes {
        all.extend(rand::random::<[u8; 24]>());
    }
    all.truncate(bytes);
    URL_SAFE_NO_PAD.encode(all)
}

/// `00Dx0000000BV7z!AR8AQ…`: the org's id and characters of `A-Za-z0-9._`, 112 in all.
pub(crate) fn access_token(organization: &str) -> String {
    format!("{organization}!AQ{}", random(70).replace('-', ".")).chars().take(112).collect()
}

pub(crate) fn refresh_token() -> String {
    format!("5Aep861{}", random(60).replace('-', "."))
}

/// Codes end with padding, as clients must percent-encode them.
pub(crate) fn code() -> String {
    format!("aPrx{}==", random(54).replace('-', "."))
}

/// Names a browser or a page that waits for an answer.
pub(crate) fn secret() -> String {
    random(24)
}

/// base64(HMAC-SHA256(client secret, identity URL + issue time)).
pub(crate) fn signature(secret: &str, id: &str, issued_at: &str) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    let signed = jsonwebtoken::crypto::sign(format!("{id}{issued_at}").as_bytes(), &key, Algorithm::HS256);
    let bytes = signed.ok().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).unwrap_or_default();
    STANDARD.encode(bytes)
}

/// Consumer key and secret of a Basic authorization header, percent-decoded as RFC 6749 asks; raw ones pass too.
pub(crate) fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    let decode = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
    Some((decode(user), decode(password)))
}

#[cfg(test)]
mod tests {
    use super::{access_token, basic, signature};

    #[test]
    fn an_access_token_has_the_org_in_front_and_112_characters() {
        let token = access_token("00Dx0000000BV7z");
        assert_eq!(token.len(), 112);
        assert!(token.starts_with("00Dx0000000BV7z!AQ"));
        assert!(token[16..].bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_')));
    }

    #[test]
    fn the_signature_is_the_hmac_of_id_and_issue_time() {
        // printf '%s' 'https://x/id/11278448832702' | openssl dgst -sha256 -hmac secret -binary | base64
        assert_eq!(signature("secret", "https://x/id/1", "1278448832702"), EXPECTED);
    }

    const EXPECTED: &str = "12+I9DBOJRRTG/eikKBQx6sC/SPzxde+uxnM95doftA=";

    #[test]
    fn basic_credentials_may_be_percent_encoded() {
        // base64("a%3Ab:c%25d")
        assert_eq!(basic("basic YSUzQWI6YyUyNWQ="), Some(("a:b".to_owned(), "c%d".to_owned())));
        assert_eq!(basic("Basic !!!"), None);
        assert_eq!(basic("Bearer YSUzQWI6YyUyNWQ="), None);
    }
}
