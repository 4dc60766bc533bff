//! The scenarios through cirrus.
//!
//! Scenario ids come in on stdin, one a line, and each is answered by one JSON line on stdout. The org's control plane
//! is reached by plain requests; everything else goes through the client.

mod scenarios;

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Debug;
use std::io::{BufRead, Write};
use std::sync::Arc;
use std::time::Instant;

use cirrus::auth::refresh::RotationHandler;
use cirrus::auth::{AuthError, ClientCredentialsAuth, JwtAuth, SharedAuth, WebServerFlow};
use cirrus::{Cirrus, CirrusError};
use serde_json::{Value, json};

pub(crate) type Verdict = Result<(), Box<dyn Error>>;

pub(crate) const CLIENT_ID: &str = "causeway-dev";
pub(crate) const CLIENT_SECRET: &str = "causeway-dev-secret";
pub(crate) const USERNAME: &str = "integration@causeway.test";
const PASSWORD: &str = "causeway";
const CALLBACK: &str = "http://localhost:1717/callback";
const VERSION: &str = "v62.0";
pub(crate) const EVENT: &str = "i42as__OrderEvent__e";

/// The org, and the key of the app.
pub(crate) struct Org {
    pub(crate) base: String,
    pub(crate) key: Vec<u8>,
    pub(crate) http: reqwest::Client,
}

