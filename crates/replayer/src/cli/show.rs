//! `show`: all about one letter.

use std::collections::BTreeMap;
use std::fmt::Write;

use domain::failure::{Failure, OrgText};
use queue::journal::entry::{AFTER_LETTER, FIRST_DEAD_AT, LANE_OVERFLOW, TIMES_DEAD};
use queue::message::{Message, ORDER_ID, SEQUENCE_KEY, TRACE_PARENT};
use queue::topology::{Queue, Topology};
use serde::Serialize;
use serde_json::Value;

use super::{Report, Tools, connection, short, unfound, usage};
use crate::body::Body;
use crate::closed::Closed;
use crate::explain::{self, Explanation};
use crate::forecast::Outlook;
use crate::journal;
use crate::letters::{OpenLetter, OpenLetters, Row};
use crate::selection::{Unfound, find, find_closed};
use crate::settings::ConnectionArgs;
use crate::shown;
use crate::terminal::Terminal;

/// How many of the letters that wait are named.
const WAITING: usize = 10;

/// Show all about one letter or order: where it is, why, what is parked behind it, what to do.
///
/// Of a parked letter it tells the cause: why the letter before it died, and what to do about that. A closed letter is
/// shown too, with how it ended, by whom, when and why, as long as it is among the last 5000 that were closed. The body is
/// described by its keys and the shape of its values; --reveal shows the values, except payment secrets, and the org's
/// own words about a refusal, which may name the customer.
/// --raw writes the original bytes to standard output and nothing else.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "causeway-replayer show [OPTIONS] <LETTER|ORDER>",
    after_help = "Examples:\n  \
    causeway-replayer show 3fa2b1c0\n  \
    causeway-replayer show order-0d3f9c11e0a54b7f9d2c8b6a5e4f3021 --reveal\n  \
    causeway-replayer show 3fa2b1c0 --raw > body.json\n\n\
    JSON (failure, cause, remedy, explanation, outlook, became and message may be null; value only with\n  \
    --reveal; remedy, explanation and outlook of a parked letter are of its cause):\n  \
    {as_of, letters: [{letter: as in list, failure: {class, reason, message, salesforce_code, field,\n   \
    rule, org_text (with --reveal)}, cause: {letter, failure}, remedy, explanation: as in explain, outlook, became: id of the\n   \
    letter that it is after it was published again, place, by, waiting: as letters in list,\n   \
    message: {id, type, content_type, timestamp, app_id, headers,\n   \
    body: {bytes, kind, shape, value}}}]}"
)]
pub struct Show {
    /// A letter's id or its first characters (at least 4), or an order's id.
    #[arg(value_name = "LETTER|ORDER")]
    name: String,
    /// Show personal data: values in body and headers, e-mail addresses.
    #[arg(long)]
    reveal: bool,
    /// Write the body's original bytes, payment secrets included, and nothing else.
    #[arg(long, conflicts_with_all = ["reveal", "json"])]
    raw: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// What is known of one letter.
#[derive(Debug, Serialize)]
pub struct Facts {
    letter: Row,
    failure: Option<FailureShown>,
    cause: Option<CauseShown>,
    remedy: Option<&'static str>,
    explanation: Option<Explanation>,
    outlook: Option<Outlook>,
    became: Option<String>,
    place: String,
    by: String,
    waiting: Vec<Row>,
    message: Option<MessageShown>,
}

#[derive(Debug, Serialize)]
struct FailureShown {
    class: &'static str,
    reason: &'static str,
    message: String,
    salesforce_code: Option<String>,
    field: Option<String>,
    rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    org_text: Option<String>,
    #[serde(skip)]
    withheld: bool,
}

/// Why a letter is parked.
#[derive(Debug, Serialize)]
struct CauseShown {
    letter: String,
    failure: FailureShown,
}

#[derive(Debug, Serialize)]
struct MessageShown {
    id: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    content_type: Option<String>,
    timestamp: Option<String>,
    app_id: Option<String>,
    headers: BTreeMap<String, String>,
    body: BodyShown,
}

#[derive(Debug, Serialize)]
struct BodyShown {
    bytes: usize,
    kind: &'static str,
    shape: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
    #[serde(skip)]
    text: String,
}

#[derive(Serialize)]
struct Document<'a> {
    as_of: String,
    letters: &'a [Facts],
}

