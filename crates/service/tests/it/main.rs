//! A process as its operator meets it: started, probed, signalled, and judged by its exit code.

#![expect(clippy::disallowed_methods, reason = "the process under test is what has to be careful, not its observer")]

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(20);

/// `examples/smallest.rs`, which cargo builds along with the tests.
fn program() -> Command {
    let tests = std::env::current_exe().expect("this test's own path");
    let folder = tests.ancestors().nth(2).expect("target/<profile>");
    let path: PathBuf = folder.join("examples").join("smallest");
    assert!(path.is_file(), "the example is not built: run `cargo test -p causeway-service` without `--test`");
    let mut command = Command::new(path);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CAUSEWAY_")) {
        command.env_remove(name);
    }
    command
        .env("CAUSEWAY_SMALLEST_KEY", "hunter2")
        .env("CAUSEWAY_ADMIN_LISTEN", "127.0.0.1:0")
        .env("CAUSEWAY_LOG_FORMAT", "json")
        .stdin(Stdio::null());
    command
}

/// Runs it to its end, which must come soon.
fn finished(command: &mut Command) -> (Option<i32>, String, String) {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    let (done, ended) = mpsc::channel::<()>();
    let watch = thread::spawn(move || {
        if ended.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            let _ = kill(pid, Signal::SIGKILL);
        }
    });
    let Output { status, stdout, stderr } = child.wait_with_output().expect("it was started");
    drop(done);
    watch.join().expect("the watch does not panic");
    (status.code(), String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr).into_owned())
}

/// A running program. Killed when dropped.
struct Running {
    child: Child,
    log: BufReader<ChildStderr>,
    admin: String,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the program starts");
        let log = BufReader::new(child.stderr.take().expect("piped"));
        let mut running = Self { child, log, admin: String::new() };
        let started = running.line_with("started");
        started["admin"].as_str().expect("the bound address").clone_into(&mut running.admin);
        running
    }

    /// Reads the log up to the line that says this.
    fn line_with(&mut self, message: &str) -> Value {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.log.read_line(&mut line).expect("the log is text") > 0, "the log ended before {message:?}");
            let entry: Value = serde_json::from_str(&line).expect("every line is JSON");
            if entry["message"].as_str().is_some_and(|said| said.starts_with(message)) {
                return entry;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).expect("a pid")), signal).expect("it runs");
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let answer = reqwest::get(format!("http://{}{path}", self.admin)).await.expect("the admin port answers");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    }

    async fn get_until(&self, path: &str, status: u16) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (answered, body) = self.get(path).await;
            if answered == status {
                return body;
            }
            assert!(Instant::now() < deadline, "{path} answers {answered}: {body}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn exit(&mut self) -> Option<i32> {
        // The log is read to its end, so that the program never waits for a reader.
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).expect("the log is text");
        self.child.wait().expect("it was started").code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn every_problem_with_the_settings_is_told_at_once_and_no_secret() {
    let mut command = program();
    command
        .env("CAUSEWAY_SMALLEST_REST", "soon")
        .env("CAUSEWAY_SMALLEST_URL", "amqp://user:hunter2@host")
        .env_remove("CAUSEWAY_SMALLEST_KEY");
    let (code, stdout, stderr) = finished(command.args(["--drain", "3s"]));
    assert_eq!((code, stdout.as_str()), (Some(78), ""));
    assert!(stderr.starts_with("causeway-smallest: 4 settings are wrong:"), "{stderr}");
    for part in [
        "CAUSEWAY_SMALLEST_REST (--rest) \"soon\"",
        "CAUSEWAY_SMALLEST_URL (--url) has a scheme",
        "CAUSEWAY_SMALLEST_KEY is not set",
        "CAUSEWAY_DRAIN (--drain) \"3s\"",
    ] {
        assert!(stderr.contains(part), "{part} in {stderr}");
    }
    assert!(!stderr.contains("hunter2"), "{stderr}");
}

#[test]
fn an_unknown_flag_is_a_usage_error() {
    let (code, _, stderr) = finished(program().arg("--fastre"));
    assert_eq!(code, Some(64));
    assert!(stderr.contains("--fastre") && stderr.contains("--help"), "{stderr}");
}

