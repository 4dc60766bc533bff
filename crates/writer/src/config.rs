//! The writer's settings. Each is a flag and a variable; `--help` lists them with units and defaults.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use domain::config::OrderProcessing;
use domain::envelope::DecodeSettings;
use domain::order::id::TenantId;
use ledger::settings::{LedgerArgs, StoryArgs};
use ledger::stories::Kept;
use queue::lanes::{BatchSettings, InFlight};
use queue::settings::{Fleet, FleetArgs};
use salesforce::{ApiVersion, ClientSettings};
use service::{Address, Problems};

use crate::gate::QuotaArgs;
use crate::handler::{HandlerSettings, MAX_BATCH};
use crate::links::{LimioArgs, Linking};
use crate::sign_in::{SignIn, SignInArgs};

/// Writes validated Limio orders to Salesforce: effectively once, in order per customer, up to 75 orders per API call.
///
/// Start as many as you like, on any machine: each partition of customers is worked on by one of them at a time, the
/// others stand by. SIGTERM finishes what is in flight and hands the rest back; SIGHUP reads order-processing.toml again.
/// A start costs one API call, to see whether the org has the objects and fields that order-processing.toml names, and
/// whether its external ids are unique.
#[derive(Debug, Parser)]
#[command(
    name = "causeway-writer",
    version,
    after_help = "Secrets come from variables, or from files named by <VARIABLE>_FILE:\n  \
        CAUSEWAY_SALESFORCE_CLIENT_SECRET   client-credentials and refresh-token\n  \
        CAUSEWAY_SALESFORCE_JWT_KEY         jwt-bearer: the PEM private key\n  \
        CAUSEWAY_LIMIO_CLIENT_SECRET        with CAUSEWAY_LIMIO_URL: the client's secret\n  \
        CAUSEWAY_SALESFORCE_TOKEN_KEY       shares one sign-in among all writers, sealed in Redis with this key:\n  \
        \x20                                   32 bytes in base64; several lines to change it, the first one seals\n\n\
        Exit codes: 0 ok, 1 failed, 64 usage, 69 RabbitMQ, Redis or Salesforce not reachable at start,\n\
        70 bug, 78 wrong settings (sign-in settings that Salesforce refuses at start, and objects,\n\
        fields and unique external ids that the org does not have, included), or a topology on the\n\
        broker that differs."
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
    /// order-processing.toml; without it the built-in defaults hold (see `causeway-replayer config show-default`).
    #[arg(long, env = "CAUSEWAY_ORDER_PROCESSING", value_name = "FILE")]
    order_processing: Option<PathBuf>,
    /// How long RabbitMQ, Redis and Salesforce may be unreachable at start.
    #[arg(long, env = "CAUSEWAY_PATIENCE", default_value = "60s", value_name = "TIME")]
    patience: String,

    #[command(flatten)]
    sign_in: SignInArgs,
    /// REST API version, at least 52.
    #[arg(long, env = "CAUSEWAY_SALESFORCE_API_VERSION", default_value = "62", help_heading = "Salesforce")]
    salesforce_api_version: String,
    /// How long one API call may take before its answer counts as lost.
    #[arg(
        long,
        env = "CAUSEWAY_SALESFORCE_DEADLINE",
        default_value = "30s",
        value_name = "TIME",
        help_heading = "Salesforce"
    )]
    salesforce_deadline: String,

    #[command(flatten)]
    limio: LimioArgs,

    #[command(flatten)]
    quota: QuotaArgs,

    /// Most orders per API call, 1 to 75. Fewer go while Salesforce refuses many, or takes longer than 10 s.
    #[arg(long, env = "CAUSEWAY_BATCH_ORDERS", default_value = "75", help_heading = "Work")]
    batch_orders: String,
    /// Most requests with orders in flight at once, 1 to 20. It begins with 2; one more goes while all goes well and a full
    /// one waits, and half as many when records are locked, or Salesforce is slow or says that it is too much.
    #[arg(long, env = "CAUSEWAY_IN_FLIGHT", default_value = "8", help_heading = "Work")]
    in_flight: String,
    /// How long an order waits for company at least while other calls are in flight: a quarter of what calls take, up to
    /// 250ms, beside one; as long as a call takes, up to 10s, beside several and after a full one. While none are, it goes
    /// at once; under load, after at most 250ms.
    #[arg(long, env = "CAUSEWAY_LINGER", default_value = "25ms", value_name = "TIME", help_heading = "Work")]
    linger: String,
    /// Unacknowledged orders per partition, 1 to 2000; the same for every writer of a fleet. One customer takes at most half
    /// of them (or 4); what comes beyond waits in the journal and comes back by itself.
    #[arg(long, env = "CAUSEWAY_PREFETCH", default_value = "256", help_heading = "Work")]
    prefetch: String,
    /// How long a claim on an order protects it after its writer died, and how long an event that is published immediately
    /// may take to go out when its answer is lost; longer than the deadline of a call.
    #[arg(long, env = "CAUSEWAY_LEASE", default_value = "60s", value_name = "TIME", help_heading = "Work")]
    lease: String,
    /// The longest pause between two probes while Salesforce or Redis is away; pauses grow to it from 1 s.
    #[arg(long, env = "CAUSEWAY_OUTAGE_PROBE", default_value = "30s", value_name = "TIME", help_heading = "Work")]
    outage_probe: String,
    /// How old the count of the org's API calls may be, while they are spent, before one request of the fleet looks again.
    #[arg(long, env = "CAUSEWAY_QUOTA_PROBE", default_value = "15m", value_name = "TIME", help_heading = "Work")]
    quota_probe: String,
}

