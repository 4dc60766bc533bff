//! The result, for a person and for a program.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use comfy_table::{Attribute, Cell, CellAlignment, Color, LineStyle, Table, presets};
use indicatif::HumanCount;
use serde::Serialize;

use super::generator::Script;
use super::reconcile::{Fate, Reconciliation, Tally};
use super::watch::Run;

/// `target/demo/report.json`. Figures come from the org, the journal, the outcomes and the publisher's list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Report {
    /// The seed of the orders.
    pub(crate) seed: u64,
    /// Different orders that were published.
    pub(crate) orders_published: usize,
    /// Orders whose record is in the org.
    pub(crate) orders_written: usize,
    /// Orders that a duplicate rule settled.
    pub(crate) orders_rejected: usize,
    /// Orders that were given up and lie in the journal.
    pub(crate) orders_dead_lettered: usize,
    /// Orders that wait behind a dead letter of their customer.
    pub(crate) orders_parked: usize,
    /// Messages that were sent a second time, byte for byte.
    pub(crate) messages_sent_twice: usize,
    /// Orders that are nowhere.
    pub(crate) orders_lost: usize,
    /// Orders that came to something else than the publisher expects of them.
    pub(crate) orders_unexpected: usize,
    /// Orders that came to two things at once.
    pub(crate) orders_settled_twice: usize,
    /// Order records with one identity, and Accounts of one customer, beyond the first.
    pub(crate) records_duplicated: usize,
    /// Records, events and letters that nobody ordered, name another customer's Account, or announce something else.
    pub(crate) records_unexplained: usize,
    /// Events on the org's bus.
    pub(crate) events_published: usize,
    /// Events of the same order and type beyond the first.
    pub(crate) events_duplicated: usize,
    /// Written orders without the event that announces them.
    pub(crate) events_missing: usize,
    /// Orders whose fate the outcomes do not tell, and outcomes that are not true.
    pub(crate) outcomes_wrong: usize,
    /// Orders and events that overtook others of their customer.
    pub(crate) sequence_violations: usize,
    /// API calls that the org counted.
    pub(crate) salesforce_api_calls: u64,
    /// API calls per thousand published orders.
    pub(crate) api_calls_per_1000_orders: f64,
    /// From the first publish until the last order was settled.
    pub(crate) seconds: f64,
    /// Published orders per second.
    pub(crate) orders_per_second: f64,
    /// Orders that were settled when a writer was killed.
    pub(crate) writer_killed_after: Option<usize>,
    /// Whether everything was accounted for in time, a writer was killed as asked, and every queue was empty at the end.
    pub(crate) completed: bool,
}

impl Report {
    /// The figures of a run.
    pub(crate) fn of(script: &Script, run: &Run, seed: u64) -> Self {
        let found = &run.reconciliation;
        let orders = script.orders.len();
        let seconds = run.took.as_secs_f64();
        let count = |fate| found.total.of(fate);
        #[expect(clippy::cast_precision_loss, reason = "counts of a demo are far below 2^52")]
        let (per_1000, per_second) =
            (run.api_calls as f64 * 1_000.0 / orders as f64, orders as f64 / seconds.max(0.001));
        Self {
            seed,
            orders_published: orders,
            orders_written: count(Fate::Written),
            orders_rejected: count(Fate::Rejected),
            orders_dead_lettered: count(Fate::DeadLettered),
            orders_parked: count(Fate::Parked),
            messages_sent_twice: script.deliveries.len() - orders,
            orders_lost: count(Fate::Lost),
            orders_unexpected: found.unexpected,
            orders_settled_twice: found.settled_twice,
            records_duplicated: found.records_duplicated,
            records_unexplained: found.strays,
            events_published: found.events,
            events_duplicated: found.events_duplicated,
            events_missing: found.events_missing,
            outcomes_wrong: found.outcomes_wrong,
            sequence_violations: found.sequence_violations,
            salesforce_api_calls: run.api_calls,
            api_calls_per_1000_orders: rounded(per_1000),
            seconds: rounded(seconds),
            orders_per_second: rounded(per_second),
            writer_killed_after: run.killed_after,
            completed: run.failures.is_empty(),
        }
    }