#[test]
fn help_shows_flags_variables_and_defaults_of_the_program_and_of_the_service() {
    let (code, stdout, _) = finished(program().env("CAUSEWAY_SMALLEST_URL", "redis://:hunter2@host").arg("--help"));
    assert_eq!(code, Some(0));
    assert!(!stdout.contains("hunter2"), "{stdout}");
    for part in [
        "Counts, until it is told to stop",
        "--rest",
        "CAUSEWAY_SMALLEST_REST",
        "10ms",
        "--admin-listen",
        "127.0.0.1:9469",
        "CAUSEWAY_LOG",
        "CAUSEWAY_DRAIN",
        "30s",
    ] {
        assert!(stdout.contains(part), "{part} in {stdout}");
    }
    let (code, stdout, _) = finished(program().arg("--version"));
    assert_eq!(code, Some(0));
    assert!(stdout.contains(env!("CARGO_PKG_VERSION")), "{stdout}");
}

#[tokio::test]
async fn the_first_sigterm_drains_and_the_process_ends_well() {
    let mut running = Running::start(&mut program());
    running.get_until("/ready", 200).await;
    running.signal(Signal::SIGTERM);
    assert_eq!(running.line_with("ended")["code"], 0);
    assert_eq!(running.exit(), Some(0));
}

#[tokio::test]
async fn a_second_signal_aborts_and_the_process_ends_with_a_failure() {
    let mut running = Running::start(program().args(["--trouble", "hang"]));
    running.get_until("/ready", 200).await;
    running.signal(Signal::SIGINT);
    running.line_with("draining");
    let body: Value = serde_json::from_str(&running.get_until("/ready", 503).await).expect("JSON");
    assert_eq!(body["conditions"]["lifecycle"]["reason"], "draining");
    assert_eq!(running.get("/live").await.0, 200);
    running.signal(Signal::SIGTERM);
    running.line_with("aborting");
    assert_eq!(running.exit(), Some(1));
}

#[tokio::test]
async fn work_that_never_finishes_is_aborted_when_the_time_is_over() {
    let mut running = Running::start(program().args(["--trouble", "hang", "--drain", "5100ms"]));
    running.get_until("/ready", 200).await;
    running.signal(Signal::SIGTERM);
    running.line_with("aborting: the time for draining is over");
    assert_eq!(running.exit(), Some(1));
}

#[tokio::test]
async fn readiness_and_metrics_can_be_read_from_the_admin_port() {
    let running = Running::start(&mut program());
    let body: Value = serde_json::from_str(&running.get_until("/ready", 200).await).expect("JSON");
    let conditions = serde_json::json!({ "counting": { "ready": true } });
    assert_eq!(body, serde_json::json!({ "ready": true, "conditions": conditions, "notices": {} }));
    let (status, metrics) = running.get("/metrics").await;
    assert_eq!(status, 200);
    assert!(metrics.contains("# TYPE causeway_counted_total counter"), "{metrics}");
    assert!(metrics.contains("causeway_dependency_up{dependency=\"counting\"} 1"), "{metrics}");
    assert!(metrics.contains("causeway_build_info{program=\"smallest\",version=\""), "{metrics}");
}

#[tokio::test]
async fn a_hang_up_asks_for_files_to_be_read_again() {
    let mut running = Running::start(&mut program());
    running.get_until("/ready", 200).await;
    running.signal(Signal::SIGHUP);
    assert_eq!(running.line_with("read again")["reloads"], 1);
}

#[tokio::test]
async fn a_taken_admin_port_is_told_with_the_setting_that_moves_it() {
    let running = Running::start(&mut program());
    let (code, _, stderr) = finished(program().args(["--admin-listen", &running.admin]));
    assert_eq!(code, Some(78));
    assert!(stderr.contains("CAUSEWAY_ADMIN_LISTEN") && stderr.contains(&running.admin), "{stderr}");
}

#[test]
fn a_panic_is_a_bug() {
    let (code, _, stderr) = finished(program().args(["--trouble", "panic"]));
    assert_eq!(code, Some(70));
    assert!(stderr.contains("trouble was asked for") && stderr.contains("smallest.rs"), "{stderr}");
}

#[test]
fn a_task_that_ends_on_its_own_is_a_failure() {
    let (code, _, stderr) = finished(program().args(["--trouble", "end"]));
    assert_eq!(code, Some(1));
    assert!(stderr.contains("ended without having been asked to"), "{stderr}");
}

#[test]
fn something_unreachable_has_an_exit_code_of_its_own() {
    let (code, _, stderr) = finished(program().args(["--trouble", "away"]));
    assert_eq!(code, Some(69));
    assert!(stderr.contains("the counter is away"), "{stderr}");
    assert!(stderr.contains("stopping before it was ready") && !stderr.contains("draining"), "{stderr}");
}
