//! An order as a platform event.

use rust_decimal::Decimal;

use crate::config::OrderProcessing;
use crate::failure::{Failure, Reason};
use crate::mapping::event_fields::{EVENT_FIELDS, EventField, FieldKind, Source};
use crate::mapping::event_type::EventType;
use crate::mapping::fields::{Fields, Overflow, utf16_length, without_tags};
use crate::mapping::reduced_order::reduced_order;
use crate::order::Order;
use crate::order::id::RecordId;
use crate::order::item::Item;
use crate::order::moment::Moment;
use crate::order::party::Student;
use crate::plan::{Effect, FieldValue, Reference, Write};

/// The longest order number that the event's field holds.
const ORDER_NUMBER: usize = 40;

/// The longest text field.
const EVENT_KEY: usize = 255;

/// What identifies the child of a subscription, which is no offer of the catalogue.
const SUBSCRIPTION_CHILD: &str = "subscription_offer-";

/// The records that the event refers to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parties {
    /// The customer's Account.
    pub(crate) account: Option<FieldValue>,
    /// The customer's Contact.
    pub(crate) contact: Option<FieldValue>,
}

/// What a source gives for an order.
enum Found<'a> {
    Text(Option<&'a str>),
    Moment(Option<Moment>),
    Number(Option<Decimal>),
    Record(Option<&'a FieldValue>),
    OrderJson,
}

/// The event that announces the order.
pub(crate) fn order_event(
    order: &Order,
    event_type: EventType,
    processing: &OrderProcessing,
    parties: &Parties,
    adjustments: &mut Vec<String>,
) -> Result<Effect, Failure> {
    let settings = &processing.platform_events;
    let left_out = processing.events.get(&event_type).map(|event| &event.leave_out);
    let key = event_key(order, event_type);
    let mut fields = Fields::of("OrderEvent", settings.text_truncation, adjustments);
    for field in EVENT_FIELDS {
        let wanted = field.types.contains(&event_type)
            && field.extra.is_none_or(|extra| settings.extra_fields.contains(&extra))
            && !left_out.is_some_and(|names| names.contains(field.name));
        if !wanted {
            continue;
        }
        let name = format!("{}{}__c", settings.field_prefix, field.name);
        match find(field.source, order, event_type, parties) {
            Found::Text(text) => set_text(&mut fields, field, &name, text)?,
            Found::Record(Some(id)) => fields.set_value(&name, id.clone()),
            Found::Moment(Some(moment)) => fields.set(&name, moment.to_salesforce()),
            Found::Number(Some(number)) => fields.set(&name, in_range(number, field)?),
            Found::OrderJson if processing.sends_whole_order(event_type) => {
                let reduced = reduced_order(order, &key, processing)?;
                if let Some(json) = reduced.json {
                    fields.set(&name, json);
                }
                if let Some(note) = reduced.adjustment {
                    fields.note(note);
                }
            }
            Found::Record(None) | Found::Moment(None) | Found::Number(None) | Found::OrderJson => {}
        }
    }
    if !settings.event_key.is_empty() {
        fields.text(&settings.event_key, Some(&key), EVENT_KEY, Overflow::Refuse, "id")?;
    }
    let write = Write::Publish { event: settings.api_name.clone() };
    Ok(Effect { reference: Reference::Event, write, fields: fields.finish() })
}

fn set_text(fields: &mut Fields<'_>, field: &EventField, name: &str, text: Option<&str>) -> Result<(), Failure> {
    match field.kind {
        FieldKind::Text(length, overflow) => fields.text(name, text, length, overflow, field.source.path()),
        FieldKind::Html(length, overflow) => {
            let text = text.map(without_tags);
            fields.text(name, text.as_deref(), length, overflow, field.source.path())
        }
        FieldKind::DateTime | FieldKind::LongTextArea | FieldKind::Number { .. } => Ok(()),
    }
}

/// A number, rounded to the places of its field, with no more digits before the point than the field has.
fn in_range(number: Decimal, field: &EventField) -> Result<f64, Failure> {
    let FieldKind::Number { whole, decimals } = field.kind else { return Ok(0.0) };
    // What is sent is the number nearest to the rounded one in binary floating point; by its text, since the conversion of
    // the library is off in the last digits. Both must fit.
    let (rounded, limit) = (number.round_dp(decimals), Decimal::from(10_u64.pow(whole)));
    let nearest = |number: Decimal| number.to_string().parse::<f64>().ok();
    let fits = |sent: &f64| rounded.abs() < limit && nearest(limit).is_some_and(|limit| sent.abs() < limit);
    nearest(rounded).filter(fits).ok_or_else(|| {
        let message = format!("OrderEvent.{} holds at most {whole} digits before the point", field.name);
        Failure::permanent(Reason::InvalidValue, message).at(field.source.path()).by("number_range")
    })
}

fn find<'a>(source: Source, order: &'a Order, event_type: EventType, parties: &'a Parties) -> Found<'a> {
    let text = Found::Text;
    let item = |field: fn(&Item) -> Option<&String>| text(order.items.first().and_then(field).map(String::as_str));
    let student = |field: fn(&Student) -> Option<&String>| text(student(order).and_then(field).map(String::as_str));
    match source {
        Source::OrderType => text(Some(event_type.as_str())),
        Source::ChangeType => text(Some(order.change_type.as_deref().unwrap_or(event_type.as_str()))),
        Source::OrderNumber => text(Some(order_number(order))),
        Source::PurchaseDate => Found::Moment(order.order_date),
        Source::EffectiveDate => Found::Moment(order.effective_date.or(order.order_date)),
        Source::SubscriptionId => text(order.subscription.reference.as_deref().or(order.subscription.id.as_deref())),
        Source::Limio => text(Some("Limio")),
        Source::InitiatedSource => text(order.initiated_source.as_deref().or(order.source.as_deref())),
        Source::OrderSource => text(order.source.as_deref()),
        Source::ContactId => Found::Record(parties.contact.as_ref()),
        Source::AccountId => Found::Record(parties.account.as_ref()),
        Source::CaseId => text(order.tracking.case_id.as_ref().map(RecordId::as_str)),
        Source::GiftCode => text(order.gift_code.as_deref()),
        Source::InitiatedByLimioId => text(order.user.sub.as_deref().or(order.owner.as_deref())),
        Source::InitiatedByExternalId => text(order.user.external_sub.as_deref()),
        Source::LimioOrder => Found::OrderJson,
        Source::OfferId => {
            let id = order.items.first().and_then(|item| item.offer_id.as_deref());
            text(id.filter(|id| !id.starts_with(SUBSCRIPTION_CHILD)))
        }
        Source::OfferType => item(|item| item.offer_type.as_ref()),
        Source::TermLengthUnits => item(|item| item.term_units.as_ref()),
        Source::TermLengthValue => item(|item| item.term_length.as_ref()),
        Source::OfferDisplayName => item(|item| item.offer_display_name.as_ref()),
        Source::DisplayPrice => item(|item| item.display_price.as_ref().or(item.price_summary.as_ref())),
        Source::Description => item(|item| item.description.as_ref()),
        Source::ProductCode => item(|item| item.product_code.as_ref()),
        Source::ProductName => item(|item| item.product_name.as_ref()),
        Source::StudentCourse => student(|student| student.course.as_ref()),
        Source::StudentUniversity => student(|student| student.university.as_ref()),
        Source::StudentGraduationYear => student(|student| student.graduation_year.as_ref()),
        Source::Reason => {
            text(order.reason.as_ref().and_then(|reason| reason.id.as_deref().or(reason.feedback.as_deref())))
        }
        Source::OrderValue => Found::Number(order.total.as_ref().map(|total| total.amount)),
        Source::OrderCurrency => text(order.total.as_ref().and_then(|total| total.currency.as_deref())),
    }
}

/// What is the same of two events exactly when one is the double of the other: an order has one event of its type. It is made
/// of nothing but the order, so whoever publishes it, and however often, it stays the same.
fn event_key(order: &Order, event_type: EventType) -> String {
    format!("{}/{}", order.id, event_type.as_str())
}

/// The reference, else the identity in a form that the field holds: a basket's UUID without its prefix, or the beginning
/// of a digest, which names the order as surely as the whole.
fn order_number(order: &Order) -> &str {
    let id = order.id.as_str();
    if let Some(reference) = order.reference.as_deref().map(str::trim).filter(|reference| !reference.is_empty()) {
        return reference;
    }
    if utf16_length(id) <= ORDER_NUMBER {
        return id;
    }
    if id.starts_with("sha256-") {
        return id.get(..ORDER_NUMBER).unwrap_or(id);
    }
    id.strip_prefix("basket-").unwrap_or(id)
}

/// What the student said. The checkout's form sends a graduation year of its own accord, so the year alone says nothing.
fn student(order: &Order) -> Option<&Student> {
    order.student.as_ref().filter(|student| student.course.is_some() || student.university.is_some())
}
