//! The running simulator, and its control plane.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::{Certificate, Client};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::job::Job;
use super::plan::Scenario;

/// How long it may take until it is ready.
const START: Duration = Duration::from_secs(30);
/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(30);
/// How long it may take to end after SIGTERM.
const STOP: Duration = Duration::from_secs(5);

/// The program `causeway-simulator`, on a port of its own.
#[derive(Debug)]
pub(crate) struct Org {
    base_url: String,
    authority: Option<PathBuf>,
    public_key: String,
    client: Client,
    job: Job,
}

/// What it says when it is ready.
#[derive(Debug, Clone, Deserialize)]
struct Ready {
    base_url: String,
}

impl Org {
    /// Starts it and waits until it is ready. With an authority it speaks TLS, and writes into that file whom to trust.
    ///
    /// # Errors
    /// It ends or is not ready in time; its log has the reason.
    pub(crate) async fn start(
        program: &Path,
        public_key: String,
        authority: Option<PathBuf>,
        log: &Path,
    ) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["--listen", "127.0.0.1:0"]);
        if let Some(authority) = &authority {
            command.args(["--tls", "--tls-cert-out"]).arg(authority);
        }
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("CAUSEWAY_") {
                command.env_remove(variable);
            }
        }
        let stderr = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut job = Job::start(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr))?;
        let stdout = job.child.stdout.take().context("the simulator has no output")?;
        let mut line = String::new();
        let read = tokio::time::timeout(START, BufReader::new(stdout).read_line(&mut line)).await;
        read.context("the simulator is not ready in time")??;
        let ready: Ready =
            serde_json::from_str(&line).with_context(|| format!("the simulator ended; see {}", log.display()))?;
        let mut client = Client::builder().no_proxy().timeout(ANSWER);
        if let Some(authority) = &authority {
            let pem = fs::read(authority).with_context(|| format!("cannot read {}", authority.display()))?;
            client = client.add_root_certificate(Certificate::from_pem(&pem)?);
        }
        Ok(Self { base_url: ready.base_url, authority, public_key, client: client.build()?, job })
    }

    /// Tells a client where it is and, with TLS, whom to trust.
    pub(crate) fn tell(&self, command: &mut Command) {
        command.env("CONFORMANCE_URL", &self.base_url);
        if let Some(authority) = &self.authority {
            // Node, Python's requests, and what reads the system's roots through OpenSSL's variable.
            for variable in ["NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"] {
                command.env(variable, authority);
            }
        }
    }

    /// Where it is.
    pub(crate) fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Back to the start, with the app's key and what the scenario wants.
    ///
    /// # Errors
    /// The org refuses; the list is wrong then.
    pub(crate) async fn prepare(&self, scenario: &Scenario) -> Result<()> {
        self.reset().await?;
        let app = json!({
            "client_id": "causeway-dev", "client_secret": "causeway-dev-secret", "public_key_pem": self.public_key,
            "run_as": "integration@causeway.test", "preauthorized_users": ["integration@causeway.test"],
        });
        self.post("apps", &app).await?;
        for step in &scenario.prepare {
            self.post(&step.post, &step.body).await?;
        }
        Ok(())
    }

    /// Back to the start.
    ///
    /// # Errors
    /// The org does not answer.
    pub(crate) async fn reset(&self) -> Result<()> {
        self.post("reset", &json!({})).await
    }

    /// Ends it in good order.
    pub(crate) async fn stop(self) {
        self.job.stop(STOP).await;
    }

    async fn post(&self, path: &str, body: &Value) -> Result<()> {
        let answer = self.client.post(format!("{}/_sim/{path}", self.base_url)).json(body).send().await;
        let answer = answer.with_context(|| format!("the org does not answer /_sim/{path}"))?;
        let status = answer.status();
        ensure!(status.is_success(), "/_sim/{path} answers {status}: {}", answer.text().await.unwrap_or_default());
        Ok(())
    }
}
