//! The fields of the platform event, as data: what each is called, holds, and for which event types it is sent.
//!
//! The rows of `NEW_ORDER` are Limio's table. For the other types Limio prints no complete table; which rows they have is
//! the most that an order of the type can fill, and `leave_out` in the settings takes away what an org does not have.
//!
//! Source: Limio documentation, "Platform Events Definitions".

use crate::config::ExtraField;
use crate::mapping::event_type::EventType;
use crate::mapping::fields::Overflow;

/// One field of the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventField {
    /// The printed name: without the package's prefix and without `__c`.
    pub name: &'static str,
    /// Where its value comes from.
    pub source: Source,
    /// What it holds.
    pub kind: FieldKind,
    /// The event types that have it.
    pub types: &'static [EventType],
    /// The setting that adds it, where it belongs to the former event only.
    pub extra: Option<ExtraField>,
}

impl EventField {
    /// Whether subscribers recognise a repeated event by it.
    pub const fn is_key(&self) -> bool {
        matches!(self.source, Source::OrderType | Source::OrderNumber)
    }
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    /// A text of at most so many UTF-16 units.
    Text(usize, Overflow),
    /// A text that may come as HTML and is sent without its tags.
    Html(usize, Overflow),
    /// A point in time.
    DateTime,
    /// A long text area; its length is a setting.
    LongTextArea,
    /// A number with so many digits.
    Number {
        /// Before the point.
        whole: u32,
        /// After the point.
        decimals: u32,
    },
}

/// Where a field's value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The event type.
    OrderType,
    /// `change_type`, else the event type.
    ChangeType,
    /// `order_reference`, else the order's identity.
    OrderNumber,
    /// `orderDate`
    PurchaseDate,
    /// The day from which the change holds, else `orderDate`.
    EffectiveDate,
    /// The subscription's reference, else its id.
    SubscriptionId,
    /// Always `Limio`.
    Limio,
    /// `initiated_source`, else `source`.
    InitiatedSource,
    /// `source`
    OrderSource,
    /// `tracking.contactId`, else the Contact that is known or written with the order.
    ContactId,
    /// The Account that is known or written with the order.
    AccountId,
    /// `tracking.caseId`
    CaseId,
    /// `giftCode`
    GiftCode,
    /// `userDetails.sub`, else `owner`.
    InitiatedByLimioId,
    /// `sub` of the external identity in `userDetails`.
    InitiatedByExternalId,
    /// The reduced order as JSON.
    LimioOrder,
    /// The first item's catalogue offer.
    OfferId,
    /// `offer_type__limio` of the first item.
    OfferType,
    /// `term__limio.type` of the first item.
    TermLengthUnits,
    /// `term__limio.length` of the first item.
    TermLengthValue,
    /// `display_name__limio` of the first item.
    OfferDisplayName,
    /// `display_price__limio` of the first item, else the headline of its price.
    DisplayPrice,
    /// `display_description__limio` of the first item.
    Description,
    /// `product_code__limio` of the first item's first product.
    ProductCode,
    /// The name of the first item's first product.
    ProductName,
    /// `studentDetails.course`
    StudentCourse,
    /// `studentDetails.university`
    StudentUniversity,
    /// `studentDetails.graduationYear`
    StudentGraduationYear,
    /// `data.reason`: its id, else what the customer wrote.
    Reason,
    /// `total.amount`
    OrderValue,
    /// `total.currency`
    OrderCurrency,
}

impl Source {
    /// The path in the order, for messages.
    pub const fn path(self) -> &'static str {
        match self {
            Self::OrderType => "order_type",
            Self::ChangeType => "change_type",
            Self::OrderNumber => "order_reference",
            Self::PurchaseDate => "orderDate",
            Self::EffectiveDate => "effectiveDate",
            Self::SubscriptionId => "forSubscription",
            Self::Limio | Self::OrderSource => "source",
            Self::InitiatedSource => "initiated_source",
            Self::ContactId => "tracking.contactId",
            Self::AccountId => "tracking.accountId",
            Self::CaseId => "tracking.caseId",
            Self::GiftCode => "giftCode",
            Self::InitiatedByLimioId => "userDetails.sub",
            Self::InitiatedByExternalId => "userDetails.*/aut.sub",
            Self::LimioOrder => "$",
            Self::OfferId => "orderItems[0].offer.id",
            Self::OfferType => "orderItems[0].offer.data.attributes.offer_type__limio",
            Self::TermLengthUnits => "orderItems[0].offer.data.attributes.term__limio.type",
            Self::TermLengthValue => "orderItems[0].offer.data.attributes.term__limio.length",
            Self::OfferDisplayName => "orderItems[0].offer.data.attributes.display_name__limio",
            Self::DisplayPrice => "orderItems[0].offer.data.attributes.display_price__limio",
            Self::Description => "orderItems[0].offer.data.attributes.display_description__limio",
            Self::ProductCode => "orderItems[0].products[0].attributes.product_code__limio",
            Self::ProductName => "orderItems[0].products[0].attributes.display_name__limio",
            Self::StudentCourse => "studentDetails.course",
            Self::StudentUniversity => "studentDetails.university",
            Self::StudentGraduationYear => "studentDetails.graduationYear",
            Self::Reason => "data.reason",
            Self::OrderValue => "total.amount",
            Self::OrderCurrency => "total.currency",
        }
    }
}

