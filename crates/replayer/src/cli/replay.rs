//! `replay`: letters go through the normal path again.

use std::collections::HashSet;
use std::fmt::Write;
use std::time::Duration;

use domain::dead_letter::LetterId;
use futures::StreamExt;
use futures::stream;
use indicatif::ProgressBar;
use queue::dead_letters::DeadLetters;
use serde::Serialize;
use service::Exit;
use tokio::time::{Instant, sleep};

use super::{Report, Tools, connection, short, unfound, usage};
use crate::confirm::{Act, Confirmed};
use crate::follow::{Fate, Followed, Tally};
use crate::forecast::{Outlook, ReplayPlan};
use crate::journal;
use crate::letters::{OpenLetters, Row};
use crate::selection::{Choice, duration};
use crate::settings::ConnectionArgs;
use crate::shown;
use crate::table::{Cell, Column, Squeeze, Table, Tone};
use crate::terminal::Terminal;

/// Rows of a plan or a result that are shown.
const ROWS: usize = 20;
/// Releases under way at a time.
const AT_ONCE: usize = 16;
/// Messages in memory at a time.
const CHUNK: usize = 50;
/// How often is looked whether letters are settled.
const LOOK: Duration = Duration::from_millis(200);
/// How often the connection is proved meanwhile.
const PROVE: Duration = Duration::from_secs(10);

/// Let letters go through the normal path again, customers as a whole and in order.
///
/// A letter of a customer is never replayed alone: all open letters of the customer go, oldest first, and newer orders
/// keep their place behind them. When one fails again, the rest of that customer stays parked. A letter without a
/// customer is published again as its publisher did. Orders that were written before are recognised and not written twice.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    causeway-replayer replay 3fa2b1c0 --dry-run\n  \
    causeway-replayer replay --reason salesforce_unavailable --limit 1 --wait     one first, to see\n  \
    causeway-replayer replay --reason salesforce_unavailable --yes --wait --timeout 10m\n\n\
    Exit codes: 1 when a name means no letter, a release failed, or with --wait a letter\n\
    died again or was not settled in time; 64 when nobody can be asked and --yes is missing.\n\n\
    JSON (fates and tally are null without --wait):\n  \
    {dry_run, plan: {letters, along, customers: [{customer, partition, letters: [id], along, outlook}],\n   \
    without_customer: [id]}, released: [{customer, plan, letters: [id]}], published: [id],\n   \
    failures: [{what, error}], fates: [{letter, order_id, fate, reason}],\n   \
    tally: {resolved, published, dead_again, parked, pending}}")]
pub struct Replay {
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Do it without asking.
    #[arg(long, short)]
    yes: bool,
    /// Wait until every letter is settled or dead again, and say which.
    #[arg(long)]
    wait: bool,
    /// How long to wait at most.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = duration)]
    timeout: Duration,
    /// Who you are; it is kept in the journal.
    #[arg(long, env = "USER", value_name = "NAME", hide_env_values = true)]
    by: Option<String>,
    /// Show e-mail addresses of customers.
    #[arg(long)]
    reveal: bool,
    #[command(flatten)]
    choice: Choice,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Serialize)]
struct Document {
    dry_run: bool,
    plan: PlanShown,
    released: Vec<Released>,
    published: Vec<String>,
    failures: Vec<FailedPart>,
    fates: Option<Vec<FateShown>>,
    tally: Option<Tally>,
}

#[derive(Serialize)]
struct PlanShown {
    letters: usize,
    along: usize,
    customers: Vec<CustomerShown>,
    without_customer: Vec<String>,
}

#[derive(Serialize)]
struct CustomerShown {
    customer: String,
    partition: u16,
    letters: Vec<String>,
    along: usize,
    outlook: &'static str,
}

#[derive(Serialize)]
struct Released {
    customer: String,
    plan: String,
    letters: Vec<String>,
}

#[derive(Serialize)]
struct FailedPart {
    what: String,
    error: String,
}

#[derive(Serialize)]
struct FateShown {
    letter: String,
    order_id: Option<String>,
    fate: &'static str,
    reason: Option<&'static str>,
}

/// What was done.
#[derive(Default)]
struct Done {
    released: Vec<Released>,
    published: Vec<LetterId>,
    failures: Vec<FailedPart>,
}

