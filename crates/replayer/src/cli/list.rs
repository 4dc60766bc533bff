//! `list`: what is open, or was closed last.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use super::{NO_CUSTOMER, Report, Tools, connection, short, usage};
use crate::closed::How;
use crate::journal;
use crate::letters::{Group, GroupBy, OpenLetter, OpenLetters, Row, Summary, groups};
use crate::selection::{Filter, State};
use crate::settings::ConnectionArgs;
use crate::shown;
use crate::table::{Cell, Column, Squeeze, Table, Tone};
use crate::terminal::Terminal;

/// List open letters, oldest first, or how many there are of what.
///
/// A letter is dead (given up), parked (behind a dead one of its customer), overflowed (no failure: its customer has more
/// orders than a lane has room for, and it comes back by itself), released (let go by an operator and not settled yet) or
/// closed (settled or thrown away; only listed with --state closed, the last 5000). AGE is from the last
/// death, or from when the letter was parked; TIMES is how often it died, BEHIND what is parked behind it. E-mail
/// addresses of customers are masked; in a filter the masked form is as good as the address.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    causeway-replayer list --by reason\n  \
    causeway-replayer list --reason salesforce_refused --newer-than 2h\n  \
    causeway-replayer list --state closed --newer-than 1h\n  \
    causeway-replayer list --customer id-af385c5f --json | jq '.letters[].order_id'\n\n\
    JSON (the summary is of all open letters that match; closed is null for those):\n  \
    {as_of, summary: {dead, parked, overflowed, released, customers, without_customer, stranded}, matched,\n   \
    letters: [{letter, state: dead | parked | overflowed | released | closed, order_id, order_type, customer,\n   \
    reason, salesforce_code, at, age_seconds, first_dead_at, times_dead, behind, waits_for,\n   \
    stranded, after, released_at, closed: {how: written | rejected | already_settled | published |\n   \
    accepted | discarded | settled, by, at, why}}]}\n  \
    With --by, in place of letters: by, groups: [{value, dead, parked, overflowed, released, customers,\n   \
    oldest_at, oldest_age_seconds, oldest}]")]
pub struct List {
    /// Count letters by this instead of listing them.
    #[arg(long, value_name = "WHAT")]
    by: Option<GroupBy>,
    /// Show e-mail addresses of customers.
    #[arg(long)]
    reveal: bool,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Serialize)]
struct Document {
    as_of: String,
    summary: Summary,
    matched: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    letters: Option<Vec<Row>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<Group>>,
}

impl List {
    /// Answers.
    ///
    /// # Errors
    /// The settings are wrong, or RabbitMQ is not reached.
    pub async fn run(self, tools: &Tools) -> anyhow::Result<Report> {
        if self.by.is_some() && self.filter.state == Some(State::Closed) {
            return Err(usage("closed letters are not counted: leave out --by, or --state closed").into());
        }
        let connection = connection(&self.connection)?;
        let letters = journal::open(&connection, "causeway-replayer list", &|text| tools.say(text)).await?;
        let open = journal::look(&letters);
        letters.close().await;
        if tools.json {
            Report::json(&document(&open, &self.filter, self.by, self.reveal))
        } else {
            Ok(Report::text(render(&open, &self.filter, self.by, self.reveal, &tools.terminal)))
        }
    }
}

/// The answer as JSON.
pub fn document(open: &OpenLetters, filter: &Filter, by: Option<GroupBy>, reveal: bool) -> impl Serialize + use<> {
    let matching = filter.matching(open);
    let closed = if filter.state == Some(State::Closed) { filter.matching_closed(open) } else { Vec::new() };
    let rows = || {
        let open_rows = matching.iter().map(|letter| open.row(letter, reveal));
        let closed_rows = closed.iter().map(|closed| open.closed_row(closed, reveal));
        open_rows.chain(closed_rows).take(filter.most()).collect()
    };
    Document {
        as_of: shown::moment(open.now()),
        summary: Summary::of(matching.iter().copied()),
        matched: matching.len() + closed.len(),
        letters: by.is_none().then(rows),
        by: by.map(GroupBy::as_str),
        groups: by.map(|by| {
            let mut groups = groups(open, &matching, by, reveal);
            groups.truncate(filter.most());
            groups
        }),
    }
}

