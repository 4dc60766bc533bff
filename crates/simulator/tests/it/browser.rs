//! A browser: cookies of one org, forms filled in, redirects reported and not followed.

use std::collections::HashMap;
use std::sync::Mutex;

use reqwest::{Response, StatusCode};

use crate::client::Client;

pub(crate) const CALLBACK: &str = "http://localhost:9/callback";
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
pub(crate) const APP: [(&str, &str); 2] = [("client_id", "causeway-dev"), ("client_secret", "causeway-dev-secret")];

pub(crate) struct Browser<'a> {
    org: &'a Client,
    cookies: Mutex<HashMap<String, String>>,
}

/// What a page or redirect was.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) status: StatusCode,
    pub(crate) location: Option<String>,
    pub(crate) html: String,
}

impl Seen {
    /// Query of the redirect.
    pub(crate) fn query(&self) -> HashMap<String, String> {
        let location = self.location.as_deref().unwrap_or_else(|| panic!("no redirect: {}", self.html));
        let base = reqwest::Url::parse("http://localhost/services/oauth2/authorize").unwrap();
        base.join(location).unwrap().query_pairs().into_owned().collect()
    }

    /// The hidden name of the waiting authorization.
    pub(crate) fn source(&self) -> String {
        let (_, rest) = self.html.split_once("name=\"source\" value=\"").unwrap_or_else(|| panic!("{}", self.html));
        rest.split('"').next().unwrap().to_owned()
    }

    pub(crate) fn is_login(&self) -> bool {
        self.html.contains("name=\"password\"")
    }

    pub(crate) fn is_approval(&self) -> bool {
        self.html.contains("value=\"allow\"")
    }
}

impl<'a> Browser<'a> {
    pub(crate) fn new(org: &'a Client) -> Self {
        Self { org, cookies: Mutex::default() }
    }

    pub(crate) fn cookie(&self, name: &str) -> Option<String> {
        self.cookies.lock().unwrap().get(name).cloned()
    }

    pub(crate) fn set_cookie(&self, name: &str, value: &str) {
        self.cookies.lock().unwrap().insert(name.to_owned(), value.to_owned());
    }

    async fn seen(&self, request: reqwest::RequestBuilder) -> Seen {
        let cookies: Vec<String> =
            self.cookies.lock().unwrap().iter().map(|(name, value)| format!("{name}={value}")).collect();
        let response: Response = request.header("cookie", cookies.join("; ")).send().await.unwrap();
        for cookie in response.headers().get_all("set-cookie") {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.lock().unwrap().insert(name.to_owned(), value.to_owned());
        }
        Seen {
            status: response.status(),
            location: response.headers().get("location").map(|value| value.to_str().unwrap().to_owned()),
            html: response.text().await.unwrap(),
        }
    }

    pub(crate) async fn open(&self, path: &str) -> Seen {
        self.seen(self.org.http.get(self.org.url(path))).await
    }

    /// Opens the authorize page with these parameters added to, or put in the place of, those of the built-in app.
    pub(crate) async fn authorize(&self, changes: &[(&str, &str)]) -> Seen {
        let defaults = [("response_type", "code"), APP[0], ("redirect_uri", CALLBACK)];
        let kept = defaults.iter().filter(|(key, _)| !changes.iter().any(|(changed, _)| changed == key));
        let query: Vec<_> = kept.chain(changes.iter().filter(|(_, value)| !value.is_empty())).collect();
        self.seen(self.org.http.get(self.org.url("/services/oauth2/authorize")).query(&query)).await
    }

    pub(crate) async fn submit(&self, form: &[(&str, &str)]) -> Seen {
        self.submit_to("/services/oauth2/authorize", form).await
    }

    pub(crate) async fn submit_to(&self, path: &str, form: &[(&str, &str)]) -> Seen {
        self.seen(self.org.http.post(self.org.url(path)).form(form)).await
    }

    pub(crate) async fn log_in(&self, page: &Seen, username: &str, password: &str) -> Seen {
        self.submit(&[("source", &page.source()), ("username", username), ("password", password)]).await
    }

    pub(crate) async fn decide(&self, page: &Seen, decision: &str) -> Seen {
        self.submit(&[("source", &page.source()), ("decision", decision)]).await
    }

    /// The whole way as the built-in user, whichever pages come up; the query of the callback.
    pub(crate) async fn approve(&self, changes: &[(&str, &str)]) -> HashMap<String, String> {
        let mut page = self.authorize(changes).await;
        if page.is_login() {
            page = self.log_in(&page, causeway_simulator::USERNAME, causeway_simulator::PASSWORD).await;
        }
        if page.is_approval() {
            page = self.decide(&page, "allow").await;
        }
        page.query()
    }
}

/// Tokens of the built-in user with this scope, got through the pages.
pub(crate) async fn connected_with(org: &Client, scope: &str) -> serde_json::Value {
    let callback = Browser::new(org).approve(&[("scope", scope), ("code_challenge", CHALLENGE)]).await;
    let (status, body) = exchange(org, &callback["code"], &[("code_verifier", VERIFIER)]).await;
    assert_eq!(status, 200, "{body}");
    body
}

pub(crate) async fn connected(org: &Client) -> serde_json::Value {
    connected_with(org, "api refresh_token").await
}

/// Exchanges a code as the built-in app.
pub(crate) async fn exchange(org: &Client, code: &str, more: &[(&str, &str)]) -> (u16, serde_json::Value) {
    let mut form = vec![("grant_type", "authorization_code"), ("code", code), APP[0], APP[1]];
    if !more.iter().any(|(key, _)| *key == "redirect_uri") {
        form.push(("redirect_uri", CALLBACK));
    }
    form.extend_from_slice(more);
    org.token(&form).await
}

pub(crate) async fn refresh(org: &Client, token: &str) -> (u16, serde_json::Value) {
    org.token(&[("grant_type", "refresh_token"), ("refresh_token", token), APP[0], APP[1]]).await
}

pub(crate) fn text<'a>(body: &'a serde_json::Value, key: &str) -> &'a str {
    body[key].as_str().unwrap_or_else(|| panic!("no {key} in {body}"))
}
