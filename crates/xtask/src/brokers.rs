//! `cargo xtask brokers`: the queue's tests and a short chaos run on other versions of RabbitMQ than this machine's.

mod mirror;
mod root;

use std::path::Path;
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result};
use clap::ValueEnum;
use comfy_table::{Cell, CellAlignment, Color};
use serde_json::Value;
use testkit::install::{BrokerHome, RABBITMQ_ROOT};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::child::Signals;
use crate::demo::console::Console;
use crate::demo::report::table;

/// Run the queue's tests and a short chaos run on other versions of RabbitMQ.
///
/// Each version lives in a small Debian system of its own below target/brokers, made by mmdebstrap when it is missing
/// (about 240 MB and half a minute to three minutes each) from the mirror that this machine's own apt sources name; nothing
/// in it is started. A node of it runs by chroot in a mount namespace of its own, so this has to be root. The tests find it
/// by `CAUSEWAY_RABBITMQ_ROOT`, which works for `cargo xtask services`, `test` and `chaos` as well.
///
/// Ends in a table: per version the tests that passed and failed, and the figures of the chaos run. The exit code is 0
/// only when all tests passed and every chaos run kept its promises.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask brokers                            4.0 and 4.3, 45 s of faults each\n  \
    cargo xtask brokers --versions 4.3 --seed 7    one version, other faults\n\n\
    By hand, with a system that is made:\n  \
    CAUSEWAY_RABBITMQ_ROOT=target/brokers/forky cargo xtask chaos --seconds 300")]
pub(crate) struct Brokers {
    /// Which versions, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "4.0,4.3", value_name = "LIST")]
    versions: Vec<Version>,
    /// How many seconds of faults, 5 to 3,600.
    #[arg(long, default_value_t = 45, value_name = "N", value_parser = clap::value_parser!(u32).range(5..=3_600))]
    seconds: u32,
    /// The seed of the chaos runs.
    #[arg(long, default_value_t = 1, value_name = "S")]
    seed: u64,
    /// Orders published per second in them, 5 to 1,000.
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(5..=1_000))]
    rate: u32,
}

/// A version of RabbitMQ, and the release of Debian that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Version {
    /// Debian 13, trixie.
    #[value(name = "4.0")]
    V4_0,
    /// Debian testing, forky.
    #[value(name = "4.3")]
    V4_3,
}

impl Version {
    /// The name of Debian's release.
    pub(crate) fn release(self) -> &'static str {
        match self {
            Self::V4_0 => "trixie",
            Self::V4_3 => "forky",
        }
    }

    /// How its full version begins.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Self::V4_0 => "4.0.",
            Self::V4_3 => "4.3.",
        }
    }
}

/// What a version came to.
struct Outcome {
    /// `4.0.5`
    version: String,
    tests: Tests,
    /// The chaos run's report, where there is one.
    chaos: Option<Value>,
    held: bool,
}

/// What cargo's last lines say.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tests {
    passed: usize,
    failed: usize,
    /// Whether cargo itself was content.
    content: bool,
}

impl Brokers {
    pub(crate) async fn run(self) -> Result<ExitCode> {
        let mut signals = Signals::listen()?;
        tokio::select! {
            played = self.play() => played,
            signal = signals.next() => {
                eprintln!("\nstopped");
                Ok(signal.exit_code())
            }
        }
    }

