//! How the writers sign in, and the operator who authorises their connection.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answers::may_be_lost;
use super::journal::Span;
use super::requests::Request;
use crate::demo::org::Org;

/// How writers get their tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SignIn {
    /// One sign-in for all: a refresh token that rotates, sealed in Redis and in a file on each machine. The org ends the
    /// connection as soon as a spent one comes back.
    Fleet,
    /// The same, of an org that lets a spent one come back for a minute.
    FleetWithGrace,
    /// Each by itself, with the app's own credentials.
    Own,
}

impl SignIn {
    /// Two of three seeds share a sign-in; of these the even ones have a grace.
    pub(crate) fn of(seed: u64) -> Self {
        if seed.is_multiple_of(3) {
            Self::Own
        } else if seed.is_multiple_of(2) {
            Self::FleetWithGrace
        } else {
            Self::Fleet
        }
    }

    /// Whether there is one for all writers.
    pub(crate) fn is_shared(self) -> bool {
        self != Self::Own
    }

    /// The name under which it is chosen.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fleet => "fleet",
            Self::FleetWithGrace => "fleet-with-grace",
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
/// How long a refresh token that was replaced may come back, where it may: longer than a writer waits before it presents one
/// again of which it does not know whether it is spent. One that comes back later ends the connection.
const GRACE: Duration = Duration::from_mins(1);
/// Writers on one machine.
const ON_A_MACHINE: usize = 2;
const TOKEN_PATH: &str = "/services/oauth2/token";
const CALLBACK: &str = "http://localhost:9/callback";

/// The connection of a fleet.
#[derive(Debug)]
pub(crate) struct Connection {
    how: SignIn,
    /// The grant file of each machine.
    files: Vec<PathBuf>,
    /// How often the operator has authorised it again after the org ended it.
    mended: AtomicUsize,
}

/// What the org's audit says of the connection.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Renewals {
    /// Tokens that were given, refresh tokens exchanged included.
    pub(crate) given: usize,
    /// Spent refresh tokens that came back.
    pub(crate) spent: usize,
    /// Of those, the ones that ended the connection.
    pub(crate) ended: usize,
}

impl Renewals {
    /// What is wrong with them: a spent token may end the connection only where it is all that a writer has, because the
    /// answer that brought its successor was `lost`, so many times in all; where there is a grace, none does.
    pub(crate) fn failure(&self, how: SignIn, lost: usize) -> Option<String> {
        let allowed = if how == SignIn::Fleet { lost } else { 0 };
        (self.ended > allowed).then(|| {
            let Self { ended, .. } = self;
            format!(
                "the org ended the connection {ended} times because a spent refresh token came back, of which {allowed} \
                 can be the fault of a lost answer"
            )
        })
    }
}

/// How many renewals the org carried out whose answers may not have come to the writer.
pub(crate) fn lost_renewals(requests: &[Request], spans: &[Span], deadline_ms: i64) -> usize {
    let renewals = requests.iter().filter(|request| request.path == TOKEN_PATH && request.carried_out());
    renewals.filter(|request| request.writer().is_some() && may_be_lost(request, spans, deadline_ms)).count()
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
        let machines = if how.is_shared() { writers.div_ceil(ON_A_MACHINE) } else { 0 };
        let files = (1..=machines).map(|machine| dir.join(format!("processes/machine-{machine}/grant"))).collect();
        let connection = Self { how, files, mended: AtomicUsize::new(0) };
        if how.is_shared() {
            let grace = if how == SignIn::FleetWithGrace { GRACE } else { Duration::ZERO };
            let policy = json!({
                "auto_approve": true, "refresh_rotation": true, "refresh_reuse_detection": true,
                "refresh_grace_s": grace.as_secs(),
            });
            org.post("settings", &policy).await?;
            let token = authorise(org).await?;
            for file in &connection.files {
                give(file, &token)?;
            }
        }
        Ok(connection)
    }

    /// How the writers sign in.
    pub(crate) fn how(&self) -> SignIn {
        self.how
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
        let count = |action: &str| audit.iter().filter(|entry| entry.action == action).count();
        let (forgiven, ended) = (count("forgiven"), if self.how.is_shared() { count("reuse_detected") } else { 0 });
        let given = count("issued") + count("refreshed") + forgiven;
        Ok(Renewals { given, spent: forgiven + ended, ended })
    }

    /// An operator who looks whether the org has ended the connection, and authorises it anew. Where a fault of the org hits
    /// the operator too, nothing has changed.
    ///
    /// # Errors
    /// The org does not answer.
    pub(crate) async fn mend(&self, org: &Org) -> Result<()> {
        let ended = self.renewals(org).await?.ended;
        if ended > self.mended.load(Ordering::Relaxed) && self.give_anew(org).await.is_ok() {
            self.mended.store(ended, Ordering::Relaxed);
        }
        Ok(())
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
    let answer = client.post(format!("{}{TOKEN_PATH}", org.base_url())).form(&form).send().await?;
    let answer: Value = answer.json().await?;
    let token = answer.get("refresh_token").and_then(Value::as_str);
    token.map(str::to_owned).context("the org gave no refresh token")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::requests::made_by;

    #[test]
    fn a_spent_token_may_end_the_connection_only_without_grace_and_as_often_as_an_answer_was_lost() {
        let ended = |ended| Renewals { given: 9, spent: ended, ended };
        assert_eq!(ended(2).failure(SignIn::Fleet, 2), None);
        assert!(ended(3).failure(SignIn::Fleet, 2).is_some());
        assert!(ended(1).failure(SignIn::FleetWithGrace, 2).is_some());
        assert_eq!(Renewals { ended: 0, ..ended(4) }.failure(SignIn::FleetWithGrace, 0), None);
    }

    #[test]
    fn a_renewal_is_lost_where_the_org_carried_out_a_writers_and_its_answer_was_taken() {
        let renewal = Request { path: TOKEN_PATH.to_owned(), ..made_by(0, 1, &[]) };
        let faulty = |fault: &str| Request { fault: Some(fault.to_owned()), ..renewal.clone() };
        let requests = [
            renewal.clone(),
            faulty("commit_then_drop"),
            faulty("drop_before"),
            Request { from: "127.0.0.1".to_owned(), ..faulty("commit_then_drop") },
            Request { path: "/services/data/v62.0/query".to_owned(), ..faulty("commit_then_drop") },
        ];
        assert_eq!(lost_renewals(&requests, &[], 3_000), 1);
    }
}