/// The answer in words.
pub fn render(open: &OpenLetters, filter: &Filter, by: Option<GroupBy>, reveal: bool, terminal: &Terminal) -> String {
    if filter.state == Some(State::Closed) {
        return render_closed(open, filter, reveal, terminal);
    }
    let matching = filter.matching(open);
    if matching.is_empty() {
        return if open.all().is_empty() {
            "No dead letters. No customer is blocked.\n".to_owned()
        } else {
            format!("No open letter matches; {} in all.\n", shown::count(open.all().len(), "is open", "are open"))
        };
    }
    let (table, of, what) = match by {
        None => {
            (table(open, &matching[..matching.len().min(filter.most())], reveal, terminal), matching.len(), "letter")
        }
        Some(by) => {
            let groups = groups(open, &matching, by, reveal);
            (group_table(&groups[..groups.len().min(filter.most())], by, terminal), groups.len(), "group")
        }
    };
    let fitted = table.fit(terminal.width, terminal.colour);
    let mut out = fitted.text;
    out.push('\n');
    let summary = Summary::of(matching.iter().copied());
    let mut line = summary.line();
    if matching.len() < open.all().len() {
        line = format!("{} of {} match: {line}", matching.len(), shown::counted(open.all().len(), "open letter"));
    }
    terminal.line(&mut out, &line);
    if of > filter.most() {
        let listed = shown::count(filter.most(), &format!("{what} is"), &format!("{what}s are"));
        terminal.line(&mut out, &format!("Only the first {listed} listed (--limit)."));
    }
    if summary.stranded > 0 {
        let (is, them) = if summary.stranded == 1 { ("order is", "it") } else { ("orders are", "them") };
        let stranded = format!("{} {is} parked behind nothing any more: replay lets {them} go.", summary.stranded);
        terminal.line(&mut out, &stranded);
    }
    if terminal.hints {
        if !fitted.left_out.is_empty() {
            let columns = fitted.left_out.join(", ").to_lowercase();
            terminal.line(&mut out, &format!("Left out for lack of room: {columns}."));
        }
        match (by, matching.first()) {
            (None, Some(first)) => {
                let _ = writeln!(out, "Next: causeway-replayer show {}", short(terminal, first.letter.id.as_str()));
            }
            (Some(GroupBy::Reason), Some(_)) => out.push_str("Next: causeway-replayer explain REASON\n"),
            (Some(GroupBy::Reason | GroupBy::Type | GroupBy::Customer) | None, _) => {}
        }
    }
    out
}

/// Letters as a table; also of what is about to be replayed or discarded.
pub(crate) fn table(open: &OpenLetters, letters: &[&OpenLetter], reveal: bool, terminal: &Terminal) -> Table {
    let mut table = Table::new([
        Column::new("LETTER").squeezed(Squeeze::Prefix, 8),
        Column::new("STATE"),
        Column::new("ORDER").squeezed(Squeeze::Middle, 12),
        Column::new("TYPE").squeezed(Squeeze::End, 12).left_out(3),
        Column::new("CUSTOMER").squeezed(Squeeze::Middle, 12).left_out(1),
        Column::new("REASON").squeezed(Squeeze::End, 18),
        Column::new("CODE").squeezed(Squeeze::End, 18).left_out(4),
        Column::new("AGE").right(),
        Column::new("TIMES").right().left_out(2),
        Column::new("BEHIND").right(),
    ]);
    for letter in letters {
        let row = open.row(letter, reveal);
        let reason = match (&letter.waits_for, row.reason) {
            (_, Some(reason)) => reason.to_owned(),
            _ if row.stranded => "waits for a replay".to_owned(),
            (Some(first), None) => format!("behind {}", short(terminal, first.as_str())),
            (None, None) => "-".to_owned(),
        };
        let state = match (row.released_at.is_some(), letter.is_dead()) {
            (true, _) => Cell::toned(row.state, Tone::Good),
            (false, true) => Cell::toned(row.state, Tone::Bad),
            (false, false) => Cell::toned(row.state, Tone::Waiting),
        };
        let or_dash = |text: Option<String>| Cell::from(text.unwrap_or_else(|| "-".to_owned()));
        table.row([
            row.letter.into(),
            state,
            or_dash(row.order_id),
            or_dash(row.order_type),
            or_dash(row.customer),
            reason.into(),
            or_dash(row.salesforce_code),
            shown::age(Duration::from_secs(row.age_seconds)).into(),
            row.times_dead.to_string().into(),
            row.behind.to_string().into(),
        ]);
    }
    table
}

