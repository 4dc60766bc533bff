//! The process: settings, one line on stdout when ready, a clean end.

use std::io::{IsTerminal as _, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use causeway_simulator::{
    Config, DuplicateRule, PublishBehavior, RuleResponse, SchemaSource, Settings, Simulator, Tls, read_orgs,
    read_records,
};
use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use tracing_subscriber::EnvFilter;

/// Settings were understood but cannot be used.
const BAD_SETTINGS: u8 = 78;
/// The command line was not understood.
const USAGE: u8 = 64;

const AFTER_HELP: &str = "\
Every flag is also the variable shown beside it; a list is separated by commas.
Warnings and errors are logged on standard error; --log or CAUSEWAY_LOG shows more or less.

Examples:
  causeway-simulator
      One org at http://127.0.0.1:8090, without latency, without duplicate rules.
  causeway-simulator --latency-ms 40 --latency-per-row-ms 15 --duplicate-rules alert
      An org as slow as a real one that minds duplicates.
  causeway-simulator --org acme --org acme--uat --sandbox acme--uat
      Two orgs: the first at / and http://acme.localhost:8090, the second at /orgs/acme--uat/ and at
      http://acme--uat.localhost:8090. Login hosts: /login and /test, login.localhost and test.localhost.
  causeway-simulator --config orgs.toml
      Orgs from a file; orgs.example.toml in the crate documents its keys.
  causeway-simulator --listen 127.0.0.1:8443 --tls --tls-cert-out ca.pem
      https; clients trust ca.pem (curl --cacert, NODE_EXTRA_CA_CERTS, REQUESTS_CA_BUNDLE).

Exit codes: 0 ok, 1 failed, 64 usage, 78 an address, file or setting that cannot be used.";

/// A Salesforce org on a port, faithful and breakable on purpose.
///
/// When it is ready it prints one JSON line with its `base_url`, with TLS the `certificate` to trust, and with several
/// orgs their list. The connected app is causeway-dev with the secret causeway-dev-secret, the user
/// integration@causeway.test with the password causeway. A page for people is at /, the control plane under /_sim/
/// (described at /_sim/openapi.json). Rows live in memory until the program ends; SIGTERM and SIGINT end it.
#[derive(Debug, Parser)]
#[command(
    name = "causeway-simulator",
    version,
    after_help = AFTER_HELP
)]
struct Arguments {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, env = "CAUSEWAY_SIMULATOR_LISTEN", default_value = "127.0.0.1:8090", value_name = "ADDR")]
    listen: SocketAddr,
    /// The `instance_url` that token answers name, when callers reach this org by another address than the one it listens on.
    #[arg(long, env = "CAUSEWAY_SIMULATOR_INSTANCE_URL", value_name = "URL")]
    instance_url: Option<String>,
    /// Serve https with a certificate made at start.
    #[arg(long, env = "CAUSEWAY_SIMULATOR_TLS")]
    tls: bool,
    /// One more host name or address that the made certificate holds for, beside localhost and its sub-domains.
    #[arg(long, env = "CAUSEWAY_SIMULATOR_TLS_NAME", value_name = "NAME", value_delimiter = ',', requires = "tls")]
    tls_name: Vec<String>,
    /// Serve https with this certificate (PEM, followed by those that lead to its root).
    #[arg(
        long,
        env = "CAUSEWAY_SIMULATOR_TLS_CERT",
        value_name = "FILE",
        requires = "tls_key",
        conflicts_with = "tls_name"
    )]
    tls_cert: Option<PathBuf>,
    /// Private key of that certificate (PEM).
    #[arg(long, env = "CAUSEWAY_SIMULATOR_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Where to write the certificate that clients have to trust; a temporary file if absent.
    #[arg(long, env = "CAUSEWAY_SIMULATOR_TLS_CERT_OUT", value_name = "FILE")]
    tls_cert_out: Option<PathBuf>,
    /// My Domain name of an org; the first one answers at the root. One org, causeway, if absent.
    #[arg(long, env = "CAUSEWAY_SIMULATOR_ORG", value_name = "NAME", value_delimiter = ',')]
    org: Vec<String>,
    /// Which of the orgs are sandboxes: they sign in at the login host test instead of login.
    #[arg(long, env = "CAUSEWAY_SIMULATOR_SANDBOX", value_name = "NAME", value_delimiter = ',')]
    sandbox: Vec<String>,
    /// Take the orgs from this TOML file; what it leaves out they have from the command line.
    #[arg(long, env = "CAUSEWAY_SIMULATOR_CONFIG", value_name = "FILE", conflicts_with = "org")]
    config: Option<PathBuf>,
    /// Rows each org starts with: JSON in the form of sObject Tree, or lists under the names of their objects.
    #[arg(long, env = "CAUSEWAY_SIMULATOR_SEED_RECORDS", value_name = "FILE", value_delimiter = ',')]
    seed_records: Vec<PathBuf>,
    /// Seed of jitter and of faults with a probability.
    #[arg(long, env = "CAUSEWAY_SIMULATOR_SEED", default_value_t = 0, value_name = "NUMBER")]
    seed: u64,
    /// Milliseconds each API request waits before it is worked on.
    #[arg(long, env = "CAUSEWAY_SIMULATOR_LATENCY_MS", default_value_t = 0, value_name = "MS")]
    latency_ms: u64,
    /// Milliseconds each written row takes, with its row locks held.
    #[arg(long, env = "CAUSEWAY_SIMULATOR_LATENCY_PER_ROW_MS", default_value_t = 0, value_name = "MS")]
    latency_per_row_ms: u64,
    /// Upper bound of the random milliseconds added to each API request.
    #[arg(long, env = "CAUSEWAY_SIMULATOR_LATENCY_JITTER_MS", default_value_t = 0, value_name = "MS")]
    latency_jitter_ms: u64,
    /// Virtual seconds in a real second: latency, lock waits and windows pass faster with more; 0 stops the clock.
    #[arg(long, env = "CAUSEWAY_SIMULATOR_PACE", default_value_t = 1.0, value_parser = pace, value_name = "FACTOR")]
    pace: f64,
    /// API calls allowed in a rolling 24 hours.
    #[arg(long, env = "CAUSEWAY_SIMULATOR_API_LIMIT", default_value_t = 100_000, value_name = "CALLS")]
    api_limit: u64,
    /// Platform events that may be published in a rolling hour.
    #[arg(long, env = "CAUSEWAY_SIMULATOR_EVENT_LIMIT", default_value_t = 250_000, value_name = "EVENTS")]
    event_limit: u64,
    /// Turn State and Country/Territory picklists on.
    #[arg(long, env = "CAUSEWAY_SIMULATOR_STATE_COUNTRY_PICKLISTS")]
    state_country_picklists: bool,
    /// An org without person accounts.
    #[arg(long, env = "CAUSEWAY_SIMULATOR_NO_PERSON_ACCOUNTS")]
    no_person_accounts: bool,
    /// Publish events at the call, not with the commit.
    #[arg(long, env = "CAUSEWAY_SIMULATOR_PUBLISH_IMMEDIATELY")]
    publish_immediately: bool,
    /// Hand out a new refresh token with each refresh.
    #[arg(long, env = "CAUSEWAY_SIMULATOR_REFRESH_ROTATION")]
    refresh_rotation: bool,
    /// Activate the standard duplicate rules for person accounts, accounts and contacts.
    #[arg(long, env = "CAUSEWAY_SIMULATOR_DUPLICATE_RULES", value_enum, default_value = "none", value_name = "ACTION")]
    duplicate_rules: Rules,
    /// Objects, fields and rules from a .toml file, or from Salesforce source-format metadata (a file, or a folder such
    /// as force-app); NAMESPACE= puts custom names without a namespace into one. May be given several times.
    #[arg(
        long,
        env = "CAUSEWAY_SIMULATOR_SCHEMA",
        value_name = "[NAMESPACE=]PATH",
        value_delimiter = ',',
        action = clap::ArgAction::Append
    )]
    schema: Vec<SchemaSource>,
    /// What is logged on standard error: a level (error, warn, info, debug, trace), or levels by module as in
    /// `warn,causeway_simulator=debug`.
    #[arg(long, env = "CAUSEWAY_LOG", default_value = "warn", value_name = "FILTER")]
    log: String,
    /// How it is logged; `auto` is JSON unless standard error is a terminal.
    #[arg(long, env = "CAUSEWAY_LOG_FORMAT", default_value = "auto", value_name = "FORMAT")]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum LogFormat {
    Auto,
    Json,
    Pretty,
}

