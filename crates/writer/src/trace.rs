//! One request that carries many orders, each with a trace of its own.

use domain::story::trace_id;
use uuid::Uuid;

use crate::attempt::Attempt;

/// A request's place in the traces of its orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    /// The span id: 16 hex digits. Each order's story names it.
    pub(crate) id: String,
    trace_parent: String,
}

impl Request {
    /// A request of these orders. It belongs to the trace of the first that has one, and else to a trace of its own; the
    /// other orders find it by its span id, which their stories name.
    pub(crate) fn of<'a, 'b: 'a>(attempts: impl Iterator<Item = &'a Attempt<'b>>) -> Self {
        let given = |attempt: &'a Attempt<'b>| attempt.event.envelope.trace_parent.as_deref();
        let mut given = attempts.filter_map(given);
        Self::within(given.find(|parent| trace_id(parent).is_some()), Uuid::new_v4(), Uuid::new_v4())
    }

    fn within(parent: Option<&str>, trace: Uuid, span: Uuid) -> Self {
        let id: String = span.simple().to_string().chars().take(16).collect();
        let trace_parent = match parent.and_then(|parent| Some((trace_id(parent)?, parent.rsplit('-').next()?))) {
            Some((trace, flags)) => format!("00-{trace}-{id}-{flags}"),
            None => format!("00-{}-{id}-00", trace.simple()),
        };
        Self { id, trace_parent }
    }

    /// What its call carries as `traceparent`.
    pub(crate) fn trace_parent(&self) -> &str {
        &self.trace_parent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_span_of_its_orders_trace_and_else_of_a_trace_of_its_own() {
        let (trace, span) = (Uuid::from_u128(0xabc), Uuid::from_u128(0x1234_5678_9abc_def0_u128 << 64));
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let request = Request::within(Some(parent), trace, span);
        assert_eq!(request.trace_parent, "00-0af7651916cd43dd8448eb211c80319c-123456789abcdef0-01");
        assert_eq!(request.id, "123456789abcdef0");
        let alone = Request::within(None, trace, span);
        assert_eq!(alone.trace_parent, "00-00000000000000000000000000000abc-123456789abcdef0-00");
    }
}
