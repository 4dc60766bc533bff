//! One sign-in for many processes: the access token of a flow that may always ask for another.

use async_trait::async_trait;
use secrecy::ExposeSecret as _;

use super::endpoint::{Endpoint, Granted};
use super::refresh_token::{AccessGrant, Lease, StoreError};
use super::{Token, TokenError};

/// Keeps the access token that the processes of a fleet share, so that all of them together sign in once.
///
/// Nothing is lost with it: a process that cannot reach the store signs in by itself.
#[async_trait]
pub trait AccessTokenStore: Send + Sync {
    /// Waits, within bounds, until no other process signs in.
    ///
    /// # Errors
    /// [`StoreError`] when the store fails or the wait is over.
    async fn lease(&self) -> Result<Lease, StoreError>;

    /// The token that came last, if any.
    ///
    /// # Errors
    /// [`StoreError`] when the store fails.
    async fn load(&self) -> Result<Option<AccessGrant>, StoreError>;

    /// Shares a token.
    ///
    /// # Errors
    /// [`StoreError`] when the store fails.
    async fn save(&self, access: &AccessGrant) -> Result<(), StoreError>;
}

/// The token that another process shared, unless it is the one that Salesforce refused; otherwise what `ask` brings, which
/// is shared then.
pub(super) async fn obtain(
    store: Option<&dyn AccessTokenStore>,
    endpoint: &Endpoint,
    stale: Option<&Token>,
    ask: impl Future<Output = Result<Granted, TokenError>> + Send,
) -> Result<Granted, TokenError> {
    let Some(store) = store else { return ask.await };
    let unshared =
        |error: &StoreError| tracing::warn!(%error, "the fleet's access token is not shared; signing in alone");
    // Held until the token is shared.
    let lease = store.lease().await.inspect_err(unshared);
    if lease.is_ok()
        && let Some(access) = store.load().await.inspect_err(unshared).unwrap_or_default()
        && !is_stale(stale, &access)
        // One that the settings no longer trust is as good as none.
        && let Ok(instance_url) = endpoint.trusted(&access.instance_url)
    {
        return Ok(Granted { instance_url, access_token: access.access_token, refresh_token: None });
    }
    let granted = ask.await?;
    if lease.is_ok() {
        let access =
            AccessGrant { instance_url: granted.instance_url.clone(), access_token: granted.access_token.clone() };
        let _ = store.save(&access).await.inspect_err(unshared);
    }
    Ok(granted)
}

/// Whether this is the token that Salesforce refused.
pub(super) fn is_stale(stale: Option<&Token>, access: &AccessGrant) -> bool {
    stale.is_some_and(|stale| stale.access_token().expose_secret() == access.access_token.expose_secret())
}
