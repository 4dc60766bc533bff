//! Date literals that depend on the day: each names a range of whole days.
//!
//! Source: SOQL and SOSL Reference, "Date Formats and Date Literals". The org's zone is GMT, its week starts on Sunday,
//! and its fiscal year is the calendar year, as in a new org.

use jiff::civil::{Date, Weekday};
use jiff::{Span, ToSpan};

/// `LAST_N_WEEKS:2`, with its number if it takes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Relative {
    name: &'static str,
    unit: Unit,
    shape: Shape,
    n: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

/// Which units, counted from the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    From(i64, i64),
    /// The last n, with the current one.
    LastAndCurrent,
    /// The last n, without it.
    Last,
    Next,
    Ago,
}

use Shape::{Ago, From, Last, LastAndCurrent, Next};
use Unit::{Day, Month, Quarter, Week, Year};

/// Every literal; a fiscal one stands for its calendar twin.
const LITERALS: [(&str, Unit, Shape); 44] = [
    ("YESTERDAY", Day, From(-1, -1)),
    ("TODAY", Day, From(0, 0)),
    ("TOMORROW", Day, From(1, 1)),
    ("LAST_WEEK", Week, From(-1, -1)),
    ("THIS_WEEK", Week, From(0, 0)),
    ("NEXT_WEEK", Week, From(1, 1)),
    ("LAST_MONTH", Month, From(-1, -1)),
    ("THIS_MONTH", Month, From(0, 0)),
    ("NEXT_MONTH", Month, From(1, 1)),
    ("LAST_90_DAYS", Day, From(-90, 0)),
    ("NEXT_90_DAYS", Day, From(1, 90)),
    ("LAST_N_DAYS", Day, LastAndCurrent),
    ("NEXT_N_DAYS", Day, Next),
    ("N_DAYS_AGO", Day, Ago),
    ("LAST_N_WEEKS", Week, Last),
    ("NEXT_N_WEEKS", Week, Next),
    ("N_WEEKS_AGO", Week, Ago),
    ("LAST_N_MONTHS", Month, Last),
    ("NEXT_N_MONTHS", Month, Next),
    ("N_MONTHS_AGO", Month, Ago),
    ("THIS_QUARTER", Quarter, From(0, 0)),
    ("LAST_QUARTER", Quarter, From(-1, -1)),
    ("NEXT_QUARTER", Quarter, From(1, 1)),
    ("LAST_N_QUARTERS", Quarter, Last),
    ("NEXT_N_QUARTERS", Quarter, Next),
    ("N_QUARTERS_AGO", Quarter, Ago),
    ("THIS_YEAR", Year, From(0, 0)),
    ("LAST_YEAR", Year, From(-1, -1)),
    ("NEXT_YEAR", Year, From(1, 1)),
    ("LAST_N_YEARS", Year, Last),
    ("NEXT_N_YEARS", Year, Next),
    ("N_YEARS_AGO", Year, Ago),
    ("THIS_FISCAL_QUARTER", Quarter, From(0, 0)),
    ("LAST_FISCAL_QUARTER", Quarter, From(-1, -1)),
    ("NEXT_FISCAL_QUARTER", Quarter, From(1, 1)),
    ("LAST_N_FISCAL_QUARTERS", Quarter, Last),
    ("NEXT_N_FISCAL_QUARTERS", Quarter, Next),
    ("N_FISCAL_QUARTERS_AGO", Quarter, Ago),
    ("THIS_FISCAL_YEAR", Year, From(0, 0)),
    ("LAST_FISCAL_YEAR", Year, From(-1, -1)),
    ("NEXT_FISCAL_YEAR", Year, From(1, 1)),
    ("LAST_N_FISCAL_YEARS", Year, Last),
    ("NEXT_N_FISCAL_YEARS", Year, Next),
    ("N_FISCAL_YEARS_AGO", Year, Ago),
];

