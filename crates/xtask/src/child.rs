//! A command that runs to its end, whatever signals arrive meanwhile.

use std::io::IsTerminal;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::signal::unix;

/// How long a command may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(40);

/// The signals that ask a task to end.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hang_up: unix::Signal,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// `kill`.
    Terminate,
    /// The terminal was closed.
    HangUp,
}

impl Signals {
    /// From now on these signals do not end this process.
    pub(crate) fn listen() -> Result<Self> {
        Ok(Self {
            interrupt: unix::signal(unix::SignalKind::interrupt())?,
            terminate: unix::signal(unix::SignalKind::terminate())?,
            hang_up: unix::signal(unix::SignalKind::hangup())?,
        })
    }

    /// The next one. Nothing is lost when this is dropped.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.hang_up.recv() => Signal::HangUp,
        }
    }
}

impl Signal {
    fn number(self) -> nix::sys::signal::Signal {
        match self {
            Self::Interrupt => nix::sys::signal::Signal::SIGINT,
            Self::Terminate => nix::sys::signal::Signal::SIGTERM,
            Self::HangUp => nix::sys::signal::Signal::SIGHUP,
        }
    }

    /// What a shell reports for a command that a signal ended.
    pub(crate) fn exit_code(self) -> ExitCode {
        ended_by(self.number() as i32)
    }
}

/// Runs the command to its end and gives its exit code. Signals go on to it; one that is deaf to SIGTERM is killed after
/// 40 s.
pub(crate) async fn run(mut command: Command, signals: &mut Signals) -> Result<ExitCode> {
    let mut child = command
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}", command.as_std().get_program().display()))?;
    let mut deadline = None;
    loop {
        tokio::select! {
            status = child.wait() => return Ok(exit_code(status?)),
            signal = signals.next() => {
                // A terminal sends Ctrl-C to the command as well; twice would mean "abort" to it.
                if signal != Signal::Interrupt || !std::io::stdin().is_terminal() {
                    send(&child, signal);
                }
                if signal != Signal::Interrupt && deadline.is_none() {
                    deadline = Some(tokio::time::Instant::now() + GRACE);
                }
            }
            () = until(deadline) => child.kill().await?,
        }
    }
}

async fn until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn send(child: &Child, signal: Signal) {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        // The command may have ended a moment ago; then `wait` tells.
        let _ = nix::sys::signal::kill(Pid::from_raw(pid), signal.number());
    }
}

fn exit_code(status: ExitStatus) -> ExitCode {
    match (status.code(), status.signal()) {
        (Some(code), _) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        (None, Some(signal)) => ended_by(signal),
        (None, None) => ExitCode::FAILURE,
    }
}

fn ended_by(signal: i32) -> ExitCode {
    ExitCode::from(u8::try_from(128 + signal).unwrap_or(1))
}
