//! Secrets at rest: sealed with a key from the settings, bound to the place where they lie.
//!
//! AES-256-GCM with a nonce drawn for each sealing (NIST SP 800-38D §8.2.2). A sealed text names its key by a digest, so that
//! keys are changed without a gap: the first key seals, all of them open. A new one goes second everywhere before it goes first.

use std::fmt::{self, Write as _};

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

/// Bytes of a key.
const KEY: usize = 32;

/// Bytes of a nonce.
const NONCE: usize = 12;

/// What a sealed text begins with.
const FORM: &str = "v1";

/// The keys: the first one seals, each of them opens.
pub struct Keys(Vec<(String, RandomizedNonceKey)>);

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(id, _)| id)).finish()
    }
}

/// A text cannot be sealed or opened. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsealed {
    /// It was sealed with a key that is not among these.
    #[error("it is sealed with the key {0}, which is not among the keys of the settings")]
    ForeignKey(String),
    /// It was altered, or lies where something else belongs.
    #[error("it was altered, or was sealed for another place")]
    Altered,
    /// It is not a sealed text.
    #[error("it is no sealed text")]
    Unreadable,
    /// The machine gives no random numbers.
    #[error("it cannot be sealed")]
    Failed,
}

impl Keys {
    /// Reads keys of 32 bytes in base64, one a line or separated by commas; the first one seals.
    ///
    /// # Errors
    /// What is wrong with them, without showing any.
    pub fn read(text: &SecretString) -> Result<Self, String> {
        let mut keys = Vec::new();
        let written = text.expose_secret().split([',', '\n']).map(str::trim).filter(|key| !key.is_empty());
        for (number, key) in (1..).zip(written) {
            let bytes =
                STANDARD.decode(key).map_err(|_| format!("holds a key that is not base64 (number {number})"))?;
            if bytes.len() != KEY {
                return Err(format!("holds a key of {} bytes instead of {KEY} (number {number})", bytes.len()));
            }
            let sealing = RandomizedNonceKey::new(&AES_256_GCM, &bytes)
                .map_err(|_| format!("holds a key that cannot be used (number {number})"))?;
            keys.push((id_of(&bytes), sealing));
        }
        if keys.is_empty() { Err("holds no key".to_owned()) } else { Ok(Self(keys)) }
    }

