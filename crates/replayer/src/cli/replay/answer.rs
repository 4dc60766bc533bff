//! What `replay` answers: the plan, and what became of it.

use std::fmt::Write;
use std::time::Duration;

use domain::dead_letter::LetterId;
use serde::Serialize;

use crate::cli::{NO_CUSTOMER, short};
use crate::closed::How;
use crate::follow::{Fate, Tally};
use crate::forecast::{CustomerReplay, Outlook, ReplayPlan};
use crate::letters::{OpenLetters, Row};
use crate::shown;
use crate::table::{Cell, Column, Squeeze, Table, Tone};
use crate::terminal::Terminal;

/// Rows of a plan or a result that are shown.
const ROWS: usize = 20;

#[derive(Serialize)]
pub(super) struct Document {
    pub(super) dry_run: bool,
    pub(super) plan: PlanShown,
    pub(super) released: Vec<Released>,
    pub(super) published: Vec<String>,
    pub(super) failures: Vec<FailedPart>,
    pub(super) fates: Option<Vec<FateShown>>,
    pub(super) tally: Option<Tally>,
}

#[derive(Serialize)]
pub(super) struct PlanShown {
    pub(super) letters: usize,
    pub(super) along: usize,
    pub(super) customers: Vec<CustomerShown>,
    pub(super) without_customer: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct CustomerShown {
    pub(super) customer: String,
    pub(super) partition: u16,
    pub(super) letters: Vec<String>,
    pub(super) along: usize,
    pub(super) outlook: Outlook,
}

#[derive(Serialize)]
pub(super) struct Released {
    pub(super) customer: String,
    pub(super) plan: String,
    pub(super) letters: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct FailedPart {
    pub(super) what: String,
    pub(super) error: String,
}

#[derive(Serialize)]
pub(super) struct FateShown {
    pub(super) letter: String,
    pub(super) order_id: Option<String>,
    pub(super) fate: &'static str,
    pub(super) reason: Option<&'static str>,
    pub(super) again: Option<String>,
}

/// What was done.
#[derive(Default)]
pub(super) struct Done {
    pub(super) released: Vec<Released>,
    pub(super) published: Vec<LetterId>,
    pub(super) failures: Vec<FailedPart>,
}

pub(super) fn document(
    plan: &ReplayPlan,
    dry_run: bool,
    reveal: bool,
    done: Done,
    followed: Option<&(OpenLetters, Vec<(LetterId, Fate)>)>,
) -> Document {
    let id = |open: &crate::letters::OpenLetter| shown::printable(open.letter.id.as_str());
    let order = |wanted: &LetterId| {
        plan.all().find(|open| open.letter.id == *wanted).and_then(|open| open.letter.order_id.clone())
    };
    Document {
        dry_run,
        plan: PlanShown {
            letters: plan.letters(),
            along: plan.along(),
            customers: plan
                .customers
                .iter()
                .map(|customer| CustomerShown {
                    customer: shown::customer(&customer.key, reveal),
                    partition: customer.partition,
                    letters: customer.letters.iter().map(id).collect(),
                    along: customer.along,
                    outlook: customer.outlook,
                })
                .collect(),
            without_customer: plan.without_customer.iter().map(id).collect(),
        },
        released: done.released,
        published: done.published.iter().map(|id| shown::printable(id.as_str())).collect(),
        failures: done.failures,
        fates: followed.map(|(_, fates)| {
            let fate = |(id, fate): &(LetterId, Fate)| FateShown {
                letter: shown::printable(id.as_str()),
                order_id: order(id).as_deref().map(shown::printable),
                fate: fate.as_str(),
                reason: reason(fate),
                again: again(fate).map(|id| shown::printable(id.as_str())),
            };
            fates.iter().map(fate).collect()
        }),
        tally: followed.map(|(_, fates)| Tally::of(fates.iter().map(|(_, fate)| fate))),
    }
}

fn reason(fate: &Fate) -> Option<&'static str> {
    match fate {
        Fate::DeadAgain { failure, .. } => Some(failure.reason.as_str()),
        Fate::Ended(_) | Fate::Parked | Fate::Pending => None,
    }
}

/// The letter that it is now.
const fn again(fate: &Fate) -> Option<&LetterId> {
    match fate {
        Fate::DeadAgain { letter, .. } => letter.as_ref(),
        Fate::Ended(_) | Fate::Parked | Fate::Pending => None,
    }
}

/// What would be done, in words.
pub fn render_plan(plan: &ReplayPlan, reveal: bool, terminal: &Terminal) -> String {
    if plan.letters() == 0 {
        return "Nothing to replay: no open letter matches.\n".to_owned();
    }
    let mut table = Table::new([
        Column::new("CUSTOMER").squeezed(Squeeze::Middle, 14),
        Column::new("LETTERS").right(),
        Column::new("BEGINS WITH").squeezed(Squeeze::Prefix, 8),
        Column::new("REASON").squeezed(Squeeze::End, 18),
        Column::new("REPLAYED AS IT IS"),
        Column::new("PARTITION").right().left_out(1),
    ]);
    for customer in plan.customers.iter().take(ROWS) {
        let first = customer.letters.first();
        let cause = customer.letters.iter().find_map(|open| open.failure());
        table.row([
            shown::customer(&customer.key, reveal).into(),
            customer.letters.len().to_string().into(),
            Cell::from(first.map(|open| short(terminal, open.letter.id.as_str())).unwrap_or_default()),
            cause.map_or("-", |failure| failure.reason.as_str()).into(),
            Cell::toned(customer.outlook.words(), tone(customer.outlook)),
            customer.partition.to_string().into(),
        ]);
    }
    for open in plan.without_customer.iter().take(ROWS.saturating_sub(plan.customers.len())) {
        let outlook = open.failure().map_or(Outlook::MaySucceed, Outlook::of);
        table.row([
            NO_CUSTOMER.into(),
            "1".into(),
            Cell::from(short(terminal, open.letter.id.as_str())),
            open.failure().map_or("-", |failure| failure.reason.as_str()).into(),
            Cell::toned(outlook.words(), tone(outlook)),
            "-".into(),
        ]);
    }
    let mut out = table.fit(terminal.width, terminal.colour).text;
    let more = (plan.customers.len() + plan.without_customer.len()).saturating_sub(ROWS);
    if more > 0 {
        let _ = writeln!(out, "… {more} more");
    }
    out.push('\n');
    let mut line = |text: String| terminal.line(&mut out, &text);
    if !plan.customers.is_empty() {
        let going: usize = plan.customers.iter().map(|customer| customer.letters.len()).sum();
        let customers = shown::counted(plan.customers.len(), "customer");
        let along = match plan.along() {
            0 => String::new(),
            1 => "; 1 of them was not asked for and comes along".to_owned(),
            along => format!("; {along} of them were not asked for and come along"),
        };
        line(format!("Releases {customers}: {}, each customer's in order{along}.", shown::counted(going, "letter")));
    }
    if !plan.without_customer.is_empty() {
        line(format!("Publishes {} without a customer again.", shown::counted(plan.without_customer.len(), "letter")));
    }
    for (outlook, one, many) in [
        (
            Outlook::FailsAgain,
            "fails again as it is: have it sent anew and discard this one",
            "fail again as they are: have them sent anew and discard these",
        ),
        (
            Outlook::NeedsCorrection,
            "succeeds only if what it failed for was corrected",
            "succeed only if what they failed for was corrected",
        ),
        (
            Outlook::Dangerous,
            "took a process down before: do not replay it before the cause is found",
            "took a process down before: do not replay them before the cause is found",
        ),
    ] {
        let number = plan.with_outlook(outlook);
        if number > 0 {
            line(format!("{number} of these {}.", if number == 1 { one } else { many }));
        }
    }
    let released = |customer: &&CustomerReplay| customer.letters.iter().any(|open| open.released_at.is_some());
    let going = plan.customers.iter().filter(released).count();
    if going > 0 {
        let customers = shown::count(going, "customer was", "customers were");
        line(format!("{customers} released already; releasing again does no harm."));
    }
    out
}

const fn tone(outlook: Outlook) -> Tone {
    match outlook {
        Outlook::MaySucceed => Tone::Good,
        Outlook::NeedsCorrection => Tone::Waiting,
        Outlook::FailsAgain | Outlook::Dangerous => Tone::Bad,
    }
}

pub(super) fn render_done(
    plan: &ReplayPlan,
    done: &Done,
    followed: Option<&(OpenLetters, Vec<(LetterId, Fate)>)>,
    timeout: Duration,
    reveal: bool,
    terminal: &Terminal,
) -> String {
    let mut out = String::new();
    for FailedPart { what, error } in &done.failures {
        let _ = writeln!(out, "Failed: {what}: {error}. Replaying it again does no harm.");
    }
    let released: usize = done.released.iter().map(|released| released.letters.len()).sum();
    if !done.released.is_empty() {
        let customers = shown::counted(done.released.len(), "customer");
        let _ = writeln!(out, "Released {customers} with {}.", shown::counted(released, "letter"));
    }
    if !done.published.is_empty() {
        let letters = shown::counted(done.published.len(), "letter");
        let _ = writeln!(out, "Published {letters} without a customer again; what dies again is a letter of its own.");
    }
    let Some((open, fates)) = followed else {
        if terminal.hints && released > 0 {
            out.push_str("Next: causeway-replayer list --state released\n");
        }
        return out;
    };
    let mut table = Table::new([
        Column::new("LETTER").squeezed(Squeeze::Prefix, 8),
        Column::new("ORDER").squeezed(Squeeze::Middle, 14),
        Column::new("CUSTOMER").squeezed(Squeeze::Middle, 13).left_out(1),
        Column::new("RESULT"),
        Column::new("REASON").squeezed(Squeeze::End, 18),
    ]);
    // What needs somebody's attention comes first.
    let rank = |fate: &Fate| match fate {
        Fate::DeadAgain { .. } => 0,
        Fate::Pending | Fate::Ended(How::Published) => 1,
        Fate::Parked => 2,
        Fate::Ended(_) => 3,
    };
    let mut sorted: Vec<_> = fates.iter().collect();
    sorted.sort_by_key(|(_, fate)| rank(fate));
    for (id, fate) in sorted.iter().take(ROWS) {
        let row: Option<Row> = plan.all().find(|open| open.letter.id == *id).map(|letter| open.row(letter, reveal));
        let (order, customer) = row.map(|row| (row.order_id, row.customer)).unwrap_or_default();
        let (words, tone) = match fate {
            Fate::Ended(How::Published) => ("not seen since".to_owned(), Tone::Waiting),
            Fate::Ended(how @ (How::Rejected | How::Discarded | How::Settled)) => (how.words().to_owned(), Tone::Plain),
            Fate::Ended(how) => (how.words().to_owned(), Tone::Good),
            Fate::DeadAgain { letter: None, .. } => ("dead again".to_owned(), Tone::Bad),
            Fate::DeadAgain { letter: Some(id), .. } => {
                (format!("dead again as {}", short(terminal, id.as_str())), Tone::Bad)
            }
            Fate::Parked => ("parked".to_owned(), Tone::Waiting),
            Fate::Pending => ("not settled".to_owned(), Tone::Waiting),
        };
        table.row([
            shown::printable(id.as_str()).into(),
            order.unwrap_or_else(|| "-".to_owned()).into(),
            customer.unwrap_or_else(|| "-".to_owned()).into(),
            Cell::toned(words, tone),
            reason(fate).unwrap_or("-").into(),
        ]);
    }
    out.push('\n');
    out.push_str(&table.fit(terminal.width, terminal.colour).text);
    if fates.len() > ROWS {
        let _ = writeln!(out, "… {} more", fates.len() - ROWS);
    }
    let tally = Tally::of(fates.iter().map(|(_, fate)| fate));
    let _ = writeln!(out, "\n{}", tally.line());
    for remark in tally.remarks(timeout) {
        terminal.line(&mut out, &remark);
    }
    out
}
