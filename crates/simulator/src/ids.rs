//! Record ids: fifteen case-sensitive characters, and the three that make them safe without case.

use std::fmt;

const SUFFIX: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A record id, kept as its fifteen significant characters and printed as eighteen.
///
/// Ids sort in the order in which they were given out within one object.
/// Source: Object Reference, "ID Field Type".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId([u8; 15]);

impl RecordId {
    /// The id with `prefix` (three characters) and the running number `number`.
    pub(crate) fn new(prefix: &str, number: u64) -> Self {
        let mut id = *b"000Sm0000000000";
        for (place, byte) in id.iter_mut().zip(prefix.bytes().take(3)) {
            *place = byte;
        }
        let mut rest = number;
        for place in id.iter_mut().skip(6).rev() {
            *place = BASE62[usize::try_from(rest % 62).unwrap_or(0)];
            rest /= 62;
        }
        Self(id)
    }

    /// Reads fifteen or eighteen characters; `None` when the text is no id.
    ///
    /// Of eighteen characters the last three decide the case of the first fifteen.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if !bytes.iter().all(u8::is_ascii_alphanumeric) || !matches!(bytes.len(), 15 | 18) {
            return None;
        }
        let mut id = [0u8; 15];
        id.copy_from_slice(&bytes[..15]);
        if bytes.len() == 18 {
            for (chunk, suffix) in id.chunks_mut(5).zip(&bytes[15..]) {
                let mask = SUFFIX.iter().position(|c| *c == suffix.to_ascii_uppercase())?;
                for (bit, byte) in chunk.iter_mut().enumerate() {
                    if mask & (1 << bit) == 0 {
                        *byte = byte.to_ascii_lowercase();
                    } else if byte.is_ascii_alphabetic() {
                        *byte = byte.to_ascii_uppercase();
                    } else {
                        return None;
                    }
                }
            }
        }
        Some(Self(id))
    }

    /// The first three characters, which name the object.
    pub fn prefix(&self) -> [u8; 3] {
        [self.0[0], self.0[1], self.0[2]]
    }

    /// The fifteen-character form, as it stands at the head of an access token.
    pub fn short(&self) -> String {
        self.0.iter().map(|b| char::from(*b)).collect()
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; 18];
        text[..15].copy_from_slice(&self.0);
        for (place, chunk) in self.0.chunks(5).enumerate() {
            let mask = chunk
                .iter()
                .enumerate()
                .filter(|(_, b)| b.is_ascii_uppercase())
                .fold(0, |mask, (bit, _)| mask | 1 << bit);
            text[15 + place] = SUFFIX[mask];
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::RecordId;

    #[test]
    fn the_suffix_is_the_one_of_recorded_ids() {
        for id in ["a00B000000FSkcvIAD", "001B000001Lp1G2IAJ", "0031i000013x2TEAAY"] {
            assert_eq!(RecordId::parse(&id[..15]).unwrap().to_string(), id);
        }
    }

    #[test]
    fn eighteen_characters_survive_a_change_of_case() {
        let id = "001B000001Lp1G2IAJ";
        assert_eq!(RecordId::parse(&id.to_lowercase()).unwrap().to_string(), id);
    }

    #[test]
    fn text_that_is_no_id_is_refused() {
        for text in ["", "001", "001B000001Lp1G2I", "001B000001Lp1G2IA!", "001B000001Lp1é2"] {
            assert!(RecordId::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn ids_sort_in_the_order_given_out() {
        let ids: Vec<_> = [1, 9, 61, 62, 4000, 900_000].iter().map(|n| RecordId::new("001", *n).to_string()).collect();
        assert!(ids.is_sorted());
    }
}
