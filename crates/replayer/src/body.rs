//! A letter's body: by its shape, or as it is.

use std::fmt::Write;

use domain::secrets::strip_body;
use serde_json::{Map, Value, json};

use crate::shown::{counted, printable};

/// Entries of an array that are described.
const ITEMS: usize = 3;
/// Lines of a description.
const LINES: usize = 200;
/// Bytes in a hex excerpt.
const EXCERPT: usize = 256;

/// What a body turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// JSON; strings that hold JSON are opened, as Limio's callout plugin wraps them.
    Json(Value),
    /// Text that is no JSON.
    Text(String),
    /// Not UTF-8.
    Binary(Vec<u8>),
}

impl Body {
    /// Looks at the bytes. A byte order mark before JSON is passed over.
    pub fn read(bytes: &[u8]) -> Self {
        let Ok(text) = std::str::from_utf8(bytes) else { return Self::Binary(bytes.to_vec()) };
        match serde_json::from_str(text.strip_prefix('\u{feff}').unwrap_or(text)) {
            Ok(value) => Self::Json(opened(value, 2)),
            Err(_) => Self::Text(text.to_owned()),
        }
    }

    /// `json`, `text`, `binary`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Json(_) => "json",
            Self::Text(_) => "text",
            Self::Binary(_) => "binary",
        }
    }

    /// The body without its values: keys, types and sizes.
    pub fn shape(&self) -> String {
        match self {
            Self::Json(value) => {
                let mut lines = Vec::new();
                describe(value, 0, &mut lines);
                let more = lines.len().saturating_sub(LINES);
                lines.truncate(LINES);
                if more > 0 {
                    lines.push(format!("… {more} more lines"));
                }
                if lines.is_empty() { shape(value) } else { lines.join("\n") }
            }
            Self::Text(text) if text.trim().is_empty() => "empty".to_owned(),
            Self::Text(text) => format!("no JSON: text of {}", counted(text.chars().count(), "character")),
            Self::Binary(bytes) => format!("not UTF-8: {}", counted(bytes.len(), "byte")),
        }
    }

    /// [`Body::shape`] for programs: each value in a JSON body is replaced by its shape.
    pub fn shape_json(&self) -> Value {
        match self {
            Self::Json(value) => shaped(value),
            Self::Text(_) | Self::Binary(_) => json!(self.shape()),
        }
    }

    /// The body as it is, without payment secrets: in JSON their keys are left out, in anything else the values of members
    /// with such names are masked, see [`domain::secrets::strip_body`]. Bytes that are not UTF-8 come as a hex excerpt.
    pub fn reveal(&self) -> String {
        match self {
            Self::Json(value) => match serde_json::to_string_pretty(&without_secrets(value)) {
                Ok(text) => text.lines().map(printable).collect::<Vec<_>>().join("\n"),
                Err(error) => error.to_string(),
            },
            Self::Text(text) => masked(text).lines().map(printable).collect::<Vec<_>>().join("\n"),
            Self::Binary(bytes) => hex(&strip_body(bytes)),
        }
    }

    /// [`Body::reveal`] for programs.
    pub fn reveal_json(&self) -> Value {
        match self {
            Self::Json(value) => without_secrets(value),
            Self::Text(text) => json!(masked(text)),
            Self::Binary(_) => json!(self.reveal()),
        }
    }
}

fn masked(text: &str) -> String {
    String::from_utf8_lossy(&strip_body(text.as_bytes())).into_owned()
}

fn without_secrets(value: &Value) -> Value {
    let Ok(bytes) = serde_json::to_vec(value) else { return Value::Null };
    serde_json::from_slice(&strip_body(&bytes)).unwrap_or_default()
}

/// Opens JSON in strings: the body itself, and its `data` and `body`.
fn opened(mut value: Value, strings: u8) -> Value {
    match &mut value {
        Value::String(text) if strings > 0 => match serde_json::from_str::<Value>(text) {
            Ok(inner @ (Value::Object(_) | Value::Array(_) | Value::String(_))) => opened(inner, strings - 1),
            Ok(_) | Err(_) => value,
        },
        Value::Object(map) => {
            for key in ["data", "body"] {
                if let Some(inner) = map.get_mut(key) {
                    *inner = opened(inner.take(), strings);
                }
            }
            value
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => value,
    }
}

/// A value without repeating it.
fn shape(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "true or false".to_owned(),
        Value::Number(_) => "a number".to_owned(),
        Value::String(text) if text.is_empty() => "empty text".to_owned(),
        Value::String(text) => format!("text of {}", counted(text.chars().count(), "character")),
        Value::Array(items) => format!("array of {}", items.len()),
        Value::Object(map) => format!("object of {}", counted(map.len(), "key")),
    }
}

fn shaped(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            Value::Object(map.iter().map(|(name, value)| (key(name), shaped(value))).collect::<Map<_, _>>())
        }
        Value::Array(items) => items.iter().map(shaped).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => json!(shape(value)),
    }
}

/// A key. One that looks like an e-mail address is data, not a name.
fn key(name: &str) -> String {
    if name.contains('@') {
        format!("(a key of {})", counted(name.chars().count(), "character"))
    } else {
        printable(name)
    }
}

