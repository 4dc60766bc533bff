//! The parts of [`OrderProcessing`](crate::config::OrderProcessing), each with its defaults.

use std::collections::BTreeSet;

use crate::failure::Reason;
use crate::mapping::event_type::EventType;

/// `accountOptions`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccountOptions {
    /// `recordTypeName`: the record type of new Accounts, by its name. `None` leaves the choice to the org.
    pub record_type_name: Option<String>,
}

/// `orderDataOptions`: what the reduced order of the event holds.
///
/// Source: Limio documentation, "Platform Events Definitions".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderDataOptions {
    /// `fieldsToKeep`: the top-level keys, in the order in which they are sent. Replaces [`Self::DEFAULT_FIELDS`].
    pub fields_to_keep: Vec<String>,
    /// `itemFields`: further keys of each order item.
    pub item_fields: Vec<String>,
    /// `productDataFields`: further keys of each product.
    pub product_data_fields: Vec<String>,
    /// `offerDataFields`: further keys under each `offer.data`.
    pub offer_data_fields: Vec<String>,
}

impl OrderDataOptions {
    /// The top-level keys that Limio sends when nothing else is asked for.
    pub const DEFAULT_FIELDS: [&str; 15] = [
        "tracking",
        "billingDetails",
        "customerDetails",
        "deliveryDetails",
        "orderDate",
        "orderItems",
        "payment",
        "payment_reference",
        "payment_status",
        "source",
        "total",
        "variant",
        "forSubscription",
        "originalOffer",
        "customFields",
    ];
}

impl Default for OrderDataOptions {
    fn default() -> Self {
        Self {
            fields_to_keep: Self::DEFAULT_FIELDS.map(str::to_owned).to_vec(),
            item_fields: Vec::new(),
            product_data_fields: Vec::new(),
            offer_data_fields: Vec::new(),
        }
    }
}

/// `[platform_events]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformEvents {
    /// Whether events are published.
    pub enabled: bool,
    /// For which event types.
    pub order_types: EventSelection,
    /// API name of the event, ending in `__e`.
    pub api_name: String,
    /// What stands before each field name, such as `i42as__`. May be empty.
    pub field_prefix: String,
    /// API name of a text field of the event that carries the event's key. Empty: the event has none.
    pub event_key: String,
    /// How the event is defined in the org.
    pub publish_behavior: PublishBehavior,
    /// Fields of the former, customer-defined event that this org's event has too.
    pub extra_fields: BTreeSet<ExtraField>,
    /// The longest `LimioOrder`, in UTF-16 units.
    pub max_order_json_chars: usize,
    /// What happens to a longer one.
    pub order_json_overflow: OversizePolicy,
    /// What happens to a descriptive text that is longer than its field. Ids are never cut.
    pub text_truncation: TextOverflow,
}

impl PlatformEvents {
    /// The most that a long text area holds, in UTF-16 units.
    ///
    /// Source: Platform Events Developer Guide, "Platform Event Fields".
    pub const MAX_ORDER_JSON_CHARS: usize = 131_072;
}

impl Default for PlatformEvents {
    fn default() -> Self {
        Self {
            enabled: true,
            order_types: EventSelection::All,
            api_name: "i42as__OrderEvent__e".to_owned(),
            field_prefix: "i42as__".to_owned(),
            event_key: String::new(),
            publish_behavior: PublishBehavior::AfterCommit,
            extra_fields: BTreeSet::new(),
            max_order_json_chars: Self::MAX_ORDER_JSON_CHARS,
            order_json_overflow: OversizePolicy::Shrink,
            text_truncation: TextOverflow::Cut,
        }
    }
}

/// `order_types`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventSelection {
    /// `"all"`
    All,
    /// Only these.
    Only(BTreeSet<EventType>),
}

impl EventSelection {
    /// Whether the type is among them.
    pub fn includes(&self, event_type: EventType) -> bool {
        match self {
            Self::All => true,
            Self::Only(types) => types.contains(&event_type),
        }
    }
}

