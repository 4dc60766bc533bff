//! Criteria of matching rules: how one field is compared, and the match keys that follow from all of them.

use std::borrow::Cow;

use serde_json::Value;

use super::logic::Verdict;
use super::rule::{BlankValues, KeyField};
use super::score::MatchMethod;
use super::text::KeyForm;
use crate::records::{KeyPart, Row};
use crate::schema::{FieldIx, Object};

/// One criterion of a matching rule, its names resolved.
#[derive(Debug)]
pub(super) struct Criterion {
    /// Field of the saved object.
    pub(super) field: FieldIx,
    /// Field of the matched object.
    pub(super) other: FieldIx,
    pub(super) method: MatchMethod,
    pub(super) exact_case: bool,
    pub(super) threshold: f64,
    pub(super) blank: BlankValues,
}

/// The field of that name, or that there is none.
pub(super) fn named(object: &Object, field: &str) -> Result<FieldIx, String> {
    object.find(field).ok_or_else(|| format!("no field {field} on {}", object.name))
}

/// The value as text; `None` when it is blank.
pub(super) fn text_of(row: &Row, field: FieldIx) -> Option<Cow<'_, str>> {
    match row.get(field)? {
        Value::String(text) => (!text.trim().is_empty()).then_some(Cow::Borrowed(text)),
        Value::Null => None,
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            Some(Cow::Owned(other.to_string()))
        }
    }
}

impl Criterion {
    pub(super) fn judge(&self, saved: &Row, row: &Row) -> Verdict {
        match (text_of(saved, self.field), text_of(row, self.other), self.blank) {
            (Some(a), Some(b), _) => {
                let score = self.method.score(&a, &b, self.exact_case);
                if score >= self.threshold { Verdict::Hit(score) } else { Verdict::Miss }
            }
            (None, None, BlankValues::Match) => Verdict::Hit(100.0),
            (_, _, BlankValues::Ignore) => Verdict::Skip,
            (_, _, BlankValues::Refuse | BlankValues::Match) => Verdict::Miss,
        }
    }

    /// How the field goes into a key, and how well it narrows; `None` when equal keys do not follow from a match.
    fn form(&self) -> Option<(u8, KeyForm)> {
        if self.blank != BlankValues::Refuse {
            return None;
        }
        Some(match self.method {
            MatchMethod::Exact if self.exact_case => (0, KeyForm::Exact),
            MatchMethod::Exact | MatchMethod::Email => (0, KeyForm::Folded),
            MatchMethod::Website => (0, KeyForm::Website),
            MatchMethod::Phone => (1, KeyForm::Phone),
            MatchMethod::LastName => (2, KeyForm::Sound),
            MatchMethod::Street => (2, KeyForm::Street),
            MatchMethod::Zip => (2, KeyForm::Zip),
            MatchMethod::CompanyName => (3, KeyForm::Company),
            MatchMethod::City => (3, KeyForm::City),
            MatchMethod::FirstName => (4, KeyForm::Initial),
            MatchMethod::Title => return None,
        })
    }
}

/// For each alternative the fields that narrow best; fuzzy fields of one rank are not mixed with better ones.
pub(super) fn derived_keys(criteria: &[Criterion], clauses: &[Vec<usize>]) -> Result<Vec<Vec<KeyPart>>, String> {
    let mut keys: Vec<Vec<KeyPart>> = Vec::new();
    for clause in clauses {
        let forms: Vec<(u8, KeyPart)> = clause
            .iter()
            .filter_map(|place| criteria.get(*place))
            .filter_map(|criterion| {
                criterion.form().map(|(rank, form)| (rank, KeyPart { field: criterion.other, form }))
            })
            .collect();
        let best = forms.iter().map(|(rank, _)| *rank).min();
        let mut key: Vec<KeyPart> = Vec::new();
        for (rank, part) in forms {
            if Some(rank) == best && !key.contains(&part) {
                key.push(part);
            }
        }
        if key.is_empty() {
            return Err(
                "an alternative has no criterion that refuses blanks, so every row would be compared".to_owned()
            );
        }
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    Ok(keys)
}

/// A key as the rule gives it.
pub(super) fn given_key(object: &Object, key: &[KeyField]) -> Result<Vec<KeyPart>, String> {
    if key.is_empty() {
        return Err("an empty match key".to_owned());
    }
    key.iter().map(|part| Ok(KeyPart { field: named(object, &part.field)?, form: part.form })).collect()
}
