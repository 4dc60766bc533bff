//! Writes validated orders to Salesforce, effectively once and in order per customer.
//!
//! # The story
//!
//! Orders arrive by partition, sorted into lanes by customer; [`queue::work`] hands over batches with one order per
//! customer. [`handler::OrderWriter`] claims each order in the ledger, looks up those whose earlier answer was lost, plans
//! what has to be written, and sends many orders in one composite graph request, each order one all-or-none graph. What
//! comes back is folded into one outcome per order; `domain` decides what becomes of it; the queue settles it.
//!
//! With Limio's API in the settings, each order that is written leaves a task in the queue of links, from which Limio is told
//! which Salesforce records the order's subscription and customer belong to.
//!
//! # Invariants
//!
//! * Nothing is sent without a claim, and nothing is acknowledged before its claim is closed.
//! * A lost answer is *unknown*: it is looked up by the order's own record before anything is sent again. So is what looks
//!   absent in a ledger that has not known the order since it was handed on, such as one that was emptied or restored.
//! * What can be looked up is what lies in one all-or-none unit with the order's record: records, and an event that is
//!   published after commit. For an event that the org publishes at once a field of that record is set in the unit that
//!   publishes it. Where the settings name no such field it cannot be looked up: after a lost answer it goes out once more,
//!   under the same key (`OrderNumber` and `OrderType`; the field that `platform_events.event_key` names), by which it is
//!   folded; until an event is answered one goes at a time.
//!   Such an event goes only under a claim that is held anew just before; without an answer nobody claims its order again
//!   before a lease has passed. Without an order record nothing can be looked up: such an order is not sent again by hope, it becomes a letter. What was rejected
//!   leaves no trace in the org, and is decided anew. A look-up tells the Account and the order's record, no Contact.
//! * The order's record is unique and lies in the same all-or-none unit as the event, so an order that is sent twice all
//!   the same, as after the ledger was emptied, is refused the second time. Then its record is read: the same fingerprint
//!   is the same order, written before; another one is a conflict.
//! * An attempt is a request that writes the order and failed or whose answer was lost. A question about it whose answer is
//!   lost is none: it is an outage, or is asked again; only an order about which the org stays silent three times, the last
//!   time by itself and while it answers others, pays from then on. A replayed order has all its attempts again; what the
//!   operator reads counts on.
//! * Duplicates of a batch are decided together. An order that belongs to a matched Account goes with the next batch, so it
//!   shares a request with new orders; until it is written, only this process knows the match, and whoever does not know it
//!   asks the org again.
//! * An Account belongs to a customer by the customer's own name. What only a subscription leads to may be the former
//!   owner's: it counts where neither the org's record nor the ledger says so, and is remembered for that subscription alone.
//! * The org is asked for Accounts where neither the order nor the ledger names one: many questions in one API call, those of
//!   orders that still wait among them. The answer holds for minutes; who is written is remembered by the ledger. No order
//!   ends by a question that was asked with its own: what is refused is asked again with fewer, in the end by itself.
//! * No two requests of a process write orders to one Account at once, where it is known before they are sent. Orders that name
//!   the same one, or were found to match it, are kept apart in their lanes; whose is only remembered waits when it finds it in
//!   use, in turn, without an attempt and unclaimed. Processes do not know of each other's: an order that meets another's lock is
//!   tried again, as is one that moves records away from an Account.
//! * An Account that is gone from the org is forgotten with its order, and the customer's is looked for once more.
//! * What the org refuses to tell this user, such as Contacts, concerns the orders that need it. Intake goes on.
//! * One refresh token is presented by one process at a time, and a grant that came is durable before it is used.
//! * No batch begins that would touch what of the org's API calls is kept for others, nor a further request of a batch that
//!   is halved, but for one that looks. The few questions that a batch asks besides go with it.
//! * Outages of Salesforce and Redis pause intake; they use up no attempt.
//! * An order that three processes died with goes alone, one such order at a time; after five it is a letter. Deaths are
//!   counted in the ledger, by claims that another owner finds left open, and are no attempts.
//! * No order waits for Limio, and none is acknowledged before its links are in their queue, unless that is full.
//! * Whether the org has what the settings name (objects, fields, external ids that are unique) is looked at once per start,
//!   for one API call, whatever they name. What it lacks ends the start; an org that cannot be asked does not.