/// `publish_behavior`, as the event's definition in the org says.
///
/// Source: Platform Events Developer Guide, "Publish Behavior".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishBehavior {
    /// `"after_commit"`: the event is part of the transaction, so it may stand beside the records it speaks of.
    AfterCommit,
    /// `"immediate"`: the event goes out even when the records are rolled back, so it follows them in a call of its own.
    Immediate,
}

/// A field that only the former, customer-defined event had.
///
/// Source: Limio help desk, "Using Limio Commerce-generated Salesforce Platform Events".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExtraField {
    /// `Reason`: why, on cancel, cancel-save and switch.
    Reason,
    /// `OrderValue`: the order's total.
    OrderValue,
    /// `OrderCurrency`: its currency.
    OrderCurrency,
}

impl ExtraField {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Reason, Self::OrderValue, Self::OrderCurrency];

    /// The field's printed name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reason => "Reason",
            Self::OrderValue => "OrderValue",
            Self::OrderCurrency => "OrderCurrency",
        }
    }
}

/// What happens to a reduced order that is longer than the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OversizePolicy {
    /// `"shrink"`: optional parts are left out, in the documented order, until it fits.
    Shrink,
    /// `"omit"`: the field is left out.
    Omit,
    /// `"dead_letter"`: the order is given up.
    DeadLetter,
}

/// What happens to a descriptive text that is longer than its field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextOverflow {
    /// `"cut"`: it is shortened, and the plan says so.
    Cut,
    /// `"dead_letter"`: the order is given up.
    DeadLetter,
}

/// `[events.<TYPE>]`: what differs for one event type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventOverride {
    /// `sendWholeOrder` for this type alone.
    pub send_whole_order: Option<bool>,
    /// Fields, by printed name, that are not sent with this type.
    pub leave_out: BTreeSet<String>,
}

/// `[accounts]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accounts {
    /// What happens when no last name can be found, which Salesforce requires.
    pub missing_last_name: MissingLastName,
    /// What happens to a phone number or an address part that is longer than its field. Names and e-mail addresses are
    /// never cut.
    pub text_truncation: TextOverflow,
}

impl Default for Accounts {
    fn default() -> Self {
        Self { missing_last_name: MissingLastName::Refuse, text_truncation: TextOverflow::Cut }
    }
}

/// `missing_last_name`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MissingLastName {
    /// `"refuse"`: the order is given up.
    Refuse,
    /// Any other text stands in for the name.
    Placeholder(String),
}

/// `[duplicates]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duplicates {
    /// What happens when a duplicate rule allows, but several Accounts match.
    pub several_matches: SeveralMatches,
}

impl Default for Duplicates {
    fn default() -> Self {
        Self { several_matches: SeveralMatches::Reject }
    }
}

/// `several_matches`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeveralMatches {
    /// `"reject"`: the order is rejected as ambiguous.
    Reject,
    /// `"oldest"`: the Account created first.
    Oldest,
    /// `"newest"`: the Account created last.
    Newest,
}

impl SeveralMatches {
    /// The name in the settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::Oldest => "oldest",
            Self::Newest => "newest",
        }
    }
}

/// `[transfers.<OBJECT>]`: an object whose records move with their subscription.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TransferObject {
    /// The field that holds the subscription's id or reference; may be one of a parent, such as `Subscription__r.LimioId__c`.
    pub subscription: String,
    /// The lookup to Account.
    pub account: String,
}

impl TransferObject {
    /// The most objects: the records of a whole batch are found with one API call, which takes so many queries.
    pub const MOST: usize = 5;
}