impl Show {
    /// Answers.
    ///
    /// # Errors
    /// The settings are wrong, RabbitMQ is not reached, or no letter that is still known has the name.
    pub async fn run(self, tools: &Tools) -> anyhow::Result<Report> {
        let connection = connection(&self.connection)?;
        let letters = journal::open(&connection, "causeway-replayer show", &|text| tools.say(text)).await?;
        let open = journal::look(&letters);
        let (found, closed) = named(&open, &self.name).map_err(|error| unfound(&[error]))?;
        let all: Vec<&OpenLetter> = found.iter().copied().chain(closed.iter().map(|closed| &closed.was)).collect();
        let wanted: Vec<_> = all.iter().map(|open| open.letter.clone()).collect();
        let messages = letters.messages(&wanted).await.map_err(|error| journal::lost(&error))?;
        letters.close().await;
        let message =
            |open: &OpenLetter| messages.iter().find(|(id, _)| *id == open.letter.id).map(|(_, message)| message);
        if self.raw {
            let [one] = all.as_slice() else {
                return Err(usage("the order has several letters; name one of them for --raw").into());
            };
            let Some(message) = message(one) else { return Err(service::Stopped::failed(GONE).into()) };
            return Ok(Report { answer: message.body.to_vec(), exit: service::Exit::Done });
        }
        let topology = &connection.topology;
        let of_open = found.iter().map(|letter| facts(&open, letter, message(letter), topology, self.reveal));
        let of_closed =
            closed.iter().map(|closed| closed_facts(&open, closed, message(&closed.was), topology, self.reveal));
        let facts: Vec<Facts> = of_open.chain(of_closed).collect();
        if tools.json {
            return Report::json(&Document { as_of: shown::moment(open.now()), letters: &facts });
        }
        let rendered: Vec<String> = facts.iter().map(|facts| render(facts, &tools.terminal)).collect();
        Ok(Report::text(rendered.join("\n")))
    }
}

const GONE: &str = "the journal no longer keeps this letter's message: it is older than the retention";

/// The letters with this name: what is open first, and of an order also what is closed.
///
/// # Errors
/// No letter that is still known has it, or several could be meant.
pub fn named<'a>(open: &'a OpenLetters, name: &str) -> Result<(Vec<&'a OpenLetter>, Vec<&'a Closed>), Unfound> {
    match find(open, name) {
        Ok(found) => {
            let of_order = |closed: &&Closed| closed.was.letter.order_id.as_deref() == Some(name.trim());
            Ok((found, open.closed().iter().filter(of_order).collect()))
        }
        Err(unfound @ (Unfound::Nothing { .. } | Unfound::Closed { .. } | Unfound::Short { .. })) => {
            match find_closed(open, name) {
                Ok(closed) => Ok((Vec::new(), closed)),
                Err(several @ Unfound::Several { .. }) => Err(several),
                Err(_) => Err(unfound),
            }
        }
        Err(several @ Unfound::Several { .. }) => Err(several),
    }
}

/// Gathers what is known of a closed letter.
pub fn closed_facts(
    open: &OpenLetters,
    closed: &Closed,
    message: Option<&Message>,
    topology: &Topology,
    reveal: bool,
) -> Facts {
    let became = open.became(&closed.was.letter.id).map(|id| shown::printable(id.as_str()));
    Facts {
        letter: open.closed_row(closed, reveal),
        // There is nothing left to do, and nothing to replay.
        remedy: None,
        outlook: None,
        cause: None,
        became,
        ..facts(open, &closed.was, message, topology, reveal)
    }
}

