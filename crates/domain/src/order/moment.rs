//! Points in time, in the forms that Limio sends.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

/// The longest text that is looked at.
const MAX_LENGTH: usize = 40;

/// A point in time, or a day, which is its first instant in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub(crate) Timestamp);

impl Moment {
    /// Reads `2026-02-03T16:13:57.820Z`, the same with an offset, without a zone (taken as UTC), or a day.
    ///
    /// `None` for anything else, and for years outside 1700 to 4000, which Salesforce does not store (SOQL and SOSL
    /// Reference, Date Formats).
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        // Brackets hold the name of a zone; looking one up would read files.
        if text.len() > MAX_LENGTH || text.len() < "2026-02-03".len() || text.contains('[') {
            return None;
        }
        let zoned = |text: &str| text.parse::<Timestamp>().ok();
        let in_utc = |civil: DateTime| civil.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
        let civil = |text: &str| text.parse::<DateTime>().ok().and_then(in_utc);
        let day = |text: &str| text.parse::<Date>().ok().and_then(|day| in_utc(day.into()));
        zoned(text).or_else(|| civil(text)).or_else(|| day(text)).and_then(Self::in_range)
    }

    /// The point this many seconds after 1970 began.
    pub fn from_seconds(seconds: u64) -> Option<Self> {
        i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok()).and_then(Self::in_range)
    }

    fn in_range(timestamp: Timestamp) -> Option<Self> {
        let year = timestamp.to_zoned(TimeZone::UTC).year();
        (1700..=4000).contains(&year).then_some(Self(timestamp))
    }

    /// As Salesforce takes a date-time: UTC with milliseconds, `2026-02-03T16:13:57.820Z`.
    pub fn to_salesforce(self) -> String {
        self.0.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
    }

    /// As Salesforce takes a date: the day in UTC, `2026-02-03`.
    pub fn date(self) -> String {
        self.0.strftime("%Y-%m-%d").to_string()
    }
}

/// RFC 3339 in UTC, with as many digits as the moment has.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_that_limio_sends_are_read() {
        for (text, expected) in [
            ("2026-02-03T16:13:57.820Z", "2026-02-03T16:13:57.820Z"),
            ("2026-02-03T16:13:57+00:00", "2026-02-03T16:13:57.000Z"),
            ("2026-02-03T18:13:57+02:00", "2026-02-03T16:13:57.000Z"),
            ("2026-03-03T00:00:00.000", "2026-03-03T00:00:00.000Z"),
            ("2026-03-03", "2026-03-03T00:00:00.000Z"),
            (" 2026-03-03 ", "2026-03-03T00:00:00.000Z"),
        ] {
            assert_eq!(Moment::parse(text).map(Moment::to_salesforce).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let long = format!("2026-02-03T16:13:57.{}Z", "8".repeat(60));
        for text in
            ["", "tomorrow", "03/02/2026", "2026-13-01", "2026-02-30", "0001-01-01", "9000-01-01", "1770134000", &long]
        {
            assert_eq!(Moment::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_moment_reads_back_from_its_text() {
        for text in ["2026-02-03T16:13:57.820123Z", "2026-02-03"] {
            let moment = Moment::parse(text).expect("a moment");
            assert_eq!(Moment::parse(&moment.to_string()), Some(moment));
            assert_eq!(moment.date(), "2026-02-03");
        }
        assert_eq!(Moment::from_seconds(1_770_134_000), Moment::parse("2026-02-03T15:53:20Z"));
        assert_eq!(Moment::from_seconds(u64::MAX), None);
    }
}
