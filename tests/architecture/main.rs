//! The house: which crate may use which, and the conventions that a compiler does not check.
//!
//! Nothing is built or started for it; it reads the manifests and the sources. Each message names the thing that is wrong
//! and what to do.

mod atlas;
mod conventions;
mod deploy;
mod floors;
mod purity;
mod readme;
mod traps;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// The workspace's folder.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie below the workspace's folder").to_path_buf()
}

/// The bare names of the crates, in alphabetical order.
fn crates() -> Vec<String> {
    let mut names: Vec<_> = entries(&root().join("crates")).iter().map(|path| name(path)).collect();
    names.sort();
    names
}

/// One Rust source.
struct Source {
    /// Its path from the workspace's folder.
    path: String,
    text: String,
}

/// Every Rust source below a folder of the workspace.
fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for path in entries(&folder) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(Source {
                    path: path.strip_prefix(root()).expect("it lies below").display().to_string(),
                    text: read(&path),
                });
            }
        }
    }
    assert!(!found.is_empty(), "{folder} holds no Rust source");
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

impl Source {
    /// The lines that ship, with their numbers: without comments, and without what stands from `#[cfg(test)]` on.
    fn shipped(&self) -> impl Iterator<Item = (usize, &str)> {
        let module = self.path.split_once("/src/").map_or("", |(_, module)| module);
        let tests = module.ends_with("tests.rs") || module.contains("tests/");
        self.text
            .lines()
            .enumerate()
            .take_while(move |(_, line)| !tests && line.trim() != "#[cfg(test)]")
            .map(|(index, line)| (index + 1, line))
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

/// What lies in a folder.
fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a readable entry").path())
        .collect()
}

fn name(path: &Path) -> String {
    path.file_name().expect("an entry has a name").to_string_lossy().into_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Fails with every problem in a list, and with what to do.
#[track_caller]
fn none(problems: &[String], remedy: &str) {
    let mut text = String::new();
    for problem in problems {
        let _ = writeln!(text, "  {problem}");
    }
    assert!(problems.is_empty(), "\n{text}{remedy}\n");
}
