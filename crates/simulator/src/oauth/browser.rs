//! Browsers that are logged in, and pages that wait for a person's answer.

use std::collections::HashMap;

use super::text;
use crate::ids::RecordId;

/// A page waits as long as a code lives.
const PAGE_TTL_MS: i64 = 15 * 60_000;
/// A browser stays logged in for two hours.
const BROWSER_TTL_MS: i64 = 2 * 3_600_000;
/// More pages or browsers than that are not kept.
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

impl Browsers {
    /// Keeps an authorization; the text names it in the page's form.
    pub(crate) fn wait(&mut self, mut page: Pending, now_ms: i64) -> String {
        if self.pages.len() >= MOST {
            self.pages.retain(|_, page| page.expires_at_ms > now_ms);
        }
        self.make_room();
        page.expires_at_ms = now_ms.saturating_add(PAGE_TTL_MS);
        let source = text::secret();
        self.pages.insert(source.clone(), page);
        source
    }

    /// A place for one more page; the one that would end first gives it.
    fn make_room(&mut self) {
        if self.pages.len() >= MOST
            && let Some(oldest) = self.pages.iter().min_by_key(|(_, page)| page.expires_at_ms)
        {
            let oldest = oldest.0.clone();
            self.pages.remove(&oldest);
        }
    }

    /// The authorization that this browser began.
    pub(crate) fn page(&self, source: &str, browser: &str, now_ms: i64) -> Option<Pending> {
        self.pages.get(source).filter(|page| page.browser == browser && page.expires_at_ms > now_ms).cloned()
    }

    /// Hands a waiting page over to another org of the same login host; `None` when it does not wait here.
    pub(crate) fn take(&mut self, source: &str) -> Option<Pending> {
        self.pages.remove(source)
    }

    /// Takes over what another org handed over.
    pub(crate) fn put(&mut self, source: &str, page: Pending) {
        self.make_room();
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
        if self.logged_in.len() >= MOST {
            self.logged_in.retain(|_, (_, until)| *until > now_ms);
            if self.logged_in.len() >= MOST {
                self.logged_in.clear();
            }
        }
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
    use super::{Browsers, MOST, Pending};

    fn page() -> Pending {
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
            browser: "b".to_owned(),
            expires_at_ms: 0,
        }
    }

    #[test]
    fn no_more_than_a_thousand_pages_wait_wherever_they_come_from() {
        let (mut here, mut there) = (Browsers::default(), Browsers::default());
        let first = here.wait(page(), 0);
        for now_ms in 1..=2 * MOST {
            let source = there.wait(page(), i64::try_from(now_ms).unwrap_or_default());
            if let Some(page) = there.take(&source) {
                here.put(&source, page);
            }
            there.wait(page(), 0);
        }
        assert_eq!((here.pages.len(), there.pages.len()), (MOST, MOST));
        assert!(!here.waits(&first));
    }

    #[test]
    fn no_more_than_a_thousand_browsers_stay_logged_in() {
        let mut browsers = Browsers::default();
        for _ in 0..=2 * MOST {
            browsers.log_in("", crate::oauth::first_user(), 0);
        }
        assert!(browsers.logged_in.len() <= MOST);
    }
}
