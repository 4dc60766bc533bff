//! Who may use which app, from where, and how often.

use std::net::IpAddr;

use super::sessions::switched_off;
use super::{OauthError, Store, scope};
use crate::config::ConnectedApp;
use crate::ids::RecordId;
use crate::settings::Settings;

/// Whether an address is in one of the ranges, written `10.0.0.0/8` or `10.0.0.1`.
pub(crate) fn in_ranges(address: IpAddr, ranges: &[String]) -> bool {
    ranges.iter().any(|range| in_range(address, range).unwrap_or(false))
}

/// `None` when the range cannot be read.
pub(crate) fn in_range(address: IpAddr, range: &str) -> Option<bool> {
    let (base, bits) = match range.split_once('/') {
        Some((base, bits)) => (base.trim().parse::<IpAddr>().ok()?, Some(bits.trim().parse::<u32>().ok()?)),
        None => (range.trim().parse::<IpAddr>().ok()?, None),
    };
    let width: u32 = if base.is_ipv4() { 32 } else { 128 };
    let shift = width.checked_sub(bits.unwrap_or(width))?;
    match (address, base) {
        (IpAddr::V4(address), IpAddr::V4(base)) => {
            let difference = u32::from(address) ^ u32::from(base);
            Some(difference.checked_shr(shift).unwrap_or(0) == 0)
        }
        (IpAddr::V6(address), IpAddr::V6(base)) => {
            let difference = u128::from(address) ^ u128::from(base);
            Some(difference.checked_shr(shift).unwrap_or(0) == 0)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => Some(false),
    }
}

impl Store {
    /// Checks all that may keep a known user out, and counts the login. `login()` of the SOAP API knows no app.
    pub(crate) fn admit(
        &mut self,
        app: Option<&ConnectedApp>,
        user: RecordId,
        from: IpAddr,
        now_ms: i64,
        settings: &Settings,
    ) -> Result<(), OauthError> {
        if settings.org_locked {
            return Err(OauthError::new("inactive_org", "organization locked, closed, or suspended"));
        }
        if app.is_some_and(|app| app.blocked) {
            return Err(OauthError::new("invalid_client", "this app is blocked by admin"));
        }
        let approved = |app: &ConnectedApp| self.approvals.contains_key(&(app.client_id.clone(), user));
        if !settings.app_installed && app.is_some_and(|app| !approved(app)) {
            return Err(OauthError::new("invalid_client", "app must be installed into org"));
        }
        let inactive = || OauthError::new("invalid_grant", "inactive user");
        let known = self.user(user).ok_or_else(inactive)?;
        if !known.usable() || switched_off(user, settings) {
            return Err(inactive());
        }
        if app.is_some_and(|app| self.admin_approval_missing(app, user, settings)) {
            return Err(OauthError::new("invalid_app_access", "user is not admin approved to access this app"));
        }
        if !known.ip_ranges.is_empty() && !in_ranges(from, &known.ip_ranges) {
            return Err(OauthError::new("invalid_grant", "ip restricted or invalid login hours"));
        }
        self.count_login(user, now_ms, settings)
    }

    fn admin_approval_missing(&self, app: &ConnectedApp, user: RecordId, settings: &Settings) -> bool {
        (settings.admin_approved_only || app.admin_approved_only) && !app.preauthorizes(self.username(user))
    }

    /// Logins of one user in a rolling hour are limited.
    fn count_login(&mut self, user: RecordId, now_ms: i64, settings: &Settings) -> Result<(), OauthError> {
        let times = self.logins.entry(user).or_default();
        while times.front().is_some_and(|at| at.saturating_add(3_600_000) <= now_ms) {
            times.pop_front();
        }
        if times.len() >= settings.logins_per_hour {
            return Err(OauthError::new("rate_limit_exceeded", "login rate exceeded"));
        }
        times.push_back(now_ms);
        Ok(())
    }

    /// Whether the user need not be asked: he allowed all of this before, or an administrator did.
    pub(crate) fn approved(&self, app: &ConnectedApp, user: RecordId, wanted: &str, settings: &Settings) -> bool {
        let by_admin =
            (settings.admin_approved_only || app.admin_approved_only) && app.preauthorizes(self.username(user));
        by_admin
            || self
                .approvals
                .get(&(app.client_id.clone(), user))
                .is_some_and(|given| given.is_superset(&scope::set(wanted)))
    }

    pub(crate) fn approve(&mut self, client_id: &str, user: RecordId, wanted: &str) {
        self.approvals.entry((client_id.to_owned(), user)).or_default().extend(scope::set(wanted));
    }

    /// Whether JWT bearer may act for the user: pre-authorised, or he once allowed access at any time.
    pub(crate) fn approved_for_assertions(&self, app: &ConnectedApp, user: RecordId) -> bool {
        let offline = |given: &super::Scopes| given.contains("refresh_token") || given.contains("offline_access");
        app.preauthorizes(self.username(user))
            || self.approvals.get(&(app.client_id.clone(), user)).is_some_and(offline)
    }
}

#[cfg(test)]
mod tests {
    use super::in_range;

    #[test]
    fn ranges_are_read_in_both_forms_and_families() {
        let cases = [
            ("127.0.0.1", "127.0.0.0/8", Some(true)),
            ("127.0.0.1", "0.0.0.0/0", Some(true)),
            ("127.0.0.1", "10.0.0.0/8", Some(false)),
            ("10.1.2.3", "10.1.2.3", Some(true)),
            ("::1", "::/0", Some(true)),
            ("::1", "127.0.0.1", Some(false)),
            ("10.1.2.3", "10.0.0.0/40", None),
            ("10.1.2.3", "::1/129", None),
            ("::1", "10.0.0.0/40", None),
            ("10.1.2.3", "nonsense", None),
        ];
        for (address, range, expected) in cases {
            let address = address.parse().unwrap_or(std::net::IpAddr::from([0, 0, 0, 0]));
            assert_eq!(in_range(address, range), expected, "{address} in {range}");
        }
    }
}
