//! Where RabbitMQ and Redis are on this machine, and how they get there.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

const PACKAGES: [&str; 3] = ["rabbitmq-server", "redis-server", "redis-tools"];
const POLICY: &str = "/usr/sbin/policy-rc.d";
const RABBITMQ_HOMES: [&str; 3] = ["/usr/lib/rabbitmq/lib", "/usr/local/lib/rabbitmq/lib", "/opt/rabbitmq/lib"];

/// The folder with `rabbitmq-server` and `rabbitmqctl` of the newest version that is installed.
///
/// # Errors
/// When there is none; the message tells what to run.
pub fn rabbitmq_sbin() -> Result<PathBuf> {
    let versions = RABBITMQ_HOMES.iter().flat_map(|home| fs::read_dir(home).into_iter().flatten().flatten());
    let mut found: Vec<(Vec<u32>, PathBuf)> = versions
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = name.strip_prefix("rabbitmq_server-")?.split(['.', '-']).map_while(|part| part.parse().ok());
            Some((version.collect(), entry.path().join("sbin")))
        })
        .filter(|(_, sbin)| sbin.join("rabbitmq-server").is_file())
        .collect();
    found.sort();
    found.pop().map(|(_, sbin)| sbin).with_context(|| missing("RabbitMQ"))
}

/// The Redis server.
///
/// # Errors
/// When there is none; the message tells what to run.
pub fn redis_server() -> Result<PathBuf> {
    on_path("redis-server").with_context(|| missing("Redis"))
}

/// Erlang's port mapper, which comes with RabbitMQ's dependencies.
///
/// # Errors
/// When there is none; the message tells what to run.
pub fn epmd() -> Result<PathBuf> {
    on_path("epmd").with_context(|| missing("Erlang's epmd"))
}

/// Makes sure that both are installed: installs Debian's packages when one is missing and this is root.
///
/// Nothing is started by the installation: a temporary `/usr/sbin/policy-rc.d` forbids it, unless there already is one.
///
/// # Errors
/// When something is missing and cannot be installed; the message holds the command to run by hand.
pub fn ensure() -> Result<()> {
    if is_complete() {
        return Ok(());
    }
    ensure!(nix::unistd::Uid::effective().is_root(), "{}", missing("RabbitMQ or Redis"));
    // Two runs at once would fight over the package database; the second finds everything there.
    let lock = fs::File::create(std::env::temp_dir().join("causeway-install.lock"))?;
    lock.lock()?;
    if is_complete() {
        return Ok(());
    }
    eprintln!("installing {} …", PACKAGES.join(", "));
    let _policy = Policy::forbid_starting()?;
    apt(&["update", "--quiet"])?;
    apt(&[&["install", "--quiet", "--yes", "--no-install-recommends"][..], &PACKAGES[..]].concat())?;
    ensure!(is_complete(), "the packages are installed, but rabbitmq-server, redis-server or epmd is not to be found");
    Ok(())
}

fn is_complete() -> bool {
    rabbitmq_sbin().is_ok() && redis_server().is_ok() && epmd().is_ok()
}

fn missing(what: &str) -> String {
    format!(
        "{what} is not installed. As root, run:\n    \
         apt-get update && apt-get install --no-install-recommends {}\n\
         (the services need not run: private nodes are started on free ports)",
        PACKAGES.join(" ")
    )
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/bin", "/usr/local/bin", "/usr/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

fn apt(arguments: &[&str]) -> Result<()> {
    let status = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        // Answers on stdout belong to whoever called.
        .stdout(std::io::stderr())
        .status()
        .context("cannot run apt-get; install RabbitMQ 3.10 or later and Redis 6.2 or later by hand")?;
    if !status.success() {
        bail!("apt-get {} failed: {status}", arguments.join(" "));
    }
    Ok(())
}

/// Forbids packages to start their services while it lives.
///
/// Source: Debian's `invoke-rc.d`, the policy layer: exit code 101 means "action forbidden by policy".
struct Policy {
    ours: bool,
}

impl Policy {
    fn forbid_starting() -> Result<Self> {
        if Path::new(POLICY).exists() {
            return Ok(Self { ours: false });
        }
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(POLICY)
            .with_context(|| format!("cannot write {POLICY}"))?;
        let policy = Self { ours: true };
        file.write_all(b"#!/bin/sh\nexit 101\n")?;
        Ok(policy)
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if self.ours {
            let _ = fs::remove_file(POLICY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_with_the_command_that_helps() {
        let message = missing("Redis");
        assert!(message.starts_with("Redis is not installed."), "{message}");
        assert!(message.contains("apt-get install --no-install-recommends rabbitmq-server redis-server redis-tools"));
    }
}
