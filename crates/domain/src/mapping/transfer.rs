//! `transferOwnership`: what belongs to an order's subscription moves to the Account that the order's customer matches.
//!
//! Source: Limio documentation, "Salesforce Order V3": on a duplicate match, in checkouts of customers who have not signed
//! in, the subscription and related objects move to the matched identity. Which objects those are in an org, `[transfers]`
//! says.

use crate::config::OrderProcessing;
use crate::failure::{Failure, Reason};
use crate::order::Order;
use crate::plan::{Effect, FieldValue, KnownIdentity, Reference, Transfer, Write};

/// The longest name that a text field of Salesforce holds, in characters.
const LONGEST: usize = 255;

/// By what names the records of the subscription are found that move when the order's customer matches an Account: its id
/// and its reference, as far as the order names them. None where the settings move nothing, and none for a customer who has
/// signed in at an identity provider: who that is, is known, and another Account's records are not theirs to give.
pub fn subscription_names<'a>(order: &'a Order, processing: &OrderProcessing) -> Vec<&'a str> {
    if !processing.transfer_ownership || order.user.external_sub.is_some() {
        return Vec::new();
    }
    let names = [order.subscription.id.as_deref(), order.subscription.reference.as_deref()];
    let fits = |name: &&str| !name.is_empty() && name.chars().count() <= LONGEST;
    let mut names: Vec<&str> = names.into_iter().flatten().filter(fits).collect();
    names.dedup();
    names
}

/// The records that move, each as a change of its lookup to Account.
///
/// # Errors
/// More than [`Transfer::MOST`] records: a permanent failure that says so.
pub(crate) fn effects(known: &KnownIdentity) -> Result<Vec<Effect>, Failure> {
    let Some(account) = &known.crm_id else { return Ok(Vec::new()) };
    let found = known.transfers.len();
    if found > Transfer::MOST {
        let message = format!(
            "{found} records of the order's subscription would move to the matched Account, and {} is the most",
            Transfer::MOST
        );
        return Err(Failure::permanent(Reason::SalesforceMisconfigured, message).by("transferOwnership"));
    }
    let effects = (0..).zip(&known.transfers).map(|(number, Transfer { object, id, account_field })| Effect {
        reference: Reference::Moved(number),
        write: Write::Update { object: object.clone(), id: id.clone() },
        fields: vec![(account_field.clone(), FieldValue::Json(account.as_str().into()))],
    });
    Ok(effects.collect())
}
