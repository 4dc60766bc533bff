//! The settings of `ingest`. Each is a flag and a variable; `--help` lists them with units and defaults.

use std::time::Duration;

use clap::Parser;
use domain::envelope::DecodeSettings;
use domain::order::id::TenantId;
use ledger::settings::{LedgerArgs, StoryArgs};
use ledger::stories::Kept;
use queue::settings::{Fleet, FleetArgs};
use service::{Address, Problems};

/// Takes Limio's order events from RabbitMQ, checks and normalises them, and hands them on in order per customer.
///
/// Publishers send to the exchange `<namespace>.orders`: a `CloudEvent` in structured mode, or a bare Limio object as body with
/// the headers `tenant` and `event`. Put the customer into the header `sequencekey`, so that one customer's orders stay in
/// order from the first hop on. What cannot be accepted becomes a dead letter (see `causeway-replayer list`).
#[derive(Debug, Parser)]
#[command(
    name = "causeway-ingest",
    version,
    after_help = "Exit codes: 0 ok, 1 failed, 64 usage, 69 RabbitMQ or Redis not reachable at start, 70 bug,\n\
        78 wrong settings, or a topology on the broker that differs."
)]
pub struct Args {
    #[command(flatten)]
    fleet: FleetArgs,
    #[command(flatten)]
    ledger: LedgerArgs,
    #[command(flatten)]
    story: StoryArgs,
    /// The Limio environment that this fleet serves; messages of others are refused by name.
    #[arg(long, env = "CAUSEWAY_TENANT")]
    tenant: Option<String>,
    /// How long RabbitMQ and Redis may be unreachable at start.
    #[arg(long, env = "CAUSEWAY_PATIENCE", default_value = "60s", value_name = "TIME")]
    patience: String,
    /// Unacknowledged messages per inbox, 1 to 2000; the same for every ingest of a fleet.
    #[arg(long, env = "CAUSEWAY_PREFETCH", default_value = "256", help_heading = "Work")]
    prefetch: String,
    /// The largest body as its publisher sends it, in bytes; larger ones become dead letters. What is accepted here is
    /// accepted by the writers. Leave room below RabbitMQ's `max_message_size` (16 MiB) for the envelope.
    #[arg(long, env = "CAUSEWAY_MAX_BODY_BYTES", default_value = "1048576", help_heading = "Work")]
    max_body_bytes: String,
}

/// The settings, checked.
#[derive(Debug)]
pub struct Config {
    pub(crate) fleet: Fleet,
    pub(crate) redis: Address,
    pub(crate) story_kept: Option<Kept>,
    pub(crate) patience: Duration,
    pub(crate) decode: DecodeSettings,
    pub(crate) prefetch: u16,
}

impl Config {
    /// Checks everything and notes every problem; nothing is opened.
    #[expect(clippy::needless_pass_by_value, reason = "the shape of what `service::run` calls")]
    pub fn read(args: Args, problems: &mut Problems) -> Option<Self> {
        let fleet = args.fleet.read(problems);
        let redis = args.ledger.read(problems);
        let story_kept = args.story.read(problems);
        let tenant = problems
            .required("CAUSEWAY_TENANT", args.tenant.as_deref(), "name the Limio environment, such as acme")
            .and_then(|tenant| TenantId::parse(&tenant));
        let patience = problems.duration("CAUSEWAY_PATIENCE", &args.patience);
        let prefetch = problems.number("CAUSEWAY_PREFETCH", &args.prefetch, 1..=2000);
        let max_body_bytes = problems.positive("CAUSEWAY_MAX_BODY_BYTES", &args.max_body_bytes);
        Some(Self {
            fleet: fleet?,
            redis: redis?,
            story_kept: story_kept?,
            patience: patience?,
            decode: DecodeSettings { tenant: tenant?, max_body_bytes: max_body_bytes? },
            prefetch: u16::try_from(prefetch?).ok()?,
        })
    }
}
