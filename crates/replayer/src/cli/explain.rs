//! `explain`: what a code means.

use std::fmt::Write;

use serde::Serialize;
use service::Stopped;

use super::{Report, Tools};
use crate::explain::{Explanation, all, explain};
use crate::forecast::Outlook;
use crate::table::{Column, Squeeze, Table};
use crate::terminal::Terminal;

/// Explain a reason or a Salesforce code, as the error atlas has it; without one, list them all. Needs no broker.
///
/// Case does not matter, and a blank or a hyphen stands for an underscore. A bare HTTP status, such as 503, is explained as
/// an answer without a code. What Limio tells its users is found by its words.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    causeway-replayer explain answer_lost\n  \
    causeway-replayer explain FIELD_CUSTOM_VALIDATION_EXCEPTION\n  \
    causeway-replayer explain invalid_grant\n  \
    causeway-replayer explain 503\n\n\
    Exit codes: 0 ok; 1 no such code, and the nearest ones are named; 64 usage.\n\n\
    JSON (without a code: {codes: [...]} of these):\n  \
    {code, origin: reason | salesforce | answer | sign_in, class, meaning, often, we_do, you_do,\n   \
    replay: may_succeed | needs_correction | fails_again | dangerous | null, http: [], documented,\n   \
    variants: [{message_contains, class, meaning, we_do, you_do}]}")]
pub struct Explain {
    /// A reason such as `salesforce_refused`, or a Salesforce code such as `UNABLE_TO_LOCK_ROW`.
    #[arg(value_name = "CODE", num_args = 0..)]
    code: Vec<String>,
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
        // The words of a code may come apart: `explain answer lost`.
        let code = self.code.join(" ");
        if code.trim().is_empty() {
            return if tools.json {
                Report::json(&Document { codes: all() })
            } else {
                Ok(Report::text(render_all(&tools.terminal)))
            };
        }
        let explanation = explain(&code).map_err(|error| Stopped::failed(error.to_string()))?;
        if tools.json { Report::json(&explanation) } else { Ok(Report::text(render(&explanation, &tools.terminal))) }
    }
}

/// One code in words.
pub fn render(explanation: &Explanation, terminal: &Terminal) -> String {
    let mut out = String::new();
    let origin = match explanation.origin {
        "reason" => "a reason of Causeway's",
        "answer" => "an answer without a code",
        "sign_in" => "an error of the token endpoint",
        _ => "a Salesforce code",
    };
    let _ = writeln!(out, "{}  ({origin}, {})\n", explanation.code, explanation.class.replace('_', " "));
    terminal.field(&mut out, "Means", &explanation.meaning);
    terminal.field(&mut out, "Often", &explanation.often);
    terminal.field(&mut out, "Causeway does", explanation.we_do);
    terminal.field(&mut out, "You do", &explanation.you_do);
    terminal.field(&mut out, "A replay", explanation.replay.map(Outlook::words).unwrap_or_default());
    let http: Vec<String> = explanation.http.iter().map(ToString::to_string).collect();
    terminal.field(&mut out, "HTTP", &http.join(", "));
    terminal.field(&mut out, "Documented", explanation.documented.unwrap_or_default());
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
