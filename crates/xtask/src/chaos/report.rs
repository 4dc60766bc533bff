//! The scorecard, for a person and for a program.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use comfy_table::{Cell, CellAlignment, Color};
use indicatif::HumanCount;
use serde::Serialize;

use super::run::Run;
use super::schedule::{Fault, Kind};
use super::{Chaos, Publish};
use crate::demo::reconcile::Fate;
use crate::demo::report::table;

/// `target/chaos/report.json`. Figures come from the org, the journal, the outcomes and the publisher's list.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Report {
    /// The seed of orders and faults.
    pub(crate) seed: u64,
    /// The command that repeats it.
    pub(crate) command: String,
    /// When the org publishes events.
    pub(crate) publish_behavior: &'static str,
    /// Different orders that were published.
    pub(crate) orders_published: usize,
    /// Messages that were published, doubles included.
    pub(crate) messages_published: usize,
    /// Messages that the publisher sent once more since it could not know whether they had arrived.
    pub(crate) messages_repeated: usize,
    /// Orders whose record is in the org.
    pub(crate) orders_written: usize,
    /// Orders that a duplicate rule settled.
    pub(crate) orders_rejected: usize,
    /// Orders that were given up and lie in the journal.
    pub(crate) orders_dead_lettered: usize,
    /// Why.
    pub(crate) dead_letters_by_reason: BTreeMap<String, usize>,
    /// Orders that wait behind a dead letter of their customer.
    pub(crate) orders_parked: usize,
    /// Copies of settled orders that wait behind a dead letter, because Redis was lost.
    pub(crate) copies_parked: usize,
    /// Change orders that went without an Account, because Redis, which alone knew it, was lost.
    pub(crate) orders_nameless: usize,
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
    /// Events beyond the first of their key, or of their order and type.
    pub(crate) events_duplicated: usize,
    /// Of those, events that a consumer folds by their key.
    pub(crate) events_duplicated_foldable: usize,
    /// Of those, events whose first publish was carried out, whose answer was lost, and of which neither Redis nor the order's
    /// record could tell.
    pub(crate) events_duplicated_excused: usize,
    /// Events without a key.
    pub(crate) events_without_key: usize,
    /// Written orders without the event that announces them.
    pub(crate) events_missing: usize,
    /// Orders whose fate the outcomes do not tell, and outcomes that are not true.
    pub(crate) outcomes_wrong: usize,
    /// Orders and events that overtook others of their customer.
    pub(crate) sequence_violations: usize,
    /// Requests of one customer that the org worked on at once.
    pub(crate) requests_overlapping: usize,
    /// Failed attempts that orders were charged, by reason, as far as Redis still has their stories.
    pub(crate) attempts_charged: BTreeMap<String, usize>,
    /// Orders that were charged for what passes: an outage, a spent quota, a sign-in, many lost answers.
    pub(crate) orders_charged_for_outages: usize,
    /// Orders whose stories Redis still had.
    pub(crate) stories_read: usize,
    /// How the writers signed in.
    pub(crate) sign_in: &'static str,
    /// Tokens that the org gave, renewals included.
    pub(crate) tokens_given: usize,
    /// Spent refresh tokens that came back to the org.
    pub(crate) spent_tokens_back: usize,
    /// Of those, the ones for which it ended the connection.
    pub(crate) connections_ended: usize,
    /// API calls that the org counted.
    pub(crate) salesforce_api_calls: u64,
    /// API calls per thousand published orders.
    pub(crate) api_calls_per_1000_orders: f64,
    /// From the first publish until everything was settled.
    pub(crate) seconds: f64,
    /// From the end of the faults until then.
    pub(crate) seconds_to_drain: f64,
    /// How many faults of each kind fell.
    pub(crate) faults: BTreeMap<Kind, usize>,
    /// How many more of each kind were made and met nothing: no request, no connection, no program.
    pub(crate) faults_missed: BTreeMap<Kind, usize>,
    /// How many more were planned and did not fall, because their subject had not recovered from another.
    pub(crate) faults_left_out: usize,
    /// How many requests, graphs or rows the org's faults went off on.
    pub(crate) fault_hits: BTreeMap<Kind, u64>,
    /// How often programs of each kind were started.
    pub(crate) program_starts: BTreeMap<&'static str, u32>,
    /// One sentence each about the first few things that are wrong.
    pub(crate) findings: Vec<String>,
    /// What programs did that they should not, and why the run was given up.
    pub(crate) failures: Vec<String>,
    /// What is worth knowing and no failure.
    pub(crate) notes: Vec<String>,
    /// The faults as they were planned.
    pub(crate) schedule: Vec<String>,
}

