//! From a Limio object to an [`Order`]: tolerant of spelling, strict about what each type requires.
//!
//! | `order_type` | Requires |
//! |---|---|
//! | `new` | `orderItems`, each with an `offer` that has `id`, `path` or `name` (not asked of orders from Salesforce); a customer |
//! | `cancel_subscription`, `renew`, `cancel_intent` | a subscription |
//! | `change_offer`, `add_offer` | a subscription; an `offer` (or first item's) with `id` or `path` |
//! | `change_address` | a subscription or customer; an address that says something |
//! | `update_subscription` | a subscription; `orderItems` or `updates`, each with action and id |
//! | `update_customer_details` | a subscription or customer; `customerDetails` that say something |
//! | `change_payment`, `add_charge`, `refund`, `gift_refund` | a subscription or customer |
//! | `pay_invoice` | a subscription or customer; `invoice.id` |
//! | `data_capture` | nothing |
//!
//! A *subscription* is any of the spellings in [`crate::order::identity`]. A *customer* is an owner, `userDetails.sub`, a
//! customer id, `tracking.accountId` or `tracking.contactId`; for `new` also an e-mail address, a name or a company, and
//! where `customerDetails` have none of these, those of `billingDetails`.
//!
//! The ids under `tracking`, `userDetails.crm_id` and `partnerSalesforceAccountId` must be record ids of their objects,
//! where they are there: an Account id with a slip in it is refused instead of passed over, which would make a second
//! Account. `userDetails.crm_id` is judged only where it is needed: not beside a `tracking.accountId`, which goes before it,
//! and not on a lead form (`data_capture`), which then goes without Account and makes none.
//!
//! What no other part of the order uses is not judged: `updates` of anything but an `update_subscription`, and the `data`
//! of a lead form (`data_capture`), which is a tenant's own.
//!
//! `order_type` itself may be absent on one shape: the reduced order that Limio puts into the platform event leaves it
//! out (Platform Events Definitions). With items, without a subscription, and sent as Order Submitted, that is `new`.

mod change;
mod item;
mod party;

use std::borrow::Cow;

use serde_json::{Map, Value};

use self::change::{Parties, change};
use self::party::{customer, gift_code, partner_account, reason, student, subscription, tracking, user};
use super::change::OrderType;
use super::id::{Fingerprint, OrderId, SequenceKey};
use super::moment::Moment;
use super::party::Address;
use super::read::{Fields, shown};
use super::{Order, identity};
use crate::envelope::EventKind;
use crate::failure::{Failure, Reason};

/// Parses the order that `raw` holds. Its secrets are stripped already.
pub(crate) fn parse(
    raw: &Map<String, Value>,
    kind: &EventKind,
    id: OrderId,
    fingerprint: Fingerprint,
    sequence_key: SequenceKey,
) -> Result<Order, Failure> {
    let root = Fields::root(raw);
    let order_type = order_type(&root, kind)?;
    let subscription = subscription(&root)?;
    let tracking = tracking(&root)?;
    let user = user(&root, tracking.account_id.is_none() && order_type != OrderType::DataCapture)?;
    let owner = root.text("owner")?;
    let customer_id = identity::customer_id(raw).map(Cow::into_owned);
    let billing = root.object("billingDetails")?.map(|fields| Address::read(&fields)).transpose()?.flatten();
    let delivery = root.object("deliveryDetails")?.map(|fields| Address::read(&fields)).transpose()?.flatten();
    let customer = customer(&root)?;
    let parties = Parties {
        subscription: &subscription,
        has_record: tracking.account_id.is_some() || tracking.contact_id.is_some(),
        has_identity: owner.is_some() || user.sub.is_some() || customer_id.is_some(),
        customer: &customer,
        billing: billing.as_ref(),
        user: &user,
    };
    let (change, items) = change(&root, order_type, &parties)?;
    Ok(Order {
        id,
        fingerprint,
        reference: root.text("order_reference")?,
        external_id: root.text("external_id")?,
        change_type: root.text("change_type")?,
        sequence_key,
        owner,
        customer_id,
        total: root.money("total")?,
        order_date: root.moment("orderDate")?,
        effective_date: effective_date(&root, order_type)?,
        source: root.text("source")?,
        initiated_source: root.text("initiated_source")?,
        gift_code: gift_code(&root)?,
        student: student(&root)?,
        reason: if order_type == OrderType::DataCapture { None } else { reason(&root)? },
        partner_account: partner_account(&root)?,
        change,
        user,
        customer,
        billing,
        delivery,
        subscription,
        items,
        tracking,
        raw: raw.clone(),
    })
}

fn order_type(root: &Fields<'_>, kind: &EventKind) -> Result<OrderType, Failure> {
    if let Some(value) = root.value("order_type") {
        let Value::String(name) = value else { return Err(root.wrong_type("order_type", "text", value)) };
        return OrderType::parse(name.trim()).ok_or_else(|| {
            let message = format!("order_type {} is not one that Causeway knows", shown(name.trim()));
            Failure::permanent(Reason::UnknownOrderType, message).at("order_type")
        });
    }
    let is_new = *kind == EventKind::Known(EventKind::ORDER_SUBMITTED)
        && root.value("orderItems").is_some()
        && identity::subscription(root.map()).best().is_none();
    if is_new { Ok(OrderType::New) } else { Err(root.missing("order_type", "an order must say what is asked for")) }
}

fn first_moment(fields: &Fields<'_>, keys: &[&str]) -> Result<Option<Moment>, Failure> {
    for key in keys {
        if let Some(moment) = fields.moment(key)? {
            return Ok(Some(moment));
        }
    }
    Ok(None)
}

fn effective_date(root: &Fields<'_>, order_type: OrderType) -> Result<Option<Moment>, Failure> {
    if let Some(moment) = first_moment(root, &["effectiveDate", "effective_date", "cancelDate", "startDate"])? {
        return Ok(Some(moment));
    }
    let updates = if order_type == OrderType::UpdateSubscription { root.objects("updates")? } else { Vec::new() };
    for update in updates {
        if let Some(moment) = update.moment("effective_date")? {
            return Ok(Some(moment));
        }
    }
    Ok(None)
}
