//! The platform event types, and which order publishes which.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::order::Order;
use crate::order::change::Change;

/// A type of `i42as__OrderEvent__e`, as its field `OrderType` carries it.
///
/// Source: Limio documentation, "Platform Events Definitions".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum EventType {
    /// `NEW_ORDER`: a subscription is bought, or a gift is redeemed.
    NewOrder,
    /// `NEW_GIFT_ORDER`: a subscription is bought for somebody else.
    NewGiftOrder,
    /// `CHANGE_OFFER`: a switch.
    ChangeOffer,
    /// `ADD_OFFER`: a further offer, often a discount that saves a cancellation.
    AddOffer,
    /// `CANCEL_REQUEST`: the subscription ends.
    CancelRequest,
    /// `CHANGE_PAYMENT_REQUEST`: another means of payment.
    ChangePaymentRequest,
    /// `REFUND`: money goes back, gifts included.
    Refund,
    /// `REQUEST_RENEWAL`: one more term.
    RequestRenewal,
    /// `CHANGED_DELIVERY_ADDRESS`: another address, billing addresses included.
    ChangedDeliveryAddress,
    /// `UPDATE_CUSTOMER`: the customer's details change.
    UpdateCustomer,
    /// `UPDATE_SUBSCRIPTION`: offers or add-ons are added, removed or changed.
    UpdateSubscription,
}

impl EventType {
    /// Every type, in the order of Limio's documentation.
    pub const ALL: [Self; 11] = [
        Self::NewOrder,
        Self::ChangeOffer,
        Self::CancelRequest,
        Self::AddOffer,
        Self::ChangePaymentRequest,
        Self::NewGiftOrder,
        Self::Refund,
        Self::RequestRenewal,
        Self::ChangedDeliveryAddress,
        Self::UpdateCustomer,
        Self::UpdateSubscription,
    ];

    /// The value of the event's `OrderType`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NewOrder => "NEW_ORDER",
            Self::NewGiftOrder => "NEW_GIFT_ORDER",
            Self::ChangeOffer => "CHANGE_OFFER",
            Self::AddOffer => "ADD_OFFER",
            Self::CancelRequest => "CANCEL_REQUEST",
            Self::ChangePaymentRequest => "CHANGE_PAYMENT_REQUEST",
            Self::Refund => "REFUND",
            Self::RequestRenewal => "REQUEST_RENEWAL",
            Self::ChangedDeliveryAddress => "CHANGED_DELIVERY_ADDRESS",
            Self::UpdateCustomer => "UPDATE_CUSTOMER",
            Self::UpdateSubscription => "UPDATE_SUBSCRIPTION",
        }
    }

    /// The type with this name. The names of the customer-defined event that came before the managed one are read as
    /// well: `NEW_SUBSCRIPTION` is `NEW_ORDER`, `COMPENSATION_PAYMENT` is `REFUND`.
    ///
    /// Source: Limio help desk, "Using Limio Commerce-generated Salesforce Platform Events".
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "NEW_SUBSCRIPTION" => Some(Self::NewOrder),
            "COMPENSATION_PAYMENT" => Some(Self::Refund),
            _ => Self::ALL.into_iter().find(|event_type| event_type.as_str() == text),
        }
    }

    /// The event that announces an order, whatever the settings say of it. `None` for the order types that Limio
    /// announces with none.
    pub const fn of(order: &Order) -> Option<Self> {
        match &order.change {
            // A redeemed gift is still one, and what is announced is the redemption.
            Change::New { is_gift: true, is_redemption: false } => Some(Self::NewGiftOrder),
            Change::New { .. } => Some(Self::NewOrder),
            Change::CancelSubscription { .. } => Some(Self::CancelRequest),
            Change::ChangeOffer => Some(Self::ChangeOffer),
            Change::AddOffer { .. } => Some(Self::AddOffer),
            Change::ChangePayment { .. } => Some(Self::ChangePaymentRequest),
            Change::ChangeAddress { .. } => Some(Self::ChangedDeliveryAddress),
            Change::Renew => Some(Self::RequestRenewal),
            Change::GiftRefund | Change::Refund => Some(Self::Refund),
            Change::UpdateSubscription { .. } => Some(Self::UpdateSubscription),
            Change::UpdateCustomerDetails { .. } => Some(Self::UpdateCustomer),
            Change::AddCharge | Change::PayInvoice { .. } | Change::CancelIntent | Change::DataCapture { .. } => None,
        }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TryFrom<String> for EventType {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("not a platform event type: {text}"))
    }
}

impl From<EventType> for &'static str {
    fn from(event_type: EventType) -> Self {
        event_type.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_reads_back_from_its_name() {
        for event_type in EventType::ALL {
            assert_eq!(EventType::parse(event_type.as_str()), Some(event_type));
        }
    }

    #[test]
    fn the_names_of_the_former_event_are_understood() {
        assert_eq!(EventType::parse("NEW_SUBSCRIPTION"), Some(EventType::NewOrder));
        assert_eq!(EventType::parse("COMPENSATION_PAYMENT"), Some(EventType::Refund));
        assert_eq!(EventType::parse("new_order"), None);
    }
}
