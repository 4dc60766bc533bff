//! How much of the org's allocation is left to others.

use domain::quota::Reserve;
use service::Problems;

/// The reserve, as it is written.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
#[expect(clippy::struct_field_names, reason = "the names are those of the flags")]
pub(crate) struct QuotaArgs {
    /// Per cent of the org's API calls in 24 hours that are left to its other programs, 0 to 99; beyond that intake pauses.
    #[arg(long, env = "CAUSEWAY_QUOTA_RESERVE_PERCENT", default_value = "10", help_heading = "Quota")]
    quota_reserve_percent: String,
    /// API calls in 24 hours that are left to the org's other programs at least; the larger of the two holds.
    #[arg(long, env = "CAUSEWAY_QUOTA_RESERVE_CALLS", default_value = "0", help_heading = "Quota")]
    quota_reserve_calls: String,
    /// Per cent of the org's API calls beyond the reserve that replays leave to new orders, 0 to 99.
    #[arg(long, env = "CAUSEWAY_QUOTA_REPLAYS_PERCENT", default_value = "10", help_heading = "Quota")]
    quota_replays_percent: String,
}

impl QuotaArgs {
    /// Checks the settings.
    pub(crate) fn read(&self, problems: &mut Problems) -> Option<Reserve> {
        let percent = problems.number("CAUSEWAY_QUOTA_RESERVE_PERCENT", &self.quota_reserve_percent, 0..=99);
        let calls = problems.number("CAUSEWAY_QUOTA_RESERVE_CALLS", &self.quota_reserve_calls, 0..=1_000_000_000);
        let replays = problems.number("CAUSEWAY_QUOTA_REPLAYS_PERCENT", &self.quota_replays_percent, 0..=99);
        Some(Reserve { percent: percent?, calls: calls?, replays_percent: replays? })
    }
}
