//! The person of a business account.
//!
//! Source: Limio documentation, "Account and Contact Mapping"; lengths: Object Reference, Contact.

use crate::config::OrderProcessing;
use crate::failure::Failure;
use crate::mapping::customer::CustomerData;
use crate::mapping::fields::Fields;
use crate::plan::{Effect, FieldValue, Reference, Write};

/// The contact, linked to the Account of the same plan.
pub(crate) fn contact(
    customer: &CustomerData<'_>,
    processing: &OrderProcessing,
    adjustments: &mut Vec<String>,
) -> Result<Effect, Failure> {
    let mut fields = Fields::of("Contact", processing.accounts.text_truncation, adjustments);
    fields.set_value("AccountId", FieldValue::IdOf(Reference::Account));
    customer.set_name(&mut fields)?;
    customer.set_contact(&mut fields, "Email")?;
    let write = Write::Upsert {
        object: "Contact".to_owned(),
        field: processing.external_ids.contact.clone(),
        value: customer.external_id.clone(),
    };
    Ok(Effect { reference: Reference::Contact, write, fields: fields.finish() })
}
