//! People and places of an order. Everything here is personal data: it is mapped, never logged.

use serde_json::{Map, Value};

use crate::order::id::RecordId;
use crate::order::identity::is_email;

/// `userDetails`: the claims of the token with which the order was placed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct User {
    /// `sub`: Limio's identity id.
    pub sub: Option<String>,
    /// `email`
    pub email: Option<String>,
    /// `sub` of the claim whose name ends in `/aut`: the identity at the external provider.
    pub external_sub: Option<String>,
    /// `crm_id`: the Account that Limio keeps for the identity. `None` also where it is no Account's id and nothing needs
    /// it.
    pub crm_id: Option<RecordId>,
}

/// `customerDetails`, in either spelling (`firstName` or `first_name`).
///
/// Only what stands there. The API's own `new` orders have only `billingDetails` (Orders API): for whom those stand in is
/// decided where records are made of it ([`crate::mapping`]).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Customer {
    /// Given name.
    pub first_name: Option<String>,
    /// Family name.
    pub last_name: Option<String>,
    /// Whole name, where only that was asked for.
    pub full_name: Option<String>,
    /// E-mail address as the shopper spelt it.
    pub email: Option<String>,
    /// Phone number.
    pub phone: Option<String>,
    /// Company.
    pub company_name: Option<String>,
    /// Everything else in `customerDetails`, tenant-specific keys included.
    pub extra: Map<String, Value>,
}

impl Customer {
    /// Whether nobody is named: no name, no company, no e-mail address. What stands for one without an `@` names
    /// nobody either.
    pub fn names_nobody(&self) -> bool {
        let Self { first_name, last_name, full_name, email, company_name, phone: _, extra: _ } = self;
        let email = email.as_deref().filter(|email| is_email(email));
        email.is_none() && [first_name, last_name, full_name, company_name].into_iter().all(Option::is_none)
    }
}

/// A postal address. Limio's empty objects and empty strings are absent here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Address {
    /// Given name on the address.
    pub first_name: Option<String>,
    /// Family name on the address.
    pub last_name: Option<String>,
    /// E-mail on the address.
    pub email: Option<String>,
    /// Phone on the address.
    pub phone: Option<String>,
    /// Company on the address.
    pub company: Option<String>,
    /// First line.
    pub address1: Option<String>,
    /// Second line.
    pub address2: Option<String>,
    /// City.
    pub city: Option<String>,
    /// State or region, as the checkout collected it.
    pub state: Option<String>,
    /// `postalCode` or `zipCode`.
    pub postal_code: Option<String>,
    /// Country, two or three letters or free text.
    pub country: Option<String>,
}

/// `studentDetails`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Student {
    /// University.
    pub university: Option<String>,
    /// Course.
    pub course: Option<String>,
    /// Four digits.
    pub graduation_year: Option<String>,
}
