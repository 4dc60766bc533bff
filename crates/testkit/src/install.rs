//! Where RabbitMQ and Redis are on this machine, and how they get there.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail, ensure};

const PACKAGES: [&str; 3] = ["rabbitmq-server", "redis-server", "redis-tools"];
/// Streams with offsets by time, and the queue arguments that the topology declares.
const RABBITMQ_SINCE: [u32; 2] = [3, 10];
const REDIS_SINCE: [u32; 2] = [6, 2];
/// Another program of a machine that was just started may hold the package database for so many seconds.
const LOCK_TIMEOUT: &str = "DPkg::Lock::Timeout=120";

/// Names a folder with a whole system in it, in which RabbitMQ is run instead of the machine's own: an environment
/// variable. `cargo xtask brokers` makes such folders and sets it.
pub const RABBITMQ_ROOT: &str = "CAUSEWAY_RABBITMQ_ROOT";

/// Where RabbitMQ and its port mapper are run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerHome {
    /// The system's folder; `None` for this machine.
    root: Option<PathBuf>,
    sbin: PathBuf,
    epmd: PathBuf,
    version: Vec<u32>,
}

/// Mounts what the server needs into a system's folder, in a mount namespace that ends with it, and becomes the program.
/// `$1` is the root, `$2` the node's folder; the rest is the program with its arguments.
const ENTER: &str = r#"
set -e
root=$1 dir=$2
shift 2
mkdir -p "$root$dir"
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --bind "$dir" "$root$dir"
exec chroot "$root" "$@"
"#;

impl BrokerHome {
    /// What [`RABBITMQ_ROOT`] names, or else the newest RabbitMQ of this machine.
    ///
    /// # Errors
    /// There is none, or it is too old; the message tells what to do.
    pub fn find() -> Result<Self> {
        match std::env::var_os(RABBITMQ_ROOT).filter(|root| !root.is_empty()) {
            Some(root) => Self::within(&std::path::absolute(PathBuf::from(root))?),
            None => Self::of(&Machine::this(), None),
        }
    }

    /// The RabbitMQ of the system in this folder.
    ///
    /// # Errors
    /// It holds none.
    pub fn within(root: &Path) -> Result<Self> {
        Self::of(&Machine::within(root), Some(root))
            .with_context(|| format!("looking for RabbitMQ in the system below {}", root.display()))
    }

    fn of(machine: &Machine, root: Option<&Path>) -> Result<Self> {
        let (sbin, epmd) = (machine.rabbitmq_sbin()?, machine.epmd()?);
        let version = machine.newest_rabbitmq().map(|(version, _)| version).unwrap_or_default();
        let inside = |path: PathBuf| match root.and_then(|root| path.strip_prefix(root).ok()) {
            Some(path) => Path::new("/").join(path),
            None => path,
        };
        Ok(Self { root: root.map(Path::to_owned), sbin: inside(sbin), epmd: inside(epmd), version })
    }

    /// Its version: `4.0.5`.
    pub fn version(&self) -> String {
        self.version.iter().map(ToString::to_string).collect::<Vec<_>>().join(".")
    }

    /// `rabbitmq-server` or `rabbitmqctl`, ready for its arguments. `dir` is the node's folder.
    pub(crate) fn command(&self, program: &str, dir: &Path) -> Command {
        self.run(&self.sbin.join(program), dir)
    }

    /// Erlang's port mapper, ready for its arguments.
    pub(crate) fn epmd(&self, dir: &Path) -> Command {
        self.run(&self.epmd, dir)
    }

    fn run(&self, program: &Path, dir: &Path) -> Command {
        let Some(root) = &self.root else { return Command::new(program) };
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "/bin/sh", "-c", ENTER, "enter"]).arg(root).arg(dir);
        // The machine's own may name places and languages that this system does not have.
        command.arg(program).env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("LANG", "C.UTF-8").env_remove("LC_ALL");
        command
    }
}

