//! `config`: `order-processing.toml`.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use domain::config::{ConfigProblem, ConfigProblems, OrderProcessing};
use serde::Serialize;
use service::{Exit, Problems, Stopped};

use super::{Report, Tools};
use crate::shown;
use crate::terminal::Terminal;

/// Check an order-processing.toml, or write the default.
#[derive(Debug, clap::Subcommand)]
pub enum Config {
    /// Check a file, and name everything that is wrong with it.
    ///
    /// Exit codes: 0 all is well, 1 there are problems, 78 the file cannot be read.
    #[command(after_help = "Example:\n  \
        causeway-replayer config check order-processing.toml && kill -HUP $(pidof causeway-writer)\n\n\
        JSON:\n  {file, ok, problems: [{path, line, column, problem, remedy}]}")]
    Check {
        /// The file.
        file: PathBuf,
    },
    /// Write a complete order-processing.toml with every key at its default, each explained.
    #[command(
        after_help = "Example:\n  causeway-replayer config show-default > order-processing.toml\n\nJSON:\n  {toml: the text}"
    )]
    ShowDefault,
}

#[derive(Serialize)]
struct Checked<'a> {
    file: String,
    ok: bool,
    problems: Vec<ProblemShown<'a>>,
}

#[derive(Serialize)]
struct ProblemShown<'a> {
    path: &'a str,
    line: Option<usize>,
    column: Option<usize>,
    problem: &'a str,
    remedy: &'a str,
}

#[derive(Serialize)]
struct Default {
    toml: &'static str,
}

impl Config {
    /// Answers.
    ///
    /// # Errors
    /// The file cannot be read (exit 78).
    pub fn run(self, tools: &Tools) -> anyhow::Result<Report> {
        match self {
            Self::ShowDefault if tools.json => Report::json(&Default { toml: OrderProcessing::documented_toml() }),
            Self::ShowDefault => Ok(Report::text(OrderProcessing::documented_toml())),
            Self::Check { file } => {
                let mut settings = Problems::default();
                let Some(text) = settings.file("FILE", &file) else {
                    return Err(Stopped::settings(settings.to_string().trim_end().to_owned()).into());
                };
                let checked = OrderProcessing::parse(&text);
                let problems = checked.as_ref().err().map(ConfigProblems::as_slice).unwrap_or_default();
                let report = if tools.json {
                    Report::json(&document(&file, problems))?
                } else {
                    Report::text(render(&file, &text, problems, &tools.terminal))
                };
                Ok(report.ending(if problems.is_empty() { Exit::Done } else { Exit::Failed }))
            }
        }
    }
}

fn document<'a>(file: &Path, problems: &'a [ConfigProblem]) -> Checked<'a> {
    let shown = |problem: &'a ConfigProblem| ProblemShown {
        path: &problem.path,
        line: problem.line,
        column: problem.column,
        problem: &problem.problem,
        remedy: &problem.remedy,
    };
    Checked {
        file: file.display().to_string(),
        ok: problems.is_empty(),
        problems: problems.iter().map(shown).collect(),
    }
}

/// The result in words, each problem with its line of the file.
pub fn render(file: &Path, text: &str, problems: &[ConfigProblem], terminal: &Terminal) -> String {
    let name = shown::printable(&file.display().to_string());
    if problems.is_empty() {
        return format!("{name} is in order.\n");
    }
    let mut out = String::new();
    for problem in problems {
        let place = match (problem.line, problem.column) {
            (Some(line), Some(column)) => format!("{name}:{line}:{column}"),
            _ => name.clone(),
        };
        let key =
            if problem.path.is_empty() { String::new() } else { format!(": {}", shown::printable(&problem.path)) };
        let _ = writeln!(out, "{place}{key}");
        if let (Some(line), Some(column)) = (problem.line, problem.column)
            && let Some(source) = line.checked_sub(1).and_then(|index| text.lines().nth(index))
        {
            let number = line.to_string();
            let mark = " ".repeat(column.saturating_sub(1));
            let _ = writeln!(out, "  {number} | {}", shown::printable(&source.replace('\t', " ")));
            let _ = writeln!(out, "  {} | {mark}^", " ".repeat(number.len()));
        }
        let _ = writeln!(
            out,
            "  {}",
            terminal.wrap(&format!("{}. {}", shown::printable(&problem.problem), problem.remedy), 2)
        );
        out.push('\n');
    }
    let _ =
        writeln!(out, "{} in {name}; a writer would keep its old settings.", shown::counted(problems.len(), "problem"));
    out
}
