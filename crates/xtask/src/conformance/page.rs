//! The page for people, used by a headless browser as a person would: `page/check.mjs` beside the scenarios.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::process::Command;

use super::install::{Machine, Obstacle, tail};
use super::job::{Ended, logged, unbroken, version};
use super::org::Org;
use super::plan::Runner;
use super::report::Outcome;

/// What a browser is called, by distribution.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// How long unpacking one is waited for.
const UNPACK: Duration = Duration::from_mins(5);
/// How long apt waits for another apt (in seconds).
const LOCK: &str = "DPkg::Lock::Timeout=120";
/// How long the walk through the page may take.
const WALK: Duration = Duration::from_mins(3);
/// A tool is missing (`EX_UNAVAILABLE`): what the check ends with then.
const UNAVAILABLE: i32 = 69;

/// A browser: the one that is named, else one that is installed, else the distribution's, unless offline.
///
/// # Errors
/// There is none, and none is to be had.
pub(crate) async fn browser(named: Option<PathBuf>, machine: &Machine, log: &Path) -> Result<PathBuf, Obstacle> {
    if let Some(named) = named
        && works(&named, &machine.path).await
    {
        return Ok(named);
    }
    if let Some(browser) = installed(&machine.path).await {
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
    let until = tokio::time::Instant::now() + machine.limits.fetch;
    let apt = |arguments: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.args(arguments).env("PATH", &machine.path).env("DEBIAN_FRONTEND", "noninteractive");
        apt
    };
    let install = ["install", "--quiet", "--yes", "--no-install-recommends", "-o", LOCK, "chromium"];
    let (download, update) = ([&install[..], &["--download-only"]].concat(), ["update", "--quiet"]);
    // A source of somebody else's that does not answer fails the update, and the package may be had all the same.
    for (arguments, needed) in [(&update[..], false), (&download, true)] {
        let left = until.saturating_duration_since(tokio::time::Instant::now());
        match logged(&mut apt(arguments), log, left).await? {
            Ended::Exit(status) if needed && !status.success() => {
                return Err(missing(&format!("apt-get does not bring it (see {})", log.display())));
            }
            Ended::Exit(_) => {}
            Ended::TooLong => {
                let minutes = machine.limits.fetch.as_secs() / 60;
                return Err(missing(&format!("apt-get took more than {minutes} min")));
            }
        }
    }
    // Killed while it unpacks, dpkg leaves a machine on which nothing can be installed until it is repaired by hand.
    if matches!(unbroken(&mut apt(&install), log, UNPACK).await?, Ended::TooLong) {
        let minutes = UNPACK.as_secs() / 60;
        return Err(missing(&format!("apt-get, which goes on, has not unpacked it after {minutes} min")));
    }
    let found = installed(&machine.path).await;
    found.ok_or_else(|| missing(&format!("apt-get does not bring it (see {})", log.display())))
}

async fn installed(path: &OsStr) -> Option<PathBuf> {
    let folders: Vec<_> = std::env::split_paths(path).collect();
    for name in BROWSERS {
        for folder in &folders {
            let file = folder.join(name);
            if works(&file, path).await {
                return Some(file);
            }
        }
    }
    None
}