fn pace(text: &str) -> Result<f64, String> {
    let pace: f64 = text.parse().map_err(|_| "expected a number".to_owned())?;
    Settings::default().merged(&serde_json::json!({ "pace": pace })).map(|settings| settings.pace)
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Rules {
    /// No rule is active.
    None,
    /// Duplicates are refused.
    Block,
    /// Duplicates are refused until the caller insists.
    Alert,
}

impl Arguments {
    /// The orgs asked for, or all that is wrong.
    fn orgs(&self) -> Result<Vec<Config>, Vec<String>> {
        let mut problems = Vec::new();
        let mut base = self.base();
        base.tls = self.tls(&mut problems);
        let mut orgs = match &self.config {
            Some(file) => read_orgs(file, &base).unwrap_or_else(|found| {
                problems.extend(found.iter().map(ToString::to_string));
                Vec::new()
            }),
            None if self.org.is_empty() => vec![base.clone()],
            None => self.org.iter().map(|name| Config { name: name.clone(), ..base.clone() }).collect(),
        };
        for file in &self.seed_records {
            match read_records(file) {
                Ok(records) => orgs.iter_mut().for_each(|org| org.records.extend(records.iter().cloned())),
                Err(problem) => problems.push(problem.to_string()),
            }
        }
        for name in &self.sandbox {
            match orgs.iter_mut().find(|org| org.name == *name) {
                Some(org) => org.sandbox = true,
                None => problems.push(format!("--sandbox {name}: there is no such org; name one of the orgs")),
            }
        }
        if let Some(url) = &self.instance_url {
            // It is the address of the first; the others are below it, as they are below the listening address.
            for org in orgs.iter_mut().skip(1).filter(|org| org.settings.instance_url.as_ref() == Some(url)) {
                org.settings.instance_url = Some(format!("{}/orgs/{}", url.trim_end_matches('/'), org.name));
            }
        }
        if problems.is_empty() { Ok(orgs) } else { Err(problems) }
    }

    fn tls(&self, problems: &mut Vec<String>) -> Option<Tls> {
        if let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) {
            let mut read = |flag: &str, file: &PathBuf| {
                std::fs::read_to_string(file).unwrap_or_else(|error| {
                    problems.push(format!("{flag} {}: cannot be read: {error}; give a PEM file", file.display()));
                    String::new()
                })
            };
            let (certificate, key) = (read("--tls-cert", certificate), read("--tls-key", key));
            return Some(Tls::Given { certificate, key });
        }
        if !self.tls && self.tls_cert_out.is_some() {
            problems.push("--tls-cert-out: there is no certificate without TLS; add --tls".to_owned());
        }
        self.tls.then(|| Tls::Made { names: self.tls_name.clone() })
    }

    /// Where clients find what to trust, and the temporary file that holds it, if one does.
    fn publish(&self, certificate: &str) -> Result<(PathBuf, Option<tempfile::NamedTempFile>), String> {
        let said = |path: &std::path::Path, error: std::io::Error| {
            format!("the certificate cannot be written to {}: {error}", path.display())
        };
        match (&self.tls_cert_out, &self.tls_cert) {
            (Some(out), _) => {
                std::fs::write(out, certificate).map_err(|error| said(out, error))?;
                Ok((std::path::absolute(out).unwrap_or_else(|_| out.clone()), None))
            }
            (None, Some(own)) => Ok((std::path::absolute(own).unwrap_or_else(|_| own.clone()), None)),
            (None, None) => {
                let folder = std::env::temp_dir();
                let mut file = tempfile::Builder::new()
                    .prefix("causeway-simulator-")
                    .suffix(".pem")
                    .tempfile()
                    .map_err(|error| said(&folder, error))?;
                file.write_all(certificate.as_bytes()).map_err(|error| said(file.path(), error))?;
                Ok((file.path().to_owned(), Some(file)))
            }
        }
    }

    /// What the flags say of every org.
    fn base(&self) -> Config {
        let response = match self.duplicate_rules {
            Rules::None => None,
            Rules::Block => Some(RuleResponse::BLOCK),
            Rules::Alert => Some(RuleResponse::ALERT),
        };
        let settings = Settings {
            pace: self.pace,
            latency_ms: self.latency_ms,
            latency_per_row_ms: self.latency_per_row_ms,
            latency_jitter_ms: self.latency_jitter_ms,
            api_limit: self.api_limit,
            event_hourly_limit: self.event_limit,
            state_country_picklists: self.state_country_picklists,
            person_accounts: !self.no_person_accounts,
            publish_behavior: if self.publish_immediately {
                PublishBehavior::Immediately
            } else {
                Settings::default().publish_behavior
            },
            refresh_rotation: self.refresh_rotation,
            instance_url: self.instance_url.clone(),
            ..Settings::default()
        };
        let duplicate_rules = response.map_or_else(Vec::new, |response| {
            vec![
                DuplicateRule::standard_person_account(response),
                DuplicateRule::standard_account(response),
                DuplicateRule::standard_contact(response),
            ]
        });
        Config {
            listen: self.listen,
            seed: self.seed,
            settings,
            duplicate_rules,
            schema: self.schema.clone(),
            ..Config::default()
        }
    }
}

