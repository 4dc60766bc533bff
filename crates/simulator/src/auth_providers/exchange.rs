//! What the org asks of a provider: tokens for a code, fresh tokens, the user's claims; and callouts with a token.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use reqwest::{RequestBuilder, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AuthProviders, CALLOUT_TIMEOUT, Credential, EXCHANGE_TIMEOUT, Waiting, is_web};
use crate::config::AuthProvider;
use crate::form::encode;

/// A stored token is no longer than that (Help, "OAuth token length").
const LONGEST_TOKEN: usize = 10_000;
/// An answer of a token or user info endpoint is no longer than that.
const EXCHANGE_LIMIT: usize = 1024 * 1024;
/// A callout's answer is no longer than that (Apex Developer Guide, "Callout Limits and Limitations").
const CALLOUT_LIMIT: usize = 12 * 1024 * 1024;
const AGENT: &str = "SFDC-Callout/62.0";

/// Why an authorization failed: the `ErrorCode` of the error page and its description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: &'static str,
    pub(crate) description: String,
}

fn failure(code: &'static str, description: impl Into<String>) -> Failure {
    Failure { code, description: description.into() }
}

/// A call to another server with a provider's token.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CalloutRequest {
    pub(crate) provider: String,
    #[serde(default = "get")]
    pub(crate) method: String,
    pub(crate) url: String,
    #[serde(default)]
    pub(crate) body: Option<Value>,
}

fn get() -> String {
    "GET".to_owned()
}

/// What a callout got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CalloutAnswer {
    /// HTTP status of the last try.
    pub status: u16,
    /// Its content type.
    pub content_type: Option<String>,
    /// Its body.
    pub body: String,
    /// Requests sent: two when the first was refused and the token could be refreshed.
    pub attempts: u32,
    /// Whether the token was refreshed.
    pub refreshed: bool,
}

/// The body of an answer, read no further than `limit`.
async fn read(mut response: Response, limit: usize) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= limit => body.extend_from_slice(&chunk),
            Ok(Some(_)) => return Err("Exceeded max size limit".to_owned()),
            Ok(None) => return Ok(body),
            Err(error) => return Err(reason(&error)),
        }
    }
}

/// What went wrong, without the address, which may hold a secret.
fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        "Read timed out".to_owned()
    } else if error.is_connect() {
        "Connection refused".to_owned()
    } else {
        "Unable to complete the request".to_owned()
    }
}

/// Tokens of a token endpoint's answer.
struct Tokens {
    access: String,
    refresh: Option<String>,
    id: Option<String>,
}

impl AuthProviders {
    fn client(&self) -> Result<reqwest::Client, Failure> {
        self.http().ok_or_else(|| failure("Configuration_Error", "no HTTP client"))
    }