/// The settings, checked.
pub struct Config {
    pub(crate) fleet: Fleet,
    pub(crate) redis: Address,
    pub(crate) story_kept: Option<Kept>,
    pub(crate) order_processing: Option<PathBuf>,
    pub(crate) processing: OrderProcessing,
    pub(crate) patience: Duration,
    pub(crate) salesforce: ClientSettings,
    pub(crate) sign_in: SignIn,
    pub(crate) limio: Linking,
    pub(crate) handler: HandlerSettings,
    pub(crate) batches: BatchSettings,
    pub(crate) prefetch: u16,
}

impl Config {
    /// Checks everything and notes every problem; nothing is opened but files.
    pub fn read(args: Args, problems: &mut Problems) -> Option<Self> {
        let fleet = args.fleet.read(problems);
        let redis = args.ledger.read(problems);
        let story_kept = args.story.read(problems);
        let tenant = problems
            .required("CAUSEWAY_TENANT", args.tenant.as_deref(), "name the Limio environment, such as acme")
            .and_then(|tenant| TenantId::parse(&tenant));
        let processing = match &args.order_processing {
            None => Some(OrderProcessing::default()),
            Some(path) => problems.file("CAUSEWAY_ORDER_PROCESSING", path).and_then(|text| {
                OrderProcessing::parse(&text)
                    .map_err(|found| {
                        for problem in found.as_slice() {
                            problems.note(
                                &format!("CAUSEWAY_ORDER_PROCESSING ({})", path.display()),
                                problem.to_string(),
                                "correct the file; `causeway-replayer config check FILE` checks it",
                            );
                        }
                    })
                    .ok()
            }),
        };
        let patience = problems.duration("CAUSEWAY_PATIENCE", &args.patience);
        let deadline = problems.duration("CAUSEWAY_SALESFORCE_DEADLINE", &args.salesforce_deadline);
        let api_version = problems.number("CAUSEWAY_SALESFORCE_API_VERSION", &args.salesforce_api_version, 52..=999);
        let sign_in = args.sign_in.read(problems);
        let limio = args.limio.read(problems);
        let batch = problems.number("CAUSEWAY_BATCH_ORDERS", &args.batch_orders, 1..=MAX_BATCH as u64);
        let in_flight = problems.number("CAUSEWAY_IN_FLIGHT", &args.in_flight, 1..=20);
        let linger = problems.duration("CAUSEWAY_LINGER", &args.linger);
        let prefetch = problems.number("CAUSEWAY_PREFETCH", &args.prefetch, 1..=2000);
        let lease = problems.duration("CAUSEWAY_LEASE", &args.lease);
        let reserve = args.quota.read(problems);
        let outage_probe = pause("CAUSEWAY_OUTAGE_PROBE", &args.outage_probe, problems);
        let quota_probe = pause("CAUSEWAY_QUOTA_PROBE", &args.quota_probe, problems);
        if let (Some(lease), Some(deadline)) = (lease, deadline)
            && lease <= deadline
        {
            problems.note(
                "CAUSEWAY_LEASE",
                format!("{lease:?} is no longer than a call may take ({deadline:?})"),
                "make it longer than CAUSEWAY_SALESFORCE_DEADLINE, or an order could be sent while its first call still runs",
            );
            return None;
        }
        let mut fleet = fleet?;
        fleet.topology.links = matches!(limio, Some(Linking::On(_)));
        Some(Self {
            fleet,
            redis: redis?,
            story_kept: story_kept?,
            order_processing: args.order_processing,
            processing: processing?,
            patience: patience?,
            salesforce: ClientSettings {
                api_version: ApiVersion::new(u16::try_from(api_version?).ok()?).ok()?,
                deadline: deadline?,
                connect_timeout: Duration::from_secs(5).min(deadline?),
                client_name: concat!("causeway-writer/", env!("CARGO_PKG_VERSION")).to_owned(),
            },
            sign_in: sign_in?,
            limio: limio?,
            handler: HandlerSettings {
                decode: DecodeSettings::inside_fleet(tenant?),
                lease: lease?,
                deadline: deadline?,
                outage_probe: outage_probe?,
                quota_probe: quota_probe?,
                reserve: reserve?,
            },
            batches: BatchSettings {
                orders: usize::try_from(batch?).ok()?,
                in_flight: InFlight::UpTo(usize::try_from(in_flight?).ok()?),
                linger: linger?,
            },
            prefetch: u16::try_from(prefetch?).ok()?,
        })
    }
}

/// A length of time between two requests: without one they would not end.
fn pause(setting: &str, raw: &str, problems: &mut Problems) -> Option<Duration> {
    let pause = problems.duration(setting, raw)?;
    if pause.is_zero() {
        problems.note(setting, format!("{raw:?} is no pause: the org would be asked without end"), "write 1s or more");
        return None;
    }
    Some(pause)
}
