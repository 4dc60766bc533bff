//! A small Debian system in a folder, with RabbitMQ and what it needs.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use testkit::install::BrokerHome;
use tokio::process::Command;

use super::{Version, mirror};

/// Makes the system. What an interrupted making left is thrown away first.
///
/// # Errors
/// This is not root, mmdebstrap is not there and cannot be installed, or the mirror does not answer.
pub(crate) async fn make(version: Version, root: &Path) -> Result<()> {
    ensure!(
        nix::unistd::Uid::effective().is_root(),
        "a system with RabbitMQ {} can be made and entered by root only; run this as root, in a container for example",
        version.prefix()
    );
    let mirror = mirror::of_this_machine()?;
    if !is_there("mmdebstrap").await {
        run(Command::new("apt-get").args(["update", "--quiet"])).await?;
        let arguments = ["install", "--quiet", "--yes", "--no-install-recommends", "mmdebstrap"];
        run(Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive")).await?;
    }
    let folder = root.parent().context("a folder for systems")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    // Only a finished system has the name by which it is found.
    let unfinished = root.with_extension("unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).with_context(|| format!("cannot remove {}", unfinished.display()))?;
    }
    let release = version.release();
    let made = run(Command::new("mmdebstrap")
        // A mirror that is a copy of an earlier day serves as well.
        .args(["--variant=apt", "--aptopt=Acquire::Check-Valid-Until \"false\"", "--include=rabbitmq-server,procps"])
        .arg(release)
        .arg(&unfinished)
        .arg(format!("deb {mirror} {release} main")))
    .await;
    made.with_context(|| format!("Debian {release} could not be made from {mirror}"))?;
    name_localhost(&unfinished)?;
    if root.exists() {
        fs::remove_dir_all(root).with_context(|| format!("cannot remove {}", root.display()))?;
    }
    fs::rename(&unfinished, root).with_context(|| format!("cannot make {}", root.display()))
}

/// The node's name ends in `@localhost`, which the system has to know.
fn name_localhost(root: &Path) -> Result<()> {
    let file = root.join("etc/hosts");
    let text = fs::read_to_string(&file).unwrap_or_default();
    if text.lines().any(|line| line.starts_with("127.0.0.1") && line.contains("localhost")) {
        return Ok(());
    }
    fs::write(&file, format!("127.0.0.1 localhost\n{text}")).with_context(|| format!("cannot write {}", file.display()))
}

/// Whether the system has the version that was asked for: a release of Debian may have moved on.
pub(crate) fn check(version: Version, home: &BrokerHome) -> Result<()> {
    ensure!(
        home.version().starts_with(version.prefix()),
        "Debian {} has RabbitMQ {} now and not {}*: remove target/brokers/{} where it may be older than the mirror, or \
         leave this version out",
        version.release(),
        home.version(),
        version.prefix(),
        version.release(),
    );
    Ok(())
}

async fn is_there(program: &str) -> bool {
    let asked = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().await;
    asked.is_ok_and(|status| status.success())
}

/// Runs a command whose words go to standard error, where progress is told.
async fn run(command: &mut Command) -> Result<()> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    let status = command.stdin(Stdio::null()).stdout(std::io::stderr()).kill_on_drop(true).status().await;
    let status = status.with_context(|| format!("cannot run {name}"))?;
    if !status.success() {
        bail!("{name} failed: {status}; it says why above");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_without_hosts_learns_localhost_and_one_that_knows_it_stays_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("etc")).expect("made");
        let hosts = folder.path().join("etc/hosts");
        for _ in 0..2 {
            name_localhost(folder.path()).expect("written");
            assert_eq!(fs::read_to_string(&hosts).expect("there"), "127.0.0.1 localhost\n");
        }
    }
}
