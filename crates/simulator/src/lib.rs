//! A Salesforce org on a port, faithful and breakable on purpose.
//!
//! [`Simulator::start`] gives a running org: [`Simulator::base_url`] for whoever talks to it over HTTP, and
//! [`Simulator::control`] for whoever breaks it. It ends when the handle is dropped.
//!
//! What it answers comes from Salesforce's public guides and from public recordings of real orgs; the README lists
//! each behaviour with its source, and what is not simulated. It shares no code with our Salesforce client, so the
//! two cannot share a mistake.
//!
//! Reading order: [`mod@schema`] says what exists, [`mod@records`] how it is kept, [`mod@transaction`] how it is
//! written, [`mod@routes`] how it is asked for.
//!
//! # Invariants
//!
//! - What the schema does not have is refused, as the org would refuse it; a misspelt field never passes.
//! - A request is written as a whole or not at all, as far as its all-or-none unit reaches; row locks are held until then.
//! - The same seed and the same requests give the same faults.
//! - It depends on nothing of Causeway.

mod api_error;
mod auth_providers;
mod bulk;
mod call;
mod clock;
mod config;
mod connection;
mod control;
mod duplicates;
mod events;
mod faults;
mod form;
mod ids;
mod limits;
mod localised;
mod oauth;
mod org;
mod orgs;
mod permissions;
mod person_accounts;
mod pubsub;
mod records;
mod references;
mod reply;
mod request_log;
mod routes;
mod schema;
mod settings;
mod soql;
mod tls;
mod transaction;
mod validation;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use crate::auth_providers::{AuthProviderStatus, CalloutAnswer};
pub use crate::config::{AuthProvider, Config, ConnectedApp, Problem, SeedRecord, User, read_orgs, read_records};
pub use crate::control::{Control, ControlError};
pub use crate::duplicates::{
    BlankValues, DuplicateAction, DuplicateRule, FilterItem, FilterOperator, KeyField, KeyForm, MatchField,
    MatchMethod, MatchingRule, RuleResponse,
};
pub use crate::events::{PublishedBy, PublishedEvent};
pub use crate::faults::{ArmedFault, Fault, FaultKind};
pub use crate::ids::RecordId;
pub use crate::limits::{Stored, UsageReport};
pub use crate::oauth::audit::{OauthAction, OauthEvent};
pub use crate::oauth::{PASSWORD, USERNAME};
pub use crate::orgs::OrgHandle;
pub use crate::request_log::LoggedRequest;
pub use crate::schema::source::{SchemaError, SchemaSource};
pub use crate::settings::{
    BusinessFields, DuplicateKey, GraphDuplicateBody, GraphErrorStyle, Language, MissingCreate, ObjectPermission,
    PersonContactWrites, PublishBehavior, ReferenceMessage, RefreshPolicy, Reparenting, Settings, UnseenRecord,
};
pub use crate::tls::Tls;