/// `[external_ids]`: the objects and fields by which a record is found again.
///
/// Each field is a unique external id in the org, so that the same order, written twice, is one record. An empty name
/// leaves out what it stands for, where that is possible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalIds {
    /// External-id field of Account: the customer's stable Limio name.
    pub account: String,
    /// External-id field of Contact.
    pub contact: String,
    /// Object that holds one record per order. Empty: none is written, and proof that an order was written rests on the
    /// ledger alone.
    pub order_object: String,
    /// Unique external-id field of that object: the order's identity.
    pub order: String,
    /// Its field for the fingerprint of what the order said, a text of 64 characters. By it another content under an
    /// identity that was written is known as a conflict, also when the ledger has forgotten. Empty: not set, and whatever
    /// comes under the identity counts as written then.
    pub order_fingerprint: String,
    /// Its lookup to Account. Empty: not set.
    pub order_account: String,
    /// Its field for Limio's `order_type`. Empty: not set.
    pub order_type: String,
    /// Its field for `order_reference`. Empty: not set.
    pub order_reference: String,
    /// Its field for the subscription's name, by which Accounts are looked up: it should have an index. Empty: not set, and
    /// none is looked up by it.
    pub subscription: String,
    /// Its checkbox that says whether the order's event was published; used where the org publishes the event at once
    /// ([`PublishBehavior::Immediate`]), which otherwise nothing could tell after a lost answer. It is set in the same
    /// all-or-none unit that publishes the event. Empty: events are published by themselves, and once more after a lost
    /// answer.
    pub order_event_published: String,
}

impl Default for ExternalIds {
    fn default() -> Self {
        Self {
            account: "LimioId__c".to_owned(),
            contact: "LimioId__c".to_owned(),
            order_object: "LimioOrder__c".to_owned(),
            order: "LimioId__c".to_owned(),
            order_fingerprint: "Fingerprint__c".to_owned(),
            order_account: "Account__c".to_owned(),
            order_type: "OrderType__c".to_owned(),
            order_reference: "OrderReference__c".to_owned(),
            subscription: "SubscriptionId__c".to_owned(),
            order_event_published: "EventPublished__c".to_owned(),
        }
    }
}

/// `[errors]`: what the customer reads when an order is rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorTexts {
    /// For [`Reason::DuplicateDetected`].
    pub duplicate_detected: String,
    /// For [`Reason::DuplicateBlocked`].
    pub duplicate_blocked: String,
    /// For [`Reason::DuplicateAmbiguous`].
    pub duplicate_ambiguous: String,
}

impl Default for ErrorTexts {
    fn default() -> Self {
        Self {
            duplicate_detected: "There is already an account with these details. Please log in and order again."
                .to_owned(),
            duplicate_blocked: "We cannot take this order because an account with these details exists already. \
                                Please contact customer service."
                .to_owned(),
            duplicate_ambiguous: "We found more than one account with these details. Please contact customer service."
                .to_owned(),
        }
    }
}

impl ErrorTexts {
    /// The text for a reason; `None` for every reason that is not a rejection.
    pub fn text(&self, reason: Reason) -> Option<&str> {
        match reason {
            Reason::DuplicateDetected => Some(&self.duplicate_detected),
            Reason::DuplicateBlocked => Some(&self.duplicate_blocked),
            Reason::DuplicateAmbiguous => Some(&self.duplicate_ambiguous),
            Reason::BodyTooLarge
            | Reason::InvalidUtf8
            | Reason::UnreadableJson
            | Reason::NotAnOrder
            | Reason::WrongTenant
            | Reason::UnknownEventType
            | Reason::UnknownOrderType
            | Reason::MissingField
            | Reason::WrongType
            | Reason::InvalidValue
            | Reason::IdentityConflict
            | Reason::SalesforceRefused
            | Reason::SalesforceMisconfigured
            | Reason::RecordLocked
            | Reason::SalesforceUnavailable
            | Reason::QuotaExhausted
            | Reason::LedgerUnavailable
            | Reason::BrokerUnavailable
            | Reason::AuthenticationFailed
            | Reason::AnswerLost
            | Reason::UnknownSalesforceCode
            | Reason::Poison
            | Reason::BrokerGaveUp
            | Reason::IdentityLinkRefused
            | Reason::LimioUnavailable => None,
        }
    }
}
