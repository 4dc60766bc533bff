//! How things are shown: without personal data, without control characters, short.

use std::time::Duration;

use domain::order::id::SequenceKey;
use jiff::Timestamp;

/// A text from outside as a terminal may get it: control characters, which could move the cursor or change colours, and
/// marks that reverse the direction of writing are replaced.
pub fn printable(text: &str) -> String {
    let risky = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    text.chars().map(|c| if risky(c) { '\u{fffd}' } else { c }).collect()
}

/// A customer's key. An e-mail address is shown as `email:1a2b3c4d@example.com`: the hex digits are those that logs show,
/// and `--customer` accepts them.
pub fn customer(key: &str, reveal: bool) -> String {
    match (reveal, key.rsplit_once('@'), SequenceKey::parse(key)) {
        (false, Some((_, domain)), Some(parsed)) => format!("{}@{}", printable(&parsed.masked()), printable(domain)),
        _ => printable(key),
    }
}

/// Whether an operator's text means this customer: the key itself, or what lists or logs show in place of it.
pub fn means_customer(text: &str, key: &str) -> bool {
    text == key || text == customer(key, false) || SequenceKey::parse(key).is_some_and(|parsed| text == parsed.masked())
}

/// A length of time in its largest whole unit: `45s`, `12m`, `3h`, `2d`.
pub fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A moment given in milliseconds since 1970, as RFC 3339 in UTC with whole seconds.
pub fn moment(at_ms: u64) -> String {
    let seconds = i64::try_from(at_ms / 1000).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).map_or_else(|_| "an unreadable time".to_owned(), |moment| moment.to_string())
}

/// A moment given in milliseconds since 1970, as RFC 3339 in UTC with milliseconds.
pub fn exact_moment(at_ms: u64) -> String {
    let at = i64::try_from(at_ms).ok().and_then(|at| Timestamp::from_millisecond(at).ok());
    at.map_or_else(|| "an unreadable time".to_owned(), |at| format!("{at:.3}"))
}

/// `1 letter`, `3 letters`.
pub fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// `3 letters` for things whose plural ends in s.
pub fn counted(number: usize, thing: &str) -> String {
    count(number, thing, &format!("{thing}s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_email_address_is_masked_and_can_still_be_asked_for() {
        let key = "jane.doe@example.com";
        let masked = customer(key, false);
        assert!(
            masked.starts_with("email:") && masked.ends_with("@example.com") && !masked.contains("jane"),
            "{masked}"
        );
        assert_eq!(customer(key, true), key);
        assert_eq!(customer("id-af385c5f", false), "id-af385c5f");
        let logged = SequenceKey::parse(key).expect("a key").masked();
        for text in [key, &masked, &logged] {
            assert!(means_customer(text, key), "{text}");
        }
        assert!(!means_customer("john@example.com", key));
    }

    #[test]
    fn what_could_steer_a_terminal_is_replaced() {
        assert_eq!(printable("a\u{1b}[2Jb\nc\u{202e}d"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d");
        assert_eq!(printable("Zoë 日本"), "Zoë 日本");
        assert!(!customer("x\u{1b}]0;y\u{7}", false).contains('\u{1b}'));
    }

    #[test]
    fn an_age_has_one_unit() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (60, "1m"), (3599, "59m"), (3600, "1h"), (86_399, "23h"), (172_800, "2d")]
        {
            assert_eq!(age(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn a_moment_out_of_range_is_no_panic() {
        assert_eq!(moment(1_790_000_000_000), "2026-09-21T14:13:20Z");
        assert_eq!(moment(u64::MAX), "an unreadable time");
    }
}
