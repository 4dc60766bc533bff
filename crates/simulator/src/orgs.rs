//! The orgs of one process: which of them a request is for, and the URL it was reached by.
//!
//! An org is reached by the first label of the host name (`acme.my.localhost`, `acme.localhost`), by a path prefix
//! (`/orgs/acme/…`), and the first org by everything else. Two login hosts stand beside them, `login` and `test`, by
//! host name or by prefix; see [`mod@login`].
//!
//! Source: Help, "My Domain"; salesforce.com answers the same way for every host name of an org.

mod admin;
mod login;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::uri::{Authority, PathAndQuery};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::Response;
use serde_json::json;
use tower::ServiceExt as _;
use tower_http::decompression::RequestDecompressionLayer;

use crate::config::Config;
use crate::control::Control;
use crate::org::Org;
use crate::routes;

/// Orgs in one process; each holds its own tables, log and event bus.
const MOST: usize = 100;
/// First labels that mean something else.
const RESERVED: [&str; 6] = ["login", "test", "localhost", "www", "my", "orgs"];
const PREFIX: &str = "/orgs/";
const PUB_SUB: &str = "/eventbus.v1.PubSub/";

tokio::task_local! {
    static REACHED: Arc<Reached>;
}

/// The URLs of the request that is being answered.
#[derive(Debug)]
pub(crate) struct Reached {
    /// The org's own URL, in the way the caller reaches it.
    pub(crate) instance: String,
    /// The host asked: the org itself, or a login host.
    pub(crate) host: String,
}

impl Reached {
    /// Runs the work of one request.
    pub(crate) async fn scope<F: Future>(self: Arc<Self>, work: F) -> F::Output {
        REACHED.scope(self, work).await
    }

    /// What the running request was reached by; nothing outside a request.
    pub(crate) fn current() -> Option<Arc<Self>> {
        REACHED.try_with(Arc::clone).ok()
    }
}

/// An org of a running simulator: where it is, and how it is broken.
#[derive(Debug, Clone)]
pub struct OrgHandle {
    pub(crate) org: Arc<Org>,
}

impl OrgHandle {
    /// Its My Domain name.
    pub fn name(&self) -> &str {
        self.org.name()
    }

    /// Where it answers, without a slash at the end: the root for the first org, `…/orgs/{name}` for the others.
    pub fn base_url(&self) -> String {
        self.org.own_url().to_owned()
    }

    /// Control calls.
    pub fn control(&self) -> Control {
        Control::new(Arc::clone(&self.org))
    }
}

#[derive(Debug, Clone)]
struct Entry {
    org: Arc<Org>,
    service: Router,
}

impl Entry {
    /// An org at its address: the root for the first one, a prefix for the others.
    fn at(base_url: &str, first: bool, org: Arc<Org>) -> Self {
        org.set_own_url(if first { base_url.to_owned() } else { prefixed(base_url, org.name()) });
        Self { service: routes::router(Arc::clone(&org)), org }
    }
}

/// The orgs of these configs, numbered from one and not yet reachable.
pub(crate) fn ready(configs: Vec<Config>) -> Result<Vec<Arc<Org>>, crate::Error> {
    let mut ready = Vec::with_capacity(configs.len().min(MOST));
    for (number, config) in (1..).zip(configs) {
        check_name(&config.name).map_err(|problem| refused(&config.name, problem))?;
        check_place(ready.iter(), &config.name)?;
        ready.push(crate::prepare(config, number)?);
    }
    Ok(ready)
}

/// Whether one more org may stand beside `others`.
fn check_place<'a>(mut others: impl ExactSizeIterator<Item = &'a Arc<Org>>, name: &str) -> Result<(), crate::Error> {
    if others.len() >= MOST {
        return Err(refused(name, format!("there are {MOST} orgs already")));
    }
    if others.any(|other| other.name() == name) {
        return Err(refused(name, "another org has this name".to_owned()));
    }
    Ok(())
}

fn refused(name: &str, problem: String) -> crate::Error {
    crate::Error::Org { name: name.to_owned(), problem }
}

/// All orgs of the process; the first is never taken away.
#[derive(Debug)]
pub(crate) struct Orgs {
    entries: RwLock<Vec<Entry>>,
    /// `http://127.0.0.1:49152`
    base_url: String,
    scheme: &'static str,
    /// Orgs made so far; an org id is never given out twice.
    last: AtomicU64,
}

