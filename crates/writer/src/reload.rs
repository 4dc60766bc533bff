//! Reads order-processing.toml again on SIGHUP. A file with problems changes nothing, and says so.

use std::path::PathBuf;
use std::sync::Arc;

use domain::config::OrderProcessing;
use service::Lifecycle;
use tokio::sync::watch;

/// What holds now, and whatever is read later. Batches under way keep what they began with, also after the process drains.
pub(crate) fn follow(
    first: OrderProcessing,
    path: Option<PathBuf>,
    lifecycle: &Lifecycle,
) -> watch::Receiver<Arc<OrderProcessing>> {
    let (sender, receiver) = watch::channel(Arc::new(first));
    let mut reloads = lifecycle.reloads();
    let draining = lifecycle.draining().clone();
    lifecycle.spawn_job("reload", async move {
        loop {
            tokio::select! {
                () = draining.cancelled() => break,
                changed = reloads.changed() => if changed.is_err() { break },
            }
            let Some(path) = &path else {
                tracing::info!("SIGHUP: there is no order-processing file to read; the defaults stay");
                continue;
            };
            match read(path).await {
                Ok(processing) => {
                    sender.send_replace(Arc::new(processing));
                    tracing::info!(path = %path.display(), "order processing was read again and holds from the next batch on");
                }
                Err(problems) => {
                    tracing::error!(path = %path.display(), "order processing stays as it was: {problems}");
                }
            }
        }
    });
    receiver
}

async fn read(path: &std::path::Path) -> Result<OrderProcessing, String> {
    let text = tokio::fs::read_to_string(path).await.map_err(|error| error.to_string())?;
    OrderProcessing::parse(&text).map_err(|problems| problems.to_string())
}
