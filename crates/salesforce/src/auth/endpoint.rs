//! One exchange with the token endpoint, and its repetition where that is safe.

use std::time::Duration;

use reqwest::Url;
use secrecy::SecretString;
use serde::Deserialize;

use super::faults::{Verdict, classify};
use super::retry_interval::{RATE_LIMIT_PAUSE, TokenRetry};
use super::{TokenError, TokenErrorKind};
use crate::Error;
use crate::http;

/// Where and as which app to sign in.
#[derive(Debug, Clone)]
pub struct LoginSettings {
    /// The login host with its scheme: `https://login.salesforce.com`, `https://test.salesforce.com`, or the org's My
    /// Domain, which client credentials need.
    pub login_url: String,
    /// The app's consumer key.
    pub client_id: String,
    /// Hosts with port (`simulator:8090`) that a token may be sent to although they are not Salesforce's, under http
    /// as well. The login URL's own host and port count as trusted.
    pub trusted_hosts: Vec<String>,
    /// How long the connection may take.
    pub connect_timeout: Duration,
    /// How long one token request may take, connection included.
    pub answer_timeout: Duration,
    /// How often a failed request is repeated.
    pub retry: TokenRetry,
}

impl LoginSettings {
    /// Whether a sign-in may be sent to [`login_url`](Self::login_url), as far as can be told without asking it.
    ///
    /// # Errors
    /// What is wrong with it, without the address.
    pub fn check_login_url(&self) -> Result<(), String> {
        self.base().map(|_| ())
    }

    fn base(&self) -> Result<Url, String> {
        let base = Url::parse(&self.login_url).map_err(|error| format!("the login URL cannot be read: {error}"))?;
        if !matches!(base.scheme(), "https" | "http") || base.host_str().is_none() {
            return Err("the login URL needs https and a host".to_owned());
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err("the login URL holds a user or a password, which are no part of it".to_owned());
        }
        if base.scheme() == "http" && !may_be_plain(&base, &self.trusted_hosts) {
            return Err(
                "the login URL is plain http, and secrets would travel in clear: write https, or name its host and port \
                 among the trusted hosts"
                    .to_owned(),
            );
        }
        Ok(base)
    }
}

/// Hosts that belong to Salesforce.
const SALESFORCE_DOMAINS: [&str; 4] = [".salesforce.com", ".force.com", ".salesforce.mil", ".cloudforce.com"];

/// The largest token answer that is read, in bytes.
const ANSWER: usize = 64 * 1024;

/// What a successful token request gives.
#[derive(Debug, Clone)]
pub(crate) struct Granted {
    pub(crate) instance_url: String,
    pub(crate) access_token: SecretString,
    pub(crate) refresh_token: Option<SecretString>,
}

#[derive(Deserialize)]
struct Success {
    access_token: Option<String>,
    instance_url: Option<String>,
    refresh_token: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
    #[serde(default)]
    error_description: Option<String>,
}

/// Whether a request may be repeated although the first one may have been executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeatable {
    /// The grant is not used up by asking.
    Always,
    /// Asking twice with one refresh token counts as theft where tokens rotate: only when the first try was certainly
    /// not executed.
    OnlyUnexecuted,
}

/// Whether secrets may be sent to this address without TLS: it is this machine, or somebody said so.
fn may_be_plain(url: &Url, trusted: &[String]) -> bool {
    let host = url.host_str().unwrap_or_default();
    let named = url.port_or_known_default().map(|port| format!("{host}:{port}"));
    matches!(host, "localhost" | "127.0.0.1" | "[::1]") || named.is_some_and(|named| trusted.contains(&named))
}

#[derive(Debug)]
pub(crate) struct Endpoint {
    http: reqwest::Client,
    url: Url,
    settings: LoginSettings,
}

impl Endpoint {
    pub(crate) fn new(settings: LoginSettings) -> Result<Self, Error> {
        let base = settings.base().map_err(Error::Invalid)?;
        let url = base
            .join("/services/oauth2/token")
            .map_err(|error| Error::Invalid(format!("the login URL cannot be read: {error}")))?;
        Ok(Self { http: http::client(settings.connect_timeout)?, url, settings })
    }

    pub(crate) fn client_id(&self) -> &str {
        &self.settings.client_id
    }

    pub(crate) fn retry(&self) -> TokenRetry {
        self.settings.retry
    }

