//! What has to be written for an order.
//!
//! | The customer | Effects, in this order |
//! |---|---|
//! | is known by an Account id | order record, event |
//! | is known by a Contact id only | order record, event, both without Account: which it belongs to, the org knows |
//! | is not known, person accounts | Account, order record, event |
//! | is not known, business accounts | Account, Contact, order record, event |
//! | of a lead form is known by an id with a slip in it | order record without Account |
//! | is not known, and a change order says too little of them | order record, event, both without Account |
//!
//! Records of the order's subscription that move to the customer's Account ([`mod@transfer`]) stand before the event.
//!
//! The order record is left out where the settings name no object for it; the event where the order's type has none, or
//! where the settings exclude it. So a plan may be empty: then nothing is to be written, and the order is settled.

mod account;
mod contact;
mod customer;
pub mod event_fields;
pub mod event_type;
pub mod fields;
mod order_event;
mod order_record;
mod reduced_order;
pub mod transfer;

use crate::config::OrderProcessing;
use crate::failure::Failure;
use crate::mapping::event_type::EventType;
use crate::mapping::order_event::Parties;
use crate::order::Order;
use crate::order::id::RecordId;
use crate::order::identity;
use crate::plan::{Effect, FieldValue, KnownIdentity, Reference, WritePlan};

/// Decides what is written for an order.
///
/// `known` is what the caller found out about the customer; it goes before what the order itself says. No text of the plan
/// and no external id contains `@{`, which Salesforce would read as a reference; names from the settings may.
///
/// # Errors
///
/// A permanent failure that names the field and the rule: a name, an e-mail address or an id that its field cannot hold,
/// a new order without a customer or without a last name, or, where the settings say so, a text that is too long.
pub fn plan(order: &Order, processing: &OrderProcessing, known: &KnownIdentity) -> Result<WritePlan, Failure> {
    let mut plan = WritePlan::default();
    let adjustments = &mut plan.adjustments;
    let contact = order.tracking.contact_id.as_ref().or(known.contact_id.as_ref());
    let mut parties = Parties {
        account: known.crm_id.as_ref().or_else(|| order.crm_id()).map(id_value),
        contact: contact.map(id_value),
    };
    // Who names a Contact means a customer who is there: another Account would be a second one, and the event would tell
    // of an Account and a Contact that do not belong together.
    // The same holds for a lead form whose Account is named by an id with a slip in it.
    if parties.account.is_none() && parties.contact.is_none() && !order.has_slipped_crm_id() {
        let effects = customer_effects(order, processing, adjustments)?;
        for effect in &effects {
            match effect.reference {
                Reference::Account => parties.account = Some(FieldValue::IdOf(Reference::Account)),
                Reference::Contact => parties.contact = Some(FieldValue::IdOf(Reference::Contact)),
                Reference::Order | Reference::Event | Reference::Moved(_) => {}
            }
        }
        plan.effects.extend(effects);
    }
    plan.effects.extend(order_record::order_record(order, parties.account.as_ref(), processing, adjustments)?);
    plan.effects.extend(transfer::effects(known)?);
    if let Some(event_type) = event_type(order).filter(|event_type| processing.publishes(*event_type)) {
        plan.effects.push(order_event::order_event(order, event_type, processing, &parties, adjustments)?);
    }
    Ok(plan)
}

/// By what the Account of a customer can be found in the org.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct AccountTrace {
    /// The value of its external id: the customer's name, as [`plan`] writes it.
    pub external_id: Option<String>,
    /// The names of the subscription, by one of which earlier records of the customer's orders may name it; the best first.
    pub subscriptions: Vec<String>,
    /// The Account on which earlier orders of the subscription are, where that is known; then `subscriptions` is empty.
    pub presumed: Option<RecordId>,
}

/// What to look for when `plan` names no Account although there may be one: a change order says too little of its customer
/// to write them anew, and nobody remembers them. `None` where nothing has to be looked for.
///
/// `presumed` is an Account that is known by the order's subscription alone. Whose it is has to be looked up
/// ([`may_own`]), whatever the order says of its customer.
pub fn account_trace(
    order: &Order,
    processing: &OrderProcessing,
    known: &KnownIdentity,
    presumed: Option<&RecordId>,
) -> Option<AccountTrace> {
    let named = known.crm_id.is_some() || order.crm_id().is_some() || order.has_slipped_crm_id();
    if named || known.contact_id.is_some() || order.tracking.contact_id.is_some() {
        return None;
    }
    // What the plan would refuse, it refuses by its name; what it would write needs no look.
    if presumed.is_none() && !matches!(customer::customer_data(order, processing), Ok(None)) {
        return None;
    }
    let external_id = order.customer_name().and_then(|name| customer::external_id(&name));
    let either = [&order.subscription.id, &order.subscription.reference].into_iter().flatten();
    // No record holds a longer one.
    let fits = |name: &&String| name.chars().count() <= order_record::TEXT && presumed.is_none();
    let subscriptions: Vec<String> = either.filter(fits).cloned().collect();
    let presumed = presumed.cloned();
    let found = external_id.is_some() || !subscriptions.is_empty() || presumed.is_some();
    found.then_some(AccountTrace { external_id, subscriptions, presumed })
}

/// Whether an Account with this external id may belong to the order's customer, when all that leads to it is the
/// subscription: that may have passed to the customer from whoever had it before.
///
/// Names of one kind tell: an identity against an identity, an e-mail address against an e-mail address. An order that
/// names nobody says nothing against it.
pub fn may_own(order: &Order, external_id: Option<&str>) -> bool {
    let Some(external_id) = external_id.filter(|text| !text.is_empty()) else { return true };
    let identities = [&order.owner, &order.user.sub, &order.customer_id].into_iter().flatten();
    let identities: Vec<String> = identities.filter_map(|name| customer::external_id(name)).collect();
    let email = order.email().and_then(|(email, _)| customer::external_id(email));
    // External ids are compared without regard to case.
    let is = |name: &String| name.to_lowercase() == external_id.to_lowercase();
    let another_kind = if identity::is_email(external_id) { email.is_none() } else { identities.is_empty() };
    another_kind || identities.iter().chain(&email).any(is)
}

/// Whether what is written for the order names an Account that is the customer's own: the order says enough of them to
/// write it.
pub fn writes_customer(order: &Order, processing: &OrderProcessing) -> bool {
    matches!(customer::customer_data(order, processing), Ok(Some(_)))
}

/// The event that announces an order, whatever the settings say of it.
pub const fn event_type(order: &Order) -> Option<EventType> {
    EventType::of(order)
}

/// Account and Contact of a customer whom nobody knows yet.
fn customer_effects(
    order: &Order,
    processing: &OrderProcessing,
    adjustments: &mut Vec<String>,
) -> Result<Vec<Effect>, Failure> {
    let Some(customer) = customer::customer_data(order, processing)? else { return Ok(Vec::new()) };
    if processing.create_person_account {
        return Ok(vec![account::person_account(order, &customer, processing, adjustments)?]);
    }
    let account = account::business_account(order, &customer, processing, adjustments)?;
    Ok(vec![account, contact::contact(&customer, processing, adjustments)?])
}

fn id_value(id: &RecordId) -> FieldValue {
    FieldValue::Json(id.as_str().into())
}
