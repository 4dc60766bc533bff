//! `cargo xtask chaos`: the fleet under load while everything around it fails at random, and a count at the end.

mod answers;
mod charges;
mod copies;
mod doubles;
mod drain;
mod history;
mod journal;
mod listener;
mod nameless;
mod overlaps;
mod programs;
mod publish;
mod report;
mod requests;
mod run;
mod schedule;
mod sign_in;
mod stage;
mod surroundings;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;
use testkit::Services;

use self::report::Report;
use self::schedule::{Extent, Kind, schedule};
use self::sign_in::SignIn;
use self::stage::Stage;
use crate::child::Signals;
use crate::demo::build::Programs;
use crate::demo::console::Console;
use crate::demo::{alone, shown};

/// Let everything around a fleet under load fail at random, and count what became of each order.
///
/// Starts 3 ingests and 3 writers as real processes against one simulated org with latency, and private RabbitMQ and Redis
/// nodes. While orders are published, faults fall: programs are killed, stopped and drained, RabbitMQ and Redis are killed,
/// Redis is flushed, lines are cut, slowed and blocked, the org refuses, locks, and commits without an answer. The seed
/// decides everything: the orders, the faults, their times and their subjects. What the machine makes of it is not the
/// same each time, so that a seed that found something is worth repeating more than once.
///
/// Two of three seeds share one sign-in among the writers: a refresh token that rotates, and a grant file on each of two
/// machines. Of these seeds the odd ones have an org that ends the connection as soon as a spent token comes back, as where
/// the answer with its successor was lost; an operator then authorises it anew. The even ones have an org that lets a spent
/// token come back for a minute. Their orders have the retries of the built-in defaults; those of the other seeds are quicker
/// and more.
///
/// At the end all faults are lifted and the fleet has a bounded time to drain: it is done when the programs' own counters
/// say that they have nothing in hand, and nothing waits. What is judged is the rest. Every order is accounted for from
/// outside, after the programs have ended: the publisher's own list against the org's records, events and request log, the
/// journal of dead letters, and the outcomes. The result is a table and target/chaos/report.json. The exit code is 0 only
/// when nothing was lost or written twice, no customer's order overtook another, no two requests of one customer
/// overlapped, no order was charged an attempt for an outage (by the stories that Redis still has, which have to be enough),
/// no connection was ended by a spent refresh token more often than the answer to a renewal was lost, and no program ended by
/// itself. An event published twice, by its key, fails it as well, unless its first publish was carried out, its answer was
/// lost, Redis had lost or never had what its publisher knew, and the order had been looked up too early to see it. A fault
/// that could not be made, or met nothing, counts for nothing and excuses nothing.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask chaos                                  60 s of faults, seed 1\n  \
    cargo xtask chaos --seconds 600 --seed 42          ten minutes of other ones\n  \
    cargo xtask chaos --plan --seed 42                 only print which faults fall when\n  \
    cargo xtask chaos --faults kill-writer,flush       only these kinds\n  \
    cargo xtask chaos --faults kill-rabbitmq --rate 50 fewer orders a second\n\n\
    Logs are in target/chaos/logs, one file per life of a process; customers.txt there holds the history of each\n\
    customer of whom something is wrong. A run that fails keeps them in target/chaos/failed-<seed>, and prints the\n\
    command that repeats it.")]
pub(crate) struct Chaos {
    /// How many seconds orders are published and faults fall, 5 to 36,000.
    #[arg(long, default_value_t = 60, value_name = "N", value_parser = clap::value_parser!(u32).range(5..=36_000))]
    seconds: u32,
    /// The seed of orders and faults.
    #[arg(long, default_value_t = 1, value_name = "S")]
    seed: u64,
    /// Orders published per second, 5 to 1,000; at least 200 in all.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(5..=1_000))]
    rate: u32,
    /// How many ingests, and as many writers, 1 to 8.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=8))]
    programs: u8,
    /// Only these kinds of faults, separated by commas; all without it.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST", hide_possible_values = false)]
    faults: Vec<Kind>,
    /// How the org publishes events; by the seed without it.
    #[arg(long, value_enum, value_name = "HOW")]
    publish: Option<Publish>,
    /// How the writers sign in; by the seed without it.
    #[arg(long, value_enum, value_name = "HOW")]
    sign_in: Option<SignIn>,
    /// How many seconds the fleet has to drain once the faults are lifted, 10 to 3,600.
    #[arg(long, default_value_t = 120, value_name = "N", value_parser = clap::value_parser!(u32).range(10..=3_600))]
    drain: u32,
    /// Where the programs lie, instead of building them.
    #[arg(long, value_name = "DIR")]
    programs_in: Option<PathBuf>,
    /// Print the faults and their times, and run nothing.
    #[arg(long)]
    plan: bool,
}