impl Report {
    /// The figures of a run.
    pub(crate) fn of(chaos: &Chaos, publish: Publish, faults: &[Fault], run: &Run) -> Self {
        let found = &run.reconciliation;
        let orders = found.total.total();
        let count = |fate| found.total.of(fate);
        #[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]
        let per_1000 = run.api_calls as f64 * 1_000.0 / orders.max(1) as f64;
        let mut findings = found.findings.clone();
        for more in [&run.overlaps, &run.doubles.findings, &run.charges.findings] {
            findings.extend(more.iter().take(10).cloned());
        }
        Self {
            seed: chaos.seed,
            command: chaos.command(),
            publish_behavior: publish.setting(),
            orders_published: orders,
            messages_published: run.deliveries + run.repeated,
            messages_repeated: run.repeated,
            orders_written: count(Fate::Written),
            orders_rejected: count(Fate::Rejected),
            orders_dead_lettered: count(Fate::DeadLettered),
            dead_letters_by_reason: found.dead_reasons.clone(),
            orders_parked: count(Fate::Parked),
            copies_parked: run.copies_parked,
            orders_nameless: run.orders_nameless,
            orders_lost: count(Fate::Lost),
            orders_unexpected: found.unexpected,
            orders_settled_twice: found.settled_twice,
            records_duplicated: found.records_duplicated,
            records_unexplained: found.strays,
            events_published: run.events,
            events_duplicated: found.events_duplicated + run.doubles.count,
            events_duplicated_foldable: run.doubles.count,
            events_duplicated_excused: run.doubles.excused,
            events_without_key: run.doubles.keyless,
            events_missing: found.events_missing,
            outcomes_wrong: found.outcomes_wrong,
            sequence_violations: found.sequence_violations,
            requests_overlapping: run.overlaps.len(),
            attempts_charged: run.charges.attempts.clone(),
            orders_charged_for_outages: run.charges.findings.len(),
            stories_read: run.charges.stories,
            sign_in: chaos.sign_in().name(),
            tokens_given: run.renewals.given,
            spent_tokens_back: run.renewals.spent,
            connections_ended: run.renewals.ended,
            salesforce_api_calls: run.api_calls,
            api_calls_per_1000_orders: rounded(per_1000),
            seconds: rounded(run.took.as_secs_f64()),
            seconds_to_drain: rounded(run.drained_in.as_secs_f64()),
            faults: run.journal.fallen.clone(),
            faults_missed: run.journal.missed.clone(),
            faults_left_out: run.journal.left_out,
            fault_hits: run.journal.hits.clone(),
            program_starts: run.lives.clone(),
            findings,
            failures: run.failures.iter().chain(&run.journal.failures).cloned().collect(),
            notes: run.journal.notes.iter().chain(&run.journal.spoilt).cloned().collect(),
            schedule: faults.iter().map(ToString::to_string).collect(),
        }
    }

