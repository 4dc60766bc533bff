//! What is asked for: each type with the fields of its own, and what it requires.

use serde_json::Value;

use super::first_moment;
use crate::failure::Failure;
use crate::order::SubscriptionName;
use crate::order::change::{AddressKind, Change, ItemUpdate, OrderType, UpdateAction};
use crate::order::item::Item;
use crate::order::party::{Address, Customer, User};
use crate::order::read::Fields;

/// Who an order is about, as far as requirements ask.
pub(super) struct Parties<'a> {
    pub(super) subscription: &'a SubscriptionName,
    /// Whether `tracking` names an Account or a Contact.
    pub(super) has_record: bool,
    pub(super) has_identity: bool,
    pub(super) customer: &'a Customer,
    pub(super) billing: Option<&'a Address>,
    pub(super) user: &'a User,
}

impl Parties<'_> {
    fn require_subscription(&self, root: &Fields<'_>, order_type: OrderType) -> Result<(), Failure> {
        if self.subscription.best().is_some() {
            return Ok(());
        }
        let rule = format!("{} needs the subscription it is about", order_type.as_str());
        Err(root.missing("forSubscription", &rule))
    }

    fn require_somebody(&self, root: &Fields<'_>, order_type: OrderType) -> Result<(), Failure> {
        if self.subscription.best().is_some() || self.has_identity || self.has_record {
            return Ok(());
        }
        let rule = format!("{} needs the subscription or the customer it is about", order_type.as_str());
        Err(root.missing("forSubscription", &rule))
    }

    fn require_customer(&self, root: &Fields<'_>) -> Result<(), Failure> {
        let Customer { last_name, full_name, email, company_name, .. } = self.customer;
        let named = [last_name, full_name, email, company_name, &self.user.email].into_iter().any(Option::is_some);
        let payer = self.billing.filter(|_| self.customer.names_nobody());
        let named = named
            || payer
                .is_some_and(|payer| [&payer.last_name, &payer.email, &payer.company].into_iter().any(Option::is_some));
        if named || self.has_identity || self.has_record {
            return Ok(());
        }
        Err(root
            .missing("customerDetails", "new needs a customer: an identity, an e-mail address, a name or a company"))
    }
}

/// What is asked for, and what is bought.
pub(super) fn change(
    root: &Fields<'_>,
    order_type: OrderType,
    parties: &Parties<'_>,
) -> Result<(Change, Vec<Item>), Failure> {
    match order_type {
        OrderType::New | OrderType::DataCapture => {}
        OrderType::CancelSubscription
        | OrderType::ChangeOffer
        | OrderType::AddOffer
        | OrderType::Renew
        | OrderType::UpdateSubscription
        | OrderType::CancelIntent => parties.require_subscription(root, order_type)?,
        OrderType::AddCharge
        | OrderType::ChangePayment
        | OrderType::ChangeAddress
        | OrderType::GiftRefund
        | OrderType::Refund
        | OrderType::UpdateCustomerDetails
        | OrderType::PayInvoice => parties.require_somebody(root, order_type)?,
    }
    let change = match order_type {
        OrderType::New => {
            require_items(root, parties)?;
            parties.require_customer(root)?;
            Change::New {
                is_gift: root.flag("isGift")?,
                is_redemption: root.flag("isRedeem")? || root.text("redeemCode")?.is_some(),
            }
        }
        OrderType::CancelSubscription => Change::CancelSubscription { cancel_date: root.moment("cancelDate")? },
        OrderType::ChangeOffer => {
            require_offer(root, order_type)?;
            Change::ChangeOffer
        }
        OrderType::AddOffer => {
            let offer = require_offer(root, order_type)?;
            let subtype = match offer.object("data")? {
                Some(data) => data.text("record_subtype")?,
                None => None,
            };
            let subtype = subtype.or(offer.text("record_subtype")?);
            Change::AddOffer { is_discount: subtype.as_deref() == Some("discount") }
        }
        OrderType::AddCharge => Change::AddCharge,
        OrderType::ChangePayment => Change::ChangePayment {
            payment_type: match root.object_if_any("payment") {
                Some(payment) => payment.text("type")?,
                None => None,
            },
        },
        OrderType::ChangeAddress => change_address(root)?,
        OrderType::Renew => Change::Renew,
        OrderType::GiftRefund => Change::GiftRefund,
        OrderType::Refund => Change::Refund,
        OrderType::UpdateCustomerDetails => {
            let Some(details) = root.object("customerDetails")? else {
                return Err(root.missing("customerDetails", "update_customer_details needs the new details"));
            };
            Change::UpdateCustomerDetails { details: details.map().clone() }
        }
        OrderType::PayInvoice => {
            let invoice_id = match root.object("invoice")? {
                Some(invoice) => invoice.text("id")?,
                None => None,
            };
            if invoice_id.is_none() {
                return Err(root.missing("invoice.id", "pay_invoice needs the invoice"));
            }
            Change::PayInvoice { invoice_id }
        }
        OrderType::CancelIntent => Change::CancelIntent,
        OrderType::DataCapture => {
            Change::DataCapture { data: root.object_if_any("data").map(|data| data.map().clone()).unwrap_or_default() }
        }
        OrderType::UpdateSubscription => {
            let updates = updates(root)?;
            let added = updates.iter().filter(|update| update.action == UpdateAction::Add);
            let items = added.map(|update| update.item.clone()).collect();
            return Ok((Change::UpdateSubscription { updates }, items));
        }
    };
    Ok((change, items(root, order_type)?))
}

