//! The command line. One file per verb; each gives a [`Report`].

pub mod config;
pub mod discard;
pub mod explain;
pub mod list;
pub mod replay;
pub mod show;
pub mod story;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use serde::Serialize;
use service::{Exit, Problems, Stopped};

use crate::confirm::{self, Act, Confirmed};
use crate::settings::{self, Connection, ConnectionArgs};
use crate::shown;
use crate::terminal::{self, Terminal};

/// Look at dead letters, understand them, and replay or discard them.
///
/// A dead letter is an order that Causeway gave up. Later orders of the same customer are parked behind it, in order,
/// until somebody replays or discards it: a replay releases them, and what is settled or discarded is closed. Nothing is
/// lost meanwhile, and no other customer waits.
#[derive(Debug, Parser)]
#[command(
    name = "causeway-replayer",
    version,
    arg_required_else_help = true,
    after_help = "At 3 a.m.:\n  \
        causeway-replayer list --by reason        what is wrong, the most frequent first\n  \
        causeway-replayer show 3fa2b1c0           one letter: why, what is parked behind it, what to do\n  \
        causeway-replayer story order-0d3f9c11…   one order: every step it took, and where it is now\n  \
        causeway-replayer explain UNABLE_TO_LOCK_ROW  what a code means, and what to do\n  \
        causeway-replayer replay --reason salesforce_unavailable --dry-run\n\n\
        Exit codes: 0 ok; 1 failed, nothing has that name, or a letter died again; 64 usage;\n\
        69 RabbitMQ not reachable within --patience; 70 bug; 78 wrong settings or topology."
)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
    /// Answer with one JSON document on standard output; each verb's --help tells its shape.
    #[arg(long, global = true)]
    json: bool,
    /// No colours; they are off anyway when the answer does not go to a terminal.
    #[arg(long, global = true, env = "NO_COLOR", hide_env_values = true, num_args = 0..=1, require_equals = true, default_missing_value = "1", value_name = "ANY")]
    no_color: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    List(list::List),
    Show(show::Show),
    Story(story::Tell),
    Explain(explain::Explain),
    Replay(replay::Replay),
    Discard(discard::Discard),
    #[command(subcommand)]
    Config(config::Config),
}

/// What a verb answers.
#[derive(Debug)]
pub struct Report {
    /// For standard output.
    pub answer: Vec<u8>,
    /// How the process ends.
    pub exit: Exit,
}

impl Report {
    /// An answer in words.
    pub fn text(text: impl Into<String>) -> Self {
        Self { answer: text.into().into_bytes(), exit: Exit::Done }
    }

    /// An answer as one JSON document.
    ///
    /// # Errors
    /// Never for the documents of this crate: their keys are text.
    pub fn json(document: &impl Serialize) -> anyhow::Result<Self> {
        let mut answer = serde_json::to_vec_pretty(document)?;
        answer.push(b'\n');
        Ok(Self { answer, exit: Exit::Done })
    }

    /// The same answer with another exit.
    #[must_use]
    pub fn ending(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }
}

/// What verbs work with.
#[derive(Debug, Clone, Copy)]
pub struct Tools {
    /// The terminal.
    pub terminal: Terminal,
    /// Whether the answer is JSON.
    pub json: bool,
}

impl Tools {
    /// Tells a person something on the way, on standard error.
    pub fn say(&self, text: &str) {
        // Nobody is left to tell when standard error is closed.
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// Asks for consent; waits for the answer on a thread of its own, so that the connection stays alive meanwhile.
    ///
    /// # Errors
    /// As [`confirm::confirm`].
    pub async fn confirm(&self, act: Act, letters: usize, yes: bool) -> anyhow::Result<Confirmed> {
        let consent = self.terminal.consent(yes);
        let asked = tokio::task::spawn_blocking(move || {
            confirm::confirm(act, letters, consent, &mut std::io::stdin().lock(), &mut std::io::stderr())
        });
        Ok(asked.await??)
    }
}

/// Checks the settings, all of them, before anything is opened.
///
/// # Errors
/// Everything that is wrong with them (exit 78).
pub fn connection(args: &ConnectionArgs) -> Result<Connection, Stopped> {
    let mut problems = Problems::default();
    match args.read(&mut problems) {
        Some(connection) if problems.is_empty() => Ok(connection),
        _ => Err(Stopped::settings(problems.to_string().trim_end().to_owned())),
    }
}

/// In place of a customer that is not known.
pub(crate) const NO_CUSTOMER: &str = "(no customer)";

/// Names that mean no letter, as one error (exit 1).
pub(crate) fn unfound(names: &[crate::selection::Unfound]) -> Stopped {
    Stopped::failed(names.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

/// A mistake on the command line that only shows when its parts are seen together (exit 64).
pub(crate) fn usage(message: impl Into<String>) -> Stopped {
    Stopped { exit: Exit::Usage, message: message.into() }
}

/// The process: reads the command line, runs the verb, prints the answer.
pub fn main() -> ExitCode {
    let parsed = settings::without_default_address(Cli::command())
        .try_get_matches()
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody is left to tell when standard output or error is closed.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Done }.into();
        }
    };
    let tools = Tools { terminal: Terminal::detect(cli.no_color.as_deref()), json: cli.json };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let ended = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        let ended = runtime.block_on(run(cli.verb, &tools));
        // A prompt that nobody answered may still be read from.
        runtime.shutdown_background();
        ended
    });
    match ended.and_then(|report| Ok((terminal::answer(&report.answer)?, report.exit))) {
        Ok(((), exit)) => exit.into(),
        Err(error) => {
            tools.say(&format!("causeway-replayer: {error:#}"));
            error.downcast_ref::<Stopped>().map_or(Exit::Failed, |stopped| stopped.exit).into()
        }
    }
}

async fn run(verb: Verb, tools: &Tools) -> anyhow::Result<Report> {
    match verb {
        Verb::List(list) => list.run(tools).await,
        Verb::Show(show) => show.run(tools).await,
        Verb::Story(tell) => tell.run(tools).await,
        Verb::Explain(explain) => explain.run(tools),
        Verb::Replay(replay) => replay.run(tools).await,
        Verb::Discard(discard) => discard.run(tools).await,
        Verb::Config(config) => config.run(tools),
    }
}

/// The first characters of a letter's id, enough to name it by; the whole id where there is room for anything.
pub(crate) fn short(terminal: &Terminal, id: &str) -> String {
    match terminal.width {
        Some(_) => shown::printable(&id.chars().take(8).collect::<String>()),
        None => shown::printable(id),
    }
}
