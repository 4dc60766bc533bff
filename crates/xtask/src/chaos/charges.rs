//! Whether an order was charged an attempt for what passes: an outage, a spent quota, a sign-in that has to be renewed. The
//! stories of the orders say so: each failed attempt is a step with its reason.
//!
//! An answer that is lost while the org answers others is charged, for the order itself may be the trouble; the next attempt
//! looks the order up. It counts as lost only where something took it: a fault of the org, or one of a writer or its line to
//! the org. And an order has few of them in a run where nothing is lost for long: more than [`LOST_ANSWERS`] say that an
//! outage was charged answer by answer.
//!
//! Redis may have forgotten a story, or its beginning. Of the orders that were sent after it last did, [`TOLD_PERCENT`] have to
//! have one that a writer wrote in, or nothing is proved.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use anyhow::{Context, Result};
use domain::failure::Reason;
use domain::order::id::OrderId;
use domain::story::{Step, What};
use ledger::RedisLedger;
use ledger::stories::Stories;

use super::answers::may_be_lost;
use super::copies::forgets;
use super::journal::Span;
use super::requests::Request;
use super::schedule::{Kind, Service, Subject};
use crate::demo::fleet::{NAMESPACE, TENANT};
use crate::demo::generator::Script;

const PATIENT: ledger::Settings =
    ledger::Settings { response_timeout: Duration::from_secs(10), connect_timeout: Duration::from_secs(10) };

/// Lost answers that an order may have been charged for.
const LOST_ANSWERS: usize = 3;
/// Of a hundred orders whose stories nothing has lost, so many have one.
const TOLD_PERCENT: usize = 90;
/// So few prove nothing either way.
const FEW: usize = 20;
/// How long after an answer was lost an attempt may be charged for it: for the orders beside it, a look-up may come first.
const CHARGED_WITHIN_MS: i64 = 3_000;

/// What the stories say.
#[derive(Debug, Clone, Default)]
pub(crate) struct Charges {
    /// Orders of which Redis holds a story.
    pub(crate) stories: usize,
    /// Failed attempts by their reason.
    pub(crate) attempts: BTreeMap<String, usize>,
    /// A sentence for each order that was charged for what passes.
    pub(crate) findings: Vec<String>,
    /// Orders in whose story a writer wrote.
    written_in: HashSet<String>,
}

/// What can have taken an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Losses<'a> {
    /// The org's log.
    pub(crate) requests: &'a [Request],
    /// The faults that fell.
    pub(crate) spans: &'a [Span],
    /// A call whose answer takes longer has lost it.
    pub(crate) deadline_ms: i64,
}

impl Losses<'_> {
    /// Whether an answer about an order was lost shortly before it was charged.
    fn explain(&self, order: &str, charged: i64) -> bool {
        let since = charged - self.deadline_ms - CHARGED_WITHIN_MS;
        let about = |request: &Request| {
            let is_order = |name: &str| name.split('/').next() == Some(order);
            request.values().any(is_order) || request.asked.iter().any(|name| name == order)
        };
        let recent = |request: &Request| request.span().is_some_and(|(from, to)| from <= charged && to >= since);
        let lost = |request: &Request| may_be_lost(request, self.spans, self.deadline_ms);
        // A request that never came, or that the org dropped unread, is in no log with its orders.
        self.spans.iter().any(|span| takes_requests(span) && span.touches(since, charged))
            || self.requests.iter().any(|request| recent(request) && about(request) && lost(request))
    }
}

/// Whether a fault ends calls so that nobody knows what became of them.
fn takes_requests(span: &Span) -> bool {
    match span.subject {
        Subject::Org => {
            matches!(span.kind, Kind::CommitThenDrop | Kind::DropBefore | Kind::CommitThen503 | Kind::Truncated)
        }
        Subject::WriterLine(_, Service::Org) => true,
        Subject::Writer(_) => span.kind == Kind::StopWriter,
        Subject::WriterLine(_, Service::RabbitMq | Service::Redis)
        | Subject::Ingest(_)
        | Subject::IngestLine(..)
        | Subject::PublisherLine
        | Subject::RabbitMq
        | Subject::Redis => false,
    }
}

