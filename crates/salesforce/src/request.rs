//! The one function that every request to the org goes through: deadline, token, trace, usage.

use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use domain::atlas::Atlas;
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::Method;
use reqwest::header::{self, HeaderMap, HeaderValue};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tokio::time::Instant;

use crate::auth::{Token, TokenError, TokenSource};
use crate::envelope::Envelope;
use crate::error::{BodyKind, Error, RawBody};
use crate::observer::{CallEnd, CallObserver, Operation};
use crate::usage::{self, ApiUsage};
use crate::{ClientSettings, ErrorKind, http, limits};

/// Bodies above this many bytes are compressed on a thread of their own, because it takes milliseconds.
const COMPRESS_ASIDE: usize = 256 * 1024;

/// One request, before it knows its org.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) operation: Operation,
    pub(crate) method: Method,
    /// From the first slash on: path and query.
    pub(crate) address: String,
    pub(crate) body: Option<Value>,
    /// Headers of this request alone.
    pub(crate) headers: HeaderMap,
    /// A shorter deadline than that of the settings.
    pub(crate) deadline: Option<Duration>,
}

/// A success.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    bytes: Bytes,
    after: Duration,
}

impl Reply {
    /// Whether the body holds nothing but white space.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.iter().all(u8::is_ascii_whitespace)
    }

    /// The body as JSON. An unreadable one means that the answer is lost: what was asked for has been done.
    pub(crate) fn json(&self) -> Result<Value, Error> {
        serde_json::from_slice(&self.bytes).map_err(|error| Error::AnswerLost {
            after: self.after,
            reason: format!("the body of a status {} ends early or is no JSON ({:?})", self.status, error.classify()),
        })
    }
}

/// The body as it is sent.
struct Payload {
    bytes: Bytes,
    gzip: bool,
}

pub(crate) struct Transport {
    pub(crate) settings: ClientSettings,
    http: reqwest::Client,
    tokens: Arc<dyn TokenSource>,
    observer: Option<Arc<dyn CallObserver>>,
    usage: Mutex<Option<(Instant, ApiUsage)>>,
    call_options: HeaderValue,
}

impl Transport {
    pub(crate) fn new(
        settings: ClientSettings,
        tokens: Arc<dyn TokenSource>,
        observer: Option<Arc<dyn CallObserver>>,
    ) -> Result<Self, Error> {
        let call_options = HeaderValue::from_str(&format!("client={}", settings.client_name))
            .map_err(|_| Error::Invalid("the client name cannot stand in a header".to_owned()))?;
        let http = http::client(settings.connect_timeout)?;
        Ok(Self { settings, http, tokens, observer, usage: Mutex::new(None), call_options })
    }

    /// What the last answer told that told anything, and when it came.
    pub(crate) fn usage(&self) -> Option<(Instant, ApiUsage)> {
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request within the deadline. A session that ended is renewed once and the request sent again, which is
    /// safe because a request with a dead session is not executed.
    ///
    /// Dropping the future after it was polled leaves open whether the request was executed.
    pub(crate) async fn send(&self, request: Request) -> Result<Reply, Error> {
        let started = Instant::now();
        let longest = self.settings.deadline;
        let deadline = started + request.deadline.map_or(longest, |shorter| shorter.min(longest));
        if request.address.len() > limits::ADDRESS {
            let found = request.address.len();
            return Err(Error::TooLarge { limit: "bytes of address", max: limits::ADDRESS, found });
        }
        let payload = match &request.body {
            Some(body) => Some(payload(body).await?),
            None => None,
        };
        let token = within(deadline, self.tokens.token()).await?;
        match self.exchange(&request, payload.as_ref(), &token, started, deadline).await {
            Err(error) if is_expired_session(&error) => {
                let renewed = within(deadline, self.tokens.renew(&token)).await?;
                self.exchange(&request, payload.as_ref(), &renewed, started, deadline).await
            }
            other => other,
        }
    }

    async fn exchange(
        &self,
        request: &Request,
        payload: Option<&Payload>,
        token: &Token,
        started: Instant,
        deadline: Instant,
    ) -> Result<Reply, Error> {
        let sent = Instant::now();
        if sent >= deadline {
            return Err(TokenError::Deadline.into());
        }
        let prepared = self.prepare(request, payload, token)?;
        let result = match tokio::time::timeout_at(deadline, self.round_trip(prepared, started)).await {
            Ok(result) => result,
            Err(_) => Err(Error::AnswerLost { after: started.elapsed(), reason: "the deadline passed".to_owned() }),
        };
        let took = sent.elapsed();
        let end = end_of(&result);
        if let Some(observer) = &self.observer {
            observer.call(request.operation, end, took);
        }
        tracing::debug!(
            operation = request.operation.as_str(),
            end = end.as_str(),
            duration_ms = took.as_millis(),
            "request to Salesforce"
        );
        result
    }

    fn prepare(
        &self,
        request: &Request,
        payload: Option<&Payload>,
        token: &Token,
    ) -> Result<reqwest::RequestBuilder, Error> {
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.access_token().expose_secret()))
            .map_err(|_| Error::Invalid("the access token cannot stand in a header".to_owned()))?;
        bearer.set_sensitive(true);
        let address = format!("{}{}", token.instance_url(), request.address);
        let mut builder = self
            .http
            .request(request.method.clone(), address)
            .headers(request.headers.clone())
            .header(header::AUTHORIZATION, bearer)
            .header(header::ACCEPT, "application/json")
            .header("Sforce-Call-Options", self.call_options.clone());
        if let Some(payload) = payload {
            builder = builder.header(header::CONTENT_TYPE, "application/json; charset=UTF-8");
            if payload.gzip {
                builder = builder.header(header::CONTENT_ENCODING, "gzip");
            }
            builder = builder.body(payload.bytes.clone());
        }
        Ok(builder)
    }

    async fn round_trip(&self, builder: reqwest::RequestBuilder, started: Instant) -> Result<Reply, Error> {
        let response = builder.send().await.map_err(|error| {
            let reason = http::reason(&error);
            if error.is_builder() {
                Error::Invalid("the instance URL and the request make no address".to_owned())
            } else if error.is_connect() {
                Error::Unreachable(reason)
            } else {
                Error::AnswerLost { after: started.elapsed(), reason }
            }
        })?;
        let status = response.status().as_u16();
        let text = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        if let Some(usage) = text(usage::HEADER).and_then(ApiUsage::read) {
            *self.usage.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), usage));
        }
        // Whoever answers in Salesforce's place may ask for any time; nobody is left alone for longer than this.
        let retry_after = text("retry-after").and_then(|value| value.trim().parse().ok());
        let retry_after = retry_after.map(|seconds| Duration::from_secs(seconds).min(limits::RETRY_AFTER));
        if matches!(status, 301..=303 | 307 | 308) {
            return Err(Error::Redirected { status });
        }
        let body = http::body(response, limits::ANSWER).await;
        let after = started.elapsed();
        if (200..300).contains(&status) {
            return match body.complete() {
                Ok(bytes) => Ok(Reply { status, bytes, after }),
                Err(reason) => Err(Error::AnswerLost { after, reason }),
            };
        }
        Err(match Envelope::read(status, body.received()) {
            Envelope::Errors(errors) => Error::Refused { status, errors },
            Envelope::Other(kind) => Error::Unavailable {
                status,
                body_kind: if body.is_torn() { BodyKind::Torn } else { kind },
                ambiguous: Atlas::status(status).is_some_and(|answer| answer.ambiguous),
                retry_after,
                body: RawBody(kept(body.received())),
            },
        })
    }
}