    /// Writes it as JSON.
    pub(crate) fn save(&self, file: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }

    /// The tables, and a sentence that sums them up.
    pub(crate) fn render(&self, run: &Run) -> String {
        let found = &run.reconciliation;
        let mut text = format!("{}\n{}\n{}\n", by_type(found), self.proof(), self.facts());
        if !found.dead_reasons.is_empty() {
            let reasons: Vec<String> =
                found.dead_reasons.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
            let _ = writeln!(text, "dead letters: {}", reasons.join(", "));
        }
        for finding in &found.findings {
            let _ = writeln!(text, "✗ {finding}");
        }
        for failure in &run.failures {
            let _ = writeln!(text, "✗ {failure}");
        }
        let _ = writeln!(text, "\n{}", self.sentence(found));
        text
    }

    fn sentence(&self, found: &Reconciliation) -> String {
        let orders = HumanCount(self.orders_published as u64);
        let kill = if self.writer_killed_after.is_some() { ", one writer killed half-way" } else { "" };
        let run = format!("{orders} orders in {:.1} s{kill}", self.seconds);
        if found.holds() && self.completed {
            format!("{run}: nothing lost, nothing twice, nothing out of order.")
        } else {
            format!("{run}: the promises were NOT kept; see what is marked ✗.")
        }
    }

    fn proof(&self) -> Table {
        let mut table = table();
        table.set_header(["", "from outside evidence", ""]);
        let proofs = [
            ("orders lost", self.orders_lost),
            ("orders with another fate than expected", self.orders_unexpected),
            ("orders settled in two ways", self.orders_settled_twice),
            ("records duplicated", self.records_duplicated),
            ("records or events nobody ordered, or mixed up", self.records_unexplained),
            ("events duplicated", self.events_duplicated),
            ("events missing", self.events_missing),
            ("outcomes missing or untrue", self.outcomes_wrong),
            ("sequence violations", self.sequence_violations),
        ];
        for (what, count) in proofs {
            let (mark, color) = if count == 0 { ("✓", Color::Green) } else { ("✗", Color::Red) };
            table.add_row([
                Cell::new(mark).fg(color),
                Cell::new(what),
                Cell::new(HumanCount(count as u64)).set_alignment(CellAlignment::Right).fg(color),
            ]);
        }
        figures(
            &mut table,
            &[
                ("events published", HumanCount(self.events_published as u64).to_string()),
                ("Salesforce API calls", HumanCount(self.salesforce_api_calls).to_string()),
                ("API calls per 1,000 orders", format!("{:.1}", self.api_calls_per_1000_orders)),
            ],
        );
        table
    }

    /// What was done, as far as this process knows by itself.
    fn facts(&self) -> Table {
        let mut table = table();
        table.set_header(["", "the run", ""]);
        let killed =
            self.writer_killed_after.map_or("no".to_owned(), |count| format!("after {}", HumanCount(count as u64)));
        figures(
            &mut table,
            &[
                ("messages sent twice", HumanCount(self.messages_sent_twice as u64).to_string()),
                ("a writer was killed", killed),
                ("seconds", format!("{:.1}", self.seconds)),
                ("orders per second", format!("{:.0}", self.orders_per_second)),
            ],
        );
        table
    }
}

fn figures(table: &mut Table, figures: &[(&str, String)]) {
    for (what, figure) in figures {
        table.add_row([Cell::new(""), Cell::new(what), Cell::new(figure).set_alignment(CellAlignment::Right)]);
    }
}

