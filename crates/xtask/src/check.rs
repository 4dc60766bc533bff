//! `cargo xtask check`: everything about the code that needs no services, cheapest first.

use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};
use clap::ValueEnum;

/// Check format, lints, documentation, architecture and dependencies.
///
/// All checks run, also after one has failed; the last lines tell which did. cargo-deny and cargo-machete are left out
/// where they are not installed, and it is said how to get them.
#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// Only these, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "CHECKS")]
    only: Vec<Kind>,
}

/// One check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// rustfmt changes nothing.
    Format,
    /// clippy has nothing to say, on all targets.
    Clippy,
    /// The documentation builds without a warning, private items included.
    Docs,
    /// The floors of the house and its conventions hold.
    Architecture,
    /// Bans, licences, sources and advisories (cargo-deny).
    Deny,
    /// No dependency is unused (cargo-machete).
    Machete,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Passed,
    Failed,
    Missing,
}

impl Check {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let kinds = if self.only.is_empty() { Kind::value_variants() } else { &self.only };
        let mut verdicts = Vec::new();
        for kind in kinds {
            eprintln!("check {}", kind.name());
            verdicts.push((*kind, kind.verdict()?));
        }
        eprintln!();
        for (kind, verdict) in &verdicts {
            match verdict {
                Verdict::Passed => eprintln!("  {:<14} ok", kind.name()),
                Verdict::Failed => eprintln!("  {:<14} FAILED: cargo xtask check --only {0}", kind.name()),
                Verdict::Missing => {
                    eprintln!("  {:<14} left out: cargo install --locked cargo-{0}", kind.name());
                }
            }
        }
        let failed = verdicts.iter().any(|(_, verdict)| *verdict == Verdict::Failed);
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

impl Kind {
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// What is given to cargo.
    const fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Format => &["fmt", "--all", "--check"],
            Self::Clippy => &["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"],
            Self::Docs => &["doc", "--workspace", "--no-deps", "--document-private-items"],
            Self::Architecture => &["test", "--package", "causeway-tests", "--test", "architecture"],
            Self::Deny => &["deny", "--config", ".deny.toml", "check"],
            Self::Machete => &["machete"],
        }
    }

    fn verdict(self) -> Result<Verdict> {
        if self.is_missing()? {
            return Ok(Verdict::Missing);
        }
        let mut command = cargo();
        if self == Self::Docs {
            command.env("RUSTDOCFLAGS", "--deny warnings");
        }
        let status = command.args(self.arguments()).status().context("cannot start cargo")?;
        Ok(if status.success() { Verdict::Passed } else { Verdict::Failed })
    }

    /// Whether it needs a tool that is not there.
    fn is_missing(self) -> Result<bool> {
        match self {
            Self::Format | Self::Clippy | Self::Docs | Self::Architecture => Ok(false),
            Self::Deny | Self::Machete => {
                let mut command = cargo();
                command.args([&self.name(), "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
                Ok(!command.status().context("cannot start cargo")?.success())
            }
        }
    }
}

fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(crate::root());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_has_the_name_under_which_cargo_finds_its_tool() {
        let names: Vec<_> = Kind::value_variants().iter().map(|kind| kind.name()).collect();
        assert_eq!(names, ["format", "clippy", "docs", "architecture", "deny", "machete"]);
    }
}
