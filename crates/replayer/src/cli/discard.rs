//! `discard`: letters are thrown away.

use std::collections::HashSet;
use std::fmt::Write;

use domain::dead_letter::LetterId;
use futures::StreamExt;
use futures::stream;
use indicatif::ProgressBar;
use queue::dead_letters::DeadLetters;
use serde::Serialize;
use service::Exit;

use super::replay::operator;
use super::{Report, Tools, connection, list, unfound, usage};
use crate::confirm::{Act, Confirmed};
use crate::forecast::DiscardPlan;
use crate::journal;
use crate::letters::{OpenLetters, Row};
use crate::selection::Choice;
use crate::settings::ConnectionArgs;
use crate::shown;
use crate::terminal::Terminal;

/// Rows of the plan that are shown.
const ROWS: usize = 20;
/// Discards under way at a time.
const AT_ONCE: usize = 16;

/// Throw letters away: the orders are not written, ever, unless they are sent again.
///
/// Their bytes stay in the journal until its retention drops them. Orders parked behind a discarded letter stay parked;
/// a replay of their customer lets them go.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "causeway-replayer discard [OPTIONS] --why <TEXT> <LETTER|ORDER>...\n       \
        causeway-replayer discard [OPTIONS] --why <TEXT> <FILTERS | --all>",
    after_help = "Examples:\n  \
    causeway-replayer discard 3fa2b1c0 --why \"sent again by Limio as order 4711\"\n  \
    causeway-replayer discard --reason unreadable_json --older-than 3d --why \"test traffic\" --dry-run\n\n\
    Exit codes: 1 when a name means no letter or a discard failed; 64 when nobody can be asked and --yes is missing.\n\n\
    JSON:\n  \
    {dry_run, why, plan: {letters: as in list, never_tried, being_replayed, stranded,\n   \
    stranded_customers: [key]}, discarded: [id], failures: [{letter, error}]}"
)]
pub struct Discard {
    /// Why; it is kept in the journal. No personal data, please.
    #[arg(long, value_name = "TEXT")]
    why: String,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Do it without asking.
    #[arg(long, short)]
    yes: bool,
    /// Who you are; it is kept in the journal.
    #[arg(long, alias = "by", env = "USER", value_name = "NAME", hide_env_values = true)]
    operator: Option<String>,
    /// Show e-mail addresses of customers.
    #[arg(long)]
    reveal: bool,
    #[command(flatten)]
    choice: Choice,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Serialize)]
struct Document<'a> {
    dry_run: bool,
    why: &'a str,
    plan: PlanShown,
    discarded: Vec<String>,
    failures: Vec<FailedPart>,
}

#[derive(Serialize)]
struct PlanShown {
    letters: Vec<Row>,
    never_tried: usize,
    being_replayed: usize,
    stranded: usize,
    stranded_customers: Vec<String>,
}

#[derive(Serialize)]
struct FailedPart {
    letter: String,
    error: String,
}

impl Discard {
    /// Answers.
    ///
    /// # Errors
    /// The command line or settings are wrong, RabbitMQ is not reached, a name means no letter, or consent is missing.
    pub async fn run(self, tools: &Tools) -> anyhow::Result<Report> {
        self.choice.check().map_err(usage)?;
        let why = self.why.trim();
        if why.is_empty() {
            return Err(usage("--why is blank: say why, for whoever looks at the journal later").into());
        }
        let by = operator(self.operator.as_deref(), self.dry_run)?;
        let connection = connection(&self.connection)?;
        let letters = journal::open(&connection, &by, &|text| tools.say(text)).await?;
        let open = journal::look(&letters);
        let chosen = self.choice.select(&open).map_err(|names| unfound(&names))?;
        let plan = DiscardPlan::new(&open, &chosen);
        if self.dry_run || chosen.is_empty() {
            letters.close().await;
            return if tools.json {
                Report::json(&document(&open, &plan, self.dry_run, why, self.reveal, Vec::new(), Vec::new()))
            } else {
                Ok(Report::text(render_plan(&open, &plan, self.reveal, &tools.terminal)))
            };
        }
        tools.say(&render_plan(&open, &plan, self.reveal, &tools.terminal));
        let confirmed = tools.confirm(Act::Discard, plan.letters.len(), self.yes).await?;

        // Whoever was asked may have thought about it for long.
        letters.refresh().await.map_err(|error| journal::lost(&error))?;
        let wanted: HashSet<LetterId> = chosen.iter().map(|open| open.letter.id.clone()).collect();
        let open = journal::look(&letters);
        let still: Vec<_> = open.all().iter().filter(|open| wanted.contains(&open.letter.id)).collect();
        let settled = wanted.len() - still.len();
        let plan = DiscardPlan::new(&open, &still);
        let bar = tools.terminal.bar(plan.letters.len(), "discarding");
        let (discarded, failures) = carry_out(&letters, &plan, why, confirmed, &bar).await;
        bar.finish_and_clear();
        letters.close().await;

        let exit = if failures.is_empty() { Exit::Done } else { Exit::Failed };
        let report = if tools.json {
            Report::json(&document(&open, &plan, false, why, self.reveal, discarded, failures))?
        } else {
            Report::text(render_done(&plan, &discarded, &failures, settled, self.reveal))
        };
        Ok(report.ending(exit))
    }
}

