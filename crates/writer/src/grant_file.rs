//! Keeps a refresh token in a file, so that a rotated one survives the process.
//!
//! The file is replaced as a whole: written beside it, synced, renamed. A lock file keeps the writers of one machine from
//! refreshing at the same time; writers on several machines share a grant by [`crate::fleet_tokens`], which keeps a sealed copy
//! here.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use salesforce::{AccessGrant, Lease, RefreshTokenStore, StoreError, StoredGrant};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

/// How long another process may be at the file while a sealed grant is written.
const LOCKED: Duration = Duration::from_secs(5);

/// How long another process of this machine may take to renew a grant that is not sealed.
const RENEWED: Duration = Duration::from_mins(1);

/// What a file holds.
#[derive(Debug)]
pub(crate) enum Found {
    /// A refresh token that anybody can read: the operator's, or one that this module wrote for a writer without a key.
    Plain(StoredGrant),
    /// What a fleet with a key keeps there beside Redis.
    Sealed {
        /// Which of two is younger.
        version: u64,
        /// The sealed text.
        sealed: String,
    },
}

/// A grant in a file: either the bare refresh token that an operator put there, or what this module wrote.
#[derive(Debug, Clone)]
pub(crate) struct GrantFile {
    path: PathBuf,
}

impl GrantFile {
    /// The file at this path; it has to exist when the first token is needed.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(suffix);
        name.into()
    }

    /// The path, for what an operator reads.
    pub(crate) fn path(&self) -> std::path::Display<'_> {
        self.path.display()
    }

    /// What is in the file.
    pub(crate) fn read(&self) -> Result<Found, StoreError> {
        let text = std::fs::read_to_string(&self.path).map_err(|error| self.failed("read", &error))?;
        let Ok(Value::Object(stored)) = serde_json::from_str(&text) else {
            let token = text.trim();
            if token.is_empty() {
                return Err(StoreError(format!("{} is empty; put the refresh token into it", self.path.display())));
            }
            let refresh_token = SecretString::from(token);
            return Ok(Found::Plain(StoredGrant { refresh_token, access: None, refusal: None }));
        };
        let text = |name: &str| stored.get(name).and_then(Value::as_str).map(str::to_owned);
        if let Some((sealed, version)) = text("sealed").zip(stored.get("version").and_then(Value::as_u64)) {
            return Ok(Found::Sealed { version, sealed });
        }
        let refresh_token = text("refresh_token")
            .ok_or_else(|| StoreError(format!("{} holds no refresh_token", self.path.display())))?;
        let access = text("instance_url")
            .zip(text("access_token"))
            .map(|(instance_url, access_token)| AccessGrant { instance_url, access_token: access_token.into() });
        Ok(Found::Plain(StoredGrant { refresh_token: refresh_token.into(), access, refusal: None }))
    }

    fn write(&self, grant: &StoredGrant) -> Result<(), StoreError> {
        let mut stored = json!({ "refresh_token": grant.refresh_token.expose_secret() });
        if let Some(access) = &grant.access {
            stored["instance_url"] = access.instance_url.as_str().into();
            stored["access_token"] = access.access_token.expose_secret().into();
        }
        self.replace(&stored)
    }

    /// Keeps a sealed grant, and waits for at most [`LOCKED`] while another process of this machine is at the file. What is
    /// younger stays, and so does a refresh token in clear that is not `known`: an operator has just put it there, and
    /// nobody has read it yet. `false` in these cases.
    pub(crate) async fn write_sealed(
        &self,
        version: u64,
        sealed: String,
        known: impl Fn(&SecretString) -> bool + Send,
    ) -> Result<bool, StoreError> {
        let _lock = self.locked(LOCKED).await?;
        match self.read() {
            Ok(Found::Sealed { version: there, .. }) if there >= version => return Ok(false),
            Ok(Found::Plain(grant)) if !known(&grant.refresh_token) => return Ok(false),
            // What cannot be read holds nothing that could be lost.
            Ok(Found::Sealed { .. } | Found::Plain(_)) | Err(_) => {}
        }
        self.replace(&json!({ "version": version, "sealed": sealed })).map(|()| true)
    }

    /// Waits for the lock file; the lock ends when it is dropped.
    async fn locked(&self, patience: Duration) -> Result<File, StoreError> {
        let this = self.clone();
        let lock = move || {
            let file = this.lock_file()?;
            file.lock().map_err(|error| this.failed("locked", &error))?;
            Ok(file)
        };
        match tokio::time::timeout(patience, tokio::task::spawn_blocking(lock)).await {
            Ok(Ok(locked)) => locked,
            Ok(Err(_)) => Err(StoreError("the lock was not taken".to_owned())),
            Err(_) => {
                let path = self.path.display();
                Err(StoreError(format!("another process has held {path} for over {} s", patience.as_secs())))
            }
        }
    }

    fn lock_file(&self) -> Result<File, StoreError> {
        let path = self.beside(".lock");
        let file = std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
        file.map_err(|error| self.failed("locked", &error))
    }

    fn replace(&self, stored: &Value) -> Result<(), StoreError> {
        let new = self.beside(".new");
        let written = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new);
        let durable = written.and_then(|mut file| {
            file.write_all(stored.to_string().as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, &self.path)?;
            // The rename itself is durable when its directory is.
            self.path
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty())
                .map_or(Ok(()), |parent| std::fs::File::open(parent)?.sync_all())
        });
        durable.map_err(|error| self.failed("written", &error))
    }

    fn failed(&self, what: &str, error: &std::io::Error) -> StoreError {
        StoreError(format!("{} cannot be {what}: {error}", self.path.display()))
    }
}

