//! `format=json|xml|urlencoded`, or an `Accept` header (Help, "OAuth 2.0 Web Server Flow", `format`).

use std::fmt::Write;

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::Value;

use crate::form::{Form, encode};
use crate::routes::data::header_text;
use crate::routes::page::escape;
use crate::routes::{Incoming, json_response, text_response};

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Xml,
    UrlEncoded,
}

impl Format {
    /// The parameter decides; without one the `Accept` header does; JSON is the default.
    pub(super) fn asked(form: &Form, incoming: &Incoming) -> Self {
        match form.get("format") {
            Some("xml") => return Self::Xml,
            Some("urlencoded") => return Self::UrlEncoded,
            Some("json") => return Self::Json,
            Some(_) | None => {}
        }
        let accepted = header_text(&incoming.headers, "accept").unwrap_or_default();
        let first = accepted.split([',', ';']).next().unwrap_or_default().trim().to_ascii_lowercase();
        match first.as_str() {
            "application/xml" | "text/xml" => Self::Xml,
            "application/x-www-form-urlencoded" => Self::UrlEncoded,
            _ => Self::Json,
        }
    }

    pub(super) fn response(self, status: u16, body: &Value) -> Response {
        self.rooted(status, "OAuth", body)
    }

    /// `root` is the outermost element of XML.
    pub(super) fn rooted(self, status: u16, root: &str, body: &Value) -> Response {
        match self {
            Self::Json => json_response(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST), body),
            Self::Xml => {
                let mut text = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><{root}>");
                elements(&mut text, body);
                // Writing to a String cannot fail, so the results carry nothing.
                let _ = write!(text, "</{root}>");
                text_response(status, "application/xml;charset=UTF-8", text)
            }
            Self::UrlEncoded => {
                let mut pairs = Vec::new();
                for (key, value) in body.as_object().into_iter().flatten() {
                    if !value.is_object() && !value.is_array() {
                        pairs.push(format!("{key}={}", encode(&plain(value))));
                    }
                }
                text_response(status, "application/x-www-form-urlencoded;charset=UTF-8", pairs.join("&"))
            }
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// Our own answers, two levels deep at most.
fn elements(text: &mut String, body: &Value) {
    for (key, value) in body.as_object().into_iter().flatten() {
        let _ = write!(text, "<{key}>");
        if value.is_object() {
            elements(text, value);
        } else {
            text.push_str(&escape(&plain(value)));
        }
        let _ = write!(text, "</{key}>");
    }
}
