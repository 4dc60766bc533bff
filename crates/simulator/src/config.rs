//! How an org starts.

mod file;
mod seed_records;

use std::net::SocketAddr;

use crate::duplicates::DuplicateRule;
use crate::schema::source::SchemaSource;
use crate::settings::Settings;
use crate::tls::Tls;

pub(crate) use file::org_from_json;
pub use file::{Problem, read_orgs};
pub use seed_records::{SeedRecord, read as read_records};

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
            name: "causeway".to_owned(),
            tls: None,
            records: Vec::new(),
            sandbox: false,
            schema: Vec::new(),
        }
    }
}

/// An app registered in the org.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectedApp {
    /// Consumer key.
    pub client_id: String,
    /// Consumer secret.
    pub client_secret: String,
    /// RSA public key in PEM; JWT bearer assertions are checked against it.
    #[serde(default)]
    pub public_key_pem: Option<String>,
    /// Allowed callbacks; empty allows any, as a development app may.
    #[serde(default)]
    pub redirect_uris: Vec<String>,
    /// Whether the authorize request must carry a PKCE challenge.
    #[serde(default)]
    pub pkce_required: bool,
}

impl ConnectedApp {
    /// The built-in app `causeway-dev` with the secret `causeway-dev-secret`.
    pub fn development() -> Self {
        Self {
            client_id: "causeway-dev".to_owned(),
            client_secret: "causeway-dev-secret".to_owned(),
            public_key_pem: None,
            redirect_uris: Vec::new(),
            pkce_required: false,
        }
    }
}
