//! A private RabbitMQ node.
//!
//! The server's own start script is run (not the distribution's wrapper, which switches user and directory), told by
//! `RUNNING_UNDER_SYSTEMD` to become the Erlang machine instead of watching it: one process, one pid. Its port mapper
//! `epmd` is started here too, as a child, so that it ends with the node.

use std::fs;
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::install::BrokerHome;
use crate::port;
use crate::process::{self, Node};

const START: Duration = Duration::from_mins(1);
const START_EPMD: Duration = Duration::from_secs(10);
/// How often a node with a short consumer timeout looks for consumers that are over theirs.
const CONSUMER_LOOK: Duration = Duration::from_millis(500);

/// A RabbitMQ server, 3.10 or later, on 127.0.0.1 with the consistent-hash exchange. Ends when dropped.
#[derive(Debug)]
pub struct RabbitMq {
    dir: PathBuf,
    ports: Ports,
    epmd: Option<Node>,
    node: Option<Node>,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    amqp: u16,
    distribution: u16,
    epmd: u16,
}

impl RabbitMq {
    /// Starts a node with its data in `dir`; whatever an earlier run left running there is ended first. Takes 2–5 s.
    ///
    /// # Errors
    /// When RabbitMQ is not installed, or does not answer within a minute on any of five sets of ports; the message holds
    /// its output.
    pub async fn start(dir: &Path) -> Result<Self> {
        let dir = process::claim(dir)?;
        port::until_started(async |[amqp, distribution, epmd]| {
            let ports = Ports { amqp, distribution, epmd };
            let mut rabbitmq = Self { dir: dir.clone(), ports, epmd: None, node: None };
            if let Err(error) = rabbitmq.launch().await {
                drop(rabbitmq);
                // The node's name contains its port, and so does what it has written.
                let _ = fs::remove_dir_all(dir.join("db"));
                return Err(error);
            }
            Ok(rabbitmq)
        })
        .await
    }

    /// Lets it go on without this process, until its folder is used or swept again.
    pub(crate) fn detach(mut self) {
        self.epmd.take().into_iter().chain(self.node.take()).for_each(Node::detach);
    }