impl Charges {
    /// Reads the stories of all orders, after the programs have ended and written them to their end.
    ///
    /// # Errors
    /// Redis does not answer.
    pub(crate) async fn read(redis_url: &str, script: &Script, losses: Losses<'_>) -> Result<Self> {
        let ledger = RedisLedger::connect(redis_url, &format!("{NAMESPACE}:{TENANT}"), PATIENT).await;
        let stories = Stories::beside(&ledger.context("reading the stories")?, Duration::ZERO);
        let mut charges = Self::default();
        for order in &script.orders {
            let Some(id) = OrderId::parse(&order.id) else { continue };
            let recorded = stories.read(&id).await.context("reading a story")?;
            charges.add(&order.id, &recorded.steps, losses);
        }
        Ok(charges)
    }

    /// Why the stories prove too little, where they do. `first_sent` tells when each order was sent first, by its identity.
    pub(crate) fn silent(&self, script: &Script, first_sent: &HashMap<String, i64>, spans: &[Span]) -> Option<String> {
        let forgot = spans.iter().filter(|span| forgets(span)).map(|span| span.to.unwrap_or(i64::MAX)).max();
        let kept = |id: &str| first_sent.get(id).is_some_and(|sent| forgot.is_none_or(|forgot| *sent > forgot));
        let sound = script.orders.iter().filter(|order| order.flaw.is_none() && kept(&order.id));
        let (mut sent, mut told) = (0, 0);
        for order in sound {
            sent += 1;
            told += usize::from(self.written_in.contains(&order.id));
        }
        let few = sent >= FEW && told * 100 < sent * TOLD_PERCENT;
        few.then(|| format!("of {sent} orders whose stories Redis never lost, a writer wrote in {told}"))
    }

    fn add(&mut self, order: &str, steps: &[Step], losses: Losses<'_>) {
        self.stories += usize::from(!steps.is_empty());
        if steps.iter().any(|step| step.by.starts_with("writer/")) {
            self.written_in.insert(order.to_owned());
        }
        let (mut wrong, mut lost) = (Vec::new(), 0);
        for step in steps {
            let What::Waits { reason, code, .. } = &step.what else { continue };
            *self.attempts.entry(reason.to_string()).or_default() += 1;
            if *reason == Reason::AnswerLost {
                lost += 1;
                if !losses.explain(order, i64::try_from(step.at).unwrap_or(i64::MAX)) {
                    wrong.push(format!("an answer that nothing took by {}", step.by));
                }
            }
            if passes(*reason) {
                let code = code.as_deref().map_or_else(String::new, |code| format!(" ({code})"));
                wrong.push(format!("{reason}{code} by {}", step.by));
            }
        }
        if lost > LOST_ANSWERS {
            wrong.push(format!("{lost} lost answers"));
        }
        if !wrong.is_empty() {
            self.findings.push(format!("charged for what passes: {order}: {}", wrong.join(", ")));
        }
    }
}