fn describe(value: &Value, depth: usize, lines: &mut Vec<String>) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                lines.push(format!("{indent}{}: {}", key(name), shape(value)));
                describe(value, depth + 1, lines);
            }
        }
        Value::Array(items) => {
            let nested = |item: &Value| matches!(item, Value::Object(_) | Value::Array(_));
            for (index, item) in items.iter().take(ITEMS).enumerate() {
                lines.push(format!("{indent}[{index}]: {}", shape(item)));
                if nested(item) {
                    describe(item, depth + 1, lines);
                }
            }
            if items.len() > ITEMS {
                lines.push(format!("{indent}… {} more", items.len() - ITEMS));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Offset, sixteen bytes in hex, and as text; around the first byte that is not UTF-8.
fn hex(bytes: &[u8]) -> String {
    let bad = std::str::from_utf8(bytes).err().map_or(0, |error| error.valid_up_to());
    let start = bad.saturating_sub(EXCERPT / 2) / 16 * 16;
    let mut text = format!("{}, the first that is not UTF-8 at {bad}", counted(bytes.len(), "byte"));
    for (row, chunk) in bytes.iter().skip(start).take(EXCERPT).collect::<Vec<_>>().chunks(16).enumerate() {
        let digits = chunk.iter().fold(String::new(), |mut digits, byte| {
            let _ = write!(digits, "{byte:02x} ");
            digits
        });
        let plain: String = chunk
            .iter()
            .map(|byte| if byte.is_ascii_graphic() || **byte == b' ' { char::from(**byte) } else { '.' })
            .collect();
        let _ = write!(text, "\n{:08x}  {digits:<48} {plain}", start + row * 16);
    }
    if start + EXCERPT < bytes.len() {
        let _ = write!(text, "\n… {} more, --raw writes all", counted(bytes.len() - start - EXCERPT, "byte"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: &str = r#"{"id":"order-1","customer":{"email":"jane@example.com","jane@example.com":1},"items":[1,2,3,4],"payment":{"token":"tok_s3cret","amount":"12.00"},"empty":{},"none":null}"#;

    #[test]
    fn a_shape_shows_keys_and_no_value() {
        for shape in [Body::read(ORDER.as_bytes()).shape(), Body::read(ORDER.as_bytes()).shape_json().to_string()] {
            for value in ["order-1", "jane", "tok_s3cret", "12.00"] {
                assert!(!shape.contains(value), "{value} in {shape}");
            }
            for name in ["id", "customer", "email", "payment", "amount", "text of 16 characters"] {
                assert!(shape.contains(name), "{name} in {shape}");
            }
        }
    }

    #[test]
    fn revealing_still_leaves_payment_secrets_out() {
        let text = Body::read(ORDER.as_bytes()).reveal();
        assert!(text.contains("jane@example.com") && !text.contains("tok_s3cret"), "{text}");
    }

    #[test]
    fn revealing_leaves_payment_secrets_out_of_torn_marked_and_spoiled_bodies_too() {
        let wrapped = serde_json::to_string(&json!({"v": 1, "body": ORDER})).expect("JSON");
        let torn = ORDER.find("_s3cret").expect("the secret") + 4;
        let marked = format!("\u{feff}{ORDER}");
        let mut spoiled = ORDER.as_bytes().to_vec();
        spoiled.push(0xff);
        let bodies: [(&[u8], &str); 5] = [
            (marked.as_bytes(), "json"),
            (wrapped.as_bytes(), "json"),
            (&ORDER.as_bytes()[..torn], "text"),
            (&wrapped.as_bytes()[..wrapped.len() - 4], "text"),
            (&spoiled, "binary"),
        ];
        for (bytes, kind) in bodies {
            let body = Body::read(bytes);
            assert_eq!(body.kind(), kind);
            for text in [body.reveal(), body.reveal_json().to_string()] {
                assert!(!text.contains("tok_") && !text.contains("74 6f 6b 5f"), "{text}");
                assert!(text.contains("jane") || kind == "binary" && text.contains("6a 61 6e 65"), "{text}");
            }
        }
    }

    #[test]
    fn json_within_a_string_is_opened() {
        let wrapped = serde_json::to_string(&json!({"v": 1, "body": ORDER})).expect("JSON");
        let shape = Body::read(wrapped.as_bytes()).shape();
        assert!(shape.contains("  customer: object of 2 keys"), "{shape}");
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_in_hex_around_the_fault() {
        let mut bytes = vec![b'a'; 1000];
        bytes[600] = 0xff;
        let body = Body::read(&bytes);
        assert_eq!(body.shape(), "not UTF-8: 1000 bytes");
        let text = body.reveal();
        assert!(text.starts_with("1000 bytes, the first that is not UTF-8 at 600\n000001d0  61 61"), "{text}");
        assert!(text.contains("61 ff 61") || text.contains("ff 61"), "{text}");
        assert!(
            text.ends_with("280 bytes more, --raw writes all") || text.contains("more, --raw writes all"),
            "{text}"
        );
    }

    #[test]
    fn nothing_of_a_body_reaches_the_terminal_as_a_control_sequence() {
        for bytes in ["\u{1b}[2J", "{\"a\u{1b}\": 1}", "\"\\u001b[2J\"", "[\"\\u009b\"]"] {
            let body = Body::read(bytes.as_bytes());
            for text in [body.shape(), body.reveal()] {
                assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
            }
        }
        assert_eq!(Body::read(b"").shape(), "empty");
        let deep = "[".repeat(100_000);
        assert_eq!(Body::read(deep.as_bytes()).kind(), "text");
    }
}
