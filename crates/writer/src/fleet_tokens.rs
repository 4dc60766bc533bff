//! One sign-in for the whole fleet: in Redis, sealed, with a copy in the operator's grant file.
//!
//! # Who is right
//!
//! A grant has a version ([`ledger::grant::Version`]), and the youngest wins wherever it lies: Redis, the file, or the memory
//! of a process. Every process looks at all three each second and puts the youngest where an older one is, so Redis may be
//! emptied at any time. After that nobody presents a refresh token for [`SETTLE`], in which every living process offers what
//! it has: a spent token that an old file brought would revoke the connection.
//!
//! A refresh token in clear in the file is the operator's. One that was never seen is a new grant, younger than all: it is
//! taken within a second, and work that waited for it goes on. The file then holds the sealed grant instead.
//!
//! # Presenting a refresh token
//!
//! Whoever renews holds a lease, which it lengthens while it works and which ends when it dies. Before it asks it notes that
//! it does: the note proves that the store can take the successor. The answer is written to the file, then to Redis, and only
//! then used. When the answer is lost, or its receiver dies, nobody knows whether the token is spent; whoever needs one next,
//! after the lease, presents it once more. If it was spent, its successor is lost and the grant is dead either way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use ledger::grant::{Grants, Leased, Put, Version};
use ledger::seal::{Keys, digest};
use salesforce::{AccessGrant, AccessTokenStore, GrantRefusal, Lease, RefreshTokenStore, StoreError, StoredGrant};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use service::Lifecycle;
use tokio::time::Instant;

use crate::grant_file::{Found, GrantFile};

/// How often a process looks at all places.
const LOOK: Duration = Duration::from_secs(1);

/// How long a grant lies in an emptied Redis before its refresh token is presented.
pub(crate) const SETTLE: Duration = Duration::from_secs(5);

/// How long a process waits for another one's renewal, beyond the lease.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many of the operator's grants are remembered, so that a file that nobody may write is not taken for a new grant.
const REMEMBERED: usize = 16;

/// The grant, as it is sealed.
#[derive(Debug, Clone, Default)]
struct Content {
    refresh_token: Option<SecretString>,
    access: Option<AccessGrant>,
    refusal: Option<GrantRefusal>,
    /// When the refresh token was presented without its answer being kept, in milliseconds since 1970.
    presented_at: Option<u64>,
    /// Digests of the refresh tokens that operators put into files.
    given: Vec<String>,
}

impl Content {
    fn to_text(&self) -> String {
        let access = self.access.as_ref().map(|access| {
            json!({ "instance_url": access.instance_url, "access_token": access.access_token.expose_secret() })
        });
        let refusal =
            self.refusal.as_ref().map(|refusal| json!({ "error": refusal.error, "description": refusal.description }));
        json!({
            "refresh_token": self.refresh_token.as_ref().map(ExposeSecret::expose_secret),
            "access": access,
            "refusal": refusal,
            "presented_at": self.presented_at,
            "given": self.given,
        })
        .to_string()
    }

    fn read(text: &SecretString) -> Option<Self> {
        let value: Value = serde_json::from_str(text.expose_secret()).ok()?;
        let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let access = value.get("access").and_then(|access| {
            let access_token = text(access, "access_token")?.into();
            Some(AccessGrant { instance_url: text(access, "instance_url")?, access_token })
        });
        let refusal = value.get("refusal").and_then(|refusal| {
            Some(GrantRefusal { error: text(refusal, "error")?, description: text(refusal, "description")? })
        });
        let given = value.get("given").and_then(Value::as_array).into_iter().flatten();
        Some(Self {
            refresh_token: text(&value, "refresh_token").map(SecretString::from),
            access,
            refusal,
            presented_at: value.get("presented_at").and_then(Value::as_u64),
            given: given.filter_map(Value::as_str).map(str::to_owned).collect(),
        })
    }

    /// Whether an operator's refresh token has been here before.
    fn knows(&self, token: &SecretString) -> bool {
        let current = self.refresh_token.as_ref().map(ExposeSecret::expose_secret);
        current == Some(token.expose_secret()) || self.given.contains(&digest(&[token.expose_secret()]))
    }

    /// The operator's grant in the place of this one.
    fn replaced_by(&self, grant: StoredGrant) -> Self {
        let mut given = self.given.clone();
        given.push(digest(&[grant.refresh_token.expose_secret()]));
        given.drain(..given.len().saturating_sub(REMEMBERED));
        Self { refresh_token: Some(grant.refresh_token), access: grant.access, given, ..Self::default() }
    }
}

