//! How the writers sign in, and the operator who authorises their connection.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::demo::org::Org;

/// How writers get their tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SignIn {
    /// One sign-in for all: a refresh token that rotates, sealed in Redis and in a file on each machine.
    Fleet,
    /// Each by itself, with the app's own credentials.
    Own,
}

impl SignIn {
    /// Two of three seeds share a sign-in.
    pub(crate) fn of(seed: u64) -> Self {
        if seed.is_multiple_of(3) { Self::Own } else { Self::Fleet }
    }

    /// The name under which it is chosen.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fleet => "fleet",
            Self::Own => "own",
        }
    }
}

const CLIENT_ID: &str = "causeway-dev";
const CLIENT_SECRET: &str = "causeway-dev-secret";
/// Any 32 bytes.
const KEY: &str = "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=";
/// A renewal that a killed writer began holds the others back for so long.
const LEASE: &str = "2s";
/// How long a refresh token that was replaced may come back: longer than a writer waits before it presents one again of
/// which it does not know whether it is spent. One that comes back later ends the connection.
const GRACE: Duration = Duration::from_mins(1);
/// Writers on one machine.
const ON_A_MACHINE: usize = 2;
const CALLBACK: &str = "http://localhost:9/callback";

/// The connection of a fleet.
#[derive(Debug)]
pub(crate) struct Connection {
    how: SignIn,
    /// The grant file of each machine.
    files: Vec<PathBuf>,
}

/// What the org's audit says of the connection.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Renewals {
    /// Tokens that were given, refresh tokens exchanged included.
    pub(crate) given: usize,
    /// Connections that ended because a spent refresh token came back.
    pub(crate) revoked: usize,
}

#[derive(Deserialize)]
struct AuditEntry {
    action: String,
}

impl Connection {
    /// Prepares the org, and where there is one sign-in for all, a file with the same refresh token on each machine.
    ///
    /// # Errors
    /// The org refuses, or a file cannot be written.
    pub(crate) async fn set(how: SignIn, org: &Org, dir: &Path, writers: usize) -> Result<Self> {
        let machines = if how == SignIn::Fleet { writers.div_ceil(ON_A_MACHINE) } else { 0 };
        let files = (1..=machines).map(|machine| dir.join(format!("processes/machine-{machine}/grant"))).collect();
        let connection = Self { how, files };
        if how == SignIn::Fleet {
            let policy = json!({
                "auto_approve": true, "refresh_rotation": true, "refresh_reuse_detection": true,
                "refresh_grace_s": GRACE.as_secs(),
            });
            org.post("settings", &policy).await?;
            let token = authorise(org).await?;
            for file in &connection.files {
                give(file, &token)?;
            }
        }
        Ok(connection)
    }

    /// The settings of a writer.
    pub(crate) fn settings(&self, writer: usize) -> Vec<(&'static str, String)> {
        let mut settings = vec![
            ("CAUSEWAY_SALESFORCE_CLIENT_ID", CLIENT_ID.to_owned()),
            ("CAUSEWAY_SALESFORCE_CLIENT_SECRET", CLIENT_SECRET.to_owned()),
        ];
        if let Some(file) = self.files.get(writer / ON_A_MACHINE) {
            settings.extend([
                ("CAUSEWAY_SALESFORCE_AUTH", "refresh-token".to_owned()),
                ("CAUSEWAY_SALESFORCE_GRANT_FILE", file.display().to_string()),
                ("CAUSEWAY_SALESFORCE_TOKEN_KEY", KEY.to_owned()),
                ("CAUSEWAY_SALESFORCE_TOKEN_LEASE", LEASE.to_owned()),
            ]);
        }
        settings
    }

    /// An operator authorises the connection anew, and puts the token on one machine.
    ///
    /// # Errors
    /// The org refuses, or the file cannot be written.
    pub(crate) async fn give_anew(&self, org: &Org) -> Result<()> {
        let Some(file) = self.files.last() else { return Ok(()) };
        give(file, &authorise(org).await?)
    }

    /// What the org counted.
    ///
    /// # Errors
    /// The org does not answer.
    pub(crate) async fn renewals(&self, org: &Org) -> Result<Renewals> {
        let audit: Vec<AuditEntry> = org.get("oauth/audit").await?;
        let count = |actions: &[&str]| audit.iter().filter(|entry| actions.contains(&entry.action.as_str())).count();
        let given = count(&["issued", "refreshed"]);
        Ok(Renewals { given, revoked: if self.how == SignIn::Fleet { count(&["reuse_detected"]) } else { 0 } })
    }
}

/// Puts a refresh token into a file, whole.
fn give(file: &Path, token: &str) -> Result<()> {
    let folder = file.parent().context("a folder for the grant")?;
    let new = file.with_extension("given");
    let given = std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&new, token))
        .and_then(|()| std::fs::rename(&new, file));
    given.with_context(|| format!("cannot write {}", file.display()))
}

/// What an operator does with a browser; gives the refresh token.
async fn authorise(org: &Org) -> Result<String> {
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build()?;
    let query = [
        ("response_type", "code"),
        ("client_id", CLIENT_ID),
        ("redirect_uri", CALLBACK),
        ("scope", "api refresh_token"),
    ];
    let asked = client.get(format!("{}/services/oauth2/authorize", org.base_url())).query(&query).send().await?;
    let location = asked.headers().get(reqwest::header::LOCATION).context("the org sends nobody back")?;
    let location = reqwest::Url::parse(location.to_str()?)?;
    let code = location.query_pairs().find(|(name, _)| name == "code").context("the org gave no code")?;
    let form = [
        ("grant_type", "authorization_code"),
        ("code", &code.1),
        ("client_id", CLIENT_ID),
        ("client_secret", CLIENT_SECRET),
        ("redirect_uri", CALLBACK),
    ];
    let answer = client.post(format!("{}/services/oauth2/token", org.base_url())).form(&form).send().await?;
    let answer: Value = answer.json().await?;
    let token = answer.get("refresh_token").and_then(Value::as_str);
    token.map(str::to_owned).context("the org gave no refresh token")
}
