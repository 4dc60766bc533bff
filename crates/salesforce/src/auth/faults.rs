//! What the token endpoint's errors mean, as data: the table is `faults.toml` beside this file.

use std::sync::LazyLock;

use serde::Deserialize;

use super::TokenErrorKind;

/// One error of the token endpoint.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenFault {
    /// OAuth's `error`.
    pub error: String,
    /// What `error_description` begins with; empty for any other description of this error.
    #[serde(default)]
    pub description: String,
    /// What it asks of people.
    pub kind: TokenErrorKind,
    /// What a person does about it.
    pub action: String,
}

#[derive(Deserialize)]
struct Document {
    fault: Vec<TokenFault>,
    unlisted_action: String,
}

static TABLE: LazyLock<Document> = LazyLock::new(|| {
    toml::from_str(include_str!("faults.toml")).expect("the embedded table is checked by this crate's tests")
});

/// Every known error of the token endpoint.
pub fn token_faults() -> &'static [TokenFault] {
    &TABLE.fault
}

/// Kind and action for an answer of the token endpoint. An unlisted refusal is final until a person acts; with a
/// server's status it is transient.
pub(crate) fn classify(status: u16, error: &str, description: &str) -> (TokenErrorKind, &'static str) {
    let text = description.trim().to_ascii_lowercase();
    let listed = token_faults()
        .iter()
        .filter(|fault| fault.error == error && text.starts_with(&fault.description.to_ascii_lowercase()))
        .max_by_key(|fault| fault.description.len());
    match listed {
        Some(fault) => (fault.kind, &fault.action),
        None if status == 429 => (TokenErrorKind::RateLimited, &TABLE.unlisted_action),
        None if status >= 500 => (TokenErrorKind::Transient, &TABLE.unlisted_action),
        None => (TokenErrorKind::Configuration, &TABLE.unlisted_action),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_fault_is_found_by_its_own_words_and_says_what_to_do() {
        for fault in token_faults() {
            assert_eq!(classify(400, &fault.error, &fault.description).0, fault.kind, "{fault:?}");
            assert!(fault.action.ends_with('.'), "{fault:?}");
        }
    }

    #[test]
    fn only_a_few_faults_heal_by_waiting() {
        let waiting: Vec<&str> = token_faults()
            .iter()
            .filter(|fault| matches!(fault.kind, TokenErrorKind::Transient | TokenErrorKind::RateLimited))
            .map(|fault| fault.error.as_str())
            .collect();
        assert_eq!(waiting, ["rate_limit_exceeded", "unknown_error", "server_error", "temporarily_unavailable"]);
    }

    #[test]
    fn descriptions_decide_between_faults_of_one_name_whatever_their_case() {
        assert_eq!(classify(400, "invalid_grant", "expired access/refresh token").0, TokenErrorKind::Dead);
        assert_eq!(classify(400, "invalid_grant", "Inactive User").0, TokenErrorKind::Administrator);
        assert_eq!(
            classify(400, "invalid_grant", "authentication failure - Invalid Password").0,
            TokenErrorKind::Configuration
        );
        assert_eq!(classify(400, "invalid_grant", "something new").0, TokenErrorKind::Administrator);
        assert_eq!(classify(400, "brand_new", "").0, TokenErrorKind::Configuration);
        assert_eq!(classify(503, "brand_new", "").0, TokenErrorKind::Transient);
    }
}
