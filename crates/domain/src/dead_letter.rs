//! An order that was given up, or that waits behind one.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Names one letter. The same message given up twice has the same id, so a crash between journal and acknowledgement
/// leaves one letter.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LetterId(String);

impl LetterId {
    /// The id of the letter for a message: 16 hex digits over its message id and its bytes.
    pub fn of(message_id: &str, body: &[u8]) -> Self {
        let mut digest = Sha256::new();
        digest.update(message_id.as_bytes());
        digest.update([0]);
        digest.update(body);
        let digest = digest.finalize();
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        Self(format!("{:016x}", u64::from_be_bytes(first)))
    }

    /// An id as an operator typed it or as a header carries it.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for LetterId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_message_given_up_twice_is_one_letter() {
        assert_eq!(LetterId::of("m", b"body"), LetterId::of("m", b"body"));
        assert_ne!(LetterId::of("m", b"body"), LetterId::of("n", b"body"));
        assert_ne!(LetterId::of("m", b"body"), LetterId::of("m", b"other"));
        assert_eq!(LetterId::of("m", b"body").as_str().len(), 16);
    }
}
