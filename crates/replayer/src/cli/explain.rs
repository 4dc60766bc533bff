//! `explain`: what a code means.

use std::fmt::Write;

use serde::Serialize;
use service::Stopped;

use super::{Report, Tools};
use crate::explain::{Explanation, all, explain};
use crate::forecast::Outlook;
use crate::table::{Column, Squeeze, Table};
use crate::terminal::Terminal;

/// Explain a reason or a Salesforce code; without one, list them all. Needs no broker.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    causeway-replayer explain answer_lost\n  \
    causeway-replayer explain FIELD_CUSTOM_VALIDATION_EXCEPTION\n\n\
    JSON (without a code: {codes: [...]} of these):\n  \
    {code, origin: reason | salesforce, class, meaning, we_do, you_do,\n   \
    replay: may_succeed | needs_correction | fails_again | dangerous | null, http: [],\n   \
    variants: [{message_contains, class, meaning, we_do, you_do}]}")]
pub struct Explain {
    /// A reason such as `salesforce_refused`, or a Salesforce code such as `UNABLE_TO_LOCK_ROW`.
    code: Option<String>,
}

#[derive(Serialize)]
struct Document {
    codes: Vec<Explanation>,
}

impl Explain {
    /// Answers.
    ///
    /// # Errors
    /// There is no such code (exit 1).
    pub fn run(self, tools: &Tools) -> anyhow::Result<Report> {
        let Some(code) = self.code else {
            return if tools.json {
                Report::json(&Document { codes: all() })
            } else {
                Ok(Report::text(render_all(&tools.terminal)))
            };
        };
        let explanation = explain(&code).map_err(|error| Stopped::failed(error.to_string()))?;
        if tools.json { Report::json(&explanation) } else { Ok(Report::text(render(&explanation, &tools.terminal))) }
    }
}

/// One code in words.
pub fn render(explanation: &Explanation, terminal: &Terminal) -> String {
    let mut out = String::new();
    let origin = if explanation.origin == "reason" { "a reason of Causeway's" } else { "a Salesforce code" };
    let _ = writeln!(out, "{}  ({origin}, {})\n", explanation.code, explanation.class.replace('_', " "));
    terminal.field(&mut out, "Means", &explanation.meaning);
    terminal.field(&mut out, "Causeway does", explanation.we_do);
    terminal.field(&mut out, "You do", &explanation.you_do);
    terminal.field(&mut out, "A replay", explanation.replay.map(Outlook::words).unwrap_or_default());
    let http: Vec<String> = explanation.http.iter().map(ToString::to_string).collect();
    terminal.field(&mut out, "HTTP", &http.join(", "));
    // Two wordings of one thing are told once.
    for variants in explanation.variants.chunk_by(|a, b| (&a.meaning, &a.you_do) == (&b.meaning, &b.you_do)) {
        let Some(variant) = variants.first() else { continue };
        let texts: Vec<String> = variants.iter().map(|variant| format!("\"{}\"", variant.message_contains)).collect();
        let _ = writeln!(out, "\nWith {} in its message  ({})", texts.join(" or "), variant.class.replace('_', " "));
        terminal.field(&mut out, "Means", &variant.meaning);
        terminal.field(&mut out, "Causeway does", variant.we_do);
        terminal.field(&mut out, "You do", &variant.you_do);
    }
    out
}

/// Every code in a table.
pub fn render_all(terminal: &Terminal) -> String {
    let mut table = Table::new([
        Column::new("CODE").squeezed(Squeeze::End, 30),
        Column::new("CLASS"),
        Column::new("MEANING").squeezed(Squeeze::End, 24),
    ]);
    for explanation in all() {
        table.row([explanation.code.into(), explanation.class.into(), explanation.meaning.into()]);
    }
    let mut out = table.fit(terminal.width, terminal.colour).text;
    if terminal.hints {
        out.push_str("\nNext: causeway-replayer explain CODE\n");
    }
    out
}
