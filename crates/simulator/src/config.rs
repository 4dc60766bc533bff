//! How an org starts.

pub(crate) mod apps;
pub(crate) mod auth_providers;
mod file;
mod seed_records;
pub(crate) mod users;

use std::net::SocketAddr;

use crate::duplicates::DuplicateRule;
use crate::schema::source::SchemaSource;
use crate::settings::Settings;
use crate::tls::Tls;

pub use apps::ConnectedApp;
pub use auth_providers::AuthProvider;
pub(crate) use file::org_from_json;
pub use file::{Problem, read_orgs};
pub use seed_records::{SeedRecord, read as read_records};
pub use users::User;

/// What [`crate::Simulator::start`] needs. The default suits tests: a free port, no latency, no rules.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Seed of jitter and of faults with a probability.
    pub seed: u64,
    /// Settings at start and after a reset.
    pub settings: Settings,
    /// Duplicate rules at start and after a reset.
    pub duplicate_rules: Vec<DuplicateRule>,
    /// Connected apps that may ask for tokens.
    pub apps: Vec<ConnectedApp>,
    /// Users who may sign in; the first one owns what is seeded.
    pub users: Vec<User>,
    /// Servers that the org signs in at, as their OAuth client.
    pub auth_providers: Vec<AuthProvider>,
    /// My Domain name: first label of the org's host name, and its path prefix `/orgs/{name}`.
    pub name: String,
    /// Serve https; `None` serves http.
    pub tls: Option<Tls>,
    /// Rows at start and after a reset, in this order.
    pub records: Vec<SeedRecord>,
    /// A sandbox signs in at the login host `test`, other orgs at `login`.
    pub sandbox: bool,
    /// Objects, fields and rules beyond those every org has; a later source has the last word.
    pub schema: Vec<SchemaSource>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            seed: 0,
            settings: Settings::default(),
            duplicate_rules: Vec::new(),
            apps: vec![ConnectedApp::development()],
            users: vec![User::integration()],
            auth_providers: Vec::new(),
            name: "causeway".to_owned(),
            tls: None,
            records: Vec::new(),
            sandbox: false,
            schema: Vec::new(),
        }
    }
}
