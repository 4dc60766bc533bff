//! How large a request may be.
//!
//! Source: REST API Developer Guide, "Status Codes and Error Responses" (414, 431: 16,384 bytes). The bodies of these
//! answers, the limit of 50 MB and its 413 are guesses; such requests end before sign-in and are not counted.

use axum::http::{HeaderMap, Uri};

use crate::api_error::ApiError;

/// The largest body, after decompression.
pub(crate) const BODY: usize = 50 * 1024 * 1024;
/// The longest URI, and the most that URI and headers may have together.
const HEAD: usize = 16_384;

/// Refuses a URI that is too long, alone or with the headers.
pub(crate) fn head_too_large(uri: &Uri, headers: &HeaderMap) -> Option<ApiError> {
    let length = uri.path_and_query().map_or(0, |whole| whole.as_str().len());
    if length > HEAD {
        let message = format!("The length of the URI exceeds the {HEAD}-byte limit.");
        return Some(ApiError::new(414, "URI_TOO_LONG", message));
    }
    let headers: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    (length + headers > HEAD).then(|| {
        let message = format!("The combined length of the URI and headers exceeds the {HEAD}-byte limit.");
        ApiError::new(431, "REQUEST_HEADER_FIELDS_TOO_LARGE", message)
    })
}

/// Refuses a body that could not be read to its end.
pub(crate) fn unread_body(error: &axum::Error) -> ApiError {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = source {
        // The type lies in a crate that is not ours to name; its text is its only other mark.
        if cause.to_string() == "length limit exceeded" {
            return ApiError::new(413, "OPERATION_TOO_LARGE", format!("The request body exceeds {BODY} bytes."));
        }
        source = cause.source();
    }
    ApiError::json("The request body could not be read")
}