const EVERY: &[EventType] = &EventType::ALL;
const NEW: &[EventType] = &[EventType::NewOrder, EventType::NewGiftOrder];
const WITH_OFFER: &[EventType] = &[
    EventType::NewOrder,
    EventType::NewGiftOrder,
    EventType::ChangeOffer,
    EventType::AddOffer,
    EventType::CancelRequest,
    EventType::RequestRenewal,
];

const fn row(name: &'static str, source: Source, kind: FieldKind, types: &'static [EventType]) -> EventField {
    EventField { name, source, kind, types, extra: None }
}

const fn extra(extra: ExtraField, source: Source, kind: FieldKind) -> EventField {
    EventField { name: extra.as_str(), source, kind, types: EVERY, extra: Some(extra) }
}

const fn id(length: usize) -> FieldKind {
    FieldKind::Text(length, Overflow::Refuse)
}

const fn text(length: usize) -> FieldKind {
    FieldKind::Text(length, Overflow::Cut)
}

/// Printed as (15,3). Setup prints a number's places before and after the point, not its precision, which is 18 here.
///
/// Source: Limio help desk, "Using Limio Commerce-generated Salesforce Platform Events"; Salesforce help, "Custom Field Types".
const ORDER_VALUE: FieldKind = FieldKind::Number { whole: 15, decimals: 3 };

/// Every field, in the order in which Limio documents them; those of the former event follow.
pub const EVENT_FIELDS: &[EventField] = &[
    row("OrderType", Source::OrderType, id(40), EVERY),
    row("ChangeType", Source::ChangeType, id(40), EVERY),
    row("OrderNumber", Source::OrderNumber, id(40), EVERY),
    row("PurchaseDate", Source::PurchaseDate, FieldKind::DateTime, EVERY),
    row("EffectiveDate", Source::EffectiveDate, FieldKind::DateTime, EVERY),
    row("SubscriptionId", Source::SubscriptionId, id(100), EVERY),
    row("Source", Source::Limio, id(40), EVERY),
    row("InitiatedSource", Source::InitiatedSource, text(40), EVERY),
    row("OrderSource", Source::OrderSource, text(40), EVERY),
    row("ContactId", Source::ContactId, id(18), EVERY),
    row("AccountId", Source::AccountId, id(18), EVERY),
    row("CaseId", Source::CaseId, id(18), EVERY),
    row("GiftCode", Source::GiftCode, id(40), NEW),
    row("InitiatedByLimioId", Source::InitiatedByLimioId, id(70), EVERY),
    row("InitiatedByExternalId", Source::InitiatedByExternalId, id(150), EVERY),
    row("LimioOrder", Source::LimioOrder, FieldKind::LongTextArea, EVERY),
    row("OfferId", Source::OfferId, id(40), WITH_OFFER),
    row("OfferType", Source::OfferType, text(40), WITH_OFFER),
    row("TermLengthUnits", Source::TermLengthUnits, text(40), WITH_OFFER),
    row("TermLengthValue", Source::TermLengthValue, id(40), WITH_OFFER),
    row("OfferDisplayName", Source::OfferDisplayName, text(100), WITH_OFFER),
    row("DisplayPrice", Source::DisplayPrice, FieldKind::Html(150, Overflow::Cut), WITH_OFFER),
    row("Description", Source::Description, FieldKind::Html(100, Overflow::Cut), WITH_OFFER),
    row("ProductCode", Source::ProductCode, id(40), WITH_OFFER),
    row("ProductName", Source::ProductName, text(40), WITH_OFFER),
    row("StudentCourse", Source::StudentCourse, text(100), NEW),
    row("StudentUniversity", Source::StudentUniversity, text(100), NEW),
    row("StudentGraduationYear", Source::StudentGraduationYear, text(4), NEW),
    extra(ExtraField::Reason, Source::Reason, text(200)),
    extra(ExtraField::OrderValue, Source::OrderValue, ORDER_VALUE),
    extra(ExtraField::OrderCurrency, Source::OrderCurrency, id(3)),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_new_order_has_the_twenty_eight_fields_that_limio_documents() {
        let rows =
            EVENT_FIELDS.iter().filter(|field| field.extra.is_none() && field.types.contains(&EventType::NewOrder));
        assert_eq!(rows.count(), 28);
    }

    #[test]
    fn every_field_holds_what_its_source_gives() {
        for field in EVENT_FIELDS {
            let fits = match field.kind {
                FieldKind::DateTime => matches!(field.source, Source::PurchaseDate | Source::EffectiveDate),
                FieldKind::LongTextArea => field.source == Source::LimioOrder,
                FieldKind::Number { .. } => field.source == Source::OrderValue,
                FieldKind::Text(..) | FieldKind::Html(..) => !matches!(
                    field.source,
                    Source::PurchaseDate | Source::EffectiveDate | Source::LimioOrder | Source::OrderValue
                ),
            };
            assert!(fits, "{}", field.name);
        }
    }

    #[test]
    fn no_two_fields_share_a_name() {
        let names: BTreeSet<_> = EVENT_FIELDS.iter().map(|field| field.name).collect();
        assert_eq!(names.len(), EVENT_FIELDS.len());
    }

    #[test]
    fn types_whose_details_are_only_in_the_order_json_have_no_offer() {
        for event_type in [
            EventType::ChangePaymentRequest,
            EventType::Refund,
            EventType::ChangedDeliveryAddress,
            EventType::UpdateCustomer,
            EventType::UpdateSubscription,
        ] {
            assert!(
                EVENT_FIELDS.iter().all(|field| field.source != Source::OfferId || !field.types.contains(&event_type))
            );
        }
    }
}