/// Gathers what is known of an open letter.
pub fn facts(
    open: &OpenLetters,
    letter: &OpenLetter,
    message: Option<&Message>,
    topology: &Topology,
    reveal: bool,
) -> Facts {
    // What it failed for, or else what it is parked for.
    let failure = letter.cause.as_ref();
    let key = letter.letter.key.as_deref();
    let chain = key.map(|key| open.chain(key)).unwrap_or_default();
    let place = key.map_or_else(
        || topology.journal().clone(),
        |key| {
            let partition = Queue::Partition(topology.partition_of(key));
            format!("{}; its customer's orders come by {}", topology.journal(), topology.queue_name(partition))
        },
    );
    Facts {
        letter: open.row(letter, reveal),
        remedy: failure.map(|failure| failure.reason.remedy()),
        explanation: failure.and_then(explanation),
        outlook: failure.map(Outlook::of),
        failure: letter.failure().map(|failure| failure_shown(failure, reveal)),
        cause: failure.zip(letter.caused_by.as_ref()).filter(|_| !letter.is_dead()).map(|(failure, id)| CauseShown {
            letter: shown::printable(id.as_str()),
            failure: failure_shown(failure, reveal),
        }),
        became: None,
        place,
        by: shown::printable(&letter.letter.by),
        waiting: chain.into_iter().rev().take(letter.behind).rev().map(|waiting| open.row(waiting, reveal)).collect(),
        message: message.map(|message| message_shown(message, reveal)),
    }
}

/// Only with `reveal` does it hold the org's own words: they may name the customer.
fn failure_shown(failure: &Failure, reveal: bool) -> FailureShown {
    let org_text = failure.org_text.as_ref().map(OrgText::reveal).filter(|_| reveal);
    FailureShown {
        org_text: org_text.map(shown::printable),
        withheld: failure.org_text.is_some() && !reveal,
        class: failure.class.as_str(),
        reason: failure.reason.as_str(),
        message: shown::printable(&failure.message),
        salesforce_code: failure.salesforce_code.as_deref().map(shown::printable),
        field: failure.field.as_deref().map(shown::printable),
        rule: failure.rule.as_deref().map(shown::printable),
    }
}

/// What Salesforce's code means; where the catalogue does not know it, or there is none, nothing.
fn explanation(failure: &Failure) -> Option<Explanation> {
    let code = failure.salesforce_code.as_deref()?;
    let explanation = explain::explain(code).ok()?;
    // Where the org's words change the meaning, only that meaning holds. The failure begins with the meaning that it was
    // given; words that the letter keeps say it too.
    let said = failure.org_text.as_ref().map_or("", OrgText::reveal);
    let applies = |variant: &&explain::Variant| {
        said.contains(&variant.message_contains)
            || failure.message.contains(&variant.message_contains)
            || failure.message.starts_with(variant.meaning.trim_end_matches('.'))
    };
    let variant = explanation.variants.iter().find(applies).cloned();
    Some(match variant {
        None => Explanation { variants: Vec::new(), ..explanation },
        Some(variant) => Explanation {
            class: variant.class,
            meaning: variant.meaning,
            we_do: variant.we_do,
            you_do: variant.you_do,
            variants: Vec::new(),
            ..explanation
        },
    })
}

fn message_shown(message: &Message, reveal: bool) -> MessageShown {
    // Names that programs give; anything else a publisher may have filled with what it likes.
    const TECHNICAL: [&str; 6] = ["tenant", "event", "kind", ORDER_ID, TRACE_PARENT, "content-encoding"];
    const LINKING: [&str; 3] = [AFTER_LETTER, TIMES_DEAD, FIRST_DEAD_AT];
    let header = |(name, value): (&String, &String)| {
        // As we write them, and not whatever a publisher may have put there.
        let linking = LINKING.contains(&name.as_str()) && value.bytes().all(|byte| byte.is_ascii_hexdigit());
        let shown = if reveal || linking || TECHNICAL.contains(&name.as_str()) || name.starts_with("x-") {
            shown::printable(value)
        } else if name == SEQUENCE_KEY {
            shown::customer(value, false)
        } else {
            format!("(text of {})", shown::counted(value.chars().count(), "character"))
        };
        (shown::printable(name), shown)
    };
    let body = Body::read(&message.body);
    MessageShown {
        id: shown::printable(&message.id),
        kind: message.kind.as_deref().map(shown::printable),
        content_type: message.content_type.as_deref().map(shown::printable),
        timestamp: message.timestamp.map(|seconds| shown::moment(seconds.saturating_mul(1000))),
        app_id: message.app_id.as_deref().map(shown::printable),
        headers: message.headers.iter().map(header).collect(),
        body: BodyShown {
            bytes: message.body.len(),
            kind: body.kind(),
            shape: body.shape_json(),
            value: reveal.then(|| body.reveal_json()),
            text: if reveal { body.reveal() } else { body.shape() },
        },
    }
}

