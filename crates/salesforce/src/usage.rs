//! How much of the org's request allocation is used, as Salesforce tells with each answer.

/// The header that carries it.
pub(crate) const HEADER: &str = "sforce-limit-info";

/// Requests used and allowed in the rolling 24 hours (REST API Developer Guide, Limit Info Header).
///
/// The number is not strictly monotone: Salesforce's servers agree with each other only after a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiUsage {
    /// Requests used, by every program of the org.
    pub used: u64,
    /// Requests allowed.
    pub limit: u64,
}

impl ApiUsage {
    /// Reads a header such as `api-usage=10018/100000; per-app-api-usage=17/250(appName=x)`; whatever it does not
    /// understand, it leaves out.
    pub(crate) fn read(header: &str) -> Option<Self> {
        header.split(';').find_map(|part| {
            let (key, value) = part.split_once('=')?;
            if !key.trim().eq_ignore_ascii_case("api-usage") {
                return None;
            }
            let (used, limit) = value.split_once('/')?;
            let limit: String = limit.trim().chars().take_while(char::is_ascii_digit).collect();
            Some(Self { used: used.trim().parse().ok()?, limit: limit.parse().ok()? })
        })
    }

    /// Requests left; 0 when more are used than allowed, which Salesforce tolerates for a while.
    pub const fn remaining(self) -> u64 {
        self.limit.saturating_sub(self.used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_reads_from_every_known_form_of_the_header() {
        for header in [
            "api-usage=25/5000",
            "api-usage=25/5000; per-app-api-usage=17/250(appName=sample-app)",
            "per-app-api-usage=17/250(appName=sample-app);api-usage=25/5000",
            " API-Usage = 25 / 5000 ; api-bursts=1/750",
            "api-usage=25/5000(region=eu)",
        ] {
            assert_eq!(ApiUsage::read(header), Some(ApiUsage { used: 25, limit: 5000 }), "{header}");
        }
        for header in ["", "api-usage", "api-usage=", "api-usage=x/y", "api-usage=1", "per-app-api-usage=1/2", "=;/="] {
            assert_eq!(ApiUsage::read(header), None, "{header}");
        }
    }

    #[test]
    fn more_used_than_allowed_leaves_nothing() {
        assert_eq!(ApiUsage { used: 7, limit: 5 }.remaining(), 0);
        assert_eq!(ApiUsage { used: 2, limit: 5 }.remaining(), 3);
    }
}
