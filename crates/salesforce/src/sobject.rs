//! Names, versions and addresses of objects and records.

use std::fmt;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::Error;

/// A version of the REST API, written `62.0`; in an address `v62.0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiVersion(u16);

impl ApiVersion {
    /// The oldest version with every resource used here: composite graphs came with 50, the duplicate rule header and
    /// the event UUID with 52.
    pub const OLDEST: Self = Self(52);

    /// Version 62.0 (Winter '25), the one that this crate was written against.
    pub const V62: Self = Self(62);

    /// The version `major.0`.
    ///
    /// # Errors
    /// [`Error::Invalid`] below [`ApiVersion::OLDEST`].
    pub fn new(major: u16) -> Result<Self, Error> {
        if major < Self::OLDEST.0 {
            return Err(Error::Invalid(format!(
                "API version {major}.0 is older than {}, the oldest that has every resource needed",
                Self::OLDEST
            )));
        }
        Ok(Self(major))
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.0", self.0)
    }
}

impl FromStr for ApiVersion {
    type Err = Error;

    /// Reads `62.0`, `v62.0` or `62`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let digits = text.trim().trim_start_matches(['v', 'V']);
        let digits = digits.strip_suffix(".0").unwrap_or(digits);
        let major = digits
            .parse()
            .map_err(|_| Error::Invalid(format!("{text:?} is not an API version; versions look like 62.0")))?;
        Self::new(major)
    }
}

/// What stays as it is in one path segment: the unreserved characters of RFC 3986 without the dot, because `.` and `..`
/// as whole segments have a meaning of their own.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'~');

/// The value, percent-encoded as exactly one path segment: `a/b+c.d` becomes `a%2Fb%2Bc%2Ed`.
pub(crate) fn segment(value: &str) -> String {
    utf8_percent_encode(value, SEGMENT).to_string()
}

/// Refuses what cannot be the API name of an object or field: letters, digits and underscores, a letter first. Names
/// stand in addresses and queries unescaped.
pub(crate) fn name<'a>(what: &str, text: &'a str) -> Result<&'a str, Error> {
    let first = text.starts_with(|c: char| c.is_ascii_alphabetic());
    if first && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        Ok(text)
    } else {
        Err(Error::Invalid(format!("{text:?} is not the API name of {what}")))
    }
}

/// A record id as one path segment: 15 or 18 letters and digits, or in a graph a reference such as `@{account.id}`.
pub(crate) fn record(id: &str) -> Result<&str, Error> {
    let plain = (id.len() == 15 || id.len() == 18) && id.chars().all(|c| c.is_ascii_alphanumeric());
    let reference = id
        .strip_prefix("@{")
        .and_then(|rest| rest.strip_suffix(".id}"))
        .is_some_and(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'));
    if plain || reference {
        Ok(id)
    } else {
        Err(Error::Invalid("a record id has 15 or 18 letters and digits".to_owned()))
    }
}

/// Whether two ids name the same record: the first 15 characters decide, and their case matters.
pub fn same_record(left: &str, right: &str) -> bool {
    match (left.get(..15), right.get(..15)) {
        (Some(left), Some(right)) => left == right,
        _ => left == right,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_read_in_every_usual_spelling_and_old_ones_are_refused() {
        for text in ["62.0", "v62.0", "62", " V62.0 "] {
            assert_eq!(text.parse::<ApiVersion>().expect("a version"), ApiVersion::V62);
        }
        for text in ["", "v", "51.0", "62.5", "-1", "latest"] {
            assert!(text.parse::<ApiVersion>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_external_id_value_is_one_path_segment_whatever_it_holds() {
        assert_eq!(segment("a/b+c.d e?f#g%h"), "a%2Fb%2Bc%2Ed%20e%3Ff%23g%25h");
        assert_eq!(segment(".."), "%2E%2E");
        assert_eq!(segment("order-1_2~3"), "order-1_2~3");
        assert_eq!(segment("é"), "%C3%A9");
    }

    #[test]
    fn names_that_could_change_the_address_are_refused() {
        for good in ["Account", "i42as__OrderEvent__e"] {
            assert!(name("an object", good).is_ok());
        }
        for bad in ["", "1a", "Account/x", "Account?x", "a b", "../x", "Naïve"] {
            assert!(name("an object", bad).is_err(), "{bad}");
        }
        for bad in ["", "001", "@{.id}", "@{a.id}x", "001000000000001/x00", "../../00000000000"] {
            assert!(record(bad).is_err(), "{bad}");
        }
        assert!(record("@{account.id}").is_ok());
    }

    #[test]
    fn ids_of_15_and_18_characters_name_the_same_record() {
        assert!(same_record("0015g00000ABCDe", "0015g00000ABCDeAAF"));
        assert!(!same_record("0015g00000ABCDe", "0015g00000abcdeAAF"));
        assert!(!same_record("short", "other"));
    }
}
