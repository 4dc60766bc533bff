//! The order's own record: proof that the order was written.
//!
//! It is created, never updated, and its external id is unique. Inside the same all-or-none unit as everything else, the
//! second time fails as a whole, so a lost answer can be looked up.

use crate::config::OrderProcessing;
use crate::failure::Failure;
use crate::mapping::fields::{Fields, Overflow};
use crate::order::Order;
use crate::plan::{Effect, FieldValue, Reference, Write};

/// The longest text field.
pub(super) const TEXT: usize = 255;

/// The record; `None` where the settings name no object for it.
pub(crate) fn order_record(
    order: &Order,
    account: Option<&FieldValue>,
    processing: &OrderProcessing,
    adjustments: &mut Vec<String>,
) -> Result<Option<Effect>, Failure> {
    let names = &processing.external_ids;
    if names.order_object.is_empty() {
        return Ok(None);
    }
    let mut fields = Fields::of(&names.order_object, processing.accounts.text_truncation, adjustments);
    fields.text(&names.order, Some(order.id.as_str()), TEXT, Overflow::Refuse, "id")?;
    if !names.order_fingerprint.is_empty() {
        fields.set(&names.order_fingerprint, order.fingerprint.to_string());
    }
    let texts = [
        (&names.order_type, Some(order.change.order_type().as_str()), "order_type"),
        (&names.order_reference, order.reference.as_deref(), "order_reference"),
        (&names.subscription, order.subscription.best(), "forSubscription"),
    ];
    for (field, text, source) in texts {
        if !field.is_empty() {
            fields.text(field, text, TEXT, Overflow::Refuse, source)?;
        }
    }
    if let (false, Some(account)) = (names.order_account.is_empty(), account) {
        fields.set_value(&names.order_account, account.clone());
    }
    let write = Write::Create { object: names.order_object.clone() };
    Ok(Some(Effect { reference: Reference::Order, write, fields: fields.finish() }))
}
