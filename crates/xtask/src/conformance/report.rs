//! What came of it, for a person and for a program.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use comfy_table::{Attribute, Cell, CellAlignment, Color, LineStyle, Table, presets};
use serde::Serialize;

/// Everything passed.
const ALL_WELL: u8 = 0;
/// A client and the org disagree, or a client does not install although its registry answers.
const DISAGREEMENT: u8 = 1;
/// Something could not be run: a registry is out of reach, or a tool is not there (`EX_UNAVAILABLE`).
pub(crate) const UNAVAILABLE: u8 = 69;

/// `target/conformance/report.json`.
#[derive(Debug, Default, Clone, PartialEq, Serialize)]
pub(crate) struct Report {
    /// The columns.
    pub(crate) clients: Vec<Column>,
    /// The rows.
    pub(crate) scenarios: Vec<Row>,
    /// The page in a browser, where it was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) page: Option<Outcome>,
    /// How long all of it took.
    pub(crate) seconds: f64,
}

/// A client.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Column {
    /// Its name here.
    pub(crate) id: String,
    /// Its name in its registry.
    pub(crate) package: String,
    /// The version that was run.
    pub(crate) version: String,
}

/// A scenario.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    /// Its name.
    pub(crate) id: String,
    /// What happens.
    pub(crate) title: String,
    /// What is certain if it passes.
    pub(crate) proves: String,
    /// What came of it, by client.
    pub(crate) results: BTreeMap<String, Outcome>,
}

/// What came of one scenario with one client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// Client and org agree.
    Passed {
        /// How long it took.
        millis: u64,
        /// What the runner says of it.
        #[serde(skip_serializing_if = "String::is_empty")]
        detail: String,
    },
    /// They do not.
    Failed {
        /// How long it took.
        millis: u64,
        /// What the runner says of it.
        detail: String,
    },
    /// The client cannot do it.
    NotOffered {
        /// Why.
        reason: String,
    },
    /// It could not be tried here.
    NotRun {
        /// Why.
        reason: String,
    },
    /// It could not be tried, because the client as it is pinned does not install.
    NotInstalled {
        /// What was said of it.
        detail: String,
    },
}

impl Report {
    /// How the task ends.
    pub(crate) fn exit_code(&self) -> u8 {
        if self.disagrees() {
            DISAGREEMENT
        } else if self.all().any(|outcome| matches!(outcome, Outcome::NotRun { .. })) {
            UNAVAILABLE
        } else {
            ALL_WELL
        }
    }

    /// Whether a client and the org disagree, or a client does not install.
    pub(crate) fn disagrees(&self) -> bool {
        self.all().any(|outcome| matches!(outcome, Outcome::Failed { .. } | Outcome::NotInstalled { .. }))
    }

    fn all(&self) -> impl Iterator<Item = &Outcome> {
        self.scenarios.iter().flat_map(|row| row.results.values()).chain(&self.page)
    }

