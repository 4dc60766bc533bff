//! `cargo xtask conformance`: unmodified public clients against the simulated org.
//!
//! The list of scenarios lies in `crates/simulator/conformance`, with a runner for each client. Clients run one after
//! the other, so that each has the org to itself.

#[cfg(test)]
mod ci;
mod install;
mod job;
mod org;
mod page;
mod plan;
mod report;
mod session;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use futures::future::join_all;

use self::install::{Limits, Machine, install};
use self::org::Org;
use self::plan::{Client, Plan, Runner};
use self::report::{Column, Outcome, Report, Row, UNAVAILABLE};
use self::session::Session;
use crate::child::Signals;
use crate::demo::build::executables;
use crate::demo::console::Console;

/// Run unmodified public clients against the simulated org, each through the same scenarios.
///
/// The clients are installed from npm, PyPI and crates.io as their lock files pin them by hash, below
/// target/conformance, and only when these changed. All of them together get the page of the org looked at, too, in a
/// headless Chromium. It ends in a table and target/conformance/report.json; what clients and runners wrote is in
/// target/conformance/logs.
///
/// Exit codes: 0 all agree; 1 a client and the org disagree, or what is pinned does not install although its registry
/// answers; 69 nothing disagrees, but a registry was out of reach or a tool is not installed. A run that a signal ends
/// tells what disagreed by then, if anything did, and ends with 1; else with 128 and the signal's number.
#[derive(Debug, clap::Args)]
pub(crate) struct Conformance {
    /// Only these clients, separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "CLIENTS")]
    only: Vec<String>,
    /// Only these scenarios, separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "IDS")]
    scenario: Vec<String>,
    /// Print the report as JSON instead of the table.
    #[arg(long)]
    json: bool,
    /// Fetch nothing: use what an earlier run installed.
    #[arg(long)]
    offline: bool,
}

impl Conformance {
    pub(crate) async fn run(self) -> Result<ExitCode> {
        let plan = Plan::read(&list())?.select(&self.only, &self.scenario)?;
        let mut signals = Signals::listen()?;
        // What is dropped here kills its processes.
        let began = Instant::now();
        let mut report = Report::default();
        let whole = self.only.is_empty() && self.scenario.is_empty();
        let signal = tokio::select! {
            done = carry_out(&plan, whole, self.offline, &mut report) => {
                done?;
                None
            }
            signal = signals.next() => Some(signal),
        };
        if let Some(signal) = signal {
            if !report.disagrees() {
                return Ok(signal.exit_code());
            }
            eprintln!("conformance: ended by a signal; this disagreed by then");
        }
        report.seconds = began.elapsed().as_secs_f64();
        let json = serde_json::to_string_pretty(&report)?;
        let path = target().join("report.json");
        fs::write(&path, &json).with_context(|| format!("cannot write {}", path.display()))?;
        if self.json {
            println!("{json}");
        } else {
            println!("{}", report.text());
        }
        let code = report.exit_code();
        if code == UNAVAILABLE {
            eprintln!("conformance: something could not be run (see above); exit code {UNAVAILABLE}");
        }
        Ok(ExitCode::from(code))
    }
}