/// The facts in words.
pub fn render(facts: &Facts, terminal: &Terminal) -> String {
    let mut out = String::new();
    let row = &facts.letter;
    let mut field = |label: &str, text: &str| terminal.field(&mut out, label, text);
    let or_unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
    field("Letter", &row.letter);
    field("Order", &or_unknown(&row.order_id));
    field("Type", &or_unknown(&row.order_type));
    field("Customer", row.customer.as_deref().unwrap_or("none known; this letter blocks nobody"));
    field("State", &state(row, terminal));
    if let Some(closed) = &row.closed {
        field("Why", closed.why.as_deref().unwrap_or_default());
        match &facts.became {
            Some(id) => field("Now", &format!("dead again as {}", short(terminal, id))),
            None => field("That is", closed.how.meaning()),
        }
    }
    if let Some(before) = &row.after {
        field("Before", &format!("letter {}, which was published again", short(terminal, before)));
    }
    field("Where", &format!("{}; written by {}", facts.place, facts.by));
    if let Some(failure) = &facts.failure {
        field(
            if row.closed.is_some() { "Died of" } else { "Reason" },
            &format!("{} ({})", failure.reason, failure.class),
        );
        field("Message", &failure.message);
        field("Org's text", failure.org_text.as_deref().unwrap_or_default());
        field("Field", failure.field.as_deref().unwrap_or_default());
        field("Rule", failure.rule.as_deref().unwrap_or_default());
        remedy(&mut out, facts, failure, terminal);
    } else if let Some(CauseShown { letter, failure }) = &facts.cause {
        let at = failure.field.as_ref().map(|field| format!(" at {field}")).unwrap_or_default();
        field("Waits for", &format!("{} ({}{at}): {}", short(terminal, letter), failure.reason, failure.message));
        remedy(&mut out, facts, failure, terminal);
    }
    if row.closed.is_none() {
        waiting(&mut out, facts, terminal);
    }
    match &facts.message {
        None => terminal.field(&mut out, "Message", GONE),
        Some(message) => render_message(&mut out, message, terminal),
    }
    if terminal.hints {
        hints(&mut out, facts, terminal);
    }
    out
}

/// Since when it is what, in one line.
fn state(row: &Row, terminal: &Terminal) -> String {
    let age = shown::age(std::time::Duration::from_secs(row.age_seconds));
    if let Some(closed) = &row.closed {
        return format!("closed: {} by {} {} ({age} ago)", closed.how.words(), closed.by, closed.at);
    }
    let mut state = match &row.released_at {
        Some(at) => format!("released {at} and not settled yet; before that "),
        None => String::new(),
    };
    let for_room = row.reason == Some(LANE_OVERFLOW);
    let dead = row.reason.is_some() && !for_room;
    let since = if for_room {
        "overflowed"
    } else if dead {
        "dead"
    } else {
        "parked"
    };
    let _ = write!(state, "{since} since {} ({age})", row.at);
    if let (true, 2.., Some(first)) = (dead, row.times_dead, &row.first_dead_at) {
        let _ = write!(state, ", first {first}, {} times", row.times_dead);
    }
    if let Some(first) = &row.waits_for {
        let _ = write!(state, ", behind {}", short(terminal, first));
    }
    if for_room {
        state.push_str("; no failure: its customer's lane has no room for it yet, and it comes back by itself");
    }
    if row.stranded {
        state.push_str("; what it waited for is gone, only a replay lets it go");
    }
    if row.released_at.is_some() {
        state.push_str(". If the release is long ago, see whether a writer runs; releasing again does no harm");
    }
    state
}

