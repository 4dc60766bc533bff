//! Whether Redis has room for stories: claims need it more.

use ::redis::Cmd;

use super::Stories;
use crate::contract::Error;

/// Nothing is recorded from this share of Redis's `maxmemory` on, in percent.
pub const STOP_PERCENT: u64 = 70;

/// Below this share recording goes on.
pub const GO_ON_PERCENT: u64 = 65;

impl Stories {
    /// How much of its memory Redis has used, in percent. `None` where it has no bound, or does not say.
    ///
    /// # Errors
    /// Redis did not answer, or not this.
    pub(super) async fn used_percent(&self) -> Result<Option<u64>, Error> {
        let mut ask = Cmd::new();
        ask.arg("INFO").arg("memory");
        Ok(used_percent(&self.connection.one::<String>(&ask).await?))
    }
}

fn used_percent(info: &str) -> Option<u64> {
    let field = |name: &str| -> Option<u64> {
        info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?.trim().parse().ok()
    };
    let (used, most) = (field("used_memory")?, field("maxmemory")?);
    used.saturating_mul(100).checked_div(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_that_of_maxmemory_and_there_is_none_without_it() {
        let info = |most: u64| format!("# Memory\r\nused_memory:750\r\nused_memory_human:1K\r\nmaxmemory:{most}\r\n");
        assert_eq!(used_percent(&info(1_000)), Some(75));
        assert_eq!(used_percent(&info(0)), None);
        assert_eq!(used_percent("# Memory"), None);
    }
}
