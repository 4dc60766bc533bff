//! The tasks of this project: `cargo xtask <TASK>`. One file per task; the `Makefile` is the menu.

mod child;
mod services;
mod test;

use std::path::PathBuf;
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
    #[command(subcommand)]
    Services(services::Services),
    Test(test::Test),
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Services(services) => services.run().await,
        Task::Test(test) => test.run().await,
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

/// Where the project keeps what tasks make, beside what cargo builds.
fn target() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target")).components().collect()
}
