//! Processes that must not outlive their purpose.
//!
//! Three nets, because the process that starts a node may end in three ways:
//! 1. it ends the node itself, when the [`Node`] is dropped or stopped;
//! 2. it is killed: a [`Guard`], a small shell that waits on a pipe from it, sees the pipe close and kills the node;
//! 3. the guard is killed too (a container that is torn down in the wrong order): the node's identity is in a file
//!    beside its data, and [`reap`] ends what is left over when the folder is used or swept again.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::eventually::within;

const IDENTITIES: &str = "processes";

/// One process and no other: pids are used again, a pid with its start time is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pid: i32,
    /// Clock ticks since boot, field 22 of `/proc/<pid>/stat`.
    started: u64,
}

impl Identity {
    /// The process that has this pid now; `None` when there is none.
    ///
    /// Source: proc(5), `/proc/pid/stat`.
    pub fn of(pid: u32) -> Option<Self> {
        let pid = i32::try_from(pid).ok()?;
        let (state, started) = stat(pid)?;
        (state != 'Z').then_some(Self { pid, started })
    }

    /// This process.
    pub fn own() -> Option<Self> {
        Self::of(std::process::id())
    }

    /// Reads what [`Identity::render`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let (pid, started) = text.trim().split_once(' ')?;
        Some(Self { pid: pid.parse().ok()?, started: started.parse().ok()? })
    }

    /// `<pid> <start time>`.
    pub fn render(self) -> String {
        format!("{} {}", self.pid, self.started)
    }

    /// Whether it still runs. A zombie does not.
    pub fn is_alive(self) -> bool {
        stat(self.pid).is_some_and(|(state, started)| state != 'Z' && started == self.started)
    }

    /// Sends a signal, if it still runs.
    pub fn signal(self, signal: Signal) {
        if self.is_alive() {
            // The process may end between the look and the signal; that is what was wanted.
            let _ = nix::sys::signal::kill(Pid::from_raw(self.pid), signal);
        }
    }
}

fn stat(pid: i32) -> Option<(char, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may itself hold spaces and parentheses.
    let (_, rest) = text.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    Some((fields.next()?.chars().next()?, fields.nth(18)?.parse().ok()?))
}

/// A child process in a group of its own, so that a Ctrl-C at the terminal does not reach it. Killed when dropped.
#[derive(Debug)]
pub struct Node {
    child: Child,
    identity: Identity,
    guard: Option<Guard>,
    detached: bool,
}

impl Node {
    /// Starts `command`; its output goes to `out.txt` in `dir`, its identity is noted there.
    ///
    /// # Errors
    /// When the program cannot be started or the folder not be written.
    pub fn start(command: &mut Command, dir: &Path) -> Result<Self> {
        let out = fs::File::create(dir.join("out.txt")).context("cannot write the node's output")?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let Some(identity) = Identity::of(child.id()) else {
            let status = child.wait()?;
            anyhow::bail!("{} ended at once: {status}\n{}", command.get_program().display(), output(dir));
        };
        // From here on the drop of the node cleans up.
        let mut node = Self { child, identity, guard: None, detached: false };
        note(dir, identity).context("cannot note the node's pid")?;
        node.guard = Some(Guard::over(identity).context("cannot start the node's guard")?);
        Ok(node)
    }

    /// Starts `command` as [`Node::start`] does and waits until `answers` says that this process serves, and no other.
    /// One that ends or keeps silent for `patience` is gone when this returns.
    ///
    /// # Errors
    /// As [`Node::start`], and when it does not come to serve: "`what` did not start", with its last lines.
    pub async fn answering(
        command: &mut Command,
        dir: &Path,
        what: &str,
        patience: Duration,
        mut answers: impl AsyncFnMut(&Self) -> bool,
    ) -> Result<Self> {
        let node = Self::start(command, dir)?;
        let served = within(patience, async || {
            if !node.is_alive() {
                return Some(false);
            }
            answers(&node).await.then_some(true)
        })
        .await;
        if served == Some(true) && node.is_alive() {
            return Ok(node);
        }
        drop(node);
        anyhow::bail!("{what} did not start:\n{}", output(dir))
    }

