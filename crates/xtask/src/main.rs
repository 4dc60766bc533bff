//! The tasks of this project: `cargo xtask <TASK>`. One file per task; the `Makefile` is the menu.
//!
//! # Invariants
//!
//! - Whatever a task starts ends with it, also when it fails or is interrupted; only `services up` leaves something.
//! - `test` and `services run` end with the exit code of the command that they run.

#![expect(clippy::disallowed_methods, reason = "tasks talk to cargo by its environment, and take real time")]

mod brokers;
mod chaos;
mod check;
mod child;
mod conformance;
mod demo;
mod services;
mod test;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The tasks of this project.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

/// Each is described where it is defined.
#[derive(Debug, Subcommand)]
enum Task {
    Demo(demo::Demo),
    Chaos(chaos::Chaos),
    Brokers(brokers::Brokers),
    Conformance(conformance::Conformance),
    #[command(subcommand)]
    Services(services::Services),
    Test(test::Test),
    Check(check::Check),
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Demo(demo) => demo.run().await,
        Task::Chaos(chaos) => chaos.run().await,
        Task::Brokers(brokers) => brokers.run().await,
        Task::Conformance(conformance) => conformance.run().await,
        Task::Services(services) => services.run().await,
        Task::Test(test) => test.run().await,
        Task::Check(check) => check.run(),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

/// Where the project keeps what tasks make, beside what cargo builds.
fn target() -> PathBuf {
    root().join("target")
}

/// The workspace's folder.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}
