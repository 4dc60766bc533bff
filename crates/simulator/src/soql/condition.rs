//! Whether a row or a group passes a condition, and how values compare.
//!
//! Text compares without case, but for ids and fields whose unique values tell case apart. Null passes `=` null, `!=` and
//! `NOT IN` of anything else, and no inequality.

use std::cmp::Ordering;

use serde_json::Value;

use super::Operator;
use super::plan::{Part, Test, Wanted};

/// Whether `test` holds for the values that `value` gives.
pub(super) fn passes<'v, S>(test: &Test<S>, value: &impl Fn(&S) -> Option<&'v Value>) -> bool {
    match test {
        Test::All(tests) => tests.iter().all(|test| passes(test, value)),
        Test::Any(tests) => tests.iter().any(|test| passes(test, value)),
        Test::Not(test) => !passes(test, value),
        Test::Compare { subject, operator, wanted } => compare(value(subject), *operator, wanted),
        Test::OneOf { subject, ids, negated } => match value(subject).and_then(Value::as_str) {
            Some(id) => ids.get().is_some_and(|ids| ids.contains(id)) != *negated,
            None => *negated,
        },
    }
}

fn compare(value: Option<&Value>, operator: Operator, wanted: &[Wanted]) -> bool {
    let value = value.filter(|value| !value.is_null());
    let any = |holds: fn(Ordering) -> bool| wanted.iter().any(|wanted| against(value, wanted).is_some_and(holds));
    let ordered = |holds: fn(Ordering) -> bool| value.is_some() && any(holds);
    match operator {
        Operator::Equal | Operator::In | Operator::Like | Operator::Includes => any(Ordering::is_eq),
        Operator::NotEqual | Operator::NotIn | Operator::Excludes => !any(Ordering::is_eq),
        Operator::Less => ordered(Ordering::is_lt),
        Operator::LessOrEqual => ordered(Ordering::is_le),
        Operator::Greater => ordered(Ordering::is_gt),
        Operator::GreaterOrEqual => ordered(Ordering::is_ge),
    }
}

/// How a stored value stands to a literal; `None` when nothing can be said, as with null.
fn against(value: Option<&Value>, wanted: &Wanted) -> Option<Ordering> {
    let matched = |holds: bool| holds.then_some(Ordering::Equal);
    let Some(value) = value else { return matched(*wanted == Wanted::Null) };
    match wanted {
        Wanted::Null => None,
        Wanted::Folded(text) => value.as_str().map(|value| cmp_folded(value, text)),
        Wanted::Exact(text) => value.as_str().map(|value| value.cmp(text)),
        Wanted::Number(number) => value.as_f64().and_then(|value| value.partial_cmp(number)),
        Wanted::Flag(flag) => value.as_bool().map(|value| value.cmp(flag)),
        Wanted::Range(first, last) => value.as_str().map(|value| {
            if value < first.as_str() {
                Ordering::Less
            } else if value > last.as_str() {
                Ordering::Greater
            } else {
                Ordering::Equal
            }
        }),
        Wanted::Pattern(parts) => value.as_str().and_then(|value| matched(like(parts, &folded(value)))),
        Wanted::Values(all) => {
            let chosen = folded(value.as_str()?);
            matched(all.iter().all(|wanted| chosen.split(';').any(|chosen| chosen == wanted)))
        }
    }
}

/// Order of `text`, read in lower case, and `folded`, which is in lower case already.
fn cmp_folded(text: &str, folded: &str) -> Ordering {
    if text.is_ascii() && folded.is_ascii() {
        return text.bytes().map(|byte| byte.to_ascii_lowercase()).cmp(folded.bytes());
    }
    text.chars().flat_map(char::to_lowercase).cmp(folded.chars())
}

pub(super) fn folded(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

/// What a value sorts by.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Key {
    Null,
    Text(String),
    Number(f64),
    Flag(bool),
}

