//! `cargo xtask test`: the whole workspace's tests, with private services.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use tokio::process::Command;

use crate::services;

/// Run the workspace's tests with private services.
///
/// Arguments go to `cargo test` as they are: `cargo xtask test -p causeway-queue -- restart`. Without a package, all are
/// tested, also after one has failed. The last lines are cargo's own, and so is the exit code.
#[derive(Debug, clap::Args)]
pub(crate) struct Test {
    /// Arguments for `cargo test`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    arguments: Vec<OsString>,
}

impl Test {
    pub(crate) async fn run(self) -> Result<ExitCode> {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.arg("test");
        let own = self.arguments.split(|argument| argument == "--").next().unwrap_or_default();
        if !own.iter().any(selects_packages) {
            command.arg("--workspace");
            if !own.iter().any(|argument| argument == "--no-fail-fast") {
                command.arg("--no-fail-fast");
            }
        }
        services::run({
            command.args(&self.arguments);
            command
        })
        .await
    }
}

/// Whether an argument of `cargo test` already says which packages are meant.
fn selects_packages(argument: &OsString) -> bool {
    let text = argument.to_string_lossy();
    ["-p", "--package", "--workspace", "--all", "--manifest-path"]
        .iter()
        .any(|option| text == *option || text.starts_with(&format!("{option}=")))
        || (text.starts_with("-p") && !text.starts_with("--"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_in_the_arguments_is_recognised() {
        for argument in ["-p", "-pcauseway-queue", "--package=causeway-queue", "--workspace"] {
            assert!(selects_packages(&argument.into()), "{argument}");
        }
        for argument in ["restart", "--test", "--profile", "--no-fail-fast"] {
            assert!(!selects_packages(&argument.into()), "{argument}");
        }
    }
}
