//! The settings of `ingest`. Each is a flag and a variable; `--help` lists them with units and defaults.

use std::time::Duration;

use clap::Parser;
use domain::envelope::DecodeSettings;
use domain::order::id::TenantId;
use queue::topology::{Namespace, Topology};
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
    /// RabbitMQ: amqp:// or amqps://, with user, password and virtual host. Keep a password in the variable.
    #[arg(long, env = "CAUSEWAY_AMQP_URL", value_name = "URL", default_value = "amqp://127.0.0.1:5672/%2f")]
    amqp_url: String,
    /// Redis: redis:// or rediss://. Keep a password in the variable.
    #[arg(long, env = "CAUSEWAY_REDIS_URL", value_name = "URL", default_value = "redis://127.0.0.1:6379/0")]
    redis_url: String,
    /// The prefix of every queue and key of this fleet.
    #[arg(long, env = "CAUSEWAY_NAMESPACE", default_value = "causeway")]
    namespace: String,
    /// The Limio environment that this fleet serves; messages of others are refused by name.
    #[arg(long, env = "CAUSEWAY_TENANT")]
    tenant: Option<String>,
    /// How many partitions the fleet has; the same for every program.
    #[arg(long, env = "CAUSEWAY_PARTITIONS", default_value = "32")]
    partitions: String,
    /// How many inboxes the fleet has; the same for every program.
    #[arg(long, env = "CAUSEWAY_INBOXES", default_value = "4")]
    inboxes: String,
    /// How long RabbitMQ and Redis may be unreachable at start.
    #[arg(long, env = "CAUSEWAY_PATIENCE", default_value = "60s", value_name = "TIME")]
    patience: String,
    /// Unacknowledged messages per inbox, 1 to 2000; the same for every ingest of a fleet.
    #[arg(long, env = "CAUSEWAY_PREFETCH", default_value = "256", help_heading = "Work")]
    prefetch: String,
    /// The largest body, in bytes. Larger ones become dead letters.
    #[arg(long, env = "CAUSEWAY_MAX_BODY_BYTES", default_value = "1048576", help_heading = "Work")]
    max_body_bytes: String,
}

/// The settings, checked.
#[derive(Debug)]
pub struct Config {
    pub(crate) amqp: Address,
    pub(crate) redis: Address,
    pub(crate) topology: Topology,
    pub(crate) patience: Duration,
    pub(crate) decode: DecodeSettings,
    pub(crate) prefetch: u16,
}

impl Config {
    /// Checks everything and notes every problem; nothing is opened.
    #[expect(clippy::needless_pass_by_value, reason = "the shape of what `service::run` calls")]
    pub fn read(args: Args, problems: &mut Problems) -> Option<Self> {
        let amqp = problems.address("CAUSEWAY_AMQP_URL", &args.amqp_url, &["amqp", "amqps"]);
        let redis = problems.address("CAUSEWAY_REDIS_URL", &args.redis_url, &["redis", "rediss"]);
        let namespace = Namespace::parse(args.namespace.trim());
        if namespace.is_none() {
            problems.note("CAUSEWAY_NAMESPACE", "is not a name", "write 1 to 60 letters, digits, `-`, `_` or `.`");
        }
        let partitions = problems.number("CAUSEWAY_PARTITIONS", &args.partitions, 1..=256);
        let inboxes = problems.number("CAUSEWAY_INBOXES", &args.inboxes, 1..=64);
        let tenant = problems
            .required("CAUSEWAY_TENANT", args.tenant.as_deref(), "name the Limio environment, such as acme")
            .and_then(|tenant| TenantId::parse(&tenant));
        let patience = problems.duration("CAUSEWAY_PATIENCE", &args.patience);
        let prefetch = problems.number("CAUSEWAY_PREFETCH", &args.prefetch, 1..=2000);
        let max_body_bytes = problems.positive("CAUSEWAY_MAX_BODY_BYTES", &args.max_body_bytes);
        Some(Self {
            amqp: amqp?,
            redis: redis?,
            topology: Topology {
                partitions: u16::try_from(partitions?).ok()?,
                inboxes: u16::try_from(inboxes?).ok()?,
                ..Topology::new(namespace?)
            },
            patience: patience?,
            decode: DecodeSettings { tenant: tenant?, max_body_bytes: max_body_bytes? },
            prefetch: u16::try_from(prefetch?).ok()?,
        })
    }
}
