//! A cursor over JSON that knows where it is: each refusal names the path, the rule and the value's shape.

use serde_json::{Map, Value};

use crate::failure::{Failure, Reason};
use crate::order::id::RecordId;
use crate::order::moment::Moment;
use crate::order::money::{self, Money};

/// The longest name from a message that is repeated in an error.
const MAX_SHOWN: usize = 64;

/// Describes a value without repeating it: values may be personal data.
pub(crate) fn shape(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "a boolean".to_owned(),
        Value::Number(_) => "a number".to_owned(),
        Value::String(text) if text.trim().is_empty() => "an empty string".to_owned(),
        Value::String(text) => match text.chars().count() {
            1 => "a string of 1 character".to_owned(),
            count => format!("a string of {count} characters"),
        },
        Value::Array(items) => format!("an array of {}", items.len()),
        Value::Object(map) => match map.len() {
            1 => "an object of 1 key".to_owned(),
            count => format!("an object of {count} keys"),
        },
    }
}

/// Repeats a technical name (an event, a type, a tenant), when it looks like one; else describes it.
pub(crate) fn shown(name: &str) -> String {
    if is_technical(name) { format!("\"{name}\"") } else { format!("a name of {} characters", name.chars().count()) }
}

/// Whether a text looks like a name that programs give, not people.
pub(crate) fn is_technical(name: &str) -> bool {
    let technical = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ':');
    name.len() <= MAX_SHOWN && name.chars().all(technical)
}

/// The object that a record id is of.
///
/// Source: Salesforce help, "Standard Field Record ID Prefix Decoder".
#[derive(Debug, Clone, Copy)]
pub(crate) enum RecordOf {
    Account,
    Contact,
    Case,
    User,
}

impl RecordOf {
    const fn key_prefix(self) -> &'static str {
        match self {
            Self::Account => "001",
            Self::Contact => "003",
            Self::Case => "500",
            Self::User => "005",
        }
    }

    const fn rule(self) -> &'static str {
        match self {
            Self::Account => "the 15 or 18 characters of an Account's id, which begins with 001",
            Self::Contact => "the 15 or 18 characters of a Contact's id, which begins with 003",
            Self::Case => "the 15 or 18 characters of a Case's id, which begins with 500",
            Self::User => "the 15 or 18 characters of a User's id, which begins with 005",
        }
    }
}