    /// The table with what has to be known beside it.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{}\n", self.table());
        let mut section = |heading: &str, lines: &[String]| {
            if !lines.is_empty() {
                // Writing to a string does not fail.
                let _ = write!(text, "\n{heading}\n{}\n", lines.join("\n"));
            }
        };
        section(
            "– not offered by this client",
            &self.lines(|outcome| if let Outcome::NotOffered { reason } = outcome { Some(reason) } else { None }),
        );
        section(
            "? not run",
            &self.lines(|outcome| if let Outcome::NotRun { reason } = outcome { Some(reason) } else { None }),
        );
        section("? not installed", &self.not_installed());
        section("✗ failed", &self.failures());
        let count = |wanted: fn(&Outcome) -> bool| {
            self.scenarios.iter().flat_map(|row| row.results.values()).filter(|outcome| wanted(outcome)).count()
        };
        let passed = count(|outcome| matches!(outcome, Outcome::Passed { .. }));
        let failed = count(|outcome| matches!(outcome, Outcome::Failed { .. }));
        let missing = count(|outcome| matches!(outcome, Outcome::NotRun { .. } | Outcome::NotInstalled { .. }));
        let missing = if missing == 0 { String::new() } else { format!(", {missing} not run") };
        let _ = write!(
            text,
            "\n{passed} passed, {failed} failed{missing}; {} scenarios, {} clients, {:.1} s",
            self.scenarios.len(),
            self.clients.len(),
            self.seconds
        );
        text
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
        let heads = self.clients.iter().map(|client| {
            let head = format!("{}\n{}", client.id, client.version);
            Cell::new(head).set_alignment(CellAlignment::Center).add_attribute(Attribute::Bold)
        });
        table.set_header(std::iter::once(Cell::new("")).chain(heads));
        for row in &self.scenarios {
            let cells = self.clients.iter().map(|client| {
                let (mark, colour) = row.results.get(&client.id).map_or(("", Color::Reset), Outcome::mark);
                Cell::new(mark).fg(colour).set_alignment(CellAlignment::Center)
            });
            table.add_row(std::iter::once(Cell::new(&row.id)).chain(cells));
        }
        if let Some(page) = &self.page {
            let (mark, colour) = page.mark();
            let cell = Cell::new(mark).fg(colour).set_alignment(CellAlignment::Center);
            table.add_row([Cell::new("page in a browser"), cell]);
        }
        table
    }

    /// One line for each client and reason, with the scenarios it holds for.
    fn lines<'a>(&'a self, reason: impl Fn(&'a Outcome) -> Option<&'a String>) -> Vec<String> {
        let mut grouped: BTreeMap<(usize, &str), BTreeSet<usize>> = BTreeMap::new();
        for (at, row) in self.scenarios.iter().enumerate() {
            for (column, client) in self.clients.iter().enumerate() {
                if let Some(reason) = row.results.get(&client.id).and_then(&reason) {
                    grouped.entry((column, reason)).or_default().insert(at);
                }
            }
        }
        let page = self.page.as_ref().and_then(&reason).map(|reason| format!("  page: {reason}"));
        let named = grouped.into_iter().filter_map(|((column, reason), rows)| {
            let client = &self.clients.get(column)?.id;
            let ids: Vec<_> = rows.iter().filter_map(|at| Some(self.scenarios.get(*at)?.id.as_str())).collect();
            let what = if ids.len() > 4 { format!("{} scenarios", ids.len()) } else { ids.join(", ") };
            Some(format!("  {client}, {what}: {reason}"))
        });
        named.chain(page).collect()
    }

    /// What does not install, with the clients that it holds for.
    fn not_installed(&self) -> Vec<String> {
        let mut grouped: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let page = self.page.as_ref().map(|outcome| ("page", outcome));
        let cells = self.clients.iter().flat_map(|client| {
            let id = client.id.as_str();
            self.scenarios.iter().filter_map(move |row| Some((id, row.results.get(id)?)))
        });
        for (id, outcome) in cells.chain(page) {
            if let Outcome::NotInstalled { detail } = outcome {
                let ids = grouped.entry(detail).or_default();
                if !ids.contains(&id) {
                    ids.push(id);
                }
            }
        }
        let told = |(detail, ids): (&str, Vec<&str>)| {
            format!("  {}\n      {}", ids.join(", "), detail.trim().replace('\n', "\n      "))
        };
        grouped.into_iter().map(told).collect()
    }

    fn failures(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for row in &self.scenarios {
            for client in &self.clients {
                if let Some(Outcome::Failed { detail, .. }) = row.results.get(&client.id) {
                    let detail = detail.trim().replace('\n', "\n      ");
                    lines.push(format!("  {}, {}: {}\n      {detail}", client.id, row.id, row.title));
                }
            }
        }
        if let Some(Outcome::Failed { detail, .. }) = &self.page {
            lines.push(format!("  page in a browser\n      {}", detail.trim().replace('\n', "\n      ")));
        }
        lines
    }
}

impl Outcome {
    /// What kept a scenario from being carried out is as bad as a disagreement.
    pub(crate) fn failed(error: &anyhow::Error) -> Self {
        Self::Failed { millis: 0, detail: format!("{error:#}") }
    }