impl Key {
    /// With `exact`, text that differs in case alone is not the same.
    pub(super) fn of(value: Option<&Value>, exact: bool) -> Self {
        match value {
            Some(Value::String(text)) if exact => Self::Text(text.clone()),
            Some(Value::String(text)) => Self::Text(folded(text)),
            Some(Value::Number(number)) => number.as_f64().map_or(Self::Null, Self::Number),
            Some(Value::Bool(flag)) => Self::Flag(*flag),
            Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => Self::Null,
        }
    }

    /// Order in a sorted answer. Nulls stand at the end they were asked to, whichever way the rest runs.
    pub(super) fn cmp(&self, other: &Self, descending: bool, nulls_last: bool) -> Ordering {
        let order = match (self, other) {
            (Self::Null, Self::Null) => return Ordering::Equal,
            (Self::Null, _) => return if nulls_last { Ordering::Greater } else { Ordering::Less },
            (_, Self::Null) => return if nulls_last { Ordering::Less } else { Ordering::Greater },
            (Self::Text(left), Self::Text(right)) => left.cmp(right),
            (Self::Number(left), Self::Number(right)) => left.total_cmp(right),
            (Self::Flag(left), Self::Flag(right)) => left.cmp(right),
            // One field holds values of one type.
            (Self::Text(_) | Self::Number(_) | Self::Flag(_), _) => Ordering::Equal,
        };
        if descending { order.reverse() } else { order }
    }
}

/// `%` any characters, `_` one. Runs in pattern times text, never more.
fn like(parts: &[Part], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while let Some(next) = text.get(t) {
        match parts.get(p) {
            Some(Part::Any) => {
                retry = Some((p, t));
                p += 1;
                continue;
            }
            Some(Part::One) => {
                p += 1;
                t += 1;
                continue;
            }
            Some(Part::This(c)) if c == next => {
                p += 1;
                t += 1;
                continue;
            }
            Some(Part::This(_)) | None => {}
        }
        let Some((any, from)) = retry else { return false };
        retry = Some((any, from + 1));
        p = any + 1;
        t = from + 1;
    }
    parts.get(p..).unwrap_or_default().iter().all(|part| *part == Part::Any)
}

/// The pieces of a pattern as it is written: a backslash takes the next character as it is.
pub(super) fn pattern(raw: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        match c {
            '%' => parts.push(Part::Any),
            '_' => parts.push(Part::One),
            '\\' => parts.push(Part::This(chars.next().map_or('\\', unescaped))),
            other => parts.extend(other.to_lowercase().map(Part::This)),
        }
    }
    parts
}

/// A quoted text as it is meant outside `LIKE`.
pub(super) fn plain(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        text.push(if c == '\\' { chars.next().map_or('\\', unescaped) } else { c });
    }
    text
}

fn unescaped(c: char) -> char {
    match c {
        'n' | 'N' => '\n',
        'r' | 'R' => '\r',
        't' | 'T' => '\t',
        'b' | 'B' => '\u{8}',
        'f' | 'F' => '\u{c}',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::{folded, like, pattern, plain};

    #[test]
    fn patterns_match_whole_texts_without_case() {
        for (raw, text, expected) in [
            ("a%", "abc", true),
            ("A%", "abc", true),
            ("%c", "abC", true),
            ("a_c", "abc", true),
            ("a_c", "abbc", false),
            ("%b%b%", "abab", true),
            ("a\\%", "a%", true),
            ("a\\%", "ab", false),
            ("a\\\\%", "a\\b", true),
            ("", "", true),
            ("%", "", true),
            ("a", "", false),
        ] {
            assert_eq!(like(&pattern(raw), &folded(text)), expected, "{raw} {text}");
        }
    }

    #[test]
    fn escapes_stand_for_one_character() {
        assert_eq!(plain(r"O\'Neil\n\\\%"), "O'Neil\n\\%");
    }
}
