//! Where answers go, and whether a person reads them.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::confirm::Consent;

/// What is known of the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminal {
    /// Its width in characters; `None` when the answer goes into a pipe or file, and may be as wide as it is.
    pub width: Option<usize>,
    /// Whether the answer has colours.
    pub colour: bool,
    /// Whether hints for a person are added to the answer.
    pub hints: bool,
    /// Whether a person can be asked.
    pub person: bool,
    /// Whether progress is drawn on standard error.
    pub progress: bool,
}

impl Terminal {
    /// No terminal: what a pipe gets.
    pub const PIPE: Self = Self { width: None, colour: false, hints: false, person: false, progress: false };

    /// This process's own. `no_color` is the variable `NO_COLOR`.
    pub fn detect(no_color: Option<&str>) -> Self {
        let (out, err) = (std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
        Self {
            width: out.then(|| comfy_table::Table::new().width().map_or(80, usize::from)),
            colour: out && no_color.is_none_or(str::is_empty),
            hints: out,
            person: std::io::stdin().is_terminal() && err,
            progress: err,
        }
    }

    /// How consent is given.
    pub const fn consent(&self, yes: bool) -> Consent {
        match (yes, self.person) {
            (true, _) => Consent::Given,
            (false, true) => Consent::Ask,
            (false, false) => Consent::Nobody,
        }
    }

    /// A bar for so many letters; it draws nothing where nobody looks.
    pub fn bar(&self, letters: usize, doing: &'static str) -> ProgressBar {
        if !self.progress {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template("{msg} [{wide_bar}] {pos}/{len} {elapsed}")
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ");
        let bar = ProgressBar::new(u64::try_from(letters).unwrap_or(u64::MAX)).with_style(style).with_message(doing);
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }

    /// Breaks a text into lines that fit, each with this indent; no longer than is easily read.
    pub fn wrap(&self, text: &str, indent: usize) -> String {
        const READABLE: usize = 100;
        wrapped(text, indent, self.width.unwrap_or(READABLE).min(READABLE))
    }

    /// A line of prose, wrapped at the terminal's edge.
    pub fn line(&self, out: &mut String, text: &str) {
        let _ = match self.width {
            Some(width) => writeln!(out, "{}", wrapped(text, 0, width)),
            None => writeln!(out, "{text}"),
        };
    }

    /// `label  text`, the text wrapped beside its label; nothing when there is no text.
    pub fn field(&self, out: &mut String, label: &str, text: &str) {
        const LABEL: usize = 15;
        if !text.is_empty() {
            let _ = writeln!(out, "{label:<LABEL$}{}", self.wrap(text, LABEL));
        }
    }
}

/// Writes an answer to standard output. A reader that has gone away, such as `head`, is no failure.
pub fn answer(bytes: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

fn wrapped(text: &str, indent: usize, width: usize) -> String {
    let room = width.saturating_sub(indent).max(20);
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let full =
            lines.last().is_some_and(|line| !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room);
        if full {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join(&format!("\n{}", " ".repeat(indent)))
}
