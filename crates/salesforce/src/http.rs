//! The HTTP client's settings, and bodies that are read within bounds.

use std::error::Error as _;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::Error;

/// Connections kept open for each host. More calls than this at once open further ones.
const IDLE_CONNECTIONS: usize = 16;

/// How long an unused connection is kept. Longer, and Salesforce may close it just as the next request is sent, whose
/// answer would then be lost.
const IDLE_FOR: Duration = Duration::from_secs(30);

/// A client that follows no redirects and keeps no cookies, so that a token goes where it was meant to go.
///
/// Proxies are taken from the usual variables. HTTP/1.1 only: over one HTTP/2 connection a reset would lose the answer
/// of every call at once.
pub(crate) fn client(connect_timeout: Duration) -> Result<reqwest::Client, Error> {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(connect_timeout)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .pool_idle_timeout(IDLE_FOR)
        .http1_only()
        .gzip(true)
        .build()
        .map_err(|error| Error::Invalid(format!("the HTTP client cannot be set up: {}", reason(&error))))
}

/// Why an exchange failed, from the outside in: the host that was not reached, and never the path, which may hold a
/// record's key.
pub(crate) fn reason(error: &reqwest::Error) -> String {
    let host = error.url().and_then(|url| Some((url.host_str()?, url.port_or_known_default()?)));
    let mut text = match host {
        Some((host, port)) if error.is_connect() => format!("connection to {host}:{port} failed"),
        None if error.is_connect() => "connection failed".to_owned(),
        _ if error.is_timeout() => "time-out".to_owned(),
        _ if error.is_body() || error.is_decode() => "the body ended early".to_owned(),
        _ => "the connection failed after sending".to_owned(),
    };
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    text
}

/// As much of a body as arrived.
#[derive(Debug)]
pub(crate) struct Body {
    bytes: Bytes,
    torn: Option<String>,
}

impl Body {
    /// The bytes, if they are all.
    pub(crate) fn complete(self) -> Result<Bytes, String> {
        match self.torn {
            None => Ok(self.bytes),
            Some(reason) => Err(reason),
        }
    }

    /// The bytes that arrived.
    pub(crate) fn received(&self) -> &Bytes {
        &self.bytes
    }

    pub(crate) fn is_torn(&self) -> bool {
        self.torn.is_some()
    }
}

/// Reads at most `max` bytes, decompressed.
pub(crate) async fn body(mut response: reqwest::Response, max: usize) -> Body {
    let mut bytes = BytesMut::new();
    let torn = loop {
        match response.chunk().await {
            Ok(None) => break None,
            Ok(Some(chunk)) if bytes.len() + chunk.len() > max => {
                bytes.extend_from_slice(&chunk[..max - bytes.len()]);
                break Some(format!("the body is larger than {max} bytes"));
            }
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Err(error) => break Some(reason(&error)),
        }
    };
    Body { bytes: bytes.freeze(), torn }
}
