//! A private Redis node.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::install;
use crate::port;
use crate::process::{self, Node};

const START: Duration = Duration::from_secs(20);

/// How the answer of a server to a ping begins that has all its data, and of one that does not yet.
const READY: &[u8] = b"+PONG";
const LOADING: &[u8] = b"-LOADING";

/// A Redis server on 127.0.0.1 with an append-only file and without eviction, as the ledger wants it. Ends when dropped.
#[derive(Debug)]
pub struct Redis {
    dir: PathBuf,
    port: u16,
    node: Option<Node>,
}

impl Redis {
    /// Starts a node with its data in `dir`; whatever an earlier run left running there is ended first.
    ///
    /// # Errors
    /// When Redis is not installed, or does not answer within 20 s on any of five ports; the message holds its output.
    pub async fn start(dir: &Path) -> Result<Self> {
        let dir = process::claim(dir)?;
        port::until_started(async |[port]| {
            let mut redis = Self { dir: dir.clone(), port, node: None };
            redis.launch(READY, &[]).await?;
            Ok(redis)
        })
        .await
    }

    /// Lets it go on without this process, until its folder is used or swept again.
    pub(crate) fn detach(mut self) {
        self.node.take().into_iter().for_each(Node::detach);
    }

    /// `redis://127.0.0.1:<port>/`
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// The port, for a proxy before it.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Makes it forget everything (`FLUSHALL`).
    ///
    /// # Errors
    /// It does not answer within five seconds, or refuses, as it does while it loads its file after a kill.
    pub async fn flush(&self) -> Result<()> {
        let exchange = async {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await?;
            stream.write_all(b"FLUSHALL\r\n").await?;
            let mut answer = [0; 64];
            let read = stream.read(&mut answer).await?;
            let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
            anyhow::ensure!(answer == "+OK\r\n", "Redis answers {answer:?} to FLUSHALL");
            Ok(())
        };
        tokio::time::timeout(Duration::from_secs(5), exchange).await.context("Redis does not answer")?
    }

    /// Kills it (SIGKILL) and waits until it is gone. What was written in the last second may be lost.
    pub fn kill(&mut self) {
        self.node = None;
    }

    /// Starts it again on the same port with the same data, after a kill or a stop; a running one is stopped first.
    ///
    /// # Errors
    /// As [`Redis::start`].
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await;
        self.launch(READY, &[]).await
    }

    /// As [`Redis::restart`], except that it takes so long to load each key of what it kept, and that this returns while it
    /// loads: until it has, it answers with `LOADING`.
    ///
    /// # Errors
    /// As [`Redis::start`], and when it has loaded everything before it could be asked.
    pub async fn restart_loading(&mut self, each_key: Duration) -> Result<()> {
        self.stop().await;
        let microseconds = each_key.as_micros().to_string();
        self.launch(LOADING, &["--key-load-delay", &microseconds]).await
    }

    /// Stops it in good order (SIGTERM, then SIGKILL after 10 s).
    pub async fn stop(&mut self) {
        if let Some(mut node) = self.node.take() {
            node.stop(Duration::from_secs(10)).await;
        }
    }

    /// Starts it, until it answers a ping so.
    async fn launch(&mut self, answer: &'static [u8], more: &[&str]) -> Result<()> {
        let mut command = Command::new(install::redis_server()?);
        command.arg("--port").arg(self.port.to_string()).arg("--dir").arg(&self.dir).current_dir(&self.dir);
        command.args(["--bind", "127.0.0.1", "--daemonize", "no", "--save", ""]);
        command.args(["--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction"]);
        command.args(more);
        let what = format!("Redis on port {}", self.port);
        let own = async |node: &Node| self.is_own(&format!("process_id:{}\r\n", node.pid()), answer).await;
        self.node = Some(Node::answering(&mut command, &self.dir, &what, START, own).await?);
        Ok(())
    }

    /// Asks who answers on the port: another server may have taken it first. Any other answer to a ping counts as none.
    async fn is_own(&self, own_pid: &str, expected: &[u8]) -> bool {
        let exchange = async {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await.ok()?;
            stream.write_all(b"PING\r\nINFO server\r\n").await.ok()?;
            let mut answer = Vec::new();
            while answer.len() < 64 * 1024 {
                if stream.read_buf(&mut answer).await.ok()? == 0 {
                    return None;
                }
                if !answer.starts_with(expected) && !expected.starts_with(&answer) {
                    return None;
                }
                if String::from_utf8_lossy(&answer).contains(own_pid) {
                    return Some(());
                }
            }
            None
        };
        tokio::time::timeout(Duration::from_secs(1), exchange).await.ok().flatten().is_some()
    }
}
