//! What an order means for a tenant: `order-processing.toml`.
//!
//! The keys carry the names of Limio's Salesforce plugin where it has them, and are in snake case where they are ours.
//! Everything has a default; [`OrderProcessing::documented_toml`] is a file with all of them, explained. A file is read as
//! a whole: [`OrderProcessing::parse`] reports every problem at once, each with its place and its remedy, and an unknown
//! key is a problem.

mod document;
mod problem;
mod read;
mod settings;

use std::collections::BTreeMap;

use crate::failure::Reason;
use crate::mapping::event_type::EventType;
use crate::retry::RetryPolicy;

pub use crate::config::problem::{ConfigProblem, ConfigProblems};
pub use crate::config::settings::{
    AccountOptions, Accounts, Duplicates, ErrorTexts, EventOverride, EventSelection, ExternalIds, ExtraField,
    MissingLastName, OrderDataOptions, OversizePolicy, PlatformEvents, PublishBehavior, SeveralMatches, TextOverflow,
    TransferObject,
};

/// The settings that change what an order means. Parsed once, then trusted.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderProcessing {
    /// `createPersonAccount`: a person account per customer; otherwise a business account and a contact.
    pub create_person_account: bool,
    /// `includeBillingDetails`: the billing address goes to the Account.
    pub include_billing_details: bool,
    /// `accountOptions`
    pub account_options: AccountOptions,
    /// `includeDuplicateCheck`: the org's duplicate rules are honoured; otherwise every duplicate is a rejection.
    pub include_duplicate_check: bool,
    /// `transferOwnership`: on a duplicate match the records of `[transfers]` move to the matched Account. Needs
    /// `includeDuplicateCheck`.
    pub transfer_ownership: bool,
    /// `[transfers.<OBJECT>]`: what moves, by the object's API name. At most [`TransferObject::MOST`].
    pub transfers: BTreeMap<String, TransferObject>,
    /// `sendWholeOrder`: the event carries a reduced order as JSON in `LimioOrder`.
    pub send_whole_order: bool,
    /// `orderDataOptions`: what that reduced order holds.
    pub order_data_options: OrderDataOptions,
    /// `[platform_events]`
    pub platform_events: PlatformEvents,
    /// `[events.<TYPE>]`: what differs for one event type.
    pub events: BTreeMap<EventType, EventOverride>,
    /// `[accounts]`
    pub accounts: Accounts,
    /// `[duplicates]`
    pub duplicates: Duplicates,
    /// `[external_ids]`
    pub external_ids: ExternalIds,
    /// `[retry]`
    pub retry: RetryPolicy,
    /// `[errors]`
    pub errors: ErrorTexts,
}

impl Default for OrderProcessing {
    fn default() -> Self {
        Self {
            create_person_account: true,
            include_billing_details: false,
            account_options: AccountOptions::default(),
            include_duplicate_check: false,
            transfer_ownership: false,
            transfers: BTreeMap::new(),
            send_whole_order: false,
            order_data_options: OrderDataOptions::default(),
            platform_events: PlatformEvents::default(),
            events: BTreeMap::new(),
            accounts: Accounts::default(),
            duplicates: Duplicates::default(),
            external_ids: ExternalIds::default(),
            retry: RetryPolicy::default(),
            errors: ErrorTexts::default(),
        }
    }
}

impl OrderProcessing {
    /// Reads the text of an `order-processing.toml`. Keys that are absent have their defaults; an empty text is the default.
    ///
    /// # Errors
    ///
    /// Every problem at once: syntax, unknown keys, wrong types, values out of range, and settings that contradict each
    /// other. Nothing of a file with a problem is used.
    pub fn parse(text: &str) -> Result<Self, ConfigProblems> {
        read::order_processing(text)
    }

    /// The field of the order's record that says whether its event was published, where one does: the event is published at
    /// once, and the order has a record with such a field.
    pub fn event_noted_in(&self) -> Option<&str> {
        let immediate = matches!(self.platform_events.publish_behavior, PublishBehavior::Immediate);
        let ids = &self.external_ids;
        let field = ids.order_event_published.as_str();
        (self.platform_events.enabled && immediate && !ids.order_object.is_empty() && !field.is_empty())
            .then_some(field)
    }

    /// A complete `order-processing.toml` with every key at its default, each explained.
    pub const fn documented_toml() -> &'static str {
        include_str!("config/order-processing.toml")
    }

    /// What the customer is told when an order is rejected for this reason. Only rejections have such a text; what went
    /// wrong on our side is never the customer's business.
    pub fn customer_text(&self, reason: Reason) -> Option<&str> {
        self.errors.text(reason)
    }

    /// Whether this event type is published at all.
    pub fn publishes(&self, event_type: EventType) -> bool {
        self.platform_events.enabled && self.platform_events.order_types.includes(event_type)
    }

    /// Whether events of this type carry the reduced order.
    pub fn sends_whole_order(&self, event_type: EventType) -> bool {
        self.events.get(&event_type).and_then(|event| event.send_whole_order).unwrap_or(self.send_whole_order)
    }
}

#[cfg(test)]
mod tests;