/// What is bought. A switch and an added offer are about their `offer`; items beside it are those of the subscription.
fn items(root: &Fields<'_>, order_type: OrderType) -> Result<Vec<Item>, Failure> {
    let items = root.objects("orderItems")?;
    let is_about_its_offer = matches!(order_type, OrderType::ChangeOffer | OrderType::AddOffer);
    if (items.is_empty() || is_about_its_offer) && root.value("offer").is_some() {
        return Ok(vec![Item::read(root, None)?]);
    }
    items.iter().map(|fields| Item::read(fields, Some("id"))).collect()
}

fn require_items(root: &Fields<'_>, parties: &Parties<'_>) -> Result<(), Failure> {
    let items = root.objects("orderItems")?;
    if items.is_empty() {
        return Err(root.missing("orderItems", "new needs at least one item"));
    }
    let from_salesforce = parties.has_record || root.text("source")?.as_deref() == Some("salesforce");
    if from_salesforce {
        return Ok(());
    }
    for item in &items {
        let Some(offer) = item.object("offer")? else {
            return Err(item.missing("offer", "new needs an offer in each item"));
        };
        if offer.first_text(&["id", "path", "name"])?.is_none() {
            return Err(offer.missing("id", "an offer is named by id, path or name"));
        }
    }
    Ok(())
}

fn require_offer<'a>(root: &Fields<'a>, order_type: OrderType) -> Result<Fields<'a>, Failure> {
    let offer = match root.object("offer")? {
        Some(offer) => Some(offer),
        None => root.objects("orderItems")?.first().map(|item| item.object("offer")).transpose()?.flatten(),
    };
    let Some(offer) = offer else {
        return Err(root.missing("offer", &format!("{} needs an offer", order_type.as_str())));
    };
    if offer.first_text(&["id", "path"])?.is_none() {
        return Err(offer.missing("id", "an offer is named by id or path"));
    }
    Ok(offer)
}

fn change_address(root: &Fields<'_>) -> Result<Change, Failure> {
    let kind = match root.value("type") {
        None => AddressKind::Both,
        Some(Value::String(kind)) if kind == "all" => AddressKind::Both,
        Some(Value::String(kind)) if kind == "billing" => AddressKind::Billing,
        Some(Value::String(kind)) if kind == "delivery" => AddressKind::Delivery,
        Some(other) => return Err(root.invalid("type", "billing, delivery or all", other)),
    };
    let places: &[&str] = match kind {
        AddressKind::Billing => &["address", "billingDetails"],
        AddressKind::Delivery => &["address", "deliveryDetails"],
        AddressKind::Both => &["address", "deliveryDetails", "billingDetails"],
    };
    for place in places {
        let read = root.object(place)?.map(|fields| Address::read(&fields)).transpose()?.flatten();
        if let Some(address) = read {
            return Ok(Change::ChangeAddress { kind, address });
        }
    }
    Err(root.missing("address", "change_address needs an address that is not empty"))
}

/// Both styles of `update_subscription`: items with `orderItemActionType`, and the older `updates`.
fn updates(root: &Fields<'_>) -> Result<Vec<ItemUpdate>, Failure> {
    let old = root.objects("updates")?;
    let new = root.objects("orderItems")?;
    if old.is_empty() && new.is_empty() {
        return Err(root.missing("orderItems", "update_subscription needs orderItems or updates"));
    }
    let mut updates = Vec::with_capacity(old.len() + new.len());
    for fields in &old {
        let mut item = Item::read(fields, None)?;
        item.offer_id = item.offer_id.or(fields.text("id")?);
        if item.offer_id.is_none() {
            return Err(fields.missing("id", "an update names what it changes"));
        }
        let kind = fields.text("record_type")?;
        updates.push(update(fields, "type", kind, item)?);
    }
    for fields in &new {
        let item = Item::read(fields, Some("id"))?;
        let named_by_path = match fields.object("offer")? {
            Some(offer) => offer.text("path")?.is_some(),
            None => false,
        };
        if item.offer_id.is_none() && !named_by_path {
            return Err(fields.missing("offer.id", "an item of update_subscription names what it changes"));
        }
        let kind = fields.text("type")?;
        updates.push(update(fields, "orderItemActionType", kind, item)?);
    }
    Ok(updates)
}

fn update(fields: &Fields<'_>, action_key: &str, kind: Option<String>, item: Item) -> Result<ItemUpdate, Failure> {
    let Some(value) = fields.value(action_key) else {
        return Err(fields.missing(action_key, "an update says add, remove or update"));
    };
    let action = match fields.text(action_key)?.as_deref() {
        Some("add") => UpdateAction::Add,
        Some("remove") => UpdateAction::Remove,
        Some("update") => UpdateAction::Update,
        Some(_) | None => return Err(fields.invalid(action_key, "add, remove or update", value)),
    };
    Ok(ItemUpdate {
        action,
        kind,
        id: item.offer_id.clone(),
        quantity: item.quantity,
        effective_date: first_moment(fields, &["effective_date", "effectiveDate"])?,
        item,
    })
}
