//! A TOML text from which settings are taken by path, noting every problem and every key that was asked for.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::problem::{ConfigProblem, ConfigProblems};

/// Why a value cannot be used.
pub(super) struct Refused {
    /// What is wrong.
    pub(super) problem: String,
    /// What to do.
    pub(super) remedy: String,
}

impl Refused {
    pub(super) fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { problem: problem.into(), remedy: remedy.into() }
    }
}

/// The text, the tables in it, and what has been found out so far.
pub(super) struct Document<'a> {
    text: &'a str,
    root: &'a DeTable<'a>,
    asked: BTreeSet<String>,
    open_sections: BTreeSet<&'static str>,
    problems: Vec<ConfigProblem>,
}

impl<'a> Document<'a> {
    /// A document whose TOML has these faults.
    pub(super) fn new(text: &'a str, root: &'a DeTable<'a>, faults: &[toml::de::Error]) -> Self {
        let mut document =
            Self { text, root, asked: BTreeSet::new(), open_sections: BTreeSet::new(), problems: Vec::new() };
        for fault in faults {
            let refused = Refused::new(fault.message().trim(), "Correct the TOML here");
            document.refuse("", fault.span(), refused);
        }
        document
    }

    /// Puts the value at `path` into `target`, when it is there and `read` accepts it.
    pub(super) fn set<T>(&mut self, target: &mut T, path: &str, read: impl FnOnce(&DeValue<'_>) -> Result<T, Refused>) {
        self.asked.insert(path.to_owned());
        let Some((_, value)) = find(self.root, path) else { return };
        match read(value.get_ref()) {
            Ok(value) => *target = value,
            Err(refused) => self.refuse(path, Some(value.span()), refused),
        }
    }

    /// The keys of the section at `path`, as written, where the file decides which there are.
    pub(super) fn keys(&mut self, path: &'static str) -> Vec<String> {
        self.open_sections.insert(path);
        let table = find(self.root, path).and_then(|(_, value)| value.get_ref().as_table());
        table.map(|table| table.keys().map(|key| key.get_ref().to_string()).collect()).unwrap_or_default()
    }

    /// Notes a problem with the value at `path`, or with its absence.
    pub(super) fn refuse_at(&mut self, path: &str, refused: Refused) {
        let span = find(self.root, path).map(|(_, value)| value.span());
        self.refuse(path, span, refused);
    }

    /// Whether a problem was noted with the value at `path`.
    pub(super) fn has_problem_at(&self, path: &str) -> bool {
        self.problems.iter().any(|problem| problem.path == path)
    }

    /// Notes a problem with the key at `path`, and asks no more about it.
    pub(super) fn refuse_key(&mut self, path: &str, refused: Refused) {
        self.asked.insert(path.to_owned());
        let span = find(self.root, path).map(|(key, _)| key);
        self.refuse(path, span, refused);
    }

    /// Notes every key that nobody asked for, and gives all problems, if there are any.
    pub(super) fn finish(mut self) -> Option<ConfigProblems> {
        self.refuse_strangers(self.root, "");
        // A value that is no TOML is read as something it is not; the fault of the TOML says enough.
        let faults: Vec<usize> =
            self.problems.iter().filter(|problem| problem.path.is_empty()).filter_map(|problem| problem.line).collect();
        self.problems
            .retain(|problem| problem.path.is_empty() || !problem.line.is_some_and(|line| faults.contains(&line)));
        ConfigProblems::of(self.problems)
    }

    /// Every key that was asked for, with its sections.
    #[cfg(test)]
    pub(super) fn asked(&self) -> &BTreeSet<String> {
        &self.asked
    }

    fn refuse(&mut self, path: &str, span: Option<Range<usize>>, refused: Refused) {
        let place = span.map(|span| place(self.text, span.start));
        self.problems.push(ConfigProblem {
            path: path.to_owned(),
            line: place.map(|(line, _)| line),
            column: place.map(|(_, column)| column),
            problem: refused.problem,
            remedy: refused.remedy,
        });
    }

    fn refuse_strangers(&mut self, table: &DeTable<'_>, section: &str) {
        for (key, value) in table {
            let path =
                if section.is_empty() { key.get_ref().to_string() } else { format!("{section}.{}", key.get_ref()) };
            if self.asked.contains(&path) {
                continue;
            }
            let inside = format!("{path}.");
            if !self.open_sections.contains(path.as_str()) && !self.asked.iter().any(|known| known.starts_with(&inside))
            {
                let remedy = self.remedy_for(section, key.get_ref());
                self.refuse(&path, Some(key.span()), Refused::new("there is no such key", remedy));
            } else if let Some(table) = value.get_ref().as_table() {
                self.refuse_strangers(table, &path);
            } else {
                let problem = format!("this is a section, not {}", described(value.get_ref()));
                self.refuse(&path, Some(value.span()), Refused::new(problem, format!("Write it as [{path}]")));
            }
        }
    }

    /// The known key that is most like this one: in its own section if there is one, else anywhere.
    fn remedy_for(&self, section: &str, key: &str) -> String {
        let sections = self.asked.iter().flat_map(|path| path.match_indices('.').map(|(at, _)| &path[..at]));
        let keys = self.asked.iter().map(String::as_str).chain(self.open_sections.iter().copied());
        let paths: BTreeSet<&str> = keys.chain(sections).collect();
        let (here, elsewhere): (Vec<&str>, Vec<&str>) = paths.into_iter().partition(|path| split(path).0 == section);
        if let Some(path) = most_like(key, here, |path| split(path).1) {
            return format!("Did you mean `{}`?", split(path).1);
        }
        match most_like(key, elsewhere, |path| split(path).1).map(split) {
            Some(("", key)) => format!("Did you mean `{key}`? It stands before the first [section] of the file"),
            Some((section, key)) => format!("Did you mean `{key}` under [{section}]?"),
            None => "Remove it, or see the documented file for the keys there are".to_owned(),
        }
    }
}

/// The candidate that was probably meant, if any is close enough. Case and underscores do not count.
pub(super) fn most_like<'c>(
    text: &str,
    candidates: impl IntoIterator<Item = &'c str>,
    name: impl Fn(&'c str) -> &'c str,
) -> Option<&'c str> {
    let folded = |text: &str| text.replace(['_', '-'], "").to_lowercase();
    let wanted = folded(text);
    let allowed = (wanted.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&wanted, &folded(name(candidate))), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// What a value is, in words.
pub(super) fn described(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) if text.is_empty() => "an empty text".to_owned(),
        DeValue::String(text) => format!("the text {text:?}"),
        DeValue::Integer(number) => format!("the number {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(_) => "a date or time".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a section".to_owned(),
    }
}

/// Section and key of a path.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('.').unwrap_or(("", path))
}

/// The key's place and the value at a path.
fn find<'a>(root: &'a DeTable<'a>, path: &str) -> Option<(Range<usize>, &'a Spanned<DeValue<'a>>)> {
    let (section, key) = split(path);
    let table = if section.is_empty() { root } else { find(root, section)?.1.get_ref().as_table()? };
    let (key, value) = table.get_key_value(key)?;
    Some((key.span(), value))
}

/// Line and column, from 1, of a byte offset.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}
