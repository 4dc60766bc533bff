//! Headers that every answer of an org carries, and requests that are refused for their form.
//!
//! Source: recorded answers (sf-fx-runtime-nodejs, `mappings`), which came over https; RFC 6797, section 7.2, for plain
//! http; REST API Developer Guide, "Status Codes and Error Responses" (405, 406, 415) and "Send HTTP Requests" (JSON and
//! XML). What is too long is refused before, in [`crate::limits::sizes`].

use std::path::Path;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::Incoming;
use super::data::header_text;
use crate::api_error::ApiError;

const COOKIE_AGE_S: i64 = 31_536_000;

/// Whether the caller kept the cookie that names its browser.
pub(crate) fn knows_browser(headers: &HeaderMap) -> bool {
    header_text(headers, "cookie").is_some_and(|cookies| cookies.contains("BrowserId="))
}

/// Adds the headers of every answer. The browser id follows from the number of the request, so runs repeat.
///
/// `secure` tells whether the answer goes over TLS; only there HSTS may be asked for.
pub(crate) fn dress(response: &mut Response, known: bool, secure: bool, request: u64, now_ms: i64) {
    const HSTS: &str = "max-age=63072000; includeSubDomains";
    const FIXED: [(HeaderName, &str); 4] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_XSS_PROTECTION, "1; mode=block"),
        (HeaderName::from_static("x-robots-tag"), "none"),
        (header::CACHE_CONTROL, "no-cache,must-revalidate,max-age=0,no-store,private"),
    ];
    let empty = response.status() == StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    for (name, value) in FIXED {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if secure {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(HSTS));
    }
    if empty {
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("upgrade-insecure-requests"));
    }
    if known {
        return;
    }
    let hash = Sha256::digest(request.to_le_bytes());
    let browser = URL_SAFE_NO_PAD.encode(hash.get(..16).unwrap_or_default());
    let until = Timestamp::from_millisecond(now_ms).unwrap_or_default().as_second().saturating_add(COOKIE_AGE_S);
    let until = Timestamp::from_second(until).unwrap_or_default().strftime("%a, %d-%b-%Y %H:%M:%S GMT").to_string();
    let cookies = [
        format!("CookieConsentPolicy=0:1; path=/; expires={until}; Max-Age={COOKIE_AGE_S}"),
        format!("LSKey-c$CookieConsentPolicy=0:1; path=/; expires={until}; Max-Age={COOKIE_AGE_S}"),
        format!("BrowserId={browser}; domain=.salesforce.com; path=/; expires={until}; Max-Age={COOKIE_AGE_S}"),
    ];
    for cookie in cookies {
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            headers.append(header::SET_COOKIE, cookie);
        }
    }
}

/// The refusal of a request for its media types.
pub(crate) fn refusal(incoming: &Incoming) -> Option<ApiError> {
    let path = incoming.uri.path();
    let accepted = header_text(&incoming.headers, "accept").unwrap_or("*/*").to_ascii_lowercase();
    let takes_json = ["json", "*/*", "application/*"].iter().any(|kind| accepted.contains(kind));
    // A path may name its format; deeper ones end in an external id.
    let suffix = Path::new(path).extension().filter(|_| path.split('/').count() <= 7);
    if suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case("xml")) || (accepted.contains("xml") && !takes_json) {
        return Some(ApiError::new(406, "NOT_ACCEPTABLE", "This org answers in JSON only."));
    }
    if incoming.body.is_empty() {
        return None;
    }
    let kind = header_text(&incoming.headers, "content-type").unwrap_or("application/json");
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    (!kind.ends_with("json") && !path.contains("/jobs/"))
        .then(|| ApiError::new(415, "UNSUPPORTED_MEDIA_TYPE", format!("Content type '{kind}' is not supported.")))
}