fn by_type(found: &Reconciliation) -> Table {
    let mut table = table();
    let heads = ["order type", "published", "written", "rejected", "dead letter", "parked", "lost"];
    table.set_header(heads.iter().enumerate().map(|(place, head)| {
        let side = if place == 0 { CellAlignment::Left } else { CellAlignment::Right };
        Cell::new(head).set_alignment(side).add_attribute(Attribute::Bold)
    }));
    let mut types: Vec<(&str, &Tally)> = found.by_type.iter().map(|(name, tally)| (*name, tally)).collect();
    types.sort_by_key(|(name, tally)| (std::cmp::Reverse(tally.total()), *name));
    for (name, tally) in types {
        table.add_row(row(Cell::new(name), tally));
    }
    table.add_row(row(Cell::new("all").add_attribute(Attribute::Bold), &found.total));
    table
}

fn row(name: Cell, tally: &Tally) -> Vec<Cell> {
    let mut cells = vec![name, number(tally.total())];
    cells.extend(Fate::ALL.map(|fate| {
        let cell = number(tally.of(fate));
        if fate == Fate::Lost && tally.of(fate) > 0 { cell.fg(Color::Red) } else { cell }
    }));
    cells
}

/// An empty table in the house's style.
pub(crate) fn table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table
}

/// A count; zero is a dot, so that the eye finds what is there.
fn number(count: usize) -> Cell {
    let text = if count == 0 { "·".to_owned() } else { HumanCount(count as u64).to_string() };
    Cell::new(text).set_alignment(CellAlignment::Right)
}

/// To two places, as a reader of the file wants it.
fn rounded(figure: f64) -> f64 {
    (figure * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::generator::script;
    use super::*;

    fn run(reconciliation: Reconciliation) -> Run {
        let took = Duration::from_millis(2_500);
        Run { reconciliation, took, killed_after: Some(101), api_calls: 5, failures: Vec::new() }
    }

    #[test]
    fn figures_are_per_published_order_and_not_per_delivery() {
        let report = Report::of(&script(200, 1, "acme"), &run(Reconciliation::default()), 1);
        assert_eq!((report.orders_published, report.messages_sent_twice), (200, 10));
        assert!((report.api_calls_per_1000_orders - 25.0).abs() < 0.001);
        assert!((report.orders_per_second - 80.0).abs() < 0.001);
    }

    #[test]
    fn the_last_sentence_tells_whether_the_promises_were_kept() {
        let good = run(Reconciliation::default());
        let text = Report::of(&script(200, 1, "acme"), &good, 1).render(&good);
        assert!(text.contains("nothing lost, nothing twice, nothing out of order"), "{text}");
        let findings = vec!["lost: order-1".to_owned()];
        let bad = run(Reconciliation { sequence_violations: 1, findings, ..Reconciliation::default() });
        let text = Report::of(&script(200, 1, "acme"), &bad, 1).render(&bad);
        assert!(text.contains("NOT kept") && text.contains("✗ lost: order-1"), "{text}");
    }
    #[test]
    fn what_was_sent_twice_is_a_fact_of_the_run_and_no_evidence() {
        let good = run(Reconciliation::default());
        let text = Report::of(&script(200, 1, "acme"), &good, 1).render(&good);
        let evidence = text.split("from outside evidence").nth(1).expect("the evidence has a heading");
        let (evidence, facts) = evidence.split_once("the run").expect("the run has a heading");
        assert!(!evidence.contains("twice") && facts.contains("messages sent twice"), "{text}");
    }

    #[test]
    fn a_run_that_fails_by_itself_says_why() {
        let why = "no writer was killed: 900 of 900 orders were settled too soon".to_owned();
        let failed = Run { failures: vec![why.clone()], ..run(Reconciliation::default()) };
        let report = Report::of(&script(200, 1, "acme"), &failed, 1);
        let text = report.render(&failed);
        assert!(!report.completed && text.contains(&why) && text.contains("NOT kept"), "{text}");
    }
}
