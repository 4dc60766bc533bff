//! A client at work: its process gets scenario ids, one a line, and answers each with one JSON line.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout, Command};

use super::install::tail;
use super::job::Job;
use super::report::Outcome;

/// How long one scenario may take.
const SCENARIO: Duration = Duration::from_mins(1);

/// The running process of a client.
#[derive(Debug)]
pub(crate) struct Session {
    job: Job,
    requests: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    log: PathBuf,
}

/// What a runner says of a scenario.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Verdict {
    id: String,
    ok: bool,
    millis: u64,
    #[serde(default)]
    detail: String,
}

impl Session {
    /// Starts a runner. What it and its client write besides goes to the log.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let file = fs::File::options().create(true).append(true).open(log);
        let file = file.with_context(|| format!("cannot write {}", log.display()))?;
        let mut job = Job::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(file))?;
        let requests = job.child.stdin.take().context("the runner takes no input")?;
        let answers = job.child.stdout.take().context("the runner has no output")?;
        Ok(Self { job, requests, answers: BufReader::new(answers).lines(), log: log.to_owned() })
    }

    /// Has one scenario carried out. The second value says whether the runner can go on.
    pub(crate) async fn run(&mut self, id: &str) -> (Outcome, bool) {
        match tokio::time::timeout(SCENARIO, self.ask(id)).await {
            Ok(Ok(Some(Verdict { ok: true, millis, detail, .. }))) => (Outcome::Passed { millis, detail }, true),
            Ok(Ok(Some(Verdict { millis, detail, .. }))) => (Outcome::Failed { millis, detail }, true),
            Ok(Ok(None)) => (self.ended("the runner ended").await, false),
            Ok(Err(error)) => (self.ended(&format!("the runner cannot be talked to: {error}")).await, false),
            Err(_) => {
                let detail = format!("no answer within {} s", SCENARIO.as_secs());
                (Outcome::Failed { millis: u64::try_from(SCENARIO.as_millis()).unwrap_or(u64::MAX), detail }, false)
            }
        }
    }

    /// Ends it.
    pub(crate) async fn stop(self) {
        drop(self.requests);
        self.job.stop(Duration::from_secs(2)).await;
    }

    async fn ask(&mut self, id: &str) -> std::io::Result<Option<Verdict>> {
        self.requests.write_all(format!("{id}\n").as_bytes()).await?;
        self.requests.flush().await?;
        while let Some(line) = self.answers.next_line().await? {
            if let Some(verdict) = verdict(&line, id) {
                return Ok(Some(verdict));
            }
        }
        Ok(None)
    }

    async fn ended(&mut self, what: &str) -> Outcome {
        // It is gone, or as good as; a moment lets the last lines reach the log.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.job.child.wait()).await;
        let said = fs::read_to_string(&self.log).unwrap_or_default();
        Outcome::Failed { millis: 0, detail: format!("{what}:\n{}", tail(&said, 10)) }
    }
}

/// The verdict on this scenario, if the line is one; clients print other things too.
fn verdict(line: &str, id: &str) -> Option<Verdict> {
    serde_json::from_str::<Verdict>(line).ok().filter(|verdict| verdict.id == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_verdict_on_the_scenario_asked_for_counts() {
        let line = r#"{"id":"row-life","ok":true,"millis":12}"#;
        let found = verdict(line, "row-life").expect("a verdict");
        assert_eq!(found, Verdict { id: "row-life".to_owned(), ok: true, millis: 12, detail: String::new() });
        assert_eq!(verdict(line, "describe"), None);
        for noise in ["", "listening", "{}", r#"{"id":"row-life"}"#] {
            assert_eq!(verdict(noise, "row-life"), None, "{noise}");
        }
    }

    #[tokio::test]
    async fn a_runner_that_ends_fails_the_scenario_with_its_last_words() {
        let folder = crate::target().join("conformance-tests");
        fs::create_dir_all(&folder).expect("a folder");
        let log = folder.join("ended.log");
        let _ = fs::remove_file(&log);
        let mut command = Command::new("sh");
        command.args(["-c", "read id; echo \"no such module\" >&2"]);
        let mut session = Session::start(&mut command, &log).expect("a shell");
        let (outcome, goes_on) = session.run("row-life").await;
        assert!(!goes_on);
        let Outcome::Failed { detail, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!(detail, "the runner ended:\nno such module");
        session.stop().await;
    }
}
