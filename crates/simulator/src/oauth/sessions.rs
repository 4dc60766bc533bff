//! Access tokens. A session lives from use to use (Help, "Modify Session Security Settings").

use super::{Store, scope, text, users};
use crate::ids::RecordId;
use crate::settings::Settings;

/// More sessions than that are not kept; the one that would end first goes.
const MOST_SESSIONS: usize = 20_000;

/// A session as introspection tells it.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) client_id: String,
    pub(crate) user: RecordId,
    pub(crate) scope: String,
    pub(crate) issued_at_ms: i64,
    pub(crate) expires_at_ms: i64,
    /// Life in seconds by the app's policy; the org's if absent.
    ttl_s: Option<u64>,
    /// The family of tokens it came from.
    pub(super) grant: Option<u64>,
    for_rest: bool,
}

/// Why a bearer token is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Unknown, expired or revoked.
    Dead,
    /// Good, but its scope does not reach the REST API.
    NotForRest,
}

/// What a new session is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opening<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) user: RecordId,
    pub(crate) scope: &'a str,
    /// The org's fifteen-character id.
    pub(crate) organization: &'a str,
    pub(crate) now_ms: i64,
}

fn expiry(now_ms: i64, ttl_s: Option<u64>, settings: &Settings) -> i64 {
    let ttl = ttl_s.unwrap_or(settings.session_ttl_s).saturating_mul(1000);
    now_ms.saturating_add(i64::try_from(ttl).unwrap_or(i64::MAX))
}

/// Whether the switch that deactivates the built-in user means this one.
pub(crate) fn switched_off(user: RecordId, settings: &Settings) -> bool {
    !settings.user_active && user == users::id_of(0)
}

impl Store {
    pub(super) fn accept(&mut self, token: &str, now_ms: i64, settings: &Settings) -> Result<RecordId, Refused> {
        let Some(session) = self.access.get_mut(token) else { return Err(Refused::Dead) };
        if session.expires_at_ms <= now_ms {
            self.access.remove(token);
            return Err(Refused::Dead);
        }
        if switched_off(session.user, settings) {
            return Err(Refused::Dead);
        }
        session.expires_at_ms = expiry(now_ms, session.ttl_s, settings);
        if session.for_rest { Ok(session.user) } else { Err(Refused::NotForRest) }
    }

    /// The live session of a token, for what is no use of the REST API.
    pub(crate) fn session(&self, token: &str, now_ms: i64, settings: &Settings) -> Option<&Session> {
        let live = |session: &&Session| session.expires_at_ms > now_ms && !switched_off(session.user, settings);
        self.access.get(token).filter(live)
    }

    pub(super) fn open(&mut self, opening: Opening<'_>, grant: Option<u64>, settings: &Settings) -> String {
        // Tokens nobody uses any more would otherwise pile up in a long run.
        if self.access.len() >= MOST_SESSIONS {
            self.access.retain(|_, session| session.expires_at_ms > opening.now_ms);
            if self.access.len() >= MOST_SESSIONS
                && let Some(first) = self.access.iter().min_by_key(|(_, session)| session.expires_at_ms)
            {
                let first = first.0.clone();
                self.access.remove(&first);
            }
        }
        let ttl_s = self.apps.iter().find(|app| app.client_id == opening.client_id).and_then(|app| app.session_ttl_s);
        let token = text::access_token(opening.organization);
        let session = Session {
            client_id: opening.client_id.to_owned(),
            user: opening.user,
            scope: opening.scope.to_owned(),
            issued_at_ms: opening.now_ms,
            expires_at_ms: expiry(opening.now_ms, ttl_s, settings),
            ttl_s,
            grant,
            for_rest: scope::allows_rest(opening.scope),
        };
        self.access.insert(token.clone(), session);
        token
    }

    pub(super) fn expire_sessions(&mut self) -> usize {
        let ended = self.access.len();
        self.access.clear();
        ended
    }

    pub(super) fn live_sessions(&self, now_ms: i64) -> usize {
        self.access.values().filter(|session| session.expires_at_ms > now_ms).count()
    }

    pub(super) fn end_sessions_of(&mut self, user: RecordId) {
        self.access.retain(|_, session| session.user != user);
        self.browsers.forget(user);
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST_SESSIONS, Opening, Store};
    use crate::settings::Settings;

    #[test]
    fn of_too_many_sessions_those_that_would_end_first_go() {
        let mut store = Store::default();
        let settings = Settings::default();
        let open = |store: &mut Store, now_ms| {
            let user = crate::oauth::first_user();
            let opening = Opening { client_id: "app", user, scope: "api", organization: "00D000000000001", now_ms };
            store.open(opening, None, &settings)
        };
        let first = open(&mut store, 0);
        let second = open(&mut store, 1);
        for _ in 2..=MOST_SESSIONS {
            open(&mut store, 2);
        }
        assert_eq!(store.access.len(), MOST_SESSIONS);
        assert!(store.session(&first, 2, &settings).is_none() && store.session(&second, 2, &settings).is_some());
    }
}
