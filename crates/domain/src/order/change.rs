//! The order types, each with the fields of its own.

use serde_json::{Map, Value};

use crate::order::item::Item;
use crate::order::moment::Moment;
use crate::order::party::Address;

/// Every `order_type` that Causeway knows, in the order of Limio's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OrderType {
    /// `new`
    New,
    /// `cancel_subscription`
    CancelSubscription,
    /// `change_offer`
    ChangeOffer,
    /// `add_offer`
    AddOffer,
    /// `add_charge`
    AddCharge,
    /// `change_payment`
    ChangePayment,
    /// `change_address`
    ChangeAddress,
    /// `renew`
    Renew,
    /// `gift_refund`
    GiftRefund,
    /// `refund`
    Refund,
    /// `update_subscription`
    UpdateSubscription,
    /// `update_customer_details`
    UpdateCustomerDetails,
    /// `pay_invoice`
    PayInvoice,
    /// `cancel_intent`
    CancelIntent,
    /// `data_capture`
    DataCapture,
}

impl OrderType {
    /// Every type.
    pub const ALL: [Self; 15] = [
        Self::New,
        Self::CancelSubscription,
        Self::ChangeOffer,
        Self::AddOffer,
        Self::AddCharge,
        Self::ChangePayment,
        Self::ChangeAddress,
        Self::Renew,
        Self::GiftRefund,
        Self::Refund,
        Self::UpdateSubscription,
        Self::UpdateCustomerDetails,
        Self::PayInvoice,
        Self::CancelIntent,
        Self::DataCapture,
    ];

    /// Limio's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::CancelSubscription => "cancel_subscription",
            Self::ChangeOffer => "change_offer",
            Self::AddOffer => "add_offer",
            Self::AddCharge => "add_charge",
            Self::ChangePayment => "change_payment",
            Self::ChangeAddress => "change_address",
            Self::Renew => "renew",
            Self::GiftRefund => "gift_refund",
            Self::Refund => "refund",
            Self::UpdateSubscription => "update_subscription",
            Self::UpdateCustomerDetails => "update_customer_details",
            Self::PayInvoice => "pay_invoice",
            Self::CancelIntent => "cancel_intent",
            Self::DataCapture => "data_capture",
        }
    }

    /// The type with this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|order_type| order_type.as_str() == text)
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A new subscription, a gift purchase, or a gift redemption.
    New {
        /// `isGift`: bought for somebody else.
        is_gift: bool,
        /// `isRedeem`, or a `redeemCode`: a gift is redeemed.
        is_redemption: bool,
    },
    /// The subscription ends.
    CancelSubscription {
        /// `cancelDate`, where sent.
        cancel_date: Option<Moment>,
    },
    /// Another offer in place of the current one; the new one stands in the order's items.
    ChangeOffer,
    /// A further offer, often a discount that saves a cancellation.
    AddOffer {
        /// Whether it is a discount (`record_subtype`).
        is_discount: bool,
    },
    /// A one-off charge.
    AddCharge,
    /// Another means of payment. Its secrets are stripped before.
    ChangePayment {
        /// `payment.type`
        payment_type: Option<String>,
    },
    /// Another address.
    ChangeAddress {
        /// Which one.
        kind: AddressKind,
        /// The address.
        address: Address,
    },
    /// One more term.
    Renew,
    /// A gift is refunded.
    GiftRefund,
    /// Money goes back.
    Refund,
    /// Offers and add-ons are added, removed or changed, in either style.
    UpdateSubscription {
        /// What is changed, in the order sent.
        updates: Vec<ItemUpdate>,
    },
    /// The customer's details change.
    UpdateCustomerDetails {
        /// The details as sent; keys are the tenant's.
        details: Map<String, Value>,
    },
    /// An invoice is paid.
    PayInvoice {
        /// `invoice.id`
        invoice_id: Option<String>,
    },
    /// The customer thinks of leaving. Billing does not change.
    CancelIntent,
    /// A form was filled in.
    DataCapture {
        /// What it holds, free-form.
        data: Map<String, Value>,
    },
}

impl Change {
    /// The `order_type` it belongs to.
    pub const fn order_type(&self) -> OrderType {
        match self {
            Self::New { .. } => OrderType::New,
            Self::CancelSubscription { .. } => OrderType::CancelSubscription,
            Self::ChangeOffer => OrderType::ChangeOffer,
            Self::AddOffer { .. } => OrderType::AddOffer,
            Self::AddCharge => OrderType::AddCharge,
            Self::ChangePayment { .. } => OrderType::ChangePayment,
            Self::ChangeAddress { .. } => OrderType::ChangeAddress,
            Self::Renew => OrderType::Renew,
            Self::GiftRefund => OrderType::GiftRefund,
            Self::Refund => OrderType::Refund,
            Self::UpdateSubscription { .. } => OrderType::UpdateSubscription,
            Self::UpdateCustomerDetails { .. } => OrderType::UpdateCustomerDetails,
            Self::PayInvoice { .. } => OrderType::PayInvoice,
            Self::CancelIntent => OrderType::CancelIntent,
            Self::DataCapture { .. } => OrderType::DataCapture,
        }
    }
}

/// Which address a `change_address` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressKind {
    /// `billing`
    Billing,
    /// `delivery`
    Delivery,
    /// `all`, or not said.
    Both,
}

/// One line of an `update_subscription`, in the item style or the older updates style.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemUpdate {
    /// Add, remove or update.
    pub action: UpdateAction,
    /// `offer`, `add_on`, `subscription_offer`; open.
    pub kind: Option<String>,
    /// A catalogue id when added, the subscription's own child id when removed or updated.
    pub id: Option<String>,
    /// How many; 1 where not said.
    pub quantity: u32,
    /// From when.
    pub effective_date: Option<Moment>,
    /// The offer, as far as it was sent.
    pub item: Item,
}

/// `orderItemActionType`, or `type` in the updates style.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateAction {
    /// `add`
    Add,
    /// `remove`
    Remove,
    /// `update`
    Update,
}
