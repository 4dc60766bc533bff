//! Scripted trouble. A fault is armed with a kind and a filter, and goes off on what passes the filter.
//!
//! A kind is for whole requests, for single graphs of a composite graph, or for single rows. [`mod@armed`] decides when
//! one goes off, [`mod@refusals`] says how each is worded.

pub(crate) mod armed;
pub(crate) mod refusals;

use serde::{Deserialize, Serialize};

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FaultKind {
    /// The request is carried out and committed, then the connection closes without an answer.
    CommitThenDrop,
    /// The connection closes; nothing was carried out.
    DropBefore,
    /// The request is carried out and committed, then answered with an HTML 503.
    #[serde(rename = "commit_then_503")]
    CommitThen503,
    /// 401 as for an expired session; the token stays good for the next request.
    ExpiredSession,
    /// 401 that a new token does not heal.
    SessionNotValidForRest,
    /// 403 `REQUEST_LIMIT_EXCEEDED`, daily form.
    DailyLimit,
    /// 403 `REQUEST_LIMIT_EXCEEDED`, concurrent form.
    ConcurrentLimit,
    /// 503 with a JSON body.
    UnavailableJson,
    /// 503 with an HTML body.
    UnavailableHtml,
    /// 502 with an HTML body: the edge did not reach the instance.
    BadGateway,
    /// 420 without a body: the edge has no route for the host.
    NoRoute,
    /// 429 with `Retry-After`, as a proxy on the way may answer.
    TooManyRequests {
        /// Seconds of `Retry-After`.
        retry_after_s: u64,
    },
    /// 403 `API_DISABLED_FOR_ORG`.
    ApiDisabled,
    /// 500 `UNKNOWN_EXCEPTION`; nothing was carried out.
    UnknownException,
    /// The request is refused as a whole with an error of the test's choice; nothing was carried out.
    RefuseRequest {
        /// Error code.
        code: String,
        /// Message.
        message: String,
        /// HTTP status, 400 if absent.
        #[serde(default = "bad_request")]
        status: u16,
    },
    /// The token endpoint answers `unknown_error`; elsewhere like [`FaultKind::UnknownException`].
    UnknownOauthError,
    /// The request waits before it is carried out. A call of the data API that waits for ten minutes, or two when it is a
    /// query, is not carried out and answers `QUERY_TIMEOUT`.
    Slow {
        /// Milliseconds of the wait.
        ms: u64,
    },
    /// The request waits before it is carried out until it is let go: by `Control::release_held` or by disarming. At most
    /// it waits as long as Salesforce lets a call run, and then ends as with [`FaultKind::Slow`].
    Hold,
    /// The request is carried out and committed, and its answer waits until it is let go, as with [`FaultKind::Hold`].
    HoldAnswer,
    /// The request is carried out and its answer breaks off in the middle.
    TruncatedBody,
    /// The answer is gzip, whether or not the caller accepts it.
    GzipBody,
    /// A graph is not run and answers `PROCESSING_HALTED`, as behind more than 14 failed ones.
    HaltGraph,
    /// A row fails with `UNABLE_TO_LOCK_ROW`.
    Lock,
    /// An accepted event is on the bus twice, under one UUID.
    EventTwice,
    /// An accepted event never reaches the bus.
    EventLost,
    /// The bus takes no events for the moment: `PLATFORM_EVENT_PUBLISHING_UNAVAILABLE`.
    EventUnavailable,
    /// A row fails in an Apex trigger that met a row lock: `CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY` around
    /// `UNABLE_TO_LOCK_ROW`.
    TriggerLock,
    /// A row fails in an Apex trigger that ran into a governor limit: `CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY` around
    /// `System.LimitException`.
    TriggerLimit,
    /// A row fails with `STORAGE_LIMIT_EXCEEDED`; its status is a setting.
    StorageLimit,
    /// A row fails because the org is read-only during maintenance.
    Maintenance,
    /// An upsert meets several rows with its external id: HTTP 300 with their URLs.
    MultipleChoices,
    /// A row fails with a refusal of the test's choice, such as a validation rule's.
    RefuseRow {
        /// Error code.
        code: String,
        /// Message.
        message: String,
        /// HTTP status of the row, 400 if absent.
        #[serde(default = "bad_request")]
        status: u16,
        /// Fields it names.
        #[serde(default)]
        fields: Vec<String>,
    },
    /// Nothing goes wrong: a step of a sequence that lets one match pass.
    Pass,
    /// One step for each match, in their order. A step for rows waits for a row, a step for requests for a request.
    Sequence {
        /// The steps; a sequence within a sequence is refused.
        steps: Vec<FaultKind>,
        /// Whether the last step is followed by the first; otherwise the fault is spent after it.
        #[serde(default)]
        repeat: bool,
    },
}

