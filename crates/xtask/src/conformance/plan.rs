//! `scenarios.toml`: the clients, the scenarios, and who takes part in which.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

/// The whole list, checked.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    /// The columns.
    #[serde(rename = "client")]
    pub(crate) clients: Vec<Client>,
    /// The rows.
    #[serde(rename = "scenario")]
    pub(crate) scenarios: Vec<Scenario>,
}

/// A public client, and the file that drives it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Client {
    /// What it is called here and on the command line.
    pub(crate) id: String,
    /// Its name in its registry.
    pub(crate) package: String,
    /// What runs it.
    pub(crate) runner: Runner,
    /// The file of its scenarios, or the program.
    pub(crate) file: String,
    /// Whether it insists on https.
    #[serde(default)]
    pub(crate) needs_tls: bool,
    /// What it can do at all.
    pub(crate) areas: Vec<String>,
    /// Why it takes no part in other areas.
    pub(crate) otherwise: String,
}

/// What runs a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Runner {
    /// Node, with packages from npm.
    Node,
    /// Python, with packages from PyPI.
    Python,
    /// A program of its own, with crates from crates.io.
    Rust,
    /// Node, with a driver of browsers from npm: no client, but installed like one.
    #[serde(skip)]
    Page,
}

/// One thing that clients do to the org.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// What runners know it by.
    pub(crate) id: String,
    /// What kind of thing it is.
    pub(crate) area: String,
    /// What happens, as a sentence.
    pub(crate) title: String,
    /// What is certain if it passes.
    pub(crate) proves: String,
    /// What the org is told before.
    #[serde(default)]
    pub(crate) prepare: Vec<Post>,
    /// Clients of the area that cannot do it, and why.
    #[serde(default)]
    pub(crate) not_offered: BTreeMap<String, String>,
}

/// A call of the control plane.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Post {
    /// The path below `/_sim/`.
    pub(crate) post: String,
    /// The body.
    pub(crate) body: Value,
}

impl Plan {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read, or contradicts itself.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is wrong", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let plan: Self = toml::from_str(text)?;
        for (at, client) in plan.clients.iter().enumerate() {
            ensure!(plan.clients.iter().take(at).all(|other| other.id != client.id), "client {} twice", client.id);
            for area in &client.areas {
                let known = plan.scenarios.iter().any(|scenario| scenario.area == *area);
                ensure!(known, "client {} names area {area}, which has no scenario", client.id);
            }
        }
        for (at, scenario) in plan.scenarios.iter().enumerate() {
            let id = &scenario.id;
            ensure!(plan.scenarios.iter().take(at).all(|other| other.id != *id), "scenario {id} twice");
            ensure!(plan.clients.iter().any(|client| scenario.reason(client).is_none()), "nobody does scenario {id}");
            for excused in scenario.not_offered.keys() {
                let Some(client) = plan.clients.iter().find(|client| client.id == *excused) else {
                    bail!("scenario {id} excuses {excused}, which is no client");
                };
                ensure!(
                    client.areas.contains(&scenario.area),
                    "scenario {id} excuses {excused}, which does nothing of {} anyway",
                    scenario.area
                );
            }
        }
        Ok(plan)
    }

    /// Leaves what was asked for; nothing asked for leaves all.
    ///
    /// # Errors
    /// A name that does not exist.
    pub(crate) fn select(mut self, clients: &[String], scenarios: &[String]) -> Result<Self> {
        for name in clients {
            let names: Vec<_> = self.clients.iter().map(|client| client.id.as_str()).collect();
            ensure!(names.contains(&name.as_str()), "no client {name}; there are {}", names.join(", "));
        }
        for id in scenarios {
            let ids: Vec<_> = self.scenarios.iter().map(|scenario| scenario.id.as_str()).collect();
            ensure!(ids.contains(&id.as_str()), "no scenario {id}; there are {}", ids.join(", "));
        }
        self.clients.retain(|client| clients.is_empty() || clients.contains(&client.id));
        self.scenarios.retain(|scenario| scenarios.is_empty() || scenarios.contains(&scenario.id));
        Ok(self)
    }
}

impl Scenario {
    /// Why the client takes no part; `None` when it does.
    pub(crate) fn reason<'a>(&'a self, client: &'a Client) -> Option<&'a str> {
        if client.areas.contains(&self.area) {
            self.not_offered.get(&client.id).map(String::as_str)
        } else {
            Some(&client.otherwise)
        }
    }
}