/// The start of a body, copied so that the rest can go.
fn kept(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(&bytes[..bytes.len().min(limits::KEPT_BODY)])
}

async fn within<T>(deadline: Instant, token: impl Future<Output = Result<T, TokenError>>) -> Result<T, Error> {
    Ok(tokio::time::timeout_at(deadline, token).await.unwrap_or(Err(TokenError::Deadline))?)
}

/// Whether a new token would help. A 401 that names another cause than the session does not heal by renewing, and each
/// renewal may use up a refresh token.
fn is_expired_session(error: &Error) -> bool {
    match error {
        Error::Refused { status: 401 | 403, errors } => {
            !errors.is_empty() && errors.iter().all(|error| error.kind() == ErrorKind::Session)
        }
        Error::Unavailable { status: 401, body_kind, .. } => match body_kind {
            BodyKind::Text | BodyKind::Html | BodyKind::Json => false,
            BodyKind::Empty | BodyKind::Torn => true,
        },
        Error::Unreachable(_)
        | Error::AnswerLost { .. }
        | Error::Refused { .. }
        | Error::Unavailable { .. }
        | Error::Redirected { .. }
        | Error::Token(_)
        | Error::Protocol(_)
        | Error::TooLarge { .. }
        | Error::Invalid(_) => false,
    }
}

fn end_of(result: &Result<Reply, Error>) -> CallEnd {
    match result {
        Ok(_) => CallEnd::Answered,
        Err(Error::Refused { status, .. } | Error::Unavailable { status, .. }) if *status >= 500 => CallEnd::Failed,
        Err(Error::Unreachable(_) | Error::Invalid(_) | Error::Token(_) | Error::TooLarge { .. }) => {
            CallEnd::Unreachable
        }
        Err(Error::AnswerLost { .. }) => CallEnd::AnswerLost,
        Err(Error::Refused { .. } | Error::Unavailable { .. } | Error::Redirected { .. } | Error::Protocol(_)) => {
            CallEnd::Refused
        }
    }
}

async fn payload(body: &Value) -> Result<Payload, Error> {
    let plain = serde_json::to_vec(body).map_err(|error| Error::Invalid(format!("the body is no JSON: {error}")))?;
    if plain.len() <= limits::COMPRESS_ABOVE {
        return Ok(Payload { bytes: plain.into(), gzip: false });
    }
    let bytes = if plain.len() > COMPRESS_ASIDE {
        tokio::task::spawn_blocking(move || gzip(&plain))
            .await
            .map_err(|_| Error::Invalid("the runtime stopped while the body was compressed".to_owned()))?
    } else {
        gzip(&plain)
    };
    Ok(Payload { bytes, gzip: true })
}

fn gzip(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 4), Compression::fast());
    encoder.write_all(plain).expect("writing to memory does not fail");
    encoder.finish().expect("writing to memory does not fail").into()
}
