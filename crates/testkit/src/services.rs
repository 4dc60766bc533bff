//! Both services for one run.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process::{self, Identity};
use crate::{AMQP_URL, REDIS_URL, RabbitMq, Redis, install, namespace};

const OWNER: &str = "owner";
const ADDRESSES: &str = "addresses.env";
/// The parts of a run's folder that hold processes.
const PARTS: [&str; 3] = ["rabbitmq", "rabbitmq/epmd", "redis"];

/// One RabbitMQ and one Redis, private to this run. Both end, and their data go, when this is dropped.
#[derive(Debug)]
pub struct Services {
    amqp_url: String,
    redis_url: String,
    nodes: Option<Nodes>,
}

/// What was started, in the order in which it is to be ended.
#[derive(Debug)]
struct Nodes {
    rabbitmq: RabbitMq,
    redis: Redis,
    _folder: Folder,
}

impl Services {
    /// Starts both at once, with their data in a folder of their own below `root`. Leftovers of runs that were killed are
    /// ended and removed first.
    ///
    /// # Errors
    /// When one is not installed and cannot be, or does not start.
    pub async fn start(root: &Path) -> Result<Self> {
        sweep(root);
        tokio::task::spawn_blocking(install::ensure).await??;
        let folder = Folder::create(root)?;
        let (rabbitmq, redis) = start_both(&folder.0).await?;
        let (amqp_url, redis_url) = (rabbitmq.amqp_url(), redis.url());
        Ok(Self { amqp_url, redis_url, nodes: Some(Nodes { rabbitmq, redis, _folder: folder }) })
    }

    /// Uses what the environment names ([`AMQP_URL`], [`REDIS_URL`]); starts both when it does not name both.
    ///
    /// # Errors
    /// As [`Services::start`].
    pub async fn from_env_or_start(root: &Path) -> Result<Self> {
        match (std::env::var(AMQP_URL), std::env::var(REDIS_URL)) {
            (Ok(amqp_url), Ok(redis_url)) if !amqp_url.is_empty() && !redis_url.is_empty() => {
                Ok(Self { amqp_url, redis_url, nodes: None })
            }
            _ => Self::start(root).await,
        }
    }

    /// The broker's address, with user and virtual host.
    pub fn amqp_url(&self) -> &str {
        &self.amqp_url
    }

    /// Redis's address.
    pub fn redis_url(&self) -> &str {
        &self.redis_url
    }

    /// The broker, if it was started here: to kill and restart it.
    pub fn rabbitmq(&mut self) -> Option<&mut RabbitMq> {
        self.nodes.as_mut().map(|nodes| &mut nodes.rabbitmq)
    }

    /// Both nodes, if they were started here: to kill and restart them independently of each other.
    pub fn nodes(&mut self) -> Option<(&mut RabbitMq, &mut Redis)> {
        self.nodes.as_mut().map(|nodes| (&mut nodes.rabbitmq, &mut nodes.redis))
    }

    /// Redis, if it was started here: to kill and restart it.
    pub fn redis(&mut self) -> Option<&mut Redis> {
        self.nodes.as_mut().map(|nodes| &mut nodes.redis)
    }
}

/// Nodes that stay when this process ends: `services up` and `services down`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The broker's address.
    pub amqp_url: String,
    /// Redis's address.
    pub redis_url: String,
    /// Whether they ran already.
    pub found: bool,
}

impl Standing {
    /// Starts both below `root`, or finds those that an earlier call started and that still run.
    ///
    /// # Errors
    /// As [`Services::start`].
    pub async fn up(root: &Path) -> Result<Self> {
        sweep(root);
        let dir = root.join("up");
        if let Some(standing) = Self::find(&dir) {
            return Ok(standing);
        }
        Self::down(root);
        tokio::task::spawn_blocking(install::ensure).await??;
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        // Until here they end with this process, so that an interrupted start leaves nothing.
        let (rabbitmq, redis) = start_both(&dir).await.inspect_err(|_| {
            Self::down(root);
        })?;
        let standing = Self { amqp_url: rabbitmq.amqp_url(), redis_url: redis.url(), found: false };
        fs::write(dir.join(ADDRESSES), standing.lines())?;
        rabbitmq.detach();
        redis.detach();
        Ok(standing)
    }

    /// Ends what [`Standing::up`] started and removes its data. Returns how many processes there were.
    pub fn down(root: &Path) -> usize {
        let dir = root.join("up");
        let ended = reap_all(&dir);
        let _ = fs::remove_dir_all(dir);
        ended
    }

    /// The two addresses as lines for a shell.
    pub fn lines(&self) -> String {
        format!("{AMQP_URL}={}\n{REDIS_URL}={}\n", self.amqp_url, self.redis_url)
    }

    fn find(dir: &Path) -> Option<Self> {
        let text = fs::read_to_string(dir.join(ADDRESSES)).ok()?;
        let address = |name: &str| {
            text.lines()
                .filter_map(|line| line.split_once('='))
                .find(|(key, _)| *key == name)
                .map(|(_, url)| url.to_owned())
        };
        let standing = Self { amqp_url: address(AMQP_URL)?, redis_url: address(REDIS_URL)?, found: true };
        PARTS.iter().all(|part| process::any_alive(&dir.join(part))).then_some(standing)
    }
}

async fn start_both(dir: &Path) -> Result<(RabbitMq, Redis)> {
    let (rabbitmq_dir, redis_dir) = (dir.join("rabbitmq"), dir.join("redis"));
    let (rabbitmq, redis) = tokio::join!(RabbitMq::start(&rabbitmq_dir), Redis::start(&redis_dir));
    match (rabbitmq, redis) {
        (Ok(rabbitmq), Ok(redis)) => Ok((rabbitmq, redis)),
        (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
        (Err(first), Err(second)) => bail!("{first:#}\n{second:#}"),
    }
}

/// A run's folder, with a note of whose it is. Removed when dropped.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn create(root: &Path) -> Result<Self> {
        let dir = std::path::absolute(root)?.join(namespace("run"));
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let folder = Self(dir);
        if let Some(owner) = Identity::own() {
            fs::write(folder.0.join(OWNER), owner.render())?;
        }
        Ok(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Ends and removes what runs left behind whose process is gone.
fn sweep(root: &Path) {
    let runs = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    for dir in runs.filter(|dir| dir.file_name().is_some_and(|name| name.to_string_lossy().starts_with("run-"))) {
        // A folder without a note is being made at this moment.
        let owner = fs::read_to_string(dir.join(OWNER)).ok().and_then(|text| Identity::parse(&text));
        if owner.is_some_and(|owner| !owner.is_alive()) {
            reap_all(&dir);
            let _ = fs::remove_dir_all(dir);
        }
    }
}

fn reap_all(dir: &Path) -> usize {
    PARTS.iter().map(|part| process::reap(&dir.join(part))).sum()
}