    /// Posts to the token endpoint with the provider's credentials in the header or the body.
    async fn token(&self, provider: &AuthProvider, mut form: Vec<(&str, String)>) -> Result<Tokens, Failure> {
        let mut request = self.client()?.post(&provider.token_url).timeout(EXCHANGE_TIMEOUT);
        if provider.send_client_credentials_in_header {
            let pair = format!("{}:{}", provider.consumer_key, provider.consumer_secret);
            request = request.header(AUTHORIZATION, format!("Basic {}", STANDARD.encode(pair)));
        } else {
            form.push(("client_id", provider.consumer_key.clone()));
            form.push(("client_secret", provider.consumer_secret.clone()));
        }
        let body: Vec<String> = form.iter().map(|(key, value)| format!("{key}={}", encode(value))).collect();
        let request = request
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, AGENT)
            .body(body.join("&"));
        let response = request.send().await.map_err(|error| failure("Remote_Error", reason(&error)))?;
        let body = read(response, EXCHANGE_LIMIT).await.map_err(|text| failure("Remote_Error", text))?;
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let text = |key: &str| body.get(key).and_then(Value::as_str).map(str::to_owned);
        if let Some(error) = text("error") {
            let description = text("error_description").unwrap_or_default();
            return Err(failure("Remote_Error", format!("{error}: {description}")));
        }
        let usable = |token: &String| !token.is_empty() && token.len() <= LONGEST_TOKEN;
        let access = text("access_token").filter(usable);
        let access = access.ok_or_else(|| failure("No_Oauth_Token", "Problem getting the token"))?;
        Ok(Tokens { access, refresh: text("refresh_token").filter(usable), id: text("id_token") })
    }

    /// Exchanges a code and keeps the tokens; returns the user's claims where the purpose needs them.
    pub(crate) async fn exchange(
        &self,
        provider: &AuthProvider,
        waiting: &Waiting,
        code: &str,
        now: String,
    ) -> Result<Option<Value>, Failure> {
        let mut form = vec![
            ("grant_type", "authorization_code".to_owned()),
            ("code", code.to_owned()),
            ("redirect_uri", waiting.redirect_uri.clone()),
        ];
        form.extend(waiting.verifier.clone().map(|verifier| ("code_verifier", verifier)));
        let tokens = self.token(provider, form).await?;
        check_id_token(provider, waiting, tokens.id.as_deref())?;
        let claims = match waiting.purpose {
            super::Purpose::Oauth => None,
            super::Purpose::Sso | super::Purpose::Test => Some(self.user_info(provider, &tokens.access).await?),
        };
        let credential = Credential {
            access_token: tokens.access,
            refresh_token: tokens.refresh,
            authenticated_at: now,
            refreshed: 0,
        };
        self.inner().credentials.insert(provider.suffix.clone(), credential);
        Ok(claims)
    }

    async fn user_info(&self, provider: &AuthProvider, access_token: &str) -> Result<Value, Failure> {
        let url = provider.user_info_url.as_deref();
        let url = url.ok_or_else(|| failure("Configuration_Error", "User Info Endpoint URL is missing"))?;
        let mut request = self.client()?.get(url).timeout(EXCHANGE_TIMEOUT).header(USER_AGENT, AGENT);
        request = if provider.send_access_token_in_header {
            request.header(AUTHORIZATION, format!("Bearer {access_token}"))
        } else {
            request.query(&[("access_token", access_token)])
        };
        let response = request.send().await.map_err(|error| failure("Remote_Error", reason(&error)))?;
        let good = response.status().is_success();
        let body = read(response, EXCHANGE_LIMIT).await.map_err(|text| failure("Remote_Error", text))?;
        let claims: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        if good && claims.get("sub").is_some_and(|sub| sub.as_str().is_some_and(|sub| !sub.is_empty())) {
            Ok(claims)
        } else {
            Err(failure("Remote_Error", "the user info endpoint named no sub"))
        }
    }

    /// Calls out with the provider's token; a refused one is refreshed once and the call repeated once.
    pub(crate) async fn call_out(&self, call: &CalloutRequest) -> Result<CalloutAnswer, String> {
        let (provider, _) = self.find(&call.provider).ok_or_else(|| format!("no auth provider {}", call.provider))?;
        if !is_web(&call.url) {
            return Err("url: must be an http or https address".to_owned());
        }
        let token = self.access_token(&provider).ok_or_else(|| format!("{} is not authenticated", provider.suffix))?;
        let first = self.send(call, &token).await?;
        let refused = first.status().as_u16();
        if refused != 401 && !provider.refresh_statuses.contains(&refused) {
            return answered(first, 1, false).await;
        }
        let fresh = match self.refresh(&provider, &token).await {
            Ok(fresh) => fresh,
            Err(Some(failure)) => return Err(format!("Unable to refresh the token: {}", failure.description)),
            // Nothing to refresh with: the caller sees the refusal.
            Err(None) => return answered(first, 1, false).await,
        };
        answered(self.send(call, &fresh).await?, 2, true).await
    }

    fn access_token(&self, provider: &AuthProvider) -> Option<String> {
        self.inner().credentials.get(&provider.suffix).map(|credential| credential.access_token.clone())
    }

    async fn send(&self, call: &CalloutRequest, token: &str) -> Result<Response, String> {
        let http = self.http().ok_or("no HTTP client")?;
        let method = call.method.to_ascii_uppercase();
        let method = reqwest::Method::from_bytes(method.as_bytes()).map_err(|_| "method: not an HTTP method")?;
        let request = http.request(method, &call.url).timeout(CALLOUT_TIMEOUT);
        let request = request.header(AUTHORIZATION, format!("Bearer {token}")).header(USER_AGENT, AGENT);
        with_body(request, call.body.as_ref()).send().await.map_err(|error| reason(&error))
    }

    /// A new access token for `old`; `None` as the error when there is no refresh token.
    async fn refresh(&self, provider: &AuthProvider, old: &str) -> Result<String, Option<Failure>> {
        let _alone = self.refreshing.lock().await;
        let credential = self.inner().credentials.get(&provider.suffix).cloned().ok_or(None)?;
        if credential.access_token != old {
            // Another callout has refreshed it in the meantime.
            return Ok(credential.access_token);
        }
        let refresh_token = credential.refresh_token.ok_or(None)?;
        let form = vec![("grant_type", "refresh_token".to_owned()), ("refresh_token", refresh_token)];
        let tokens = self.token(provider, form).await.map_err(Some)?;
        let mut inner = self.inner();
        if let Some(credential) = inner.credentials.get_mut(&provider.suffix) {
            credential.access_token.clone_from(&tokens.access);
            credential.refreshed += 1;
            if tokens.refresh.is_some() {
                credential.refresh_token = tokens.refresh;
            }
        }
        Ok(tokens.access)
    }
}