fn main() -> ExitCode {
    let arguments = match parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let asked = !error.use_stderr();
            // Without a stream to print to, the exit code is all that is left to say.
            let _ = error.print();
            return if asked { ExitCode::SUCCESS } else { ExitCode::from(USAGE) };
        }
    };
    if let Err(problem) = start_log(&arguments.log, arguments.log_format) {
        eprintln!("causeway-simulator: {problem}");
        return ExitCode::from(BAD_SETTINGS);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("causeway-simulator: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(run(&arguments))
}

/// From now on, what `filter` lets through appears on standard error. Ready line and problems are printed without it.
fn start_log(filter: &str, format: LogFormat) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        format!(
            "CAUSEWAY_LOG: {filter:?} is no filter ({error}); write a level (error, warn, info, debug, trace), or \
             levels by module: warn,causeway_simulator=debug"
        )
    })?;
    let terminal = std::io::stderr().is_terminal();
    let json = match format {
        LogFormat::Auto => !terminal,
        LogFormat::Json => true,
        LogFormat::Pretty => false,
    };
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if json {
        logs.json().flatten_event(true).init();
    } else {
        logs.with_ansi(terminal).init();
    }
    Ok(())
}

/// Reads the command line; help shows no values of the environment, as that of the other programs.
fn parse() -> Result<Arguments, clap::Error> {
    let mut command = Arguments::command().mut_args(|argument| {
        let heading = match argument.get_id().as_str() {
            "listen" | "instance_url" => "Address",
            id if id.starts_with("tls") => "TLS",
            "org" | "sandbox" | "config" | "seed_records" | "schema" => "Orgs and what they hold",
            "seed" | "pace" => "Time and chance",
            "log" | "log_format" => "Operation",
            id if id.starts_with("latency") => "Time and chance",
            "help" | "version" => return argument,
            _ => "How the orgs behave",
        };
        argument.hide_env_values(true).help_heading(heading)
    });
    let matches = command.try_get_matches_from_mut(std::env::args_os())?;
    Arguments::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

async fn run(arguments: &Arguments) -> ExitCode {
    // Signals are caught before anyone is told the org is ready.
    let (mut terminate, mut interrupt) = match signals() {
        Ok(signals) => signals,
        Err(error) => {
            eprintln!("causeway-simulator: cannot listen for signals: {error}");
            return ExitCode::FAILURE;
        }
    };
    let started = match arguments.orgs() {
        Ok(orgs) => Simulator::start_many(orgs).await.map_err(|error| vec![error.to_string()]),
        Err(problems) => Err(problems),
    };
    let published = started.and_then(|simulator| {
        let published = simulator.certificate().map(|pem| arguments.publish(pem)).transpose();
        published.map(|published| (simulator, published)).map_err(|problem| vec![problem])
    });
    // The temporary file lives as long as the certificate is good for anything.
    let (simulator, certificate) = match published {
        Ok(running) => running,
        Err(problems) => {
            for problem in problems {
                eprintln!("causeway-simulator: {problem}");
            }
            return ExitCode::from(BAD_SETTINGS);
        }
    };
    let mut ready = serde_json::json!({ "base_url": simulator.base_url() });
    if let Some((path, _)) = &certificate {
        ready["certificate"] = path.display().to_string().into();
    }
    let orgs = simulator.orgs();
    if orgs.len() > 1 {
        let list = orgs.iter().map(|org| serde_json::json!({ "name": org.name(), "base_url": org.base_url() }));
        ready["orgs"] = list.collect();
    }
    let mut out = std::io::stdout();
    if writeln!(out, "{ready}").and_then(|()| out.flush()).is_err() {
        eprintln!("causeway-simulator: listening at {}", simulator.base_url());
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    // Requests that run are answered; a second signal, or a patient client's open connection, ends the wait.
    tokio::select! {
        () = simulator.shutdown() => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = tokio::time::sleep(std::time::Duration::from_secs(10)) => {}
    }
    ExitCode::SUCCESS
}

fn signals() -> std::io::Result<(tokio::signal::unix::Signal, tokio::signal::unix::Signal)> {
    use tokio::signal::unix::{SignalKind, signal};
    Ok((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
}
