//! Logs: structured, on standard error, JSON for machines and lines for people. And how fields are called.

use std::io::{IsTerminal, Write};
use std::panic::PanicHookInfo;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::settings::Problems;

/// The names of fields in logs and spans, spelled once. Never logged: tokens, order contents, personal data, bodies.
///
/// In a macro: `tracing::info!({ field::ORDER_ID } = %id, "written")`.
pub mod field {
    /// The Limio environment.
    pub const TENANT: &str = "tenant";
    /// The order's identity.
    pub const ORDER_ID: &str = "order.id";
    /// The order's type, such as `new`.
    pub const ORDER_TYPE: &str = "order.type";
    /// The customer, as far as order of processing is concerned.
    pub const SEQUENCE_KEY: &str = "sequence.key";
    /// The message.
    pub const MESSAGE_ID: &str = "message.id";
    /// The queue.
    pub const QUEUE_NAME: &str = "queue.name";
    /// How many attempts there were, this one included.
    pub const ATTEMPT: &str = "attempt";
    /// How many records a batch holds.
    pub const BATCH_RECORDS: &str = "batch.records";
    /// A Salesforce object.
    pub const SOBJECT: &str = "sobject";
    /// A Salesforce error code.
    pub const SALESFORCE_CODE: &str = "salesforce.code";
    /// What kind of failure it is.
    pub const FAILURE_CLASS: &str = "failure.class";
    /// How long to leave it alone, in milliseconds.
    pub const RETRY_AFTER_MS: &str = "retry_after_ms";
    /// How long it took, in milliseconds.
    pub const DURATION_MS: &str = "duration_ms";
}

/// How logs are written. Flatten it into the arguments of a program that does not use [`crate::run()`].
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct LogArgs {
    /// What is logged: a level, or levels by module as in `info,causeway_queue=debug`.
    #[arg(
        long = "log",
        env = "CAUSEWAY_LOG",
        default_value = "info",
        value_name = "FILTER",
        help_heading = "Operation"
    )]
    pub log: String,
    /// How it is logged: `json`, `pretty`, or `auto` (pretty on a terminal).
    #[arg(
        long,
        env = "CAUSEWAY_LOG_FORMAT",
        default_value = "auto",
        value_name = "FORMAT",
        help_heading = "Operation"
    )]
    pub log_format: String,
}

/// Checked [`LogArgs`].
#[derive(Debug)]
pub struct Log {
    filter: EnvFilter,
    json: bool,
}

impl LogArgs {
    /// Checks both settings.
    pub fn read(&self, problems: &mut Problems) -> Option<Log> {
        let filter = EnvFilter::try_new(&self.log);
        if filter.is_err() {
            let remedy =
                "write a level (error, warn, info, debug, trace), or levels by module: info,causeway_queue=debug";
            problems.note("CAUSEWAY_LOG", format!("{:?} is not a filter", self.log), remedy);
        }
        let formats = [("auto", !std::io::stderr().is_terminal()), ("json", true), ("pretty", false)];
        let json = problems.choice("CAUSEWAY_LOG_FORMAT", &self.log_format, &formats);
        Some(Log { filter: filter.ok()?, json: json? })
    }
}

impl Log {
    /// From now on, what is logged appears on standard error. A second call in one process changes nothing.
    ///
    /// `silenced` are modules of libraries that would log contents; no filter brings them back.
    pub fn start(self, silenced: &[&str]) {
        let off = silenced.iter().filter_map(|module| format!("{module}=off").parse().ok());
        let filter = off.fold(self.filter, EnvFilter::add_directive);
        let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        let started = if self.json {
            logs.json().flatten_event(true).with_current_span(true).with_span_list(false).finish().try_init()
        } else {
            logs.with_ansi(std::io::stderr().is_terminal()).finish().try_init()
        };
        if started.is_err() {
            tracing::debug!("logs had been started before");
        }
    }
}

/// Writes out what is still held back.
pub fn flush() {
    // Standard error is gone: there is nobody to tell.
    let _ = std::io::stderr().flush();
}

/// Logs a panic like everything else: what it said and where, in one line.
pub(crate) fn log_panic(panic: &PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("no message");
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(panic.message = message, panic.location = location, "a bug: something panicked");
}