/// The Redis server.
///
/// # Errors
/// When there is none; the message tells what to run.
pub fn redis_server() -> Result<PathBuf> {
    Machine::this().redis_server()
}

/// Makes sure that both are installed: installs Debian's packages when one is missing and this is root.
///
/// Nothing is started by the installation: a temporary `/usr/sbin/policy-rc.d` forbids it, unless there already is one.
///
/// # Errors
/// When something is missing and cannot be installed, or too old; the message holds the command that failed or is to be
/// run by hand.
pub fn ensure() -> Result<()> {
    Machine::this().ensure()
}

/// Where programs are looked for, and what an installation touches.
#[derive(Debug)]
struct Machine {
    /// Folders with programs, in the order in which they are searched.
    path: Vec<PathBuf>,
    /// Folders with one folder for each version of RabbitMQ.
    rabbitmq_homes: Vec<PathBuf>,
    /// What packages ask whether they may start their services.
    policy: PathBuf,
    /// Held by whoever installs.
    lock: PathBuf,
    is_root: bool,
}

impl Machine {
    fn this() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let usual = ["/usr/bin", "/usr/local/bin", "/usr/sbin"].map(PathBuf::from);
        let homes = ["/usr/lib/rabbitmq/lib", "/usr/local/lib/rabbitmq/lib", "/opt/rabbitmq/lib"];
        Self {
            path: std::env::split_paths(&path).chain(usual).collect(),
            rabbitmq_homes: homes.map(PathBuf::from).into(),
            policy: PathBuf::from("/usr/sbin/policy-rc.d"),
            lock: std::env::temp_dir().join("causeway-install.lock"),
            is_root: nix::unistd::Uid::effective().is_root(),
        }
    }

    /// The system in a folder.
    fn within(root: &Path) -> Self {
        Self {
            path: ["usr/bin", "usr/local/bin", "usr/sbin"].map(|folder| root.join(folder)).into(),
            rabbitmq_homes: vec![root.join("usr/lib/rabbitmq/lib")],
            ..Self::this()
        }
    }

    fn rabbitmq_sbin(&self) -> Result<PathBuf> {
        let (version, sbin) = self.newest_rabbitmq().with_context(|| missing("RabbitMQ"))?;
        ensure!(version.as_slice() >= &RABBITMQ_SINCE[..], "{}", too_old("RabbitMQ", &version, RABBITMQ_SINCE, &sbin));
        Ok(sbin)
    }

    fn newest_rabbitmq(&self) -> Option<(Vec<u32>, PathBuf)> {
        let versions = self.rabbitmq_homes.iter().flat_map(|home| fs::read_dir(home).into_iter().flatten().flatten());
        let found = versions.filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = numbers(name.strip_prefix("rabbitmq_server-")?);
            Some((version, entry.path().join("sbin")))
        });
        found.filter(|(_, sbin)| sbin.join("rabbitmq-server").is_file()).max()
    }

    fn redis_server(&self) -> Result<PathBuf> {
        self.find("redis-server").with_context(|| missing("Redis"))
    }

    fn epmd(&self) -> Result<PathBuf> {
        self.find("epmd").with_context(|| missing("Erlang's epmd"))
    }

    fn find(&self, program: &str) -> Option<PathBuf> {
        self.path.iter().map(|folder| folder.join(program)).find(|file| file.is_file())
    }

    fn lacks_something(&self) -> bool {
        self.newest_rabbitmq().is_none() || self.redis_server().is_err() || self.epmd().is_err()
    }

    /// That everything is there and young enough.
    fn is_usable(&self) -> Result<()> {
        self.rabbitmq_sbin()?;
        let redis = self.redis_server()?;
        self.epmd()?;
        // "Redis server v=7.0.15 sha=…"; what says something else is believed.
        let told = Command::new(&redis).arg("--version").output();
        let told = String::from_utf8_lossy(&told.with_context(|| format!("cannot run {}", redis.display()))?.stdout)
            .into_owned();
        if let Some(version) = told.strip_prefix("Redis server v=").map(numbers) {
            ensure!(version.as_slice() >= &REDIS_SINCE[..], "{}", too_old("Redis", &version, REDIS_SINCE, &redis));
        }
        Ok(())
    }

    fn ensure(&self) -> Result<()> {
        if self.lacks_something() && self.is_root {
            // Two runs at once would fight over the package database; the second finds everything there.
            let lock = fs::File::create(&self.lock).with_context(|| format!("cannot write {}", self.lock.display()))?;
            lock.lock()?;
            if self.lacks_something() {
                eprintln!("installing {} …", PACKAGES.join(", "));
                self.install()?;
                return self.is_usable().context("the packages are installed, but that is not enough");
            }
        }
        self.is_usable()
    }

    fn install(&self) -> Result<()> {
        let _policy = Policy::forbid_starting(&self.policy)?;
        let updated = self.apt(&["update", "--quiet"]);
        let options = ["install", "--quiet", "--yes", "--no-install-recommends", "-o", LOCK_TIMEOUT];
        let installed = self.apt(&[&options[..], &PACKAGES[..]].concat());
        // A source of somebody else's that does not answer fails the update, and the packages may be had all the same.
        match (updated, installed) {
            (_, Ok(())) => Ok(()),
            (Ok(()), Err(error)) => Err(error),
            (Err(update), Err(error)) => Err(anyhow!("{update:#}; {error:#}")),
        }
    }

    fn apt(&self, arguments: &[&str]) -> Result<()> {
        let by_hand = "cannot run apt-get; install RabbitMQ 3.10 or later and Redis 6.2 or later by hand";
        let status = Command::new(self.find("apt-get").context(by_hand)?)
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            // Answers on stdout belong to whoever called.
            .stdout(std::io::stderr())
            .status()
            .context(by_hand)?;
        if !status.success() {
            bail!("apt-get {} failed: {status}", arguments.join(" "));
        }
        Ok(())
    }
}

