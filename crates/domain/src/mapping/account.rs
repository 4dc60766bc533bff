//! The customer's Account, person or business.
//!
//! Source: Limio documentation, "Account and Contact Mapping"; lengths: Object Reference, Account.

use serde_json::json;

use crate::config::OrderProcessing;
use crate::failure::Failure;
use crate::mapping::customer::CustomerData;
use crate::mapping::fields::{Fields, Overflow};
use crate::order::Order;
use crate::order::party::Address;
use crate::plan::{Effect, Reference, Write};

/// A person account.
pub(crate) fn person_account(
    order: &Order,
    customer: &CustomerData<'_>,
    processing: &OrderProcessing,
    adjustments: &mut Vec<String>,
) -> Result<Effect, Failure> {
    let mut fields = Fields::of("Account", processing.accounts.text_truncation, adjustments);
    customer.set_name(&mut fields)?;
    customer.set_contact(&mut fields, "PersonEmail")?;
    shared(&mut fields, order, processing)?;
    Ok(upsert(customer, processing, fields))
}

/// A business account. Its people are contacts.
pub(crate) fn business_account(
    order: &Order,
    customer: &CustomerData<'_>,
    processing: &OrderProcessing,
    adjustments: &mut Vec<String>,
) -> Result<Effect, Failure> {
    let mut fields = Fields::of("Account", processing.accounts.text_truncation, adjustments);
    customer.set_company(&mut fields)?;
    shared(&mut fields, order, processing)?;
    Ok(upsert(customer, processing, fields))
}

fn upsert(customer: &CustomerData<'_>, processing: &OrderProcessing, fields: Fields<'_>) -> Effect {
    let write = Write::Upsert {
        object: "Account".to_owned(),
        field: processing.external_ids.account.clone(),
        value: customer.external_id.clone(),
    };
    Effect { reference: Reference::Account, write, fields: fields.finish() }
}

/// What both kinds have: the partner, the record type, and the billing address.
fn shared(fields: &mut Fields<'_>, order: &Order, processing: &OrderProcessing) -> Result<(), Failure> {
    if let Some(partner) = &order.partner_account {
        fields.set("ParentId", partner.as_str());
    }
    if let Some(name) = &processing.account_options.record_type_name {
        fields.set("RecordType", json!({ "Name": name }));
    }
    match &order.billing {
        Some(address) if processing.include_billing_details => billing(fields, address),
        Some(_) | None => Ok(()),
    }
}

/// State and country go exactly as the checkout collected them: an org with picklists accepts its own values only.
fn billing(fields: &mut Fields<'_>, address: &Address) -> Result<(), Failure> {
    let lines = [&address.address1, &address.address2].into_iter().flatten().map(|line| line.trim());
    let street = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(", ");
    fields.text("BillingStreet", Some(&street), 255, Overflow::Cut, "billingDetails.address1")?;
    fields.text("BillingCity", address.city.as_deref(), 40, Overflow::Cut, "billingDetails.city")?;
    fields.text("BillingState", address.state.as_deref(), 80, Overflow::LeaveOut, "billingDetails.state")?;
    fields.text("BillingCountry", address.country.as_deref(), 80, Overflow::LeaveOut, "billingDetails.country")?;
    fields.text(
        "BillingPostalCode",
        address.postal_code.as_deref(),
        20,
        Overflow::LeaveOut,
        "billingDetails.postalCode",
    )
}