/// What lies in no order. A record that is locked is refused by itself, and counts.
fn passes(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::SalesforceUnavailable
            | Reason::QuotaExhausted
            | Reason::LedgerUnavailable
            | Reason::BrokerUnavailable
            | Reason::AuthenticationFailed
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::requests::made_by;
    use crate::demo::generator::script;

    /// When the org has answered, as the log's requests of a test have it.
    const ANSWERED: i64 = 1_770_134_400_010;
    const NOTHING: Losses<'static> = Losses { requests: &[], spans: &[], deadline_ms: 3_000 };

    fn waits(at: i64, reason: Reason, code: Option<&str>) -> Step {
        let what = What::Waits { until: 0, reason, code: code.map(str::to_owned) };
        Step { at: u64::try_from(at).expect("a time"), by: "writer/1".to_owned(), what }
    }

    #[test]
    fn an_attempt_for_a_locked_record_counts_and_one_for_an_outage_is_told_of() {
        let waits = |reason, code| waits(0, reason, code);
        let mut charges = Charges::default();
        charges.add("order-1", &[waits(Reason::RecordLocked, Some("UNABLE_TO_LOCK_ROW"))], NOTHING);
        charges.add("order-2", &[waits(Reason::RecordLocked, None), waits(Reason::QuotaExhausted, None)], NOTHING);
        charges.add("order-3", &[], NOTHING);
        assert_eq!(charges.stories, 2);
        assert_eq!(charges.attempts, BTreeMap::from([("record_locked".into(), 2), ("quota_exhausted".into(), 1)]));
        assert_eq!(charges.findings, ["charged for what passes: order-2: quota_exhausted by writer/1"]);
    }

    /// What is wrong with so many lost answers of an order.
    fn findings(times: usize, losses: Losses<'_>) -> usize {
        let mut charges = Charges::default();
        charges.add("order-1", &vec![waits(ANSWERED + 1_000, Reason::AnswerLost, None); times], losses);
        charges.findings.len()
    }

    #[test]
    fn a_lost_answer_is_excused_where_a_fault_took_one_about_the_order_and_many_are_not() {
        let row = "LimioOrder__c/LimioId__c/order-1";
        let taken = Request { fault: Some("commit_then_drop".to_owned()), ..made_by(0, 1, &[row]) };
        let by_log = |request: Request| findings(1, Losses { requests: &[request], ..NOTHING });
        assert_eq!(findings(1, NOTHING), 1);
        assert_eq!(by_log(taken.clone()), 0);
        let looked_up = Request { rows: Vec::new(), asked: vec!["order-1".to_owned()], ..taken.clone() };
        assert_eq!(by_log(looked_up), 0);
        let of_another = Request { rows: vec!["LimioOrder__c/LimioId__c/order-12".to_owned()], ..taken.clone() };
        assert_eq!(by_log(of_another), 1);
        assert_eq!(by_log(Request { fault: None, ..taken.clone() }), 1);
        assert_eq!(by_log(Request { at: "2026-02-03T15:59:00.000+0000".to_owned(), ..taken.clone() }), 1);
        let losses = Losses { requests: &[taken], ..NOTHING };
        assert_eq!((findings(LOST_ANSWERS, losses), findings(LOST_ANSWERS + 1, losses)), (0, 1));
    }

    #[test]
    fn a_lost_answer_that_is_in_no_log_is_excused_by_a_fault_of_the_org_or_on_the_way_to_it() {
        let by_span = |kind, subject, at| {
            let spans = [Span::of(kind, subject, at, at + 10)];
            findings(1, Losses { spans: &spans, ..NOTHING })
        };
        assert_eq!(by_span(Kind::DropBefore, Subject::Org, ANSWERED), 0);
        assert_eq!(by_span(Kind::Cut, Subject::WriterLine(0, Service::Org), ANSWERED), 0);
        assert_eq!(by_span(Kind::StopWriter, Subject::Writer(0), ANSWERED), 0);
        assert_eq!(by_span(Kind::DropBefore, Subject::Org, ANSWERED - 60_000), 1);
        assert_eq!(by_span(Kind::Locks, Subject::Org, ANSWERED), 1);
        assert_eq!(by_span(Kind::Cut, Subject::WriterLine(0, Service::Redis), ANSWERED), 1);
        assert_eq!(by_span(Kind::Flush, Subject::Redis, ANSWERED), 1);
    }

    #[test]
    fn stories_that_nothing_lost_and_that_are_not_there_prove_nothing() {
        let script = script(200, 1, "acme");
        let sent: HashMap<String, i64> = script.orders.iter().map(|order| (order.id.clone(), 1_000)).collect();
        let mut charges = Charges::default();
        assert!(charges.silent(&script, &sent, &[]).is_some());
        let flush = |at| [Span::of(Kind::Flush, Subject::Redis, at, at)];
        assert!(charges.silent(&script, &sent, &flush(500)).is_some());
        assert!(charges.silent(&script, &sent, &flush(1_500)).is_none(), "Redis forgot them all");
        for order in &script.orders {
            let by = |by: &str| Step { by: by.to_owned(), ..waits(0, Reason::RecordLocked, None) };
            charges.add(&order.id, &[by("ingest/1")], NOTHING);
        }
        assert!(charges.silent(&script, &sent, &[]).is_some(), "no writer wrote in them");
        for order in &script.orders {
            charges.add(&order.id, &[waits(0, Reason::RecordLocked, None)], NOTHING);
        }
        assert!(charges.silent(&script, &sent, &[]).is_none());
    }
}