/// Why an org did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be listened on: in use, not ours, or not allowed.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// An org's name cannot be used.
    #[error("org {name}: {problem}")]
    Org {
        /// The name asked for.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A user of the config cannot be one of the org.
    #[error("org {org}: {problem}")]
    User {
        /// Name of the org.
        org: String,
        /// Which user, what is wrong with him, and the remedy.
        problem: String,
    },
    /// A source of the schema cannot be used.
    #[error("schema: {0}")]
    Schema(#[from] SchemaError),
    /// The certificate or its key cannot be used.
    #[error("TLS: {0}")]
    Tls(String),
    /// A duplicate rule of the config names an object or field the org does not have.
    #[error("duplicate rules: {0}")]
    DuplicateRules(ControlError),
    /// A row of the config is refused by the org.
    #[error("seed records: {0}")]
    SeedRecords(ControlError),
    /// A connected app of the config has a public key that cannot be read.
    #[error("connected app: {0}")]
    ConnectedApp(ControlError),
    /// An auth provider of the config has an address or suffix that cannot be used.
    #[error("auth provider: {0}")]
    AuthProvider(ControlError),
}

/// How long an ended stream, or the last answer, may take to get out.
const STALLED: Duration = Duration::from_secs(3);

/// The result of starting an org.
pub type Result<T> = std::result::Result<T, Error>;

/// An org with what its config asks for, not yet reachable.
fn prepare(config: Config, number: u64) -> Result<Arc<org::Org>> {
    if let Some(problem) = config::users::problems(&config.users).into_iter().next() {
        return Err(Error::User { org: config.name, problem });
    }
    let org = Arc::new(org::Org::new(config.clone(), number, schema::Schema::load(&config.schema)?));
    let control = Control::new(Arc::clone(&org));
    control.set_duplicate_rules(&config.duplicate_rules).map_err(Error::DuplicateRules)?;
    for provider in config.auth_providers {
        control.put_auth_provider(provider).map_err(Error::AuthProvider)?;
    }
    for app in config.apps {
        control.register_app(app).map_err(Error::ConnectedApp)?;
    }
    control.plant().map_err(Error::SeedRecords)?;
    Ok(org)
}

/// A running org, or several. Dropping it stops them at once; [`Simulator::shutdown`] lets running requests finish.
#[derive(Debug)]
pub struct Simulator {
    orgs: Arc<orgs::Orgs>,
    base_url: String,
    certificate: Option<String>,
    control: Control,
    stop: CancellationToken,
    server: JoinHandle<()>,
}

impl Simulator {
    /// Starts an org and returns once it answers.
    ///
    /// # Errors
    /// A user cannot be one, the config contradicts the org's schema, or the address cannot be listened on.
    pub async fn start(config: Config) -> Result<Self> {
        Self::start_many(vec![config]).await
    }

    /// Starts several orgs on the address of the first and returns once they answer. The first answers at the root
    /// and under every unknown host name, each at `/orgs/{name}` and at host names that begin with its name.
    ///
    /// # Errors
    /// There is no org, two have one name, a user cannot be one, a config contradicts its schema, or the address cannot
    /// be listened on.
    pub async fn start_many(configs: Vec<Config>) -> Result<Self> {
        let none = || Error::Org { name: String::new(), problem: "at least one org is needed".to_owned() };
        let address = configs.first().ok_or_else(none)?.listen;
        let listen = |source| Error::Listen { address, source };
        let names: Vec<String> = configs.iter().map(|config| config.name.clone()).collect();
        let tls = configs.first().and_then(|config| config.tls.as_ref());
        let tls = tls.map(|tls| tls::ready(tls, &names)).transpose().map_err(Error::Tls)?;
        let (acceptor, certificate) = tls.map_or((None, None), |ready| (Some(ready.acceptor), Some(ready.trust)));
        // The address is taken once nothing else can be wrong.
        let ready = orgs::ready(configs)?;
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let base_url = format!("{scheme}://{}", listener.local_addr().map_err(listen)?);
        let orgs = Arc::new(orgs::Orgs::new(base_url.clone(), ready));
        let control = orgs.all().first().ok_or_else(none)?.control();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let service = orgs::router(Arc::clone(&orgs)).into_make_service_with_connect_info::<connection::Cut>();
        let server = tokio::spawn(async move {
            let serve = axum::serve(connection::CuttableListener::new(listener, acceptor), service)
                .with_graceful_shutdown(stopped.cancelled_owned());
            if let Err(error) = serve.await {
                tracing::error!(%error, "the simulator stopped listening");
            }
        });
        Ok(Self { orgs, base_url, certificate, control, stop, server })
    }

    /// `http://127.0.0.1:49152`, without a slash at the end. It is login host and instance of the first org in one.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// PEM of what a client has to trust when the orgs are served by TLS.
    pub fn certificate(&self) -> Option<&str> {
        self.certificate.as_deref()
    }

    /// Control calls of the first org; clones of it stay good as long as this handle.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// The org with this My Domain name.
    pub fn org(&self, name: &str) -> Option<OrgHandle> {
        self.orgs.get(name)
    }

    /// All orgs, the one at the root first.
    pub fn orgs(&self) -> Vec<OrgHandle> {
        self.orgs.all()
    }

    /// Starts one more org at the same address; `listen` of its config is not used.
    ///
    /// # Errors
    /// Its name is taken or unfit, a user cannot be one, or the config contradicts its schema.
    pub fn add_org(&self, config: Config) -> Result<OrgHandle> {
        self.orgs.add(config)
    }

    /// What an org holds would hold the end.
    fn let_go(&self) {
        for org in self.orgs.all() {
            org.org.end();
        }
    }

    /// Stops listening and waits until running requests are answered and idle connections closed.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        self.let_go();
        let ended = tokio::select! {
            ended = &mut self.server => ended,
            () = stalled(Arc::clone(&self.orgs)) => {
                self.server.abort();
                (&mut self.server).await
            }
        };
        if let Err(error) = ended
            && error.is_panic()
        {
            tracing::error!(%error, "the simulator's server ended in a panic");
        }
    }
}

/// Ends once only clients that read nothing more keep the server: a stream stays open though all were ended, or no
/// request runs and still a connection has something left to send.
async fn stalled(orgs: Arc<orgs::Orgs>) {
    loop {
        tokio::time::sleep(STALLED).await;
        let all = orgs.all();
        if all.iter().any(|org| org.org.streams.is_stalled()) || all.iter().all(|org| org.org.usage().running() == 0) {
            return;
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop.cancel();
        self.let_go();
        self.server.abort();
    }
}
