//! What the token endpoint's errors mean, as data: the table is `faults.toml` beside this file.

use std::sync::LazyLock;

use serde::Deserialize;

use super::{SignInSetting, TokenErrorKind};

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
    /// The setting it is about; [`SignInSetting::App`] where the table names none.
    #[serde(default)]
    pub setting: SignInSetting,
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

/// Kind, setting and action for an answer of the token endpoint. An unlisted refusal is final until a person acts; with a
/// server's status it is transient.
pub(crate) fn classify(status: u16, error: &str, description: &str) -> (TokenErrorKind, SignInSetting, &'static str) {
    let text = description.trim().to_ascii_lowercase();
    let listed = token_faults()
        .iter()
        .filter(|fault| fault.error == error && text.starts_with(&fault.description.to_ascii_lowercase()))
        .max_by_key(|fault| fault.description.len());
    if let Some(fault) = listed {
        return (fault.kind, fault.setting, &fault.action);
    }
    let kind = match status {
        429 => TokenErrorKind::RateLimited,
        500.. => TokenErrorKind::Transient,
        _ => TokenErrorKind::Configuration,
    };
    (kind, SignInSetting::App, &TABLE.unlisted_action)
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

    #[test]
    fn each_fault_names_the_setting_that_it_is_about() {
        for (error, description, setting) in [
            ("invalid_client", "invalid client credentials", SignInSetting::Credential),
            ("invalid_client", "app must be installed into org", SignInSetting::App),
            ("invalid_client_id", "client identifier invalid", SignInSetting::App),
            ("invalid_grant", "request not supported on this domain", SignInSetting::LoginUrl),
            ("invalid_grant", "expired access/refresh token", SignInSetting::Grant),
            ("invalid_grant", "invalid assertion", SignInSetting::Credential),
            ("invalid_grant", "audience validation failed", SignInSetting::LoginUrl),
            ("invalid_grant", "inactive user", SignInSetting::User),
        ] {
            assert_eq!(classify(400, error, description).1, setting, "{error} {description}");
        }
    }
}
