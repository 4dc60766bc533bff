//! Clients from their registries, below `target/conformance`, as their lock files pin them.

#[cfg(test)]
pub(crate) mod tests;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio::process::Command;
use tokio::time::Instant;

use super::job::{Ended, logged, version};
use super::plan::Runner;
use super::report::Outcome;

/// What tools say in their last words when they do not reach a registry, or it is out of order.
///
/// pip does not tell an index that answers by an error from one that does not know the package: it found no version
/// either way. An index that knows other versions is in order.
const OUT_OF_REACH: [&str; 32] = [
    "ENOTFOUND",
    "ECONNREFUSED",
    "ECONNRESET",
    "ETIMEDOUT",
    "EAI_AGAIN",
    "EHOSTUNREACH",
    "ENETUNREACH",
    "ENOTCACHED",
    "ERR_SOCKET_TIMEOUT",
    "npm error code E408",
    "npm error code E429",
    "npm error code E5",
    "(from versions: none)",
    "NewConnectionError",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "ProtocolError",
    "RemoteDisconnected",
    "ProxyError",
    "Max retries exceeded",
    "429 Client Error",
    "Server Error: ",
    "Connection reset by peer",
    "Temporary failure in name resolution",
    "Could not resolve host",
    "Connection refused",
    "Timeout was reached",
    "failed to download from",
    "failed to get successful HTTP response",
    "failed to query replaced source registry",
    "you're using offline mode",
    "--offline was specified",
];

/// How the first line of an error begins that ended npm, pip or cargo. What they got over is a warning before it.
const ERRORS: [&str; 3] = ["npm error", "ERROR:", "error:"];

/// What tools say when something arrived that is not what was pinned: no registry's trouble, whatever was said before.
const NOT_AS_PINNED: [&str; 3] = ["EINTEGRITY", "DO NOT MATCH THE HASHES", "failed to verify the checksum"];

/// What Python says without its `venv`, which some distributions pack apart from it.
const NO_VENV: [&str; 2] = ["ensurepip is not", "No module named venv"];

/// The machine that things are installed on.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    /// Where programs are looked for.
    pub(crate) path: OsString,
    /// Where cargo builds: with the workspace, as most of what the Rust client needs is built there anyway.
    pub(crate) build: PathBuf,
    /// Whether nothing may be fetched.
    pub(crate) offline: bool,
    /// How long things may take on it.
    pub(crate) limits: Limits,
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// One registry, to fetch and to unpack.
    pub(crate) fetch: Duration,
    /// The compiler, when all is here: the Rust client takes eight minutes on two busy cores.
    pub(crate) build: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { fetch: Duration::from_mins(5), build: Duration::from_mins(10) }
    }
}

/// Why something is not here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// A registry is out of reach, or a tool is missing: what and why.
    OutOfReach(String),
    /// What is pinned does not install, although the registry answers.
    Broken(String),
}

impl Obstacle {
    /// What it makes of each scenario that depends on it.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::OutOfReach(reason) => Outcome::NotRun { reason: reason.clone() },
            Self::Broken(detail) => Outcome::NotInstalled { detail: detail.clone() },
        }
    }
}

impl From<anyhow::Error> for Obstacle {
    fn from(error: anyhow::Error) -> Self {
        Self::Broken(format!("{error:#}"))
    }
}

/// Puts in place what one kind of runner needs, and tells the folder of its programs. Nothing is fetched twice for the
/// same pins, and nothing when offline.
///
/// # Errors
/// It is not in place; why.
pub(crate) async fn install(
    runner: Runner,
    source: &Path,
    target: &Path,
    machine: &Machine,
) -> Result<PathBuf, Obstacle> {
    let from = source.join(runner.folder());
    let into = target.join(runner.folder());
    let logs = target.join("logs");
    let log = logs.join(format!("install-{}.log", runner.folder()));
    for folder in [&into, &logs] {
        fs::create_dir_all(folder).with_context(|| format!("cannot write {}", folder.display()))?;
    }
    if runner != Runner::Rust {
        copy_files(&from, &into)?;
    }
    let place = if runner == Runner::Rust { machine.build.join("debug") } else { into.clone() };
    let lock = from.join(runner.lock());
    let pins = fs::read_to_string(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
    let stamp = into.join(".installed");
    let done = fs::read_to_string(&stamp).is_ok_and(|text| text == pins);
    // Its own sources may have changed; cargo knows.
    if done && runner != Runner::Rust {
        return Ok(place);
    }
    if !done {
        if machine.offline {
            let registry = runner.registry();
            let reason = format!("{registry}: nothing is installed, and --offline forbids to fetch it");
            return Err(Obstacle::OutOfReach(reason));
        }
        // What lies there may be touched from now on.
        let _ = fs::remove_file(&stamp);
    }
    for (program, least) in runner.tools() {
        let Some(said) = version(program, &machine.path).await else {
            return Err(Obstacle::OutOfReach(format!("{program} is not installed on this machine")));
        };
        if is_older(&said, *least) {
            let (major, minor) = least;
            let reason = format!("{program} of this machine is {said}; {major}.{minor} is the oldest that will do");
            return Err(Obstacle::OutOfReach(reason));
        }
    }
    let _ = fs::remove_file(&log);
    let Limits { fetch, build } = machine.limits;
    let deadline = Instant::now() + fetch;
    for mut command in runner.fetch(&from, &into, machine) {
        command.env("PATH", &machine.path);
        match logged(&mut command, &log, deadline.saturating_duration_since(Instant::now())).await? {
            Ended::Exit(status) if status.success() => {}
            Ended::Exit(_) => return Err(obstacle(runner, &log)),
            Ended::TooLong => {
                let minutes = fetch.as_secs() / 60;
                let reason = format!("{} took more than {minutes} min; see {}", runner.registry(), log.display());
                return Err(Obstacle::OutOfReach(reason));
            }
        }
    }
    if let Some(mut command) = runner.build(&from, machine) {
        command.env("PATH", &machine.path);
        match logged(&mut command, &log, build).await? {
            Ended::Exit(status) if status.success() => {}
            Ended::Exit(_) => {
                let said = fs::read_to_string(&log).unwrap_or_default();
                let last = tail(&said, 15);
                let detail = format!("what {} pins does not build; {} ends with\n{last}", runner.lock(), log.display());
                return Err(Obstacle::Broken(detail));
            }
            Ended::TooLong => {
                let minutes = build.as_secs() / 60;
                let what = runner.lock();
                let detail = format!("what {what} pins is not built after {minutes} min; see {}", log.display());
                return Err(Obstacle::Broken(detail));
            }
        }
    }
    fs::write(&stamp, pins).context("cannot note what was installed")?;
    Ok(place)
}

/// Whether what a program says of its version (`v20.18.1`, `Python 3.11.7`) is below the least. What says nothing is
/// not.
fn is_older(said: &str, least: (u32, u32)) -> bool {
    let mut numbers = said.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok());
    let found = numbers.next().map(|major: u32| (major, numbers.next().unwrap_or(0)));
    found.is_some_and(|found| found < least)
}