    /// Asks until it is answered, or waiting is no longer worth it. `form` is made anew for each try.
    pub(crate) async fn ask(
        &self,
        repeatable: Repeatable,
        form: impl Fn() -> Result<Vec<(&'static str, String)>, TokenError> + Send,
    ) -> Result<Granted, TokenError> {
        let mut intervals = self.settings.retry.intervals();
        loop {
            let form = form()?;
            let error = match self.once(&form).await {
                Ok(granted) => return Ok(granted),
                Err(error) => error,
            };
            let pause = if error.kind() == TokenErrorKind::RateLimited { RATE_LIMIT_PAUSE } else { Duration::ZERO };
            let Some(wait) = retry_allowed(&error, repeatable).then(|| intervals.next(pause)).flatten() else {
                return Err(error);
            };
            // Whoever waits is told in the end, and tells.
            tracing::debug!(error = %error, wait_ms = wait.as_millis(), "no access token yet");
            tokio::time::sleep(wait).await;
        }
    }

    async fn once(&self, form: &[(&'static str, String)]) -> Result<Granted, TokenError> {
        let exchange = async {
            let response = self.http.post(self.url.clone()).form(form).send().await.map_err(|error| {
                let reason = http::reason(&error);
                if error.is_connect() { TokenError::Unreachable(reason) } else { TokenError::AnswerLost(reason) }
            })?;
            let status = response.status().as_u16();
            let body = http::body(response, ANSWER).await;
            Ok::<_, TokenError>((status, body))
        };
        let (status, body) = tokio::time::timeout(self.settings.answer_timeout, exchange)
            .await
            .map_err(|_| TokenError::AnswerLost("it took too long".to_owned()))??;
        if (200..300).contains(&status) {
            let bytes = body.complete().map_err(TokenError::AnswerLost)?;
            let success: Success = serde_json::from_slice(&bytes)
                .map_err(|_| TokenError::AnswerLost("the body of a success is not JSON".to_owned()))?;
            return self.granted(success);
        }
        match serde_json::from_slice::<Refusal>(body.received()) {
            Ok(refusal) => {
                let text = refusal.error_description.unwrap_or_default();
                let Verdict { kind, setting, heals, action } = classify(status, &refusal.error, &text);
                let description = text.chars().take(200).collect();
                let error = refusal.error.chars().take(100).collect();
                Err(TokenError::Refused { status, kind, heals, setting, error, description, action })
            }
            Err(_) => Err(TokenError::Unavailable { status }),
        }
    }

    fn granted(&self, success: Success) -> Result<Granted, TokenError> {
        let access_token = success.access_token.ok_or(TokenError::Malformed("an access token"))?;
        let instance_url = success.instance_url.ok_or(TokenError::Malformed("an instance URL"))?;
        Ok(Granted {
            instance_url: self.trusted(&instance_url)?,
            access_token: access_token.into(),
            refresh_token: success.refresh_token.map(SecretString::from),
        })
    }

    /// The instance URL's origin, if a token may be sent there.
    pub(crate) fn trusted(&self, instance_url: &str) -> Result<String, TokenError> {
        let url = Url::parse(instance_url).map_err(|_| TokenError::Malformed("a readable instance URL"))?;
        let host = url.host_str().unwrap_or_default();
        let salesforce = url.scheme() == "https" && SALESFORCE_DOMAINS.iter().any(|domain| host.ends_with(domain));
        let login = url.origin() == self.url.origin();
        let with_port = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let named = matches!(url.scheme(), "https" | "http") && self.settings.trusted_hosts.contains(&with_port);
        if salesforce || login || named {
            Ok(url.origin().ascii_serialization())
        } else {
            Err(TokenError::Untrusted { host: with_port.chars().take(200).collect() })
        }
    }
}

fn retry_allowed(error: &TokenError, repeatable: Repeatable) -> bool {
    let unexecuted = match error {
        TokenError::Unreachable(_) => true,
        TokenError::Refused { kind, status, .. } => {
            matches!(kind, TokenErrorKind::Transient | TokenErrorKind::RateLimited) && !unclear(*status)
        }
        TokenError::Unavailable { status } => matches!(status, 420 | 429 | 503),
        TokenError::AnswerLost(_)
        | TokenError::Malformed(_)
        | TokenError::Untrusted { .. }
        | TokenError::Store(_)
        | TokenError::Assertion(_)
        | TokenError::Deadline
        | TokenError::Stopped => false,
    };
    let harmless = match error {
        TokenError::AnswerLost(_) => true,
        TokenError::Unavailable { status } | TokenError::Refused { status, .. } => unclear(*status),
        TokenError::Unreachable(_)
        | TokenError::Malformed(_)
        | TokenError::Untrusted { .. }
        | TokenError::Store(_)
        | TokenError::Assertion(_)
        | TokenError::Deadline
        | TokenError::Stopped => false,
    };
    unexecuted || (repeatable == Repeatable::Always && harmless)
}

/// Whether a rotating refresh token may be spent although no successor came.
pub(super) fn may_be_spent(error: &TokenError) -> bool {
    match error {
        // A success whose tokens could not be taken.
        TokenError::AnswerLost(_) | TokenError::Malformed(_) | TokenError::Untrusted { .. } | TokenError::Stopped => {
            true
        }
        TokenError::Unavailable { status } | TokenError::Refused { status, .. } => unclear(*status),
        TokenError::Unreachable(_) | TokenError::Store(_) | TokenError::Assertion(_) | TokenError::Deadline => false,
    }
}

/// Behind these a server may have done what it was asked, whatever body came with them.
fn unclear(status: u16) -> bool {
    matches!(status, 408 | 500..) && status != 503
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(login_url: &str, trusted: &[&str]) -> LoginSettings {
        LoginSettings {
            login_url: login_url.to_owned(),
            client_id: "app".to_owned(),
            trusted_hosts: trusted.iter().map(|host| (*host).to_owned()).collect(),
            connect_timeout: Duration::from_secs(1),
            answer_timeout: Duration::from_secs(1),
            retry: TokenRetry::NEVER,
        }
    }

    fn endpoint(login_url: &str, trusted: &[&str]) -> Endpoint {
        Endpoint::new(login(login_url, trusted)).expect("settings")
    }

    #[test]
    fn a_password_in_the_login_url_is_refused_and_not_repeated() {
        let error = Endpoint::new(login("https://jane:hush@login.salesforce.com", &[])).expect_err("refused");
        assert!(matches!(error, Error::Invalid(_)) && !error.to_string().contains("hush"), "{error}");
    }

    #[test]
    fn a_login_url_can_be_looked_at_before_anything_is_sent() {
        assert_eq!(login("https://acme.my.salesforce.com", &[]).check_login_url(), Ok(()));
        assert_eq!(login("http://simulator:8090", &["simulator:8090"]).check_login_url(), Ok(()));
        for (wrong, said) in [
            ("http://acme.my.salesforce.com", "plain http"),
            ("https://jane:hush@login.salesforce.com", "a password"),
            ("acme.my.salesforce.com", "cannot be read"),
            ("ftp://acme.my.salesforce.com", "needs https"),
        ] {
            let what = login(wrong, &[]).check_login_url().expect_err(wrong);
            assert!(what.contains(said) && !what.contains("hush"), "{wrong}: {what}");
        }
    }

    #[test]
    fn a_token_goes_to_salesforce_the_login_host_and_named_hosts_only() {
        let endpoint = endpoint("http://127.0.0.1:8090", &["simulator:8090"]);
        for (given, origin) in [
            ("https://acme.my.salesforce.com/", "https://acme.my.salesforce.com"),
            ("https://acme.my.salesforce.mil/x?y", "https://acme.my.salesforce.mil"),
            ("http://127.0.0.1:8090", "http://127.0.0.1:8090"),
            ("http://simulator:8090", "http://simulator:8090"),
        ] {
            assert_eq!(endpoint.trusted(given).as_deref(), Ok(origin));
        }
        for given in [
            "http://acme.my.salesforce.com",
            "https://salesforce.com.evil.example",
            "https://evilsalesforce.com",
            "https://acme.my.salesforce.com@evil.example",
            "http://127.0.0.1:8091",
            "http://169.254.169.254",
            "file:///etc/passwd",
            "not a url",
        ] {
            assert!(endpoint.trusted(given).is_err(), "{given}");
        }
    }

    #[test]
    fn a_rotating_grant_is_not_asked_for_twice_when_the_first_answer_may_exist() {
        let lost = TokenError::AnswerLost("reset".to_owned());
        assert!(retry_allowed(&lost, Repeatable::Always));
        assert!(!retry_allowed(&lost, Repeatable::OnlyUnexecuted));
        for (status, safe) in [(408, false), (500, false), (502, false), (504, false), (503, true), (420, true)] {
            let Verdict { kind, setting, heals, action } = classify(status, "gateway_timeout", "");
            let (error, description) = ("gateway_timeout".to_owned(), String::new());
            let in_json = TokenError::Refused { status, kind, heals, setting, error, description, action };
            for failure in [TokenError::Unavailable { status }, in_json] {
                assert!(retry_allowed(&failure, Repeatable::Always), "{failure:?}");
                assert_eq!(failure.kind(), TokenErrorKind::Transient, "{failure:?}");
                assert_eq!(retry_allowed(&failure, Repeatable::OnlyUnexecuted), safe, "{failure:?}");
            }
        }
        assert!(retry_allowed(&TokenError::Unreachable("refused".to_owned()), Repeatable::OnlyUnexecuted));
    }

    #[test]
    fn secrets_travel_in_clear_only_on_this_machine_or_where_somebody_said_so() {
        let plain = |url: &str, trusted: &[&str]| {
            let trusted: Vec<String> = trusted.iter().map(|host| (*host).to_owned()).collect();
            may_be_plain(&Url::parse(url).expect("an address"), &trusted)
        };
        assert!(plain("http://127.0.0.1:8090", &[]) && plain("http://localhost", &[]));
        assert!(plain("http://simulator:8090", &["simulator:8090"]));
        assert!(!plain("http://acme.my.salesforce.com", &["simulator:8090"]));
    }
}
