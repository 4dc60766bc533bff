//! Child processes that end with the task: each leads a group of its own, which is killed when it is dropped.

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

/// How long a program may take to tell its version.
const ANSWER: Duration = Duration::from_secs(30);

/// A process with its group.
#[derive(Debug)]
pub(crate) struct Job {
    /// The process; its streams may be taken.
    pub(crate) child: Child,
    group: Option<Pid>,
}

impl Job {
    /// Starts it in its own group, so that a Ctrl-C at the terminal reaches this task alone.
    ///
    /// # Errors
    /// The program is not there or may not be run.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let name = command.as_std().get_program().to_string_lossy().into_owned();
        let child =
            command.process_group(0).kill_on_drop(true).spawn().with_context(|| format!("cannot start {name}"))?;
        let group = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
        Ok(Self { child, group })
    }

    /// Asks it to end, and kills it if it is deaf.
    pub(crate) async fn stop(mut self, patience: Duration) {
        self.signal(Signal::SIGTERM);
        // Whatever is left after that is killed when this is dropped.
        let _ = tokio::time::timeout(patience, self.child.wait()).await;
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // The group may have ended by itself; that is what was wanted.
            let _ = killpg(group, signal);
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // A process that was waited for has given its number back, but children that it left have not ended.
        self.signal(Signal::SIGKILL);
    }
}

/// How a command that was run to its end ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// By itself.
    Exit(ExitStatus),
    /// Not within its limit.
    TooLong,
}

/// Runs a command to its end with all it says in a log file.
///
/// # Errors
/// It cannot be started, or the log not be written.
pub(crate) async fn logged(command: &mut Command, log: &Path, limit: Duration) -> Result<Ended> {
    write_to(log, command)?;
    let mut job = Job::start(command)?;
    Ok(match tokio::time::timeout(limit, job.child.wait()).await {
        Ok(status) => Ended::Exit(status?),
        Err(_) => Ended::TooLong,
    })
}

/// The same for a command that must not be broken off: past its limit, or when this is dropped, it goes on by itself,
/// in a group that no signal of this task's reaches.
///
/// # Errors
/// It cannot be started, or the log not be written.
pub(crate) async fn unbroken(command: &mut Command, log: &Path, limit: Duration) -> Result<Ended> {
    write_to(log, command)?;
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    let mut child = command.process_group(0).spawn().with_context(|| format!("cannot start {name}"))?;
    Ok(match tokio::time::timeout(limit, child.wait()).await {
        Ok(status) => Ended::Exit(status?),
        Err(_) => Ended::TooLong,
    })
}

fn write_to(log: &Path, command: &mut Command) -> Result<()> {
    let file = File::options().create(true).append(true).open(log);
    let file = file.with_context(|| format!("cannot write {}", log.display()))?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    Ok(())
}

/// What a program answers to `--version`; nothing when it is not in the path, fails, or takes its time.
pub(crate) async fn version(program: impl AsRef<OsStr>, path: &OsStr) -> Option<String> {
    let mut command = Command::new(program);
    command.arg("--version").env("PATH", path);
    let said = command.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).output();
    let said = tokio::time::timeout(ANSWER, said).await.ok()?.ok()?;
    said.status.success().then(|| String::from_utf8_lossy(&said.stdout).trim().to_owned())
}