/// What a tool that failed says of why.
fn obstacle(runner: Runner, log: &Path) -> Obstacle {
    let said = fs::read_to_string(log).unwrap_or_default();
    if NO_VENV.iter().any(|sign| said.contains(sign)) {
        return Obstacle::OutOfReach("python3-venv is not installed on this machine".to_owned());
    }
    let last = last_words(&said);
    let says = |signs: &[&str]| signs.iter().any(|sign| last.contains(sign));
    if says(&OUT_OF_REACH) && !says(&NOT_AS_PINNED) {
        return Obstacle::OutOfReach(format!("{} is not reached; see {}", runner.registry(), log.display()));
    }
    anyhow!("what {} pins does not install; {} ends with\n{}", runner.lock(), log.display(), tail(&said, 15)).into()
}

/// What ended the tool: all from the first line of an error on, nothing if it named none.
fn last_words(said: &str) -> &str {
    let mut start = 0;
    for line in said.split_inclusive('\n') {
        if ERRORS.iter().any(|error| line.starts_with(error)) {
            break;
        }
        start += line.len();
    }
    said.get(start..).unwrap_or_default()
}

impl Runner {
    const fn registry(self) -> &'static str {
        match self {
            Self::Node | Self::Page => "the npm registry",
            Self::Python => "PyPI",
            Self::Rust => "crates.io",
        }
    }

    /// The programs that bring it in, each with the oldest version that the pins are made for.
    const fn tools(self) -> &'static [(&'static str, (u32, u32))] {
        match self {
            Self::Node | Self::Page => &[("node", (20, 18)), ("npm", (0, 0))],
            Self::Python => &[("python3", (3, 11))],
            Self::Rust => &[("cargo", (0, 0))],
        }
    }

    /// The file that pins all of it by hash.
    const fn lock(self) -> &'static str {
        match self {
            Self::Node | Self::Page => "package-lock.json",
            Self::Python => "requirements.txt",
            Self::Rust => "Cargo.lock",
        }
    }

    /// What brings it in, in order.
    fn fetch(self, from: &Path, into: &Path, machine: &Machine) -> Vec<Command> {
        match self {
            Self::Node | Self::Page => {
                let mut npm = Command::new("npm");
                npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(into);
                vec![npm]
            }
            Self::Python => {
                let mut venv = Command::new("python3");
                venv.args(["-m", "venv", "--clear"]).arg(into.join("venv"));
                let mut pip = Command::new(into.join("venv/bin/python"));
                pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input"]);
                // Wheels only: what building from source would fetch is in no lock.
                pip.args(["--only-binary=:all:", "--require-hashes", "--requirement"]);
                pip.arg(into.join("requirements.txt"));
                vec![venv, pip]
            }
            Self::Rust => {
                let mut cargo = Command::new("cargo");
                cargo.args(["fetch", "--locked", "--target=host-tuple", "--manifest-path"]);
                cargo.arg(from.join("Cargo.toml"));
                if machine.offline {
                    cargo.arg("--offline");
                }
                vec![cargo]
            }
        }
    }

    /// What makes a program of what was brought in. It fetches nothing, so no registry is to blame when it fails.
    fn build(self, from: &Path, machine: &Machine) -> Option<Command> {
        match self {
            Self::Node | Self::Page | Self::Python => None,
            Self::Rust => {
                let mut cargo = Command::new("cargo");
                cargo.args(["build", "--locked", "--offline", "--manifest-path"]).arg(from.join("Cargo.toml"));
                cargo.arg("--target-dir").arg(&machine.build);
                Some(cargo)
            }
        }
    }

    /// The process of one of its files.
    pub(crate) fn command(self, file: &str, at: &Path) -> Command {
        let program = match self {
            Self::Node | Self::Page => "node".into(),
            Self::Python => at.join("venv/bin/python"),
            Self::Rust => return Command::new(at.join(file)),
        };
        let mut command = Command::new(program);
        command.arg(at.join(file));
        command
    }
}

/// Copies the files of a folder, not those of folders in it: modules are looked for where the script lies.
fn copy_files(from: &Path, into: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), into.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// The last lines of a text.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
}
