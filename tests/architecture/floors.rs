//! Who may depend on whom. A new arrow is a change of the architecture: it comes alone, with its reason.

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

use crate::{crates, none, root, sources};

/// A crate, and the crates of this workspace that it may use in what ships.
///
/// | Floor | Crates | Must not contain |
/// |---|---|---|
/// | 0, the core | `domain` | I/O, async, clock, randomness, environment |
/// | 1, the edges | `salesforce`, `limio`, `service`, `queue`, `ledger` | each other, but for `service`; `salesforce` and `limio` also no orders |
/// | 2, the programs | `ingest`, `writer`, `replayer`, `gateway` | each other; protocols of the edges |
/// | beside | `simulator`, `testkit`, `xtask` | `simulator`: our Salesforce client |
const FLOORS: [(&str, &[&str]); 13] = [
    ("domain", &[]),
    // `service` alone knows how waits between tries grow. Of `domain` it takes the error atlas and nothing else, so that
    // one table decides what a code means (`salesforce_takes_nothing_but_the_atlas_from_the_core`).
    ("salesforce", &["domain", "service"]),
    // Speaks HTTP and knows neither orders nor how the house waits.
    ("limio", &[]),
    ("service", &[]),
    // Their settings are typed and checked where they belong, by `service`.
    ("queue", &["domain", "service"]),
    ("ledger", &["domain", "service"]),
    ("ingest", &["domain", "ledger", "queue", "service"]),
    ("writer", &["domain", "ledger", "limio", "queue", "salesforce", "service"]),
    ("replayer", &["domain", "ledger", "queue", "salesforce", "service"]),
    ("gateway", &["domain", "queue", "service"]),
    ("simulator", &["service"]),
    ("testkit", &["domain", "ledger", "queue", "salesforce", "service", "simulator"]),
    // The project's own tasks: never shipped, and the only normal dependant of testkit. Of `ledger` the stories, as evidence.
    ("xtask", &["domain", "ledger", "queue", "testkit"]),
];

/// What only some crates may use in what ships, because it is their subject. Tools may use anything.
const HOMES: [(&str, &[&str], &str); 5] = [
    ("lapin", &["queue"], "the broker has one home, `queue`"),
    ("redis", &["ledger"], "claims have one home, `ledger`"),
    ("reqwest", &["limio", "salesforce"], "requests go through `salesforce::Client` and `limio::Client`"),
    ("jsonwebtoken", &["salesforce"], "sign-in to Salesforce has one home, `salesforce`"),
    ("backoff", &["service"], "waits between tries are computed in one place, `service::intervals`"),
];

/// Crates that never run in production.
const TOOLS: [&str; 3] = ["simulator", "testkit", "xtask"];

/// What the core may use: libraries that neither wait nor reach out.
const CORE: [&str; 7] = ["jiff", "rust_decimal", "serde", "serde_json", "sha2", "strsim", "toml"];

#[test]
fn every_crate_depends_only_on_the_floors_below_it() {
    let mut problems = Vec::new();
    for package in packages() {
        let name = bare(&package.name);
        let used = ours(&package, DependencyKind::Normal);
        if name == "tests" {
            if !used.is_empty() {
                problems.push(format!("tests uses {used:?} normally; it may do so in [dev-dependencies] only"));
            }
            continue;
        }
        let Some((_, allowed)) = FLOORS.iter().find(|(row, _)| *row == name) else {
            problems.push(format!("{name} has no row in FLOORS (tests/architecture/floors.rs); give it one"));
            continue;
        };
        let excess: Vec<_> = used.iter().filter(|used| !allowed.contains(&used.as_str())).collect();
        if !excess.is_empty() {
            problems.push(format!("{name} uses {excess:?}; it may use {allowed:?}"));
        }
    }
    none(&problems, "Move the code to the floor where it belongs. A new arrow comes alone and changes FLOORS.");
}

#[test]
fn the_tests_of_a_crate_respect_the_floors_too() {
    let mut problems = Vec::new();
    for package in packages() {
        let name = bare(&package.name);
        let used = ours(&package, DependencyKind::Development);
        let forbidden: &[&str] = match name.as_str() {
            // Its fixtures are files.
            "domain" => &["testkit", "queue", "ledger", "salesforce", "service", "simulator"],
            "simulator" => &["salesforce"],
            _ => &[],
        };
        for crate_name in forbidden.iter().filter(|forbidden| used.iter().any(|used| used == *forbidden)) {
            problems.push(format!("the tests of {name} use {crate_name}"));
        }
    }
    none(
        &problems,
        "`domain` is tested by files alone; `simulator` shares nothing with our Salesforce client, so that the two cannot \
         share a mistake.",
    );
}

#[test]
fn each_protocol_has_one_home() {
    let mut problems = Vec::new();
    for package in packages().iter().filter(|package| !TOOLS.contains(&bare(&package.name).as_str())) {
        let name = bare(&package.name);
        for (library, homes, reason) in HOMES {
            if uses(package, library) && !homes.contains(&name.as_str()) {
                problems.push(format!("{name} depends on {library}: {reason}"));
            }
        }
    }
    none(&problems, "Use the crate named, or extend it.");
}

#[test]
fn the_core_uses_only_libraries_that_neither_wait_nor_reach_out() {
    let problems: Vec<_> = packages()
        .iter()
        .filter(|package| bare(&package.name) == "domain")
        .flat_map(|package| &package.dependencies)
        .filter(|dependency| dependency.kind == DependencyKind::Normal && !CORE.contains(&dependency.name.as_str()))
        .map(|dependency| format!("domain depends on {}", dependency.name))
        .collect();
    none(
        &problems,
        "Take what it gives as an argument. A library that is pure may join CORE (tests/architecture/floors.rs).",
    );
}

#[test]
fn packages_are_named_after_their_folders() {
    let mut named: Vec<_> = packages().iter().map(|package| package.name.to_string()).collect();
    named.sort();
    let mut expected: Vec<_> = crates().iter().map(|name| format!("causeway-{name}")).collect();
    expected.push("causeway-tests".to_owned());
    expected.sort();
    assert_eq!(named, expected, "a folder `x` holds the package `causeway-x`");
}

#[test]
fn salesforce_takes_nothing_but_the_atlas_from_the_core() {
    let sources = sources("crates/salesforce/src");
    let problems: Vec<_> = sources
        .iter()
        .flat_map(|source| source.text.lines().enumerate().map(move |(index, line)| (source, index + 1, line)))
        .filter(|(_, _, line)| line.match_indices("domain::").any(|(at, _)| !line[at..].starts_with("domain::atlas")))
        .map(|(source, number, line)| format!("{}:{number}: {}", source.path, line.trim()))
        .collect();
    none(&problems, "Salesforce's client knows nothing of orders. Translate where orders are known, in `writer`.");
}

/// The members of the workspace. Their manifests are enough: nothing is resolved and no network is needed.
fn packages() -> Vec<Package> {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("readable manifests")
        .packages
}

fn bare(package: &str) -> String {
    package.strip_prefix("causeway-").unwrap_or(package).to_owned()
}

fn ours(package: &Package, kind: DependencyKind) -> Vec<String> {
    package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind == kind && dependency.path.is_some())
        .map(|dependency| bare(&dependency.name))
        .collect()
}

fn uses(package: &Package, library: &str) -> bool {
    package
        .dependencies
        .iter()
        .any(|dependency| dependency.kind == DependencyKind::Normal && dependency.name == library)
}
