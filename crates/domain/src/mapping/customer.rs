//! Who the customer is to Salesforce, as far as the order says.

use serde_json::Value;

use crate::config::{MissingLastName, OrderProcessing};
use crate::failure::{Failure, Reason};
use crate::mapping::fields::{Fields, Overflow, utf16_length};
use crate::order::Order;
use crate::order::change::OrderType;

/// Salesforce's length of a text external id.
const EXTERNAL_ID: usize = 255;

/// A customer for whom records can be written.
#[derive(Debug)]
pub(crate) struct CustomerData<'a> {
    /// The value of the external id.
    pub(crate) external_id: String,
    /// Given name.
    pub(crate) first_name: Option<&'a str>,
    /// Whether the last name is the whole name, so that a given name from before must go.
    is_whole_name: bool,
    /// Family name, or what stands in for it.
    pub(crate) last_name: &'a str,
    /// Where the family name came from.
    pub(crate) last_name_path: &'static str,
    /// E-mail address.
    pub(crate) email: Option<&'a str>,
    /// Where it came from.
    pub(crate) email_path: &'static str,
    /// Phone number.
    pub(crate) phone: Option<&'a str>,
    /// Company.
    pub(crate) company: Option<&'a str>,
}

impl CustomerData<'_> {
    /// Sets first and last name, as person accounts and contacts have them.
    pub(crate) fn set_name(&self, fields: &mut Fields<'_>) -> Result<(), Failure> {
        if self.is_whole_name {
            fields.set("FirstName", Value::Null);
        }
        fields.text("FirstName", self.first_name, 40, Overflow::Refuse, "customerDetails.firstName")?;
        fields.text("LastName", Some(self.last_name), 80, Overflow::Refuse, self.last_name_path)
    }
}

struct Name<'a> {
    first: Option<&'a str>,
    is_whole: bool,
    last: &'a str,
    path: &'static str,
}

/// The customer of the order; `None` when a change order says too little to write records for.
///
/// # Errors
///
/// A new order that names nobody, or somebody without a last name where the settings refuse that.
pub(crate) fn customer_data<'a>(
    order: &'a Order,
    processing: &'a OrderProcessing,
) -> Result<Option<CustomerData<'a>>, Failure> {
    let is_new = order.change.order_type() == OrderType::New;
    let Some(external_id) = order.customer_name().filter(|name| !name.trim().is_empty()) else {
        return refused_if(is_new, || {
            let message = "the order names no customer: owner, userDetails.sub, the customer id and every e-mail address are absent";
            Failure::permanent(Reason::MissingField, message).at("owner")
        });
    };
    let name = name(order).filter(|_| is_new || names_its_customer(order));
    let name = match (name, &processing.accounts.missing_last_name) {
        (Some(name), _) => name,
        (None, MissingLastName::Placeholder(last)) if is_new => {
            Name { first: None, is_whole: false, last, path: "accounts.missing_last_name" }
        }
        (None, MissingLastName::Placeholder(_) | MissingLastName::Refuse) => {
            return refused_if(is_new, || {
                let message = "Salesforce requires a last name, and neither customerDetails nor billingDetails has a name. \
                               A placeholder can be set as accounts.missing_last_name";
                Failure::permanent(Reason::MissingField, message).at("customerDetails.lastName").by("missing_last_name")
            });
        }
    };
    let found = utf16_length(&external_id);
    if found > EXTERNAL_ID {
        let message =
            format!("an external id holds at most {EXTERNAL_ID} characters and the customer's name has {found}");
        return Err(Failure::permanent(Reason::InvalidValue, message).at("owner").by("text_length"));
    }
    let customer = &order.customer;
    let (email, email_path) = match said(customer.email.as_deref()) {
        Some(email) => (Some(email), "customerDetails.email"),
        None => (said(order.user.email.as_deref()), "userDetails.email"),
    };
    Ok(Some(CustomerData {
        external_id,
        first_name: name.first,
        is_whole_name: name.is_whole,
        last_name: name.last,
        last_name_path: name.path,
        email,
        email_path,
        phone: said(customer.phone.as_deref()),
        company: said(customer.company_name.as_deref()),
    }))
}

fn refused_if<T>(refused: bool, failure: impl FnOnce() -> Failure) -> Result<Option<T>, Failure> {
    if refused { Err(failure()) } else { Ok(None) }
}

/// Whether `customerDetails` itself has a last name. Reading fills a missing name from the billing address, and on a change
/// order that may be somebody else's, the holder of a card for instance. Nor does a whole or a given name alone say where
/// the last name begins: neither must rename the customer's Account.
fn names_its_customer(order: &Order) -> bool {
    let details = order.raw.get("customerDetails").and_then(Value::as_object);
    details.is_some_and(|details| {
        ["lastName", "last_name"].iter().any(|key| said(details.get(*key).and_then(Value::as_str)).is_some())
    })
}

/// First and last name. A name of one part is the last name, since Salesforce requires that one.
fn name(order: &Order) -> Option<Name<'_>> {
    let customer = &order.customer;
    let first = said(customer.first_name.as_deref());
    if let Some(last) = said(customer.last_name.as_deref()) {
        return Some(Name { first, is_whole: false, last, path: "customerDetails.lastName" });
    }
    let Some(full) = said(customer.full_name.as_deref()) else {
        return first.map(|last| Name { first: None, is_whole: true, last, path: "customerDetails.firstName" });
    };
    // Where a given name ends cannot be told from the whole, unless the given name was said as well.
    let rest = first.and_then(|first| full.strip_prefix(first)).filter(|rest| rest.starts_with(char::is_whitespace));
    let path = "customerDetails.fullName";
    Some(match rest.map(str::trim) {
        Some(last) => Name { first, is_whole: false, last, path },
        None => Name { first: None, is_whole: true, last: full, path },
    })
}

/// A text that says anything.
fn said(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}