impl Relative {
    /// Reads `TODAY` or `LAST_N_DAYS:7`; `None` when it is neither.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (name, n) = match text.split_once(':') {
            Some((name, n)) => (name, Some(n.parse().ok()?)),
            None => (text, None),
        };
        let (name, unit, shape) = *LITERALS.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name))?;
        (matches!(shape, From(..)) == n.is_none()).then_some(Self { name, unit, shape, n })
    }

    /// First and last day, seen from `today`. What lies beyond the calendar ends at its edge.
    pub(super) fn days(self, today: Date) -> (Date, Date) {
        let n = i64::from(self.n.unwrap_or_default());
        let (first, last) = match self.shape {
            From(first, last) => (first, last),
            LastAndCurrent => (-n, 0),
            Last => (-n, -1),
            Next => (1, n),
            Ago => (-n, -n),
        };
        let start = self.unit.start(today);
        (self.unit.moved(start, first), self.unit.moved(start, last + 1).saturating_sub(1.day()))
    }
}

impl std::fmt::Display for Relative {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)?;
        self.n.map_or(Ok(()), |n| write!(f, ":{n}"))
    }
}

impl Unit {
    /// First day of the unit that `day` lies in.
    fn start(self, day: Date) -> Date {
        match self {
            Day => day,
            Week => day.saturating_sub(Span::new().days(day.weekday().since(Weekday::Sunday))),
            Month => day.first_of_month(),
            Quarter => {
                let month = (day.month() - 1) / 3 * 3 + 1;
                Date::new(day.year(), month, 1).unwrap_or(day)
            }
            Year => day.first_of_year(),
        }
    }

    fn moved(self, day: Date, by: i64) -> Date {
        // The widest literal moves by 65,536 units; spans of that many days, months and years are valid.
        let span = match self {
            Day => Span::new().try_days(by),
            Week => Span::new().try_weeks(by),
            Month => Span::new().try_months(by),
            Quarter => Span::new().try_months(by * 3),
            Year => Span::new().try_years(by),
        };
        match span {
            Ok(span) => day.saturating_add(span),
            Err(_) if by < 0 => Date::MIN,
            Err(_) => Date::MAX,
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::Relative;

    #[test]
    fn literals_name_the_days_of_the_guide() {
        // A Wednesday.
        let today = "2026-05-13".parse().unwrap();
        for (literal, first, last) in [
            ("TODAY", "2026-05-13", "2026-05-13"),
            ("yesterday", "2026-05-12", "2026-05-12"),
            ("LAST_N_DAYS:3", "2026-05-10", "2026-05-13"),
            ("NEXT_N_DAYS:3", "2026-05-14", "2026-05-16"),
            ("N_DAYS_AGO:2", "2026-05-11", "2026-05-11"),
            ("LAST_90_DAYS", "2026-02-12", "2026-05-13"),
            ("THIS_WEEK", "2026-05-10", "2026-05-16"),
            ("NEXT_WEEK", "2026-05-17", "2026-05-23"),
            ("LAST_N_WEEKS:2", "2026-04-26", "2026-05-09"),
            ("THIS_MONTH", "2026-05-01", "2026-05-31"),
            ("LAST_MONTH", "2026-04-01", "2026-04-30"),
            ("NEXT_N_MONTHS:2", "2026-06-01", "2026-07-31"),
            ("THIS_QUARTER", "2026-04-01", "2026-06-30"),
            ("N_QUARTERS_AGO:1", "2026-01-01", "2026-03-31"),
            ("LAST_YEAR", "2025-01-01", "2025-12-31"),
            ("NEXT_N_FISCAL_YEARS:1", "2027-01-01", "2027-12-31"),
            ("LAST_N_YEARS:65535", "-009999-01-01", "2025-12-31"),
        ] {
            let (from, to) = Relative::parse(literal).unwrap().days(today);
            assert_eq!((from, to), (first.parse().unwrap(), last.parse().unwrap()), "{literal}");
        }
    }

    #[test]
    fn a_number_stands_only_where_one_belongs() {
        for text in ["TODAY:1", "LAST_N_DAYS", "LAST_N_DAYS:", "LAST_N_DAYS:99999", "SOON"] {
            assert!(Relative::parse(text).is_none(), "{text}");
        }
    }
}