    /// Seals a text for a place: it opens only there.
    ///
    /// # Errors
    /// [`Unsealed::Failed`].
    pub fn seal(&self, place: &str, text: &str) -> Result<String, Unsealed> {
        let (id, key) = self.0.first().ok_or(Unsealed::Failed)?;
        let mut bytes = text.as_bytes().to_vec();
        let nonce =
            key.seal_in_place_append_tag(Aad::from(about(id, place)), &mut bytes).map_err(|_| Unsealed::Failed)?;
        let nonce = URL_SAFE_NO_PAD.encode(nonce.as_ref());
        Ok(format!("{FORM}.{id}.{nonce}.{}", URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// Opens what was sealed for this place. The second value tells whether it was sealed with an older key than the first.
    ///
    /// # Errors
    /// [`Unsealed`].
    pub fn open(&self, place: &str, sealed: &str) -> Result<(SecretString, bool), Unsealed> {
        let parts: Vec<&str> = sealed.split('.').collect();
        let [FORM, id, nonce, bytes] = parts[..] else { return Err(Unsealed::Unreadable) };
        let place_of_key = self.0.iter().position(|(known, _)| known == id);
        let index = place_of_key.ok_or_else(|| Unsealed::ForeignKey(id.chars().take(16).collect()))?;
        let (_, key) = self.0.get(index).ok_or(Unsealed::Unreadable)?;
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| Unsealed::Unreadable);
        let (nonce, mut bytes) = (decode(nonce)?, decode(bytes)?);
        if nonce.len() != NONCE {
            return Err(Unsealed::Unreadable);
        }
        let nonce = Nonce::try_assume_unique_for_key(&nonce).map_err(|_| Unsealed::Unreadable)?;
        let text = key.open_in_place(nonce, Aad::from(about(id, place)), &mut bytes).map_err(|_| Unsealed::Altered)?;
        let text = std::str::from_utf8(text).map_err(|_| Unsealed::Altered)?;
        Ok((SecretString::from(text), index > 0))
    }
}

/// What is sealed with the text without being part of it.
fn about(id: &str, place: &str) -> Vec<u8> {
    format!("causeway {FORM} {id} {place}").into_bytes()
}

/// A key's name: nothing of the key can be told from it.
fn id_of(key: &[u8]) -> String {
    let digest = Sha256::new().chain_update(b"causeway key id\0").chain_update(key).finalize();
    hexadecimal(&digest, 4)
}

/// A name for texts that must not be shown: the first 16 bytes of their SHA-256, in hexadecimal.
pub fn digest(texts: &[&str]) -> String {
    let mut sum = Sha256::new();
    for text in texts {
        sum.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        sum.update(text.as_bytes());
    }
    hexadecimal(&sum.finalize(), 16)
}

/// The first bytes, in hexadecimal.
fn hexadecimal(bytes: &[u8], count: usize) -> String {
    bytes.iter().take(count).fold(String::with_capacity(2 * count), |mut text, byte| {
        // Writing to memory does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> String {
        STANDARD.encode([byte; KEY])
    }

    fn keys(bytes: &[u8]) -> Keys {
        let text: Vec<String> = bytes.iter().map(|byte| key(*byte)).collect();
        Keys::read(&text.join("\n").into()).expect("keys")
    }

    fn opened(keys: &Keys, place: &str, sealed: &str) -> Result<(String, bool), Unsealed> {
        keys.open(place, sealed).map(|(text, old)| (text.expose_secret().to_owned(), old))
    }

    #[test]
    fn what_is_sealed_opens_with_its_key_at_its_place_and_shows_nothing() {
        let keys = keys(&[1]);
        let sealed = keys.seal("grant 7", "a refresh token").expect("sealed");
        assert_eq!(opened(&keys, "grant 7", &sealed), Ok(("a refresh token".to_owned(), false)));
        assert_eq!(opened(&keys, "grant 8", &sealed), Err(Unsealed::Altered), "moved to another place");
        assert!(!sealed.contains("refresh") && sealed != keys.seal("grant 7", "a refresh token").expect("sealed"));
        assert!(!format!("{keys:?}").contains(&key(1)));
    }

    #[test]
    fn a_new_key_seals_while_the_old_one_still_opens_and_a_removed_one_is_named() {
        let sealed = keys(&[1]).seal("p", "x").expect("sealed");
        let both = keys(&[2, 1]);
        assert_eq!(opened(&both, "p", &sealed), Ok(("x".to_owned(), true)), "sealed with the old key");
        let again = both.seal("p", "x").expect("sealed");
        assert_eq!(opened(&keys(&[2]), "p", &again), Ok(("x".to_owned(), false)));
        assert!(matches!(opened(&keys(&[2]), "p", &sealed), Err(Unsealed::ForeignKey(id)) if id.len() == 8));
    }

    #[test]
    fn every_altered_byte_is_found_and_no_text_makes_it_panic() {
        let keys = keys(&[1]);
        let sealed = keys.seal("p", "a refresh token").expect("sealed");
        for index in 0..sealed.len() {
            let mut bytes = sealed.clone().into_bytes();
            bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(bytes).expect("ASCII");
            // The last character of base64 may hold bits that mean nothing, and those have to be zero.
            assert!(opened(&keys, "p", &altered).is_err(), "{index}: {altered}");
        }
        for text in ["", ".", "v1", "v1...", "v1.x.y.z", "v2.a.b.c", "v1.a.b.c.d"] {
            assert!(opened(&keys, "p", text).is_err(), "{text}");
        }
    }

    #[test]
    fn keys_are_32_bytes_in_base64_and_a_wrong_one_is_told_by_its_number_alone() {
        for (text, said) in [
            (String::new(), "no key"),
            (" \n".to_owned(), "no key"),
            (format!("{},hush", key(1)), "number 2"),
            (STANDARD.encode([1; 16]), "16 bytes instead of 32"),
        ] {
            let what = Keys::read(&text.clone().into()).expect_err("refused");
            assert!(what.contains(said) && !what.contains("hush"), "{text}: {what}");
        }
        assert!(Keys::read(&format!(" {} , {}\r\n", key(1), key(2)).into()).is_ok());
    }

    #[test]
    fn texts_that_are_cut_elsewhere_have_another_digest() {
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
        assert_eq!(digest(&["a"]).len(), 32);
    }
}