    const fn mark(&self) -> (&'static str, Color) {
        match self {
            Self::Passed { .. } => ("✓", Color::Green),
            Self::Failed { .. } => ("✗", Color::Red),
            Self::NotOffered { .. } => ("–", Color::DarkGrey),
            Self::NotRun { .. } => ("?", Color::Yellow),
            Self::NotInstalled { .. } => ("?", Color::Red),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed() -> Outcome {
        Outcome::Passed { millis: 3, detail: String::new() }
    }

    fn failed() -> Outcome {
        Outcome::Failed { millis: 3, detail: "expected 1\nfound 2".to_owned() }
    }

    fn not_offered() -> Outcome {
        Outcome::NotOffered { reason: "it has no such call".to_owned() }
    }

    fn not_run() -> Outcome {
        Outcome::NotRun { reason: "npm is not reached".to_owned() }
    }

    fn not_installed() -> Outcome {
        Outcome::NotInstalled { detail: "what the lock pins does not install\nEINTEGRITY".to_owned() }
    }

    fn report(results: &[(&str, Outcome)]) -> Report {
        let column = |id: &str| Column { id: id.to_owned(), package: id.to_owned(), version: "1.2.3".to_owned() };
        let ids: BTreeSet<_> = results.iter().map(|(id, _)| *id).collect();
        Report {
            clients: ids.into_iter().map(column).collect(),
            scenarios: vec![Row {
                id: "row-life".to_owned(),
                title: "A row lives".to_owned(),
                proves: "all".to_owned(),
                results: results.iter().map(|(id, outcome)| ((*id).to_owned(), outcome.clone())).collect(),
            }],
            page: None,
            seconds: 1.5,
        }
    }

    #[test]
    fn a_failure_outweighs_what_was_not_run_and_that_outweighs_success() {
        assert_eq!(report(&[("a", passed()), ("b", not_offered())]).exit_code(), 0);
        assert_eq!(report(&[("a", passed()), ("b", not_run())]).exit_code(), 69);
        assert_eq!(report(&[("a", failed()), ("b", not_run())]).exit_code(), 1);
        assert_eq!(report(&[("a", passed()), ("b", not_run()), ("c", not_installed())]).exit_code(), 1);
        let page = |outcome| Report { page: Some(outcome), ..report(&[("a", passed())]) };
        assert_eq!(page(failed()).exit_code(), 1);
        assert_eq!(page(not_run()).exit_code(), 69);
    }

    #[test]
    fn the_table_has_a_mark_for_each_client_and_the_reasons_below() {
        let all = [("a", passed()), ("b", failed()), ("c", not_offered()), ("d", not_run())];
        let text = report(&all).text();
        let line = text.lines().find(|line| line.contains("row-life")).expect("a row");
        let marks: Vec<_> = line.split_whitespace().skip(1).collect();
        assert_eq!(marks, ["✓", "✗", "–", "?"]);
        assert!(text.contains("\n– not offered by this client\n  c, row-life: it has no such call\n"), "{text}");
        assert!(text.contains("\n? not run\n  d, row-life: npm is not reached\n"), "{text}");
        assert!(text.contains("\n✗ failed\n  b, row-life: A row lives\n      expected 1\n      found 2\n"), "{text}");
        assert!(text.ends_with("1 passed, 1 failed, 1 not run; 1 scenarios, 4 clients, 1.5 s"), "{text}");
    }

    #[test]
    fn what_does_not_install_is_marked_as_not_run_and_told_once_for_all_its_clients() {
        let text = report(&[("a", not_installed()), ("b", passed()), ("c", not_installed())]).text();
        let line = text.lines().find(|line| line.contains("row-life")).expect("a row");
        assert_eq!(line.split_whitespace().skip(1).collect::<Vec<_>>(), ["?", "✓", "?"]);
        let told = "\n? not installed\n  a, c\n      what the lock pins does not install\n      EINTEGRITY\n";
        assert!(text.contains(told), "{text}");
        assert!(text.ends_with("1 passed, 0 failed, 2 not run; 1 scenarios, 3 clients, 1.5 s"), "{text}");
    }

    #[test]
    fn the_file_names_outcomes_in_words() {
        let json = serde_json::to_value(report(&[("a", passed()), ("b", not_offered())])).expect("JSON");
        let results = &json["scenarios"][0]["results"];
        assert_eq!(results["a"], serde_json::json!({ "outcome": "passed", "millis": 3 }));
        assert_eq!(results["b"], serde_json::json!({ "outcome": "not_offered", "reason": "it has no such call" }));
        assert!(json.get("page").is_none());
    }
}
