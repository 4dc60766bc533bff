//! A stand-in of Limio's API, as far as Causeway speaks to it, over real HTTP, which fails on request.
//!
//! Limio publishes no simulator. What is here follows its documentation ("OAuth Bearer Token", "Subscriptions API",
//! "External Identities API") and its help desk ("How to fix Subscriptions existing in Limio Commerce but not appearing in
//! LFS"); of what they leave open, the answer of a success is the identity as it was sent. It shares no code with the client.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::watch;

/// The client that it knows.
pub const CLIENT_ID: &str = "causeway";
/// The client's secret.
pub const CLIENT_SECRET: &str = "limio-secret";
/// How many objects stand on a page of a list.
const PAGE: usize = 2;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Requests are taken and not answered, until the fault is taken away: then they are carried out.
    Hang,
    /// Requests are answered with this status and not carried out.
    Status(u16),
    /// Identities are attached, and the answer ends early.
    LoseAnswer,
}

/// An identity that was attached: path type, id, record.
pub type Attached = (String, String, String);

#[derive(Default)]
struct Inner {
    attached: Vec<Attached>,
    posts: usize,
    lists: usize,
    gone: BTreeSet<String>,
    /// Objects at which it fails, with the status.
    failing: BTreeMap<String, u16>,
    tokens: BTreeSet<String>,
    tokens_given: usize,
    refuses_client: bool,
    expires_in: Option<u64>,
    fault: Option<(Fault, usize)>,
    token_fault: Option<u16>,
}

/// Limio on a port of this machine. It ends when it is dropped.
pub struct Limio {
    url: String,
    shared: Shared,
    server: tokio::task::JoinHandle<()>,
}

#[derive(Clone)]
struct Shared {
    inner: Arc<Mutex<Inner>>,
    hangs: watch::Sender<bool>,
}

impl Shared {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Limio {
    /// An environment in which every subscription and customer exists.
    ///
    /// # Panics
    /// When no port can be had.
    pub async fn start() -> Self {
        let shared = Shared { inner: Arc::default(), hangs: watch::Sender::new(false) };
        let routes = Router::new()
            .route("/oauth2/token", post(token))
            .route("/api/objects/limio/{object}/{id}/related/identity", post(attach))
            .route("/api/objects/salesforce/identities/{record}/subscriptions", get(list))
            .with_state(shared.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, routes).await;
        });
        Self { url, shared, server }
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Every identity that was attached, in that order; one that was attached twice stands here twice.
    pub fn attached(&self) -> Vec<Attached> {
        self.shared.inner().attached.clone()
    }

    /// Every identity that is attached, once.
    pub fn links(&self) -> BTreeSet<Attached> {
        self.attached().into_iter().collect()
    }

    /// How many requests to attach one came, whatever came of them.
    pub fn posts(&self) -> usize {
        self.shared.inner().posts
    }

    /// How often it was asked what is linked.
    pub fn lists(&self) -> usize {
        self.shared.inner().lists
    }

    /// How many tokens it has given.
    pub fn tokens_given(&self) -> usize {
        self.shared.inner().tokens_given
    }

    /// From now on no token that was given before is accepted.
    pub fn forget_tokens(&self) {
        self.shared.inner().tokens.clear();
    }

    /// From now on tokens last so long, in seconds.
    pub fn tokens_last(&self, seconds: u64) {
        self.shared.inner().expires_in = Some(seconds);
    }

    /// Whether the client is refused from now on.
    pub fn refuse_client(&self, refuse: bool) {
        self.shared.inner().refuses_client = refuse;
    }

    /// From now on the token endpoint answers with this status, or as it should.
    pub fn fail_tokens(&self, status: Option<u16>) {
        self.shared.inner().token_fault = status;
    }

    /// From now on this subscription or customer is not there, or is there again.
    pub fn remove(&self, id: &str, gone: bool) {
        let mut inner = self.shared.inner();
        if gone {
            inner.gone.insert(id.to_owned());
        } else {
            inner.gone.remove(id);
        }
    }

    /// From now on requests about this subscription or customer are answered with this status.
    pub fn fail_at(&self, id: &str, status: u16) {
        self.shared.inner().failing.insert(id.to_owned(), status);
    }

    /// The next so many calls of the API fail so.
    pub fn fail(&self, fault: Fault, times: usize) {
        self.shared.inner().fault = Some((fault, times));
        self.shared.hangs.send_replace(fault == Fault::Hang);
    }

    /// Every call of the API fails so, until [`Self::heal`].
    pub fn fail_always(&self, fault: Fault) {
        self.fail(fault, usize::MAX);
    }

