//! The calls.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{RequestBuilder, Response};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Settings;
use crate::error::Error;
use crate::token::Tokens;

/// The largest answer that is read, in bytes.
pub(crate) const MAX_BODY: usize = 1 << 20;

/// How much of an error's body is read, in bytes.
const MAX_SAID: usize = 16 << 10;

/// The most pages of one list that are read.
const MOST_PAGES: usize = 20;

/// What may stand in a path segment as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// What an external identity is attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Object {
    /// A subscription, `sub-…`.
    Subscription,
    /// A customer, `cus-…`.
    Customer,
}

impl Object {
    /// Its place in paths.
    const fn path(self) -> &'static str {
        match self {
            Self::Subscription => "subscriptions",
            Self::Customer => "customers",
        }
    }
}

/// What is linked to a record: ids of Limio's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkedObjects {
    /// Subscriptions.
    pub subscriptions: BTreeSet<String>,
    /// Customers.
    pub customers: BTreeSet<String>,
}

impl LinkedObjects {
    /// Whether this object is among them.
    pub fn has(&self, object: Object, id: &str) -> bool {
        match object {
            Object::Subscription => self.subscriptions.contains(id),
            Object::Customer => self.customers.contains(id),
        }
    }
}

/// A client of one Limio environment. Clones share connections and token.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    settings: Arc<Settings>,
    tokens: Arc<Tokens>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("url", &self.settings.url).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    subscriptions: Vec<Value>,
    #[serde(default)]
    customers: Vec<Value>,
    #[serde(rename = "queryMore")]
    query_more: Option<String>,
}

impl Client {
    /// A client; nothing is opened yet.
    ///
    /// # Errors
    /// [`Error::Invalid`]: the address is none, or the HTTP client cannot be set up.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        Settings::check_url(&settings.url).map_err(|what| Error::Invalid(format!("the address {what}")))?;
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(settings.deadline.min(Duration::from_secs(5)))
            .gzip(true)
            .build()
            .map_err(|error| Error::Invalid(error.without_url().to_string()))?;
        let settings = Settings { url: settings.url.trim().trim_end_matches('/').to_owned(), ..settings };
        let settings = Arc::new(settings);
        let tokens = Arc::new(Tokens::new(http.clone(), Arc::clone(&settings)));
        Ok(Self { http, settings, tokens })
    }

    /// Links a record of Salesforce's (`001…` or `003…`) to a subscription or customer. Linking again is harmless.
    ///
    /// # Errors
    /// [`Error::kind`] says what to do.
    pub async fn link(&self, object: Object, id: &str, record: &str) -> Result<(), Error> {
        let id = utf8_percent_encode(id, SEGMENT);
        let url = format!("{}/api/objects/limio/{}/{id}/related/identity", self.settings.url, object.path());
        let identity = json!({ "id": record, "service": "salesforce" });
        self.within(async {
            let response = self.send(|| self.http.post(&url).json(&identity)).await?;
            // Drained, so that the connection serves the next call.
            body(response, MAX_SAID).await.map(drop)
        })
        .await
    }

    /// What is linked to a record of Salesforce's; nothing where Limio does not know the record.
    ///
    /// # Errors
    /// [`Error::kind`] says what to do.
    pub async fn linked(&self, record: &str) -> Result<LinkedObjects, Error> {
        let record = utf8_percent_encode(record, SEGMENT);
        let url = format!("{}/api/objects/salesforce/identities/{record}/subscriptions", self.settings.url);
        self.within(async {
            let (mut found, mut more) = (LinkedObjects::default(), None::<String>);
            for _ in 0..MOST_PAGES {
                let query: Vec<(&str, &str)> = more.iter().map(|more| ("queryMore", more.as_str())).collect();
                let response = match self.send(|| self.http.get(&url).query(&query)).await {
                    Err(Error::Refused { status: 404, .. }) => break,
                    answer => answer?,
                };
                let page: Page = serde_json::from_slice(&body(response, MAX_BODY).await?)
                    .map_err(|error| Error::AnswerLost(format!("the answer is no list of subscriptions: {error}")))?;
                found.subscriptions.extend(page.subscriptions.iter().filter_map(id_of));
                found.customers.extend(page.customers.iter().filter_map(id_of));
                more = page.query_more.filter(|more| !more.is_empty());
                if more.is_none() {
                    break;
                }
            }
            Ok(found)
        })
        .await
    }

    /// Sends a request with a token; once more with another one where Limio does not accept it.
    async fn send(&self, request: impl Fn() -> RequestBuilder) -> Result<Response, Error> {
        let mut stale = None;
        loop {
            let token = self.tokens.token(stale).await?;
            let response =
                request().bearer_auth(token.secret.expose_secret()).send().await.map_err(Error::of_exchange)?;
            match response.status().as_u16() {
                200..=299 => return Ok(response),
                401 if stale.is_none() => stale = Some(token.generation),
                401 => return Err(Error::Credentials("a new token is answered by 401".to_owned())),
                _ => return Err(Error::of_answer(response, MAX_SAID).await),
            }
        }
    }

    async fn within<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let deadline = self.settings.deadline;
        let answer = tokio::time::timeout(deadline, call).await;
        answer.unwrap_or_else(|_| Err(Error::AnswerLost(format!("nothing came within {} ms", deadline.as_millis()))))
    }
}

impl Error {
    /// What an answer means that is no success.
    pub(crate) async fn of_answer(response: Response, max: usize) -> Self {
        let status = response.status().as_u16();
        let retry_after = response.headers().get(reqwest::header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        match status {
            429 => Self::Throttled { retry_after: retry_after.map(Duration::from_secs) },
            400..=499 => {
                let body = body(response, max).await.unwrap_or_default();
                let read: Value = serde_json::from_slice(&body).unwrap_or_default();
                let said = read.get("message").and_then(Value::as_str).map(str::to_owned);
                let said = said.unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned());
                Self::Refused { status, said: said.chars().take(500).collect() }
            }
            _ => Self::Failed { status },
        }
    }
}

/// A body of at most so many bytes.
pub(crate) async fn body(mut response: Response, max: usize) -> Result<Vec<u8>, Error> {
    let mut read = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(Error::of_exchange)? {
        if read.len() + chunk.len() > max {
            return Err(Error::AnswerLost(format!("the answer is larger than {max} bytes")));
        }
        read.extend_from_slice(&chunk);
    }
    Ok(read)
}

/// A listed object's id: lists hold summaries.
fn id_of(listed: &Value) -> Option<String> {
    listed.as_str().or_else(|| listed.get("id")?.as_str()).map(str::to_owned)
}