    async fn play(&self) -> Result<ExitCode> {
        let console = Console::new();
        let place = crate::target().join("brokers");
        let mut outcomes = Vec::new();
        for version in &self.versions {
            let root = place.join(version.release());
            if BrokerHome::within(&root).is_err() {
                let what = format!("Debian {} with RabbitMQ {} is made", version.release(), version.prefix());
                console.step(&what, root::make(*version, &root)).await?;
            }
            let home = BrokerHome::within(&root)?;
            root::check(*version, &home)?;
            outcomes.push(self.try_out(&root, &home, &place, &console).await?);
        }
        println!("\n{}", rendered(&outcomes));
        let all = outcomes.iter().all(|outcome| outcome.held && outcome.tests.content);
        Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    async fn try_out(&self, root: &Path, home: &BrokerHome, place: &Path, console: &Console) -> Result<Outcome> {
        let version = home.version();
        console.say(&format!("RabbitMQ {version}"));
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut tests = this_task(root)?;
        tests.args(["services", "run", "--"]).arg(cargo);
        tests.args(["test", "--package", "causeway-queue", "--test", "it", "--no-fail-fast"]);
        let (content, lines) = console.step("the queue's tests have run", said(tests)).await?;
        let mut chaos = this_task(root)?;
        chaos.arg("chaos").args(["--seconds", &self.seconds.to_string(), "--seed", &self.seed.to_string()]);
        chaos.args(["--rate", &self.rate.to_string()]);
        let (held, scorecard) = console.step("the chaos run has ended", said(chaos)).await?;
        let kept = place.join(format!("chaos-{version}.json"));
        // A run that was given up before its end has no report, or an older one.
        let chaos = scorecard.iter().any(|line| line.starts_with("report:")).then(|| {
            let text = std::fs::read_to_string(crate::target().join("chaos").join("report.json")).ok()?;
            std::fs::write(&kept, &text).ok()?;
            serde_json::from_str(&text).ok()
        });
        for line in scorecard.iter().filter(|line| line.starts_with('✗')) {
            console.say(line);
        }
        Ok(Outcome { version, tests: Tests { content, ..Tests::counted(&lines) }, chaos: chaos.flatten(), held })
    }
}

/// This program once more, told where RabbitMQ is.
fn this_task(root: &Path) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("where is this program?")?);
    command.env(RABBITMQ_ROOT, std::path::absolute(root)?).current_dir(crate::root()).kill_on_drop(true);
    Ok(command)
}

/// Runs a command to its end, passing on what it prints; gives whether it succeeded, and its lines.
async fn said(mut command: Command) -> Result<(bool, Vec<String>)> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot run a task")?;
    let mut lines = BufReader::new(child.stdout.take().context("a pipe was asked for")?).lines();
    let mut all = Vec::new();
    while let Some(line) = lines.next_line().await? {
        println!("{line}");
        all.push(line);
    }
    Ok((child.wait().await?.success(), all))
}

impl Tests {
    /// From lines such as `test result: ok. 12 passed; 0 failed; …`.
    fn counted(lines: &[String]) -> Self {
        let mut tests = Self::default();
        for line in lines.iter().filter(|line| line.starts_with("test result:")) {
            let count = |what: &str| -> usize {
                let before = line.split(what).next().unwrap_or_default().trim_end();
                before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or_default()
            };
            tests.passed += count("passed;");
            tests.failed += count("failed;");
        }
        tests
    }
}

fn rendered(outcomes: &[Outcome]) -> comfy_table::Table {
    let mut table = table();
    let heads = [
        "RabbitMQ",
        "tests",
        "failed",
        "orders",
        "faults",
        "lost",
        "records twice",
        "events twice",
        "out of order",
        "calls/1,000",
        "drained in",
        "chaos",
    ];
    table.set_header(heads);
    for Outcome { version, tests, chaos, held } in outcomes {
        let figure = |name: &str| {
            let value = chaos.as_ref().and_then(|report| report.get(name));
            value.map_or_else(
                || "?".to_owned(),
                |value| value.as_f64().map_or_else(String::new, |figure| figure.to_string()),
            )
        };
        let faults = chaos.as_ref().and_then(|report| report.get("faults")?.as_object());
        let faults: u64 = faults.into_iter().flat_map(|faults| faults.values()).filter_map(Value::as_u64).sum();
        let (mark, color) = if *held { ("✓", Color::Green) } else { ("✗", Color::Red) };
        let mut cells = vec![version.clone(), tests.passed.to_string(), tests.failed.to_string()];
        cells.extend([figure("orders_published"), faults.to_string()]);
        let figures = ["orders_lost", "records_duplicated", "events_duplicated", "sequence_violations"];
        cells.extend(figures.map(figure));
        cells.extend([figure("api_calls_per_1000_orders"), format!("{} s", figure("seconds_to_drain"))]);
        let mut row: Vec<Cell> =
            cells.into_iter().map(|text| Cell::new(text).set_alignment(CellAlignment::Right)).collect();
        row.push(Cell::new(mark).fg(color));
        table.add_row(row);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_counted_over_all_of_cargos_last_lines() {
        let lines = [
            "running 3 tests",
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.10s",
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
        ];
        let counted = Tests::counted(&lines.map(str::to_owned));
        assert_eq!(counted, Tests { passed: 15, failed: 2, content: false });
    }
}