impl Runner {
    /// The folder beside `scenarios.toml`.
    pub(crate) const fn folder(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Python => "python",
            Self::Rust => "rust",
            Self::Page => "page",
        }
    }

    /// The file in it that asks for the clients' versions.
    pub(crate) const fn pins(self) -> &'static str {
        match self {
            Self::Node | Self::Page => "package.json",
            Self::Python => "requirements.in",
            Self::Rust => "Cargo.toml",
        }
    }
}

impl Client {
    /// The version that the text of the pinning file has of it.
    pub(crate) fn version(&self, pins: &str) -> Option<String> {
        let name = self.package.split(' ').next()?;
        let line = pins.lines().map(str::trim).find_map(|line| match self.runner {
            Runner::Node | Runner::Page => line.strip_prefix(&format!("\"{name}\": \"")),
            Runner::Python => line.strip_prefix(&format!("{name}==")),
            Runner::Rust => line.strip_prefix(&format!("{name} = \"=")),
        })?;
        Some(line.split('"').next()?.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan::read(&crate::conformance::list()).expect("a list without contradictions")
    }

    #[test]
    fn the_list_is_whole_and_each_client_has_a_pinned_version() {
        let plan = plan();
        for client in &plan.clients {
            let folder = crate::conformance::list().with_file_name(client.runner.folder());
            let pins = std::fs::read_to_string(folder.join(client.runner.pins())).expect("a file that pins versions");
            assert!(client.version(&pins).is_some_and(|version| version.contains('.')), "{}", client.id);
        }
    }

    #[test]
    fn every_runner_knows_every_scenario_of_its_client() {
        let plan = plan();
        for client in &plan.clients {
            let folder = crate::conformance::list().with_file_name(client.runner.folder());
            // Its own file, and those that go on under its name.
            let (folder, stem) = match client.runner {
                Runner::Rust => (folder.join("src"), "scenarios"),
                Runner::Node | Runner::Python | Runner::Page => {
                    (folder, client.file.split('.').next().expect("a name"))
                }
            };
            let files = std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path());
            let named = |path: &std::path::PathBuf| {
                path.is_file() && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(stem))
            };
            let read = |path| std::fs::read_to_string(path).expect("a runner");
            let text: String = files.filter(named).map(read).collect();
            for scenario in plan.scenarios.iter().filter(|scenario| scenario.reason(client).is_none()) {
                let id = &scenario.id;
                let name = id.replace('-', "_");
                let spellings =
                    [format!("async {id}("), format!("'{id}'"), format!("\"{id}\""), format!("def {name}(")];
                assert!(spellings.iter().any(|spelling| text.contains(spelling)), "{} has no {id}", client.id);
            }
        }
    }

    #[test]
    fn a_client_takes_part_unless_a_reason_is_given() {
        let plan = plan();
        let client = |id: &str| plan.clients.iter().find(|client| client.id == id).expect("a client");
        let scenario = |id: &str| plan.scenarios.iter().find(|scenario| scenario.id == id).expect("a scenario");
        assert_eq!(scenario("row-life").reason(client("jsforce")), None);
        assert!(scenario("row-life").reason(client("Authlib")).is_some());
        assert!(scenario("soap-login").reason(client("Authlib")).is_some_and(|reason| reason.contains("SOAP")));
    }

    #[test]
    fn contradictions_and_unknown_names_are_told() {
        let client = "[[client]]\nid='a'\npackage='a'\nrunner='node'\nfile='a'\nareas=['x']\notherwise='o'\n";
        let scenario = "[[scenario]]\nid='s'\narea='x'\ntitle='t'\nproves='p'\n";
        let parse = |text: &str| Plan::parse(text).map_err(|error| format!("{error:#}"));
        assert!(parse(&format!("{client}{scenario}")).is_ok());
        for (text, problem) in [
            (format!("{client}{client}{scenario}"), "client a twice"),
            (format!("{client}{scenario}{scenario}"), "scenario s twice"),
            (format!("{client}{scenario}[scenario.not_offered]\nb='no'\n"), "which is no client"),
            (format!("{client}{scenario}[scenario.not_offered]\na='no'\n"), "nobody does scenario s"),
            (format!("{client}{}", scenario.replace("'x'", "'y'")), "which has no scenario"),
        ] {
            let error = parse(&text).expect_err(&text);
            assert!(error.contains(problem), "{error}");
        }
        let error = plan().select(&["jsfroce".to_owned()], &[]).expect_err("no such client");
        assert!(error.to_string().contains("there are jsforce, "), "{error}");
        let one = plan().select(&["jsforce".to_owned()], &["row-life".to_owned()]).expect("both exist");
        assert_eq!((one.clients.len(), one.scenarios.len()), (1, 1));
    }
}
