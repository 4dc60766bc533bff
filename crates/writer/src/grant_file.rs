//! Keeps a refresh token in a file, so that a rotated one survives the process.
//!
//! The file is replaced as a whole: written beside it, synced, renamed. A lock file keeps the writers of one machine from
//! refreshing at the same time; writers on several machines need an org without refresh token rotation, or another flow.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use async_trait::async_trait;
use salesforce::{AccessGrant, Lease, RefreshTokenStore, StoreError, StoredGrant};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

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

    fn read(&self) -> Result<StoredGrant, StoreError> {
        let text = std::fs::read_to_string(&self.path).map_err(|error| self.failed("read", &error))?;
        let Ok(Value::Object(stored)) = serde_json::from_str(&text) else {
            let token = text.trim();
            if token.is_empty() {
                return Err(StoreError(format!("{} is empty; put the refresh token into it", self.path.display())));
            }
            return Ok(StoredGrant { refresh_token: SecretString::from(token), access: None });
        };
        let text = |name: &str| stored.get(name).and_then(Value::as_str).map(str::to_owned);
        let refresh_token = text("refresh_token")
            .ok_or_else(|| StoreError(format!("{} holds no refresh_token", self.path.display())))?;
        let access = text("instance_url")
            .zip(text("access_token"))
            .map(|(instance_url, access_token)| AccessGrant { instance_url, access_token: access_token.into() });
        Ok(StoredGrant { refresh_token: refresh_token.into(), access })
    }

    fn write(&self, grant: &StoredGrant) -> Result<(), StoreError> {
        let mut stored = json!({ "refresh_token": grant.refresh_token.expose_secret() });
        if let Some(access) = &grant.access {
            stored["instance_url"] = access.instance_url.as_str().into();
            stored["access_token"] = access.access_token.expose_secret().into();
        }
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
        let (this, path) = (self.clone(), self.beside(".lock"));
        let lock = move || {
            let file = std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
            let file = file.map_err(|error| this.failed("locked", &error))?;
            file.lock().map_err(|error| this.failed("locked", &error))?;
            Ok(Lease::new(file))
        };
        let waited = tokio::time::timeout(std::time::Duration::from_mins(1), tokio::task::spawn_blocking(lock)).await;
        match waited {
            Ok(Ok(lease)) => lease,
            Ok(Err(_)) => Err(StoreError("the lock was not taken".to_owned())),
            Err(_) => Err(StoreError(format!("another process holds {} for over a minute", self.path.display()))),
        }
    }

    async fn load(&self) -> Result<StoredGrant, StoreError> {
        self.read()
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
        let rotated = StoredGrant { refresh_token: "second".into(), access: Some(access) };
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
