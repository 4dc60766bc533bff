//! The page for people, used by a headless browser as a person would: `page/check.mjs` beside the scenarios.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::process::Command;

use super::install::{Machine, Obstacle, tail};
use super::job::{Ended, logged, version};
use super::org::Org;
use super::plan::Runner;
use super::report::Outcome;

/// What a browser is called, by distribution.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// How long the distribution may take to bring one.
const FETCH: Duration = Duration::from_mins(5);
/// How long the walk through the page may take.
const WALK: Duration = Duration::from_mins(3);
/// A tool is missing (`EX_UNAVAILABLE`): what the check ends with then.
const UNAVAILABLE: i32 = 69;

/// A browser: the one that is named, else one that is installed, else the distribution's, unless offline.
///
/// # Errors
/// There is none, and none is to be had.
pub(crate) async fn browser(named: Option<PathBuf>, machine: &Machine, log: &Path) -> Result<PathBuf, Obstacle> {
    if let Some(browser) = named.filter(|path| path.is_file()).or_else(|| installed(&machine.path)) {
        return Ok(browser);
    }
    let missing =
        |why: &str| Obstacle::OutOfReach(format!("there is no Chromium, and {why}; set CHROMIUM to its path"));
    if machine.offline {
        return Err(missing("--offline forbids to fetch it"));
    }
    if version("apt-get", &machine.path).await.is_none() {
        return Err(missing("no apt-get to install it with"));
    }
    let _ = fs::remove_file(log);
    let until = tokio::time::Instant::now() + FETCH;
    let install = ["install", "--quiet", "--yes", "--no-install-recommends", "chromium"];
    // A source of somebody else's that does not answer fails the update, and the package may be had all the same.
    for arguments in [&["update", "--quiet"][..], &install] {
        let mut apt = Command::new("apt-get");
        apt.args(arguments).env("PATH", &machine.path).env("DEBIAN_FRONTEND", "noninteractive");
        let left = until.saturating_duration_since(tokio::time::Instant::now());
        if matches!(logged(&mut apt, log, left).await?, Ended::TooLong) {
            return Err(missing(&format!("apt-get took more than {} min", FETCH.as_secs() / 60)));
        }
    }
    installed(&machine.path).ok_or_else(|| missing(&format!("apt-get does not bring it (see {})", log.display())))
}

fn installed(path: &OsStr) -> Option<PathBuf> {
    let folders: Vec<_> = std::env::split_paths(path).collect();
    BROWSERS.iter().find_map(|name| folders.iter().map(|folder| folder.join(name)).find(|file| file.is_file()))
}

/// Has the check carried out; `at` is where it was installed.
///
/// # Errors
/// It cannot be started.
pub(crate) async fn check(org: &Org, at: &Path, browser: &Path, target: &Path) -> Result<Outcome> {
    let log = target.join("logs/page.log");
    let _ = fs::remove_file(&log);
    let began = Instant::now();
    let mut command = Runner::Page.command("check.mjs", at);
    command.arg(org.base_url()).arg(target).env("CHROMIUM", browser);
    let ended = logged(&mut command, &log, WALK).await?;
    let said = fs::read_to_string(&log).unwrap_or_default();
    let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(verdict(&ended, &said, millis))
}

fn verdict(ended: &Ended, said: &str, millis: u64) -> Outcome {
    match ended {
        Ended::Exit(status) if status.success() => Outcome::Passed { millis, detail: String::new() },
        Ended::Exit(status) if status.code() == Some(UNAVAILABLE) => Outcome::NotRun { reason: tail(said, 1) },
        Ended::Exit(_) => Outcome::Failed { millis, detail: tail(said, 15) },
        Ended::TooLong => Outcome::Failed { millis, detail: format!("no end after {} min", WALK.as_secs() / 60) },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;
    use crate::conformance::install::tests::Scratch;

    #[test]
    fn a_check_that_was_not_run_neither_passed_nor_failed() {
        let ended = |code: i32| Ended::Exit(ExitStatus::from_raw(code << 8));
        assert_eq!(verdict(&ended(0), "ok   a\n", 7), Outcome::Passed { millis: 7, detail: String::new() });
        let reason = "page check not run: there is no Chromium";
        assert_eq!(verdict(&ended(69), reason, 7), Outcome::NotRun { reason: reason.to_owned() });
        let failed = Outcome::Failed { millis: 7, detail: "FAIL a".to_owned() };
        assert_eq!(verdict(&ended(1), "FAIL a", 7), failed);
    }

    #[tokio::test]
    async fn a_browser_that_is_here_is_taken_and_nothing_is_installed() {
        let scratch = Scratch::new();
        scratch.program("apt-get", "exit 1");
        let chromium = scratch.program("chromium-browser", "");
        let found = browser(None, &scratch.machine(false), &scratch.log()).await;
        assert_eq!(found, Ok(chromium));
        let own = scratch.program("my-own", "");
        assert_eq!(browser(Some(own.clone()), &scratch.machine(false), &scratch.log()).await, Ok(own));
        assert_eq!(scratch.calls(), "");
    }

    #[tokio::test]
    async fn a_missing_browser_comes_from_the_distribution_unless_offline() {
        let scratch = Scratch::new();
        let bin = scratch.bin();
        scratch.program("apt-get", &format!("[ \"$1\" = install ] && : > '{}/chromium'\nexit 0", bin.display()));
        let offline = browser(None, &scratch.machine(true), &scratch.log()).await;
        let Err(Obstacle::OutOfReach(reason)) = offline else { panic!("{offline:?}") };
        assert!(reason.contains("--offline forbids to fetch it"), "{reason}");
        assert_eq!(scratch.calls(), "", "nothing is asked of apt-get offline");
        let found = browser(None, &scratch.machine(false), &scratch.log()).await;
        assert_eq!(found, Ok(bin.join("chromium")));
        let calls = "apt-get --version\napt-get update --quiet\n\
                     apt-get install --quiet --yes --no-install-recommends chromium\n";
        assert_eq!(scratch.calls(), calls);
    }

    #[tokio::test]
    async fn a_browser_that_is_not_to_be_had_is_out_of_reach() {
        let scratch = Scratch::new();
        for (place, why) in [(None, "no apt-get"), (Some("[ \"$1\" = --version ]"), "apt-get does not bring it")] {
            if let Some(apt_get) = place {
                scratch.program("apt-get", apt_get);
            }
            let found = browser(Some(scratch.bin().join("gone")), &scratch.machine(false), &scratch.log()).await;
            let Err(Obstacle::OutOfReach(reason)) = found else { panic!("{found:?}") };
            assert!(reason.contains(why), "{reason}");
        }
    }
}