/// `whole` says that nothing was left out, and so the page is looked at too.
/// The report holds at any time what came of it so far.
async fn carry_out(plan: &Plan, whole: bool, offline: bool, report: &mut Report) -> Result<()> {
    let console = Console::new();
    let logs = target().join("logs");
    fs::create_dir_all(&logs).with_context(|| format!("cannot write below {}", target().display()))?;
    let build = executables(["causeway-simulator"], &[]);
    let [simulator] = console.step("the simulator is built", build).await?;
    let source = list().parent().map(Path::to_path_buf).unwrap_or_default();
    let into = target();
    let machine = Machine {
        path: std::env::var_os("PATH").unwrap_or_default(),
        build: std::path::absolute(std::env::var_os("CARGO_TARGET_DIR").map_or_else(crate::target, PathBuf::from))?,
        offline,
        limits: Limits::default(),
    };
    // Registries are waited for side by side, and each client is run that came in, whatever happened to others.
    let runners: BTreeSet<_> =
        plan.clients.iter().map(|client| client.runner).chain(whole.then_some(Runner::Page)).collect();
    let (console, machine) = (&console, &machine);
    let installs = runners.into_iter().map(|runner| {
        let what = format!("what {} needs is installed", runner.folder());
        let put = install(runner, &source, &into, machine);
        async move { (runner, console.attempt(&what, put).await) }
    });
    let log = logs.join("install-browser.log");
    let browser = async {
        if !whole {
            return None;
        }
        let named = std::env::var_os("CHROMIUM").map(PathBuf::from);
        Some(console.attempt("a browser is here", page::browser(named, machine, &log)).await)
    };
    let (installed, browser) = tokio::join!(join_all(installs), browser);
    let installed: BTreeMap<_, _> = installed.into_iter().collect();
    let keys = crate::root().join("crates/simulator/tests/it/keys");
    let private_key = keys.join("app.pem");
    let public_key = fs::read_to_string(keys.join("app.pub.pem")).context("cannot read the app's public key")?;
    let without_tls = Org::start(&simulator, public_key.clone(), None, &logs.join("simulator.log")).await?;
    // Some clients know nothing but https. If only that org is broken, the other clients still have their say.
    let with_tls = if plan.clients.iter().any(|client| client.needs_tls) {
        let authority = std::path::absolute(into.join("authority.pem"))?;
        Some(Org::start(&simulator, public_key, Some(authority), &logs.join("simulator-tls.log")).await)
    } else {
        None
    };
    report.scenarios.extend(plan.scenarios.iter().map(|scenario| Row {
        id: scenario.id.clone(),
        title: scenario.title.clone(),
        proves: scenario.proves.clone(),
        results: BTreeMap::new(),
    }));
    for client in &plan.clients {
        let pins = fs::read_to_string(source.join(client.runner.folder()).join(client.runner.pins()))?;
        let version = client.version(&pins).unwrap_or_default();
        report.clients.push(Column { id: client.id.clone(), package: client.package.clone(), version });
        let rows = report.scenarios.as_mut_slice();
        match installed.get(&client.runner) {
            Some(Ok(at)) => match with_tls.as_ref().filter(|_| client.needs_tls) {
                Some(Err(error)) => instead(plan, client, rows, || Outcome::failed(error)),
                org => {
                    let org = org.and_then(|org| org.as_ref().ok()).unwrap_or(&without_tls);
                    let work = through(plan, client, at, org, &private_key, rows);
                    if let Err(error) = console.step(&client.id, work).await {
                        instead(plan, client, rows, || Outcome::failed(&error));
                    }
                }
            },
            Some(Err(obstacle)) => instead(plan, client, rows, || obstacle.outcome()),
            None => instead(plan, client, rows, || Outcome::NotRun { reason: "it was not installed".to_owned() }),
        }
    }
    report.page = match (installed.get(&Runner::Page), browser) {
        (Some(Ok(at)), Some(Ok(browser))) => {
            without_tls.reset().await?;
            let check = page::check(&without_tls, at, &browser, &into);
            Some(console.step("the page in a browser", check).await?)
        }
        (Some(Err(obstacle)), _) => Some(obstacle.outcome()),
        (_, Some(Err(obstacle))) => Some(obstacle.outcome()),
        (_, None) | (None, _) => None,
    };
    for org in with_tls.and_then(Result::ok).into_iter().chain([without_tls]) {
        org.stop().await;
    }
    Ok(())
}

/// All scenarios through one client, in the order of the list; `rows` are theirs.
async fn through(plan: &Plan, client: &Client, at: &Path, org: &Org, key: &Path, rows: &mut [Row]) -> Result<()> {
    let log = target().join("logs").join(format!("{}.log", client.id));
    let _ = fs::remove_file(&log);
    let start = || {
        let mut command = client.runner.command(&client.file, at);
        command.env("CONFORMANCE_KEY", key);
        org.tell(&mut command);
        Session::start(&mut command, &log)
    };
    let mut session = None;
    for (scenario, row) in plan.scenarios.iter().zip(rows) {
        if let Some(reason) = scenario.reason(client) {
            row.results.insert(client.id.clone(), Outcome::NotOffered { reason: reason.to_owned() });
            continue;
        }
        org.prepare(scenario).await.with_context(|| format!("scenario {} cannot be prepared", scenario.id))?;
        let mut running = match session.take() {
            Some(running) => running,
            None => start()?,
        };
        let (outcome, goes_on) = running.run(&scenario.id).await;
        row.results.insert(client.id.clone(), outcome);
        if goes_on {
            session = Some(running);
        } else {
            running.stop().await;
        }
    }
    if let Some(session) = session {
        session.stop().await;
    }
    Ok(())
}

/// What comes of each scenario that a client takes part in and was not, or no longer, run through.
fn instead(plan: &Plan, client: &Client, rows: &mut [Row], outcome: impl Fn() -> Outcome) {
    for (scenario, row) in plan.scenarios.iter().zip(rows) {
        row.results.entry(client.id.clone()).or_insert_with(|| match scenario.reason(client) {
            Some(reason) => Outcome::NotOffered { reason: reason.to_owned() },
            None => outcome(),
        });
    }
}

/// The list of scenarios.
fn list() -> PathBuf {
    crate::root().join("crates/simulator/conformance/scenarios.toml")
}

/// What is installed and written.
fn target() -> PathBuf {
    crate::target().join("conformance")
}
