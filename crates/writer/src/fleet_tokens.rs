//! One sign-in for the whole fleet: in Redis, sealed, with a copy in the operator's grant file.
//!
//! # Who is right
//!
//! A grant has a version ([`ledger::grant::Version`]), and the youngest wins wherever it lies: Redis, the file, or the memory
//! of a process. Every process looks at all three each second and puts the youngest where an older one is, so Redis may be
//! emptied at any time. After that nobody presents a refresh token for [`SETTLE`], in which every living process offers what
//! it has: a spent token that an old file brought would revoke the connection.
//!
//! A refresh token in clear in the file is the operator's. One that was never seen is a new grant of a new era, younger than
//! every renewal of the one before, also those under way: it is taken within a second, and work that waited for it goes on.
//! The file then holds the sealed grant instead; until it was taken nothing replaces it.
//!
//! # Presenting a refresh token
//!
//! Whoever renews holds a lease, which it lengthens while it works and which ends when it dies. Before it asks it notes that
//! it does: the note proves that the store can take the successor. The answer is written to the file, then to Redis, and only
//! then used. When the answer is lost, or its receiver dies, nobody knows whether the token is spent; whoever needs one next,
//! after the lease, presents it once more. If it was spent, its successor is lost and the grant is dead either way.
//!
//! A lease says nothing where Redis was away or emptied meanwhile: whoever presented the token may be alive, with the answer
//! under way or with the successor in its memory. So a token that another process presented is presented again after
//! [`SETTLE`] at the earliest, and where Redis was emptied since, after all the time that an answer may take.

mod content;
mod held;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use ledger::grant::{Grants, Leased, Put, Version};
use ledger::seal::Keys;
use salesforce::{AccessGrant, AccessTokenStore, GrantRefusal, Lease, RefreshTokenStore, StoreError, StoredGrant};
use secrecy::ExposeSecret as _;
use service::Lifecycle;
use tokio::time::Instant;

use crate::grant_file::{Found, GrantFile};

use self::content::Content;
use self::held::HeldLease;

/// How often a process looks at all places.
const LOOK: Duration = Duration::from_secs(1);

/// How long a grant lies in an emptied Redis before its refresh token is presented.
pub(crate) const SETTLE: Duration = Duration::from_secs(5);

/// How long a process waits for another one's renewal, beyond the lease: more than one that waits for a third one's answer.
const PATIENCE: Duration = Duration::from_mins(1);

/// The fleet's grant, seen from one process.
#[derive(Debug)]
pub(crate) struct FleetTokens {
    grants: Grants,
    keys: Arc<Keys>,
    file: Option<GrantFile>,
    lease: Duration,
    /// How long a token endpoint may take to answer.
    answer: Duration,
    /// This process, in notes.
    name: String,
    /// The youngest grant that this process has seen.
    youngest: Mutex<Option<(Version, Content)>>,
    /// The grant that is being renewed here.
    renewing: Mutex<(Version, Content)>,
    /// One look at a time.
    looking: tokio::sync::Mutex<()>,
    file_failed: AtomicBool,
}

/// What a look at all places found.
struct Seen {
    version: Version,
    content: Content,
    /// How long ago Redis was empty.
    seeded: Duration,
}

impl FleetTokens {
    /// The grant of a connection, and the file that an operator gives it in. `lease` is how long a renewal that a dead or
    /// frozen process began holds the others back; `answer` is how long the token endpoint may take to answer.
    pub(crate) fn new(
        grants: Grants,
        keys: Arc<Keys>,
        file: Option<GrantFile>,
        lease: Duration,
        answer: Duration,
    ) -> Self {
        Self {
            grants,
            keys,
            file,
            lease,
            answer,
            name: uuid::Uuid::new_v4().simple().to_string(),
            youngest: Mutex::default(),
            renewing: Mutex::default(),
            looking: tokio::sync::Mutex::default(),
            file_failed: AtomicBool::new(false),
        }
    }

    /// Looks at all places each second and on SIGHUP, until the process drains.
    pub(crate) fn follow(self: &Arc<Self>, lifecycle: &Lifecycle) {
        let (this, draining, mut reloads) = (Arc::clone(self), lifecycle.draining().clone(), lifecycle.reloads());
        lifecycle.spawn_job("tokens", async move {
            let mut failed = false;
            loop {
                tokio::select! {
                    () = draining.cancelled() => break,
                    () = tokio::time::sleep(LOOK) => {}
                    changed = reloads.changed() => if changed.is_err() { break },
                }
                match this.look().await {
                    Ok(_) => failed = false,
                    Err(error) => {
                        if !failed {
                            tracing::warn!(%error, "the fleet's sign-in cannot be read; trying again each second");
                        }
                        failed = true;
                    }
                }
            }
        });
    }

