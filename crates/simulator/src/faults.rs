//! Scripted trouble. A fault is armed with a kind and a filter, and goes off on the requests or rows that pass it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::api_error::ApiError;
use crate::events::{self, Fate};
use crate::org::guard;
use crate::transaction::Target;

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
    /// The request waits before it is carried out.
    Slow {
        /// Milliseconds of the wait.
        ms: u64,
    },
    /// The request is carried out and its answer breaks off in the middle.
    TruncatedBody,
    /// A row fails with `UNABLE_TO_LOCK_ROW`.
    Lock,
    /// An accepted event is on the bus twice, under one UUID.
    EventTwice,
    /// An accepted event never reaches the bus.
    EventLost,
    /// The bus takes no events for the moment: `PLATFORM_EVENT_PUBLISHING_UNAVAILABLE`.
    EventUnavailable,
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
}

fn bad_request() -> u16 {
    400
}

impl FaultKind {
    fn is_for_rows(&self) -> bool {
        matches!(self, Self::Lock | Self::RefuseRow { .. } | Self::EventUnavailable)
    }

    fn is_for_accepted_events(&self) -> bool {
        matches!(self, Self::EventTwice | Self::EventLost)
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
            Self::UnknownException => "unknown_exception",
            Self::RefuseRequest { .. } => "refuse_request",
            Self::UnknownOauthError => "unknown_oauth_error",
            Self::Slow { .. } => "slow",
            Self::TruncatedBody => "truncated_body",
            Self::Lock => "lock",
            Self::EventTwice => "event_twice",
            Self::EventLost => "event_lost",
            Self::EventUnavailable => "event_unavailable",
            Self::RefuseRow { .. } => "refuse_row",
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
        Self { kind, path: None, object: None, containing: None, nth: None, probability: None, times: None }
    }

    /// Only for paths that contain `path`.
    #[must_use]
    pub fn on_path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
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
}

/// An armed fault and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArmedFault {
    /// The fault.
    #[serde(flatten)]
    pub fault: Fault,
    /// Requests or rows that passed its filter.
    pub matched: u64,
    /// How often it went off.
    pub applied: u64,
}

#[derive(Debug)]
pub(crate) struct Faults {
    any: AtomicBool,
    armed: Mutex<(Vec<ArmedFault>, StdRng)>,
    seed: u64,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        Self { any: AtomicBool::new(false), armed: Mutex::new((Vec::new(), StdRng::seed_from_u64(seed))), seed }
    }

    pub(crate) fn arm(&self, fault: Fault) {
        let mut armed = guard(&self.armed);
        armed.0.push(ArmedFault { fault, matched: 0, applied: 0 });
        self.any.store(true, Ordering::Release);
    }

    pub(crate) fn clear(&self) {
        let mut armed = guard(&self.armed);
        *armed = (Vec::new(), StdRng::seed_from_u64(self.seed));
        self.any.store(false, Ordering::Release);
    }

    pub(crate) fn list(&self) -> Vec<ArmedFault> {
        guard(&self.armed).0.clone()
    }

    /// The first request fault that goes off for this request.
    pub(crate) fn request(&self, path: &str, body: &[u8]) -> Option<FaultKind> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        self.first(|fault| {
            if fault.kind.is_for_rows() || fault.kind.is_for_accepted_events() {
                return false;
            }
            let path_fits = match &fault.path {
                Some(part) => path.contains(part.as_str()),
                None => path.starts_with("/services/data"),
            };
            let names = |text: &str| path.contains(text) || contains(body, text.as_bytes());
            path_fits && fault.object.as_deref().is_none_or(names) && fault.containing.as_deref().is_none_or(names)
        })
    }

    /// The first row fault that goes off for this row, as its refusal.
    pub(crate) fn row(&self, object: &str, path: &str, body: &Map<String, Value>, target: &Target) -> Option<ApiError> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let event = object.ends_with("__e");
        let kind = self.first_of_row(object, path, body, target, |kind| {
            kind.is_for_rows() && (event || *kind != FaultKind::EventUnavailable)
        })?;
        if let FaultKind::RefuseRow { code, message, status, fields } = kind {
            return Some(ApiError::new(status, &code, message).with_fields(fields));
        }
        if kind == FaultKind::EventUnavailable {
            return Some(events::unavailable());
        }
        let row = match target {
            Target::Id(id) => id.to_string(),
            Target::New | Target::ExternalId { .. } => "001000000000000AAA".to_owned(),
        };
        Some(ApiError::lock(&row))
    }

    /// What becomes of an accepted event.
    pub(crate) fn event(&self, object: &str, path: &str, body: &Map<String, Value>) -> Fate {
        if !self.any.load(Ordering::Acquire) {
            return Fate::Once;
        }
        match self.first_of_row(object, path, body, &Target::New, FaultKind::is_for_accepted_events) {
            Some(FaultKind::EventTwice) => Fate::Twice,
            Some(_) => Fate::Lost,
            None => Fate::Once,
        }
    }

    fn first_of_row(
        &self,
        object: &str,
        path: &str,
        body: &Map<String, Value>,
        target: &Target,
        of_kind: impl Fn(&FaultKind) -> bool,
    ) -> Option<FaultKind> {
        let mut text = None;
        self.first(|fault| {
            if !of_kind(&fault.kind)
                || fault.path.as_deref().is_some_and(|part| !path.contains(part))
                || fault.object.as_deref().is_some_and(|name| !name.eq_ignore_ascii_case(object))
            {
                return false;
            }
            fault.containing.as_deref().is_none_or(|wanted| {
                let text = text.get_or_insert_with(|| {
                    let row = serde_json::to_string(body).unwrap_or_default();
                    match target {
                        Target::ExternalId { value, .. } => format!("{value} {row}"),
                        Target::Id(id) => format!("{id} {row}"),
                        Target::New => row,
                    }
                });
                text.contains(wanted)
            })
        })
    }

    fn first(&self, mut fits: impl FnMut(&Fault) -> bool) -> Option<FaultKind> {
        let mut armed = guard(&self.armed);
        let (faults, rng) = &mut *armed;
        for armed in faults {
            let fault = &armed.fault;
            if fault.times.is_some_and(|times| armed.applied >= times) || !fits(fault) {
                continue;
            }
            armed.matched += 1;
            if fault.nth.is_some_and(|nth| armed.matched < nth) {
                continue;
            }
            if fault.probability.is_some_and(|chance| !rng.random_bool(chance.clamp(0.0, 1.0))) {
                continue;
            }
            armed.applied += 1;
            return Some(fault.kind.clone());
        }
        None
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || haystack.windows(needle.len()).any(|window| window == needle)
}
