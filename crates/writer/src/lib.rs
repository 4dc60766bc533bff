//! Writes validated orders to Salesforce, effectively once and in order per customer.
//!
//! # The story
//!
//! Orders arrive by partition, sorted into lanes by customer; [`queue::work`] hands over batches with one order per
//! customer. [`handler::OrderWriter`] claims each order in the ledger, looks up those whose earlier answer was lost, plans
//! what has to be written, and sends many orders in one composite graph request, each order one all-or-none graph. What
//! comes back is folded into one outcome per order; `domain` decides what becomes of it; the queue settles it.
//!
//! # Invariants
//!
//! * Nothing is sent without a claim, and nothing is acknowledged before its claim is closed.
//! * A lost answer is *unknown*: it is looked up by the order's own record before anything is sent again.
//! * The order's record is unique and lies in the same all-or-none unit as the event, so an order that is sent twice all
//!   the same is refused the second time.
//! * Outages of Salesforce and Redis pause intake; they use up no attempt.

mod attempt;
mod batch;
pub mod config;
mod duplicates;
mod grant_file;
pub mod handler;
mod metrics;
mod outcome;
mod reload;
mod resolve;

use std::sync::Arc;
use std::time::Duration;

use ledger::{Ledger, RedisLedger};
use queue::rabbitmq::{RabbitMq, RabbitMqSettings};
use queue::work::{Letters, Stop, WorkSettings};
use salesforce::Client;
use service::{Condition, Lifecycle, Stopped};
use tokio::time::Instant;

pub use crate::config::{Args, Config};
use crate::handler::OrderWriter;
use crate::metrics::Metrics;

/// Works until the process drains.
///
/// # Errors
/// RabbitMQ, Redis or Salesforce could not be reached within the patience, or the broker's topology differs.
pub async fn run(config: Config, lifecycle: Lifecycle) -> Result<(), Stopped> {
    let metrics = Metrics::register(lifecycle.registry(), lifecycle.health().clone())
        .map_err(|error| Stopped::failed(error.to_string()))?;
    let metrics = Arc::new(metrics);
    lifecycle.health().not_ready("rabbitmq", "not connected yet");
    lifecycle.health().not_ready("redis", "not connected yet");
    let client = Client::observed(config.salesforce.clone(), Arc::clone(&config.tokens), Some(metrics.clone()))
        .map_err(|error| Stopped::settings(error.to_string()))?;
    let drained = lifecycle.draining().clone();
    let ledger: Arc<dyn Ledger> = tokio::select! {
        reached = reach(&config) => Arc::new(reached?),
        () = drained.cancelled() => return Ok(()),
    };
    lifecycle.health().set("redis", Condition::Ready);

    let name = format!("writer/{}", uuid::Uuid::new_v4().simple());
    let broker = RabbitMq::new(config.amqp.expose(), config.topology.clone(), RabbitMqSettings::new(&name))
        .map_err(|error| Stopped::settings(error.to_string()))?;
    let processing = reload::follow(config.processing, config.order_processing, &lifecycle);
    let handler = OrderWriter::new(config.handler, client, ledger, processing, Arc::clone(&metrics));
    let work = WorkSettings {
        queues: config.topology.partition_queues(),
        prefetch: config.prefetch,
        batches: config.batches,
        drain: Duration::from_secs(25),
        letters: Letters::Block,
        by: name,
        patience: config.patience,
    };
    let stop = Stop { draining: lifecycle.draining().clone(), aborting: lifecycle.aborting().clone() };
    queue::work::run(Arc::new(broker), Arc::new(handler), work, metrics, stop).await.map_err(stopped)
}

/// Waits until Redis answers and Salesforce gives a token, no longer than the patience.
async fn reach(config: &Config) -> Result<RedisLedger, Stopped> {
    let namespace = format!("{}:{}", config.topology.namespace, config.handler.decode.tenant);
    let began = Instant::now();
    let mut wait = Duration::from_millis(200);
    loop {
        let missing = match RedisLedger::connect(config.redis.expose(), &namespace, ledger::Settings::RECOMMENDED).await {
            Err(error @ ledger::Error::Broken(_)) => return Err(Stopped::settings(error.to_string())),
            Err(error @ ledger::Error::Unavailable { .. }) => error.to_string(),
            Ok(ledger) => match config.tokens.token().await {
                Ok(_) => return Ok(ledger),
                Err(error) => error.to_string(),
            },
        };
        if began.elapsed() + wait > config.patience {
            return Err(Stopped::unavailable(missing));
        }
        tracing::warn!("{missing}; trying again");
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(5));
    }
}

fn stopped(error: queue::error::Error) -> Stopped {
    match error {
        queue::error::Error::Topology { .. } => Stopped::settings(error.to_string()),
        queue::error::Error::Unreachable { .. } | queue::error::Error::Lost(_) => Stopped::unavailable(error.to_string()),
    }
}
