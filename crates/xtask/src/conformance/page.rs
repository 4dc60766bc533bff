//! The page for people, used by a headless browser as a person would: `page/check.mjs` beside the scenarios.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::process::Command;

use super::install::{copy_files, tail};
use super::job::{Ended, exists, logged};
use super::org::Org;
use super::report::Outcome;

/// How long it may take, with the browser's driver fetched from npm.
const PATIENCE: Duration = Duration::from_mins(10);

/// Has the check carried out. It says itself when there is no browser.
///
/// # Errors
/// Its files cannot be copied.
pub(crate) async fn check(org: &Org, source: &Path, target: &Path) -> Result<Outcome> {
    if !exists("node").await {
        return Ok(Outcome::NotRun { reason: "node is not installed on this machine".to_owned() });
    }
    let at = target.join("page");
    fs::create_dir_all(&at)?;
    copy_files(&source.join("page"), &at)?;
    let log = target.join("logs/page.log");
    let _ = fs::remove_file(&log);
    let began = Instant::now();
    let mut command = Command::new("node");
    command.arg(at.join("check.mjs")).arg(org.base_url()).arg(target);
    let ended = logged(&mut command, &log, PATIENCE).await?;
    let said = fs::read_to_string(&log).unwrap_or_default();
    let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(verdict(&ended, &said, millis))
}

fn verdict(ended: &Ended, said: &str, millis: u64) -> Outcome {
    let line = |sign: &str| said.lines().find(|line| line.contains(sign)).map(str::to_owned);
    match ended {
        Ended::Exit(status) if status.success() => match line("SKIPPED") {
            Some(reason) => Outcome::NotRun { reason },
            None => Outcome::Passed { millis, detail: String::new() },
        },
        Ended::Exit(_) => Outcome::Failed { millis, detail: tail(said, 15) },
        Ended::TooLong => Outcome::Failed { millis, detail: format!("no end after {} min", PATIENCE.as_secs() / 60) },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    #[test]
    fn a_check_that_was_skipped_did_not_pass() {
        let ended = |code: i32| Ended::Exit(ExitStatus::from_raw(code << 8));
        assert_eq!(verdict(&ended(0), "ok   a\n", 7), Outcome::Passed { millis: 7, detail: String::new() });
        let skipped = "page check SKIPPED: there is no Chromium";
        assert_eq!(verdict(&ended(0), skipped, 7), Outcome::NotRun { reason: skipped.to_owned() });
        let failed = Outcome::Failed { millis: 7, detail: "FAIL a".to_owned() };
        assert_eq!(verdict(&ended(1), "FAIL a", 7), failed);
    }
}