    /// Whether it runs.
    pub fn is_alive(&self) -> bool {
        self.identity.is_alive()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, once it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends a signal, if it still runs.
    pub fn signal(&self, signal: Signal) {
        self.identity.signal(signal);
    }

    /// Lets it go on without this process, until somebody calls [`reap`] on its folder.
    pub fn detach(mut self) {
        self.guard = None;
        self.detached = true;
    }

    /// Ends it at once (SIGKILL) and waits until it is gone.
    pub fn kill(&mut self) {
        self.guard = None;
        self.identity.signal(Signal::SIGKILL);
        let _ = self.child.wait();
    }

    /// Asks it to end (SIGTERM), and kills it when it has not after `patience`.
    pub async fn stop(&mut self, patience: Duration) {
        self.identity.signal(Signal::SIGTERM);
        let deadline = Instant::now() + patience;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.kill();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if !self.detached {
            self.kill();
        }
    }
}

/// Kills a process when this one ends, however it ends: a shell that waits for the end of a pipe which only this process
/// holds. Dropping the guard ends the shell and leaves the process alone.
#[derive(Debug)]
struct Guard(Child);

/// `$1` is the pid, `$2` its start time: the twentieth field after the name in parentheses.
const GUARD: &str = r#"
pid=$1 started=$2
read -r _
stat=$(cat "/proc/$pid/stat") || exit 0
set -- ${stat##*) }
shift 19
[ "$1" = "$started" ] && kill -KILL "$pid"
"#;

impl Guard {
    fn over(identity: Identity) -> io::Result<Self> {
        Command::new("/bin/sh")
            .args(["-c", GUARD, "guard", &identity.pid.to_string(), &identity.started.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map(Self)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Makes `dir`, ends what an earlier run left running there, and gives its absolute path.
///
/// # Errors
/// When it cannot be made.
pub fn claim(dir: &Path) -> Result<PathBuf> {
    let dir = std::path::absolute(dir)?;
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    reap(&dir);
    Ok(dir)
}

/// Adds a process to those that belong to `dir`.
fn note(dir: &Path, identity: Identity) -> io::Result<()> {
    let file = dir.join(IDENTITIES);
    let mut lines = fs::read_to_string(&file).unwrap_or_default();
    lines.push_str(&identity.render());
    lines.push('\n');
    fs::write(file, lines)
}

/// Kills every process that was started for `dir` and still runs, and waits until they are gone. Returns how many there
/// were.
pub fn reap(dir: &Path) -> usize {
    let left: Vec<Identity> = noted(dir).into_iter().filter(|process| process.is_alive()).collect();
    for process in &left {
        process.signal(Signal::SIGKILL);
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    while left.iter().any(|process| process.is_alive()) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = fs::remove_file(dir.join(IDENTITIES));
    left.len()
}

/// Whether a process that was started for `dir` runs.
pub fn any_alive(dir: &Path) -> bool {
    noted(dir).into_iter().any(Identity::is_alive)
}

fn noted(dir: &Path) -> Vec<Identity> {
    fs::read_to_string(dir.join(IDENTITIES)).unwrap_or_default().lines().filter_map(Identity::parse).collect()
}

/// The last lines that a node printed, for an error message.
pub fn output(dir: &Path) -> String {
    let text = fs::read_to_string(dir.join("out.txt")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eventually::{self, eventually};

    fn folder() -> std::path::PathBuf {
        let dir = std::env::temp_dir().join(crate::namespace("causeway-process"));
        fs::create_dir_all(&dir).expect("a folder");
        dir
    }

    #[test]
    fn a_dropped_node_is_gone() {
        let dir = folder();
        let node = Node::start(Command::new("sleep").arg("600"), &dir).expect("sleep starts");
        let identity = node.identity;
        assert!(identity.is_alive());
        drop(node);
        assert!(!identity.is_alive());
        fs::remove_dir_all(dir).expect("removed");
    }

    #[test]
    fn a_detached_node_lives_on_until_it_is_reaped() {
        let dir = folder();
        let node = Node::start(Command::new("sleep").arg("600"), &dir).expect("sleep starts");
        let identity = node.identity;
        node.detach();
        assert!(identity.is_alive());
        assert_eq!(reap(&dir), 1);
        assert!(!identity.is_alive());
        assert_eq!(reap(&dir), 0);
        fs::remove_dir_all(dir).expect("removed");
    }

    #[tokio::test]
    async fn a_node_that_keeps_silent_is_gone_when_its_time_is_over() {
        let dir = folder();
        let mut pid = 0;
        let mut command = Command::new("sleep");
        let answers = async |node: &Node| {
            pid = node.pid();
            false
        };
        let silent = Node::answering(command.arg("600"), &dir, "the shop", Duration::from_millis(100), answers);
        let error = silent.await.expect_err("it never serves");
        assert_eq!(error.to_string(), "the shop did not start:\n");
        assert!(pid > 0 && Identity::of(pid).is_none(), "{pid}");
        fs::remove_dir_all(dir).expect("removed");
    }

    #[tokio::test]
    async fn a_node_that_ends_instead_of_serving_is_not_waited_for_and_its_words_are_told() {
        let dir = folder();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no room; exit 3"]);
        let ended = Node::answering(&mut command, &dir, "the shop", eventually::PATIENCE, async |_| false);
        let error = ended.await.expect_err("it never serves");
        assert!(error.to_string().ends_with("no room"), "{error}");
        fs::remove_dir_all(dir).expect("removed");
    }

    #[test]
    fn a_pid_with_another_start_time_is_somebody_else() {
        let own = Identity::own().expect("this process runs");
        let other = Identity { started: own.started + 1, ..own };
        assert!(own.is_alive());
        assert!(!other.is_alive());
        assert_eq!(Identity::parse(&own.render()), Some(own));
    }

    #[tokio::test]
    async fn the_guard_kills_when_its_pipe_closes() {
        let dir = folder();
        let mut node = Node::start(Command::new("sleep").arg("600"), &dir).expect("sleep starts");
        // What the system does to the pipe when this process is killed.
        drop(node.guard.as_mut().expect("a guard").0.stdin.take());
        eventually("the guard to kill the node", async || !node.is_alive()).await;
        fs::remove_dir_all(dir).expect("removed");
    }
}