impl Org {
    /// Posts to the control plane.
    pub(crate) async fn tell(&self, path: &str, body: Value) -> Result<Value, Box<dyn Error>> {
        let answer = self.http.post(format!("{}/_sim/{path}", self.base)).json(&body).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    /// Reads from the control plane.
    pub(crate) async fn ask(&self, path: &str) -> Result<Vec<Value>, Box<dyn Error>> {
        let answer = self.http.get(format!("{}/_sim/{path}", self.base)).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    pub(crate) fn by_secret(&self, secret: &str) -> Result<Cirrus, Box<dyn Error>> {
        let auth = ClientCredentialsAuth::builder().consumer_key(CLIENT_ID).consumer_secret(secret);
        client(Arc::new(auth.login_url(&self.base).instance_url(&self.base).build()?))
    }

    pub(crate) fn by_key(&self, username: &str) -> Result<Cirrus, Box<dyn Error>> {
        let auth = JwtAuth::builder().consumer_key(CLIENT_ID).username(username).private_key_pem_bytes(&self.key)?;
        client(Arc::new(auth.login_url(&self.base).instance_url(&self.base).build()?))
    }

    pub(crate) fn connect(&self) -> Result<Cirrus, Box<dyn Error>> {
        self.by_secret(CLIENT_SECRET)
    }

    /// The flow of a person who allows the app, as far as the library has it.
    pub(crate) fn flow(&self) -> Result<WebServerFlow, AuthError> {
        let flow = WebServerFlow::builder().consumer_key(CLIENT_ID).consumer_secret(CLIENT_SECRET);
        flow.redirect_uri(CALLBACK).login_url(&self.base).scope("api refresh_token").build()
    }

    /// Goes the whole way of the flow.
    pub(crate) async fn sign_in(&self) -> Result<cirrus::auth::CompletedSession, Box<dyn Error>> {
        let flow = self.flow()?;
        let (url, pending) = flow.start()?;
        let back = self.allow(&url).await?;
        let value = |name: &str| back.get(name).cloned().unwrap_or_default();
        Ok(flow.complete(pending, &value("code"), &value("state")).await?)
    }

    /// Allows the app on the pages that the URL leads to, as a person would; gives the parameters of the way back.
    async fn allow(&self, url: &str) -> Result<HashMap<String, String>, Box<dyn Error>> {
        let mut url = reqwest::Url::parse(url)?;
        let mut form: Option<Vec<(String, String)>> = None;
        let mut cookies: HashMap<String, String> = HashMap::new();
        for _ in 0..10 {
            let request = match form.take() {
                Some(form) => self.http.post(url.clone()).form(&form),
                None => self.http.get(url.clone()),
            };
            let kept: Vec<_> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let answer = request.header("cookie", kept.join("; ")).send().await?;
            for line in answer.headers().get_all("set-cookie") {
                let pair = line.to_str()?.split(';').next().and_then(|pair| pair.split_once('='));
                cookies.extend(pair.map(|(name, value)| (name.to_owned(), value.to_owned())));
            }
            if let Some(next) = answer.headers().get("location") {
                url = url.join(next.to_str()?)?;
                if url.as_str().starts_with(CALLBACK) {
                    return Ok(url.query_pairs().into_owned().collect());
                }
                continue;
            }
            let page = answer.text().await?;
            let action = between(&page, " action=\"", "\"").ok_or_else(|| format!("no form on the page: {page}"))?;
            url = url.join(action)?;
            let mut fields = hidden(&page);
            if page.contains("name=\"password\"") {
                fields.extend(
                    [("username", USERNAME), ("password", PASSWORD)].map(|(k, v)| (k.to_owned(), v.to_owned())),
                );
            }
            if page.contains("value=\"allow\"") {
                fields.push(("decision".to_owned(), "allow".to_owned()));
            }
            form = Some(fields);
        }
        Err("the pages lead nowhere".into())
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_once(after).map(|(found, _)| found)
}

/// The hidden fields of a page.
fn hidden(page: &str) -> Vec<(String, String)> {
    let inputs = page.split("type=\"hidden\"").skip(1);
    let plain = |text: &str| text.replace("&#39;", "'").replace("&quot;", "\"").replace("&amp;", "&");
    let pairs = inputs.filter_map(|input| Some((between(input, "name=\"", "\"")?, between(input, "value=\"", "\"")?)));
    pairs.map(|(name, value)| (plain(name), plain(value))).collect()
}

pub(crate) fn client(auth: SharedAuth) -> Result<Cirrus, Box<dyn Error>> {
    Ok(Cirrus::builder().auth(auth).api_version(VERSION).build()?)
}

/// Keeps the newest refresh token.
#[derive(Default)]
pub(crate) struct Newest(pub(crate) std::sync::Mutex<Vec<String>>);

#[async_trait::async_trait]
impl RotationHandler for Newest {
    async fn on_rotation(&self, new_refresh_token: &str) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(new_refresh_token.to_owned());
    }
}

pub(crate) fn same<T: PartialEq<U> + Debug, U: Debug>(found: T, expected: U) -> Verdict {
    if found == expected { Ok(()) } else { Err(format!("found {found:?}, expected {expected:?}").into()) }
}

/// The code of an API call that has to fail.
pub(crate) fn code<T: Debug>(result: Result<T, CirrusError>) -> Result<String, Box<dyn Error>> {
    match result {
        Ok(value) => Err(format!("was not refused: {value:?}").into()),
        Err(CirrusError::Api { errors, status, raw, .. }) => match errors.into_iter().next() {
            Some(first) => Ok(first.error_code),
            None => Err(format!("{status} without an error code: {raw:?}").into()),
        },
        Err(CirrusError::Auth(AuthError::OAuth { error, .. })) => Ok(error),
        Err(other) => Err(Box::new(other)),
    }
}

fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Verdict {
    let variable = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set"));
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build()?;
    let org = Org { base: variable("CONFORMANCE_URL")?, key: std::fs::read(variable("CONFORMANCE_KEY")?)?, http };
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let id = line.trim();
        if id.is_empty() {
            continue;
        }
        let started = Instant::now();
        let verdict = scenarios::run(id, &org).await;
        let detail = verdict.as_ref().err().map(|error| told(error.as_ref())).unwrap_or_default();
        let millis = u64::try_from(started.elapsed().as_millis())?;
        let answer = json!({ "id": id, "ok": verdict.is_ok(), "millis": millis, "detail": detail });
        let mut out = std::io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}
