//! The org's clock: real time plus an offset that tests may push forward.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;

/// Real time moved by what [`Clock::advance`] added.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    offset_ms: AtomicI64,
}

impl Clock {
    /// Milliseconds since the Unix epoch.
    #[expect(clippy::disallowed_methods, reason = "this is the one place where the org reads the wall clock")]
    pub(crate) fn now_ms(&self) -> i64 {
        Timestamp::now().as_millisecond().saturating_add(self.offset_ms.load(Ordering::Relaxed))
    }

    /// Moves the clock forward.
    pub(crate) fn advance(&self, by: Duration) {
        // A century is further than any window the org keeps.
        let ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX).min(100 * 365 * 24 * 3_600_000);
        let limit = 100 * 365 * 24 * 3_600_000;
        let _ = self
            .offset_ms
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| Some(old.saturating_add(ms).min(limit)));
    }

    /// Now, as a date-time field prints it.
    pub(crate) fn now_text(&self) -> String {
        datetime_text(self.now_ms())
    }
}

/// `2026-02-03T16:13:57.820+0000`, as REST responses print date-times.
pub(crate) fn datetime_text(ms: i64) -> String {
    match Timestamp::from_millisecond(ms) {
        Ok(time) => time.strftime("%Y-%m-%dT%H:%M:%S.%3f+0000").to_string(),
        Err(_) => "1970-01-01T00:00:00.000+0000".to_owned(),
    }
}

/// Reads a date-time in the forms REST accepts; `None` when it is none.
pub(crate) fn parse_datetime(text: &str) -> Option<i64> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time.as_millisecond());
    }
    if let Some((head, zone)) = text.len().checked_sub(5).and_then(|at| text.split_at_checked(at))
        && let [b'+' | b'-', digits @ ..] = zone.as_bytes()
        && digits.iter().all(u8::is_ascii_digit)
    {
        let (hours, minutes) = zone.split_at(3);
        return format!("{head}{hours}:{minutes}").parse::<Timestamp>().ok().map(Timestamp::as_millisecond);
    }
    if let Ok(local) = text.parse::<jiff::civil::DateTime>() {
        return local.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp().as_millisecond());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{datetime_text, parse_datetime};

    #[test]
    fn the_forms_of_a_date_time_name_one_instant() {
        for text in [
            "2026-02-03T16:13:57.820Z",
            "2026-02-03T16:13:57.820+0000",
            "2026-02-03T17:13:57.820+01:00",
            "2026-02-03T16:13:57.820",
        ] {
            assert_eq!(
                parse_datetime(text).map(datetime_text).as_deref(),
                Some("2026-02-03T16:13:57.820+0000"),
                "{text}"
            );
        }
        assert_eq!(parse_datetime("yesterday"), None);
    }
}
