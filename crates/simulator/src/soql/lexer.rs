//! Statement text to tokens.

use super::{LONGEST, unexpected};
use crate::api_error::ApiError;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// Keyword, name, path, or a value written like one.
    Word(String),
    /// A quoted literal, unescaped.
    Text(String),
    /// A number, date or date-time.
    Number(String),
    /// Punctuation or comparison.
    Symbol(&'static str),
}

impl Token {
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Word(text) | Self::Number(text) => text.clone(),
            Self::Text(text) => format!("'{text}'"),
            Self::Symbol(symbol) => format!("'{symbol}'"),
        }
    }
}

const SYMBOLS: [&str; 10] = ["!=", "<>", "<=", ">=", "=", "<", ">", "(", ")", ","];

/// Tokens with the number of characters before each.
pub(super) fn tokens(statement: &str) -> Result<Vec<(usize, Token)>, ApiError> {
    if statement.len() > LONGEST {
        return Err(ApiError::bad_request(
            "MALFORMED_QUERY",
            "SOQL statements cannot be longer than 100,000 characters.",
        ));
    }
    let chars: Vec<char> = statement.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        if c.is_whitespace() {
            at += 1;
            continue;
        }
        let start = at;
        let token = if c == '\'' {
            let (text, end) = quoted(&chars, at)?;
            at = end;
            Token::Text(text)
        } else if c.is_ascii_digit() || (matches!(c, '-' | '+') && chars.get(at + 1).is_some_and(char::is_ascii_digit))
        {
            at += 1;
            while chars.get(at).is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '-' | '+')) {
                at += 1;
            }
            Token::Number(chars[start..at].iter().collect())
        } else if c.is_ascii_alphabetic() || c == '_' {
            while chars.get(at).is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':')) {
                at += 1;
            }
            Token::Word(chars[start..at].iter().collect())
        } else {
            let starts = |symbol: &&&str| symbol.chars().enumerate().all(|(i, s)| chars.get(at + i) == Some(&s));
            let symbol = SYMBOLS.iter().find(starts).ok_or_else(|| unexpected(&format!("'{c}'")))?;
            at += symbol.len();
            Token::Symbol(symbol)
        };
        tokens.push((start, token));
    }
    Ok(tokens)
}

/// Reads a quoted literal from its opening quote; returns what stands after the closing one.
fn quoted(chars: &[char], open: usize) -> Result<(String, usize), ApiError> {
    let mut text = String::new();
    let mut at = open + 1;
    loop {
        match chars.get(at) {
            None => return Err(unexpected("'<EOF>'")),
            Some('\'') => return Ok((text, at + 1)),
            Some('\\') => {
                let escaped = chars.get(at + 1).ok_or_else(|| unexpected("'<EOF>'"))?;
                match escaped {
                    'n' | 'N' => text.push('\n'),
                    'r' | 'R' => text.push('\r'),
                    't' | 'T' => text.push('\t'),
                    'b' | 'B' => text.push('\u{8}'),
                    'f' | 'F' => text.push('\u{c}'),
                    // LIKE reads these two itself.
                    '%' | '_' => text.extend(['\\', *escaped]),
                    '\'' | '"' | '\\' => text.push(*escaped),
                    other => {
                        return Err(ApiError::bad_request(
                            "MALFORMED_QUERY",
                            format!("Invalid string literal: illegal escape '\\{other}'"),
                        ));
                    }
                }
                at += 2;
            }
            Some(c) => {
                text.push(*c);
                at += 1;
            }
        }
    }
}
