//! `story`: everything that happened to one order, and where it is now.

use std::fmt::Write;
use std::time::Duration;

use domain::order::id::{OrderId, TenantId};
use domain::story::{Source, What};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use ledger::RedisLedger;
use ledger::settings::LedgerArgs;
use ledger::stories::{Recorded, Stories};
use service::{Address, Exit, Problems, Stopped};

use super::{Report, Tools, short};
use crate::journal;
use crate::letters::OpenLetters;
use crate::selection::{find, find_closed};
use crate::settings::ConnectionArgs;
use crate::shown;
use crate::story::Story;
use crate::table::{Cell, Column, Squeeze, Table, Tone};
use crate::terminal::Terminal;

/// How long Redis may take to be reached, beside the ledger's own deadlines.
const PATIENCE: Duration = Duration::from_secs(3);

/// Tell the story of one order: every step it took, where it is now, what it waits for, and what to do.
///
/// Steps are recorded by the programs as they happen and kept for 30 days after the last one, of settled orders for 3 (`CAUSEWAY_STORY_KEPT` and its sibling of
/// ingest and writer). What the journal of dead letters and the ledger know for certain is told as well, even where
/// recording was lost; what is missing is told as a gap. A long story keeps its first and its last steps.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "causeway-replayer story [OPTIONS] <ORDER|LETTER>",
    after_help = "Examples:\n  \
    causeway-replayer story order-0d3f9c11e0a54b7f9d2c8b6a5e4f3021\n  \
    causeway-replayer story 3fa2b1c0 --local\n\n\
    Exit codes: 0 ok; 1 nothing is known of the order; 64 usage; 69 RabbitMQ not reachable within --patience, or Redis\n\
    not reachable and nothing else known of the order; 78 wrong settings.\n\n\
    JSON (trace, recorded_since, unread, until, letter and code may be null; detail differs from step to step):\n  \
    {as_of, order_id, trace, recorded_since, unread: why Redis was not read,\n   \
    steps: [{at, after_ms, source: recorded | journal | ledger | teller, by, step, text, detail}],\n   \
    lost: [{from, to, steps, by}], steps of unnamed orders that were lost in that time,\n   \
    now: {state, sentence, until, todo, letter, code}}"
)]
pub struct Tell {
    /// An order's id; or a letter's id or its first characters (at least 4), for the order in it.
    #[arg(value_name = "ORDER|LETTER")]
    name: String,
    /// Times of this machine's zone instead of UTC.
    #[arg(long)]
    local: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(flatten)]
    ledger: LedgerArgs,
    /// The Limio environment that the fleet serves.
    #[arg(long, env = "CAUSEWAY_TENANT", help_heading = "Connection")]
    tenant: Option<String>,
}

impl Tell {
    /// Answers.
    ///
    /// # Errors
    /// The settings are wrong, RabbitMQ is not reached, or nothing is known of the order.
    pub async fn run(self, tools: &Tools) -> anyhow::Result<Report> {
        let mut problems = Problems::default();
        let connection = self.connection.read(&mut problems);
        let redis = self.ledger.read(&mut problems);
        let tenant = problems
            .required("CAUSEWAY_TENANT", self.tenant.as_deref(), "name the Limio environment, such as acme")
            .and_then(|tenant| TenantId::parse(&tenant));
        let (Some(connection), Some(redis), Some(tenant), true) = (connection, redis, tenant, problems.is_empty())
        else {
            return Err(Stopped::settings(problems.to_string().trim_end().to_owned()).into());
        };
        let letters = journal::open(&connection, "causeway-replayer", &|text| tools.say(text)).await?;
        let open = journal::look(&letters);
        letters.close().await;
        let order = order_named(&open, &self.name)?;
        let recorded = read(&redis, &format!("{}:{tenant}", connection.topology.namespace), &order).await;
        let zone = if self.local { TimeZone::system() } else { TimeZone::UTC };
        let story = Story::of(order, recorded, &open, |at| moment(at, &zone));
        if story.is_empty() {
            return match &story.unread {
                Some(why) => Err(Stopped::unavailable(format!("{why}; nothing else is known of the order")).into()),
                None => Err(Stopped::failed(format!(
                    "nothing is known of {}: {}",
                    shown::printable(story.order.as_str()),
                    story.standing.todo
                ))
                .into()),
            };
        }
        let report = if tools.json {
            Report::json(&story.document(open.now()))?
        } else {
            Report::text(render(&story, &zone, &tools.terminal))
        };
        Ok(report.ending(Exit::Done))
    }
}

/// The order with this id, or the one in the letter with this id.
fn order_named(open: &OpenLetters, name: &str) -> anyhow::Result<OrderId> {
    let name = name.trim();
    let of_open = find(open, name).ok().and_then(|found| found.first().and_then(|open| open.letter.order_id.clone()));
    let of_closed =
        || find_closed(open, name).ok().and_then(|found| found.first().and_then(|one| one.was.letter.order_id.clone()));
    let named = of_open.or_else(of_closed);
    named
        .as_deref()
        .and_then(OrderId::parse)
        .or_else(|| OrderId::parse(name))
        .ok_or_else(|| Stopped::failed(format!("{} is no order's id", shown::printable(name))).into())
}

/// What Redis holds; why not, where it cannot be read.
async fn read(redis: &Address, namespace: &str, order: &OrderId) -> Result<Recorded, String> {
    let reading = async {
        let ledger = RedisLedger::connect(redis.expose(), namespace, ledger::Settings::RECOMMENDED).await?;
        Stories::beside(&ledger, Duration::ZERO).read(order).await
    };
    match tokio::time::timeout(PATIENCE, reading).await {
        Ok(read) => read.map_err(|error| error.to_string()),
        Err(_) => Err(format!("Redis at {redis} did not answer in time")),
    }
}

