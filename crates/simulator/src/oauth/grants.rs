//! Families of tokens: a refresh token, those it replaced, and the sessions they gave.
//!
//! Source: Help, "Manage OAuth Access Policies" (refresh token policy) and "Refresh Token Rotation".

use std::collections::VecDeque;

use super::sessions::Opening;
use super::{OauthError, Store, scope, text};
use crate::ids::RecordId;
use crate::settings::{RefreshPolicy, Settings};

/// Retired tokens a family remembers; an older one is unknown instead of stolen.
const MOST_RETIRED: usize = 1_000;

#[derive(Debug)]
pub(crate) struct Grant {
    client_id: String,
    user: RecordId,
    scope: String,
    /// The refresh token that is good; a family without one has sessions only.
    current: Option<String>,
    /// Replaced tokens and when they were.
    retired: VecDeque<(String, i64)>,
    created_ms: i64,
    used_ms: i64,
}

/// What the token endpoint hands out.
#[derive(Debug, Clone)]
pub(crate) struct Issued {
    pub(crate) access_token: String,
    pub(crate) refresh_token: Option<String>,
    pub(crate) user: RecordId,
    pub(crate) scope: String,
    /// Time of issue.
    pub(crate) at_ms: i64,
    /// Its family, if it has one.
    pub(crate) grant: Option<u64>,
    /// For a retired refresh token, within its grace.
    pub(crate) forgiven: bool,
}

/// A refresh token as introspection tells it.
#[derive(Debug, Clone)]
pub(crate) struct RefreshState {
    pub(crate) client_id: String,
    pub(crate) user: RecordId,
    pub(crate) scope: String,
    pub(crate) issued_at_ms: i64,
}

fn expired(settings: &Settings) -> OauthError {
    let description =
        if settings.token_validity_expired { "token validity expired" } else { "expired access/refresh token" };
    OauthError::new("invalid_grant", description)
}

fn unknown() -> OauthError {
    OauthError::new("invalid_grant", "expired access/refresh token")
}

impl Grant {
    /// Whether the app's policy has ended it.
    fn over(&self, now_ms: i64, settings: &Settings) -> bool {
        let life = i64::try_from(settings.refresh_lifetime_s.saturating_mul(1000)).unwrap_or(i64::MAX);
        match settings.refresh_policy {
            RefreshPolicy::UntilRevoked => false,
            RefreshPolicy::Immediately => true,
            RefreshPolicy::ExpireAfter => self.created_ms.saturating_add(life) <= now_ms,
            RefreshPolicy::ExpireUnused => self.used_ms.saturating_add(life) <= now_ms,
        }
    }
}

impl Store {
    /// A session of no family: client credentials, JWT bearer and passwords have no refresh token.
    pub(crate) fn issue_session(&mut self, opening: Opening<'_>, settings: &Settings) -> Issued {
        let access_token = self.open(opening, None, settings);
        let (user, scope, at_ms) = (opening.user, opening.scope.to_owned(), opening.now_ms);
        Issued { access_token, refresh_token: None, user, scope, at_ms, grant: None, forgiven: false }
    }

    /// A session of a new family, with a refresh token if the scope brings one.
    pub(crate) fn issue_family(&mut self, opening: Opening<'_>, settings: &Settings) -> Issued {
        let refresh_token = scope::refreshes(opening.scope).then(text::refresh_token);
        self.last_grant += 1;
        let id = self.last_grant;
        if let Some(token) = &refresh_token {
            self.make_room(opening.client_id, opening.user, settings);
            self.refresh.insert(token.clone(), id);
            let grant = Grant {
                client_id: opening.client_id.to_owned(),
                user: opening.user,
                scope: opening.scope.to_owned(),
                current: Some(token.clone()),
                retired: VecDeque::new(),
                created_ms: opening.now_ms,
                used_ms: opening.now_ms,
            };
            self.grants.insert(id, grant);
        }
        let access_token = self.open(opening, Some(id), settings);
        let (user, scope, at_ms) = (opening.user, opening.scope.to_owned(), opening.now_ms);
        Issued { access_token, refresh_token, user, scope, at_ms, grant: Some(id), forgiven: false }
    }

    /// A user has few refresh tokens per app; the oldest ends in silence.
    fn make_room(&mut self, client_id: &str, user: RecordId, settings: &Settings) {
        let mine = |grant: &&Grant| grant.client_id == client_id && grant.user == user;
        while self.grants.values().filter(mine).count() >= settings.refresh_tokens_per_user.max(1) {
            let oldest = self.grants.iter().filter(|(_, grant)| mine(grant)).map(|(id, _)| *id).min();
            let Some(oldest) = oldest else { break };
            self.revoke_family(oldest);
        }
    }

    /// Whose refresh token it is, retired or not.
    pub(crate) fn refresh_owner(&self, client_id: &str, token: &str) -> Result<RecordId, OauthError> {
        let grant = self.refresh.get(token).and_then(|id| self.grants.get(id));
        grant.filter(|grant| grant.client_id == client_id).map(|grant| grant.user).ok_or_else(unknown)
    }