impl Replay {
    /// Answers.
    ///
    /// # Errors
    /// The command line or settings are wrong, RabbitMQ is not reached, a name means no letter, or consent is missing.
    pub async fn run(self, tools: &Tools) -> anyhow::Result<Report> {
        self.choice.check().map_err(usage)?;
        let by = operator(self.by.as_deref(), self.dry_run)?;
        let connection = connection(&self.connection)?;
        let letters = journal::open(&connection, &by, &|text| tools.say(text)).await?;
        let open = journal::look(&letters);
        let chosen = self.choice.select(&open).map_err(|names| unfound(&names))?;
        let plan = ReplayPlan::new(&open, &chosen, &connection.topology);
        if self.dry_run || chosen.is_empty() {
            letters.close().await;
            return if tools.json {
                Report::json(&document(&plan, self.dry_run, self.reveal, Done::default(), None))
            } else {
                Ok(Report::text(render_plan(&plan, self.reveal, &tools.terminal)))
            };
        }
        tools.say(&render_plan(&plan, self.reveal, &tools.terminal));
        let confirmed = tools.confirm(Act::Replay, plan.letters(), self.yes).await?;

        // Whoever was asked may have thought about it for long.
        letters.refresh().await.map_err(|error| journal::lost(&error))?;
        let wanted: HashSet<LetterId> = chosen.iter().map(|open| open.letter.id.clone()).collect();
        let open = journal::look(&letters);
        let still: Vec<_> = open.all().iter().filter(|open| wanted.contains(&open.letter.id)).collect();
        if still.len() < wanted.len() {
            let gone = shown::count(wanted.len() - still.len(), "letter was", "letters were");
            tools.say(&format!("{gone} settled in the meantime."));
        }
        let plan = ReplayPlan::new(&open, &still, &connection.topology);
        let bar = tools.terminal.bar(plan.letters(), "releasing");
        let done = carry_out(&letters, &plan, self.reveal, confirmed, &bar).await;
        bar.finish_and_clear();
        let followed = if self.wait { Some(self.follow(tools, &letters, &plan, &done).await?) } else { None };
        letters.close().await;

        let well = done.failures.is_empty()
            && followed.as_ref().is_none_or(|(_, fates)| Tally::of(fates.iter().map(|(_, fate)| fate)).is_success());
        let report = if tools.json {
            Report::json(&document(&plan, false, self.reveal, done, followed.as_ref()))?
        } else {
            Report::text(render_done(&plan, &done, followed.as_ref(), self.timeout, self.reveal, &tools.terminal))
        };
        Ok(report.ending(if well { Exit::Done } else { Exit::Failed }))
    }

    /// Waits until no more is to be expected, or the time is over.
    async fn follow(
        &self,
        tools: &Tools,
        letters: &DeadLetters,
        plan: &ReplayPlan,
        done: &Done,
    ) -> anyhow::Result<(OpenLetters, Vec<(LetterId, Fate)>)> {
        let going: HashSet<&str> =
            done.released.iter().flat_map(|released| &released.letters).map(String::as_str).collect();
        let followed = Followed::new(
            plan.all()
                .filter(|open| going.contains(open.letter.id.as_str()) || done.published.contains(&open.letter.id)),
        );
        let began = Instant::now();
        let mut proved = began;
        let bar = tools.terminal.bar(plan.letters(), "waiting");
        loop {
            let tally = Tally::of(followed.fates(&journal::look(letters)).iter().map(|(_, fate)| fate));
            bar.set_position(u64::try_from(tally.settled()).unwrap_or(u64::MAX));
            if tally.pending == 0 || began.elapsed() >= self.timeout {
                break;
            }
            if proved.elapsed() >= PROVE {
                letters.refresh().await.map_err(|error| journal::lost(&error))?;
                proved = Instant::now();
            }
            sleep(LOOK).await;
        }
        bar.finish_and_clear();
        letters.refresh().await.map_err(|error| journal::lost(&error))?;
        let open = journal::look(letters);
        let fates = followed.fates(&open);
        Ok((open, fates))
    }
}

/// Who acts: has to be known before anything is changed.
pub(crate) fn operator(by: Option<&str>, dry_run: bool) -> anyhow::Result<String> {
    match by.map(str::trim).filter(|by| !by.is_empty()) {
        Some(by) => Ok(by.to_owned()),
        None if dry_run => Ok("causeway-replayer".to_owned()),
        None => Err(usage("it is not known who you are: say --by NAME, it is kept in the journal").into()),
    }
}