mod accounts;
mod attempt;
mod batch;
pub mod config;
mod duplicates;
mod fleet_tokens;
mod gate;
mod grant_file;
pub mod handler;
mod links;
mod metrics;
mod org_check;
mod outcome;
mod reload;
mod resolve;
mod rows;
mod sign_in;
mod trace;
mod transfers;

use std::sync::Arc;
use std::time::Duration;

use domain::story::{Recorder, Unrecorded};
use ledger::links::KnownLinks;
use ledger::stories::{Stories, StoryRecorder};
use ledger::{Ledger, Presence};
use queue::work::{Letters, Peers, Stop, WorkSettings};
use salesforce::{Client, TokenErrorKind, TokenSource};
use service::patience::{Attempt, patiently};
use service::{Lifecycle, Stopped};

pub use crate::config::{Args, Config};
use crate::gate::{Gate, GateSettings, Gauges};
use crate::handler::OrderWriter;
use crate::links::{LinkMetrics, Linking};
use crate::metrics::Metrics;
use crate::sign_in::SignIn;

/// Works until the process drains.
///
/// # Errors
/// RabbitMQ, Redis or Salesforce could not be reached within the patience, the broker's topology differs, or Salesforce
/// refuses the sign-in settings.
pub async fn run(config: Config, lifecycle: Lifecycle) -> Result<(), Stopped> {
    let metrics = Metrics::register(lifecycle.registry(), lifecycle.health().clone())
        .map_err(|error| Stopped::failed(error.to_string()))?;
    let metrics = Arc::new(metrics);
    queue::readiness::begins(lifecycle.health());
    ledger::readiness::begins(lifecycle.health());
    let namespace = format!("{}:{}", config.fleet.topology.namespace, config.handler.decode.tenant);
    let ledger = ledger::settings::open(&config.redis, &namespace, config.patience, &lifecycle).await?;
    let Some(ledger) = ledger else { return Ok(()) };
    let tokens = config.sign_in.tokens(&ledger, &lifecycle).map_err(|error| Stopped::settings(error.to_string()))?;
    let client = Client::observed(config.salesforce, Arc::clone(&tokens), Some(metrics.clone()))
        .map_err(|error| Stopped::settings(error.to_string()))?;
    Metrics::follow_allocation(lifecycle.registry(), client.clone())
        .map_err(|error| Stopped::failed(error.to_string()))?;
    let Some(()) = sign_in(&config.sign_in, tokens.as_ref(), config.patience, &lifecycle).await? else { return Ok(()) };
    org_check::look(&client, &config.processing).await?;
    let peers = Peers::new(Arc::new(Presence::new(&ledger, "writer")));
    let gate = GateSettings {
        reserve: config.handler.reserve,
        quota_probe: config.handler.quota_probe,
        outage_probe: config.handler.outage_probe,
        longest: config.handler.lease,
    };
    let gauges = Gauges::register(lifecycle.registry()).map_err(|error| Stopped::failed(error.to_string()))?;
    let gate = Arc::new(Gate::new(gate, ledger.budget(), client.clone(), gauges, &lifecycle));
    gate.follow(&lifecycle);
    let name = format!("writer/{}", uuid::Uuid::new_v4().simple());
    let stories =
        config.story_kept.map(|kept| StoryRecorder::start(Stories::beside(&ledger, kept), &name, lifecycle.health()));
    let recorder = stories.as_ref().map(|stories| Arc::clone(stories) as Arc<dyn Recorder>);
    let known_links = KnownLinks::beside(&ledger);
    let ledger: Arc<dyn Ledger> = Arc::new(ledger);
    ledger::readiness::connected(lifecycle.health());

    let broker = config.fleet.broker(&name).map_err(|error| Stopped::settings(error.to_string()))?;
    let processing = reload::follow(config.processing, config.order_processing, &lifecycle);
    let mut handler = OrderWriter::new(config.handler, client, ledger, processing, Arc::clone(&metrics), gate);
    if let Some(recorder) = &recorder {
        handler = handler.recorded_by(Arc::clone(recorder));
    }
    let linking = match config.limio {
        Linking::Off => None,
        Linking::On(settings) => {
            let client = limio::Client::new(settings.client).map_err(|error| Stopped::settings(error.to_string()))?;
            let metrics = LinkMetrics::register(lifecycle.registry(), lifecycle.health().clone())
                .map_err(|error| Stopped::failed(error.to_string()))?;
            let metrics = Arc::new(metrics);
            handler = handler.linked_by(Arc::clone(&metrics));
            let broker = config.fleet.broker(&name).map_err(|error| Stopped::settings(error.to_string()))?;
            Some(((client, settings.retry), broker, metrics))
        }
    };
    let work = WorkSettings {
        queues: config.fleet.topology.partition_queues(),
        prefetch: config.prefetch,
        batches: config.batches,
        letters: Letters::Block,
        by: name.clone(),
        peers: Some(peers),
        patience: config.patience,
    };
    let stop = Stop { draining: lifecycle.draining().clone(), aborting: lifecycle.aborting().clone() };
    let (draining, aborting) = (stop.draining.child_token(), stop.aborting.clone());
    let orders = queue::work::run(Arc::new(broker), Arc::new(handler), work, metrics, stop);
    let worked = match linking {
        None => orders.await,
        Some((client, broker, metrics)) => {
            let stop = Stop { draining: draining.clone(), aborting };
            let recorder = recorder.unwrap_or_else(|| Arc::new(Unrecorded));
            let links = links::run(client, known_links, broker, (name, config.patience), recorder, metrics, stop);
            // Links end with the orders.
            let orders = async {
                let worked = orders.await;
                draining.cancel();
                worked
            };
            let (worked, linked) = tokio::join!(orders, links);
            worked.and(linked)
        }
    };
    if let Some(stories) = stories {
        stories.close(StoryRecorder::CLOSE).await;
    }
    worked.map_err(stopped)
}

