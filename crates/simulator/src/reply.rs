//! What a resource answers, before it becomes HTTP or one part of a composite answer.

use serde_json::Value;

use crate::api_error::ApiError;

/// Status, headers of its own, and a JSON body if it has one.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) location: Option<String>,
    /// Further headers of its own.
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Option<Value>,
    /// A body in CSV instead.
    pub(crate) csv: Option<String>,
}

impl Reply {
    pub(crate) fn json(status: u16, body: Value) -> Self {
        Self { status, location: None, headers: Vec::new(), body: Some(body), csv: None }
    }

    pub(crate) fn empty(status: u16) -> Self {
        Self { status, location: None, headers: Vec::new(), body: None, csv: None }
    }

    pub(crate) fn is_success(&self) -> bool {
        self.status < 300
    }
}

impl From<ApiError> for Reply {
    fn from(error: ApiError) -> Self {
        let mut headers = Vec::new();
        if let Some((_, allowed)) =
            error.message.split_once(" not allowed. Allowed are ").filter(|_| error.status == 405)
        {
            headers.push(("allow", allowed.to_owned()));
        }
        Self { status: error.status, location: None, headers, body: Some(error.body()), csv: None }
    }
}

impl From<Result<Reply, ApiError>> for Reply {
    fn from(result: Result<Reply, ApiError>) -> Self {
        result.unwrap_or_else(Self::from)
    }
}
