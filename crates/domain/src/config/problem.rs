//! What is wrong with an `order-processing.toml`.

use std::fmt;

/// One thing that is wrong, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The key with its sections, such as `platform_events.api_name`. Empty for a fault of the TOML itself.
    pub path: String,
    /// Line, from 1, where the problem has a place.
    pub line: Option<usize>,
    /// Column in characters, from 1, where the problem has a place.
    pub column: Option<usize>,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, "line {line}, column {column}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}. {}", self.problem, self.remedy)
    }
}

/// Everything that is wrong with a file, in the order of the file. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblems(Vec<ConfigProblem>);

impl ConfigProblems {
    /// Sorts the problems by place; `None` when there are none.
    pub(super) fn of(mut problems: Vec<ConfigProblem>) -> Option<Self> {
        problems.sort_by_key(|problem| (problem.line.unwrap_or(usize::MAX), problem.column));
        (!problems.is_empty()).then_some(Self(problems))
    }

    /// The problems, first line first; those without a place stand last.
    pub fn as_slice(&self) -> &[ConfigProblem] {
        &self.0
    }
}

impl fmt::Display for ConfigProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigProblems {}
