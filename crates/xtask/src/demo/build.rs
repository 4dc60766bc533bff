//! The programs, built by the project's own cargo.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use tokio::process::Command;

/// Where the programs are.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    /// `causeway-simulator`
    pub(crate) simulator: PathBuf,
    /// `causeway-ingest`
    pub(crate) ingest: PathBuf,
    /// `causeway-writer`
    pub(crate) writer: PathBuf,
    /// `causeway-replayer`
    pub(crate) replayer: PathBuf,
}

const NAMES: [&str; 4] = ["causeway-simulator", "causeway-ingest", "causeway-writer", "causeway-replayer"];

/// The part of cargo's messages that names programs.
#[derive(Deserialize)]
struct Artifact {
    executable: Option<PathBuf>,
}

impl Programs {
    /// Builds what is not built yet. Cargo tells on standard error how far it is.
    ///
    /// # Errors
    /// Something does not compile; cargo has said what.
    pub(crate) async fn build() -> Result<Self> {
        Self::built(&["--release"]).await
    }

    /// As [`Programs::build`], for release only where this program is.
    ///
    /// # Errors
    /// As [`Programs::build`].
    pub(crate) async fn build_alike() -> Result<Self> {
        Self::built(if cfg!(debug_assertions) { &[] } else { &["--release"] }).await
    }

    /// Those that lie in a folder; `None` where one is missing.
    pub(crate) fn lying_in(folder: &Path) -> Option<Self> {
        let [simulator, ingest, writer, replayer] = NAMES.map(|name| folder.join(name));
        let all = [&simulator, &ingest, &writer, &replayer].into_iter().all(|program| program.is_file());
        all.then_some(Self { simulator, ingest, writer, replayer })
    }

    async fn built(options: &[&str]) -> Result<Self> {
        let [simulator, ingest, writer, replayer] = executables(NAMES, options).await?;
        Ok(Self { simulator, ingest, writer, replayer })
    }
}

/// Builds programs that are named like their packages; tells where each one is.
///
/// # Errors
/// Something does not compile; cargo has said what.
pub(crate) async fn executables<const N: usize>(names: [&str; N], options: &[&str]) -> Result<[PathBuf; N]> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--message-format=json-render-diagnostics"]).args(options);
    for name in names {
        command.args(["--package", name, "--bin", name]);
    }
    let workspace = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let output = command
        .current_dir(workspace)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("cannot run cargo")?
        .wait_with_output()
        .await
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "the programs do not build; cargo says why above");
    let mut built: HashMap<String, PathBuf> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Artifact>(line).ok()?.executable)
        .filter_map(|path| Some((path.file_name()?.to_str()?.to_owned(), path)))
        .collect();
    let mut paths = Vec::with_capacity(N);
    for name in names {
        paths.push(built.remove(name).with_context(|| format!("cargo did not say where {name} is"))?);
    }
    paths.try_into().ok().context("each program has one place")
}
