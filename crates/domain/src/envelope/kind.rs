//! What happened, by name.

/// The prefix of every `type`.
const PREFIX: &str = "com.limio.";

/// Types whose object is an order.
const ORDERS: [&str; 25] = [
    EventKind::ORDER_SUBMITTED,
    "com.limio.address.changed",
    "com.limio.payment_method.changed",
    "com.limio.subscription.offer_changed",
    "com.limio.subscription.offer_added",
    "com.limio.subscription.cancelled",
    "com.limio.subscription.updated",
    "com.limio.customer.details_updated",
    "com.limio.cancel.attempted",
    "com.limio.order.new",
    "com.limio.order.cancel_subscription",
    "com.limio.order.change_offer",
    "com.limio.order.add_offer",
    "com.limio.order.add_charge",
    "com.limio.order.change_payment",
    "com.limio.order.change_address",
    "com.limio.order.renew",
    "com.limio.order.gift_refund",
    "com.limio.order.refund",
    "com.limio.order.update_subscription",
    "com.limio.order.update_customer_details",
    "com.limio.order.pay_invoice",
    "com.limio.order.cancel_intent",
    "com.limio.order.data_capture",
    "com.limio.order.received",
];

/// Types whose object is something else.
const OTHERS: [&str; 8] = [
    "com.limio.customer.created",
    "com.limio.customer.updated",
    "com.limio.subscription.created",
    "com.limio.entitlements.updated",
    "com.limio.checkout.initiated",
    "com.limio.payment_method.added",
    "com.limio.address.added",
    "com.limio.order.failed",
];

/// The closed list of `type`s, `com.limio.<name>`; unknown ones are kept by name.
///
/// Limio's webhooks carry no event name of their own (Webhooks and Notifications), so these names are ours. The second
/// column is Limio's label.
///
/// | `com.limio.` | Webhook | Carries an order |
/// |---|---|---|
/// | `order.submitted` | Order Submitted | yes |
/// | `address.changed` | Address Change | yes |
/// | `payment_method.changed` | Payment Method Change | yes |
/// | `subscription.offer_changed` | Subscription Offer Change | yes |
/// | `subscription.offer_added` | Subscription Offer Addition | yes |
/// | `subscription.cancelled` | Subscription Cancellation | yes |
/// | `subscription.updated` | Update Subscription | yes |
/// | `customer.details_updated` | Update Customer Details | yes |
/// | `cancel.attempted` | Cancel Attempted | yes (`cancel_intent`) |
/// | `order.<order_type>`, `order.received` | an order from another source, such as the callout plugin | yes |
/// | `customer.created`, `customer.updated` | Customer Created / Updated | no |
/// | `subscription.created` | Subscription Created | no |
/// | `entitlements.updated` | Entitlements Updated | no |
/// | `checkout.initiated` | Checkout Initiated | no |
/// | `payment_method.added`, `address.added` | Payment Method Added, Address Added | no |
/// | `order.failed` | Error | no |
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// One of the list, as the full `type`.
    Known(&'static str),
    /// Any other type, as it was sent.
    Unknown(String),
}

impl EventKind {
    /// The type of a message that does not name one.
    pub const ORDER_SUBMITTED: &'static str = "com.limio.order.submitted";

    /// Reads a `type`, or a header `event` without the prefix (`order.submitted`). Letter case does not matter.
    pub fn parse(text: &str) -> Self {
        let name = text.trim().to_ascii_lowercase();
        let name = if name.starts_with(PREFIX) { name } else { format!("{PREFIX}{name}") };
        match ORDERS.iter().chain(&OTHERS).find(|known| **known == name) {
            Some(known) => Self::Known(known),
            None => Self::Unknown(text.trim().to_owned()),
        }
    }

    /// The `type`.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Known(name) => name,
            Self::Unknown(name) => name,
        }
    }

    /// Whether the object of such a message is an order.
    pub fn carries_order(&self) -> bool {
        match self {
            Self::Known(name) => ORDERS.contains(name),
            Self::Unknown(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::change::OrderType;

    #[test]
    fn an_event_header_and_a_full_type_are_the_same_kind() {
        let kind = EventKind::parse("order.submitted");
        assert_eq!(kind, EventKind::parse("com.limio.order.submitted"));
        assert_eq!(kind, EventKind::parse(" Order.Submitted "));
        assert_eq!(kind.as_str(), EventKind::ORDER_SUBMITTED);
        assert!(kind.carries_order());
    }

    #[test]
    fn every_order_type_has_an_event_of_its_own() {
        for order_type in OrderType::ALL {
            assert!(EventKind::parse(&format!("order.{}", order_type.as_str())).carries_order(), "{order_type:?}");
        }
    }

    #[test]
    fn an_unknown_type_keeps_its_name() {
        assert_eq!(EventKind::parse("org.example.thing").as_str(), "org.example.thing");
        assert!(!EventKind::parse("org.example.thing").carries_order());
        assert!(!EventKind::parse("subscription.created").carries_order());
    }

    #[test]
    fn a_known_type_reads_back_from_its_name() {
        for name in ORDERS.iter().chain(&OTHERS) {
            assert_eq!(EventKind::parse(name), EventKind::Known(name));
        }
    }
}
