//! `show`: all about one letter.

use std::collections::BTreeMap;
use std::fmt::Write;

use domain::failure::Failure;
use queue::message::{Message, ORDER_ID, SEQUENCE_KEY, TRACE_PARENT};
use queue::topology::{Queue, Topology};
use serde::Serialize;
use serde_json::Value;

use super::{Report, Tools, connection, short, unfound, usage};
use crate::body::Body;
use crate::explain::{self, Explanation};
use crate::forecast::Outlook;
use crate::journal;
use crate::letters::{OpenLetter, OpenLetters, Row};
use crate::selection::find;
use crate::settings::ConnectionArgs;
use crate::shown;
use crate::terminal::Terminal;

/// How many of the letters that wait are named.
const WAITING: usize = 10;

/// Show all about one letter or order: where it is, why, what waits behind it, what to do.
///
/// The body is described by its keys and the shape of its values; --reveal shows the values, except payment secrets.
/// --raw writes the original bytes to standard output and nothing else.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    causeway-replayer show 3fa2b1c0\n  \
    causeway-replayer show order-0d3f9c11e0a54b7f9d2c8b6a5e4f3021 --reveal\n  \
    causeway-replayer show 3fa2b1c0 --raw > body.json\n\n\
    JSON (failure, remedy, explanation, outlook and message may be null; value only with --reveal):\n  \
    {as_of, letters: [{letter: as in list, failure: {class, reason, message, salesforce_code, field,\n   \
    rule}, remedy, explanation: as in explain, outlook, place, by, waiting: as letters in list,\n   \
    message: {id, type, content_type, timestamp, app_id, headers,\n   \
    body: {bytes, kind, shape, value}}}]}")]
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
    remedy: Option<&'static str>,
    explanation: Option<Explanation>,
    outlook: Option<Outlook>,
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
    /// The settings are wrong, RabbitMQ is not reached, or no open letter has the name.
    pub async fn run(self, tools: &Tools) -> anyhow::Result<Report> {
        let connection = connection(&self.connection)?;
        let letters = journal::open(&connection, "causeway-replayer show", &|text| tools.say(text)).await?;
        let open = journal::look(&letters);
        let found = find(&open, &self.name).map_err(|error| unfound(&[error]))?;
        let wanted: Vec<_> = found.iter().map(|open| open.letter.clone()).collect();
        let messages = letters.messages(&wanted).await.map_err(|error| journal::lost(&error))?;
        letters.close().await;
        let message =
            |open: &OpenLetter| messages.iter().find(|(id, _)| *id == open.letter.id).map(|(_, message)| message);
        if self.raw {
            let [one] = found.as_slice() else {
                return Err(usage("the order has several letters; name one of them for --raw").into());
            };
            let Some(message) = message(one) else { return Err(service::Stopped::failed(GONE).into()) };
            return Ok(Report { answer: message.body.to_vec(), exit: service::Exit::Done });
        }
        let facts: Vec<Facts> = found
            .iter()
            .map(|letter| facts(&open, letter, message(letter), &connection.topology, self.reveal))
            .collect();
        if tools.json {
            return Report::json(&Document { as_of: shown::moment(open.now()), letters: &facts });
        }
        let rendered: Vec<String> = facts.iter().map(|facts| render(facts, &tools.terminal)).collect();
        Ok(Report::text(rendered.join("\n")))
    }
}

const GONE: &str = "the journal no longer keeps this letter's message: it is older than the retention";

/// Gathers what is known of a letter.
pub fn facts(
    open: &OpenLetters,
    letter: &OpenLetter,
    message: Option<&Message>,
    topology: &Topology,
    reveal: bool,
) -> Facts {
    let failure = letter.failure();
    let key = letter.letter.key.as_deref();
    let chain = key.map(|key| open.chain(key)).unwrap_or_default();
    let place = key.map_or_else(
        || format!("{}, blocks nobody", topology.journal()),
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
        failure: failure.map(|failure| FailureShown {
            class: failure.class.as_str(),
            reason: failure.reason.as_str(),
            message: shown::printable(&failure.message),
            salesforce_code: failure.salesforce_code.as_deref().map(shown::printable),
            field: failure.field.as_deref().map(shown::printable),
            rule: failure.rule.as_deref().map(shown::printable),
        }),
        place,
        by: shown::printable(&letter.letter.by),
        waiting: chain.into_iter().rev().take(letter.behind).rev().map(|waiting| open.row(waiting, reveal)).collect(),
        message: message.map(|message| message_shown(message, reveal)),
    }
}

/// What Salesforce's code means; where the catalogue does not know it, or there is none, nothing.
fn explanation(failure: &Failure) -> Option<Explanation> {
    let code = failure.salesforce_code.as_deref()?;
    let explanation = explain::explain(code).ok()?;
    // Where the message changes the meaning, only that meaning holds.
    let variant =
        explanation.variants.iter().find(|variant| failure.message.contains(&variant.message_contains)).cloned();
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
    let header = |(name, value): (&String, &String)| {
        let shown = if reveal || TECHNICAL.contains(&name.as_str()) || name.starts_with("x-") {
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
    field("Customer", row.customer.as_deref().unwrap_or("unknown; this letter blocks nobody"));
    let age = shown::age(std::time::Duration::from_secs(row.age_seconds));
    let mut state = match (row.state, row.times_dead) {
        ("dead", times) if times > 1 => format!("dead, given up {times} times, first {} ({age} ago)", row.at),
        ("dead", _) => format!("dead since {} ({age})", row.at),
        _ => format!("held since {} ({age})", row.at),
    };
    if let Some(first) = &row.waits_for {
        let _ = write!(state, ", behind {}", short(terminal, first));
    }
    if row.stranded {
        state.push_str("; what it waited for is gone, only a replay lets it go");
    }
    field("State", &state);
    if let Some(at) = &row.released_at {
        field(
            "Released",
            &format!(
                "{at}, and not settled yet. If that is long ago, see whether a writer runs; releasing again does no harm."
            ),
        );
    }
    field("Where", &format!("{}; written by {}", facts.place, facts.by));
    if let Some(failure) = &facts.failure {
        field("Reason", &format!("{} ({})", failure.reason, failure.class));
        field("Message", &failure.message);
        field("Field", failure.field.as_deref().unwrap_or_default());
        field("Rule", failure.rule.as_deref().unwrap_or_default());
        field("Salesforce", failure.salesforce_code.as_deref().unwrap_or_default());
        if let Some(explanation) = &facts.explanation {
            field("  means", &explanation.meaning);
            field("  do", &explanation.you_do);
        } else if failure.salesforce_code.is_some() {
            field("  means", "The catalogue does not know this code.");
        }
        field("Remedy", facts.remedy.unwrap_or_default());
        field("A replay", facts.outlook.map(Outlook::words).unwrap_or_default());
    }
    waiting(&mut out, facts, terminal);
    match &facts.message {
        None => terminal.field(&mut out, "Message", GONE),
        Some(message) => render_message(&mut out, message, terminal),
    }
    if terminal.hints {
        let id = short(terminal, &row.letter);
        let _ = write!(out, "\nNext: causeway-replayer replay {id} --dry-run");
        if facts.message.as_ref().is_some_and(|message| message.body.value.is_none()) {
            let _ = write!(out, "\n      causeway-replayer show {id} --reveal   for the values");
        }
        out.push('\n');
    }
    out
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
