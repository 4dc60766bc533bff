//! Bearer tokens in front of the data API.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;

use crate::api_error::ApiError;
use crate::ids::RecordId;
use crate::oauth::sessions::Refused;
use crate::org::Org;
use crate::routes::data::{bearer, header_text};
use crate::routes::{Incoming, json_response};
use crate::settings::Settings;

/// Who calls; without a good session the recorded 401.
pub(crate) fn sign_in(org: &Org, incoming: &Incoming, settings: &Settings) -> Result<RecordId, Response> {
    let accepted = match bearer(&incoming.headers) {
        Some(token) => org.oauth.accept(token, org.clock.now_ms(), settings),
        None => Err(Refused::Dead),
    };
    accepted.map_err(|refused| {
        let session = |message| ApiError::new(401, "INVALID_SESSION_ID", message);
        let error = match (refused, header_text(&incoming.headers, "authorization")) {
            (Refused::NotForRest, _) => session("This session is not valid for use with the REST API"),
            // A header that is there but of the wrong form is told apart from a session that is gone.
            (Refused::Dead, Some(value)) if bearer(&incoming.headers).is_none() => {
                let scheme = value.split(' ').next().unwrap_or_default();
                let known = scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("oauth");
                let message = if known { "INVALID_AUTH_HEADER" } else { "INVALID_HEADER_TYPE" };
                ApiError::new(401, "INVALID_AUTH_HEADER", message)
            }
            (Refused::Dead, _) => session("Session expired or invalid"),
        };
        let body = error.body();
        let mut response = json_response(StatusCode::UNAUTHORIZED, &body);
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Token"));
        response
    })
}
