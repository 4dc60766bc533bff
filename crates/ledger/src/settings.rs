//! The settings of the ledger, for every program that keeps one: each is a flag and a variable.

use std::time::Duration;

use service::patience::{Attempt, patiently};
use service::{Address, Lifecycle, Problems, Stopped};

use crate::contract::Error;
use crate::redis::{RedisLedger, Settings};
use crate::stories::Kept;

/// Where Redis is. Flatten it into a program's arguments.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct LedgerArgs {
    /// Redis: redis:// or rediss://. Keep a password in the variable.
    #[arg(
        long,
        env = "CAUSEWAY_REDIS_URL",
        value_name = "URL",
        default_value = "redis://127.0.0.1:6379/0",
        hide_env_values = true
    )]
    pub redis_url: String,
}

impl LedgerArgs {
    /// Checks the address; nothing is opened.
    pub fn read(&self, problems: &mut Problems) -> Option<Address> {
        problems.address("CAUSEWAY_REDIS_URL", &self.redis_url, &["redis", "rediss"])
    }
}

/// How long an order's story is kept. Flatten it into the arguments of a program that records.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct StoryArgs {
    /// How long the story of an order (causeway-replayer story) is kept in Redis after its last step while the order is not
    /// settled, up to 366d; or `off`, and nothing is recorded. Recording also stops while Redis has used 70 % of its maxmemory.
    #[arg(long, env = "CAUSEWAY_STORY_KEPT", value_name = "TIME", default_value = "30d")]
    pub story_kept: String,
    /// How long the story of an order that is written or rejected is kept, at most as long as the others. Most stories are
    /// such; one takes less than 2 kB. A copy that comes again changes nothing of how long either is kept.
    #[arg(long, env = "CAUSEWAY_STORY_SETTLED_KEPT", value_name = "TIME", default_value = "3d")]
    pub story_settled_kept: String,
}

impl StoryArgs {
    /// How long; `None` within for `off`.
    pub fn read(&self, problems: &mut Problems) -> Option<Option<Kept>> {
        let settled = problems.duration("CAUSEWAY_STORY_SETTLED_KEPT", &self.story_settled_kept);
        if self.story_kept.trim().eq_ignore_ascii_case("off") {
            return settled.map(|_| None);
        }
        let kept = problems.duration("CAUSEWAY_STORY_KEPT", &self.story_kept)?;
        if kept > LONGEST_KEPT {
            problems.note("CAUSEWAY_STORY_KEPT", "it is longer than 366d".to_owned(), "write at most 366d, or off");
            return None;
        }
        Some(Some(Kept { open: kept, settled: settled?.min(kept) }))
    }
}

/// The longest time for which a story is kept.
const LONGEST_KEPT: Duration = Duration::from_hours(366 * 24);

/// Connects to Redis; waits for it no longer than the patience. `None` when the process drains first.
///
/// # Errors
/// It could not be reached in time (exit code 69), or its address or its eviction policy is wrong (78).
pub async fn open(
    address: &Address,
    namespace: &str,
    patience: Duration,
    lifecycle: &Lifecycle,
) -> Result<Option<RedisLedger>, Stopped> {
    patiently(patience, lifecycle.draining(), || async {
        let connected = RedisLedger::connect(address.expose(), namespace, Settings::RECOMMENDED).await;
        connected.map_err(|error| match error {
            Error::Broken(_) => Attempt::Never(Stopped::settings(error.to_string())),
            Error::Unavailable { .. } => Attempt::Later(Stopped::unavailable(error.to_string())),
        })
    })
    .await
}