/// Whether there is a browser, and not only the script by which some distributions say where to get one.
async fn works(file: &Path, path: &OsStr) -> bool {
    file.is_file() && version(file, path).await.is_some()
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

    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

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
    async fn a_browser_that_does_not_start_was_not_looked_with() {
        if version("node", &std::env::var_os("PATH").unwrap_or_default()).await.is_none() {
            eprintln!("not tested: node is not installed on this machine");
            return;
        }
        let scratch = Scratch::new();
        let driver = scratch.bin().join("node_modules/playwright-core");
        fs::create_dir_all(&driver).expect("a folder");
        let words = "throw new Error('browserType.launch: Failed to launch\\nCall log:')";
        let code = format!("exports.chromium = {{ launch: async () => {{ {words}; }} }};");
        fs::write(driver.join("index.js"), code).expect("a module");
        let script = crate::conformance::list().with_file_name("page").join("check.mjs");
        fs::copy(script, scratch.bin().join("check.mjs")).expect("a copy");
        let browser = scratch.program("chromium", "");
        let mut command = Runner::Page.command("check.mjs", &scratch.bin());
        command.args(["http://127.0.0.1:1".as_ref(), scratch.bin().as_os_str()]).env("CHROMIUM", &browser);
        let ended = logged(&mut command, &scratch.log(), WALK).await.expect("node runs");
        let said = fs::read_to_string(scratch.log()).expect("a log");
        let why = format!("{} does not start: browserType.launch: Failed to launch", browser.display());
        assert_eq!(verdict(&ended, &said, 7), Outcome::NotRun { reason: format!("page check not run: {why}") });
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
        assert_eq!(scratch.calls(), "chromium-browser --version\nmy-own --version\n");
    }

    #[tokio::test]
    async fn a_script_that_only_says_where_a_browser_is_to_be_had_is_none() {
        let scratch = Scratch::new();
        let words = "Command '/usr/bin/chromium-browser' requires the chromium snap to be installed.";
        let stub = scratch.program("chromium-browser", &format!("echo \"{words}\" >&2\nexit 1"));
        for named in [None, Some(stub)] {
            let found = browser(named, &scratch.machine(true), &scratch.log()).await;
            assert!(matches!(found, Err(Obstacle::OutOfReach(_))), "{found:?}");
        }
        let chrome = scratch.program("google-chrome", "");
        assert_eq!(browser(None, &scratch.machine(true), &scratch.log()).await, Ok(chrome), "the next is asked");
    }

    #[tokio::test]
    async fn unpacking_goes_on_when_nobody_waits_for_it_any_more() {
        let scratch = Scratch::new();
        let [begun, go_on] = ["begun", "go-on"].map(|name| {
            let path = scratch.bin().join(name);
            assert!(std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo runs").success());
            path
        });
        // Not the first install, which only downloads.
        let unpack =
            format!("echo begun > '{0}'\nread line < '{1}'\necho done > '{0}'", begun.display(), go_on.display());
        let last = "case \"$*\" in update*|*--version|*--download-only) exit 0;; esac";
        scratch.program("apt-get", &format!("{last}\n{unpack}"));
        let pipe = || {
            let mut options = tokio::net::unix::pipe::OpenOptions::new();
            options.read_write(true);
            options
        };
        let mut heard = BufReader::new(pipe().open_receiver(&begun).expect("a pipe")).lines();
        let mut told = pipe().open_sender(&go_on).expect("a pipe");
        let (machine, log) = (scratch.machine(false), scratch.log());
        tokio::select! {
            found = browser(None, &machine, &log) => panic!("{found:?}"),
            line = heard.next_line() => assert_eq!(line.expect("a line").as_deref(), Some("begun")),
        }
        told.write_all(b"now\n").await.expect("a reader");
        let done = tokio::time::timeout(Duration::from_secs(30), heard.next_line()).await;
        assert_eq!(done.expect("it was not killed").expect("a line").as_deref(), Some("done"));
    }

    #[tokio::test]
    async fn what_does_not_download_in_time_or_at_all_is_not_unpacked() {
        let scratch = Scratch::new();
        scratch.program("apt-get", "case \"$*\" in *--download-only) exit 100;; esac");
        let found = browser(None, &scratch.machine(false), &scratch.log()).await;
        let Err(Obstacle::OutOfReach(reason)) = found else { panic!("{found:?}") };
        assert!(reason.contains("apt-get does not bring it"), "{reason}");
        assert!(scratch.calls().ends_with(" --download-only\n"));
        scratch.program("apt-get", "[ \"$1\" = --version ] || exec /bin/sleep 60");
        let mut machine = scratch.machine(false);
        machine.limits.fetch = Duration::ZERO;
        let found = browser(None, &machine, &scratch.log()).await;
        let Err(Obstacle::OutOfReach(reason)) = found else { panic!("{found:?}") };
        assert!(reason.contains("apt-get took more than 0 min"), "{reason}");
    }

    #[tokio::test]
    async fn a_missing_browser_comes_from_the_distribution_unless_offline() {
        let scratch = Scratch::new();
        let bin = scratch.bin();
        let unpack = format!("printf '#!/bin/sh\\n' > '{0}/chromium'; /bin/chmod 755 '{0}/chromium'", bin.display());
        scratch.program("apt-get", &format!("case \"$*\" in install*chromium) {unpack};; esac"));
        let offline = browser(None, &scratch.machine(true), &scratch.log()).await;
        let Err(Obstacle::OutOfReach(reason)) = offline else { panic!("{offline:?}") };
        assert!(reason.contains("--offline forbids to fetch it"), "{reason}");
        assert_eq!(scratch.calls(), "", "nothing is asked of apt-get offline");
        let found = browser(None, &scratch.machine(false), &scratch.log()).await;
        assert_eq!(found, Ok(bin.join("chromium")));
        let install = "apt-get install --quiet --yes --no-install-recommends -o DPkg::Lock::Timeout=120 chromium";
        let calls = format!("apt-get --version\napt-get update --quiet\n{install} --download-only\n{install}\n");
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