impl Orgs {
    /// The orgs that [`ready`] has made, at this address.
    pub(crate) fn new(base_url: String, ready: Vec<Arc<Org>>) -> Self {
        let scheme = if base_url.starts_with("https:") { "https" } else { "http" };
        let last = AtomicU64::new(ready.len() as u64);
        let mut entries = Vec::with_capacity(ready.len());
        for org in ready {
            entries.push(Entry::at(&base_url, entries.is_empty(), org));
        }
        Self { entries: RwLock::new(entries), base_url, scheme, last }
    }

    /// Starts an org and puts it beside the others.
    pub(crate) fn add(&self, config: Config) -> Result<OrgHandle, crate::Error> {
        check_name(&config.name).map_err(|problem| refused(&config.name, problem))?;
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let org = crate::prepare(config, number)?;
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        check_place(entries.iter().map(|entry| &entry.org), org.name())?;
        entries.push(Entry::at(&self.base_url, false, Arc::clone(&org)));
        Ok(OrgHandle { org })
    }

    /// Takes an org away and ends what it holds; the first one stays.
    fn remove(&self, name: &str) -> Result<(), String> {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        match entries.iter().position(|entry| entry.org.name() == name) {
            None => Err(format!("there is no org {name}")),
            Some(0) => Err(format!("{name} is the first org, which answers at the root; it stays")),
            Some(place) => {
                let gone = entries.remove(place);
                drop(entries);
                gone.org.end();
                Ok(())
            }
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<OrgHandle> {
        Some(OrgHandle { org: self.named(name)?.org })
    }

    pub(crate) fn all(&self) -> Vec<OrgHandle> {
        self.read().iter().map(|entry| OrgHandle { org: Arc::clone(&entry.org) }).collect()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Vec<Entry>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn named(&self, name: &str) -> Option<Entry> {
        self.read().iter().find(|entry| entry.org.name().eq_ignore_ascii_case(name)).cloned()
    }

    fn first(&self) -> Option<Entry> {
        self.read().first().cloned()
    }

    /// The URL the caller used, without path; our own when the request names no usable host.
    fn asked(&self, request: &Request) -> Asked {
        let named = request.uri().authority().cloned().or_else(|| host_header(request.headers()));
        match named.filter(|authority| !authority.as_str().contains('@')) {
            Some(authority) => {
                let label = first_label(authority.host());
                Asked { url: format!("{}://{authority}", self.scheme), label, authority: Some(authority) }
            }
            None => Asked { url: self.base_url.clone(), label: None, authority: None },
        }
    }
}

/// How the caller wrote our address.
struct Asked {
    url: String,
    /// First label of a host name, lower case; nothing for an IP address.
    label: Option<String>,
    authority: Option<Authority>,
}

impl Asked {
    /// This address with another first label, as `login.my.localhost` becomes `acme.my.localhost`.
    fn with_label(&self, name: &str, scheme: &str) -> Option<String> {
        let (_, rest) = self.authority.as_ref()?.as_str().split_once('.')?;
        Some(format!("{scheme}://{name}.{rest}"))
    }
}

fn prefixed(base: &str, name: &str) -> String {
    format!("{base}{PREFIX}{name}")
}

fn host_header(headers: &HeaderMap) -> Option<Authority> {
    Authority::try_from(headers.get(header::HOST)?.as_bytes()).ok()
}

fn first_label(host: &str) -> Option<String> {
    let numeric = host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok();
    (!numeric).then(|| host.split('.').next().unwrap_or_default().to_ascii_lowercase())
}

/// A My Domain name: letters, digits and hyphens, a letter first (Help, "My Domain", naming rules).
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let body = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let shaped = name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(body) && !name.ends_with('-');
    if !shaped || name.len() > 63 {
        return Err(
            "a name is 1 to 63 lower-case letters, digits and hyphens, begins with a letter and ends with no hyphen"
                .to_owned(),
        );
    }
    if RESERVED.contains(&name) {
        return Err("this name is taken by the simulator itself; choose another".to_owned());
    }
    Ok(())
}

/// Everything the simulator answers.
pub(crate) fn router(orgs: Arc<Orgs>) -> Router {
    // Before the org is chosen, as the body may name it.
    Router::new().fallback(dispatch).layer(RequestDecompressionLayer::new()).with_state(orgs)
}

async fn dispatch(State(orgs): State<Arc<Orgs>>, mut request: Request) -> Response {
    let asked = orgs.asked(&request);
    let path = request.uri().path();
    if let Some(rest) = path.strip_prefix(PREFIX) {
        let name = rest.split('/').next().unwrap_or_default();
        let Some(entry) = orgs.named(name) else { return unknown(&orgs, name) };
        let prefix = PREFIX.len() + name.len();
        if path.len() == prefix {
            return slash(request.uri());
        }
        let instance = prefixed(&asked.url, entry.org.name());
        shorten(&mut request, prefix);
        return ask(&orgs, entry, request, instance.clone(), instance).await;
    }
    if let Some(login) = login::by_prefix(path) {
        let host = format!("{}{}", asked.url, login.prefix());
        shorten(&mut request, login.prefix().len());
        return login::answer(&orgs, login, request, host, &asked.url, None).await;
    }
    if let Some(login) = asked.label.as_deref().and_then(login::by_label) {
        return login::answer(&orgs, login, request, asked.url.clone(), &asked.url, Some(&asked)).await;
    }
    let by_tenant = if path.starts_with(PUB_SUB) { tenant(&orgs, request.headers()) } else { None };
    let by_label = || asked.label.as_deref().and_then(|label| orgs.named(label));
    let Some(entry) = by_tenant.or_else(by_label).or_else(|| orgs.first()) else { return unknown(&orgs, "") };
    ask(&orgs, entry, request, asked.url.clone(), asked.url).await
}

/// The org a Pub/Sub client names in its metadata (Pub/Sub API guide, "Authentication Headers").
fn tenant(orgs: &Orgs, headers: &HeaderMap) -> Option<Entry> {
    let id = crate::ids::RecordId::parse(headers.get("tenantid")?.to_str().ok()?)?;
    orgs.read().iter().find(|entry| entry.org.organization() == id).cloned()
}

/// Lets the org answer.
async fn ask(orgs: &Arc<Orgs>, entry: Entry, mut request: Request, instance: String, host: String) -> Response {
    if request.uri().path() == "/_sim/orgs" || request.uri().path().starts_with("/_sim/orgs/") {
        return admin::answer(orgs, request).await;
    }
    let prefix = host.find("://").and_then(|at| host[at + 3..].find('/').map(|slash| at + 3 + slash));
    let prefix = prefix.map(|at| host[at..].to_owned());
    request.extensions_mut().insert(Arc::new(Reached { instance, host }));
    let mut response = match entry.service.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    // A redirect inside the org leads back through the prefix; a Location beside a new row stays as the org prints it.
    if let Some(prefix) = prefix
        && response.status().is_redirection()
        && let Some(inside) = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok())
        && inside.starts_with('/')
        && let Ok(through) = HeaderValue::from_str(&format!("{prefix}{inside}"))
    {
        response.headers_mut().insert(header::LOCATION, through);
    }
    response
}

/// Takes the first `prefix` bytes off the path.
fn shorten(request: &mut Request, prefix: usize) {
    let rest = request.uri().path_and_query().and_then(|whole| whole.as_str().get(prefix..));
    let Some(Ok(rest)) = rest.map(PathAndQuery::try_from) else { return };
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = Some(rest);
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}

/// `/orgs/acme` is a folder, so that relative links of its page stay inside.
fn slash(uri: &Uri) -> Response {
    let query = uri.query().map_or(String::new(), |query| format!("?{query}"));
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    if let Ok(location) = HeaderValue::from_str(&format!("{}/{query}", uri.path())) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

fn unknown(orgs: &Orgs, name: &str) -> Response {
    let known: Vec<String> = orgs.all().iter().map(|org| org.name().to_owned()).collect();
    let problem = format!("there is no org {name} here; there are: {}", known.join(", "));
    routes::json_response(StatusCode::NOT_FOUND, &json!({ "error": problem }))
}

#[cfg(test)]
mod tests {
    use super::{check_name, first_label};

    #[test]
    fn names_are_those_of_a_host() {
        for good in ["a", "acme", "acme-dev-ed", "acme--uat", "a1"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", "1a", "Acme", "a.b", "a_b", "a-", "-a", "login", "test", "localhost", "é", &"a".repeat(64)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_has_no_label() {
        assert_eq!(first_label("127.0.0.1"), None);
        assert_eq!(first_label("[::1]"), None);
        assert_eq!(first_label("Acme.my.localhost").as_deref(), Some("acme"));
    }
}
