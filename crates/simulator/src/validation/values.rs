//! One value of a request, as the field's type reads it.
//!
//! The texts of the refusals are recorded; line and column are not known here and always 1. Source of the types:
//! Object Reference, "Field Types" and "Primitive Data Types".

use serde_json::{Number, Value};

use crate::api_error::ApiError;
use crate::clock::{datetime_text, parse_datetime};
use crate::ids::RecordId;
use crate::schema::{Field, FieldType};

/// Types one value; empty text is null.
pub(crate) fn read_value(field: &Field, value: &Value) -> Result<Value, ApiError> {
    if value.is_null() {
        if field.kind == FieldType::Boolean {
            return Err(field.refuse("INVALID_TYPE_ON_FIELD_IN_RECORD", "value not of required type: "));
        }
        return Ok(Value::Null);
    }
    let mismatch = || mismatch(field, value);
    match field.kind {
        FieldType::Boolean => match value {
            Value::Bool(_) => Ok(value.clone()),
            Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(Value::Bool(true)),
            Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(Value::Bool(false)),
            Value::String(_) | Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => Err(mismatch()),
        },
        FieldType::Double | FieldType::Currency | FieldType::Percent | FieldType::Int => number(field, value),
        FieldType::Date => {
            let text = value.as_str().ok_or_else(mismatch)?;
            if text.is_empty() {
                return Ok(Value::Null);
            }
            match text.parse::<jiff::civil::Date>() {
                Ok(date) if text.len() == 10 => Ok(Value::String(date.to_string())),
                Ok(_) | Err(_) => Err(mismatch()),
            }
        }
        FieldType::Datetime => {
            let text = value.as_str().ok_or_else(mismatch)?;
            if text.is_empty() {
                return Ok(Value::Null);
            }
            parse_datetime(text).map(|ms| Value::String(datetime_text(ms))).ok_or_else(mismatch)
        }
        FieldType::Reference | FieldType::Id => {
            let text = value.as_str().ok_or_else(mismatch)?;
            if text.is_empty() {
                return Ok(Value::Null);
            }
            match RecordId::parse(text) {
                Some(id) => Ok(Value::String(id.to_string())),
                None => Err(malformed_id(field, text)),
            }
        }
        FieldType::Textarea => {
            let text = value.as_str().ok_or_else(mismatch)?;
            Ok(if text.is_empty() { Value::Null } else { value.clone() })
        }
        FieldType::String | FieldType::Phone | FieldType::Url | FieldType::Email | FieldType::Picklist => {
            let text = value.as_str().ok_or_else(mismatch)?.trim();
            Ok(if text.is_empty() { Value::Null } else { Value::String(text.to_owned()) })
        }
        FieldType::Multipicklist => {
            let text = value.as_str().ok_or_else(mismatch)?;
            let picked: Vec<&str> = text.split(';').map(str::trim).filter(|value| !value.is_empty()).collect();
            Ok(if picked.is_empty() { Value::Null } else { Value::String(picked.join(";")) })
        }
        // Compound fields are read-only, so their value is never used.
        FieldType::Address => Ok(Value::Null),
    }
}

fn mismatch(field: &Field, value: &Value) -> ApiError {
    let (token, shown) = match value {
        Value::String(text) => ("VALUE_STRING", text.clone()),
        Value::Number(number) if number.is_f64() => ("VALUE_NUMBER_FLOAT", number.to_string()),
        Value::Number(number) => ("VALUE_NUMBER_INT", number.to_string()),
        Value::Bool(true) => ("VALUE_TRUE", "true".to_owned()),
        Value::Bool(false) => ("VALUE_FALSE", "false".to_owned()),
        Value::Array(_) => ("START_ARRAY", "[".to_owned()),
        Value::Object(_) => ("START_OBJECT", "{".to_owned()),
        Value::Null => ("VALUE_NULL", "null".to_owned()),
    };
    ApiError::json(format!(
        "Cannot deserialize instance of {} from {token} value {shown} or request may be missing a required field at \
         [line:1, column:1]",
        field.kind.name()
    ))
}

/// A number within the field's digits, rounded to its places after the point.
fn number(field: &Field, value: &Value) -> Result<Value, ApiError> {
    let read = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) if text.trim().is_empty() => return Ok(Value::Null),
        Value::String(text) => text.trim().parse::<f64>().ok().filter(|number| number.is_finite()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let number = read.ok_or_else(|| mismatch(field, value))?;
    let whole = field.kind == FieldType::Int;
    if whole && number.fract() != 0.0 {
        return Err(mismatch(field, value));
    }
    // An integer field has eight digits (Object Reference, "Primitive Data Types").
    let digits = if whole { 8 } else { field.precision.saturating_sub(field.scale) };
    let digits = i32::try_from(digits).unwrap_or(18);
    let rounded = round(number, field.scale);
    if rounded.abs() >= 10f64.powi(digits) {
        let message = format!("value outside of valid range on numeric field: {number}");
        return Err(field.refuse("NUMBER_OUTSIDE_VALID_RANGE", message));
    }
    if whole {
        #[expect(clippy::cast_possible_truncation, reason = "a whole number of at most eight digits")]
        return Ok(Value::from(rounded as i64));
    }
    Ok(Number::from_f64(rounded).map_or(Value::Null, Value::Number))
}

/// Half away from zero; what is too fine for the number's own precision stays as it is.
fn round(number: f64, scale: u32) -> f64 {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let power = 10f64.powi(i32::try_from(scale).unwrap_or(0));
    let scaled = number * power;
    // Adding zero makes a negative zero a plain one.
    if scaled.abs() < EXACT { scaled.round() / power + 0.0 } else { number }
}

pub(crate) fn malformed_id(field: &Field, text: &str) -> ApiError {
    field.refuse("MALFORMED_ID", format!("id value of incorrect type: {text}"))
}

/// One `@`, something before it, a domain with a dot, and no characters that cannot be there.
pub(crate) fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    let allowed = |c: char| c.is_alphanumeric() || "!#$%&'*/=?^_+-`{|}~.".contains(c);
    !local.is_empty()
        && local.chars().all(allowed)
        && domain.split('.').count() >= 2
        && domain.split('.').all(|label| {
            !label.is_empty()
                && label.chars().all(|c| c.is_alphanumeric() || c == '-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

#[cfg(test)]
mod tests {
    use super::{is_email, round};

    #[test]
    fn the_shape_of_an_address_decides() {
        for good in ["jane@example.com", "o'neil+tag@mail.example.co.uk", "jürgen@müller.de"] {
            assert!(is_email(good), "{good}");
        }
        for bad in
            ["123", "jane@example", "jane@@example.com", "@example.com", "jane@.com", "jane doe@example.com", "a@b..c"]
        {
            assert!(!is_email(bad), "{bad}");
        }
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "the results are exact")]
    fn numbers_are_rounded_to_their_places() {
        assert_eq!(round(12.345, 2), 12.35);
        assert_eq!((round(-0.5, 0), round(-12.345, 2), round(-12.344, 2)), (-1.0, -12.35, -12.34));
        assert!(round(-0.4, 0).is_sign_positive());
        assert_eq!(round(1.0e17, 2), 1.0e17);
    }
}
