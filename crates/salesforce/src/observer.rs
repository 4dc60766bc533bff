//! Tells whoever counts what the client did.

use std::time::Duration;

/// What a request was for. One value a resource, so that it can label a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// A composite graph request.
    Graph,
    /// One record created.
    Create,
    /// One record updated by id.
    Update,
    /// One record upserted by external id.
    Upsert,
    /// A composite request.
    Composite,
    /// Rows created, updated or upserted by sObject Collections.
    Collection,
    /// A page of a query.
    Query,
    /// What objects are made of.
    Describe,
    /// The org's limits.
    Limits,
    /// One platform event published.
    Publish,
    /// Several platform events published.
    PublishMany,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 11] = [
        Self::Graph,
        Self::Create,
        Self::Update,
        Self::Upsert,
        Self::Composite,
        Self::Collection,
        Self::Query,
        Self::Describe,
        Self::Limits,
        Self::Publish,
        Self::PublishMany,
    ];

    /// The name in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Graph => "graph",
            Self::Create => "create",
            Self::Update => "update",
            Self::Upsert => "upsert",
            Self::Composite => "composite",
            Self::Collection => "collection",
            Self::Query => "query",
            Self::Describe => "describe",
            Self::Limits => "limits",
            Self::Publish => "publish",
            Self::PublishMany => "publish_many",
        }
    }
}

/// How a request ended, seen from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CallEnd {
    /// Status 2xx, and the whole body.
    Answered,
    /// Status 3xx or 4xx.
    Refused,
    /// Status 5xx.
    Failed,
    /// The connection was not made; nothing was sent.
    Unreachable,
    /// Sent, and no complete answer came.
    AnswerLost,
}

impl CallEnd {
    /// The name in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Unreachable => "unreachable",
            Self::AnswerLost => "answer_lost",
        }
    }
}

/// Is told of each request that went to the org, repeated ones after a renewed token included: each of them is one API
/// call. Requests for tokens are none.
pub trait CallObserver: Send + Sync {
    /// A request ended after `duration`. It runs on the caller's task: count and return.
    fn call(&self, operation: Operation, end: CallEnd, duration: Duration);
}
