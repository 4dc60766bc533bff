//! What is counted of links, and what `/ready` says of Limio.

use domain::failure::Failure;
use prometheus::{IntCounterVec, IntGauge, Opts, Registry};
use queue::handler::Observer;
use service::Health;

/// Limio, among what a process depends on and among the notices.
const LIMIO: &str = "limio";

/// The counters of links.
pub(crate) struct LinkMetrics {
    health: Health,
    links: IntCounterVec,
    waiting: IntGauge,
    paused: IntGauge,
}

impl LinkMetrics {
    /// Registers everything.
    ///
    /// # Errors
    /// A name is registered twice, which is a bug.
    pub(crate) fn register(registry: &Registry, health: Health) -> prometheus::Result<Self> {
        let help = "Links of a subscription or customer in Limio with a Salesforce record: linked, known (Limio had been told \
                    before), refused; and orders whose links found the queue of links full: no_room.";
        let links = IntCounterVec::new(Opts::new("identity_links_total", help), &["result"])?;
        for result in ["linked", "known", "refused", "no_room"] {
            links.with_label_values(&[result]).inc_by(0);
        }
        let waiting = IntGauge::new(
            "identity_links_waiting",
            "Orders whose links this process has taken and Limio has not confirmed; RabbitMQ tells how many more wait in the \
             queue of links.",
        )?;
        let paused = IntGauge::new("identity_links_paused", "1 while links wait for Limio. No order waits with them.")?;
        registry.register(Box::new(links.clone()))?;
        registry.register(Box::new(waiting.clone()))?;
        registry.register(Box::new(paused.clone()))?;
        Ok(Self { health, links, waiting, paused })
    }

    /// So many links came to this.
    pub(crate) fn count(&self, result: &'static str, links: u64) {
        self.links.with_label_values(&[result]).inc_by(links);
    }
}

impl Observer for LinkMetrics {
    fn lanes(&self, items: usize, _: usize, _: usize) {
        self.waiting.set(i64::try_from(items).unwrap_or(i64::MAX));
    }

    fn paused(&self, why: Option<&Failure>) {
        self.paused.set(i64::from(why.is_some()));
        self.health.neighbour(LIMIO, why.is_none());
        let told = |failure: &Failure| format!("links wait for Limio, orders go on: {}", failure.message);
        self.health.notice(LIMIO, why.map(told));
    }
}