/// The fields of one object, with the path to it.
///
/// `null`, blank text, `{}` and `[]` count as absent, as Limio sends them for what was not filled in.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    path: String,
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    pub(crate) fn root(map: &'a Map<String, Value>) -> Self {
        Self { path: String::new(), map }
    }

    pub(crate) fn map(&self) -> &'a Map<String, Value> {
        self.map
    }

    /// The path of one of its fields.
    pub(crate) fn path_to(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The value, when it says anything.
    pub(crate) fn value(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| match value {
            Value::Null => false,
            Value::String(text) => !text.trim().is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Object(map) => !map.is_empty(),
            Value::Bool(_) | Value::Number(_) => true,
        })
    }

    /// Text; a number is taken by its digits.
    pub(crate) fn text(&self, key: &str) -> Result<Option<String>, Failure> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.trim().to_owned())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(other) => Err(self.wrong_type(key, "text", other)),
        }
    }

    /// The first of several spellings that says anything.
    pub(crate) fn first_text(&self, keys: &[&str]) -> Result<Option<String>, Failure> {
        for key in keys {
            if let Some(text) = self.text(key)? {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }

    /// A flag; absent is false.
    pub(crate) fn flag(&self, key: &str) -> Result<bool, Failure> {
        match self.value(key) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(Value::String(text)) if text.trim().eq_ignore_ascii_case("true") => Ok(true),
            Some(Value::String(text)) if text.trim().eq_ignore_ascii_case("false") => Ok(false),
            Some(other) => Err(self.wrong_type(key, "true or false", other)),
        }
    }

    /// A date or date-time.
    pub(crate) fn moment(&self, key: &str) -> Result<Option<Moment>, Failure> {
        match self.value(key) {
            None => Ok(None),
            Some(value @ Value::String(text)) => match Moment::parse(text) {
                Some(moment) => Ok(Some(moment)),
                None => Err(self.invalid(key, "a date or date-time of ISO 8601 between 1700 and 4000", value)),
            },
            Some(other) => Err(self.wrong_type(key, "a date or date-time as text", other)),
        }
    }

    /// `{amount, currency}`, or the amount alone.
    pub(crate) fn money(&self, key: &str) -> Result<Option<Money>, Failure> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Object(_)) => {
                let Some(price) = self.object(key)? else { return Ok(None) };
                let Some(value) = price.value("amount") else { return Ok(None) };
                let currency = price.text("currency")?;
                Ok(Some(Money { amount: price.amount("amount", value)?, currency }))
            }
            Some(value) => Ok(Some(Money { amount: self.amount(key, value)?, currency: None })),
        }
    }

    fn amount(&self, key: &str, value: &Value) -> Result<rust_decimal::Decimal, Failure> {
        let rule = "a decimal number such as 12.50";
        match value {
            Value::Number(_) | Value::String(_) => money::amount(value).ok_or_else(|| self.invalid(key, rule, value)),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err(self.wrong_type(key, rule, value)),
        }
    }

    /// `quantity` or `qty`; 1 where neither is there.
    pub(crate) fn quantity(&self) -> Result<u32, Failure> {
        let Some((key, value)) = ["quantity", "qty"].iter().find_map(|key| Some((*key, self.value(key)?))) else {
            return Ok(1);
        };
        let rule = "a whole number, 0 or more";
        match value {
            Value::Number(_) | Value::String(_) => money::amount(value)
                .filter(rust_decimal::Decimal::is_integer)
                .and_then(|amount| u32::try_from(amount).ok())
                .ok_or_else(|| self.invalid(key, rule, value)),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err(self.wrong_type(key, rule, value)),
        }
    }

    /// The id of a record of one object. What is there and is no such id is refused: an order that goes on without the
    /// Account it names would make a second one.
    pub(crate) fn id_of(&self, key: &str, object: RecordOf) -> Result<Option<RecordId>, Failure> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let id = value.as_str().and_then(RecordId::parse).filter(|id| id.key_prefix() == object.key_prefix());
        match id {
            Some(id) => Ok(Some(id)),
            None => Err(self.invalid(key, object.rule(), value)),
        }
    }

    /// An object.
    pub(crate) fn object(&self, key: &str) -> Result<Option<Fields<'a>>, Failure> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Fields { path: self.path_to(key), map })),
            Some(other) => Err(self.wrong_type(key, "an object", other)),
        }
    }

    /// An object, where the value is one.
    pub(crate) fn object_if_any(&self, key: &str) -> Option<Fields<'a>> {
        self.value(key).and_then(Value::as_object).map(|map| Fields { path: self.path_to(key), map })
    }

    /// The objects whose key ends so, under a path that says `*` for the rest of the key: who sent the order chose it.
    pub(crate) fn objects_ending_in(&self, ending: &str) -> impl Iterator<Item = Fields<'a>> {
        let path = self.path_to(&format!("*{ending}"));
        let found =
            self.map.iter().filter(move |(key, _)| key.ends_with(ending)).filter_map(|(_, value)| value.as_object());
        found.map(move |map| Fields { path: path.clone(), map })
    }

    /// An array of objects; absent is empty.
    pub(crate) fn objects(&self, key: &str) -> Result<Vec<Fields<'a>>, Failure> {
        let items = match self.value(key) {
            None => return Ok(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(other) => return Err(self.wrong_type(key, "an array of objects", other)),
        };
        let read = |(index, item): (usize, &'a Value)| {
            let path = format!("{}[{index}]", self.path_to(key));
            match item.as_object() {
                Some(map) => Ok(Fields { path, map }),
                None => Err(wrong_type(path, "an object", item)),
            }
        };
        items.iter().enumerate().map(read).collect()
    }

    /// The refusal of an absent field.
    pub(crate) fn missing(&self, key: &str, rule: &str) -> Failure {
        let path = self.path_to(key);
        let message = match self.map.get(key) {
            None => format!("{path} is missing: {rule}"),
            Some(empty) => format!("{path} is {}: {rule}", shape(empty)),
        };
        Failure::permanent(Reason::MissingField, message).at(path).by(rule)
    }

    /// The refusal of a value that has the right type.
    pub(crate) fn invalid(&self, key: &str, rule: &str, value: &Value) -> Failure {
        let path = self.path_to(key);
        let message = format!("{path} must be {rule}; it is {}", shape(value));
        Failure::permanent(Reason::InvalidValue, message).at(path).by(format!("must be {rule}"))
    }

    pub(crate) fn wrong_type(&self, key: &str, rule: &str, value: &Value) -> Failure {
        wrong_type(self.path_to(key), rule, value)
    }
}

fn wrong_type(path: String, rule: &str, value: &Value) -> Failure {
    let message = format!("{path} must be {rule}; it is {}", shape(value));
    Failure::permanent(Reason::WrongType, message).at(path).by(format!("must be {rule}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refusal_names_path_rule_and_shape_and_not_the_value() {
        let order = json!({"orderItems": [{"price": {"amount": "twelve"}}]});
        let root = Fields::root(order.as_object().expect("an object"));
        let failure = root.objects("orderItems").expect("objects")[0].money("price").expect_err("not an amount");
        assert_eq!(failure.field.as_deref(), Some("orderItems[0].price.amount"));
        assert_eq!(
            failure.message,
            "orderItems[0].price.amount must be a decimal number such as 12.50; it is a string of 6 characters"
        );
    }

    #[test]
    fn shapes_tell_kind_and_size_only() {
        for (value, expected) in [
            (json!(null), "null"),
            (json!("é"), "a string of 1 character"),
            (json!("  "), "an empty string"),
            (json!([1, 2, 3]), "an array of 3"),
            (json!({"a": 1}), "an object of 1 key"),
        ] {
            assert_eq!(shape(&value), expected);
        }
    }

    #[test]
    fn a_name_is_repeated_only_when_it_looks_like_one() {
        assert_eq!(shown("order.paused"), "\"order.paused\"");
        assert_eq!(shown("Nora Quist"), "a name of 10 characters");
        assert_eq!(shown(&"x".repeat(65)), "a name of 65 characters");
    }

    #[test]
    fn a_quantity_may_be_a_number_or_a_string_under_either_name() {
        for (value, expected) in [
            (json!({"quantity": 2}), Some(2)),
            (json!({"qty": "3"}), Some(3)),
            (json!({"quantity": 4.0}), Some(4)),
            (json!({}), Some(1)),
            (json!({"quantity": -1}), None),
            (json!({"quantity": 1.5}), None),
            (json!({"quantity": [1]}), None),
        ] {
            assert_eq!(Fields::root(value.as_object().expect("an object")).quantity().ok(), expected, "{value}");
        }
    }
}