/// When the org publishes a platform event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Publish {
    /// When the transaction of its records commits; it travels with them.
    AfterCommit,
    /// At once; it follows its records.
    Immediate,
}

impl Publish {
    /// Two of three seeds publish after the commit.
    fn of(seed: u64) -> Self {
        if seed % 3 == 2 { Self::Immediate } else { Self::AfterCommit }
    }

    /// The value of the setting.
    pub(crate) fn setting(self) -> &'static str {
        match self {
            Self::AfterCommit => "after_commit",
            Self::Immediate => "immediate",
        }
    }
}

impl Chaos {
    pub(crate) async fn run(self) -> Result<ExitCode> {
        if self.plan {
            for fault in schedule(self.seed, &self.extent()) {
                println!("{fault}");
            }
            return Ok(ExitCode::SUCCESS);
        }
        let mut signals = Signals::listen()?;
        let _alone = alone(&crate::target(), "chaos")?;
        let (report, dir) = tokio::select! {
            played = self.play() => played?,
            // Whatever was started ends as it is dropped.
            signal = signals.next() => {
                eprintln!("\nstopped");
                return Ok(signal.exit_code());
            }
        };
        let file = dir.join("report.json");
        report.save(&file)?;
        println!("\n{}", report.render());
        println!("report: {}", shown(&file));
        if report.holds() {
            println!("logs:   {}", shown(&dir.join("logs")));
            return Ok(ExitCode::SUCCESS);
        }
        let kept = keep(&dir, self.seed)?;
        println!("logs:   {}\nagain:  {}", shown(&kept), report.command);
        Ok(ExitCode::FAILURE)
    }

    /// Everything up to the report; what was started is ended.
    async fn play(&self) -> Result<(Report, PathBuf)> {
        let dir = stage_folder_without_failures()?;
        let console = Console::new();
        let faults = schedule(self.seed, &self.extent());
        let publish = self.publish();
        console.say(&format!(
            "{} s, seed {}, {} faults, events published {}, sign-in {}",
            self.seconds,
            self.seed,
            faults.len(),
            publish.setting().replace('_', " "),
            self.sign_in().name()
        ));
        let programs = match &self.programs_in {
            Some(folder) => Programs::lying_in(&std::path::absolute(folder)?)
                .with_context(|| format!("not all programs are in {}", folder.display()))?,
            // Cargo shows its own progress.
            None => Programs::build_alike().await?,
        };
        let services = console.step("RabbitMQ and Redis are up", Services::start(&crate::services::root())).await?;
        let stage = Stage::set(self, publish, &programs, services, &dir, &console).await?;
        let run = stage.play(&faults, &console).await?;
        let histories = dir.join("logs").join("customers.txt");
        std::fs::write(&histories, &run.histories).with_context(|| format!("cannot write {}", histories.display()))?;
        Ok((Report::of(self, publish, &faults, &run), dir))
    }

    fn extent(&self) -> Extent {
        let mut kinds = if self.faults.is_empty() { Kind::value_variants().to_vec() } else { self.faults.clone() };
        // There is no connection to revoke.
        kinds.retain(|kind| *kind != Kind::Revoked || self.sign_in().is_shared());
        Extent { time: self.time(), programs: self.programs.into(), kinds }
    }

    fn time(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }

    fn publish(&self) -> Publish {
        self.publish.unwrap_or_else(|| Publish::of(self.seed))
    }

    fn sign_in(&self) -> SignIn {
        self.sign_in.unwrap_or_else(|| SignIn::of(self.seed))
    }

    fn orders(&self) -> usize {
        self.seconds as usize * self.rate as usize
    }