async fn carry_out(
    letters: &DeadLetters,
    plan: &DiscardPlan,
    why: &str,
    _: Confirmed,
    bar: &ProgressBar,
) -> (Vec<String>, Vec<FailedPart>) {
    let (mut discarded, mut failures) = (Vec::new(), Vec::new());
    let mut discards = stream::iter(&plan.letters)
        .map(|open| async move { (&open.letter.id, letters.discard(&open.letter, why).await) })
        .buffered(AT_ONCE);
    while let Some((id, result)) = discards.next().await {
        let letter = shown::printable(id.as_str());
        match result {
            Ok(()) => discarded.push(letter),
            Err(error) => failures.push(FailedPart { letter, error: error.to_string() }),
        }
        bar.inc(1);
    }
    (discarded, failures)
}

fn document<'a>(
    open: &OpenLetters,
    plan: &DiscardPlan,
    dry_run: bool,
    why: &'a str,
    reveal: bool,
    discarded: Vec<String>,
    failures: Vec<FailedPart>,
) -> Document<'a> {
    let plan = PlanShown {
        letters: plan.letters.iter().map(|letter| open.row(letter, reveal)).collect(),
        never_tried: plan.never_tried,
        being_replayed: plan.being_replayed,
        stranded: plan.stranded.0,
        stranded_customers: plan.stranded.1.iter().map(|key| shown::customer(key, reveal)).collect(),
    };
    Document { dry_run, why, plan, discarded, failures }
}

/// What would be done, in words.
pub fn render_plan(open: &OpenLetters, plan: &DiscardPlan, reveal: bool, terminal: &Terminal) -> String {
    if plan.letters.is_empty() {
        return "Nothing to discard: no open letter matches.\n".to_owned();
    }
    let shown_letters: Vec<_> = plan.letters.iter().take(ROWS).collect();
    let mut out = list::table(open, &shown_letters, reveal, terminal).fit(terminal.width, terminal.colour).text;
    if plan.letters.len() > ROWS {
        let _ = writeln!(out, "… {} more", plan.letters.len() - ROWS);
    }
    out.push('\n');
    let mut line = |text: String| terminal.line(&mut out, &text);
    match plan.letters.len() {
        1 => line("Discards 1 letter: this order will not be written.".to_owned()),
        letters => line(format!("Discards {letters} letters: these orders will not be written.")),
    }
    let alone = plan.letters.len() == 1;
    match plan.never_tried {
        0 => {}
        1 if alone => line("It was never tried; it is only parked.".to_owned()),
        1 => line("1 of them was never tried; it is only parked.".to_owned()),
        parked => line(format!("{parked} of them were never tried; they are only parked.")),
    }
    match plan.being_replayed {
        0 => {}
        1 if alone => line("It is being replayed and may be written all the same.".to_owned()),
        1 => line("1 of them is being replayed and may be written all the same.".to_owned()),
        going => line(format!("{going} of them are being replayed and may be written all the same.")),
    }
    let (them, customers) = (if alone { "it" } else { "them" }, shown::counted(plan.stranded.1.len(), "customer"));
    match plan.stranded.0 {
        0 => {}
        1 => line(format!("Behind {them} 1 order stays parked until a replay lets it go.")),
        parked => {
            line(format!("Behind {them} {parked} orders of {customers} stay parked until a replay lets them go."));
        }
    }
    out
}

fn render_done(
    plan: &DiscardPlan,
    discarded: &[String],
    failures: &[FailedPart],
    settled: usize,
    reveal: bool,
) -> String {
    let mut out = String::new();
    for FailedPart { letter, error } in failures {
        let _ = writeln!(out, "Failed: {letter}: {error}. Discarding it again does no harm.");
    }
    let _ = writeln!(out, "Discarded {}.", shown::counted(discarded.len(), "letter"));
    if settled > 0 {
        let _ = writeln!(out, "{} settled in the meantime.", shown::count(settled, "letter was", "letters were"));
    }
    if plan.stranded.0 > 0 {
        let parked = shown::count(plan.stranded.0, "order stays parked until its", "orders stay parked until their");
        let customers = if plan.stranded.1.len() == 1 { "customer is" } else { "customers are" };
        let _ = writeln!(out, "{parked} {customers} replayed:");
        for key in plan.stranded.1.iter().take(ROWS) {
            let _ = writeln!(
                out,
                "  causeway-replayer replay --customer '{}'",
                shown::customer(key, reveal).replace('\'', "'\\''")
            );
        }
        if plan.stranded.1.len() > ROWS {
            let _ = writeln!(out, "  … {} more customers", plan.stranded.1.len() - ROWS);
        }
    }
    out
}
