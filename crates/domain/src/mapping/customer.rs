//! Who the customer is to Salesforce, as far as the order says.

use serde_json::Value;

use crate::config::{MissingLastName, OrderProcessing};
use crate::failure::{Failure, Reason};
use crate::mapping::fields::{Fields, Overflow, utf16_length};
use crate::order::Order;
use crate::order::change::OrderType;
use crate::order::identity;
use crate::order::party::Address;

/// Salesforce's length of a text external id.
const EXTERNAL_ID: usize = 255;

/// A customer for whom records can be written.
#[derive(Debug)]
pub(crate) struct CustomerData<'a> {
    /// The value of the external id.
    pub(crate) external_id: String,
    /// Given name.
    first_name: Option<&'a str>,
    /// Where it came from.
    first_name_path: &'static str,
    /// Whether the last name is the whole name, so that a given name from before must go.
    is_whole_name: bool,
    /// Family name, or what stands in for it.
    last_name: &'a str,
    /// Where the family name came from.
    last_name_path: &'static str,
    /// E-mail address.
    email: Option<Said<'a>>,
    /// Where an e-mail address was looked for and something else was found.
    emails_passed_over: Vec<&'static str>,
    /// Phone number.
    phone: Option<Said<'a>>,
    /// Company.
    company: Option<Said<'a>>,
}

/// A text and the path it came from.
type Said<'a> = (&'a str, &'static str);

impl CustomerData<'_> {
    /// Sets first and last name, as person accounts and contacts have them.
    pub(crate) fn set_name(&self, fields: &mut Fields<'_>) -> Result<(), Failure> {
        if self.is_whole_name {
            fields.set("FirstName", Value::Null);
        }
        fields.text("FirstName", self.first_name, 40, Overflow::Refuse, self.first_name_path)?;
        fields.text("LastName", Some(self.last_name), 80, Overflow::Refuse, self.last_name_path)
    }

    /// Sets e-mail address and phone; the address's field is called differently on each object.
    pub(crate) fn set_contact(&self, fields: &mut Fields<'_>, email_field: &str) -> Result<(), Failure> {
        for path in &self.emails_passed_over {
            fields.note(format!("{path} was left out: it has no \"@\"."));
        }
        if let Some((email, path)) = self.email {
            fields.text(email_field, Some(email), 80, Overflow::Refuse, path)?;
        }
        if let Some((phone, path)) = self.phone {
            fields.text("Phone", Some(phone), 40, Overflow::Cut, path)?;
        }
        Ok(())
    }

    /// The name of a business account: the company's, else the person's.
    pub(crate) fn set_company(&self, fields: &mut Fields<'_>) -> Result<(), Failure> {
        let (name, path) = match (self.company, self.first_name) {
            (Some((company, path)), _) => (company.to_owned(), path),
            (None, Some(first)) => (format!("{first} {}", self.last_name), self.last_name_path),
            (None, None) => (self.last_name.to_owned(), self.last_name_path),
        };
        fields.text("Name", Some(&name), 255, Overflow::Refuse, path)
    }
}

struct Name<'a> {
    first: Option<&'a str>,
    first_path: &'static str,
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
            let message = "the order names no customer: owner, userDetails.sub and the customer id are absent, and no e-mail \
                           address of customerDetails or userDetails is there. One of billingDetails counts where \
                           customerDetails name nobody";
            Failure::permanent(Reason::MissingField, message).at("owner")
        });
    };
    // A whole or a given name alone does not say where the last name begins: it must not rename the Account of a customer
    // who was there before.
    let name = name(order).filter(|_| is_new || said(order.customer.last_name.as_deref()).is_some());
    let name = match (name, &processing.accounts.missing_last_name) {
        (Some(name), _) => name,
        (None, MissingLastName::Placeholder(last)) if is_new => {
            Name { first: None, first_path: "", is_whole: false, last, path: "accounts.missing_last_name" }
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
    let external_id = harmless(external_id);
    let (customer, stand_in) = (&order.customer, order.stand_in());
    let either = |own: Option<&'a str>, own_path, theirs: Option<&'a str>, their_path| {
        said(own).map(|text| (text, own_path)).or_else(|| said(theirs).map(|text| (text, their_path)))
    };
    Ok(Some(CustomerData {
        external_id,
        first_name: name.first,
        first_name_path: name.first_path,
        is_whole_name: name.is_whole,
        last_name: name.last,
        last_name_path: name.path,
        email: order.email(),
        emails_passed_over: order.emails_passed_over().collect(),
        phone: either(
            customer.phone.as_deref(),
            "customerDetails.phone",
            stand_in.and_then(|billing| billing.phone.as_deref()),
            "billingDetails.phone",
        ),
        company: either(
            customer.company_name.as_deref(),
            "customerDetails.companyName",
            stand_in.and_then(|billing| billing.company.as_deref()),
            "billingDetails.company",
        ),
    }))
}

/// The value of a customer's external id, where it has one that Salesforce can hold.
pub(crate) fn external_id(name: &str) -> Option<String> {
    let fits = !name.trim().is_empty() && utf16_length(name) <= EXTERNAL_ID;
    fits.then(|| harmless(name.to_owned()))
}

/// A composite graph would take it for a reference.
fn harmless(external_id: String) -> String {
    if external_id.contains("@{") { identity::bounded(&external_id) } else { external_id }
}

fn refused_if<T>(refused: bool, failure: impl FnOnce() -> Failure) -> Result<Option<T>, Failure> {
    if refused { Err(failure()) } else { Ok(None) }
}

/// First and last name: the customer's, else, since Salesforce requires a last name, that of the billing address. A name of
/// one part is the last name.
fn name<'a>(order: &'a Order) -> Option<Name<'a>> {
    let customer = &order.customer;
    let first = said(customer.first_name.as_deref());
    let billing = |billing: &'a Address| {
        let (first, last) = (said(billing.first_name.as_deref()), said(billing.last_name.as_deref()));
        two_parts(first, "billingDetails.firstName", last, "billingDetails.lastName")
    };
    let first_path = "customerDetails.firstName";
    let Some(full) = said(customer.full_name.as_deref()).filter(|_| said(customer.last_name.as_deref()).is_none())
    else {
        let own = two_parts(first, first_path, said(customer.last_name.as_deref()), "customerDetails.lastName");
        return own.or_else(|| order.billing.as_ref().and_then(billing));
    };
    // Where a given name ends cannot be told from the whole, unless the given name was said as well.
    let rest = first.and_then(|first| full.strip_prefix(first)).filter(|rest| rest.starts_with(char::is_whitespace));
    let path = "customerDetails.fullName";
    Some(match rest.map(str::trim) {
        Some(last) => Name { first, first_path, is_whole: false, last, path },
        None => Name { first: None, first_path, is_whole: true, last: full, path },
    })
}

/// A name that was asked for in two parts.
fn two_parts<'a>(
    first: Option<&'a str>,
    first_path: &'static str,
    last: Option<&'a str>,
    last_path: &'static str,
) -> Option<Name<'a>> {
    match (first, last) {
        (first, Some(last)) => Some(Name { first, first_path, is_whole: false, last, path: last_path }),
        (Some(only), None) => Some(Name { first: None, first_path, is_whole: true, last: only, path: first_path }),
        (None, None) => None,
    }
}

/// A text that says anything.
fn said(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}
