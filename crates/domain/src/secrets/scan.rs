//! Secrets in bytes that are no JSON: masked where they stand, without understanding what is around them.
//!
//! A member is a quoted name, a colon and a value. In JSON that stands in a string its quotes are escaped, once or more
//! often: a string that began after `n` backslashes ends at the next quote of the same level. `\u0022`, as some writers
//! escape a quote, counts as one.

use std::borrow::Cow;

use super::{BASE64, MASK, folded, is_secret, is_secret_anywhere, strip_base64};

/// The longest name that is looked at, in bytes.
const MAX_NAME: usize = 160;
/// How often escapes in a name or in base64 are undone.
const MAX_ESCAPES: usize = 4;

/// A quote as it stands in the bytes.
#[derive(Clone, Copy)]
struct Quote {
    /// Where the backslashes before it begin, its own and others.
    start: usize,
    /// Just after them.
    token: usize,
    /// Just after it.
    end: usize,
    /// The backslashes it has when it is written as `"`.
    level: usize,
}

/// The bytes with the values of secret members masked, and `data_base64` without its secrets.
pub(super) fn mask(bytes: &[u8], wrappings: u8) -> Cow<'_, [u8]> {
    let mut masked = Vec::new();
    let (mut kept, mut at) = (0, 0);
    while let Some(colon) = bytes[at..].iter().position(|byte| *byte == b':').map(|found| at + found) {
        at = colon + 1;
        let Some((name, quote)) = name_before(bytes, colon) else { continue };
        let (secret, wrapped) = (is_secret_anywhere(&name) || is_secret(&name), name == BASE64);
        if !secret && !wrapped {
            continue;
        }
        let start = after_blanks(bytes, at);
        let (from, to, stripped) = match quote_from(bytes, start) {
            Some(open) => {
                let end = string_end(bytes, open.end, open.level)
                    .map_or(bytes.len(), |close| close.start.max(close.token - (open.token - open.start)));
                let content = &bytes[open.end..end];
                let stripped = if secret {
                    (!content.is_empty()).then(|| MASK.into())
                } else {
                    let text = unescaped(String::from_utf8_lossy(content));
                    strip_base64(&text, false, wrappings).map(String::into_bytes)
                };
                (open.end, end, stripped)
            }
            None if secret => {
                let end = match bytes.get(start) {
                    Some(b'{' | b'[') => container_end(bytes, start, quote.level),
                    _ => start + bytes[start..].iter().take_while(|byte| is_scalar(**byte)).count(),
                };
                let value = &bytes[start..end];
                let says_nothing = matches!(value, b"" | b"null" | b"true" | b"false" | b"{}" | b"[]");
                let quote = &bytes[quote.start..quote.end];
                (start, end, (!says_nothing).then(|| [quote, MASK.as_bytes(), quote].concat()))
            }
            None => continue,
        };
        if let Some(stripped) = stripped.filter(|stripped| stripped != &bytes[from..to]) {
            masked.extend_from_slice(&bytes[kept..from]);
            masked.extend_from_slice(&stripped);
            kept = to;
        }
        at = to;
    }
    if kept == 0 {
        return Cow::Borrowed(bytes);
    }
    masked.extend_from_slice(&bytes[kept..]);
    Cow::Owned(masked)
}

fn is_scalar(byte: u8) -> bool {
    !byte.is_ascii_whitespace() && !matches!(byte, b',' | b'}' | b']' | b'"' | b'\\')
}

/// The name of the member whose colon this is, folded, and the quote that ends it.
fn name_before(bytes: &[u8], colon: usize) -> Option<(String, Quote)> {
    let mut end = colon;
    while end > 0 && bytes[end - 1].is_ascii_whitespace() {
        end -= 1;
    }
    let token = if bytes[..end].ends_with(b"\"") {
        end - 1
    } else if bytes[..end].ends_with(b"\\u0022") {
        end - 5
    } else {
        return None;
    };
    let quote = quote_at(bytes, token, 0)?;
    let earliest = quote.start.saturating_sub(MAX_NAME);
    let window = &bytes[earliest..quote.start];
    let begin = (0..window.len()).rev().find_map(|at| quote_at(window, at, 0)).map(|quote| quote.end)?;
    let name = unescaped(String::from_utf8_lossy(&window[begin..]));
    Some((folded(&name), quote))
}

/// A text without the escapes of the strings around it, as far as it has any.
fn unescaped(mut text: Cow<'_, str>) -> Cow<'_, str> {
    for _ in 0..MAX_ESCAPES {
        if !text.contains('\\') {
            break;
        }
        let Ok(plain) = serde_json::from_str::<String>(&format!("\"{text}\"")) else { break };
        text = Cow::Owned(plain);
    }
    text
}

/// Past blanks, also escaped ones.
fn after_blanks(bytes: &[u8], mut at: usize) -> usize {
    loop {
        let slashes = bytes[at..].iter().take_while(|byte| **byte == b'\\').count();
        match bytes.get(at + slashes) {
            Some(byte) if slashes == 0 && byte.is_ascii_whitespace() => at += 1,
            Some(b'n' | b'r' | b't') if slashes > 0 => at += slashes + 1,
            _ => return at,
        }
    }
}

/// The quote that begins here with its backslashes.
fn quote_from(bytes: &[u8], start: usize) -> Option<Quote> {
    let slashes = bytes[start..].iter().take_while(|byte| **byte == b'\\').count();
    quote_at(bytes, start + slashes, start)
}

/// The quote whose `"` or `u0022` stands at `token`; backslashes before `from` are not its own.
fn quote_at(bytes: &[u8], token: usize, from: usize) -> Option<Quote> {
    let length = match bytes.get(token..)? {
        [b'"', ..] => 1,
        rest if rest.starts_with(b"u0022") => 5,
        _ => return None,
    };
    let slashes = bytes[from..token].iter().rev().take_while(|byte| **byte == b'\\').count();
    let level = match length {
        1 => slashes,
        _ if slashes == 0 => return None,
        _ => level_of_code(slashes),
    };
    Some(Quote { start: token - slashes, token, end: token + length, level })
}

/// The backslashes that a quote would have which is written as `u0022` after these.
fn level_of_code(slashes: usize) -> usize {
    if slashes % 2 == 1 { slashes } else { 2 * level_of_code(slashes / 2) + 1 }
}

/// The quote that ends the string, which began after as many backslashes as `level`; `None` where the bytes end first.
fn string_end(bytes: &[u8], from: usize, level: usize) -> Option<Quote> {
    (from..bytes.len()).find_map(|at| {
        let quote = quote_at(bytes, at, from)?;
        // Fewer backslashes end a string around this one. More are a quote inside it, unless they are escaped themselves.
        let ends = quote.level <= level || (quote.level - level).is_multiple_of(2 * (level + 1));
        ends.then_some(quote)
    })
}

/// Just after the object or array that begins here, or where the string around it ends.
fn container_end(bytes: &[u8], start: usize, level: usize) -> usize {
    let (mut depth, mut at) = (0_usize, start);
    while at < bytes.len() {
        match bytes[at] {
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 1 => return at + 1,
            b'}' | b']' => depth -= 1,
            _ => {
                if let Some(quote) = quote_at(bytes, at, start) {
                    if quote.level < level {
                        return quote.start;
                    }
                    let Some(close) = string_end(bytes, quote.end, quote.level) else { return bytes.len() };
                    at = close.end;
                    continue;
                }
            }
        }
        at += 1;
    }
    bytes.len()
}
