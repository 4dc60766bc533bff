//! The operator's tool for dead letters.

use std::process::ExitCode;

fn main() -> ExitCode {
    causeway_replayer::cli::main()
}