async fn carry_out(letters: &DeadLetters, plan: &ReplayPlan, reveal: bool, _: Confirmed, bar: &ProgressBar) -> Done {
    let mut done = Done::default();
    let mut releases = stream::iter(&plan.customers)
        .map(|customer| async move { (customer, letters.release(&customer.key).await) })
        .buffer_unordered(AT_ONCE);
    while let Some((customer, released)) = releases.next().await {
        let shown = shown::customer(&customer.key, reveal);
        match released {
            Ok(plan) => {
                let letters = customer.letters.iter().map(|open| open.letter.id.as_str().to_owned()).collect();
                done.released.push(Released { customer: shown, plan, letters });
            }
            Err(error) => {
                done.failures.push(FailedPart { what: format!("customer {shown}"), error: error.to_string() })
            }
        }
        bar.inc(u64::try_from(customer.letters.len()).unwrap_or_default());
    }
    drop(releases);
    for chunk in plan.without_customer.chunks(CHUNK) {
        let wanted: Vec<_> = chunk.iter().map(|open| open.letter.clone()).collect();
        let (messages, unread) = match letters.messages(&wanted).await {
            Ok(messages) => (messages, "the journal no longer keeps its message".to_owned()),
            Err(error) => (Vec::new(), error.to_string()),
        };
        for letter in &wanted {
            let published = match messages.iter().find(|(id, _)| *id == letter.id) {
                Some((_, message)) => letters.publish_again(letter, message).await.map_err(|error| error.to_string()),
                None => Err(unread.clone()),
            };
            match published {
                Ok(()) => done.published.push(letter.id.clone()),
                Err(error) => done.failures.push(FailedPart { what: format!("letter {}", letter.id), error }),
            }
            bar.inc(1);
        }
    }
    done
}

fn document(
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
                    outlook: customer.outlook.as_str(),
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
            };
            fates.iter().map(fate).collect()
        }),
        tally: followed.map(|(_, fates)| Tally::of(fates.iter().map(|(_, fate)| fate))),
    }
}

fn reason(fate: &Fate) -> Option<&'static str> {
    match fate {
        Fate::DeadAgain(failure) => Some(failure.reason.as_str()),
        Fate::Resolved | Fate::Published | Fate::Parked | Fate::Pending => None,
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
            "(unknown)".into(),
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
    if !plan.customers.is_empty() {
        let going: usize = plan.customers.iter().map(|customer| customer.letters.len()).sum();
        let _ = write!(
            out,
            "Releases {}: {}, each customer's in order",
            shown::counted(plan.customers.len(), "customer"),
            shown::counted(going, "letter")
        );
        if plan.along() > 0 {
            let _ = write!(
                out,
                "; {} not asked for and come along",
                shown::count(plan.along(), "of them was", "of them were")
            );
        }
        out.push_str(".\n");
    }
    if !plan.without_customer.is_empty() {
        let _ = writeln!(
            out,
            "Publishes {} without a customer again.",
            shown::counted(plan.without_customer.len(), "letter")
        );
    }
    for (outlook, what) in [
        (Outlook::FailsAgain, "will fail again as they are: have them sent anew and discard these"),
        (Outlook::NeedsCorrection, "succeed only if what they failed for was corrected"),
        (Outlook::Dangerous, "took a process down before: do not replay them before the cause is found"),
    ] {
        let number = plan.with_outlook(outlook);
        if number > 0 {
            let _ = writeln!(out, "{number} of these {what}.");
        }
    }
    let going =
        plan.customers.iter().filter(|customer| customer.letters.iter().any(|open| open.released_at.is_some())).count();
    if going > 0 {
        let _ = writeln!(
            out,
            "{} released already; releasing again does no harm.",
            shown::count(going, "customer was", "customers were")
        );
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

fn render_done(
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
        let _ = writeln!(out, "Published {} without a customer again.", shown::counted(done.published.len(), "letter"));
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
        Fate::DeadAgain(_) => 0,
        Fate::Pending => 1,
        Fate::Parked => 2,
        Fate::Published | Fate::Resolved => 3,
    };
    let mut sorted: Vec<_> = fates.iter().collect();
    sorted.sort_by_key(|(_, fate)| rank(fate));
    for (id, fate) in sorted.iter().take(ROWS) {
        let row: Option<Row> = plan.all().find(|open| open.letter.id == *id).map(|letter| open.row(letter, reveal));
        let (order, customer) = row.map(|row| (row.order_id, row.customer)).unwrap_or_default();
        let (words, tone) = match fate {
            Fate::Resolved => ("resolved", Tone::Good),
            Fate::Published => ("published", Tone::Good),
            Fate::DeadAgain(_) => ("dead again", Tone::Bad),
            Fate::Parked => ("parked", Tone::Waiting),
            Fate::Pending => ("not settled", Tone::Waiting),
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
    if tally.pending > 0 {
        let _ = writeln!(
            out,
            "Not everything was settled within {}. See whether a writer runs; the letters drain when it does.",
            shown::age(timeout)
        );
    }
    out
}