/// What a failure means and what to do about it.
fn remedy(out: &mut String, facts: &Facts, failure: &FailureShown, terminal: &Terminal) {
    let mut field = |label: &str, text: &str| terminal.field(out, label, text);
    field("Salesforce", failure.salesforce_code.as_deref().unwrap_or_default());
    if let Some(explanation) = &facts.explanation {
        field("  means", &explanation.meaning);
        // There is nothing to do about what is over.
        field("  do", if facts.letter.closed.is_none() { &explanation.you_do } else { "" });
    } else if failure.salesforce_code.is_some() {
        field("  means", "The error atlas does not know this code.");
    }
    field("Remedy", facts.remedy.unwrap_or_default());
    field("A replay", facts.outlook.map(Outlook::words).unwrap_or_default());
}

fn hints(out: &mut String, facts: &Facts, terminal: &Terminal) {
    let id = short(terminal, &facts.letter.letter);
    let mut next = Vec::new();
    match (&facts.letter.closed, &facts.became) {
        (None, _) if facts.letter.state == "overflowed" => next.push(format!("causeway-replayer story {id}")),
        (None, _) => next.push(format!("causeway-replayer replay {id} --dry-run")),
        (Some(_), Some(now)) => next.push(format!("causeway-replayer show {}", short(terminal, now))),
        (Some(_), None) => {}
    }
    let cause = facts.cause.as_ref().map(|cause| &cause.failure);
    let withheld = facts.failure.as_ref().or(cause).is_some_and(|failure| failure.withheld);
    if withheld || facts.message.as_ref().is_some_and(|message| message.body.value.is_none()) {
        let what = if withheld { "the org's own words and the values" } else { "the values" };
        next.push(format!("causeway-replayer show {id} --reveal   for {what}"));
    }
    // What the letter could not say in one line: what it often is, and where it is documented.
    if let Some(failure) = facts.failure.as_ref().or(cause).filter(|_| facts.letter.closed.is_none()) {
        let code = facts.explanation.as_ref().map_or(failure.reason, |explanation| &explanation.code);
        next.push(format!("causeway-replayer explain {code}"));
    }
    if !next.is_empty() {
        let _ = writeln!(out, "\nNext: {}", next.join("\n      "));
    }
}

fn waiting(out: &mut String, facts: &Facts, terminal: &Terminal) {
    if facts.waiting.is_empty() {
        return terminal.field(out, "Behind it", "nothing");
    }
    terminal.field(out, "Behind it", &shown::counted(facts.waiting.len(), "order"));
    for row in facts.waiting.iter().take(WAITING) {
        let _ = writeln!(
            out,
            "  {}  {}  {}  {}",
            short(terminal, &row.letter),
            row.state,
            row.order_id.as_deref().unwrap_or("-"),
            row.order_type.as_deref().unwrap_or("-")
        );
    }
    if facts.waiting.len() > WAITING {
        let _ = writeln!(out, "  … {} more", facts.waiting.len() - WAITING);
    }
}

fn render_message(out: &mut String, message: &MessageShown, terminal: &Terminal) {
    out.push('\n');
    terminal.field(out, "Message id", if message.id.is_empty() { "none" } else { &message.id });
    terminal.field(out, "Message type", message.kind.as_deref().unwrap_or_default());
    terminal.field(out, "Content type", message.content_type.as_deref().unwrap_or_default());
    terminal.field(out, "Sent", message.timestamp.as_deref().unwrap_or_default());
    terminal.field(out, "Sent by", message.app_id.as_deref().unwrap_or_default());
    for (index, (name, value)) in message.headers.iter().enumerate() {
        terminal.field(out, if index == 0 { "Headers" } else { " " }, &format!("{name}: {value}"));
    }
    terminal.field(out, "Body", &format!("{}, {}", shown::counted(message.body.bytes, "byte"), message.body.kind));
    for line in message.body.text.lines() {
        let _ = writeln!(out, "  {line}");
    }
}