/// What a kind of fault goes off on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Request,
    Graph,
    Row,
    /// Events that were accepted.
    Event,
    /// Whatever comes first.
    Any,
}

fn bad_request() -> u16 {
    400
}

impl FaultKind {
    pub(crate) fn level(&self) -> Level {
        match self {
            Self::Lock
            | Self::TriggerLock
            | Self::TriggerLimit
            | Self::StorageLimit
            | Self::Maintenance
            | Self::MultipleChoices
            | Self::EventUnavailable
            | Self::RefuseRow { .. } => Level::Row,
            Self::HaltGraph => Level::Graph,
            Self::EventTwice | Self::EventLost => Level::Event,
            Self::Pass | Self::Sequence { .. } => Level::Any,
            Self::CommitThenDrop
            | Self::DropBefore
            | Self::CommitThen503
            | Self::ExpiredSession
            | Self::SessionNotValidForRest
            | Self::DailyLimit
            | Self::ConcurrentLimit
            | Self::UnavailableJson
            | Self::UnavailableHtml
            | Self::BadGateway
            | Self::NoRoute
            | Self::TooManyRequests { .. }
            | Self::ApiDisabled
            | Self::UnknownException
            | Self::RefuseRequest { .. }
            | Self::UnknownOauthError
            | Self::Slow { .. }
            | Self::Hold
            | Self::HoldAnswer
            | Self::TruncatedBody
            | Self::GzipBody => Level::Request,
        }
    }

    /// The name it has in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::CommitThenDrop => "commit_then_drop",
            Self::DropBefore => "drop_before",
            Self::CommitThen503 => "commit_then_503",
            Self::ExpiredSession => "expired_session",
            Self::SessionNotValidForRest => "session_not_valid_for_rest",
            Self::DailyLimit => "daily_limit",
            Self::ConcurrentLimit => "concurrent_limit",
            Self::UnavailableJson => "unavailable_json",
            Self::UnavailableHtml => "unavailable_html",
            Self::BadGateway => "bad_gateway",
            Self::NoRoute => "no_route",
            Self::TooManyRequests { .. } => "too_many_requests",
            Self::ApiDisabled => "api_disabled",
            Self::UnknownException => "unknown_exception",
            Self::RefuseRequest { .. } => "refuse_request",
            Self::UnknownOauthError => "unknown_oauth_error",
            Self::Slow { .. } => "slow",
            Self::Hold => "hold",
            Self::HoldAnswer => "hold_answer",
            Self::TruncatedBody => "truncated_body",
            Self::GzipBody => "gzip_body",
            Self::HaltGraph => "halt_graph",
            Self::Lock => "lock",
            Self::EventTwice => "event_twice",
            Self::EventLost => "event_lost",
            Self::EventUnavailable => "event_unavailable",
            Self::TriggerLock => "trigger_lock",
            Self::TriggerLimit => "trigger_limit",
            Self::StorageLimit => "storage_limit",
            Self::Maintenance => "maintenance",
            Self::MultipleChoices => "multiple_choices",
            Self::RefuseRow { .. } => "refuse_row",
            Self::Pass => "pass",
            Self::Sequence { .. } => "sequence",
        }
    }
}

