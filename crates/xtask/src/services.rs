//! `cargo xtask services`: private RabbitMQ and Redis nodes.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use testkit::services::Standing;
use tokio::process::Command;

use crate::child;

/// Start and stop private RabbitMQ and Redis nodes.
///
/// Free ports on 127.0.0.1, data below `target/services`.
#[derive(Debug, Subcommand)]
pub(crate) enum Services {
    /// Start both and leave them running; prints their addresses as lines for a shell.
    ///
    /// Use it as `export $(cargo xtask services up)`. Nodes that already run are found again.
    Up,
    /// Stop what `up` started, and remove its data.
    Down,
    /// Run a command with both services; they end when it ends.
    ///
    /// `CAUSEWAY_AMQP_URL` and `CAUSEWAY_REDIS_URL` are set for the command. The exit code is the command's own.
    Run(Run),
}

/// The command to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// The command and its arguments, after `--`.
    #[arg(required = true, last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

impl Services {
    pub(crate) async fn run(self) -> Result<ExitCode> {
        match self {
            Self::Up => {
                let standing = Standing::up(&root()).await?;
                eprintln!("services {}", if standing.found { "are running already" } else { "started" });
                print!("{}", standing.lines());
                Ok(ExitCode::SUCCESS)
            }
            Self::Down => {
                let ended = Standing::down(&root());
                eprintln!("{}", if ended == 0 { "no services were running" } else { "services stopped" });
                Ok(ExitCode::SUCCESS)
            }
            Self::Run(Run { command }) => {
                let mut words = command.into_iter();
                let program = words.next().unwrap_or_default();
                let mut command = Command::new(program);
                command.args(words);
                run(command).await
            }
        }
    }
}

/// Runs a command with private services, which end when it does. Gives its exit code.
///
/// A signal that arrives while they start ends them as well.
pub(crate) async fn run(mut command: Command) -> Result<ExitCode> {
    let mut signals = child::Signals::listen()?;
    let root = root();
    let services = tokio::select! {
        services = testkit::Services::start(&root) => services?,
        signal = signals.next() => return Ok(signal.exit_code()),
    };
    command.env(testkit::AMQP_URL, services.amqp_url()).env(testkit::REDIS_URL, services.redis_url());
    child::run(command, &mut signals).await
}

/// Below the build's folder, so that `cargo clean` removes it and no repository sees it.
pub(crate) fn root() -> PathBuf {
    crate::target().join("services")
}
