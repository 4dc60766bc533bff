//! Id tokens and the key that signs them.
//!
//! Source: Help, "`OpenID` Connect Token Introspection" and "ID Token"; `OpenID` Connect Core 1.0 for `at_hash`.

use std::sync::OnceLock;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Name of the one key.
const KEY_ID: &str = "sim1";

/// The org's signing key, made when it is first needed: making one takes a while, and few callers want it.
#[derive(Default)]
pub(crate) struct Signer(OnceLock<Option<EncodingKey>>);

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

/// What an id token says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IdToken<'a> {
    pub(crate) issuer: &'a str,
    /// Identity URL.
    pub(crate) subject: &'a str,
    pub(crate) audience: &'a str,
    pub(crate) access_token: &'a str,
    pub(crate) nonce: Option<&'a str>,
    pub(crate) now_ms: i64,
}

impl Signer {
    fn key(&self) -> Option<&EncodingKey> {
        self.0.get_or_init(make).as_ref()
    }

    /// `None` when no key could be made.
    pub(crate) fn sign(&self, token: IdToken<'_>) -> Option<String> {
        let issued = token.now_ms / 1000;
        // Id tokens of Salesforce are good for two minutes.
        let mut claims = json!({
            "at_hash": at_hash(token.access_token), "sub": token.subject, "aud": token.audience, "iss": token.issuer,
            "exp": issued + 120, "iat": issued,
        });
        if let (Some(nonce), Some(claims)) = (token.nonce, claims.as_object_mut()) {
            claims.insert("nonce".into(), json!(nonce));
        }
        let mut header = Header::new(Algorithm::RS256);
        header.kid = Some(KEY_ID.to_owned());
        jsonwebtoken::encode(&header, &claims, self.key()?).ok()
    }

    /// The public half, as `/id/keys` shows it.
    pub(crate) fn keys(&self) -> Value {
        let jwk = self.key().and_then(|key| Jwk::from_encoding_key(key, Algorithm::RS256).ok());
        let Some(Value::Object(mut jwk)) = jwk.and_then(|jwk| serde_json::to_value(jwk).ok()) else {
            return json!({ "keys": [] });
        };
        jwk.insert("kid".into(), json!(KEY_ID));
        jwk.insert("use".into(), json!("sig"));
        json!({ "keys": [jwk] })
    }
}

fn make() -> Option<EncodingKey> {
    let pair = KeyPair::generate(KeySize::Rsa2048).ok()?;
    let der = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair).ok()?;
    // The PEM reader takes the key out of its PKCS #8 envelope, which the DER reader does not.
    let body = STANDARD.encode(der.as_ref());
    let lines: Vec<&str> = body.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
    EncodingKey::from_rsa_pem(pem.as_bytes()).ok()
}

/// The left half of the access token's SHA-256.
fn at_hash(access_token: &str) -> String {
    let digest = Sha256::digest(access_token.as_bytes());
    URL_SAFE_NO_PAD.encode(&digest[..16])
}
