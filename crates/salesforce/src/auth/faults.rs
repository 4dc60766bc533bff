//! What the token endpoint's errors mean, by the atlas.

use domain::atlas::{Atlas, SignIn, SignInSetting};

use super::TokenErrorKind;

/// What an answer of the token endpoint means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) kind: TokenErrorKind,
    pub(crate) setting: SignInSetting,
    pub(crate) heals: bool,
    pub(crate) action: &'static str,
}

/// Every known error of the token endpoint.
pub fn token_faults() -> &'static [SignIn] {
    Atlas::sign_ins()
}

/// Judges an OAuth error of the token endpoint, or what looks like one. A server's status is transient whatever the body
/// says; an unlisted error may be a proxy's, so that waiting may heal it.
pub(crate) fn classify(status: u16, error: &str, description: &str) -> Verdict {
    let text = description.trim().to_ascii_lowercase();
    let listed = token_faults()
        .iter()
        .filter(|fault| fault.error == error && text.starts_with(&fault.description.to_ascii_lowercase()))
        .max_by_key(|fault| fault.description.len());
    if matches!(status, 408 | 420 | 500..) {
        let listed = listed.filter(|fault| fault.kind == TokenErrorKind::Transient);
        let (setting, action) = listed
            .map_or((SignInSetting::LoginUrl, &Atlas::signing_in().unavailable_action), |fault| {
                (fault.setting, &fault.action)
            });
        return Verdict { kind: TokenErrorKind::Transient, setting, heals: true, action };
    }
    if let Some(SignIn { kind, setting, heals, action, .. }) = listed {
        return Verdict { kind: *kind, setting: *setting, heals: *heals, action };
    }
    let kind = if status == 429 { TokenErrorKind::RateLimited } else { TokenErrorKind::Configuration };
    Verdict { kind, setting: SignInSetting::App, heals: true, action: &Atlas::signing_in().unlisted_action }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_fault_is_found_by_its_own_words_and_says_what_to_do() {
        for fault in token_faults() {
            let verdict = classify(400, &fault.error, &fault.description);
            assert_eq!((verdict.kind, verdict.heals), (fault.kind, fault.heals), "{fault:?}");
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
    fn only_a_few_faults_that_the_settings_seem_to_cause_heal_while_one_waits() {
        let healing: Vec<(&str, &str)> = token_faults()
            .iter()
            .filter(|fault| fault.heals)
            .map(|fault| (fault.error.as_str(), fault.description.as_str()))
            .collect();
        assert_eq!(
            healing,
            [
                ("invalid_grant", "no client credentials user enabled"),
                ("invalid_grant", "invalid assertion"),
                ("invalid_client_id", ""),
            ]
        );
    }

    #[test]
    fn descriptions_decide_between_faults_of_one_name_whatever_their_case() {
        for (error, description, kind) in [
            ("invalid_grant", "expired access/refresh token", TokenErrorKind::Dead),
            ("invalid_grant", "Inactive User", TokenErrorKind::Administrator),
            ("invalid_grant", "authentication failure - Invalid Password", TokenErrorKind::Configuration),
            ("invalid_grant", "something new", TokenErrorKind::Administrator),
        ] {
            assert_eq!(classify(400, error, description).kind, kind, "{error} {description}");
        }
    }

    #[test]
    fn a_servers_status_is_transient_whatever_the_body_says() {
        for status in [408, 420, 500, 502, 503, 504] {
            for error in ["brand_new", "invalid_client", "rate_limit_exceeded", "inactive_org", "server_error"] {
                let verdict = classify(status, error, "");
                assert_eq!((verdict.kind, verdict.heals), (TokenErrorKind::Transient, true), "{status} {error}");
                assert!(verdict.action.ends_with("Wait."), "{status} {error}: {}", verdict.action);
            }
        }
    }

    #[test]
    fn an_unlisted_error_may_heal_because_anybody_may_have_sent_it() {
        for (status, kind) in [
            (400, TokenErrorKind::Configuration),
            (403, TokenErrorKind::Configuration),
            (429, TokenErrorKind::RateLimited),
        ] {
            let verdict = classify(status, "forbidden", "");
            assert_eq!((verdict.kind, verdict.heals), (kind, true), "{status}");
        }
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
            assert_eq!(classify(400, error, description).setting, setting, "{error} {description}");
        }
    }
}