/// The fleet's grant, seen from one process.
#[derive(Debug)]
pub(crate) struct FleetTokens {
    grants: Grants,
    keys: Arc<Keys>,
    file: Option<GrantFile>,
    lease: Duration,
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
    /// frozen process began holds the others back.
    pub(crate) fn new(grants: Grants, keys: Arc<Keys>, file: Option<GrantFile>, lease: Duration) -> Self {
        Self {
            grants,
            keys,
            file,
            lease,
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
        let file = self.file.as_ref().map(GrantFile::read).transpose();
        // Another process may put a younger one in between; then all is looked at anew.
        for _ in 0..3 {
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
            let best = [in_redis, in_file, here].into_iter().flatten().max_by_key(|(version, _)| *version);
            let (best, given) = match (best, &file) {
                (best, Ok(Some(Found::Plain(grant)))) => {
                    let known = best.as_ref().is_some_and(|(_, content)| content.knows(&grant.refresh_token));
                    let (version, content) = best.unwrap_or_default();
                    if known {
                        (Some((version, content)), false)
                    } else {
                        (Some((version.next_generation(), content.replaced_by(grant.clone()))), true)
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
                self.write_file(version, &content);
            }
            let seeded = kept.map_or(Duration::ZERO, |kept| kept.seeded);
            return Ok(Some(Seen { version, content, seeded }));
        }
        Err(StoreError("the grant in Redis changes faster than it can be read".to_owned()))
    }

    /// Keeps a copy beside Redis. A file that cannot be written is told of once: Redis alone holds the grant then.
    fn write_file(&self, version: Version, content: &Content) {
        let Some(file) = &self.file else { return };
        let written = self.seal(version, content).and_then(|sealed| file.write_sealed(version.number(), &sealed));
        match written {
            Ok(_) => self.file_failed.store(false, Ordering::Relaxed),
            Err(error) => {
                if !self.file_failed.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "the grant is kept in Redis alone: if Redis loses it while no writer runs, the connection has to be authorised again");
                }
            }
        }
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
                Leased::Held => return Ok(Lease::new(Held::new(self.grants.clone(), holder, self.lease))),
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
            self.write_file(version, &content);
        }
        if self.put(version, &content).await? == Put::Older {
            // A new grant of the operator, or another process that renewed after this one's lease had ended.
            tracing::warn!("a younger grant is in Redis; the one that came just now is not kept");
            *self.youngest() = None;
        }
        Ok(())
    }
}

/// A lease that is lengthened while it is held, and given back when it is dropped.
struct Held {
    grants: Grants,
    holder: String,
    lengthening: tokio::task::JoinHandle<()>,
}

impl Held {
    fn new(grants: Grants, holder: String, time: Duration) -> Self {
        let lengthening = tokio::spawn({
            let (grants, holder) = (grants.clone(), holder.clone());
            async move {
                loop {
                    tokio::time::sleep(time / 4).await;
                    match grants.lease(&holder, time).await {
                        Ok(Leased::Held) => {}
                        Ok(Leased::Busy(_)) => {
                            tracing::warn!(
                                "another writer took over a renewal of the sign-in that is still under way here"
                            );
                            break;
                        }
                        Err(error) => tracing::debug!(%error, "the lease of a renewal is not lengthened"),
                    }
                }
            }
        });
        Self { grants, holder, lengthening }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.lengthening.abort();
        let (grants, holder) = (self.grants.clone(), std::mem::take(&mut self.holder));
        // It ends by itself when this does not arrive.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { grants.release(&holder).await });
        }
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
        let seen = self.look().await?;
        if let Some(left) = seen.and_then(|seen| SETTLE.checked_sub(seen.seeded)).filter(|left| !left.is_zero()) {
            tracing::info!("Redis was empty; every writer offers its grant before one is presented");
            tokio::time::sleep(left).await;
            self.look().await?;
        }
        let (now, current) = self.youngest().clone().unwrap_or_default();
        let token = |content: &Content| content.refresh_token.as_ref().map(|token| token.expose_secret().to_owned());
        if now > version && token(&current) != token(&content) {
            return Err(StoreError("a younger grant came meanwhile; it is used next".to_owned()));
        }
        if let Some(at) = current.presented_at {
            let ago_s = now_ms().saturating_sub(at) / 1000;
            tracing::warn!(
                ago_s,
                "the answer to an earlier renewal was lost; its refresh token is presented once more"
            );
        }
        let (noted, content) = (now.next_step(), Content { presented_at: Some(now_ms()), ..current });
        match self.put(noted, &content).await? {
            // Without room for a step the note is there already.
            Put::Older if noted != now => Err(StoreError("a younger grant came meanwhile; it is used next".to_owned())),
            Put::Kept | Put::Older => {
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
            given: content.given,
        };
        self.keep(version.next_generation(), renewed).await
    }

    async fn unspent(&self) {
        let (version, content) = self.renewing().clone();
        let unspent = Content { presented_at: None, ..content };
        // It only keeps the next renewal from saying that an answer was lost.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_read_back_as_it_was_written() {
        let content = Content {
            refresh_token: Some("r1".into()),
            access: Some(AccessGrant { instance_url: "https://x.my.salesforce.com".into(), access_token: "a1".into() }),
            refusal: Some(GrantRefusal { error: "invalid_grant".into(), description: "expired".into() }),
            presented_at: Some(7),
            given: vec!["d".into()],
        };
        for content in [content, Content::default()] {
            let read = Content::read(&content.to_text().into()).expect("a grant");
            assert_eq!(read.to_text(), content.to_text());
        }
        assert!(Content::read(&"not JSON".into()).is_none());
    }

    #[test]
    fn a_grant_that_was_given_before_is_known_although_it_was_rotated_since_and_few_are_remembered() {
        let plain = |token: &str| StoredGrant { refresh_token: token.into(), access: None, refusal: None };
        let mut content = Content::default().replaced_by(plain("first"));
        content.refresh_token = Some("rotated".into());
        assert!(content.knows(&"first".into()) && content.knows(&"rotated".into()) && !content.knows(&"second".into()));
        for number in 0..100 {
            content = content.replaced_by(plain(&number.to_string()));
        }
        assert_eq!(content.given.len(), REMEMBERED);
        assert!(content.knows(&"99".into()) && !content.knows(&"first".into()));
        assert!(!content.given.iter().any(|given| given.contains("99") && given.len() < 32), "digests only");
    }
}
