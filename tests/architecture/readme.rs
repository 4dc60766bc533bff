//! What the README says of the code is there.

use crate::{crates, none, read, root, sources};

#[test]
fn the_readme_names_every_crate() {
    let readme = read(&root().join("README.md"));
    let problems: Vec<_> = crates()
        .into_iter()
        .filter(|name| !readme.contains(&format!("| `{name}` |")))
        .map(|name| format!("{name} is not in the code map"))
        .collect();
    none(&problems, "Give it a line: | `name` | what it is |");
}

#[test]
fn every_promise_names_tests_that_exist() {
    let readme = read(&root().join("README.md"));
    let promises = section(&readme, "## Promises");
    let named: Vec<_> = quoted(promises).filter(|word| word.contains('_') && !word.contains(['.', '/', ' '])).collect();
    assert!(named.len() >= 6, "the promises name no tests: {named:?}");
    let tests: Vec<_> = ["crates", "tests"].into_iter().flat_map(sources).collect();
    let problems: Vec<_> = named
        .iter()
        .filter(|name| !tests.iter().any(|source| source.text.contains(&format!("fn {name}("))))
        .map(|name| format!("there is no test `{name}`"))
        .collect();
    none(&problems, "A promise without a test is a hope: write the test, or name the one that holds it now.");
}

#[test]
fn every_path_and_target_in_the_readme_exists() {
    let readme = read(&root().join("README.md"));
    let makefile = read(&root().join("Makefile"));
    let mut problems = Vec::new();
    for word in quoted(&readme) {
        if let Some(target) = word.strip_prefix("make ").and_then(|rest| rest.split_whitespace().next())
            && !makefile.contains(&format!("\n{target}:"))
        {
            problems.push(format!("`{word}`: the Makefile has no target {target}"));
        }
        let is_path = ["crates/", "tests/", "deploy/"].iter().any(|folder| word.starts_with(folder));
        if is_path && !word.contains(['<', '*', ' ']) && !root().join(word).exists() {
            problems.push(format!("`{word}` does not exist"));
        }
    }
    none(&problems, "Correct the README.");
}

/// From a heading to the next one of its level.
#[test]
fn the_deployment_guide_names_every_object_and_field_that_the_org_needs() {
    let guide = read(&root().join("deploy/README.md"));
    let settings = read(&root().join("crates/domain/src/config/order-processing.toml"));
    let (_, rest) = settings.split_once("[external_ids]").expect("the section");
    let section = rest.split("\n[").next().unwrap_or(rest);
    let names: Vec<&str> = section
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(" = ")?.1.strip_prefix('"')?.strip_suffix('"'))
        .collect();
    assert!(names.len() >= 8, "{names:?}");
    let problems: Vec<String> = names
        .iter()
        .filter(|name| !guide.contains(&format!("`{name}`")))
        .map(|name| format!("{name} is missing"))
        .collect();
    none(&problems, "Add it to \"What the org needs\" in deploy/README.md.");
}

fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let (_, rest) =
        text.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("the README has no `{heading}`"));
    rest.split_once("\n## ").map_or(rest, |(section, _)| section)
}

/// What stands between two backticks on one line.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}