    fn place(&self, version: Version) -> String {
        format!("grant {} {}", self.grants.name(), version.number())
    }

    fn open(&self, version: Version, sealed: &str, where_: &str) -> Result<(Content, bool), StoreError> {
        let opened = self.keys.open(&self.place(version), sealed);
        let (text, old) = opened.map_err(|error| {
            StoreError(format!("the grant {where_} cannot be opened: {error} (CAUSEWAY_SALESFORCE_TOKEN_KEY)"))
        })?;
        let content = Content::read(&text);
        content.map(|content| (content, old)).ok_or_else(|| StoreError(format!("the grant {where_} cannot be read")))
    }

    fn seal(&self, version: Version, content: &Content) -> Result<String, StoreError> {
        self.keys.seal(&self.place(version), &content.to_text()).map_err(|error| StoreError(error.to_string()))
    }

    /// Puts a grant into Redis, unless a younger one is there.
    async fn put(&self, version: Version, content: &Content) -> Result<Put, StoreError> {
        let sealed = self.seal(version, content)?;
        self.grants.put(version, &sealed).await.map_err(|error| StoreError(error.to_string()))
    }

    /// Finds the youngest grant and puts it where an older one is. `None` where there is none at all.
    async fn look(&self) -> Result<Option<Seen>, StoreError> {
        let _one = self.looking.lock().await;
        // Another process may put a younger one in between; then all is looked at anew.
        for _ in 0..3 {
            let file = self.file.as_ref().map(GrantFile::read).transpose();
            let kept = self.grants.load().await.map_err(|error| StoreError(error.to_string()))?;
            let in_redis = match &kept {
                Some(kept) => Some((kept.version, self.open(kept.version, &kept.sealed, "in Redis")?)),
                None => None,
            };
            let sealed_with_old = in_redis.as_ref().is_some_and(|(_, (_, old))| *old);
            let in_redis = in_redis.map(|(version, (content, _))| (version, content));
            let in_file = match &file {
                Ok(Some(Found::Sealed { version, sealed })) => {
                    let version = Version::new(*version);
                    // A copy: what Redis holds may be younger and readable.
                    match self.open(version, sealed, "in the file") {
                        Ok((content, _)) => Some((version, content)),
                        Err(error) if in_redis.is_none() => return Err(error),
                        Err(_) => None,
                    }
                }
                Ok(Some(Found::Plain(_)) | None) | Err(_) => None,
            };
            let file_version = in_file.as_ref().map(|(version, _)| *version);
            let here = self.youngest().clone();
            // Of the same version the last one is taken, which is what the whole fleet sees.
            let best = [in_file, here, in_redis].into_iter().flatten().max_by_key(|(version, _)| *version);
            let (best, given) = match (best, &file) {
                (best, Ok(Some(Found::Plain(grant)))) => {
                    let known = best.as_ref().is_some_and(|(_, content)| content.knows(&grant.refresh_token));
                    let (version, content) = best.unwrap_or_default();
                    if known {
                        (Some((version, content)), false)
                    } else {
                        (Some((version.next_era(), content.replaced_by(grant.clone()))), true)
                    }
                }
                // Nothing anywhere, and the file is the reason.
                (None, Err(error)) => return Err(error.clone()),
                (best, _) => (best, false),
            };
            let Some((mut version, content)) = best else { return Ok(None) };
            if sealed_with_old && kept.as_ref().is_some_and(|kept| kept.version == version) {
                version = version.next_step();
            }
            if kept.as_ref().is_none_or(|kept| kept.version < version) {
                if self.put(version, &content).await? == Put::Older {
                    continue;
                }
                if given {
                    tracing::info!("a new grant was taken from the grant file; it holds for the whole fleet");
                } else if kept.is_none() {
                    tracing::warn!("Redis held no grant; it has this process's again");
                } else if sealed_with_old {
                    tracing::info!("the grant was sealed anew, with the first key");
                }
            }
            *self.youngest() = Some((version, content.clone()));
            if file_version.is_none_or(|written| written < version) && content.refresh_token.is_some() {
                self.write_file(version, &content).await;
            }
            let seeded = kept.map_or(Duration::ZERO, |kept| kept.seeded);
            return Ok(Some(Seen { version, content, seeded }));
        }
        Err(StoreError("the grant in Redis changes faster than it can be read".to_owned()))
    }

