//! Browsers that are logged in, and pages that wait for a person's answer.

use std::collections::HashMap;

use super::text;
use crate::ids::RecordId;

/// A page waits as long as a code lives.
const PAGE_TTL_MS: i64 = 15 * 60_000;
/// A browser stays logged in for two hours.
const BROWSER_TTL_MS: i64 = 2 * 3_600_000;
/// More pages or browsers than that are not kept; the one that would end first goes.
const MOST: usize = 1_000;

/// An authorization that waits for login or approval.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(crate) client_id: String,
    pub(crate) redirect_uri: String,
    pub(crate) scope: String,
    /// As it came, byte for byte.
    pub(crate) state: Option<Vec<u8>>,
    pub(crate) nonce: Option<String>,
    pub(crate) challenge: Option<String>,
    /// Ask for approval even if it was given before.
    pub(crate) ask_again: bool,
    pub(crate) login_hint: String,
    /// `page`, `popup`, `touch` or `mobile`.
    pub(crate) display: String,
    /// The browser that began it; no other may answer.
    pub(crate) browser: String,
    pub(crate) expires_at_ms: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Browsers {
    pages: HashMap<String, Pending>,
    logged_in: HashMap<String, (RecordId, i64)>,
}

/// Takes out what has ended and, if that is not enough, what would end first.
fn make_room<T>(kept: &mut HashMap<String, T>, now_ms: i64, until: impl Fn(&T) -> i64) {
    if kept.len() < MOST {
        return;
    }
    kept.retain(|_, one| until(one) > now_ms);
    if kept.len() >= MOST
        && let Some(oldest) = kept.iter().min_by_key(|(_, one)| until(one)).map(|(name, _)| name.clone())
    {
        kept.remove(&oldest);
    }
}

impl Browsers {
    /// Keeps an authorization; the text names it in the page's form.
    pub(crate) fn wait(&mut self, mut page: Pending, now_ms: i64) -> String {
        page.expires_at_ms = now_ms.saturating_add(PAGE_TTL_MS);
        let source = text::secret();
        self.put(&source, page, now_ms);
        source
    }

    /// The authorization that this browser began.
    pub(crate) fn page(&self, source: &str, browser: &str, now_ms: i64) -> Option<Pending> {
        self.pages.get(source).filter(|page| page.browser == browser && page.expires_at_ms > now_ms).cloned()
    }

    /// Hands a waiting page over to another org of the same login host; `None` when it does not wait here.
    pub(crate) fn take(&mut self, source: &str) -> Option<Pending> {
        self.pages.remove(source)
    }

    /// Keeps a page that waits already.
    pub(crate) fn put(&mut self, source: &str, page: Pending, now_ms: i64) {
        make_room(&mut self.pages, now_ms, |page| page.expires_at_ms);
        self.pages.insert(source.to_owned(), page);
    }

    pub(crate) fn waits(&self, source: &str) -> bool {
        self.pages.contains_key(source)
    }

    pub(crate) fn done(&mut self, source: &str) {
        self.pages.remove(source);
    }

    /// Logs a browser in under a new name, which the waiting page takes over.
    pub(crate) fn log_in(&mut self, source: &str, user: RecordId, now_ms: i64) -> String {
        make_room(&mut self.logged_in, now_ms, |(_, until)| *until);
        let browser = text::secret();
        self.logged_in.insert(browser.clone(), (user, now_ms.saturating_add(BROWSER_TTL_MS)));
        if let Some(page) = self.pages.get_mut(source) {
            page.browser.clone_from(&browser);
        }
        browser
    }

    pub(crate) fn user(&self, browser: &str, now_ms: i64) -> Option<RecordId> {
        self.logged_in.get(browser).filter(|(_, until)| *until > now_ms).map(|(user, _)| *user)
    }

    pub(crate) fn log_out(&mut self, browser: &str) {
        self.logged_in.remove(browser);
    }

    pub(crate) fn forget(&mut self, user: RecordId) {
        self.logged_in.retain(|_, (who, _)| *who != user);
    }
}

#[cfg(test)]
mod tests {
    use super::{Browsers, MOST, Pending, text};
    use crate::oauth::first_user;

    fn page(expires_at_ms: i64) -> Pending {
        Pending {
            client_id: String::new(),
            redirect_uri: String::new(),
            scope: String::new(),
            state: None,
            nonce: None,
            challenge: None,
            ask_again: false,
            login_hint: String::new(),
            display: String::new(),
            browser: "browser".to_owned(),
            expires_at_ms,
        }
    }

    #[test]
    fn pages_handed_over_push_out_the_oldest_and_no_more() {
        let mut browsers = Browsers::default();
        let most = i64::try_from(MOST).unwrap_or(i64::MAX);
        for n in 0..=most {
            browsers.put(&format!("page-{n}"), page(1_000 + n), 0);
        }
        assert_eq!(browsers.pages.len(), MOST);
        assert!(!browsers.waits("page-0") && browsers.waits("page-1") && browsers.waits(&format!("page-{most}")));
        // What has ended goes before what still waits.
        browsers.put("late", page(5_000), 1_500);
        assert_eq!(browsers.pages.len(), MOST - 499);
        assert!(!browsers.waits("page-500") && browsers.waits("page-501") && browsers.waits("late"));
    }

    #[test]
    fn no_more_than_a_thousand_pages_wait_wherever_they_come_from() {
        let (mut here, mut there) = (Browsers::default(), Browsers::default());
        let first = here.wait(page(0), 0);
        for now_ms in 1..=2 * MOST {
            let source = there.wait(page(0), i64::try_from(now_ms).unwrap_or_default());
            if let Some(page) = there.take(&source) {
                here.put(&source, page, 0);
            }
            there.wait(page(0), 0);
        }
        assert_eq!((here.pages.len(), there.pages.len()), (MOST, MOST));
        assert!(!here.waits(&first));
    }

    #[test]
    fn one_login_too_many_ends_the_oldest_and_not_all() {
        let mut browsers = Browsers::default();
        let names: Vec<String> = (0_i64..).take(MOST + 1).map(|n| browsers.log_in("", first_user(), n)).collect();
        assert_eq!(browsers.logged_in.len(), MOST);
        let known = |name: Option<&String>| name.is_some_and(|name| browsers.user(name, 0).is_some());
        assert!(!known(names.first()) && known(names.get(1)) && known(names.last()));
        assert!(browsers.user(&text::secret(), 0).is_none());
    }
}
