//! Names of things, each its own type so that none is mistaken for another.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::Digest;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes the text as it is; `None` when it is blank.
            pub fn parse(text: &str) -> Option<Self> {
                let text = text.trim();
                (!text.is_empty()).then(|| Self(text.to_owned()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id! {
    /// The identity of an order: `order-<32 hex>`, else `order_reference`, else `checkoutId`, else a digest of the body.
    /// Never `external_id` alone: Limio's self-service reuses the subscription id there.
    OrderId
}
text_id! {
    /// The customer, as far as order of processing is concerned. Two orders of one key never overtake each other.
    SequenceKey
}
impl SequenceKey {
    /// The key as logs and views may show it: an e-mail address, and whatever has other characters than visible ASCII and
    /// so may be a person's name, is replaced by eight hex digits of its digest.
    pub fn masked(&self) -> String {
        let kind = match &self.0 {
            email if email.contains('@') => "email:",
            name if name.bytes().all(|byte| byte.is_ascii_graphic()) => return self.0.clone(),
            _ => "name:",
        };
        let digest = sha2::Sha256::digest(&self.0);
        digest[..4].iter().fold(kind.to_owned(), |text, byte| text + &format!("{byte:02x}"))
    }
}

text_id! {
    /// The Limio environment that a fleet serves.
    TenantId
}

/// A Salesforce record id in its 18-character form.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RecordId(String);

impl RecordId {
    /// Reads a 15- or 18-character id; 15 are completed by their checksum. `None` for anything else.
    ///
    /// Source: Salesforce help, "What are the differences between 15-character and 18-character ids".
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if !matches!(text.len(), 15 | 18) || !text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return None;
        }
        let base = &text[..15];
        let checksum = base.as_bytes().chunks(5).map(|chunk| {
            let index = chunk
                .iter()
                .enumerate()
                .filter(|(_, byte)| byte.is_ascii_uppercase())
                .map(|(bit, _)| 1 << bit)
                .sum::<usize>();
            char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"[index])
        });
        let mut id = base.to_owned();
        id.extend(checksum);
        (text.len() == 15 || text.eq_ignore_ascii_case(&id)).then_some(Self(id))
    }

    /// The 18 characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The three characters that tell the object (`001` Account, `003` Contact).
    pub fn key_prefix(&self) -> &str {
        &self.0[..3]
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for RecordId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("not a Salesforce record id ({} characters)", text.chars().count()))
    }
}

impl From<RecordId> for String {
    fn from(id: RecordId) -> Self {
        id.0
    }
}

/// A SHA-256 over the order without its volatile fields. Equal orders have equal fingerprints, whatever their key order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Wraps a digest.
    pub const fn of(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// Reads 64 hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(digest))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| "not 64 hex digits".to_owned())
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_15_character_record_id_is_completed_as_salesforce_completes_it() {
        for id in ["a00B000000FSkcvIAD", "001B000001Lp1G2IAJ", "0031i000013x2TEAAY"] {
            assert_eq!(RecordId::parse(&id[..15]).expect("an id").as_str(), id);
            assert_eq!(RecordId::parse(id).expect("an id").as_str(), id);
        }
    }

    #[test]
    fn a_record_id_with_a_wrong_checksum_or_length_is_refused() {
        for text in ["", "001", "001B000001Lp1G2AAA", "001B000001Lp1G2IAJx", "001B000001Lp1é2"] {
            assert_eq!(RecordId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_masked_key_tells_customers_apart_and_names_none() {
        let mask = |key: &str| SequenceKey::parse(key).expect("a key").masked();
        for name in ["id-1", "auth0|5f", "order-9c1cfe3b9e91eca23d6b87f5c9277d0f"] {
            assert_eq!(mask(name), name);
        }
        for person in ["nora quist", "Zoë"] {
            assert!(mask(person).starts_with("name:") && mask(person).len() == 13, "{person}");
        }
        assert_ne!(mask("nora@example.org"), mask("ida@example.org"));
        assert!(!mask("nora@example.org").contains("nora"));
    }

    #[test]
    fn a_blank_name_is_no_name() {
        assert_eq!(OrderId::parse("  "), None);
        assert_eq!(OrderId::parse(" a ").expect("a name").as_str(), "a");
    }

    #[test]
    fn a_fingerprint_reads_back_from_its_hex() {
        let fingerprint = Fingerprint::of([0xab; 32]);
        assert_eq!(Fingerprint::parse(&fingerprint.to_string()), Some(fingerprint));
        assert_eq!(Fingerprint::parse("zz"), None);
    }
}