    /// Keeps a copy beside Redis. A file that cannot be written is told of once: Redis alone holds the grant then.
    async fn write_file(&self, version: Version, content: &Content) {
        let Some(file) = &self.file else { return };
        let written = match self.seal(version, content) {
            Ok(sealed) => file.write_sealed(version.number(), sealed, |token| content.knows(token)).await,
            Err(error) => Err(error),
        };
        match written {
            Ok(_) => self.file_failed.store(false, Ordering::Relaxed),
            Err(error) => {
                if !self.file_failed.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "the grant is kept in Redis alone: if Redis loses it while no writer runs, the connection has to be authorised again");
                }
            }
        }
    }

    fn presented(&self, content: Content) -> Content {
        Content { presented_at: Some(now_ms()), presented_by: Some(self.name.clone()), ..content }
    }

    fn youngest(&self) -> MutexGuard<'_, Option<(Version, Content)>> {
        self.youngest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn renewing(&self) -> MutexGuard<'_, (Version, Content)> {
        self.renewing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody else renews, then holds the others back.
    async fn hold(&self) -> Result<Lease, StoreError> {
        let holder = uuid::Uuid::new_v4().simple().to_string();
        let patient_until = Instant::now() + self.lease + PATIENCE;
        loop {
            match self.grants.lease(&holder, self.lease).await.map_err(|error| StoreError(error.to_string()))? {
                Leased::Held => return Ok(Lease::new(HeldLease::new(self.grants.clone(), holder, self.lease))),
                Leased::Busy(_) if Instant::now() >= patient_until => {
                    return Err(StoreError("another writer renews the sign-in and does not come to an end".to_owned()));
                }
                Leased::Busy(left) => tokio::time::sleep(left.min(Duration::from_millis(200))).await,
            }
        }
    }

    /// Keeps what the renewal under way came to: in the file first, so that it is durable whatever Redis does.
    async fn keep(&self, version: Version, content: Content) -> Result<(), StoreError> {
        *self.youngest() = Some((version, content.clone()));
        if content.refresh_token.is_some() {
            self.write_file(version, &content).await;
        }
        if self.put(version, &content).await? == Put::Older {
            // A new grant of the operator, or another process that renewed after this one's lease had ended.
            tracing::warn!("a younger grant is in Redis; the one that came just now is not kept");
            *self.youngest() = None;
            // What the file holds since is older than what the fleet uses.
            self.look().await?;
        }
        Ok(())
    }

    /// How long a refresh token that another process presented may still be answered there, or its successor be on the way
    /// from that process's memory into a Redis that is back. `since` is when this process began to wait.
    fn in_doubt(&self, seen: &Seen, since: Instant) -> Duration {
        let Some(at) = seen.content.presented_at else { return Duration::ZERO };
        if seen.content.presented_by.as_deref() == Some(&self.name) {
            return Duration::ZERO;
        }
        let ago = Duration::from_millis(now_ms().saturating_sub(at));
        let offered = SETTLE.saturating_sub(since.elapsed());
        // Unless Redis was emptied, the lease has lasted as long as the process that presented it.
        let answered = if seen.seeded < ago { (self.answer + SETTLE).saturating_sub(ago) } else { Duration::ZERO };
        offered.max(answered)
    }
}

#[async_trait]
impl RefreshTokenStore for FleetTokens {
    async fn lease(&self) -> Result<Lease, StoreError> {
        self.hold().await
    }

    async fn load(&self) -> Result<StoredGrant, StoreError> {
        let none = || match &self.file {
            Some(file) => StoreError(format!("there is no grant; put the refresh token into {}", file.path())),
            None => StoreError("there is no grant".to_owned()),
        };
        let Seen { version, content, .. } = self.look().await?.ok_or_else(none)?;
        let refresh_token = content.refresh_token.clone().ok_or_else(none)?;
        let stored = StoredGrant { refresh_token, access: content.access.clone(), refusal: content.refusal.clone() };
        *self.renewing() = (version, content);
        Ok(stored)
    }