    /// The command that repeats it.
    fn command(&self) -> String {
        let Self { seconds, seed, rate, programs, drain, .. } = self;
        let publish = self.publish().to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        let mut command = format!(
            "cargo xtask chaos --seconds {seconds} --seed {seed} --rate {rate} --programs {programs} --drain {drain} \
             --publish {publish} --sign-in {}",
            self.sign_in().name()
        );
        if !self.faults.is_empty() {
            let names: Vec<String> = self.faults.iter().map(|kind| kind.name()).collect();
            command.push_str(" --faults ");
            command.push_str(&names.join(","));
        }
        command
    }
}

/// `target/chaos`, in which what earlier failures kept stays.
fn stage_folder_without_failures() -> Result<PathBuf> {
    let dir = crate::target().join("chaos");
    for part in ["logs", "processes"] {
        let _ = std::fs::remove_dir_all(dir.join(part));
    }
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    Ok(dir)
}

/// Puts the logs and the report of a failed run aside, where the next run leaves them alone.
fn keep(dir: &Path, seed: u64) -> Result<PathBuf> {
    let kept = dir.join(format!("failed-{seed}"));
    let _ = std::fs::remove_dir_all(&kept);
    let moved = std::fs::create_dir_all(&kept)
        .and_then(|()| std::fs::rename(dir.join("logs"), kept.join("logs")))
        .and_then(|()| std::fs::copy(dir.join("report.json"), kept.join("report.json")).map(drop));
    moved.with_context(|| format!("cannot keep the logs in {}", kept.display()))?;
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The programs that `cargo test --workspace` has built beside this test; none when it was built alone.
    fn beside() -> Option<PathBuf> {
        let test = std::env::current_exe().ok()?;
        let folder = test.parent()?.parent()?.to_owned();
        Programs::lying_in(&folder).map(|_| folder)
    }

    #[test]
    fn a_connection_is_revoked_only_where_the_writers_share_one() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            chaos: Chaos,
        }
        let kinds = |seed: &str| {
            let line = <Line as clap::Parser>::try_parse_from(["chaos", "--seed", seed]).expect("arguments");
            (line.chaos.sign_in(), line.chaos.extent().kinds.contains(&Kind::Revoked))
        };
        let expected = [(SignIn::Fleet, true), (SignIn::FleetWithGrace, true), (SignIn::Own, false)];
        assert_eq!(["1", "2", "3"].map(kinds), expected);
    }

    /// Every family of faults, in a run that has time for each.
    fn short() -> Chaos {
        Chaos {
            seconds: 30,
            seed: 1,
            rate: 20,
            programs: 3,
            faults: vec![
                Kind::KillIngest,
                Kind::KillWriter,
                Kind::StopIngest,
                Kind::StopWriter,
                Kind::EndIngest,
                Kind::EndWriter,
                Kind::KillRabbitmq,
                Kind::KillRedis,
                Kind::Flush,
                Kind::Cut,
                Kind::Slow,
                Kind::CommitThenDrop,
                Kind::Truncated,
                Kind::Locks,
                Kind::Halted,
                Kind::Expired,
                Kind::DailyLimit,
                Kind::ConcurrentLimit,
                Kind::Unavailable,
                Kind::TokenLost,
            ],
            publish: None,
            sign_in: None,
            drain: 90,
            programs_in: beside(),
            plan: false,
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_fleet_whose_programs_broker_redis_lines_and_org_fail_loses_doubles_and_reorders_nothing() {
        let chaos = short();
        let _alone = alone(&crate::target(), "chaos").expect("no other run");
        let (report, dir) = chaos.play().await.expect("it runs to its end");
        let kept = (!report.holds()).then(|| {
            report.save(&dir.join("report.json")).expect("saved");
            keep(&dir, chaos.seed).expect("kept")
        });
        assert!(report.holds(), "{}\nlogs: {kept:?}\nagain: {}", report.render(), report.command);
        let fallen: Vec<Kind> = report.faults.keys().copied().collect();
        let unmade: Vec<Kind> = chaos.faults.iter().copied().filter(|kind| !fallen.contains(kind)).collect();
        assert_eq!(unmade, [], "each falls at least once\n{}", report.render());
        assert!(report.fault_hits.values().all(|hits| *hits > 0), "{:?}", report.fault_hits);
        assert!(report.orders_written > 400, "{}", report.render());
    }
}