/// The answer in words.
pub fn render(story: &Story, zone: &TimeZone, terminal: &Terminal) -> String {
    let mut out = String::new();
    let _ = write!(out, "Story of {}", shown::printable(story.order.as_str()));
    // A day that all steps share is told once.
    let day = one_day(story, zone);
    if let Some(day) = &day {
        let _ = write!(out, ", {day}");
    }
    out.push_str("\n\n");
    let short_moment = |at: u64| {
        let whole = moment(at, zone);
        let of_day = day.as_deref().and_then(|day| whole.strip_prefix(day)).map(|time| time.trim_start().to_owned());
        of_day.unwrap_or(whole)
    };
    let mut table = Table::new([
        Column::new("TIME"),
        Column::new("AFTER").right(),
        Column::new("STEP"),
        Column::new("WHAT").squeezed(Squeeze::End, 44),
        Column::new("BY").squeezed(Squeeze::End, 10).left_out(1),
    ]);
    let mut before: Option<u64> = None;
    for told in &story.told {
        let at = told.step.at;
        let after = before.replace(at).map_or_else(String::new, |before| between(at.saturating_sub(before)));
        let what = &told.step.what;
        let by = match told.source {
            Source::Recorded => shown::printable(&told.step.by),
            Source::Journal => format!("{} (journal)", shown::printable(&told.step.by)),
            Source::Ledger => "(ledger)".to_owned(),
            Source::Teller => String::new(),
        };
        table.row([
            short_moment(at).into(),
            after.into(),
            Cell::toned(what.title(), tone(what)),
            shown::printable(&what.words(short_moment)).into(),
            by.into(),
        ]);
    }
    out.push_str(&table.fit(terminal.width, terminal.colour).text);
    out.push('\n');
    match (&story.unread, story.recorded_since) {
        (Some(why), _) => terminal.line(
            &mut out,
            &format!("What was recorded could not be read: {why}. The journal's steps are told alone."),
        ),
        (None, Some(since)) => terminal.line(&mut out, &format!("Recorded since {}.", moment(since, zone))),
        (None, None) => {
            terminal.line(&mut out, "Nothing recorded is left of it; the journal and the ledger tell what they know.");
        }
    }
    for lost in &story.lost {
        let (from, to) = (moment(lost.from, zone), moment(lost.to, zone));
        terminal.line(
            &mut out,
            &format!(
                "Between {from} and {to} {} of unnamed orders, perhaps of this one, were not recorded by {}.",
                shown::count(usize::try_from(lost.steps).unwrap_or(usize::MAX), "step", "steps"),
                shown::printable(&lost.by)
            ),
        );
    }
    out.push('\n');
    terminal.field(&mut out, "Now", &shown::printable(&story.standing.sentence));
    terminal.field(&mut out, "You do", &story.standing.todo);
    terminal.field(&mut out, "Trace", story.trace().unwrap_or_default());
    if terminal.hints {
        let mut next = Vec::new();
        if let Some(letter) = &story.standing.letter {
            let id = short(terminal, letter);
            next.push(format!("causeway-replayer show {id}"));
            if matches!(story.standing.state, "dead" | "parked") {
                next.push(format!("causeway-replayer replay {id} --dry-run"));
            }
        }
        if let Some(code) = &story.standing.code {
            next.push(format!("causeway-replayer explain {}", shown::printable(code)));
        }
        if !next.is_empty() {
            let _ = writeln!(out, "\nNext: {}", next.join("\n      "));
        }
    }
    out
}

/// The day of every step, where they share one.
fn one_day(story: &Story, zone: &TimeZone) -> Option<String> {
    let mut days = story.told.iter().map(|told| moment(told.step.at, zone).chars().take(10).collect::<String>());
    let first = days.next()?;
    days.all(|day| day == first).then_some(first)
}

/// The colour of a step.
const fn tone(what: &What) -> Tone {
    match what {
        What::Settled { .. } => Tone::Good,
        What::Dead { .. } | What::Refused { .. } | What::Conflicted | What::NotLinked { .. } | What::Gap { .. } => {
            Tone::Bad
        }
        What::Waits { .. }
        | What::Paused { .. }
        | What::PartitionFull
        | What::Busy { .. }
        | What::AccountInUse
        | What::Parked { .. }
        | What::Overflowed { .. } => Tone::Waiting,
        What::Received { .. }
        | What::HandedOn { .. }
        | What::Folded
        | What::TakenUp { .. }
        | What::Claimed { .. }
        | What::SettledBefore
        | What::Sent { .. }
        | What::Answered { .. }
        | What::LookedUp { .. }
        | What::Duplicate { .. }
        | What::LetIn { .. }
        | What::Released { .. }
        | What::Closed { .. }
        | What::Announced { .. }
        | What::LinkWaits { .. }
        | What::Linked { .. }
        | What::Cut { .. }
        | What::Unknown => Tone::Plain,
    }
}

/// A moment of this zone with milliseconds: `2026-09-21 14:13:20.123`; its offset where it is not UTC.
fn moment(at_ms: u64, zone: &TimeZone) -> String {
    let Some(at) = i64::try_from(at_ms).ok().and_then(|at| Timestamp::from_millisecond(at).ok()) else {
        return "an unreadable time".to_owned();
    };
    let form = if *zone == TimeZone::UTC { "%F %T.%3fZ" } else { "%F %T.%3f%:z" };
    at.to_zoned(zone.clone()).strftime(form).to_string()
}

/// A length of time between two steps.
fn between(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..60_000 => format!("{}.{}s", ms / 1000, ms % 1000 / 100),
        _ => shown::age(Duration::from_millis(ms)),
    }
}