    /// Exchanges a refresh token; with rotation the answer holds its successor. The second value is whether a
    /// retired token came back and its family was revoked.
    pub(crate) fn refresh(
        &mut self,
        client_id: &str,
        token: &str,
        organization: &str,
        now_ms: i64,
        settings: &Settings,
    ) -> Result<Issued, (OauthError, bool)> {
        self.refresh_owner(client_id, token).map_err(|error| (error, false))?;
        let id = *self.refresh.get(token).ok_or_else(|| (unknown(), false))?;
        let grant = self.grants.get_mut(&id).ok_or_else(|| (unknown(), false))?;
        let mut successor = None;
        let forgiven = grant.current.as_deref() != Some(token);
        if forgiven {
            let retired_ms = grant.retired.iter().find(|(old, _)| old == token).map(|(_, at)| *at);
            let grace = i64::try_from(settings.refresh_grace_s.saturating_mul(1000)).unwrap_or(i64::MAX);
            if retired_ms.is_none_or(|at| at.saturating_add(grace) <= now_ms) {
                if settings.refresh_reuse_detection {
                    self.revoke_family(id);
                }
                return Err((unknown(), settings.refresh_reuse_detection));
            }
            successor.clone_from(&grant.current);
        } else {
            if grant.over(now_ms, settings) {
                return Err((expired(settings), false));
            }
            if settings.refresh_rotation {
                let fresh = text::refresh_token();
                if let Some(old) = grant.current.replace(fresh.clone()) {
                    grant.retired.push_back((old, now_ms));
                }
                let forgotten = if grant.retired.len() > MOST_RETIRED { grant.retired.pop_front() } else { None };
                if let Some((forgotten, _)) = forgotten {
                    self.refresh.remove(&forgotten);
                }
                self.refresh.insert(fresh.clone(), id);
                successor = Some(fresh);
            }
        }
        let grant = self.grants.get_mut(&id).ok_or_else(|| (unknown(), false))?;
        grant.used_ms = now_ms;
        let (user, scope) = (grant.user, grant.scope.clone());
        let opening = Opening { client_id, user, scope: &scope, organization, now_ms };
        let access_token = self.open(opening, Some(id), settings);
        Ok(Issued { access_token, refresh_token: successor, user, scope, at_ms: now_ms, grant: Some(id), forgiven })
    }

    /// Ends a family: its refresh tokens and its sessions.
    pub(super) fn revoke_family(&mut self, id: u64) {
        if let Some(grant) = self.grants.remove(&id) {
            for token in grant.current.iter().chain(grant.retired.iter().map(|(token, _)| token)) {
                self.refresh.remove(token);
            }
        }
        self.access.retain(|_, session| session.grant != Some(id));
    }

    /// Revokes an access token, or a refresh token with all its sessions. Returns whose it was.
    pub(crate) fn revoke(&mut self, token: &str) -> Option<(String, RecordId)> {
        if let Some(id) = self.refresh.get(token).copied() {
            let owner = self.grants.get(&id).map(|grant| (grant.client_id.clone(), grant.user));
            self.revoke_family(id);
            if let Some(owner) = &owner {
                let others = self.grants.values().any(|grant| grant.client_id == owner.0 && grant.user == owner.1);
                if !others {
                    self.approvals.remove(owner);
                }
            }
            return owner;
        }
        self.access.remove(token).map(|session| (session.client_id, session.user))
    }

    /// "Revoke" on the page "Connected Apps OAuth Usage": all tokens and approvals of an app or a user, or of all.
    pub(crate) fn revoke_usage(&mut self, client_id: Option<&str>, user: Option<RecordId>) -> usize {
        let meant = |app: &str, who: RecordId| {
            client_id.is_none_or(|wanted| wanted == app) && user.is_none_or(|wanted| wanted == who)
        };
        let ids: Vec<u64> =
            self.grants.iter().filter(|(_, grant)| meant(&grant.client_id, grant.user)).map(|(id, _)| *id).collect();
        for id in &ids {
            self.revoke_family(*id);
        }
        self.access.retain(|_, session| !meant(&session.client_id, session.user));
        self.approvals.retain(|(app, who), _| !meant(app, *who));
        ids.len()
    }

    /// A refresh token that is good.
    pub(crate) fn refresh_state(&self, token: &str, now_ms: i64, settings: &Settings) -> Option<RefreshState> {
        let grant = self.grants.get(self.refresh.get(token)?)?;
        let good = grant.current.as_deref() == Some(token) && !grant.over(now_ms, settings);
        good.then(|| RefreshState {
            client_id: grant.client_id.clone(),
            user: grant.user,
            scope: grant.scope.clone(),
            issued_at_ms: grant.created_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST_RETIRED, Opening, Store};
    use crate::settings::Settings;

    const OPENING: fn() -> Opening<'static> = || Opening {
        client_id: "app",
        user: crate::oauth::first_user(),
        scope: "api refresh_token",
        organization: "00D000000000001",
        now_ms: 0,
    };

    #[test]
    fn a_family_remembers_a_thousand_replaced_tokens() {
        let mut store = Store::default();
        let settings = Settings { refresh_rotation: true, ..Settings::default() };
        let mut token = store.issue_family(OPENING(), &settings).refresh_token;
        for _ in 0..MOST_RETIRED + 10 {
            let current = token.unwrap_or_default();
            let issued = store.refresh("app", &current, "00D000000000001", 0, &settings);
            token = issued.ok().and_then(|issued| issued.refresh_token);
        }
        assert!(token.is_some());
        assert_eq!((store.refresh.len(), store.grants.len()), (MOST_RETIRED + 1, 1));
    }

    #[test]
    fn a_user_has_no_more_families_of_an_app_than_the_settings_say() {
        let mut store = Store::default();
        let settings = Settings::default();
        for _ in 0..settings.refresh_tokens_per_user + 10 {
            store.issue_family(OPENING(), &settings);
        }
        let most = settings.refresh_tokens_per_user;
        assert_eq!((store.grants.len(), store.refresh.len(), store.access.len()), (most, most, most));
    }
}