#[async_trait]
impl RefreshTokenStore for GrantFile {
    async fn lease(&self) -> Result<Lease, StoreError> {
        self.locked(RENEWED).await.map(Lease::new)
    }

    async fn load(&self) -> Result<StoredGrant, StoreError> {
        match self.read()? {
            Found::Plain(grant) => Ok(grant),
            Found::Sealed { .. } => Err(StoreError(format!(
                "{} is sealed; set CAUSEWAY_SALESFORCE_TOKEN_KEY, or put a new refresh token into it",
                self.path.display()
            ))),
        }
    }

    async fn save(&self, grant: &StoredGrant) -> Result<(), StoreError> {
        self.write(grant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(text: &str) -> (tempfile::TempDir, GrantFile) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("grant");
        std::fs::write(&path, text).expect("written");
        (folder, GrantFile::new(path))
    }

    #[tokio::test]
    async fn a_rotated_token_is_read_back_and_only_its_owner_may_read_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let (_folder, store) = store("first\n");
        assert_eq!(store.load().await.expect("a grant").refresh_token.expose_secret(), "first");
        let access = AccessGrant { instance_url: "https://acme.my.salesforce.com".into(), access_token: "a".into() };
        let rotated = StoredGrant { refresh_token: "second".into(), access: Some(access), refusal: None };
        store.save(&rotated).await.expect("saved");
        let read = store.load().await.expect("a grant");
        assert_eq!(read.refresh_token.expose_secret(), "second");
        assert_eq!(read.access.expect("an access token").instance_url, "https://acme.my.salesforce.com");
        let mode = std::fs::metadata(&store.path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[tokio::test]
    async fn an_empty_or_missing_file_is_named() {
        let (_folder, empty) = store(" ");
        assert!(empty.load().await.expect_err("empty").0.contains("grant"));
        let missing = GrantFile::new("no/such/grant".into());
        assert!(missing.load().await.expect_err("missing").0.contains("no/such/grant"));
    }

    #[tokio::test]
    async fn a_sealed_grant_is_read_back_and_a_writer_without_a_key_says_what_it_needs() {
        let (_folder, store) = store("first");
        let known = |token: &SecretString| token.expose_secret() == "first";
        assert!(store.write_sealed(7, "v1.k.n.c".to_owned(), known).await.expect("written"));
        assert!(matches!(store.read().expect("a grant"), Found::Sealed { version: 7, sealed } if sealed == "v1.k.n.c"));
        assert!(store.load().await.expect_err("sealed").0.contains("CAUSEWAY_SALESFORCE_TOKEN_KEY"));
    }

    #[tokio::test]
    async fn a_refresh_token_that_nobody_has_read_yet_and_a_younger_grant_are_not_overwritten() {
        let (_folder, store) = store("an operator's");
        assert!(!store.write_sealed(7, "v1.k.n.c".to_owned(), |_| false).await.expect("read"));
        assert!(matches!(store.read().expect("a grant"), Found::Plain(_)));
        assert!(store.write_sealed(7, "v1.k.n.c".to_owned(), |_| true).await.expect("written"));
        for older in [6, 7] {
            assert!(!store.write_sealed(older, "v1.k.n.d".to_owned(), |_| true).await.expect("read"));
        }
        assert!(matches!(store.read().expect("a grant"), Found::Sealed { version: 7, sealed } if sealed == "v1.k.n.c"));
    }

    #[tokio::test]
    async fn whoever_waits_too_long_for_another_process_at_the_file_says_so() {
        let (_folder, store) = store("first");
        let lease = store.lease().await.expect("a lease");
        let error = store.locked(Duration::from_millis(1)).await.expect_err("held");
        assert!(error.0.contains("another process has held"), "{error}");
        drop(lease);
        assert!(store.write_sealed(8, "v1.k.n.c".to_owned(), |_| true).await.expect("written"));
    }

    #[tokio::test]
    async fn one_process_refreshes_at_a_time() {
        let (_folder, store) = store("first");
        let lease = store.lease().await.expect("a lease");
        let waiting = tokio::spawn({
            let store = store.clone();
            async move { store.lease().await.map(drop) }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(lease);
        waiting.await.expect("no panic").expect("a lease");
    }
}