    /// `amqp://guest:guest@127.0.0.1:<port>/%2f`
    pub fn amqp_url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.ports.amqp)
    }

    /// The AMQP port, for a proxy before it.
    pub fn port(&self) -> u16 {
        self.ports.amqp
    }

    /// Kills the node (SIGKILL) and waits until it is gone. Its port mapper and its data stay.
    pub fn kill(&mut self) {
        self.node = None;
    }

    /// Starts it again on the same ports with the same data, after a kill or a stop; a running one is stopped first.
    ///
    /// # Errors
    /// As [`RabbitMq::start`].
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await;
        self.launch().await
    }

    /// Stops it in good order (SIGTERM, then SIGKILL after 20 s).
    pub async fn stop(&mut self) {
        if let Some(mut node) = self.node.take() {
            node.stop(Duration::from_secs(20)).await;
        }
    }

    /// A `rabbitmqctl` that talks to this node, ready for its arguments.
    ///
    /// # Errors
    /// When RabbitMQ is not installed.
    pub fn ctl(&self) -> Result<Command> {
        let mut command = BrokerHome::find()?.command("rabbitmqctl", &self.dir);
        self.environment(&mut command);
        Ok(command)
    }

    /// Raises the memory alarm, or ends it: while it lasts the broker reads nothing from connections that publish.
    ///
    /// # Errors
    /// `rabbitmqctl` cannot be run, or the node does not answer to it.
    pub async fn alarm(&self, on: bool) -> Result<()> {
        let watermark: &[&str] = if on { &["absolute", "1MB"] } else { &["0.4"] };
        self.carry_out(&[&["set_vm_memory_high_watermark"], watermark].concat()).await
    }

    /// Lets a consumer hold a delivery unacknowledged for so long (`consumer_timeout`), and has the broker look every half
    /// second. It holds for channels and queues that are made from then on, until the node is started again.
    ///
    /// # Errors
    /// As [`RabbitMq::alarm`].
    pub async fn end_consumers_after(&self, timeout: Duration) -> Result<()> {
        let milliseconds = timeout.as_millis();
        // Versions before 4.3 have the channel look, later ones the queue.
        let settings = [
            ("consumer_timeout", milliseconds),
            ("channel_tick_interval", CONSUMER_LOOK.as_millis()),
            ("quorum_tick_interval", CONSUMER_LOOK.as_millis()),
        ];
        let set = settings.map(|(name, value)| format!("application:set_env(rabbit, {name}, {value})"));
        self.carry_out(&["eval", &format!("{}.", set.join(", "))]).await
    }

    /// Runs `rabbitmqctl` with these arguments.
    async fn carry_out(&self, arguments: &[&str]) -> Result<()> {
        let mut command = self.ctl()?;
        command.arg("--quiet").args(arguments);
        let output = tokio::process::Command::from(command).kill_on_drop(true).output().await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        anyhow::ensure!(output.status.success(), "rabbitmqctl {}: {said}", arguments.first().unwrap_or(&""));
        Ok(())
    }

    async fn launch(&mut self) -> Result<()> {
        self.configure().context("cannot write the configuration of RabbitMQ")?;
        if !self.epmd.as_ref().is_some_and(Node::is_alive) {
            self.launch_epmd().await?;
        }
        let mut command = BrokerHome::find()?.command("rabbitmq-server", &self.dir);
        self.environment(&mut command);
        command.env("RUNNING_UNDER_SYSTEMD", "true").env_remove("NOTIFY_SOCKET").current_dir(&self.dir);
        let what = format!("RabbitMQ on port {}", self.ports.amqp);
        let own = async |node: &Node| {
            // The node writes its pid file only when no other uses its ports.
            let noted = fs::read_to_string(self.dir.join("node.pid")).unwrap_or_default();
            noted.trim() == node.pid().to_string() && speaks_amqp(self.ports.amqp).await
        };
        self.node = Some(Node::answering(&mut command, &self.dir, &what, START, own).await?);
        Ok(())
    }

    async fn launch_epmd(&mut self) -> Result<()> {
        let dir = process::claim(&self.dir.join("epmd"))?;
        let port = self.ports.epmd;
        let mut command = BrokerHome::find()?.epmd(&dir);
        command.args(["-address", "127.0.0.1", "-port", &port.to_string()]);
        let answers = async |_: &Node| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok();
        let what = format!("epmd on port {port}");
        self.epmd = Some(Node::answering(&mut command, &dir, &what, START_EPMD, answers).await?);
        Ok(())
    }

    fn configure(&self) -> std::io::Result<()> {
        for part in ["db", "log", "home", "cfg"] {
            fs::create_dir_all(self.dir.join(part))?;
        }
        fs::write(self.dir.join("cfg/none.conf"), "")?;
        fs::write(self.dir.join("cfg/enabled_plugins"), "[rabbitmq_consistent_hash_exchange].\n")?;
        // A consumer may hold a delivery for as long as a test is stopped in a debugger; the write-ahead log is small
        // because test machines are.
        let settings = format!(
            "listeners.tcp.1 = 127.0.0.1:{}\n\
             disk_free_limit.absolute = 50MB\n\
             consumer_timeout = 86400000\n\
             raft.wal_max_size_bytes = 67108864\n",
            self.ports.amqp
        );
        fs::write(self.dir.join("cfg/rabbitmq.conf"), settings)?;
        let cookie = self.dir.join("home/.erlang.cookie");
        if !cookie.exists() {
            let secret = uuid::Uuid::new_v4().simple().to_string();
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o400).open(cookie)?;
            file.write_all(secret.as_bytes())?;
        }
        Ok(())
    }

    fn environment(&self, command: &mut Command) {
        // Settings of another node must not leak into this one.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("RABBITMQ_") || text.starts_with("ERL_") {
                command.env_remove(name);
            }
        }
        let loopback = "-kernel inet_dist_use_interface {127,0,0,1}";
        let Ports { amqp, distribution, epmd } = self.ports;
        command
            .env("HOME", self.dir.join("home"))
            .env("RABBITMQ_NODENAME", format!("causeway{amqp}@localhost"))
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", amqp.to_string())
            .env("RABBITMQ_DIST_PORT", distribution.to_string())
            .env("ERL_EPMD_PORT", epmd.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_BASE", &self.dir)
            .env("RABBITMQ_MNESIA_BASE", self.dir.join("db"))
            .env("RABBITMQ_MNESIA_DIR", self.dir.join("db/node"))
            .env("RABBITMQ_LOG_BASE", self.dir.join("log"))
            .env("RABBITMQ_CONF_ENV_FILE", self.dir.join("cfg/none.conf"))
            .env("RABBITMQ_CONFIG_FILE", self.dir.join("cfg/rabbitmq"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", self.dir.join("cfg/advanced"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", self.dir.join("cfg/enabled_plugins"))
            .env("RABBITMQ_GENERATED_CONFIG_DIR", self.dir.join("cfg/generated"))
            .env("RABBITMQ_PID_FILE", self.dir.join("node.pid"))
            // Idle schedulers sleep instead of spinning: the node shares its cores with the tests.
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", format!("{loopback} +sbwt none +sbwtdcpu none +sbwtdio none"))
            .env("RABBITMQ_CTL_ERL_ARGS", loopback);
    }
}

/// Whether the port greets as a broker does: an AMQP header is answered by a method frame, `connection.start`.
async fn speaks_amqp(port: u16) -> bool {
    let greeting = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()?;
        stream.write_all(b"AMQP\x00\x00\x09\x01").await.ok()?;
        stream.read_u8().await.ok()
    };
    tokio::time::timeout(Duration::from_secs(2), greeting).await == Ok(Some(1))
}
