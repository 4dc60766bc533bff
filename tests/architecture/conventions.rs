//! Names, places, heads and reasons.

use std::collections::BTreeSet;
use std::path::Path;

use crate::{crates, entries, name, none, read, root, sources};

/// Words that say nothing about what a file holds.
const EMPTY_WORDS: [&str; 12] = [
    "util",
    "utils",
    "common",
    "helper",
    "helpers",
    "misc",
    "manager",
    "managers",
    "processor",
    "processors",
    "shared",
    "stuff",
];

/// What the top level holds, beside files whose name begins with a dot and what git ignores.
const TOP_LEVEL: [&str; 12] = [
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "Makefile",
    "README.md",
    "crates",
    "deploy",
    "docker-compose.yml",
    "rust-toolchain.toml",
    "tests",
    "target",
];

/// How long the head of a crate is at least, in lines.
const HEAD: usize = 5;

#[test]
fn no_file_is_named_for_what_it_does_not_say() {
    let problems: Vec<_> = ["crates", "tests"]
        .into_iter()
        .flat_map(sources)
        .filter(|source| {
            let stem = Path::new(&source.path).file_stem().unwrap_or_default().to_string_lossy().into_owned();
            stem.split('_').any(|word| EMPTY_WORDS.contains(&word))
        })
        .map(|source| source.path)
        .collect();
    none(&problems, "Name it after what it is. A function lives with the type it serves.");
}

#[test]
fn modules_lie_beside_their_folders() {
    let problems: Vec<_> = ["crates", "tests"]
        .into_iter()
        .flat_map(sources)
        .filter(|source| source.path.ends_with("/mod.rs"))
        .map(|source| source.path)
        .collect();
    none(&problems, "Write x.rs beside x/, so that tabs and searches show the real name.");
}

#[test]
fn every_crate_begins_with_its_story_and_its_invariants() {
    let mut problems = Vec::new();
    for name in crates() {
        let folder = root().join("crates").join(&name).join("src");
        let file = if folder.join("lib.rs").exists() { "lib.rs" } else { "main.rs" };
        let text = read(&folder.join(file));
        let head: Vec<_> = text.lines().take_while(|line| line.starts_with("//!")).collect();
        if head.len() < HEAD {
            problems.push(format!("crates/{name}/src/{file} begins with {} lines of `//!`, not {HEAD}", head.len()));
        }
        if !head.iter().any(|line| line.to_lowercase().contains("invariants")) {
            problems.push(format!("the head of crates/{name}/src/{file} names no invariants"));
        }
    }
    none(
        &problems,
        "Tell what the crate is for and what always holds in it; the reader should not have to open the rest.",
    );
}

#[test]
fn every_dependency_has_a_reason() {
    let manifest = read(&root().join("Cargo.toml"));
    let table = manifest
        .split_once("[workspace.dependencies]\n")
        .and_then(|(_, rest)| rest.split_once("\n[").or(Some((rest, ""))))
        .map(|(table, _)| table)
        .expect("the workspace has a table of dependencies");
    let dependencies: Vec<_> = table.lines().filter(|line| line.contains('=') && !line.starts_with('#')).collect();
    assert!(dependencies.len() > 20, "the table was not read: {dependencies:?}");
    let problems: Vec<_> = dependencies
        .iter()
        .filter(|line| !line.contains("path = \"crates/"))
        .filter(|line| line.rsplit_once(" # ").is_none_or(|(_, reason)| reason.trim().len() < 5))
        .map(|line| format!("Cargo.toml: {line}"))
        .collect();
    none(&problems, "Say behind a `#` what it is for; if that is hard, twenty lines of our own may do.");
}

#[test]
fn versions_are_stated_once_for_the_workspace() {
    let mut problems = Vec::new();
    let manifests =
        crates().into_iter().map(|name| format!("crates/{name}/Cargo.toml")).chain(["tests/Cargo.toml".to_owned()]);
    for path in manifests.collect::<Vec<_>>() {
        let text = read(&root().join(&path));
        let mut section = "";
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if line.starts_with('[') {
                section = line;
            } else if section.ends_with("dependencies]") && !line.contains("workspace = true") {
                problems.push(format!("{path}: {line}"));
            }
        }
        if !text.contains("[lints]\nworkspace = true") {
            problems.push(format!("{path} does not take the workspace's lints"));
        }
    }
    none(&problems, "Write `x.workspace = true`, and the version with its reason into the root Cargo.toml.");
}

#[test]
fn the_top_level_holds_exactly_what_a_newcomer_needs_to_see() {
    let found: BTreeSet<_> =
        entries(&root()).iter().map(|path| name(path)).filter(|name| !name.starts_with('.')).collect();
    let allowed: BTreeSet<_> = TOP_LEVEL.map(str::to_owned).into();
    let mut problems: Vec<_> = found.difference(&allowed).map(|name| format!("{name} does not belong there")).collect();
    // What cargo builds may lie elsewhere.
    problems
        .extend(allowed.difference(&found).filter(|name| *name != "target").map(|name| format!("{name} is missing")));
    none(&problems, "Tools' files begin with a dot, deployment lies in deploy/, code in crates/.");
}