    /// All is well again; what hangs is carried out.
    pub fn heal(&self) {
        self.shared.inner().fault = None;
        self.shared.hangs.send_replace(false);
    }
}

impl Drop for Limio {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn token(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let form = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/x-www-form-urlencoded");
    let text = String::from_utf8_lossy(&body).into_owned();
    let fields: BTreeMap<&str, &str> = text.split('&').filter_map(|pair| pair.split_once('=')).collect();
    let mut inner = shared.inner();
    if let Some(status) = inner.token_fault {
        return answer(status, &json!({ "message": "not now" }));
    }
    let known = fields.get("grant_type") == Some(&"client_credentials")
        && fields.get("client_id") == Some(&CLIENT_ID)
        && fields.get("client_secret") == Some(&CLIENT_SECRET);
    if !form || !known || inner.refuses_client {
        return answer(401, &json!({ "error": "invalid_client" }));
    }
    let token = format!("limio-token-{}", uuid::Uuid::new_v4().simple());
    inner.tokens.insert(token.clone());
    inner.tokens_given += 1;
    let lasts = inner.expires_in.unwrap_or(3600);
    answer(200, &json!({ "access_token": token, "token_type": "Bearer", "expires_in": lasts }))
}

/// What is to be done with a call of the API: its fault, where it has one; or an answer at once.
async fn begin(shared: &Shared, headers: &HeaderMap) -> Result<Option<Fault>, Response> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let fault = {
        let mut inner = shared.inner();
        if !bearer.is_some_and(|token| inner.tokens.contains(token)) {
            return Err(answer(401, &json!({ "message": "Unauthorized" })));
        }
        match &mut inner.fault {
            Some((fault, left)) if *left > 0 => {
                *left -= 1;
                Some(*fault)
            }
            Some(_) | None => None,
        }
    };
    match fault {
        Some(Fault::Status(status)) => Err(answer(status, &json!({ "message": "it failed" }))),
        Some(Fault::Hang) => {
            let _ = shared.hangs.subscribe().wait_for(|hangs| !hangs).await;
            Ok(None)
        }
        Some(Fault::LoseAnswer) | None => Ok(fault),
    }
}

async fn attach(
    State(shared): State<Shared>,
    Path((object, id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    shared.inner().posts += 1;
    let fault = match begin(&shared, &headers).await {
        Ok(fault) => fault,
        Err(answer) => return answer,
    };
    let identity: Value = serde_json::from_slice(&body).unwrap_or_default();
    let record = identity["id"].as_str().unwrap_or_default().to_owned();
    let prefix = match object.as_str() {
        "subscriptions" => "sub-",
        "customers" => "cus-",
        _ => return answer(404, &json!({ "message": "no such path" })),
    };
    let mut inner = shared.inner();
    if let Some(status) = inner.failing.get(&id) {
        return answer(*status, &json!({ "message": "it failed" }));
    }
    if !id.starts_with(prefix) || inner.gone.contains(&id) {
        return answer(404, &json!({ "message": format!("{id} was not found") }));
    }
    if identity["service"] != "salesforce" || !(record.starts_with("001") || record.starts_with("003")) {
        return answer(400, &json!({ "message": "invalid identity" }));
    }
    inner.attached.push((object, id, record));
    drop(inner);
    if fault == Some(Fault::LoseAnswer) {
        let torn = futures::stream::iter([Ok(Bytes::from_static(b"{")), Err(std::io::Error::other("cut"))]);
        return Response::new(Body::from_stream(torn));
    }
    answer(200, &identity)
}

async fn list(
    State(shared): State<Shared>,
    Path(record): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    shared.inner().lists += 1;
    if let Err(answer) = begin(&shared, &headers).await {
        return answer;
    }
    let inner = shared.inner();
    let of = |object: &str| -> BTreeSet<String> {
        let attached = inner.attached.iter().filter(|(kind, _, to)| kind == object && *to == record);
        attached.map(|(_, id, _)| id.clone()).collect()
    };
    let summary = |id: &String| json!({ "id": id, "service": "limio" });
    let from: usize = query.get("queryMore").and_then(|from| from.parse().ok()).unwrap_or(0);
    let subscriptions = of("subscriptions");
    let page: Vec<Value> = subscriptions.iter().skip(from).take(PAGE).map(summary).collect();
    let more = (from + PAGE < subscriptions.len()).then(|| (from + PAGE).to_string());
    let customers: Vec<Value> = if from == 0 { of("customers").iter().map(summary).collect() } else { Vec::new() };
    answer(200, &json!({ "subscriptions": page, "customers": customers, "queryMore": more }))
}

fn answer(status: u16, body: &Value) -> Response {
    (StatusCode::from_u16(status).expect("a status"), Json(body.clone())).into_response()
}