/// A fault with its filter; all parts of the filter must pass.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// What goes wrong.
    #[serde(flatten)]
    pub kind: FaultKind,
    /// Only requests whose path contains this. Without it the data API is meant, not the token endpoint.
    #[serde(default)]
    pub path: Option<String>,
    /// Only requests with this HTTP method; not looked at for graphs and rows.
    #[serde(default)]
    pub method: Option<String>,
    /// Only rows of this object, or requests that name it in path or body.
    #[serde(default)]
    pub object: Option<String>,
    /// Only rows or request bodies that contain this text, external id in the path included.
    #[serde(default)]
    pub containing: Option<String>,
    /// Only the n-th of the matching requests or rows and those after it, counted from 1.
    #[serde(default)]
    pub nth: Option<u64>,
    /// Chance for each match, from 0 to 1; 1 if absent.
    #[serde(default)]
    pub probability: Option<f64>,
    /// How often it goes off before it is spent; without end if absent.
    #[serde(default)]
    pub times: Option<u64>,
}

impl Fault {
    /// A fault that goes off once, on the next match.
    pub fn once(kind: FaultKind) -> Self {
        Self { times: Some(1), ..Self::always(kind) }
    }

    /// A fault that goes off on each match until cleared.
    pub fn always(kind: FaultKind) -> Self {
        Self {
            kind,
            path: None,
            method: None,
            object: None,
            containing: None,
            nth: None,
            probability: None,
            times: None,
        }
    }

    /// Only for paths that contain `path`.
    #[must_use]
    pub fn on_path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Only for requests with this HTTP method.
    #[must_use]
    pub fn on_method(mut self, method: impl Into<String>) -> Self {
        self.method = Some(method.into());
        self
    }

    /// Only for `object`.
    #[must_use]
    pub fn on_object(mut self, object: impl Into<String>) -> Self {
        self.object = Some(object.into());
        self
    }

    /// Only where `text` occurs.
    #[must_use]
    pub fn containing(mut self, text: impl Into<String>) -> Self {
        self.containing = Some(text.into());
        self
    }

    /// From the n-th match on, counted from 1.
    #[must_use]
    pub fn from_nth(mut self, nth: u64) -> Self {
        self.nth = Some(nth);
        self
    }

    /// At most `times` times.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// With this chance for each match.
    #[must_use]
    pub fn with_probability(mut self, probability: f64) -> Self {
        self.probability = Some(probability);
        self
    }

    /// What cannot be armed, with the remedy.
    pub(crate) fn check(&self) -> Result<(), String> {
        if let FaultKind::Sequence { steps, .. } = &self.kind {
            if steps.is_empty() {
                return Err("a sequence needs at least one step".to_owned());
            }
            if steps.iter().any(|step| matches!(step, FaultKind::Sequence { .. })) {
                return Err("a sequence cannot hold a sequence; list its steps one after the other".to_owned());
            }
        }
        if let FaultKind::RefuseRow { status, .. } | FaultKind::RefuseRequest { status, .. } = &self.kind
            && !(400..=599).contains(status)
        {
            return Err(format!("status {status} is no refusal; use 400 to 599"));
        }
        if self.probability.is_some_and(|chance| !(0.0..=1.0).contains(&chance)) {
            return Err("probability must lie between 0 and 1".to_owned());
        }
        if self.nth == Some(0) {
            return Err("nth counts from 1".to_owned());
        }
        Ok(())
    }
}

/// An armed fault and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArmedFault {
    /// Names it for disarming; counted from 1 since start or reset.
    pub id: u64,
    /// The fault.
    #[serde(flatten)]
    pub fault: Fault,
    /// Requests, graphs or rows that passed its filter.
    pub matched: u64,
    /// How often it went off.
    pub applied: u64,
    /// Requests that it holds right now.
    pub held: u64,
}

impl ArmedFault {
    /// It will not go off again.
    pub fn is_spent(&self) -> bool {
        let steps_done = matches!(&self.fault.kind, FaultKind::Sequence { steps, repeat: false }
            if self.applied >= steps.len() as u64);
        steps_done || self.fault.times.is_some_and(|times| self.applied >= times)
    }

    /// What it does at its next match.
    pub(crate) fn next_kind(&self) -> &FaultKind {
        let FaultKind::Sequence { steps, .. } = &self.fault.kind else { return &self.fault.kind };
        let step = self.applied.checked_rem(steps.len() as u64).and_then(|step| usize::try_from(step).ok());
        step.and_then(|step| steps.get(step)).unwrap_or(&FaultKind::Pass)
    }
}