    async fn presents(&self) -> Result<(), StoreError> {
        let (version, content) = self.renewing().clone();
        let token = |content: &Content| content.refresh_token.as_ref().map(|token| token.expose_secret().to_owned());
        let since = Instant::now();
        let (mut told_empty, mut told_doubt) = (false, false);
        let (now, current) = loop {
            let Some(seen) = self.look().await? else {
                return Err(StoreError("there is no grant any more".to_owned()));
            };
            if seen.version > version && token(&seen.content) != token(&content) {
                return Err(StoreError("a younger grant came meanwhile; it is used next".to_owned()));
            }
            let empty = SETTLE.saturating_sub(seen.seeded);
            let doubt = self.in_doubt(&seen, since);
            if !empty.is_zero() && !std::mem::replace(&mut told_empty, true) {
                tracing::info!("Redis was empty; every writer offers its grant before one is presented");
            }
            if !doubt.is_zero() && !std::mem::replace(&mut told_doubt, true) {
                let (at_most_s, lost) = (doubt.as_secs(), "the answer to another writer's renewal may still come");
                tracing::info!(at_most_s, "{lost}; the refresh token is not presented again before");
            }
            let left = empty.max(doubt);
            if left.is_zero() {
                break (seen.version, seen.content);
            }
            tokio::time::sleep(left.min(LOOK)).await;
        };
        if let Some(at) = current.presented_at {
            let ago_s = now_ms().saturating_sub(at) / 1000;
            tracing::warn!(
                ago_s,
                "the answer to an earlier renewal was lost; its refresh token is presented once more"
            );
        }
        let (noted, content) = (now.next_step(), self.presented(current));
        match self.put(noted, &content).await? {
            // Without room for a step the note is there already.
            Put::Older if noted != now => Err(StoreError("a younger grant came meanwhile; it is used next".to_owned())),
            Put::Kept | Put::Older => {
                // A Redis that is emptied now gets the note back, too.
                *self.youngest() = Some((noted, content.clone()));
                *self.renewing() = (noted, content);
                Ok(())
            }
        }
    }

    async fn save(&self, grant: &StoredGrant) -> Result<(), StoreError> {
        let (version, content) = self.renewing().clone();
        let renewed = Content {
            refresh_token: Some(grant.refresh_token.clone()),
            access: grant.access.clone(),
            refusal: None,
            presented_at: None,
            presented_by: None,
            given: content.given,
        };
        self.keep(version.next_generation(), renewed).await
    }

    async fn unspent(&self) {
        let (version, content) = self.renewing().clone();
        let unspent = Content { presented_at: None, presented_by: None, ..content };
        // It only keeps the next renewal from waiting for an answer that was lost.
        if matches!(self.put(version.next_step(), &unspent).await, Ok(Put::Kept)) {
            *self.renewing() = (version.next_step(), unspent);
        }
    }

    async fn refused(&self, refusal: &GrantRefusal) {
        let (version, content) = self.renewing().clone();
        let remedy = self.file.as_ref().map(|file| file.path().to_string()).unwrap_or_default();
        tracing::error!(
            error = refusal.error,
            description = refusal.description,
            "Salesforce no longer accepts the grant: authorise the connection again and put the new refresh token into {remedy}"
        );
        let dead = Content { refusal: Some(refusal.clone()), access: None, ..content };
        if let Err(error) = self.put(version.next_step(), &dead).await {
            tracing::warn!(%error, "the other writers are not told that the grant is dead; they find out themselves");
        }
    }
}

#[async_trait]
impl AccessTokenStore for FleetTokens {
    async fn lease(&self) -> Result<Lease, StoreError> {
        self.hold().await
    }

    async fn load(&self) -> Result<Option<AccessGrant>, StoreError> {
        let seen = self.look().await;
        // Whoever can open nothing signs in, and shares what comes.
        let kept = || async { self.grants.load().await.ok().flatten().map(|kept| kept.version).unwrap_or_default() };
        let (version, content) = match seen {
            Ok(Some(Seen { version, content, .. })) => (version, content),
            Ok(None) => (Version::default(), Content::default()),
            Err(error) => {
                tracing::warn!(%error, "the fleet's access token is not used");
                (kept().await, Content::default())
            }
        };
        let access = content.access.clone();
        *self.renewing() = (version, content);
        Ok(access)
    }

    async fn save(&self, access: &AccessGrant) -> Result<(), StoreError> {
        let (version, content) = self.renewing().clone();
        let renewed = Content { access: Some(access.clone()), ..content };
        self.keep(version.next_generation(), renewed).await
    }
}

#[expect(clippy::disallowed_methods, reason = "processes of several machines compare these times")]
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