/// Signs in to Salesforce; waits for it no longer than the patience, and not at all for what waiting does not heal. `None`
/// when the process drains first.
async fn sign_in(
    sign_in: &SignIn,
    tokens: &dyn TokenSource,
    patience: Duration,
    lifecycle: &Lifecycle,
) -> Result<Option<()>, Stopped> {
    patiently(patience, lifecycle.draining(), || async {
        tokens.token().await.map(|_| ()).map_err(|error| {
            // A grant that the fleet shares comes back without a restart, from whichever machine an operator gives it on.
            if error.is_final() && !(sign_in.is_given_to_the_fleet() && error.kind() == TokenErrorKind::Dead) {
                let setting = sign_in.variable(error.setting());
                Attempt::Never(Stopped::settings(format!("{setting} is refused: {error}")))
            } else {
                Attempt::Later(Stopped::unavailable(error.to_string()))
            }
        })
    })
    .await
}

#[expect(clippy::needless_pass_by_value, reason = "the shape of what `map_err` calls")]
fn stopped(error: queue::error::Error) -> Stopped {
    match error {
        queue::error::Error::Topology { .. } => Stopped::settings(error.to_string()),
        queue::error::Error::Unreachable { .. } | queue::error::Error::Lost(_) => {
            Stopped::unavailable(error.to_string())
        }
    }
}
