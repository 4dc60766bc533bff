//! `cargo xtask demo`: the whole way of an order, on this machine, with a count at the end that can fail.

mod bodies;
pub(crate) mod build;
pub(crate) mod console;
pub(crate) mod customers;
pub(crate) mod drain;
mod expectation;
pub(crate) mod fleet;
pub(crate) mod generator;
pub(crate) mod org;
mod outcomes;
mod publish;
pub(crate) mod reconcile;
pub(crate) mod report;
pub(crate) mod watch;
mod wire;

use std::fmt::Write;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use testkit::Services;

use self::build::Programs;
use self::console::Console;
use self::fleet::{Fleet, NAMESPACE, TENANT};
use self::report::Report;
use self::watch::Desk;
use crate::child::Signals;

/// Send a day of orders through a fleet, kill a writer half-way, and count what became of each order.
///
/// Builds the programs, starts private RabbitMQ and Redis nodes (installing them where they are missing), a simulated
/// Salesforce org, two ingests and two writers, each a process with its own log. Then it publishes orders as Limio sends
/// them: every order type, several orders per customer, some torn, some invalid, some sent twice, some of customers
/// whom the org knows already. Half-way one writer is killed with SIGKILL and another one started.
///
/// At the end every order is accounted for from outside: the publisher's own list against the org's records and events,
/// the journal of dead letters, and the outcomes; never the programs' own counters. Each has to have come to what the
/// publisher expects of it. The result is a table and target/demo/report.json. The exit code is 0 only when nothing was
/// lost, duplicated, reordered, mixed up or told wrongly, and every queue was empty before the count.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask demo                    2,000 orders, under a minute once built\n  \
    cargo xtask demo --orders 20000     more of them\n  \
    cargo xtask demo --seed 8           other orders; the same seed gives the same bytes\n  \
    cargo xtask demo --keep             leave everything running, to look around\n\n\
    Logs are in target/demo/logs, one file per process.")]
pub(crate) struct Demo {
    /// How many orders are published, 200 to 200,000; a seventh as many customers.
    #[arg(long, default_value_t = 2_000, value_name = "N",
          value_parser = clap::value_parser!(u32).range(i64::from(generator::FEWEST)..=200_000))]
    orders: u32,
    /// The seed of the orders.
    #[arg(long, default_value_t = 7, value_name = "S")]
    seed: u64,
    /// Kill no writer.
    #[arg(long)]
    no_kill: bool,
    /// Leave everything running at the end and print where it is; Ctrl-C stops it.
    #[arg(long)]
    keep: bool,
}

/// Ingests and writers at the start.
const WORKERS: usize = 2;