fn with_body(request: RequestBuilder, body: Option<&Value>) -> RequestBuilder {
    match body {
        None | Some(Value::Null) => request,
        Some(Value::String(text)) => request.header(CONTENT_TYPE, "text/plain; charset=UTF-8").body(text.clone()),
        Some(json) => request.header(CONTENT_TYPE, "application/json").body(json.to_string()),
    }
}

async fn answered(response: Response, attempts: u32, refreshed: bool) -> Result<CalloutAnswer, String> {
    let status = response.status().as_u16();
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = read(response, CALLOUT_LIMIT).await?;
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(CalloutAnswer { status, content_type, body, attempts, refreshed })
}

/// The issuer must be the configured one, the audience the org's consumer key, and the nonce the one that was sent.
///
/// The signature is not checked: an Auth. Provider has no field for the provider's keys, and the token came straight
/// from its token endpoint.
fn check_id_token(provider: &AuthProvider, waiting: &Waiting, token: Option<&str>) -> Result<(), Failure> {
    let claims = token.and_then(|token| {
        let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?.trim_end_matches('=')).ok()?;
        serde_json::from_slice::<Value>(&payload).ok()
    });
    let claim = |key: &str| claims.as_ref().and_then(|claims| claims.get(key));
    if let Some(issuer) = &provider.token_issuer
        && claim("iss").and_then(Value::as_str) != Some(issuer.as_str())
    {
        return Err(failure("Invalid_Issuer", "the id token has another issuer"));
    }
    let names = |aud: &Value| aud.as_str() == Some(provider.consumer_key.as_str());
    let for_us = claim("aud").is_none_or(|aud| aud.as_array().map_or_else(|| names(aud), |all| all.iter().any(names)));
    if !for_us {
        return Err(failure("Configuration_Error", "the id token is for another client"));
    }
    let nonce = claim("nonce").and_then(Value::as_str);
    if claims.is_some() && waiting.nonce.is_some() && nonce != waiting.nonce.as_deref() {
        return Err(failure("Configuration_Error", "the id token has another nonce"));
    }
    Ok(())
}
