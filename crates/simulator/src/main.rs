//! The process: settings, one line on stdout when ready, a clean end.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;

use causeway_simulator::{Config, DuplicateRule, PublishBehavior, RuleResponse, SchemaSource, Settings, Simulator};
use clap::{CommandFactory as _, FromArgMatches as _, Parser};

/// Settings were understood but cannot be used.
const BAD_SETTINGS: u8 = 78;
/// The command line was not understood.
const USAGE: u8 = 64;

/// A Salesforce org on a port, faithful and breakable on purpose.
///
/// When it is ready it prints one JSON line with its `base_url`. The connected app is causeway-dev with the secret
/// causeway-dev-secret, the user integration@causeway.test with the password causeway. A page for people is at /,
/// the control plane under /_sim/ (described at /_sim/openapi.json). Rows live in memory until the program ends.
#[derive(Debug, Parser)]
#[command(
    name = "causeway-simulator",
    version,
    after_help = "Exit codes: 0 ok, 1 failed, 64 usage, 78 an address that cannot be listened on, or a schema that cannot be used."
)]
struct Arguments {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, env = "CAUSEWAY_SIMULATOR_LISTEN", default_value = "127.0.0.1:8090", value_name = "ADDR")]
    listen: SocketAddr,
    /// The `instance_url` that token answers name, when callers reach this org by another address than the one it listens on.
    #[arg(long, env = "CAUSEWAY_SIMULATOR_INSTANCE_URL", value_name = "URL")]
    instance_url: Option<String>,
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
    fn config(&self) -> Config {
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
                PublishBehavior::AfterCommit
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
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("causeway-simulator: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(run(&arguments))
}

/// Reads the command line; help shows no values of the environment, as that of the other programs.
fn parse() -> Result<Arguments, clap::Error> {
    let mut command = Arguments::command().mut_args(|argument| argument.hide_env_values(true));
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
    let simulator = match Simulator::start(arguments.config()).await {
        Ok(simulator) => simulator,
        Err(error) => {
            eprintln!("causeway-simulator: {error}");
            return ExitCode::from(BAD_SETTINGS);
        }
    };
    let ready = serde_json::json!({ "base_url": simulator.base_url() });
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
