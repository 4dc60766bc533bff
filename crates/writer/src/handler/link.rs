//! The identity links of orders that are written: into their queue, and no further.

use domain::event::OrderEvent;
use domain::link::IdentityLinks;
use domain::outcome::Result as Ending;
use domain::story::What;
use queue::handler::Job;
use queue::message::Message;

use super::OrderWriter;
use crate::links;

impl OrderWriter {
    /// What Limio is to be told of an order that ended so, also of one that had ended before: whoever settled it may have died
    /// before its links were in the queue.
    pub(super) fn links_of(&self, event: &OrderEvent, ending: &Ending) -> Option<Message> {
        self.links.as_ref()?;
        let Ending::Written(written) = ending else { return None };
        IdentityLinks::of(&event.order, written).map(|links| links::message(&links))
    }

    /// Notes whether the queue of links took them. Full, it has been so for long: the order goes on, and an operator is told.
    pub(super) fn note_links(&self, job: &Job<OrderEvent>, taken: bool) {
        let (Some(metrics), Ok(event)) = (&self.links, &job.item) else { return };
        let order = event.order_id().as_str();
        if taken {
            self.stories.record(order, What::LinkWaits { reason: None });
            return;
        }
        metrics.count("no_room", 1);
        tracing::error!(
            order.id = order,
            "the queue of links is full: Limio is not told of this order; look why Limio takes none"
        );
        self.stories.record(order, What::NotLinked { why: "the queue of links was full".to_owned() });
    }
}
