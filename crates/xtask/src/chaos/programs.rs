//! The programs under faults: each in a place of its own that is filled again whenever its program has ended, as a
//! supervisor does it.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use testkit::{TcpProxy, port};
use tokio::time::{Instant, sleep, sleep_until};

use super::journal::Journal;
use super::schedule::{Fault, Kind};
use crate::demo::fleet::{Member, metric, spawn};

/// How often a place is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How long a supervisor waits before it starts a program again that ended by itself.
const AGAIN: Duration = Duration::from_millis(500);
/// How long a program may take to end after SIGTERM: its own limit (30 s) and a little.
const DRAIN: Duration = Duration::from_secs(35);
/// A program that met no broker, Redis or org for as long as its patience lasts.
const UNAVAILABLE: i32 = 69;

/// One of several programs of a kind.
#[derive(Debug)]
pub(crate) struct Place {
    /// `writer-1`
    name: String,
    program: PathBuf,
    dir: PathBuf,
    environment: Vec<(&'static str, String)>,
    member: Option<Member>,
    lives: u32,
}

impl Place {
    /// An empty place.
    pub(crate) fn new(name: String, program: &Path, dir: &Path, environment: Vec<(&'static str, String)>) -> Self {
        Self { name, program: program.to_owned(), dir: dir.to_owned(), environment, member: None, lives: 0 }
    }

    /// Starts its program. Each of its lives has a log of its own.
    pub(crate) fn start(&mut self) -> Result<()> {
        self.lives += 1;
        let [port] = port::free()?;
        let admin = format!("127.0.0.1:{port}");
        let mut environment = self.environment.clone();
        environment.push(("CAUSEWAY_ADMIN_LISTEN", admin.clone()));
        let name = format!("{}.{}", self.name, self.lives);
        self.member = Some(spawn(&self.dir, &name, &self.program, &environment, admin)?);
        Ok(())
    }

    /// How often its program was started.
    pub(crate) fn lives(&self) -> u32 {
        self.lives
    }

    /// Waits until its program is ready.
    pub(crate) async fn until_ready(&self, client: &reqwest::Client, patience: Duration) -> Result<()> {
        let admin = self.member.as_ref().map(|member| member.admin.clone()).unwrap_or_default();
        let url = format!("http://{admin}/ready");
        let ready = testkit::eventually::within(patience, async || {
            client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()).then_some(())
        });
        ready.await.with_context(|| format!("{} is not ready after {} s", self.name, patience.as_secs()))
    }

    /// How many messages it has in hand, by its own count; `None` where it does not answer.
    pub(crate) async fn in_hand(&self, client: &reqwest::Client) -> Option<f64> {
        let admin = &self.member.as_ref()?.admin;
        Some(metric(client, admin, "orders_waiting").await? + metric(client, admin, "orders_in_flight").await?)
    }

    /// Lets the faults befall it at their times, and keeps it filled until `until`. `line` leads to RabbitMQ.
    pub(crate) async fn endure(
        &mut self,
        faults: &[Fault],
        began: Instant,
        until: Instant,
        journal: &Journal,
        line: &TcpProxy,
    ) -> Result<()> {
        for fault in faults {
            self.keep_filled(began + fault.at, journal).await?;
            if journal.begins(fault, began).await {
                let met = self.befall(fault, journal, line).await?;
                journal.over(fault, met);
            }
        }
        self.keep_filled(until, journal).await
    }

    /// Starts its program again whenever it has ended, until a time has come.
    pub(crate) async fn keep_filled(&mut self, until: Instant, journal: &Journal) -> Result<()> {
        loop {
            if let Some(status) = self.member.as_mut().and_then(Member::ended) {
                if status.code() == Some(UNAVAILABLE) {
                    journal.note(format!("{} found a service out of reach and was started again", self.name));
                } else {
                    let log = format!("{}.{}.log", self.name, self.lives);
                    journal.fail(format!("{} ended by itself: {}; see {log}", self.name, told(status)));
                }
                sleep(AGAIN).await;
                self.start()?;
            }
            if Instant::now() >= until {
                return Ok(());
            }
            sleep_until((Instant::now() + LOOK).min(until)).await;
        }
    }

    /// Says whether its program was there to be befallen.
    async fn befall(&mut self, fault: &Fault, journal: &Journal, line: &TcpProxy) -> Result<bool> {
        // One that has just ended by itself is told of, and started again, by whoever keeps the place filled.
        let Some(member) = self.member.as_mut().filter(|member| member.is_alive()) else { return Ok(false) };
        if fault.kind == Kind::Reload {
            member.signal(Signal::SIGHUP);
            return Ok(true);
        }
        if matches!(fault.kind, Kind::StopIngest | Kind::StopWriter) {
            member.signal(Signal::SIGSTOP);
            if fault.trouble.is_some() {
                // RabbitMQ gives its partitions to others at once: by heartbeats it would notice only after the thaw.
                line.hang_up();
            }
            sleep(fault.lasting).await;
            member.signal(Signal::SIGCONT);
            return Ok(true);
        }
        if matches!(fault.kind, Kind::EndIngest | Kind::EndWriter) {
            self.end(journal).await;
        } else {
            member.kill();
        }
        sleep(fault.lasting).await;
        self.start()?;
        Ok(true)
    }

    /// Ends its program in good order, and notes when it does not end so.
    pub(crate) async fn end(&mut self, journal: &Journal) {
        let Some(mut member) = self.member.take() else { return };
        member.signal(Signal::SIGTERM);
        let deadline = Instant::now() + DRAIN;
        let status = loop {
            match member.ended() {
                Some(status) => break Some(status),
                None if Instant::now() >= deadline => break None,
                None => sleep(LOOK).await,
            }
        };
        match status {
            Some(status) if status.success() || status.code() == Some(UNAVAILABLE) => {}
            // Told to end before it had begun: nobody listened for the signal yet.
            Some(status) if status.signal() == Some(Signal::SIGTERM as i32) && !member.has_spoken() => {}
            Some(status) => {
                journal.fail(format!("{} did not drain: {}; see {}", self.name, told(status), member.name));
            }
            None => {
                journal.fail(format!(
                    "{} did not end within {} s of SIGTERM; see {}",
                    self.name,
                    DRAIN.as_secs(),
                    member.name
                ));
            }
        }
        member.kill();
    }
}

fn told(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no exit code".to_owned(),
    }
}
