//! What a resource answers, before it becomes HTTP or one part of a composite answer.

use serde_json::Value;

use crate::api_error::ApiError;

/// Status, headers of its own, and a JSON body if it has one.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) location: Option<String>,
    pub(crate) body: Option<Value>,
    /// A body in CSV instead.
    pub(crate) csv: Option<String>,
}

impl Reply {
    pub(crate) fn json(status: u16, body: Value) -> Self {
        Self { status, location: None, body: Some(body), csv: None }
    }

    pub(crate) fn empty(status: u16) -> Self {
        Self { status, location: None, body: None, csv: None }
    }

    pub(crate) fn is_success(&self) -> bool {
        self.status < 300
    }
}

impl From<ApiError> for Reply {
    fn from(error: ApiError) -> Self {
        Self { status: error.status, location: None, body: Some(error.body()), csv: None }
    }
}

impl From<Result<Reply, ApiError>> for Reply {
    fn from(result: Result<Reply, ApiError>) -> Self {
        result.unwrap_or_else(Self::from)
    }
}
