//! Clients from their registries, below `target/conformance`, as their lock files pin them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::process::Command;

use super::job::{Ended, exists, logged};
use super::plan::{Client, Runner};

/// How long one registry may take. A first build of the Rust client is in it.
const PATIENCE: Duration = Duration::from_mins(20);

/// What tools say when they do not reach a registry.
const OUT_OF_REACH: [&str; 19] = [
    "ENOTFOUND",
    "ECONNREFUSED",
    "ECONNRESET",
    "ETIMEDOUT",
    "EAI_AGAIN",
    "EHOSTUNREACH",
    "ENETUNREACH",
    "ENOTCACHED",
    "ERR_SOCKET_TIMEOUT",
    "NewConnectionError",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "ProxyError",
    "Max retries exceeded",
    "Could not resolve host",
    "spurious network error",
    "failed to download from",
    "failed to query replaced source registry",
    "you're using offline mode",
];

/// Where a kind of runner was put, or why it was not.
#[derive(Debug, Clone)]
pub(crate) enum Installed {
    /// In this folder.
    At(PathBuf),
    /// A registry is out of reach, or a tool is missing: what and why.
    NotHere(String),
}

/// Puts in place what one kind of runner needs. Nothing is fetched twice for the same pins, and nothing when offline.
///
/// # Errors
/// What is pinned does not install, although the registry answers.
pub(crate) async fn install(runner: Runner, source: &Path, target: &Path, offline: bool) -> Result<Installed> {
    let from = source.join(runner.folder());
    let into = target.join(runner.folder());
    let log = target.join("logs").join(format!("install-{}.log", runner.folder()));
    fs::create_dir_all(&into).and_then(|()| fs::create_dir_all(target.join("logs")))?;
    if runner != Runner::Rust {
        copy_files(&from, &into)?;
    }
    let pins = pins(runner, &from)?;
    let stamp = into.join(".installed");
    let done = fs::read_to_string(&stamp).is_ok_and(|text| text == pins);
    // Its own sources may have changed; cargo knows.
    if done && runner != Runner::Rust {
        return Ok(Installed::At(into));
    }
    if offline && !done {
        let tool = runner.registry();
        return Ok(Installed::NotHere(format!("{tool}: nothing is installed, and --offline forbids to fetch it")));
    }
    for program in runner.tools() {
        if !exists(program).await {
            return Ok(Installed::NotHere(format!("{program} is not installed on this machine")));
        }
    }
    let _ = fs::remove_file(&log);
    for mut command in runner.commands(&from, &into, offline) {
        match logged(&mut command, &log, PATIENCE).await? {
            Ended::Exit(status) if status.success() => {}
            Ended::Exit(_) => {
                let said = fs::read_to_string(&log).unwrap_or_default();
                if is_out_of_reach(&said) {
                    return Ok(Installed::NotHere(format!(
                        "{} is not reached; see {}",
                        runner.registry(),
                        log.display()
                    )));
                }
                anyhow::bail!("the {} clients do not install:\n{}", runner.folder(), tail(&said, 20));
            }
            Ended::TooLong => {
                let minutes = PATIENCE.as_secs() / 60;
                return Ok(Installed::NotHere(format!("{} took more than {minutes} min", runner.registry())));
            }
        }
    }
    fs::write(&stamp, pins).context("cannot note what was installed")?;
    Ok(Installed::At(into))
}

impl Runner {
    const fn registry(self) -> &'static str {
        match self {
            Self::Node => "the npm registry",
            Self::Python => "PyPI",
            Self::Rust => "crates.io",
        }
    }

    const fn tools(self) -> &'static [&'static str] {
        match self {
            Self::Node => &["node", "npm"],
            Self::Python => &["python3"],
            Self::Rust => &["cargo"],
        }
    }

    /// What brings it in, in order.
    fn commands(self, from: &Path, into: &Path, offline: bool) -> Vec<Command> {
        match self {
            Self::Node => {
                let mut npm = Command::new("npm");
                npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(into);
                vec![npm]
            }
            Self::Python => {
                let mut venv = Command::new("python3");
                venv.args(["-m", "venv", "--clear"]).arg(into.join("venv"));
                let mut pip = Command::new(into.join("venv/bin/python"));
                pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--requirement"])
                    .arg(into.join("requirements.txt"));
                vec![venv, pip]
            }
            Self::Rust => {
                let mut cargo = Command::new("cargo");
                cargo.args(["build", "--locked", "--manifest-path"]).arg(from.join("Cargo.toml"));
                cargo.arg("--target-dir").arg(into);
                if offline {
                    cargo.arg("--offline");
                }
                vec![cargo]
            }
        }
    }

    /// The process of a client.
    pub(crate) fn command(self, client: &Client, at: &Path) -> Command {
        match self {
            Self::Node => {
                let mut command = Command::new("node");
                command.arg(at.join(&client.file));
                command
            }
            Self::Python => {
                let mut command = Command::new(at.join("venv/bin/python"));
                command.arg(at.join(&client.file));
                command
            }
            Self::Rust => Command::new(at.join("debug").join(&client.file)),
        }
    }
}

/// The text that decides what is installed.
fn pins(runner: Runner, from: &Path) -> Result<String> {
    let name = match runner {
        Runner::Node => "package-lock.json",
        Runner::Python => "requirements.txt",
        Runner::Rust => "Cargo.lock",
    };
    fs::read_to_string(from.join(name))
        .with_context(|| format!("cannot read {name} of the {} clients", runner.folder()))
}

/// Copies the files of a folder, not those of folders in it: modules are looked for where the script lies.
pub(crate) fn copy_files(from: &Path, into: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), into.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Whether what a tool said means that its registry is out of reach, and not that something is wrong with the pins.
fn is_out_of_reach(said: &str) -> bool {
    OUT_OF_REACH.iter().any(|sign| said.contains(sign))
}

/// The last lines of a text.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_out_of_reach_is_told_from_a_wrong_pin() {
        for said in [
            "npm error code ENOTFOUND\nnpm error network request to https://registry.example failed",
            "WARNING: Retrying after connection broken by 'NewConnectionError('<pip._vendor.urllib3>')",
            "warning: spurious network error (3 tries remaining): [6] Could not resolve hostname",
        ] {
            assert!(is_out_of_reach(said), "{said}");
        }
        for said in [
            "npm error code EUSAGE\nnpm error `npm ci` can only install packages when your package.json and lock are in sync",
            "ERROR: No matching distribution found for simple-salesforce==99",
            "error: the lock file needs to be updated but --locked was passed",
            "npm error code EINTEGRITY",
        ] {
            assert!(!is_out_of_reach(said), "{said}");
        }
    }

    #[test]
    fn the_last_lines_are_shown() {
        assert_eq!(tail("a\nb\nc", 2), "b\nc");
        assert_eq!(tail("a", 2), "a");
        assert_eq!(tail("", 2), "");
    }
}