impl Demo {
    pub(crate) async fn run(self) -> Result<ExitCode> {
        let mut signals = Signals::listen()?;
        let _alone = alone(&crate::target(), "demo")?;
        let stage = tokio::select! {
            stage = self.play() => stage?,
            // Whatever was started ends as it is dropped.
            signal = signals.next() => {
                eprintln!("\nstopped");
                return Ok(signal.exit_code());
            }
        };
        let Stage { mut fleet, services, kept } = stage;
        if self.keep {
            print!("{}", where_it_is(&fleet, &services));
            signals.next().await;
            eprintln!("\nstopping");
        }
        tokio::select! {
            () = fleet.stop() => {}
            _ = signals.next() => {}
        }
        Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Everything up to the report. What it started is handed back running.
    async fn play(&self) -> Result<Stage> {
        let dir = stage_folder()?;
        let console = Console::new();
        console.say(&format!("{} orders, seed {}", indicatif::HumanCount(self.orders.into()), self.seed));
        let (orders, seed) = (self.orders as usize, self.seed);
        let writing = tokio::task::spawn_blocking(move || generator::script(orders, seed, TENANT));
        // Cargo shows its own progress.
        let programs = Programs::build().await?;
        let services = console.step("RabbitMQ and Redis are up", Services::start(&crate::services::root())).await?;
        let (amqp_url, redis_url) = (services.amqp_url().to_owned(), services.redis_url().to_owned());
        let script = console.step("the orders are written", async { Ok(Arc::new(writing.await?)) }).await?;
        let starting = async {
            let mut fleet = Fleet::with_org(programs, &dir, &amqp_url, &redis_url).await?;
            fleet.prepare(&script.customers).await?;
            fleet.start_workers(WORKERS, WORKERS).await?;
            Ok(fleet)
        };
        let desk = console.step("the topology is declared", Desk::open(&amqp_url)).await?;
        let mut fleet = console.step("a simulated org, 2 ingests and 2 writers are ready", starting).await?;
        let run = watch::run(&console, &desk, &mut fleet, &script, !self.no_kill, self.keep).await?;
        let report = Report::of(&script, &run, self.seed);
        let file = dir.join("report.json");
        report.save(&file)?;
        println!("\n{}", report.render(&run));
        println!("report: {}\nlogs:   {}", shown(&file), shown(&fleet.logs()));
        let kept = run.reconciliation.holds() && run.failures.is_empty();
        Ok(Stage { fleet, services, kept })
    }
}

/// What runs, and whether the promises were kept. The fleet is dropped before its services.
struct Stage {
    fleet: Fleet,
    services: Services,
    kept: bool,
}

/// Holds the place against a second run of a task, which would clear it away. The lock ends with this process.
pub(crate) fn alone(target: &Path, task: &str) -> Result<File> {
    let file = target.join(format!("{task}.lock"));
    // Cargo may have been told to build elsewhere.
    let lock = std::fs::create_dir_all(target).and_then(|()| File::create(&file));
    let lock = lock.with_context(|| format!("cannot write {}", file.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            bail!("another {task} runs from this folder; wait for it, or end it with Ctrl-C")
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", file.display())),
    }
}

/// `target/demo`, without what an earlier run left there.
fn stage_folder() -> Result<PathBuf> {
    let dir = crate::target().join("demo");
    let emptied = match std::fs::remove_dir_all(&dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result,
    };
    emptied.and_then(|()| std::fs::create_dir_all(&dir)).with_context(|| format!("cannot make {}", dir.display()))?;
    Ok(dir)
}

/// The addresses as lines for a shell, and what to do with them.
fn where_it_is(fleet: &Fleet, services: &Services) -> String {
    let mut text = format!(
        "\nEverything is still running. In another shell:\n\n\
         export CAUSEWAY_AMQP_URL={}\n\
         export CAUSEWAY_REDIS_URL={}\n\
         export CAUSEWAY_NAMESPACE={NAMESPACE}\n\
         export CAUSEWAY_TENANT={TENANT}\n\
         export CAUSEWAY_SALESFORCE_LOGIN_URL={url}\n\n\
         {replayer} list        # the open dead letters, and what waits behind them\n\
         {replayer} --help      # show, story, replay, discard, explain\n\n\
         the org, for a browser   {url}/\n",
        services.amqp_url(),
        services.redis_url(),
        url = fleet.org.base_url(),
        replayer = shown(&fleet.programs().replayer),
    );
    for member in fleet.ingests.iter().chain(&fleet.writers) {
        let _ = writeln!(text, "{:<24} http://{}/metrics  /ready  /live", member.name, member.admin);
    }
    text.push_str("\nCtrl-C stops it all.\n");
    text
}

/// A path as a person in the project's folder types it.
pub(crate) fn shown(path: &Path) -> String {
    let here = std::env::current_dir().ok();
    let inside = here.as_deref().and_then(|here| path.strip_prefix(here).ok()).unwrap_or(path);
    inside.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_demo_at_a_time_runs_from_a_folder_also_where_nothing_was_built_yet() {
        let target = std::env::temp_dir().join(testkit::namespace("causeway-demo")).join("target");
        let first = alone(&target, "demo").expect("the folder is made");
        let second = alone(&target, "demo").expect_err("another demo runs");
        assert!(second.to_string().contains("another demo runs"), "{second}");
        drop(first);
        drop(alone(&target, "demo").expect("the other one ended"));
        let _ = std::fs::remove_dir_all(target.parent().expect("a folder"));
    }
}
