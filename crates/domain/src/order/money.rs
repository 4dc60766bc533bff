//! Amounts, which Limio sends as numbers and as strings.

use rust_decimal::Decimal;
use serde_json::Value;

/// An amount in a currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Money {
    /// The amount, exact. 12.5 and "12.50" are equal.
    pub amount: Decimal,
    /// ISO currency code as sent, where given.
    pub currency: Option<String>,
}

/// Reads an amount: a number, or a string of digits with at most one point and an optional leading `-`.
///
/// `None` for `NaN`, thousands separators, more than 28 digits, and for strings with exponents. A JSON number counts by its
/// value, of which 15 significant digits are kept: how it was spelt is lost when JSON is read, so `1.25e1` is 12.5 here.
/// An amount that needs more digits has to be sent as a string.
pub fn amount(value: &Value) -> Option<Decimal> {
    match value {
        // Small and large ones print with an exponent as JSON, and without as what they are.
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(float) => decimal(&float.to_string()),
            None => decimal(&number.to_string()),
        },
        Value::String(text) => decimal(text.trim()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn decimal(text: &str) -> Option<Decimal> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    Decimal::from_str_exact(text).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_number_and_a_string_are_the_same_amount() {
        for (number, text) in [(json!(12.5), "12.50"), (json!(25), "25"), (json!(-3), "-3.00"), (json!(0.1), " 0.1 ")] {
            assert_eq!(amount(&number), amount(&json!(text)), "{text}");
            assert!(amount(&number).is_some());
        }
    }

    #[test]
    fn a_number_counts_by_its_value_however_it_was_spelt() {
        for (json, text) in [
            ("1.25e1", "12.5"),
            ("0.000001", "0.000001"),
            ("1e-6", "0.000001"),
            ("100000000000000000000", "100000000000000000000"),
            ("1e20", "100000000000000000000"),
            ("-0.0", "0"),
        ] {
            let number: Value = serde_json::from_str(json).expect("JSON");
            assert_eq!(amount(&number), amount(&json!(text)), "{json}");
            assert!(amount(&number).is_some(), "{json}");
        }
        assert_eq!(amount(&json!(1e-40)), None);
    }

    #[test]
    fn what_is_not_a_plain_decimal_is_refused() {
        for text in ["", "NaN", "1e3", "1,000.00", "12.", ".5", "--1", "+1", "£12", "0x10", "1_000", "Infinity"] {
            assert_eq!(amount(&json!(text)), None, "{text}");
        }
        assert_eq!(amount(&json!("9".repeat(60))), None);
        assert_eq!(amount(&json!(1e300)), None);
        assert_eq!(amount(&json!({"amount": 1})), None);
    }
}
