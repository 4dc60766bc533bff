//! Literals against the type of the field they are compared with.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::bind::Binder;
use super::condition::{folded, pattern, plain};
use super::message::pointed;
use super::plan::Wanted;
use super::{Literal, Operator, Place};
use crate::api_error::ApiError;
use crate::clock::datetime_text;
use crate::ids::RecordId;
use crate::schema::{Field, FieldType};

/// The left side of a comparison.
pub(super) struct Compared<'a> {
    pub(super) name: &'a str,
    pub(super) kind: FieldType,
    /// Whether its text is compared with its case.
    pub(super) exact: bool,
    pub(super) place: Place,
}

/// Types that compare alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Id,
    Text,
    Number,
    Flag,
    Date,
    Instant,
}

pub(super) fn class(kind: FieldType) -> Class {
    match kind {
        FieldType::Id | FieldType::Reference => Class::Id,
        FieldType::Boolean => Class::Flag,
        FieldType::Date => Class::Date,
        FieldType::Datetime => Class::Instant,
        FieldType::Double | FieldType::Currency | FieldType::Percent | FieldType::Int => Class::Number,
        FieldType::String
        | FieldType::Textarea
        | FieldType::Email
        | FieldType::Phone
        | FieldType::Url
        | FieldType::Picklist
        | FieldType::Multipicklist
        | FieldType::Address => Class::Text,
    }
}

/// Whether values of the field compare and sort with their case: ids, and unique fields that are case-sensitive.
///
/// Source: SOQL and SOSL Reference, "Comparison Operators".
pub(super) fn is_exact(field: &Field) -> bool {
    class(field.kind) == Class::Id || field.case_sensitive
}

/// Makes a literal ready for the field, or refuses it as the org does.
pub(super) fn wanted(
    binder: &Binder<'_>,
    compared: &Compared<'_>,
    operator: Operator,
    literal: &Literal,
) -> Result<Wanted, ApiError> {
    let class = class(compared.kind);
    let refused =
        |message: String| pointed("INVALID_QUERY_FILTER_OPERATOR", binder.statement, compared.place, &message);
    let several = compared.kind.name() == "multipicklist";
    let fits = match operator {
        Operator::Equal | Operator::NotEqual | Operator::In | Operator::NotIn => true,
        Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual => {
            class != Class::Flag && !several
        }
        Operator::Like => class == Class::Text,
        Operator::Includes | Operator::Excludes => several,
    };
    if !fits {
        return Err(refused(format!("invalid operator on {} field", compared.kind.name())));
    }
    Ok(match (class, literal) {
        (_, Literal::Null) => Wanted::Null,
        // Nothing is stored as empty text: it is null.
        (Class::Id | Class::Text, Literal::Text(raw)) if raw.is_empty() && operator != Operator::Like => Wanted::Null,
        (Class::Text, Literal::Text(raw)) if operator == Operator::Like => Wanted::Pattern(pattern(raw)),
        (Class::Text, Literal::Text(raw)) if matches!(operator, Operator::Includes | Operator::Excludes) => {
            Wanted::Values(folded(&plain(raw)).split(';').map(str::to_owned).collect())
        }
        (Class::Text, Literal::Text(raw)) if compared.exact => Wanted::Exact(plain(raw)),
        (Class::Text, Literal::Text(raw)) => Wanted::Folded(folded(&plain(raw))),
        (Class::Id, Literal::Text(raw)) => match RecordId::parse(raw) {
            Some(id) => Wanted::Exact(id.to_string()),
            None => return Err(refused(format!("invalid ID field: {raw}"))),
        },
        (Class::Number, Literal::Number(number)) => Wanted::Number(*number),
        (Class::Flag, Literal::Flag(flag)) => Wanted::Flag(*flag),
        (Class::Date, Literal::Date(date)) => Wanted::Range(date.to_string(), date.to_string()),
        (Class::Instant, Literal::Instant(ms)) => Wanted::Range(datetime_text(*ms), datetime_text(*ms)),
        (Class::Date, Literal::Relative(relative)) => {
            let (first, last) = relative.days(today(binder));
            Wanted::Range(first.to_string(), last.to_string())
        }
        (Class::Instant, Literal::Relative(relative)) => {
            let (first, last) = relative.days(today(binder));
            Wanted::Range(format!("{first}T00:00:00.000+0000"), format!("{last}T23:59:59.999+0000"))
        }
        (Class::Id | Class::Text | Class::Number | Class::Flag | Class::Date | Class::Instant, _) => {
            let (of, quotes) = match class {
                Class::Text | Class::Id => ("string", "should be"),
                Class::Instant => ("dateTime", "should not be"),
                Class::Number | Class::Flag | Class::Date => (compared.kind.name(), "should not be"),
            };
            let message = format!(
                "value of filter criterion for field '{}' must be of type {of} and {quotes} enclosed in quotes",
                compared.name
            );
            return Err(pointed("INVALID_FIELD", binder.statement, compared.place, &message));
        }
    })
}

fn today(binder: &Binder<'_>) -> Date {
    let now = Timestamp::from_millisecond(binder.org.clock.now_ms()).unwrap_or_default();
    now.to_zoned(TimeZone::UTC).date()
}
