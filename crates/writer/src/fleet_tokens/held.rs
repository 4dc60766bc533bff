//! A lease that lasts as long as a renewal.

use std::time::Duration;

use ledger::grant::{Grants, Leased};

/// A lease that is lengthened while it is held, and given back when it is dropped.
pub(super) struct HeldLease {
    grants: Grants,
    holder: String,
    lengthening: tokio::task::JoinHandle<()>,
}

impl HeldLease {
    pub(super) fn new(grants: Grants, holder: String, time: Duration) -> Self {
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

impl Drop for HeldLease {
    fn drop(&mut self) {
        self.lengthening.abort();
        let (grants, holder) = (self.grants.clone(), std::mem::take(&mut self.holder));
        // It ends by itself when this does not arrive.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { grants.release(&holder).await });
        }
    }
}