fn group_table(groups: &[Group], by: GroupBy, terminal: &Terminal) -> Table {
    let title = match by {
        GroupBy::Reason => "REASON",
        GroupBy::Type => "TYPE",
        GroupBy::Customer => "CUSTOMER",
    };
    let mut columns = vec![
        Column::new(title).squeezed(Squeeze::Middle, 16),
        Column::new("DEAD").right(),
        Column::new("PARKED").right(),
        Column::new("OVERFLOWED").right(),
        Column::new("RELEASED").right(),
        Column::new("CUSTOMERS").right(),
        Column::new("OLDEST").right(),
        Column::new("EXAMPLE").squeezed(Squeeze::Prefix, 8).left_out(1),
    ];
    // Of one customer each.
    let count_customers = by != GroupBy::Customer;
    let any_overflowed = groups.iter().any(|group| group.overflowed > 0);
    columns.retain(|column| count_customers || column.title != "CUSTOMERS");
    columns.retain(|column| any_overflowed || column.title != "OVERFLOWED");
    let mut table = Table::new(columns);
    for group in groups {
        let unknown = match by {
            GroupBy::Reason => "(waits for a replay)",
            GroupBy::Type => "(no type)",
            GroupBy::Customer => NO_CUSTOMER,
        };
        let mut cells: Vec<Cell> = vec![
            group.value.clone().unwrap_or_else(|| unknown.to_owned()).into(),
            group.dead.to_string().into(),
            group.parked.to_string().into(),
        ];
        cells.extend(any_overflowed.then(|| group.overflowed.to_string().into()));
        cells.push(group.released.to_string().into());
        cells.extend(count_customers.then(|| group.customers.to_string().into()));
        cells.push(shown::age(Duration::from_secs(group.oldest_age_seconds)).into());
        cells.push(short(terminal, &group.oldest).into());
        table.row(cells);
    }
    table
}

/// What was closed last, in words.
fn render_closed(open: &OpenLetters, filter: &Filter, reveal: bool, terminal: &Terminal) -> String {
    let matching = filter.matching_closed(open);
    if matching.is_empty() {
        return if open.closed().is_empty() {
            "No closed letter is known.\n".to_owned()
        } else {
            format!("No closed letter matches; {} known.\n", shown::count(open.closed().len(), "is", "are"))
        };
    }
    let mut table = Table::new([
        Column::new("LETTER").squeezed(Squeeze::Prefix, 8),
        Column::new("ORDER").squeezed(Squeeze::Middle, 12),
        Column::new("TYPE").squeezed(Squeeze::End, 12).left_out(3),
        Column::new("CUSTOMER").squeezed(Squeeze::Middle, 12).left_out(2),
        Column::new("ENDED"),
        Column::new("BY").squeezed(Squeeze::End, 8),
        Column::new("WHY").squeezed(Squeeze::End, 12).left_out(1),
        Column::new("TIMES").right().left_out(4),
        Column::new("AGO").right(),
    ]);
    for closed in matching.iter().take(filter.most()) {
        let row = open.closed_row(closed, reveal);
        let end = closed.shown();
        let tone = match closed.how {
            How::Written | How::AlreadySettled | How::Accepted => Tone::Good,
            How::Rejected | How::Published | How::Settled => Tone::Plain,
            How::Discarded => Tone::Waiting,
        };
        let or_dash = |text: Option<String>| Cell::from(text.unwrap_or_else(|| "-".to_owned()));
        table.row([
            row.letter.into(),
            or_dash(row.order_id),
            or_dash(row.order_type),
            or_dash(row.customer),
            Cell::toned(closed.how.words(), tone),
            end.by.into(),
            or_dash(end.why),
            row.times_dead.to_string().into(),
            shown::age(Duration::from_secs(row.age_seconds)).into(),
        ]);
    }
    let fitted = table.fit(terminal.width, terminal.colour);
    let mut out = fitted.text;
    if matching.len() > filter.most() {
        let _ = writeln!(out, "… {} more (--limit)", matching.len() - filter.most());
    }
    if terminal.hints && !fitted.left_out.is_empty() {
        let columns = fitted.left_out.join(", ").to_lowercase();
        out.push('\n');
        terminal.line(&mut out, &format!("Left out for lack of room: {columns}."));
    }
    out
}