/// The numbers that a version begins with: 3, 10 and 8 of `3.10.8-rc.1`.
fn numbers(version: &str) -> Vec<u32> {
    let end = version.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(version.len());
    version[..end].split('.').map_while(|part| part.parse().ok()).collect()
}

fn missing(what: &str) -> String {
    format!(
        "{what} is not installed. On Debian or Ubuntu, run as root:\n    \
         apt-get update && apt-get install --no-install-recommends {}\n\
         Elsewhere, install RabbitMQ 3.10 or later and Redis 6.2 or later.\n\
         (the services need not run: private nodes are started on free ports)",
        PACKAGES.join(" ")
    )
}

fn too_old(what: &str, version: &[u32], [major, minor]: [u32; 2], place: &Path) -> String {
    let version: Vec<String> = version.iter().map(ToString::to_string).collect();
    format!(
        "{what} {} in {} is too old: {major}.{minor} or later is needed, from a newer release of the distribution or \
         from {what}'s own packages",
        version.join("."),
        place.display()
    )
}

/// Forbids packages to start their services while it lives.
///
/// Source: Debian's `invoke-rc.d`, the policy layer: exit code 101 means "action forbidden by policy".
struct Policy<'a>(Option<&'a Path>);

const POLICY: &str =
    "#!/bin/sh\n# Causeway installs packages at this moment. If it does not, remove this file.\nexit 101\n";

impl<'a> Policy<'a> {
    /// Somebody else's policy is left as it is; what a killed installation of ours left behind is taken over.
    fn forbid_starting(path: &'a Path) -> Result<Self> {
        if path.exists() {
            let ours = fs::read(path).is_ok_and(|text| text == POLICY.as_bytes());
            return Ok(Self(ours.then_some(path)));
        }
        let writing = || format!("cannot write {}", path.display());
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(path).with_context(writing)?;
        let policy = Self(Some(path));
        file.write_all(POLICY.as_bytes()).with_context(writing)?;
        Ok(policy)
    }
}

impl Drop for Policy<'_> {
    fn drop(&mut self) {
        if let Some(path) = self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests;