    /// What has to be zero, by the name it has in the table.
    fn proofs(&self) -> [(&'static str, usize); 13] {
        [
            ("orders lost", self.orders_lost),
            ("orders settled in two ways", self.orders_settled_twice),
            ("orders with another fate than expected", self.orders_unexpected),
            ("orders charged for what passes", self.orders_charged_for_outages),
            ("records duplicated", self.records_duplicated),
            ("records or events nobody ordered, or mixed up", self.records_unexplained),
            ("events duplicated without need", self.events_doubled_without_need()),
            ("events without a key to fold them by", self.events_without_key),
            ("events missing", self.events_missing),
            ("outcomes missing or untrue", self.outcomes_wrong),
            ("sequence violations", self.sequence_violations),
            ("requests of one customer at once", self.requests_overlapping),
            ("programs that ended badly, work left undone", self.failures.len()),
        ]
    }

    /// Whether everything that has to be zero is.
    pub(crate) fn holds(&self) -> bool {
        self.proofs().iter().all(|(_, count)| *count == 0)
    }

    fn events_doubled_without_need(&self) -> usize {
        self.events_duplicated.saturating_sub(self.events_duplicated_excused)
    }

    /// Writes it as JSON.
    pub(crate) fn save(&self, file: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }

    /// The tables, and a sentence that sums them up.
    pub(crate) fn render(&self) -> String {
        let mut text = format!("{}\n", self.scorecard());
        for (mark, sentences) in [("✗", &self.findings), ("✗", &self.failures), ("·", &self.notes)] {
            for sentence in sentences {
                let _ = writeln!(text, "{mark} {sentence}");
            }
        }
        let faults: usize = self.faults.values().sum();
        let run = format!(
            "{} orders, {faults} faults in {:.0} s, seed {}",
            HumanCount(self.orders_published as u64),
            self.seconds,
            self.seed
        );
        let kept = match (self.holds(), self.events_duplicated) {
            (true, 0) => "nothing lost, nothing twice, nothing out of order.".to_owned(),
            (true, doubles) => format!(
                "nothing lost, no record twice, nothing out of order; events published again, their answers and Redis \
                 having been lost, each under its first one's key: {doubles}."
            ),
            (false, _) => "the promises were NOT kept; see what is marked ✗.".to_owned(),
        };
        let _ = writeln!(text, "\n{run}: {kept}");
        text
    }

    fn scorecard(&self) -> comfy_table::Table {
        let mut table = table();
        table.set_header(["", "scorecard", ""]);
        let mut row = |mark: Cell, what: &str, figure: String, color: Option<Color>| {
            let cell = Cell::new(figure).set_alignment(CellAlignment::Right);
            table.add_row([mark, Cell::new(what), color.map_or(cell.clone(), |color| cell.fg(color))]);
        };
        let number = |count: usize| HumanCount(count as u64).to_string();
        let plain = Cell::new("");
        row(plain.clone(), "orders published", number(self.orders_published), None);
        row(plain.clone(), "  written", number(self.orders_written), None);
        row(plain.clone(), "  rejected", number(self.orders_rejected), None);
        row(plain.clone(), "  dead letters", number(self.orders_dead_lettered), None);
        for (reason, count) in &self.dead_letters_by_reason {
            row(plain.clone(), &format!("    {reason}"), number(*count), None);
        }
        row(plain.clone(), "  parked behind one", number(self.orders_parked), None);
        if self.copies_parked > 0 {
            row(plain.clone(), "  copies of settled orders, after Redis was lost", number(self.copies_parked), None);
        }
        if self.orders_nameless > 0 {
            row(
                plain.clone(),
                "  written without an Account, after Redis was lost",
                number(self.orders_nameless),
                None,
            );
        }
        row(plain.clone(), "messages published", number(self.messages_published), None);
        row(plain.clone(), "  again, for want of a confirm", number(self.messages_repeated), None);
        row(plain.clone(), "events published", number(self.events_published), None);
        row(plain.clone(), "faults", number(self.faults.values().sum()), None);
        for (kind, count) in &self.faults {
            let hits = self.fault_hits.get(kind).map_or_else(String::new, |hits| format!(" ({hits} hits)"));
            row(plain.clone(), &format!("  {}{hits}", kind.name()), number(*count), None);
        }
        for (kind, count) in &self.faults_missed {
            row(plain.clone(), &format!("  {}, which met nothing", kind.name()), number(*count), None);
        }
        if self.faults_left_out > 0 {
            row(plain.clone(), "  left out, their subject being busy", number(self.faults_left_out), None);
        }
        for (what, count) in self.proofs() {
            let (mark, color) = if count == 0 { ("✓", Color::Green) } else { ("✗", Color::Red) };
            row(Cell::new(mark).fg(color), what, number(count), Some(color));
        }
        if self.events_duplicated > 0 {
            row(Cell::new("·"), "events duplicated", number(self.events_duplicated), Some(Color::Yellow));
            row(plain.clone(), "  answer and Redis lost", number(self.events_duplicated_excused), None);
            row(plain.clone(), "  foldable by their key", number(self.events_duplicated_foldable), None);
        }
        for (reason, count) in &self.attempts_charged {
            row(plain.clone(), &format!("attempts charged: {reason}"), number(*count), None);
        }
        row(plain.clone(), "stories read", number(self.stories_read), None);
        row(plain.clone(), "tokens given", number(self.tokens_given), None);
        if self.spent_tokens_back > 0 {
            row(plain.clone(), "  spent ones that came back", number(self.spent_tokens_back), None);
            row(plain.clone(), "  for which the org ended the connection", number(self.connections_ended), None);
        }
        row(plain.clone(), "Salesforce API calls", HumanCount(self.salesforce_api_calls).to_string(), None);
        row(plain.clone(), "API calls per 1,000 orders", format!("{:.1}", self.api_calls_per_1000_orders), None);
        for (program, starts) in &self.program_starts {
            row(plain.clone(), &format!("starts of {program}"), starts.to_string(), None);
        }
        row(plain.clone(), "seconds", format!("{:.1}", self.seconds), None);
        row(plain, "  to drain", format!("{:.1}", self.seconds_to_drain), None);
        table
    }
}

/// To two places, as a reader of the file wants it.
fn rounded(figure: f64) -> f64 {
    (figure * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_sentence_says_what_was_published_again_and_a_run_holds_only_where_all_of_it_is_excused() {
        let report = |duplicated, excused| Report {
            events_duplicated: duplicated,
            events_duplicated_foldable: duplicated,
            events_duplicated_excused: excused,
            ..Report::default()
        };
        assert!(report(0, 0).holds() && report(0, 0).render().contains("nothing lost, nothing twice"));
        let excused = report(2, 2);
        assert!(excused.holds(), "{}", excused.render());
        assert!(!excused.render().contains("nothing twice") && excused.render().contains("first one's key: 2."));
        assert!(!report(2, 1).holds() && report(2, 1).render().contains("NOT kept"));
    }

    #[test]
    fn a_run_does_not_hold_where_an_outage_was_charged_or_an_event_has_no_key() {
        assert!(!Report { orders_charged_for_outages: 1, ..Report::default() }.holds());
        assert!(!Report { events_without_key: 1, ..Report::default() }.holds());
        assert!(!Report { failures: vec!["the org's log forgot a request".to_owned()], ..Report::default() }.holds());
    }
}
